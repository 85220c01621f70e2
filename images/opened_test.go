package images

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestOpened: readers of one file share a descriptor. A reader that comes after
// the file was replaced or written to reads the new one; the others go on with
// the old one.
func TestOpened(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "loader.efi")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(name, "first")
	var o Opened
	open := func(want string) *boot.Section {
		t.Helper()
		s, err := o.File(name)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size)); string(b) != want || err != nil {
			t.Errorf("read %q, %v, want %q", b, err, want)
		}
		return s
	}
	one, two := open("first"), open("first")
	if one.File != two.File {
		t.Error("two readers, two descriptors")
	}
	put(name+".new", "other")
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	three := open("other")
	put(name, "longer than before")
	if err := os.Chtimes(name, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	four := open("longer than before")
	if three.File == one.File || four.File == three.File {
		t.Error("a file that was replaced is still served")
	}
	one.Close()
	b := make([]byte, 5)
	if _, err := two.ReadAt(b, 0); err != nil || string(b) != "first" {
		t.Errorf("who began before reads %q, %v", b, err)
	}
	for _, s := range []*boot.Section{two, three, four} {
		s.Close()
		if _, err := s.File.(*os.File).Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("still open after its last reader: %v", err)
		}
	}
	if len(o.files) != 0 {
		t.Errorf("%d files are held", len(o.files))
	}
	if _, err := o.File(dir); !errors.Is(err, boot.ErrNoFile) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := o.File(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}
