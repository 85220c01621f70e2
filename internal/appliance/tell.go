// tell.go: what the daemon logs: at the start, and while it runs.

package appliance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/run"
)

// greet logs once what is served and what is missing.
func (d *daemon) greet(ctx context.Context) {
	if len(d.config.Networks) == 0 {
		d.log.Warn(fmt.Sprintf("nothing is configured, so nothing is answered; write %s with, for example:\n\n%s\nor serve one interface now: muster serve -i %s",
			d.opt.Path, sampleConfig, strings.Join(d.sys.Interfaces(), " or ")))
	}
	s, err := d.status(ctx)
	if err != nil {
		return
	}
	d.log.Info("muster is up", "version", d.opt.Version, "data", d.dataDir, "loaders", strings.Join(s.Loaders, ", "))
	for _, n := range s.Networks {
		d.log.Info("network", "name", n.Name, "interface", n.Interface, "mode", n.Mode, "address", n.Server, "subnet", n.Subnet, "ranges", strings.Join(n.Ranges, ", "), "state", n.State)
	}
	if !d.config.Active {
		return
	}
	// Of a kind that is not expected, it is told when such a machine asks.
	for _, m := range s.Missing {
		if m.Expected {
			d.warn(m.Text)
		}
	}
	run.Status("serving " + strings.Join(networkNames(s), ", "))
}

func networkNames(s client.Status) []string {
	var out []string
	for _, n := range s.Networks {
		out = append(out, n.Name)
	}
	return out
}

const sampleConfig = `    [[network]]
    name      = "lab"
    interface = "eth1"
    mode      = "proxy"        # beside the DHCP server that is there; or "full" with a range
`

// tell shows what happens: on a bench each request as it comes, in a service the
// events.
func (d *daemon) tell(ctx context.Context) error {
	bench := d.opt.Show != nil
	var last uint64
	if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) {
		last, err = tx.Counter(boot.LastEvent)
		return err
	}); err != nil {
		return err
	}
	seen, heard := d.engine.Log.Seq(), d.engine.Lines.Seq()
	for {
		changed := d.engine.Changed()
		var es []boot.Event
		if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { es, err = tx.Events(last, 1000); return err }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var requests, lines []boot.Request
		var more, said <-chan struct{}
		if bench {
			requests, more = d.engine.Log.Since(seen)
			lines, said = d.engine.Lines.Since(heard)
		}
		var entries []client.Entry
		for _, e := range es {
			last = e.Seq
			entries = append(entries, client.EventEntry(e))
		}
		for _, r := range requests {
			seen = r.Seq
			entries = append(entries, client.RequestEntry(r))
		}
		for _, r := range lines {
			heard = r.Seq
			entries = append(entries, client.RequestEntry(r))
		}
		slices.SortStableFunc(entries, func(a, b client.Entry) int { return a.At().Compare(b.At()) })
		for _, e := range entries {
			if bench {
				d.opt.Show(e)
			} else {
				d.log.Info(e.Event.Text, "event", e.Event.Seq, "kind", e.Event.Kind, "why", e.Event.Why)
			}
		}
		select {
		case <-changed:
		case <-more:
		case <-said:
		case <-ctx.Done():
			return nil
		}
	}
}
