// fake_test.go: a store and a receiver for tests under a clock of their own.

package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// ledger is as much of a store as the hooks use. store/mem keeps channels for all
// of the program, which a bubble of synctest may not see.
type ledger struct {
	mu       sync.Mutex
	events   []boot.Event
	last     uint64
	counters map[boot.Counter]uint64
	secrets  map[string][]byte
	changed  chan struct{}
	writes   int
	refuse   bool // to write
}

func newLedger() *ledger {
	return &ledger{counters: map[boot.Counter]uint64{}, secrets: map[string][]byte{}, changed: make(chan struct{})}
}

type readLedger struct {
	boot.ReadTx // nil: what is not here is not used
	l           *ledger
}

type writeLedger struct {
	boot.Tx
	l *ledger
}

func (l *ledger) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(ctx.Err(), fn(readLedger{l: l}))
}

func (l *ledger) Update(ctx context.Context, fn func(boot.Tx) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.refuse {
		return errors.New("the disk is full")
	}
	events, last, counters := l.events, l.last, maps.Clone(l.counters) // events are only added to
	if err := fn(writeLedger{l: l}); err != nil {
		l.events, l.last, l.counters = events, last, counters
		return err
	}
	l.writes++
	if l.last != last {
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return nil
}

func (l *ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *ledger) counter(c boot.Counter) uint64 {
	if c == boot.LastEvent {
		return l.last
	}
	return l.counters[c]
}

func (r readLedger) Counter(c boot.Counter) (uint64, error)  { return r.l.counter(c), nil }
func (r writeLedger) Counter(c boot.Counter) (uint64, error) { return r.l.counter(c), nil }
func (r writeLedger) SetCounter(c boot.Counter, n uint64) error {
	r.l.counters[c] = n
	return nil
}
func (r writeLedger) Secret(name string) ([]byte, error) { return r.l.secrets[name], nil }
func (r writeLedger) SetSecret(name string, b []byte) error {
	r.l.secrets[name] = b
	return nil
}

func (r writeLedger) Append(e boot.Event) (uint64, error) {
	r.l.last++
	e.Seq = r.l.last
	r.l.events = append(r.l.events, e)
	return e.Seq, nil
}

func (r readLedger) Events(after uint64, n int) ([]boot.Event, error) {
	at, _ := slices.BinarySearchFunc(r.l.events, after+1, func(e boot.Event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	rest := r.l.events[at:]
	return slices.Clone(rest[:min(n, len(rest))]), nil
}

// drop removes the oldest events up to a number.
func (l *ledger) drop(upto uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = slices.DeleteFunc(l.events, func(e boot.Event) bool { return e.Seq <= upto })
}

// of returns the events of a kind.
func (l *ledger) of(k boot.EventKind) (out []boot.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// receiver is a Sender that a test steers.
type receiver struct {
	mu     sync.Mutex
	answer func(m Message) Answer // nil: takes everything
	got    []uint64               // taken, in order
	tried  []time.Time
	ids    []string
	kinds  []boot.EventKind
}

func (r *receiver) Send(_ context.Context, m Message) Answer {
	r.mu.Lock()
	fn := r.answer
	r.tried = append(r.tried, time.Now())
	r.mu.Unlock()
	a := Answer{Words: "ok"}
	if fn != nil {
		a = fn(m)
	}
	if a.Result == Delivered {
		r.mu.Lock()
		r.got, r.ids, r.kinds = append(r.got, m.Event.Seq), append(r.ids, m.ID), append(r.kinds, m.Event.Kind)
		r.mu.Unlock()
	}
	return a
}

func (r *receiver) set(fn func(Message) Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

func away(Message) Answer    { return Answer{Result: Later, Words: "connection refused"} }
func refuses(Message) Answer { return Answer{Result: Refused, Words: "HTTP 410 Gone"} }

// rig is hooks over a ledger, in a bubble.
type rig struct {
	t     *testing.T
	l     *ledger
	r     *receiver
	h     *Hooks
	kinds boot.Kinds
	stop  func()
}

// inBubble runs fn with a webhook "cmdb" under a clock that jumps.
func inBubble(t *testing.T, fn func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		g := &rig{t: t, l: newLedger(), r: &receiver{}, stop: func() {}}
		g.start()
		fn(g)
		g.stop()
	})
}

func (g *rig) target(s Sender) *Target {
	return &Target{Name: "cmdb", Type: Webhook, Where: "http://cmdb.example/", Kinds: g.kinds, GiveUp: 24 * time.Hour, Sender: s}
}

// start begins anew on the same store, as after a restart.
func (g *rig) start() {
	g.stop()
	g.h = New(g.l, slog.New(slog.DiscardHandler), "0000", time.Now)
	g.h.Set([]*Target{g.target(g.r)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { g.h.Run(ctx); close(done) }()
	g.stop = func() { cancel(); <-done }
	synctest.Wait()
}

func (g *rig) happen(n int, kind boot.EventKind) {
	g.t.Helper()
	for range n {
		if err := g.l.Update(context.Background(), func(tx boot.Tx) error {
			_, err := tx.Append(boot.Event{At: time.Now(), Kind: kind, Name: "m1", Text: "x"})
			return err
		}); err != nil {
			g.t.Fatal(err)
		}
	}
}

// after lets time pass.
func (g *rig) after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (g *rig) got(want ...uint64) {
	g.t.Helper()
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if !slices.Equal(g.r.got, want) {
		g.t.Errorf("delivered %v, want %v", g.r.got, want)
	}
}

func (g *rig) status() client.Webhook {
	g.t.Helper()
	ss, err := g.h.List(context.Background())
	if err != nil || len(ss) != 1 {
		g.t.Fatalf("%v, %v", ss, err)
	}
	return ss[0]
}

// span counts from a to b.
func span(a, b uint64) (out []uint64) {
	for ; a <= b; a++ {
		out = append(out, a)
	}
	return out
}

func words(ss []client.WebhookSent) (out []string) {
	for _, s := range ss {
		out = append(out, fmt.Sprint(s.Seq, " ", s.OK, " ", s.Words))
	}
	return out
}
