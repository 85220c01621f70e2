// wire.go: this program's own DHCP clients, which act as machines without an
// address: raw frames from any MAC on the client's end of the cable. They share
// no code with the server.

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	discover, offer, request, ack, nak = 1, 2, 3, 5, 6 // option 53

	frameHead = 14 + 20 + 8 // Ethernet, IPv4, UDP
	dhcpFixed = 240
	tries     = 3 // 1, 2 and 4 seconds
)

type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// number makes the i-th MAC of a family; the family shows whom an answer is
// for.
func (f family) number(i int) mac {
	return mac{2, byte(f), byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

type family byte

// Families of clients.
const (
	warmers   family = 0x10
	newcomer  family = 0x11
	known     family = 0x12
	strangers family = 0x20
	present   family = 0x30 // leased before the start
)

// wire sends frames and reads the answers to one family.
type wire struct {
	fd     int
	server mac
	index  int
	family family
	asked  int
}

// wire opens the client's end of the cable.
func (b *bench) wire(f family) (*wire, error) {
	w := &wire{family: f, fd: -1}
	err := b.server.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			copy(w.server[:], i.HardwareAddr)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// Answers to other families are dropped before they are copied, so that a
	// client does not pay for a flood beside it.
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: frameHead + 28, Size: 2}, // chaddr
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0200 | uint32(f), SkipFalse: 1},
		bpf.RetConstant{Val: 2048},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	prog := make([]unix.SockFilter, len(filter))
	for i, r := range filter {
		prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = b.client.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		w.index = i.Index
		// Protocol 0 reads nothing until the filter is in place.
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20),
			unix.SetsockoptPacketMreq(w.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: i.Index}), // ETH_P_IP in network order
		)
	})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return w, nil
}

func (w *wire) close() {
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
}

// message is what a client says.
type message struct {
	kind   byte
	mac    mac
	xid    uint32
	want   netip.Addr // option 50
	server netip.Addr // option 54
	own    netip.Addr // ciaddr of a machine that renews: it sends from this address, to the server alone
}

func (w *wire) send(m message) error {
	b := make([]byte, frameHead+dhcpFixed, frameHead+300)
	d := b[frameHead:]
	d[0], d[1], d[2] = 1, 1, 6
	binary.BigEndian.PutUint32(d[4:], m.xid)
	copy(d[28:], m.mac[:])
	copy(d[236:], []byte{99, 130, 83, 99})
	b = append(b, 53, 1, m.kind, 55, 6, 1, 3, 6, 15, 51, 54)
	if m.want.IsValid() {
		b = append(append(b, 50, 4), m.want.AsSlice()...)
	}
	if m.server.IsValid() {
		b = append(append(b, 54, 4), m.server.AsSlice()...)
	}
	b = append(b, 255)
	b = b[:cap(b)] // the minimum length of BOOTP

	copy(b, []byte{255, 255, 255, 255, 255, 255})
	copy(b[6:], m.mac[:])
	b[12] = 8
	ip, udp := b[14:], b[34:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	if m.own.IsValid() {
		copy(b, w.server[:])
		copy(d[12:], m.own.AsSlice())
		copy(ip[12:], m.own.AsSlice())
		copy(ip[16:], netip.MustParseAddr(serverAddr).AsSlice())
	}
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
	udp[1], udp[3] = 68, 67 // no checksum: IPv4 allows it
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	return unix.Sendto(w.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: w.index})
}

// answer is a server's reply.
type answer struct {
	kind   byte
	xid    uint32
	mac    mac
	addr   netip.Addr
	server netip.Addr
}

// receive waits for one answer until a moment.
func (w *wire) receive(buf []byte, until time.Time) (a answer, ok bool) {
	for {
		left := time.Until(until)
		if left <= 0 {
			return a, false
		}
		tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv) != nil {
			return a, false
		}
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err != nil || n < frameHead+dhcpFixed {
			continue
		}
		d := buf[frameHead:n]
		if d[0] != 2 {
			continue
		}
		a = answer{xid: binary.BigEndian.Uint32(d[4:]), addr: netip.AddrFrom4([4]byte(d[16:]))}
		copy(a.mac[:], d[28:])
		if v := option(d, 53); len(v) == 1 {
			a.kind = v[0]
		}
		if v := option(d, 54); len(v) == 4 {
			a.server = netip.AddrFrom4([4]byte(v))
		}
		return a, true
	}
}

// option finds an option in a DHCP message.
func option(d []byte, code byte) []byte {
	for o := d[dhcpFixed:]; len(o) > 1 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if n+2 > len(o) {
			break
		}
		if o[0] == code {
			return o[2 : 2+n]
		}
		o = o[2+n:]
	}
	return nil
}

var errSilence = fmt.Errorf("no answer, asked %d times", tries)

// ask sends m, again after one second and after two more, as firmware does.
func (w *wire) ask(m message) (answer, error) {
	buf := make([]byte, 2048)
	for try := range tries {
		if err := w.send(m); err != nil {
			return answer{}, err
		}
		until := time.Now().Add(time.Second << try)
		for {
			a, ok := w.receive(buf, until)
			if !ok {
				break
			}
			if a.xid == m.xid && a.mac == m.mac && (a.kind == offer) == (m.kind == discover) {
				return a, nil
			}
		}
	}
	return answer{}, errSilence
}

// lease gets one machine an address. It returns the time from the first
// DISCOVER to the ACK, lost packets included.
func (w *wire) lease(m mac) (addr netip.Addr, took time.Duration, err error) {
	start := time.Now()
	xid := rand.Uint32()
	o, err := w.ask(message{kind: discover, mac: m, xid: xid})
	if err != nil {
		return addr, 0, err
	}
	a, err := w.ask(message{kind: request, mac: m, xid: xid, want: o.addr, server: o.server})
	if err == nil && a.kind != ack {
		err = errors.New("NAK")
	}
	return a.addr, time.Since(start), err
}

// awake asks until the server answers.
func (w *wire) awake(ctx context.Context, s *process) (time.Duration, error) {
	buf := make([]byte, 2048)
	return s.awake(ctx, func(wait time.Duration) (bool, error) {
		m := message{kind: discover, mac: w.family.number(0), xid: rand.Uint32()}
		if err := w.send(m); err != nil {
			return false, err
		}
		a, ok := w.receive(buf, time.Now().Add(wait))
		return ok && a.mac == m.mac, nil
	})
}

// awake calls ask until it is answered, at growing intervals: a server that is
// still reading its leases must not find a thousand questions afterwards.
func (s *process) awake(ctx context.Context, ask func(wait time.Duration) (bool, error)) (time.Duration, error) {
	for start := time.Now(); time.Since(start) < 5*time.Minute && ctx.Err() == nil; {
		select {
		case <-s.done:
			out, _ := os.ReadFile(filepath.Join(s.dir, "output"))
			return 0, fmt.Errorf("it ended at once: %s", out)
		default:
		}
		ok, err := ask(2*time.Millisecond + time.Since(start)/20)
		if err != nil {
			return 0, err
		}
		if ok {
			return time.Since(s.started), nil
		}
	}
	return 0, errors.New("it does not answer")
}

// renew renews an address at half of its time, by unicast.
func (b *bench) renew(w *wire, m mac, addr netip.Addr) (took time.Duration, err error) {
	// The server's neighbour entry is set here, because no kernel answers ARP
	// for this address.
	if _, err := b.server.Run(context.Background(), "ip", "neigh", "replace", addr.String(), "lladdr", m.String(), "dev", "eth0", "nud", "permanent"); err != nil {
		return 0, err
	}
	start := time.Now()
	a, err := w.ask(message{kind: request, mac: m, xid: rand.Uint32(), own: addr})
	if err == nil && a.kind != ack {
		err = errors.New("NAK")
	}
	return time.Since(start), err
}

// next leases to machines that never asked before, one after the other.
func (w *wire) next(n int) (took []float64, err error) {
	for range n {
		w.asked++
		_, d, err := w.lease(w.family.number(w.asked))
		if err != nil {
			return took, err
		}
		took = append(took, ms(d))
	}
	return took, nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// flood is the result of a flood.
type flood struct{ sent, offers, leases atomic.Int64 }

// flood sends DISCOVERs from random MACs, rate a second, until ctx ends. With
// whole, the clients take what they are offered. No MAC asks twice.
func (w *wire) flood(ctx context.Context, rate int, whole bool) (*flood, func()) {
	f := &flood{}
	var wg sync.WaitGroup
	wg.Go(func() {
		last := time.Now()
		for ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			now := time.Now()
			// Packets missed by a late wake-up are made up for, but not those
			// of a long stall.
			due := int(min(now.Sub(last), 10*time.Millisecond).Seconds() * float64(rate))
			last = now
			for range due {
				if w.send(message{kind: discover, mac: strangers.number(int(rand.Uint32())), xid: rand.Uint32()}) == nil {
					f.sent.Add(1)
				}
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 2048)
		for ctx.Err() == nil {
			a, ok := w.receive(buf, time.Now().Add(100*time.Millisecond))
			switch {
			case ok && a.kind == offer:
				f.offers.Add(1)
				if whole {
					_ = w.send(message{kind: request, mac: a.mac, xid: a.xid, want: a.addr, server: a.server})
				}
			case ok && a.kind == ack:
				f.leases.Add(1)
			}
		}
	})
	return f, wg.Wait
}
