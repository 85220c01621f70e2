// ra.go: what a network's IPv6 side advertises. Advertisements are sent by an
// interface, so networks on one interface share them.

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/radv"
)

// Lifetimes of a prefix. An advertisement comes every ten minutes. A day is long
// enough to outlast a night without this server, and short enough to renumber.
const (
	prefixValid     = 24 * time.Hour
	prefixPreferred = 4 * time.Hour
)

// hopLimit is the hop limit that a router tells hosts to use (RFC 4861 6.2.1,
// AdvCurHopLimit). If we are no router, we do not set it.
const hopLimit = 64

// parseSubnet6 reads "fd77::/64".
func parseSubnet6(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is6() || p.Addr().Is4In6() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Bits() < 8 || p.Bits() > 126:
		return p, fmt.Errorf("subnet6 %q: want an IPv6 subnet like \"fd77::/64\"", s)
	case p != p.Masked():
		return p, fmt.Errorf("subnet6 %s has host bits set; did you mean %s?", p, p.Masked())
	}
	return p, nil
}

// parseDNS6 reads the addresses of dns6.
func parseDNS6(list []string) (out []netip.Addr, err error) {
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
			return nil, fmt.Errorf("dns6: %q is no IPv6 address of a server", s)
		}
		out = append(out, a)
	}
	if len(out) > 16 {
		return nil, fmt.Errorf("dns6: at most 16 addresses fit into a reply")
	}
	return out, nil
}

// alone adds an interface that says, while it hears no router, that there is none: iPXE
// waits for a router for a quarter of a minute otherwise.
func alone(all []radv.Config, iface string, bad complain) ([]radv.Config, error) {
	c := radv.Config{Interface: iface, Advertise: true, Alone: true}
	i := slices.IndexFunc(all, func(o radv.Config) bool { return o.Interface == iface })
	switch {
	case i < 0:
		return append(all, c), nil
	case all[i].Advertise && !all[i].Alone:
		return nil, bad("ra", "interface %s advertises %q for another network already", iface, RAWord(all[i]))
	}
	all[i] = c
	return all, nil
}

// ra adds what a network advertises to what its interface does.
func (r fileNetwork) ra(all []radv.Config, n boot.Network, bad complain) ([]radv.Config, error) {
	if !slices.Contains([]string{"", "off", "none", "managed", "assisted", "slaac"}, r.RA) {
		return nil, bad("ra", "ra %q: want off, none (nobody routes IPv6 here), managed (addresses by DHCPv6), assisted (by DHCPv6, and hosts make their own too) or slaac (hosts make their own, the rest by DHCPv6)", r.RA)
	}
	if r.RA == "none" {
		if r.Subnet6 != "" || r.RARouter {
			return nil, bad("ra", "ra = \"none\" says that nobody routes IPv6 here, so it has no subnet6 and no ra_router beside it")
		}
		return alone(all, n.Interface, bad)
	}
	if r.Subnet6 == "" {
		for _, k := range []struct {
			key string
			set bool
		}{{"ra", r.RA != "" && r.RA != "off"}, {"ra_router", r.RARouter}, {"ra_preference", r.RAPreference != ""}, {"mtu6", r.MTU6 != 0}, {"dns6", len(r.DNS6) > 0}} {
			if k.set {
				return nil, bad(k.key, "%s needs the network's IPv6 subnet: subnet6 = \"fd77::/64\"", k.key)
			}
		}
		return all, nil
	}
	p, err := parseSubnet6(r.Subnet6)
	if err != nil {
		return nil, bad("subnet6", "%v", err)
	}
	c := radv.Config{Interface: n.Interface, Advertise: true, Router: r.RARouter, MTU: uint32(max(0, r.MTU6))}
	prefix := radv.Prefix{Prefix: p, OnLink: true, Valid: prefixValid, Preferred: prefixPreferred}
	if c.DNS, err = parseDNS6(r.DNS6); err != nil {
		return nil, bad("dns6", "%v", err)
	}
	switch r.RA {
	case "", "off":
		c.Advertise = false
	case "managed":
		c.Managed, c.Other = true, true
	case "assisted":
		c.Managed, c.Other, prefix.Autonomous = true, true, true
	case "slaac":
		c.Other, prefix.Autonomous = true, true
	}
	switch r.RAPreference {
	case "", "medium":
	case "low":
		c.Preference = radv.Low
	case "high":
		c.Preference = radv.High
	default:
		return nil, bad("ra_preference", "ra_preference %q: want low, medium or high", r.RAPreference)
	}
	switch {
	case r.MTU6 != 0 && (r.MTU6 < 1280 || r.MTU6 > 65535):
		return nil, bad("mtu6", "mtu6 %d: want 1280, which IPv6 needs, to 65535", r.MTU6)
	case !c.Advertise && r.RARouter:
		return nil, bad("ra_router", "ra_router = true is said in advertisements: want ra = \"managed\", \"assisted\" or \"slaac\" with it")
	case !c.Advertise && r.MTU6 != 0:
		return nil, bad("mtu6", "mtu6 is said in advertisements: want ra = \"managed\", \"assisted\" or \"slaac\" with it")
	case r.RAPreference != "" && !r.RARouter:
		return nil, bad("ra_preference", "ra_preference is that of a default router: want ra_router = true with it")
	case prefix.Autonomous && p.Bits() != 64:
		return nil, bad("subnet6", "subnet6 %s: hosts make addresses of their own in a /64 only (RFC 4862); want ra = \"managed\", or another subnet", p)
	}
	if c.Advertise {
		c.Prefixes = []radv.Prefix{prefix}
		if c.Router {
			c.HopLimit = hopLimit
		}
		if n.Domain != "" {
			if err := radv.ValidDomain(n.Domain); err != nil {
				return nil, bad("domain", "%v", err)
			}
			c.Search = []string{n.Domain}
		}
	} else {
		c = radv.Config{Interface: n.Interface}
	}
	i := slices.IndexFunc(all, func(o radv.Config) bool { return o.Interface == c.Interface })
	switch {
	case i < 0:
		return append(all, c), nil
	case !c.Advertise:
		return all, nil
	case !all[i].Advertise:
		all[i] = c
		return all, nil
	case all[i].Alone:
		return nil, bad("ra", "interface %s says for another network that there is no router (ra = \"none\")", c.Interface)
	}
	o := &all[i]
	if RAWord(*o) != RAWord(c) || o.Preference != c.Preference || o.MTU != c.MTU {
		return nil, bad("ra", "interface %s advertises %q for another network already, and its hosts hear both: want the same ra, ra_router, ra_preference and mtu6", c.Interface, RAWord(*o))
	}
	if slices.ContainsFunc(o.Prefixes, func(q radv.Prefix) bool { return q.Prefix.Overlaps(p) }) {
		return nil, bad("subnet6", "subnet6 %s overlaps that of another network on interface %s", p, c.Interface)
	}
	o.Prefixes = append(o.Prefixes, prefix)
	o.DNS, o.Search = union(o.DNS, c.DNS), union(o.Search, c.Search)
	return all, nil
}

func union[T comparable](a, b []T) []T {
	for _, x := range b {
		if !slices.Contains(a, x) {
			a = append(a, x)
		}
	}
	return a
}

// RAWord is what an interface advertises in the words of the configuration.
func RAWord(c radv.Config) string {
	auto := slices.ContainsFunc(c.Prefixes, func(p radv.Prefix) bool { return p.Autonomous })
	word := "slaac"
	switch {
	case !c.Advertise:
		return "off"
	case c.Alone:
		return "none"
	case c.Managed && auto:
		word = "assisted"
	case c.Managed:
		word = "managed"
	}
	if c.Router {
		word += ", router"
	}
	return word
}
