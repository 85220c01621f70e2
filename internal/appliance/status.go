// status.go: the appliance's own account.

package appliance

import (
	"context"
	"slices"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

func (d *daemon) status(ctx context.Context) (admin.Status, error) {
	d.mu.Lock()
	s := admin.Status{Version: d.opt.Version, Started: d.started.UTC(), DataDir: d.dataDir, Warnings: slices.Clone(d.warnings), Loaders: loaderList(d.loaders.Load())}
	only6 := map[string]bool{} // networks that have no IPv4 side
	for _, n := range d.engine.Policy().Networks {
		if n.Mode == boot.Off && !n.Subnet.IsValid() && network(d.engine.Policy().Networks6, n.Name) != nil {
			only6[n.Name] = true
			continue
		}
		ns := admin.NetworkStatus{Name: n.Name, Interface: n.Interface, Mode: n.Mode, Server: n.Server, Subnet: n.Subnet, State: "serving"}
		if w := d.states[n.Name]; w != "" {
			ns.State = w
		}
		for _, r := range n.Ranges {
			ns.Ranges = append(ns.Ranges, r.String())
		}
		ns.Rivals = d.serversBeside(n, false)
		d.describeRA(&ns)
		s.Networks = append(s.Networks, ns)
	}
	for _, n := range d.engine.Policy().Networks6 {
		ns := admin.NetworkStatus{Name: sixName(n.Name), Interface: n.Interface, Mode: n.Mode, Server: n.Server, Subnet: n.Subnet, State: "serving"}
		if w := d.states[ns.Name]; w != "" {
			ns.State = w
		}
		for _, r := range n.Ranges {
			ns.Ranges = append(ns.Ranges, r.String())
		}
		ns.Rivals = d.serversBeside(n, true)
		if only6[n.Name] {
			d.describeRA(&ns)
		}
		s.Networks = append(s.Networks, ns)
	}
	d.mu.Unlock()
	s.Dropped = map[string]uint64{
		"dhcp packets, no slot free":      d.dhcp.Stats.Dropped.Load(),
		"dhcp packets, malformed":         d.dhcp.Stats.Malformed.Load(),
		"dhcp replies, not sent":          d.dhcp.Stats.SendErrors.Load(),
		"dhcpv6 packets, no slot free":    d.dhcp6.Stats.Dropped.Load(),
		"dhcpv6 packets, malformed":       d.dhcp6.Stats.Malformed.Load(),
		"dhcpv6 replies, not sent":        d.dhcp6.Stats.SendErrors.Load(),
		"tftp requests, too many at once": d.tftp.Stats.Dropped.Load(),
		"tftp requests, malformed":        d.tftp.Stats.Malformed.Load(),
		"request log lines, over budget":  d.engine.Log.Dropped(),
		"events of causes, queue full":    d.engine.LostNotices(),
	}
	if st := d.syslogStats(); st != nil {
		s.Dropped["log lines, too many at once"] = st.TooFast.Load() + st.TooMany.Load() + d.syslog.Overflow()
		s.Dropped["log lines, of strangers"] = st.Strangers.Load()
		s.Dropped["log connections, too many at once"] = st.Refused.Load()
		s.Dropped["log lines, not written down"] = d.engine.Lines.Dropped()
	}
	err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { s.Pending, err = tx.Counter(boot.PendingHosts); return err })
	return s, err
}
