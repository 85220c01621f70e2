// six.go: the IPv6 side of a network: what DHCPv6 gives.

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// six is the network's IPv6 side; nil where it has none. n is its IPv4 side,
// checked: name, interface and times are the same.
func (r fileNetwork) six(n boot.Network, bad complain) (*boot.Network, error) {
	if r.Subnet6 == "" {
		for _, k := range []struct {
			key string
			set bool
		}{{"mode6", r.Mode6 != ""}, {"range6", r.Range6 != ""}, {"relays6", len(r.Relays6) > 0}, {"delegate6", r.Delegate6 != ""}, {"delegate6_len", r.Delegate6Len != 0}} {
			if k.set {
				return nil, bad(k.key, "%s needs the network's IPv6 subnet: subnet6 = \"fd77::/64\"", k.key)
			}
		}
		return nil, nil
	}
	p, err := parseSubnet6(r.Subnet6)
	if err != nil {
		return nil, bad("subnet6", "%v", err)
	}
	x := boot.Network{Name: n.Name, Interface: n.Interface, Subnet: p, Domain: n.Domain, Lease: n.Lease, UnknownLease: n.UnknownLease, UnknownShare: n.UnknownShare, NewLeases: n.NewLeases,
		RapidCommit: n.RapidCommit, TrustPorts: n.TrustPorts, RelaysOnly: n.RelaysOnly, HTTPS: n.HTTPS, Loader: n.Loader, Bandwidth: n.Bandwidth, InstallsPerHour: n.InstallsPerHour}
	if x.DNS, err = parseDNS6(r.DNS6); err != nil {
		return nil, bad("dns6", "%v", err)
	}
	switch x.Mode = boot.Mode(r.Mode6); x.Mode {
	case "":
		x.Mode = boot.Full
	case boot.Full, boot.Reservations, boot.Off:
	default:
		return nil, bad("mode6", "mode6 %q: want full, reservations or off; DHCPv6 has no proxy, because each server answers for itself", r.Mode6)
	}
	switch {
	case x.Mode != boot.Full && r.Range6 != "":
		return nil, bad("range6", "mode6 %s gives no addresses of a range; leave range6 out, or write mode6 = \"full\"", x.Mode)
	case x.Mode != boot.Full:
	case r.Range6 != "":
		if x.Ranges, err = parseRanges6(r.Range6, p); err != nil {
			return nil, bad("range6", "%v", err)
		}
	case p.Bits() > 112:
		return nil, bad("subnet6", "subnet6 %s is small: say which addresses may be given, range6 = \"FIRST-LAST\"", p)
	default:
		x.Ranges = []boot.Range{{From: host6(p, 0x1000), To: host6(p, 0xffff)}}
	}
	for _, s := range r.Relays6 {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return nil, bad("relays6", "relays6: %q is no IPv6 address of a relay agent", s)
		}
		x.Relays = append(x.Relays, a)
	}
	if r.Delegate6 == "" {
		if r.Delegate6Len != 0 {
			return nil, bad("delegate6_len", "delegate6_len is the size of what is given out of delegate6, and there is none")
		}
		return &x, nil
	}
	if x.Delegated, err = netip.ParsePrefix(r.Delegate6); err != nil || !x.Delegated.Addr().Is6() || x.Delegated != x.Delegated.Masked() {
		return nil, bad("delegate6", "delegate6 %q: want a prefix to delegate from, like \"fd77:1::/48\"", r.Delegate6)
	}
	if x.DelegatedLen = r.Delegate6Len; x.DelegatedLen == 0 {
		x.DelegatedLen = min(64, x.Delegated.Bits()+8)
	}
	switch l := x.DelegatedLen; {
	case l < x.Delegated.Bits() || l > 64:
		return nil, bad("delegate6_len", "delegate6_len %d: want the size of each prefix, from %d to 64", l, x.Delegated.Bits())
	case x.Delegated.Overlaps(p):
		return nil, bad("delegate6", "delegate6 %s overlaps subnet6 %s: what is delegated is behind a router, not on this link", x.Delegated, p)
	}
	return &x, nil
}

// host6 is the address in a prefix that has these last sixteen bits.
func host6(p netip.Prefix, n uint16) netip.Addr {
	b := p.Addr().As16()
	b[14], b[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(b)
}

// parseRanges6 reads "fd77::100-fd77::1ff, fd77::a000-fd77::afff".
func parseRanges6(s string, in netip.Prefix) (out []boot.Range, err error) {
	for part := range strings.SplitSeq(s, ",") {
		first, last, ok := strings.Cut(part, "-")
		from, err1 := netip.ParseAddr(strings.TrimSpace(first))
		to, err2 := netip.ParseAddr(strings.TrimSpace(last))
		r := boot.Range{From: from, To: to}
		switch {
		case !ok || err1 != nil || err2 != nil || !from.Is6() || !to.Is6():
			return nil, fmt.Errorf("range6 %q: want FIRST-LAST, such as \"%s-%s\"", strings.TrimSpace(part), host6(in, 0x1000), host6(in, 0x1fff))
		case !in.Contains(from):
			return nil, fmt.Errorf("range6 %s: %s is outside subnet6 %s", r, from, in)
		case !in.Contains(to):
			return nil, fmt.Errorf("range6 %s: %s is outside subnet6 %s", r, to, in)
		case to.Less(from):
			return nil, fmt.Errorf("range6 %s runs backwards; did you mean %s-%s?", r, to, from)
		case r.Size() == 0:
			return nil, fmt.Errorf("range6 %s: want addresses of one /64", r)
		case slices.ContainsFunc(out, func(o boot.Range) bool { return overlap(r, o) }):
			return nil, fmt.Errorf("range6 %s overlaps another", r)
		}
		out = append(out, r)
	}
	return out, nil
}
