// backend.go: what a medium must do.

package store

import (
	"maps"
	"slices"
)

// Table is one ordered set of keys.
type Table string

// Tables lists every table a backend must have.
func Tables() []Table { return slices.Sorted(maps.Keys(layout)) }

// Backend is a medium. View may run concurrently with itself and with Commit;
// Commit is called by one goroutine at a time.
type Backend interface {
	// View runs fn on one consistent snapshot, which holds everything that a
	// Commit which returned has written. Slices handed out are valid only
	// inside fn and must not be changed.
	View(fn func(Snapshot) error) error
	// Commit makes transactions durable before it returns, each of them whole or
	// not at all. n says how many, from the first on: each may have looked at
	// what those before it wrote, so where one fails, none after it may stay.
	// Only if all are durable is there no error. A transaction may be empty. Keys
	// and values are the backend's to keep, the slices of changes are not.
	Commit(txs [][]Change) (n int, err error)
	Close() error
}

// Snapshot reads tables in order. Single keys are the Store's: it keeps them in
// memory.
type Snapshot interface {
	// Range calls fn for each key above after that begins with prefix, in
	// order, until fn returns false.
	Range(t Table, prefix, after []byte, fn func(k, v []byte) bool)
}

// Change puts a value, or with a nil Value deletes the key.
type Change struct {
	Table Table
	Key   []byte
	Value []byte
}
