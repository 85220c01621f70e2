// hook.go: all receivers together: their list and their status, and what a person can
// order: to test one, or to send events again.

package hook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// Type is the kind of a target's receiver.
type Type string

// Types; they begin the counters and events of their targets.
const (
	Webhook Type = "webhook"
	Command Type = "hook"
)

// Target is one receiver.
type Target struct {
	Name   string
	Type   Type
	Where  string // for people: never a secret
	Kinds  boot.Kinds
	GiveUp time.Duration // an event older than this is not worth retrying
	Sender Sender
}

func (t *Target) String() string          { return string(t.Type) + " " + t.Name }
func (t *Target) cursor() boot.Counter    { return boot.Delivered(t.String()) }
func (t *Target) graveyard() boot.Counter { return boot.Undelivered(t.String()) }

// kind makes the event kind for deliveries to this type of target.
func (t *Target) kind(what string) boot.EventKind { return boot.EventKind(string(t.Type) + "." + what) }

// aboutDelivery are event kinds that are sent to no receiver. Otherwise each failed
// delivery would make an event whose delivery fails too.
var aboutDelivery = boot.Kinds{"webhook.*", "hook.*"}

// Sender hands one message to a receiver and returns the result. It has a timeout of
// its own.
type Sender interface {
	Send(ctx context.Context, m Message) Answer
}

// Message is an event with an ID that is unique over all appliances.
type Message struct {
	ID     string // ID of the event: the same each time it is sent
	Source string // names the appliance, as a URI reference
	Event  boot.Event
}

// Result is the result of sending a message.
type Result int

// Results.
const (
	Delivered Result = iota
	Later            // the receiver is away or busy
	Refused          // the receiver does not want this message
)

// Answer is a receiver's answer, in our words.
type Answer struct {
	Result Result
	Words  string
	After  time.Duration // with Later: do not try again before this time has passed
}

// Store is what the hooks need of boot.Store.
type Store interface {
	View(ctx context.Context, fn func(boot.ReadTx) error) error
	Update(ctx context.Context, fn func(boot.Tx) error) error
	Changed() <-chan struct{}
}

// Hooks runs all targets. It is safe for concurrent use.
type Hooks struct {
	store Store
	log   *slog.Logger
	id    string
	now   func() time.Time

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before and after
	workers map[boot.Counter]*worker
	wg      sync.WaitGroup
}

// New returns hooks without a target. id names the appliance: see Identity.
func New(s Store, log *slog.Logger, id string, now func() time.Time) *Hooks {
	return &Hooks{store: s, log: log, id: id, now: now, workers: map[boot.Counter]*worker{}}
}

// Identity returns the appliance's name, a UUID that is made once.
func Identity(ctx context.Context, s Store) (id string, err error) {
	err = s.Update(ctx, func(tx boot.Tx) error {
		b, err := tx.Secret("appliance-id")
		if err != nil {
			return err
		}
		if len(b) == 16 {
			id = uuid(b)
			return nil
		}
		b = make([]byte, 16)
		rand.Read(b)
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		id = uuid(b)
		return tx.SetSecret("appliance-id", b)
	})
	return id, err
}

func uuid(b []byte) string {
	x := hex.EncodeToString(b)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

func (h *Hooks) message(e boot.Event) Message {
	e.Render()
	return Message{ID: fmt.Sprintf("%s-%d", h.id, e.Seq), Source: "urn:uuid:" + h.id, Event: e}
}

// Set takes over the targets of a configuration. A target that stays goes on where it
// was, without its present pause. One that is gone ends after its present message.
func (h *Hooks) Set(targets []*Target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, w := range h.workers {
		if !slices.ContainsFunc(targets, func(t *Target) bool { return t.cursor() == key }) {
			w.target.Store(nil)
			w.wake()
		}
	}
	for _, t := range targets {
		if w := h.workers[t.cursor()]; w != nil {
			w.target.Store(t)
			w.wake()
			continue
		}
		w := newWorker(h, t)
		h.workers[t.cursor()] = w
		if h.ctx != nil {
			h.start(w)
		}
	}
}

// start starts a worker. The caller holds the lock.
func (h *Hooks) start(w *worker) {
	ctx := h.ctx
	h.wg.Go(func() { w.run(ctx) })
}

// Run delivers until ctx ends.
func (h *Hooks) Run(ctx context.Context) error {
	h.mu.Lock()
	h.ctx = ctx
	for _, w := range h.workers {
		h.start(w)
	}
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	h.ctx = nil // so that a later Set starts no worker
	h.mu.Unlock()
	h.wg.Wait()
	return nil
}

// leave removes a worker that has no target any more. False means that it has got a
// target again meanwhile.
func (h *Hooks) leave(key boot.Counter, w *worker) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.target.Load() != nil {
		return false
	}
	delete(h.workers, key)
	return true
}

func (h *Hooks) all() []*worker {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ws []*worker
	for _, w := range h.workers {
		if w.target.Load() != nil {
			ws = append(ws, w)
		}
	}
	slices.SortFunc(ws, func(a, b *worker) int {
		if a.key.Key() < b.key.Key() {
			return -1
		}
		return 1
	})
	return ws
}

// Figures are the targets for metrics, without the values that need a read of the
// store.
func (h *Hooks) Figures(ctx context.Context) ([]client.Webhook, error) {
	var last uint64
	if err := h.store.View(ctx, func(tx boot.ReadTx) (err error) { last, err = tx.Counter(boot.LastEvent); return err }); err != nil {
		return nil, err
	}
	out := []client.Webhook{}
	for _, w := range h.all() {
		if s, ok := w.status(last); ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// List returns the status of all targets.
func (h *Hooks) List(ctx context.Context) ([]client.Webhook, error) {
	out, err := h.Figures(ctx)
	for i := range out {
		t := &Target{Name: out[i].Name, Type: Type(out[i].Type)}
		dead, _, err := h.dead(ctx, t)
		if err != nil {
			return nil, err
		}
		out[i].Dead = len(dead)
	}
	return out, err
}

func (h *Hooks) find(name string) (*worker, *Target, error) {
	for _, w := range h.all() {
		if t := w.target.Load(); t != nil && t.Name == name {
			return w, t, nil
		}
	}
	return nil, nil, boot.NewFault(boot.UnknownHook, "no webhook or hook is called %s", name).Try("muster webhook list")
}

// Test sends an event of kind ping, which has no content and no number.
func (h *Hooks) Test(ctx context.Context, name string) (client.WebhookSent, error) {
	_, t, err := h.find(name)
	if err != nil {
		return client.WebhookSent{}, err
	}
	now := h.now().UTC()
	m := h.message(boot.Event{At: now, Kind: "ping", Text: "a test of " + t.String()})
	m.ID = fmt.Sprintf("%s-ping-%d", h.id, now.UnixNano())
	a := t.Sender.Send(ctx, m)
	return client.WebhookSent{OK: a.Result == Delivered, Words: a.Words}, ctx.Err()
}

// MaxResend bounds how many events one Resend sends.
const MaxResend = 1000

// Resend sends events again, at once and whichever kinds the target wants: those with
// the numbers given, or those that were given up. It stops if the receiver is away.
func (h *Hooks) Resend(ctx context.Context, name string, seqs []uint64, deadOnes bool) ([]client.WebhookSent, error) {
	w, t, err := h.find(name)
	if err != nil {
		return nil, err
	}
	w.resending.Lock()
	defer w.resending.Unlock()
	dead, _, err := h.dead(ctx, t)
	if err != nil {
		return nil, err
	}
	if deadOnes {
		seqs = dead[:min(len(dead), MaxResend)]
	}
	if len(seqs) > MaxResend {
		return nil, boot.NewFault(boot.TooLarge, "%d events at once: at most %d", len(seqs), MaxResend)
	}
	out := []client.WebhookSent{}
	for _, seq := range seqs {
		e, err := h.event(ctx, seq)
		if err != nil {
			return nil, err
		}
		switch {
		case e == nil:
			out = append(out, client.WebhookSent{Seq: seq, Words: "there is no such event, or it is not kept any more"})
			continue
		case aboutDelivery.Match(e.Kind):
			out = append(out, client.WebhookSent{Seq: seq, Words: string(e.Kind) + " is about deliveries and is delivered to nobody"})
			continue
		}
		a := t.Sender.Send(ctx, h.message(*e))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.count(a)
		out = append(out, client.WebhookSent{Seq: seq, OK: a.Result == Delivered, Words: a.Words})
		if a.Result == Delivered && slices.Contains(dead, seq) {
			ev := boot.Event{At: h.now(), Kind: t.kind("resent"), Host: e.Host, Name: e.Name, Hook: t.Name, Ref: seq,
				Text: fmt.Sprintf("%s was delivered to %s after all", told(e), t)}
			if err := h.store.Update(ctx, func(tx boot.Tx) error { _, err := tx.Append(ev); return err }); err != nil {
				return nil, err
			}
		}
		if a.Result == Later {
			break
		}
	}
	return out, h.tidy(ctx, t)
}

// told describes an event for people.
func told(e *boot.Event) string {
	if e.Name != "" {
		return fmt.Sprintf("event %d (%s %s)", e.Seq, e.Kind, e.Name)
	}
	return fmt.Sprintf("event %d (%s)", e.Seq, e.Kind)
}

func (h *Hooks) event(ctx context.Context, seq uint64) (e *boot.Event, err error) {
	err = h.store.View(ctx, func(tx boot.ReadTx) error {
		e = nil
		if seq == 0 {
			return nil
		}
		es, err := tx.Events(seq-1, 1)
		if len(es) == 1 && es[0].Seq == seq {
			e = &es[0]
		}
		return err
	})
	return e, err
}

// How many events one read takes: to send them, and to search them.
const (
	page = 100
	scan = 500
)

// dead lists the numbers of events that were given up for a target, are still kept
// and were not sent again. It also returns the last event that it looked at. A counter
// says where the oldest record of a given-up delivery may be. Mostly there is none, and
// nothing is read.
func (h *Hooks) dead(ctx context.Context, t *Target) (refs []uint64, last uint64, err error) {
	var after, first uint64
	if err := h.store.View(ctx, func(tx boot.ReadTx) error {
		since, err := tx.Counter(t.graveyard())
		if err != nil || since == 0 {
			return err
		}
		after = since - 1
		es, err := tx.Events(0, 1)
		if len(es) > 0 {
			first = es[0].Seq
		}
		return err
	}); err != nil || first == 0 {
		return nil, 0, err
	}
	in := map[uint64]bool{}
	for {
		var es []boot.Event
		if err := h.store.View(ctx, func(tx boot.ReadTx) (err error) { es, err = tx.Events(after, scan); return err }); err != nil {
			return nil, 0, err
		}
		for _, e := range es {
			after = e.Seq
			switch {
			case e.Hook != t.Name:
			case e.Kind == t.kind("dead") && e.Ref >= first:
				in[e.Ref] = true
			case e.Kind == t.kind("resent"):
				delete(in, e.Ref)
			}
		}
		if len(es) < scan {
			break
		}
	}
	for ref := range in {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return refs, after, nil
}

// tidy resets that counter once no given-up event is left.
func (h *Hooks) tidy(ctx context.Context, t *Target) error {
	refs, last, err := h.dead(ctx, t)
	if err != nil || len(refs) > 0 || last == 0 {
		return err
	}
	return h.store.Update(ctx, func(tx boot.Tx) error {
		if now, err := tx.Counter(boot.LastEvent); err != nil || now != last {
			return err // one of the events that came since may be about a new failure
		}
		return tx.SetCounter(t.graveyard(), 0)
	})
}
