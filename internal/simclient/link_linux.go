package simclient

// This file is the wire of IPv4 on Linux: one socket that sends and receives
// DHCP for all machines of the process. A machine without an address sends raw
// frames with its own MAC as source. Switches learn that MAC, and DHCP snooping
// compares it.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// packetSocket sends and hears frames of an interface.
type packetSocket struct{ f *os.File }

// link is an interface on which frames are sent and received.
type link struct {
	exchange
	packetSocket
	own MAC

	mu   sync.Mutex
	b    []byte // buffer for the frame to send
	lent map[MAC]netip.Addr
}

const (
	ethIP       = 0x0800
	solPacket   = 263
	addMember   = 1
	promiscuous = 1
	frameHead   = 14 + 20 + 8
)

func openLink(ifi *net.Interface) (*link, error) {
	const (
		jump = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		load = unix.BPF_LD | unix.BPF_ABS
	)
	s, err := openPackets(ifi, ethIP, []unix.SockFilter{ // unfragmented UDP to port 68
		{Code: load | unix.BPF_H, K: 12},
		{Code: jump, Jf: 8, K: ethIP},
		{Code: load | unix.BPF_B, K: 14 + 9},
		{Code: jump, Jf: 6, K: unix.IPPROTO_UDP},
		{Code: load | unix.BPF_H, K: 14 + 6},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 4, K: 0x3fff},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 14},
		{Code: unix.BPF_LD | unix.BPF_IND | unix.BPF_H, K: 14 + 2},
		{Code: jump, Jf: 1, K: 68},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	})
	if err != nil {
		return nil, err
	}
	l := &link{packetSocket: s, own: MAC(ifi.HardwareAddr), lent: map[MAC]netip.Addr{}}
	go s.listen(frameHead, l.take)
	return l, nil
}

// openPackets opens an interface. It receives frames for its machines' MACs, so
// the card is in promiscuous mode while it is open.
func openPackets(ifi *net.Interface, proto uint16, filter []unix.SockFilter) (s packetSocket, err error) {
	if len(ifi.HardwareAddr) != 6 {
		return s, fmt.Errorf("%s is no Ethernet interface", ifi.Name)
	}
	if ifi.Flags&net.FlagUp == 0 {
		return s, fmt.Errorf("%s is down: ip link set %s up", ifi.Name, ifi.Name)
	}
	// Protocol 0 receives nothing until the filter is set.
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return s, privileged(fmt.Errorf("raw socket: %w", err))
	}
	fail := func(what string, err error) (packetSocket, error) {
		syscall.Close(fd)
		return s, privileged(fmt.Errorf("%s: %s: %w", ifi.Name, what, err))
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return fail("filter", err)
	}
	mreq := make([]byte, 16) // struct packet_mreq
	binary.NativeEndian.PutUint32(mreq, uint32(ifi.Index))
	binary.NativeEndian.PutUint16(mreq[4:], promiscuous)
	if err := syscall.SetsockoptString(fd, solPacket, addMember, string(mreq)); err != nil {
		return fail("listening for other addresses than its own", err)
	}
	// A thousand machines are answered within a moment. If the limit on the
	// buffer is lower, some answers are lost, and asked for again.
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 8<<20)
	if err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: htons(proto), Ifindex: ifi.Index}); err != nil {
		return fail("bind", err)
	}
	return packetSocket{os.NewFile(uintptr(fd), ifi.Name)}, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func privileged(err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("a simulated machine sends and hears raw frames: run as root (%w)", err)
	}
	return err
}

func (s packetSocket) close() error { return s.f.Close() }

func (s packetSocket) write(b []byte) error {
	_, err := s.f.Write(b)
	return err
}

// listen passes on frames of at least that length.
func (s packetSocket) listen(least int, take func(frame []byte)) {
	b := make([]byte, 65536)
	for {
		n, err := s.f.Read(b)
		if err != nil {
			if errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.EINTR) {
				continue // the cable was pulled, and may come back
			}
			return
		}
		if n >= least {
			take(b[:n])
		}
	}
}

func (l *link) take(b []byte) {
	head := 4 * int(b[14]&15)
	if head < 20 || len(b) < 14+head+8 {
		return
	}
	udp := b[14+head:]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < 8 || length > len(udp) {
		return
	}
	if length >= 8+34 {
		l.late(MAC(udp[8+28:]))
	}
	l.pass(udp[8:length], netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[26:30])), binary.BigEndian.Uint16(udp)), MAC(b[6:12]))
}

func (l *link) send(d *dhcpv4.DHCPv4, to *dest) error {
	if to == nil {
		to = &dest{hw: MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from: netip.IPv4Unspecified(), to: netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	}
	payload := d.ToBytes()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = frame(l.b[:0], MAC(d.ClientHWAddr), to, payload)
	return l.write(l.b)
}

// lend announces that a machine's address is at the interface's own MAC, until
// back is called. Servers such as dnsmasq put the machine's MAC into their
// neighbour table with each answer, and no interface has that MAC. So lend
// announces the address again after each late answer.
func (l *link) lend(m MAC, a netip.Addr) (back func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent[m] = a
	l.announce(a)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.lent, m)
	}
}

// late repeats the announcement, if the machine that was answered has a lent
// address.
func (l *link) late(m MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.lent[m]; ok {
		l.announce(a)
	}
}

// announce sends an ARP announcement (RFC 5227 2.3). If it is lost, neighbours
// learn the address when they ask for it.
func (l *link) announce(a netip.Addr) {
	b := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.own[:]...)
	b = append(b, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	b = append(append(b, l.own[:]...), a.AsSlice()...)
	b = append(append(b, make([]byte, 6)...), a.AsSlice()...)
	_ = l.write(append(b, make([]byte, 18)...))
}

// frame is Ethernet, IPv4 and UDP from port 68 to 67.
func frame(b []byte, src MAC, to *dest, payload []byte) []byte {
	b = append(append(append(b, to.hw[:]...), src[:]...), ethIP>>8, ethIP&0xff)
	from, dst := to.from.As4(), to.to.As4()
	n := uint16(28 + len(payload))
	ip := len(b)
	b = append(b, 0x45, 0, byte(n>>8), byte(n), 0, 0, 0, 0, 64, syscall.IPPROTO_UDP, 0, 0)
	b = append(append(b, from[:]...), dst[:]...)
	binary.BigEndian.PutUint16(b[ip+10:], ^checksum(0, b[ip:]))
	udp := len(b)
	b = append(b, 0, 68, 0, 67, byte((n-20)>>8), byte(n-20), 0, 0)
	b = append(b, payload...)
	pseudo := checksum(checksum(uint16(syscall.IPPROTO_UDP), from[:]), dst[:])
	check := ^checksum(checksum(pseudo, []byte{byte((n - 20) >> 8), byte(n - 20)}), b[udp:])
	if check == 0 {
		check = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(b[udp+6:], check)
	return b
}

// checksum is the one's complement sum of RFC 1071.
func checksum(start uint16, b []byte) uint16 {
	t := uint32(start)
	for i := 0; i+1 < len(b); i += 2 {
		t += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		t += uint32(b[len(b)-1]) << 8
	}
	for t > 0xffff {
		t = t>>16 + t&0xffff
	}
	return uint16(t)
}

// agentSocket is the relay agent's socket; its machines are behind it.
type agentSocket struct {
	exchange
	via  Relay
	conn *net.UDPConn
}

// open binds the agent's address and passes every packet to take.
func (a *agentSocket) open(via Relay, port uint16, take func(b []byte, from netip.AddrPort)) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(via.Addr, port)))
	if err != nil {
		return noAgent(via, port, err)
	}
	_ = c.SetReadBuffer(8 << 20)
	a.via, a.conn = via, c
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				take(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			}
		}
	}()
	return nil
}

func (a *agentSocket) close() error { return a.conn.Close() }

func (a *agentSocket) forward(b []byte, port uint16) error {
	_, err := a.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(a.via.Server, port))
	return err
}

// agent is the relay of DHCPv4.
type agent struct{ agentSocket }

func openAgent(via Relay) (*agent, error) {
	a := &agent{}
	return a, a.open(via, 67, func(b []byte, from netip.AddrPort) { a.pass(b, from, MAC{}) })
}

func (a *agent) send(d *dhcpv4.DHCPv4, _ *dest) error {
	relayed(d, a.via)
	return a.forward(d.ToBytes(), 67)
}

// noAgent explains why the relay's port cannot be opened.
func noAgent(via Relay, port uint16, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("the relay's address %s must be one of this host: the server answers to it", via.Addr)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d of %s is taken here: a DHCP server or relay runs on this host (%w)", port, via.Addr, err)
	}
	return privileged(fmt.Errorf("relay: %w", err))
}
