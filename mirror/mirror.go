// Package mirror takes the needed part of a Debian archive: the index files as they are,
// with the signatures of the distribution, and of the pool what some packages need. What
// is taken can be served from any web server, and apt and the installer trust it as they
// trust the archive. It knows nothing of images, and runs on behalf of a person alone.
package mirror

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Source is an archive: a file of it by its path, "dists/trixie/InRelease".
// fs.ErrNotExist says that it has none of that name.
type Source interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Want says what is taken.
type Want struct {
	Suite      string
	Components []string // "main"
	Arches     []string // Debian's names: amd64, arm64
	Packages   []string // besides the base system, with all that they depend on
	Installer  bool     // the installer's own packages, and what it puts on a disk
	Recommends bool
	Lazy       bool   // the pool is listed and not fetched
	Keyring    string // that the archive's signature is checked with
}

// Result is what was taken.
type Result struct {
	Suite    string `json:"suite"`
	Version  string `json:"version,omitempty"` // of the release, as 13.2
	Date     string `json:"date"`
	Packages int    `json:"packages"`
	Bytes    int64  `json:"bytes"`
	Fetched  int64  `json:"fetched"` // of them, now

	Missing []string `json:"missing,omitempty"` // dependencies that nothing satisfies

	Pool  []File   `json:"-"` // what was listed and not fetched
	Files []string `json:"-"` // what lies in the folder of it
}

// Bounds: an archive may say anything of itself.
const (
	maxRelease = 4 << 20
	maxIndex   = 256 << 20 // unpacked
	maxFiles   = 18_000
	maxFile    = 4 << 30
	fetchers   = 4
	tries      = 3
)

var retryPause = 2 * time.Second

// file is one that an index names.
type file struct {
	name   string
	size   int64
	sha256 string
}

// Take fetches what is wanted into a folder, which is empty or was made by it for the same
// suite; what lies there already and is right is not fetched again. total and done tell how far it is, in bytes.
func Take(ctx context.Context, src Source, w Want, dir string, total, done func(int64)) (*Result, error) {
	if w.Suite == "" || len(w.Components) == 0 || len(w.Arches) == 0 {
		return nil, errors.New("a mirror wants a suite, a component and an architecture")
	}
	for _, s := range slices.Concat([]string{w.Suite}, w.Components, w.Arches) {
		if !fs.ValidPath(s) || strings.ContainsAny(s, " \\") {
			return nil, fmt.Errorf("%q is no name of a suite, a component or an architecture", s)
		}
	}
	to, err := openFolder(dir, w.Suite)
	if err != nil {
		return nil, err
	}
	defer to.root.Close()
	t := &taking{src: src, w: w, to: to, done: done, kept: map[string]bool{}}
	release, err := t.release(ctx)
	if err != nil {
		return nil, err
	}
	if had, err := date(to.was.Date); err == nil && release.date.Before(had) {
		return nil, fmt.Errorf("dists/%s/Release is of %s, and %s holds that of %s: somebody answers with an old one, or the archive went back; for that one name another folder", w.Suite, release.head["date"], dir, to.was.Date)
	}
	indexes := release.indexes
	var pool []file
	var missing []string
	for _, arch := range w.Arches {
		all := index{}
		for _, c := range w.Components {
			if err := t.index(ctx, indexes, c+"/binary-"+arch, all); err != nil {
				return nil, err
			}
		}
		fs, lacks, err := all.closure(w, arch)
		if err != nil {
			return nil, err
		}
		pool, missing = append(pool, fs...), append(missing, lacks...)
		if w.Installer {
			udebs := index{}
			if err := t.index(ctx, indexes, w.Components[0]+"/debian-installer/binary-"+arch, udebs); err != nil {
				return nil, err
			}
			pool = append(pool, udebs.every()...)
		}
	}
	slices.SortFunc(pool, func(a, b file) int { return strings.Compare(a.name, b.name) })
	pool = slices.CompactFunc(pool, func(a, b file) bool { return a.name == b.name }) // of all architectures
	if len(pool) > maxFiles {
		return nil, fmt.Errorf("%d packages: at most %d fit; name fewer", len(pool), maxFiles)
	}
	sum := int64(0)
	for _, f := range pool {
		sum += f.size
	}
	var listed []File
	if w.Lazy {
		for _, f := range pool {
			listed = append(listed, File{f.name, f.size, f.sha256})
		}
		pool = nil
	} else {
		total(sum)
	}
	packages := max(len(pool), len(listed))
	for _, f := range pool {
		t.kept[f.name] = true
	}
	base := "dists/" + w.Suite + "/"
	for n := range release.files {
		t.kept[base+n] = true
	}
	if err := t.note(); err != nil {
		return nil, err
	}
	if err := t.all(ctx, pool); err != nil {
		return nil, err
	}
	// All is there: from here on the folder is the new release and no longer the old one.
	for _, l := range t.links {
		if err := to.link(l.from, l.to); err != nil {
			return nil, err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(release.files)) {
		if err := to.write(base+n, release.files[n]); err != nil {
			return nil, err
		}
	}
	if err := to.sweep(t.kept); err != nil {
		return nil, err
	}
	kept := slices.Sorted(maps.Keys(t.kept))
	if err := to.mark(ours{w.Suite, release.head["date"], kept}); err != nil {
		return nil, err
	}
	return &Result{Suite: w.Suite, Version: release.head["version"], Date: release.head["date"], Packages: packages, Bytes: sum, Fetched: t.fetched, Missing: missing, Pool: listed, Files: kept}, to.root.RemoveAll(parts)
}

// File is one of the archive.
type File struct {
	Name   string
	Size   int64
	SHA256 string
}

type taking struct {
	src  Source
	w    Want
	to   *folder
	done func(int64)
	kept map[string]bool // what is wanted there

	links []struct{ from, to string } // made when all is there

	mu      sync.Mutex
	fetched int64
}

// note marks what will lie there beside what does, so that a later run may remove what one
// that breaks off leaves.
func (t *taking) note() error {
	o := t.to.was
	o.Files = slices.AppendSeq(slices.Clone(o.Files), maps.Keys(t.kept))
	return t.to.mark(o)
}

// index fetches the lists of packages of a folder, and reads them.
func (t *taking) index(ctx context.Context, indexes map[string]file, at string, into index) error {
	base := "dists/" + t.w.Suite + "/"
	read := false
	for _, n := range []string{"Packages.xz", "Packages.gz", "Packages", "Release"} {
		f, has := indexes[at+"/"+n]
		if !has || n == "Packages" && read {
			continue // apt takes a compressed one
		}
		// Under its digest no other state of the archive has it.
		hashed := base + at + "/by-hash/SHA256/" + f.sha256
		t.kept[hashed] = true
		if err := t.note(); err != nil {
			return err
		}
		err := t.fetch(ctx, file{base + f.name, f.size, f.sha256}, hashed)
		if errors.Is(err, fs.ErrNotExist) {
			delete(t.kept, hashed)
			continue // the one that is not packed is listed and not there
		}
		if err != nil {
			return err
		}
		t.kept[base+f.name] = true
		t.links = append(t.links, struct{ from, to string }{hashed, base + f.name})
		if n == "Release" || n == "Packages.xz" || read {
			continue
		}
		r, err := t.to.root.Open(hashed)
		if err != nil {
			return err
		}
		err = into.read(r, n == "Packages.gz")
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", base+f.name, err)
		}
		read = true
	}
	if !read {
		return fmt.Errorf("%s has no %s/Packages.gz: is the component or architecture another?", t.w.Suite, at)
	}
	return nil
}

// small reads one whole; fs.ErrNotExist says that there is none.
func (t *taking) small(ctx context.Context, name string) (b []byte, err error) {
	err = again(ctx, func() error {
		r, err := t.src.Open(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer r.Close()
		if b, err = io.ReadAll(io.LimitReader(r, maxRelease+1)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(b) > maxRelease {
			return fmt.Errorf("%s: more than %d bytes", name, maxRelease)
		}
		return nil
	})
	return b, err
}

// again tries something a few times, unless it is not there.
func again(ctx context.Context, try func() error) (err error) {
	for n := range tries {
		if n > 0 {
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err = try(); err == nil || errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			break
		}
	}
	return err
}

// all fetches files, a few at a time.
func (t *taking) all(ctx context.Context, fs []file) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan file)
	var wg sync.WaitGroup
	for range fetchers {
		wg.Go(func() {
			for f := range work {
				if err := t.fetch(ctx, f, f.name); err != nil {
					cancel(err)
				}
				t.mu.Lock()
				t.done(f.size)
				t.mu.Unlock()
			}
		})
	}
	for _, f := range fs {
		select {
		case work <- f:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// fetch gets a file whole and right, or nothing. What is damaged on the way is fetched
// again; what is wrong at the source is an error.
func (t *taking) fetch(ctx context.Context, f file, local string) error {
	if sum, err := t.to.sum(local); err != nil || sum == f.sha256 {
		return err
	}
	return again(ctx, func() error { return t.once(ctx, f, local) })
}

func (t *taking) once(ctx context.Context, f file, local string) error {
	r, err := t.src.Open(ctx, f.name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	defer r.Close()
	w, err := t.to.part()
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, f.size+1))
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", f.name, err)
	case n != f.size || hex.EncodeToString(h.Sum(nil)) != f.sha256:
		err = fmt.Errorf("%s is not what the archive's signed list says it is: the archive may be changing, try again later", f.name)
	}
	if err := t.to.settle(w, local, err); err != nil {
		return err
	}
	t.mu.Lock()
	t.fetched += n
	t.mu.Unlock()
	return nil
}

// read adds the packages of a list.
func (x index) read(r io.Reader, packed bool) error {
	if packed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	}
	bounded := &io.LimitedReader{R: r, N: maxIndex + 1}
	if err := paragraphs(bounded, func(p paragraph) bool { x.add(p); return true }); err != nil {
		return err
	}
	if bounded.N == 0 {
		return fmt.Errorf("more than %d bytes", maxIndex)
	}
	return nil
}
