package iso

// This file reads images that real tools write.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// write makes a folder; a value "-> x" is a symbolic link.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, ok := strings.CutPrefix(data, "-> "); ok && err == nil {
			err = os.Symlink(target, p)
		} else if err == nil {
			err = os.WriteFile(p, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// make runs xorriso as mkisofs and opens what it wrote.
func makeISO(t testing.TB, dir string, args ...string) (*Image, *os.File) {
	t.Helper()
	nettest.Need(t, "xorriso")
	out := filepath.Join(t.TempDir(), "x.iso")
	args = append(append([]string{"-as", "mkisofs", "-quiet", "-o", out}, args...), dir)
	cmd := exec.Command("xorriso", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // how it reads the names
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, msg)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

// same compares the files of a folder with the image's: read through Open,
// through ReadAt, and from the image where Locate says.
func same(t *testing.T, dir string, m *Image, f io.ReaderAt, isoName func(string) string) {
	t.Helper()
	seen := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		seen++
		want, err := os.ReadFile(filepath.Join(dir, p))
		if err != nil {
			return err
		}
		name := isoName(p)
		got, err := fs.ReadFile(m, name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
			return nil
		}
		off, size, err := m.Locate(name)
		if err != nil || size != int64(len(want)) {
			t.Errorf("Locate(%s): %d, %v; want %d", name, size, err, len(want))
			return nil
		}
		got = make([]byte, size)
		if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Locate(%s) points to other bytes (%v)", name, err)
		}
		if st, err := m.Stat(name); err != nil || st.Size() != size || st.Name() != path.Base(name) || time.Since(st.ModTime()) > time.Hour {
			t.Errorf("Stat(%s): %v, %v", name, st, err)
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d files seen, %v", seen, err)
	}
}

func asIs(p string) string { return p }

var tree = map[string]string{
	"README.txt":                       "read me\n",
	"Empty":                            "",
	"casper/vmlinuz":                   strings.Repeat("kernel", 5000),
	"casper/initrd":                    strings.Repeat("initrd", 9000),
	"A name with blanks & ünïcode.txt": "names\n",
	strings.Repeat("long", 60):         "240 bytes of name\n", // needs a continuation area
	"dists/stable":                     "-> trixie",
	"dists/trixie/Release":             "Suite: stable\n",
	"pool/main/l/linux/x.deb":          "deb",
	"pool/alias":                       "-> ../pool/./main",
	"a/b/c/d/e/f/g/h/i/j/k/l/m/file":   "deep\n",
	"firmware":                         "-> " + strings.Repeat("dists/../", 20) + "dists",
	"outside":                          "-> /etc/passwd",
	"above":                            "-> ../../../../../../etc/passwd",
	"pool/above":                       "-> ../../etc/passwd",
	"self":                             "-> self",
	"nowhere":                          "-> not/there",
}

func TestRockRidge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, tree)
	for _, args := range [][]string{
		{"-V", "Test 1.0 amd64"},
		{"-V", "Test 1.0 amd64", "-J"},
		{"-V", "Test 1.0 amd64", "-rr_reloc_dir", "rr_moved"}, // directories below level 8 move up (CL, RE)
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			m, f := makeISO(t, dir, args...)
			if m.names != rockRidge {
				t.Errorf("names are %d, want Rock Ridge", m.names)
			}
			if m.Label() != "Test 1.0 amd64" {
				t.Errorf("label %q", m.Label())
			}
			same(t, dir, m, f, asIs)
			for name, want := range map[string]string{
				"dists/stable/Release":     "Suite: stable\n",
				"pool/alias/l/linux/x.deb": "deb",
				"firmware/trixie/Release":  "Suite: stable\n",
				"DISTS/Stable/release":     "Suite: stable\n", // exact first, then without case
			} {
				if got, err := fs.ReadFile(m, name); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			for name, want := range map[string]string{
				"outside":    `"outside" leads to "/etc/passwd"`,
				"above":      "climbs out",
				"pool/above": "climbs out",
				"nowhere":    "not exist",
			} {
				_, err := m.Open(name)
				if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
					t.Errorf("open %s: %v, want %q", name, err, want)
				}
			}
			if _, err := m.Open("self"); err == nil || !strings.Contains(err.Error(), "symbolic links") {
				t.Errorf("a link to itself: %v", err)
			}
			if got, err := m.ReadLink("above"); err != nil || got != "../../../../../../etc/passwd" {
				t.Errorf("ReadLink: %q, %v", got, err)
			}
			if st, err := m.Lstat("self"); err != nil || st.Mode().Type() != fs.ModeSymlink {
				t.Errorf("Lstat: %v, %v", st, err)
			}
			if got, err := fs.Glob(m, "pool/main/*/linux/*.deb"); err != nil || !slices.Equal(got, []string{"pool/main/l/linux/x.deb"}) {
				t.Errorf("Glob: %v, %v", got, err)
			}
		})
	}
}

// TestFS is what the standard library asks of a file system; it opens every
// name, so the tree has no links that lead nowhere.
func TestFS(t *testing.T) {
	dir := t.TempDir()
	sound := map[string]string{}
	for name, data := range tree {
		if !strings.HasPrefix(data, "-> ") || name == "dists/stable" {
			sound[name] = data
		}
	}
	write(t, dir, sound)
	for i, args := range [][]string{{}, {"--norock", "-J"}, {"--norock"}, {"-rr_reloc_dir", "rr_moved"}} {
		if i > 0 && testing.Short() {
			break // a tree with the names of Rock Ridge is enough for every run
		}
		m, _ := makeISO(t, dir, args...)
		want := "casper/vmlinuz"
		if err := fstest.TestFS(m, want); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestJolietOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"Casper/Vmlinuz-6.1": "kernel", "ünï Ж.txt": "x", "no.ext.": "y"})
	m, f := makeISO(t, dir, "--norock", "-J", "-V", "JOLIET")
	if m.names != joliet {
		t.Fatalf("names are %d, want Joliet", m.names)
	}
	same(t, dir, m, f, func(p string) string { return strings.TrimSuffix(p, ".") })
	if _, err := m.Stat("casper/VMLINUZ-6.1"); err != nil {
		t.Error(err)
	}
}

// The ESXi installer is such an image.
func TestPlainNames(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"EFI/BOOT/BOOTX64.EFI": "efi", "BOOT.CFG": "cfg", "NOEXT": "n"})
	m, f := makeISO(t, dir, "--norock", "-iso-level", "1")
	if m.names != plain {
		t.Fatalf("names are %d, want plain", m.names)
	}
	same(t, dir, m, f, strings.ToLower)
	same(t, dir, m, f, asIs)
	list, err := m.ReadDir(".")
	if err != nil || len(list) != 3 || list[0].Name() != "boot.cfg" || list[2].Name() != "noext" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestBootImages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"bios.img": strings.Repeat("b", 2048), "efi.img": strings.Repeat("e", 1<<20)})
	m, f := makeISO(t, dir, "-b", "bios.img", "-no-emul-boot", "-boot-load-size", "4", "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot")
	got := m.BootImages()
	if len(got) != 2 || got[0].Platform != PlatformX86 || got[0].Size != 2048 || got[1].Platform != PlatformUEFI || got[1].Size != 1<<20 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []byte{'b', 'e'} {
		b := make([]byte, 4)
		if _, err := f.ReadAt(b, got[i].Off+100); err != nil || b[0] != want {
			t.Errorf("boot image %d begins elsewhere: %q, %v", i, b, err)
		}
	}
	if off, _, err := m.Locate("efi.img"); err != nil || off != got[1].Off {
		t.Errorf("efi.img is at %d, %v; want %d", off, err, got[1].Off)
	}
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 20 {
		for j := range 20 {
			files[fmt.Sprintf("d%d/f%d", i, j)] = fmt.Sprint(i, j)
		}
	}
	write(t, dir, files)
	m, _ := makeISO(t, dir)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for name, want := range files {
				if got, err := fs.ReadFile(m, name); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
	wg.Wait()
}

// A file of more than 4 GiB lies in several extents (ECMA-119 6.5.1 with
// iso-level 3). xorriso writes it into a pipe, and zeros are left out of the
// file that is made of it.
func TestMultiExtent(t *testing.T) {
	if testing.Short() {
		t.Skip("passes 4 GiB through a pipe")
	}
	nettest.Need(t, "xorriso")
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "big.iso")
	const size = 4<<30 + 5<<20 + 7
	big, err := os.Create(filepath.Join(dir, "install.wim"))
	if err == nil {
		_, err = big.WriteAt([]byte("middle"), 4<<30-3) // across the end of the first extent
	}
	if err == nil {
		_, err = big.WriteAt([]byte("the end"), size-7)
	}
	if err != nil {
		t.Fatal(err)
	}
	big.Close()
	write(t, dir, map[string]string{"boot/vmlinuz": "kernel"})
	cmd := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-o", "-", dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	total, buf, zeros := int64(0), make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(pipe, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], total); err != nil {
				t.Fatal(err)
			}
		}
		total += int64(n)
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(total); err != nil {
		t.Fatal(err)
	}
	count := &counter{r: f}
	m, err := Open(count, total)
	if err != nil {
		t.Fatal(err)
	}
	off, n, err := m.Locate("install.wim")
	if err != nil || n != size {
		t.Fatalf("Locate: %d, %d, %v", off, n, err)
	}
	if count.bytes > 64<<10 {
		t.Errorf("%d bytes read to open an image and find a file", count.bytes)
	}
	file, err := m.Open("install.wim")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{4<<30 - 3: "middle", size - 7: "the end"} {
		b := make([]byte, len(want))
		if _, err := file.(io.ReaderAt).ReadAt(b, at); err != nil && err != io.EOF || string(b) != want {
			t.Errorf("at %d: %q, %v", at, b, err)
		}
		if _, err := f.ReadAt(b, off+at); err != nil || string(b) != want {
			t.Errorf("in the image at %d: %q, %v", off+at, b, err)
		}
	}
}

type counter struct {
	r     io.ReaderAt
	bytes int64
}

func (c *counter) ReadAt(b []byte, off int64) (int, error) {
	c.bytes += int64(len(b))
	return c.r.ReadAt(b, off)
}
