// surroundings.go: what outside the appliance would keep a first boot from working.

package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/spell"
)

// prepareInterface checks the interfaces before anything is opened. It names the usual
// obstacles of a first start, with the command that removes each.
// A reload is refused where an interface is missing: a person is there to mend the name.
func (d *daemon) prepareInterface(c *config.Config, starting bool) error {
	b := d.opt.Bench
	for i, n := range c.Networks {
		l, err := d.sys.Link(n.Interface)
		if err != nil {
			return err
		}
		if !l.Found {
			there := d.sys.Interfaces()
			has := "this machine has " + strings.Join(there, ", ")
			if len(there) == 0 {
				has = "this machine has none that could be served"
			}
			if near := spell.Nearest(n.Interface, there); near != "" {
				has += "; did you mean " + near + "?"
			}
			if b.on() && !b.Wait {
				return config.Mistakef("-i %s: there is no such interface; %s (with --wait it is waited for)", n.Interface, has)
			}
			if !starting {
				return c.NetworkError(i, "interface", "interface %q does not exist; %s", n.Interface, has)
			}
			// A card may be found late, or be gone: the other networks are served.
			d.warn("interface " + n.Interface + " is not there; waiting for it (" + has + ")")
			continue
		}
		if b.Address != "" {
			if err := d.setAddress(); err != nil {
				return err
			}
			if l, err = d.sys.Link(n.Interface); err != nil {
				return err
			}
		}
		_, waits, err := config.Resolve(n, l.Found, l.Addrs)
		if err != nil {
			return c.NetworkError(i, "range", "%v", err)
		}
		if waits != "" && b.on() {
			sub := "10.77.0"
			if len(n.Ranges) > 0 {
				a := n.Ranges[0].From.As4()
				sub = fmt.Sprintf("%d.%d.%d", a[0], a[1], a[2])
			}
			if n.Mode == boot.Proxy {
				return config.Mistakef("%s. Where a DHCP server gives addresses, take one: sudo dhclient %s; on a bench, give it one for this run: muster serve -i %s --address %s.1/24 …", waits, n.Interface, n.Interface, sub)
			}
			return config.Mistakef("%s; on a bench, give it one for this run: muster serve -i %s --address %s.1/24 …", waits, n.Interface, sub)
		}
		if c := d.sys.Container(n.Interface); c != "" {
			d.warn(c)
		}
	}
	return nil
}

func (d *daemon) setAddress() error {
	p, err := netip.ParsePrefix(d.opt.Bench.Address)
	if err != nil || !p.Addr().Is4() {
		return config.Mistakef("--address %q: want an address with its prefix length, like 10.77.0.1/24", d.opt.Bench.Address)
	}
	undo, err := d.sys.SetAddress(d.opt.Bench.Interface, p)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.undo = undo
	return nil
}

// surroundings looks once for what would keep a first boot from working: a
// firewall, and whether another DHCP server answers.
func (d *daemon) surroundings(ctx context.Context) error {
	c := d.settings()
	for _, n := range c.Networks {
		if n.Mode == boot.Off {
			continue
		}
		if s := d.sys.Advice(ctx, n.Interface, c.UDP(), []int{config.Port(c.HTTP)}); s != "" {
			d.warn(s)
		}
	}
	if d.opt.Bench.on() {
		d.probe(ctx)
	}
	<-ctx.Done()
	return nil
}

// probe says whether another server gives addresses on the bench's interface,
// and what that means for this run.
func (d *daemon) probe(ctx context.Context) {
	n := d.settings().Networks[0]
	for ctx.Err() == nil {
		l, err := d.sys.Link(n.Interface)
		if err == nil && l.Found && l.Carry {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	if n.Mode != boot.Proxy {
		return // watchServers asks already
	}
	var own netip.Addr
	if l, err := d.sys.Link(n.Interface); err == nil {
		if p, ok := l.V4(); ok {
			own = p.Addr()
		}
	}
	others, err := d.sys.Probe(ctx, d.dhcp, n.Interface)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.log.Warn("could not look for other DHCP servers", "err", err)
	case len(others) > 0:
		d.log.Info("another DHCP server gives the addresses; Muster adds the boot answers", "server", others[0].Server)
	default:
		sub := "10.77.0"
		if own.Is4() {
			b := own.As4()
			sub = fmt.Sprintf("%d.%d.%d", b[0], b[1], b[2])
		}
		d.warn(fmt.Sprintf("no DHCP server answers on %s, so no machine will get an address; to give them yourself: muster serve -i %s --range %s.100-%s.200", n.Interface, n.Interface, sub, sub))
	}
}
