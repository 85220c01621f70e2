// Package mem is a store in memory, with which other packages test. It passes the
// same suite as the store on disk. Nothing survives Close.
package mem

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/musterboot/muster/store"
)

// Open returns an empty store.
func Open() (*store.Store, error) { return store.New(NewBackend()) }

// Backend keeps tables in maps. It outlives Close so that tests can open it
// again.
type Backend struct {
	mu     sync.RWMutex
	tables map[store.Table]map[string][]byte
}

var _ store.Backend = (*Backend)(nil)

// NewBackend returns empty tables.
func NewBackend() *Backend {
	b := &Backend{tables: map[store.Table]map[string][]byte{}}
	for _, t := range store.Tables() {
		b.tables[t] = map[string][]byte{}
	}
	return b
}

// View holds a read lock, so fn must not wait for a writer.
func (b *Backend) View(fn func(store.Snapshot) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return fn(snapshot{b})
}

// Commit applies changes.
func (b *Backend) Commit(txs [][]store.Change) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, cs := range txs {
		for _, c := range cs {
			if c.Value == nil {
				delete(b.tables[c.Table], string(c.Key))
			} else {
				b.tables[c.Table][string(c.Key)] = bytes.Clone(c.Value)
			}
		}
	}
	return len(txs), nil
}

// Damage, Seen, Lost and Mended say that memory loses nothing.
func (b *Backend) Damage() []string    { return nil }
func (b *Backend) Seen() error         { return nil }
func (b *Backend) Lost() []store.Table { return nil }
func (b *Backend) Mended() error       { return nil }

// Close does nothing.
func (b *Backend) Close() error { return nil }

type snapshot struct{ b *Backend }

func (s snapshot) Range(t store.Table, prefix, after []byte, fn func(k, v []byte) bool) {
	var keys []string
	for k := range s.b.tables[t] {
		if strings.HasPrefix(k, string(prefix)) && k > string(after) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !fn([]byte(k), s.b.tables[t][k]) {
			return
		}
	}
}
