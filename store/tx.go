// tx.go: what a function given to View or Update works with. The kinds of
// records add the methods.

package store

import "github.com/musterboot/muster/boot"

// records reads single records from a source.
type records struct{ source }

var _ boot.Reader = records{}

// readTx is what a View gets: single records, and ranges from a snapshot.
type readTx struct {
	records
	s *Store
}

var _ boot.ReadTx = (*readTx)(nil)

// writeTx is used for the Updates of a group, one after the other. Each sees its own
// writes and those of the Updates before it. Nothing is kept of an Update that fails.
type writeTx struct {
	records
	changes  overlay
	appended bool // an event
	after    []func()
	keys     [][]byte // room for the lookups of a record
}

var _ boot.Tx = (*writeTx)(nil)

func newWriteTx(under source) *writeTx {
	w := &writeTx{changes: overlay{under: under}}
	w.records = records{&w.changes}
	return w
}

// begin starts an Update.
func (w *writeTx) begin() {
	w.changes.begin()
	w.appended = false
	clear(w.after)
	w.after = w.after[:0]
}

// put writes; a nil value deletes.
func (w *writeTx) put(t Table, key, value []byte) { w.changes.put(Change{t, key, value}) }

func (w *writeTx) After(fn func()) { w.after = append(w.after, fn) }
