package iso

// This file reads directories: the records of ECMA-119 9.1 and the names in
// them. A directory is read when it is needed; a few are cached.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// Bounds of one directory. The largest on real media, a Debian DVD's pool, are
// two orders of magnitude smaller.
const (
	maxEntries = 100_000
	maxDirSize = 64 << 20
	maxText    = 32 << 20 // names and link targets together
)

const (
	flagDirectory  = 0x02
	flagAssociated = 0x04 // a Macintosh resource fork: not a file of its own
	flagMore       = 0x80 // the file goes on in the next record

	fileMode fs.FileMode = 0o444
	dirMode  fs.FileMode = fs.ModeDir | 0o555
)

// entry is a name in a directory and what it stands for.
type entry struct {
	name   string
	mode   fs.FileMode
	mod    int64  // seconds since 1970, 0 if unknown
	target string // of a symbolic link
	size   int64
	first  extent
	more   []extent // a file of 4 GiB or more has several
	moved  bool     // a directory whose size only its own first record has (Rock Ridge CL)
}

// record is a directory record whose name is not decoded yet.
type record struct {
	extent extent
	flags  byte
	mod    int64
	id     []byte
	system []byte // system use area
}

func parseRecord(b []byte) (record, error) {
	var r record
	n := int(b[32])
	if 33+n > len(b) {
		return r, fmt.Errorf("a name of %d bytes in a record of %d", n, len(b))
	}
	if b[26] != 0 || b[27] != 0 {
		return r, errors.New("an interleaved file, which nothing but CD-i ever used")
	}
	// 9.1.3: an extended attribute record stands before the data.
	start := int64(binary.LittleEndian.Uint32(b[2:])) + int64(b[1])
	r.extent = extent{start * sectorSize, int64(binary.LittleEndian.Uint32(b[10:]))}
	r.flags = b[25]
	r.mod = recordTime(b[18:25])
	r.id = b[33 : 33+n]
	su := 33 + n
	if n%2 == 0 {
		su++ // 9.1.12: a pad byte keeps the record even
	}
	if su < len(b) {
		r.system = b[su:]
	}
	return r, nil
}

// recordTime reads ECMA-119 9.1.5; the offset counts quarter hours.
func recordTime(b []byte) int64 {
	if b[1] == 0 {
		return 0
	}
	t := time.Date(1900+int(b[0]), time.Month(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), 0, time.UTC)
	return t.Unix() - int64(int8(b[6]))*15*60
}

// loader reads one directory.
type loader struct {
	m       *Image
	susp    suspReader
	entries []entry
	records int
	text    int
	last    entry
	lastID  []byte
	goesOn  bool // last goes on in the next record
}

// load reads a directory's records, sorted by name. Of records with equal names
// the first counts.
func (m *Image) load(x extent) ([]entry, error) {
	if err := m.check(x); err != nil {
		return nil, err
	}
	if x.size > maxDirSize {
		return nil, fmt.Errorf("lists its names in %d bytes; at most %d are read", x.size, maxDirSize)
	}
	l := &loader{m: m, susp: suspReader{m: m, areas: 2 * maxEntries}}
	buf := make([]byte, min(x.size, 16*sectorSize))
	for at := int64(0); at < x.size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), x.size-at)]
		if err := m.readAt(b, x.off+at); err != nil {
			return nil, err
		}
		for i := 0; i < len(b); i += sectorSize {
			if err := l.sector(b[i:min(i+sectorSize, len(b))]); err != nil {
				return nil, fmt.Errorf("sector %d: %w", (x.off+at+int64(i))/sectorSize, err)
			}
		}
	}
	if l.goesOn {
		return nil, fmt.Errorf("sector %d: the last file goes on in a record that is not there", x.off/sectorSize)
	}
	slices.SortStableFunc(l.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(l.entries, func(a, b entry) bool { return a.name == b.name }), nil
}

// sector reads the records of one sector, which none crosses (6.8.1.1).
func (l *loader) sector(b []byte) error {
	for len(b) > 0 && b[0] != 0 {
		n := int(b[0])
		if n < 34 || n > len(b) {
			return fmt.Errorf("a directory record of %d bytes where %d are left", n, len(b))
		}
		r, err := parseRecord(b[:n])
		if err != nil {
			return err
		}
		b = b[n:]
		if err := l.add(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) add(r record) error {
	if l.records++; l.records > maxEntries {
		return fmt.Errorf("more than %d records in one directory", maxEntries)
	}
	if len(r.id) == 1 && r.id[0] <= 1 || r.flags&flagAssociated != 0 {
		return nil // the directory itself, its parent
	}
	if l.goesOn {
		// 6.5.1: the further sections of a file follow under the same name.
		if !bytes.Equal(r.id, l.lastID) {
			return fmt.Errorf("file %q goes on under another name", l.last.name)
		}
		l.last.more = append(l.last.more, r.extent)
		l.last.size += r.extent.size
	} else {
		e, ok, err := l.entry(r)
		if err != nil || !ok {
			return err
		}
		l.last = e
	}
	if l.goesOn = r.flags&flagMore != 0; l.goesOn {
		l.lastID = bytes.Clone(r.id)
	} else {
		l.entries = append(l.entries, l.last)
	}
	return nil
}

// entry makes a record's entry; false leaves it out.
func (l *loader) entry(r record) (entry, bool, error) {
	e := entry{mode: fileMode, mod: r.mod, first: r.extent, size: r.extent.size}
	if r.flags&flagDirectory != 0 {
		e.mode = dirMode
	}
	switch l.m.names {
	case rockRidge:
		a, err := l.susp.read(r.system, l.m.skip)
		if err != nil {
			return e, false, err
		}
		if a.relocated {
			return e, false, nil // RRIP 4.1.5.3: it is listed at its child link
		}
		if e.name = a.name; e.name == "" {
			e.name = plainName(r.id)
		}
		a.apply(&e)
	case joliet:
		e.name = jolietName(r.id)
	case plain:
		e.name = plainName(r.id)
	}
	e.name = strings.ToValidUTF8(e.name, "\uFFFD") // old media have Latin-1 names
	if err := checkName(e.name); err != nil {
		return e, false, err
	}
	if l.text += len(e.name) + len(e.target); l.text > maxText {
		return e, false, fmt.Errorf("names and links of one directory take more than %d bytes", maxText)
	}
	return e, true, nil
}

// checkName refuses a name that would be read as something else in a path. No
// tool writes such names by accident.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("the name %.100q is not allowed: the image is damaged or made to mislead", name)
	}
	return nil
}

// plainName shows an ISO name as Linux does: KERNEL.;1 is kernel.
func plainName(id []byte) string {
	return strings.ToLower(bare(string(id)))
}

func jolietName(id []byte) string {
	u := make([]uint16, len(id)/2)
	for i := range u {
		u[i] = binary.BigEndian.Uint16(id[2*i:])
	}
	return bare(string(utf16.Decode(u)))
}

func bare(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, ";1"), ".")
}

// cache keeps directories that were read recently. Its lock is held while one
// is read, so that many readers at once read it only once.
type cache struct {
	mu   sync.Mutex
	kept []cached // the one used last stands last
	cost int
}

type cached struct {
	at      extent
	entries []entry
	cost    int
}

// maxCost is the approximate bound on cached bytes. A directory within the
// bounds above fits.
const maxCost = 64 << 20

func (m *Image) dir(x extent) ([]entry, error) {
	c := &m.dirs
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, d := range c.kept {
		if d.at == x {
			c.kept = append(slices.Delete(c.kept, i, i+1), d)
			return d.entries, nil
		}
	}
	entries, err := m.load(x)
	if err != nil {
		return nil, err
	}
	d := cached{x, entries, 1000}
	for _, e := range entries {
		d.cost += 128 + len(e.name) + len(e.target) + 16*len(e.more)
	}
	c.keep(d)
	return entries, nil
}

// keep adds a directory, and forgets the ones that were not used for longest.
func (c *cache) keep(d cached) {
	c.cost += d.cost
	for c.cost > maxCost && len(c.kept) > 0 {
		c.cost -= c.kept[0].cost
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	c.kept = append(c.kept, d)
}
