package iso

// This file feeds the reader what nobody thought of.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// pack leaves out an image's zeros, of which it mostly consists: a fuzzer would
// spend its time on them. Each piece is a sector's number, a length and as many
// bytes; the first number is how many sectors there are.
func pack(b []byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(len(b)/sectorSize))
	for n := 0; (n+1)*sectorSize <= len(b); n++ {
		s := bytes.TrimRight(b[n*sectorSize:(n+1)*sectorSize], "\x00")
		if len(s) > 0 {
			out = binary.BigEndian.AppendUint16(out, uint16(n))
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(s))), s...)
		}
	}
	return out
}

func unpack(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	out := make([]byte, int(binary.BigEndian.Uint16(b)%2048)*sectorSize)
	for b = b[2:]; len(b) > 4; {
		at, n := int(binary.BigEndian.Uint16(b))*sectorSize, int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		n = min(n, len(b))
		if at < len(out) {
			copy(out[at:], b[:n])
		}
		b = b[n:]
	}
	return out
}

func FuzzOpen(f *testing.F) {
	m := newImg(36)
	m.dir(21, link("up", "..", "f"), subdir("back", rootSector), m.file("g", 31, "g"))
	m.dir(22, m.file("moved", 32, "moved"))
	copy(m.sector(33), append(nm("continued"), ce(33, 40, 0)...))
	multi := rec("MULTI", 30, sectorSize, flagMore, nm("multi"))
	m.dir(rootSector, subdir("d", 21), m.file("f", 30, "f"), link("l", "d", "g"), link("abs", "/", "x"), multi, rec("MULTI", 34, 9, 0, nil),
		rec("CL", 0, 0, 0, append(nm("cl"), cl(22)...)), rec("CE", 34, 10, 0, ce(33, 0, 60)))
	f.Add(pack(m.b))
	j := newImg(30)
	copy(j.sector(18), j.sector(17))
	copy(j.sector(17), j.sector(16))
	d := j.sector(17)
	d[0] = 2
	copy(d[88:], "%/E")
	copy(d[156:], rec("\x00", 22, sectorSize, flagDirectory, nil))
	clear(j.sector(rootSector))
	j.dir(22, rec("\x00F\x00;\x001", 23, 5, 0, nil), rec("\x04\x16", 24, sectorSize, flagDirectory, nil))
	j.dir(24)
	f.Add(pack(j.b))
	if _, err := exec.LookPath("xorriso"); err == nil {
		dir, out := f.TempDir(), filepath.Join(f.TempDir(), "x.iso")
		write(f, dir, map[string]string{"a/b/c/d/e/f/g/h/i/file": "deep", "link": "-> a/b", "EFI.IMG": "efi", "A long name.txt": ""})
		for _, args := range [][]string{{"-R", "-J"}, {"-rr_reloc_dir", "rr"}, {"--norock"}, {"-eltorito-alt-boot", "-e", "EFI.IMG", "-no-emul-boot"}} {
			args = append(append([]string{"-as", "mkisofs", "-quiet", "-no-pad", "-o", out}, args...), dir)
			if msg, err := exec.Command("xorriso", args...).CombinedOutput(); err != nil {
				f.Fatalf("%v\n%s", err, msg)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(pack(b))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		b := unpack(packed)
		m, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		_ = m.Label()
		for _, x := range m.BootImages() {
			if m.check(extent{x.Off, x.Size}) != nil {
				t.Errorf("boot image outside: %+v", x)
			}
		}
		// A walk may be as long as an image likes, by directories that many
		// others hold: the bound is the caller's.
		left := 500
		stop := errors.New("enough")
		err = fs.WalkDir(m, ".", func(p string, d fs.DirEntry, err error) error {
			if left--; left < 0 {
				return stop
			}
			if d != nil && !fs.ValidPath(p) {
				t.Errorf("invalid path %q", p)
			}
			if err != nil || d.IsDir() {
				return nil
			}
			off, size, err := m.Locate(p)
			if err == nil && m.check(extent{off, size}) != nil {
				t.Errorf("%s lies outside: %d, %d", p, off, size)
			}
			file, openErr := m.Open(p)
			if err == nil && openErr != nil {
				t.Errorf("%s can be located, not opened: %v", p, openErr)
			}
			if openErr != nil {
				return nil
			}
			n, err := io.Copy(io.Discard, io.LimitReader(file, 1<<16))
			st, statErr := file.Stat()
			if err != nil || statErr != nil || !st.IsDir() && n != min(st.Size(), 1<<16) {
				if st == nil || !st.IsDir() {
					t.Errorf("%s: %d bytes, %v, %v", p, n, err, statErr)
				}
			}
			return nil
		})
		if err != nil && err != stop {
			t.Error(err)
		}
		_, _ = m.Open("d/../a")
		_, _ = m.ReadLink("l")
	})
}
