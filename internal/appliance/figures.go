// figures.go: the daemon's counters as metrics.

package appliance

import (
	"context"
	"slices"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/metrics"
	"github.com/musterboot/muster/syslogd"
)

// syslogStats are the log sink's; nil where there is none.
func (d *daemon) syslogStats() *syslogd.Stats {
	if d.syslog == nil {
		return nil
	}
	return &d.syslog.Stats
}

func (d *daemon) figures() (out []metrics.Sample) {
	add := func(name, help string, counter bool, v float64, labels ...metrics.Label) {
		out = append(out, metrics.Sample{Name: name, Help: help, Counter: counter, Value: v, Labels: labels})
	}
	histogram := func(name, help string, h *metrics.Histogram, labels ...metrics.Label) {
		out = append(out, metrics.Sample{Name: name, Help: help, Histogram: h, Labels: labels})
	}
	label := func(name, value string) metrics.Label { return metrics.Label{Name: name, Value: value} }
	add("muster_info", "The program; always 1.", false, 1, label("version", d.opt.Version))
	packets := func(name, help string, s *dhcpd.Stats) {
		for _, x := range []struct {
			result string
			n      uint64
		}{{"received", s.Received.Load()}, {"answered", s.Answered.Load()}, {"malformed", s.Malformed.Load()}, {"hardware", s.Hardware.Load()}, {"dropped", s.Dropped.Load()}, {"send-error", s.SendErrors.Load()}, {"panic", s.Panics.Load()}} {
			add(name, help, true, float64(x.n), label("result", x.result))
		}
	}
	packets("muster_dhcp_packets_total", "DHCP packets by what became of them.", &d.dhcp.Stats)
	if d.conn6 != nil {
		packets("muster_dhcp6_packets_total", "DHCPv6 packets by what became of them.", &d.dhcp6.Stats)
	}
	if st := d.syslogStats(); st != nil {
		for _, x := range []struct {
			result string
			n      uint64
		}{{"kept", st.Kept.Load()}, {"stranger", st.Strangers.Load()}, {"too-fast", st.TooFast.Load()}, {"too-many", st.TooMany.Load()}, {"overflow", d.syslog.Overflow()},
			{"empty", st.Empty.Load()}, {"failed", st.Failed.Load()}} {
			add("muster_syslog_lines_total", "Log lines of machines by what became of them.", true, float64(x.n), label("result", x.result))
		}
		add("muster_syslog_cut_lines_total", "Lines that were longer than what is kept of one.", true, float64(st.Cut.Load()))
		add("muster_syslog_connections", "Open connections that lines come over.", false, float64(d.syslog.Open()))
		add("muster_syslog_refused_connections_total", "Connections beyond the bound.", true, float64(st.Refused.Load()))
		add("muster_syslog_pushed_out_lines_total", "Kept lines that newer ones took the place of.", true, float64(d.engine.Lines.Pushed()))
	}
	add("muster_request_log_dropped_total", "Lines that the request log's file had no room for.", true, float64(d.engine.Log.Dropped()))
	add("muster_request_log_lost_total", "Lines of the request log and of machines' logs that could not be written to the disk.", true, float64(d.journal.Lost()+d.lines.Lost()))
	cs := d.capture.Stats()
	add("muster_capture_packets_total", "Packets of machines that were kept for muster host capture.", true, float64(cs.Added))
	for _, x := range []struct {
		cause string
		n     uint64
	}{{"newer", cs.Pushed}, {"machine", cs.Evicted}, {"odd", cs.Odd}} {
		add("muster_capture_dropped_packets_total", "Packets that were pushed out, by newer ones of their machine or with it, or not kept at all.", true, float64(x.n), label("cause", x.cause))
	}
	for _, p := range d.engine.Pools() {
		n := label("network", p.Network)
		add("muster_pool_addresses", "Addresses in the ranges of a network.", false, float64(p.Size), n)
		add("muster_pool_leased_addresses", "Of them, leased or left alone.", false, float64(p.Leased), n)
		add("muster_pool_offered_addresses", "Addresses on offer.", false, float64(p.Offered), n)
		add("muster_pool_unknown_leases", "Leases of machines that nobody let in.", false, float64(p.Unknown), n)
		add("muster_pool_lost_offers_total", "Offers pushed out of memory by newer ones.", true, float64(p.Lost), n)
	}
	for _, x := range []struct {
		result string
		n      uint64
	}{{"applied", d.reloads.applied.Load()}, {"refused", d.reloads.refused.Load()}} {
		add("muster_config_reloads_total", "Reloads of the configuration by what became of them.", true, float64(x.n), label("result", x.result))
	}
	d.figuresTally(add, histogram)
	add("muster_store_damage", "Lines about what of the store was found damaged, until it is repaired.", false, float64(len(d.store.Damage())))
	var pending, events uint64
	var hosts int
	if err := d.engine.View(context.Background(), func(tx boot.ReadTx) (err error) {
		if pending, err = tx.Counter(boot.PendingHosts); err != nil {
			return err
		}
		hosts = tx.HostCount()
		events, err = tx.Counter(boot.LastEvent)
		return err
	}); err == nil {
		add("muster_hosts", "Machines on the roll.", false, float64(hosts))
		add("muster_pending_hosts", "Machines that wait for approval.", false, float64(pending))
		add("muster_events_total", "Events ever recorded.", true, float64(events))
	}
	if hooks, err := d.hooks.Figures(context.Background()); err == nil {
		for _, s := range hooks {
			n := label("name", s.Name)
			add("muster_webhook_delivered_total", "Events that a webhook or hook took.", true, float64(s.Counts.Delivered), n)
			add("muster_webhook_failed_total", "Attempts to deliver one that failed.", true, float64(s.Counts.Failed), n)
			add("muster_webhook_dead_total", "Events that were given up.", true, float64(s.Counts.Dead), n)
			add("muster_webhook_lost_total", "Events that were removed before they could be delivered.", true, float64(s.Counts.Lost), n)
			add("muster_webhook_behind_events", "Events that it has not come to yet.", false, float64(s.Behind), n)
		}
	}
	for result, n := range map[string]uint64{"fetched": d.pull.Fetched.Load(), "failed": d.pull.Failed.Load(), "refused": d.pull.Refused.Load()} {
		add("muster_pulls_total", "Files of images that were fetched from their upstream because a machine asked; refused: too many at once.", true, float64(n), label("result", result))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.figuresRA(add)
	d.figuresCertificates(add)
	add("muster_writes_fail", "1 while the store cannot be written: a full or broken disk.", false, float64(map[bool]int{true: 1}[d.writesFail]))
	if free, ok := d.sys.Room(d.dataDir); ok {
		add("muster_data_free_bytes", "Room that is left on the disk of the data directory.", false, float64(free))
	}
	add("muster_spoilt_files", "Boot files that the disk does not give back as they were stored.", false, float64(len(d.spoilt)))
	for _, n := range d.config.Networks {
		for _, r := range slices.Concat(d.serversBeside(n, false), d.serversBeside(n, true)) {
			add("muster_other_dhcp_server_seen_timestamp_seconds", "Another DHCP server on a network, and when it was last noticed.", false, float64(r.Last.Unix()),
				label("network", n.Name), label("server", r.Server.String()))
		}
	}
	return out
}
