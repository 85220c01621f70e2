package iso

// This file reads images that were made to mislead, and sees that they are
// refused in words, in little time and with little memory.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// bounded fails the test if f takes much processor time or allocates much.
func bounded(t *testing.T, limit time.Duration, mebibytes uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := busy()
	f()
	took := busy() - start
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > mebibytes {
		t.Errorf("allocated %d MiB, want at most %d", n, mebibytes)
	}
	if took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
}

// says checks an error's words.
func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(m *img)
		want string
	}{
		{"nothing", func(m *img) { m.b = nil }, "it has 0 bytes"},
		{"a web page", func(m *img) { m.b = []byte(strings.Repeat("<html>404 ", 10000)) }, "sector 16 holds no volume descriptor"},
		{"truncated", func(m *img) { m.b = m.b[:40*sectorSize] }, "the image says 102400 bytes, the file has 81920: it is truncated"},
		{"no primary descriptor", func(m *img) { m.sector(16)[0] = 3 }, "no primary volume descriptor"},
		{"no terminator, one byte short", func(m *img) {
			m.sector(17)[0] = 3
			for n := 18; n < 50; n++ {
				copy(m.sector(n), m.sector(17))
			}
			m.b = m.b[:len(m.b)-1]
			both32(m.sector(16)[80:], 18)
		}, "sector 49"},
		{"small blocks", func(m *img) { binary.LittleEndian.PutUint16(m.sector(16)[128:], 512) }, "blocks have 512 bytes"},
		{"root beyond the end", func(m *img) { both32(m.sector(16)[158:], 1<<31) }, "root directory lies at sector 2147483648"},
		{"root larger than the image", func(m *img) { both32(m.sector(16)[166:], 1<<31) }, "root directory lies at sector 20"},
		{"root is a file", func(m *img) { m.sector(16)[156+25] = 0 }, "that of a file"},
		{"root with a name too long", func(m *img) { m.sector(16)[156+32] = 200 }, "a name of 200 bytes"},
		{"continuation loop in the root", func(m *img) {
			m.sector(rootSector)[0] = 0
			copy(m.sector(rootSector), rec("\x00", rootSector, sectorSize, flagDirectory, append(sp(), ce(30, 0, 28)...)))
			copy(m.sector(30), ce(30, 0, 28))
		}, "continuation areas do not end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newImg(50)
			tc.make(m)
			bounded(t, 5*time.Second, 8, func() {
				_, err := m.open()
				says(t, err, tc.want)
			})
		})
	}
}

// eager reports io.EOF with the last byte, as io.ReaderAt allows.
type eager struct{ sparse }

func (r *eager) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.sparse.ReadAt(b, off)
	if off+int64(n) == r.size {
		err = io.EOF
	}
	return n, err
}

// Descriptors without an end are read up to a bound, and the last sector is
// read whole.
func TestOpenReads(t *testing.T) {
	m := newImg(500)
	for n := 17; n < 500; n++ {
		copy(m.sector(n), "\x03CD001\x01")
	}
	both32(m.sector(16)[158:], 499)
	r := &eager{sparse{b: m.b, size: int64(len(m.b))}}
	m.dir(499, m.file("f", 30, "f"))
	iso, err := Open(r, r.size)
	if err != nil {
		t.Fatal(err)
	}
	if r.reads > maxDescriptors+5 {
		t.Errorf("%d reads", r.reads)
	}
	if _, err := iso.Stat("f.;1"); err == nil {
		t.Error("found by a name it has not")
	}
	if _, err := iso.Stat("F"); err != nil {
		t.Error(err)
	}
}

// A directory that lies is refused whole, and says where.
func TestDirectoryRefuses(t *testing.T) {
	area := func(sector, off int, size uint32) []byte { return rec("F", 0, 0, 0, ce(sector, off, size)) }
	for _, tc := range []struct {
		name string
		rec  []byte
		want string
	}{
		{"traversal", rec("P", 30, 4, 0, nm("../../etc/passwd")), `the name "../../etc/passwd" is not allowed`},
		{"parent", rec("P", 30, 4, 0, nm("..")), `the name ".." is not allowed`},
		{"self", rec("P", 30, 4, 0, nm(".")), `the name "." is not allowed`},
		{"slash", rec("P", 30, 4, 0, nm("a/b")), "is not allowed"},
		{"NUL", rec("P", 30, 4, 0, nm("a\x00b")), "is not allowed"},
		{"plain slash", rec("../X", 30, 4, 0, nil), "is not allowed"},
		{"plain and empty", rec(".;1", 30, 4, 0, nil), "is not allowed"},
		{"name of a kilobyte", area(40, 0, 1000), "more than 255 bytes"},
		{"link of ten kilobytes", area(41, 0, 2048), "more than 4096 bytes"},
		{"continuation loop", area(42, 0, 28), "continuation areas do not end"},
		{"continuation beyond the end", area(5000, 0, 28), "a continuation area lies at sector 5000"},
		{"continuation across sectors", area(42, 2040, 28), "28 bytes at byte 2040"},
		{"continuation of 4 GiB", area(42, 0, 1<<32-1), "continuation area of 4294967295 bytes"},
		{"record past its sector", slices.Concat(make([]byte, 0), []byte{255}, make([]byte, 254))[:100], "a directory record of"},
		{"record of one byte", append([]byte{1}, make([]byte, 33)...), "a directory record of 1 bytes"},
		{"name past its record", func() []byte { r := rec("F", 30, 4, 0, nil); r[32] = 200; return r }(), "a name of 200 bytes"},
		{"interleaved", func() []byte { r := rec("F", 30, 4, 0, nil); r[26] = 1; return r }(), "interleaved"},
		{"goes on for ever", rec("F", 30, 4, flagMore, nil), "goes on in a record that is not there"},
		{"goes on elsewhere", append(rec("F", 30, 4, flagMore, nil), rec("G", 30, 4, 0, nil)...), "goes on under another name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newImg(50)
			long := nm(strings.Repeat("n", 240))
			long[4] = 1 // the name goes on
			copy(m.sector(40), slices.Concat(long, long, long, long))
			long = sl(strings.Repeat("l", 100), strings.Repeat("l", 100))
			long[4] = 1 // the link goes on
			ces := slices.Concat(long, long, long, long, long, long, long, long, long, ce(41, 0, 2000))
			copy(m.sector(41), ces)
			copy(m.sector(42), ce(42, 0, 28))
			m.dir(21, tc.rec)
			if tc.name == "record past its sector" {
				s := m.sector(21)
				clear(s)
				for i := 0; i < 2000; i += 40 {
					copy(s[i:], rec("F", 30, 4, 0, px(0o100644)[:4]))
					s[i] = 40
				}
				s[2000] = 200
			}
			m.dir(rootSector, subdir("bad", 21), m.file("good", 30, "good"))
			iso, err := m.open()
			if err != nil {
				t.Fatal(err)
			}
			bounded(t, 5*time.Second, 8, func() {
				_, err = iso.ReadDir("bad")
				says(t, err, tc.want)
				says(t, err, `readdir bad: sector `)
			})
			if _, err := iso.Open("bad/f"); err == nil {
				t.Error("a file in it can be opened")
			}
			if got, err := fs.ReadFile(iso, "good"); string(got) != "good" {
				t.Errorf("the file beside it: %q, %v", got, err)
			}
		})
	}
}

// A file that lies is refused; the files beside it are not.
func TestFileRefuses(t *testing.T) {
	m := newImg(50)
	multi := rec("MULTI", 30, 2048, flagMore, nm("multi"))
	m.dir(rootSector,
		rec("BEYOND", 49, 4096, 0, nm("beyond")),
		rec("FAR", 1<<31, 1, 0, nm("far")),
		rec("HUGE", 30, 1<<32-1, 0, nm("huge")),
		rec("EMPTY", 1<<31, 0, 0, nm("empty")),
		multi, multi, rec("MULTI", 1<<30, 2048, 0, nm("multi")),
		rec("PIPE", 0, 0, 0, append(nm("pipe"), px(0o010644)...)),
		rec("DIR", 49, 4096, flagDirectory, nm("dir")),
		m.file("good", 30, "good"))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"beyond": "piece 1 of the file lies at sector 49 with 4096 bytes, and the image ends after 102400",
		"far":    "lies at sector 2147483648",
		"huge":   "file of 4294967295 bytes in an image of 102400",
		"multi":  "piece 3 of the file lies at sector 1073741824",
	} {
		_, err := iso.Open(name)
		says(t, err, want)
		_, err = iso.Stat(name)
		says(t, err, want)
		_, _, err = iso.Locate(name)
		says(t, err, want)
	}
	_, err = iso.Open("pipe")
	says(t, err, "not a regular file")
	for _, name := range []string{"pipe", "dir", "."} {
		if _, _, err := iso.Locate(name); name != "dir" && !errors.Is(err, ErrNoFile) {
			t.Errorf("%s: %v", name, err) // who asks for it is told that there is no such file
		}
	}
	_, err = iso.ReadDir("dir")
	says(t, err, "lies at sector 49")
	if off, size, err := iso.Locate("empty"); off != 0 || size != 0 || err != nil {
		t.Errorf("an empty file: %d, %d, %v", off, size, err)
	}
	if got, err := fs.ReadFile(iso, "good"); string(got) != "good" {
		t.Errorf("the file beside them: %q, %v", got, err)
	}
	list, err := iso.ReadDir(".")
	if err != nil || len(list) != 8 {
		t.Errorf("%v, %v", list, err)
	}
}

// A small image that lists one piece again and again would fill a disk.
func TestPiecesAddUp(t *testing.T) {
	m := newImg(50)
	var r [][]byte
	for range 30 {
		r = append(r, rec("F", 25, 20*sectorSize, flagMore, nil))
	}
	m.dir(rootSector, append(r, rec("F", 25, 20*sectorSize, 0, nil))...)
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = iso.Open("f")
	says(t, err, "in an image of 102400")
}

func TestPieces(t *testing.T) {
	m := newImg(50)
	for i, s := range []int{30, 31, 40, 44} {
		copy(m.sector(s), strings.Repeat(string(rune('a'+i)), sectorSize))
	}
	m.dir(rootSector,
		rec("JOINED", 30, sectorSize, flagMore, nm("joined")), rec("JOINED", 31, 100, 0, nm("joined")),
		rec("APART", 30, sectorSize, flagMore, nm("apart")), rec("APART", 40, sectorSize, flagMore, nm("apart")), rec("APART", 44, 5, 0, nm("apart")))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if off, size, err := iso.Locate("joined"); off != 30*sectorSize || size != sectorSize+100 || err != nil {
		t.Errorf("joined: %d, %d, %v", off, size, err)
	}
	if _, _, err := iso.Locate("apart"); !errors.Is(err, ErrPieces) {
		t.Errorf("apart: %v", err)
	}
	want := strings.Repeat("a", sectorSize) + strings.Repeat("c", sectorSize) + "ddddd"
	if got, err := fs.ReadFile(iso, "apart"); err != nil || string(got) != want {
		t.Errorf("apart: %d bytes, %v", len(got), err)
	}
	f, err := iso.Open("apart")
	if err != nil {
		t.Fatal(err)
	}
	r := f.(interface {
		io.ReaderAt
		io.Seeker
		io.Reader
	})
	for _, c := range []struct{ off, n int }{{0, 1}, {2047, 2}, {2047, 2050}, {4095, 6}, {4100, 1}, {0, len(want)}, {2048, 2048}} {
		b := make([]byte, c.n)
		if n, err := r.ReadAt(b, int64(c.off)); n != c.n || err != nil && err != io.EOF || string(b) != want[c.off:c.off+c.n] {
			t.Errorf("ReadAt(%d, %d): %d, %v", c.off, c.n, n, err)
		}
	}
	// The reader below reports what it cannot give, and no more than it did.
	q := newPieces(strings.NewReader("0123456789"), []extent{{2, 2}, {8, 4}, {0, 1}})
	for _, c := range []struct {
		off, n int
		want   string
	}{{0, 2, "23"}, {1, 2, "38"}, {0, 9, "2389"}, {3, 1, "9"}, {4, 1, ""}, {6, 1, "0"}, {7, 1, ""}, {6, 2, "0"}} {
		b := make([]byte, c.n)
		n, err := q.ReadAt(b, int64(c.off))
		if string(b[:n]) != c.want || (n < c.n) != (err != nil) {
			t.Errorf("ReadAt(%d, %d): %q, %v; want %q", c.off, c.n, b[:n], err, c.want)
		}
	}
	if n, err := r.ReadAt(make([]byte, 10), 4097); n != 4 || err != io.EOF {
		t.Errorf("ReadAt over the end: %d, %v", n, err)
	}
	if _, err := r.Seek(-5, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(r); string(b) != "ddddd" || err != nil {
		t.Errorf("after Seek: %q, %v", b, err)
	}
}

func TestLoops(t *testing.T) {
	m := newImg(50)
	m.dir(21, subdir("up", rootSector), subdir("same", 21), subdir("down", 22), m.file("f", 30, "f"))
	m.dir(22, subdir("back", 21))
	m.dir(rootSector, subdir("a", 21), subdir("root", rootSector))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"root": `directory "root" is inside itself (sector 20)`, "a/up": `"up" is inside itself`, "a/same": `"same" is inside itself`,
		"a/down/back/down/back": `"back" is inside itself (sector 21)`,
	} {
		_, err := iso.ReadDir(name)
		says(t, err, want)
	}
	seen := 0
	bounded(t, 5*time.Second, 8, func() {
		err = fs.WalkDir(iso, ".", func(_ string, _ fs.DirEntry, err error) error { seen++; return nil })
	})
	if err != nil || seen != 12 {
		t.Errorf("%d names seen, %v", seen, err)
	}
}

func TestDeep(t *testing.T) {
	const levels = 10_000
	m := newImg(rootSector + levels + 2)
	for n := range levels {
		m.dir(rootSector+n, subdir("d", rootSector+n+1))
	}
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	deep := 0
	bounded(t, 10*time.Second, 32, func() {
		err = fs.WalkDir(iso, ".", func(p string, _ fs.DirEntry, err error) error {
			deep = max(deep, strings.Count(p, "/"))
			return err
		})
		says(t, err, "more than 64 levels deep")
		_, err = iso.Open(strings.Repeat("d/", levels-1) + "d")
		says(t, err, "more than 64 levels deep")
	})
	if deep != maxDepth {
		t.Errorf("%d levels were walked", deep)
	}
	if _, err := iso.ReadDir(strings.Repeat("d/", maxDepth-1) + "d"); err != nil {
		t.Error(err)
	}
}

func TestLinks(t *testing.T) {
	m := newImg(50)
	m.dir(21, link("up", "..", "..", "x"), link("good", "..", "f"), m.file("g", 31, "g"))
	var chain [][]byte
	for n := range maxLinks + 1 {
		chain = append(chain, link(fmt.Sprintf("l%02d", n), fmt.Sprintf("l%02d", n+1)))
	}
	chain = append(chain, m.file(fmt.Sprintf("l%02d", maxLinks+1), 32, "end"))
	m.dir(22, chain...)
	// One link of 150 steps, three times.
	var steps []string
	for range 50 {
		steps = append(steps, "d", "..", ".")
	}
	long := rec("LONG", 0, 0, 0, slices.Concat(nm("long"), ce(40, 0, 500)))
	copy(m.sector(40), sl(steps[:60]...))
	m.dir(rootSector, subdir("d", 21), subdir("chain", 22), m.file("f", 30, "f"), long,
		link("absolute", "/", "etc", "passwd"), link("out", "..", "f"), link("a", "b"), link("b", "a"), link("dot", ".", "d"), link("void"),
		link("bomb", "long", "long", "long", "long", "long", "f"))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"absolute": `"absolute" leads to "/etc/passwd", outside the image`,
		"out":      "climbs out of the image",
		"d/up":     "climbs out of the image",
		"void":     `"void" leads to ""`,
		"f/x":      "not exist",
	} {
		_, err := iso.Open(name)
		says(t, err, want)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v is not fs.ErrNotExist", name, err)
		}
	}
	for name, want := range map[string]string{"a": "more than 16 symbolic links", "a/x": "more than 16 symbolic links", "chain/l00": "more than 16 symbolic links", "bomb": "more than 256 steps"} {
		_, err := iso.Open(name)
		says(t, err, want)
	}
	for name, want := range map[string]string{"d/good": "f", "dot/g": "g", "chain/l01": "end", "dot/../f": ""} {
		if got, err := fs.ReadFile(iso, name); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A directory moved up (CL) shows where it was, and its moved self (RE) does
// not; a child link may not make a loop either.
func TestMovedDirectories(t *testing.T) {
	m := newImg(50)
	m.dir(21, rec("DEEP", 0, 0, 0, append(nm("deep"), cl(23)...)), rec("LIAR", 0, 0, 0, append(nm("liar"), cl(26)...)), rec("LOOP", 0, 0, 0, append(nm("loop"), cl(21)...)),
		rec("FAR", 0, 0, 0, append(nm("far"), cl(1<<20)...)), rec("NONE", 0, 0, 0, append(nm("none"), cl(30)...)))
	m.dir(22, rec("DEEP", 23, sectorSize, flagDirectory, append(nm("deep"), susp("RE")...)))
	m.dir(23, m.file("f", 30, "moved"))
	binary.LittleEndian.PutUint32(m.sector(23)[10:], 2*sectorSize) // it goes on in sector 24
	copy(m.sector(24), m.file("g", 31, "too"))
	m.dir(26, m.file("f", 30, "moved"))
	binary.LittleEndian.PutUint32(m.sector(26)[2:], 23) // says it is another
	m.dir(rootSector, subdir("a", 21), subdir("rr_moved", 22))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fs.ReadFile(iso, "a/deep/f"); string(got) != "moved" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := fs.ReadFile(iso, "a/deep/g"); string(got) != "too" {
		t.Errorf("%q, %v", got, err)
	}
	if st, err := iso.Stat("a/deep"); err != nil || !st.IsDir() {
		t.Errorf("%v, %v", st, err)
	}
	if list, err := iso.ReadDir("rr_moved"); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	for name, want := range map[string]string{"a/loop": "is inside itself", "a/far": "lies at sector 1048576", "a/none": "moved to sector 30, where none is", "a/liar": "moved to sector 26, where none is"} {
		_, err := iso.ReadDir(name)
		says(t, err, want)
	}
}

// Only one half of a number in both byte orders counts.
func TestByteOrdersDisagree(t *testing.T) {
	m := newImg(50)
	f := m.file("f", 30, "right")
	binary.BigEndian.PutUint32(f[6:], 31)
	binary.BigEndian.PutUint32(f[14:], 1<<30)
	copy(m.sector(31), "wrong")
	m.dir(rootSector, f)
	d := m.sector(16)
	binary.BigEndian.PutUint32(d[84:], 1<<30)
	binary.BigEndian.PutUint16(d[130:], 1)
	binary.BigEndian.PutUint32(d[162:], 1<<30)
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fs.ReadFile(iso, "f"); string(got) != "right" {
		t.Errorf("%q, %v", got, err)
	}
}

// A directory of the largest size, in an image that is nothing but zeros
// after its start, and directories that state more.
func TestHugeDirectories(t *testing.T) {
	m := newImg(50)
	m.dir(rootSector,
		rec("MOST", 50, maxDirSize, flagDirectory, nm("most")),
		rec("MORE", 50, maxDirSize+1, flagDirectory, nm("more")),
		rec("ALL", 50, 1<<32-2048, flagDirectory, nm("all")))
	r := &sparse{b: m.b, size: 6 << 30}
	iso, err := Open(r, r.size)
	if err != nil {
		t.Fatal(err)
	}
	if r.reads > 5 || r.bytes > 10*sectorSize {
		t.Errorf("opening read %d bytes in %d reads", r.bytes, r.reads)
	}
	bounded(t, 20*time.Second, 8, func() {
		if list, err := iso.ReadDir("most"); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
	before := r.bytes
	for _, name := range []string{"more", "all"} {
		_, err := iso.ReadDir(name)
		says(t, err, "at most 67108864 are read")
	}
	if r.bytes != before {
		t.Errorf("%d bytes read to refuse", r.bytes-before)
	}
}

// many fills a directory of so many sectors with one record again and again.
func (m *img) many(sector, sectors int, name func(i int) []byte) int {
	n := 0
	for s := range sectors {
		b := m.sector(sector + s)
		for {
			r := name(n)
			if len(r) > len(b) {
				break
			}
			copy(b, r)
			b = b[len(r):]
			n++
		}
	}
	return n
}

func TestTooMuchInOneDirectory(t *testing.T) {
	link := func(i int) []byte { // 4 KiB of link from continuation areas that all records share
		return rec(fmt.Sprint(i), 0, 0, 0, ce(30, 0, 2048))
	}
	for _, tc := range []struct {
		name    string
		sectors int
		rec     func(int) []byte
		want    string
		mem     uint64
	}{
		{"records", 2000, func(i int) []byte { return rec(fmt.Sprint(i), 0, 0, 0, nil) }, "more than 100000 records", 128},
		{"equal records", 2000, func(i int) []byte { return rec("F", 0, 0, flagMore, nil) }, "more than 100000 records", 64},
		{"links", 2000, link, "take more than 33554432 bytes", 256},
		{"continuation areas", 2000, func(i int) []byte { return rec(fmt.Sprint(i), 0, 0, 0, ce(32, 0, 28)) }, "too many continuation areas", 64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newImg(50 + tc.sectors)
			part := func(n int, more byte, next []byte) {
				var b []byte
				for range 8 {
					s := sl(strings.Repeat("l", 120), strings.Repeat("l", 120))
					s[4] = more
					b = append(b, s...)
				}
				copy(m.sector(n), append(b, next...))
			}
			part(30, 1, ce(31, 0, 2048))
			part(31, 1, nil)
			for n := 32; n < 47; n++ { // fifteen areas for every record, each in another sector
				copy(m.sector(n), ce(n+1, 0, 28))
			}
			m.many(50, tc.sectors, tc.rec)
			m.dir(rootSector, rec("D", 50, int64(tc.sectors*sectorSize), flagDirectory, nm("d")))
			iso, err := m.open()
			if err != nil {
				t.Fatal(err)
			}
			bounded(t, 20*time.Second, tc.mem, func() {
				_, err = iso.ReadDir("d")
				says(t, err, tc.want)
			})
		})
	}
}

// Directories kept in memory stay within a bound, however many are read.
func TestCacheIsBounded(t *testing.T) {
	var c cache
	for i := range 10 {
		c.keep(cached{cost: maxCost / 4, at: extent{int64(i), 1}})
	}
	c.keep(cached{cost: maxCost/4 + 1, at: extent{10, 1}})
	if len(c.kept) != 3 || c.kept[0].at.off != 8 || c.cost != 3*(maxCost/4)+1 {
		t.Errorf("%d kept, from %+v, of %d bytes", len(c.kept), c.kept[0].at, c.cost)
	}
	if testing.Short() {
		return // what follows reads 70 MB of directories, twice
	}
	const dirs, sectors = 30, 600
	m := newImg(60 + dirs*sectors)
	var root [][]byte
	for d := range dirs {
		at := 60 + d*sectors
		m.many(at, sectors, func(i int) []byte { return rec(fmt.Sprint(i), 0, 0, 0, nil) })
		root = append(root, rec(fmt.Sprint("D", d), int64(at), sectors*sectorSize, flagDirectory, nil))
	}
	m.dir(rootSector, root...)
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for d := range dirs {
			if list, err := iso.ReadDir(fmt.Sprint("d", d)); err != nil || len(list) < 20000 {
				t.Fatalf("%d names, %v", len(list), err)
			}
			sum := 0
			for _, k := range iso.dirs.kept {
				sum += k.cost
			}
			if sum > maxCost || sum != iso.dirs.cost {
				t.Fatalf("%d kept, %d counted, want at most %d", sum, iso.dirs.cost, maxCost)
			}
		}
	}
	if len(iso.dirs.kept) < 2 {
		t.Errorf("%d directories kept", len(iso.dirs.kept))
	}
}

func TestBadBootCatalogs(t *testing.T) {
	good := func() (*img, []byte) {
		m := newImg(60)
		copy(m.sector(18), m.sector(17))
		d := m.sector(17)
		clear(d)
		copy(d[1:], "CD001\x01EL TORITO SPECIFICATION")
		binary.LittleEndian.PutUint32(d[71:], 40)
		c := m.sector(40)
		c[0], c[30], c[31] = 1, 0x55, 0xaa
		binary.LittleEndian.PutUint16(c[28:], 0x10000-1-0xaa55)
		c[32] = 0x88
		binary.LittleEndian.PutUint16(c[38:], 4)
		binary.LittleEndian.PutUint32(c[40:], 41)
		c[64], c[65] = 0x91, PlatformUEFI
		binary.LittleEndian.PutUint16(c[66:], 1)
		c[96] = 0x88
		binary.LittleEndian.PutUint32(c[104:], 50) // a count of 0: to the end
		return m, c
	}
	want := []BootImage{{PlatformX86, 41 * sectorSize, 2048}, {PlatformUEFI, 50 * sectorSize, 10 * sectorSize}}
	for _, tc := range []struct {
		name string
		make func(m *img, c []byte)
		want []BootImage
	}{
		{"good", func(*img, []byte) {}, want},
		{"beyond the end", func(m *img, _ []byte) { binary.LittleEndian.PutUint32(m.sector(17)[71:], 1<<31) }, nil},
		{"checksum", func(_ *img, c []byte) { c[20] = 1 }, nil},
		{"key", func(_ *img, c []byte) { c[30], c[31] = 0x54, 0xaa; c[28]++ }, nil},
		{"no validation entry", func(_ *img, c []byte) { c[0] = 2; c[28]-- }, nil},
		{"entry with an extension", func(_ *img, c []byte) {
			c[66] = 2
			copy(c[128:], c[96:128]) // a second entry after what extends the first
			copy(c[96:], make([]byte, 32))
			c[96] = 0x44
			copy(c[160:], c[128:160])
		}, append(want, want[1])},
		{"image beyond the end", func(_ *img, c []byte) { binary.LittleEndian.PutUint32(c[40:], 1<<31) }, want[1:]},
		{"image to before itself", func(_ *img, c []byte) { binary.LittleEndian.PutUint32(c[104:], 61) }, want[:1]},
		{"not bootable", func(_ *img, c []byte) { c[32] = 0 }, want[1:]},
		{"section of 65535", func(_ *img, c []byte) { c[66], c[67] = 255, 255 }, want},
		{"floppy", func(_ *img, c []byte) { c[33] = 2 }, want[1:]}, // larger than what is left
	} {
		m, c := good()
		tc.make(m, c)
		iso, err := m.open()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := iso.BootImages(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestNames(t *testing.T) {
	m := newImg(60)
	part := susp("NM", append([]byte{1}, "one "...)...)
	m.dir(rootSector,
		rec("A", 30, 1, 0, append(part, nm("name")...)),
		rec("B", 31, 1, 0, susp("NM", append([]byte{1}, "caf\xe9"...)...)), // Latin-1, and what goes on is missing
		rec("C", 32, 1, 0, nm("twice")), rec("D", 33, 1, 0, nm("twice")),
		rec("READ.ME;1", 34, 1, 0, nil),
		rec("E", 35, 1, flagAssociated, nm("fork")))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	list, err := iso.ReadDir(".")
	var got []string
	for _, d := range list {
		got = append(got, d.Name())
	}
	if want := []string{"caf\uFFFD", "one name", "read.me", "twice"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if off, _, err := iso.Locate("twice"); err != nil || off != 32*sectorSize {
		t.Errorf("of two equal names the first counts: %d, %v", off/sectorSize, err)
	}
	for _, bad := range []string{"", "/twice", "../twice", "a/../twice", "twice/"} {
		if _, err := iso.Open(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	copy(m.sector(16)[40:72], "\x1b[31mRED\xff\x00  ")
	if iso, err = m.open(); err != nil || iso.Label() != "[31mRED" {
		t.Errorf("label %q, %v", iso.Label(), err)
	}
}
