// content.go: templates and images behind the one port that fronts open.

package main

import (
	"context"
	"fmt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/templates"
)

// content opens whatever a decision refers to.
type content struct {
	set     *templates.Set
	images  *images.Store
	loaders func() *images.Loaders
}

var _ boot.Content = content{}

func (c content) Open(ctx context.Context, ref boot.Ref) (*boot.Object, error) {
	if at := ref.Placed; at != "" {
		ref.Placed = ""
		o, err := c.Open(ctx, ref)
		if err != nil {
			return nil, err
		}
		return images.Archive(o, at)
	}
	switch ref.Kind {
	case boot.RefLoader:
		return c.loaders().Open(ref.Name)
	case boot.RefImage:
		f, err := c.images.Open(ref.Blob.Digest)
		if err != nil {
			return nil, err
		}
		return &boot.Object{Body: f, Name: ref.Name, Size: ref.Blob.Size, ETag: `"` + ref.Blob.Digest + `"`}, nil
	case boot.RefTree:
		f, err := c.images.OpenInside(ref.Blob.Digest, ref.Name)
		if err != nil {
			return nil, err
		}
		return &boot.Object{Body: f, Name: ref.Name, Size: f.Size, ETag: fmt.Sprintf(`"%s-%x-%x"`, ref.Blob.Digest[:32], f.Off, f.Size)}, nil
	}
	return c.set.Open(ctx, ref)
}

// files opens stored files, and those that this run was started with.
type files struct {
	store *images.Store
	run   map[string]string // digest -> path
	open  *images.Opened    // of those
}

func (f files) Open(digest string) (*boot.Section, error) {
	if p, ok := f.run[digest]; ok {
		return f.open.File(p)
	}
	return f.store.Open(digest)
}
