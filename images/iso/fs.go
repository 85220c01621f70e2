package iso

// This file presents the image as a file system (fs.FS and related interfaces),
// and finds where in the image a file lies.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	maxDepth = 64
	maxLinks = 16
	maxSteps = 256 // path elements of one name with all links in it followed
)

// ErrNoFile says that a name leads to no regular file: to a directory, or round in a
// circle. It is a client's mistake to ask for one, or the medium's maker's.
var ErrNoFile = errors.New("not a regular file")

// ErrPieces says that a file's pieces are not adjacent. Open can read such a
// file, but Locate cannot return one range.
var ErrPieces = errors.New("the file lies in pieces that do not adjoin; it must be read through Open")

var (
	_ fs.ReadDirFS  = (*Image)(nil)
	_ fs.StatFS     = (*Image)(nil)
	_ fs.ReadLinkFS = (*Image)(nil)
)

// node is a directory on the way to a name, or the name itself.
type node struct {
	e *entry
	x extent // where a directory lists its names
}

// find follows a name from the root. It compares names exactly first, then
// without case, because plain ISO names are shown in small letters and people
// copy what a menu shows. A symbolic link that leaves the image is not found. A
// link at the end is followed if follow says so.
func (m *Image) find(op, name string, follow bool) (node, error) {
	if !fs.ValidPath(name) {
		return node{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, err := m.resolve(name, follow)
	if err != nil {
		return node{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

func (m *Image) resolve(name string, follow bool) (node, error) {
	way := []node{{&m.root, m.root.first}}
	rest := strings.Split(name, "/")
	for links, steps := 0, 0; len(rest) > 0; steps++ {
		if steps == maxSteps {
			return node{}, fmt.Errorf("its links make a way of more than %d steps: %w", maxSteps, ErrNoFile)
		}
		part := rest[0]
		rest = rest[1:]
		here := way[len(way)-1]
		if !here.e.mode.IsDir() {
			return node{}, fs.ErrNotExist
		}
		switch part {
		case "", ".":
			continue
		case "..": // comes only from a link's target: the caller's name has none
			if len(way) == 1 {
				return node{}, fmt.Errorf("a symbolic link climbs out of the image: %w", fs.ErrNotExist)
			}
			way = way[:len(way)-1]
			continue
		}
		entries, err := m.dir(here.x)
		if err != nil {
			return node{}, fmt.Errorf("directory %q: %w", here.e.name, err)
		}
		e := lookup(entries, part)
		if e == nil {
			return node{}, fs.ErrNotExist
		}
		if e.mode&fs.ModeSymlink != 0 && (follow || len(rest) > 0) {
			if links++; links > maxLinks {
				return node{}, fmt.Errorf("more than %d symbolic links, the last %q: %w", maxLinks, e.name, ErrNoFile)
			}
			if strings.HasPrefix(e.target, "/") || e.target == "" {
				return node{}, fmt.Errorf("symbolic link %q leads to %.200q, outside the image: %w", e.name, e.target, fs.ErrNotExist)
			}
			rest = append(strings.Split(e.target, "/"), rest...)
			continue
		}
		next := node{e: e}
		if e.mode.IsDir() {
			if next.x, err = m.enter(way, e); err != nil {
				return node{}, err
			}
		}
		way = append(way, next)
	}
	return way[len(way)-1], nil
}

// enter finds where a directory lies, and refuses a loop.
func (m *Image) enter(way []node, e *entry) (extent, error) {
	if len(way) > maxDepth {
		return extent{}, fmt.Errorf("directory %q is more than %d levels deep: %w", e.name, maxDepth, ErrNoFile)
	}
	x := e.first
	if e.moved {
		// RRIP 4.1.5.1: only the directory's own first record tells its size.
		b, err := m.sector(x.off / sectorSize)
		if err != nil {
			return extent{}, fmt.Errorf("directory %q %w", e.name, err)
		}
		r, err := parseRecord(b[:max(34, int(b[0]))])
		if err != nil || b[0] < 34 || r.flags&flagDirectory == 0 || r.extent.off != x.off {
			return extent{}, fmt.Errorf("directory %q was moved to sector %d, where none is", e.name, x.off/sectorSize)
		}
		x = r.extent
	}
	if err := m.check(x); err != nil {
		return extent{}, fmt.Errorf("directory %q %w", e.name, err)
	}
	if slices.ContainsFunc(way, func(a node) bool { return a.x.off == x.off && x.size > 0 }) {
		return extent{}, fmt.Errorf("directory %q is inside itself (sector %d): the image is damaged or made to mislead: %w", e.name, x.off/sectorSize, ErrNoFile)
	}
	return x, nil
}

func lookup(entries []entry, name string) *entry {
	if i, ok := slices.BinarySearchFunc(entries, name, func(e entry, n string) int { return strings.Compare(e.name, n) }); ok {
		return &entries[i]
	}
	for i := range entries {
		if strings.EqualFold(entries[i].name, name) {
			return &entries[i]
		}
	}
	return nil
}

// pieces finds where a regular file lies; adjacent pieces are joined.
func (m *Image) pieces(e *entry) ([]extent, error) {
	if !e.mode.IsRegular() {
		return nil, ErrNoFile
	}
	// A file cannot be longer than its image. Without this check a small image
	// could list one piece a hundred thousand times, and fill the disk of
	// whoever copies the file.
	if e.size > m.size {
		return nil, fmt.Errorf("file of %d bytes in an image of %d: it is damaged or made to mislead", e.size, m.size)
	}
	var out []extent
	for i, x := range append([]extent{e.first}, e.more...) {
		if err := m.check(x); err != nil {
			return nil, fmt.Errorf("piece %d of the file %w", i+1, err)
		}
		if last := len(out) - 1; last >= 0 && (out[last].off+out[last].size == x.off || x.size == 0) {
			out[last].size += x.size
		} else if x.size > 0 {
			out = append(out, x)
		}
	}
	return out, nil
}

// Locate returns where a regular file lies in the image if it lies in one
// piece, so that a server can send it directly; otherwise ErrPieces. It follows
// a link.
func (m *Image) Locate(name string) (off, size int64, err error) {
	n, err := m.find("locate", name, true)
	if err != nil {
		return 0, 0, err
	}
	p, err := m.pieces(n.e)
	if err == nil && len(p) > 1 {
		err = ErrPieces
	}
	if err != nil {
		return 0, 0, &fs.PathError{Op: "locate", Path: name, Err: err}
	}
	if len(p) == 0 {
		return 0, 0, nil // an empty file lies nowhere
	}
	return p[0].off, p[0].size, nil
}

// Open opens a file or directory. A regular file is an io.ReaderAt and an
// io.Seeker too.
func (m *Image) Open(name string) (fs.File, error) {
	n, err := m.find("open", name, true)
	if err != nil {
		return nil, err
	}
	i := info{path.Base(name), n.e}
	if n.e.mode.IsDir() {
		list, err := m.list(n.x)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &dirFile{info: i, path: name, list: list}, nil
	}
	p, err := m.pieces(n.e)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	switch len(p) {
	case 0:
		return &file{io.NewSectionReader(m.r, 0, 0), i}, nil
	case 1:
		return &file{io.NewSectionReader(m.r, p[0].off, p[0].size), i}, nil
	}
	return &file{io.NewSectionReader(newPieces(m.r, p), 0, n.e.size), i}, nil
}

// Stat follows links.
func (m *Image) Stat(name string) (fs.FileInfo, error) { return m.stat("stat", name, true) }

// Lstat does not.
func (m *Image) Lstat(name string) (fs.FileInfo, error) { return m.stat("lstat", name, false) }

func (m *Image) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, err := m.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return m.info(path.Base(name), n.e)
}

// info is the entry as Stat returns it, or an error if the file's extents are
// invalid.
func (m *Image) info(name string, e *entry) (fs.FileInfo, error) {
	if e.mode.IsRegular() {
		if _, err := m.pieces(e); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
	}
	return info{name, e}, nil
}

// ReadLink returns a link's target as stored; it may lead outside the image.
func (m *Image) ReadLink(name string) (string, error) {
	n, err := m.find("readlink", name, false)
	if err == nil && n.e.mode&fs.ModeSymlink == 0 {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	return n.e.target, nil
}

// ReadDir lists a directory, sorted by name.
func (m *Image) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := m.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.e.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	list, err := m.list(n.x)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

func (m *Image) list(x extent) ([]fs.DirEntry, error) {
	entries, err := m.dir(x)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(entries))
	for i := range entries {
		list[i] = dirEntry{m, &entries[i]}
	}
	return list, nil
}

type dirEntry struct {
	m *Image
	e *entry
}

func (d dirEntry) Name() string               { return d.e.name }
func (d dirEntry) IsDir() bool                { return d.e.mode.IsDir() }
func (d dirEntry) Type() fs.FileMode          { return d.e.mode.Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.m.info(d.e.name, d.e) }
func (d dirEntry) String() string             { return fs.FormatDirEntry(d) }

type info struct {
	name string
	e    *entry
}

func (i info) Name() string       { return i.name }
func (i info) Mode() fs.FileMode  { return i.e.mode }
func (i info) IsDir() bool        { return i.e.mode.IsDir() }
func (i info) Sys() any           { return nil }
func (i info) String() string     { return fs.FormatFileInfo(i) }
func (i info) ModTime() time.Time { return time.Unix(i.e.mod, 0).UTC() }

func (i info) Size() int64 {
	if i.e.mode.IsRegular() {
		return i.e.size
	}
	return 0
}

// file is an open regular file.
type file struct {
	*io.SectionReader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// dirFile is an open directory.
type dirFile struct {
	info info
	path string
	list []fs.DirEntry
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *dirFile) Close() error               { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: errors.New("is a directory")}
}

func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.list) {
		n = len(d.list)
	}
	out := slices.Clone(d.list[:n])
	d.list = d.list[n:]
	return out, nil
}

// piecesReader reads a file that lies in several pieces.
type piecesReader struct {
	r      io.ReaderAt
	pieces []extent
	ends   []int64 // of each piece, in the file
}

func newPieces(r io.ReaderAt, p []extent) *piecesReader {
	q := &piecesReader{r: r, pieces: p}
	end := int64(0)
	for _, x := range p {
		end += x.size
		q.ends = append(q.ends, end)
	}
	return q
}

func (q *piecesReader) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for i := sort.Search(len(q.ends), func(i int) bool { return off < q.ends[i] }); i < len(q.ends) && done < len(b); i++ {
		left := q.ends[i] - off
		part := b[done:min(int64(len(b)), int64(done)+left)]
		n, err := q.r.ReadAt(part, q.pieces[i].off+q.pieces[i].size-left)
		done += n
		off += int64(n)
		if n < len(part) {
			return done, err
		}
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}
