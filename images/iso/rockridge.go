package iso

// This file reads the system use area of directory records: SUSP, and the
// entries of RRIP (Rock Ridge) in it. Those are names, symbolic links, and
// directories that were moved up because ECMA-119 allows only eight levels.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

const (
	maxAreas  = 32   // continuation areas of one record; Linux stops there too
	maxName   = 255  // of a file, as everywhere
	maxTarget = 4096 // of a link, as Linux's PATH_MAX
)

// attributes are the contents of one record's system use area.
type attributes struct {
	name      string
	nameDone  bool
	target    []byte
	link      bool
	linkDone  bool
	glue      bool   // the last component of target is not complete
	mode      uint32 // POSIX, 0 if not stated
	child     int64  // sector of the directory this stands for, 0 if none
	relocated bool
	rockRidge bool
}

// findRockRidge looks into the root directory's first record: SUSP 5.3 puts SP
// there, at the start, or 14 bytes on where CD-XA has its own.
func (m *Image) findRockRidge() error {
	if m.root.first.size < sectorSize {
		return nil
	}
	b, err := m.sector(m.root.first.off / sectorSize)
	if err != nil {
		return err
	}
	n := int(b[0])
	if n < 34 {
		return nil
	}
	r, err := parseRecord(b[:n])
	if err != nil {
		return err
	}
	su := r.system
	for _, at := range []int{0, 14} {
		if len(su) < at+7 || string(su[at:at+2]) != "SP" || su[at+4] != 0xbe || su[at+5] != 0xef {
			continue
		}
		s := suspReader{m: m, areas: maxAreas}
		a, err := s.read(su[at:], 0)
		if err != nil {
			return err
		}
		if a.rockRidge {
			m.names, m.skip = rockRidge, int(su[at+6])
		}
		return nil
	}
	return nil
}

// suspReader reads system use areas and the continuation areas they lead to.
type suspReader struct {
	m      *Image
	areas  int   // continuation areas still allowed, over all records
	at     int64 // the sector that is in sector
	sector []byte
}

func (s *suspReader) read(area []byte, skip int) (attributes, error) {
	var a attributes
	if len(area) < skip {
		return a, nil
	}
	area = area[skip:]
	for areas := 0; ; areas++ {
		next, err := a.area(area)
		if err != nil || next == nil {
			return a, err
		}
		if areas == maxAreas {
			return a, errors.New("a record's continuation areas do not end")
		}
		if area, err = s.follow(*next); err != nil {
			return a, err
		}
	}
}

// continuation is a CE entry, SUSP 5.1.
type continuation struct{ sector, off, size int64 }

func (s *suspReader) follow(c continuation) ([]byte, error) {
	// SUSP 5.1 wants it inside one sector, and so does Linux.
	if c.off+c.size > sectorSize {
		return nil, fmt.Errorf("a continuation area of %d bytes at byte %d of a sector", c.size, c.off)
	}
	if s.areas--; s.areas < 0 {
		return nil, errors.New("too many continuation areas")
	}
	if s.sector == nil {
		s.sector, s.at = make([]byte, sectorSize), -1
	}
	if s.at != c.sector {
		s.at = -1
		err := s.m.check(extent{c.sector * sectorSize, sectorSize})
		if err == nil {
			err = s.m.readAt(s.sector, c.sector*sectorSize)
		}
		if err != nil {
			return nil, fmt.Errorf("a continuation area %w", err)
		}
		s.at = c.sector
	}
	return s.sector[c.off : c.off+c.size], nil
}

// area reads the entries of one area. A continuation is read after all of them,
// wherever its entry stands.
func (a *attributes) area(b []byte) (*continuation, error) {
	var next *continuation
	for len(b) >= 4 {
		n := int(b[2])
		if n < 4 || n > len(b) {
			break // padding, or not SUSP
		}
		f := b[:n]
		b = b[n:]
		switch string(f[:2]) {
		case "CE":
			if n >= 28 {
				next = &continuation{le32(f[4:]), le32(f[12:]), le32(f[20:])}
			}
		case "ST":
			return next, nil
		case "RR":
			a.rockRidge = true
		case "ER":
			a.extension(f)
		case "PX":
			if n >= 12 {
				a.rockRidge, a.mode = true, binary.LittleEndian.Uint32(f[4:])
			}
		case "NM":
			if err := a.addName(f); err != nil {
				return nil, err
			}
		case "SL":
			if err := a.addTarget(f); err != nil {
				return nil, err
			}
		case "CL":
			if n >= 12 {
				a.child = le32(f[4:])
			}
		case "RE":
			a.relocated = true
		}
	}
	return next, nil
}

func le32(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) }

// extension reads ER, SUSP 5.5, which names RRIP by one of three names.
func (a *attributes) extension(f []byte) {
	if len(f) < 8 || len(f) < 8+int(f[4]) {
		return
	}
	switch string(f[8 : 8+int(f[4])]) {
	case "RRIP_1991A", "IEEE_P1282", "IEEE_1282":
		a.rockRidge = true
	}
}

// addName reads NM, RRIP 4.1.4. The flags for "." and ".." give no name.
func (a *attributes) addName(f []byte) error {
	if len(f) < 5 || a.nameDone || f[4]&0x06 != 0 {
		return nil
	}
	a.name += string(f[5:])
	if len(a.name) > maxName {
		return fmt.Errorf("the name %.40q… has more than %d bytes", a.name, maxName)
	}
	a.nameDone = f[4]&1 == 0
	return nil
}

// addTarget reads SL, RRIP 4.1.3: components, each with flags and a length.
func (a *attributes) addTarget(f []byte) error {
	if len(f) < 5 || a.linkDone {
		return nil
	}
	a.link = true
	for c := f[5:]; len(c) >= 2; {
		flags, n := c[0], int(c[1])
		if 2+n > len(c) {
			break
		}
		part := string(c[2 : 2+n])
		c = c[2+n:]
		switch {
		case flags&0x02 != 0:
			part = "."
		case flags&0x04 != 0:
			part = ".."
		case flags&0x38 != 0: // the root, the volume's root, the host: all absolute
			part = "/"
		}
		if n := len(a.target); n > 0 && !a.glue && a.target[n-1] != '/' {
			a.target = append(a.target, '/')
		}
		a.glue = flags&0x01 != 0
		if a.target = append(a.target, part...); len(a.target) > maxTarget {
			return fmt.Errorf("the link %.40q… has more than %d bytes", a.target, maxTarget)
		}
	}
	a.linkDone = f[4]&1 == 0
	return nil
}

// apply sets an entry's fields from its attributes.
func (a *attributes) apply(e *entry) {
	const fileType, link, regular = 0o170000, 0o120000, 0o100000
	switch {
	case a.child != 0: // CL, RRIP 4.1.5.1
		e.mode, e.moved, e.size = dirMode, true, 0
		e.first = extent{a.child * sectorSize, sectorSize}
	case e.mode.IsDir():
	case a.link || a.mode&fileType == link:
		e.mode, e.target, e.size, e.first = fs.ModeSymlink|0o777, string(a.target), 0, extent{}
	case a.mode&fileType != 0 && a.mode&fileType != regular:
		e.mode |= fs.ModeIrregular // a device or a pipe: nothing to read
	}
}
