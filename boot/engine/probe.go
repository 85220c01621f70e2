// probe.go: what the appliance tells the engine of the network: who answers on an
// address, and which other DHCP servers there are.

package engine

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// LookAhead asks for probes of the addresses that will be offered next. It is for
// quiet times; on a busy network the DISCOVERs cause such probes.
func (e *Engine) LookAhead() {
	p := e.policy.Load()
	for i := range p.Networks {
		e.lookAhead(p, p.Networks[i].Name, netip.Addr{}, boot.MAC{}, e.Now())
	}
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
		default: // a storm fills the queue: the client asks again, or only its own check is left
		}
	}
}

// Taken says that a probe found a machine on an address that was to be given out.
// The address is out of use for a while.
func (e *Engine) Taken(ctx context.Context, c boot.Check, by boot.MAC) error {
	now := e.Now()
	n := e.policy.Load().Network(c.Network)
	if n == nil || by == c.For && !by.IsZero() {
		return nil
	}
	var changes boot.Changes
	told := sync.OnceValue(func() bool { return e.mem.tell("conflict "+c.Addr.String()+" "+by.String(), now) })
	ahead := false // memory has what the disk may not have yet
	err := e.store.Update(ctx, func(tx boot.Tx) (err error) {
		if changes, err = boot.Occupy(tx, n, c.Addr, by, c.For, now); err != nil {
			return err
		}
		if len(changes.Leases) == 0 && len(changes.Events) > 0 && !told() {
			changes.Events = nil // nothing takes the address out of use: each offer asks again
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

// Rivals returns a channel of other DHCP servers as they are noticed, each once in a
// while.
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
