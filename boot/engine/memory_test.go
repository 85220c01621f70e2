// memory_test.go: what is remembered for how long, and how much of it.

package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func newView(m *memory, at time.Duration) *view {
	return &view{m: m, now: after(at), log: NewRequestLog(nil)}
}

// A cause is told again after ten minutes, each for itself.
func TestNotices(t *testing.T) {
	m := newMemory()
	for _, c := range []struct {
		once string
		at   time.Duration
		want bool
	}{
		{"full", 0, true}, {"full", time.Second, false}, {"other", time.Second, true}, {"full", 10*time.Minute - 1, false},
		{"full", 10 * time.Minute, true}, {"full", 10*time.Minute + 1, false}, {"full", 20 * time.Minute, true},
	} {
		if got := m.tell(c.once, after(c.at)); got != c.want {
			t.Errorf("%s after %s: told %v", c.once, c.at, got)
		}
	}
}

// Who was heard on an address counts for a day; hearing it again within a minute
// is not worth a note, hearing somebody else is.
func TestHeard(t *testing.T) {
	m := newMemory()
	a, one, two := host(1), boot.MAC{2, 0, 0, 0, 0, 1}, boot.MAC{2, 0, 0, 0, 0, 2}
	m.hear(a, one, clock)
	check := func(at time.Duration, want boot.MAC) {
		t.Helper()
		if got := newView(m, at).Heard(a); got != want {
			t.Errorf("after %s: %s, want %s", at, got, want)
		}
	}
	check(24*time.Hour, one)
	check(24*time.Hour+1, boot.MAC{})
	m.hear(a, one, after(time.Minute-1))
	if n := len(m.heard.order); n != 1 {
		t.Errorf("%d notes of one machine in a minute", n)
	}
	check(24*time.Hour+1, boot.MAC{})
	m.hear(a, one, after(time.Minute))
	check(24*time.Hour+1, one)
	m.hear(a, two, after(time.Minute+1))
	check(time.Hour, two)
	if got := newView(m, 0).Heard(host(2)); !got.IsZero() {
		t.Errorf("%s on an address that nobody was heard on", got)
	}
}

// Another DHCP server counts as there for an hour, on its network and of its family.
func TestRivalOn(t *testing.T) {
	m := newMemory()
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	m.noteRival(boot.Rival{Network: "lab", Server: host(9)}, clock)
	m.noteRival(boot.Rival{Network: "lab", Server: netip.MustParseAddr("fd77::9")}, after(time.Minute))
	for _, c := range []struct {
		network string
		family  netip.Addr
		at      time.Duration
		want    string
	}{
		{"lab", v4, time.Hour - 1, "10.0.0.9"}, {"lab", v4, time.Hour, ""}, {"lab", v6, time.Hour, "fd77::9"}, {"lab", v6, time.Hour + time.Minute, ""}, {"yard", v4, 0, ""},
	} {
		if got := m.rivalOn(c.network, c.family, after(c.at)); got != c.want {
			t.Errorf("%s %s after %s: %q, want %q", c.network, c.family, c.at, got, c.want)
		}
	}
}

// The oldest is forgotten first, whatever was asked for since; what is said again
// is new; and what is said over and over costs no more than twice the bound.
func TestRecentForgetsTheOldest(t *testing.T) {
	r := recent[string, int]{max: 3}
	for i, k := range []string{"a", "b", "a", "c", "d"} {
		r.set(k, i, after(time.Duration(i)))
	}
	for k, want := range map[string]int{"a": 2, "b": -1, "c": 3, "d": 4, "e": -1} {
		v, at, ok := r.get(k)
		if ok != (want >= 0) || ok && (v != want || !at.Equal(after(time.Duration(want)))) {
			t.Errorf("%s is %d of %s, %v; want %d", k, v, at, ok, want)
		}
	}
	for i := range 100 {
		r.set("d", i, after(time.Duration(10+i)))
		if len(r.order) > 6 || len(r.m) > 3 {
			t.Fatalf("%d in order, %d kept", len(r.order), len(r.m))
		}
	}
	if v, _, _ := r.get("d"); v != 99 {
		t.Errorf("d is %d", v)
	}
	m := newMemory()
	if got := []int{m.heard.max, m.notices.max, m.odd.max, m.enrolls.max, m.rivals.max, m.others.max}; !slices.Equal(got, []int{16384, 4096, 4096, 4096, 256, 256}) {
		t.Errorf("bounds %v", got)
	}
	// Of the bound for all, six times that in order at most, and the newest.
	full := recent[int, int]{max: 4}
	for i := range 8 {
		full.set(i%4, i, after(time.Duration(i)))
	}
	if len(full.m) != 4 || len(full.order) != 8 {
		t.Errorf("%d kept, %d in order, want 4 and 8", len(full.m), len(full.order))
	}
	full.set(0, 8, after(8))
	if len(full.m) != 4 || len(full.order) != 8 {
		t.Errorf("%d kept, %d in order, want 4 and 8", len(full.m), len(full.order))
	}
}

// A bucket begins full, fills at its rate to its burst, and not backwards.
func TestBucket(t *testing.T) {
	var b bucket
	fill := func(at time.Duration, want float64) {
		t.Helper()
		if b.fill(2, 10, after(at)); b.left != want {
			t.Errorf("%v after %s, want %v", b.left, at, want)
		}
	}
	fill(0, 10)
	b.left = 1
	fill(0, 1)
	fill(2*time.Second, 5)
	fill(time.Second, 5)
	fill(2*time.Second, 7)
	fill(time.Hour, 10)
}

// What strangers may have of a network together, and how many new leases a second.
func TestRation(t *testing.T) {
	for _, c := range []struct {
		share, size, strangers int
		want                   boot.Ration
	}{
		{0, 10, 10, boot.Ration{}},
		{100, 10, 10, boot.Ration{}},
		{99, 10, 8, boot.Ration{Limit: 9}},
		{99, 10, 9, boot.Ration{Limit: 9, Full: true}},
		{1, 10, 0, boot.Ration{Limit: 1}},
		{1, 10, 1, boot.Ration{Limit: 1, Full: true}},
		{50, 10, 4, boot.Ration{Limit: 5}},
		{50, 10, 5, boot.Ration{Limit: 5, Full: true}},
		{50, 10, 6, boot.Ration{Limit: 5, Full: true}},
	} {
		m := newMemory()
		n := &boot.Network{Name: "lab", Subnet: netip.MustParsePrefix("10.0.0.0/24"), UnknownShare: c.share}
		p := poolOf(c.size)
		m.pools[n.Pool()] = p
		for i := range c.strangers {
			p.lease(host(1+i), after(time.Hour), true)
		}
		if got := newView(m, 0).Ration(n); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	// Ten seconds of the rate at once; and then the rate.
	m := newMemory()
	n := &boot.Network{Name: "lab", Subnet: netip.MustParsePrefix("10.0.0.0/24"), NewLeases: 2}
	p := &boot.Policy{Networks: []boot.Network{*n}}
	granted := &boot.Decision{Network: "lab", New: true, Drops: []boot.Holder{boot.ReadHolder("a")}}
	take := func(at time.Duration) (n2 int) {
		for n2 < 100 && !newView(m, at).Ration(n).Fast {
			m.settle(granted, p, after(at))
			n2++
		}
		return n2
	}
	if got := take(0); got != 20 {
		t.Errorf("%d new leases at once, want 20", got)
	}
	if got := take(499 * time.Millisecond); got != 0 {
		t.Errorf("%d after half a second that is not over", got)
	}
	if got := take(time.Second); got != 2 {
		t.Errorf("%d after a second, want 2", got)
	}
	if got := take(time.Hour); got != 20 {
		t.Errorf("%d after an hour, want 20", got)
	}
	m.unsettle(granted, p, after(time.Hour))
	if got := take(time.Hour); got != 1 {
		t.Errorf("%d when one failed, want 1", got)
	}
}

// An offer that was just made is probed with what comes next, once, and what a
// probe finds is noted.
func TestChecks(t *testing.T) {
	m := newMemory()
	p := poolOf(200)
	m.pools["lab"] = p
	if got := m.checks("yard", host(1), clock); got != nil {
		t.Errorf("a network without a pool: %v", got)
	}
	promise(p, 200, "a", false, clock)
	if got := m.checks("lab", host(200), clock); len(got) != 129 || got[128] != host(200) {
		t.Errorf("%d checks, want 128 and the offer", len(got))
	}
	if got := m.checks("lab", host(200), clock); len(got) != 0 {
		t.Errorf("%d more at once", len(got))
	}
	if got := m.checks("lab", netip.Addr{}, clock); len(got) != 0 {
		t.Errorf("%d without an offer", len(got))
	}
	outside := netip.MustParseAddr("10.9.9.9")
	if got := m.checks("lab", outside, clock); !slices.Equal(got, []netip.Addr{outside}) {
		t.Errorf("a reservation outside of the ranges: %v", got)
	}
	for i := range 1024 {
		p.asked[uint32(1000+i)] = clock.Unix()
	}
	if got := m.checks("lab", outside, clock); len(got) != 0 {
		t.Errorf("%d while a thousand are awaited", len(got))
	}
	m.clean("lab", []netip.Addr{host(200), outside}, after(time.Second))
	if _, asked := p.asked[199]; asked || p.checked[199] != after(time.Second).Unix() {
		t.Error("a probe that found nobody is still awaited")
	}
	m.clean("yard", []netip.Addr{host(1)}, clock)
	// Somebody is there: the promise ends, and the address is left alone.
	p.asked[199] = clock.Unix()
	m.taken("lab", host(200), after(time.Hour))
	if _, asked := p.asked[199]; asked || p.promised(boot.ReadHolder("a")) || p.expires[199] != after(time.Hour).Unix() {
		t.Errorf("taken: promised %v, until %d", p.promised(boot.ReadHolder("a")), p.expires[199])
	}
	m.taken("yard", host(1), clock)
	m.taken("lab", outside, clock)
}

// What the store knows better of is left alone for a minute; only news is worth
// another look.
func TestSkip(t *testing.T) {
	m := newMemory()
	p := poolOf(3)
	m.pools["lab"] = p
	spot := func(network string, a netip.Addr) []boot.Spot { return []boot.Spot{{Network: network, Addr: a}} }
	if !m.skip(spot("lab", host(1)), clock) || p.expires[0] != after(time.Minute).Unix() {
		t.Errorf("until %d", p.expires[0])
	}
	if m.skip(spot("lab", host(1)), clock) {
		t.Error("it is news again at once")
	}
	if !m.skip(spot("lab", host(1)), after(time.Minute)) {
		t.Error("it is no news after a minute")
	}
	promise(p, 2, "a", false, clock)
	for what, s := range map[string][]boot.Spot{"what is on offer": spot("lab", host(2)), "no pool": spot("yard", host(3)), "no slot": spot("lab", netip.MustParseAddr("10.9.9.9")), "nothing": nil} {
		if m.skip(s, clock) {
			t.Errorf("%s is news", what)
		}
	}
	if !m.skip(append(spot("yard", host(3)), spot("lab", host(3))...), clock) {
		t.Error("behind what is none, news is overlooked")
	}
}

// Who is offered what, as the rules see it.
func TestOffered(t *testing.T) {
	m := newMemory()
	n := &boot.Network{Name: "lab", Subnet: netip.MustParsePrefix("10.0.0.0/24")}
	p := poolOf(1)
	m.pools["lab"] = p
	if h, firm := newView(m, 0).Offered("lab", host(1), false); firm || !h.Holder.IsZero() {
		t.Errorf("nothing is on offer: %+v", h)
	}
	promise(p, 1, "a", false, clock)
	if h, firm := newView(m, 0).Offered("yard", host(1), false); firm || !h.Holder.IsZero() {
		t.Errorf("there is no such pool: %+v", h)
	}
	for _, c := range []struct {
		at          time.Duration
		known       bool
		there, firm bool
	}{
		{0, false, true, true}, {0, true, true, false}, {5*time.Second - 1, false, true, true}, {5 * time.Second, false, true, false}, {time.Minute - 1, false, true, false}, {time.Minute, false, false, false},
	} {
		h, firm := newView(m, c.at).Offered("lab", host(1), c.known)
		if firm != c.firm || (h.Holder == boot.ReadHolder("a")) != c.there {
			t.Errorf("%+v: %+v, firm %v", c, h, firm)
		}
	}
	// A look that finds nothing counts as a refusal once it is settled; a holder's
	// own offer is none.
	v := newView(m, 0)
	if got, probing := v.Candidates(n, boot.ReadHolder("b"), false); len(got) != 0 || probing {
		t.Errorf("%v, probing %v", got, probing)
	}
	if p.refused[0] != 0 {
		t.Error("the look itself counts")
	}
	v.settle()
	if p.refused[0] != 1 {
		t.Errorf("%d refused", p.refused[0])
	}
	v = newView(m, 0)
	if got, _ := v.Candidates(n, boot.ReadHolder("a"), false); !slices.Equal(got, []netip.Addr{host(1)}) {
		t.Errorf("its own offer: %v", got)
	}
	if v.settle(); p.refused[0] != 1 {
		t.Errorf("%d refused", p.refused[0])
	}
	// All that is free is being probed.
	p = poolOf(1)
	p.probed = true
	p.lease(host(1), after(-time.Hour), false)
	m.pools["lab"] = p
	if got, probing := newView(m, 0).Candidates(n, boot.ReadHolder("b"), false); len(got) != 0 || !probing {
		t.Errorf("%v, probing %v", got, probing)
	}
	if got, probing := newView(m, 0).Candidates(&boot.Network{Name: "yard", Subnet: n.Subnet}, boot.ReadHolder("b"), false); got != nil || probing {
		t.Errorf("no such pool: %v, probing %v", got, probing)
	}
	if m.hold(boot.Hold{Network: "lab", Addr: host(1), Holder: boot.ReadHolder("x"), Until: after(time.Minute)}, clock); p.byAddr[host(1)] != boot.ReadHolder("x") {
		t.Error("a promise is not kept")
	}
	if m.hold(boot.Hold{Network: "lab", Addr: host(1), Holder: boot.ReadHolder("y"), Until: after(time.Minute)}, clock) {
		t.Error("two have the same promise")
	}
	if !m.hold(boot.Hold{Network: "yard", Addr: host(1), Holder: boot.ReadHolder("y")}, clock) {
		t.Error("a network without a pool has no promises to break")
	}
}

// Enrolment's rate is kept for a bounded number of links.
func TestEnrolLinks(t *testing.T) {
	m := newMemory()
	for i := range 5000 {
		m.settle(&boot.Decision{Enrolls: fmt.Sprint(i)}, &boot.Policy{}, after(time.Duration(i)))
	}
	if n := len(m.enrolls.m); n != 4096 {
		t.Errorf("%d links are kept, want 4096", n)
	}
	if b, _, _ := m.enrolls.get("4999"); b.left != 999 {
		t.Errorf("%v left of one", b.left)
	}
	m.unsettle(&boot.Decision{Enrolls: "4999"}, &boot.Policy{}, after(5000))
	m.unsettle(&boot.Decision{Enrolls: "0"}, &boot.Policy{}, after(5000)) // forgotten
	if b, _, _ := m.enrolls.get("4999"); b.left != 1000 {
		t.Errorf("%v left when it failed", b.left)
	}
}

// What the ranges hold, as status shows it.
func TestPools(t *testing.T) {
	b := newBench(t)
	b.e.mem.mu.Lock()
	p := b.e.mem.pools["lab"]
	at := func(d time.Duration) time.Time { return b.at.Add(d) }
	first := netip.MustParseAddr("10.77.0.100")
	p.lease(first, at(time.Hour), true)
	p.lease(first.Next(), at(time.Second), false)
	p.lease(first.Next().Next(), at(0), false)
	p.dropped = 7
	p.hold(boot.Hold{Addr: first.Next().Next(), Holder: boot.ReadHolder("a"), Until: at(time.Minute)}, b.at)
	b.e.mem.mu.Unlock()
	got := b.e.Pools()
	if want := []boot.PoolStatus{{Network: "lab", Size: 4, Leased: 2, Offered: 1, Unknown: 1, Lost: 7}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A range of one address is shown too, and a network without a range is not.
func TestPoolsOfAnySize(t *testing.T) {
	b := newBench(t)
	lab := b.e.Policy().Networks[0]
	one, none := lab, lab
	one.Name, one.Ranges = "one", []boot.Range{{From: host(1), To: host(1)}}
	none.Name, none.Ranges = "none", nil
	if err := b.e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{one, none}}); err != nil {
		t.Fatal(err)
	}
	if got := b.e.Pools(); len(got) != 1 || got[0] != (boot.PoolStatus{Network: "one", Size: 1}) {
		t.Errorf("%+v", got)
	}
}

// Who asks gets the one address that is free at once, though memory takes others for
// free too; and what memory already knows is looked at once.
func TestMemoryIsBehind(t *testing.T) {
	b := newBench(t)
	first := netip.MustParseAddr("10.77.0.100")
	lease := func(a netip.Addr, mac int) {
		t.Helper()
		l := boot.Lease{Network: "lab", Addr: a, Holder: boot.HeldBy(macOf(mac)), MAC: macOf(mac), Kind: boot.Dynamic, Starts: b.at, Expires: b.at.Add(time.Hour)}
		if err := b.s.Update(t.Context(), func(tx boot.Tx) error { return tx.PutLease(l) }); err != nil {
			t.Fatal(err)
		}
	}
	last := first
	for i := range 3 {
		lease(last, 100+i)
		last = last.Next()
	}
	if err := b.e.Rehearse(t.Context(), func(decide func(boot.Sighting) (boot.Decision, error)) error {
		d, err := decide(b.sighting(boot.Discover, 1, netip.Addr{}))
		if len(d.Holds) != 1 || d.Holds[0].Addr != last {
			t.Errorf("rehearsed: %+v, want an offer of %s", d.Reply, last)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	d := b.ask(b.sighting(boot.Discover, 1, netip.Addr{}))
	if len(d.Holds) != 1 || d.Holds[0].Addr != last {
		t.Errorf("%+v, want an offer of %s", d.Reply, last)
	}
	lease(last, 103) // what is on offer is leased to somebody else
	if d := b.ask(b.sighting(boot.Discover, 1, netip.Addr{})); boot.Verb(d.Reply) != "ignore" || len(d.Holds) != 0 {
		t.Errorf("%+v, want no answer", d.Reply)
	}
}

// TestSeenIsTheRolls: when a machine on the roll last asked is known however many
// strangers ask after it, and takes no more room than the roll. After a start it is
// not known of what has not asked yet.
func TestSeenIsTheRolls(t *testing.T) {
	b := newBench(t)
	mine, other := boot.MAC{2, 0, 0, 0, 0, 1}, boot.MAC{2, 0, 0, 0, 0, 2}
	if err := b.e.store.Update(t.Context(), func(tx boot.Tx) error {
		return errors.Join(tx.PutHost(&boot.Host{ID: 1, Name: "web1", State: boot.Approved, MACs: []boot.MAC{mine, other}}), tx.SetCounter(boot.LastHost, 1))
	}); err != nil {
		t.Fatal(err)
	}
	discover := func(m boot.MAC) {
		b.ask(boot.Sighting{At: b.at, Via: boot.DHCP4, Step: boot.Discover, ID: boot.Identity{MAC: m}, Link: boot.Link{Interface: "eth0"}, Firmware: boot.Firmware{Arch: boot.ArchNone}})
	}
	b.e.Started = b.at.Add(-time.Minute)
	discover(mine)
	for i := range 20_000 {
		discover(boot.MAC{6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	v := b.e.view(nil, b.at)
	if at, sure := v.LastSeen(mine); !at.Equal(b.at) || !sure || len(b.e.mem.seen) != 1 {
		t.Errorf("last seen %v, sure %v; %d machines remembered", at, sure, len(b.e.mem.seen))
	}
	if at, sure := v.LastSeen(other); !at.Equal(b.e.Started) || sure {
		t.Errorf("what has not asked since the start: %v, sure %v", at, sure)
	}
	m := newMemory()
	for i := range 5000 {
		m.saw(boot.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}, clock.Add(time.Duration(i)*time.Second))
	}
	if len(m.seen) > 1024 {
		t.Errorf("%d times are remembered of which 600 matter", len(m.seen))
	}
}

// TestStrangersEvents: what strangers cause has a rate for each kind, and is counted
// beyond it; what a machine of the roll causes has none.
func TestStrangersEvents(t *testing.T) {
	m := newMemory()
	told := 0
	for i := range 6000 {
		if m.mayTell(boot.HandshakeFailed, clock.Add(time.Duration(i)*15*time.Second/6000)) {
			told++
		}
	}
	if told < 100 || told > 120 {
		t.Errorf("%d events in 15 s, want the first hundred and one a second", told)
	}
	if !m.mayTell(boot.PoolExhausted, clock) {
		t.Error("another kind has no room")
	}
	b := newBench(t)
	for i := range 300 {
		b.ask(boot.Sighting{At: b.at, Via: boot.HTTP, Step: boot.Handshake, Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(i % 250)}), 1), Link: boot.Link{Interface: "eth0", Local: ourAddress},
			Firmware: boot.Firmware{Arch: boot.ArchNone}, Fault: &boot.TLSFault{Cause: []boot.TLSCause{boot.Silent, boot.NotTLS}[i/250], Text: "x"}})
	}
	if b.e.LostNotices() < 100 {
		t.Errorf("%d of 300 made-up causes are counted as not told", b.e.LostNotices())
	}
}
