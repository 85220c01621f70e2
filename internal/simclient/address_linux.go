package simclient

// This file adds leased addresses to the host, so that files can be fetched
// from them, and removes them again. It changes nothing that was there before.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// addresses are those of one interface.
type addresses struct {
	ifi   *net.Interface
	own   []netip.Prefix // that it had before the run
	never bool           // no address may be added
	lent  bool           // leases are used even if the host's own address would do
	relay netip.Addr     // set if machines are behind this relay: then no address is added

	mu    sync.Mutex
	added map[netip.Addr]int
	nets  map[netip.Prefix]bool // routes added
}

func newAddresses(ifi *net.Interface, never, lent bool) (*addresses, error) {
	a := &addresses{ifi: ifi, never: never, lent: lent, added: map[netip.Addr]int{}, nets: map[netip.Prefix]bool{}}
	as, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	for _, x := range as {
		if n, ok := x.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); ip.IsValid() && !ip.IsLinkLocalUnicast() {
				ones, _ := n.Mask.Size()
				a.own = append(a.own, netip.PrefixFrom(ip, ones))
			}
		}
	}
	return a, nil
}

// source is the address that a machine with this lease loads from. With must it
// has to be the leased one.
func (a *addresses) source(l *lease, must bool) (src netip.Addr, back func(), err error) {
	back = func() {}
	if a.relay.IsValid() {
		return a.relay, back, nil
	}
	if !must && !a.lent && a.never {
		// A server that binds boot paths to their machines refuses this one.
		for _, p := range a.own {
			if p.Contains(l.addr) {
				return p.Addr(), back, nil
			}
		}
	}
	for _, p := range a.own {
		if p.Addr() == l.addr {
			return l.addr, back, nil
		}
	}
	if a.never {
		return src, back, fault("leave out --no-address, or give the interface an address of that subnet", "the leased address %s would have to be added to %s, and --no-address forbids it", l.addr, a.ifi.Name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// It is added as a /32. When the first address of a subnet is removed, the
	// kernel removes all others of that subnet too.
	if a.added[l.addr] == 0 {
		if err := a.change(syscall.RTM_NEWADDR, l.addr); err != nil {
			return src, back, fault("run as root, or give the interface an address of the leased subnet", "adding %s to %s: %v", l.addr, a.ifi.Name, err)
		}
	}
	a.added[l.addr]++
	if err := a.route(netip.PrefixFrom(l.addr, l.mask).Masked(), netip.Addr{}); err != nil {
		return src, back, fault("", "a route to the leased subnet on %s: %v", a.ifi.Name, err)
	}
	return l.addr, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.added[l.addr]--; a.added[l.addr] <= 0 {
			delete(a.added, l.addr)
			_ = a.change(syscall.RTM_DELADDR, l.addr)
		}
	}, nil
}

// reach adds a route to a server outside the subnet, by the router of the
// lease. It does nothing if the host's own address is used.
func (a *addresses) reach(l *lease, src, server netip.Addr) error {
	if a.ifi == nil || src != l.addr || !l.router.IsValid() || netip.PrefixFrom(l.addr, l.mask).Contains(server) || server.Is4() != src.Is4() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.route(netip.PrefixFrom(server, server.BitLen()), l.router)
}

// route adds a route if there is none; it leaves an existing one as it is. A
// route that was added may be gone already: the last address of an interface
// takes its routes with it.
func (a *addresses) route(p netip.Prefix, via netip.Addr) error {
	switch err := a.changeRoute(syscall.RTM_NEWROUTE, p, via); {
	case errors.Is(err, syscall.EEXIST):
		return nil
	case err != nil:
		return err
	}
	a.nets[p] = true
	return nil
}

// close removes everything that was added.
func (a *addresses) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	gone := func(err error) {
		if !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			errs = append(errs, err)
		}
	}
	for p := range a.nets {
		gone(a.changeRoute(syscall.RTM_DELROUTE, p, netip.Addr{}))
	}
	for ip := range a.added {
		gone(a.change(syscall.RTM_DELADDR, ip))
	}
	clear(a.nets)
	clear(a.added)
	return errors.Join(errs...)
}

func (a *addresses) change(what uint16, ip netip.Addr) error {
	b := []byte{family(ip), byte(ip.BitLen()), 0, syscall.RT_SCOPE_UNIVERSE}
	if ip.Is6() {
		b[2] = syscall.IFA_F_NODAD // the machine has probed the address already
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(a.ifi.Index))
	b = attribute(b, syscall.IFA_LOCAL, ip.AsSlice())
	b = attribute(b, syscall.IFA_ADDRESS, ip.AsSlice())
	if what == syscall.RTM_NEWADDR {
		// A run that is killed cannot take it away, and to the server it would be
		// somebody else's for ever.
		const life = 3600 // seconds
		var info []byte
		for _, v := range []uint32{life, life, 0, 0} { // struct ifa_cacheinfo
			info = binary.NativeEndian.AppendUint32(info, v)
		}
		b = attribute(b, syscall.IFA_CACHEINFO, info)
	}
	err := netlink(what, b)
	if what == syscall.RTM_NEWADDR && errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

func (a *addresses) changeRoute(what uint16, p netip.Prefix, via netip.Addr) error {
	scope := byte(syscall.RT_SCOPE_LINK)
	flags := uint32(0)
	if via.IsValid() {
		const onlink = 4 // RTNH_F_ONLINK: the router may be outside every subnet of the interface
		scope, flags = syscall.RT_SCOPE_UNIVERSE, onlink
	}
	b := []byte{family(p.Addr()), byte(p.Bits()), 0, 0, syscall.RT_TABLE_MAIN, syscall.RTPROT_STATIC, scope, syscall.RTN_UNICAST}
	if what == syscall.RTM_DELROUTE {
		b[5], b[6], b[7] = 0, syscall.RT_SCOPE_NOWHERE, 0
	}
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = attribute(b, syscall.RTA_DST, p.Addr().AsSlice())
	if p.Addr().Is6() {
		// Its metric tells it from the kernel's own routes, which are left
		// alone.
		b = attribute(b, syscall.RTA_PRIORITY, binary.NativeEndian.AppendUint32(nil, 4321))
	}
	b = attribute(b, syscall.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(a.ifi.Index)))
	if via.IsValid() {
		b = attribute(b, syscall.RTA_GATEWAY, via.AsSlice())
	}
	return netlink(what, b)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

func attribute(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// netlink asks the kernel for one change and waits for its answer.
func netlink(what uint16, body []byte) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	flags := uint16(syscall.NLM_F_REQUEST | syscall.NLM_F_ACK)
	if what == syscall.RTM_NEWADDR || what == syscall.RTM_NEWROUTE {
		flags |= syscall.NLM_F_CREATE | syscall.NLM_F_EXCL
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, what)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(b, make([]byte, 8)...)
	if err := syscall.Sendto(fd, append(b, body...), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < syscall.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != syscall.NLMSG_ERROR {
		return fmt.Errorf("the kernel's answer is not understood")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[syscall.NLMSG_HDRLEN:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// dialFrom binds a connection to an interface, if one is named, and keeps its
// window small.
func dialFrom(fd uintptr, device string) error {
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window)
	if device == "" {
		return nil
	}
	return syscall.BindToDevice(int(fd), device)
}
