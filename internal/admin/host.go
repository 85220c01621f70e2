// host.go: the roll. An order on a host may name the revision that the client read.

package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/plan"
)

// hostOrders are the orders on one host.
var hostOrders = map[string]func(r *http.Request, name string) (boot.Order, error){
	"PATCH /api/v1/hosts/{name}": func(r *http.Request, name string) (boot.Order, error) {
		var p client.HostPatch
		err := read(r, &p)
		return boot.SetHost{Name: name, NewName: p.Name, AddMACs: p.AddMACs, DropMACs: p.DropMACs,
			UUID: p.UUID, Serial: p.Serial, Address: p.Address, Address6: p.Address6, Template: p.Template, Params: p.Params, Typed: p.Typed, Tags: p.Tags, NoTags: p.NoTags,
			Port: p.Port, Protected: p.Protected, Options: p.Options, NoOption: p.NoOption}, err
	},
	"DELETE /api/v1/hosts/{name}": func(r *http.Request, name string) (boot.Order, error) {
		return boot.RemoveHost{Name: name}, read(r, &struct{}{})
	},
	"POST /api/v1/hosts/{name}/approve": func(r *http.Request, name string) (boot.Order, error) {
		var a client.Approval
		err := read(r, &a)
		return boot.Approve{Name: name, Template: a.Template}, err
	},
	"POST /api/v1/hosts/{name}/install": func(r *http.Request, name string) (boot.Order, error) {
		var a client.Installation
		err := read(r, &a)
		life, lerr := ticketLife(a.Expires)
		return boot.Install{Name: name, Template: a.Template, Again: a.Again, Expires: life}, cmp.Or(err, lerr)
	},
	"POST /api/v1/hosts/{name}/rescue": func(r *http.Request, name string) (boot.Order, error) {
		var x client.Rescue
		err := read(r, &x)
		if err == nil && x.Template == "" {
			err = boot.NewFault(boot.Invalid, "name the template of the next boot")
		}
		return boot.Rescue{Name: name, Template: x.Template}, err
	},
	"POST /api/v1/hosts/{name}/local": func(r *http.Request, name string) (boot.Order, error) {
		return boot.Local{Name: name}, read(r, &struct{}{})
	},
	"POST /api/v1/hosts/{name}/deny": func(r *http.Request, name string) (boot.Order, error) {
		return boot.Deny{Name: name}, read(r, &struct{}{})
	},
	"POST /api/v1/hosts/{name}/update": func(r *http.Request, name string) (boot.Order, error) {
		return boot.Update{Name: name}, read(r, &struct{}{})
	},
	"POST /api/v1/hosts/{name}/merge": func(r *http.Request, name string) (boot.Order, error) {
		var m client.Merge
		err := read(r, &m)
		return boot.Merge{Name: name, Other: m.Other}, err
	},
	"POST /api/v1/hosts/{name}/split": func(r *http.Request, name string) (boot.Order, error) {
		var m client.Split
		err := read(r, &m)
		return boot.Split{Name: name, New: m.Name, MACs: m.MACs, UUID: m.UUID, Serial: m.Serial}, err
	},
}

// hostOrder carries out an order on a host. It answers with the host as it is
// afterwards, or as it last was if it is removed, or with the host that was split off.
func (s *Server) hostOrder(read func(*http.Request, string) (boot.Order, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		o, err := read(r, name)
		if err == nil {
			o, err = asSeen(r.Header, name, o)
		}
		var c boot.Changes
		if err == nil {
			c, err = s.do(r, o)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		h := c.Subject()
		if len(c.Hosts) > 0 {
			h = c.Hosts[0]
		}
		if h != c.Remove {
			setETag(w, h)
		}
		write(w, http.StatusOK, client.HostAnswer{Host: h, Warnings: c.Warnings})
	}
}

// ticketLife reads how long a ticket waits: "" is as usual, "never" or a time like 24h
// or 7d.
func ticketLife(s string) (time.Duration, error) {
	switch s {
	case "":
		return 0, nil
	case "never":
		return -1, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, e := strconv.Atoi(days)
		d, err = time.Duration(n)*24*time.Hour, e
	}
	if err != nil || d <= 0 || d > 10*365*24*time.Hour {
		return 0, boot.NewFault(boot.Invalid, "expires %q: want a time like 24h or 7d, or never", boot.CleanText(s, 32))
	}
	return d, nil
}

// asSeen makes an order that is carried out only if the host is at the revision of
// If-Match (RFC 9110 13.1.1). A host has one revision, so a list of them is a mistake.
func asSeen(header http.Header, name string, o boot.Order) (boot.Order, error) {
	tags := strings.Join(header.Values("If-Match"), ",")
	if tags == "" || tags == "*" {
		return o, nil
	}
	text, ok := strings.CutPrefix(tags, `"`)
	text, ok2 := strings.CutSuffix(text, `"`)
	number, revision, ok3 := strings.Cut(text, ".")
	id, err := strconv.ParseUint(number, 10, 64)
	n, err2 := strconv.ParseUint(revision, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || err2 != nil || id == 0 {
		return nil, boot.NewFault(boot.Malformed, "If-Match wants one ETag as a host's answer has it, like \"12.7\", in its quotation marks")
	}
	return boot.AsSeen{Name: name, ID: boot.HostID(id), Revision: n, Order: o}, nil
}

// setETag sends a host's number and revision: another machine may have had the name
// since. It changes with the record, and not with the timeline in the same answer.
func setETag(w http.ResponseWriter, h *boot.Host) {
	w.Header().Set("ETag", client.Tag(h))
}

// addHost puts a host on the roll.
func (s *Server) addHost(r *http.Request) (any, error) {
	var h client.NewHost
	if err := read(r, &h); err != nil {
		return nil, err
	}
	c, err := s.do(r, boot.AddHost{Host: boot.NewHost(h)})
	return c.Host, err
}

// importHosts adds the hosts that are not on the roll yet.
func (s *Server) importHosts(r *http.Request) (any, error) {
	var in client.HostImport
	if err := readUpTo(r, &in, maxImport); err != nil {
		return nil, err
	}
	if len(in.Hosts) > boot.MaxAddHosts {
		return nil, boot.NewFault(boot.TooLarge, "%d hosts at once: at most %d", len(in.Hosts), boot.MaxAddHosts)
	}
	o := boot.AddHosts{Hosts: make([]boot.NewHost, len(in.Hosts)), Install: in.Install}
	for i := range in.Hosts {
		o.Hosts[i] = boot.NewHost(in.Hosts[i])
	}
	var waiting uint64 // before
	if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
		waiting = 0
		for _, c := range []boot.Counter{boot.PendingHosts, boot.AutoHosts} {
			n, err := tx.Counter(c)
			if err != nil {
				return err
			}
			waiting += n
		}
		return nil
	}); err != nil {
		return nil, err
	}
	act := s.do
	if in.DryRun {
		act = s.try
	}
	c, err := act(r, o)
	var refused boot.RefusedHosts
	if err != nil && !(in.DryRun && errors.As(err, &refused)) {
		return nil, err
	}
	out := client.HostImported{Results: make([]client.ImportResult, len(in.Hosts))}
	for i, x := range c.Listed {
		if x.Host != nil {
			out.Results[i] = client.ImportResult{Name: x.Host.Name, Known: x.Known, LetIn: x.LetIn}
		}
	}
	for _, f := range refused {
		out.Results[f.Index] = client.ImportResult{Name: f.Name, Refused: f.Why}
	}
	more := 0
	for _, x := range c.Listed {
		switch {
		case x.LetIn:
			more--
		case x.Known == nil && x.Host != nil && x.Host.State == boot.Pending:
			more++
		}
	}
	waiting = uint64(max(0, int64(waiting)+int64(more)))
	if limit := s.Engine.Policy().Enroll.Limit; limit > 0 && more > 0 && waiting >= uint64(limit) {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d machines wait for approval or were let in by a rule with these, and [enroll] limit is %d: a machine that nobody knows is not enrolled until some are approved", waiting, limit))
	}
	return out, nil
}

func (s *Server) view(h *boot.Host, tx boot.ReadTx) (client.HostView, error) {
	v := client.HostView{Host: *h, LastSeen: s.lastSeen(h)}
	if h.Pin != 0 {
		x, err := tx.Template(h.Pin)
		if err != nil {
			return v, err
		}
		if x != nil {
			v.Version = x.Version
		}
	}
	for _, m := range h.MACs {
		for _, n := range s.Engine.Policy().Networks {
			l, err := tx.LeaseByHolder(n.Name, boot.HeldBy(m))
			if err != nil {
				return v, err
			}
			if l.Active(s.Engine.Now()) {
				v.Lease = l.Addr
			}
		}
	}
	if len(s.Engine.Policy().Networks6) == 0 {
		return v, nil
	}
	// DHCPv6 leases are held by DUID and association, of which a host has many.
	for _, r := range slices.Backward(s.Engine.Log.Of(h)) {
		if a := r.Address(); r.Via == boot.DHCP6 && r.Reply == "reply" && a.IsValid() {
			l, err := tx.Lease(r.Network, a)
			if err != nil {
				return v, err
			}
			if l.Active(s.Engine.Now()) && l.Host == h.ID {
				v.Lease6 = a
				break
			}
		}
	}
	return v, nil
}

// page is how many records one read transaction lists.
const page = 500

// viewer is an engine, or a store.
type viewer interface {
	View(context.Context, func(boot.ReadTx) error) error
}

// each reads records page by page after a key; fn takes one and gives its key.
func each[K, T any](ctx context.Context, e viewer, after K, list func(boot.ReadTx, K) ([]T, error), fn func(T) K) error {
	for {
		var l []T
		if err := e.View(ctx, func(tx boot.ReadTx) (err error) { l, err = list(tx, after); return err }); err != nil {
			return err
		}
		for _, x := range l {
			after = fn(x)
		}
		if len(l) < page {
			return nil
		}
	}
}

func (s *Server) hosts(r *http.Request) (any, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	w, err := windowOf(r)
	if err != nil {
		return nil, err
	}
	after := boot.HostID(0)
	if w.after != "" {
		n, err := strconv.ParseUint(w.after, 10, 64)
		if err != nil {
			return nil, w.bad()
		}
		after = boot.HostID(n)
	}
	all, counted := 0, r.URL.Query().Get("total") == "1"
	out := client.List[client.HostView]{Items: []client.HostView{}}
	enough := errors.New("enough")
	from := after
	if counted && q.Empty() && !who(r).Confined() {
		// The whole roll is counted without being read: a hundred thousand hosts take half a second.
		if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error { all = tx.HostCount(); return nil }); err != nil {
			return nil, err
		}
		out.Total, counted = &all, false
	} else if counted {
		from = 0
	}
	err = plan.Select(r.Context(), s.Engine, q, from, func(hs []*boot.Host) error {
		var shown []*boot.Host
		full := false
		for _, h := range hs {
			if !sees(r, h) {
				continue
			}
			if counted {
				all++
			}
			if h.ID <= after {
				continue
			}
			if full = full || len(out.Items)+len(shown) == w.limit; !full {
				shown = append(shown, h)
			}
		}
		var views []client.HostView
		err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
			views = nil // a transaction may run more than once
			for _, h := range shown {
				v, err := s.view(h, tx)
				if err != nil {
					return err
				}
				views = append(views, v)
			}
			return nil
		})
		if out.Items = append(out.Items, views...); full && err == nil {
			if out.Next = strconv.FormatUint(uint64(out.Items[w.limit-1].ID), 10); !counted {
				return enough
			}
		}
		return err
	})
	if errors.Is(err, enough) {
		err = nil
	}
	if counted {
		out.Total = &all
	}
	return out, err
}

// diagnose looks at one machine or, if who is absent, at all of them.
func (s *Server) diagnose(r *http.Request) (any, error) {
	who := r.URL.Query().Get("who")
	if who == "" {
		all, err := s.Engine.DiagnoseAll(r.Context(), r.URL.Query().Get("never_seen") != "")
		return client.List[diagnose.Stopped]{Items: append([]diagnose.Stopped{}, all...)}, err
	}
	var h *boot.Host
	err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) {
		h, err = boot.FindHost(tx, s.Engine.Policy(), s.Engine.Now(), who)
		return err
	})
	if err != nil {
		return nil, err
	}
	x := diagnose.Stopped{Who: who}
	if h != nil {
		x.Name, x.LastSeen = h.Name, s.lastSeen(h)
	} else if reqs := s.Engine.Log.Machine(who); len(reqs) == 0 {
		return nil, boot.NewFault(boot.Unheard, "nothing is known of %s: it is on no roll, and no request of it was heard: is it in this VLAN, and does muster serve its network (muster doctor)?", who)
	} else {
		x.LastSeen = reqs[len(reqs)-1].At
	}
	x.Found, err = s.Engine.Diagnose(r.Context(), h, who)
	return client.List[diagnose.Stopped]{Items: []diagnose.Stopped{x}}, err
}

func (s *Server) lastSeen(h *boot.Host) time.Time { return plan.LastSeen(s.Engine, h) }

func (s *Server) host(r *http.Request) (d client.HostDetail, err error) {
	d.Timeline = []client.Entry{}
	err = s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
		h, err := boot.FindHost(tx, s.Engine.Policy(), s.Engine.Now(), r.PathValue("name"))
		if err != nil {
			return err
		}
		if !sees(r, h) {
			return boot.NoHost(r.PathValue("name"))
		}
		if d.HostView, err = s.view(h, tx); err != nil {
			return err
		}
		if d.Effective, err = boot.Effective(tx, s.Engine.Policy(), h); err != nil {
			return err
		}
		if d.EffectiveOptions, err = boot.EffectiveOptions(tx, s.Engine.Policy(), h); err != nil {
			return err
		}
		d.Inventory, err = tx.Inventory(h.ID)
		return err
	})
	if err != nil {
		return d, err
	}
	if d.Found, err = s.Engine.Diagnose(r.Context(), &d.Host, ""); err != nil {
		return d, err
	}
	for _, q := range s.Engine.Log.Of(&d.Host) {
		d.Timeline = append(d.Timeline, client.RequestEntry(q))
	}
	for _, q := range s.lines(d.MACs) {
		d.Timeline = append(d.Timeline, client.RequestEntry(q))
	}
	for _, u := range s.Engine.Running(d.ID) {
		d.Timeline = append(d.Timeline, client.Entry{Request: client.RequestEntry(u.Request).Request, Size: u.Size})
	}
	if err := s.eachEvent(r.Context(), 0, func(e boot.Event) {
		if e.Host == d.ID || e.Host == 0 && !e.MAC.IsZero() && d.HasMAC(e.MAC) {
			d.Timeline = append(d.Timeline, client.EventEntry(e))
		}
	}); err != nil {
		return d, err
	}
	slices.SortStableFunc(d.Timeline, func(a, b client.Entry) int { return a.At().Compare(b.At()) })
	return d, nil
}
