// policy.go: everything that is configuration at this moment, as one
// immutable value.

package boot

import (
	"net/netip"
	"strconv"
	"time"
)

// Policy is read once per request through one pointer and never changed.
type Policy struct {
	Networks  []Network
	Enroll    Enroll
	Templates []*Template // newest versions, sorted by SortTemplates
	Loaders   map[Platform]string
	Key       Key
	HTTPPort  uint16 // of boot URLs; 80 is left out of them
}

// Mode is how a network gives addresses.
type Mode string

// Modes.
const (
	Full         Mode = "full"
	Reservations Mode = "reservations"
	Proxy        Mode = "proxy"
	Off          Mode = "off"
)

// Network is one VLAN.
type Network struct {
	Name      string
	Interface string
	Mode      Mode
	Server    netip.Addr // ours on this network
	Subnet    netip.Prefix
	Ranges    []Range
	Routers   []netip.Addr
	DNS       []netip.Addr
	Domain    string
	Lease     time.Duration
	Relays    []netip.Addr // relay agents that may speak for this network
	BINL      bool         // PXE firmware is sent to port 4011 instead of straight to the file
}

// Addresses reports a mode in which we own the network's addresses.
func (n *Network) Addresses() bool { return n.Mode == Full || n.Mode == Reservations }

// InRange reports an address that the pools hold.
func (n *Network) InRange(a netip.Addr) bool {
	for _, r := range n.Ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// EnrollPolicy is what happens to a boot client nobody knows.
type EnrollPolicy string

// Enrolment policies.
const (
	EnrollAuto    EnrollPolicy = "auto"
	EnrollApprove EnrollPolicy = "approve"
	EnrollIgnore  EnrollPolicy = "ignore"
)

// Enroll governs boot answers to unknown machines; addresses are the mode's.
type Enroll struct {
	Policy     EnrollPolicy
	Hold       time.Duration // then the holding script boots the disk; 0 waits for ever
	MaxPending int           // pending hosts at a time
}

// Find returns the network a request belongs to: by its relay's subnet, else
// by the interface it arrived on. A relayed request from an address that is
// nobody's relay finds nothing.
func (p *Policy) Find(l Link) *Network {
	if l.Relay.IsValid() && !l.Relay.IsUnspecified() {
		at := l.Subnet
		if !at.IsValid() {
			at = l.Relay
		}
		for i := range p.Networks {
			n := &p.Networks[i]
			if !n.Subnet.IsValid() || !n.Subnet.Contains(at) {
				continue
			}
			if n.Subnet.Contains(l.Relay) || containsAddr(n.Relays, l.Relay) {
				return n
			}
		}
		return nil
	}
	var found *Network
	for i := range p.Networks {
		n := &p.Networks[i]
		if n.Interface != l.Interface {
			continue
		}
		// Two subnets on one interface: the one that owns the address spoken to.
		if found == nil || l.Local.IsValid() && n.Server == l.Local {
			found = n
		}
	}
	return found
}

func containsAddr(l []netip.Addr, a netip.Addr) bool {
	for _, x := range l {
		if x == a {
			return true
		}
	}
	return false
}

// Serves returns the network that a file request from src belongs to, or nil:
// boot files leave only for a network that is configured, and only by the
// interface it is on where the front knows which that is.
func (p *Policy) Serves(l Link, src netip.Addr) *Network {
	for i := range p.Networks {
		n := &p.Networks[i]
		switch {
		case n.Mode == Off, !n.Subnet.IsValid(), !n.Subnet.Contains(src):
		case l.Interface != "" && n.Interface != "" && l.Interface != n.Interface:
		case l.Local.IsValid() && n.Server != l.Local:
		default:
			return n
		}
	}
	return nil
}

// baseURL is http://server[:port], with an IP literal: a name would need DNS
// in the same offer, which a proxy cannot give.
func (p *Policy) baseURL(server netip.Addr) string {
	host := server.String()
	if server.Is6() {
		host = "[" + host + "]"
	}
	if p.HTTPPort != 0 && p.HTTPPort != 80 {
		host += ":" + strconv.Itoa(int(p.HTTPPort))
	}
	return "http://" + host
}
