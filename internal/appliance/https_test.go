// https_test.go: whom the built-in CA certifies.

package appliance

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/trust/authority"
)

// drawer is a CA's store for a CA that nobody here uses.
type drawer map[string][]byte

func (d drawer) Load(name string) ([]byte, error)     { return d[name], nil }
func (d drawer) Save(name string, value []byte) error { d[name] = value; return nil }

// TestCertified: the built-in CA signs for our addresses in both families.
func TestCertified(t *testing.T) {
	ca, err := authority.Open(drawer{}, time.Now)
	must(t, err)
	d := &daemon{ca: ca, config: &config.Config{Listeners: config.Listeners{HTTPS: config.HTTPS{Listen: ":443"}}}}
	network := func(s string) boot.Network { a, _ := netip.ParseAddr(s); return boot.Network{Server: a} }
	d.certify([]boot.Network{network("10.77.0.1"), network(""), network("fd77::1"), network("2001:db8::1")})
	c, err := ca.Certificate(&tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS12}})
	must(t, err)
	for name, want := range map[string]bool{"10.77.0.1": true, "fd77::1": true, "[2001:db8::1]": true, "2001:db8:0:0::1": true, "fd77::2": false} {
		if got := c.Leaf.VerifyHostname(name) == nil; got != want {
			t.Errorf("it is for %s: %t", name, got)
		}
	}
}
