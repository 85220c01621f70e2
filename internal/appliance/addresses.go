// addresses.go: probes addresses that will be offered, to find machines that use them
// already.

package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot"
)

const (
	probeWait  = 150 * time.Millisecond
	probeBatch = 256
	probeEvery = 30 * time.Second // in quiet times
)

// watchAddresses probes what is about to be offered.
func (d *daemon) watchAddresses(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		var batch []boot.Check
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.engine.LookAhead()
			continue
		case c := <-d.engine.Checks():
			batch = append(batch, c)
		}
	more:
		for len(batch) < probeBatch {
			select {
			case c := <-d.engine.Checks():
				batch = append(batch, c)
			default:
				break more
			}
		}
		byNetwork := map[string][]boot.Check{}
		for _, c := range batch {
			byNetwork[c.Network] = append(byNetwork[c.Network], c)
		}
		for name, cs := range byNetwork {
			if err := d.checkAddresses(ctx, name, cs); err != nil && ctx.Err() == nil {
				d.warn(fmt.Sprintf("network %s: probe before offers: %v", name, err))
			}
		}
	}
}

func (d *daemon) checkAddresses(ctx context.Context, name string, cs []boot.Check) error {
	n := network(d.engine.Policy().Networks, name)
	if n == nil || !n.Server.IsValid() {
		return nil
	}
	addrs := make([]netip.Addr, len(cs))
	for i, c := range cs {
		addrs[i] = c.Addr
	}
	taken := map[netip.Addr]boot.MAC{}
	if n.Subnet.Contains(n.Server) {
		var err error
		if taken, err = d.sys.Occupied(ctx, n.Interface, n.Server, addrs, probeWait); err != nil {
			// Without our probe the client still makes its own.
			d.engine.Clean(name, addrs)
			return err
		}
		if m, all := answersForAll(taken, len(addrs)); all {
			d.engine.Clean(name, addrs)
			return fmt.Errorf("%s answers ARP for every address, as a proxy does; set probe = false, or turn that off", m)
		}
	} else {
		found, err := d.sys.Answers(ctx, n.Server, addrs, 4*probeWait)
		if err != nil {
			d.engine.Clean(name, addrs)
			return err
		}
		for _, a := range found {
			taken[a] = boot.MAC{}
		}
	}
	var clean []netip.Addr
	for _, c := range cs {
		if mac, is := taken[c.Addr]; !is {
			clean = append(clean, c.Addr)
		} else if err := d.engine.Taken(ctx, c, mac); err != nil {
			return err
		}
	}
	d.engine.Clean(name, clean)
	return nil
}

// answersForAll reports one machine that answers for most of a batch. A machine does
// not use that many addresses; it must be a router that answers for others (proxy
// ARP).
func answersForAll(taken map[netip.Addr]boot.MAC, asked int) (boot.MAC, bool) {
	count := map[boot.MAC]int{}
	for _, m := range taken {
		if count[m]++; asked >= 16 && count[m] > asked/2 {
			return m, true
		}
	}
	return boot.MAC{}, false
}
