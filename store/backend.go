// backend.go: what a storage medium must do.

package store

import (
	"maps"
	"slices"
)

// Table is one ordered set of keys.
type Table string

// Tables lists every table a backend must have.
func Tables() []Table { return slices.Sorted(maps.Keys(layout)) }

// Backend is a storage medium. View may run concurrently with itself and with Commit;
// Commit is called by one goroutine at a time.
type Backend interface {
	// View runs fn on one consistent snapshot, which has the writes of every
	// Commit that has returned. Slices handed out are valid only inside fn and
	// must not be changed.
	View(fn func(Snapshot) error) error
	// Commit makes transactions durable before it returns, each of them whole or
	// not at all. n is how many of them are durable, counted from the first.
	// Each may depend on the writes of those before it, so if one fails, none
	// after it may stay. The error is nil only if all are durable. A transaction
	// may be empty. The backend may keep keys and values, but not the slices of
	// changes.
	Commit(txs [][]Change) (n int, err error)
	// Damage says in words what was found damaged, now or earlier, until Seen.
	Damage() []string
	// Seen forgets what Damage says: a person has read it.
	Seen() error
	// Lost lists the tables in which records were found missing, until Mended.
	Lost() []Table
	Mended() error
	Close() error
}

// Snapshot reads tables in order. It need not look up single keys: the Store does that
// in memory.
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
