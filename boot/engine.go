// engine.go: Decide on the live store. A decision that writes is made again
// inside the transaction that commits it, and only then does the reply leave.

package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Decider is what a front holds.
type Decider interface {
	Next(ctx context.Context, in Sighting) (Decision, error)
	Done(ctx context.Context, in Sighting, d Decision, o Outcome) error
}

// Outcome says how a reply with bytes ended.
type Outcome struct {
	Result Result
	Bytes  int64
	Left   bool // the last byte left, whether or not anybody said that it came
	Took   time.Duration
	Err    string
}

// Result of a transfer.
type Result string

// A probe asked for the size and left; edk2 does it before every file.
const (
	Complete Result = "complete"
	Probe    Result = "probe"
	CutShort Result = "short"
	TimedOut Result = "timeout"
	UnderWay Result = "under way" // of a transfer that has not ended
)

// Engine answers Sightings and carries out Orders. It is safe for concurrent
// use.
type Engine struct {
	store   Store
	log     *slog.Logger
	policy  atomic.Pointer[Policy]
	setting sync.Mutex // one policy change at a time
	mem     *memory
	Log     *RequestLog
	Lines   *RequestLog // what machines log themselves; a set of rings of its own, so that it pushes out no request

	// Now is the clock of orders and findings; requests bring their own.
	Now func() time.Time

	notices  chan Event
	checks   chan Check
	rivals   chan Rival
	stop     context.CancelFunc
	done     chan struct{}
	lost     atomic.Uint64
	untold   atomic.Int64 // notices that are not stored yet
	unlooked atomic.Uint64
	running  transfers
}

var _ Fetcher = (*Engine)(nil)

// ErrBusy says that a decision lost its address to others too often.
var ErrBusy = errors.New("too many clients want the same addresses")

// NewEngine starts an engine with an empty policy: it answers nothing until
// SetPolicy. Close stops it; the store is the caller's to close.
func NewEngine(store Store, requests *RequestLog, log *slog.Logger) *Engine {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{store: store, log: log, mem: newMemory(), Log: requests, Lines: NewLineLog(nil), Now: time.Now,
		notices: make(chan Event, 256), checks: make(chan Check, 1024), rivals: make(chan Rival, 64), stop: cancel, done: make(chan struct{}), running: transfers{all: map[*Transfer]struct{}{}}}
	e.policy.Store(&Policy{})
	go e.tellNotices(ctx)
	return e
}

// Close ends the engine's one goroutine.
func (e *Engine) Close() {
	e.stop()
	<-e.done
}

// tellNotices appends what a DISCOVER must not: the event of a full pool or a
// missing loader, after the reply and never in its way.
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
func (e *Engine) Policy() *Policy { return e.policy.Load() }

// LostNotices counts notices that found their queue full.
func (e *Engine) LostNotices() uint64 { return e.lost.Load() }

// SetPolicy swaps the policy. The templates are the store's newest, plus those
// of this run that p brings; pools are rebuilt from the leases where their
// ranges changed.
func (e *Engine) SetPolicy(ctx context.Context, p Policy) error {
	e.setting.Lock()
	defer e.setting.Unlock()
	return e.setPolicy(ctx, p)
}

func (e *Engine) setPolicy(ctx context.Context, p Policy) error {
	stored, err := e.newestTemplates(ctx)
	if err != nil {
		return err
	}
	// A template of this run hides a stored one of its name.
	byName := map[string]*Template{}
	for _, t := range stored {
		byName[t.Name] = t
	}
	for _, t := range p.Templates {
		if t.ThisRun {
			byName[t.Name] = t
		}
	}
	p.Templates = slices.Collect(maps.Values(byName))
	SortTemplates(p.Templates)

	pools := map[string]*pool{}
	for n := range p.all() {
		e.mem.mu.Lock()
		old := e.mem.pools[n.pool()]
		e.mem.mu.Unlock()
		if old != nil && slices.Equal(old.ranges, n.Ranges) {
			pools[n.pool()] = old
			continue
		}
		fresh := newPool(n.Ranges)
		if err := e.fillPool(ctx, fresh, n.Name); err != nil {
			return err
		}
		pools[n.pool()] = fresh
	}
	e.mem.mu.Lock()
	for n := range p.all() {
		pools[n.pool()].probed = n.probes()
	}
	e.mem.pools = pools
	e.mem.mu.Unlock()
	e.policy.Store(&p)
	e.LookAhead()
	return nil
}

// LookAhead has the addresses probed that will be offered next. It is for quiet
// times; a busy network does it itself.
func (e *Engine) LookAhead() {
	p := e.policy.Load()
	for i := range p.Networks {
		e.lookAhead(p, p.Networks[i].Name, netip.Addr{}, MAC{}, e.Now())
	}
}

// page is how many records one read transaction lists: a long one would stop
// the store's writer.
const page = 1000

func (e *Engine) fillPool(ctx context.Context, p *pool, network string) error {
	var after netip.Addr
	now := e.Now()
	for {
		var ls []Lease
		if err := e.store.View(ctx, func(tx ReadTx) (err error) { ls, err = tx.Leases(network, after, page); return err }); err != nil {
			return err
		}
		for _, l := range ls {
			p.lease(l.Addr, l.Expires, l.strange() && l.Active(now))
		}
		if len(ls) < page {
			return nil
		}
		after = ls[len(ls)-1].Addr
	}
}

func (e *Engine) newestTemplates(ctx context.Context) ([]*Template, error) {
	newest := map[string]*Template{}
	var after TemplateID
	for {
		var ts []*Template
		err := e.store.View(ctx, func(tx ReadTx) error {
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
			return nil, err
		}
		if len(ts) < page {
			break
		}
		after = ts[len(ts)-1].ID
	}
	return slices.Collect(maps.Values(newest)), nil
}

// attempts bounds how often a decision is made again because another client
// took the address between the look and the hold. Each failure is another
// client's success.
const attempts = 256

// Next answers one request. The error means that the store failed or ctx
// ended; a front then stays silent (DHCP) or says that the server is in
// trouble.
func (e *Engine) Next(ctx context.Context, in Sighting) (Decision, error) {
	p := e.policy.Load()
	d, err := e.decide(ctx, p, in)
	if err != nil {
		e.log.Error("no decision", "via", in.Via, "step", in.Step, "mac", in.ID.MAC, "err", err)
		return d, err
	}
	e.after(in, &d)
	return d, nil
}

func (e *Engine) decide(ctx context.Context, p *Policy, in Sighting) (d Decision, err error) {
	if in.Via == DHCP4 && in.Step != Discover && in.Step != Inform && in.Step != Bootp ||
		in.Via == DHCP6 && in.Step != Solicit && in.Step != Inform && in.Step != Confirm {
		// A REQUEST nearly always writes: it is decided once, where it is
		// written.
		return e.commit(ctx, p, in)
	}
	for range attempts {
		err = e.store.View(ctx, func(tx ReadTx) (err error) {
			d, err = Decide(e.view(tx, in.At), p, in)
			return err
		})
		if err != nil {
			return d, err
		}
		if len(d.Skip) > 0 {
			// Memory thought these free and the store knows better.
			if news := e.mem.skip(d.Skip, in.At); news && len(d.Holds) == 0 && d.Writes.Empty() {
				continue
			}
		}
		if slices.ContainsFunc(d.Holds, func(h Hold) bool { return !e.mem.hold(h, in.At) }) {
			continue
		}
		if d.Writes.Empty() {
			e.mem.settle(&d, p, in.At)
			return d, nil
		}
		return e.commit(ctx, p, in)
	}
	return d, ErrBusy
}

func (e *Engine) commit(ctx context.Context, p *Policy, in Sighting) (d Decision, err error) {
	err = e.store.Update(ctx, func(tx Tx) (err error) {
		if d, err = Decide(e.view(tx, in.At), p, in); err != nil {
			return err
		}
		if err := apply(tx, &d.Writes); err != nil {
			return err
		}
		e.mem.settle(&d, p, in.At)
		return nil
	})
	if err != nil {
		e.forget(ctx, d.Writes.Leases)
		return Decision{}, err
	}
	return d, nil
}

// forget sets memory back to what the store says, where a commit failed that
// memory ran ahead of.
func (e *Engine) forget(ctx context.Context, ls []Lease) {
	for _, l := range ls {
		var old *Lease
		if err := e.store.View(context.WithoutCancel(ctx), func(tx ReadTx) (err error) { old, err = tx.Lease(l.Network, l.Addr); return err }); err != nil {
			return
		}
		e.mem.mu.Lock()
		if p := e.mem.pools[poolOf(l.Network, l.Addr)]; p != nil {
			if old == nil {
				old = &Lease{Expires: time.Unix(1, 0)}
			}
			p.lease(l.Addr, old.Expires, old.strange() && old.Active(e.Now()))
		}
		e.mem.mu.Unlock()
	}
}

func (e *Engine) view(r Reader, now time.Time) view {
	return view{Reader: r, m: e.mem, now: now, last: e.Log.LastSeen}
}

var errRehearsed = errors.New("rehearsed")

// Rehearse lets fn ask one question after the other, each in the world that the
// answers before left, and then undoes it all: nothing is written, held or told.
// fn may run more than once. It runs where the store writes, so it must not be
// long.
func (e *Engine) Rehearse(ctx context.Context, fn func(decide func(Sighting) (Decision, error)) error) error {
	p := e.policy.Load()
	var failed error
	err := e.store.Update(ctx, func(tx Tx) error {
		mine := map[Spot]bool{}
		failed = fn(func(in Sighting) (d Decision, err error) {
			for range attempts {
				if d, err = Decide(e.view(tx, in.At), p, in); err != nil {
					return d, err
				}
				// What is taken in this rehearsal only stays where it is.
				d.Skip = slices.DeleteFunc(d.Skip, func(x Spot) bool { return mine[x] })
				if len(d.Skip) == 0 || !e.mem.skip(d.Skip, in.At) || len(d.Holds) > 0 || !d.Writes.Empty() {
					break
				}
			}
			for _, l := range d.Writes.Leases {
				mine[Spot{l.Network, l.Addr}] = true
			}
			return d, apply(tx, &d.Writes)
		})
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return failed
	}
	return err
}

// apply writes a decision's changes. The same rules run for machines and for
// people.
func apply(tx Tx, c *Changes) error {
	if c.Remove != nil {
		if err := tx.DeleteHost(c.Remove); err != nil {
			return err
		}
	}
	if c.Host != nil {
		if err := putHost(tx, c.Host); err != nil {
			return err
		}
	}
	for _, h := range c.Hosts {
		if err := putHost(tx, h); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		counter Counter
		change  int
	}{{PendingHosts, c.Pending}, {AutoHosts, c.Auto}} {
		if k.change == 0 {
			continue
		}
		n, err := tx.Counter(k.counter)
		if err != nil {
			return err
		}
		if err := tx.SetCounter(k.counter, uint64(max(0, int64(n)+int64(k.change)))); err != nil {
			return err
		}
	}
	if c.Inventory != nil {
		if err := tx.PutInventory(c.Host.ID, c.Inventory); err != nil {
			return err
		}
	}
	for k, n := range c.Counters {
		if err := tx.SetCounter(k, n); err != nil {
			return err
		}
	}
	for _, l := range c.Leases {
		if err := tx.PutLease(l); err != nil {
			return err
		}
	}
	if t := c.Template; t != nil {
		if err := tx.SetCounter(LastTemplate, uint64(t.ID)); err != nil {
			return err
		}
		if err := tx.PutTemplate(t); err != nil {
			return err
		}
	}
	if c.Drop != "" {
		if err := tx.DropTemplate(c.Drop); err != nil {
			return err
		}
	}
	if c.Image != nil {
		if err := tx.PutImage(c.Image); err != nil {
			return err
		}
	}
	if c.NoImage != "" {
		if err := tx.DeleteImage(c.NoImage); err != nil {
			return err
		}
	}
	for i := range c.Events {
		seq, err := tx.Append(c.Events[i])
		if err != nil {
			return err
		}
		c.Events[i].Seq = seq
	}
	return nil
}

// putHost writes a host and keeps count of the numbers that are used.
func putHost(tx Tx, h *Host) error {
	last, err := tx.Counter(LastHost)
	if err != nil {
		return err
	}
	if uint64(h.ID) > last {
		if err := tx.SetCounter(LastHost, uint64(h.ID)); err != nil {
			return err
		}
	}
	return tx.PutHost(h)
}

// after does what follows a decision and must not delay it: the log, the
// notices, what was overheard.
func (e *Engine) after(in Sighting, d *Decision) {
	p := e.policy.Load()
	if in.Want.Addr.IsValid() && in.ID.MAC.Usable() && (in.Step == Selecting || in.Step == Renew || in.Step == InitReboot) {
		if n := p.Find(in.Link); n != nil && n.Mode == Proxy && n.Subnet.Contains(in.Want.Addr) {
			e.mem.hear(in.Want.Addr, in.ID.MAC, in.At)
		}
	}
	switch {
	case in.Via == DHCP4 && len(d.Holds) > 0:
		e.lookAhead(p, d.Holds[0].Network, d.Holds[0].Addr, d.ID.MAC, in.At)
	case in.Step == Discover && d.Network != "":
		e.lookAhead(p, d.Network, netip.Addr{}, MAC{}, in.At)
	}
	if r := d.Rival; r != nil {
		e.Rival(*r, in.At)
	}
	for _, ev := range d.Notices {
		if !e.mem.tell(ev.Once, in.At) {
			continue
		}
		e.untold.Add(1)
		select {
		case e.notices <- ev:
		default:
			e.lost.Add(1)
			e.untold.Add(-1)
		}
	}
	if d.Network == "" && (in.Via == DHCP4 || in.Via == DHCP6) {
		return // another interface's traffic, overheard by the wildcard socket
	}
	if in.Step == LogLine {
		if _, known := d.Reply.(Done); known && in.Line != nil {
			e.Lines.Add(e.request(in, d))
		}
		return // a stranger's line leaves no trace but a count
	}
	switch d.Reply.(type) {
	case File, Script:
		return // Done tells it, with bytes
	}
	e.Log.Add(e.request(in, d))
}

// Check asks the outside to see whether somebody answers on an address.
type Check struct {
	Network string
	Addr    netip.Addr
	For     MAC // who was offered it; its own answer is none
}

// Checks hands out addresses to probe. An OFFER never waits for one: most were
// probed before anybody wanted them.
func (e *Engine) Checks() <-chan Check { return e.checks }

func (e *Engine) lookAhead(p *Policy, network string, offered netip.Addr, who MAC, now time.Time) {
	n := p.network(network)
	if n == nil || !n.probes() {
		return
	}
	for _, a := range e.mem.checks(network, offered, now) {
		c := Check{Network: network, Addr: a}
		if a == offered {
			c.For = who
		}
		select {
		case e.checks <- c:
		default: // a storm: the client asks again, or its own check is left
		}
	}
}

// Taken says that a probe found somebody on an address that was to be given
// out. It is left alone for a while.
func (e *Engine) Taken(ctx context.Context, c Check, by MAC) error {
	now := e.Now()
	n := e.policy.Load().network(c.Network)
	if n == nil || by == c.For && !by.IsZero() {
		return nil
	}
	who := by.String()
	if by.IsZero() {
		who = "somebody who answers pings"
	}
	quarantined := false
	err := e.store.Update(ctx, func(tx Tx) error {
		quarantined = false
		l, err := tx.Lease(c.Network, c.Addr)
		if err != nil || l.Active(now) && (!l.Given() || l.Holder == who) {
			return err
		}
		if l.Active(now) {
			// A lease by identifier or switch port does not tell whose answer
			// it is, nor does a ping.
			if _, err := ParseMAC(l.Holder); err != nil || by.IsZero() {
				return nil
			}
		}
		ev := Event{At: now.UTC(), Kind: LeaseConflict, Network: c.Network, MAC: by}
		if h, err := tx.HostByMAC(by); err != nil {
			return err
		} else if h != nil {
			ev.Host, ev.Name = h.ID, h.Name
		}
		switch {
		case l.Active(now):
			ev.Text = fmt.Sprintf("%s is leased to %s, and %s answers on it too: take the address off that machine, or exclude it from the range", c.Addr, l.Holder, who)
		case l != nil && l.Holder == who:
			ev.Text = fmt.Sprintf("the lease of %s has ended and its holder %s still uses it: nobody else gets it for %s", c.Addr, who, declineTime)
			quarantined = true
		default:
			ev.Text = fmt.Sprintf("%s is free, and %s answers on it: nobody else gets it for %s; take the address off that machine, reserve it for it (muster host set), or exclude it from the range", c.Addr, who, declineTime)
			quarantined = true
		}
		if quarantined {
			if err := tx.PutLease(quarantine(n, c.Addr, Occupied, who, now)); err != nil {
				return err
			}
		}
		_, err = tx.Append(ev)
		return err
	})
	if err == nil && quarantined {
		e.mem.taken(c.Network, c.Addr, now.Add(declineTime))
	}
	return err
}

// Clean says that a probe found nobody on these addresses.
func (e *Engine) Clean(network string, addrs []netip.Addr) { e.mem.clean(network, addrs, e.Now()) }

// Rivals hands out other DHCP servers as they are noticed, each once a while.
func (e *Engine) Rivals() <-chan Rival { return e.rivals }

// Found notes another DHCP server that a probe found.
func (e *Engine) Found(r Rival) { e.mem.noteRival(r, e.Now()) }

// Rival notes another DHCP server on a network, which a client gave away.
func (e *Engine) Rival(r Rival, now time.Time) {
	e.mem.noteRival(r, now)
	if !e.mem.due(&e.mem.rivals, r.Network+" "+r.Server.String(), now) {
		return
	}
	select {
	case e.rivals <- r:
	default:
		e.lost.Add(1)
	}
}

// Record appends an event that is no decision's: what the outside noticed.
func (e *Engine) Record(ctx context.Context, ev Event) error {
	if ev.At.IsZero() {
		ev.At = e.Now()
	}
	return e.store.Update(ctx, func(tx Tx) error { _, err := tx.Append(ev); return err })
}

func (e *Engine) request(in Sighting, d *Decision) Request {
	r := Request{
		At: in.At.UTC(), MAC: d.ID.MAC, Source: in.Source.Addr(), Network: d.Network, Via: in.Via, Step: in.Step,
		Class: d.Class, Path: ShortPath(cleanText(in.Want.Path, 200)), Reply: Verb(d.Reply), Boot: d.Boot, Why: d.WhyLine(),
	}
	if r.MAC.IsZero() {
		r.MAC = in.ID.MAC
	}
	if in.Line != nil {
		r.Line, r.Why = in.Line.clean(), "" // the same with every line of an hour
	}
	if d.Host != nil {
		r.Host, r.Name = d.Host.ID, d.Host.Name
	}
	var grant *Grant
	var info *BootInfo
	switch x := d.Reply.(type) {
	case Offer:
		grant, info = x.Grant, x.Boot
	case Ack:
		grant, info = x.Grant, x.Boot
	case Answer6:
		info = x.Boot
		var got []string
		for _, b := range x.IAs {
			for _, l := range b.Leases {
				if l.Valid > 0 {
					got = append(got, text6(l.Prefix))
				}
			}
		}
		r.Got = strings.Join(got, " ")
	case Done:
		r.Got = x.Text
	}
	if grant != nil {
		r.Got = grant.Addr.String()
	}
	if info != nil {
		if r.Got != "" {
			r.Got += ", "
		}
		r.Got += base(info.File)
	}
	return r
}

// Done notes how a reply with bytes ended. It is called once for each.
func (e *Engine) Done(ctx context.Context, in Sighting, d Decision, o Outcome) error {
	r := e.request(in, &d)
	r.Bytes, r.Took, r.Outcome = o.Bytes, o.Took, string(o.Result)
	if o.Err != "" {
		r.Outcome += ": " + cleanText(o.Err, 120)
	}
	r.Got = replyFile(d.Reply)
	e.Log.Add(r)
	if d.Spends != "" {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := e.delivered(ctx, d, o.Result == Complete || o.Left); err != nil {
			e.log.Error("how a file of an installation arrived could not be written down; it counts as read", "host", d.Host.Name, "file", d.Spends, "err", err)
			return err
		}
	}
	return nil
}

// delivered writes down how a file of an installation arrived.
func (e *Engine) delivered(ctx context.Context, d Decision, whole bool) error {
	return e.store.Update(ctx, func(tx Tx) error {
		h, err := tx.Host(d.Host.ID)
		if err != nil || h == nil {
			return err
		}
		x, err := tx.Template(d.Installs)
		if err != nil || x == nil {
			return err
		}
		h = h.Clone()
		was := h.Ticket.state()
		if !h.Ticket.delivered(x, d.Ticket, d.Spends, whole, e.Now()) {
			return nil
		}
		if h.Ticket.State != was {
			ev := Event{At: e.Now().UTC(), Kind: TicketBack, Host: h.ID, Name: h.Name, MAC: h.Identity().MAC, Boot: d.Ticket,
				Text: fmt.Sprintf("%s of %s was seen to end short: %s may try again", d.Spends, x.Name, h.Name)}
			if _, err := tx.Append(ev); err != nil {
				return err
			}
		}
		return tx.PutHost(h)
	})
}

// replyFile names what a reply with bytes serves.
func replyFile(r Reply) string {
	switch x := r.(type) {
	case File:
		return x.Ref.Name
	case Script:
		if x.Ref.Kind == RefBuiltin {
			return x.Ref.Name + " script"
		}
		return x.Ref.Name
	}
	return ""
}

// View reads the store for the API.
func (e *Engine) View(ctx context.Context, fn func(ReadTx) error) error { return e.store.View(ctx, fn) }

// Changed is the store's: closed after the next commit with an event.
func (e *Engine) Changed() <-chan struct{} { return e.store.Changed() }

var errOrder = errors.New("order refused")

// OrderError is an order that cannot be carried out; its text is for the
// person who gave it.
func OrderError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errOrder, fmt.Sprintf(format, args...))
}

// IsOrderError reports an error that the person who asked can mend.
func IsOrderError(err error) bool { return errors.Is(err, errOrder) || errors.Is(err, ErrExists) }

// OrderText is an order's error without the mark that IsOrderError looks for.
func OrderText(err error) string {
	return strings.TrimPrefix(err.Error(), errOrder.Error()+": ")
}
