// tally.go: what happened since the start, counted where everything passes: before the
// engine, and before the store.

package appliance

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/metrics"
)

// tally holds only what has few values: protocols, kinds of events, codes. Nothing that
// a machine says becomes a key.
type tally struct {
	decisions map[boot.Via]*metrics.Histogram
	commits   *metrics.Histogram
	writing   atomic.Int64 // transactions that write, or wait for their turn

	mu        sync.Mutex
	events    map[boot.EventKind]uint64
	stopped   map[string]uint64 // boots that stopped, by finding
	ended     map[string]uint64 // installations, by how they ended
	transfers map[passage]uint64
	bytes     map[string]uint64
}

type passage struct {
	via    string
	result boot.Result
}

// Upper bounds in seconds. A decision takes microseconds in memory and milliseconds where
// it is written; a disk that is about to fail takes seconds.
var bounds = []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

func newTally() *tally {
	t := &tally{decisions: map[boot.Via]*metrics.Histogram{}, commits: metrics.NewHistogram(bounds), events: map[boot.EventKind]uint64{}, stopped: map[string]uint64{}, ended: map[string]uint64{},
		transfers: map[passage]uint64{}, bytes: map[string]uint64{}}
	for _, v := range []boot.Via{boot.DHCP4, boot.DHCP6, boot.Proxy4, boot.TFTP, boot.HTTP, boot.Syslog} {
		t.decisions[v] = metrics.NewHistogram(bounds)
	}
	return t
}

// counted is a Fetcher whose decisions and transfers are counted.
type counted struct {
	boot.Fetcher
	tally *tally
}

func (c counted) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	began := time.Now()
	d, err := c.Fetcher.Next(ctx, in)
	if h := c.tally.decisions[in.Via]; h != nil {
		h.Observe(time.Since(began).Seconds())
	}
	return d, err
}

func (c counted) Done(ctx context.Context, in boot.Sighting, d boot.Decision, o boot.Outcome) error {
	t := c.tally
	t.mu.Lock()
	t.transfers[passage{carrier(in.Via, in.TLS), o.Result}]++
	t.bytes[carrier(in.Via, in.TLS)] += uint64(max(o.Bytes, 0))
	t.mu.Unlock()
	return c.Fetcher.Done(ctx, in, d, o)
}

// carrier says how files are sent: HTTPS counts apart.
func carrier(via boot.Via, tls bool) string {
	if tls {
		return string(via) + "s"
	}
	return string(via)
}

// carriers are what files leave by.
var carriers = []string{string(boot.TFTP), string(boot.HTTP), string(boot.HTTP) + "s"}

// countedStore is a Store whose events and transactions are counted.
type countedStore struct {
	boot.Store
	tally *tally
}

func (s countedStore) Update(ctx context.Context, fn func(boot.Tx) error) error {
	t := s.tally
	began := time.Now()
	t.writing.Add(1)
	defer t.writing.Add(-1)
	var told []boot.Event
	err := s.Store.Update(ctx, func(tx boot.Tx) error {
		told = told[:0] // a transaction may run again
		return fn(noting{tx, &told})
	})
	if err != nil {
		return err
	}
	t.commits.Observe(time.Since(began).Seconds())
	if len(told) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range told {
		switch ev := &told[i]; ev.Kind {
		case boot.BootStopped:
			t.stopped[ev.Finding()]++
		case boot.TicketDone:
			t.ended[ev.End]++
		}
		t.events[told[i].Kind]++
	}
	return nil
}

// noting is a Tx that keeps what is told of.
type noting struct {
	boot.Tx
	told *[]boot.Event
}

func (n noting) Append(ev boot.Event) (uint64, error) {
	*n.told = append(*n.told, ev)
	return n.Tx.Append(ev)
}

// figuresTally adds what was counted.
func (d *daemon) figuresTally(add func(name, help string, counter bool, v float64, labels ...metrics.Label), histogram func(name, help string, h *metrics.Histogram, labels ...metrics.Label)) {
	t := d.tally
	label := func(name, value string) metrics.Label { return metrics.Label{Name: name, Value: value} }
	for v, h := range t.decisions {
		histogram("muster_decision_seconds", "From a request to its answer being decided and, where it had to be, written.", h, label("via", string(v)))
	}
	histogram("muster_store_commit_seconds", "Transactions that wrote, from asking for a turn to being on the disk.", t.commits)
	add("muster_store_writing", "Transactions that write or wait for their turn.", false, float64(t.writing.Load()))
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, n := range t.events {
		add("muster_events_by_kind_total", "Events since the start, by kind.", true, float64(n), label("kind", string(k)))
	}
	for f, n := range t.stopped {
		add("muster_boots_stopped_total", "Boots that stopped, by what was found.", true, float64(n), label("finding", f))
	}
	// All of them from the beginning: a rate over a counter that appears with its first
	// value misses that one.
	for _, end := range boot.InstallEnds() {
		add("muster_installs_total", "Installations by how they ended; same: what it would install was there; local: taken away by a person.", true, float64(t.ended[end]), label("end", end))
	}
	for p, n := range t.transfers {
		add("muster_transfers_total", "Files and scripts that left, by protocol and how the transfer ended; probe: it asked for the size only.", true, float64(n), label("via", p.via), label("result", string(p.result)))
	}
	for _, v := range carriers {
		add("muster_transferred_bytes_total", "Bytes of files and scripts that left, by protocol.", true, float64(t.bytes[v]), label("via", v))
	}
	add("muster_transfers_running", "Files on their way at this moment.", false, float64(len(d.engine.Running(0))))
}

// figuresCertificates adds when certificates end.
func (d *daemon) figuresCertificates(add func(name, help string, counter bool, v float64, labels ...metrics.Label)) {
	const name, help = "muster_certificate_expires_timestamp_seconds", "When a certificate ends: of the built-in CA, or of files that the configuration names. What the built-in CA makes for itself is renewed by itself."
	d.caOnce.Lock()
	ca := d.ca
	d.caOnce.Unlock()
	if ca != nil {
		add(name, help, false, float64(ca.Expires().Unix()), metrics.Label{Name: "of", Value: "ca"})
	}
	for of, p := range map[string]*pair{"https": d.pair, "admin": d.adminPair} {
		if p == nil {
			continue
		}
		if end := p.ends(); !end.IsZero() {
			add(name, help, false, float64(end.Unix()), metrics.Label{Name: "of", Value: of})
		}
	}
}
