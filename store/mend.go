// mend.go: what follows when the medium lost records. Lookups are made again from the
// records, no number is given twice, and a host that was lost is not taken for a
// machine that was never there.

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/musterboot/muster/boot"
)

// Damage says in words what of the store was found damaged, now or earlier, until
// somebody repairs it.
func (s *Store) Damage() []string { return s.b.Damage() }

// relinks makes the entries of lost lookups again, kind by kind.
var relinks []func(*Store, *writeTx, []Table) error

// mend runs before the writer starts.
func (s *Store) mend() error {
	lost := s.b.Lost()
	if err := s.alone(func(w *writeTx) error { return s.recount(w, slices.Contains(lost, counters.table)) }); err != nil || len(lost) == 0 {
		return err
	}
	if err := s.alone(func(w *writeTx) error {
		for _, relink := range relinks {
			if err := relink(s, w, lost); err != nil {
				return err
			}
		}
		if slices.Contains(lost, hosts.table) || slices.Contains(lost, counters.table) {
			if err := hosts.count(s, w); err != nil {
				return err
			}
		}
		return meta.put(w, "doubt", 1)
	}); err != nil {
		return err
	}
	return s.b.Mended()
}

// Doubted reports that records may be older than they were, since the store lost some,
// and Trust has not been called yet.
func (s *Store) Doubted(ctx context.Context) (doubted bool, err error) {
	err = s.View(ctx, func(boot.ReadTx) error {
		n, _, err := meta.get(s, "doubt")
		doubted = n != 0
		return err
	})
	return doubted, err
}

// Trust ends the doubt, in the transaction that did what had to be done.
func Trust(tx boot.Tx) error {
	w := tx.(*writeTx)
	return errors.Join(meta.put(w, "doubt", 0), meta.put(w, "restored", 0))
}

// Verify reads every record while the store is in use, and returns their number and
// what Damage says after that.
func (s *Store) Verify(ctx context.Context) (records int, damage []string, err error) {
	const atOnce = 2000 // a long read keeps bbolt from using its free pages again
	for _, t := range Tables() {
		for after, n := []byte(nil), atOnce; n == atOnce; {
			n = 0
			if err := ctx.Err(); err != nil {
				return records, nil, err
			}
			if err := s.b.View(func(snap Snapshot) error {
				snap.Range(t, nil, after, func(k, _ []byte) bool {
					after = append(after[:0], k...)
					n++
					return n < atOnce
				})
				return nil
			}); err != nil {
				return records, nil, err
			}
			records += n
		}
	}
	return records, s.Damage(), nil
}

// alone commits one function without the writer.
func (s *Store) alone(fn func(*writeTx) error) error {
	j := &job{ctx: context.Background(), done: make(chan error, 1), fn: func(boot.Tx) error { return fn(s.tx) }}
	s.commit([]*job{j})
	return <-j.done
}

// relink makes entries of records that are there. Of several records that have a key
// that is not sole, the last in order has it.
func (k *kind[K, T]) relink(s *Store, w *writeTx, lost []Table) error {
	for _, l := range k.lookups {
		if !slices.Contains(lost, l.table) {
			continue
		}
		if err := s.b.View(func(snap Snapshot) error {
			snap.Range(k.table, nil, nil, func(key, b []byte) bool {
				id, ok := k.key.from(key)
				if !ok {
					return true
				}
				v, err := k.codec.decode(id, b)
				if err != nil {
					return true
				}
				ref := l.entry(id, k.key.to(id))
				for _, x := range l.keys(nil, v) {
					has := w.get(l.table, x)
					if has == nil || l.sole == nil && (l.newer == nil || l.newer(w, id, has, v)) {
						w.put(l.table, x, ref)
					}
				}
				return true
			})
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// count makes the tallies anew, of the records that are there.
func (k *kind[K, T]) count(s *Store, w *writeTx) error {
	tallies := map[boot.Counter]uint64{}
	if err := s.b.View(func(snap Snapshot) error {
		snap.Range(counters.table, nil, nil, func(key, _ []byte) bool {
			if boot.Tally(string(key)) {
				w.put(counters.table, bytes.Clone(key), nil)
			}
			return true
		})
		snap.Range(k.table, nil, nil, func(key, b []byte) bool {
			if id, ok := k.key.from(key); ok {
				if v, err := k.codec.decode(id, b); err == nil {
					for _, c := range k.tallies(v) {
						tallies[c]++
					}
				}
			}
			return true
		})
		return nil
	}); err != nil {
		return err
	}
	for c, n := range tallies {
		if err := w.SetCounter(c, n); err != nil {
			return err
		}
	}
	return nil
}

// jump is how far a number is set ahead if it was lost: whoever has seen a number that
// was given since must not meet it again.
const jump = 1 << 20

// recount sets numbers ahead of everything that has one. lost says that some number
// was lost.
func (s *Store) recount(w *writeTx, lost bool) error {
	for _, x := range []struct {
		counter boot.Counter
		table   Table
	}{{boot.LastHost, hosts.table}, {boot.LastTemplate, templates.table}, {boot.LastEvent, events.table}, {boot.LastAudit, audit.table}} {
		n, err := w.Counter(x.counter)
		if err != nil {
			continue // whoever needs it is told
		}
		last, err := s.last(x.table, n)
		if err != nil {
			return err
		}
		if last > n || lost {
			if err := w.SetCounter(x.counter, max(last, n)+jump); err != nil {
				return err
			}
		}
	}
	return nil
}

// last is the highest number in a table, if it is above n.
func (s *Store) last(t Table, n uint64) (last uint64, err error) {
	err = s.b.View(func(snap Snapshot) error {
		snap.Range(t, nil, be64(n), func(k, _ []byte) bool {
			if len(k) == 8 {
				last = binary.BigEndian.Uint64(k)
			}
			return true
		})
		return nil
	})
	return last, err
}

// Forget removes the keys of hosts that were lost, so that their machines may enrol
// anew, and what Damage says. It returns in words what it removed.
func (s *Store) Forget(ctx context.Context) (removed []string, err error) {
	type entry struct {
		t   Table
		key []byte
	}
	var gone []entry
	s.state.RLock()
	err = s.b.View(func(snap Snapshot) error {
		for _, l := range hosts.lookups {
			snap.Range(l.table, nil, nil, func(k, _ []byte) bool {
				if _, _, err := hosts.by(s, l, k); errors.Is(err, boot.ErrLost) {
					gone = append(gone, entry{l.table, slices.Clone(k)})
					removed = append(removed, err.Error())
				}
				return true
			})
		}
		return nil
	})
	s.state.RUnlock()
	if err != nil {
		return nil, err
	}
	if err := s.Update(ctx, func(tx boot.Tx) error {
		for _, e := range gone {
			tx.(*writeTx).put(e.t, e.key, nil)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("forget what was lost: %w", err)
	}
	return removed, s.b.Seen()
}
