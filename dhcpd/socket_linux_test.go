// socket_linux_test.go: the sockets of DHCPv4 on the loopback interface: what they
// tell of a packet, and where what they send arrives.

package dhcpd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv6"

	"github.com/musterboot/muster/internal/nettest"
)

func TestSocket4(t *testing.T) {
	c, _, err := Listen(context.Background(), 0, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := c.(*conn4)
	us := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(s.pc.LocalAddr().(*net.UDPAddr).Port))
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(client.SetDeadline(time.Now().Add(10 * time.Second)))
	must(s.pc.SetReadDeadline(time.Now().Add(10 * time.Second)))
	them := client.LocalAddr().(*net.UDPAddr).AddrPort()
	ps := make([]Packet, 3)
	for i := range ps {
		ps[i].Buf = make([]byte, 100)
	}
	read := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			n, err := c.Read(ps)
			must(err)
			for i := range n {
				p := ps[i]
				if string(p.Buf[:p.N]) != want[i] || p.Meta != (Meta{At: at, Interface: "lo", Index: lo.Index, Local: us.Addr(), Source: them}) {
					t.Errorf("%q, %+v; want %q", p.Buf[:p.N], p.Meta, want[i])
				}
			}
			want = want[n:]
		}
	}
	for _, b := range []string{"one", "another", "third", "fourth"} {
		_, err := client.WriteToUDPAddrPort([]byte(b), us)
		must(err)
	}
	read("one", "another", "third", "fourth")
	_, err = client.WriteToUDPAddrPort([]byte("x"), us)
	must(err)
	read("x") // shorter than what was in its buffer before

	s.port = 4011 // a port that is asked for boot servers says so of each packet
	_, err = client.WriteToUDPAddrPort([]byte("proxy"), us)
	must(err)
	if n, err := c.Read(ps); err != nil || n != 1 || !ps[0].Meta.Proxy {
		t.Errorf("%d packets, %+v: %v", n, ps[0].Meta, err)
	}
	s.port = 67

	// What was sent to everybody has no address of ours.
	bc, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 255, 255, 255), Port: int(us.Port())})
	must(err)
	defer bc.Close()
	if _, err := bc.Write([]byte("everybody")); err == nil {
		n, err := c.Read(ps)
		must(err)
		if n != 1 || ps[0].Meta.Index != lo.Index {
			t.Errorf("%d packets, %+v", n, ps[0].Meta)
		}
	}
	buf := make([]byte, 100)
	from := netip.MustParseAddr("127.0.0.3") // not what the kernel would choose
	for _, how := range []How{Relayed, Unicast} {
		must(c.Send([]byte(how), Dest{How: how, Addr: them, From: from}, Meta{}))
		n, src, err := client.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != string(how) || src.Addr() != from || src.Port() != us.Port() {
			t.Errorf("%s: %q from %s: %v", how, buf[:n], src, err)
		}
	}
	if err := c.Send([]byte("x"), Dest{How: Unicast, Addr: them}, Meta{}); !errors.Is(err, errNoAddress) {
		t.Errorf("from no address: %v", err)
	}
	must(c.Close())
	must(c.Close())
	if _, err := c.Read(ps); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after the end: %v", err)
	}
	if err := s.sendFrame([]byte("x"), Dest{From: from, Addr: them}, lo.Index); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a frame after the end: %v", err)
	}
}

func TestSocket6(t *testing.T) {
	nettest.NeedIPv6(t)
	pc, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn6{pc: pc, ip: ipv6.NewPacketConn(pc), now: func() time.Time { return at }, readers: sync.Pool{New: func() any { return new(reader6) }}}
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.ip.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true))
	must(pc.SetReadDeadline(time.Now().Add(10 * time.Second)))
	lo, err := net.InterfaceByName("lo")
	must(err)
	us := netip.AddrPortFrom(netip.IPv6Loopback(), uint16(pc.LocalAddr().(*net.UDPAddr).Port))
	client, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	must(err)
	defer client.Close()
	must(client.SetDeadline(time.Now().Add(10 * time.Second)))
	them := client.LocalAddr().(*net.UDPAddr).AddrPort()
	ps := make([]Packet, 3)
	for i := range ps {
		ps[i].Buf = make([]byte, 100)
	}
	for _, want := range []string{"solicit", "x"} { // the second is shorter than what was there before
		_, err := client.WriteToUDPAddrPort([]byte(want), us)
		must(err)
		n, err := c.Read(ps)
		must(err)
		if n != 1 || string(ps[0].Buf[:ps[0].N]) != want || ps[0].Meta != (Meta{At: at, Interface: "lo", Index: lo.Index, Local: us.Addr(), Source: them}) {
			t.Errorf("%d packets, %q, %+v", n, ps[0].Buf[:ps[0].N], ps[0].Meta)
		}
	}
	for _, from := range []netip.Addr{{}, netip.IPv6Loopback()} {
		must(c.Send([]byte("advertise"), Dest{Addr: netip.AddrPortFrom(them.Addr().WithZone("eth9"), them.Port()), From: from}, Meta{Index: 9999}))
		buf := make([]byte, 100)
		n, src, err := client.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != "advertise" || src != us {
			t.Errorf("%q from %s: %v", buf[:n], src, err)
		}
	}
	// A link-local address is on the link that the question came by: there is none
	// with that number, and the kernel says so.
	if err := c.Send([]byte("x"), Dest{Addr: netip.MustParseAddrPort("[fe80::9]:546")}, Meta{Index: 9999}); err == nil {
		t.Error("a link-local address is answered by any link")
	}
	if err := c.Send([]byte("x"), Dest{Addr: them, From: netip.MustParseAddr("fd77::99")}, Meta{}); err == nil {
		t.Error("the address that a relay sent to does not count")
	}
	must(c.Close())
	if _, err := c.Read(ps); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after the end: %v", err)
	}
}
