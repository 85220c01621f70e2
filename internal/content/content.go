// Package content turns the reference in a decision into bytes, in the same way for
// every protocol: rendered templates, files of images, boot loaders.
package content

import (
	"context"
	"fmt"
	"maps"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/seal"
	"github.com/musterboot/muster/templates"
)

// Content opens whatever a decision refers to.
type Content struct {
	Set     *templates.Set
	Images  *images.Store
	Loaders func() *images.Loaders // the present ones
	Pull    *images.Puller         // fetches what images declare and do not have; nil fetches nothing
	Seal    *seal.Key              // opens secret parameters; nil shows stars in their place
}

var _ boot.Content = Content{}

// Open opens one reference.
func (c Content) Open(ctx context.Context, ref boot.Ref) (*boot.Object, error) {
	if at := ref.Placed; at != "" {
		ref.Placed = ""
		o, err := c.Open(ctx, ref)
		if err != nil {
			return nil, err
		}
		a, err := images.Archive(o, at)
		if err == nil {
			a.Whole = o.Whole
		}
		return a, err
	}
	switch ref.Kind {
	case boot.RefLoader:
		return c.Loaders().Open(ref.Name)
	case boot.RefImage:
		if ref.Upstream != "" && c.Pull != nil {
			o, err := c.Pull.Open(ctx, ref.Blob, func(context.Context) (string, error) { return ref.Upstream, nil })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ref.Name, err)
			}
			o.Name = ref.Name
			return o, nil
		}
		f, err := c.Images.Open(ref.Blob.Digest)
		if err != nil {
			return nil, err
		}
		return &boot.Object{Body: f, Name: ref.Name, Size: ref.Blob.Size, ETag: `"` + ref.Blob.Digest + `"`}, nil
	case boot.RefTree:
		f, err := c.Images.OpenInside(ref.Blob.Digest, ref.Name)
		if err != nil {
			return nil, err
		}
		return &boot.Object{Body: f, Name: ref.Name, Size: f.Size, ETag: fmt.Sprintf(`"%s-%x-%x"`, ref.Blob.Digest[:32], f.Off, f.Size)}, nil
	}
	var err error
	if ref.Machine, err = c.Unsealed(ref.Machine); err != nil {
		return nil, err
	}
	return c.Set.Open(ctx, ref)
}

// Unsealed puts the machine's secret parameters beside the others, open, or as stars
// where there is no key.
func (c Content) Unsealed(m boot.Machine) (boot.Machine, error) {
	if len(m.Sealed) == 0 {
		return m, nil
	}
	ps := maps.Clone(m.Params)
	if ps == nil {
		ps = map[string]string{}
	}
	for k, s := range m.Sealed {
		if c.Seal == nil {
			ps[k] = boot.Masked
			continue
		}
		v, err := c.Seal.Open(s.Place, s.Data)
		if err != nil {
			return m, fmt.Errorf("secret parameter %s of %s: %w (give it again: %s %s=@FILE)", k, m.Name, err, s.Set, k)
		}
		ps[k] = string(v)
	}
	m.Params = ps
	return m, nil
}

// Renders renders everything that a boot of the version asks for, once, and says what
// cannot be.
func (c Content) Renders(t *boot.Template, d boot.Dialect, m boot.Machine) error {
	open, err := c.Unsealed(m)
	if err != nil {
		return err
	}
	return c.Set.Renders(t, d, open)
}

// Files opens stored files, and those that this run was started with.
type Files struct {
	Store  *images.Store
	Run    map[string]string // digest -> path
	Opened *images.Opened    // open files of Run
}

// Open opens a file by its digest.
func (f Files) Open(digest string) (*boot.Section, error) {
	if p, ok := f.Run[digest]; ok {
		return f.Opened.File(p)
	}
	return f.Store.Open(digest)
}
