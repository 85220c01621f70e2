// store.go: the one writer. Functions given to Update queue up. The writer takes all
// that are queued, runs each on its own overlay over the same state, and commits them
// together. Only then do their Updates return. There is no timer: a single write does
// not wait, and many at once share one fsync.
//
// Tables with single look-ups are in memory too (index.go). DHCP needs only single
// look-ups, so it never waits for a disk or a transaction to read.

package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/musterboot/muster/boot"
)

// Schema is the version this program writes. Raising it needs a migration in
// migrate. Since 2 the hosts that name a template are counted; since 3 hosts have tags and
// inherit parameters, and since 4 there are users and tokens, which an older program would lose.
const Schema = 4

const (
	queueLen = 4096 // Updates waiting; more wait in their callers
	groupLen = 2000 // Updates in one commit
)

// Store is a boot.Store on a Backend.
type Store struct {
	b     Backend
	queue chan *job
	quit  chan struct{}
	gone  chan struct{}
	once  sync.Once
	err   error

	// Only the writer changes tables, and it holds state for writing while it does.
	// It reads them without the lock. A View holds state for reading, except while it
	// reads a range.
	state  sync.RWMutex
	tables map[Table]*index

	mu      sync.Mutex
	changed chan struct{}

	// Used by the writer only, and reused for each group.
	tx     *writeTx
	passed []*job
	txs    [][]Change

	jobs sync.Pool // jobs are reused once their answer was taken
}

var _ boot.Store = (*Store)(nil)

type job struct {
	ctx  context.Context
	fn   func(boot.Tx) error
	done chan error
	news bool // it appended an event
}

// New takes over a backend: it checks and migrates the schema, reads what is
// looked up by key, and starts the writer. Close closes the backend too.
func New(b Backend) (*Store, error) {
	s := &Store{b: b, queue: make(chan *job, queueLen), quit: make(chan struct{}), gone: make(chan struct{}), changed: make(chan struct{}), tables: map[Table]*index{}}
	s.jobs.New = func() any { return &job{done: make(chan error, 1)} }
	s.tx = newWriteTx(s)
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.migrate(); err != nil {
		return nil, err
	}
	if err := s.mend(); err != nil {
		return nil, err
	}
	go s.write()
	return s, nil
}

// load fills the tables in memory.
func (s *Store) load() error {
	return s.b.View(func(snap Snapshot) error {
		for t, inMemory := range layout {
			if !inMemory {
				continue
			}
			x := newIndex()
			s.tables[t] = x
			snap.Range(t, nil, nil, func(k, v []byte) bool {
				x.put(k, v)
				return true
			})
		}
		return nil
	})
}

// get implements source.
func (s *Store) get(t Table, key []byte) []byte {
	if x := s.tables[t]; x != nil {
		return x.get(key)
	}
	return nil
}

func (s *Store) migrate() error {
	have, _, err := meta.get(s, "schema") // 0 in a new store
	switch {
	case err != nil || have == Schema:
		return err
	case have > Schema:
		return fmt.Errorf("%w: it has schema %d, this program knows %d; install the newer version again, or restore a backup from before it", boot.ErrTooNew, have, Schema)
	}
	return s.alone(func(w *writeTx) error {
		if have == 1 { // which did not count the hosts of a template
			if err := hosts.count(s, w); err != nil {
				return err
			}
		}
		return meta.put(w, "schema", Schema)
	})
}

// apply makes the changes of a commit in the tables in memory.
func (s *Store) apply(txs [][]Change) {
	s.state.Lock()
	defer s.state.Unlock()
	for _, changes := range txs {
		for _, c := range changes {
			if x := s.tables[c.Table]; x != nil {
				x.put(c.Key, c.Value)
			}
		}
	}
}

// View runs fn on a state between two commits.
func (s *Store) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.quit:
		return boot.ErrClosed
	default:
	}
	s.state.RLock()
	defer s.state.RUnlock()
	return fn(&readTx{records{s}, s})
}

// Update hands fn to the writer and waits until its group is durable. Once fn is
// handed over, Update waits even if ctx ends: so nil always means written, and an
// error always means not written.
func (s *Store) Update(ctx context.Context, fn func(boot.Tx) error) error {
	select {
	case <-s.quit:
		return boot.ErrClosed
	default:
	}
	j := s.jobs.Get().(*job)
	j.ctx, j.fn, j.news = ctx, fn, false
	select {
	case s.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return boot.ErrClosed
	}
	select {
	case err := <-j.done:
		j.ctx, j.fn = nil, nil
		s.jobs.Put(j)
		return err
	case <-s.gone:
		select {
		case err := <-j.done:
			return err
		default:
			return boot.ErrClosed
		}
	}
}

// Changed returns a channel that is closed after the next commit that appends
// an event.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Close lets the writer finish its present group, stops it and closes the backend.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.quit)
		<-s.gone
		s.err = s.b.Close()
	})
	return s.err
}

func (s *Store) write() {
	defer close(s.gone)
	group := make([]*job, 0, groupLen)
	for {
		group = group[:0]
		select {
		case j := <-s.queue:
			group = append(group, j)
		case <-s.quit:
			return
		}
	drain:
		for len(group) < groupLen {
			select {
			case j := <-s.queue:
				group = append(group, j)
			default:
				break drain
			}
		}
		s.commit(group)
	}
}

// commit runs one group. A function that fails or panics undoes only itself.
func (s *Store) commit(group []*job) {
	tx := s.tx
	writes := false
	for _, j := range group {
		if err := j.ctx.Err(); err != nil {
			j.done <- err
			continue
		}
		tx.begin()
		if err := call(j.fn, tx); err != nil {
			j.done <- err
			continue
		}
		writes = tx.changes.keep() || writes
		j.news = tx.appended
		s.passed = append(s.passed, j)
	}
	tx.begin()
	n, err := len(s.passed), error(nil)
	if writes {
		s.txs = tx.changes.kept(s.txs[:0])
		n, err = s.b.Commit(s.txs)
		s.apply(s.txs[:n])
		clear(s.txs)
	}
	if slices.ContainsFunc(s.passed[:n], func(j *job) bool { return j.news }) {
		s.mu.Lock()
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	for i, j := range s.passed {
		if i < n {
			j.done <- nil
		} else {
			j.done <- err
		}
	}
	tx.changes.reset()
	clear(s.passed)
	s.passed = s.passed[:0]
}

// call runs one function, and then the functions that it gave to After. It recovers a
// panic, which would otherwise end the writer, and with it all leasing.
func call(fn func(boot.Tx) error, tx *writeTx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("update panicked: %v\n%s", r, debug.Stack())
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	for _, after := range tx.after {
		after()
	}
	return nil
}
