// Package mirror takes the needed part of a Debian archive: the index files as they are,
// with the signatures of the distribution, and of the pool what some packages need. What
// is taken can be served from any web server, and apt and the installer trust it as they
// trust the archive. It knows nothing of images, and runs on behalf of a person alone.
package mirror

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
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

	Pool []File `json:"-"` // what was listed and not fetched
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

// Take fetches what is wanted into a folder; what lies there already and is right is not
// fetched again. total and done tell how far it is, in bytes.
func Take(ctx context.Context, src Source, w Want, dir string, total, done func(int64)) (*Result, error) {
	if w.Suite == "" || len(w.Components) == 0 || len(w.Arches) == 0 {
		return nil, errors.New("a mirror wants a suite, a component and an architecture")
	}
	for _, s := range slices.Concat([]string{w.Suite}, w.Components, w.Arches) {
		if !fs.ValidPath(s) || strings.ContainsAny(s, " \\") {
			return nil, fmt.Errorf("%q is no name of a suite, a component or an architecture", s)
		}
	}
	t := &taking{src: src, w: w, dir: dir, done: done}
	release, err := t.release(ctx)
	if err != nil {
		return nil, err
	}
	indexes, err := readRelease(release)
	if err != nil {
		return nil, fmt.Errorf("dists/%s/Release: %w", w.Suite, err)
	}
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
	if err := t.all(ctx, pool); err != nil {
		return nil, err
	}
	if err := t.sweep(pool); err != nil {
		return nil, err
	}
	var r paragraph
	if err := paragraphs(bytes.NewReader(release), func(p paragraph) bool { r = p; return false }); err != nil {
		return nil, err
	}
	return &Result{Suite: w.Suite, Version: r["version"], Date: r["date"], Packages: packages, Bytes: sum, Fetched: t.fetched, Missing: missing, Pool: listed}, nil
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
	dir  string
	done func(int64)
	kept map[string]bool // index files

	mu      sync.Mutex
	fetched int64
}

// release fetches the release files and returns what is signed. apt reads InRelease, and
// the installer Release and its signature.
func (t *taking) release(ctx context.Context) ([]byte, error) {
	base := "dists/" + t.w.Suite + "/"
	t.kept = map[string]bool{}
	texts := map[string][]byte{}
	for _, n := range []string{"InRelease", "Release", "Release.gpg"} {
		b, err := t.small(ctx, base+n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		texts[n] = b
		if err := t.write(base+n, b); err != nil {
			return nil, err
		}
	}
	at := func(n string) string { return filepath.Join(t.dir, filepath.FromSlash(base+n)) }
	var signed []byte
	switch {
	case texts["InRelease"] != nil:
		out, err := verify(ctx, t.w.Keyring, "--output", "-", at("InRelease"))
		if err != nil {
			return nil, fmt.Errorf("%sInRelease: %w", base, err)
		}
		signed = out
		if r := texts["Release"]; r != nil && texts["Release.gpg"] != nil {
			if _, err := verify(ctx, t.w.Keyring, at("Release.gpg"), at("Release")); err != nil {
				return nil, fmt.Errorf("%sRelease: %w", base, err)
			}
		}
	case texts["Release"] != nil && texts["Release.gpg"] != nil:
		if _, err := verify(ctx, t.w.Keyring, at("Release.gpg"), at("Release")); err != nil {
			return nil, fmt.Errorf("%sRelease: %w", base, err)
		}
		signed = texts["Release"]
	default:
		return nil, fmt.Errorf("there is no %sInRelease, nor a Release with its signature: is that the root of an archive, and is the suite called %s?", base, t.w.Suite)
	}
	return signed, nil
}

// verify checks a signature as apt does, by gpgv.
func verify(ctx context.Context, keyring string, args ...string) ([]byte, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, "gpgv", append([]string{"--keyring", keyring}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("its signature cannot be checked: install gpgv (apt install gpgv)")
	} else if err != nil {
		return nil, fmt.Errorf("its signature is not one of %s: %s", keyring, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
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
		local := filepath.Join(t.dir, filepath.FromSlash(base+f.name))
		err := t.fetch(ctx, file{base + f.name, f.size, f.sha256}, local)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the one that is not packed is listed and not there
		}
		if err != nil {
			return err
		}
		t.kept[base+f.name] = true
		hashed := base + at + "/by-hash/SHA256/" + f.sha256
		t.kept[hashed] = true
		if err := link(local, filepath.Join(t.dir, filepath.FromSlash(hashed))); err != nil {
			return err
		}
		if n == "Release" || n == "Packages.xz" || read {
			continue
		}
		if err := into.read(local); err != nil {
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

func (t *taking) write(name string, b []byte) error {
	t.kept[name] = true
	p := filepath.Join(t.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, b, 0o644)
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
				if err := t.fetch(ctx, f, filepath.Join(t.dir, filepath.FromSlash(f.name))); err != nil {
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
	if sumOf(local) == f.sha256 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return err
	}
	return again(ctx, func() error { return t.once(ctx, f, local) })
}

func (t *taking) once(ctx context.Context, f file, local string) (err error) {
	r, err := t.src.Open(ctx, f.name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	defer r.Close()
	part := local + ".part"
	w, err := os.Create(part)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, f.size+1))
	if e := w.Close(); err == nil {
		err = e
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", f.name, err)
	case n != f.size || hex.EncodeToString(h.Sum(nil)) != f.sha256:
		return fmt.Errorf("%s is not what the archive's signed list says it is: the archive may be changing, try again later", f.name)
	}
	t.mu.Lock()
	t.fetched += n
	t.mu.Unlock()
	return os.Rename(part, local)
}

func sumOf(p string) string {
	r, err := os.Open(p)
	if err != nil {
		return ""
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// link puts the bytes of a file under a second name.
func link(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(from, to)
}

// sweep removes what an earlier release left in the folder.
func (t *taking) sweep(pool []file) error {
	for _, f := range pool {
		t.kept[f.name] = true
	}
	for _, top := range []string{"dists", "pool"} {
		root := filepath.Join(t.dir, top)
		if err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if rel, err := filepath.Rel(t.dir, p); err != nil || t.kept[filepath.ToSlash(rel)] {
				return err
			}
			return os.Remove(p)
		}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// readRelease lists the files of a Release, beneath its own folder.
func readRelease(text []byte) (map[string]file, error) {
	out := map[string]file{}
	err := paragraphs(bytes.NewReader(text), func(p paragraph) bool {
		for line := range strings.Lines(p["sha256"]) {
			f := strings.Fields(line)
			if len(f) != 3 || len(f[0]) != 64 {
				continue
			}
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil && n >= 0 && n < maxFile && fs.ValidPath(f[2]) {
				out[f[2]] = file{f[2], n, strings.ToLower(f[0])}
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no files with their SHA-256")
	}
	return out, nil
}

// read adds the packages of a list.
func (x index) read(local string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	r := io.Reader(f)
	if path.Ext(local) == ".gz" {
		z, err := gzip.NewReader(f)
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
