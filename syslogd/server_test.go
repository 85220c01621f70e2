package syslogd

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// asked is a Decider that knows loopback addresses that end in an odd number.
type asked struct {
	lines chan boot.Sighting // a full one is read no more
	n     atomic.Uint64
}

func (a *asked) Next(_ context.Context, in boot.Sighting) (boot.Decision, error) {
	a.n.Add(1)
	select {
	case a.lines <- in:
	default:
	}
	if in.Line.Text == "fail" {
		return boot.Decision{}, errors.New("no store")
	}
	if in.Line.Text == "panic" {
		panic("here")
	}
	if in.Source.Addr().As16()[15]%2 == 0 {
		return boot.Decision{Reply: boot.Ignore{}}, nil
	}
	return boot.Decision{Reply: boot.Done{}}, nil
}

func (a *asked) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error { return nil }

// start serves on a port of its own.
func start(t *testing.T) (*Server, *asked, string) {
	t.Helper()
	return startOn(t, "127.0.0.1")
}

// startOn serves on an address, or on all of both families.
func startOn(t *testing.T, host string) (*Server, *asked, string) {
	t.Helper()
	a := &asked{lines: make(chan boot.Sighting, 64)}
	s := NewServer(a, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	var k *Sockets
	for range 20 { // a free UDP port may be a taken TCP port
		u, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		addr := net.JoinHostPort(host, fmt.Sprint(u.LocalAddr().(*net.UDPAddr).Port))
		u.Close()
		if k, _, err = Listen(ctx, addr); err == nil {
			break
		}
	}
	if k == nil {
		t.Fatal("no port is free")
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, k) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := s.Open(); n != 0 {
			t.Errorf("%d connections are still open", n)
		}
	})
	return s, a, k.UDP.LocalAddr().String()
}

// dial connects from an address of ours.
func dial(t *testing.T, network, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{}
	if ip := net.ParseIP(from); strings.HasPrefix(network, "udp") {
		d.LocalAddr = &net.UDPAddr{IP: ip}
	} else {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	c, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (a *asked) next(t *testing.T) boot.Sighting {
	t.Helper()
	select {
	case in := <-a.lines:
		return in
	case <-time.After(10 * time.Second):
		t.Fatal("no line came")
		return boot.Sighting{}
	}
}

// closed waits until the other end hangs up.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection is open: %v", err)
	}
}

// TestBothFamilies: one port takes lines of IPv4 and of IPv6, and reports where
// each was sent. Nobody need know which family the socket has.
func TestBothFamilies(t *testing.T) {
	nettest.NeedIPv6(t)
	_, a, addr := startOn(t, "")
	_, port, _ := net.SplitHostPort(addr)
	for _, c := range []struct{ network, from, to string }{
		{"udp4", "127.0.0.11", "127.0.0.1"}, {"udp6", "::1", "::1"}, {"tcp4", "127.0.0.13", "127.0.0.1"}, {"tcp6", "::1", "::1"},
	} {
		fmt.Fprint(dial(t, c.network, c.from, net.JoinHostPort(c.to, port)), "<13>sh: by "+c.network+"\n")
		in := a.next(t)
		if in.Line.Text != "by "+c.network || in.Source.Addr() != netip.MustParseAddr(c.from) || in.Link.Local != netip.MustParseAddr(c.to) ||
			c.network[0] == 'u' && in.Link.Interface != "lo" {
			t.Errorf("%s: %+v %+v", c.network, in, in.Line)
		}
	}
}

func TestBothSockets(t *testing.T) {
	s, a, addr := start(t)
	u := dial(t, "udp4", "127.0.0.11", addr)
	fmt.Fprint(u, "<27>Mar  4 12:00:00 init: over udp\n")
	in := a.next(t)
	if in.Via != boot.Syslog || in.Step != boot.LogLine || in.Source.Addr() != netip.MustParseAddr("127.0.0.11") || in.Link.Interface != "lo" || in.Link.Local != netip.MustParseAddr("127.0.0.1") ||
		in.Line.App != "init" || in.Line.Text != "over udp" || in.Line.Severity != boot.Err || in.At.IsZero() {
		t.Errorf("%+v %+v", in, in.Line)
	}
	c := dial(t, "tcp4", "127.0.0.13", addr)
	fmt.Fprint(c, "\n\n17 <13>sh: counted!\n<13>sh: by line\n<13>sh: fail\n<13>sh: panic\n<13>sh: goes on\n")
	for _, want := range []string{"counted!", "by line", "fail", "panic", "goes on"} {
		if in := a.next(t); in.Line.Text != want || in.Link.Local != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("got %q, want %q", in.Line.Text, want)
		}
	}
	fmt.Fprint(u, "\n")
	fmt.Fprint(u, "<13>"+strings.Repeat("x", 5000))
	if in := a.next(t); in.Line.Cut != 5000-boot.MaxLine {
		t.Errorf("%d cut", in.Line.Cut)
	}
	fmt.Fprint(u, "<13>last")
	a.next(t)
	if st := &s.Stats; st.Cut.Load() != 1 || st.Failed.Load() != 2 || st.Panics.Load() != 1 || st.Empty.Load() < 3 || st.Connections.Load() != 1 {
		t.Errorf("counted: cut %d, failed %d, panics %d, empty %d, connections %d", st.Cut.Load(), st.Failed.Load(), st.Panics.Load(), st.Empty.Load(), st.Connections.Load())
	}
}

// TestStrangersHoldNothing: a connection of a stranger ends with its first
// line, and one address has no more than its share of connections.
func TestStrangersHoldNothing(t *testing.T) {
	s, a, addr := start(t)
	c := dial(t, "tcp4", "127.0.0.12", addr)
	fmt.Fprint(c, "<13>sh: let me in\n")
	a.next(t)
	closed(t, c)
	var mine []net.Conn
	for range perSource {
		c := dial(t, "tcp4", "127.0.0.11", addr)
		fmt.Fprint(c, "<13>sh: here\n")
		a.next(t)
		mine = append(mine, c)
	}
	closed(t, dial(t, "tcp4", "127.0.0.11", addr))
	fmt.Fprint(mine[0], "<13>sh: still here\n")
	a.next(t)
	if n := s.Stats.Refused.Load(); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
	if n := s.Stats.Strangers.Load(); n != 1 {
		t.Errorf("%d lines of strangers, want 1", n)
	}
}

// TestConnectionsAreBounded: the last place is the last, unless somebody holds one who
// has said nothing.
func TestConnectionsAreBounded(t *testing.T) {
	s := NewServer(nil, nil)
	var places []*list.Element
	for i := range maxConns {
		c, far := net.Pipe()
		defer far.Close()
		place := s.enter(netip.AddrFrom4([4]byte{10, 0, byte(i / perSource), 1}), c)
		if place == nil {
			t.Fatalf("connection %d found no room", i)
		}
		places = append(places, place)
	}
	for _, p := range places[1:] {
		s.heard(p)
	}
	silent := places[0].Value.(net.Conn)
	newcomer, _ := net.Pipe()
	place := s.enter(netip.MustParseAddr("10.1.0.1"), newcomer)
	if _, err := silent.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) || place == nil || s.Stats.GaveWay.Load() != 1 {
		t.Errorf("the silent one does not give way: %v, %v", place, err)
	}
	s.leave(netip.MustParseAddr("10.0.0.1"), places[0])
	s.heard(place)
	if s.enter(netip.MustParseAddr("10.1.0.2"), newcomer) != nil {
		t.Error("there is room beyond the bound")
	}
	s.leave(netip.MustParseAddr("10.0.0.1"), places[1])
	if s.enter(netip.MustParseAddr("10.1.0.2"), newcomer) == nil {
		t.Error("a place that was given back is not free")
	}
}

// TestMachinesStay: the connection of a machine that may boot does not give way, although
// it has said nothing yet.
func TestMachinesStay(t *testing.T) {
	s := NewServer(nil, nil)
	machine := netip.AddrFrom4([4]byte{10, 0, 0, 1})
	s.Admitted = func(a netip.Addr) bool { return a == machine }
	var conns []net.Conn
	for i := range maxConns + 1 {
		c, far := net.Pipe()
		defer far.Close()
		conns = append(conns, c)
		a := netip.AddrFrom4([4]byte{10, 0, 1, byte(i / perSource)})
		if i == 0 {
			a = machine
		}
		if s.enter(a, c) == nil {
			t.Fatalf("connection %d found no room", i)
		}
	}
	for i, c := range conns[:3] {
		c.SetWriteDeadline(time.Now())
		if _, err := c.Write([]byte("x")); errors.Is(err, io.ErrClosedPipe) != (i == 1) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// TestFlood: one machine has its share, whatever it sends, and another is heard
// beside it.
func TestFlood(t *testing.T) {
	s, a, addr := start(t)
	u := dial(t, "tcp4", "127.0.0.11", addr)
	go func() {
		b := []byte(strings.Repeat("<13>sh: flood\n", 1000))
		for range 50 {
			if _, err := u.Write(b); err != nil {
				return
			}
		}
		_ = u.(*net.TCPConn).CloseWrite()
	}()
	closed(t, u) // it has read all of it
	if got, lost := s.Stats.Kept.Load(), s.Stats.TooFast.Load(); got < machineBurst || got > machineBurst+10*machineRate || got+lost != 50000 {
		t.Errorf("%d kept and %d dropped of 50,000", got, lost)
	}
	for len(a.lines) > 0 {
		<-a.lines
	}
	fmt.Fprint(dial(t, "udp4", "127.0.0.13", addr), "<13>sh: me too")
	if in := a.next(t); in.Line.Text != "me too" {
		t.Errorf("heard %q", in.Line.Text)
	}
}

func TestGate(t *testing.T) {
	now := time.Unix(1000, 0)
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	g := newGate()
	friend := netip.MustParseAddr("10.0.0.9")
	count := func(a netip.Addr, n int) (out [noRoom + 1]int) {
		for range n {
			out[g.ask(a, now, func(a netip.Addr) bool { return a == friend })]++
		}
		return out
	}
	if got := count(one, 5000); got[pass] != machineBurst || got[tooFast] != 5000-machineBurst {
		t.Errorf("a burst: %v", got)
	}
	if got := count(two, 10); got[pass] != 10 {
		t.Errorf("another beside it: %v", got)
	}
	now = now.Add(time.Second)
	if got := count(one, 5000); got[pass] != machineRate {
		t.Errorf("a second later: %v", got)
	}
	g.known(two, false, now)
	if got := count(two, 10); got[noStation] != 10 {
		t.Errorf("a stranger: %v", got)
	}
	now = now.Add(strangerTime)
	if got := count(two, 1); got[pass] != 1 {
		t.Errorf("a stranger that was asked about again: %v", got)
	}
	// All together, and more of them than there is room for.
	g = newGate()
	var total [noRoom + 1]int
	for i := range maxSources + 100 {
		for v, n := range count(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 10) {
			total[v] += n
		}
	}
	if total[pass] != newRate || total[noRoom] == 0 || len(g.sources) > maxSources {
		t.Errorf("all together: %v, %d sources", total, len(g.sources))
	}
	// A machine that may boot goes before them.
	if got := count(friend, 10); got[pass] != 10 || len(g.sources) > maxSources {
		t.Errorf("a machine beside made-up sources: %v, %d sources", got, len(g.sources))
	}
	now = now.Add(time.Minute)
	if got := count(one, 1); got[pass] != 1 || len(g.sources) != 1 {
		t.Errorf("who was silent is not forgotten: %v, %d sources", got, len(g.sources))
	}
	// Many that are known.
	g = newGate()
	total = [noRoom + 1]int{}
	for i := range 3000 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		if i%newRate == 0 {
			now = now.Add(time.Second)
		}
		total[g.ask(a, now, func(netip.Addr) bool { return true })]++
		g.known(a, true, now)
		for v, n := range count(a, 19) {
			total[v] += n
		}
	}
	if total[pass] != 2*totalRate || total[tooMany] != 20000 {
		t.Errorf("all that are known together: %v", total)
	}
}

// TestOverflow: what the kernel dropped is counted too.
func TestOverflow(t *testing.T) {
	k, _, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Skip("no port is free for both: ", err)
	}
	defer k.Close()
	s := NewServer(nil, nil)
	s.udp = k.UDP
	c := dial(t, "udp4", "127.0.0.11", k.UDP.LocalAddr().String())
	if n := s.Overflow(); n != 0 {
		t.Errorf("%d dropped before anything came", n)
	}
	b := make([]byte, 8000)
	for range 2000 {
		_, _ = c.Write(b)
	}
	if n := s.Overflow(); n == 0 {
		t.Error("16 MB went into a buffer of 1 MiB, and nothing was dropped")
	}
}

func BenchmarkLine(b *testing.B) {
	s := NewServer(&asked{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	line := []byte("<30>Mar  4 12:00:00 localhost systemd[1]: Started something of a usual length for the log of an installer.")
	from := netip.MustParseAddrPort("10.0.0.1:514")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.tell(b.Context(), line, 0, from, boot.Link{}); err != nil {
			b.Fatal(err)
		}
	}
}
