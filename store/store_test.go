package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// medium is a backend that remembers what it was given, and may be able to
// carry less of it than all.
type medium struct {
	mu     sync.Mutex
	tables tables
	groups [][][]Change
	lost   []Table
	carry  func(txs [][]Change) (int, error)

	closing error
}

func (m *medium) Commit(txs [][]Change) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var group [][]Change
	for _, tx := range txs {
		group = append(group, slices.Clone(tx))
	}
	m.groups = append(m.groups, group)
	n = len(txs)
	if m.carry != nil {
		n, err = m.carry(txs)
	}
	m.tables.apply(txs[:n])
	return n, err
}

func (m *medium) View(fn func(Snapshot) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(m)
}

func (m *medium) Range(t Table, prefix, after []byte, fn func(k, v []byte) bool) {
	for _, k := range slices.Sorted(maps.Keys(m.tables[t])) {
		if k > string(after) && bytes.HasPrefix([]byte(k), prefix) && !fn([]byte(k), m.tables[t][k]) {
			return
		}
	}
}

func (m *medium) Close() error     { return m.closing }
func (m *medium) Damage() []string { return nil }
func (m *medium) Seen() error      { return nil }
func (m *medium) Lost() []Table    { return m.lost }
func (m *medium) Mended() error    { m.lost = nil; return nil }

// onMedium runs fn with a store on a medium, in a bubble.
func onMedium(t *testing.T, fn func(*testing.T, *Store, *medium)) {
	synctest.Test(t, func(t *testing.T) {
		m := &medium{tables: tables{}}
		s, err := New(m)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m.groups = nil
		fn(t, s, m)
	})
}

// together has functions queue up and run as one group, and returns what their
// Updates returned.
func together(s *Store, fns ...func(boot.Tx) error) []error {
	gate := make(chan struct{})
	go s.Update(context.Background(), func(boot.Tx) error { <-gate; return nil })
	synctest.Wait()
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = s.Update(context.Background(), fn) })
		synctest.Wait() // one after the other
	}
	close(gate)
	wg.Wait()
	return errs
}

var errRefused = errors.New("refused")

func setTo(n uint64) func(boot.Tx) error {
	return func(tx boot.Tx) error { return tx.SetCounter(boot.PendingHosts, n) }
}

func (s *Store) pending(t *testing.T) (n uint64) {
	t.Helper()
	if err := s.View(context.Background(), func(tx boot.ReadTx) (err error) { n, err = tx.Counter(boot.PendingHosts); return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBoundsAreKept: the medium gets the changes of each Update apart, in the
// order in which they ran, also where they change the same key.
func TestBoundsAreKept(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		errs := together(s, setTo(1),
			func(tx boot.Tx) error { return errors.Join(setTo(2)(tx), errRefused) },
			func(boot.Tx) error { return nil },
			func(tx boot.Tx) error {
				return errors.Join(setTo(3)(tx), tx.SetCounter(boot.AutoHosts, 9), setTo(4)(tx))
			},
			func(tx boot.Tx) error { panic("a bug") })
		if errs[0] != nil || !errors.Is(errs[1], errRefused) || errs[2] != nil || errs[3] != nil || errs[4] == nil {
			t.Fatal(errs)
		}
		var got []string
		for _, tx := range m.groups[0] {
			line := ""
			for _, c := range tx {
				line += fmt.Sprintf("%s=%d ", c.Key, c.Value[7])
			}
			got = append(got, strings.TrimSpace(line))
		}
		if want := []string{"pending-hosts=1", "", "pending-hosts=4 auto-hosts=9"}; len(m.groups) != 1 || !slices.Equal(got, want) {
			t.Errorf("%d groups, the first %q; want one of %q", len(m.groups), got, want)
		}
		if n := s.pending(t); n != 4 {
			t.Errorf("counter is %d, want 4", n)
		}
		// Nothing to write is nothing to wait for.
		together(s, func(boot.Tx) error { return nil })
		if len(m.groups) != 1 {
			t.Error("a commit of nothing")
		}
	})
}

// TestPartOfAGroup: of a medium that carried the first transactions of a group
// and not the others, those and no others are told and seen.
func TestPartOfAGroup(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		full := errors.New("the medium is full")
		m.carry = func([][]Change) (int, error) { return 2, full }
		changed := s.Changed()
		saw := uint64(0)
		appends := func(tx boot.Tx) error { _, err := tx.Append(boot.Event{Kind: boot.HostAdded}); return err }
		errs := together(s, setTo(1), setTo(2), func(tx boot.Tx) (err error) {
			saw, err = tx.Counter(boot.PendingHosts)
			return errors.Join(err, setTo(3)(tx))
		}, appends)
		if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], full) || !errors.Is(errs[3], full) {
			t.Fatal(errs)
		}
		if saw != 2 || s.pending(t) != 2 {
			t.Errorf("the third saw %d, and %d stayed; want 2 and 2", saw, s.pending(t))
		}
		select {
		case <-changed:
			t.Error("an event that was not written was told")
		default:
		}
		m.carry = nil
		if errs := together(s, setTo(5), appends); errors.Join(errs...) != nil || s.pending(t) != 5 {
			t.Errorf("after it: %v, counter %d", errs, s.pending(t))
		}
		select {
		case <-changed:
		default:
			t.Error("an event that was written was not told")
		}
		changed = s.Changed()
		together(s, func(tx boot.Tx) error { return errors.Join(appends(tx), errRefused) }, setTo(6))
		select {
		case <-changed:
			t.Error("there was no event, and it was told")
		default:
		}
	})
}

// TestGroupIsBounded: a crowd of any size is committed in groups of at most
// 2000.
func TestGroupIsBounded(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		gate := make(chan struct{})
		go s.Update(context.Background(), func(boot.Tx) error { <-gate; return nil })
		synctest.Wait()
		var wg sync.WaitGroup
		for i := range 3000 {
			wg.Go(func() {
				if err := s.Update(context.Background(), setTo(uint64(i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		var sizes []int
		for _, g := range m.groups {
			sizes = append(sizes, len(g))
		}
		if !slices.Equal(sizes, []int{2000, 1000}) {
			t.Errorf("groups of %d, want 2000 and 1000", sizes)
		}
	})
}

// TestQueueIsBounded: who finds it full waits outside, and may leave.
func TestQueueIsBounded(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		gate := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { s.Update(context.Background(), func(boot.Tx) error { <-gate; return nil }) })
		synctest.Wait()
		for range 4096 {
			wg.Go(func() { s.Update(context.Background(), func(boot.Tx) error { return nil }) })
		}
		synctest.Wait()
		ctx, leave := context.WithCancel(context.Background())
		var err error
		ran, back := false, false
		wg.Go(func() {
			err = s.Update(ctx, func(boot.Tx) error { ran = true; return nil })
			back = true
		})
		synctest.Wait()
		if back {
			t.Fatal("it did not wait")
		}
		leave()
		synctest.Wait()
		if !back || !errors.Is(err, context.Canceled) {
			t.Errorf("it left, and is back: %v, %v", back, err)
		}
		close(gate)
		wg.Wait()
		if ran {
			t.Error("it left, and ran all the same")
		}
	})
}

// TestHookThatPanics undoes its Update and no other.
func TestHookThatPanics(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		errs := together(s, setTo(1), func(tx boot.Tx) error {
			tx.After(func() { panic("a bug") })
			return setTo(2)(tx)
		})
		if errs[0] != nil || errs[1] == nil || s.pending(t) != 1 {
			t.Errorf("%v, counter %d", errs, s.pending(t))
		}
	})
}

// TestEventsOfAnOlderStore: one that did not count its first event kept 200,000 of
// them by itself.
func TestEventsOfAnOlderStore(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		for _, c := range []struct {
			last, upto uint64
			n          int
			first      uint64
		}{
			{10, 0, 9, 1},
			{10, 1, 1, 2},
			{200_000, 0, 9, 1},
			{200_000, 1, 1, 2},
			{250_000, 10, 9, 50_000},
			{250_000, 50_000, 9, 50_001},
			{250_000, 60_000, 2, 50_002},
		} {
			if err := s.Update(context.Background(), func(tx boot.Tx) error {
				if err := errors.Join(tx.SetCounter(boot.LastEvent, c.last), tx.SetCounter(boot.FirstEvent, 0)); err != nil {
					return err
				}
				first, err := tx.DropEvents(c.upto, c.n)
				if err == nil && first != c.first {
					t.Errorf("of %d events those up to %d dropped, at most %d: the first is %d, want %d", c.last, c.upto, c.n, first, c.first)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNothingToDrop: who drops no event writes nothing.
func TestNothingToDrop(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		if err := s.Update(context.Background(), func(tx boot.Tx) error { _, err := tx.Append(boot.Event{}); return err }); err != nil {
			t.Fatal(err)
		}
		m.groups = nil
		for upto, n := range map[uint64]int{0: 9, 1: 0} {
			if err := s.Update(context.Background(), func(tx boot.Tx) error {
				first, err := tx.DropEvents(upto, n)
				if first != 1 {
					t.Errorf("up to %d, at most %d: the first is %d", upto, n, first)
				}
				return err
			}); err != nil || len(m.groups) != 0 {
				t.Errorf("up to %d, at most %d: %d groups, %v", upto, n, len(m.groups), err)
			}
		}
	})
}

// TestWhatIsTaken: a host that cannot be put is told of what it has that is another's.
func TestWhatIsTaken(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		put := func(h *boot.Host) error {
			return s.Update(context.Background(), func(tx boot.Tx) error { return tx.PutHost(h) })
		}
		mac, uuid, addr := boot.MAC{2, 0, 0, 0, 0, 1}, boot.UUID{1, 2, 3}, netip.MustParseAddr("10.0.0.9")
		if err := put(&boot.Host{ID: 1, Name: "web1", State: boot.Pending, MACs: []boot.MAC{mac}, UUID: uuid, Serial: "RIG-7", DUID: "0004", BoundPort: "rack1/7", Address: addr}); err != nil {
			t.Fatal(err)
		}
		for what, h := range map[string]*boot.Host{
			"name web1": {Name: "web1"}, "MAC " + mac.String(): {MACs: []boot.MAC{mac}}, "UUID " + uuid.String(): {UUID: uuid}, "serial RIG-7": {Serial: "RIG-7"},
			"DUID 0004": {DUID: "0004"}, "switch port rack1/7": {BoundPort: "rack1/7"}, "address 10.0.0.9": {Address: addr},
		} {
			h.ID, h.State, h.Name = 2, boot.Pending, cmp.Or(h.Name, "web2")
			h.MACs = append(h.MACs, boot.MAC{2, 0, 0, 0, 0, 2})
			if err := put(h); !errors.Is(err, boot.ErrExists) || err.Error() != what+" already exists: it belongs to host web1" {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestDamageIsTold: a record that cannot be read fails what needs it, and takes no
// other value.
func TestDamageIsTold(t *testing.T) {
	schema := func(n uint64) map[string][]byte { return map[string][]byte{"schema": be64(n)} }
	for what, on := range map[string]tables{
		"a schema without a number": {"meta": {"schema": []byte("junk")}},
	} {
		if s, err := New(&medium{tables: on}); err == nil {
			s.Close()
			t.Errorf("%s: the store opens", what)
		}
	}
	for _, c := range []boot.Counter{boot.LastEvent, boot.FirstEvent} {
		s, err := New(&medium{tables: tables{"meta": schema(Schema), "counter": {c.Key(): []byte("junk")}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(t.Context(), func(tx boot.Tx) error { _, err := tx.DropEvents(9, 9); return err }); err == nil || !strings.Contains(err.Error(), "counter") {
			t.Errorf("%s is damaged, and events are dropped: %v", c.Key(), err)
		}
		s.Close()
	}
	s, err := New(&medium{tables: tables{"meta": schema(Schema), "counter": {boot.LastEvent.Key(): []byte("junk")}, "lease": {"lab\x00abc": {encLease}}}}) // no address has three bytes
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.View(t.Context(), func(tx boot.ReadTx) error { _, err := tx.Leases("lab", netip.Addr{}, 9); return err }); err == nil {
		t.Error("a lease of no address is listed")
	}
	if err := s.Update(t.Context(), func(tx boot.Tx) error { _, err := tx.Append(boot.Event{}); return err }); err == nil {
		t.Error("an event got a number, and the last one is damaged")
	}
	if id, ok := parseLeaseKey([]byte("lab")); ok {
		t.Errorf("a key without an end of the network is %v", id)
	}
}

// TestNoBytesForIt: what cannot be encoded is not written, and the writer is told.
func TestNoBytesForIt(t *testing.T) {
	onMedium(t, func(t *testing.T, s *Store, m *medium) {
		late := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has years of four digits
		for what, fn := range map[string]func(boot.Tx) error{
			"an event": func(tx boot.Tx) error { _, err := tx.Append(boot.Event{At: late}); return err },
			"a host":   func(tx boot.Tx) error { return tx.PutHost(&boot.Host{ID: 1, Name: "web1", Booted: late}) },
		} {
			if err := s.Update(context.Background(), fn); err == nil || len(m.groups) != 0 {
				t.Errorf("%s: %v, %d groups are written", what, err, len(m.groups))
			}
		}
	})
}

// TestCloseTellsOfTheMedium: what the medium says of its end is told, each time.
func TestCloseTellsOfTheMedium(t *testing.T) {
	full := errors.New("the medium is full")
	s, err := New(&medium{tables: tables{}, closing: full})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); !errors.Is(err, full) {
			t.Errorf("close: %v", err)
		}
	}
}

// TestLeaseThatIsCutShort: no beginning of a lease's record passes for a lease.
func TestLeaseThatIsCutShort(t *testing.T) {
	id := leaseID{"lab", netip.MustParseAddr("10.0.0.1")}
	for _, name := range []string{"", "n", "web", "pump-room", strings.Repeat("x", 63)} {
		b, err := encodeLease(&boot.Lease{Kind: boot.Dynamic, Holder: boot.ReadHolder("h1"), Name: name, Starts: time.Unix(1, 0), Expires: time.Unix(2, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := decodeLease(id, b); err != nil || l.Name != name {
			t.Errorf("%+v, %v", l, err)
		}
		for n := range b {
			if l, err := decodeLease(id, b[:n]); err == nil || l != nil {
				t.Errorf("%d of %d bytes are %+v", n, len(b), l)
			}
		}
		for _, b := range [][]byte{append(slices.Clone(b), 0), append([]byte{encLease + 1}, b[1:]...)} {
			if l, err := decodeLease(id, b); err == nil || l != nil {
				t.Errorf("%x is %+v", b, l)
			}
		}
	}
}
