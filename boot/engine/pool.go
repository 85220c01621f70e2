// pool.go: which address to try next. Each network has a heap of its addresses,
// ordered by last use: first those never used, in ascending order, then the one whose
// lease ended longest ago. An address on offer is not in the heap. The heap is a hint
// and is rebuilt from the leases at start; the store alone is the truth.

package engine

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
)

// holdFirm is how long an offer is not taken back. It is also the window in which
// refused DISCOVERs are counted, to tell a flood from a rack that is larger than the
// pool.
const holdFirm = 5 * time.Second

type pool struct {
	ranges  []boot.Range
	first   []uint32 // first[i] is the slot of ranges[i].From
	expires []int64  // by slot: Unix seconds; 0 never used
	heap    []uint32 // slots, least recently used first
	pos     []int32  // by slot: place in heap, -1 while held

	probed  bool             // addresses that were used before are probed before they are offered
	checked []int64          // by slot: Unix seconds; a probe found nobody then
	asked   map[uint32]int64 // slots with a probe under way, and when it began
	looked  time.Time        // when upcoming last looked ahead

	unknown  []bool // by slot: leased to a machine that is not admitted
	unknowns int    // how many of those
	ends     ends   // when they end

	window  time.Time // when the present window of refused began
	refused [2]int    // DISCOVERs that found nothing free: this window, the one before

	holds   map[boot.Holder]boot.Hold
	byAddr  map[netip.Addr]boot.Holder
	order   []boot.Hold // oldest first; those that ended or were renewed are still in it
	limit   int
	dropped uint64 // holds pushed out by newer ones
}

// end is when the lease of a slot may end. It counts only if expires of the slot is
// still the same.
type end struct {
	slot uint32
	at   int64
}

// ends is a heap, soonest first.
type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newPool(ranges []boot.Range) *pool {
	p := &pool{ranges: ranges, asked: map[uint32]int64{}, holds: map[boot.Holder]boot.Hold{}, byAddr: map[netip.Addr]boot.Holder{}}
	var n uint64
	for _, r := range ranges {
		p.first = append(p.first, uint32(n))
		n = min(n+min(r.Size(), boot.MaxPool), boot.MaxPool)
	}
	p.expires = make([]int64, n)
	p.heap = make([]uint32, n)
	p.pos = make([]int32, n)
	p.unknown = make([]bool, n)
	p.checked = make([]int64, n)
	for i := range p.heap {
		p.heap[i], p.pos[i] = uint32(i), int32(i)
	}
	// Reservations outside the ranges are held too; the bound is on memory.
	p.limit = 16384
	return p
}

func (p *pool) slot(a netip.Addr) (uint32, bool) {
	for i, r := range p.ranges {
		if r.Contains(a) {
			s := uint64(p.first[i]) + r.Offset(a)
			return uint32(s), s < uint64(len(p.expires))
		}
	}
	return 0, false
}

func (p *pool) addr(slot uint32) netip.Addr {
	i := len(p.first) - 1
	for p.first[i] > slot {
		i--
	}
	return p.ranges[i].At(uint64(slot - p.first[i]))
}

func (p *pool) less(a, b uint32) bool {
	if p.expires[a] != p.expires[b] {
		return p.expires[a] < p.expires[b]
	}
	return a < b
}

func (p *pool) swap(i, j int) {
	h := p.heap
	h[i], h[j] = h[j], h[i]
	p.pos[h[i]], p.pos[h[j]] = int32(i), int32(j)
}

func (p *pool) fix(i int) {
	for i > 0 && p.less(p.heap[i], p.heap[(i-1)/2]) {
		p.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		c := 2*i + 1
		if c >= len(p.heap) {
			return
		}
		if c+1 < len(p.heap) && p.less(p.heap[c+1], p.heap[c]) {
			c++
		}
		if !p.less(p.heap[c], p.heap[i]) {
			return
		}
		p.swap(i, c)
		i = c
	}
}

func (p *pool) withdraw(slot uint32) {
	i := int(p.pos[slot])
	if i < 0 {
		return
	}
	last := len(p.heap) - 1
	p.swap(i, last)
	p.heap = p.heap[:last]
	p.pos[slot] = -1
	if i < last {
		p.fix(i)
	}
}

func (p *pool) put(slot uint32) {
	if p.pos[slot] >= 0 {
		return
	}
	p.heap = append(p.heap, slot)
	p.pos[slot] = int32(len(p.heap) - 1)
	p.fix(len(p.heap) - 1)
}

// touch notes that address a is leased until t (or was, if t has passed).
func (p *pool) touch(a netip.Addr, t time.Time) { p.lease(a, t, false) }

// lease is touch that also knows the kind of holder: leases of machines that are not
// admitted are counted.
func (p *pool) lease(a netip.Addr, t time.Time, unknown bool) {
	s, ok := p.slot(a)
	if !ok {
		return
	}
	p.expires[s] = max(t.Unix(), 1)
	if p.pos[s] >= 0 {
		p.fix(int(p.pos[s]))
	}
	if p.unknown[s] != unknown {
		p.unknown[s] = unknown
		if unknown {
			p.unknowns++
		} else {
			p.unknowns--
		}
	}
	if unknown {
		heap.Push(&p.ends, end{s, p.expires[s]})
		if len(p.ends) > 2*len(p.expires)+64 {
			p.ends = slices.DeleteFunc(p.ends, func(e end) bool { return !p.unknown[e.slot] || p.expires[e.slot] != e.at })
			heap.Init(&p.ends)
		}
	}
}

// unused notes that address a was never leased.
func (p *pool) unused(a netip.Addr) {
	p.touch(a, time.Time{})
	if s, ok := p.slot(a); ok {
		p.expires[s] = 0
		if p.pos[s] >= 0 {
			p.fix(int(p.pos[s]))
		}
	}
}

// strangers counts the leases that machines which are not admitted hold at now.
func (p *pool) strangers(now time.Time) int {
	for len(p.ends) > 0 && p.ends[0].at <= now.Unix() {
		e := heap.Pop(&p.ends).(end)
		if p.unknown[e.slot] && p.expires[e.slot] == e.at {
			p.unknown[e.slot] = false
			p.unknowns--
		}
	}
	return p.unknowns
}

// free reports an address that is neither leased nor on offer.
func (p *pool) free(now time.Time) bool {
	return len(p.heap) > 0 && p.expires[p.heap[0]] <= now.Unix()
}

// candidates returns a few addresses that look free at now, best first. It also says
// whether there are free ones at all, vetted or not. A holder's own offer comes first,
// so that a repeated DISCOVER gets the same address. Those in avoid are not free.
func (p *pool) candidates(holder boot.Holder, known bool, now time.Time, avoid map[netip.Addr]bool) (out []netip.Addr, free bool) {
	p.expire(now)
	out = make([]netip.Addr, 0, 3)
	if h, ok := p.holds[holder]; ok && !avoid[h.Addr] {
		out = append(out, h.Addr)
	}
	if p.free(now) {
		// The first of the heap, and a few more in case the store has the first one
		// leased. The rest of the heap is not looked at.
		for _, s := range p.heap[:min(len(p.heap), lookAhead*(1+len(avoid)))] {
			if p.expires[s] > now.Unix() || len(avoid) > 0 && avoid[p.addr(s)] {
				continue
			}
			free = true
			if p.vetted(s, now) {
				if out = append(out, p.addr(s)); len(out) == cap(out) {
					break
				}
			}
		}
	}
	if free || len(out) > 0 {
		return out, free
	}
	// All free addresses are on offer. The oldest offers are given to others,
	// where they are not firm.
	for _, h := range p.order {
		if len(out) == cap(out) {
			break
		}
		if !p.live(h) || avoid[h.Addr] {
			continue
		}
		if _, inPool := p.slot(h.Addr); inPool && !p.firm(h, known, now) {
			out = append(out, h.Addr)
		} else if !h.Admitted && !known && boot.Age(now, h.Until.Add(-boot.HoldTime)) < holdFirm {
			break // later ones are younger
		}
	}
	return out, false
}

// promised reports a holder whose own offer stands.
func (p *pool) promised(holder boot.Holder) bool {
	_, ok := p.holds[holder]
	return ok
}

const (
	checkLife = 2 * time.Minute // a probe's answer is good for this long
	checkWait = 5 * time.Second // a probe without an answer for this long was lost
	lookEvery = 10 * time.Millisecond
	maxAsked  = 8 * lookAhead
	// lookAhead is how many addresses are probed before anybody wants them.
	lookAhead = 128
)

// vetted reports an address that may be offered: it was never used, or a probe found
// nobody on it. An ended lease is no proof, because a clock may have jumped.
func (p *pool) vetted(slot uint32, now time.Time) bool {
	return !p.probed || p.expires[slot] == 0 || p.fresh(slot, now)
}

func (p *pool) fresh(slot uint32, now time.Time) bool {
	d := now.Unix() - p.checked[slot]
	return d >= 0 && d <= int64(checkLife/time.Second)
}

// wants reports an address that should be probed: its last answer is old and no
// probe is under way.
func (p *pool) wants(slot uint32, now time.Time) bool {
	if d := now.Unix() - p.checked[slot]; d >= 0 && d <= int64(checkLife/2/time.Second) {
		return false
	}
	d := now.Unix() - p.asked[slot]
	return d < 0 || d > int64(checkWait/time.Second)
}

// upcoming returns free addresses that are about to be offered and should be
// probed, and takes them as asked.
func (p *pool) upcoming(now time.Time) []netip.Addr {
	if d := now.Sub(p.looked); d >= 0 && d < lookEvery {
		return nil // once in a while only: a flood must not cause this work for each packet
	}
	p.looked = now
	if len(p.asked) > maxAsked/2 {
		for s, at := range p.asked {
			if d := now.Unix() - at; d < 0 || d > int64(checkWait/time.Second) {
				delete(p.asked, s)
			}
		}
	}
	var out []netip.Addr
	for _, s := range p.heap[:min(len(p.heap), lookAhead)] {
		if p.expires[s] <= now.Unix() && p.wants(s, now) {
			if len(p.asked) >= maxAsked {
				break
			}
			p.asked[s] = now.Unix()
			out = append(out, p.addr(s))
		}
	}
	return out
}

// refuse notes a DISCOVER that found nothing free.
func (p *pool) refuse(now time.Time) {
	if d := now.Sub(p.window); d >= holdFirm || d < 0 {
		p.refused[1] = p.refused[0]
		if d >= 2*holdFirm || d < 0 {
			p.refused[1] = 0
		}
		p.window, p.refused[0] = now, 0
	}
	p.refused[0]++
}

// flooded reports more refused DISCOVERs than real machines would send: each machine
// asks once or twice in the window.
func (p *pool) flooded(now time.Time) bool {
	return now.Sub(p.window) < 2*holdFirm && max(p.refused[0], p.refused[1]) > 4*len(p.expires)+64
}

// hold promises an address; false if it is promised to another holder.
func (p *pool) hold(h boot.Hold, now time.Time) bool {
	p.expire(now)
	if other, ok := p.byAddr[h.Addr]; ok && other != h.Holder {
		if p.firm(p.holds[other], h.Admitted, now) {
			return false
		}
		p.drop(other)
	}
	p.drop(h.Holder)
	for len(p.holds) >= p.limit && len(p.order) > 0 {
		if p.live(p.order[0]) {
			p.drop(p.order[0].Holder)
			p.dropped++
		}
		p.order = p.order[1:]
	}
	p.holds[h.Holder], p.byAddr[h.Addr] = h, h.Holder
	p.order = append(p.order, h)
	if s, ok := p.slot(h.Addr); ok {
		p.withdraw(s)
	}
	// Ended holds are swept when they outnumber the live ones.
	if len(p.order) > 2*len(p.holds)+64 {
		p.order = slices.DeleteFunc(p.order, func(h boot.Hold) bool { return !p.live(h) })
	}
	return true
}

// firm reports an offer that may not be given to another client. While other
// addresses are free, every offer is firm. Then one to an admitted machine is firm
// against machines that are not admitted. Else a fresh one is, except in a flood,
// where all offers are fresh.
func (p *pool) firm(h boot.Hold, known bool, now time.Time) bool {
	switch {
	case p.free(now), h.Admitted && !known:
		return true
	case known && !h.Admitted, p.flooded(now):
		return false
	}
	return boot.Age(now, h.Until.Add(-boot.HoldTime)) < holdFirm
}

// ended reports a hold that is over. One that ends later than any can was made before
// the clock was set back.
func ended(h boot.Hold, now time.Time) bool {
	return !now.Before(h.Until) || h.Until.Sub(now) > boot.HoldTime+boot.Skew
}

// live reports a hold that was neither renewed nor ended since.
func (p *pool) live(h boot.Hold) bool { return p.holds[h.Holder] == h }

func (p *pool) drop(holder boot.Holder) {
	h, ok := p.holds[holder]
	if !ok {
		return
	}
	delete(p.holds, holder)
	delete(p.byAddr, h.Addr)
	if s, ok := p.slot(h.Addr); ok {
		p.put(s)
	}
}

// restore gives a holder back the offer that was dropped last, if nobody has taken
// the address since.
func (p *pool) restore(holder boot.Holder, now time.Time) {
	for i := len(p.order) - 1; i >= 0 && !p.promised(holder); i-- {
		h := p.order[i]
		if h.Holder != holder {
			continue
		}
		if _, taken := p.byAddr[h.Addr]; taken || ended(h, now) {
			return
		}
		p.holds[holder], p.byAddr[h.Addr] = h, holder
		if s, ok := p.slot(h.Addr); ok {
			p.withdraw(s)
		}
	}
}

func (p *pool) expire(now time.Time) {
	for len(p.order) > 0 {
		h := p.order[0]
		if p.live(h) {
			if !ended(h, now) {
				return
			}
			p.drop(h.Holder)
		}
		p.order = p.order[1:]
	}
}
