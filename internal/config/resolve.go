// resolve.go: fits a configured network to the present state of its interface.

package config

import (
	"fmt"
	"net/netip"

	"github.com/musterboot/muster/boot"
)

// Resolve gives a configured network the address that its interface has now and, if
// the file names no subnet, the subnet. Its arguments say whether the interface is
// there, and its addresses. waits says, for people, why the network cannot be served
// yet.
func Resolve(n boot.Network, there bool, addrs []netip.Prefix) (_ boot.Network, waits string, err error) {
	n.Server = netip.Addr{}
	if !there {
		return n, "interface " + n.Interface + " is not there", nil
	}
	for _, a := range addrs {
		if !a.Addr().Is4() {
			continue
		}
		if n.Subnet.IsValid() && n.Subnet.Contains(a.Addr()) {
			n.Server = a.Addr()
			break
		}
		if !n.Subnet.IsValid() && !a.Addr().IsLinkLocalUnicast() {
			n.Server, n.Subnet = a.Addr(), a.Masked()
			break
		}
	}
	if !n.Server.IsValid() && (len(n.Relays) > 0 || n.NextServer) {
		// Behind a relay, or a router, the subnet is on another link; any address of ours will do.
		for _, a := range addrs {
			if a.Addr().Is4() && !a.Addr().IsLinkLocalUnicast() {
				n.Server = a.Addr()
				break
			}
		}
	}
	if !n.Server.IsValid() {
		if n.Subnet.IsValid() {
			return n, fmt.Sprintf("interface %s has no address in %s; where that is behind a relay agent, list it: relays = [\"ADDRESS\"]; behind a router that names us as next-server: next_server = true", n.Interface, n.Subnet), nil
		}
		return n, fmt.Sprintf("interface %s has no IPv4 address", n.Interface), nil
	}
	return n, "", inside(n.Subnet, n.Ranges)
}

// Resolve6 finds our address on the network's interface. Without an address in its
// subnet the network waits.
func Resolve6(n boot.Network, there bool, addrs []netip.Prefix) (_ boot.Network, waits string) {
	n.Server = netip.Addr{}
	if !there {
		return n, "interface " + n.Interface + " is not there"
	}
	var other netip.Addr
	for _, a := range addrs {
		switch ip := a.Addr(); {
		case !ip.Is6() || ip.IsLinkLocalUnicast():
		case n.Subnet.Contains(ip):
			n.Server = ip
			return n, ""
		default:
			other = ip
		}
	}
	if len(n.Relays) > 0 && other.IsValid() {
		n.Server = other // behind a relay the subnet is on another link
		return n, ""
	}
	return n, fmt.Sprintf("interface %s has no address in %s", n.Interface, n.Subnet)
}
