package radv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a link without a kernel: what the server hears is put in, what it sends
// is kept with its time.
type wire struct {
	mu      sync.Mutex
	start   time.Time
	link    link
	err     error // the interface is not usable
	openErr error
	fwd     bool
	opened  int
	sent    []sentRA
	asked   int
	in      chan heardRaw
}

type sentRA struct {
	at time.Duration
	to netip.Addr
	b  []byte
}

type heardRaw struct {
	b    []byte
	from netip.Addr
	err  error
}

type wireConn struct {
	*wire
	closed chan struct{}
	once   sync.Once
}

func (c *wireConn) read(b []byte) (int, int, netip.Addr, error) {
	select {
	case h := <-c.in:
		return copy(b, h.b), 255, h.from, h.err
	case <-c.closed:
		return 0, 0, netip.Addr{}, net.ErrClosed
	}
}

func (c *wireConn) write(b []byte, to netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if b[0] == typeSolicitation {
		c.asked++
		return nil
	}
	c.sent = append(c.sent, sentRA{time.Since(c.start), to, bytes.Clone(b)})
	return nil
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (w *wire) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// take returns what was sent since the last call.
func (w *wire) take() []sentRA {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.sent
	w.sent = nil
	return out
}

func (w *wire) solicit(from netip.Addr) {
	w.in <- heardRaw{b: []byte{133, 0, 0, 0, 0, 0, 0, 0}, from: from}
}

// serve runs a server on a wire, inside a bubble.
func serve(t *testing.T, heard func(Router), c Config) (*Server, *wire, func()) {
	t.Helper()
	w := &wire{start: time.Now(), link: link{7, string(mac), us}, fwd: true, in: make(chan heardRaw)}
	if heard == nil {
		heard = func(r Router) { t.Errorf("heard %+v", r) }
	}
	s := NewServer(slog.New(slog.DiscardHandler), heard)
	s.look = func(string) (link, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.link, w.err }
	s.fwd = func(string) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.fwd }
	s.open = func(string, link) (conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.openErr != nil {
			return nil, w.openErr
		}
		w.opened++
		return &wireConn{wire: w, closed: make(chan struct{})}, nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	s.random = func(n time.Duration) time.Duration { return time.Duration(r.Int64N(int64(n))) }
	s.Set([]Config{c})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	return s, w, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
}

func lifetime(b []byte) uint16 { return binary.BigEndian.Uint16(b[6:]) }

// TestUnsolicited: three at once and after 16 s each, then every 200 to 600 s.
func TestUnsolicited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, stop := serve(t, nil, managed())
		time.Sleep(6 * time.Hour)
		sent := w.take()
		stop()
		if len(sent) < 36 || len(sent) > 110 {
			t.Fatalf("%d advertisements in 6 hours", len(sent))
		}
		for i, m := range sent {
			if m.to != allNodes {
				t.Errorf("to %s", m.to)
			}
			gap := m.at
			if i > 0 {
				gap -= sent[i-1].at
			}
			switch {
			case i == 0 && gap != 0, i > 0 && i < 3 && gap != initialInterval, i >= 3 && (gap < MinInterval || gap > MaxInterval):
				t.Errorf("advertisement %d came %s after the one before", i, gap)
			}
		}
		if n := s.Stats.Multicast.Load(); n != uint64(len(sent)) {
			t.Errorf("%d counted of %d", n, len(sent))
		}
		// It was no router: there is nothing to take back.
		if left := w.take(); len(left) != 0 {
			t.Errorf("said %+v at the end", left)
		}
	})
}

// TestSolicited: a single solicitor gets an answer of its own within half a
// second. Several, and one without an address, get one answer for all.
func TestSolicited(t *testing.T) {
	const maxDelay, minBetween = 500 * time.Millisecond, 3 * time.Second // RFC 4861 10
	synctest.Test(t, func(t *testing.T) {
		_, w, stop := serve(t, nil, managed())
		defer stop()
		time.Sleep(time.Hour)
		w.take()
		for i := range 50 {
			from := netip.MustParseAddr(fmt.Sprintf("fe80::%x", 0x100+i))
			at := time.Since(w.start)
			w.solicit(from)
			time.Sleep(maxDelay)
			sent := w.take()
			if len(sent) != 1 || sent[0].to != from || sent[0].at-at > maxDelay {
				t.Fatalf("%s at %s: answered %+v", from, at, sent)
			}
			time.Sleep(time.Second)
			w.take()
		}
		time.Sleep(minBetween)
		w.take()
		for _, from := range [][]netip.Addr{
			{netip.IPv6Unspecified()},
			{netip.MustParseAddr("fe80::a"), netip.MustParseAddr("fe80::b"), netip.MustParseAddr("fe80::a")},
			{netip.MustParseAddr("2001:db8::1")},
		} {
			for _, f := range from {
				w.solicit(f)
			}
			time.Sleep(maxDelay)
			if sent := w.take(); len(sent) != 1 || sent[0].to != allNodes {
				t.Errorf("%v were answered by %+v", from, sent)
			}
			time.Sleep(minBetween)
			w.take()
		}
		// The second one comes MIN_DELAY_BETWEEN_RAS after the first (RFC 4861 6.2.6).
		w.solicit(netip.IPv6Unspecified())
		time.Sleep(maxDelay)
		first := w.take()
		w.solicit(netip.IPv6Unspecified())
		time.Sleep(minBetween + maxDelay)
		second := w.take()
		if len(first) != 1 || len(second) != 1 || second[0].at-first[0].at < minBetween || second[0].at-first[0].at > minBetween+maxDelay {
			t.Errorf("answered at %+v, then %+v", first, second)
		}
	})
}

// TestSolicitationFlood: 10,000 in 30 seconds cost one advertisement in three
// seconds, whoever they claim to be from, and at most eight more for single ones.
func TestSolicitationFlood(t *testing.T) {
	for name, from := range map[string]func(i int) netip.Addr{
		"one":      func(int) netip.Addr { return other },
		"nobody":   func(int) netip.Addr { return netip.IPv6Unspecified() },
		"everyone": func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fe80::1:%x", i)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, stop := serve(t, nil, managed())
				time.Sleep(time.Hour)
				w.take()
				for i := range 10000 {
					w.solicit(from(i))
					time.Sleep(3 * time.Millisecond)
				}
				sent := w.take()
				stop()
				single := 0
				var last time.Duration
				for _, m := range sent {
					if m.to != allNodes {
						single++
						continue
					}
					if last != 0 && m.at-last < minBetween {
						t.Errorf("two in %s", m.at-last)
					}
					last = m.at
				}
				if len(sent) < 9 || len(sent) > 12 || single > 2 {
					t.Errorf("%d advertisements, %d of them to one", len(sent), single)
				}
				if n := s.Stats.Solicitations.Load(); n != 10000 {
					t.Errorf("%d solicitations counted", n)
				}
			})
		})
	}
}

// TestChangesAreBounded: frequent changes do not cause more frequent
// advertisements.
func TestChangesAreBounded(t *testing.T) {
	s := schedule{random: func(time.Duration) time.Duration { return 0 }}
	now := time.Unix(1e9, 0)
	n := 0
	for range 300 { // in 3 s
		s.start(now)
		if _, ok := s.take(now); ok {
			n++
		}
		now = now.Add(10 * time.Millisecond)
	}
	if n != 1 {
		t.Errorf("%d advertisements", n)
	}
}

// TestSingleAnswersAreBounded: solicitors that take turns, so that each is alone,
// have eight answers of their own in three seconds.
func TestSingleAnswersAreBounded(t *testing.T) {
	s := schedule{random: func(time.Duration) time.Duration { return 0 }}
	now := time.Unix(1e9, 0)
	s.start(now)
	s.take(now)
	now = now.Add(10 * time.Second)
	single, all := 0, 0
	for i := range 300 { // in 3 s
		s.solicited(netip.MustParseAddr(fmt.Sprintf("fe80::2:%x", i)), now)
		if to, ok := s.take(now); ok && to.IsValid() {
			single++
		} else if ok {
			all++
		}
		now = now.Add(10 * time.Millisecond)
	}
	if single != maxSingle || all != 1 {
		t.Errorf("%d to one, %d to all", single, all)
	}
}

// TestFarewell: a router advertises that it no longer is one when it stops,
// when it is told to, and when it stops forwarding.
func TestFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, stop := serve(t, nil, router())
		sent := w.take()
		if len(sent) != 1 || lifetime(sent[0].b) != 1800 {
			t.Fatalf("began with %+v", sent)
		}
		w.set(func() { w.fwd = false })
		time.Sleep(2 * minBetween)
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 0 || !strings.Contains(s.State("eth0"), "does not forward") {
			t.Errorf("without forwarding: %+v, %q", sent, s.State("eth0"))
		}
		w.set(func() { w.fwd = true })
		time.Sleep(2 * minBetween)
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 1800 || s.State("eth0") != "" {
			t.Errorf("with it again: %+v, %q", sent, s.State("eth0"))
		}
		s.Set([]Config{{Interface: "eth0"}})
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 0 {
			t.Errorf("turned off: %+v", sent)
		}
		time.Sleep(time.Hour)
		if sent = w.take(); len(sent) != 0 {
			t.Errorf("turned off, it said %+v", sent)
		}
		s.Set([]Config{router()})
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 1800 {
			t.Errorf("turned on: %+v", sent)
		}
		s.Set(nil)
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 0 {
			t.Errorf("taken away: %+v", sent)
		}
		s.Set([]Config{router()})
		w.take()
		stop()
		if sent = w.take(); len(sent) != 1 || lifetime(sent[0].b) != 0 || sent[0].to != allNodes {
			t.Errorf("at the end: %+v", sent)
		}
	})
}

// TestReload: a change is advertised at once and three times. What was removed
// is withdrawn as often. What did not change is left alone.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, stop := serve(t, nil, managed())
		defer stop()
		time.Sleep(time.Hour)
		w.take()
		next := managed()
		s.Set([]Config{next})
		if sent := w.take(); len(sent) != 0 {
			t.Errorf("nothing changed, and it said %+v", sent)
		}
		next.Prefixes = []Prefix{{Prefix: netip.MustParsePrefix("fd78::/64"), OnLink: true, Valid: time.Hour, Preferred: time.Hour}}
		s.Set([]Config{next})
		time.Sleep(40 * time.Second)
		sent := w.take()
		if len(sent) != 3 {
			t.Fatalf("said %d times", len(sent))
		}
		for _, m := range sent {
			p, err := parse(m.b, 255, us)
			if err != nil {
				t.Fatal(err)
			}
			if ps := p.router.Prefixes; len(ps) != 2 || ps[0] != next.Prefixes[0] || ps[1].Prefix != prefix || ps[1].Valid != 0 || ps[1].Preferred != 0 {
				t.Errorf("said %+v", ps)
			}
		}
		time.Sleep(time.Hour)
		for _, m := range w.take() {
			if p, err := parse(m.b, 255, us); err != nil || len(p.router.Prefixes) != 1 {
				t.Errorf("later %+v, %v", p.router, err)
			}
		}
	})
}

// TestComeAndGo: an interface that is not there, has no carrier or changes, and a
// socket that fails, are waited for.
func TestComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, stop := serve(t, nil, managed())
		defer stop()
		w.take()
		for name, fault := range map[string]struct{ make, mend func() }{
			"gone":     {func() { w.err = errors.New("eth0 is not there") }, func() { w.err = nil }},
			"no bind":  {func() { w.link.index++; w.openErr = errors.New("the address is tentative") }, func() { w.openErr = nil }},
			"replaced": {func() { w.link.index++ }, func() {}},
		} {
			opened := w.opened
			w.set(fault.make)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if state := s.State("eth0"); name != "replaced" && state == "" {
				t.Errorf("%s: nothing is said", name)
			}
			w.set(fault.mend)
			time.Sleep(lookEvery + minBetween)
			if sent := w.take(); len(sent) == 0 || w.opened != opened+1 || s.State("eth0") != "" {
				t.Errorf("%s: %d sent, opened %d times, %q", name, len(sent), w.opened-opened, s.State("eth0"))
			}
		}
		w.in <- heardRaw{err: errors.New("the network is down")}
		synctest.Wait()
		if s.State("eth0") == "" {
			t.Error("reading failed and nothing is said")
		}
		time.Sleep(lookEvery + minBetween)
		if sent := w.take(); len(sent) == 0 || s.State("eth0") != "" {
			t.Errorf("after a failed read: %+v, %q", sent, s.State("eth0"))
		}
	})
}

// TestHeard: another router is reported once a minute with what it contradicts,
// also where we only listen; a made-up crowd of them is not.
func TestHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []Router
		var mu sync.Mutex
		take := func() []Router {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			out := heard
			heard = nil
			return out
		}
		s, w, stop := serve(t, func(r Router) { mu.Lock(); defer mu.Unlock(); heard = append(heard, r) }, managed())
		defer stop()
		theirs := managed()
		theirs.Managed, theirs.Router = false, true
		b, err := theirs.Message(mac, true)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			w.in <- heardRaw{b: b, from: other}
			time.Sleep(time.Second)
		}
		got := take()
		if len(got) != 1 || got[0].Addr != other || got[0].Interface != "eth0" || got[0].Own || got[0].Lifetime != Lifetime || !slices.Equal(got[0].Differs, []string{"it says M=0, we say M=1"}) {
			t.Fatalf("reported %+v", got)
		}
		time.Sleep(heardEvery)
		w.in <- heardRaw{b: b, from: us}
		w.in <- heardRaw{b: b, from: other}
		if got = take(); len(got) != 2 || !got[0].Own || got[1].Own {
			t.Errorf("later %+v", got)
		}
		s.Set([]Config{{Interface: "eth0"}})
		time.Sleep(heardEvery)
		w.in <- heardRaw{b: b, from: other}
		if got = take(); len(got) != 1 || len(got[0].Differs) != 0 {
			t.Errorf("listening only: %+v", got)
		}
		for i := range 1000 {
			w.in <- heardRaw{b: b, from: netip.MustParseAddr(fmt.Sprintf("fe80::3:%x", i))}
		}
		if got = take(); len(got) > maxRouters {
			t.Errorf("%d made-up routers reported", len(got))
		}
	})
}

// TestAsks: if no router answers, it solicits three times, as a host does; if
// one answers, once.
func TestAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w, stop := serve(t, func(Router) {}, Config{Interface: "eth0"})
		time.Sleep(time.Hour)
		if sent := w.take(); w.asked != askCount || len(sent) != 0 {
			t.Errorf("asked %d times, sent %+v", w.asked, sent)
		}
		stop()
		_, w, stop = serve(t, func(Router) {}, Config{Interface: "eth0"})
		defer stop()
		b, err := managed().Message(mac, true)
		if err != nil {
			t.Fatal(err)
		}
		w.in <- heardRaw{b: b, from: other}
		time.Sleep(time.Hour)
		if w.take(); w.asked != 1 {
			t.Errorf("asked %d times although a router answered", w.asked)
		}
	})
}

// TestAlone: that nobody routes here is said only while nobody does: lifetime 0, neither
// M nor O, no prefix.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := 0
		_, w, end := serve(t, func(r Router) {
			heard++
			if len(r.Differs) > 0 {
				t.Errorf("it compares itself: %q", r.Differs)
			}
		}, Config{Interface: "eth0", Advertise: true, Alone: true})
		defer end()
		time.Sleep(time.Second)
		asked := 0
		w.set(func() { asked = w.asked })
		if sent := w.take(); len(sent) > 0 || asked == 0 {
			t.Errorf("before it has listened: %d advertisements, and it asked %d times", len(sent), asked)
		}
		time.Sleep(4 * time.Second)
		sent := w.take()
		if len(sent) == 0 || len(sent[0].b) > 24 || sent[0].b[5] != 0 || lifetime(sent[0].b) != 0 {
			t.Fatalf("alone: %v", sent)
		}
		w.solicit(netip.MustParseAddr("fe80::9"))
		time.Sleep(time.Second)
		if sent := w.take(); len(sent) == 0 {
			t.Error("who asks is not answered")
		}
		b, err := Config{Interface: "eth0", Advertise: true, Router: true}.Message(net.HardwareAddr(mac), true)
		if err != nil {
			t.Fatal(err)
		}
		w.in <- heardRaw{b: b, from: netip.MustParseAddr("fe80::1")}
		w.take()
		w.solicit(netip.MustParseAddr("fe80::9"))
		time.Sleep(30 * time.Minute)
		if sent := w.take(); len(sent) > 0 || heard != 1 {
			t.Errorf("beside a router: %d advertisements; %d were heard", len(sent), heard)
		}
		time.Sleep(2 * time.Hour)
		if sent := w.take(); len(sent) == 0 {
			t.Error("the router is gone, and nothing is said")
		}
	})
}
