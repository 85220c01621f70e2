// routers.go: what the daemon does when it hears other routers, and the status of its
// own advertisements.

package appliance

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/radv"
)

// routerForgets is how long a router is remembered: it advertises at least every half
// an hour (RFC 4861 6.2.1).
const routerForgets = time.Hour

// routerChanges is how often at most a router is news whose advertisements keep
// changing.
const routerChanges = 10 * time.Minute

// otherRouter is a router on a link, and when an event last told of it.
type otherRouter struct {
	radv.Router
	first, last, told time.Time
}

// watchRouters takes note of the routers that are heard.
func (d *daemon) watchRouters(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.heard:
			d.router(ctx, r)
		}
	}
}

// hear is called while a packet is handled, so it never blocks.
func (d *daemon) hear(r radv.Router) {
	select {
	case d.heard <- r:
	default: // dropped: the router will advertise again
	}
}

func (d *daemon) router(ctx context.Context, r radv.Router) {
	d.mu.Lock()
	i := slices.IndexFunc(d.config.RA, func(c radv.Config) bool { return c.Interface == r.Interface })
	served := slices.Concat(d.config.Networks, d.config.Networks6) // IPv4 sides first, as people read them
	j := slices.IndexFunc(served, func(n boot.Network) bool { return n.Interface == r.Interface && n.Mode != boot.Off })
	if i < 0 || j < 0 {
		d.mu.Unlock()
		return
	}
	advertise, network := d.config.RA[i].Advertise && !d.config.RA[i].Alone, served[j].Name
	if d.routers[r.Interface] == nil {
		d.routers[r.Interface] = map[netip.Addr]otherRouter{}
	}
	known := d.routers[r.Interface]
	now := d.now()
	d.forgetRouters(r.Interface)
	o, seen := known[r.Addr]
	if !seen && len(known) >= maxRivals {
		d.mu.Unlock()
		return // so many routers must be made up
	}
	if !seen {
		o.first = now
	}
	news := !seen || !sameRouter(o.Router, r) && now.Sub(o.told) > routerChanges
	if news {
		o.told, o.Router = now, r
	}
	o.last = now
	known[r.Addr] = o
	d.mu.Unlock()
	if !news {
		return
	}
	text, bad := tellRouter(r, network, advertise)
	if bad {
		d.log.Warn(text)
	} else {
		d.log.Info(text)
	}
	d.record(ctx, boot.RivalRouter, network, text)
}

// sameRouter compares the fields that make a difference to hosts. Lifetimes that
// count down make none.
func sameRouter(a, b radv.Router) bool {
	return a.Own == b.Own && a.Managed == b.Managed && a.Other == b.Other && (a.Lifetime == 0) == (b.Lifetime == 0) && (len(a.Differs) == 0) == (len(b.Differs) == 0) &&
		slices.EqualFunc(a.Prefixes, b.Prefixes, func(p, q radv.Prefix) bool { return p.Prefix == q.Prefix && p.Autonomous == q.Autonomous })
}

// tellRouter describes another router for people; bad says what they should mend.
func tellRouter(r radv.Router, network string, advertise bool) (text string, bad bool) {
	who := "router " + r.Addr.String() + " advertises"
	switch {
	case r.Own:
		who = "another program on this machine (" + r.Addr.String() + ") advertises"
	case advertise:
		who = "another router, " + r.Addr.String() + ", advertises"
	}
	text = fmt.Sprintf("%s on network %s: %s", who, network, says(r))
	switch {
	case len(r.Differs) > 0:
		return text + "; hosts hear both and follow neither for long: " + strings.Join(r.Differs, "; "), true
	case !advertise && !r.Managed:
		return text + "; without M machines do not ask for addresses by DHCPv6: set it there, or ra = \"managed\" here", true
	}
	return text, r.Own && advertise
}

func says(r radv.Router) string {
	flag := func(name string, on bool) string {
		if on {
			return name + "=1"
		}
		return name + "=0"
	}
	parts := []string{flag("M", r.Managed) + " " + flag("O", r.Other), "no default router"}
	if r.Lifetime > 0 {
		parts[1] = fmt.Sprintf("default router for %s", r.Lifetime)
	}
	for i, p := range r.Prefixes {
		if i == 8 {
			parts = append(parts, "…")
			break
		}
		s := "prefix " + p.Prefix.String()
		if p.Autonomous {
			s += " for hosts' own addresses"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// describeRA fills in what a network's interface advertises and who else does. The
// caller holds d.mu.
func (d *daemon) describeRA(ns *client.NetworkStatus) {
	i := slices.IndexFunc(d.config.RA, func(c radv.Config) bool { return c.Interface == ns.Interface })
	if i < 0 {
		return
	}
	ns.RA = &client.RAStatus{Says: config.RAWord(d.config.RA[i]), State: d.radv.State(ns.Interface)}
	for _, r := range d.routerList(ns.Interface) {
		text, bad := tellRouter(r.Router, ns.Name, d.config.RA[i].Advertise && !d.config.RA[i].Alone)
		ns.RA.Routers = append(ns.RA.Routers, client.RouterStatus{Router: r.Addr, Text: text, OK: !bad, First: r.first.UTC(), Last: r.last.UTC()})
	}
}

// forgetRouters drops routers that fell silent. The longest interval between
// advertisements is half an hour (RFC 4861 6.2.1).
func (d *daemon) forgetRouters(iface string) {
	now := d.now()
	maps.DeleteFunc(d.routers[iface], func(_ netip.Addr, o otherRouter) bool { return now.Sub(o.last).Abs() > routerForgets })
}

func (d *daemon) routerList(iface string) []otherRouter {
	d.forgetRouters(iface)
	var out []otherRouter
	for _, r := range d.routers[iface] {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b otherRouter) int { return a.Addr.Compare(b.Addr) })
	return out
}

// figuresRA are the counters of advertisements. The caller holds d.mu.
func (d *daemon) figuresRA(add func(name, help string, counter bool, v float64, labels ...metrics.Label)) {
	s := &d.radv.Stats
	for _, x := range []struct {
		result string
		n      uint64
	}{{"solicited", s.Solicitations.Load()}, {"heard", s.Heard.Load()}, {"invalid", s.Invalid.Load()}, {"multicast", s.Multicast.Load()}, {"unicast", s.Unicast.Load()}, {"send-error", s.SendErrors.Load()}} {
		add("muster_ra_messages_total", "Router solicitations taken, advertisements heard of others, either ignored as invalid, advertisements sent to all and to one, and not sent.", true, float64(x.n),
			metrics.Label{Name: "result", Value: x.result})
	}
	for _, c := range d.config.RA {
		for _, r := range d.routerList(c.Interface) {
			add("muster_other_router_seen_timestamp_seconds", "Another router that advertises on an interface, and when it was last noticed.", false, float64(r.last.Unix()),
				metrics.Label{Name: "interface", Value: c.Interface}, metrics.Label{Name: "router", Value: r.Addr.String()})
		}
	}
}
