package iso

// This file makes images by hand: the lying ones that no tool would write.

import (
	"encoding/binary"
	"io"
	"strings"
)

// img is an image under construction.
type img struct{ b []byte }

const rootSector = 20

// newImg has so many sectors, a primary descriptor labelled TEST and a
// terminator. Its root directory is sector 20 and still empty.
func newImg(sectors int) *img {
	m := &img{make([]byte, sectors*sectorSize)}
	d := m.sector(16)
	d[0], d[6] = 1, 1
	copy(d[1:], "CD001")
	copy(d[40:], "TEST"+strings.Repeat(" ", 28))
	both32(d[80:], uint32(sectors))
	binary.LittleEndian.PutUint16(d[128:], sectorSize)
	binary.BigEndian.PutUint16(d[130:], sectorSize)
	copy(d[156:], rec("\x00", rootSector, sectorSize, flagDirectory, nil))
	d = m.sector(17)
	d[0], d[6] = 255, 1
	copy(d[1:], "CD001")
	m.dir(rootSector)
	return m
}

func (m *img) sector(n int) []byte { return m.b[n*sectorSize : (n+1)*sectorSize] }

// dir writes a directory of one sector; the root's first record has SP and ER.
func (m *img) dir(n int, records ...[]byte) {
	var su []byte
	if n == rootSector {
		su = append(sp(), px(0o040755)...)
	}
	b := rec("\x00", int64(n), sectorSize, flagDirectory, su)
	b = append(b, rec("\x01", rootSector, sectorSize, flagDirectory, nil)...)
	for _, r := range records {
		b = append(b, r...)
	}
	if len(b) > sectorSize {
		panic("directory too long for a sector")
	}
	s := m.sector(n)
	clear(s)
	copy(s, b)
}

// file writes a file's bytes and returns its record.
func (m *img) file(name string, n int, data string) []byte {
	copy(m.b[n*sectorSize:], data)
	return rec(strings.ToUpper(name)+";1", int64(n), int64(len(data)), 0, nm(name))
}

func (m *img) open() (*Image, error) {
	return Open(strings.NewReader(string(m.b)), int64(len(m.b)))
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// rec is a directory record with the system use area su.
func rec(id string, sector, size int64, flags byte, su []byte) []byte {
	n := 33 + len(id)
	if n%2 == 1 {
		n++
	}
	b := make([]byte, n, n+len(su))
	both32(b[2:], uint32(sector))
	both32(b[10:], uint32(size))
	copy(b[18:], []byte{126, 2, 3, 4, 5, 6, 0})
	b[25] = flags
	b[28], b[31], b[32] = 1, 1, byte(len(id))
	copy(b[33:], id)
	b = append(b, su...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	if len(b) > 255 {
		panic("record too long")
	}
	b[0] = byte(len(b))
	return b
}

// subdir is the record of a directory.
func subdir(name string, sector int) []byte {
	return rec(strings.ToUpper(name), int64(sector), sectorSize, flagDirectory, nm(name))
}

func susp(sig string, body ...byte) []byte {
	return append([]byte{sig[0], sig[1], byte(4 + len(body)), 1}, body...)
}

func sp() []byte { return susp("SP", 0xbe, 0xef, 0) }

func nm(name string) []byte { return susp("NM", append([]byte{0}, name...)...) }

func px(mode uint32) []byte {
	b := susp("PX", make([]byte, 32)...)
	both32(b[4:], mode)
	return b
}

// sl is a symbolic link; "/" as the first part makes it absolute.
func sl(parts ...string) []byte {
	b := []byte{0}
	for _, p := range parts {
		switch p {
		case ".":
			b = append(b, 2, 0)
		case "..":
			b = append(b, 4, 0)
		case "/":
			b = append(b, 8, 0)
		default:
			b = append(append(b, 0, byte(len(p))), p...)
		}
	}
	return susp("SL", b...)
}

func link(name string, parts ...string) []byte {
	return rec(strings.ToUpper(name)+";1", 0, 0, 0, append(nm(name), sl(parts...)...))
}

func ce(sector, off int, size uint32) []byte {
	b := susp("CE", make([]byte, 24)...)
	both32(b[4:], uint32(sector))
	both32(b[12:], uint32(off))
	both32(b[20:], size)
	return b
}

func cl(sector int) []byte {
	b := susp("CL", make([]byte, 8)...)
	both32(b[4:], uint32(sector))
	return b
}

// sparse is an image's first bytes and then nothing but zeros, counting reads.
type sparse struct {
	b     []byte
	size  int64
	reads int
	bytes int64
}

func (s *sparse) ReadAt(b []byte, off int64) (int, error) {
	s.reads++
	s.bytes += int64(len(b))
	n := len(b)
	if off >= s.size {
		return 0, io.EOF
	}
	n = int(min(int64(n), s.size-off))
	clear(b[:n])
	if off < int64(len(s.b)) {
		copy(b[:n], s.b[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
