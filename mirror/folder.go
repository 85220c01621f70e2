package mirror

// This file keeps a mirror in a folder, beside nothing else that is anybody's.

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	marker = ".muster-mirror"
	parts  = ".muster-parts" // what is not whole yet
)

// folder is one that a mirror is kept in. Names come from lists, and from a file that lies
// there: none leads out of it.
type folder struct {
	dir  string
	root *os.Root
	was  ours
}

// ours is the text of the marker: nothing else than what it lists is ever removed.
type ours struct {
	Suite string   `json:"suite"`
	Date  string   `json:"date,omitempty"` // of the release that lies there
	Files []string `json:"files"`
}

// openFolder opens a folder that is empty, or was made by this for the same suite.
func openFolder(dir, suite string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, root: root}
	if err := f.claim(suite); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

func (f *folder) claim(suite string) error {
	text, err := f.root.ReadFile(marker)
	if errors.Is(err, fs.ErrNotExist) {
		l, err := fs.ReadDir(f.root.FS(), ".")
		if err != nil {
			return err
		}
		if len(l) > 0 {
			return fmt.Errorf("%s holds %s, and no mirror: what is not needed any more is removed from the folder of a mirror, so name an empty one or one that does not exist", f.dir, l[0].Name())
		}
		f.was.Suite = suite
		return f.mark(f.was)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &f.was); err != nil {
		return fmt.Errorf("%s/%s cannot be read (%w): name an empty folder", f.dir, marker, err)
	}
	if f.was.Suite != suite {
		return fmt.Errorf("%s holds a mirror of %s: name another folder for %s", f.dir, f.was.Suite, suite)
	}
	return f.root.RemoveAll(parts)
}

// mark notes what lies there.
func (f *folder) mark(o ours) error {
	slices.Sort(o.Files)
	o.Files = slices.Compact(o.Files)
	text, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		return err
	}
	return f.write(marker, text)
}

// is says whether a file lies at a name. Of links none is ours, nor what lies behind one.
func (f *folder) is(name string) (bool, error) {
	at := ""
	for _, part := range strings.Split(name, "/") {
		at = path.Join(at, part)
		st, err := f.root.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		case err != nil:
			return false, err
		case at == name && !st.Mode().IsRegular(), at != name && !st.IsDir():
			return false, fmt.Errorf("%s/%s is a link or something else that the mirror did not put there: move it away", f.dir, at)
		}
	}
	return true, nil
}

// write puts a file there at once or not at all.
func (f *folder) write(name string, b []byte) error {
	w, err := f.part()
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return f.settle(w, name, err)
}

// part begins a file that has no name yet.
func (f *folder) part() (*os.File, error) {
	if err := f.root.MkdirAll(parts, 0o755); err != nil {
		return nil, err
	}
	return f.root.OpenFile(path.Join(parts, rand.Text()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
}

// settle gives a file its name, if it came to be without an error.
func (f *folder) settle(w *os.File, name string, err error) error {
	part := path.Join(parts, path.Base(w.Name()))
	defer func() { _ = f.root.Remove(part) }()
	if e := w.Close(); err == nil {
		err = e
	}
	if err == nil {
		_, err = f.is(name)
	}
	if err == nil {
		err = f.root.MkdirAll(path.Dir(name), 0o755)
	}
	if err == nil {
		err = f.root.Rename(part, name)
	}
	return err
}

// link puts the bytes of a file under a second name.
func (f *folder) link(from, to string) error {
	if _, err := f.is(to); err != nil {
		return err
	}
	if err := f.root.MkdirAll(parts, 0o755); err != nil {
		return err
	}
	if err := f.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	part := path.Join(parts, rand.Text())
	if err := f.root.Link(from, part); err != nil {
		return err
	}
	// Where both names are one file already, rename(2) does nothing.
	defer func() { _ = f.root.Remove(part) }()
	return f.root.Rename(part, to)
}

// sum is the digest of a file, "" where there is none.
func (f *folder) sum(name string) (string, error) {
	if is, err := f.is(name); !is {
		return "", err
	}
	r, err := f.root.Open(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", nil // as good as none: it is fetched again
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sweep removes what the last run left and this one does not keep.
func (f *folder) sweep(kept map[string]bool) error {
	for _, name := range f.was.Files {
		if kept[name] || !fs.ValidPath(name) || !strings.HasPrefix(name, "dists/") && !strings.HasPrefix(name, "pool/") {
			continue
		}
		if is, err := f.is(name); !is || err != nil {
			continue // gone, or somebody else's by now
		}
		if err := f.root.Remove(name); err != nil {
			return err
		}
	}
	return f.root.RemoveAll(parts)
}
