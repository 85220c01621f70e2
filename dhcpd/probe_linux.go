// probe_linux.go: looks for other DHCP servers on a link, as a client would, and
// for machines on addresses that are to be given out.

package dhcpd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// maxFound bounds the servers that one probe finds: somebody may make them up.
const maxFound = 64

// A link is asked in rounds, each by a client of its own, and silence counts only after
// all. A server may think for a while before it offers an address that it has not offered
// yet: dnsmasq pings it for three seconds, ISC's dhcpd and Kea for one.
const (
	askRounds = 2
	askListen = 5 * time.Second
	askAgain  = 2 * time.Second // packets get lost
)

// ProbeTime is how long a probe takes where nobody answers.
const ProbeTime = askRounds * askListen

// Probe asks a link for its DHCP servers, as clients would, and returns those that
// offered an address: as soon as one did, or none after ProbeTime. This server leaves
// those DISCOVERs unanswered. Probe needs CAP_NET_RAW, because a client has no address
// yet that a reply could be sent to.
func (s *Server) Probe(ctx context.Context, iface string) ([]boot.Rival, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	fd, err := linkSocket(i, unix.ETH_P_IP, toClient...)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var frames [askRounds][]byte
	var ids [askRounds]dhcpv4.TransactionID
	for n := range frames {
		mac := make(net.HardwareAddr, 6)
		rand.Read(mac)
		mac[0] = mac[0]&^1 | 2 // locally administered: the MAC of no real machine
		defer s.probing(boot.MAC(mac))()
		msg, err := dhcpv4.NewDiscovery(mac)
		if err != nil {
			return nil, err
		}
		msg.SetBroadcast()
		ids[n] = msg.TransactionID
		frames[n] = udpFrame(netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(everybody.Addr(), serverPort), msg.ToBytes())
	}
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	return ask(ctx, fd, i, to, frames, func(ip []byte) (r boot.Rival, ok bool) {
		for _, id := range ids { // also one that comes a round late
			if r, ok = offerFor(ip, id); ok {
				break
			}
		}
		return r, ok
	})
}

// ask sends the frame of each round, and returns the servers that read finds in what
// comes back. Who else answers is waited for a moment after the first.
func ask(ctx context.Context, fd int, i *net.Interface, to unix.Sockaddr, frames [askRounds][]byte, read func(ip []byte) (boot.Rival, bool)) (found []boot.Rival, err error) {
	buf := make([]byte, bufferSize)
	for _, frame := range frames {
		for at, next := time.Now(), time.Now(); ; {
			if !next.After(time.Now()) && len(found) == 0 {
				if err := unix.Sendto(fd, frame, 0, to); err != nil {
					return found, fmt.Errorf("send on %s: %w", i.Name, err)
				}
				if next = at.Add(askAgain); !next.After(time.Now()) {
					next = at.Add(askListen)
				}
			}
			n, err := receive(ctx, fd, buf, next)
			if err != nil {
				return found, fmt.Errorf("receive on %s: %w", i.Name, err)
			}
			if len(found) == maxFound || ctx.Err() != nil || n == 0 && (len(found) > 0 || time.Since(at) >= askListen) {
				break
			}
			if n == 0 {
				continue
			}
			r, ok := read(buf[:n])
			if ok && !slices.ContainsFunc(found, func(o boot.Rival) bool { return o.Server == r.Server }) {
				if len(found) == 0 {
					next = time.Now().Add(time.Second)
				}
				found = append(found, r)
			}
		}
		if len(found) > 0 || ctx.Err() != nil {
			break
		}
	}
	return found, ctx.Err()
}

// toClient passes unfragmented packets to the DHCP client port. Without this
// filter the kernel would copy everything that this machine receives meanwhile
// to the probe, boot files included.
var toClient = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4}, // fragment offset
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// linkSocket is a packet socket on one interface for one protocol. A filter
// chooses the packets that it receives.
func linkSocket(i *net.Interface, protocol uint16, filter ...bpf.Instruction) (fd int, err error) {
	// Protocol 0 receives nothing: bind starts it, when the filter is there.
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := setFilter(fd, filter); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: i.Index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to %s: %w", i.Name, err)
	}
	return fd, nil
}

func setFilter(fd int, program []bpf.Instruction) error {
	if len(program) == 0 {
		return nil
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return fmt.Errorf("filter a packet socket: %w", err)
	}
	return nil
}

// receive waits for a packet until end, or until ctx ends; then it returns 0.
func receive(ctx context.Context, fd int, buf []byte, end time.Time) (int, error) {
	for {
		left := time.Until(end)
		if left <= 0 || ctx.Err() != nil {
			return 0, nil
		}
		tv := unix.NsecToTimeval(min(left, 200*time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return 0, err
		}
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		return n, err
	}
}

// probing has the server ignore a MAC address until the returned function is
// called.
func (s *Server) probing(m boot.MAC) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes[m] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.probes, m)
	}
}

// offerFor reads the server and its offer from an IPv4 packet, if it is an OFFER
// of this transaction.
func offerFor(ip []byte, xid dhcpv4.TransactionID) (r boot.Rival, ok bool) {
	if len(ip) < headersIPUDP || ip[0]>>4 != 4 || ip[9] != unix.IPPROTO_UDP {
		return r, false
	}
	hl := int(ip[0]&15) * 4
	if len(ip) < hl+8 || binary.BigEndian.Uint16(ip[hl+2:]) != clientPort {
		return r, false
	}
	m, err := dhcpv4.FromBytes(ip[hl+8:])
	if err != nil || m.TransactionID != xid || m.MessageType() != dhcpv4.MessageTypeOffer {
		return r, false
	}
	r.Server, r.Offered = addr4(m.Options.Get(dhcpv4.OptionServerIdentifier)), addr4(m.YourIPAddr.To4())
	var with []string
	if a := addr4(m.Options.Get(dhcpv4.OptionRouter)[:min(4, len(m.Options.Get(dhcpv4.OptionRouter)))]); a.IsValid() {
		with = append(with, "router "+a.String())
	}
	if f := text([]byte(m.BootFileName)); f != "" {
		with = append(with, "boot file "+f[:min(len(f), 64)])
	}
	r.Options = strings.Join(with, ", ")
	return r, r.Server.IsValid()
}

// Occupied asks by ARP which of addrs are in use, waits for wait, and returns
// who answered. The requests carry our own address as sender. A probe without a
// sender (RFC 5227) would look like a conflict to a client that is checking the
// same address.
func Occupied(ctx context.Context, iface string, own netip.Addr, addrs []netip.Addr, wait time.Duration) (map[netip.Addr]boot.MAC, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	if len(i.HardwareAddr) != 6 || !own.Is4() {
		return nil, fmt.Errorf("%s has no Ethernet or no IPv4 address to ask from", iface)
	}
	fd, err := linkSocket(i, unix.ETH_P_ARP)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: i.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	asked := map[netip.Addr]bool{}
	for _, a := range addrs {
		if !a.Is4() || a == own {
			continue
		}
		asked[a] = true
		if err := unix.Sendto(fd, arpRequest(boot.MAC(i.HardwareAddr), own, a), 0, to); err != nil {
			return nil, fmt.Errorf("send on %s: %w", iface, err)
		}
	}
	found := map[netip.Addr]boot.MAC{}
	buf := make([]byte, 256)
	for end := time.Now().Add(wait); len(asked) > len(found); {
		n, err := receive(ctx, fd, buf, end)
		if err != nil {
			return found, fmt.Errorf("receive on %s: %w", iface, err)
		}
		if n == 0 {
			break
		}
		if a, mac, ok := arpSender(buf[:n]); ok && asked[a] && mac != boot.MAC(i.HardwareAddr) {
			found[a] = mac
		}
	}
	return found, ctx.Err()
}

// arpRequest is the payload of an ARP request for Ethernet and IPv4 (RFC 826).
func arpRequest(mac boot.MAC, own, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(b, mac[:]...)
	b = append(b, own.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

// arpSender returns the sender of an ARP packet: its address and its MAC. A probe
// (RFC 5227) has the zero sender address and claims nothing.
func arpSender(b []byte) (netip.Addr, boot.MAC, bool) {
	if len(b) < 28 || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return netip.Addr{}, boot.MAC{}, false
	}
	a := netip.AddrFrom4([4]byte(b[14:18]))
	return a, boot.MAC(b[8:14]), !a.IsUnspecified()
}

// Answers asks by ICMP echo which of addrs are in use, and waits for wait. It
// is for addresses beyond a relay, which ARP does not reach.
func Answers(ctx context.Context, own netip.Addr, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error) {
	c, err := icmp.ListenPacket("ip4:icmp", own.String())
	if err != nil {
		return nil, fmt.Errorf("open an ICMP socket: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var id [2]byte
	rand.Read(id[:])
	asked := map[netip.Addr]bool{}
	for seq, a := range addrs {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(binary.BigEndian.Uint16(id[:])), Seq: seq, Data: []byte("muster")}}
		b, err := m.Marshal(nil)
		if err != nil {
			return nil, err
		}
		if _, err := c.WriteTo(b, &net.IPAddr{IP: a.AsSlice()}); err == nil { // no route: no machine there can be disturbed
			asked[a] = true
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var found []netip.Addr
	buf := make([]byte, 1500)
	for len(found) < len(asked) {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			break // the deadline
		}
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		e, ok := m.Body.(*icmp.Echo)
		if !ok || e.ID != int(binary.BigEndian.Uint16(id[:])) {
			continue
		}
		if ip, ok := from.(*net.IPAddr); ok {
			if a := addr4(ip.IP.To4()); asked[a] && !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	return found, ctx.Err()
}
