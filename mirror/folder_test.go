package mirror

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

// files writes some, and there says whether one is there with its text.
func files(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		p := filepath.Join(dir, n)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte("mine"), 0o644))
	}
}

func there(dir, name string) bool {
	b, err := os.ReadFile(filepath.Join(dir, name))
	return err == nil && string(b) == "mine"
}

// TestFolder: nothing of anybody's is removed or written over.
func TestFolder(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Add("vim", "9")
	a.Release()
	src := Folder{os.DirFS(a.Dir)}

	dir := t.TempDir()
	files(t, dir, "pool/README")
	if _, err := take(t, a, src, dir, Want{}); err == nil || !strings.Contains(err.Error(), "holds pool, and no mirror") || !there(dir, "pool/README") {
		t.Errorf("a folder of somebody's: %v", err)
	}

	dir = t.TempDir()
	r, err := take(t, a, src, dir, Want{Packages: []string{"vim"}})
	must(t, err)
	mine := []string{"pool/README", "pool/main/f/foreign/foreign_1_amd64.deb", "dists/sid/InRelease", "notes"}
	files(t, dir, mine...)
	for _, f := range r.Files {
		if _, err := os.Lstat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	// What was ours and is a link now is not.
	elsewhere := t.TempDir()
	files(t, elsewhere, "vim_9_amd64.deb")
	vim := filepath.Join(dir, "pool/main/v/vim")
	must(t, os.RemoveAll(vim))
	must(t, os.Symlink(elsewhere, vim))
	if _, err := take(t, a, src, dir, Want{Packages: []string{"vim"}}); err == nil || !strings.Contains(err.Error(), "pool/main/v/vim is a link") || !there(elsewhere, "vim_9_amd64.deb") {
		t.Errorf("behind a link: %v", err)
	}
	_, err = take(t, a, src, dir, Want{})
	must(t, err)
	if _, err := os.Lstat(vim); err != nil || !there(elsewhere, "vim_9_amd64.deb") {
		t.Errorf("a link and what lies behind it: %v", err)
	}
	must(t, os.Remove(vim))
	_, err = take(t, a, src, dir, Want{Packages: []string{"vim"}})
	must(t, err)
	r, err = take(t, a, src, dir, Want{Lazy: true})
	must(t, err)
	if got := strings.Join(pool(t, dir), " "); got != "foreign_1" {
		t.Errorf("in the pool lies %s", got)
	}
	for _, f := range mine {
		if !there(dir, f) {
			t.Errorf("%s is gone", f)
		}
		for _, k := range r.Files {
			if k == f {
				t.Errorf("%s is said to be of the mirror", f)
			}
		}
	}

	// A list that was tampered with leads nowhere.
	must(t, os.WriteFile(filepath.Join(dir, marker), []byte(`{"suite": "trixie", "files": ["notes", "../x", "pool/../notes", "/etc/x", "dists/none"]}`), 0o644))
	if _, err = take(t, a, src, dir, Want{}); err != nil || !there(dir, "notes") {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, marker), []byte(`{"suite": "bookworm"}`), 0o644))
	if _, err = take(t, a, src, dir, Want{}); err == nil || !strings.Contains(err.Error(), "holds a mirror of bookworm") {
		t.Errorf("another suite: %v", err)
	}
}

// TestBrokenOff: a run that fails leaves the last release whole, and nothing that a later
// one does not remove.
func TestBrokenOff(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Release()
	dir := t.TempDir()
	_, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{})
	must(t, err)
	state := func() (s string) {
		for _, f := range []string{"InRelease", "Release", "Release.gpg", "main/binary-amd64/Packages.xz", "main/binary-amd64/Packages.gz"} {
			b, err := os.ReadFile(filepath.Join(dir, "dists/trixie", f))
			must(t, err)
			s += string(b)
		}
		return s
	}
	good := state()
	in := filepath.Join(a.Dir, "dists/trixie/InRelease")
	must(t, os.WriteFile(in, []byte("<html>log in first"), 0o644))
	if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{}); err == nil || state() != good {
		t.Errorf("a bad answer: %v", err)
	}
	a.Add("base-files", "14", "Essential: yes")
	a.Release()
	deb := filepath.Join(a.Dir, "pool/main/b/base-files/base-files_14_amd64.deb")
	must(t, os.Rename(deb, deb+".away"))
	if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{}); err == nil || state() != good {
		t.Errorf("a package that is not there: %v", err)
	}
	must(t, os.Remove(filepath.Join(a.Dir, "pool/main/b/base-files/base-files_13_amd64.deb")))
	a.Add("base-files", "15", "Essential: yes")
	a.Release()
	r, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{})
	must(t, err)
	n := 0
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if !d.IsDir() && d.Name() != marker {
			n++
		}
		return err
	}))
	if n != len(r.Files) || state() == good {
		t.Errorf("%d files lie there, %d are of the release", n, len(r.Files))
	}
}
