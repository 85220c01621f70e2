// select.go: which hosts a query means, read from the store page by page.

package plan

import (
	"context"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/boot/match"
)

const page = 500

// Select calls fn with the hosts that a query means, in the order of the roll, some at a
// time; only those after a host. An error of fn ends it.
func Select(ctx context.Context, e *engine.Engine, q match.Query, after boot.HostID, fn func([]*boot.Host) error) error {
	p := e.Policy()
	var stopped map[string][]string
	if q.Asks("finding") {
		all, err := e.DiagnoseAll(ctx, true)
		if err != nil {
			return err
		}
		stopped = map[string][]string{}
		for _, s := range all {
			for _, f := range s.Found {
				stopped[s.Name] = append(stopped[s.Name], f.Code)
			}
		}
	}
	may := q.Sieve()
	for {
		var meant []*boot.Host
		var last boot.HostID
		err := e.View(ctx, func(tx boot.ReadTx) (err error) {
			meant = nil
			var hs []*boot.Host
			if hs, last, err = tx.SiftHosts(after, page, may); err != nil {
				return err
			}
			for _, h := range hs {
				s := match.Subject{Host: h, Now: e.Now(), Seen: LastSeen(e, h), Loop: p.Enroll.Loop, Findings: func() []string { return stopped[h.Name] }}
				if q.Addresses() {
					if s.Addresses, err = leased(tx, p, h, s.Now); err != nil {
						return err
					}
				}
				if q.Asks("param") {
					if s.Params, err = boot.Inherited(tx, h, h.On()); err != nil {
						return err
					}
				}
				if q.Match(s) {
					meant = append(meant, h)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := fn(meant); err != nil {
			return err
		}
		if last == 0 {
			return nil
		}
		after = last
	}
}

// Find returns the host that is known by a name, or by whatever else it is known by.
func Find(ctx context.Context, e *engine.Engine, name string) (h *boot.Host, err error) {
	if err := e.View(ctx, func(tx boot.ReadTx) (err error) {
		h, err = boot.FindHost(tx, e.Policy(), e.Now(), name)
		return err
	}); err != nil {
		return nil, err
	}
	if h == nil {
		return nil, boot.NoHost(name)
	}
	return h, nil
}

// LastSeen is when a host last asked for anything; zero is not since the start.
func LastSeen(e *engine.Engine, h *boot.Host) (last time.Time) {
	for _, m := range h.MACs {
		if t := e.Log.LastSeen(m); t.After(last) {
			last = t
		}
	}
	return last
}

// leased are the addresses that a host's MACs have leased.
func leased(tx boot.ReadTx, p *boot.Policy, h *boot.Host, now time.Time) (out []netip.Addr, err error) {
	for _, m := range h.MACs {
		for i := range p.Networks {
			l, err := tx.LeaseByHolder(p.Networks[i].Name, boot.HeldBy(m))
			if err != nil {
				return nil, err
			}
			if l.Active(now) {
				out = append(out, l.Addr)
			}
		}
	}
	return out, nil
}
