// kind.go: how records of one kind are kept. Each kind is declared once, in a file of
// its own, with the part of the contract that it fulfils. The code here does the rest
// for all kinds.

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/musterboot/muster/boot"
)

// kind describes a table that keeps a T under each K.
type kind[K, T any] struct {
	what   string // name of the kind in messages
	table  Table
	onDisk bool // not kept in memory, because it grows with time or is seldom read; Update cannot read it
	key    keys[K]
	codec  codec[K, T]
	check  func(T) error  // judges a record before it is written; nil accepts all
	title  func(T) string // names a record in the error for a key that it already has

	// revision points to the record's count of its writes; nil if it has none.
	revision func(T) *uint64

	lookups []*lookup[K, T]

	// tallies lists the counters in which a record counts; nil is none.
	tallies func(T) []boot.Counter
}

// keys encodes what names a record as the bytes of its key, and decodes it.
type keys[K any] struct {
	to   func(K) []byte
	from func([]byte) (K, bool)
}

// codec turns a record into bytes, and back. The first byte of most records
// names its encoding, so that one can change without the others.
type codec[K, T any] struct {
	encode func(T) ([]byte, error)
	decode func(K, []byte) (T, error)
}

// lookup finds a record by one of its values. Entries are written with the record. An
// entry counts only if the record that it leads to has that value.
type lookup[K, T any] struct {
	table Table
	keys  func([][]byte, T) [][]byte // appends the keys that lead to a record, each in newly allocated bytes
	is    func(T, []byte) bool       // whether a key is one of them, where making all keys costs too much; nil makes them
	sole  func(key []byte) string    // names a key that only one record may have; nil: the newest record has it
	ref   func(K) []byte             // what an entry holds; nil is the record's key

	// newer reports whether a record goes before the one that an entry holds; nil: the
	// last in order of their keys does. It is asked when lost entries are made again.
	newer func(r source, id K, entry []byte, v T) bool
}

// layout has every table of every kind; the value says whether the table is kept in
// memory.
var layout = map[Table]bool{}

// declare enters a kind's tables into the layout.
func declare[K, T any](k kind[K, T]) *kind[K, T] {
	enter := func(t Table, inMemory bool) {
		if _, twice := layout[t]; twice {
			panic("table " + string(t) + " is declared twice")
		}
		layout[t] = inMemory
	}
	enter(k.table, !k.onDisk)
	for _, l := range k.lookups {
		enter(l.table, true)
	}
	relinks = append(relinks, k.relink)
	return &k
}

// source is a place where single keys are looked up.
type source interface {
	get(Table, []byte) []byte
}

// get returns the record of id, and whether there is one.
func (k *kind[K, T]) get(r source, id K) (v T, ok bool, err error) {
	return k.at(r, id, k.key.to(id))
}

func (k *kind[K, T]) at(r source, id K, key []byte) (v T, ok bool, err error) {
	b := r.get(k.table, key)
	if b == nil {
		return v, false, nil
	}
	if v, err = k.codec.decode(id, b); err != nil {
		var none T
		return none, false, fmt.Errorf("%s %v: %w", k.what, id, err)
	}
	return v, true, nil
}

// by follows a lookup whose entries hold the record's key.
func (k *kind[K, T]) by(r source, l *lookup[K, T], key []byte) (v T, ok bool, err error) {
	if len(key) == 0 {
		return v, false, nil
	}
	entry := r.get(l.table, key)
	id, ok := k.key.from(entry)
	if entry == nil || !ok {
		return v, false, nil
	}
	return k.agreed(r, l, key, id)
}

// agreed is the record of id, if it has the value by which it was looked up. A sole
// key is removed together with its record: if it leads nowhere, the record was lost,
// and what it leads to is not unknown. A host that is lost must not enrol as new.
func (k *kind[K, T]) agreed(r source, l *lookup[K, T], key []byte, id K) (v T, ok bool, err error) {
	if v, ok, err = k.get(r, id); !ok && err == nil && l.sole != nil {
		return v, false, fmt.Errorf("%s is of %s %v: %w", l.sole(key), k.what, id, boot.ErrLost)
	}
	if !ok || err != nil || l.leads(v, key) {
		return v, ok, err
	}
	var none T
	return none, false, nil
}

func (l *lookup[K, T]) leads(v T, key []byte) bool {
	if l.is != nil {
		return l.is(v, key)
	}
	return has(l.keys(nil, v), key)
}

func has(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(x []byte) bool { return bytes.Equal(x, key) })
}

// put writes a record with the entries that lead to it.
func (k *kind[K, T]) put(w *writeTx, id K, v T) error {
	if k.check != nil {
		if err := k.check(v); err != nil {
			return err
		}
	}
	key := k.key.to(id)
	// Everything is checked before anything is written.
	for _, l := range k.lookups {
		if l.sole == nil {
			continue
		}
		w.keys = l.keys(w.keys[:0], v)
		for _, x := range w.keys {
			if err := k.free(w, l, x, key); err != nil {
				return err
			}
		}
	}
	var old T
	var is bool
	if len(k.lookups) > 0 || k.revision != nil || k.tallies != nil {
		var err error
		if old, is, err = k.at(w, id, key); err != nil {
			return err
		}
	}
	if k.revision != nil {
		n := k.revision(v)
		*n = 1
		if is {
			*n += *k.revision(old)
		}
	}
	b, err := k.codec.encode(v)
	if err != nil {
		return fmt.Errorf("%s %v: %w", k.what, id, err)
	}
	w.put(k.table, key, b)
	for _, l := range k.lookups {
		ref := l.entry(id, key)
		w.keys = l.keys(w.keys[:0], v)
		n := len(w.keys)
		if is {
			w.keys = l.keys(w.keys, old)
			w.unlink(l.table, w.keys[n:], w.keys[:n], ref)
		}
		for _, x := range w.keys[:n] {
			// Most entries exist already; an entry that does not change is not written.
			if !bytes.Equal(w.get(l.table, x), ref) {
				w.put(l.table, x, ref)
			}
		}
	}
	if k.tallies == nil {
		return nil
	}
	var said []boot.Counter
	if is {
		said = k.tallies(old)
	}
	return w.tally(said, k.tallies(v))
}

// tally corrects the counters for a record whose values have changed.
func (w *writeTx) tally(old, now []boot.Counter) error {
	add := func(l, but []boot.Counter, by int64) error {
		for _, c := range l {
			if slices.Contains(but, c) {
				continue
			}
			n, err := w.Counter(c)
			if err != nil {
				return err
			}
			if n = uint64(max(0, int64(n)+by)); n == 0 {
				w.put(counters.table, counters.key.to(c), nil)
			} else if err := w.SetCounter(c, n); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(add(now, old, 1), add(old, now, -1))
}

// free reports a key that leads to another record than that of id.
func (k *kind[K, T]) free(w *writeTx, l *lookup[K, T], key, id []byte) error {
	if b := w.get(l.table, key); b == nil || bytes.Equal(b, id) {
		return nil
	}
	other, ok, err := k.by(w, l, key)
	if !ok || err != nil {
		return err
	}
	return fmt.Errorf("%s %w: it belongs to %s %s", l.sole(key), boot.ErrExists, k.what, k.title(other))
}

// unlink removes the entries of a record's former state, except those to keep. If a
// lookup leads to the newest record, its key may lead to another record by now; such
// an entry stays.
func (w *writeTx) unlink(t Table, old, keep [][]byte, ref []byte) {
	for _, x := range old {
		if !has(keep, x) && bytes.Equal(w.get(t, x), ref) {
			w.put(t, x, nil)
		}
	}
}

func (l *lookup[K, T]) entry(id K, key []byte) []byte {
	if l.ref != nil {
		return l.ref(id)
	}
	return key
}

// delete removes a record with the entries that lead to it.
func (k *kind[K, T]) delete(w *writeTx, id K) error {
	key := k.key.to(id)
	if len(k.lookups) > 0 || k.tallies != nil {
		old, ok, err := k.at(w, id, key)
		if err != nil {
			return err
		}
		if ok && k.tallies != nil {
			if err := w.tally(k.tallies(old), nil); err != nil {
				return err
			}
		}
		for _, l := range k.lookups {
			if ok {
				w.unlink(l.table, l.keys(nil, old), nil, l.entry(id, key))
			}
		}
	}
	w.put(k.table, key, nil)
	return nil
}

// list returns at most n records in order, of the keys above after that begin
// with prefix; it stops at the first error. It reads the disk, and the writer does
// not wait for it. So the records may include what was committed since the View
// began.
func (k *kind[K, T]) list(s *Store, prefix, after []byte, n int) (out []T, err error) {
	out, _, err = k.sift(s, prefix, after, n, nil)
	return out, err
}

// sift looks at no more than n records, as list does, and decodes those that may pass: may is
// given the record without its first byte, and nil passes all. last is the key of the last
// one looked at; nil if there are fewer than n.
func (k *kind[K, T]) sift(s *Store, prefix, after []byte, n int, may func([]byte) bool) (out []T, last []byte, err error) {
	if n <= 0 {
		return nil, nil, nil
	}
	s.state.RUnlock()
	defer s.state.RLock()
	verr := s.b.View(func(snap Snapshot) error {
		snap.Range(k.table, prefix, after, func(key, b []byte) bool {
			id, ok := k.key.from(key)
			if !ok {
				err = fmt.Errorf("table %s: key %x is damaged", k.table, key)
				return false
			}
			if n--; n == 0 {
				last = bytes.Clone(key)
			}
			if may != nil && len(b) > 0 && !may(b[1:]) {
				return n > 0
			}
			var v T
			if v, err = k.codec.decode(id, b); err != nil {
				err = fmt.Errorf("table %s, key %x: %w", k.table, key, err)
				return false
			}
			out = append(out, v)
			return n > 0
		})
		return err
	})
	return out, last, verr
}

// numbered records are kept in the order of their numbers.
func numbered[K ~uint32 | ~uint64]() keys[K] {
	return keys[K]{
		to: func(n K) []byte { return be64(uint64(n)) },
		from: func(b []byte) (n K, ok bool) {
			if len(b) != 8 {
				return n, false
			}
			return K(binary.BigEndian.Uint64(b)), true
		},
	}
}

// named records are kept in the order of their names.
func named() keys[string] {
	return keys[string]{
		to:   func(s string) []byte { return []byte(s) },
		from: func(b []byte) (string, bool) { return string(b), true },
	}
}

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// encJSON is the first byte of a record in JSON.
const encJSON = 'j'

// asJSON is how most records are kept.
func asJSON[K, T any]() codec[K, *T] {
	return codec[K, *T]{
		encode: func(v *T) ([]byte, error) { return encodeJSON(v) },
		decode: func(_ K, b []byte) (*T, error) {
			v := new(T)
			return v, decodeJSON(b, v)
		},
	}
}

func encodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{encJSON}, b...), nil
}

func decodeJSON(b []byte, v any) error {
	if len(b) == 0 || b[0] != encJSON {
		return errors.New("record has an unknown encoding")
	}
	return json.Unmarshal(b[1:], v)
}

// asNumber keeps eight bytes and no more.
func asNumber[K any]() codec[K, uint64] {
	return codec[K, uint64]{
		encode: func(n uint64) ([]byte, error) { return be64(n), nil },
		decode: func(_ K, b []byte) (n uint64, err error) {
			if len(b) != 8 {
				return n, fmt.Errorf("it has %d bytes, want 8", len(b))
			}
			return binary.BigEndian.Uint64(b), nil
		},
	}
}

// text appends the key of a lookup that has at most one.
func text(keys [][]byte, s string) [][]byte {
	if s == "" {
		return keys
	}
	return append(keys, []byte(s))
}

// called is the sole of a lookup whose keys are text.
func called(what string) func([]byte) string {
	return func(key []byte) string { return what + " " + string(key) }
}
