// conn.go: the socket of one interface, and the interface's state in the
// kernel.

package radv

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// link is the state of an interface at one moment; a changed link needs a new
// socket.
type link struct {
	index int
	mac   string // raw
	addr  netip.Addr
}

// look reads an interface. Its error says what is missing before it can be
// served.
func look(name string) (link, error) {
	i, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return link{}, fmt.Errorf("interface %s is not there", name)
	case i.Flags&net.FlagUp == 0:
		return link{}, fmt.Errorf("interface %s is down", name)
	case i.Flags&net.FlagRunning == 0:
		return link{}, fmt.Errorf("interface %s has no carrier", name)
	}
	as, err := i.Addrs()
	if err != nil {
		return link{}, fmt.Errorf("addresses of %s: %w", name, err)
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok {
			if ip, _ := netip.AddrFromSlice(n.IP); ip.Is6() && !ip.Is4In6() && ip.IsLinkLocalUnicast() {
				return link{i.Index, string(i.HardwareAddr), ip}, nil
			}
		}
	}
	return link{}, fmt.Errorf("interface %s has no link-local IPv6 address (is IPv6 off there? sysctl net.ipv6.conf.%s.disable_ipv6)", name, strings.ReplaceAll(name, ".", "/"))
}

// forwards reports whether the kernel forwards packets that arrive on an
// interface.
func forwards(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/forwarding")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// conn is what an interface is served by.
type conn interface {
	// read returns the next message, its hop limit and its sender.
	read(b []byte) (n, hopLimit int, from netip.Addr, err error)
	write(b []byte, to netip.Addr) error
	Close() error
}

type socket struct {
	*ipv6.PacketConn
}

// open opens the socket of an interface, bound to its link-local address, which
// advertisements must come from (RFC 4861 6.1.2). Binding fails while duplicate
// address detection still runs.
func open(name string, l link) (_ conn, err error) {
	// By number, not by name: package net caches a name's number for a minute,
	// and this may be a new interface with that name.
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", l.addr.WithZone(strconv.Itoa(l.index)).String())
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w; run as root, or with CAP_NET_RAW", err)
		}
		return nil, fmt.Errorf("open a socket for router advertisements on %s: %w", name, err)
	}
	p := c.IPv6PacketConn()
	defer func() {
		if err != nil {
			c.Close()
			err = fmt.Errorf("prepare the socket for router advertisements on %s: %w", name, err)
		}
	}()
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterSolicitation)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	ifi := &net.Interface{Index: l.index, Name: name}
	return &socket{p}, errors.Join(
		p.SetICMPFilter(&f),
		p.SetChecksum(true, 2),
		p.SetHopLimit(ndHopLimit),
		p.SetMulticastHopLimit(ndHopLimit),
		p.SetMulticastInterface(ifi),
		// A packet from our own address then comes from another program.
		p.SetMulticastLoopback(false),
		p.SetControlMessage(ipv6.FlagHopLimit, true),
		p.JoinGroup(ifi, &net.IPAddr{IP: allNodes.AsSlice()}),
		p.JoinGroup(ifi, &net.IPAddr{IP: allRouters.AsSlice()}),
	)
}

func (s *socket) read(b []byte) (n, hopLimit int, from netip.Addr, err error) {
	n, cm, src, err := s.ReadFrom(b)
	if err != nil {
		return 0, 0, from, err
	}
	if cm != nil {
		hopLimit = cm.HopLimit
	}
	if a, ok := src.(*net.IPAddr); ok {
		from, _ = netip.AddrFromSlice(a.IP)
	}
	return n, hopLimit, from, nil
}

func (s *socket) write(b []byte, to netip.Addr) error {
	// A link that takes no frames must not hold up a shutdown.
	if err := s.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err := s.WriteTo(b, nil, &net.IPAddr{IP: to.AsSlice()}) // its zone is the socket's
	return err
}
