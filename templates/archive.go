// archive.go: files of a template that are served together, as one file that is made when
// it is asked for: an overlay that Alpine unpacks, the disc that cloud-init looks for.

package templates

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images/iso"
)

const (
	tarSuffix, discSuffix = ".tar.gz", ".iso"
	linkMark              = "-> " // in front of where a symbolic link leads

	// maxArchive bounds the files of an archive together, as they are and as they are
	// rendered: it is made in memory, for each request.
	maxArchive = 4 << 20

	cidata = "cidata" + discSuffix
)

// cidataFiles are cloud-init's, which reads them by these names from a disc with the label
// cidata too.
var cidataFiles = []string{"user-data", "meta-data", "vendor-data", "network-config"}

// checkArchives judges [archives], and adds cloud-init's disc.
func (c *Compiled) checkArchives(files map[string]boot.Blob) error {
	c.archives = maps.Clone(c.spec.Archives)
	if c.archives == nil {
		c.archives = map[string]map[string]string{}
	}
	if _, has := c.archives[cidata]; c.files["user-data"] != "" && !has && c.files[cidata] == "" {
		disc := map[string]string{}
		for _, f := range cidataFiles {
			if _, is := c.files[f]; is {
				disc[f] = f
			}
		}
		c.archives[cidata] = disc
	}
	for _, name := range slices.Sorted(maps.Keys(c.archives)) {
		if err := c.checkArchive(name, files); err != nil {
			return fmt.Errorf("%s: [archives] %s: %w", SpecFile, name, err)
		}
		c.spec.made = append(c.spec.made, name)
		if slices.ContainsFunc(slices.Collect(maps.Values(c.archives[name])), func(f string) bool { return slices.Contains(c.spec.Secrets.Files, f) }) {
			c.spec.secret = append(c.spec.secret, name)
		}
	}
	for name := range c.archives { // not before: one cannot hold another
		c.files[name] = ""
	}
	return nil
}

func (c *Compiled) checkArchive(name string, files map[string]boot.Blob) error {
	if err := ValidFile(name); err != nil {
		return err
	}
	_, taken := c.files[name]
	ext := ""
	for _, s := range []string{tarSuffix, discSuffix} {
		if strings.HasSuffix(name, s) {
			ext = s
		}
	}
	switch {
	case taken || reserved(name):
		return fmt.Errorf("a file of the folder has that name, or it is Muster's own")
	case ext == "":
		return fmt.Errorf("want a name that ends in %s or %s", tarSuffix, discSuffix)
	case len(c.archives[name]) == 0 || len(c.archives[name]) > MaxFiles:
		return fmt.Errorf("want 1 to %d files in it: \"etc/hostname\" = \"hostname\"", MaxFiles)
	}
	var size int64
	var discFiles []iso.File
	for _, at := range slices.Sorted(maps.Keys(c.archives[name])) {
		from := c.archives[name][at]
		if !fs.ValidPath(at) || at == "." || len(at) > 200 || strings.ContainsAny(at, "\x00\n\\") {
			return fmt.Errorf("%q: want a path inside it, without a slash in front", at)
		}
		for dir := path.Dir(at); dir != "."; dir = path.Dir(dir) {
			if _, is := c.archives[name][dir]; is {
				return fmt.Errorf("%q would be a file and a folder", dir)
			}
		}
		if to, link := strings.CutPrefix(from, linkMark); link {
			if ext == discSuffix || to == "" || len(to) > 100 {
				return fmt.Errorf("%q: a link leads to at most 100 bytes, and a disc has none", at)
			}
			continue
		}
		f, is := c.files[from]
		if !is {
			return fmt.Errorf("%q: there is no %s in the folder", at, from)
		}
		size += files[f].Size
		discFiles = append(discFiles, iso.File{Name: at, Body: bytes.NewReader(nil)})
	}
	if size > maxArchive {
		return fmt.Errorf("its files have %d bytes: at most %d; what is large belongs into an image", size, maxArchive)
	}
	if ext == discSuffix {
		_, err := iso.Make(label(name), discFiles, "")
		return err
	}
	return nil
}

// archive makes an archive for a machine. read gives the bytes of a file that is served as
// it is.
func (c *Compiled) archive(name string, m boot.Machine, read source) ([]byte, error) {
	content := map[string][]byte{}
	size := 0
	for at, from := range c.archives[name] {
		if strings.HasPrefix(from, linkMark) {
			continue
		}
		var err error
		if c.made[from] == nil {
			content[at], err = read(c.files[from])
		} else {
			if slices.Contains(c.spec.Secrets.Files, from) && m.Sealed == nil {
				return nil, fmt.Errorf("%s: %s is a file of [secrets], which who asks is not given", name, from)
			}
			content[at], err = c.render(from, c.mayKnow(from, m))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if size += len(content[at]); size > maxArchive {
			return nil, fmt.Errorf("%s: its files have more than %d bytes together", name, maxArchive)
		}
	}
	if strings.HasSuffix(name, discSuffix) {
		return discOf(label(name), content)
	}
	return tarOf(c.archives[name], content)
}

// mayKnow is the machine as a file may see it: with its secret parameters, or without.
func (c *Compiled) mayKnow(name string, m boot.Machine) boot.Machine {
	if slices.Contains(c.spec.Secrets.Files, name) {
		if m.Sealed == nil {
			m.Sealed = map[string]boot.Sealed{}
		}
		return m
	}
	bare := m
	bare.Sealed, bare.Params = nil, maps.Clone(m.Params)
	for k := range m.Sealed {
		delete(bare.Params, k)
	}
	return bare
}

// label is that of a disc, by its name.
func label(name string) string { return strings.TrimSuffix(path.Base(name), discSuffix) }

func discOf(label string, content map[string][]byte) ([]byte, error) {
	var files []iso.File
	for _, at := range slices.Sorted(maps.Keys(content)) {
		files = append(files, iso.File{Name: at, Size: int64(len(content[at])), Body: bytes.NewReader(content[at])})
	}
	d, err := iso.Make(label, files, "")
	if err != nil {
		return nil, err
	}
	b := make([]byte, d.Size())
	_, err = d.ReadAt(b, 0)
	return b, err
}

// tarOf packs files, which all are root's. One that begins with #! is a program. The same
// files are the same archive: nothing in it tells the time.
func tarOf(names map[string]string, content map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	folders := map[string]bool{".": true}
	for _, at := range slices.Sorted(maps.Keys(names)) {
		var parents []string
		for dir := path.Dir(at); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			parents = append(parents, dir)
		}
		for _, dir := range slices.Backward(parents) {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: at, Mode: 0o644, Size: int64(len(content[at]))}
		if to, link := strings.CutPrefix(names[at], linkMark); link {
			h = &tar.Header{Typeflag: tar.TypeSymlink, Name: at, Linkname: to, Mode: 0o777}
		} else if bytes.HasPrefix(content[at], []byte("#!")) {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content[at]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// openArchive is archive as an object.
func (s *Set) openArchive(c *Compiled, ref boot.Ref) (*boot.Object, error) {
	b, err := c.archive(ref.Name, ref.Machine, func(f string) ([]byte, error) {
		r, err := s.files.Open(ref.Template.Files[f].Digest)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, maxArchive))
	})
	if err != nil {
		return nil, fmt.Errorf("template %s version %d: %w", ref.Template.Name, ref.Template.Version, err)
	}
	return made(ref.Name, "", b), nil
}
