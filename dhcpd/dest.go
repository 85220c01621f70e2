// dest.go: where a reply must go (RFC 2131 4.1). Pure.

package dhcpd

import (
	"net/netip"

	"github.com/musterboot/muster/boot"
)

// Dest is the way out of one reply.
type Dest struct {
	How  How
	Addr netip.AddrPort // of the relay or client
	MAC  boot.MAC       // for Frame
	From netip.Addr     // our source address, because another server on this host has a different one
}

// How a reply is sent.
type How string

// Frame is a raw unicast frame to a client that has no address yet and so
// answers no ARP; without the privilege it becomes a broadcast.
const (
	Relayed   How = "relayed"
	Unicast   How = "unicast"
	Broadcast How = "broadcast"
	Frame     How = "frame"
)

const (
	serverPort = 67
	clientPort = 68
	proxyPort  = 4011
)

var everybody = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)

func dest4(r *request, d boot.Decision) Dest {
	to := way4(r, d)
	to.From = source(d)
	return to
}

func way4(r *request, d boot.Decision) Dest {
	if r.in.Link.Relay.IsValid() {
		port := uint16(serverPort)
		if r.relayPort && r.meta.Source.Port() != 0 {
			port = r.meta.Source.Port()
		}
		return Dest{How: Relayed, Addr: netip.AddrPortFrom(r.in.Link.Relay, port)}
	}
	x, _ := d.Reply.(boot.Answer4)
	if x.Type == boot.Nak {
		return Dest{How: Broadcast, Addr: everybody}
	}
	if r.meta.Proxy {
		// Back to where it came from: edk2 asks from 4011, iPXE from 68.
		if src := r.meta.Source; src.Addr().IsValid() && !src.Addr().IsUnspecified() {
			return Dest{How: Unicast, Addr: src}
		}
	}
	// A reply goes to ciaddr only if the client has that address. In every
	// other state the field is zero or arbitrary.
	if c := addr4(r.msg.ciaddr[:]); c.IsValid() && (r.in.Step == boot.Renew || r.in.Step == boot.Inform) {
		return Dest{How: Unicast, Addr: netip.AddrPortFrom(c, clientPort)}
	}
	if r.msg.flags&broadcastFlag != 0 || x.Grant == nil {
		return Dest{How: Broadcast, Addr: everybody}
	}
	return Dest{How: Frame, Addr: netip.AddrPortFrom(x.Grant.Addr, clientPort), MAC: r.in.ID.MAC}
}

const (
	server6Port = 547
	client6Port = 546
)

// groups6 are All_DHCP_Relay_Agents_and_Servers, for clients, and
// All_DHCP_Servers, for relays (RFC 8415 7.1).
var groups6 = []netip.Addr{netip.MustParseAddr("ff02::1:2"), netip.MustParseAddr("ff05::1:3")}

// dest6 is where a DHCPv6 reply goes. A relay is answered at its own port only
// if it asks for that (RFC 8357). A client is answered at the address and port
// that it asked from (RFC 8415 18.3.10).
func dest6(r *request6) Dest {
	src := r.meta.Source.Addr()
	if src.IsLinkLocalUnicast() {
		src = src.WithZone(r.meta.Interface) // a link-local address means nothing without its link
	}
	to := Dest{How: Unicast, Addr: netip.AddrPortFrom(src, client6Port), From: r.meta.Local}
	port := r.meta.Source.Port()
	if len(r.hops) > 0 {
		to.How, to.Addr = Relayed, netip.AddrPortFrom(src, server6Port)
		if r.hops[0].port == nil {
			port = 0
		}
	}
	if port != 0 {
		to.Addr = netip.AddrPortFrom(src, port)
	}
	return to
}
