// memory.go: what the engine remembers and may forget: holds, who was heard
// where, which notices were told. All of it is bounded.

package boot

import (
	"net/netip"
	"sync"
	"time"
)

const (
	maxHeard   = 16384
	maxNotices = 4096
	noticeGap  = 10 * time.Minute // a repeating cause is told this often
	heardLife  = 24 * time.Hour
)

type memory struct {
	mu      sync.Mutex
	pools   map[string]*pool
	heard   recent[netip.Addr, MAC]
	notices recent[string, struct{}]
}

// recent is a bounded map that forgets the oldest entry first.
type recent[K comparable, V any] struct {
	max   int
	m     map[K]stamped[V]
	order []stampedKey[K]
}

type stamped[V any] struct {
	v  V
	at time.Time
}

type stampedKey[K comparable] struct {
	k  K
	at time.Time
}

func (r *recent[K, V]) set(k K, v V, at time.Time) {
	if r.m == nil {
		r.m = map[K]stamped[V]{}
	}
	r.m[k] = stamped[V]{v, at}
	r.order = append(r.order, stampedKey[K]{k, at})
	for len(r.m) > r.max || len(r.order) > 2*r.max {
		o := r.order[0]
		r.order = r.order[1:]
		if e, ok := r.m[o.k]; ok && e.at.Equal(o.at) {
			delete(r.m, o.k)
		}
	}
}

func (r *recent[K, V]) get(k K) (V, time.Time, bool) {
	e, ok := r.m[k]
	return e.v, e.at, ok
}

func newMemory() *memory {
	m := &memory{pools: map[string]*pool{}}
	m.heard.max, m.notices.max = maxHeard, maxNotices
	return m
}

// tell reports whether a notice is due, and notes that it was told.
func (m *memory) tell(once string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, at, ok := m.notices.get(once); ok && now.Sub(at) < noticeGap {
		return false
	}
	m.notices.set(once, struct{}{}, now)
	return true
}

func (m *memory) hear(a netip.Addr, mac MAC, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, at, ok := m.heard.get(a); ok && old == mac && now.Sub(at) < time.Minute {
		return
	}
	m.heard.set(a, mac, now)
}

// view is the store and the memory, as Decide sees them.
type view struct {
	Reader
	m    *memory
	now  time.Time
	last func(MAC) time.Time
}

func (v view) Candidates(n *Network, holder string) []netip.Addr {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	p := v.m.pools[n.Name]
	if p == nil {
		return nil
	}
	return p.candidates(holder, 16, v.now)
}

func (v view) Holder(network string, a netip.Addr) string {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	p := v.m.pools[network]
	if p == nil {
		return ""
	}
	h := p.byAddr[a]
	if h != "" && (!v.now.Before(p.holds[h].Until) || !p.firm(p.holds[h], v.now)) {
		return ""
	}
	return h
}

func (v view) Heard(a netip.Addr) MAC {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	mac, at, ok := v.m.heard.get(a)
	if !ok || v.now.Sub(at) > heardLife {
		return MAC{}
	}
	return mac
}

func (v view) LastSeen(m MAC) time.Time { return v.last(m) }

// hold takes a decision's hold; false means that it was lost to another
// client and the question must be asked again.
func (m *memory) hold(h Hold, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[h.Network]
	return p == nil || p.hold(h, now)
}

// skip notes addresses that the store says are not free. It reports whether
// that was news: only then is it worth asking again.
func (m *memory) skip(network string, addrs []netip.Addr, now time.Time) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[network]
	if p == nil {
		return false
	}
	for _, a := range addrs {
		if s, ok := p.slot(a); ok && p.pos[s] >= 0 && p.expires[s] <= now.Unix() {
			p.touch(a, now.Add(time.Minute))
			news = true
		}
	}
	return news
}

// settle follows what a decision committed.
func (m *memory) settle(d *Decision) {
	if len(d.Writes.Leases) == 0 && d.Drop == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range d.Writes.Leases {
		if p := m.pools[l.Network]; p != nil {
			p.touch(l.Addr, l.Expires)
		}
	}
	if p := m.pools[d.Network]; p != nil && d.Drop != "" {
		p.drop(d.Drop)
	}
}
