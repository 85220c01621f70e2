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
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/store"
)

// Open opens or makes the file at path. If another process has it open, Open returns
// ErrInUse after a second. If the file is damaged, Open returns an error with its
// path and does not panic.
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
	db       *bbolt.DB
	path     string
	id       storeID
	segments [2]*segment
	cur      int    // segment that is written
	gen      uint64 // of it
	record   []byte // buffer

	folded     chan error // of the fold under way; nil if none is
	foldingGen uint64

	mu      sync.RWMutex // of what follows
	pending *pending
	folding *pending // nil when all of it is in bbolt
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
		// This reserves address space, not memory. Without it a growing file is
		// mapped again, which waits for every reader.
		opts.InitialMmapSize = 4 << 30
	}
	db, err := bbolt.Open(path, 0o600, opts)
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("store %s: %w: is muster running already?", path, boot.ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	b = &backend{db: db, path: path, pending: newPending()}
	if err := b.prepare(); err != nil {
		b.closeFiles()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// The files' own names must survive a power cut too.
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		d.Sync()
		d.Close()
	}
	return b, nil
}

// The log's bookkeeping in the bbolt file: the ID that log and file share, and the
// newest generation that is folded in.
var (
	logBucket = []byte("log")
	keyID     = []byte("id")
	keyFolded = []byte("folded")
)

// prepare makes the tables. It folds what is left in the log if the last process did
// not end cleanly.
func (b *backend) prepare() error {
	var folded uint64
	err := b.db.Update(func(tx *bbolt.Tx) error {
		for _, t := range store.Tables() {
			if _, err := tx.CreateBucketIfNotExists([]byte(t)); err != nil {
				return err
			}
		}
		l, err := tx.CreateBucketIfNotExists(logBucket)
		if err != nil {
			return err
		}
		if id := l.Get(keyID); len(id) == len(b.id) {
			b.id = storeID(id)
			folded = binary.BigEndian.Uint64(l.Get(keyFolded))
			return nil
		}
		b.id = newStoreID()
		return errors.Join(l.Put(keyID, b.id[:]), l.Put(keyFolded, make([]byte, 8)))
	})
	if err != nil {
		return err
	}
	for i := range b.segments {
		s, id, err := openSegment(segmentPath(b.path, i))
		if err != nil {
			return err
		}
		b.segments[i] = s
		if s.gen != 0 && id != b.id {
			return fmt.Errorf("%s belongs to another store: was %s restored alone? move the log away to go on without what it holds", s.f.Name(), b.path)
		}
	}
	order := []*segment{b.segments[0], b.segments[1]}
	if order[1].gen < order[0].gen {
		order[0], order[1] = order[1], order[0]
	}
	b.gen = folded
	for _, s := range order {
		if s.gen <= folded {
			continue
		}
		if s.gen > b.gen+1 {
			return fmt.Errorf("%s goes on after something that is missing: was an older %s restored? move the log away to go on without what it holds", s.f.Name(), b.path)
		}
		p := newPending()
		if err := s.replay(func(payload []byte) error {
			cs, err := readRecord(payload)
			p.add(cs)
			return err
		}); err != nil {
			return err
		}
		if err := b.fold(p, s.gen, false); err != nil {
			return err
		}
		b.gen = s.gen
	}
	b.begin()
	return nil
}

// begin starts the next generation in the segment that is not in use.
func (b *backend) begin() {
	b.gen++
	b.cur = 1 - b.cur
	b.segments[b.cur].begin(b.gen)
}

func (b *backend) View(fn func(store.Snapshot) error) error {
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
	s := b.segments[b.cur]
	b.record = appendRecord(b.record[:0], b.gen, txs...)
	if size := int64(len(b.record)); size > segmentSize-headerSize {
		// Larger than the log: written to bbolt directly, after all that is pending.
		b.record = nil
		if err := b.drain(); err != nil {
			return err
		}
		p := newPending()
		p.add(txs...)
		return b.write(p.sorted(), 0)
	} else if s.end+size > segmentSize || b.pending.n >= maxPending {
		if err := b.turn(); err != nil {
			return err
		}
		s = b.segments[b.cur]
		b.record = appendRecord(b.record[:0], b.gen, txs...)
	}
	if err := s.append(b.id, b.record); err != nil {
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
	if err := b.turn(); err != nil {
		return err
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

// write is one bbolt transaction; gen, if not 0, is noted as folded.
func (b *backend) write(cs []store.Change, gen uint64) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		var table store.Table
		var bucket *bbolt.Bucket
		for _, c := range cs {
			if c.Table != table || bucket == nil {
				table, bucket = c.Table, tx.Bucket([]byte(c.Table))
			}
			if bucket == nil {
				return fmt.Errorf("table %q is not known", c.Table)
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
		if gen == 0 {
			return nil
		}
		return tx.Bucket(logBucket).Put(keyFolded, binary.BigEndian.AppendUint64(nil, gen))
	})
}

// Close writes everything into the bbolt file and removes the log.
func (b *backend) Close() error {
	err := b.drain()
	clean := err == nil
	if cerr := b.closeFiles(); err == nil {
		err = cerr
	}
	if clean && err == nil {
		for i := range b.segments {
			if rerr := os.Remove(segmentPath(b.path, i)); rerr != nil && err == nil {
				err = rerr
			}
		}
	}
	return err
}

func (b *backend) closeFiles() error {
	err := b.db.Close()
	for _, s := range b.segments {
		if s != nil {
			if cerr := s.f.Close(); err == nil {
				err = cerr
			}
		}
	}
	return err
}

// pending is what is in the log and not yet in bbolt.
type pending struct {
	tables map[store.Table]map[string][]byte
	n      int
}

func newPending() *pending { return &pending{tables: map[store.Table]map[string][]byte{}} }

func (p *pending) add(txs ...[]store.Change) {
	for _, cs := range txs {
		for _, c := range cs {
			m := p.tables[c.Table]
			if m == nil {
				m = map[string][]byte{}
				p.tables[c.Table] = m
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

// above returns the keys of a table beyond after that begin with prefix, in
// order, newest value of each.
func (b *backend) above(t store.Table, prefix, after []byte) (keys []string, values map[string][]byte) {
	values = map[string][]byte{}
	for _, p := range []*pending{b.folding, b.pending} {
		if p == nil {
			continue
		}
		for k, v := range p.tables[t] {
			if k > string(after) && strings.HasPrefix(k, string(prefix)) {
				values[k] = v
			}
		}
	}
	return slices.Sorted(maps.Keys(values)), values
}

// snapshot is a bbolt transaction with what is pending laid over it.
type snapshot struct {
	tx *bbolt.Tx
	b  *backend
}

func (s snapshot) Range(t store.Table, prefix, after []byte, fn func(k, v []byte) bool) {
	keys, values := s.b.above(t, prefix, after)
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
		switch {
		case len(keys) > 0 && (k == nil || keys[0] <= string(k)):
			key := keys[0]
			keys = keys[1:]
			if k != nil && key == string(k) {
				k, v = c.Next()
			}
			if x := values[key]; x != nil && !fn([]byte(key), x) {
				return
			}
		case k == nil:
			return
		default:
			if !fn(k, v) {
				return
			}
			k, v = c.Next()
		}
	}
}

// Check reads every page of a file that no process has open, and reports the first
// damage.
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
