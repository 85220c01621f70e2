// Package images stores boot files by the SHA-256 of their bytes, and finds the
// distribution's boot loaders. It must not know who asks for a file, nor what a
// template is.
package images

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// Store is a directory of files by digest.
type Store struct {
	root *os.Root

	mu   sync.Mutex
	open Opened         // by digest
	held map[string]int // digest -> running batches that stored or found it

	trees trees
}

const (
	tmpDir  = "tmp"
	setDir  = "unreferenced" // files that Sweep found, for a while
	sweepIn = 7 * 24 * time.Hour
)

// Open opens or makes the directory, and removes what an interrupted Put left.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	if err = root.RemoveAll(tmpDir); err == nil {
		err = root.Mkdir(tmpDir, 0o750)
	}
	if err == nil {
		err = root.MkdirAll(setDir, 0o750)
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open file store %s: %w", dir, err)
	}
	return &Store{root: root, held: map[string]int{}}, nil
}

// Close closes the directory.
func (s *Store) Close() error { return s.root.Close() }

// ValidDigest reports 64 lower-case hexadecimal digits.
func ValidDigest(d string) bool {
	if len(d) != 64 {
		return false
	}
	for _, c := range d {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// CheckDigest is ValidDigest for who sent the digest.
func CheckDigest(d string) error {
	if ValidDigest(d) {
		return nil
	}
	return boot.NewFault(boot.Invalid, "%q is no SHA-256 digest: want 64 digits in hexadecimal, in lower case", boot.CleanText(d, 70))
}

func place(digest string) string { return path.Join(digest[:2], digest) }

// Has reports whether a file is stored, and its size. Its bytes may be damaged all the
// same: Verify reads them.
func (s *Store) Has(digest string) (int64, bool) {
	if !ValidDigest(digest) {
		return 0, false
	}
	st, err := s.root.Stat(place(digest))
	if errors.Is(err, fs.ErrNotExist) && s.recall(digest) {
		st, err = s.root.Stat(place(digest))
	}
	if err != nil {
		return 0, false
	}
	return st.Size(), true
}

// recall brings a file back that Sweep has set aside: something refers to it again.
func (s *Store) recall(digest string) bool {
	if err := s.root.Mkdir(digest[:2], 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return false
	}
	return s.root.Rename(path.Join(setDir, digest), place(digest)) == nil
}

// ErrDigest says that the bytes do not have the expected digest.
var ErrDigest error = boot.NewFault(boot.Invalid, "bytes do not match their SHA-256")

// Put stores the bytes of r. want is the expected digest, or "". The file
// appears as a whole or not at all, and is on disk when Put returns.
func (s *Store) Put(ctx context.Context, r io.Reader, want string) (boot.Blob, error) {
	b, _, err := s.put(ctx, r, want, func(string) {})
	return b, err
}

// put is Put, and reports whether the file is new. It calls found with the
// digest before it acts on it.
func (s *Store) put(ctx context.Context, r io.Reader, want string, found func(digest string)) (boot.Blob, bool, error) {
	fail := func(err error) (boot.Blob, bool, error) { return boot.Blob{}, false, fmt.Errorf("store file: %w", err) }
	if want != "" {
		if err := CheckDigest(want); err != nil {
			return boot.Blob{}, false, err
		}
	}
	name := path.Join(tmpDir, rand.Text())
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return fail(err)
	}
	defer s.root.Remove(name) // after the rename there is nothing to remove
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, h), struct{ io.Reader }{&reader{ctx, r}}, make([]byte, 1<<20))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fail(err)
	}
	b := boot.Blob{Digest: sum(h), Size: n}
	if want != "" && b.Digest != want {
		return boot.Blob{}, false, fmt.Errorf("%w: want %s, got %s", ErrDigest, want, b.Digest)
	}
	found(b.Digest)
	// A file that is there is replaced too: its bytes may be damaged by now, and these
	// are not.
	size, there := s.Has(b.Digest)
	if err := s.settle(name, b.Digest); err != nil {
		return fail(err)
	}
	return b, !there || size != n, nil
}

// settle gives a file that is on disk its place.
func (s *Store) settle(name, digest string) error {
	if err := s.root.Mkdir(digest[:2], 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.root.Rename(name, place(digest)); err != nil {
		return err
	}
	// The names must survive a power cut as well as the bytes.
	for _, dir := range []string{digest[:2], "."} {
		d, err := s.root.Open(dir)
		if err == nil {
			err = d.Sync()
			d.Close()
		}
		if err != nil {
			return err
		}
	}
	s.open.forget(digest)
	return nil
}

// Open opens a stored file; boot.ErrNoFile if there is none. All readers of a
// file share one descriptor.
func (s *Store) Open(digest string) (*boot.Section, error) {
	if !ValidDigest(digest) {
		return nil, fmt.Errorf("%w: %q is no digest", boot.ErrNoFile, digest)
	}
	return s.open.section(digest, nil, func() (*os.File, error) {
		f, err := s.root.Open(place(digest))
		if errors.Is(err, fs.ErrNotExist) && s.recall(digest) {
			f, err = s.root.Open(place(digest))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s is not stored", boot.ErrNoFile, digest)
		}
		return f, err
	})
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Digest reads a file's SHA-256 and size without storing it.
func Digest(r io.Reader) (boot.Blob, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return boot.Blob{Digest: sum(h), Size: n}, err
}

// reader stops a copy when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
