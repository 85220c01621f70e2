// store.go: the one writer. Functions given to Update queue up; the writer
// drains what is there, runs each on its own overlay over the same snapshot,
// commits them together, and only then lets any of them answer. There is no
// timer: a lone write waits for nobody, and a crowd shares one fsync.

package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
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

	mu      sync.Mutex
	changed chan struct{}
}

var _ boot.Store = (*Store)(nil)

type job struct {
	ctx  context.Context
	fn   func(boot.Tx) error
	done chan error
}

// New takes over a backend: it checks and migrates the schema and starts the
// writer. Close closes the backend too.
func New(b Backend) (*Store, error) {
	if err := migrate(b); err != nil {
		return nil, err
	}
	s := &Store{b: b, queue: make(chan *job, queueLen), quit: make(chan struct{}), gone: make(chan struct{}), changed: make(chan struct{})}
	go s.write()
	return s, nil
}

func migrate(b Backend) error {
	var have uint64
	fresh := false
	if err := b.View(func(s Snapshot) error {
		v := s.Get(tabMeta, []byte("schema"))
		fresh, have = v == nil, fromBE64(v)
		return nil
	}); err != nil {
		return err
	}
	switch {
	case fresh:
		return b.Commit([]Change{{tabMeta, []byte("schema"), be64(Schema)}})
	case have > Schema:
		return fmt.Errorf("%w: it has schema %d, this program knows %d; install the newer version again, or restore a backup from before it", boot.ErrTooNew, have, Schema)
	}
	return nil
}

// View runs fn on a snapshot.
func (s *Store) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.quit:
		return boot.ErrClosed
	default:
	}
	return s.b.View(func(snap Snapshot) error {
		return fn(readTx{records{snap.Get}, snap})
	})
}

// Update hands fn to the writer and waits until its group is durable. Once
// handed over it is not abandoned, so that nil always means written and an
// error always means not.
func (s *Store) Update(ctx context.Context, fn func(boot.Tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan error, 1)}
	select {
	case <-s.quit:
		return boot.ErrClosed
	default:
	}
	select {
	case s.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return boot.ErrClosed
	}
	select {
	case err := <-j.done:
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
	merged := map[Table]map[string][]byte{}
	var passed []*job
	events := 0
	err := s.b.View(func(snap Snapshot) error {
		under := func(t Table, k []byte) []byte {
			if v, ok := merged[t][string(k)]; ok {
				return v
			}
			return snap.Get(t, k)
		}
		for _, j := range group {
			if err := j.ctx.Err(); err != nil {
				j.done <- err
				continue
			}
			tx := newWriteTx(under)
			if err := call(j.fn, tx); err != nil {
				j.done <- err
				continue
			}
			for t, m := range tx.changes {
				if merged[t] == nil {
					merged[t] = m
					continue
				}
				for k, v := range m {
					merged[t][k] = v
				}
			}
			events += tx.events
			passed = append(passed, j)
		}
		return nil
	})
	if err == nil {
		// In key order: neighbours share a page, and pages are what a commit
		// costs.
		var changes []Change
		for t, m := range merged {
			for k, v := range m {
				changes = append(changes, Change{t, []byte(k), v})
			}
		}
		slices.SortFunc(changes, func(a, b Change) int {
			return cmp.Or(cmp.Compare(a.Table, b.Table), bytes.Compare(a.Key, b.Key))
		})
		if len(changes) > 0 {
			err = s.b.Commit(changes)
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

// call keeps a panic in one function from taking the writer, and with it every
// lease, down.
func call(fn func(boot.Tx) error, tx boot.Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("update panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(tx)
}
