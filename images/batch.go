// batch.go: the files of one import, of which all are kept or none, and the
// removal of files that nothing refers to.

package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/musterboot/muster/boot"
)

// Batch stores files that belong together.
type Batch struct {
	store *Store
	fresh map[string]bool // digest -> stored by this batch
}

// Begin starts a batch; Discard or Keep ends it.
func (s *Store) Begin() *Batch { return &Batch{store: s, fresh: map[string]bool{}} }

// Put stores one file of the batch.
func (b *Batch) Put(ctx context.Context, r io.Reader) (boot.Blob, error) {
	blob, isNew, err := b.store.put(ctx, r, "", b.hold)
	if err == nil && isNew {
		b.fresh[blob.Digest] = true
	}
	return blob, err
}

// hold keeps a digest from being swept while the batch runs. The caller does
// not hold the store's lock.
func (b *Batch) hold(digest string) {
	if _, mine := b.fresh[digest]; mine {
		return
	}
	b.fresh[digest] = false
	b.store.mu.Lock()
	b.store.held[digest]++
	b.store.mu.Unlock()
}

// Keep ends the batch: the record that refers to its files is stored.
func (b *Batch) Keep() { b.release() }

func (b *Batch) release() {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for d := range b.fresh {
		if b.store.held[d]--; b.store.held[d] <= 0 {
			delete(b.store.held, d)
		}
	}
}

// Discard ends the batch and removes the files that it stored, except those
// that another record refers to by now.
func (b *Batch) Discard(referred func(digest string) bool) {
	b.release()
	for d, isNew := range b.fresh {
		if isNew && !referred(d) {
			_ = b.store.remove(d)
		}
	}
}

// remove deletes a file unless a batch holds it. Readers that have it open read
// on.
func (s *Store) remove(digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[digest] > 0 {
		return nil
	}
	return s.root.Remove(place(digest))
}

// Remove deletes files that nothing refers to any more.
func (s *Store) Remove(digests ...string) error {
	var errs []error
	for _, d := range digests {
		if !ValidDigest(d) {
			continue
		}
		if err := s.remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Sweep sets every file aside that nothing refers to and that is older than age; an
// interrupted upload leaves such files. After a week they are removed. Until then they
// come back if something asks for them: the reference may have been lost, not ended.
// It returns the number and the size of the files that it set aside.
func (s *Store) Sweep(referred func(digest string) bool, age time.Duration) (files int, bytes int64, err error) {
	dirs, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return 0, 0, fmt.Errorf("sweep file store: %w", err)
	}
	now := time.Now()
	for _, d := range dirs {
		if !d.IsDir() || len(d.Name()) != 2 {
			continue
		}
		entries, err := fs.ReadDir(s.root.FS(), d.Name())
		if err != nil {
			return files, bytes, fmt.Errorf("sweep file store: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !ValidDigest(e.Name()) || referred(e.Name()) || now.Sub(info.ModTime()) < age {
				continue
			}
			if s.setAside(e.Name(), now) == nil {
				files, bytes = files+1, bytes+info.Size()
			}
		}
	}
	aside, err := fs.ReadDir(s.root.FS(), setDir)
	if err != nil {
		return files, bytes, fmt.Errorf("sweep file store: %w", err)
	}
	for _, e := range aside {
		info, err := e.Info()
		switch {
		case err != nil || !ValidDigest(e.Name()):
		case referred(e.Name()):
			s.recall(e.Name())
		case now.Sub(info.ModTime()) > sweepIn:
			_ = s.root.Remove(path.Join(setDir, e.Name()))
		}
	}
	return files, bytes, nil
}

// setAside moves a file unless a batch holds it. Its time tells when.
func (s *Store) setAside(digest string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[digest] > 0 {
		return fs.ErrExist
	}
	if err := s.root.Chtimes(place(digest), now, now); err != nil {
		return err
	}
	return s.root.Rename(place(digest), path.Join(setDir, digest))
}

// Verify reads a stored file again and compares its digest. progress is called
// after each part.
func (s *Store) Verify(ctx context.Context, b boot.Blob, progress func(n int64)) error {
	f, err := s.Open(b.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := Digest(io.TeeReader(&reader{ctx, f}, counted(progress)))
	switch {
	case err != nil:
		return err
	case got.Size != b.Size:
		return fmt.Errorf("%w: %d bytes are there, %d were stored", ErrDigest, got.Size, b.Size)
	case got.Digest != b.Digest:
		return fmt.Errorf("%w: the disk gives other bytes than were stored (SHA-256 %s)", ErrDigest, got.Digest)
	}
	return nil
}

type counted func(int64)

func (c counted) Write(b []byte) (int, error) {
	c(int64(len(b)))
	return len(b), nil
}
