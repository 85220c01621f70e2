package images

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestPut(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for range 2 { // twice is once
		b, err := s.Put(ctx, strings.NewReader("hello"), hello)
		if err != nil || b != (boot.Blob{Digest: hello, Size: 5}) {
			t.Fatalf("%+v, %v", b, err)
		}
	}
	f, err := s.Open(hello)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, _ := io.ReadAll(f); string(b) != "hello" {
		t.Errorf("read back %q", b)
	}
	// Wrong bytes and broken readers leave nothing.
	if _, err := s.Put(ctx, strings.NewReader("hullo"), hello[:63]+"5"); !errors.Is(err, ErrDigest) {
		t.Errorf("wrong digest: %v", err)
	}
	if _, err := s.Put(ctx, io.MultiReader(strings.NewReader("half"), broken{}), ""); err == nil {
		t.Error("half a file was stored")
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Put(dead, strings.NewReader("late"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	left, _ := filepath.Glob(dir + "/*/*")
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	// What a crash left is gone after the next start.
	os.WriteFile(filepath.Join(dir, tmpDir, "half"), []byte("x"), 0o644)
	s.Close()
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ = filepath.Glob(dir + "/tmp/*"); len(left) != 0 {
		t.Errorf("left after a start: %v", left)
	}
	for _, d := range []string{"", "../../etc/passwd", strings.Repeat("g", 64), strings.ToUpper(hello), hello[:63] + "5"} {
		if f, err := s.Open(d); !errors.Is(err, boot.ErrNoFile) {
			t.Errorf("digest %q: %v, %v", d, f, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("line was cut") }

func TestLoaders(t *testing.T) {
	own, system := t.TempDir(), t.TempDir()
	put := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(system, "ipxe.efi", "system")
	put(system, "undionly.kpxe", "system")
	put(own, "undionly.kpxe", "own")
	put(own, "ipxe-arm64.efi", "") // an empty file is none
	put(own, "shimx64.efi", "own")
	put(own, "notes.txt", "not a loader")
	l := FindLoaders(own, system, "/does/not/exist")
	have := l.ByPlatform()
	if have[boot.X64UEFI] != "ipxe.efi" || have[boot.BIOS] != "undionly.kpxe" || have[boot.ARM64UEFI] != "" {
		t.Errorf("found %v", have)
	}
	f, err := l.Open("undionly.kpxe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Body.Close()
	if b, _ := io.ReadAll(f.Body); string(b) != "own" {
		t.Errorf("the operator's folder does not come first: %q", b)
	}
	if l.Path("shimx64.efi") != filepath.Join(own, "shimx64.efi") || l.Path("notes.txt") != "" {
		t.Errorf("signed loaders: %q, %q", l.Path("shimx64.efi"), l.Path("notes.txt"))
	}
	if _, err := l.Open("../../etc/passwd"); !errors.Is(err, boot.ErrNoFile) {
		t.Errorf("a name that is no loader: %v", err)
	}
	m := l.Missing(boot.X64UEFI, boot.ARM64UEFI)
	if len(m) != 1 || !strings.Contains(m[0], "no loader for arm64-uefi") || !strings.Contains(m[0], own) {
		t.Errorf("missing: %q", m)
	}
}

// TestDamagedFileIsHealed: the same bytes again replace what the disk spoilt, also for
// who reads from now on; and they are not new.
func TestDamagedFileIsHealed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Put(t.Context(), strings.NewReader("kernel"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, place(b.Digest)), []byte("kernal"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := s.Open(b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := s.Verify(t.Context(), b, func(int64) {}); !errors.Is(err, ErrDigest) {
		t.Fatalf("damaged: %v", err)
	}
	if _, fresh, err := s.put(t.Context(), strings.NewReader("kernel"), b.Digest, func(string) {}); err != nil || fresh {
		t.Errorf("put again: new %v, %v", fresh, err)
	}
	if err := s.Verify(t.Context(), b, func(int64) {}); err != nil {
		t.Errorf("after the same bytes again: %v", err)
	}
}
