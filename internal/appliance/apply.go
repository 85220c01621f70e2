// apply.go: makes the present policy from the configuration and the present state of
// the computer's interfaces.

package appliance

import (
	"context"
	"encoding/hex"
	"net/netip"
	"slices"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
)

// apply builds the present policy and swaps it in.
func (d *daemon) apply(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := boot.Policy{Enroll: d.config.Enroll, Unbound: d.config.Unbound, Sealer: d.seal, Renders: d.content().Renders, Classes: d.config.Classes, Loaders: d.loaders.Load().ByPlatform(), Signed: d.loaders.Load().Signed(), Key: d.key, HTTPPort: uint16(config.Port(d.config.HTTP)), LogPort: d.logPort()}
	if d.config.HTTPS.Listen != "" {
		p.HTTPSPort = uint16(config.Port(d.config.HTTPS.Listen))
	}
	if d.thisRun != nil {
		p.Templates = []*boot.Template{d.thisRun}
	}
	for _, n := range d.config.Networks {
		l, err := d.sys.Link(n.Interface)
		if err != nil {
			return err
		}
		r, waits, err := config.Resolve(n, l.Found, l.Addrs)
		if err != nil {
			waits = err.Error()
			r.Server = netip.Addr{}
		}
		if w := l.Wants(); w != "" {
			waits = w
		}
		if n.Mode == boot.Off {
			waits = ""
		}
		d.noteState(n.Name, waits, r.Server)
		if r.Mode == boot.Auto {
			r.Mode = d.autoMode(n.Name)
		}
		p.Networks = append(p.Networks, r)
	}
	var err error
	if p.Networks6, err = d.networks6(); err != nil {
		return err
	}
	d.name(&p)
	p.DUID = hex.EncodeToString(d.duid)
	d.certify(slices.Concat(p.Networks, p.Networks6))
	if err := d.engine.SetPolicy(ctx, p); err != nil {
		return err
	}
	d.radv.Set(d.config.RA)
	return nil
}

// refresh applies a change of the computer's interfaces.
func (d *daemon) refresh(ctx context.Context) {
	if b := d.opt.Bench; b.Address != "" {
		// A USB NIC that was plugged in again has lost the address of this run.
		if l, err := d.sys.Link(b.Interface); err == nil && l.Found {
			if _, ok := l.V4(); !ok {
				if err := d.setAddress(); err != nil {
					d.log.Warn("address of this run", "err", err)
				}
			}
		}
	}
	if err := d.apply(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("policy was not renewed", "err", err)
	}
}
