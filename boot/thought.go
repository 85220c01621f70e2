// thought.go: a machine that does not ask, as its files would see it if it did.

package boot

import (
	"cmp"
	"time"
)

// InThought is what the files of a template would see of a host at its next boot, as far as
// is known of it. The paths in it lead nowhere.
func InThought(v View, p *Policy, now time.Time, h *Host, x *Template) (Machine, error) {
	served := func(named bool) *Network {
		for n := range p.All() {
			if n.Server.IsValid() && (!named || n.Name == h.On()) {
				return n
			}
		}
		return nil
	}
	// Of a host that people added nobody knows where it will ask.
	net := cmp.Or(served(true), served(false), &Network{Name: h.On()})
	t := &turn{v: v, p: p, net: net, asker: asker{host: h, id: h.Identity(), plat: cmp.Or(h.Platform, X64UEFI)}, standing: standing{template: x}}
	t.in.At, t.d.Boot = now, h.Boots+1
	m, err := t.boots(x, "PATH", "PATH")
	if err == nil {
		err = t.sealed(&m)
	}
	m.Address = ""
	if h.Address.IsValid() {
		m.Address = h.Address.String()
	}
	return m, err
}
