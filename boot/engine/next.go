// next.go: the way of one request. It is decided under a View. If the decision
// writes, it is made again inside the transaction that commits it. What follows must
// not delay the reply.

package engine

import (
	"context"
	"errors"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// attempts bounds how often a decision is made again because another client took
// the address between the decision and the hold. Each time another client has
// succeeded.
const attempts = 256

// Next answers one request. The error means that the store failed or ctx
// ended; a front then sends nothing (DHCP) or a server error.
func (e *Engine) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	p := e.policy.Load()
	if e.setBack(in.At) {
		if err := e.refill(context.WithoutCancel(ctx), p, in.At); err != nil {
			return boot.Decision{}, err
		}
	}
	d, err := e.decide(ctx, p, in)
	if errors.Is(err, boot.ErrLost) && !e.mem.tell("lost "+in.ID.MAC.String(), in.At) {
		return d, err // of one machine this is said once in a while
	}
	if errors.Is(err, context.Canceled) {
		return d, err // who asked has gone: a stranger could fill the daemon's log with that
	}
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
		// A REQUEST nearly always writes, so it is decided only inside the
		// transaction.
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
			// These are free in memory but not in the store.
			if news := e.mem.skip(d.Skip, in.At); news && len(d.Holds) == 0 && d.Writes.Empty() {
				continue
			}
		}
		if slices.ContainsFunc(d.Holds, func(h boot.Hold) bool { return !e.mem.hold(h, in.At) }) {
			continue
		}
		if d.Binds != nil && !e.mem.bind(*d.Binds, in.At) {
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
		ahead bool // memory has what the disk may not have yet
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
			if b := r.Binds; b != nil {
				e.mem.bind(*b, in.At)
			}
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

// forget undoes in memory what a decision did there, after its commit failed. A lease
// is read from the store again: other decisions of the same commit may have changed
// it in memory too, and they failed with this one.
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
	return &view{Reader: r, m: e.mem, now: now, log: e.Log, started: e.Started}
}

var errRehearsed = errors.New("rehearsed")

// Rehearse lets fn make one request after the other. Each sees what the decisions
// before it wrote. In the end all of it is undone: nothing is written, held or told.
// fn may run more than once. It runs in the store's writer, so it must be short.
func (e *Engine) Rehearse(ctx context.Context, fn func(decide func(boot.Sighting) (boot.Decision, error)) error) error {
	p := e.policy.Load()
	var failed error
	err := e.store.Update(ctx, func(tx boot.Tx) error {
		avoid := map[string]map[netip.Addr]bool{}
		var bound []boot.Binding
		failed = fn(func(in boot.Sighting) (d boot.Decision, err error) {
			for range attempts {
				v := e.view(tx, in.At)
				v.avoid, v.bound = avoid, bound
				if d, err = boot.Decide(v, p, in); err != nil {
					return d, err
				}
				// Memory is not told: the address may be taken only in this rehearsal.
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
			if d.Binds != nil {
				bound = append(bound, *d.Binds)
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

// after does what follows a decision and must not delay its reply: the request log,
// the notices, what was overheard of other servers.
func (e *Engine) after(p *boot.Policy, in boot.Sighting, d *boot.Decision) {
	if s := d.Opening; s != nil {
		e.mem.told(s, in.At)
	}
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
	if d.Host != nil && d.Host.HasMAC(d.ID.MAC) {
		e.mem.saw(d.ID.MAC, in.At)
	}
	for _, ev := range d.Notices {
		told := &e.mem.notices
		if d.Host == nil {
			told = &e.mem.odd
		}
		if !e.mem.due(told, ev.Once, in.At) {
			continue
		}
		if d.Host == nil && !e.mem.mayTell(ev.Kind, in.At) {
			e.lost.Add(1)
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
		return // a line from an unknown sender is only counted
	}
	switch d.Reply.(type) {
	case boot.File, boot.Script:
		return // Done logs it, with the number of bytes
	}
	e.Log.Add(e.request(in, d))
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
		r.Line, r.Reasons = in.Line.Clean(), nil // the reasons are the same for each line
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
		for p := range x.Given() {
			got = append(got, boot.PrefixText(p))
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
