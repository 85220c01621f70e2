// modes_test.go: one port, a range of ports, the families that are listened to,
// and what a client is offered: at all, and after it failed.

package tftpd

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// read takes a whole file in windows and tells the port that sent it.
func readFile(t *testing.T, to *net.UDPAddr, window string) ([]byte, int) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: to.IP})
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

func TestSinglePort(t *testing.T) { families(t, testSinglePort) }

func testSinglePort(t *testing.T, host string) {
	s, _, addr := start(t, host, func(s *Server) { s.SinglePort = true })
	got, port := readFile(t, addr, "4")
	if !bytes.Equal(got, s.files["big"]) || port != addr.Port {
		t.Errorf("%d bytes from port %d, want %d from %d", len(got), port, len(s.files["big"]), addr.Port)
	}
	<-s.end
	if o := s.ended[0]; o.Result != boot.Complete {
		t.Errorf("%+v", o)
	}
}

func TestPortRange(t *testing.T) { families(t, testPortRange) }

func testPortRange(t *testing.T, host string) {
	want := PortRange{20300, 20302}
	s, srv, addr := start(t, host, func(s *Server) { s.Ports = want })
	for range 5 {
		if _, port := readFile(t, addr, "4"); port < int(want.From) || port > int(want.To) {
			t.Errorf("from port %d", port)
		}
		<-s.end
	}
	// When all ports are taken, the next client is logged and counted, and asks
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

// TestBothFamilies: one listen key without an address is a socket for each
// family, and an address is a socket of its own.
func TestBothFamilies(t *testing.T) {
	nettest.NeedIPv6(t)
	loopback := map[string]string{"0.0.0.0": "127.0.0.1", "::": "::1"}
	for listen, want := range map[string]string{
		":0": "0.0.0.0 ::", "[::]:0": "0.0.0.0 ::", "0.0.0.0:0": "0.0.0.0", "127.0.0.1:0": "127.0.0.1", "[::1]:0": "::1",
	} {
		t.Run(listen, func(t *testing.T) {
			s := newShelf()
			var got []string
			for _, a := range serve(t, NewServer(s, s, slog.New(slog.DiscardHandler)), listen) {
				ip := a.IP.String()
				got = append(got, ip)
				ask := &net.UDPAddr{IP: net.ParseIP(cmp.Or(loopback[ip], ip)), Port: a.Port}
				if b, _ := readFile(t, ask, "4"); !bytes.Equal(b, s.files["big"]) {
					t.Errorf("%s: %d bytes arrived", ask, len(b))
				}
				<-s.end
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("listens on %s, want %s", got, want)
			}
		})
	}
	// An IPv4 client of a socket for IPv6 would show a mapped address.
	s := newShelf()
	at := serve(t, NewServer(s, s, slog.New(slog.DiscardHandler)), "[::]:0")
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at[1].Port})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write(rrq("big", "octet"))
	if _, err := c.Read(make([]byte, 600)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("IPv4 to the socket for IPv6: %v, want that nobody is there", err)
	}
}

// TestBlockLimit: what is agreed on fits one frame of our own link, and over
// IPv6 every link there is (RFC 8200 5).
func TestBlockLimit(t *testing.T) {
	for _, c := range []struct {
		client string
		mtu    int
		want   int
	}{
		{"10.0.0.1", 1500, 1468}, {"10.0.0.1", 9000, 8968}, {"10.0.0.1", 300, 512},
		{"fd77::1", 1500, 1228}, {"fd77::1", 9000, 1228}, {"fe80::1%eth0", 1500, 1228},
	} {
		if got := largest(netip.MustParseAddr(c.client), c.mtu); got != c.want {
			t.Errorf("%s behind an MTU of %d gets %d, want %d", c.client, c.mtu, got, c.want)
		}
	}
	nettest.NeedIPv6(t)
	s, _, addr := start(t, "::1")
	c := newRaw(t, addr)
	c.ask("big", "octet", "blksize", "1468", "windowsize", "4")
	if got := c.recv(); string(got) != "\x00\x06blksize\x001228\x00windowsize\x004\x00" {
		t.Errorf("%q", got)
	}
	c.send(append([]byte{0, 5, 0, 8}, "enough\x00"...)...)
	<-s.end
}

// TestHistory: a client whose transfer fell silent is offered less the next
// time, for a while.
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
	for i := range historyLen + 50 {
		h.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), r, true, now)
	}
	if len(h.of) > historyLen {
		t.Errorf("it remembers %d clients", len(h.of))
	}
}

// TestHistoryForgets: the limits of a client are forgotten after an hour. When
// there are too many, expired ones go first, then any.
func TestHistoryForgets(t *testing.T) {
	h := &history{of: map[netip.Addr]limits{}}
	began := time.Unix(1e9, 0)
	client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	asks := read{blksize: 1468, window: 16}
	first := client(0)
	h.failed(first, asks, true, began)
	if got := h.cap(first, asks, began.Add(time.Hour)); got.window != 4 {
		t.Errorf("it is offered a window of %d after an hour, want 4", got.window)
	}
	if got := h.cap(first, asks, began.Add(time.Hour+1)); got != asks {
		t.Errorf("it is not forgotten after more: %+v", got)
	}
	// Who asks for less than what worked, or for no window, gets that.
	for _, r := range []read{{}, {blksize: 512}, {window: 2}} {
		if got := h.cap(first, r, began); got != r {
			t.Errorf("%+v is offered %+v", r, got)
		}
	}
	// Room for 4096: half of them are over when one more comes, and only they go.
	for i := range 4096 {
		at := began
		if i >= 2048 {
			at = began.Add(30 * time.Minute)
		}
		h.failed(client(i), asks, true, at)
	}
	if len(h.of) != 4096 {
		t.Fatalf("it remembers %d of 4096", len(h.of))
	}
	h.failed(client(5000), asks, true, began.Add(61*time.Minute))
	if len(h.of) != 2049 || h.cap(client(5000), asks, began.Add(61*time.Minute)).window != 4 || h.cap(client(2048), asks, began.Add(61*time.Minute)).window != 4 {
		t.Errorf("%d are remembered, want 2048 that are not over and the new one", len(h.of))
	}
	// Full of what is not over: one goes, whichever.
	for i := range 4096 {
		h.failed(client(1<<16+i), asks, true, began.Add(62*time.Minute))
	}
	if len(h.of) != 4096 {
		t.Errorf("it remembers %d, want 4096", len(h.of))
	}
	// A client that has an entry already displaces no other.
	last := client(1<<16 + 4095)
	h.failed(last, h.cap(last, asks, began.Add(62*time.Minute)), true, began.Add(62*time.Minute))
	if got := h.cap(last, asks, began.Add(62*time.Minute)); len(h.of) != 4096 || got.window != 1 {
		t.Errorf("%d remembered, window %d", len(h.of), got.window)
	}
}

// TestHistoryLowers: a block that never came is made smaller in two steps, a window
// by four, and what cannot be lowered is not remembered.
func TestHistoryLowers(t *testing.T) {
	a, now := netip.MustParseAddr("10.0.0.1"), time.Unix(1e9, 0)
	for _, c := range []struct {
		agreed read
		begun  bool
		want   limits
	}{
		{read{blksize: 1025}, false, limits{blksize: 1024}},
		{read{blksize: 1024}, false, limits{blksize: 512}},
		{read{blksize: 513}, false, limits{blksize: 512}},
		{read{blksize: 512, window: 2}, false, limits{window: 1}},
		{read{blksize: 1468, window: 16}, true, limits{window: 4}},
		{read{window: 2}, true, limits{window: 1}},
		{read{window: 1}, true, limits{}},
		{read{}, false, limits{}},
	} {
		h := &history{of: map[netip.Addr]limits{}}
		h.failed(a, c.agreed, c.begun, now)
		if c.want != (limits{}) {
			c.want.until = now.Add(time.Hour)
		}
		if h.of[a] != c.want {
			t.Errorf("%+v, begun %v: %+v, want %+v", c.agreed, c.begun, h.of[a], c.want)
		}
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
