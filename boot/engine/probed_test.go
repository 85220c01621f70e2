// probed_test.go: which addresses are probed, when, and what an answer is worth;
// and the bounds of a pool, to the second.

package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

var clock = time.Unix(1_800_000_000, 0)

func after(d time.Duration) time.Time { return clock.Add(d) }

// poolOf is a pool of n addresses, 10.0.0.1 upwards.
func poolOf(n int) *pool {
	from := netip.MustParseAddr("10.0.0.1")
	return newPool([]boot.Range{{From: from, To: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}})
}

func host(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

func promise(p *pool, n int, who string, known bool, at time.Time) bool {
	return p.hold(boot.Hold{Addr: host(n), Holder: boot.ReadHolder(who), Admitted: known, Until: at.Add(boot.HoldTime)}, at)
}

func offers(p *pool, who string, known bool, at time.Time) []netip.Addr {
	out, _ := p.candidates(boot.ReadHolder(who), known, at, nil)
	return out
}

// An address that was somebody's is offered only for two minutes after a probe that
// found nobody; one that never was needs none, nor does one of a pool without probes.
func TestVetted(t *testing.T) {
	for _, c := range []struct {
		probed  bool
		leased  time.Duration // before now that its lease ended; 0 is never
		checked time.Duration // before now; 0 is never
		want    bool
	}{
		{false, time.Hour, 0, true},
		{true, 0, 0, true},
		{true, time.Hour, 0, false},
		{true, time.Hour, time.Second, true},
		{true, time.Hour, 2 * time.Minute, true},
		{true, time.Hour, 2*time.Minute + time.Second, false},
		{true, time.Hour, -time.Second, false}, // the clock was set back
	} {
		p := poolOf(1)
		p.probed = c.probed
		if c.leased != 0 {
			p.lease(host(1), after(-c.leased), false)
		}
		if c.checked != 0 {
			p.checked[0] = after(-c.checked).Unix()
		}
		out, free := p.candidates(boot.ReadHolder("a"), false, clock, nil)
		if got := len(out) == 1; got != c.want || !free {
			t.Errorf("%+v: offered %v, free %v", c, out, free)
		}
	}
	now := poolOf(1)
	now.probed = true
	now.lease(host(1), after(-time.Hour), false)
	now.checked[0] = clock.Unix()
	if got := offers(now, "a", false, clock); len(got) != 1 {
		t.Error("what a probe found free this very second is not offered")
	}
	// One whose lease ended in the year 1970 was somebody's.
	p := poolOf(1)
	p.probed = true
	p.lease(host(1), time.Unix(0, 0), false)
	if got := offers(p, "a", false, clock); len(got) != 0 {
		t.Error("an address that was leased is offered unprobed")
	}
	p.unused(host(1))
	if got := offers(p, "a", false, clock); len(got) != 1 {
		t.Error("one that was never leased after all is not offered")
	}
}

// An address is probed when its last answer is a minute old, and again when a probe
// got lost.
func TestUpcoming(t *testing.T) {
	for _, c := range []struct {
		checked, asked time.Duration // before now; 0 is never
		want           bool
	}{
		{0, 0, true},
		{59 * time.Second, 0, false},
		{time.Minute, 0, false},
		{61 * time.Second, 0, true},
		{-time.Second, 0, true},
		{0, time.Second, false},
		{0, 5 * time.Second, false},
		{0, 6 * time.Second, true},
		{0, -time.Second, true},
	} {
		p := poolOf(1)
		if c.checked != 0 {
			p.checked[0] = after(-c.checked).Unix()
		}
		if c.asked != 0 {
			p.asked[0] = after(-c.asked).Unix()
		}
		if got := len(p.upcoming(clock)) == 1; got != c.want {
			t.Errorf("%+v: probed %v", c, got)
		}
	}
	p := poolOf(100)
	p.lease(host(3), after(time.Hour), false)
	if got := p.upcoming(clock); len(got) != 99 || slices.Contains(got, host(3)) {
		t.Errorf("%d of 100 are probed, and one of those is leased", len(got))
	}
	p = poolOf(300)
	if first := p.upcoming(clock); len(first) != 128 || !slices.Contains(first, host(1)) || !slices.Contains(first, host(128)) {
		t.Errorf("%d are probed, want the next 128", len(first))
	}
	if got := p.upcoming(after(10*time.Millisecond - 1)); got != nil || !p.looked.Equal(clock) {
		t.Errorf("%d more a moment later, looked at %s", len(got), p.looked)
	}
	if got := p.upcoming(after(10 * time.Millisecond)); len(got) != 0 || !p.looked.Equal(after(10*time.Millisecond)) {
		t.Errorf("%d are asked again", len(got))
	}
	if got := p.upcoming(after(-time.Second)); !p.looked.Equal(after(-time.Second)) {
		t.Errorf("a clock that was set back: %d", len(got))
	}
	if got := p.upcoming(after(6 * time.Second)); len(got) != 128 {
		t.Errorf("%d are asked again when the probes got lost, want 128", len(got))
	}
}

// What is awaited is bounded, and what got lost makes room.
func TestAsked(t *testing.T) {
	p := poolOf(3000)
	for i := range 1000 {
		p.asked[uint32(2000+i)] = clock.Unix()
	}
	if got := p.upcoming(clock); len(got) != 24 || len(p.asked) != 1024 {
		t.Errorf("%d are asked, %d awaited, want 1024 at most", len(got), len(p.asked))
	}
	if got := p.upcoming(after(5 * time.Second)); len(got) != 0 {
		t.Errorf("%d more", len(got))
	}
	if got := p.upcoming(after(6 * time.Second)); len(got) != 128 || len(p.asked) != 128 {
		t.Errorf("%d are asked, %d awaited, when all before were lost", len(got), len(p.asked))
	}
	// A few that are old are left alone: looking for them would cost more.
	for i := range 384 {
		p.asked[uint32(1000+i)] = clock.Unix()
	}
	if p.upcoming(after(6*time.Second + lookEvery)); len(p.asked) != 512 {
		t.Errorf("%d awaited, want 512", len(p.asked))
	}
	p.asked[1999] = after(7 * time.Second).Unix() // of a clock that was set back
	if p.upcoming(after(6*time.Second + 2*lookEvery)); len(p.asked) != 128 {
		t.Errorf("%d awaited, want the 128 of this moment", len(p.asked))
	}
}

// The heap keeps its order, and both of its books agree, whatever is done to it.
func TestHeap(t *testing.T) {
	p := poolOf(63)
	check := func(what string) {
		t.Helper()
		for i := 1; i < len(p.heap); i++ {
			if up := (i - 1) / 2; p.less(p.heap[i], p.heap[up]) {
				t.Fatalf("%s: %d at %d is before %d at %d", what, p.heap[i], i, p.heap[up], up)
			}
		}
		n := 0
		for s, at := range p.pos {
			if at >= 0 {
				if n++; p.heap[at] != uint32(s) {
					t.Fatalf("%s: slot %d is not at %d", what, s, at)
				}
			}
		}
		if n != len(p.heap) {
			t.Fatalf("%s: %d of %d", what, n, len(p.heap))
		}
	}
	for i := range 500 {
		n := 1 + i*29%63
		switch i % 5 {
		case 0, 1:
			p.lease(host(n), after(time.Duration(i*7919%1000)*time.Second), false)
		case 2:
			promise(p, n, fmt.Sprint(i%20), true, clock)
		case 3:
			p.drop(boot.ReadHolder(fmt.Sprint(i % 20)))
		case 4:
			p.unused(host(n))
		}
		check(fmt.Sprint(i))
	}
	// The longest unused comes first, of those never used the lowest.
	p = poolOf(5)
	for n, d := range map[int]time.Duration{1: 5 * time.Second, 2: time.Hour, 4: time.Minute} {
		p.lease(host(n), after(-d), false)
	}
	var got []netip.Addr
	for range 5 {
		a := offers(p, "a", false, clock)[0]
		got = append(got, a)
		p.hold(boot.Hold{Addr: a, Holder: boot.ReadHolder(fmt.Sprint(a)), Until: after(time.Minute)}, clock)
	}
	if want := []netip.Addr{host(3), host(5), host(2), host(4), host(1)}; !slices.Equal(got, want) {
		t.Errorf("offered %v, want %v", got, want)
	}
}

// Three are proposed: a holder's own offer first, then what is free.
func TestCandidates(t *testing.T) {
	p := poolOf(6)
	promise(p, 5, "a", false, clock)
	if got := offers(p, "a", false, clock); !slices.Equal(got, []netip.Addr{host(5), host(1), host(2)}) {
		t.Errorf("its own and two more: %v", got)
	}
	if got := offers(p, "b", false, clock); !slices.Equal(got, []netip.Addr{host(1), host(2), host(3)}) {
		t.Errorf("three: %v", got)
	}
	p.lease(host(1), after(time.Second), false)
	avoid := map[netip.Addr]bool{host(2): true, host(5): true}
	got, free := p.candidates(boot.ReadHolder("a"), false, clock, avoid)
	slices.SortFunc(got, netip.Addr.Compare) // beyond the first, any that is free
	if !free || !slices.Equal(got, []netip.Addr{host(3), host(4), host(6)}) {
		t.Errorf("without what is to be avoided: %v", got)
	}
	if got := offers(p, "b", false, after(time.Second)); !slices.Contains(got, host(2)) || slices.Contains(got, host(5)) {
		t.Errorf("%v", got)
	}
	// A minute later its offer has ended.
	if got := offers(p, "b", false, after(time.Minute-1)); slices.Contains(got, host(5)) {
		t.Error("an offer ended before its minute")
	}
	if offers(p, "b", false, after(time.Minute)); p.promised(boot.ReadHolder("a")) {
		t.Error("an offer outlives its minute")
	}
}

// When everything is on offer the oldest promises give way after five seconds, to a
// machine that was let in at once, and never one of those to a stranger.
func TestGivesWay(t *testing.T) {
	p := poolOf(4)
	promise(p, 1, "old", false, clock)
	promise(p, 2, "host", true, clock)
	promise(p, 3, "young", false, after(2*time.Second))
	promise(p, 4, "younger", false, after(3*time.Second))
	for _, c := range []struct {
		known bool
		at    time.Duration
		want  []netip.Addr
	}{
		{false, 4 * time.Second, nil},
		{false, 5*time.Second - 1, nil},
		{false, 5 * time.Second, []netip.Addr{host(1)}},
		{false, 7 * time.Second, []netip.Addr{host(1), host(3)}},
		{false, 8 * time.Second, []netip.Addr{host(1), host(3), host(4)}},
		{true, 3 * time.Second, []netip.Addr{host(1), host(3), host(4)}},
		{true, 5 * time.Second, []netip.Addr{host(1), host(2), host(3)}},
	} {
		if got, free := p.candidates(boot.ReadHolder("new"), c.known, after(c.at), nil); !slices.Equal(got, c.want) || free {
			t.Errorf("known %v after %s: %v, want %v", c.known, c.at, got, c.want)
		}
	}
	if promise(p, 2, "new", false, after(30*time.Second)) {
		t.Error("a stranger took what a host was promised")
	}
	if promise(p, 3, "new", false, after(7*time.Second-1)) || !promise(p, 3, "new", false, after(7*time.Second)) {
		t.Error("a promise gives way before its five seconds, or not after")
	}
	if p.promised(boot.ReadHolder("young")) || p.byAddr[host(3)] != boot.ReadHolder("new") {
		t.Error("two have the same promise")
	}
	// What is held outside of the ranges is nobody's to take.
	p = poolOf(1)
	outside := boot.Hold{Addr: netip.MustParseAddr("10.9.9.9"), Holder: boot.ReadHolder("reserved"), Until: after(time.Minute)}
	p.hold(outside, clock)
	promise(p, 1, "a", false, clock)
	if got := offers(p, "b", false, after(10*time.Second)); !slices.Equal(got, []netip.Addr{host(1)}) {
		t.Errorf("%v", got)
	}
	if got, _ := p.candidates(boot.ReadHolder("b"), false, after(10*time.Second), map[netip.Addr]bool{host(1): true}); len(got) != 0 {
		t.Errorf("what is to be avoided: %v", got)
	}
}

// A flood is more refusals in five seconds, or in the five before, than four times
// the pool and some.
func TestFloodWindow(t *testing.T) {
	const enough = 4*2 + 64 + 1
	refused := func(n int, at ...time.Duration) *pool {
		p := poolOf(2)
		for _, d := range at {
			for range n {
				p.refuse(after(d))
			}
		}
		return p
	}
	for _, c := range []struct {
		p    *pool
		at   time.Duration
		want bool
	}{
		{refused(enough-1, 0), 0, false},
		{refused(enough, 0), 0, true},
		{refused(enough, 0), 10*time.Second - 1, true},
		{refused(enough, 0), 10 * time.Second, false},
		{refused(enough-1, 0, 5*time.Second-1), 5 * time.Second, true}, // one window still
		{refused(enough-1, 0, 5*time.Second), 5 * time.Second, false},  // two
		{refused(1, 0, 5*time.Second), 0, false},
	} {
		if got := c.p.flooded(after(c.at)); got != c.want {
			t.Errorf("%v at %s: flooded %v", c.p.refused, c.at, got)
		}
	}
	p := refused(enough, 0)
	p.refuse(after(5 * time.Second))
	if p.refused != [2]int{1, enough} || !p.flooded(after(6*time.Second)) {
		t.Errorf("the window before is forgotten: %v", p.refused)
	}
	p.refuse(after(15 * time.Second))
	if p.refused != [2]int{1, 0} {
		t.Errorf("one that is long over counts: %v", p.refused)
	}
	p = refused(enough, 0)
	p.refuse(after(-time.Second))
	if p.refused != [2]int{1, 0} || !p.window.Equal(after(-time.Second)) {
		t.Errorf("a clock that was set back: %v", p.refused)
	}
}

// Leases of strangers are counted until they end, also when they end sooner or go on.
func TestStrangers(t *testing.T) {
	p := poolOf(10)
	count := func(at time.Duration, want int) {
		t.Helper()
		if got := p.strangers(after(at)); got != want {
			t.Errorf("%d strangers after %s, want %d", got, at, want)
		}
	}
	p.lease(host(1), after(10*time.Second), true)
	p.lease(host(2), after(20*time.Second), true)
	count(0, 2)
	p.lease(host(1), after(30*time.Second), true) // renewed
	count(10*time.Second, 2)
	p.lease(host(2), after(20*time.Second), false) // let in
	count(10*time.Second, 1)
	count(30*time.Second-1, 1)
	count(30*time.Second, 0)
	for i := range 10_000 { // renewals cost no more than the pool
		p.lease(host(1+i%10), after(time.Hour+time.Duration(i)*time.Second), true)
	}
	if len(p.ends) > 2*10+64 {
		t.Errorf("%d ends are kept of 10 leases", len(p.ends))
	}
	count(0, 10)
	count(time.Hour+9999*time.Second, 0)
}

// The bound on promises drops the oldest, and counts it; one that was renewed is
// not the oldest.
func TestHoldLimit(t *testing.T) {
	p := poolOf(20)
	p.limit = 3
	for i, who := range []string{"a", "b", "a", "c"} {
		promise(p, 1+i, who, false, after(time.Duration(i)))
	}
	if p.dropped != 0 || len(p.holds) != 3 {
		t.Errorf("%d holds, %d dropped", len(p.holds), p.dropped)
	}
	promise(p, 9, "d", false, after(9))
	if p.promised(boot.ReadHolder("b")) || !p.promised(boot.ReadHolder("a")) || p.dropped != 1 || len(p.holds) != 3 || p.pos[1] < 0 {
		t.Errorf("holds %v, %d dropped", p.holds, p.dropped)
	}
	// Renewals behind an offer that stands are swept.
	p = poolOf(20)
	promise(p, 10, "stands", false, clock)
	most := 0
	for i := range 1000 {
		promise(p, 1+i%5, fmt.Sprint(i%5), false, after(time.Duration(i)))
		most = max(most, len(p.order))
	}
	if most != 2*6+64 || len(p.holds) != 6 {
		t.Errorf("up to %d in order, want 76 at most and not a sweep for each; %d holds", most, len(p.holds))
	}
}

// What was dropped for a commit that failed comes back, if it is nobody's since and
// has not ended.
func TestRestore(t *testing.T) {
	a := boot.ReadHolder("a")
	p := poolOf(3)
	promise(p, 1, "a", false, clock)
	promise(p, 2, "a", false, after(time.Second))
	p.drop(a)
	p.restore(a, after(2*time.Second))
	if p.byAddr[host(2)] != a || p.byAddr[host(1)] == a || p.pos[1] >= 0 || len(p.heap) != 2 {
		t.Errorf("restored %v", p.byAddr)
	}
	p.restore(a, after(2*time.Second)) // said twice
	if len(p.holds) != 1 || len(p.heap) != 2 {
		t.Errorf("%v", p.holds)
	}
	p.drop(a)
	promise(p, 2, "b", false, after(2*time.Second))
	p.restore(a, after(2*time.Second))
	if p.promised(a) {
		t.Error("it is somebody else's, and restored")
	}
	p = poolOf(1)
	promise(p, 1, "a", false, clock)
	p.drop(a)
	if p.restore(a, after(time.Minute)); p.promised(a) {
		t.Error("it has ended, and is restored")
	}
	if p.restore(a, after(time.Minute-1)); !p.promised(a) {
		t.Error("it has not ended, and is not restored")
	}
	p = poolOf(3)
	promise(p, 2, "older", false, clock)
	promise(p, 1, "a", false, clock)
	p.drop(a)
	promise(p, 3, "b", false, clock) // another offer meanwhile
	if p.restore(a, clock); !p.promised(a) {
		t.Error("it is forgotten for the offer of another address")
	}
}

// Ranges in several pieces are one row of slots, up to the largest pool there is.
func TestSlotsOfRanges(t *testing.T) {
	p := newPool([]boot.Range{{From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.2")}, {From: netip.MustParseAddr("10.0.5.0"), To: netip.MustParseAddr("10.0.5.4")}})
	for i, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.5.0", "10.0.5.1", "10.0.5.2", "10.0.5.3", "10.0.5.4"} {
		s, ok := p.slot(netip.MustParseAddr(a))
		if !ok || int(s) != i || p.addr(s).String() != a {
			t.Errorf("%s is slot %d, %v, which is %s", a, s, ok, p.addr(s))
		}
	}
	for _, a := range []string{"10.0.0.0", "10.0.0.3", "10.0.5.5", "fd77::1"} {
		if _, ok := p.slot(netip.MustParseAddr(a)); ok {
			t.Errorf("%s has a slot", a)
		}
	}
	p = newPool([]boot.Range{{From: netip.MustParseAddr("fd77::"), To: netip.MustParseAddr("fd77::ffff:ffff")}, {From: netip.MustParseAddr("fd78::"), To: netip.MustParseAddr("fd78::1")}})
	last := netip.AddrFrom16(netip.MustParseAddr("fd77::").As16())
	last = (boot.Range{From: last, To: netip.MustParseAddr("fd77::ffff:ffff")}).At(boot.MaxPool - 1)
	if s, ok := p.slot(last); len(p.expires) != 1_048_576 || !ok || s != 1_048_575 {
		t.Errorf("%d slots; the last one is %d, %v", len(p.expires), s, ok)
	}
	if _, ok := p.slot(last.Next()); ok {
		t.Error("an address beyond the largest pool has a slot")
	}
	if _, ok := p.slot(netip.MustParseAddr("fd78::")); ok {
		t.Error("a range behind a full pool has a slot")
	}
}

// Packets are not decided in the order in which they came. One that came before an offer
// was made takes no offer back; a clock that was set back does.
func TestOutOfOrder(t *testing.T) {
	p := poolOf(20)
	promise(p, 1, "first", false, after(time.Second))
	for _, early := range []time.Duration{0, -5 * time.Second, -30 * time.Second} {
		if out, _ := p.candidates(boot.ReadHolder("second"), false, after(early), nil); slices.Contains(out, host(1)) {
			t.Errorf("%s early it is offered %v", early, out)
		}
		if !p.promised(boot.ReadHolder("first")) || p.hold(boot.Hold{Addr: host(1), Holder: boot.ReadHolder("second"), Until: after(early).Add(boot.HoldTime)}, after(early)) {
			t.Errorf("%s early an offer is taken back", early)
		}
	}
	p.expire(after(-time.Hour))
	if p.promised(boot.ReadHolder("first")) {
		t.Error("an offer of a false hour stands")
	}
}
