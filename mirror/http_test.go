package mirror

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

func get(t *testing.T, h HTTP, name string) (string, error) {
	t.Helper()
	r, err := h.Open(context.Background(), name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// TestStall: a server that falls silent, before its answer or in the midst of it, is asked
// again and then an error.
func TestStall(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Release()
	files := http.FileServer(http.Dir(a.Dir))
	var asked atomic.Int32
	bad := ""
	silent := 1
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, bad) && int(asked.Add(1)) <= silent {
			if bad == ".deb" {
				_, _ = w.Write([]byte("!"))
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer srv.Close()
	web := HTTP{Root: srv.URL, Client: NewClient(), Stall: 50 * time.Millisecond}
	for _, bad = range []string{".deb", "/InRelease"} {
		asked.Store(0)
		silent = 1
		if _, err := take(t, a, web, t.TempDir(), Want{}); err != nil || asked.Load() != 2 {
			t.Errorf("%s: %v after asking %d times", bad, err, asked.Load())
		}
		asked.Store(0)
		silent = tries
		if _, err := take(t, a, web, t.TempDir(), Want{}); err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "sent nothing for") || asked.Load() != tries {
			t.Errorf("%s: %v after asking %d times", bad, err, asked.Load())
		}
	}
}

// TestAsItIs: bytes and names as they are.
func TestAsItIs(t *testing.T) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		w.Header().Set("Content-Encoding", "gzip")
		if r.Header.Get("Accept-Encoding") != "" {
			w.Header().Set("X", "it asked for it")
		}
		_, _ = w.Write([]byte("\x1f\x8b and so on"))
	}))
	defer srv.Close()
	names := []string{"Packages.gz", "pool/g++_1%3a2~rc1+b1_a b#?.deb"}
	for _, n := range names {
		if got, err := get(t, HTTP{Root: srv.URL + "/x/", Client: NewClient()}, n); err != nil || got != "\x1f\x8b and so on" {
			t.Errorf("%s: %q, %v", n, got, err)
		}
	}
	if want := []string{"/x/Packages.gz", "/x/" + (&url.URL{Path: names[1]}).EscapedPath()}; !slices.Equal(asked, want) || want[1] != "/x/pool/g++_1%253a2~rc1+b1_a%20b%23%3F.deb" {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

// TestRedirects: a few, and none that gives up encryption.
func TestRedirects(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := filepath.Base(r.URL.Path)
		if n == "0" {
			_, _ = w.Write([]byte("here"))
			return
		}
		http.Redirect(w, r, "/"+string(n[0]-1), http.StatusFound)
	}))
	defer plain.Close()
	safe := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/0", http.StatusFound))
	defer safe.Close()
	web := HTTP{Root: plain.URL, Client: NewClient()}
	if got, err := get(t, web, "5"); err != nil || got != "here" {
		t.Errorf("five: %q, %v", got, err)
	}
	if _, err := get(t, web, "6"); err == nil || !strings.Contains(err.Error(), "more than 5 redirects") {
		t.Errorf("six: %v", err)
	}
	c := NewClient()
	c.Transport = safe.Client().Transport
	if _, err := get(t, HTTP{Root: safe.URL, Client: c}, "x"); err == nil || !strings.Contains(err.Error(), "which is not encrypted") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from https to http: %v", err)
	}
}
