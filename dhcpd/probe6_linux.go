// probe6_linux.go: looks for other DHCPv6 servers on a link, as a client would.

package dhcpd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// headersIP6UDP is an IPv6 header without extensions, and UDP's.
const headersIP6UDP = 40 + 8

// Probe6 is Probe for DHCPv6. from is the interface's link-local address; ownDUID is the
// identifier of the server that probes. Probe6 needs CAP_NET_RAW, because this
// host's own DHCPv6 client may hold the client port.
func Probe6(ctx context.Context, iface string, from netip.Addr, ownDUID []byte) ([]boot.Rival, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	fd, err := linkSocket(i, unix.ETH_P_IPV6, toClient6...)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var frames, msgs, duids [askRounds][]byte
	for n := range frames {
		var random [3 + 6]byte
		rand.Read(random[:])
		duid := append([]byte{0, duidLL, 0, ethernet}, random[3:]...)
		duid[4] = duid[4]&^1 | 2 // locally administered: the MAC of no real machine
		msg := append([]byte{typeSolicit}, random[:3]...)
		msg = append6(msg, opt6ClientID, duid...)
		msg = append6(msg, opt6Elapsed, 0, 0)
		msg = append6(msg, opt6Asked, 0, opt6DNS, 0, opt6BootURL)
		msg = append6(msg, opt6IANA, make([]byte, 12)...)
		duids[n], msgs[n] = duid, msg
		frames[n] = udpFrame6(netip.AddrPortFrom(from, client6Port), netip.AddrPortFrom(groups6[0], server6Port), msg)
	}
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IPV6), Ifindex: i.Index, Halen: 6, Addr: [8]byte{0x33, 0x33, 0, 1, 0, 2}}
	return ask(ctx, fd, i, to, frames, func(ip []byte) (r boot.Rival, ok bool) {
		for n, msg := range msgs {
			if r, ok = advertised(ip, msg[1:4], duids[n], ownDUID); ok {
				break
			}
		}
		return r, ok
	})
}

// toClient6 lets in what goes to a DHCPv6 client, without extension headers.
var toClient6 = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
	bpf.LoadAbsolute{Off: 40 + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: client6Port, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// udpFrame6 is an IPv6 packet with UDP in it, as the kernel would have built it.
func udpFrame6(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, headersIP6UDP+len(payload))
	s, d := src.Addr().As16(), dst.Addr().As16()
	b[0], b[6], b[7] = 0x60, unix.IPPROTO_UDP, 1 // it is for this link
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	putUDP(b[40:], src.Port(), dst.Port(), payload, sum16(0, b[8:40]))
	return b
}

// advertised reads the server and its offer from an IPv6 packet. The packet
// must be an Advertise for this client's transaction, from a server other than
// own.
func advertised(ip, id, duid, own []byte) (r boot.Rival, ok bool) {
	if len(ip) < headersIP6UDP+4 || ip[0]>>4 != 6 {
		return r, false
	}
	m := ip[headersIP6UDP:]
	if m[0] != typeAdvertise || !bytes.Equal(m[1:4], id) {
		return r, false
	}
	var with []string
	var server []byte
	mine := false
	w := walk6{rest: m[4:]}
	for code, v, ok := w.next(); ok; code, v, ok = w.next() {
		switch code {
		case opt6ClientID:
			mine = bytes.Equal(v, duid)
		case opt6ServerID:
			server = v
		case opt6IANA:
			if len(v) < 12 {
				continue
			}
			in := walk6{rest: v[12:]}
			for code, v, ok := in.next(); ok; code, v, ok = in.next() {
				if code == opt6IAAddr && len(v) >= 16 {
					r.Offered = netip.AddrFrom16([16]byte(v))
				}
			}
		case opt6BootURL:
			if u := text(v); u != "" {
				with = append(with, "boot file "+u[:min(len(u), 64)])
			}
		}
	}
	if !mine || len(server) == 0 || len(server) > maxDUID || bytes.Equal(server, own) {
		return boot.Rival{}, false
	}
	r.Options = strings.Join(append(with, "DUID "+hex.EncodeToString(server)), ", ")
	r.Server = netip.AddrFrom16([16]byte(ip[8:24]))
	return r, true
}
