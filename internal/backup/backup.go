// Package backup is the format of one file that a whole appliance can be made of again:
// the store of one moment, its configuration, boot files, and the sealing key only
// where a person asked for it, encrypted to them. A tar archive; its first entry lists
// all others with their digests.
//
// It must not know what the store holds, and it never changes a running appliance.
package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// Names of entries. Boot files are files/DIGEST.
const (
	manifestName = "MANIFEST.json"
	StoreName    = "store.dump"
	ConfigName   = "muster.toml"
	KeyName      = "seal.key.age"
	filesPrefix  = "files/"
)

// format is the version of the archive.
const format = 1

// Manifest is the first entry.
type Manifest struct {
	Format  int       `json:"format"`
	Made    time.Time `json:"made"`
	By      string    `json:"by"` // the program's version
	Records int       `json:"records"`
	Entries []Entry   `json:"entries"`
	Missing []Missing `json:"missing"` // boot files that are referred to and left out
	Secrets []string  `json:"secrets"` // what must be given again where the sealing key is not there: parameters, as HOST NAME
}

// Entry is one file of the archive.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Missing is a boot file that is not in the archive.
type Missing struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	For    string `json:"for"`
}

// Has reports an entry.
func (m *Manifest) Has(name string) bool {
	return slices.ContainsFunc(m.Entries, func(e Entry) bool { return e.Name == name })
}

// Part is a file that goes into a backup. Open is called when its turn comes.
type Part struct {
	Name   string
	Size   int64
	SHA256 string // hexadecimal
	Open   func() (io.ReadCloser, error)
}

// Write writes a backup. A part whose bytes are not those of its digest is an error:
// then there is no backup.
func Write(ctx context.Context, w io.Writer, m Manifest, parts []Part) error {
	m.Format, m.Entries = format, nil
	for _, p := range parts {
		m.Entries = append(m.Entries, Entry{p.Name, p.Size, p.SHA256})
	}
	head, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	entry := func(name string, size int64) error {
		return t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: m.Made.UTC().Truncate(time.Second), Format: tar.FormatPAX})
	}
	if err := entry(manifestName, int64(len(head))); err != nil {
		return err
	}
	if _, err := t.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		if err := errors.Join(ctx.Err(), entry(p.Name, p.Size)); err != nil {
			return err
		}
		r, err := p.Open()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		sum := sha256.New()
		_, err = io.Copy(io.MultiWriter(t, sum), io.LimitReader(r, p.Size))
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
			return fmt.Errorf("%s has other bytes than it should: muster image verify, muster doctor", p.Name)
		}
	}
	return t.Close()
}

// File is a part that is a file, read once now for its digest.
func File(name, path string) (Part, error) {
	f, err := os.Open(path)
	if err != nil {
		return Part{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return Part{name, n, hex.EncodeToString(sum.Sum(nil)), func() (io.ReadCloser, error) { return os.Open(path) }}, err
}

// Bytes is a part that is in memory.
func Bytes(name string, b []byte) Part {
	sum := sha256.Sum256(b)
	return Part{name, int64(len(b)), hex.EncodeToString(sum[:]), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// Locked is the sealing key, encrypted to a person: an age recipient (age1…).
func Locked(key []byte, recipient string) (Part, error) {
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return Part{}, fmt.Errorf("recipient %q: want an age public key, age1…, as age-keygen prints it", recipient)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		return Part{}, err
	}
	if _, err := w.Write(key); err != nil {
		return Part{}, err
	}
	if err := w.Close(); err != nil {
		return Part{}, err
	}
	return Bytes(KeyName, b.Bytes()), nil
}

// Unlock opens an encrypted sealing key with the identities of a file, as age-keygen
// writes it.
func Unlock(locked []byte, identities io.Reader) ([]byte, error) {
	ids, err := age.ParseIdentities(identities)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(locked), ids...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 1<<10))
}

// Bounds of what is read.
const (
	maxManifest = 64 << 20
	maxEntries  = 1_000_000
)

// Unpack reads a backup into an empty folder and checks every byte of it. Nothing of it
// may be used before that has returned without an error.
func Unpack(ctx context.Context, r io.Reader, dir string) (m Manifest, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return m, err
	}
	defer root.Close()
	t := tar.NewReader(r)
	h, err := t.Next()
	if err != nil || h.Name != manifestName || h.Size > maxManifest {
		return m, errors.New("this is no backup of Muster")
	}
	if err := json.NewDecoder(t).Decode(&m); err != nil {
		return m, fmt.Errorf("its list of contents cannot be read: %w", err)
	}
	if m.Format != format {
		return m, fmt.Errorf("it has format %d, this program knows %d: install the newer version first", m.Format, format)
	}
	if len(m.Entries) > maxEntries {
		return m, errors.New("it lists more files than any backup has")
	}
	left := map[string]Entry{}
	for _, e := range m.Entries {
		if !good(e.Name) || left[e.Name].Name != "" {
			return m, fmt.Errorf("it lists %q, which no backup has", e.Name)
		}
		left[e.Name] = e
	}
	if err := root.MkdirAll(strings.TrimSuffix(filesPrefix, "/"), 0o700); err != nil {
		return m, err
	}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return m, fmt.Errorf("it is cut off or damaged: %w", err)
		}
		e, listed := left[h.Name]
		if !listed || h.Typeflag != tar.TypeReg || h.Size != e.Size {
			return m, fmt.Errorf("it holds %q, which its list does not have so", h.Name)
		}
		delete(left, h.Name)
		f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return m, err
		}
		sum := sha256.New()
		_, err = io.Copy(io.MultiWriter(f, sum), t)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return m, fmt.Errorf("%s: it is cut off or damaged: %w", h.Name, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
			return m, fmt.Errorf("%s is damaged: its bytes have another digest", h.Name)
		}
	}
	for name := range left {
		return m, fmt.Errorf("it is cut off: %s is missing", name)
	}
	if !m.Has(StoreName) {
		return m, errors.New("it holds no store")
	}
	return m, nil
}

// good reports a name that an entry may have.
func good(name string) bool {
	if digest, is := strings.CutPrefix(name, filesPrefix); is {
		return len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
	}
	return slices.Contains([]string{StoreName, ConfigName, KeyName}, name)
}

// FilePart names the entry of a boot file.
func FilePart(digest string) string { return filesPrefix + digest }

// Files lists the boot files of an unpacked backup: digest and path.
func Files(dir string, m *Manifest) map[string]string {
	out := map[string]string{}
	for _, e := range m.Entries {
		if d, is := strings.CutPrefix(e.Name, filesPrefix); is {
			out[d] = filepath.Join(dir, e.Name)
		}
	}
	return out
}
