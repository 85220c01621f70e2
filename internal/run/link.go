// link.go: the state of an interface at one moment.

package run

import (
	"fmt"
	"net"
	"net/netip"
)

// Link is the state of an interface at one moment.
type Link struct {
	Name  string
	Found bool
	Up    bool // administratively
	Carry bool // has a carrier
	Addrs []netip.Prefix
}

// Look reads an interface; one that does not exist is not an error.
func Look(name string) (Link, error) {
	l := Link{Name: name}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return l, nil
	}
	l.Found = true
	l.Up = i.Flags&net.FlagUp != 0
	l.Carry = i.Flags&net.FlagRunning != 0
	as, err := i.Addrs()
	if err != nil {
		return l, fmt.Errorf("addresses of %s: %w", name, err)
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			ones, _ := n.Mask.Size()
			l.Addrs = append(l.Addrs, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return l, nil
}

// Wants says what keeps an interface that is there from passing packets, with what mends
// it; "" if nothing does.
func (l Link) Wants() string {
	switch {
	case !l.Found:
		return ""
	case !l.Up:
		return "interface " + l.Name + " is down: sudo ip link set " + l.Name + " up"
	case !l.Carry:
		return "interface " + l.Name + " has no carrier: is the cable in, and the other end on?"
	}
	return ""
}

// V4 returns the first IPv4 address that others can reach, or false.
func (l Link) V4() (netip.Prefix, bool) {
	for _, a := range l.Addrs {
		if a.Addr().Is4() && !a.Addr().IsLinkLocalUnicast() {
			return a, true
		}
	}
	return netip.Prefix{}, false
}

// LinkLocal returns the IPv6 address that it speaks to its own link from, or false.
func (l Link) LinkLocal() (netip.Addr, bool) {
	for _, a := range l.Addrs {
		if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
			return a.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// Interfaces lists the interfaces that a person may have meant.
func Interfaces() []string {
	var out []string
	is, _ := net.Interfaces()
	for _, i := range is {
		if i.Flags&net.FlagLoopback == 0 {
			out = append(out, i.Name)
		}
	}
	return out
}
