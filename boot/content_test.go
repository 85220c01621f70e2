package boot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// TestSection: a part of a file reads as a file of its own, and moves no other.
func TestSection(t *testing.T) {
	const whole = "head, the part in the middle, tail"
	part := whole[6:28]
	closed := 0
	s := NewSection(strings.NewReader(whole), 6, int64(len(part)), func() { closed++ })
	if err := iotest.TestReader(s, []byte(part)); err != nil {
		t.Error(err)
	}
	if at, err := s.Seek(4, io.SeekStart); at != 4 || err != nil {
		t.Errorf("at %d, %v", at, err)
	}
	if at, err := s.Seek(-5, io.SeekCurrent); at != 4 || err == nil {
		t.Errorf("before the beginning: at %d, %v", at, err)
	}
	if at, err := s.Seek(-4, io.SeekCurrent); at != 0 || err != nil {
		t.Errorf("at %d, %v", at, err)
	}
	if b, err := io.ReadAll(s); string(b) != part || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if n, err := s.ReadAt(make([]byte, 1), -1); n != 0 || err != io.EOF {
		t.Errorf("before the beginning: %d, %v", n, err)
	}
	for range 2 {
		if err := s.Close(); err != nil || closed != 1 {
			t.Errorf("given back %d times, %v", closed, err)
		}
	}
	if err := NewSection(nil, 0, 0, nil).Close(); err != nil {
		t.Error(err)
	}
	sick := errors.New("sick")
	if _, err := NewSection(failing{sick}, 0, 9, nil).Read(make([]byte, 1)); !errors.Is(err, sick) {
		t.Errorf("a file that fails: %v", err)
	}
	if _, ok := s.Descriptor(); ok {
		t.Error("text has a descriptor")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if fd, ok := NewSection(f, 0, 0, nil).Descriptor(); !ok || fd != f.Fd() {
		t.Errorf("descriptor %d, %v", fd, ok)
	}
}

// failing cannot be read.
type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }
