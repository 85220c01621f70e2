// Package plan carries out one order on many machines, in two steps. A plan names the
// machines, says what is left out and why, and what it will do; it is run by its
// number, and each machine is judged once more against the revision that the plan saw.
// So what runs is what was shown, whatever a query would mean by then.
//
// It must not decide what an order does: boot.Apply does that.
package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/boot/match"
	"github.com/musterboot/muster/client"
)

// Bounds.
const (
	life      = 5 * time.Minute // a plan that is older shows a roll that has changed
	maxPlans  = 32
	maxHosts  = 100_000
	shown     = 20 // names
	Surprises = 10 // installations that are run without being asked for by number
)

// Actions, by the words of the command line.
const (
	Approve = "approve"
	Deny    = "deny"
	Install = "install"
	Local   = "local"
	Update  = "update"
	Rescue  = "rescue"
	Set     = "set"
	Remove  = "rm"
)

// Request says what is to be done with which machines: a query, or names.
type Request struct {
	Action string
	Query  string
	Names  []string
	All    bool // an empty query means every machine

	// Share is how many of the machines that the order would change: a number, or "10%" of
	// them. They are spread over the roll, since neighbours share a rack. "" is all.
	Share string

	Rights boot.Rights // of who asks

	Template *string
	Again    bool
	Expires  time.Duration
	Set      boot.SetHost // without a name
}

// order is the order for one host.
func (r *Request) order(name string) (boot.Order, error) {
	switch r.Action {
	case Approve:
		return boot.Approve{Name: name, Template: r.Template}, nil
	case Deny:
		return boot.Deny{Name: name}, nil
	case Install:
		return boot.Install{Name: name, Template: r.Template, Again: r.Again, Expires: r.Expires}, nil
	case Local:
		return boot.Local{Name: name}, nil
	case Update:
		return boot.Update{Name: name}, nil
	case Rescue:
		if r.Template == nil || *r.Template == "" {
			return nil, boot.NewFault(boot.Invalid, "name the template of the next boot")
		}
		return boot.Rescue{Name: name, Template: *r.Template}, nil
	case Set:
		o := r.Set
		o.Name = name
		return o, nil
	case Remove:
		return boot.RemoveHost{Name: name}, nil
	}
	return nil, boot.NewFault(boot.Invalid, "no action is called %q: want approve, deny, install, local, update, rescue, set or rm", r.Action)
}

// will says what an action does to a machine.
func (r *Request) will() string {
	switch r.Action {
	case Approve:
		return "let it boot; one whose template installs gets one ticket, and its next boot writes to its disk"
	case Deny:
		return "give it nothing to boot"
	case Install:
		return "arm one ticket: its next boot installs and writes to its disk"
	case Local:
		return "take its ticket away: it boots its disk"
	case Update:
		return "move it to the version of its template that is in force, at its next boot"
	case Rescue:
		return "boot template " + *r.Template + " once, at its next boot"
	case Set:
		return "change its fields"
	}
	return "take it off the roll: it is unknown afterwards"
}

type entry struct {
	id       boot.HostID
	name     string
	revision uint64
	installs bool // its next boot would write to its disk
}

type made struct {
	client.Plan
	by      boot.Actor
	req     Request
	entries []entry
}

// Plans makes plans and runs them. It is safe for concurrent use.
type Plans struct {
	Engine *engine.Engine

	mu   sync.Mutex
	last int
	kept []*made // oldest first
}

// Make finds the machines and judges the order on each, without changing anything.
func (p *Plans) Make(ctx context.Context, by boot.Actor, r Request) (client.Plan, error) {
	if _, err := r.order(""); err != nil {
		return client.Plan{}, err
	}
	hosts, err := p.meant(ctx, &r)
	if err != nil {
		return client.Plan{}, err
	}
	m := &made{by: by, Plan: client.Plan{Action: r.Action, Query: r.Query, Will: r.will(), Names: []string{}, LeftOut: []client.LeftOut{}, Expires: p.Engine.Now().Add(life).UTC()}, req: r}
	if _, err := r.share(0); err != nil {
		return client.Plan{}, err
	}
	for _, h := range hosts {
		o, _ := r.order(h.Name)
		c, err := p.Engine.Try(ctx, by, r.Rights.Give(boot.AsSeen{Name: h.Name, ID: h.ID, Revision: h.Revision, Order: o}))
		switch f := boot.FaultOf(err); {
		case f != nil:
			why := strings.TrimPrefix(strings.TrimPrefix(f.Text, "host "+h.Name), ":")
			m.leave(h.Name, strings.ReplaceAll(strings.TrimSpace(why), h.Name, "NAME")) // one line for all of them
		case err != nil:
			return client.Plan{}, err
		case c.Same != nil:
			m.leave(h.Name, "nothing would change")
		default:
			x := c.Subject()
			m.entries = append(m.entries, entry{h.ID, h.Name, h.Revision, x != nil && x.Installs(p.Engine.Now()) && !h.Installs(p.Engine.Now())})
		}
	}
	if err := m.thin(); err != nil {
		return client.Plan{}, err
	}
	m.Count = len(m.entries)
	disks := 0
	for _, e := range m.entries {
		if e.installs {
			disks++
		}
	}
	m.Confirm = disks > Surprises || r.Action == Remove && m.Count > Surprises
	for _, e := range m.entries[:min(shown, len(m.entries))] {
		m.Names = append(m.Names, e.name)
	}
	slices.SortStableFunc(m.LeftOut, func(a, b client.LeftOut) int { return cmp.Compare(b.Count, a.Count) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	m.ID = strconv.Itoa(p.last)
	if p.kept = append(p.kept, m); len(p.kept) > maxPlans {
		p.kept = p.kept[1:]
	}
	return m.Plan, nil
}

// share is how many of n machines are meant, one at least.
func (r *Request) share(n int) (int, error) {
	text, percent := strings.CutSuffix(r.Share, "%")
	x, err := strconv.Atoi(text)
	switch {
	case r.Share == "":
		return n, nil
	case err != nil || x < 1 || percent && x > 100:
		return 0, boot.NewFault(boot.Invalid, "share %q: want a number of machines, or a part of them as 10%%", boot.CleanText(r.Share, 32))
	case percent:
		x = max(1, (n*x+99)/100)
	}
	return min(n, x), nil
}

// thin leaves a share of the machines, spread over the roll.
func (m *made) thin() error {
	all := m.entries
	n, err := m.req.share(len(all))
	if err != nil || n == len(all) {
		return err
	}
	m.entries = nil
	for i, e := range all {
		if i*n/len(all) != (i+1)*n/len(all) {
			m.entries = append(m.entries, e)
		} else {
			m.leave(e.name, "not in this share: the same again, without those that are done, takes the next")
		}
	}
	return nil
}

func (m *made) leave(name, why string) {
	i := slices.IndexFunc(m.LeftOut, func(l client.LeftOut) bool { return l.Why == why })
	if i < 0 {
		i = len(m.LeftOut)
		m.LeftOut = append(m.LeftOut, client.LeftOut{Why: why})
	}
	l := &m.LeftOut[i]
	if l.Count++; len(l.Names) < shown {
		l.Names = append(l.Names, name)
	}
}

// meant are the machines of a request.
func (p *Plans) meant(ctx context.Context, r *Request) (out []*boot.Host, err error) {
	switch {
	case len(r.Names) > 0 && r.Query != "":
		return nil, boot.NewFault(boot.Invalid, "names, or a query: not both")
	case len(r.Names) > maxHosts:
		return nil, boot.NewFault(boot.TooLarge, "%d names: at most %d", len(r.Names), maxHosts)
	case len(r.Names) > 0:
		seen := map[boot.HostID]bool{}
		for _, name := range r.Names {
			h, err := Find(ctx, p.Engine, name)
			if err == nil && !r.Rights.See(h) {
				err = boot.NoHost(name)
			}
			if err != nil {
				return nil, err
			}
			if !seen[h.ID] {
				seen[h.ID], out = true, append(out, h)
			}
		}
		return out, nil
	}
	q, err := match.Parse(r.Query)
	if err != nil {
		return nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	if q.Empty() && !r.All {
		return nil, boot.NewFault(boot.Invalid, "say which machines are meant, by names or a query")
	}
	err = Select(ctx, p.Engine, q, 0, func(hs []*boot.Host) error {
		for _, h := range hs {
			if !r.Rights.See(h) {
				continue
			}
			if out = append(out, h); len(out) > maxHosts {
				return boot.NewFault(boot.TooLarge, "more than %d machines match: narrow the query", maxHosts)
			}
		}
		return nil
	})
	return out, err
}

// find returns a plan of somebody's that has not ended.
func (p *Plans) find(by boot.Actor, id string, take bool) (*made, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Engine.Now()
	i := slices.IndexFunc(p.kept, func(m *made) bool { return m.ID == id && m.by.Kind == by.Kind && m.by.Name == by.Name })
	if i < 0 || now.After(p.kept[i].Expires) {
		return nil, boot.NewFault(boot.UnknownPlan, "no plan %s: a plan is good for %s and for one run; make it again", boot.CleanText(id, 32), life)
	}
	m := p.kept[i]
	if take {
		p.kept = slices.Delete(p.kept, i, i+1)
	}
	return m, nil
}

// Get returns a plan.
func (p *Plans) Get(by boot.Actor, id string) (client.Plan, error) {
	m, err := p.find(by, id, false)
	if err != nil {
		return client.Plan{}, err
	}
	return m.Plan, nil
}

// Run carries a plan out. More than a few installations want their number said: count
// is what a person typed, or 0. rights are those of who asks by now.
func (p *Plans) Run(ctx context.Context, by boot.Actor, id string, count int, rights boot.Rights) (client.PlanResult, error) {
	m, err := p.find(by, id, false)
	if err != nil {
		return client.PlanResult{}, err
	}
	if m.Confirm && count != m.Count {
		return client.PlanResult{}, boot.NewFault(boot.Unconfirmed, "plan %s is to %s %d machines: say that number to run it", id, m.Action, m.Count)
	}
	if m, err = p.find(by, id, true); err != nil {
		return client.PlanResult{}, err // somebody else has run it meanwhile
	}
	ctx = context.WithoutCancel(ctx) // half a plan would be told to nobody
	out := client.PlanResult{ID: id, Failed: []client.Failed{}, Hosts: []client.PlanOutcome{}}
	for _, e := range m.entries {
		o, _ := m.req.order(e.name)
		c, err := p.Engine.Do(ctx, by, rights.Give(boot.AsSeen{Name: e.name, ID: e.id, Revision: e.revision, Order: o}))
		var changed *boot.ChangedHost
		switch {
		case errors.As(err, &changed):
			out.Failed = append(out.Failed, client.Failed{Name: e.name, Why: fmt.Sprintf("it was changed since the plan was made, or is another machine by that name (%s, revision %d)", changed.Host.Name, changed.Host.Revision)})
		case boot.FaultOf(err) != nil:
			out.Failed = append(out.Failed, client.Failed{Name: e.name, Why: boot.FaultOf(err).Text})
		case err != nil:
			out.Failed = append(out.Failed, client.Failed{Name: e.name, Why: "it could not be written; the log says why"})
		default:
			out.Done++
			for _, w := range c.Warnings {
				if len(out.Warnings) < shown {
					out.Warnings = append(out.Warnings, w)
				}
			}
			if h := c.Subject(); h != nil && len(out.Hosts) < shown {
				out.Hosts = append(out.Hosts, client.PlanOutcome{Name: h.Name, State: string(h.State), Then: h.Ticket.Standing()})
			}
		}
	}
	return out, nil
}
