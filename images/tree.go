// tree.go: files inside a disc image, served directly from it. Nothing is
// unpacked: a file of an ISO is a range of the image's bytes.

package images

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images/iso"
)

// trees are disc images that were opened recently.
type trees struct {
	mu    sync.Mutex
	of    map[string]*iso.Image
	order []string
}

// maxTrees bounds them; each keeps some folders in memory.
const maxTrees = 16

// OpenInside opens a file inside a stored disc image; boot.ErrNoFile if there
// is none of that name.
func (s *Store) OpenInside(digest, name string) (*boot.Section, error) {
	f, err := s.Open(digest)
	if err != nil {
		return nil, err
	}
	img, err := s.tree(digest, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	off, size, err := img.Locate(name)
	if err != nil {
		f.Close()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, iso.ErrNoFile) {
			return nil, fmt.Errorf("%w: %s is not in the disc image", boot.ErrNoFile, name)
		}
		return nil, err
	}
	return boot.NewSection(f.File, f.Off+off, size, func() { f.Close() }), nil
}

// tree returns the parsed image. It reads through a descriptor of its own,
// because f is closed when its request ends.
func (s *Store) tree(digest string, f *boot.Section) (*iso.Image, error) {
	s.trees.mu.Lock()
	defer s.trees.mu.Unlock()
	if img := s.trees.of[digest]; img != nil {
		return img, nil
	}
	own := &lasting{store: s, digest: digest}
	img, err := iso.Open(own, f.Size)
	if err != nil {
		return nil, fmt.Errorf("stored disc image %s: %w", digest, err)
	}
	if s.trees.of == nil {
		s.trees.of = map[string]*iso.Image{}
	}
	s.trees.of[digest] = img
	if s.trees.order = append(s.trees.order, digest); len(s.trees.order) > maxTrees {
		delete(s.trees.of, s.trees.order[0])
		s.trees.order = s.trees.order[1:]
	}
	return img, nil
}

// lasting reads a stored file without keeping it open. Most reads are answered
// from the folders that are already parsed.
type lasting struct {
	store  *Store
	digest string
}

func (l *lasting) ReadAt(b []byte, off int64) (int, error) {
	f, err := l.store.Open(l.digest)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, off)
}
