// Package iso reads ISO 9660 images in place, and makes small ones. It reads names as Rock Ridge,
// Joliet or plain ISO, and finds files as ranges of the image that a server can
// send without copying. It reads only what it is asked for. It trusts no number
// in an image, because an image may come from anywhere and a server opens it.
//
// The specifications are ECMA-119 (ISO 9660), SUSP 1.12 and RRIP 1.12 (Rock
// Ridge), the Joliet specification and El Torito 1.0.
package iso

// This file opens an image: the volume descriptors of ECMA-119 8.

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const (
	sectorSize = 2048

	// An honest image has three to six descriptors.
	maxDescriptors = 64
)

// Image is an opened image. It may be used by many goroutines at once. It needs
// no Close: whoever opened the reader closes it.
type Image struct {
	r     io.ReaderAt
	size  int64
	label string
	root  entry
	names naming
	skip  int // bytes before the system use entries of each record, SUSP 5.3
	boots []BootImage
	dirs  cache
}

// naming is the kind of names that a tree is read with.
type naming int

const (
	plain naming = iota
	joliet
	rockRidge
)

// Open reads the descriptors of an image of the given size, which is a few
// sectors. It refuses a file that is shorter than the image says: the directory
// of such a file often reads well, but the installer would stop halfway.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	if size < 18*sectorSize {
		return nil, fmt.Errorf("no ISO 9660 image: it has %d bytes, and the smallest has more", size)
	}
	m := &Image{r: r, size: size}
	var primary, supplementary *entry
	var catalog int64
	for n := int64(16); ; n++ {
		d, err := m.sector(n)
		if err != nil {
			return nil, fmt.Errorf("ISO image: volume descriptors: %w", err)
		}
		if string(d[1:6]) != "CD001" {
			if primary == nil {
				return nil, fmt.Errorf("no ISO 9660 image: sector %d holds no volume descriptor", n)
			}
			break
		}
		// 8.1.1: 255 ends the set. Descriptors past the bound are not looked at.
		if d[0] == 255 || n == 16+maxDescriptors {
			break
		}
		switch {
		case d[0] == 0 && strings.HasPrefix(string(d[7:39]), "EL TORITO SPECIFICATION"):
			catalog = int64(binary.LittleEndian.Uint32(d[71:]))
		case d[0] == 1 && primary == nil:
			if primary, err = m.primary(d); err != nil {
				return nil, err
			}
		case d[0] == 2 && supplementary == nil && isJoliet(d[88:120]):
			if e, err := rootRecord(d); err == nil {
				supplementary = e
			}
		}
	}
	if primary == nil {
		return nil, fmt.Errorf("no ISO 9660 image: it has no primary volume descriptor")
	}
	m.root = *primary
	if err := m.check(m.root.first); err != nil {
		return nil, fmt.Errorf("ISO image: the root directory %w", err)
	}
	if err := m.findRockRidge(); err != nil {
		return nil, fmt.Errorf("ISO image: the root directory: %w", err)
	}
	if m.names == plain && supplementary != nil && m.check(supplementary.first) == nil {
		m.root, m.names = *supplementary, joliet
	}
	if catalog != 0 {
		m.boots = m.bootCatalog(catalog)
	}
	return m, nil
}

// primary reads the primary volume descriptor, ECMA-119 8.4. Where a field is
// stored in both byte orders, only the little-endian half is read, here and
// everywhere. Linux reads that half, and in some images the other one is wrong.
func (m *Image) primary(d []byte) (*entry, error) {
	if b := binary.LittleEndian.Uint16(d[128:]); b != sectorSize {
		return nil, fmt.Errorf("ISO image: its blocks have %d bytes; only %d can be read", b, sectorSize)
	}
	if says := int64(binary.LittleEndian.Uint32(d[80:])) * sectorSize; says > m.size {
		return nil, fmt.Errorf("ISO image: the image says %d bytes, the file has %d: it is truncated; copy or download it again", says, m.size)
	}
	m.label = text(d[40:72])
	e, err := rootRecord(d)
	if err != nil {
		return nil, fmt.Errorf("ISO image: the root directory: %w", err)
	}
	return e, nil
}

// rootRecord reads the directory record that a volume descriptor holds.
func rootRecord(d []byte) (*entry, error) {
	r, err := parseRecord(d[156:190])
	if err != nil {
		return nil, err
	}
	if r.flags&flagDirectory == 0 {
		return nil, fmt.Errorf("its record is that of a file")
	}
	return &entry{name: ".", mode: dirMode, mod: r.mod, first: r.extent, size: r.extent.size}, nil
}

// isJoliet knows the escape sequences of UCS-2 level 1, 2 and 3.
func isJoliet(escape []byte) bool {
	s := string(escape[:3])
	return s == "%/@" || s == "%/C" || s == "%/E"
}

// Label is the volume identifier, for example "Debian 12.5.0 amd64 n".
func (m *Image) Label() string { return m.label }

// text makes a descriptor's field printable.
func text(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(b))
	return strings.TrimSpace(s)
}

// sector reads one whole sector.
func (m *Image) sector(n int64) ([]byte, error) {
	b := make([]byte, sectorSize)
	x := extent{n * sectorSize, sectorSize}
	if err := m.check(x); err != nil {
		return nil, err
	}
	return b, m.readAt(b, x.off)
}

func (m *Image) readAt(b []byte, off int64) error {
	n, err := m.r.ReadAt(b, off)
	if n == len(b) {
		return nil // io.ReaderAt may report io.EOF with the last byte
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read sector %d: %w", off/sectorSize, err)
}

// extent is a piece of the image.
type extent struct{ off, size int64 }

// check refuses a range outside the image. It is called before anything is
// read, sent or allocated by an image's numbers.
func (m *Image) check(x extent) error {
	if x.size == 0 {
		return nil // mkisofs gives empty files an arbitrary place
	}
	if x.off < 0 || x.size < 0 || x.off > m.size || x.size > m.size-x.off {
		return fmt.Errorf("lies at sector %d with %d bytes, and the image ends after %d: it is damaged or made to mislead", x.off/sectorSize, x.size, m.size)
	}
	return nil
}
