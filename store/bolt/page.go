// page.go: reads a bbolt file page by page without believing it. bbolt itself maps the
// file and follows whatever a page says: one wrong bit leads it outside of the file,
// or past half of the records without a word. Before bbolt opens the file, everything
// in it is looked at here; and here is read what can still be read of a damaged one.

package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The format of bbolt, version 2: pages of one size, in the byte order of the machine.
// Page 0 and 1 hold the two newest states (meta), the valid one with the higher
// transaction number counts. The rest is a tree of branches and leaves, a list of free
// pages, and pages that are free.
const (
	pageHeader   = 16 // number, flags, count, overflow
	pageElement  = 16 // of a branch: offset, key length, page; of a leaf: flags, offset, key length, value length
	metaSize     = 64
	bucketHeader = 16 // root page, sequence

	branchPage, leafPage, metaPage, freePage = 0x01, 0x02, 0x04, 0x10

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)
	manyFree    = 0xFFFF // a count of this means that the real one comes first in the list
)

var native = binary.NativeEndian

// meta is one of the two states.
type meta struct {
	pageSize           int
	root, free, end, n uint64 // root page, first page of the free list, page behind the last, transaction
}

func readMeta(b []byte) (m meta, ok bool) {
	b = b[pageHeader : pageHeader+metaSize]
	sum := fnv.New64a()
	sum.Write(b[:56])
	if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion || native.Uint64(b[56:]) != sum.Sum64() {
		return m, false
	}
	m = meta{int(native.Uint32(b[8:])), native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:]), native.Uint64(b[48:])}
	return m, m.pageSize >= 512 && m.pageSize <= 1<<20
}

// maxNotes bounds what is said of one file.
const maxNotes = 50

// notes are what is wrong with a file, in words. More than maxNotes are counted only.
type notes struct {
	lines []string
	more  int
}

func (n *notes) add(format string, args ...any) {
	if len(n.lines) >= maxNotes {
		n.more++
		return
	}
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) all() []string {
	if n.more == 0 {
		return n.lines
	}
	return append(slices.Clip(n.lines), fmt.Sprintf("and %d more", n.more))
}

// raw is one record as it lies in the file. table is empty if the page that named it
// cannot be read.
type raw struct {
	table      string
	key, value []byte
}

// image is a file that is read.
type image struct {
	f     io.ReaderAt
	meta  meta
	seen  []bool   // pages that the tree has led to
	bufs  [][]byte // for the pages of a branch, by depth
	notes notes
	fn    func(raw)
}

var errNoStore = errors.New("it is no file of bbolt, or both of its first pages are damaged")

// readImage calls fn with all records of a file of that size, and returns what is wrong
// with the file. It reads nothing that is free. The records of a branch that cannot be
// read are found nevertheless, after all others and without their table.
func readImage(f io.ReaderAt, size int64, fn func(raw)) ([]string, error) {
	im := &image{f: f, fn: fn}
	if err := im.begin(size); err != nil {
		return nil, err
	}
	im.see(0, 0)
	im.see(1, 0)
	free := im.freeList()
	im.buckets(im.meta.root)
	lost := 0
	for at := range im.seen {
		if im.seen[at] {
			if free[at] {
				im.notes.add("page %d is in use and in the list of free pages", at)
			}
			continue
		}
		if free[at] {
			continue
		}
		lost++
		if p, ok := im.page(uint64(at), 0); ok && p.flags == leafPage && im.see(uint64(at), p.overflow) {
			for _, e := range im.leaf(p) {
				if !e.bucket {
					fn(raw{"", e.key, e.value})
				}
			}
		}
	}
	if lost > 0 && len(im.notes.lines) == 0 {
		im.notes.add("%d pages are neither in use nor free", lost)
	}
	return im.notes.all(), nil
}

// begin finds the state that counts.
func (im *image) begin(size int64) error {
	first := make([]byte, 4096)
	if _, err := io.ReadFull(io.NewSectionReader(im.f, 0, size), first); err != nil {
		return errNoStore
	}
	m0, ok0 := readMeta(first)
	// If the first page does not tell the size of pages, the second one is where it
	// says that it is.
	var m1 meta
	ok1 := false
	for n := 512; n <= 1<<20; n *= 2 {
		if ok0 && n != m0.pageSize {
			continue
		}
		b := make([]byte, pageHeader+metaSize)
		if _, err := im.f.ReadAt(b, int64(n)); err != nil {
			break
		}
		if m, ok := readMeta(b); ok && m.pageSize == n {
			m1, ok1 = m, true
			break
		}
	}
	switch {
	case !ok0 && !ok1:
		return errNoStore
	case !ok0:
		im.notes.add("the first of the two pages that tell the newest state is damaged")
	case !ok1:
		im.notes.add("the second of the two pages that tell the newest state is damaged")
	}
	im.meta = m0
	if !ok0 || ok1 && m1.n > m0.n {
		im.meta = m1
	}
	pages := uint64(size) / uint64(im.meta.pageSize)
	if im.meta.end > pages {
		im.notes.add("the file ends at page %d of %d: it was cut", pages, im.meta.end)
		im.meta.end = pages
	}
	im.seen = make([]bool, im.meta.end)
	return nil
}

// page is one page with those that continue it.
type page struct {
	at       uint64
	flags    uint16
	count    int
	overflow uint64
	b        []byte
}

// page reads a page with those that continue it. It is valid until the next one of
// that depth is read.
func (im *image) page(at uint64, depth int) (p page, ok bool) {
	if at >= uint64(len(im.seen)) {
		im.notes.add("page %d is outside of the file", at)
		return p, false
	}
	for len(im.bufs) <= depth {
		im.bufs = append(im.bufs, make([]byte, im.meta.pageSize))
	}
	h := im.bufs[depth]
	if _, err := im.f.ReadAt(h, int64(at)*int64(im.meta.pageSize)); err != nil {
		im.notes.add("page %d cannot be read: %v", at, err)
		return p, false
	}
	p = page{at, native.Uint16(h[8:]), int(native.Uint16(h[10:])), uint64(native.Uint32(h[12:])), h}
	if native.Uint64(h) != at || p.overflow >= uint64(len(im.seen))-at {
		return p, false
	}
	if p.overflow > 0 {
		p.b = append(p.b, make([]byte, int(p.overflow)*im.meta.pageSize)...)
		if _, err := im.f.ReadAt(p.b[len(h):], int64(at+1)*int64(im.meta.pageSize)); err != nil {
			im.notes.add("page %d cannot be read: %v", at, err)
			return p, false
		}
	}
	return p, true
}

// see marks pages as used; false if one of them was before.
func (im *image) see(at, overflow uint64) bool {
	if at+overflow >= uint64(len(im.seen)) || slices.Contains(im.seen[at:at+overflow+1], true) {
		return false
	}
	for i := at; i <= at+overflow; i++ {
		im.seen[i] = true
	}
	return true
}

func (im *image) freeList() []bool {
	free := make([]bool, len(im.seen))
	if im.meta.free == noFreelist {
		return free
	}
	p, ok := im.page(im.meta.free, 0)
	if !ok || p.flags != freePage || !im.see(p.at, p.overflow) {
		im.notes.add("the list of free pages is damaged")
		return free
	}
	b, n := p.b[pageHeader:], uint64(p.count)
	if p.count == manyFree {
		n, b = native.Uint64(b), b[8:]
	}
	if n > uint64(len(b)/8) {
		im.notes.add("the list of free pages is damaged")
		return free
	}
	last := uint64(1)
	for i := range n {
		at := native.Uint64(b[8*i:])
		if at <= last || at >= uint64(len(im.seen)) {
			im.notes.add("the list of free pages is damaged")
			return free
		}
		free[at], last = true, at
	}
	return free
}

// element of a leaf.
type element struct {
	bucket     bool
	key, value []byte
}

// leaf returns the elements that lie inside of the page.
func (im *image) leaf(p page) []element {
	return im.elements(p.b, p.count, p.at)
}

func (im *image) elements(b []byte, count int, at uint64) (out []element) {
	for i := range count {
		from := pageHeader + i*pageElement
		if from+pageElement > len(b) {
			im.notes.add("page %d has fewer records than it says", at)
			return out
		}
		h := b[from:]
		flags, pos, k, v := native.Uint32(h), uint64(native.Uint32(h[4:])), uint64(native.Uint32(h[8:])), uint64(native.Uint32(h[12:]))
		if flags > 1 || pos+k+v > uint64(len(b)-from) {
			im.notes.add("page %d: the place of record %d is damaged", at, i)
			continue
		}
		kv := h[pos:]
		out = append(out, element{flags == 1, kv[:k:k], kv[k : k+v : k+v]})
	}
	return out
}

// walk calls fn with every leaf element of a tree. bbolt finds keys by their order: a
// key is above the one before, and not below that of the branch it hangs from, low.
func (im *image) walk(at uint64, depth int, low []byte, last *[]byte, fn func(element)) {
	if depth > maxDepth {
		im.notes.add("page %d is used twice", at)
		return
	}
	p, ok := im.page(at, depth)
	switch {
	case !ok || p.flags != branchPage && p.flags != leafPage:
		im.notes.add("page %d is damaged", at)
		return
	case !im.see(p.at, p.overflow):
		im.notes.add("page %d is used twice", at)
		return
	case p.flags == leafPage:
		for _, e := range im.leaf(p) {
			im.ordered(at, low, last, e.key)
			low = nil
			fn(e)
		}
		return
	}
	for i := range p.count {
		from := pageHeader + i*pageElement
		if from+pageElement > len(p.b) {
			im.notes.add("page %d has fewer branches than it says", at)
			return
		}
		h := p.b[from:]
		pos, n, child := uint64(native.Uint32(h)), uint64(native.Uint32(h[4:])), native.Uint64(h[8:])
		if pos+n > uint64(len(h)) {
			im.notes.add("page %d: the place of branch %d is damaged", at, i)
			pos, n = 0, 0
		}
		key := h[pos : pos+n]
		if bytes.Compare(key, low) < 0 || *last != nil && bytes.Compare(*last, key) >= 0 {
			im.notes.add("page %d: branches are out of order", at)
		}
		im.walk(child, depth+1, key, last, fn)
		low = nil
	}
}

// maxDepth of a tree: a branch has hundreds of children.
const maxDepth = 64

func (im *image) ordered(at uint64, low []byte, last *[]byte, key []byte) {
	if *last != nil && bytes.Compare(*last, key) >= 0 || bytes.Compare(key, low) < 0 {
		im.notes.add("page %d: keys are out of order", at)
	}
	*last = append((*last)[:0], key...)
}

// buckets reads all tables.
func (im *image) buckets(root uint64) {
	var last []byte
	im.walk(root, 0, nil, &last, func(e element) {
		if !e.bucket || len(e.value) < bucketHeader {
			im.notes.add("table %s is damaged", quoted(e.key))
			return
		}
		name := string(e.key)
		give := func(e element) {
			if e.bucket {
				im.notes.add("table %s: a record is damaged", quoted([]byte(name)))
				return
			}
			im.fn(raw{name, e.key, e.value})
		}
		if at := native.Uint64(e.value); at != 0 {
			var last []byte
			im.walk(at, maxDepth/2, nil, &last, give)
			return
		}
		// A small table lies in its entry.
		b := e.value[bucketHeader:]
		if len(b) < pageHeader || native.Uint16(b[8:]) != leafPage {
			im.notes.add("table %s is damaged", quoted(e.key))
			return
		}
		var last []byte
		for _, e := range im.elements(b, int(native.Uint16(b[10:])), 0) {
			im.ordered(0, nil, &last, e.key)
			give(e)
		}
	})
}

// quoted is a key for a person: a number, or short text. It never has what a record
// holds.
func quoted(key []byte) string {
	if len(key) == 8 && key[0] == 0 {
		return fmt.Sprint(binary.BigEndian.Uint64(key))
	}
	if len(key) > 64 {
		return fmt.Sprintf("%q…", key[:64])
	}
	return fmt.Sprintf("%q", key)
}
