package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// upstream is a server of one file, which may fail in ways of its own.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // Range of each request
	serve func(w http.ResponseWriter, r *http.Request, n int)
}

func newUpstream(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, n int)) *upstream {
	u := &upstream{serve: serve}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		n := len(u.asked)
		u.asked = append(u.asked, r.Header.Get("Range"))
		serve := u.serve
		u.mu.Unlock()
		serve(w, r, n)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string{}, u.asked...)
}

func puller(t *testing.T) *Puller {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &Puller{Store: s, Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler), Pause: time.Nanosecond, Again: time.Hour}
}

func bytesOf(n int) ([]byte, boot.Blob) {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	sum := sha256.Sum256(b)
	return b, boot.Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(n)}
}

func at(url string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return url, nil }
}

func (p *Puller) all(t *testing.T, b boot.Blob, url string) ([]byte, error) {
	t.Helper()
	o, err := p.Open(t.Context(), b, at(url))
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	if o.Size != b.Size || o.ETag != `"`+b.Digest+`"` {
		t.Errorf("%+v", o)
	}
	return io.ReadAll(o.Body)
}

// TestPull: many readers, one transfer, which breaks off and goes on; afterwards the file
// is here, whatever became of the place that it is from.
func TestPull(t *testing.T) {
	want, b := bytesOf(3<<20 + 17)
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter, r *http.Request, n int)
		asked string
	}{
		"at once": {func(w http.ResponseWriter, r *http.Request, _ int) {
			http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(want))
		}, `[""]`},
		"broken off, and goes on": {func(w http.ResponseWriter, r *http.Request, n int) {
			if n < 2 {
				w = &cut{w, 1 << 20}
			}
			http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(want))
		}, `["" "bytes=1048576-" "bytes=2097152-"]`},
		"broken off, by a server without ranges": {func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("Content-Length", fmt.Sprint(len(want)))
			if n == 0 {
				_, _ = w.Write(want[:1<<20])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(want)
		}, `["" "bytes=1048576-"]`},
	} {
		t.Run(name, func(t *testing.T) {
			u, p := newUpstream(t, c.serve), puller(t)
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					o, err := p.Open(t.Context(), b, at(u.URL))
					if err != nil {
						t.Error(err)
						return
					}
					defer o.Body.Close()
					if i%2 == 0 { // a range from the middle, and the end
						x := make([]byte, 1000)
						if _, err := o.Body.ReadAt(x, 2_000_000); err != nil || !bytes.Equal(x, want[2_000_000:2_001_000]) {
							t.Errorf("a range: %v", err)
						}
						if n, err := o.Body.ReadAt(x, b.Size-10); n != 10 || err != io.EOF || !bytes.Equal(x[:10], want[b.Size-10:]) {
							t.Errorf("the end: %d, %v", n, err)
						}
						return
					}
					if got, err := io.ReadAll(o.Body); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				})
			}
			wg.Wait()
			if got := fmt.Sprintf("%q", u.requests()); got != c.asked {
				t.Errorf("it was asked %s, want %s", got, c.asked)
			}
			u.Close()
			if got, err := p.all(t, b, u.URL); err != nil || !bytes.Equal(got, want) || p.Fetched.Load() != 1 {
				t.Errorf("with the upstream away: %d bytes, %v, %d fetched", len(got), err, p.Fetched.Load())
			}
		})
	}
}

// cut is an answer that breaks off.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

// TestPullRefuses: what is not what was declared is given to nobody whole, and is not kept;
// a failure counts for a while.
func TestPullRefuses(t *testing.T) {
	want, b := bytesOf(600_000)
	other := bytes.Clone(want)
	other[7] ^= 1
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter, r *http.Request, n int)
		want  string
		tries int
	}{
		"other bytes":    {func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(other) }, "bytes do not match", 1},
		"fewer bytes":    {func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(want[:1000]) }, "it has 1000 bytes, and 600000 were declared", 1},
		"not there":      {func(w http.ResponseWriter, _ *http.Request, _ int) { http.Error(w, "no", http.StatusNotFound) }, "404 Not Found", 1},
		"in trouble":     {func(w http.ResponseWriter, _ *http.Request, _ int) { http.Error(w, "no", http.StatusBadGateway) }, "502 Bad Gateway", 3},
		"ends too early": {func(http.ResponseWriter, *http.Request, int) { panic(http.ErrAbortHandler) }, "EOF", 3},
	} {
		t.Run(name, func(t *testing.T) {
			u, p := newUpstream(t, c.serve), puller(t)
			got, err := p.all(t, b, u.URL+"?token=secret")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || int64(len(got)) >= b.Size {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if _, there := p.Store.Has(b.Digest); there || p.Failed.Load() != 1 {
				t.Errorf("it is stored, or not counted: %d", p.Failed.Load())
			}
			if _, err := p.all(t, b, u.URL); err == nil || len(u.requests()) != c.tries {
				t.Errorf("asked again at once: %v, %d requests", err, len(u.requests()))
			}
			p.Again = time.Nanosecond
			u.mu.Lock()
			u.serve = func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(want) }
			u.mu.Unlock()
			if got, err := p.all(t, b, u.URL); err != nil || !bytes.Equal(got, want) {
				t.Errorf("later: %d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("a url that cannot be had", func(t *testing.T) {
		p := puller(t)
		if _, err := p.Open(t.Context(), b, func(context.Context) (string, error) { return "", errors.New("no leave") }); err == nil || !strings.Contains(err.Error(), "no leave") {
			t.Errorf("%v", err)
		}
	})
}

// TestPullBounds: a few files at once, others wait their turn, and of those only so many;
// who waits no longer leaves nothing behind, and Close ends all of it.
func TestPullBounds(t *testing.T) {
	p := puller(t)
	here := make(chan struct{}, maxPulls+maxQueue)
	u := newUpstream(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		here <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for i := range maxPulls + maxQueue {
		_, b := bytesOf(1000 + i)
		go func() {
			_, err := p.Open(ctx, b, at(u.URL))
			done <- err
		}()
	}
	for range maxPulls {
		<-here
	}
	for { // all of them have asked
		p.mu.Lock()
		n := len(p.pulls)
		p.mu.Unlock()
		if n == maxPulls+maxQueue {
			break
		}
		runtime.Gosched()
	}
	_, b := bytesOf(5)
	if _, err := p.Open(t.Context(), b, at(u.URL)); !errors.Is(err, boot.ErrLater) || p.Refused.Load() != 1 {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range maxPulls + maxQueue {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if n := len(u.requests()); n != maxPulls {
		t.Errorf("%d files were on their way at once", n)
	}
	p.Close()
	if len(p.pulls) != 0 {
		t.Errorf("%d files are still on their way", len(p.pulls))
	}
	if _, err := p.join(b, at(u.URL)); !errors.Is(err, boot.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	left, err := fs.ReadDir(p.Store.root.FS(), tmpDir)
	if err != nil || len(left) != 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// TestPullTurns: many machines, each at another file, all get theirs.
func TestPullTurns(t *testing.T) {
	p := puller(t)
	bodies := map[string][]byte{}
	for i := range 3 * maxPulls {
		bodies["/"+strconv.Itoa(i)], _ = bytesOf(2000 + i)
	}
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) { _, _ = w.Write(bodies[r.URL.Path]) })
	var wg sync.WaitGroup
	for i := range 3 * maxPulls {
		wg.Go(func() {
			want, b := bytesOf(2000 + i)
			if got, err := p.all(t, b, u.URL+"/"+strconv.Itoa(i)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
}

// TestPullKeepsRoom: what may be fetched leaves enough of the disk to the store.
func TestPullKeepsRoom(t *testing.T) {
	p := puller(t)
	free := uint64(reserve + 5000)
	p.Free = func() (uint64, bool) { return free, true }
	want, b := bytesOf(4000)
	u := newUpstream(t, func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = w.Write(want) })
	if _, err := p.all(t, b, u.URL); err != nil {
		t.Errorf("%v", err)
	}
	_, more := bytesOf(6000)
	if _, err := p.Open(t.Context(), more, at(u.URL)); !errors.Is(err, boot.ErrLater) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("%v", err)
	}
}

// TestPullWhole: until all of a file is right, who asks for a part waits, and of a file
// that turns out wrong has nothing.
func TestPullWhole(t *testing.T) {
	_, b := bytesOf(600_000)
	evil := bytes.Repeat([]byte("EVIL"), 150_000)
	rest := make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		_, _ = w.Write(evil[:1000])
		w.(http.Flusher).Flush()
		<-rest
		_, _ = w.Write(evil[1000:])
	})
	p := puller(t)
	o, err := p.Open(t.Context(), b, at(u.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Whole(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone: %v", err)
	}
	close(rest)
	if err := o.Whole(t.Context()); !errors.Is(err, ErrDigest) {
		t.Errorf("a wrong file: %v", err)
	}
}

// TestPullReaderGoes: who has gone waits for nothing.
func TestPullReaderGoes(t *testing.T) {
	want, b := bytesOf(600_000)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		_, _ = w.Write(want[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	p := puller(t)
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := p.Open(ctx, b, at(u.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, o.Body)
		read <- err
	}()
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestUpstreamSendsOn: where an upstream sends us on to is not this computer, and a
// connection that was safe stays so.
func TestUpstreamSendsOn(t *testing.T) {
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	defer secret.Close()
	client := Upstream()
	away := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.Redirect(w, r, secret.URL, http.StatusFound) })
	if resp, err := client.Get(away.URL); err == nil {
		resp.Body.Close()
		t.Error("it was followed to another service of this computer")
	} else if !strings.Contains(err.Error(), "this computer's own") {
		t.Errorf("%v", err)
	}
	here := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/b", http.StatusFound)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "packed")
	})
	resp, err := client.Get(here.URL + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "packed" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"https://a.example/x", "http://a.example/x", "https to http"},
		{"https://a.example/x", "https://b.example/x", ""},
		{"http://a.example/x", "https://a.example/x", ""},
	} {
		from, err := http.NewRequest(http.MethodGet, c.from, nil)
		to, err2 := http.NewRequest(http.MethodGet, c.to, nil)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if err := client.CheckRedirect(to, []*http.Request{from}); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		if err := client.CheckRedirect(to, slices.Repeat([]*http.Request{from}, maxSentOn+1)); err == nil {
			t.Error("it may send us on for ever")
		}
	}
}
