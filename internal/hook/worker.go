// worker.go: the worker of one receiver: it reads the next events, sends them, tries
// again, gives up.

package hook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

const (
	firstWait  = time.Second
	longest    = 5 * time.Minute // between two tries
	longestAsk = time.Hour       // the longest pause that a receiver may ask for
	tries      = 3               // for an event that is refused
	gather     = 20 * time.Millisecond
	saveEvery  = time.Second // while messages go out
	saveSkips  = 1000        // skipped events, after which the cursor is saved
)

type worker struct {
	h      *Hooks
	key    boot.Counter
	target atomic.Pointer[Target] // nil: the worker must end
	kick   chan struct{}          // the target was changed

	resending sync.Mutex // one at a time

	// Used by the worker only. The cursor in the store is the next event to send, so
	// that 0 means none.
	next, saved uint64
	savedAt     time.Time
	dirty       bool // a message went out since the cursor was saved
	fails       int  // failures in a row, while the receiver is away

	mu     sync.Mutex // of what follows
	opened bool
	upto   uint64
	state  client.WebhookState
	until  time.Time
	err    string
	errAt  time.Time
	sentAt time.Time
	counts client.WebhookCounts
}

func newWorker(h *Hooks, t *Target) *worker {
	w := &worker{h: h, key: t.cursor(), kick: make(chan struct{}, 1), state: client.WebhookIdle}
	w.target.Store(t)
	return w
}

func (w *worker) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends or the target is taken away.
func (w *worker) run(ctx context.Context) {
	failures := 0
	for {
		more, err := w.round(ctx)
		switch {
		case ctx.Err() != nil:
			w.save(context.WithoutCancel(ctx))
			return
		case w.target.Load() == nil:
			w.save(ctx)
			if w.h.leave(w.key, w) {
				return
			}
		case err != nil:
			// The store failed, which the rest of the program reports.
			failures++
			w.h.log.Error("events cannot be handed on", "to", w.key.Key(), "err", err)
			w.pause(ctx, backoff(failures), nil)
		default:
			failures = 0
			if more != nil {
				w.pause(ctx, 0, more)
				w.pause(ctx, gather, nil)
			}
		}
	}
}

// round delivers one page of events. When there are no more, it returns the channel to
// wait on.
func (w *worker) round(ctx context.Context) (more <-chan struct{}, err error) {
	t := w.target.Load()
	if t == nil {
		return nil, nil
	}
	if w.next == 0 {
		if err := w.open(ctx); err != nil {
			return nil, err
		}
	}
	changed := w.h.store.Changed()
	var es []boot.Event
	var last uint64
	if err := w.h.store.View(ctx, func(tx boot.ReadTx) (err error) {
		if last, err = tx.Counter(boot.LastEvent); err == nil {
			es, err = tx.Events(w.next-1, page)
		}
		return err
	}); err != nil {
		return nil, err
	}
	// Numbers have no gaps: what is missing was removed.
	switch {
	case len(es) > 0 && es[0].Seq > w.next:
		return nil, w.lost(ctx, t, es[0].Seq)
	case len(es) == 0 && last+1 > w.next:
		return nil, w.lost(ctx, t, last+1)
	}
	for i := range es {
		if err := w.deliver(ctx, &es[i]); err != nil {
			return nil, err
		}
		if w.next == es[i].Seq {
			return nil, nil // interrupted
		}
	}
	if len(es) == page {
		return nil, nil
	}
	if w.dirty { // events skipped without a save are skipped again after a restart
		w.save(ctx)
	}
	return changed, nil
}

// open finds where to go on. A new target begins with events from now on.
func (w *worker) open(ctx context.Context) error {
	err := w.h.store.Update(ctx, func(tx boot.Tx) error {
		n, err := tx.Counter(w.key)
		if err != nil {
			return err
		}
		last, err := tx.Counter(boot.LastEvent)
		if err != nil {
			return err
		}
		if n == 0 || n > last+1 {
			n = last + 1
			err = tx.SetCounter(w.key, n)
		}
		w.next, w.saved = n, n
		return err
	})
	if err != nil {
		w.next = 0
		return err
	}
	w.mu.Lock()
	w.opened, w.upto = true, w.next-1
	w.mu.Unlock()
	return nil
}

// deliver sends one event until it is delivered or given up; then w.next is past it.
// If not, deliver was interrupted: by an error of the store or the end of the target.
func (w *worker) deliver(ctx context.Context, e *boot.Event) error {
	refused := 0
	for {
		t := w.target.Load()
		if t == nil || ctx.Err() != nil {
			return nil
		}
		if aboutDelivery.Match(e.Kind) || !t.Kinds.Match(e.Kind) {
			w.pass(e)
			if w.next-w.saved >= saveSkips {
				w.save(ctx)
			}
			return nil
		}
		old := w.h.now().Sub(e.At) > t.GiveUp
		if w.fails > 0 && old {
			return w.bury(ctx, t, e, fmt.Sprintf("given up after %s: %s", rough(t.GiveUp), w.lastError()))
		}
		w.set(client.WebhookSending, time.Time{})
		a := t.Sender.Send(ctx, w.h.message(*e))
		if ctx.Err() != nil {
			return nil // interrupted, because the appliance stops
		}
		w.count(a)
		var wait time.Duration
		switch a.Result {
		case Delivered:
			if w.fails > 0 {
				w.h.log.Info("events are delivered again", "to", w.key.Key())
			}
			w.fails, w.dirty = 0, true
			w.pass(e)
			w.set(client.WebhookIdle, time.Time{})
			if w.h.now().Sub(w.savedAt) >= saveEvery {
				w.save(ctx)
			}
			return nil
		case Refused:
			w.fails = 0 // the receiver is reachable
			if refused++; refused >= tries {
				return w.bury(ctx, t, e, a.Words)
			}
			wait = backoff(refused)
		default:
			if w.fails++; w.fails == 1 {
				w.h.log.Warn("events cannot be delivered; they wait", "to", w.key.Key(), "event", e.Seq, "err", a.Words)
			}
			if old {
				continue
			}
			wait = max(backoff(w.fails), min(a.After, longestAsk))
		}
		w.save(ctx)
		w.set(client.WebhookWaiting, w.h.now().Add(wait))
		w.pause(ctx, wait, nil)
		w.set(client.WebhookIdle, time.Time{})
	}
}

// backoff doubles with each failure. Half of it is random, so that many that failed
// at the same time do not try again at the same time.
func backoff(n int) time.Duration {
	d := min(firstWait<<min(n-1, 16), longest)
	return d/2 + rand.N(d/2)
}

// pause waits for d or, if there is a channel, for the channel. A changed target ends
// the pause at once.
func (w *worker) pause(ctx context.Context, d time.Duration, until <-chan struct{}) {
	var after <-chan time.Time
	if until == nil {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
	case <-w.kick:
	case <-until:
	case <-after:
	}
}

// pass moves the cursor past an event.
func (w *worker) pass(e *boot.Event) {
	w.next = e.Seq + 1
	w.mu.Lock()
	w.upto = e.Seq
	w.mu.Unlock()
}

// save writes the cursor. If that fails, or the computer stops before, the same events
// are delivered again.
func (w *worker) save(ctx context.Context) {
	if w.next == w.saved || w.next == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := w.h.store.Update(ctx, func(tx boot.Tx) error { return tx.SetCounter(w.key, w.next) }); err != nil {
		if ctx.Err() == nil {
			w.h.log.Error("how far events were delivered was not written down", "to", w.key.Key(), "err", err)
		}
		return
	}
	w.saved, w.savedAt, w.dirty = w.next, w.h.now(), false
}

// bury gives an event up, and records that in an event. A person can send it again.
func (w *worker) bury(ctx context.Context, t *Target, e *boot.Event, why string) error {
	letter := boot.Event{At: w.h.now(), Kind: t.kind("dead"), Host: e.Host, Name: e.Name, Hook: t.Name, Ref: e.Seq,
		Text: fmt.Sprintf("%s was not delivered to %s: %s", told(e), t, why)}
	err := w.move(ctx, e.Seq+1, letter, func(tx boot.Tx, seq uint64) error {
		oldest, err := tx.Counter(t.graveyard())
		if err == nil && oldest == 0 {
			err = tx.SetCounter(t.graveyard(), seq)
		}
		return err
	})
	if err == nil {
		w.mu.Lock()
		w.counts.Dead++
		w.mu.Unlock()
		w.h.log.Warn(letter.Text)
	}
	return err
}

// lost records that events were removed before delivery, and goes on after them.
func (w *worker) lost(ctx context.Context, t *Target, next uint64) error {
	n := next - w.next
	ev := boot.Event{At: w.h.now(), Kind: t.kind("lost"), Hook: t.Name, Ref: w.next,
		Text: fmt.Sprintf("%d events (%d to %d) were removed before they could be delivered to %s: [events] keep and max say how many are kept", n, w.next, next-1, t)}
	err := w.move(ctx, next, ev, nil)
	if err == nil {
		w.mu.Lock()
		w.counts.Lost += n
		w.mu.Unlock()
		w.h.log.Warn(ev.Text)
	}
	return err
}

// move sets the cursor and appends an event about it, both or neither.
func (w *worker) move(ctx context.Context, next uint64, ev boot.Event, also func(boot.Tx, uint64) error) error {
	err := w.h.store.Update(ctx, func(tx boot.Tx) error {
		seq, err := tx.Append(ev)
		if err == nil && also != nil {
			err = also(tx, seq)
		}
		if err != nil {
			return err
		}
		return tx.SetCounter(w.key, next)
	})
	if err != nil {
		return err
	}
	w.next, w.saved, w.savedAt, w.dirty = next, next, w.h.now(), false
	w.mu.Lock()
	w.upto, w.state, w.until = next-1, client.WebhookIdle, time.Time{}
	w.mu.Unlock()
	return nil
}

func (w *worker) set(s client.WebhookState, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.until = s, until
}

func (w *worker) count(a Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.Result == Delivered {
		w.counts.Delivered++
		w.sentAt, w.err, w.errAt = w.h.now(), "", time.Time{}
		return
	}
	w.counts.Failed++
	w.err, w.errAt = a.Words, w.h.now()
}

func (w *worker) lastError() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// status returns false if the target is being removed at this moment.
func (w *worker) status(last uint64) (client.Webhook, bool) {
	t := w.target.Load()
	if t == nil {
		return client.Webhook{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := client.Webhook{Name: t.Name, Type: string(t.Type), Where: t.Where, Kinds: t.Kinds, Upto: w.upto, State: w.state, Next: w.until,
		Error: w.err, Failed: w.errAt, Last: w.sentAt, Counts: w.counts}
	if w.opened && last > w.upto {
		s.Behind = last - w.upto
	}
	return s, true
}

// rough writes 24h as 24h and not as 24h0m0s.
func rough(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if len(s) > len(zero) && s[len(s)-len(zero):] == zero {
			s = s[:len(s)-2]
		}
	}
	return s
}
