// names_test.go: URLs carry a name where the machines of a network can look it up.

package appliance

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/dns"
)

// TestNamed: the word of a network's name servers counts, for our addresses there.
func TestNamed(t *testing.T) {
	const name = "boot.example.org"
	a := netip.MustParseAddr
	lab := boot.Network{Name: "lab", Mode: boot.Full, Server: a("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), DNS: []netip.Addr{a("10.77.0.53"), a("10.77.0.54")}}
	own := []netip.Addr{lab.Server, a("fd77::1")}
	at := func(s ...string) (r records) {
		for _, x := range s {
			r.addrs = append(r.addrs, a(x))
		}
		return r
	}
	silent, unknown := records{err: "it does not answer"}, records{unknown: true}
	for _, c := range []struct {
		what          string
		change        func(*boot.Network)
		first, second records
		want          string // "" is good
	}{
		{"both say so", nil, at("10.77.0.1"), at("10.77.0.1", "fd77::1"), ""},
		{"one is silent", nil, silent, at("10.77.0.1"), ""},
		{"both are silent", nil, silent, silent, "10.77.0.53: it does not answer; 10.77.0.54: it does not answer"},
		{"one does not know it", nil, at("10.77.0.1"), unknown, "10.77.0.54 does not know it: give it a record with 10.77.0.1"},
		{"it has the other family only", nil, at("fd77::1"), at("fd77::1"), "10.77.0.53 does not know it: give it a record with 10.77.0.1"},
		{"another's address", nil, at("10.77.0.1"), at("10.77.0.9"), "10.77.0.54 says 10.77.0.9, which is not our address there: its record should be 10.77.0.1 alone"},
		{"ours elsewhere too", nil, at("10.77.0.1", "10.88.0.1"), silent, "10.77.0.53 says 10.88.0.1, which is not our address there: its record should be 10.77.0.1 alone"},
		{"no name server", func(n *boot.Network) { n.DNS = nil }, at("10.77.0.1"), silent, "its machines are told no name server: set dns"},
		{"beside another server", func(n *boot.Network) { n.DNS, n.Mode = nil, boot.Proxy }, silent, silent, "another server gives the addresses: set dns to the name servers that it tells"},
		{"no name server by IPv6", func(n *boot.Network) { n.DNS, n.Subnet = nil, netip.MustParsePrefix("fd77::/64") }, silent, silent, "its machines are told no name server: set dns6"},
		{"no address of ours", func(n *boot.Network) { n.Server = netip.Addr{} }, at("10.77.0.1"), silent, "the network waits for an address"},
		{"others by an option", func(n *boot.Network) {
			n.Options = []boot.Option{{Code: 6, Data: []byte{10, 77, 0, 54}}}
		}, unknown, at("10.77.0.1"), ""},
		{"nobody was asked", func(n *boot.Network) { n.DNS = []netip.Addr{a("10.77.0.55")} }, silent, silent, "10.77.0.55 was not asked yet"},
	} {
		n := lab
		if c.change != nil {
			c.change(&n)
		}
		good, why := named(&n, name, own, map[query]records{{a("10.77.0.53"), name}: c.first, {a("10.77.0.54"), name}: c.second})
		if good != (c.want == "") || why != c.want {
			t.Errorf("%s: %t, %q, want %q", c.what, good, why, c.want)
		}
	}
}

// TestNames: a name server that starts later, or is taken away, is noticed; a reload
// asks first and says what came of it; an operator's certificate that is not for what
// URLs carry is told before firmware refuses it.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
		selfSigned(t, cert, key, time.Now().Add(100*time.Hour))
		served := lab + "https = true\ndns = [\"10.77.0.53\"]\n"
		tail := "[http]\nhost = \"boot.example\"\n[https]\nhost = \"boot.example\"\ncert = \"" + cert + "\"\nkey = \"" + key + "\"\n"
		r := newRig(t, served+tail)
		hosts := func(http, https string) {
			t.Helper()
			if n := r.engine.Policy().Networks[0]; n.HTTPHost != http || n.HTTPSHost != https {
				t.Errorf("URLs carry %q and %q, want %q and %q", n.HTTPHost, n.HTTPSHost, http, https)
			}
		}
		knows := func(addr string) {
			r.c.mu.Lock()
			defer r.c.mu.Unlock()
			r.c.lookup = func(server netip.Addr, name string) ([]netip.Addr, error) {
				switch {
				case addr == "":
					return nil, errors.New("it does not answer")
				case server != netip.MustParseAddr("10.77.0.53") || name != "boot.example":
					return nil, dns.ErrUnknown
				}
				return []netip.Addr{netip.MustParseAddr(addr)}, nil
			}
		}
		knows("")
		r.run()
		hosts("", "")
		r.must("URLs carry an address: 10.77.0.53: it does not answer", "network=lab", "scheme=https")
		s := r.network("lab")
		if len(s.Names) != 2 || s.Names[0].OK || s.Names[0].Said() != "http URLs carry our address and not boot.example: 10.77.0.53: it does not answer" {
			t.Errorf("%+v", s.Names)
		}
		if want := "https URLs there carry 10.77.0.1, and certificate " + cert + " is for boot.example: firmware refuses it"; s.Certificate != want {
			t.Errorf("of its certificate: %q, want %q", s.Certificate, want)
		}
		knows("10.77.0.1")
		r.after(namesEvery)
		hosts("boot.example", "boot.example")
		r.must("URLs carry a name", "network=lab", "name=boot.example")
		if s := r.network("lab"); !s.Names[1].OK || s.Certificate != "" {
			t.Errorf("%+v", s)
		}
		knows("10.77.0.9")
		r.after(namesEvery)
		hosts("", "")
		r.must("URLs carry an address: 10.77.0.53 says 10.77.0.9")

		// It is said before, by a plan, and settled when a reload has ended.
		knows("10.77.0.1")
		elsewhere := strings.Replace(served, "10.77.0.53", "10.77.0.54", 1) + tail
		p, err := r.planConfig(t.Context(), "new.toml", []byte(elsewhere))
		must(t, err)
		if len(p.Names) != 2 || p.Names[0] != "network lab: http URLs carry our address and not boot.example: 10.77.0.54 does not know it: give it a record with 10.77.0.1" {
			t.Errorf("%q", p.Names)
		}
		if p, err = r.planConfig(t.Context(), "new.toml", []byte(served+tail)); err != nil || len(p.Names) != 0 {
			t.Errorf("%v, %q", err, p.Names)
		}
		r.reread(served + tail)
		hosts("boot.example", "boot.example")
		r.reread(elsewhere)
		hosts("", "")
		r.reread(strings.ReplaceAll(served+tail, "host = \"boot.example\"\n", ""))
		hosts("", "")
		if s := r.network("lab"); len(s.Names) != 0 || !strings.HasSuffix(s.Certificate, "; [https] host = \"boot.example\" puts its name into them") {
			t.Errorf("%+v", s)
		}
	})
}

// TestNameInCertificate: a certificate of the built-in CA is for the name too.
func TestNameInCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab+"[https]\nhost = \"boot.example\"\n")
		r.run()
		a, err := r.authority()
		must(t, err)
		c, err := a.Certificate(hello)
		must(t, err)
		if err := c.Leaf.VerifyHostname("boot.example"); err != nil {
			t.Error(err)
		}
		if s := r.network("lab"); s.Certificate != "" {
			t.Errorf("%q", s.Certificate)
		}
	})
}
