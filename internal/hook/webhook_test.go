package hook

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/store/mem"
)

var testKey = []byte("012345678901234567890123")

func post(t *testing.T, to string, timeout time.Duration) Sender {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return NewWebhook(WebhookConfig{URL: u, Keys: Keys{testKey}}, NewPoster(nil, timeout, time.Now))
}

var sample = Message{ID: "abc-7", Source: "urn:uuid:abc",
	Event: boot.Event{Seq: 7, At: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), Kind: boot.HostApproved, Host: 3, Name: "web1", Text: "web1 <approved>"}}

// TestPublishedSignature: the vector that the reference implementations are
// tested with.
func TestPublishedSignature(t *testing.T) {
	ks, err := ParseKeys([]byte("\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw \n"))
	if err != nil {
		t.Fatal(err)
	}
	got := ks.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signed as %s", got)
	}
}

// TestSignature: what arrives is a CloudEvent, and OpenSSL comes to the same
// signature over the bytes that arrived.
func TestSignature(t *testing.T) {
	var head http.Header
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer s.Close()
	if a := post(t, s.URL+"/x?token=hush", time.Minute).Send(t.Context(), sample); a.Result != Delivered || a.Words != "HTTP 202 Accepted" {
		t.Fatalf("%+v", a)
	}
	var e map[string]any
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"specversion": "1.0", "id": "abc-7", "source": "urn:uuid:abc", "type": "muster.host.approved",
		"time": "2026-01-02T12:00:00Z", "subject": "web1", "datacontenttype": "application/json"} {
		if e[k] != want {
			t.Errorf("%s is %v, want %v", k, e[k], want)
		}
	}
	if d, _ := e["data"].(map[string]any); d["seq"] != 7.0 || d["text"] != "web1 <approved>" {
		t.Errorf("data is %v", e["data"])
	}
	if head.Get("Content-Type") != "application/cloudevents+json" || head.Get("webhook-id") != "abc-7" {
		t.Errorf("head is %v", head)
	}
	nettest.Need(t, "openssl")
	cmd := exec.Command("openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", fmt.Sprintf("hexkey:%x", testKey), "-binary")
	cmd.Stdin = strings.NewReader(head.Get("webhook-id") + "." + head.Get("webhook-timestamp") + "." + string(body))
	mac, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := head.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac); got != want {
		t.Errorf("signature %s, openssl says %s", got, want)
	}
}

// TestChangeOfKeys: while two keys are in the file, both sign.
func TestChangeOfKeys(t *testing.T) {
	old, fresh := base64.StdEncoding.EncodeToString(testKey), base64.StdEncoding.EncodeToString([]byte("abcdefghijabcdefghijabcdefghijab"))
	both, err := ParseKeys([]byte(fresh + "\n" + old + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(both.sign("i", "1", nil))
	if len(got) != 2 || got[1] != (Keys{testKey}).sign("i", "1", nil) || got[0] == got[1] {
		t.Errorf("signed as %q", got)
	}
	for _, c := range []struct{ text, want string }{
		{"", "empty"}, {"hunter2!", "not base64"}, {"c2hvcnQ=", "want 24 to 64"}, {strings.Repeat(old+"\n", 5), "more than 4 lines"},
	} {
		if _, err := ParseKeys([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) || c.text != "" && strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

// raw is a receiver that says what it wants to, and keeps the connection.
func raw(t *testing.T, says func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			wg.Go(func() {
				defer stop()
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				says(c)
			})
		}
	})
	return "http://" + l.Addr().String() + "/hook?token=hush"
}

func untilClosed(c net.Conn) { io.Copy(io.Discard, c) }

// TestAnswers: what each kind of receiver, honest or not, comes to; and nothing
// that is secret or theirs is in our words.
func TestAnswers(t *testing.T) {
	proxied := false
	proxy := raw(t, func(net.Conn) { proxied = true })
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("http_proxy", proxy)
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, text); untilClosed(c) }
	}
	// The near end of a connection: nobody listens on its port, and no listener gets it.
	taken, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(raw(t, untilClosed), "http://"), "/hook?token=hush"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	reached := false
	elsewhere := raw(t, func(net.Conn) { reached = true })
	for _, c := range []struct {
		name, url string
		want      Result
		words     string
		after     time.Duration
	}{
		{"done", raw(t, says("HTTP/1.1 204 No Content\r\n\r\n")), Delivered, "HTTP 204 No Content", 0},
		{"nobody", "http://" + taken.LocalAddr().String() + "/?token=hush", Later, "connection refused: nothing listens there", 0},
		{"hangs", raw(t, untilClosed), Later, "no answer within 300ms", 0},
		{"hangs in its head", raw(t, says("HTTP/1.1 200 OK\r\nX-Slow")), Later, "no answer within 300ms", 0},
		{"hangs in its body", raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx")), Delivered, "HTTP 200 OK", 0},
		{"breaks off", raw(t, func(c net.Conn) {}), Later, "EOF", 0},
		{"shorter than it says", raw(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort") }), Delivered, "HTTP 200 OK", 0},
		{"body without end", raw(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 500 <b>\x1b[31m hush\r\n\r\n")
			for b := make([]byte, 1<<16); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}), Later, "HTTP 500 Internal Server Error", 0},
		{"head without end", raw(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}), Later, "exceeded 65536 bytes", 0},
		{"beyond a proxy", "http://192.0.2.1/", Later, "", 0},
		{"garbage", raw(t, says("SSH-2.0-OpenSSH_9.2\r\n\r\n")), Later, "malformed HTTP", 0},
		{"garbage status", raw(t, says("HTTP/1.1 2xx Fine\r\n\r\n")), Later, "malformed HTTP", 0},
		{"no such status", raw(t, says("HTTP/1.1 999 Hush\r\nContent-Length: 0\r\n\r\n")), Later, "HTTP 999", 0},
		{"busy", raw(t, says("HTTP/1.1 429 x\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")), Later, "HTTP 429 Too Many Requests", 2 * time.Minute},
		{"nonsense of when", raw(t, says("HTTP/1.1 503 x\r\nRetry-After: -9999999999999999999\r\nContent-Length: 0\r\n\r\n")), Later, "HTTP 503 Service Unavailable", 0},
		{"slow", raw(t, says("HTTP/1.1 408 x\r\nContent-Length: 0\r\n\r\n")), Later, "HTTP 408 Request Timeout", 0},
		{"not wanted", raw(t, says("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")), Refused, "HTTP 410 Gone", 0},
		{"moved", raw(t, says("HTTP/1.1 307 x\r\nLocation: "+elsewhere+"\r\nContent-Length: 0\r\n\r\n")), Refused, "redirects are not followed", 0},
		{"switches", raw(t, says("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")), Refused, "HTTP 101", 0},
	} {
		// Only what is cut off by the time has little of it: a loaded machine answers late.
		limit := 20 * time.Second
		if strings.HasPrefix(c.name, "hangs") || c.name == "beyond a proxy" {
			limit = 300 * time.Millisecond
		}
		a := post(t, c.url, limit).Send(t.Context(), sample)
		if a.Result != c.want || !strings.Contains(a.Words, c.words) || a.After != c.after || strings.Contains(a.Words, "hush") || len(a.Words) > 250 || strings.ContainsAny(a.Words, "\x1b\n") {
			t.Errorf("%s: %+v, want %d %q", c.name, a, c.want, c.words)
		}
	}
	if reached || proxied {
		t.Errorf("a redirect was followed: %v; a proxy was asked: %v", reached, proxied)
	}
	endless := raw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for b := make([]byte, 1<<16); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	began := time.Now()
	if a := post(t, endless, time.Minute).Send(t.Context(), sample); a.Result != Delivered || time.Since(began) > 30*time.Second {
		t.Errorf("a body without end: %+v after %s", a, time.Since(began))
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer s.Close()
	if a := post(t, s.URL, time.Minute).Send(t.Context(), sample); a.Result != Later || !strings.Contains(a.Words, "certificate") {
		t.Errorf("a certificate of nobody's: %+v", a)
	}
	u, _ := url.Parse(s.URL)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	if a := NewWebhook(WebhookConfig{URL: u, Keys: Keys{testKey}}, NewPoster(pool, time.Minute, time.Now)).Send(t.Context(), sample); a.Result != Delivered {
		t.Errorf("a certificate that ca_file knows: %+v", a)
	}
	date := raw(t, says("HTTP/1.1 503 x\r\nRetry-After: "+time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)+"\r\nContent-Length: 0\r\n\r\n"))
	if a := post(t, date, time.Minute).Send(t.Context(), sample); a.After < 59*time.Minute || a.After > time.Hour {
		t.Errorf("a date to wait for: %+v", a)
	}
	if w := Where(&url.URL{Scheme: "https", Host: "h", Path: "/p", RawQuery: "token=hush"}); w != "https://h/p" {
		t.Errorf("shown as %s", w)
	}
}

// TestThrough: the whole way over a real store and real connections, with a
// receiver that is replaced in the middle.
func TestThrough(t *testing.T) {
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := Identity(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []uint64
	turn, enough := 0, make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if turn++; turn == 20 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		var e struct {
			ID, Source string
			Data       boot.Event
		}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.ID != fmt.Sprintf("%s-%d", id, e.Data.Seq) || e.Source != "urn:uuid:"+id {
			t.Errorf("%+v, %v", e, err)
		}
		if got = append(got, e.Data.Seq); len(got) == 50 {
			close(enough)
		}
	}))
	defer srv.Close()
	h := New(s, slog.New(slog.DiscardHandler), id, time.Now)
	h.Set([]*Target{{Name: "x", Type: Webhook, GiveUp: time.Hour, Sender: post(t, srv.URL, time.Minute)}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	for {
		// It must have begun, else it begins after these.
		if st, err := h.List(ctx); err != nil {
			t.Fatal(err)
		} else if st[0].State == client.WebhookIdle && begun(t, s) {
			break
		}
	}
	for range 50 {
		if err := s.Update(ctx, func(tx boot.Tx) error {
			_, err := tx.Append(boot.Event{At: time.Now(), Kind: boot.HostAdded, Text: "x"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("not all arrived")
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(got, span(1, 50)) {
		t.Errorf("delivered %v", got)
	}
}

func begun(t *testing.T, s boot.Store) (yes bool) {
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		n, err := tx.Counter(boot.Delivered("webhook x"))
		yes = n > 0
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return yes
}

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	f := t.TempDir() + "/on-event"
	if err := os.WriteFile(f, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestCommand: what a program is given, and what its end means.
func TestCommand(t *testing.T) {
	t.Setenv("SECRET", "hush")
	out := t.TempDir() + "/out"
	for _, c := range []struct {
		name, text string
		want       Result
		words      string
	}{
		{"done", "{ echo $MUSTER_EVENT_KIND $MUSTER_EVENT_HOST $MUSTER_EVENT_SEQ \"$1\" $SECRET; pwd; cat; } > " + out, Delivered, "exit status 0"},
		{"reads nothing", "exit 0", Delivered, "exit status 0"},
		{"later", "echo the printer is off; exit 75", Later, "exit status 75: the printer is off"},
		{"fails", "echo no >&2; exit 3", Refused, "exit status 3: no"},
		{"dies", "kill -9 $$", Refused, "signal: killed"},
		{"talks", "i=0; while [ $i -lt 3000 ]; do echo 0123456789$i; i=$((i+1)); done; exit 1", Refused, "01234567892999"},
		{"leaves one behind", "sleep 1000 & exit 0", Delivered, "exit status 0"},
	} {
		a := NewCommand(CommandConfig{Command: []string{script(t, c.text), "a b"}, Timeout: time.Minute}).Send(t.Context(), sample)
		if a.Result != c.want || !strings.Contains(a.Words, c.words) || len(a.Words) > maxOutput+100 {
			t.Errorf("%s: %+v, want %d %q", c.name, a, c.want, c.words)
		}
	}
	got, err := os.ReadFile(out)
	input, _ := json.Marshal(sample.Event)
	if want := "host.approved web1 7 a b\n/\n" + string(input) + "\n"; err != nil || string(got) != want {
		t.Errorf("it was given %q, want %q", got, want)
	}
	if a := NewCommand(CommandConfig{Command: []string{"/nowhere/x"}, Timeout: time.Minute}).Send(t.Context(), sample); a.Result != Later || !strings.Contains(a.Words, "/nowhere/x") {
		t.Errorf("what is not there: %+v", a)
	}
}

// TestCommandHangs: a program that hangs is killed with all that it started.
func TestCommandHangs(t *testing.T) {
	pids := t.TempDir() + "/pids"
	a := NewCommand(CommandConfig{Command: []string{script(t, "echo $$ > "+pids+"; sleep 1000 & echo $! >> "+pids+"; echo waiting; wait")}, Timeout: 500 * time.Millisecond}).Send(t.Context(), sample)
	if a.Result != Later || a.Words != "not done within 500ms; killed: waiting" {
		t.Errorf("%+v", a)
	}
	b, err := os.ReadFile(pids)
	if err != nil || len(strings.Fields(string(b))) != 2 {
		t.Fatalf("%q, %v", b, err)
	}
	// Killed is not gone: on a busy machine the kernel takes its time.
	for _, pid := range strings.Fields(string(b)) {
		for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
			s, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(s), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %s lives on: %s", pid, s)
			}
		}
	}
}
