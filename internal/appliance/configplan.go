// configplan.go: what another configuration would change for machines that are served
// now, before it does.

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
)

// planConfig compares a file with the configuration in force.
func (d *daemon) planConfig(ctx context.Context, name string, text []byte) (client.ConfigPlan, error) {
	c, err := config.Parse(name, text)
	if err != nil {
		return client.ConfigPlan{}, boot.NewFault(boot.Invalid, "%v", err)
	}
	if c.DataDir == "" {
		c.DataDir = d.dataDir
	}
	if err := d.prepareInterface(c, false); err != nil {
		return client.ConfigPlan{}, boot.NewFault(boot.Invalid, "%v", err)
	}
	return d.plan(ctx, c, d.settings(), d.lookUp(ctx, c))
}

// plan takes what name servers said about the names of c.
func (d *daemon) plan(ctx context.Context, c, old *config.Config, said map[query]records) (p client.ConfigPlan, err error) {
	p.Changes = append([]string{}, c.Changes(old)...)
	p.Restart = append([]string{}, old.Differ(c.Listeners)...)
	would, err := d.networksOf(c)
	if err != nil {
		return p, err
	}
	if p.Leases, err = d.leaving(ctx, would); err != nil {
		return p, err
	}
	if p.Hosts, err = d.affected(ctx, c, old, would); err != nil {
		return p, err
	}
	p.Names = nameless(c, would, said)
	return p, nil
}

// nameless lists the networks whose machines cannot look up the names of c.
func nameless(c *config.Config, would []boot.Network, said map[query]records) (out []string) {
	of := names(c, &boot.Policy{Networks: would}, said)
	for _, network := range slices.Sorted(maps.Keys(of)) {
		for _, s := range of[network] {
			if !s.OK {
				out = append(out, "network "+network+": "+s.Said())
			}
		}
	}
	return out
}

// maxListed bounds the leases and hosts that a plan lists by name.
const maxListed = 1000

// networksOf are the networks of a configuration as they would be served here.
func (d *daemon) networksOf(c *config.Config) (out []boot.Network, err error) {
	for _, n := range c.Networks {
		l, err := d.sys.Link(n.Interface)
		if err != nil {
			return nil, err
		}
		r, _, err := config.Resolve(n, l.Found, l.Addrs)
		if err != nil {
			continue // apply says why
		}
		out = append(out, r)
	}
	for _, n := range c.Networks6 {
		l, err := d.sys.Link(n.Interface)
		if err != nil {
			return nil, err
		}
		r, _ := config.Resolve6(n, l.Found, l.Addrs)
		out = append(out, r)
	}
	return out, nil
}

// leaving lists leases of the present networks that no network would have any more.
func (d *daemon) leaving(ctx context.Context, would []boot.Network) (out client.Leaving, err error) {
	now := d.engine.Now()
	out.Listed = []client.LeavingLease{}
	for n := range d.engine.Policy().All() {
		i := slices.IndexFunc(would, func(w boot.Network) bool { return w.Name == n.Name && w.Subnet.Addr().Is4() == n.Subnet.Addr().Is4() })
		for after := (netip.Addr{}); ; {
			var ls []boot.Lease
			if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { ls, err = tx.Leases(n.Name, after, pageLen); return err }); err != nil {
				return out, err
			}
			for _, l := range ls {
				after = l.Addr
				if !l.Active(now) || !l.Given() || l.Addr.Is4() != n.Subnet.Addr().Is4() || n.Delegated.IsValid() && n.Delegated.Contains(l.Addr) {
					continue
				}
				x := client.LeavingLease{Network: n.Name, Addr: l.Addr, Holder: l.Holder.String(), Expires: l.Expires}
				switch {
				case i < 0 || !would[i].Addresses():
					x.Becomes = "is no longer served"
				case l.Kind == boot.Reserved && would[i].Subnet.Contains(l.Addr), would[i].InRange(l.Addr):
					continue
				case would[i].NakLeaving || !would[i].Subnet.Contains(l.Addr):
					x.Becomes = "is refused at its next renewal"
				default:
					x.Becomes = "keeps what is left of its lease (" + l.Expires.Sub(now).Round(time.Minute).String() + ")"
				}
				if l.Host != 0 {
					if err := d.engine.View(ctx, func(tx boot.ReadTx) error {
						h, err := tx.Host(l.Host)
						if h != nil {
							x.Host = h.Name
						}
						return err
					}); err != nil {
						return out, err
					}
				}
				if out.Count++; len(out.Listed) < maxListed {
					out.Listed = append(out.Listed, x)
				}
			}
			if len(ls) < pageLen {
				break
			}
		}
	}
	return out, nil
}

const pageLen = 500

// affected lists hosts that would boot another template, because [match] names
// networks, and those whose reservation no network would have.
func (d *daemon) affected(ctx context.Context, c, old *config.Config, would []boot.Network) (out client.AffectedHosts, err error) {
	out.Listed = []client.AffectedHost{}
	templates := d.engine.Policy().Templates
	for after := boot.HostID(0); ; {
		var hs []*boot.Host
		if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, pageLen); return err }); err != nil {
			return out, err
		}
		for _, h := range hs {
			after = h.ID
			var what []string
			if name := renamed(h.On(), old, c); h.Template == "" && name != h.On() {
				f := h.Facts()
				was := boot.Choose(templates, f).Template
				f.Network = name
				if is := boot.Choose(templates, f).Template; was != is {
					what = append(what, fmt.Sprintf("boots %s in place of %s", templateName(is), templateName(was)))
				}
			}
			for _, a := range h.Reserved() {
				if !slices.ContainsFunc(would, func(n boot.Network) bool { return n.Subnet.Contains(a) }) {
					what = append(what, fmt.Sprintf("has %s reserved, which would be in no network", a))
				}
			}
			if len(what) > 0 {
				if out.Count++; len(out.Listed) < maxListed {
					out.Listed = append(out.Listed, client.AffectedHost{Name: h.Name, Becomes: strings.Join(what, "; ")})
				}
			}
		}
		if len(hs) < pageLen {
			return out, nil
		}
	}
}

func templateName(t *boot.Template) string {
	if t == nil {
		return "nothing"
	}
	return t.Name
}

// renamed is what a network would be called: the one on the same interface, if its
// own name is gone.
func renamed(name string, old, c *config.Config) string {
	was := network(old.Networks, name)
	if was == nil || network(c.Networks, name) != nil {
		return name
	}
	for _, n := range c.Networks {
		if n.Interface == was.Interface {
			return n.Name
		}
	}
	return ""
}
