// reply_test.go: where a reply goes, and how a refusal looks, by tables.

package dhcpd

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// client4 is a request of a client; set changes it before it is encoded.
func client4(kind byte, set ...func(*packet)) []byte {
	p := &packet{op: bootRequest, htype: 1, hlen: 6, xid: [4]byte{1, 2, 3, 4}, chaddr: [16]byte{0x52, 0x54, 0, 0, 0, 1}}
	if kind != typeNone {
		p.set(optType, []byte{kind})
	}
	for _, f := range set {
		f(p)
	}
	return p.encode()
}

func with(code byte, v ...byte) func(*packet) { return func(p *packet) { p.set(code, v) } }

func giaddr(a string) func(*packet) {
	return func(p *packet) { p.giaddr = netip.MustParseAddr(a).As4() }
}

func ciaddr(a string) func(*packet) {
	return func(p *packet) { p.ciaddr = netip.MustParseAddr(a).As4() }
}

func broadcasts(p *packet) { p.flags = broadcastFlag }

func parsed(t *testing.T, b []byte, m Meta) *request {
	t.Helper()
	m.At = at
	r, err := parse4(b, m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The replies of the tables.
var (
	given    = netip.MustParseAddr("10.77.0.100")
	other    = netip.MustParseAddr("10.77.0.2") // of ours: a reply leaves from it
	grant    = &boot.Grant{Addr: given, Lease: time.Hour}
	granted  = answer(boot.Answer4{Type: boot.Ack, Grant: grant})
	offered  = answer(boot.Answer4{Type: boot.Offer, Grant: grant})
	proxied  = answer(boot.Answer4{Type: boot.Offer})
	informed = answer(boot.Answer4{Type: boot.Ack})
)

func nak(why string) boot.Decision { return answer(boot.Answer4{Type: boot.Nak, Message: why}) }

func answer(x boot.Answer4) boot.Decision {
	x.Options.Server, x.Options.Source = server, other
	return boot.Decision{Reply: x}
}

// A relay agent must broadcast a NAK: the client may be on another link than the
// address it believes in (RFC 2131 4.3.2). Every other reply keeps the client's
// flags.
func TestNakThroughRelay(t *testing.T) {
	for _, c := range []struct {
		what  string
		asked []byte
		d     boot.Decision
		flags uint16
	}{
		{"NAK, relayed", client4(typeRequest, giaddr("10.20.0.2")), nak("no"), broadcastFlag},
		{"NAK, relayed, flag of its own", client4(typeRequest, giaddr("10.20.0.2"), broadcasts), nak("no"), broadcastFlag},
		{"NAK on the link", client4(typeRequest), nak("no"), 0},
		{"ACK, relayed", client4(typeRequest, giaddr("10.20.0.2")), granted, 0},
		{"ACK, relayed, flag", client4(typeRequest, giaddr("10.20.0.2"), broadcasts), granted, broadcastFlag},
	} {
		reply := build4(parsed(t, c.asked, Meta{}), c.d)
		if got := binary.BigEndian.Uint16(reply[10:]); got != c.flags {
			t.Errorf("%s: flags %#x, want %#x", c.what, got, c.flags)
		}
	}
}

// The contents of a NAK: the server, the reason, and the options that the
// client and its relay must get back; no address (RFC 2131 table 3).
func TestNakSays(t *testing.T) {
	q := client4(typeRequest, giaddr("10.20.0.2"), ciaddr("10.77.0.9"), with(optClientID, 1, 2, 3), with(optRelayInfo, 1, 2, 'e', '1'))
	var p packet
	reply := build4(parsed(t, q, Meta{}), nak(strings.Repeat("w", 200)))
	if err := p.decode(reply); err != nil {
		t.Fatal(err)
	}
	var zero [4]byte
	if p.op != bootReply || p.ciaddr != zero || p.yiaddr != zero || p.siaddr != zero || p.giaddr != [4]byte{10, 20, 0, 2} || p.xid != [4]byte{1, 2, 3, 4} {
		t.Errorf("header %+v", p)
	}
	for code, want := range map[byte]string{
		optType: "\x06", optServerID: string(server.AsSlice()), optClientID: "\x01\x02\x03", optRelayInfo: "\x01\x02e1", optMessage: strings.Repeat("w", 128),
	} {
		if got := string(p.get(code)); got != want {
			t.Errorf("option %d is %q, want %q", code, got, want)
		}
	}
	if len(p.options) != 5 {
		t.Errorf("%d options, want 5", len(p.options))
	}
	if short := build4(parsed(t, q, Meta{}), nak(strings.Repeat("w", 128))); len(short) != len(reply) {
		t.Errorf("a text of 128 bytes makes %d bytes, one that is cut to it %d", len(short), len(reply))
	}
}

// Where replies go (RFC 2131 4.1, RFC 8357, PXE 2.1 for port 4011).
func TestDest4(t *testing.T) {
	from := func(s string) Meta { return Meta{Source: netip.MustParseAddrPort(s)} }
	proxy := func(s string) Meta { m := from(s); m.Proxy = true; return m }
	relayPort := with(optRelayInfo, relaySource, 0)
	for _, c := range []struct {
		what  string
		asked []byte
		m     Meta
		d     boot.Decision
		want  string
	}{
		{"a client without an address", client4(typeDiscover), from("0.0.0.0:68"), offered, "frame 10.77.0.100:68 52:54:00:00:00:01"},
		{"one that hears broadcasts alone", client4(typeDiscover, broadcasts), from("0.0.0.0:68"), offered, "broadcast 255.255.255.255:68"},
		{"an offer without an address", client4(typeDiscover), from("0.0.0.0:68"), proxied, "broadcast 255.255.255.255:68"},
		{"an ACK", client4(typeRequest, with(optServerID, 10, 77, 0, 1), with(optRequested, 10, 77, 0, 100)), from("0.0.0.0:68"), granted, "frame 10.77.0.100:68 52:54:00:00:00:01"},
		{"a renewal", client4(typeRequest, ciaddr("10.77.0.100")), from("10.77.0.100:68"), granted, "unicast 10.77.0.100:68"},
		{"a renewal that asks for broadcast", client4(typeRequest, ciaddr("10.77.0.100"), broadcasts), from("10.77.0.100:68"), granted, "unicast 10.77.0.100:68"},
		{"an INFORM", client4(typeInform, ciaddr("10.77.0.7")), from("10.77.0.7:68"), informed, "unicast 10.77.0.7:68"},
		{"an INFORM without an address", client4(typeInform), from("10.77.0.7:68"), informed, "broadcast 255.255.255.255:68"},
		{"a DISCOVER with an address of its choice", client4(typeDiscover, ciaddr("10.77.0.9")), from("0.0.0.0:68"), offered, "frame 10.77.0.100:68 52:54:00:00:00:01"},
		{"a NAK", client4(typeRequest), from("0.0.0.0:68"), nak("no"), "broadcast 255.255.255.255:68"},
		{"a NAK to a renewal", client4(typeRequest, ciaddr("10.77.0.100")), from("10.77.0.100:68"), nak("no"), "broadcast 255.255.255.255:68"},
		{"a relay", client4(typeDiscover, giaddr("10.20.0.2"), broadcasts), from("10.20.0.2:67"), offered, "relayed 10.20.0.2:67"},
		{"a relay at another port", client4(typeDiscover, giaddr("10.20.0.2")), from("10.20.0.2:3067"), offered, "relayed 10.20.0.2:67"},
		{"a relay that wants its port", client4(typeDiscover, giaddr("10.20.0.2"), relayPort), from("10.20.0.2:3067"), offered, "relayed 10.20.0.2:3067"},
		{"a relay that wants port 0", client4(typeDiscover, giaddr("10.20.0.2"), relayPort), from("10.20.0.2:0"), offered, "relayed 10.20.0.2:67"},
		{"a NAK through a relay", client4(typeRequest, giaddr("10.20.0.2")), from("10.20.0.2:67"), nak("no"), "relayed 10.20.0.2:67"},
		{"edk2 at 4011", client4(typeRequest, ciaddr("10.77.0.7")), proxy("10.77.0.7:4011"), informed, "unicast 10.77.0.7:4011"},
		{"iPXE at 4011", client4(typeRequest, ciaddr("10.77.0.7")), proxy("10.77.0.7:68"), informed, "unicast 10.77.0.7:68"},
		{"4011 from no address", client4(typeRequest), proxy("0.0.0.0:68"), informed, "broadcast 255.255.255.255:68"},
	} {
		got := dest4(parsed(t, c.asked, c.m), c.d)
		s := strings.TrimSuffix(strings.Join([]string{string(got.How), got.Addr.String(), got.MAC.String()}, " "), " 00:00:00:00:00:00")
		if s != c.want || got.From != other {
			t.Errorf("%s: %s from %s, want %s", c.what, s, got.From, c.want)
		}
	}
}

// What DHCPv6 answers (RFC 8415 7.2, RFC 8357).
func TestDest6(t *testing.T) {
	ours := netip.MustParseAddr("fd77::1")
	port := []byte{0, 0}
	for _, c := range []struct {
		what string
		r    request6
		from string
		want string
	}{
		{"a client", request6{}, "[fe80::9]:546", "unicast [fe80::9%eth0]:546"},
		{"a client at its own port", request6{}, "[fe80::9]:1234", "unicast [fe80::9%eth0]:1234"},
		{"a client at port 0", request6{}, "[fd77::9]:0", "unicast [fd77::9]:546"},
		{"a relay", request6{hops: []hop{{}}}, "[fd55::1]:3547", "relayed [fd55::1]:547"},
		{"a relay that wants its port", request6{hops: []hop{{port: port}}}, "[fd55::1]:3547", "relayed [fd55::1]:3547"},
		{"a relay that wants port 0", request6{hops: []hop{{port: port}}}, "[fd55::1]:0", "relayed [fd55::1]:547"},
		{"the relay behind the last", request6{hops: []hop{{}, {port: port}}}, "[fd55::1]:3547", "relayed [fd55::1]:547"},
	} {
		c.r.meta = Meta{Interface: "eth0", Local: ours, Source: netip.MustParseAddrPort(c.from)}
		if got := dest6(&c.r); string(got.How)+" "+got.Addr.String() != c.want || got.From != ours {
			t.Errorf("%s: %s %s from %s, want %s", c.what, got.How, got.Addr, got.From, c.want)
		}
	}
}

// slotOf is a request as front knows it.
type slotOf struct {
	request
	waits bool
	link  int
}

func (s *slotOf) commits() bool { return s.waits }
func (s *slotOf) index() int    { return s.link }

// What is in flight is bounded: for all, for what waits for the disk, and for one
// link where others ask too. A DISCOVER that nobody could confirm is shed.
func TestSlots(t *testing.T) {
	var f *front[*slotOf]
	fresh := func() { f = &front[*slotOf]{byLink: map[int]*load{}} }
	discover := func(link int) *slotOf { return &slotOf{link: link} }
	request := func(link int) *slotOf { return &slotOf{link: link, waits: true} }
	// fits tells how many more of a kind are taken, at most some.
	some := func(r *slotOf, most int, known bool) (n int) {
		for n < most && f.slot(r, known) {
			n++
		}
		return n
	}
	fits := func(r *slotOf, most int) int { return some(r, most, false) }
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	fresh()
	check("DISCOVERs of one link", fits(discover(1), 9000), 8192)
	check("a REQUEST when all slots are taken", fits(request(1), 1), 0)
	f.release(discover(1))
	check("a REQUEST when one is free again", fits(request(1), 2), 1)

	fresh()
	check("REQUESTs of the only link", fits(request(1), 9000), 3072)
	check("and DISCOVERs beside them", fits(discover(1), 1), 0)
	check("DISCOVERs of machines that may boot", some(discover(1), 1, true), 1)
	check("and their REQUESTs", some(request(1), 9000, true), 1024)
	f.release(discover(1))
	for range 2048 {
		f.release(request(1))
	}
	check("DISCOVERs while a quarter waits for the disk", fits(discover(1), 1), 0)
	f.release(request(1))
	check("DISCOVERs while less does", fits(discover(1), 1), 1)

	fresh()
	check("a second link", fits(discover(2), 1), 1)
	check("REQUESTs of one link of two", fits(request(1), 9000), 3072)
	check("DISCOVERs behind them", fits(discover(1), 1), 0)
	check("DISCOVERs of the other link", fits(discover(2), 1), 1)
	check("REQUESTs of the other link: half of the slots in all", fits(request(2), 9000), 1024)
	check("REQUESTs of a third", fits(request(3), 1), 0)
	check("DISCOVERs of a third", fits(discover(3), 1), 1)

	fresh()
	check("a second link", fits(discover(2), 1), 1)
	check("DISCOVERs of one link of two: until it is crowded", fits(discover(1), 9000), 6143)
	check("REQUESTs of that link then", fits(request(1), 1), 0)
	check("DISCOVERs of the other: a quarter", fits(discover(2), 9000), 2047)
	check("in all", f.inFlight, 8191)
	check("a third link has room yet", fits(discover(3), 9000), 1)
	check("nobody has any then", some(discover(3), 1, true), 0)
}

// Many full batches in a row are a flood, and so is each one within a second after.
func TestFlood(t *testing.T) {
	var f flood
	for _, c := range []struct {
		full bool
		n    int
		at   time.Duration
		want bool // of the last one
	}{
		{true, 31, 0, false}, {false, 1, 0, false}, {true, 31, 0, false}, {true, 1, 0, true}, {true, 100, 0, true},
		{false, 1, time.Second / 2, false}, {true, 1, time.Second - 1, true}, // from here another second
		{false, 1, time.Second, false}, {true, 1, 2*time.Second - 2, true}, {false, 1, 2 * time.Second, false},
		{true, 1, 3*time.Second - 2, false},
	} {
		var got bool
		for range c.n {
			got = f.on(c.full, at.Add(c.at))
		}
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// hose gives batch after batch: of strangers, and of a machine that comes last.
type hose struct {
	Conn
	batches []int
}

func (h *hose) Read(ps []Packet) (n int, err error) {
	if len(h.batches) == 0 {
		return 0, net.ErrClosed
	}
	n, h.batches = h.batches[0], h.batches[1:]
	for i := range n {
		ps[i].Buf[0], ps[i].N = 0, 1
	}
	ps[n-1].Buf[0] = 1
	return n, nil
}

// TestFloodOfStrangers: in a flood only a few strangers are answered, and every machine
// that may boot.
func TestFloodOfStrangers(t *testing.T) {
	answered := map[byte]int{}
	f := &front[*slotOf]{byLink: map[int]*load{}, buffer: 10, log: slog.New(slog.DiscardHandler),
		Admitted: func(m boot.MAC) bool { return m[5] == 1 },
		parse: func(b []byte, _ Meta) (*slotOf, error) {
			return &slotOf{request: request{in: boot.Sighting{ID: boot.Identity{MAC: boot.MAC{2, 5: b[0]}}}}}, nil
		},
		reply: func(_ context.Context, r *slotOf) outgoing { answered[r.in.ID.MAC[5]]++; return outgoing{} },
	}
	h := &hose{batches: append(slices.Repeat([]int{64}, 40), 10)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	work := &workers[*slotOf]{f: f, c: h}
	if err := f.read(ctx, h, work); err != nil {
		t.Error(err)
	}
	if want := 31*63 + 9*8 + 9; answered[0] != want || answered[1] != 41 {
		t.Errorf("%d strangers were answered, want %d; %d times the machine, want 41", answered[0], want, answered[1])
	}
	if n := f.Stats.Dropped.Load(); n != 9*(63-8) {
		t.Errorf("%d are counted as dropped", n)
	}
}

// Where a request went, as a capture shows it.
func TestSentTo(t *testing.T) {
	for want, m := range map[string]Meta{
		"255.255.255.255:67": {},
		"10.77.0.1:67":       {Local: server},
		"10.77.0.1:4011":     {Local: server, Proxy: true},
	} {
		if got := parsed(t, client4(typeRequest), m).sentTo().String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Our own probes are left unanswered and take no slot.
func TestPassed(t *testing.T) {
	f := &front[*slotOf]{byLink: map[int]*load{}, pass: func(r *slotOf) bool { return r.link == 7 }}
	if f.slot(&slotOf{link: 7}, true) || f.inFlight != 0 || !f.slot(&slotOf{link: 1}, false) || f.inFlight != 1 {
		t.Errorf("%d in flight", f.inFlight)
	}
}

// A reply may wait for its client's sake, a few of them at a time: beyond that
// they leave at once. One that waits when the server ends is not sent.
func TestDelayedAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newPipe()
		f := &front[*slotOf]{byLink: map[int]*load{}, reply: func(context.Context, *slotOf) outgoing { return outgoing{b: []byte{1}, delay: time.Second} }}
		ctx, cancel := context.WithCancel(t.Context())
		begin := func() (waits bool) {
			later := f.answer(ctx, conn, job[*slotOf]{r: new(slotOf)})
			if later != nil {
				go later()
			}
			return later != nil
		}
		n := 0
		for range 70 {
			if begin() {
				n++
			}
		}
		synctest.Wait()
		if n != 64 || len(conn.out) != 6 {
			t.Errorf("%d wait, %d left at once", n, len(conn.out))
		}
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if len(conn.out) != 6 {
			t.Errorf("%d left before their time", len(conn.out)-6)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(conn.out) != 70 || f.Stats.Answered.Load() != 70 {
			t.Errorf("%d of 70 left", len(conn.out))
		}
		if n := f.delayed.Load(); n != 0 {
			t.Errorf("%d are counted that do not wait any more", n)
		}
		if !begin() {
			t.Error("none waits any more")
		}
		cancel()
		synctest.Wait()
		if len(conn.out) != 70 {
			t.Error("the server ended, and a reply was sent")
		}
	})
}

// A name of 127 bytes fills the field and leaves its NUL.
func TestLongestFile(t *testing.T) {
	b := (&packet{file: strings.Repeat("f", 127), sname: strings.Repeat("s", 63)}).encode()
	if b[108+126] != 'f' || b[108+127] != 0 || b[44+62] != 's' || b[44+63] != 0 {
		t.Errorf("file ends in %x, sname in %x", b[108+125:236], b[44+61:108])
	}
}
