package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/nettest"
)

// TestMirrorCommand: what cannot be is told before anything is fetched, what is stored is
// the mirror alone, and what it lacks is said.
func TestMirrorCommand(t *testing.T) {
	a := nettest.NewArchive(t)
	for n := range 25 {
		a.Add(fmt.Sprintf("p%02d", n), "1", "Essential: yes", "Depends: nothing")
	}
	a.Release()
	dir, err := os.MkdirTemp("", "m") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	var stored []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/images", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.List[boot.Image]{Items: []boot.Image{{Name: "disc", Kind: "debian"}, {Name: "deb", Kind: boot.MirrorImage}}})
	})
	mux.HandleFunc("POST /api/v1/images/import", func(w http.ResponseWriter, r *http.Request) {
		stored = nil
		for in := tar.NewReader(r.Body); ; {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Error(err)
				break
			}
			stored = append(stored, h.Name)
		}
		_ = json.NewEncoder(w).Encode(boot.Image{Name: "deb"})
	})
	l, err := admin.Listen(dir)
	must(t, err)
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })

	kept := filepath.Join(t.TempDir(), "kept")
	mirror := func(name string, args ...string) (int, string) {
		var out strings.Builder
		code := execute(t.Context(), append([]string{"image", "mirror", name, "--from", a.Dir, "--suite", "trixie", "--keyring", a.Key, "--dir", kept, "--data-dir", dir}, args...), func(string) string { return "" }, &out, &out)
		return code, out.String()
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(a.Dir, link))
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"disc", nil, "image disc exists and is no mirror"},
		{"a/b", nil, "a/b"},
		{"deb", []string{"--dir", a.Dir}, "lie in one another"},
		{"deb", []string{"--dir", link}, "lie in one another"},
		{"deb", []string{"--dir", filepath.Join(link, "new/one")}, "lie in one another"},
		{"deb", []string{"--dir", filepath.Dir(a.Dir)}, "lie in one another"},
		{"deb", []string{"--lazy", "--from", "http://u:p@127.0.0.1:1/"}, "without a password"},
	} {
		if code, out := mirror(c.name, c.args...); code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s %q: %d, %s", c.name, c.args, code, out)
		}
		if _, err := os.Lstat(kept); err == nil {
			t.Errorf("%s %q: something was fetched", c.name, c.args)
		}
	}
	for range 2 {
		code, out := mirror("deb")
		if code != 0 || strings.Count(out, "warning: the archive has nothing for nothing, which p") != 20 || !strings.Contains(out, "and 5 dependencies more") {
			t.Errorf("%d, %s", code, out)
		}
		for _, n := range stored {
			if !strings.HasPrefix(n, "dists/trixie/") && !strings.HasPrefix(n, "pool/main/p/") && strings.Contains(n, "/") {
				t.Errorf("%s was stored", n)
			}
			if strings.Contains(n, "secret") {
				t.Errorf("%s was published", n)
			}
		}
		if len(stored) < 30 {
			t.Errorf("%q was stored", stored)
		}
		for _, n := range []string{"secret", "pool/main/p/secret"} {
			must(t, os.WriteFile(filepath.Join(kept, n), []byte("mine"), 0o600))
		}
	}
}
