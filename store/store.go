// store.go: the one writer. Functions given to Update queue up; the writer
// drains what is there, runs each on its own overlay over the same state,
// commits them together, and only then lets any of them answer. There is no
// timer: a lone write waits for nobody, and a crowd shares one fsync.
//
// Every table but the events is in memory too (index.go): single look-ups, in
// which all of DHCP consists, never wait for a disk or a transaction.

package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/musterboot/muster/boot"
)

// Schema is the version this program writes. Raising it needs a migration in
// migrate.
const Schema = 1

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

	// The writer alone changes tables, and holds state while it does; it reads
	// them without. A View holds it for reading, but while it reads a range.
	state  sync.RWMutex
	tables map[Table]*index

	mu      sync.Mutex
	changed chan struct{}
}

var _ boot.Store = (*Store)(nil)

type job struct {
	ctx  context.Context
	fn   func(boot.Tx) error
	done chan error
}

// jobs are used again once their answer was taken.
var jobs = sync.Pool{New: func() any { return &job{done: make(chan error, 1)} }}

// New takes over a backend: it checks and migrates the schema, reads what is
// looked up by key, and starts the writer. Close closes the backend too.
func New(b Backend) (*Store, error) {
	s := &Store{b: b, queue: make(chan *job, queueLen), quit: make(chan struct{}), gone: make(chan struct{}), changed: make(chan struct{}), tables: map[Table]*index{}}
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.migrate(); err != nil {
		return nil, err
	}
	go s.write()
	return s, nil
}

// load fills the tables in memory. Events are only ever read in order.
func (s *Store) load() error {
	return s.b.View(func(snap Snapshot) error {
		for _, t := range Tables() {
			x := newIndex()
			s.tables[t] = x
			if t.onDisk() {
				continue
			}
			snap.Range(t, nil, nil, func(k, v []byte) bool {
				x.put(k, v)
				return true
			})
		}
		return nil
	})
}

func (s *Store) get(t Table, key []byte) []byte { return s.tables[t].get(key) }

func (s *Store) migrate() error {
	v := s.get(tabMeta, []byte("schema"))
	switch have := fromBE64(v); {
	case v == nil:
		c := []Change{{tabMeta, []byte("schema"), be64(Schema)}}
		if err := s.b.Commit(c); err != nil {
			return err
		}
		s.apply(c)
	case have > Schema:
		return fmt.Errorf("%w: it has schema %d, this program knows %d; install the newer version again, or restore a backup from before it", boot.ErrTooNew, have, Schema)
	}
	return nil
}

// apply follows a commit in memory.
func (s *Store) apply(changes []Change) {
	s.state.Lock()
	defer s.state.Unlock()
	for _, c := range changes {
		if !c.Table.onDisk() {
			s.tables[c.Table].put(c.Key, c.Value)
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
	return fn(&readTx{records{s.get}, s})
}

// Update hands fn to the writer and waits until its group is durable. Once
// handed over it is not abandoned, so that nil always means written and an
// error always means not.
func (s *Store) Update(ctx context.Context, fn func(boot.Tx) error) error {
	select {
	case <-s.quit:
		return boot.ErrClosed
	default:
	}
	j := jobs.Get().(*job)
	j.ctx, j.fn = ctx, fn
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
		jobs.Put(j)
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

// Close stops the writer after the group in hand and closes the backend.
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
	var merged overlay
	var passed []*job
	events := 0
	under := func(t Table, k []byte) []byte {
		if v, ok := merged.get(t, k); ok {
			return v
		}
		return s.get(t, k)
	}
	tx := newWriteTx(under)
	for _, j := range group {
		if err := j.ctx.Err(); err != nil {
			j.done <- err
			continue
		}
		tx.reset()
		if err := call(j.fn, tx); err != nil {
			j.done <- err
			continue
		}
		merged.add(&tx.changes)
		events += tx.events
		passed = append(passed, j)
	}
	var err error
	if len(merged.list) > 0 {
		if err = s.b.Commit(merged.list); err == nil {
			s.apply(merged.list)
		}
	}
	for _, j := range passed {
		j.done <- err
	}
	if err == nil && events > 0 {
		s.mu.Lock()
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// call runs one function, and then what it left to be done after it. It keeps a
// panic in one from taking the writer, and with it every lease, down.
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
