// https.go: the certificate of HTTPS: from files that a person renews, or from the
// built-in CA.

package appliance

import (
	"context"
	"crypto/tls"
	"net/netip"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/trust/authority"
)

// vault keeps the CA's secrets in the store, sealed.
type vault struct{ d *daemon }

func (v vault) Load(name string) (b []byte, err error) {
	err = v.d.store.Update(context.Background(), func(tx boot.Tx) error { b, err = v.d.openSecret(tx, name); return err })
	return b, err
}

func (v vault) Save(name string, value []byte) error {
	return v.d.store.Update(context.Background(), func(tx boot.Tx) error { return tx.SetSecret(name, v.d.seal.Seal(name, value)) })
}

// authority opens the built-in CA, or makes it, when it is first needed.
func (d *daemon) authority() (*authority.Authority, error) {
	d.caOnce.Lock()
	defer d.caOnce.Unlock()
	if d.ca == nil {
		a, err := authority.Open(vault{d}, d.now)
		if err != nil {
			return nil, err
		}
		d.ca = a
	}
	return d.ca, nil
}

// certificate is what gives a listener its certificates: the built-in CA or, where the
// table of the configuration names files, a pair of them.
func (d *daemon) certificate(table, cert, key string) (get func(*tls.ClientHelloInfo) (*tls.Certificate, error), p *pair, err error) {
	if cert == "" {
		a, err := d.authority()
		if err != nil {
			return nil, nil, err
		}
		return a.Certificate, nil, nil
	}
	p = &pair{table: table, cert: cert, key: key, now: d.now, log: func(err error) {
		d.log.Error("certificate was not reloaded; the old one stays", "err", err)
	}}
	if err := p.load(); err != nil {
		return nil, nil, config.Mistake{Err: err}
	}
	return p.get, p, nil
}

// secure is the TLS configuration of the HTTPS listener.
func (d *daemon) secure() (*httpboot.Secure, error) {
	c := d.config.HTTPS
	get, p, err := d.certificate("[https]", c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	d.pair = p
	return &httpboot.Secure{Firmware: func() bool { return d.settings().FirmwareTLS }, Certificate: get}, nil
}

// prepareCertificates has the built-in CA make its certificates before anybody asks.
func (d *daemon) prepareCertificates(ctx context.Context) error {
	if a, err := d.authority(); err != nil {
		d.log.Error("built-in CA", "err", err)
	} else if err := a.Prepare(); err != nil {
		d.log.Error("certificates", "err", err)
	}
	<-ctx.Done()
	return nil
}

// ownAddrs are our addresses, as they appear in boot URLs for these networks.
func ownAddrs(ns []boot.Network) []netip.Addr {
	var out []netip.Addr
	for _, n := range ns {
		if n.Server.IsValid() {
			out = append(out, n.Server.WithZone(""))
		}
	}
	return out
}

// certify tells the built-in CA which addresses its certificates are for. The
// lock is held.
func (d *daemon) certify(ns []boot.Network) {
	c := d.config
	addrs, names := d.adminAddrs(), []string(nil)
	if len(addrs) > 0 {
		names = adminNames(c)
	}
	if c.HTTPS.Listen != "" && c.HTTPS.Cert == "" {
		addrs, names = append(addrs, ownAddrs(ns)...), append(names, c.CertNames...)
		if c.HTTPSHost != "" {
			names = append(names, c.HTTPSHost)
		}
	}
	if len(addrs) == 0 {
		return
	}
	a, err := d.authority()
	if err != nil {
		d.log.Error("built-in CA", "err", err)
		return
	}
	a.Serve(addrs, names)
}
