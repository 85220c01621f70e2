// handler_test.go: what firmware needs of an HTTP server, on a real listener.

package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

type shelf struct {
	dir   string
	mu    sync.Mutex
	ended chan boot.Outcome
	last  boot.Sighting

	waited atomic.Int32 // for the whole of a file
}

func (s *shelf) Next(_ context.Context, in boot.Sighting) (boot.Decision, error) {
	s.mu.Lock()
	s.last = in
	s.mu.Unlock()
	switch in.Want.Path {
	case "broken":
		return boot.Decision{}, errors.New("store failed")
	case "outside":
		return boot.Decision{Reply: boot.Ignore{}}, nil
	case "pending":
		return boot.Decision{Reply: boot.Refuse{Reason: "waits for approval", Retry: 90 * time.Second}}, nil
	case "report":
		return boot.Decision{Reply: boot.Done{Text: "noted"}}, nil
	case "unmade":
		return boot.Decision{Reply: boot.Script{Ref: boot.Ref{Name: "unmade"}}}, nil
	}
	if _, err := os.Stat(filepath.Join(s.dir, in.Want.Path)); err != nil || in.Want.Path == "" {
		return boot.Decision{Reply: boot.Refuse{NotFound: true, Reason: "no such file"}}, nil
	}
	return boot.Decision{Reply: boot.File{Ref: boot.Ref{Name: in.Want.Path}}}, nil
}

func (s *shelf) Begin(boot.Sighting, boot.Decision, int64) boot.Transfer { return unmetered{} }

type unmetered struct{}

func (unmetered) Sent(int64) {}
func (unmetered) End()       {}

func (s *shelf) Done(_ context.Context, _ boot.Sighting, _ boot.Decision, o boot.Outcome) error {
	s.ended <- o
	return nil
}

func (s *shelf) Open(_ context.Context, ref boot.Ref) (*boot.Object, error) {
	if ref.Name == "unmade" {
		return nil, errors.New("template is wrong")
	}
	if ref.Name == "away" {
		return nil, fmt.Errorf("%w: no upstream", boot.ErrLater)
	}
	f, err := os.Open(filepath.Join(s.dir, ref.Name))
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	o := &boot.Object{Body: boot.NewSection(f, 0, st.Size(), func() { f.Close() }), Name: ref.Name, Size: st.Size(), ETag: `"abc"`}
	if strings.HasPrefix(ref.Name, "fetched") {
		o.Whole = func(context.Context) error {
			s.waited.Add(1)
			if ref.Name == "fetched-wrong" {
				return boot.ErrLater
			}
			return nil
		}
	}
	return o, nil
}

// families runs a test over IPv4 and over IPv6; host is where it listens.
func families(t *testing.T, test func(t *testing.T, host string)) {
	t.Run("IPv4", func(t *testing.T) { test(t, "127.0.0.1") })
	t.Run("IPv6", func(t *testing.T) { nettest.NeedIPv6(t); test(t, "::1") })
}

func start(t *testing.T, host string) (*shelf, string) {
	t.Helper()
	s, _, addr := startHandler(t, host)
	return s, addr
}

func startHandler(t *testing.T, host string) (*shelf, *Handler, string) {
	t.Helper()
	s := &shelf{dir: t.TempDir(), ended: make(chan boot.Outcome, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	done := make(chan error, 1)
	h := NewHandler(s, s, log)
	go func() { done <- Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	must(t, os.WriteFile(filepath.Join(s.dir, "ipxe.efi"), []byte("0123456789"), 0o644))
	return s, h, l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// talk sends raw requests on one connection and returns the responses.
func talk(t *testing.T, addr string, requests ...string) []*http.Response {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	var out []*http.Response
	for _, q := range requests {
		_, err := io.WriteString(c, q)
		must(t, err)
		method, _, _ := strings.Cut(q, " ")
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body = io.NopCloser(bytes.NewReader(b))
		out = append(out, resp)
	}
	return out
}

func text2(r *http.Response) string { b, _ := io.ReadAll(r.Body); return string(b) }

// firmware is a request as edk2 writes it.
func firmware(method, path string, more ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 10.77.0.1\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n%s\r\n", method, path, strings.Join(more, ""))
}

// TestFirmware: HEAD then GET on one connection, exact length and type, and
// never a redirect, however the path is written.
func TestFirmware(t *testing.T) { families(t, testFirmware) }

func testFirmware(t *testing.T, host string) {
	_, addr := start(t, host)
	for _, path := range []string{"/ipxe.efi", "//ipxe.efi", "/./ipxe.efi", "//.//ipxe.efi", "/ipxe.efi?mac=a&t=b", "/%69pxe.efi"} {
		rs := talk(t, addr, firmware("HEAD", path), firmware("GET", path))
		for i, r := range rs {
			if r.StatusCode != 200 || r.Header.Get("Content-Length") != "10" || r.Header.Get("Content-Type") != "application/efi" || r.Header.Get("Etag") != `"abc"` {
				t.Errorf("%s, request %d: %d %v", path, i, r.StatusCode, r.Header)
			}
		}
		if b := text2(rs[1]); b != "0123456789" {
			t.Errorf("%s: body %q", path, b)
		}
	}
}

// TestErrorsHaveBodies: shim hangs on an empty 404, and edk2 stops at any 3xx.
// Whoever should come back is told when; nobody else is.
func TestErrorsHaveBodies(t *testing.T) { families(t, testErrorsHaveBodies) }

func testErrorsHaveBodies(t *testing.T, host string) {
	_, addr := start(t, host)
	for _, c := range []struct {
		request string
		code    int
		retry   string
	}{
		{firmware("GET", "/nothing"), 404, ""}, {firmware("HEAD", "/nothing"), 404, ""}, {firmware("GET", "/pending"), 403, "90"},
		{firmware("GET", "/../etc/passwd"), 400, ""}, {firmware("GET", "/%2e%2e/etc/passwd"), 400, ""}, {firmware("GET", "/a%00b"), 400, ""},
		{firmware("GET", "/broken"), 503, "5"}, {firmware("GET", "/unmade"), 500, ""}, {firmware("DELETE", "/ipxe.efi"), 405, ""},
		{firmware("GET", "/dir/"), 404, ""}, {firmware("GET", "/index.html"), 404, ""}, {firmware("GET", "/"), 404, ""},
	} {
		r := talk(t, addr, c.request)[0]
		line, _, _ := strings.Cut(c.request, "\r")
		n, _ := strconv.Atoi(r.Header.Get("Content-Length"))
		if r.StatusCode != c.code || n < 1 {
			t.Errorf("%s: %d with %d bytes, want %d and a body", line, r.StatusCode, n, c.code)
		}
		if got, told := r.Header["Retry-After"]; strings.Join(got, " ") != c.retry || told != (c.retry != "") {
			t.Errorf("%s: Retry-After %q, want %q", line, got, c.retry)
		}
		if !strings.HasPrefix(c.request, "HEAD") && len(text2(r)) != n {
			t.Errorf("%s: body is not as long as it says", line)
		}
	}
}

func TestRange(t *testing.T) { families(t, testRange) }

func testRange(t *testing.T, host string) {
	_, addr := start(t, host)
	for _, c := range []struct {
		header string
		code   int
		body   string
	}{
		{"Range: bytes=2-4\r\n", 206, "234"},
		{"Range: bytes=7-\r\n", 206, "789"},
		{"Range: bytes=2-4\r\nIf-Match: \"abc\"\r\n", 206, "234"},
		{"Range: bytes=2-4\r\nIf-Match: \"other\"\r\n", 412, ""},
		{"Range: bytes=2-4\r\nIf-Range: \"other\"\r\n", 200, "0123456789"},
		{"Range: bytes=90-\r\n", 416, ""},
	} {
		r := talk(t, addr, firmware("GET", "/ipxe.efi", c.header))[0]
		b := text2(r)
		if r.StatusCode != c.code || c.body != "" && b != c.body {
			t.Errorf("%q: %d %q", c.header, r.StatusCode, b)
		}
		if c.code == 206 && !strings.HasSuffix(r.Header.Get("Content-Range"), "/10") {
			t.Errorf("%q: Content-Range %q", c.header, r.Header.Get("Content-Range"))
		}
	}
}

// TestOutside: a request that comes from no network of ours gets no answer at
// all.
func TestOutside(t *testing.T) { families(t, testOutside) }

func testOutside(t *testing.T, host string) {
	_, addr := start(t, host)
	resp, err := http.Get("http://" + addr + "/outside")
	if err == nil {
		t.Fatalf("answered with %s", resp.Status)
	}
}

// TestOutcome: a probe, a whole file and a file cut short are told apart, and
// the bytes are counted.
func TestOutcome(t *testing.T) { families(t, testOutcome) }

func testOutcome(t *testing.T, host string) {
	s, addr := start(t, host)
	talk(t, addr, firmware("HEAD", "/ipxe.efi"))
	if o := <-s.ended; o.Result != boot.Probe {
		t.Errorf("HEAD ended as %+v", o)
	}
	talk(t, addr, firmware("GET", "/ipxe.efi"))
	if o := <-s.ended; o.Result != boot.Complete || o.Bytes != 10 {
		t.Errorf("GET ended as %+v", o)
	}
	must(t, os.WriteFile(filepath.Join(s.dir, "big.img"), make([]byte, 64<<20), 0o644))
	c, err := net.Dial("tcp", addr)
	must(t, err)
	io.WriteString(c, firmware("GET", "/big.img"))
	io.ReadFull(c, make([]byte, 1000))
	c.(*net.TCPConn).SetLinger(0) // firmware closes with a reset
	c.Close()
	if o := <-s.ended; o.Result != boot.CutShort || o.Bytes >= 64<<20 {
		t.Errorf("a reset in the middle ended as %+v", o)
	}
}

// TestQuery: the first of each parameter counts, a plus is a plus, and an
// SMBIOS text cannot make itself another machine.
func TestQuery(t *testing.T) { families(t, testQuery) }

func testQuery(t *testing.T, host string) {
	s, addr := start(t, host)
	talk(t, addr, firmware("GET", "/ipxe.efi?mac=52-54-00-aa-bb-01&uuid=c0ffee00-1111-2222-3333-444455556666&arch=x86_64&platform=efi&serial=A+B%20C&mac=52-54-00-00-00-99&uuid=deadbeef-1111-2222-3333-444455556666"))
	q := s.last
	if q.Want.Query.MAC.String() != "52:54:00:aa:bb:01" || q.ID.UUID.String() != "c0ffee00-1111-2222-3333-444455556666" || q.ID.Serial != "A+B C" || q.Firmware.PlatformHint != boot.X64UEFI || !q.Want.Query.Asked {
		t.Errorf("read as %+v", q)
	}
	body := "stage=installer&text=half+way%20through"
	talk(t, addr, fmt.Sprintf("POST /report HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if q := s.last.Want.Query; q.Stage != "installer" || q.Text != "half+way through" {
		t.Errorf("a posted report was read as %+v", q)
	}
	body = `{"product":{"product":"pve"},"network_interfaces":[{"mac":"52:54:00:00:00:99"}]}`
	talk(t, addr, fmt.Sprintf("POST /answer.toml HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if q := s.last; q.Want.Path != "answer.toml" || !q.Want.Query.MAC.IsZero() || q.Want.Head {
		t.Errorf("an installer that asks for its answers was read as %+v", q)
	}
}

var syscr = regexp.MustCompile(`syscr: (\d+)`)

// TestSendfile: a large file leaves in few system calls, so the kernel copies
// it; a wrapper that loses ReadFrom would read it 32 KiB at a time.
func TestSendfile(t *testing.T) { families(t, testSendfile) }

func testSendfile(t *testing.T, host string) {
	nettest.Need(t, "curl")
	s, addr := start(t, host)
	const size = 128 << 20
	f, err := os.Create(filepath.Join(s.dir, "big.img"))
	must(t, err)
	must(t, f.Truncate(size))
	f.Close()
	reads := func() int {
		b, err := os.ReadFile("/proc/self/io")
		if err != nil {
			nettest.Lack(t, "this kernel does not count system calls")
		}
		n, _ := strconv.Atoi(string(syscr.FindSubmatch(b)[1]))
		return n
	}
	before := reads()
	// Another process reads, so that only the server's calls are counted.
	out, err := exec.Command("curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", "http://"+addr+"/big.img").CombinedOutput()
	if err != nil || string(out) != strconv.Itoa(size) {
		t.Fatalf("curl: %v, %s", err, out)
	}
	if n := reads() - before; n > size/(64<<10) {
		t.Errorf("%d reads for %d MiB: the file is copied through the process", n, size>>20)
	}
}

// TestShutdownLetsATransferEnd: a restart does not cut a kernel in half.
func TestShutdownLetsATransferEnd(t *testing.T) {
	s := &shelf{dir: t.TempDir(), ended: make(chan boot.Outcome, 10)}
	const size = 32 << 20
	f, err := os.Create(filepath.Join(s.dir, "big.img"))
	must(t, err)
	must(t, f.Truncate(size))
	f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, "127.0.0.1:0")
	must(t, err)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	done := make(chan error, 1)
	h := NewHandler(s, s, log)
	go func() { done <- Serve(ctx, l, h) }()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer c.Close()
	io.WriteString(c, firmware("GET", "/big.img"))
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	must(t, err)
	cancel()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != size {
		t.Errorf("%d of %d bytes, %v", n, size, err)
	}
	c.Close()
	must(t, <-done)
}

// TestSlowBody: no request waits for another one's body.
func TestSlowBody(t *testing.T) {
	for _, path := range []string{"/report", "/ipxe.efi"} {
		synctest.Test(t, func(t *testing.T) {
			s := &shelf{dir: t.TempDir(), ended: make(chan boot.Outcome, 100)}
			must(t, os.WriteFile(filepath.Join(s.dir, "ipxe.efi"), []byte("0123456789"), 0o644))
			l := make(pipes, 1)
			srv := &http.Server{Handler: NewHandler(s, s, slog.New(slog.DiscardHandler))}
			done := make(chan error, 1)
			go func() { done <- srv.Serve(l) }()
			c, far := net.Pipe()
			l <- far
			began := time.Now()
			io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nstage=")
			c.SetReadDeadline(began.Add(10 * bodyTimeout))
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s: still open: %v", path, err)
			}
			if took := time.Since(began); took > 2*bodyTimeout {
				t.Errorf("%s: the connection ended after %s", path, took)
			}
			srv.Close()
			<-done
		})
	}
}

// pipes is a listener in a bubble of synctest, where no socket can be.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return onPort{c}, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return onPort{}.LocalAddr() }

// onPort gives a pipe the addresses of a connection.
type onPort struct{ net.Conn }

func (onPort) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80} }
func (onPort) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 1024} }

// TestOneAddressCannotHaveAll: connections of one address are bounded.
func TestOneAddressCannotHaveAll(t *testing.T) { families(t, testOneAddressCannotHaveAll) }

func testOneAddressCannotHaveAll(t *testing.T, host string) {
	_, addr := start(t, host)
	refused := 0
	for range perClient + 30 {
		c, err := net.Dial("tcp", addr)
		must(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, firmware("HEAD", "/nothing"))
		if _, err := c.Read(make([]byte, 10)); err != nil {
			refused++
		}
	}
	if refused != 30 {
		t.Errorf("%d connections were refused, want 30", refused)
	}
}

// from is a connection of an address.
type from struct {
	net.Conn
	addr net.TCPAddr
}

func (c *from) RemoteAddr() net.Addr { return &c.addr }
func (*from) LocalAddr() net.Addr    { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80} }

// TestStrangersGiveWay: where all connections are taken, a machine that may boot finds
// room in the place of a stranger's, busy or not, before one of its own kind. A stranger
// does not find any in the place of such a machine.
func TestStrangersGiveWay(t *testing.T) {
	machine := func(a netip.Addr) bool { return a.As4()[2] == 1 }
	for _, c := range []struct {
		name   string
		inside string // in the order in which they came: stranger, machine; capitals are busy
		comes  string
		leaves int // in inside; -1: the one that comes
	}{
		{name: "a machine, by a stranger that waits", inside: "mSs", comes: "m", leaves: 2},
		{name: "a machine, by a stranger that is busy", inside: "mSM", comes: "m", leaves: 1},
		{name: "a machine, by the machine that waits longest", inside: "Mmm", comes: "m", leaves: 1},
		{name: "a machine, by none: all are busy", inside: "MMM", comes: "m", leaves: -1},
		{name: "a stranger, by the stranger that waits longest", inside: "mss", comes: "s", leaves: 1},
		{name: "a stranger, by none that is busy", inside: "SSS", comes: "s", leaves: -1},
		{name: "a stranger, by no machine", inside: "mMS", comes: "s", leaves: -1},
	} {
		l := newLimited(nil, len(c.inside), machine, new(Stats))
		arrive := func(kind string, n int) (net.Conn, bool) {
			ours, far := net.Pipe()
			t.Cleanup(func() { ours.Close(); far.Close() })
			x := &from{ours, net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(n)), Port: 1024}}
			if strings.EqualFold(kind, "m") {
				x.addr.IP[len(x.addr.IP)-2] = 1
			}
			ok := l.enter(x)
			if g := l.guests[pairOf(x)]; ok && strings.ToUpper(kind) == kind {
				l.waiting[g.rank].Remove(g.place)
				g.place = nil
			}
			return x, ok
		}
		var inside []net.Conn
		for i, kind := range strings.Split(c.inside, "") {
			x, _ := arrive(kind, 10+i)
			inside = append(inside, x)
		}
		if _, ok := arrive(c.comes, 99); ok != (c.leaves >= 0) {
			t.Errorf("%s: it was let in: %v", c.name, ok)
		}
		for i, x := range inside {
			if _, stays := l.guests[pairOf(x)]; stays != (i != c.leaves) {
				t.Errorf("%s: number %d stays: %v", c.name, i, stays)
			}
		}
	}
}

// TestFullIsNotShut: when all connections are taken by clients that ask for nothing, the
// next one gets its answer, in the place of the one that has waited longest.
func TestFullIsNotShut(t *testing.T) { families(t, testFullIsNotShut) }

func testFullIsNotShut(t *testing.T, host string) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	asked, answer := make(chan struct{}), make(chan struct{})
	stats := new(Stats)
	ll := newLimited(l, 5, nil, stats)
	srv := &http.Server{
		Handler: ll.watched(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				asked <- struct{}{}
				<-answer
			}
			io.WriteString(w, "here")
		})),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState: func(c net.Conn, st http.ConnState) {
			if st == http.StateClosed {
				ll.leave(c)
			}
		},
	}
	go srv.Serve(ll)
	defer srv.Close()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	get := func(c net.Conn, path string) string {
		t.Helper()
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err.Error()
		}
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	// The first is at work: it stays, although it is the oldest.
	slow := dial()
	io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	var idle []net.Conn
	for range 4 {
		c := dial()
		if got := get(c, "/"); got != "here" {
			t.Fatal(got)
		}
		idle = append(idle, c)
	}
	for i := range 3 {
		if got := get(dial(), "/"); got != "here" {
			t.Errorf("newcomer %d: %s", i, got)
		}
	}
	for i, c := range idle {
		_, err := c.Read(make([]byte, 1))
		var waits net.Error
		c.SetReadDeadline(time.Now())
		if closed := !errors.As(err, &waits) || !waits.Timeout(); i < 3 && !closed {
			t.Errorf("idle connection %d: %v", i, err)
		}
		if i == 2 {
			break
		}
	}
	if n := stats.GaveWay.Load(); n < 3 {
		t.Errorf("%d are counted as given way", n)
	}
	close(answer)
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	must(t, err)
	if b, _ := io.ReadAll(resp.Body); string(b) != "here" {
		t.Errorf("the one at work got %q", b)
	}
}

// TestFetched: a part of a file that is being fetched is given out when all of it is right;
// what cannot be had now is asked for again.
func TestFetched(t *testing.T) {
	s, addr := start(t, "127.0.0.1")
	for _, n := range []string{"fetched", "fetched-wrong", "away"} {
		if err := os.WriteFile(filepath.Join(s.dir, n), []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, part string
		status     int
		waited     int32
	}{
		{"fetched", "", 200, 0}, {"fetched", "bytes=0-3", 206, 1}, {"fetched-wrong", "bytes=0-3", 503, 2}, {"away", "", 503, 2},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+c.name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.part != "" {
			r.Header.Set("Range", c.part)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status || s.waited.Load() != c.waited || (c.status == 503) != (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%+v: %s, waited %d, %v", c, resp.Status, s.waited.Load(), resp.Header)
		}
		<-s.ended
	}
}
