// Package bolt is the default backend: it keeps the store in one bbolt file, with a
// log in front of it. It knows tables and bytes but not what they mean, and it does
// not expose bbolt's types.
package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/musterboot/muster/store"
)

type backend struct {
	db       *bbolt.DB
	path     string
	id       storeID
	segments [2]*segment
	cur      int                   // segment that is written
	gen      uint64                // of it
	record   []byte                // buffer
	broken   atomic.Pointer[error] // why nothing is written any more

	folded     chan error // of the fold under way; nil if none is
	foldingGen uint64

	mu      sync.RWMutex // of what follows
	pending *pending
	folding *pending // nil when all of it is in bbolt

	damageMu sync.Mutex
	damage   []string      // for a person, oldest first
	untold   int           // not 0: the file has other notes than these
	lost     []store.Table // that lack records, until Mended
}

// tell keeps what was found damaged, until a person has seen it (Repair).
func (b *backend) tell(lines ...string) {
	if len(lines) == 0 {
		return
	}
	b.damageMu.Lock()
	defer b.damageMu.Unlock()
	for _, l := range lines {
		if len(b.damage) < maxNotes && !slices.Contains(b.damage, l) {
			b.damage = append(b.damage, l)
		}
	}
	b.untold++
}

// Damage implements store.Backend.
func (b *backend) Damage() []string {
	b.damageMu.Lock()
	defer b.damageMu.Unlock()
	return slices.Clone(b.damage)
}

// begin starts the next generation in the segment that is not in use.
func (b *backend) begin() {
	b.gen++
	prev := b.segments[b.cur].end
	b.cur = 1 - b.cur
	b.segments[b.cur].begin(b.gen, prev)
}

func (b *backend) View(fn func(store.Snapshot) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer caught(b.path, &err)
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.db.View(func(tx *bbolt.Tx) error { return fn(snapshot{tx, b}) })
}

// maxPending is how many changes wait in memory to be folded. As many again may be
// folded at the same time.
const maxPending = 16384

// Commit writes a group as one record of the log, so all of it is durable or none.
func (b *backend) Commit(txs [][]store.Change) (int, error) {
	if err := b.commit(txs); err != nil {
		return 0, err
	}
	return len(txs), nil
}

func (b *backend) commit(txs [][]store.Change) error {
	b.record = appendRecord(b.record[:0], b.gen, txs...)
	// A record that is larger than a segment makes that segment longer.
	if s := b.segments[b.cur]; s.end+int64(len(b.record)) > max(segmentSize, headerSize+int64(len(b.record))) || b.pending.n >= maxPending {
		if err := b.turn(); err != nil {
			return err
		}
		b.record = appendRecord(b.record[:0], b.gen, txs...)
	}
	s := b.segments[b.cur]
	err := s.append(b.id, b.record)
	if len(b.record) > segmentSize {
		b.record = nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.f.Name(), err)
	}
	b.mu.Lock()
	b.pending.add(txs...)
	b.mu.Unlock()
	return nil
}

// turn makes the other segment the current one and starts a fold of this one. It
// first waits for the previous fold and returns its error: the log must not grow
// while bbolt cannot be written.
func (b *backend) turn() error {
	if b.folded != nil {
		err := <-b.folded
		b.folded = nil
		if err != nil {
			// Nothing is lost: the changes are in the log. The next commit tries again.
			b.refold()
			return err
		}
	}
	b.mu.Lock()
	b.folding, b.pending = b.pending, newPending()
	b.mu.Unlock()
	b.foldingGen = b.gen
	b.refold()
	b.begin()
	return nil
}

func (b *backend) refold() {
	done := make(chan error, 1)
	b.folded = done
	p, gen := b.folding, b.foldingGen
	go func() {
		err := b.fold(p, gen, true)
		if err == nil {
			b.mu.Lock()
			b.folding = nil
			b.mu.Unlock()
		}
		done <- err
	}()
}

// drain folds everything.
func (b *backend) drain() error {
	if b.segments[b.cur].end > headerSize {
		if err := b.turn(); err != nil {
			return err
		}
	}
	if b.folded == nil {
		return nil
	}
	err := <-b.folded
	b.folded = nil
	if err != nil {
		b.refold()
	}
	return err
}

// foldSlice is how many changes go into one bbolt transaction. Its pages are written
// in one go, and other writes have to wait for the disk meanwhile.
const foldSlice = 2000

// fold writes changes to bbolt, in key order. With the last of them it notes that
// this generation is folded. Folding again changes nothing.
func (b *backend) fold(p *pending, gen uint64, paced bool) error {
	cs := p.sorted()
	for {
		n := min(len(cs), foldSlice)
		last := uint64(0)
		if n == len(cs) {
			last = gen
		}
		if err := b.write(cs[:n], last); err != nil {
			return fmt.Errorf("fold the log into %s: %w", b.path, err)
		}
		if cs = cs[n:]; len(cs) == 0 {
			return nil
		}
		if paced {
			// Machines that wait for an answer go first.
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// update is one bbolt transaction. What bbolt, or the mapping of its file, panics with
// ends all writing: bbolt keeps its locks then.
func (b *backend) update(fn func(*bbolt.Tx) error) (err error) {
	if broken := b.broken.Load(); broken != nil {
		return *broken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(b.path, r)
			b.broken.Store(&err)
		}
	}()
	var notes bool
	if err := b.db.Update(func(tx *bbolt.Tx) (err error) {
		if err := fn(tx); err != nil {
			return err
		}
		notes, err = b.keepNotes(tx.Bucket([]byte(logTable)))
		return err
	}); errors.Is(err, berrors.ErrMaxSizeReached) {
		return errFull
	} else if err != nil {
		return err
	}
	if notes {
		b.damageMu.Lock()
		b.untold--
		b.damageMu.Unlock()
	}
	return nil
}

// write writes changes; gen, if not 0, is noted as folded.
func (b *backend) write(cs []store.Change, gen uint64) error {
	return b.update(func(tx *bbolt.Tx) error {
		l := tx.Bucket([]byte(logTable))
		// The sums are those of this very state: a transaction may be in the file
		// although its end failed.
		have, _ := unseal(logTable, keySums, l.Get(keySums))
		now, err := decodeSums(have)
		if err != nil {
			return err
		}
		var table store.Table
		var bucket *bbolt.Bucket
		for _, c := range cs {
			if c.Table != table || bucket == nil {
				table, bucket = c.Table, tx.Bucket([]byte(c.Table))
			}
			if bucket == nil {
				return fmt.Errorf("table %q is not known", c.Table)
			}
			s := now[table]
			if old := bucket.Get(c.Key); old != nil {
				s = s.without(sealOf(old))
			}
			if c.Value == nil {
				err = bucket.Delete(c.Key)
			} else {
				v := seal(make([]byte, 0, len(c.Value)+sealSize), c.Table, c.Key, c.Value)
				s = s.with(sealOf(v))
				err = bucket.Put(c.Key, v)
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", c.Table, err)
			}
			now[table] = s
		}
		if err := putSealed(l, keySums, now.encode()); err != nil || gen == 0 {
			return err
		}
		return putSealed(l, keyFolded, binary.BigEndian.AppendUint64(nil, gen))
	})
}

// Seen implements store.Backend.
func (b *backend) Seen() error {
	b.damageMu.Lock()
	b.damage = nil
	b.untold++
	b.damageMu.Unlock()
	return b.update(func(*bbolt.Tx) error { return nil })
}

// Lost implements store.Backend.
func (b *backend) Lost() []store.Table { return b.lost }

// Mended implements store.Backend.
func (b *backend) Mended() error {
	b.lost = nil
	return b.update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(logTable)).Delete(keyLost) })
}

// keepNotes writes down what was found damaged, and what lacks records since, if it is
// not in the file yet.
func (b *backend) keepNotes(l *bbolt.Bucket) (wrote bool, err error) {
	b.damageMu.Lock()
	defer b.damageMu.Unlock()
	if b.untold == 0 {
		return false, nil
	}
	err = putSealed(l, keyNotes, noteBytes(b.damage))
	if len(b.lost) > 0 {
		err = errors.Join(err, putSealed(l, keyLost, lostBytes(b.lost)))
	}
	return true, err
}

// Close writes everything into the bbolt file. The log stays: by it the file knows at
// the next start that it is whole.
func (b *backend) Close() error {
	return errors.Join(b.drain(), b.closeFiles())
}

func (b *backend) closeFiles() error {
	var err error
	if b.db != nil && b.broken.Load() == nil { // else bbolt has locks that nobody gives back
		err = b.db.Close()
	}
	for _, s := range b.segments {
		if s != nil {
			err = errors.Join(err, s.f.Close())
		}
	}
	return err
}

// pending is what is in the log and not yet in bbolt.
type pending struct {
	tables map[store.Table]map[string][]byte
	n      int

	mu    sync.Mutex               // of what follows; readers fill it
	order map[store.Table][]string // keys, where somebody asked for them in order
}

func newPending() *pending {
	return &pending{tables: map[store.Table]map[string][]byte{}, order: map[store.Table][]string{}}
}

func (p *pending) add(txs ...[]store.Change) {
	for _, cs := range txs {
		for _, c := range cs {
			m := p.tables[c.Table]
			if m == nil {
				m = map[string][]byte{}
				p.tables[c.Table] = m
			}
			if _, is := m[string(c.Key)]; !is {
				delete(p.order, c.Table)
			}
			m[string(c.Key)] = c.Value
			p.n++
		}
	}
}

// sorted returns the changes in key order: neighbours share a page.
func (p *pending) sorted() []store.Change {
	var cs []store.Change
	for t, m := range p.tables {
		for k, v := range m {
			cs = append(cs, store.Change{Table: t, Key: []byte(k), Value: v})
		}
	}
	slices.SortFunc(cs, func(a, b store.Change) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), bytes.Compare(a.Key, b.Key))
	})
	return cs
}

// keys are those of a table, in order. They are sorted once for many pages of a list, until
// another key comes. The caller holds the backend's mu, and changes nothing.
func (p *pending) keys(t store.Table) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, is := p.order[t]
	if !is {
		l = slices.Sorted(maps.Keys(p.tables[t]))
		p.order[t] = l
	}
	return l
}

// layer is what is pending of a table, beyond a key.
type layer struct {
	keys   []string
	values map[string][]byte
}

// layers are what is pending of a table beyond after that begins with prefix, the newest
// first.
func (b *backend) layers(t store.Table, prefix, after []byte) (out []layer) {
	for _, p := range []*pending{b.pending, b.folding} {
		if p == nil || len(p.tables[t]) == 0 {
			continue
		}
		l := p.keys(t)
		i, is := slices.BinarySearch(l, string(after))
		if is {
			i++
		}
		if n, _ := slices.BinarySearch(l, string(prefix)); n > i {
			i = n
		}
		out = append(out, layer{l[i:], p.tables[t]})
	}
	return out
}

// first is the first key of the layers that begins with prefix, and its newest value.
func first(ls []layer, prefix string) (key string, value []byte, ok bool) {
	for _, l := range ls {
		if len(l.keys) > 0 && strings.HasPrefix(l.keys[0], prefix) && (!ok || l.keys[0] < key) {
			key, value, ok = l.keys[0], l.values[l.keys[0]], true
		}
	}
	return key, value, ok
}

// pass goes beyond a key that is first.
func pass(ls []layer, key string) {
	for i := range ls {
		if len(ls[i].keys) > 0 && ls[i].keys[0] == key {
			ls[i].keys = ls[i].keys[1:]
		}
	}
}

// snapshot is a bbolt transaction with what is pending laid over it.
type snapshot struct {
	tx *bbolt.Tx
	b  *backend
}

func (s snapshot) Range(t store.Table, prefix, after []byte, fn func(k, v []byte) bool) {
	above := s.b.layers(t, prefix, after)
	c := s.tx.Bucket([]byte(t)).Cursor()
	start := after
	if bytes.Compare(prefix, after) > 0 {
		start = prefix
	}
	k, v := c.Seek(start)
	if k != nil && bytes.Equal(k, after) {
		k, v = c.Next()
	}
	for {
		if k != nil && !bytes.HasPrefix(k, prefix) {
			k = nil
		}
		key, x, waits := first(above, string(prefix))
		switch {
		case waits && (k == nil || key <= string(k)):
			pass(above, key)
			if k != nil && key == string(k) {
				k, v = c.Next()
			}
			if x != nil && !fn([]byte(key), x) {
				return
			}
		case k == nil:
			return
		default:
			if x, ok := unseal(t, k, v); !ok {
				s.b.tell(fmt.Sprintf("%s %s: the record does not agree with its checksum", t, quoted(k)))
			} else if !fn(k, x) {
				return
			}
			k, v = c.Next()
		}
	}
}
