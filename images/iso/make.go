package iso

// This file makes an image: a few files under their names, for a machine that looks for
// a disc with a label (cloud-init's CIDATA, a config drive) or that boots from virtual
// media. What is large is read where it lies, when the image is read.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// File is a file of an image to make.
type File struct {
	Name string // its path in the image, "openstack/latest/meta_data.json"
	Size int64
	Body io.ReaderAt
}

// Made is an image that was laid out; its bytes are read through ReadAt. It is the same
// for the same files, since nothing in it tells the time.
type Made struct {
	size  int64
	parts []made // in order
}

type made struct {
	at, size int64
	body     io.ReaderAt
}

// Size is that of the image, in bytes.
func (m *Made) Size() int64 { return m.size }

// ReadAt implements io.ReaderAt.
func (m *Made) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("a negative offset")
	}
	for n < len(b) {
		at := off + int64(n)
		if at >= m.size {
			return n, io.EOF
		}
		i, in := slices.BinarySearchFunc(m.parts, at, func(p made, at int64) int { return int(min(max(p.at-at, -1), 1)) })
		if !in {
			i--
		}
		p, next := m.parts[i], m.size
		if i+1 < len(m.parts) {
			next = m.parts[i+1].at
		}
		if at < p.at+p.size {
			k, err := p.body.ReadAt(b[n:n+int(min(int64(len(b)-n), p.at+p.size-at))], at-p.at)
			n += k
			if at+int64(k) < p.at+p.size && err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF // a file that became shorter
				}
				return n, err
			}
			continue
		}
		gap := b[n : n+int(min(int64(len(b)-n), next-at))]
		clear(gap)
		n += len(gap)
	}
	return n, nil
}

// planned is a file or a directory of an image to make, in both its trees.
type planned struct {
	name     string
	file     *File
	children []*planned
	parent   *planned
	ids      [2][]byte // in the plain tree and in Joliet's
	extent   [2]int64  // first sector; a file's is the same in both
	size     [2]int64
	number   [2]int // in the path table
}

const plainTree, jolietTree = 0, 1

// Bounds of an image to make.
const (
	maxMade   = 2000
	madeDepth = 7 // ECMA-119 6.8.2.1 allows eight levels, the root among them
)

// Make lays out an image with a label. boot, where not "", names the one of the files that
// UEFI boots: the image of a FAT file system (El Torito 1.0, UEFI 13.3.2.1).
func Make(label string, files []File, boot string) (*Made, error) {
	if len(label) == 0 || len(label) > 16 { // Joliet has room for 16
		return nil, fmt.Errorf("label %q: want 1 to 16 bytes", label)
	}
	root, err := planTree(files)
	if err != nil {
		return nil, err
	}
	dirs := [2][]*planned{root.numbered(plainTree), root.numbered(jolietTree)}
	tables := [2][]byte{}
	next := int64(16 + 3)
	if boot != "" {
		next++
	}
	var tableAt [2]int64
	for t := range tables {
		tables[t] = make([]byte, tableSize(dirs[t], t))
		tableAt[t] = next
		next += 2 * sectors(int64(len(tables[t]))) // one of each byte order
	}
	for t := range dirs {
		for _, d := range dirs[t] {
			d.extent[t], d.size[t] = next, d.length(t)
			next += sectors(d.size[t])
		}
	}
	catalog := next
	if boot != "" {
		next++
	}
	head := next * sectorSize
	m := &Made{}
	var bootAt, bootSize int64
	for _, f := range root.files() {
		f.extent = [2]int64{next, next}
		if f.file.Size > 0 {
			m.parts = append(m.parts, made{next * sectorSize, f.file.Size, f.file.Body})
		}
		if f.file.Name == boot {
			bootAt, bootSize = next, f.file.Size
		}
		next += sectors(f.file.Size)
	}
	if boot != "" && bootAt == 0 {
		return nil, fmt.Errorf("there is no %s among the files to boot it", boot)
	}
	m.size = next * sectorSize

	b := make([]byte, head)
	at := func(sector int64) []byte { return b[sector*sectorSize:] }
	descriptor(at(16), 1, label, root, plainTree, next, int64(len(tables[0])), tableAt[0])
	sector := int64(17)
	if boot != "" {
		d := at(sector)
		copy(d, "\x00CD001\x01EL TORITO SPECIFICATION")
		binary.LittleEndian.PutUint32(d[71:], uint32(catalog))
		bootRecords(at(catalog), bootAt, bootSize)
		sector++
	}
	descriptor(at(sector), 2, label, root, jolietTree, next, int64(len(tables[1])), tableAt[1])
	copy(at(sector+1), "\xffCD001\x01")
	for t := range dirs {
		pathTable(at(tableAt[t]), dirs[t], t, binary.LittleEndian)
		pathTable(at(tableAt[t]+sectors(int64(len(tables[t])))), dirs[t], t, binary.BigEndian)
		for _, d := range dirs[t] {
			d.write(at(d.extent[t]), t)
		}
	}
	m.parts = append([]made{{0, head, bytes.NewReader(b)}}, m.parts...)
	return m, nil
}

func sectors(n int64) int64 { return (n + sectorSize - 1) / sectorSize }

// planTree is the files in their directories, each sorted for both trees.
func planTree(files []File) (*planned, error) {
	if len(files) > maxMade {
		return nil, fmt.Errorf("%d files: at most %d", len(files), maxMade)
	}
	root := &planned{}
	root.parent = root
	for i := range files {
		f := &files[i]
		switch {
		case !fs.ValidPath(f.Name) || f.Name == ".":
			return nil, fmt.Errorf("%q: want a path inside the image", f.Name)
		case strings.Count(f.Name, "/") > madeDepth:
			return nil, fmt.Errorf("%s: at most %d directories deep", f.Name, madeDepth)
		case f.Size < 0 || f.Size >= 1<<32-sectorSize:
			return nil, fmt.Errorf("%s: a file has less than 4 GiB", f.Name)
		}
		d := root
		parts := strings.Split(f.Name, "/")
		for i, part := range parts {
			if len(utf16.Encode([]rune(part))) > 64 || strings.ContainsAny(part, `*:;?\`) || strings.ContainsFunc(part, unicode.IsControl) {
				return nil, fmt.Errorf("%s: a name has at most 64 characters, and none of * : ; ? \\", f.Name)
			}
			n := slices.IndexFunc(d.children, func(c *planned) bool { return c.name == part })
			last := i == len(parts)-1
			switch {
			case n < 0:
				d.children = append(d.children, &planned{name: part, parent: d})
				n = len(d.children) - 1
			case last || d.children[n].file != nil:
				return nil, fmt.Errorf("%s would be there twice, or be a file and a directory", f.Name)
			}
			d = d.children[n]
			if last {
				d.file, d.size = f, [2]int64{f.Size, f.Size}
			}
		}
	}
	root.identify()
	return root, nil
}

// identify gives the children their identifiers.
func (d *planned) identify() {
	taken := map[string]bool{}
	for _, c := range d.children {
		id := shortName(c.name, taken)
		if taken[id] = true; c.file != nil {
			if !strings.Contains(id, ".") {
				id += "." // 7.5.1: a file's name has one
			}
			id += ";1"
		}
		c.ids[plainTree] = []byte(id)
		for _, u := range utf16.Encode([]rune(c.name)) {
			c.ids[jolietTree] = binary.BigEndian.AppendUint16(c.ids[jolietTree], u)
		}
		c.identify()
	}
}

// shortName is a name of ECMA-119's first level of interchange, 10.1: eight and three
// capitals, digits and underscores, which no other of the directory has. Whoever reads
// Joliet does not see it.
func shortName(name string, taken map[string]bool) string {
	letters := func(s string, max int) string {
		s = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
				return r
			}
			return '_'
		}, s)
		return s[:min(len(s), max)]
	}
	ext := path.Ext(name)
	base := letters(strings.TrimSuffix(name, ext), 8)
	if ext != "" {
		ext = "." + letters(ext[1:], 3)
	}
	id := base + ext
	for n := 1; taken[id] || base == ""; n++ {
		number := fmt.Sprint(n)
		base = base[:min(len(base), 8-len(number))] + number
		id = base + ext
	}
	return id
}

// sorted are the children in the order of a tree's identifiers, 9.3.
func (d *planned) sorted(t int) []*planned {
	return slices.SortedFunc(slices.Values(d.children), func(a, b *planned) int { return bytes.Compare(a.ids[t], b.ids[t]) })
}

// numbered numbers the directories from 1 in the order of a path table, 6.9.1: by level,
// by parent, by identifier.
func (d *planned) numbered(t int) []*planned {
	all := []*planned{d}
	for i := 0; i < len(all); i++ {
		all[i].number[t] = i + 1
		for _, c := range all[i].sorted(t) {
			if c.file == nil {
				all = append(all, c)
			}
		}
	}
	return all
}

// files are those beneath a directory.
func (d *planned) files() (out []*planned) {
	for _, c := range d.sorted(plainTree) {
		if c.file != nil {
			out = append(out, c)
		} else {
			out = append(out, c.files()...)
		}
	}
	return out
}

// records calls fn with each record of a directory, itself and its parent first.
func (d *planned) records(t int, fn func(id []byte, of *planned)) {
	fn([]byte{0}, d)
	fn([]byte{1}, d.parent)
	for _, c := range d.sorted(t) {
		fn(c.ids[t], c)
	}
}

func recordSize(id []byte) int64 { return int64(33+len(id)) + int64(1-len(id)&1) }

// length is that of a directory: no record crosses a sector's end, 6.8.1.1.
func (d *planned) length(t int) (n int64) {
	d.records(t, func(id []byte, _ *planned) {
		size := recordSize(id)
		if n%sectorSize+size > sectorSize {
			n = sectors(n) * sectorSize
		}
		n += size
	})
	return sectors(n) * sectorSize
}

func (d *planned) write(b []byte, t int) {
	n := int64(0)
	d.records(t, func(id []byte, of *planned) {
		size := recordSize(id)
		if n%sectorSize+size > sectorSize {
			n = sectors(n) * sectorSize
		}
		writeRecord(b[n:n+size], id, of, t)
		n += size
	})
}

// writeRecord writes a directory record, 9.1.
func writeRecord(b, id []byte, of *planned, t int) {
	b[0] = byte(len(b))
	bothEnds32(b[2:], uint32(of.extent[t]))
	bothEnds32(b[10:], uint32(of.size[t]))
	copy(b[18:], []byte{80, 1, 1, 0, 0, 0, 0}) // 1980: it is the same for the same files
	if of.file == nil {
		b[25] = flagDirectory
	}
	bothEnds16(b[28:], 1)
	b[32] = byte(len(id))
	copy(b[33:], id)
}

func tableSize(dirs []*planned, t int) (n int64) {
	for _, d := range dirs {
		n += int64(8 + len(d.id(t)) + len(d.id(t))&1)
	}
	return n
}

func (d *planned) id(t int) []byte {
	if d.parent == d {
		return []byte{0}
	}
	return d.ids[t]
}

// pathTable is 9.4.
func pathTable(b []byte, dirs []*planned, t int, order binary.ByteOrder) {
	for _, d := range dirs {
		id := d.id(t)
		b[0] = byte(len(id))
		order.PutUint32(b[2:], uint32(d.extent[t]))
		order.PutUint16(b[6:], uint16(d.parent.number[t]))
		copy(b[8:], id)
		b = b[8+len(id)+len(id)&1:]
	}
}

// descriptor is a primary (8.4) or a supplementary volume descriptor, which is Joliet's.
func descriptor(d []byte, kind byte, label string, root *planned, t int, size, table, tableAt int64) {
	d[0], d[6] = kind, 1
	copy(d[1:], "CD001")
	words := func(at, n int, s string) { // 8.4.2: filled with blanks
		for i := range n {
			d[at+i] = ' '
		}
		copy(d[at:at+n], s)
	}
	if t == jolietTree {
		words = func(at, n int, s string) {
			for i := range n / 2 {
				binary.BigEndian.PutUint16(d[at+2*i:], ' ')
			}
			for i, u := range utf16.Encode([]rune(s)) {
				binary.BigEndian.PutUint16(d[at+2*i:], u)
			}
		}
		copy(d[88:], "%/E") // UCS-2 level 3
	}
	words(8, 32, "")
	words(40, 32, label)
	bothEnds32(d[80:], uint32(size))
	bothEnds16(d[120:], 1)
	bothEnds16(d[124:], 1)
	bothEnds16(d[128:], sectorSize)
	bothEnds32(d[132:], uint32(table))
	binary.LittleEndian.PutUint32(d[140:], uint32(tableAt))
	binary.BigEndian.PutUint32(d[148:], uint32(tableAt+sectors(table)))
	writeRecord(d[156:190], []byte{0}, root, t)
	words(190, 512, "")                       // four of 128 bytes
	for _, at := range []int{702, 739, 776} { // names of files, of 37 bytes each
		if words(at, 37, ""); t == jolietTree {
			d[at+36] = 0
		}
	}
	for _, at := range []int{813, 830, 847, 864} { // no date, 8.4.26.1
		copy(d[at:], "0000000000000000")
	}
	d[881] = 1
}

// bootRecords is a boot catalog with one entry, for UEFI.
func bootRecords(b []byte, sector, size int64) {
	b[0], b[1], b[30], b[31] = 1, PlatformUEFI, 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	b[32] = 0x88
	// In sectors of 512 bytes; what has more than fits says 1, which UEFI reads as all of it.
	count := (size + 511) / 512
	if count > 0xffff {
		count = 1
	}
	binary.LittleEndian.PutUint16(b[38:], uint16(count))
	binary.LittleEndian.PutUint32(b[40:], uint32(sector))
}

func bothEnds16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func bothEnds32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}
