// watch.go: what the daemon looks for beside serving: other DHCP servers on its
// links, which decide what mode "auto" is, and machines that sit on addresses
// which are to be given out.

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
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/run"
)

const (
	autoCarrier  = 10 * time.Second // of carrier before mode auto probes
	autoTries    = 3                // unanswered probes make it full
	rivalEvery   = 5 * time.Minute  // a link is probed this often
	rivalForgets = time.Hour        // a server silent for so long is news again
	maxRivals    = 64               // of one network
)

// watchServers finds other DHCP servers, by asking as a client would and by what
// clients say to them, and settles what mode auto is.
func (d *daemon) watchServers(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	carrier := map[string]time.Time{}
	probed := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.engine.Rivals():
			d.rival(ctx, r)
		case <-tick.C:
			for _, n := range d.settings().Networks {
				if n.Mode == boot.Off || n.Mode == boot.Proxy || ctx.Err() != nil {
					continue
				}
				l, err := run.Look(n.Interface)
				if err != nil || !l.Found || !l.Carry {
					delete(carrier, n.Name)
					delete(probed, n.Name)
					if n.Mode == boot.Auto && d.autoMode(n.Name) != boot.Listening {
						d.setAuto(ctx, n.Name, boot.Listening, "the link is down")
					}
					continue
				}
				if carrier[n.Name].IsZero() {
					carrier[n.Name] = time.Now()
				}
				listening := n.Mode == boot.Auto && d.autoMode(n.Name) == boot.Listening
				switch {
				case listening && time.Since(carrier[n.Name]) < autoCarrier:
				case listening:
					d.settle(ctx, n)
					probed[n.Name] = time.Now()
				case time.Since(probed[n.Name]) > rivalEvery:
					probed[n.Name] = time.Now()
					d.look(ctx, n, 1)
				}
			}
			for _, n := range d.settings().Networks6 {
				key := sixName(n.Interface) // one probe asks for all networks of a link
				l, err := run.Look(n.Interface)
				from, ok := l.LinkLocal()
				switch on := slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return n.Subnet.Contains(a.Addr()) }); {
				case err != nil || !l.Carry:
					delete(probed, key)
				case ok && n.Mode != boot.Off && (on || len(n.Relays) == 0) && time.Since(probed[key]) > rivalEvery && ctx.Err() == nil:
					probed[key] = time.Now()
					d.look6(ctx, n, from)
				}
			}
		}
	}
}

// settle decides what an auto network is.
func (d *daemon) settle(ctx context.Context, n boot.Network) {
	found, err := d.look(ctx, n, autoTries)
	switch {
	case err != nil || ctx.Err() != nil || len(found) > 0: // look told it
	default:
		d.setAuto(ctx, n.Name, boot.Full, "no other DHCP server answered")
	}
}

// look probes a network once; what it finds is told.
func (d *daemon) look(ctx context.Context, n boot.Network, tries int) ([]boot.Rival, error) {
	found, err := d.dhcp.Probe(ctx, n.Interface, tries, time.Second)
	if err != nil && ctx.Err() == nil {
		d.warn(fmt.Sprintf("network %s: cannot look for other DHCP servers: %v", n.Name, err))
	}
	for _, r := range found {
		r.Network = n.Name
		d.engine.Found(r)
		d.rival(ctx, r)
	}
	return found, err
}

// look6 probes a network for servers of DHCPv6.
func (d *daemon) look6(ctx context.Context, n boot.Network, from netip.Addr) {
	found, err := dhcpd.Probe6(ctx, n.Interface, from, d.duid, 2, time.Second)
	if err != nil && ctx.Err() == nil {
		d.warn(fmt.Sprintf("network %s: cannot look for other DHCPv6 servers: %v", n.Name, err))
	}
	for _, r := range found {
		r.Network = n.Name
		d.engine.Found(r)
		d.rival6(ctx, r)
	}
}

// rival6 takes note of another server of DHCPv6. Beside one there is no proxy.
func (d *daemon) rival6(ctx context.Context, r boot.Rival) {
	if d.known(sixName(r.Network), r) {
		return
	}
	text := fmt.Sprintf("another DHCPv6 server, %s, answers on network %s", r.Server, r.Network) + admin.Offered(r) + ": two servers give addresses there; turn one off, or set mode6 = \"off\""
	d.log.Warn(text)
	d.record(ctx, boot.RivalServer, r.Network, text)
}

// known notes when a server answered, and reports whether that is no news.
func (d *daemon) known(network string, r boot.Rival) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.rivals[network]
	if known == nil {
		known = map[netip.Addr]admin.RivalStatus{}
		d.rivals[network] = known
	}
	now := d.now()
	maps.DeleteFunc(known, func(_ netip.Addr, r admin.RivalStatus) bool { return now.Sub(r.Last) > rivalForgets })
	old, seen := known[r.Server]
	if !seen && len(known) >= maxRivals {
		return true // somebody makes them up
	}
	if !seen {
		old.First = now.UTC()
	}
	known[r.Server] = admin.RivalStatus{Rival: r, First: old.First, Last: now.UTC()}
	return seen
}

// rival takes note of another server: an event and a warning when it is news,
// and mode auto gives way at once.
func (d *daemon) rival(ctx context.Context, r boot.Rival) {
	d.mu.Lock()
	i := slices.IndexFunc(d.config.Networks, func(n boot.Network) bool { return n.Name == r.Network })
	if i < 0 || slices.ContainsFunc(d.engine.Policy().Networks, func(n boot.Network) bool { return n.Server == r.Server }) {
		d.mu.Unlock()
		return
	}
	auto := d.config.Networks[i].Mode == boot.Auto
	var autos []string // all that are on this link
	for _, n := range d.config.Networks {
		if n.Mode == boot.Auto && n.Interface == d.config.Networks[i].Interface {
			autos = append(autos, n.Name)
		}
	}
	d.mu.Unlock()
	if !d.known(r.Network, r) {
		text := fmt.Sprintf("another DHCP server, %s, answers on network %s", r.Server, r.Network) + admin.Offered(r)
		if !auto {
			text += ": two servers give addresses there; turn one off, or set mode = \"proxy\""
		}
		d.log.Warn(text)
		d.record(ctx, boot.RivalServer, r.Network, text)
	}
	for _, name := range autos {
		if d.autoMode(name) != boot.Proxy {
			d.setAuto(ctx, name, boot.Proxy, fmt.Sprintf("DHCP server %s gives the addresses", r.Server))
		}
	}
}

func (d *daemon) autoMode(network string) boot.Mode {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.auto[network]; m != "" {
		return m
	}
	return boot.Listening
}

// setAuto changes what an auto network is. Once proxy it stays so until the link
// or the daemon starts anew: a server that fails to answer for a while may come
// back, and its clients with it.
func (d *daemon) setAuto(ctx context.Context, network string, m boot.Mode, why string) {
	d.mu.Lock()
	d.auto[network] = m
	d.mu.Unlock()
	if err := d.apply(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("policy was not renewed", "err", err)
		return
	}
	text := fmt.Sprintf("network %s is now in mode %s: %s", network, m, why)
	d.log.Info(text)
	d.record(ctx, boot.ModeChanged, network, text)
}

func (d *daemon) record(ctx context.Context, kind boot.EventKind, network, text string) {
	if err := d.engine.Record(ctx, boot.Event{Kind: kind, Network: network, Text: text}); err != nil && ctx.Err() == nil {
		d.log.Error("event was not stored", "kind", kind, "err", err)
	}
}

// rivalList is what status shows of a network's other servers: those that were
// heard of lately.
func rivalList(m map[netip.Addr]admin.RivalStatus, now time.Time) []admin.RivalStatus {
	var out []admin.RivalStatus
	for _, r := range m {
		if now.Sub(r.Last) <= rivalForgets {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b admin.RivalStatus) int { return strings.Compare(a.Server.String(), b.Server.String()) })
	return out
}
