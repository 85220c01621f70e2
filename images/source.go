// source.go: the input of an import: a disc image, a netboot archive, a folder,
// or single files. It is inspected and listed here. The bytes are read only
// once more, when they are stored.

package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images/iso"
	"github.com/musterboot/muster/systems"
)

// Limits of an import. An archive declares its sizes, and may lie.
const (
	MaxFiles = boot.MaxImageFiles // larger trees are served from their disc image
	maxBytes = 64 << 30           // unpacked
	maxDepth = 32
	maxSmall = 64 << 10 // of a file that detection may read
	maxKept  = 16 << 20 // of such files together
)

// Source is an image before it is stored.
type Source struct {
	Image    boot.Image // without Files
	Entries  []Entry
	Warnings []string
	close    []func() error
}

// Entry is one file of it. Entries must be opened in their order, one at a
// time.
type Entry struct {
	Name string
	Size int64
	Link string // name of an earlier entry with the same bytes; this entry is not opened
	open func() (io.ReadCloser, error)
}

// Open opens it for reading, once.
func (e *Entry) Open() (io.ReadCloser, error) { return e.open() }

// Close closes what Inspect opened.
func (s *Source) Close() error {
	var errs []error
	for _, c := range s.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Bytes is how much there is to read.
func (s *Source) Bytes() (n int64) {
	for _, e := range s.Entries {
		n += e.Size
	}
	return n
}

// Inspect looks at the files that will become image name: one disc image
// (.iso), one archive (.tar, .tar.gz, .tgz), one folder, or one or more files.
func Inspect(name string, paths ...string) (*Source, error) {
	s := &Source{Image: boot.Image{Name: name}}
	err := s.inspect(paths)
	if err != nil {
		s.Close()
		return nil, err
	}
	if len(s.Entries) > MaxFiles {
		s.Close()
		return nil, fmt.Errorf("%d files: an image holds at most %d; a disc image is served without unpacking", len(s.Entries), MaxFiles)
	}
	return s, nil
}

func (s *Source) inspect(paths []string) error {
	if len(paths) == 1 {
		st, err := os.Stat(paths[0])
		if err != nil {
			return err
		}
		low := strings.ToLower(paths[0])
		switch {
		case st.IsDir():
			return s.folder(paths[0])
		case strings.HasSuffix(low, ".iso"):
			return s.disc(paths[0], st.Size())
		case strings.HasSuffix(low, ".tar"), strings.HasSuffix(low, ".tar.gz"), strings.HasSuffix(low, ".tgz"):
			return s.archive(paths[0])
		}
	}
	s.Image.Kind = "files"
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() || st.Size() == 0 {
			return fmt.Errorf("%s is not a file with something in it", p)
		}
		name := filepath.Base(p)
		if slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Name == name }) {
			return fmt.Errorf("two files are called %s", name)
		}
		s.add(name, st.Size(), func() (io.ReadCloser, error) { return os.Open(p) })
	}
	return nil
}

func (s *Source) add(name string, size int64, open func() (io.ReadCloser, error)) {
	s.Entries = append(s.Entries, Entry{Name: name, Size: size, open: open})
}

// folder takes every file below a folder under its own name.
func (s *Source) folder(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	s.close = append(s.close, root.Close)
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~")) {
			// Editors and distributions leave such files beside boot files.
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		// Links inside the folder are followed; os.Root refuses the others.
		st, err := root.Stat(p)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, p), err)
		}
		if !st.Mode().IsRegular() {
			if st.IsDir() {
				return nil // a link to a folder: its files are listed under their own paths
			}
			return fmt.Errorf("%s is no regular file", filepath.Join(dir, p))
		}
		s.add(p, st.Size(), func() (io.ReadCloser, error) { return root.Open(p) })
		if len(s.Entries) > MaxFiles {
			return fmt.Errorf("more than %d files in %s", MaxFiles, dir)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(s.Entries) == 0 {
		return fmt.Errorf("there is no file in %s", dir)
	}
	s.Image.Kind, s.Image.Title = "folder", ""
	found, err := systems.Detect(root.FS(), "")
	if err != nil {
		return nil // an ordinary folder
	}
	s.found(found, func(_ systems.Arch, p string) string { return p })
	return nil
}

// found records the distribution that was detected. named is what a file of the medium
// is called here.
func (s *Source) found(f *systems.Found, named func(a systems.Arch, file string) string) {
	i := &s.Image
	i.Kind, i.Title = f.System, strings.TrimSpace(f.Title+" "+f.Version)
	i.Cmdline, i.DiscAt = systems.Expand(f.Cmdline, i.Name), f.ISOInInitrd
	for _, a := range f.Arches {
		b := boot.ImageBoot{Arch: a.Platform, Kernel: named(a, a.Kernel)}
		for _, p := range a.Initrd {
			b.Initrd = append(b.Initrd, named(a, p))
		}
		i.Boots = append(i.Boots, b)
	}
	for _, v := range f.Variants {
		i.Variants = append(i.Variants, boot.ImageVariant{Name: v.Name, Title: v.Title, Cmdline: systems.Expand(v.Cmdline, i.Name)})
	}
	for _, p := range f.Params {
		i.Params = append(i.Params, boot.ImageParam{Name: p.Name, Default: p.Default, Help: p.Help, Required: p.Required})
	}
	s.Warnings = append(s.Warnings, f.Notes...)
}

// disc takes the boot files out of a disc image. If the installer reads the
// rest from the image, it takes the image too.
func (s *Source) disc(file string, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	s.close = append(s.close, f.Close)
	img, err := iso.Open(f, size)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	whole := s.Image.Name + ".iso"
	add := func() {
		s.add(whole, size, func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, size)), nil })
		s.Image.Tree = whole
	}
	found, err := systems.Detect(img, img.Label())
	if err != nil {
		// One that is known but for a file may be of a release that is laid out otherwise.
		what := "this is no medium that Muster knows"
		if !errors.Is(err, systems.ErrUnknown) {
			what = err.Error()
		}
		s.Image.Kind, s.Image.Title = "disc", strings.TrimSpace(img.Label())
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: the disc image is offered as a whole. UEFI HTTP boot and iPXE can start it (file = \"image:%s/%s\"), but many systems lose such a disc when their kernel starts", what, s.Image.Name, whole))
		add()
		return nil
	}
	if found.Tree || found.WholeISO || found.Kind == systems.Disc {
		add()
	}
	if found.Kind == systems.ESXi {
		if s.Image.BootCfg, err = bootCfg(img, found, s.Image.Name); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	here := map[string]string{} // by architecture and file of the medium
	for _, a := range found.Arches {
		prefix := ""
		if len(found.Arches) > 1 {
			prefix = a.Platform + "/"
		}
		for _, p := range slices.Concat([]string{a.Kernel}, a.Initrd, a.Extra) {
			if p == "" {
				continue
			}
			off, n, err := img.Locate(p)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			name := prefix + path.Base(p)
			if found.Kind == systems.ESXi { // the medium has capital names, but its loader asks for small ones
				name = strings.ToLower(name)
			}
			if slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Name == name }) {
				name = prefix + p
			}
			here[a.Platform+" "+p] = name
			s.add(name, n, func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, off, n)), nil })
		}
	}
	s.found(found, func(a systems.Arch, p string) string { return here[a.Platform+" "+p] })
	return nil
}

// bootCfg is ESXi's list of modules, which the loader fetches from inside the disc.
func bootCfg(fsys fs.FS, f *systems.Found, image string) (string, error) {
	for _, p := range f.Arches[0].Extra {
		if strings.EqualFold(path.Base(p), "boot.cfg") {
			cfg, err := fs.ReadFile(fsys, p)
			if err == nil {
				cfg, err = systems.BootConfig(cfg, "{{ .BaseURL }}/images/"+image+"/tree", "")
			}
			return string(cfg), err
		}
	}
	return "", errors.New("boot.cfg is missing")
}

// archive takes every file of a tar archive. It reads the archive twice: once
// to check it, and once, in order, to store it.
func (s *Source) archive(file string) error {
	sizes, links, small := map[string]int64{}, map[string]string{}, fstest.MapFS{}
	var order []string
	var total, kept int64
	err := eachTar(file, func(h *tar.Header, r io.Reader) error {
		name, err := tarName(h.Name)
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		if name == "." {
			return fmt.Errorf("%q is no name of a file", h.Name)
		}
		_, has := sizes[name]
		if _, link := links[name]; has || link {
			return fmt.Errorf("%s is in it twice", name)
		}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink && !path.IsAbs(target) {
				target = path.Join(path.Dir(name), target)
			}
			if path.IsAbs(h.Linkname) {
				return fmt.Errorf("%s is a link to %s, outside the archive", name, h.Linkname)
			}
			to, err := tarName(target)
			if err != nil {
				return fmt.Errorf("%s is a link to %s, outside the archive", name, h.Linkname)
			}
			links[name] = to
			return nil
		default:
			return fmt.Errorf("%s is a device or another thing that is no file", name)
		}
		if total += h.Size; total > maxBytes || h.Size < 0 {
			return fmt.Errorf("it unpacks to more than %d GiB", maxBytes>>30)
		}
		if len(sizes)+len(links) >= MaxFiles {
			return fmt.Errorf("it holds more than %d files", MaxFiles)
		}
		sizes[name] = h.Size
		order = append(order, name)
		entry := &fstest.MapFile{Mode: 0o644}
		if h.Size <= maxSmall && kept+h.Size <= maxKept {
			if entry.Data, err = io.ReadAll(io.LimitReader(r, maxSmall)); err != nil {
				return err
			}
			kept += h.Size
		}
		small[name] = entry
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(order) == 0 {
		return fmt.Errorf("%s: there is no file in it", file)
	}
	one := &tarReader{file: file}
	s.close = append(s.close, one.Close)
	for _, name := range order {
		s.add(name, sizes[name], func() (io.ReadCloser, error) { return one.open(name) })
	}
	// A link has its target's bytes: one file under two names.
	for _, name := range slices.Sorted(maps.Keys(links)) {
		to := links[name]
		for range 16 {
			next, ok := links[to]
			if !ok {
				break
			}
			to = next
		}
		if _, ok := sizes[to]; ok {
			s.Entries = append(s.Entries, Entry{Name: name, Link: to})
		} else if !slices.ContainsFunc(order, func(f string) bool { return strings.HasPrefix(f, to+"/") }) {
			return fmt.Errorf("%s: %s is a link to %s, which is not in it", file, name, to)
		}
	}
	s.Image.Kind = "archive"
	found, err := systems.Detect(small, "")
	if err == nil {
		s.found(found, func(_ systems.Arch, p string) string { return p })
	}
	return nil
}

// tarName checks a name in an archive.
func tarName(raw string) (string, error) {
	name := path.Clean(raw)
	if path.IsAbs(raw) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(raw, "\x00\\") {
		return "", fmt.Errorf("%q would lie outside the image", raw)
	}
	if strings.Count(name, "/") >= maxDepth {
		return "", fmt.Errorf("%.60q…: more than %d folders deep", raw, maxDepth)
	}
	return name, nil
}

func untar(file string) (*tar.Reader, io.Closer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	b := bufio.NewReaderSize(f, 1<<20)
	if head, _ := b.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		// An archive that unpacks to more than the limit is cut off, whatever
		// its headers say.
		return tar.NewReader(io.LimitReader(z, maxBytes+1<<30)), f, nil
	}
	return tar.NewReader(b), f, nil
}

func eachTar(file string, fn func(*tar.Header, io.Reader) error) error {
	t, c, err := untar(file)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(h, t)
		}
		if err != nil {
			return err
		}
	}
}

// tarReader hands out the files of an archive in one pass, as long as they are
// asked for in order.
type tarReader struct {
	file string
	t    *tar.Reader
	c    io.Closer
}

func (r *tarReader) open(name string) (io.ReadCloser, error) {
	for range 2 {
		if r.t == nil {
			t, c, err := untar(r.file)
			if err != nil {
				return nil, err
			}
			r.t, r.c = t, c
		}
		for {
			h, err := r.t.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if n, err := tarName(h.Name); err == nil && n == name && h.Typeflag == tar.TypeReg {
				return io.NopCloser(r.t), nil
			}
		}
		r.Close() // it was already past this entry: start again
	}
	return nil, fmt.Errorf("%s: %s is gone", r.file, name)
}

func (r *tarReader) Close() error {
	if r.c == nil {
		return nil
	}
	c := r.c
	r.t, r.c = nil, nil
	return c.Close()
}
