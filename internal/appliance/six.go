// six.go: DHCPv6 in the daemon: its one socket, its server identifier, and the
// interfaces that it listens on.

package appliance

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/config"
)

// duidKey is the key of our DHCPv6 identifier in the store. Clients name the server
// with which they renew, so the identifier must last as long as the leases.
const duidKey = "server-duid"

// serverDUID returns our identifier; it is made once.
func serverDUID(ctx context.Context, s boot.Store) (duid []byte, err error) {
	err = s.Update(ctx, func(tx boot.Tx) error {
		if duid, err = tx.Secret(duidKey); err != nil || len(duid) > 0 {
			return err
		}
		var u boot.UUID
		rand.Read(u[:])
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // version 4 (RFC 9562 5.4)
		duid = dhcpd.ServerDUID(u)
		return tx.SetSecret(duidKey, duid)
	})
	return duid, err
}

// networks6 are the IPv6 sides that can be served now. The caller holds d.mu.
func (d *daemon) networks6() (out []boot.Network, err error) {
	for _, n := range d.config.Networks6 {
		l, err := d.sys.Link(n.Interface)
		if err != nil {
			return nil, err
		}
		r, waits := config.Resolve6(n, l.Found, l.Addrs)
		if d.conn6 == nil {
			waits = "DHCPv6 begins with a restart"
		} else if l.Found && waits == "" && n.Mode != boot.Off {
			if err := d.conn6.Join(n.Interface); err != nil {
				waits = err.Error()
			}
		}
		d.noteState(sixName(n.Name), waits, r.Server)
		out = append(out, r)
	}
	return out, nil
}

// noteState tells when a network begins to wait, and when it is served again.
func (d *daemon) noteState(name, waits string, server fmt.Stringer) {
	if old, known := d.states[name]; !known || old != waits {
		if waits != "" {
			d.log.Warn("network waits: "+waits, "network", name)
		} else if known {
			d.log.Info("network is served again", "network", name, "address", server)
		}
	}
	d.states[name] = waits
}
