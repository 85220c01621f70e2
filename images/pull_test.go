package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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

// TestPullBounds: a few files at once, and who waits no longer leaves nothing behind.
func TestPullBounds(t *testing.T) {
	p := puller(t)
	here, free := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(http.ResponseWriter, *http.Request, int) {
		select {
		case here <- struct{}{}:
		case <-free:
		}
		<-free
	})
	var blobs []boot.Blob
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for i := range maxPulls {
		_, b := bytesOf(1000 + i)
		blobs = append(blobs, b)
		go func() {
			_, err := p.Open(ctx, b, at(u.URL))
			done <- err
		}()
	}
	for range blobs {
		<-here
	}
	_, b := bytesOf(5)
	if _, err := p.Open(t.Context(), b, at(u.URL)); err == nil || !strings.Contains(err.Error(), "ask again") || p.Refused.Load() != 1 {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range blobs {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	p.mu.Lock()
	var running []*pull
	for _, x := range p.pulls {
		running = append(running, x)
	}
	p.mu.Unlock()
	close(free)
	for _, x := range running {
		if err := x.wait(t.Context()); err == nil {
			t.Error("it is there, and nothing was sent")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pulls) != 0 {
		t.Errorf("%d files are still on their way", len(p.pulls))
	}
}
