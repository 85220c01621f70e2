// engine.go: Decide on the live store. A decision that writes is made again
// inside the transaction that commits it, and only then does the reply leave.

package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
)

// Engine answers Sightings and carries out Orders. It is safe for concurrent
// use.
type Engine struct {
	store   boot.Store
	log     *slog.Logger
	policy  atomic.Pointer[boot.Policy]
	setting sync.Mutex // one policy change at a time
	mem     *memory
	Log     *RequestLog
	Lines   *RequestLog // log lines of the machines themselves, in rings of their own, so that they push out no request

	// Now is the clock of orders and findings; requests bring their own.
	Now func() time.Time

	// Started is when this process did: what it has not seen since, it may have missed.
	// Zero: it has seen everything. Set it before the first request.
	Started time.Time

	// Images says which images a version of a template boots, so that none of them
	// is removed; nil where templates name none. It is asked once for each version.
	Images func(*boot.Template) ([]string, error)
	boots  map[boot.TemplateID][]string // the answers of Images; guarded by setting

	notices  chan boot.Event
	checks   chan boot.Check
	rivals   chan boot.Rival
	stop     context.CancelFunc
	done     chan struct{}
	lost     atomic.Uint64
	latest   atomic.Int64 // the latest time of a request, in Unix seconds
	untold   atomic.Int64 // notices that are not stored yet
	unlooked atomic.Uint64
	running  transfers
}

var _ boot.Fetcher = (*Engine)(nil)

// ErrBusy says that other clients took a decision's address too many times in a row.
var ErrBusy = errors.New("too many clients want the same addresses")

// NewEngine starts an engine with an empty policy: it answers nothing until
// SetPolicy. Close stops it; the store is the caller's to close.
func New(store boot.Store, requests *RequestLog, log *slog.Logger) *Engine {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{store: store, log: log, mem: newMemory(), Log: requests, Lines: NewLineLog(nil), Now: time.Now,
		notices: make(chan boot.Event, 256), checks: make(chan boot.Check, 1024), rivals: make(chan boot.Rival, 64), stop: cancel, done: make(chan struct{}), running: transfers{all: map[*transfer]struct{}{}}}
	e.policy.Store(&boot.Policy{})
	go e.tellNotices(ctx)
	return e
}

// Close ends the engine's one goroutine.
func (e *Engine) Close() {
	e.stop()
	<-e.done
}

// tellNotices stores notices as events: of a full pool, of a missing loader. A
// DISCOVER writes nothing itself, so its notices are stored here, after the reply.
func (e *Engine) tellNotices(ctx context.Context) {
	defer close(e.done)
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-e.notices:
			if err := e.Record(ctx, ev); err != nil && ctx.Err() == nil {
				e.log.Error("event was not stored", "kind", ev.Kind, "err", err)
			}
			e.untold.Add(-1)
		}
	}
}

// Policy returns the policy of the moment.
func (e *Engine) Policy() *boot.Policy { return e.policy.Load() }

// LostNotices counts notices that were dropped: their queue was full, or strangers caused
// too many of their kind.
func (e *Engine) LostNotices() uint64 { return e.lost.Load() }

// SetPolicy swaps the policy. The templates are the store's newest, plus those
// of this run that p brings; pools are rebuilt from the leases where their
// ranges changed.
func (e *Engine) SetPolicy(ctx context.Context, p boot.Policy) error {
	e.setting.Lock()
	defer e.setting.Unlock()
	return e.setPolicy(ctx, p)
}

func (e *Engine) setPolicy(ctx context.Context, p boot.Policy) error {
	stored, used, err := e.templates(ctx)
	if err != nil {
		return err
	}
	p.Images = used
	// A template of this run hides a stored one of its name.
	byName := map[string]*boot.Template{}
	for _, t := range stored {
		byName[t.Name] = t
	}
	for _, t := range p.Templates {
		if t.ThisRun {
			byName[t.Name] = t
		}
	}
	p.Templates = slices.Collect(maps.Values(byName))
	boot.SortTemplates(p.Templates)

	pools := map[string]*pool{}
	for n := range p.All() {
		e.mem.mu.Lock()
		old := e.mem.pools[n.Pool()]
		e.mem.mu.Unlock()
		if old != nil && slices.Equal(old.ranges, n.Ranges) {
			pools[n.Pool()] = old
			continue
		}
		fresh := newPool(n.Ranges)
		if err := e.fill(ctx, n.Name, e.Now(), func(l boot.Lease, until time.Time, unknown bool) { fresh.lease(l.Addr, until, unknown) }); err != nil {
			return err
		}
		pools[n.Pool()] = fresh
	}
	e.mem.mu.Lock()
	for n := range p.All() {
		pools[n.Pool()].probed = n.Probes()
	}
	e.mem.pools = pools
	e.mem.mu.Unlock()
	e.policy.Store(&p)
	e.LookAhead()
	return nil
}

// page is how many records one read transaction lists. A long transaction would block
// the store's writer.
const page = 1000

// setBack reports, once, that the clock is further behind than a lease may begin ahead.
func (e *Engine) setBack(now time.Time) bool {
	for {
		was := e.latest.Load()
		back := was != 0 && now.Unix() < was-int64(boot.FalseTime/time.Second)
		if !back && now.Unix() <= was {
			return false
		}
		if e.latest.CompareAndSwap(was, now.Unix()) {
			return back
		}
	}
}

// refill frees what leases of a time keep in which the clock was wrong. A lease that is
// granted meanwhile is in the store, and found taken there.
func (e *Engine) refill(ctx context.Context, p *boot.Policy, now time.Time) error {
	e.log.Warn("the clock was set back by more than a day: leases of the time before that count no more", "now", now)
	for n := range p.All() {
		if err := e.fill(ctx, n.Name, now, func(l boot.Lease, until time.Time, unknown bool) {
			e.mem.mu.Lock()
			defer e.mem.mu.Unlock()
			if p := e.mem.pools[boot.PoolName(n.Name, l.Addr)]; p != nil {
				p.lease(l.Addr, until, unknown)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// fill gives fn the leases of a network, each with its end as it counts now.
func (e *Engine) fill(ctx context.Context, network string, now time.Time, fn func(l boot.Lease, until time.Time, unknown bool)) error {
	var after netip.Addr
	for {
		var ls []boot.Lease
		if err := e.store.View(ctx, func(tx boot.ReadTx) (err error) { ls, err = tx.Leases(network, after, page); return err }); err != nil {
			return err
		}
		for _, l := range ls {
			until, active := l.Expires, l.Active(now)
			if !active && until.After(now) {
				until = now // of a time in which the clock was wrong
			}
			fn(l, until, l.OfUnknown() && active)
		}
		if len(ls) < page {
			return nil
		}
		after = ls[len(ls)-1].Addr
	}
}

// templates reads the newest version of each name, and which images any version
// boots.
func (e *Engine) templates(ctx context.Context) (stored []*boot.Template, used map[string]*boot.Template, err error) {
	newest := map[string]*boot.Template{}
	used = map[string]*boot.Template{}
	var after boot.TemplateID
	for {
		var ts []*boot.Template
		err := e.store.View(ctx, func(tx boot.ReadTx) error {
			var err error
			if ts, err = tx.Templates(after, page); err != nil {
				return err
			}
			for _, t := range ts {
				if n, err := tx.TemplateByName(t.Name); err != nil {
					return err
				} else if n != nil {
					newest[t.Name] = n
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		for _, t := range ts {
			after = t.ID
			for _, image := range e.imagesOf(t) {
				used[image] = t
			}
		}
		if len(ts) < page {
			return slices.Collect(maps.Values(newest)), used, nil
		}
	}
}

func (e *Engine) imagesOf(t *boot.Template) []string {
	if e.Images == nil {
		return nil
	}
	l, known := e.boots[t.ID]
	if !known {
		var err error
		if l, err = e.Images(t); err != nil {
			// A template that cannot be read cannot boot a machine either.
			e.log.Error("it is not known which images this template boots", "template", t.Name, "version", t.Version, "err", err)
			return nil
		}
		if e.boots == nil {
			e.boots = map[boot.TemplateID][]string{}
		}
		e.boots[t.ID] = l
	}
	return l
}

// Record appends an event that no decision made: something that another part of the
// program noticed.
func (e *Engine) Record(ctx context.Context, ev boot.Event) error {
	if ev.At.IsZero() {
		ev.At = e.Now()
	}
	if ev.By.Kind == "" {
		ev.By = boot.Actor{Kind: boot.Program, Name: "muster"}
	}
	return e.store.Update(ctx, func(tx boot.Tx) error { _, err := tx.Append(ev); return err })
}

// Admitted reports an address that a machine has which may boot. Where there is no room
// for all, a front serves it before strangers. It proves nothing: whoever is on the link
// can take an address.
func (e *Engine) Admitted(a netip.Addr) (yes bool) {
	a, now, p := a.Unmap().WithZone(""), e.Now(), e.policy.Load()
	_ = e.store.View(context.Background(), func(tx boot.ReadTx) error {
		yes = false
		for n := range p.All() {
			if yes || !n.Subnet.Contains(a) {
				continue
			}
			h, err := boot.HostAt(e.view(tx, now), n, a, now)
			if err != nil {
				return err
			}
			yes = h != nil && h.State == boot.Approved
		}
		return nil
	})
	return yes
}

// AdmittedMAC is Admitted for who has no address yet. Anybody can send any MAC.
func (e *Engine) AdmittedMAC(m boot.MAC) (yes bool) {
	_ = e.store.View(context.Background(), func(tx boot.ReadTx) error {
		h, err := tx.HostByMAC(m)
		yes = err == nil && h != nil && h.State == boot.Approved
		return err
	})
	return yes
}

// View reads the store for the API.
func (e *Engine) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	return e.store.View(ctx, fn)
}

// Changed returns the store's channel, which is closed after the next commit that
// appends an event.
func (e *Engine) Changed() <-chan struct{} { return e.store.Changed() }

// Flush waits until everything that was noticed so far is an event.
func (e *Engine) Flush() {
	for e.untold.Load() > 0 {
		runtime.Gosched()
	}
}
