package simclient

// This file is the wire of IPv6 on Linux: DHCPv6 for all machines of the process, what
// routers advertise, and the neighbour discovery (RFC 4861) that each machine's
// own link-local address needs.

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ethIPv6    = 0x86dd
	headEther  = 14
	headSix    = headEther + 40
	icmpRS     = 133
	icmpRA     = 134
	icmpNS     = 135
	icmpNA     = 136
	icmpReport = 131 // MLDv1, which edk2 speaks
	advertLife = 10 * sec
	maxAdverts = 8
)

var (
	toServers = netip.MustParseAddr("ff02::1:2")
	toNodes   = netip.MustParseAddr("ff02::1")
	toRouters = netip.MustParseAddr("ff02::2")
)

// link6 is an interface, by frames.
type link6 struct {
	exchange
	packetSocket

	mu      sync.Mutex
	adverts map[netip.Addr]*advert
	news    chan struct{} // closed with each advertisement
	claimed map[netip.Addr]chan struct{}
}

func openLink6(ifi *net.Interface) (*link6, error) {
	const (
		jump = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		load = unix.BPF_LD | unix.BPF_ABS
	)
	s, err := openPackets(ifi, ethIPv6, []unix.SockFilter{ // UDP to port 546; router and neighbour messages
		{Code: load | unix.BPF_H, K: 12},
		{Code: jump, Jf: 9, K: ethIPv6},
		{Code: load | unix.BPF_B, K: headEther + 6},
		{Code: jump, Jf: 2, K: unix.IPPROTO_UDP},
		{Code: load | unix.BPF_H, K: headSix + 2},
		{Code: jump, Jt: 4, Jf: 5, K: 546},
		{Code: jump, Jf: 4, K: unix.IPPROTO_ICMPV6},
		{Code: load | unix.BPF_B, K: headSix},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jf: 2, K: icmpRA},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, Jt: 1, K: icmpNA},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	})
	if err != nil {
		return nil, err
	}
	l := &link6{packetSocket: s, adverts: map[netip.Addr]*advert{}, news: make(chan struct{}), claimed: map[netip.Addr]chan struct{}{}}
	go s.listen(headSix+8, l.take)
	return l, nil
}

// take sorts a frame that passed the filter.
func (l *link6) take(b []byte) {
	payload := b[headSix:]
	if n := int(binary.BigEndian.Uint16(b[headEther+4:])); n < 8 || n > len(payload) {
		return
	} else {
		payload = payload[:n]
	}
	from, to := netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54]))
	if b[headEther+6] == unix.IPPROTO_UDP {
		if n := int(binary.BigEndian.Uint16(payload[4:])); n < 8 || n > len(payload) {
			return
		}
		l.deliver(macOf(to), parseReply6, payload[8:], netip.AddrPortFrom(from, binary.BigEndian.Uint16(payload)), MAC(b[6:12]))
		return
	}
	if b[headEther+7] != 255 { // it was forwarded (RFC 4861 6.1.2, 7.1.1)
		return
	}
	switch payload[0] {
	case icmpRA:
		if a, ok := parseAdvert(payload); ok && from.IsLinkLocalUnicast() {
			l.advertised(a, from)
		}
	case icmpNS, icmpNA:
		if len(payload) < 24 {
			return
		}
		target := netip.AddrFrom16([16]byte(payload[8:24]))
		if payload[0] == icmpNA || from.IsUnspecified() {
			l.mu.Lock()
			if ch, ok := l.claimed[target]; ok {
				close(ch)
				delete(l.claimed, target)
			}
			l.mu.Unlock()
		}
		if m := macOf(target); payload[0] == icmpNS && l.heard(m) {
			l.answer(m, from, MAC(b[6:12]))
		}
	}
}

// macOf is the MAC of the machine with a link-local address; zero if there is
// none.
func macOf(a netip.Addr) MAC {
	x := a.As16()
	m := MAC{x[8] ^ 2, x[9], x[10], x[13], x[14], x[15]}
	if m.linkLocal() != a {
		return MAC{}
	}
	return m
}

func (l *link6) advertised(a *advert, from netip.Addr) {
	a.from, a.at = from, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.adverts[from] == nil && len(l.adverts) >= maxAdverts {
		return
	}
	l.adverts[from] = a
	close(l.news)
	l.news = make(chan struct{})
}

// routers returns the routers that were heard recently, by address.
func (l *link6) routers() (out []*advert, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.adverts {
		if time.Since(a.at) < advertLife {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *advert) int { return a.from.Compare(b.from) })
	return out, l.news
}

// solicit asks routers to advertise (RFC 4861 6.3.7).
func (l *link6) solicit(m MAC) error {
	return l.icmp(m, m.linkLocal(), toRouters, append([]byte{icmpRS, 0, 0, 0, 0, 0, 0, 0, 1, 1}, m[:]...))
}

// hear subscribes a machine, and joins its group by MLD, so that switches with
// MLD snooping forward it.
func (l *link6) hear(m MAC) (<-chan *reply, func()) {
	ch, leave := l.exchange.hear(m)
	group := solicited(m.linkLocal())
	b := append([]byte{icmpReport, 0, 0, 0, 0, 0, 0, 0}, group.AsSlice()...)
	// Hop limit 1 and a router alert (RFC 2710 3): a header of its own in front.
	_ = l.write(l.frame(m, groupMAC(group), m.linkLocal(), group, 0, 1, append([]byte{unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0}, checked(m.linkLocal(), group, unix.IPPROTO_ICMPV6, b, 2)...)))
	return ch, leave
}

// answer is a neighbour advertisement of a machine's own address.
func (l *link6) answer(m MAC, to netip.Addr, hw MAC) {
	flags := byte(0x60) // solicited, override
	if to.IsUnspecified() {
		to, hw, flags = toNodes, groupMAC(toNodes), 0x20
	}
	b := append([]byte{icmpNA, 0, 0, 0, flags, 0, 0, 0}, m.linkLocal().AsSlice()...)
	b = append(append(b, 2, 1), m[:]...)
	_ = l.write(l.frame(m, hw, m.linkLocal(), to, unix.IPPROTO_ICMPV6, 255, checked(m.linkLocal(), to, unix.IPPROTO_ICMPV6, b, 2)))
}

// taken asks whether another host has an address, as each host must before it
// uses one (RFC 4862 5.4).
func (l *link6) taken(ctx context.Context, m MAC, a netip.Addr, wait time.Duration) bool {
	ch := make(chan struct{})
	l.mu.Lock()
	if l.claimed[a] != nil { // another machine of ours asks for the same
		l.mu.Unlock()
		return true
	}
	l.claimed[a] = ch
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.claimed[a] == ch {
			delete(l.claimed, a)
		}
	}()
	_ = l.icmp(m, netip.IPv6Unspecified(), solicited(a), append([]byte{icmpNS, 0, 0, 0, 0, 0, 0, 0}, a.AsSlice()...))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (l *link6) send(m MAC, message []byte) error {
	n := uint16(8 + len(message))
	b := binary.BigEndian.AppendUint16([]byte{546 >> 8, 546 & 0xff, 547 >> 8, 547 & 0xff}, n)
	b = append(append(b, 0, 0), message...)
	return l.write(l.frame(m, groupMAC(toServers), m.linkLocal(), toServers, unix.IPPROTO_UDP, 1, checked(m.linkLocal(), toServers, unix.IPPROTO_UDP, b, 6)))
}

func (l *link6) icmp(m MAC, from, to netip.Addr, b []byte) error {
	return l.write(l.frame(m, groupMAC(to), from, to, unix.IPPROTO_ICMPV6, 255, checked(from, to, unix.IPPROTO_ICMPV6, b, 2)))
}

// frame is Ethernet and IPv6.
func (l *link6) frame(src, dst MAC, from, to netip.Addr, next, hops byte, payload []byte) []byte {
	b := append(append(append([]byte{}, dst[:]...), src[:]...), ethIPv6>>8, ethIPv6&0xff)
	b = append(b, 0x60, 0, 0, 0, byte(len(payload)>>8), byte(len(payload)), next, hops)
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	return append(b, payload...)
}

// checked fills in the checksum at an offset (RFC 8200 8.1).
func checked(from, to netip.Addr, proto byte, b []byte, at int) []byte {
	t := checksum(checksum(0, from.AsSlice()), to.AsSlice())
	t = checksum(t, []byte{byte(len(b) >> 8), byte(len(b)), 0, proto})
	check := ^checksum(t, b)
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], check)
	return b
}

// solicited is the group of an address's neighbours (RFC 4291 2.7.1).
func solicited(a netip.Addr) netip.Addr {
	x := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: x[13], 14: x[14], 15: x[15]})
}

// groupMAC is where frames of a group go (RFC 2464 7).
func groupMAC(a netip.Addr) MAC {
	x := a.As16()
	return MAC{0x33, 0x33, x[12], x[13], x[14], x[15]}
}

// agent6 is the relay of DHCPv6.
type agent6 struct{ agentSocket }

func openAgent6(via Relay) (*agent6, error) {
	a := &agent6{}
	return a, a.open(via, 547, func(b []byte, from netip.AddrPort) {
		if len(b) < 34 || b[0] != relayRepl6 {
			return
		}
		for code, v := range options6(b[34:]) {
			if code == optRelayed6 {
				a.deliver(macOf(netip.AddrFrom16([16]byte(b[18:34]))), parseReply6, v, from, MAC{})
			}
		}
	})
}

func (a *agent6) send(m MAC, message []byte) error {
	b := append(append([]byte{relayForw6, 0}, a.via.Addr.AsSlice()...), m.linkLocal().AsSlice()...)
	if a.via.CircuitID != "" {
		b = option6(b, optIfaceID6, []byte(a.via.CircuitID))
	}
	if a.via.RemoteID != "" {
		b = option6(b, optRemoteID6, append(make([]byte, 4), a.via.RemoteID...))
	}
	return a.forward(option6(b, optRelayed6, message), 547)
}

var _ neighbours = (*link6)(nil)
