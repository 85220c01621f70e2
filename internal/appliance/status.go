// status.go: the status of the appliance.

package appliance

import (
	"context"
	"slices"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (d *daemon) status(ctx context.Context) (client.Status, error) {
	p := d.engine.Policy()
	d.mu.Lock()
	s := client.Status{Version: d.opt.Version, Started: d.started.UTC(), Config: d.opt.Path, DataDir: d.dataDir, Warnings: slices.Clone(d.warnings), Loaders: loaderList(d.loaders.Load())}
	s.Spoilt = d.spoiltFiles()
	s.Page = d.page()
	four := map[string]bool{} // networks that have an IPv4 side
	for _, n := range p.Networks {
		// A network whose IPv4 is off has no subnet of its own, only that of its interface.
		c := network(d.config.Networks, n.Name)
		if n.Mode != boot.Off || c != nil && c.Subnet.IsValid() || network(p.Networks6, n.Name) == nil {
			four[n.Name] = true
			s.Networks = append(s.Networks, d.networkStatus(n, false, true))
		}
	}
	for _, n := range p.Networks6 {
		s.Networks = append(s.Networks, d.networkStatus(n, true, !four[n.Name]))
	}
	d.mu.Unlock()
	s.Dropped = map[string]uint64{
		"dhcp packets, no slot free":      d.dhcp.Stats.Dropped.Load(),
		"dhcp packets, malformed":         d.dhcp.Stats.Malformed.Load(),
		"dhcp packets, not of Ethernet":   d.dhcp.Stats.Hardware.Load(),
		"dhcp replies, not sent":          d.dhcp.Stats.SendErrors.Load(),
		"dhcpv6 packets, no slot free":    d.dhcp6.Stats.Dropped.Load(),
		"dhcpv6 packets, malformed":       d.dhcp6.Stats.Malformed.Load(),
		"dhcpv6 replies, not sent":        d.dhcp6.Stats.SendErrors.Load(),
		"tftp requests, too many at once": d.tftp.Stats.Dropped.Load(),
		"tftp transfers, gave way":        d.tftp.Stats.GaveWay.Load(),
		"http connections, no slot free":  d.http.Stats.TurnedAway.Load(),
		"http connections, gave way":      d.http.Stats.GaveWay.Load(),
		"tftp requests, malformed":        d.tftp.Stats.Malformed.Load(),
		"request log lines, over budget":  d.engine.Log.Dropped(),
		"request log lines, not written":  d.journal.Lost() + d.lines.Lost(),
		"events of causes, too many":      d.engine.LostNotices(),
	}
	if st := d.syslogStats(); st != nil {
		s.Dropped["log lines, too many at once"] = st.TooFast.Load() + st.TooMany.Load() + d.syslog.Overflow()
		s.Dropped["log lines, of strangers"] = st.Strangers.Load()
		s.Dropped["log connections, too many at once"] = st.Refused.Load()
		s.Dropped["log connections, gave way"] = st.GaveWay.Load()
		s.Dropped["log lines, not written down"] = d.engine.Lines.Dropped()
	}
	s.Disk = d.checkWrites(ctx)
	s.Pools = append([]boot.PoolStatus{}, d.engine.Pools()...)
	s.Damage = d.store.Damage()
	if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { s.Pending, err = tx.Counter(boot.PendingHosts); return err }); err != nil {
		return s, err
	}
	for _, p := range []boot.Platform{boot.BIOS, boot.X64UEFI, boot.ARM64UEFI} {
		for _, text := range d.loaders.Load().Missing(p) {
			s.Missing = append(s.Missing, client.MissingLoader{Platform: p, Text: text})
		}
	}
	if len(s.Missing) == 0 {
		return s, nil // and the roll need not be read
	}
	expected, err := d.expected(ctx)
	for i, m := range s.Missing {
		s.Missing[i].Expected = expected[m.Platform]
	}
	return s, err
}

// networkStatus is the status of one side of a network. ra says whether it includes
// the interface's advertisements. The caller holds d.mu.
func (d *daemon) networkStatus(n boot.Network, six, ra bool) client.NetworkStatus {
	s := client.NetworkStatus{Name: n.Name, Interface: n.Interface, Mode: n.Mode, Server: n.Server, Subnet: n.Subnet, State: "serving"}
	if six {
		s.Name = sixName(n.Name)
	}
	if w := d.states[s.Name]; w != "" {
		s.State = w
	}
	for _, r := range n.Ranges {
		s.Ranges = append(s.Ranges, r.String())
	}
	s.Rivals = d.serversBeside(n, six)
	s.Names, s.Certificate = d.named[s.Name], d.uncertified(n)
	if ra {
		d.describeRA(&s)
	}
	return s
}
