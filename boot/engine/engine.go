// engine.go: Decide on the live store. A decision that writes is made again
// inside the transaction that commits it, and only then does the reply leave.

package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"path"
	"runtime"
	"slices"
	"strings"
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
	Lines   *RequestLog // what machines log themselves; a set of rings of its own, so that it pushes out no request

	// Now is the clock of orders and findings; requests bring their own.
	Now func() time.Time

	// Images says which images a version of a template boots, so that none of them
	// is removed; nil where templates name none. It is asked once for each version.
	Images func(*boot.Template) ([]string, error)
	boots  map[boot.TemplateID][]string // what it said; guarded by setting

	notices  chan boot.Event
	checks   chan boot.Check
	rivals   chan boot.Rival
	stop     context.CancelFunc
	done     chan struct{}
	lost     atomic.Uint64
	untold   atomic.Int64 // notices that are not stored yet
	unlooked atomic.Uint64
	running  transfers
}

var _ boot.Fetcher = (*Engine)(nil)

// ErrBusy says that a decision lost its address to others too often.
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
func (e *Engine) Policy() *boot.Policy { return e.policy.Load() }

// LostNotices counts notices that found their queue full.
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
		if err := e.fillPool(ctx, fresh, n.Name); err != nil {
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

// LookAhead has the addresses probed that will be offered next. It is for quiet
// times; a busy network does it itself.
func (e *Engine) LookAhead() {
	p := e.policy.Load()
	for i := range p.Networks {
		e.lookAhead(p, p.Networks[i].Name, netip.Addr{}, boot.MAC{}, e.Now())
	}
}

// page is how many records one read transaction lists: a long one would stop
// the store's writer.
const page = 1000

func (e *Engine) fillPool(ctx context.Context, p *pool, network string) error {
	var after netip.Addr
	now := e.Now()
	for {
		var ls []boot.Lease
		if err := e.store.View(ctx, func(tx boot.ReadTx) (err error) { ls, err = tx.Leases(network, after, page); return err }); err != nil {
			return err
		}
		for _, l := range ls {
			p.lease(l.Addr, l.Expires, l.OfUnknown() && l.Active(now))
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
			// It cannot boot a machine either.
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

// attempts bounds how often a decision is made again because another client
// took the address between the look and the hold. Each failure is another
// client's success.
const attempts = 256

// Next answers one request. The error means that the store failed or ctx
// ended; a front then stays silent (DHCP) or says that the server is in
// trouble.
func (e *Engine) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	p := e.policy.Load()
	d, err := e.decide(ctx, p, in)
	if err != nil {
		e.log.Error("no decision", "via", in.Via, "step", in.Step, "mac", in.ID.MAC, "err", err)
		return d, err
	}
	e.after(p, in, &d)
	return d, nil
}

func (e *Engine) decide(ctx context.Context, p *boot.Policy, in boot.Sighting) (d boot.Decision, err error) {
	if in.Via == boot.DHCP4 && in.Step != boot.Discover && in.Step != boot.Inform && in.Step != boot.Bootp ||
		in.Via == boot.DHCP6 && in.Step != boot.Solicit && in.Step != boot.Inform && in.Step != boot.Confirm {
		// A REQUEST nearly always writes: it is decided once, where it is
		// written.
		return e.commit(ctx, p, in)
	}
	for range attempts {
		var v *view
		err = e.store.View(ctx, func(tx boot.ReadTx) (err error) {
			v = e.view(tx, in.At)
			d, err = boot.Decide(v, p, in)
			return err
		})
		if err != nil {
			return d, err
		}
		v.settle()
		if len(d.Skip) > 0 {
			// Memory thought these free and the store knows better.
			if news := e.mem.skip(d.Skip, in.At); news && len(d.Holds) == 0 && d.Writes.Empty() {
				continue
			}
		}
		if slices.ContainsFunc(d.Holds, func(h boot.Hold) bool { return !e.mem.hold(h, in.At) }) {
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

func (e *Engine) commit(ctx context.Context, p *boot.Policy, in boot.Sighting) (boot.Decision, error) {
	var r struct {
		boot.Decision
		ahead bool // memory is
	}
	err := e.store.Update(ctx, func(tx boot.Tx) (err error) {
		v := e.view(tx, in.At)
		if r.Decision, err = boot.Decide(v, p, in); err != nil {
			return err
		}
		if err := apply(tx, &r.Writes); err != nil {
			return err
		}
		tx.After(func() {
			r.ahead = true
			v.settle()
			e.mem.settle(&r.Decision, p, in.At)
		})
		return nil
	})
	if err != nil {
		if r.ahead {
			e.forget(ctx, &r.Decision, p, in.At)
		}
		return boot.Decision{}, err
	}
	return r.Decision, nil
}

// forget undoes in memory what a decision did there, where the commit that memory
// ran ahead of failed. Of a lease the store says how it was: others may have
// run ahead too, and fail with this one.
func (e *Engine) forget(ctx context.Context, d *boot.Decision, p *boot.Policy, now time.Time) {
	for _, l := range d.Writes.Leases {
		var old *boot.Lease
		if err := e.store.View(context.WithoutCancel(ctx), func(tx boot.ReadTx) (err error) { old, err = tx.Lease(l.Network, l.Addr); return err }); err != nil {
			return
		}
		e.mem.mu.Lock()
		switch p := e.mem.pools[boot.PoolName(l.Network, l.Addr)]; {
		case p == nil:
		case old == nil:
			p.unused(l.Addr)
		default:
			p.lease(l.Addr, old.Expires, old.OfUnknown() && old.Active(now))
		}
		e.mem.mu.Unlock()
	}
	e.mem.unsettle(d, p, now)
}

func (e *Engine) view(r boot.Reader, now time.Time) *view {
	return &view{Reader: r, m: e.mem, now: now, log: e.Log}
}

var errRehearsed = errors.New("rehearsed")

// Rehearse lets fn ask one question after the other, each in the world that the
// answers before left, and then undoes it all: nothing is written, held or told.
// fn may run more than once. It runs where the store writes, so it must not be
// long.
func (e *Engine) Rehearse(ctx context.Context, fn func(decide func(boot.Sighting) (boot.Decision, error)) error) error {
	p := e.policy.Load()
	var failed error
	err := e.store.Update(ctx, func(tx boot.Tx) error {
		avoid := map[string]map[netip.Addr]bool{}
		failed = fn(func(in boot.Sighting) (d boot.Decision, err error) {
			for range attempts {
				v := e.view(tx, in.At)
				v.avoid = avoid
				if d, err = boot.Decide(v, p, in); err != nil {
					return d, err
				}
				// Memory is not told: what is taken may be so in this rehearsal only.
				news := false
				for _, x := range d.Skip {
					pool := boot.PoolName(x.Network, x.Addr)
					if avoid[pool] == nil {
						avoid[pool] = map[netip.Addr]bool{}
					}
					news = news || !avoid[pool][x.Addr]
					avoid[pool][x.Addr] = true
				}
				if !news || len(d.Holds) > 0 || !d.Writes.Empty() {
					break
				}
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
func apply(tx boot.Tx, c *boot.Changes) error {
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
		counter boot.Counter
		change  int
	}{{boot.PendingHosts, c.Pending}, {boot.AutoHosts, c.Auto}} {
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
		if err := tx.SetCounter(boot.LastTemplate, uint64(t.ID)); err != nil {
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
	if c.NoImage != nil {
		if err := tx.DeleteImage(c.NoImage.Name); err != nil {
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
func putHost(tx boot.Tx, h *boot.Host) error {
	last, err := tx.Counter(boot.LastHost)
	if err != nil {
		return err
	}
	if uint64(h.ID) > last {
		if err := tx.SetCounter(boot.LastHost, uint64(h.ID)); err != nil {
			return err
		}
	}
	return tx.PutHost(h)
}

// after does what follows a decision and must not delay it: the log, the
// notices, what was overheard.
func (e *Engine) after(p *boot.Policy, in boot.Sighting, d *boot.Decision) {
	if h := d.Heard; h != nil {
		e.mem.hear(h.Addr, h.MAC, in.At)
	}
	switch {
	case in.Via == boot.DHCP4 && len(d.Holds) > 0:
		e.lookAhead(p, d.Holds[0].Network, d.Holds[0].Addr, d.ID.MAC, in.At)
	case in.Step == boot.Discover && d.Network != "":
		e.lookAhead(p, d.Network, netip.Addr{}, boot.MAC{}, in.At)
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
	if d.Network == "" && (in.Via == boot.DHCP4 || in.Via == boot.DHCP6) {
		return // another interface's traffic, overheard by the wildcard socket
	}
	if in.Step == boot.LogLine {
		if _, known := d.Reply.(boot.Done); known && in.Line != nil {
			e.Lines.Add(e.request(in, d))
		}
		return // a stranger's line leaves no trace but a count
	}
	switch d.Reply.(type) {
	case boot.File, boot.Script:
		return // Done tells it, with bytes
	}
	e.Log.Add(e.request(in, d))
}

// Checks hands out addresses to probe. An OFFER never waits for one: most were
// probed before anybody wanted them.
func (e *Engine) Checks() <-chan boot.Check { return e.checks }

func (e *Engine) lookAhead(p *boot.Policy, network string, offered netip.Addr, who boot.MAC, now time.Time) {
	n := p.Network(network)
	if n == nil || !n.Probes() {
		return
	}
	for _, a := range e.mem.checks(network, offered, now) {
		c := boot.Check{Network: network, Addr: a}
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
func (e *Engine) Taken(ctx context.Context, c boot.Check, by boot.MAC) error {
	now := e.Now()
	n := e.policy.Load().Network(c.Network)
	if n == nil || by == c.For && !by.IsZero() {
		return nil
	}
	var changes boot.Changes
	ahead := false // memory is
	err := e.store.Update(ctx, func(tx boot.Tx) (err error) {
		if changes, err = boot.Occupy(tx, n, c.Addr, by, now); err != nil {
			return err
		}
		if len(changes.Leases) > 0 {
			tx.After(func() {
				ahead = true
				e.mem.taken(c.Network, c.Addr, now.Add(boot.DeclineTime))
			})
		}
		return apply(tx, &changes)
	})
	if err != nil && ahead {
		e.forget(ctx, &boot.Decision{Writes: changes}, e.policy.Load(), now)
	}
	return err
}

// Clean says that a probe found nobody on these addresses.
func (e *Engine) Clean(network string, addrs []netip.Addr) { e.mem.clean(network, addrs, e.Now()) }

// Rivals hands out other DHCP servers as they are noticed, each once a while.
func (e *Engine) Rivals() <-chan boot.Rival { return e.rivals }

// Found notes another DHCP server that a probe found.
func (e *Engine) Found(r boot.Rival) { e.mem.noteRival(r, e.Now()) }

// Rival notes another DHCP server on a network, which a client gave away.
func (e *Engine) Rival(r boot.Rival, now time.Time) {
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
func (e *Engine) Record(ctx context.Context, ev boot.Event) error {
	if ev.At.IsZero() {
		ev.At = e.Now()
	}
	if ev.By.Kind == "" {
		ev.By = boot.Actor{Kind: boot.Program, Name: "muster"}
	}
	return e.store.Update(ctx, func(tx boot.Tx) error { _, err := tx.Append(ev); return err })
}

func (e *Engine) request(in boot.Sighting, d *boot.Decision) boot.Request {
	r := boot.Request{
		At: in.At.UTC(), MAC: d.ID.MAC, Source: in.Source.Addr(), Network: d.Network, Via: in.Via, Step: in.Step,
		Class: d.Class, Path: boot.ShortPath(boot.CleanText(in.Want.Path, 200)), Reply: boot.Verb(d.Reply), Boot: d.Boot, Reasons: d.Why,
	}
	if r.MAC.IsZero() {
		r.MAC = in.ID.MAC
	}
	if in.Line != nil {
		r.Line, r.Reasons = in.Line.Clean(), nil // the same with every line of an hour
	}
	if d.Host != nil {
		r.Host, r.Name = d.Host.ID, d.Host.Name
	}
	var grant *boot.Grant
	var info *boot.BootInfo
	switch x := d.Reply.(type) {
	case boot.Answer4:
		grant, info = x.Grant, x.Boot
	case boot.Answer6:
		info = x.Boot
		var got []string
		for _, b := range x.IAs {
			for _, l := range b.Leases {
				if l.Valid > 0 {
					got = append(got, boot.PrefixText(l.Prefix))
				}
			}
		}
		r.Got = strings.Join(got, " ")
	case boot.Done:
		r.Got = x.Text
	}
	if grant != nil {
		r.Got = grant.Addr.String()
	}
	if info != nil {
		if r.Got != "" {
			r.Got += ", "
		}
		r.Got += path.Base("/" + info.File)
	}
	return r
}

// Done notes how a reply with bytes ended. It is called once for each.
func (e *Engine) Done(ctx context.Context, in boot.Sighting, d boot.Decision, o boot.Outcome) error {
	r := e.request(in, &d)
	r.Bytes, r.Took, r.Outcome = o.Bytes, o.Took, string(o.Result)
	if o.Err != "" {
		r.Outcome += ": " + boot.CleanText(o.Err, 120)
	}
	r.Got = replyFile(d.Reply)
	e.Log.Add(r)
	if d.Spends != "" {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := e.delivered(ctx, d, o.Result == boot.Complete || o.Left); err != nil {
			e.log.Error("the end of an installation file's transfer was not stored; the file counts as read", "host", d.Host.Name, "file", d.Spends, "err", err)
			return err
		}
	}
	return nil
}

// delivered writes down how a file of an installation arrived.
func (e *Engine) delivered(ctx context.Context, d boot.Decision, whole bool) error {
	return e.store.Update(ctx, func(tx boot.Tx) error {
		c, err := boot.Deliver(tx, &d, whole, e.Now())
		if err != nil {
			return err
		}
		return apply(tx, &c)
	})
}

// replyFile names what a reply with bytes serves.
func replyFile(r boot.Reply) string {
	switch x := r.(type) {
	case boot.File:
		return x.Ref.Name
	case boot.Script:
		if x.Ref.Kind == boot.RefBuiltin {
			return x.Ref.Name + " script"
		}
		return x.Ref.Name
	}
	return ""
}

// View reads the store for the API.
func (e *Engine) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	return e.store.View(ctx, fn)
}

// Changed is the store's: closed after the next commit with an event.
func (e *Engine) Changed() <-chan struct{} { return e.store.Changed() }

// Flush waits until everything that was noticed so far is an event.
func (e *Engine) Flush() {
	for e.untold.Load() > 0 {
		runtime.Gosched()
	}
}
