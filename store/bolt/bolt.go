// Package bolt keeps the store in one bbolt file: the embedded default. It
// knows tables and bytes, nothing of what they mean, and bbolt's types do not
// leave it.
package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// Open opens or makes the file at path. A file that another process holds is
// ErrInUse after a second, not a wait for ever; a damaged one is an error that
// says where it is, not a panic.
func Open(path string) (*store.Store, error) {
	b, err := open(path)
	if err != nil {
		return nil, err
	}
	s, err := store.New(b)
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return s, nil
}

type backend struct {
	db *bbolt.DB
}

func open(path string) (b *backend, err error) {
	// bbolt panics on some kinds of damage.
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, fmt.Errorf("store %s is damaged (%v): move it away and restore a backup; without one the appliance starts empty", path, r)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	opts := &bbolt.Options{
		Timeout:      time.Second,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	}
	if strconv.IntSize == 64 {
		// Address space, not memory. Without it a growing file is mapped
		// again, and that waits for every reader.
		opts.InitialMmapSize = 4 << 30
	}
	db, err := bbolt.Open(path, 0o600, opts)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("store %s: %w: is muster running already?", path, boot.ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	missing := false
	err = db.View(func(tx *bbolt.Tx) error {
		for _, t := range store.Tables() {
			missing = missing || tx.Bucket([]byte(t)) == nil
		}
		return nil
	})
	if err == nil && missing {
		err = db.Update(func(tx *bbolt.Tx) error {
			for _, t := range store.Tables() {
				if _, err := tx.CreateBucketIfNotExists([]byte(t)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// The file's own name must survive a power cut too.
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		d.Sync()
		d.Close()
	}
	return &backend{db}, nil
}

func (b *backend) View(fn func(store.Snapshot) error) error {
	return b.db.View(func(tx *bbolt.Tx) error { return fn(snapshot{tx}) })
}

func (b *backend) Commit(cs []store.Change) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		var table store.Table
		var bucket *bbolt.Bucket
		for _, c := range cs {
			if c.Table != table || bucket == nil {
				table, bucket = c.Table, tx.Bucket([]byte(c.Table))
			}
			var err error
			if c.Value == nil {
				err = bucket.Delete(c.Key)
			} else {
				err = bucket.Put(c.Key, c.Value)
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", c.Table, err)
			}
		}
		return nil
	})
}

func (b *backend) Close() error { return b.db.Close() }

type snapshot struct{ tx *bbolt.Tx }

func (s snapshot) Get(t store.Table, key []byte) []byte { return s.tx.Bucket([]byte(t)).Get(key) }

func (s snapshot) Range(t store.Table, prefix, after []byte, fn func(k, v []byte) bool) {
	c := s.tx.Bucket([]byte(t)).Cursor()
	start := after
	if bytes.Compare(prefix, after) > 0 {
		start = prefix
	}
	k, v := c.Seek(start)
	if k != nil && bytes.Equal(k, after) {
		k, v = c.Next()
	}
	for ; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if !fn(k, v) {
			return
		}
	}
}

// Check reads every page of a file that nobody has open, and reports the
// first damage.
func Check(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store %s is damaged: %v", path, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err
			}
		}
		return first
	})
}
