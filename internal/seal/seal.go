// Package seal closes secrets with a key that is not where they are kept: passwords of
// hosts, the key of boot paths, the CA's keys. Who copies the store has none of them.
//
// It knows nothing of what it seals, and never writes a secret anywhere.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Key seals and opens.
type Key struct {
	aead cipher.AEAD
	mac  []byte
}

// mark begins everything that is sealed: a format, and its version.
const mark = "sealed\x001"

// keyLen is the length of a key's file, in bytes.
const keyLen = 32

// ErrOther is the error of what another key sealed, or of what was altered.
var ErrOther = errors.New("sealed with another key, or damaged")

// FileName is the key's file beside the store, and Credential the name of a systemd
// credential that is used in its place (LoadCredential=muster-seal:…).
const (
	FileName   = "seal.key"
	Credential = "muster-seal"
)

// Open reads the key: from credentials, the directory of systemd's credentials, where
// it is there, else from dir. A key that is missing in dir is made.
func Open(dir, credentials string) (k *Key, created bool, err error) {
	if credentials != "" {
		b, err := os.ReadFile(filepath.Join(credentials, Credential))
		if err == nil {
			k, err = New(b)
			return k, false, err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, false, fmt.Errorf("sealing key: %w", err)
		}
	}
	path := filepath.Join(dir, FileName)
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b := make([]byte, keyLen)
		rand.Read(b)
		if err := write(dir, path, b); err != nil {
			return nil, false, fmt.Errorf("sealing key: %w", err)
		}
		k, err = New(b)
		return k, true, err
	case err != nil:
		return nil, false, fmt.Errorf("sealing key: %w", err)
	case st.Mode().Perm()&0o077 != 0:
		return nil, false, fmt.Errorf("sealing key: %s may be read by others than its owner (%s): chmod 600 %s", path, st.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false, fmt.Errorf("sealing key: %w", err)
	}
	k, err = New(b)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return k, false, err
}

// Read returns the key itself, for a backup that is encrypted to a person.
func Read(dir, credentials string) ([]byte, error) {
	if credentials != "" {
		b, err := os.ReadFile(filepath.Join(credentials, Credential))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return os.ReadFile(filepath.Join(dir, FileName))
}

// Exists reports a key that Open would read.
func Exists(dir, credentials string) bool {
	if credentials != "" {
		if _, err := os.Stat(filepath.Join(credentials, Credential)); err == nil {
			return true
		}
	}
	_, err := os.Lstat(filepath.Join(dir, FileName))
	return err == nil
}

// Place gives a finished file its name and replaces none: by a link or, on file systems
// without links, by a rename.
func Place(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, e := os.Lstat(to); !errors.Is(e, fs.ErrNotExist) {
		return err
	}
	return os.Rename(from, to)
}

// write makes the file whole, or not at all: a key that is half there would seal what
// nobody can open.
func write(dir, path string, b []byte) error {
	f, err := os.CreateTemp(dir, ".seal-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := Place(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// New makes a key of the bytes of its file.
func New(b []byte) (*Key, error) {
	if len(b) != keyLen {
		return nil, fmt.Errorf("sealing key: %d bytes: want %d", len(b), keyLen)
	}
	derive := func(what string) []byte {
		h := hmac.New(sha256.New, b)
		h.Write([]byte("muster seal 1 " + what))
		return h.Sum(nil)
	}
	block, err := aes.NewCipher(derive("encrypt"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &Key{aead, derive("nonce")}, err
}

// Seal closes a secret for one place: what is sealed for one host's parameter opens
// nowhere else. It is a function: the same secret at the same place is sealed alike, so
// that an order can be judged twice. The nonce is a MAC of both (as in RFC 5297).
func (k *Key) Seal(place string, secret []byte) []byte {
	h := hmac.New(sha256.New, k.mac)
	fmt.Fprintf(h, "%d %s", len(place), place)
	h.Write(secret)
	nonce := h.Sum(nil)[:k.aead.NonceSize()]
	out := append([]byte(mark), nonce...)
	return k.aead.Seal(out, nonce, secret, []byte(place))
}

// Sealed reports what Seal made.
func Sealed(b []byte) bool { return len(b) > len(mark) && string(b[:len(mark)]) == mark }

// Open opens what was sealed for a place.
func (k *Key) Open(place string, b []byte) ([]byte, error) {
	if !Sealed(b) || len(b) < len(mark)+k.aead.NonceSize() {
		return nil, ErrOther
	}
	b = b[len(mark):]
	n := k.aead.NonceSize()
	out, err := k.aead.Open(nil, b[:n], b[n:], []byte(place))
	if err != nil {
		return nil, ErrOther
	}
	return out, nil
}
