package boot

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPoolModel plays random holds, leases and releases against a map that
// keeps the same books the slow way.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := netip.MustParseAddr("10.0.0.1")
		ranges := []Range{{from, netip.MustParseAddr("10.0.0.8")}, {netip.MustParseAddr("10.0.1.0"), netip.MustParseAddr("10.0.1.3")}}
		p := newPool(ranges)
		now := time.Unix(1_800_000_000, 0)
		lastUse := map[netip.Addr]int64{}
		held := map[netip.Addr]Hold{}
		byHolder := map[string]netip.Addr{}
		all := []netip.Addr{}
		for _, r := range ranges {
			for a := r.From; r.Contains(a); a = a.Next() {
				all = append(all, a)
			}
		}
		if len(p.expires) != len(all) {
			t.Fatalf("%d slots for %d addresses", len(p.expires), len(all))
		}
		forget := func(h string) {
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
			who := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "holder")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				h := Hold{Addr: a, Holder: who, Until: now.Add(holdTime)}
				other, taken := held[a]
				firm := taken && other.Holder != who && (now.Sub(other.Until.Add(-holdTime)) < holdFirm || p.Free(now) > 0)
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
				p.touch(a, until)
				lastUse[a] = until.Unix()
			case 2:
				p.drop(who)
				forget(who)
			}
			own, hasOwn := byHolder[who]
			cs := p.candidates(who, 16, now)
			if hasOwn && (len(cs) == 0 || cs[0] != own) {
				t.Fatalf("%s holds %s and is offered %v", who, own, cs)
			}
			if hasOwn {
				cs = cs[1:]
			}
			var last int64
			seen := map[netip.Addr]bool{}
			for _, c := range cs {
				if h, is := held[c]; is {
					// An offer may give way when it is old and nothing is free.
					if !hasOwn && now.Sub(h.Until.Add(-holdTime)) >= holdFirm && p.Free(now) == 0 {
						continue
					}
					t.Fatalf("%s is held and a candidate", c)
				}
				if lastUse[c] > now.Unix() {
					t.Fatalf("%s is leased and a candidate", c)
				}
				if lastUse[c] < last {
					t.Fatalf("candidates %v are not the longest unused first", cs)
				}
				last, seen[c] = lastUse[c], true
			}
			for _, x := range all {
				if _, h := held[x]; !h && lastUse[x] <= now.Unix() && !seen[x] && !(hasOwn && x == own) {
					t.Fatalf("%s is free and no candidate among %v", x, cs)
				}
			}
		}
	})
}

// TestPoolBounds: a flood of holders costs a fixed amount.
func TestPoolBounds(t *testing.T) {
	p := newPool([]Range{{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.255.255")}})
	now := time.Unix(1_800_000_000, 0)
	for i := range 200_000 {
		a := p.addr(p.heap[0])
		p.hold(Hold{Addr: a, Holder: string(rune(i)) + "x", Until: now.Add(holdTime)}, now)
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
