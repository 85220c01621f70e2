// tx.go: what a function given to View or Update works with. The kinds of
// records add the methods.

package store

import "github.com/musterboot/muster/boot"

// records reads single records, wherever the source has them from.
type records struct{ source }

var _ boot.Reader = records{}

// readTx is a state with its ranges.
type readTx struct {
	records
	s *Store
}

var _ boot.ReadTx = (*readTx)(nil)

// writeTx is one Update after the other, of a group: each sees its own writes
// and those before it, and nothing is kept of one that fails.
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
