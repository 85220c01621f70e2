// stopped.go: the engine's side of diagnosis: it gathers what one machine asked,
// and looks by itself at machines that fell silent.

package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/musterboot/muster/boot/diagnose"

	"github.com/musterboot/muster/boot"
)

// rivalLong is how long another DHCP server counts as there after it was noticed.
const rivalLong = time.Hour

// recentEvents is how far back a diagnosis reads.
const recentEvents = 2000

// Diagnose says what stopped a machine or what it waits for. A machine that is no
// host is named by its MAC, or by the address that it asks from: one that never took
// an address is not on the roll.
func (e *Engine) Diagnose(ctx context.Context, h *boot.Host, who string) ([]diagnose.Finding, error) {
	events, err := e.recent(ctx)
	if err != nil {
		return nil, err
	}
	return e.diagnose(h, who, events), nil
}

// recent returns the latest events.
func (e *Engine) recent(ctx context.Context) (es []boot.Event, err error) {
	err = e.store.View(ctx, func(tx boot.ReadTx) error {
		last, err := tx.Counter(boot.LastEvent)
		if err != nil {
			return err
		}
		es, err = tx.Events(max(last, recentEvents)-recentEvents, recentEvents)
		return err
	})
	return es, err
}

func (e *Engine) diagnose(h *boot.Host, who string, events []boot.Event) []diagnose.Finding {
	c := diagnose.Case{Now: e.Now(), Host: h}
	c.MAC, _ = boot.ParseMAC(who)
	macs := []boot.MAC{c.MAC}
	if h != nil {
		if c.MAC.IsZero() {
			c.MAC = h.Identity().MAC
		}
		macs, c.Running = h.MACs, len(e.Running(h.ID))
		c.Requests = e.Log.Of(h)
	} else {
		c.Requests = e.Log.Machine(who)
	}
	for _, m := range macs {
		if t := e.Lines.LastSeen(m); t.After(c.Logged) {
			c.Logged = t
		}
	}
	if n := len(c.Requests); n > 0 {
		on := c.Requests[n-1].Network
		c.Network = e.policy.Load().Network(on)
		c.Rival, c.Rival6 = e.mem.rivalOn(on, netip.IPv4Unspecified(), c.Now), e.mem.rivalOn(on, netip.IPv6Unspecified(), c.Now)
	}
	for _, ev := range events {
		if h != nil && ev.Host == h.ID || !ev.MAC.IsZero() && slices.Contains(macs, ev.MAC) {
			c.Events = append(c.Events, ev)
		}
	}
	return diagnose.Find(c)
}

// maxStrangers bounds how many strangers DiagnoseAll looks at.
const maxStrangers = 1000

// DiagnoseAll looks at every host, and at strangers that asked in the last hour. It
// returns those with a finding; with unseen also those of which nothing was ever heard:
// a pallet that is still on its way stops nobody.
func (e *Engine) DiagnoseAll(ctx context.Context, unseen bool) (out []diagnose.Stopped, err error) {
	events, err := e.recent(ctx)
	if err != nil {
		return nil, err
	}
	known := map[boot.MAC]bool{}
	for after := boot.HostID(0); ; {
		var hs []*boot.Host
		if err := e.store.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, page); return err }); err != nil {
			return nil, err
		}
		for _, h := range hs {
			after = h.ID
			s := diagnose.Stopped{Name: h.Name, Who: h.Name, Found: e.diagnose(h, "", events)}
			for _, m := range h.MACs {
				known[m] = true
				if t := e.Log.LastSeen(m); t.After(s.LastSeen) {
					s.LastSeen = t
				}
			}
			if len(s.Found) > 0 && (unseen || s.Found[0].Code != diagnose.NeverSeen) {
				out = append(out, s)
			}
		}
		if len(hs) < page {
			break
		}
	}
	now := e.Now()
	macs, _ := e.Log.Silent(now.Add(-time.Hour), now, maxStrangers)
	for _, m := range macs {
		if known[m] {
			continue
		}
		if found := e.diagnose(nil, m.String(), events); len(found) > 0 {
			out = append(out, diagnose.Stopped{Who: m.String(), Found: found, LastSeen: e.Log.LastSeen(m)})
		}
	}
	return out, nil
}

// Of returns what a host asked with any of its MACs, or a moment ago with the MAC of
// a roaming adapter, oldest first.
func (l *RequestLog) Of(h *boot.Host) (out []boot.Request) {
	for _, m := range h.MACs {
		out = append(out, l.Machine(m.String())...)
	}
	if len(h.MACs) == 0 {
		all, _ := l.Since(0)
		for _, r := range all {
			if r.Host == h.ID {
				out = append(out, r)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b boot.Request) int { return a.At.Compare(b.At) })
	return out
}

// Silent lists machines, by MAC, whose last request came after from and no later than
// to. It returns at most n of them, and how many more there were.
func (l *RequestLog) Silent(from, to time.Time, n int) (out []boot.MAC, more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.lru.Front(); e != nil; e = e.Next() {
		m := e.Value.(*machineLog)
		switch {
		case !m.last.After(from):
			return out, more
		case m.last.After(to) || m.key.mac.IsZero():
		case len(out) < n:
			out = append(out, m.key.mac)
		default:
			more++
		}
	}
	return out, more
}

// How long after its last request a machine is looked at: the time after which
// firmware has given up, and the time after which a system should have reported.
var lookAfter = []time.Duration{45 * time.Second, diagnose.QuietTime + 30*time.Second}

// maxLooks bounds one sweep.
const maxLooks = 500

// Sweep looks at machines that fell silent between two moments, and records what
// stopped them. A host gets one event for each finding in each boot.
func (e *Engine) Sweep(ctx context.Context, from, to time.Time) error {
	var events []boot.Event
	for _, age := range lookAfter {
		macs, more := e.Log.Silent(from.Add(-age), to.Add(-age), maxLooks)
		e.unlooked.Add(uint64(more))
		if len(macs) > 0 && events == nil {
			var err error
			if events, err = e.recent(ctx); err != nil {
				return err
			}
		}
		for _, m := range macs {
			var h *boot.Host
			err := e.store.View(ctx, func(tx boot.ReadTx) (err error) { h, err = tx.HostByMAC(m); return err })
			if err != nil {
				return err
			}
			for _, f := range e.diagnose(h, m.String(), events) {
				if err := e.recordFinding(ctx, h, m, f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Unlooked counts machines that were not looked at, because too many fell silent at
// the same time.
func (e *Engine) Unlooked() uint64 { return e.unlooked.Load() }

// recordFinding makes an event of what stopped a machine. A decision of a person or a
// rule is an event already. Anybody can make up strangers, so of them one event is
// told in a while for each network.
func (e *Engine) recordFinding(ctx context.Context, h *boot.Host, m boot.MAC, f diagnose.Finding) error {
	if f.Standing() {
		return nil
	}
	ev := boot.Event{At: e.Now().UTC(), Kind: boot.BootStopped, MAC: m, Text: f.Text, Reasons: boot.Reasons{{Rule: "diagnose", Code: boot.Code(f.Code)}, {Code: boot.Said, Args: []string{f.Remedy.Text}}}}
	once := "stopped nobody " + f.Code
	ev.About(h)
	if h != nil {
		ev.Boot, ev.Network = h.Boots, h.On()
		once = "stopped " + h.Name + " " + f.Code
	}
	if !e.mem.tell(once, e.Now()) {
		return nil
	}
	return e.Record(ctx, ev)
}
