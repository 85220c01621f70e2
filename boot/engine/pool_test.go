package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"

	"pgregory.net/rapid"
)

// TestPoolModel plays random holds, leases and releases against a map that
// keeps the same books the slow way.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := netip.MustParseAddr("10.0.0.1")
		ranges := []boot.Range{{From: from, To: netip.MustParseAddr("10.0.0.8")}, {From: netip.MustParseAddr("10.0.1.0"), To: netip.MustParseAddr("10.0.1.3")}}
		p := newPool(ranges)
		now := time.Unix(1_800_000_000, 0)
		lastUse := map[netip.Addr]int64{}
		strangers := map[netip.Addr]bool{}
		held := map[netip.Addr]boot.Hold{}
		byHolder := map[boot.Holder]netip.Addr{}
		all := []netip.Addr{}
		for _, r := range ranges {
			for a := r.From; r.Contains(a); a = a.Next() {
				all = append(all, a)
			}
		}
		if len(p.expires) != len(all) {
			t.Fatalf("%d slots for %d addresses", len(p.expires), len(all))
		}
		forget := func(h boot.Holder) {
			if a, ok := byHolder[h]; ok {
				delete(held, a)
				delete(byHolder, h)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "pass")) * time.Second)
			for a, h := range held {
				if !now.Before(h.Until) {
					delete(byHolder, h.Holder)
					delete(held, a)
				}
			}
			a := rapid.SampledFrom(all).Draw(t, "address")
			who := boot.ReadHolder(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "holder"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				h := boot.Hold{Addr: a, Holder: who, Until: now.Add(boot.HoldTime)}
				other, taken := held[a]
				h.Admitted = rapid.Bool().Draw(t, "known")
				firm := taken && other.Holder != who && p.firmNow(other, h.Admitted, now)
				got := p.hold(h, now)
				if got == firm {
					t.Fatalf("hold of %s by %s: %v, held by %q", a, who, got, other.Holder)
				}
				if got {
					if taken {
						forget(other.Holder)
					}
					forget(who)
					held[a], byHolder[who] = h, a
				}
			case 1:
				until := now.Add(time.Duration(rapid.IntRange(-50, 50).Draw(t, "lease")) * time.Second)
				stranger := until.After(now) && rapid.Bool().Draw(t, "stranger")
				p.lease(a, until, stranger)
				lastUse[a], strangers[a] = until.Unix(), stranger
			case 2:
				p.drop(who)
				forget(who)
			}
			own, hasOwn := byHolder[who]
			known := rapid.Bool().Draw(t, "asks known")
			cs, _ := p.candidates(who, known, now, nil)
			if hasOwn && (len(cs) == 0 || cs[0] != own) {
				t.Fatalf("%s holds %s and is offered %v", who, own, cs)
			}
			if hasOwn {
				cs = cs[1:]
			}
			free := map[netip.Addr]bool{}
			oldest := int64(1 << 62)
			for _, x := range all {
				if _, h := held[x]; !h && lastUse[x] <= now.Unix() {
					free[x] = true
					oldest = min(oldest, lastUse[x])
				}
			}
			for i, c := range cs {
				switch h, is := held[c]; {
				case is && len(free) > 0:
					t.Fatalf("%s is held and a candidate, and %d are free", c, len(free))
				case is && p.firmNow(h, known, now):
					t.Fatalf("%s is held firmly and a candidate", c)
				case is:
				case !free[c]:
					t.Fatalf("%s is leased and a candidate", c)
				case i == 0 && lastUse[c] != oldest:
					t.Fatalf("%s is not the longest unused", c)
				}
			}
			if len(free) > 0 && len(cs) == 0 {
				t.Fatalf("%d are free and there is no candidate", len(free))
			}
			n := 0
			for x, is := range strangers {
				if is && lastUse[x] > now.Unix() {
					n++
				}
			}
			if got := p.strangers(now); got != n {
				t.Fatalf("%d leases of strangers, counted %d", n, got)
			}
		}
	})
}

// firmNow says the same as firm, the slow way and without floods.
func (p *pool) firmNow(h boot.Hold, known bool, now time.Time) bool {
	return p.Free(now) > 0 || h.Admitted && !known || !(known && !h.Admitted) && now.Sub(h.Until.Add(-boot.HoldTime)) < holdFirm
}

// TestPoolFlood: DISCOVERs of machines that never come back make offers give way
// at once, but not those of machines that were let in.
func TestPoolFlood(t *testing.T) {
	p := newPool([]boot.Range{{From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.4")}})
	now := time.Unix(1_800_000_000, 0)
	ask := func(name string, known bool) bool {
		holder := boot.ReadHolder(name)
		cs, free := p.candidates(holder, known, now, nil)
		if !free && !p.promised(holder) {
			p.refuse(now)
		}
		return len(cs) > 0 && p.hold(boot.Hold{Addr: cs[0], Holder: holder, Admitted: known, Until: now.Add(boot.HoldTime)}, now)
	}
	for _, h := range []string{"a", "b", "c"} {
		ask(h, false)
	}
	ask("host", true)
	if ask("late", false) {
		t.Error("an offer gave way to one machine more than there are addresses")
	}
	got := 0
	for i := range 1000 {
		if ask(string(rune('A'+i)), false) {
			got++
		}
	}
	if got == 0 || !p.flooded(now) {
		t.Errorf("%d offers under a flood, flooded %v", got, p.flooded(now))
	}
	if p.holds[boot.ReadHolder("host")].Holder != boot.ReadHolder("host") {
		t.Error("a flood took what a host was offered")
	}
	now = now.Add(3 * holdFirm)
	if p.flooded(now) {
		t.Error("the flood is over, and nobody noticed")
	}
}

// TestPoolBounds: a flood of holders costs a fixed amount.
func TestPoolBounds(t *testing.T) {
	p := newPool([]boot.Range{{From: netip.MustParseAddr("10.0.0.0"), To: netip.MustParseAddr("10.0.255.255")}})
	now := time.Unix(1_800_000_000, 0)
	for i := range 200_000 {
		a := p.addr(p.heap[0])
		p.hold(boot.Hold{Addr: a, Holder: boot.ReadHolder(string(rune(i)) + "x"), Until: now.Add(boot.HoldTime)}, now)
	}
	if len(p.holds) > p.limit || len(p.order) > 2*p.limit+16 || len(p.byAddr) != len(p.holds) {
		t.Errorf("%d holds, %d in order, limit %d", len(p.holds), len(p.order), p.limit)
	}
	if p.dropped == 0 {
		t.Error("what the bound drops is not counted")
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := recent[int, int]{max: 10}
	now := time.Now()
	for i := range 1000 {
		r.set(i, i, now)
		r.set(0, i, now.Add(time.Duration(i)))
	}
	if len(r.m) > 10 || len(r.order) > 20 {
		t.Errorf("%d entries, %d in order", len(r.m), len(r.order))
	}
	if v, _, ok := r.get(999); !ok || v != 999 {
		t.Error("the newest entry is gone")
	}
}

// Free counts addresses that are neither leased nor on offer, the slow way.
func (p *pool) Free(now time.Time) int {
	n := 0
	for slot, pos := range p.pos {
		if pos >= 0 && p.expires[slot] <= now.Unix() {
			n++
		}
	}
	return n
}
