// conn_linux.go: one wildcard UDP socket a port, with the interface and
// address of every packet (IP_PKTINFO), batched reads, and one packet socket
// that only sends.

package dhcpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/socket"
)

// conn4 is a Conn of DHCPv4 on the kernel.
type conn4 struct {
	pc      *net.UDPConn
	ip      *ipv4.PacketConn
	raw     int // AF_PACKET; -1 without the privilege
	port    int
	links   socket.Names
	readers sync.Pool
	now     func() time.Time

	mu     sync.RWMutex // raw may not be closed under a sender
	closed bool
}

// reader is what one Read needs beside the caller's buffers.
type reader struct{ msgs []ipv4.Message }

// Listen opens a port (67 or 4011) on every interface; the policy decides which
// of them are served. It also works without CAP_NET_RAW: replies to clients
// without an address are then broadcast. frames reports whether raw frames can
// be sent. now is the clock for lease times.
func Listen(ctx context.Context, port int, now func() time.Time) (c Conn, frames bool, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var serr error
		if err := rc.Control(func(fd uintptr) {
			serr = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
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
	l, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return nil, false, err
	}
	s := &conn4{pc: l.(*net.UDPConn), port: port, raw: -1, now: now, readers: sync.Pool{New: func() any { return new(reader) }}}
	s.ip = ipv4.NewPacketConn(s.pc)
	if err := s.ip.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		l.Close()
		return nil, false, fmt.Errorf("ask for packet information: %w", err)
	}
	// Protocol 0 receives nothing: this socket only sends.
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		s.raw = fd
	}
	return s, s.raw >= 0, nil
}

func (s *conn4) Read(ps []Packet) (int, error) {
	r := s.readers.Get().(*reader)
	defer s.readers.Put(r)
	if len(r.msgs) < len(ps) {
		r.msgs = make([]ipv4.Message, len(ps))
		for i := range r.msgs {
			r.msgs[i].OOB = ipv4.NewControlMessage(ipv4.FlagInterface | ipv4.FlagDst)
		}
	}
	msgs := r.msgs[:len(ps)]
	for i := range msgs {
		msgs[i].Buffers = append(msgs[i].Buffers[:0], ps[i].Buf)
	}
	n, err := s.ip.ReadBatch(msgs, 0)
	if err != nil {
		return 0, err
	}
	now := s.now()
	for i := range n {
		m, p := &msgs[i], &ps[i]
		p.N = m.N
		p.Meta = Meta{At: now, Proxy: s.port == proxyPort}
		if ua, ok := m.Addr.(*net.UDPAddr); ok {
			ap := ua.AddrPort()
			p.Meta.Source = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		}
		var cm ipv4.ControlMessage
		if cm.Parse(m.OOB[:m.NN]) == nil {
			p.Meta.Index = cm.IfIndex
			p.Meta.Interface = s.links.Of(cm.IfIndex, now)
			if d, ok := netip.AddrFromSlice(cm.Dst.To4()); ok && !d.IsMulticast() && d != everybody.Addr() {
				p.Meta.Local = d
			}
		}
	}
	return n, nil
}

func (s *conn4) Send(reply []byte, to Dest, m Meta) error {
	if !to.From.IsValid() {
		return errNoAddress
	}
	if to.How == Frame {
		if s.raw >= 0 && s.sendFrame(reply, to, m.Index) == nil {
			return nil
		}
		to.How, to.Addr = Broadcast, everybody
	}
	index := 0
	if to.How == Broadcast {
		index = m.Index
	}
	var oob [unix.SizeofCmsghdr + unix.SizeofInet4Pktinfo]byte
	_, _, err := s.pc.WriteMsgUDPAddrPort(reply, packetInfo(oob[:], index, to.From), to.Addr)
	return err
}

// packetInfo names the interface and the source address of a datagram that is
// sent (ip(7), IP_PKTINFO).
func packetInfo(b []byte, index int, from netip.Addr) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
	info.Ifindex, info.Spec_dst = int32(index), from.As4()
	return b
}

// sendFrame sends to a client that has no address yet and so answers no ARP.
func (s *conn4) sendFrame(reply []byte, to Dest, index int) error {
	b := udpFrame(netip.AddrPortFrom(to.From, serverPort), to.Addr, reply)
	sa := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index, Halen: 6}
	copy(sa.Addr[:], to.MAC[:])
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return net.ErrClosed
	}
	return unix.Sendto(s.raw, b, 0, sa)
}

// udpFrame is an IPv4 packet with UDP in it, as the kernel would have built it.
func udpFrame(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, headersIPUDP+len(payload))
	s4, d4 := src.Addr().As4(), dst.Addr().As4()
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], s4[:])
	copy(b[16:], d4[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum16(0, b[:20])))
	putUDP(b[20:], src.Port(), dst.Port(), payload, sum16(0, b[12:20]))
	return b
}

// putUDP writes a UDP packet; addresses is the checksum's sum over its two
// addresses.
func putUDP(u []byte, src, dst uint16, payload []byte, addresses uint32) {
	binary.BigEndian.PutUint16(u[0:], src)
	binary.BigEndian.PutUint16(u[2:], dst)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[8:], payload)
	sum := ^fold(sum16(addresses+uint32(unix.IPPROTO_UDP)+uint32(len(u)), u))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], sum)
}

func sum16(c uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		c += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		c += uint32(b[0]) << 8
	}
	return c
}

func fold(c uint32) uint16 {
	for c > 0xffff {
		c = c>>16 + c&0xffff
	}
	return uint16(c)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (s *conn4) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.raw >= 0 {
		unix.Close(s.raw)
	}
	return s.pc.Close()
}
