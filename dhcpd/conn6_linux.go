// conn6_linux.go: one UDP socket for DHCPv6 on all interfaces. On the
// interfaces that are served it joins the multicast groups that clients and
// relays send to.

package dhcpd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/socket"
)

// Conn6 is a Conn of DHCPv6 on the kernel.
type Conn6 struct {
	pc      *net.UDPConn
	ip      *ipv6.PacketConn
	links   socket.Names
	readers sync.Pool
	now     func() time.Time
	joining sync.Mutex // one at a time: leaving and joining again is two steps
}

// Listen6 opens port 547 on every interface. It hears what is sent to an address
// of this host; Join makes it hear clients. now is the clock by which leases are
// given.
func Listen6(ctx context.Context, now func() time.Time) (*Conn6, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var serr error
		if err := rc.Control(func(fd uintptr) {
			serr = errors.Join(
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			)
			// A burst of a rack must find room while a commit is under way.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
			}
		}); err != nil {
			return err
		}
		return serr
	}}
	l, err := lc.ListenPacket(ctx, "udp6", fmt.Sprintf("[::]:%d", server6Port))
	if err != nil {
		return nil, err
	}
	c := &Conn6{pc: l.(*net.UDPConn), now: now, readers: sync.Pool{New: func() any { return new(reader6) }}}
	c.ip = ipv6.NewPacketConn(c.pc)
	return c, nil
}

// Join makes the socket receive messages of clients and relays on an interface.
// Call it whenever a link changes. It repairs a membership that the kernel has
// lost, and does nothing if none is missing.
func (c *Conn6) Join(index int) error {
	c.joining.Lock()
	defer c.joining.Unlock()
	for _, g := range groups6 {
		err := c.group(unix.IPV6_JOIN_GROUP, index, g)
		if !errors.Is(err, unix.EADDRINUSE) {
			if err != nil {
				return fmt.Errorf("join %s on interface %d: %w", g, index, err)
			}
			continue
		}
		// The socket lists the group as joined, but the device may have lost
		// it. That happens when its MTU falls below 1280 for a moment, or when
		// it is removed and comes back with its old index.
		if there, err := deviceIn(index, g); err != nil || there {
			continue
		}
		_ = c.group(unix.IPV6_LEAVE_GROUP, index, g)
		if err := c.group(unix.IPV6_JOIN_GROUP, index, g); err != nil {
			return fmt.Errorf("join %s on interface %d again: %w", g, index, err)
		}
	}
	return nil
}

// Leave ends what Join began. It does nothing for an interface that is gone or
// was never joined.
func (c *Conn6) Leave(index int) {
	c.joining.Lock()
	defer c.joining.Unlock()
	for _, g := range groups6 {
		_ = c.group(unix.IPV6_LEAVE_GROUP, index, g)
	}
}

func (c *Conn6) group(what, index int, g netip.Addr) error {
	rc, err := c.pc.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := rc.Control(func(fd uintptr) {
		serr = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, what, &unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(index)})
	}); err != nil {
		return err
	}
	return serr
}

// deviceIn asks the kernel whether an interface is in a group. Each line of the
// file has index, name, group, users, flags and timer. It reads the thread's
// own file: the process's file shows the network namespace of the main thread.
func deviceIn(index int, g netip.Addr) (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	if err != nil {
		return false, err
	}
	want := hex.EncodeToString(g.AsSlice())
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if f := bytes.Fields(s.Bytes()); len(f) > 2 && string(f[0]) == strconv.Itoa(index) && string(f[2]) == want {
			return true, nil
		}
	}
	return false, nil
}

// reader6 is what one Read needs beside the caller's buffers.
type reader6 struct{ msgs []ipv6.Message }

// Read fills buffers with one system call.
func (c *Conn6) Read(ps []Packet) (int, error) {
	r := c.readers.Get().(*reader6)
	defer c.readers.Put(r)
	if len(r.msgs) < len(ps) {
		r.msgs = make([]ipv6.Message, len(ps))
		for i := range r.msgs {
			r.msgs[i].OOB = ipv6.NewControlMessage(ipv6.FlagInterface | ipv6.FlagDst)
		}
	}
	msgs := r.msgs[:len(ps)]
	for i := range msgs {
		msgs[i].Buffers = append(msgs[i].Buffers[:0], ps[i].Buf)
	}
	n, err := c.ip.ReadBatch(msgs, 0)
	if err != nil {
		return 0, err
	}
	now := c.now()
	for i := range n {
		m, p := &msgs[i], &ps[i]
		p.N = m.N
		p.Meta = Meta{At: now}
		if ua, ok := m.Addr.(*net.UDPAddr); ok {
			ap := ua.AddrPort()
			p.Meta.Source = netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port()) // without the zone: the interface is stored below
		}
		var cm ipv6.ControlMessage
		if cm.Parse(m.OOB[:m.NN]) == nil {
			p.Meta.Index = cm.IfIndex
			p.Meta.Interface = c.links.Of(cm.IfIndex, now)
			if d, ok := netip.AddrFromSlice(cm.Dst); ok && !d.IsMulticast() {
				p.Meta.Local = d
			}
		}
	}
	return n, nil
}

// Send answers a link-local address by its link. From is the address that a
// relay sent to, because a relay may refuse an answer from another one. Without
// From the kernel chooses the source address.
func (c *Conn6) Send(reply []byte, to Dest, m Meta) error {
	index := 0
	if to.Addr.Addr().IsLinkLocalUnicast() {
		index = m.Index
	}
	dst := netip.AddrPortFrom(to.Addr.Addr().WithZone(""), to.Addr.Port())
	var oob [unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo]byte
	_, _, err := c.pc.WriteMsgUDPAddrPort(reply, packetInfo6(oob[:], index, to.From), dst)
	return err
}

// packetInfo6 names the interface and the source address of a datagram that is
// sent (RFC 3542 6.2). For a zero value the kernel chooses.
func packetInfo6(b []byte, index int, from netip.Addr) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
	info.Ifindex = uint32(index)
	if from.Is6() {
		info.Addr = from.As16()
	}
	return b
}

// Close ends every Read.
func (c *Conn6) Close() error { return c.pc.Close() }
