// link_linux.go: interfaces that come and go, and an address that one run adds.

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
		undo = func() {} // the interface had the address before
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
		// Without netlink a check once a second is good enough.
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

// CanRaw reports whether the process may send raw frames.
func CanRaw() bool {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
