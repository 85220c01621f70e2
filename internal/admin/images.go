// images.go: import, removal and verification of images. An image comes as one
// stream, so that nothing is left of one that breaks off.

package admin

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/templates"
)

// maxHead bounds the description: as many files as an image may have are declared in it.
const maxHead = 8 << 20

// importImage stores an image from a tar stream: all of it, or nothing.
func (s *Server) importImage(r *http.Request) (any, error) {
	t := tar.NewReader(r.Body)
	h, err := t.Next()
	if err != nil || h.Name != client.ImageHead || h.Size > maxHead {
		return nil, boot.NewFault(boot.Malformed, "an import begins with the image's description")
	}
	var given client.NewImage
	if err := decode(t, &given, maxHead); err != nil {
		return nil, err
	}
	img := given.Image()
	if err := declared(&img); err != nil {
		return nil, err
	}
	b := s.Files.Begin()
	kept := false
	defer func() {
		if kept {
			b.Keep()
			return
		}
		in, err := s.referred(context.WithoutCancel(r.Context()))
		if err != nil {
			s.Log.Error("an import that failed could not be cleaned up; the next start does it", "image", img.Name, "err", err)
			b.Keep()
			return
		}
		b.Discard(in)
	}()
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, boot.NewFault(boot.Malformed, "the import broke off: %v", err)
		}
		if err := templates.ValidFile(h.Name); err != nil {
			return nil, boot.NewFault(boot.Invalid, "%v", err)
		}
		if len(img.Files) >= images.MaxFiles {
			return nil, boot.NewFault(boot.TooLarge, "an image holds at most %d files", images.MaxFiles)
		}
		if h.Typeflag == tar.TypeLink {
			blob, ok := img.Files[h.Linkname]
			if !ok {
				return nil, boot.NewFault(boot.Invalid, "%s is a link to %s, which was not sent", h.Name, h.Linkname)
			}
			img.Files[h.Name] = blob
			continue
		}
		blob, err := b.Put(r.Context(), t)
		if err != nil {
			return nil, brokeOff(err, h.Name)
		}
		img.Files[h.Name] = blob
	}
	c, err := s.do(r, boot.ImportImage{Image: img})
	if err != nil {
		return nil, err
	}
	kept = true
	return c.Image, nil
}

// declared judges the files of an image that its upstream has, and nobody sends.
func declared(img *boot.Image) error {
	if len(img.Files) > 0 && img.Upstream == "" {
		return boot.NewFault(boot.Invalid, "image %s names files that are not sent, and no upstream that has them", img.Name)
	}
	if len(img.Files) > images.MaxFiles {
		return boot.NewFault(boot.TooLarge, "an image holds at most %d files", images.MaxFiles)
	}
	for _, name := range slices.Sorted(maps.Keys(img.Files)) {
		if err := templates.ValidFile(name); err != nil {
			return boot.NewFault(boot.Invalid, "%v", err)
		}
		if !img.Lazy(name) {
			return boot.NewFault(boot.Invalid, "file %s: only what lies beneath pool/ may be left to the upstream", name)
		}
		b := img.Files[name]
		if err := images.CheckDigest(b.Digest); err != nil {
			return fmt.Errorf("file %s: %w", name, err)
		}
		if b.Size < 0 {
			return boot.NewFault(boot.Invalid, "file %s has a size of %d", name, b.Size)
		}
	}
	if img.Files == nil {
		img.Files = map[string]boot.Blob{} // filled as the files come
	}
	return nil
}

// newImage makes an image of files that are here already.
func (s *Server) newImage(r *http.Request) (any, error) {
	var i client.NewImage
	if err := read(r, &i); err != nil {
		return nil, err
	}
	s.referring.RLock()
	defer s.referring.RUnlock()
	if err := s.uploaded(i.Files); err != nil {
		return nil, err
	}
	c, err := s.do(r, boot.ImportImage{Image: i.Image()})
	return c.Image, err
}

func (s *Server) imageList(r *http.Request) (any, error) {
	out := []*boot.Image{}
	if err := eachImage(r.Context(), s.Engine, func(i *boot.Image) { out = append(out, i) }); err != nil {
		return nil, err
	}
	return paged(r, out, func(i *boot.Image) string { return i.Name })
}

func eachImage(ctx context.Context, e viewer, fn func(*boot.Image)) error {
	return each(ctx, e, "", func(tx boot.ReadTx, after string) ([]*boot.Image, error) { return tx.Images(after, page) },
		func(i *boot.Image) string {
			fn(i)
			return i.Name
		})
}

// brokeOff makes the error for a file that ended short; other errors stay.
func brokeOff(err error, name string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return boot.NewFault(boot.Malformed, "%s broke off before its end", name)
	}
	return err
}

// referred tells which stored files a template or an image refers to at this moment.
func (s *Server) referred(ctx context.Context) (func(string) bool, error) {
	all, err := Referred(ctx, s.Engine)
	return func(d string) bool { _, in := all[d]; return in }, err
}

// Referred lists, by digest, the files that templates and images refer to.
func Referred(ctx context.Context, e *engine.Engine) (map[string]Reference, error) {
	all, err := storedReferences(ctx, e)
	if err != nil {
		return nil, err
	}
	for _, t := range e.Policy().Templates {
		all.note("template "+t.Name+", file", t.Files, stored) // the files of this run's template are in no store
	}
	return all, nil
}

// references are files by their digest.
type references map[string]Reference

// note adds files. One that somebody needs here is not lazy for anybody.
func (all references) note(of string, files map[string]boot.Blob, lazy func(name string) bool) {
	for name, b := range files {
		if r, is := all[b.Digest]; is && !r.Lazy && lazy(name) {
			continue
		}
		all[b.Digest] = Reference{b, of + " " + name, lazy(name)}
	}
}

// stored is of files that are all here.
func stored(string) bool { return false }

// storedReferences are those of what is in a store.
func storedReferences(ctx context.Context, v viewer) (references, error) {
	all := references{}
	err := each(ctx, v, 0, func(tx boot.ReadTx, after boot.TemplateID) ([]*boot.Template, error) {
		return tx.Templates(after, page)
	},
		func(t *boot.Template) boot.TemplateID {
			all.note(fmt.Sprintf("template %s version %d, file", t.Name, t.Version), t.Files, stored)
			return t.ID
		})
	if err == nil {
		err = eachImage(ctx, v, func(i *boot.Image) { all.note("image "+i.Name+", file", i.Files, i.Lazy) })
	}
	return all, err
}

// Reference is a stored file and one of the places that it is for, in words.
type Reference struct {
	Blob boot.Blob
	For  string
	Lazy bool // it may be there or not: it is fetched when it is asked for
}

// removeImage forgets an image, and its files where nothing else has them.
func (s *Server) removeImage(r *http.Request) (any, error) {
	// A request that found a file here, and will store a reference to it, is finished
	// before this begins or begins after it.
	s.referring.Lock()
	defer s.referring.Unlock()
	c, err := s.do(r, boot.RemoveImage{Name: r.PathValue("name")})
	if err != nil {
		return nil, err
	}
	in, err := s.referred(r.Context())
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, b := range c.NoImage.Files {
		if !in(b.Digest) {
			gone = append(gone, b.Digest)
		}
	}
	return struct{}{}, s.Files.Remove(gone...)
}

// verifyImage reads every file of an image again and compares.
func (s *Server) verifyImage(w http.ResponseWriter, r *http.Request) {
	var img *boot.Image
	err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { img, err = tx.Image(r.PathValue("name")); return err })
	if err == nil && img == nil {
		err = boot.NewFault(boot.UnknownImage, "no image is called %s", r.PathValue("name")).Try("muster image list")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	v := client.Verified{}
	seen := map[string]error{}
	files := maps.Clone(img.Files)
	maps.DeleteFunc(files, func(name string, b boot.Blob) bool { // what nobody asked for yet is not wrong
		_, has := s.Files.Has(b.Digest)
		return !has && img.Lazy(name)
	})
	for _, b := range files {
		if _, twice := seen[b.Digest]; !twice {
			seen[b.Digest] = nil
			v.Total += b.Size
		}
	}
	checked := map[string]bool{}
	told := time.Now()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b := files[name]
		if !checked[b.Digest] {
			checked[b.Digest] = true
			seen[b.Digest] = s.Files.Verify(r.Context(), b, func(n int64) {
				if v.Read += n; time.Since(told) > 200*time.Millisecond {
					told = time.Now()
					_ = enc.Encode(v)
					_ = rc.Flush()
				}
			})
		}
		if r.Context().Err() != nil {
			return
		}
		if err := seen[b.Digest]; err != nil {
			_ = enc.Encode(client.Verified{File: name, Wrong: fmt.Sprint(err)})
		}
		v.Files++
	}
	v.Done = true
	_ = enc.Encode(v)
}
