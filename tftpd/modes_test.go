// modes_test.go: one port, a range of ports, IPv6 with a zone, and what a client
// is offered after it failed.

package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// startWith is start with settings, on a network of one's choice.
func startWith(t *testing.T, network, addr string, set func(*Server)) (*shelf, *Server, *net.UDPAddr) {
	t.Helper()
	s := &shelf{end: make(chan struct{}, 1000), files: map[string][]byte{"big": bytes.Repeat([]byte("0123456789abcdef"), 4000), "text": []byte("a\nb")}}
	srv := NewServer(s, s, slog.New(slog.NewTextHandler(io.Discard, nil)))
	set(srv)
	ctx, cancel := context.WithCancel(context.Background())
	c, err := Listen(ctx, network, addr)
	if err != nil {
		cancel()
		t.Skipf("%s %s: %v", network, addr, err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, srv, c.LocalAddr().(*net.UDPAddr)
}

// read takes a whole file in windows and tells the port that sent it.
func readFile(t *testing.T, network string, to *net.UDPAddr, window string) ([]byte, int) {
	t.Helper()
	c, err := net.ListenUDP(network, &net.UDPAddr{IP: to.IP, Zone: to.Zone})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = c.WriteToUDP(rrq("big", "octet", "windowsize", window), to)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	b := make([]byte, 2000)
	next := uint16(1)
	for {
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		ack := []byte{0, opACK, 0, 0}
		switch b[1] {
		case opOACK:
			c.WriteToUDP(ack, from)
		case opDATA:
			if binary.BigEndian.Uint16(b[2:]) != next {
				continue
			}
			got = append(got, b[4:n]...)
			copy(ack[2:], b[2:4])
			if next++; n < 516 || int(next-1)%4 == 0 {
				c.WriteToUDP(ack, from)
			}
			if n < 516 {
				return got, from.Port
			}
		default:
			t.Fatalf("%q", b[:n])
		}
	}
}

func TestSinglePort(t *testing.T) {
	s, _, addr := startWith(t, "udp4", "127.0.0.1:0", func(s *Server) { s.SinglePort = true })
	got, port := readFile(t, "udp4", addr, "4")
	if !bytes.Equal(got, s.files["big"]) || port != addr.Port {
		t.Errorf("%d bytes from port %d, want %d from %d", len(got), port, len(s.files["big"]), addr.Port)
	}
	<-s.end
	if o := s.ended[0]; o.Result != boot.Complete {
		t.Errorf("%+v", o)
	}
}

func TestPortRange(t *testing.T) {
	want := PortRange{20300, 20302}
	s, srv, addr := startWith(t, "udp4", "127.0.0.1:0", func(s *Server) { s.Ports = want })
	for range 5 {
		if _, port := readFile(t, "udp4", addr, "4"); port < int(want.From) || port > int(want.To) {
			t.Errorf("from port %d", port)
		}
		<-s.end
	}
	// All ports taken: the next one is told of in the log and counted, and asks
	// again.
	var held []*raw
	for range 3 {
		c := newRaw(t, addr)
		c.ask("big", "octet")
		c.recv()
		held = append(held, c)
	}
	c := newRaw(t, addr)
	c.ask("big", "octet")
	for deadline := time.Now().Add(5 * time.Second); srv.Stats.NoSocket.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a fourth transfer on three ports was not refused")
		}
	}
	held[0].send(append([]byte{0, 5, 0, 3}, "enough\x00"...)...)
	<-s.end
	c.ask("big", "octet")
	if got := c.recv(); got[1] != opDATA {
		t.Errorf("%q", got[:4])
	}
}

func TestIPv6(t *testing.T) {
	s, _, addr := startWith(t, "udp6", "[::1]:0", func(*Server) {})
	if got, _ := readFile(t, "udp6", addr, "4"); !bytes.Equal(got, s.files["big"]) {
		t.Errorf("%d bytes arrived", len(got))
	}
	<-s.end
	// A link-local address means nothing without its interface.
	is, _ := net.Interfaces()
	for _, i := range is {
		as, _ := i.Addrs()
		for _, a := range as {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() {
				continue
			}
			s, _, _ := startWith(t, "udp6", "[::]:20369", func(*Server) {})
			if got, _ := readFile(t, "udp6", &net.UDPAddr{IP: p.Addr().AsSlice(), Port: 20369, Zone: i.Name}, "4"); !bytes.Equal(got, s.files["big"]) {
				t.Errorf("link-local on %s: %d bytes arrived", i.Name, len(got))
			}
			<-s.end
			return
		}
	}
}

// TestHistory: what fell silent is offered less the next time, for a while.
func TestHistory(t *testing.T) {
	h := &history{of: map[netip.Addr]limits{}}
	a, now := netip.MustParseAddr("10.0.0.1"), time.Unix(1e9, 0)
	r, _ := parseRead(rrq("a", "octet", "blksize", "1468", "windowsize", "16"))
	expect := func(blk, window int) {
		t.Helper()
		if got := h.cap(a, r, now); got.blksize != blk || got.windowLen() != window {
			t.Errorf("offered blksize %d and window %d, want %d and %d", got.blksize, got.windowLen(), blk, window)
		}
	}
	expect(1468, 16)
	h.failed(a, r, true, now) // lost its way inside a window
	expect(1468, 4)
	h.failed(a, h.cap(a, r, now), true, now)
	expect(1468, 1)
	h.failed(a, h.cap(a, r, now), false, now) // not one block of that size arrived
	expect(1024, 1)
	h.failed(a, h.cap(a, r, now), false, now)
	expect(512, 1)
	h.failed(a, h.cap(a, r, now), false, now) // nothing is left to lower
	expect(512, 1)
	now = now.Add(historyLife + time.Second)
	expect(1468, 16)
	for i := range 3 * historyLen {
		h.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), r, true, now)
	}
	if len(h.of) > historyLen {
		t.Errorf("it remembers %d clients", len(h.of))
	}
}

// TestColdFile: a file that is not in memory is read beside the loop, and one
// that became shorter ends with an error, not with a hang.
func TestColdFile(t *testing.T) {
	f := &flow{t: newTransfer(read{blksize: 1024}, 4096)}
	f.body = bytes.NewReader(make([]byte, 4096))
	var out blocks
	if err := out.fill(f, 1, 8, true); err != nil || out.count != 5 {
		t.Fatalf("%d blocks, %v", out.count, err)
	}
	f.body = bytes.NewReader(make([]byte, 1500))
	if err := out.fill(f, 1, 8, true); err == nil || out.hold(f, 1) {
		t.Errorf("a short file: %v", err)
	}
}
