package iso

// This file reads the boot catalog of El Torito 1.0: the medium's boot images,
// and the firmware that each is for.

import "encoding/binary"

// Platforms of boot images.
const (
	PlatformX86  byte = 0x00
	PlatformUEFI byte = 0xef
)

// BootImage is what firmware would load from the medium.
type BootImage struct {
	Platform  byte // PlatformX86 or PlatformUEFI; others are as the image has them
	Off, Size int64
}

// BootImages lists the bootable entries of the boot catalog. An image without a
// valid catalog has none, and still serves its files.
func (m *Image) BootImages() []BootImage { return append([]BootImage(nil), m.boots...) }

// bootCatalog reads the first sector of the catalog. It has room for 64
// entries; real media have two.
func (m *Image) bootCatalog(sector int64) []BootImage {
	b, err := m.sector(sector)
	if err != nil || b[0] != 1 || b[30] != 0x55 || b[31] != 0xaa {
		return nil
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if sum != 0 {
		return nil // El Torito 2.1: the words of the validation entry add up to 0
	}
	platform := b[1]
	boots := m.bootEntry(nil, platform, b[32:64])
	left := 0 // entries of the section being read
	for i := 64; i+32 <= len(b); i += 32 {
		e := b[i : i+32]
		switch {
		case left > 0 && e[0] == 0x44: // more selection criteria of the entry before
		case left > 0:
			boots = m.bootEntry(boots, platform, e)
			left--
		case e[0] == 0x90 || e[0] == 0x91: // a section header; 91 is the last
			platform, left = e[1], int(binary.LittleEndian.Uint16(e[2:]))
		default:
			return boots
		}
	}
	return boots
}

// bootEntry adds a bootable entry, El Torito 2.2 and 2.4.
func (m *Image) bootEntry(boots []BootImage, platform byte, e []byte) []BootImage {
	if e[0] != 0x88 {
		return boots
	}
	x := extent{le32(e[8:]) * sectorSize, int64(binary.LittleEndian.Uint16(e[6:])) * 512}
	switch e[1] & 0x0f {
	case 1:
		x.size = 1200 << 10
	case 2:
		x.size = 1440 << 10
	case 3:
		x.size = 2880 << 10
	default:
		// UEFI 13.3.2.1: a count of 0 or 1 means up to the end of the medium,
		// because 16 bits are too few for a system partition.
		if platform == PlatformUEFI && x.size <= 512 {
			x.size = m.size - x.off
		}
	}
	if x.size <= 0 || m.check(x) != nil {
		return boots
	}
	return append(boots, BootImage{platform, x.off, x.size})
}
