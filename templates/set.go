// set.go: from a reference to bytes. A version is compiled on first use,
// shared, and kept in a bounded cache.

package templates

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/template"

	"github.com/musterboot/muster/boot"
)

//go:embed builtin/*
var builtinFiles embed.FS

// Files opens stored files by digest.
type Files interface {
	Open(digest string) (*boot.Section, error)
}

// Set opens references to template files, generated scripts and built-in
// scripts. It is safe for concurrent use.
type Set struct {
	files    Files
	builtins *template.Template

	mu    sync.Mutex
	cache map[boot.TemplateID]*Compiled
	order []boot.TemplateID
}

const cacheLen = 256

// NewSet returns a set that reads stored files through files.
func NewSet(files Files) (*Set, error) {
	t, err := template.New("builtin").Funcs(funcs).Option("missingkey=error").ParseFS(builtinFiles, "builtin/*")
	if err != nil {
		return nil, fmt.Errorf("built-in scripts: %w", err)
	}
	for _, x := range t.Templates() {
		if x.Tree != nil {
			if err := walk(x.Tree.Root, language(x.Name(), ""), func(string) bool { return false }); err != nil {
				return nil, fmt.Errorf("built-in script %s: %w", x.Name(), err)
			}
		}
	}
	return &Set{files: files, builtins: t, cache: map[boot.TemplateID]*Compiled{}}, nil
}

// Compiled returns a version ready to render.
func (s *Set) Compiled(t *boot.Template) (*Compiled, error) {
	s.mu.Lock()
	c := s.cache[t.ID]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := compileStored(t.Files, func(f string) ([]byte, error) {
		r, err := s.files.Open(t.Files[f].Digest)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, maxSource+1))
	})
	if err != nil {
		return nil, fmt.Errorf("template %s version %d: %w", t.Name, t.Version, err)
	}
	if t.ID == 0 { // it was not pushed
		return c, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache[t.ID] == nil {
		s.order = append(s.order, t.ID)
		if len(s.order) > cacheLen {
			delete(s.cache, s.order[0])
			s.order = s.order[1:]
		}
	}
	s.cache[t.ID] = c
	return c, nil
}

// Images lists the images that a version boots.
func (s *Set) Images(t *boot.Template) ([]string, error) {
	f, err := s.files.Open(t.Files[SpecFile].Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return nil, err
	}
	spec, err := ParseSpec(SpecFile, b)
	if err != nil {
		return nil, err
	}
	return spec.Images(), nil
}

// Open turns a reference into bytes. A file that the template does not have is
// boot.ErrNoFile.
func (s *Set) Open(ctx context.Context, ref boot.Ref) (*boot.Object, error) {
	switch ref.Kind {
	case boot.RefBuiltin:
		w := &capped{max: maxRendered}
		name := ref.Name + cmp.Or(endings[ref.Dialect], endings[boot.IPXEScript])
		if err := s.builtins.ExecuteTemplate(w, name, see(ref.Machine)); err != nil {
			return nil, fmt.Errorf("built-in script %s: %w", name, err)
		}
		return made(name, ref.Dialect, w.Bytes()), nil
	case boot.RefGenerated:
		c, err := s.Compiled(ref.Template)
		if err != nil {
			return nil, err
		}
		b, err := c.script(ref.Dialect)(ref.Machine)
		if err != nil {
			return nil, fmt.Errorf("template %s version %d: %w", ref.Template.Name, ref.Template.Version, err)
		}
		return made(ref.Name, ref.Dialect, b), nil
	case boot.RefTemplate:
		c, err := s.Compiled(ref.Template)
		if err != nil {
			return nil, err
		}
		file, ok := c.files[ref.Name]
		if !ok {
			return nil, fmt.Errorf("%w: template %s version %d has no %s", boot.ErrNoFile, ref.Template.Name, ref.Template.Version, ref.Name)
		}
		if c.made[ref.Name] != nil {
			b, err := c.render(ref.Name, ref.Machine)
			if err != nil {
				return nil, fmt.Errorf("template %s version %d: %w", ref.Template.Name, ref.Template.Version, err)
			}
			return made(ref.Name, "", b), nil
		}
		if c.archives[ref.Name] != nil {
			return s.openArchive(c, ref)
		}
		blob := ref.Template.Files[file]
		f, err := s.files.Open(blob.Digest)
		if err != nil {
			return nil, err
		}
		return &boot.Object{Body: f, Name: ref.Name, Size: blob.Size, ETag: `"` + blob.Digest[:32] + `"`}, nil
	}
	return nil, fmt.Errorf("reference of kind %q is not a template's", ref.Kind)
}

// Renders renders everything that Rendered does, and returns the first error.
func (s *Set) Renders(t *boot.Template, d boot.Dialect, m boot.Machine) error {
	_, err := s.Rendered(t, d, m)
	return err
}

// Rendered renders the script and every file of a version for a machine with its secret
// parameters, by the names that they are served by. Each file sees what it may have. Of an
// archive it is the list of what is in it.
func (s *Set) Rendered(t *boot.Template, d boot.Dialect, m boot.Machine) (map[string][]byte, error) {
	c, err := s.Compiled(t)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	if out[scriptNames[d]], err = c.script(d)(c.mayKnow("", m)); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.made)) {
		if name == "boot.ipxe" || name == "grub.cfg" {
			continue
		}
		if out[name], err = c.render(name, c.mayKnow(name, m)); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.archives)) {
		var list bytes.Buffer
		for _, at := range slices.Sorted(maps.Keys(c.archives[name])) {
			fmt.Fprintf(&list, "%s = %s\n", at, c.archives[name][at])
		}
		out[name] = list.Bytes()
	}
	return out, nil
}

// endings are those of the scripts that ship, by the language.
var endings = map[boot.Dialect]string{boot.IPXEScript: ".ipxe", boot.GRUBScript: ".cfg", boot.UBootScript: ".scr", boot.Extlinux: ".extlinux"}

var scriptNames = map[boot.Dialect]string{boot.IPXEScript: "boot.ipxe", boot.GRUBScript: "grub.cfg", boot.UBootScript: "boot.scr", boot.Extlinux: "extlinux.conf"}

// script is what renders the boot script of a language.
func (c *Compiled) script(d boot.Dialect) func(boot.Machine) ([]byte, error) {
	switch d {
	case boot.GRUBScript:
		return c.grubScript
	case boot.UBootScript:
		return c.ubootScript
	case boot.Extlinux:
		return c.extlinux
	}
	return c.Script
}

// made wraps rendered bytes.
func made(name string, d boot.Dialect, b []byte) *boot.Object {
	if d == boot.UBootScript {
		b = ubootImage(b)
	}
	sum := sha256.Sum256(b)
	return &boot.Object{Body: nopCloser{bytes.NewReader(b)}, Name: name, Size: int64(len(b)), ETag: `"` + hex.EncodeToString(sum[:16]) + `"`}
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
