// link.go: interfaces that come and go, and the address of one run.

package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is what an interface is at one moment.
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

// Interfaces lists the interfaces a person may have meant.
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

// SetAddress gives an interface an address and brings it up. undo takes the
// address away again.
func SetAddress(name string, p netip.Prefix) (undo func(), err error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("give %s the address %s: %w (needs root or CAP_NET_ADMIN)", name, p, err)
	} else if err != nil {
		undo = func() {} // it had it before us
	} else {
		undo = func() { _ = netlink.AddrDel(l, a) }
	}
	if err := netlink.LinkSetUp(l); err != nil {
		undo()
		return nil, fmt.Errorf("bring %s up: %w (needs root or CAP_NET_ADMIN)", name, err)
	}
	return undo, nil
}

// WatchLinks calls changed, at most four times a second, whenever any
// interface or address of the machine changes, until ctx ends.
func WatchLinks(ctx context.Context, changed func()) error {
	done := make(chan struct{})
	defer close(done)
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	err := errors.Join(netlink.LinkSubscribe(links, done), netlink.AddrSubscribe(addrs, done))
	if err != nil {
		// Without netlink, looking once a second is as good.
		links, addrs = nil, nil
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-links:
			if !ok {
				links = nil
				continue
			}
		case _, ok := <-addrs:
			if !ok {
				addrs = nil
				continue
			}
		case <-t.C:
			if links != nil && addrs != nil {
				continue
			}
		case <-due:
			due = nil
			changed()
			continue
		}
		if due == nil {
			due = time.After(250 * time.Millisecond)
		}
	}
}
