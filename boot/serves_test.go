// serves_test.go: which network a file request belongs to, in both families.

package boot

import (
	"net/netip"
	"testing"
)

func TestServes(t *testing.T) {
	addr := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	network := func(name, iface string, mode Mode, subnet, server string) Network {
		return Network{Name: name, Interface: iface, Mode: mode, Subnet: netip.MustParsePrefix(subnet), Server: addr(server)}
	}
	p := Policy{
		Networks: []Network{
			network("lab", "eth1", Full, "10.77.0.0/24", "10.77.0.1"),
			network("old", "eth2", Off, "10.78.0.0/24", "10.78.0.1"),
			network("four", "eth3", Full, "10.79.0.0/24", "10.79.0.1"),
		},
		Networks6: []Network{
			network("lab", "eth1", Full, "fd77::/64", "fd77::1"),
			network("old", "eth2", Off, "fd78::/64", "fd78::1"),
			network("waits", "eth4", Full, "fd80::/64", ""),
			network("second", "eth1", Full, "fd81::/64", "fd81::1"),
			network("both", "eth5", Full, "fd82::/64", "fd82::1"),
		},
	}
	for _, c := range []struct {
		src, local, iface string
		want              string
		subnet            string // of the network, where its name does not tell
	}{
		{src: "10.77.0.50", local: "10.77.0.1", iface: "eth1", want: "lab", subnet: "10.77.0.0/24"},
		{src: "10.77.0.50", local: "10.77.0.1", want: "lab"}, // HTTP does not know the interface
		{src: "10.77.0.50", want: "lab"},
		{src: "10.77.0.50", local: "10.77.0.2", iface: "eth1"},
		{src: "10.77.0.50", local: "10.77.0.1", iface: "eth3"},
		{src: "10.78.0.50", local: "10.78.0.1", iface: "eth2"},
		{src: "10.99.0.50", iface: "eth1"},
		{src: "169.254.7.7", local: "10.77.0.1", iface: "eth1"}, // of no subnet, as ever
		{src: "10.77.0.50", local: "169.254.0.1", iface: "eth1"},

		{src: "fd77::50", local: "fd77::1", iface: "eth1", want: "lab", subnet: "fd77::/64"},
		{src: "fd77::50", local: "fd77::1", want: "lab"},
		{src: "fd77::50", want: "lab"},
		{src: "fd77::50", local: "fd77::2", iface: "eth1"},
		{src: "fd77::50", local: "fd77::1", iface: "eth5"},
		{src: "fd81::50", local: "fd81::1", iface: "eth1", want: "second"},
		{src: "fd78::50", local: "fd78::1", iface: "eth2"},
		{src: "fd80::50", local: "fd80::1", iface: "eth4"},
		{src: "fd99::50", iface: "eth1"},
		{src: "2001:db8::1", local: "fd77::1"},

		{src: "fe80::50", local: "fe80::1", iface: "eth1", want: "lab", subnet: "fd77::/64"},
		{src: "fe80::50", local: "fe80::1", iface: "eth5", want: "both"},
		{src: "fe80::50", local: "fd82::1", iface: "eth5", want: "both"},
		{src: "fe80::50", local: "fd81::1", iface: "eth1", want: "second"},
		{src: "fd82::50", local: "fe80::1", iface: "eth5", want: "both"},
		{src: "fd82::50", local: "fe80::1"},                // by which interface?
		{src: "fe80::50", local: "fe80::1"},                // of which link?
		{src: "fe80::50", local: "fe80::1", iface: "eth2"}, // off
		{src: "fe80::50", local: "fe80::1", iface: "eth3"}, // IPv4 alone
		{src: "fe80::50", local: "fe80::1", iface: "eth4"}, // no address for its URLs
		{src: "fe80::50", local: "fe80::1", iface: "eth9"},
		{src: "fe80::50", local: "fd82::2", iface: "eth5"}, // not the network's address
	} {
		n := p.Serves(Link{Interface: c.iface, Local: addr(c.local)}, addr(c.src))
		got := ""
		if n != nil {
			got = n.Name
		}
		if got != c.want || c.subnet != "" && n.Subnet.String() != c.subnet {
			t.Errorf("%s to %s by %q belongs to %q, want %q %s", c.src, c.local, c.iface, got, c.want, c.subnet)
		}
	}
}

// TestFind: each family has networks of its own, and a request belongs to that of its
// relay, else of its interface.
func TestFind(t *testing.T) {
	network := func(name, iface, subnet string) Network {
		p := netip.MustParsePrefix(subnet)
		return Network{Name: name, Interface: iface, Subnet: p, Server: p.Addr().Next()}
	}
	p := Policy{Networks: []Network{network("lab", "eth1", "10.77.0.0/24"), network("yard", "eth2", "10.78.0.0/24")}, Networks6: []Network{network("six", "eth1", "fd77::/64")}}
	name := func(n *Network) string {
		if n == nil {
			return ""
		}
		return n.Name
	}
	for l, want := range map[Link]string{
		{Interface: "eth1"}: "lab six", {Interface: "eth2"}: "yard ", {Interface: "eth3"}: " ",
		{Interface: "eth1", Relay: netip.MustParseAddr("10.77.0.9")}: "lab ", {Interface: "eth1", Relay: netip.MustParseAddr("10.78.0.9")}: "yard ", {Interface: "eth1", Relay: netip.MustParseAddr("10.79.0.9")}: " ",
		{Interface: "eth1", Relay: netip.MustParseAddr("fd77::9")}: " six", {Interface: "eth2", Relay: netip.IPv4Unspecified()}: "yard ",
	} {
		if got := name(p.Find(l)) + " " + name(p.Find6(l)); got != want {
			t.Errorf("%+v belongs to %q, want %q", l, got, want)
		}
	}
}
