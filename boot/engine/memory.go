// memory.go: what the engine remembers and may forget: holds, which machine was heard
// where, which notices were told. All of it is bounded.

package engine

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

const (
	maxHeard   = 16384
	maxSaid    = 4096 // exchanges that are under way
	maxNotices = 4096
	noticeGap  = 10 * time.Minute // a repeating cause is told this often
	heardLife  = 24 * time.Hour

	maxLinks    = 4096
	maxRivals   = 256
	enrollBurst = 1000 // new hosts of a link in one go: a row of racks
	leaseBurst  = 10   // seconds of a network's rate of new leases
)

type memory struct {
	mu      sync.Mutex
	pools   map[string]*pool
	heard   recent[netip.Addr, boot.MAC]
	said    recent[string, boot.Opening] // by clients in the first packet of an exchange
	others  recent[string, netip.Addr]   // the DHCP server that was last noticed on a network
	notices recent[string, struct{}]
	odd     recent[string, struct{}] // notices that strangers cause; kept apart, because anybody can make up causes
	rivals  recent[string, struct{}] // as others; kept apart, because anybody can make up many
	seen    map[boot.MAC]time.Time   // when the machines on the roll last asked; no stranger is in it, so that none can push one out
	stayed  int                      // of seen, when it was last thinned
	users   int                      // of used, when it was last thinned
	used    map[boot.HostID][]used   // from where the boot paths of machines on the roll were used first; no stranger is in it
	leases  map[string]*bucket       // by network: new leases of machines that are not admitted
	enrolls recent[string, *bucket]
	strange map[boot.EventKind]*bucket // events of strangers
}

// bucket is a token bucket: a rate that allows a burst.
type bucket struct {
	left float64
	at   time.Time
}

// fill adds the tokens that are due since the last fill, up to burst.
func (b *bucket) fill(rate, burst float64, now time.Time) {
	if b.at.IsZero() {
		b.left = burst
	} else {
		b.left = min(burst, b.left+rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
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
	m := &memory{pools: map[string]*pool{}, leases: map[string]*bucket{}, seen: map[boot.MAC]time.Time{}, used: map[boot.HostID][]used{}, strange: map[boot.EventKind]*bucket{}}
	m.said.max, m.heard.max, m.notices.max, m.odd.max, m.enrolls.max, m.rivals.max, m.others.max = maxSaid, maxHeard, maxNotices, maxNotices, maxLinks, maxRivals, maxRivals
	return m
}

// tell reports whether a notice is due, and notes that it was told.
func (m *memory) tell(once string, now time.Time) bool {
	return m.due(&m.notices, once, now)
}

func (m *memory) due(told *recent[string, struct{}], once string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, at, ok := told.get(once); ok && boot.Age(now, at) < noticeGap {
		return false
	}
	told.set(once, struct{}{}, now)
	return true
}

// Events that strangers cause, of each kind.
const (
	strangerRate  = 1.0 // a second
	strangerBurst = 100
)

// mayTell is the rate of events of one kind that strangers cause: a cause can have as
// many names as there are addresses.
func (m *memory) mayTell(k boot.EventKind, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.strange[k]
	if b == nil {
		b = new(bucket)
		m.strange[k] = b
	}
	if b.fill(strangerRate, strangerBurst, now); b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (m *memory) noteRival(r boot.Rival, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.others.set(boot.PoolName(r.Network, r.Server), r.Server, now)
}

// rivalOn returns the address of another DHCP server that was noticed on the
// network within the last hour. Any address of the wanted family serves as family.
func (m *memory) rivalOn(network string, family netip.Addr, now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, at, ok := m.others.get(boot.PoolName(network, family)); ok && boot.Age(now, at) < rivalLong {
		return a.String()
	}
	return ""
}

func (m *memory) hear(a netip.Addr, mac boot.MAC, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, at, ok := m.heard.get(a); ok && old == mac && boot.Age(now, at) < time.Minute {
		return
	}
	m.heard.set(a, mac, now)
}

// view is the store and the memory as one run of Decide sees them. It changes
// neither. What memory should keep of this run is noted here, for settle.
type view struct {
	boot.Reader
	m       *memory
	now     time.Time
	log     *RequestLog
	started time.Time                      // see Engine.Started
	bound   []boot.Binding                 // of a rehearsal: uses of paths that memory is not told
	avoid   map[string]map[netip.Addr]bool // by pool: addresses that are not free in a rehearsal

	exhausted []*pool // pools in which nothing was free
}

// settle writes what was noted into memory. It is called once, for the run that counts.
func (v *view) settle() {
	if len(v.exhausted) == 0 {
		return
	}
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	for _, p := range v.exhausted {
		p.refuse(v.now)
	}
}

func (v *view) Candidates(n *boot.Network, holder boot.Holder, known bool) (addrs []netip.Addr, probing bool) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	p := v.m.pools[n.Pool()]
	if p == nil {
		return nil, false
	}
	addrs, free := p.candidates(holder, known, v.now, v.avoid[n.Pool()])
	if !free && !p.promised(holder) {
		v.exhausted = append(v.exhausted, p)
	}
	return addrs, len(addrs) == 0 && free
}

func (v *view) Offered(network string, a netip.Addr, known bool) (h boot.Hold, firm bool) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	p := v.m.pools[boot.PoolName(network, a)]
	if p == nil {
		return boot.Hold{}, false
	}
	holder := p.byAddr[a]
	if holder.IsZero() {
		return boot.Hold{}, false
	}
	if h = p.holds[holder]; ended(h, v.now) {
		return boot.Hold{}, false
	}
	return h, p.firm(h, known, v.now)
}

func (v *view) Ration(n *boot.Network) boot.Ration {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	var r boot.Ration
	if p := v.m.pools[n.Pool()]; p != nil && n.UnknownShare > 0 && n.UnknownShare < 100 {
		r.Limit = max(1, len(p.expires)*n.UnknownShare/100)
		r.Full = p.strangers(v.now) >= r.Limit
	}
	if n.NewLeases > 0 {
		r.Fast = v.m.bucket(n, v.now).left < 1
	}
	return r
}

// bucket is the network's rate of new leases, filled to now.
func (m *memory) bucket(n *boot.Network, now time.Time) *bucket {
	b := m.leases[n.Name]
	if b == nil {
		b = new(bucket)
		m.leases[n.Name] = b
	}
	b.fill(float64(n.NewLeases), float64(n.NewLeases*leaseBurst), now)
	return b
}

func (v *view) MayEnroll(link string) bool {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	b, _, ok := v.m.enrolls.get(link)
	if !ok {
		return true
	}
	b.fill(boot.EnrollRate, enrollBurst, v.now)
	return b.left >= 1
}

// told notes what a client said as it began an exchange. What an operating system says
// takes the place of its firmware's, and is itself nothing to remember.
func (m *memory) told(s *boot.Opening, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := s.Key()
	if (s.Firmware == boot.Firmware{Arch: boot.ArchNone}) {
		delete(m.said.m, k)
		return
	}
	if old, at, ok := m.said.get(k); ok && old == *s && boot.Age(now, at) < boot.HoldTime/2 {
		return
	}
	m.said.set(k, *s, now)
}

func (v *view) Opening(key string) (boot.Opening, bool) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	s, at, ok := v.m.said.get(key)
	return s, ok && boot.Age(v.now, at) <= boot.HoldTime
}

func (v *view) Heard(a netip.Addr) boot.MAC {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	mac, at, ok := v.m.heard.get(a)
	if !ok || boot.Age(v.now, at) > heardLife {
		return boot.MAC{}
	}
	return mac
}

func (v *view) LastSeen(m boot.MAC) (at time.Time, sure bool) {
	v.m.mu.Lock()
	at = v.m.seen[m]
	v.m.mu.Unlock()
	if t := v.log.LastSeen(m); t.After(at) {
		at = t
	}
	if at.IsZero() && !v.started.IsZero() {
		return v.started, false
	}
	return at, true
}

// saw notes that a machine on the roll has asked. Times that are too old to matter are
// forgotten, so that it holds no more than the roll has.
func (m *memory) saw(mac boot.MAC, now time.Time) {
	const many = 1024
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[mac] = now
	if len(m.seen) < max(many, 2*m.stayed) {
		return
	}
	for k, at := range m.seen {
		if now.Sub(at).Abs() > boot.BootingWindow {
			delete(m.seen, k)
		}
	}
	m.stayed = len(m.seen)
}

// used is one first use.
type used struct {
	boot.Binding
	at time.Time
}

const maxUses = 32 // of one host: more paths than one boot has, of each kind of address

func (v *view) Used(u boot.Use) (out []netip.Addr) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	for _, x := range v.m.used[u.Host] {
		if x.Use == u {
			out = append(out, x.Addr)
		}
	}
	for _, b := range v.bound {
		if b.Use == u {
			out = append(out, b.Addr)
		}
	}
	return out
}

// bind takes a decision's use of a path. False means that the path was used from
// elsewhere meanwhile, and the decision must be made again.
func (m *memory) bind(b boot.Binding, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.used[b.Host]
	for _, x := range l {
		if x.Use == b.Use && x.Addr == b.Addr {
			return true
		}
	}
	if b.Kind == boot.IPv4 && slices.ContainsFunc(l, func(x used) bool { return x.Use == b.Use }) {
		return false
	}
	if l = append(l, used{b, now}); len(l) > maxUses {
		l = append([]used{}, l[1:]...)
	}
	m.used[b.Host] = l
	if len(m.used) > max(1024, 2*m.users) {
		for id, l := range m.used {
			if now.Sub(l[len(l)-1].at).Abs() > boot.BootTokenLife {
				delete(m.used, id) // its paths have ended
			}
		}
		m.users = len(m.used)
	}
	return true
}

// hold takes a decision's hold. False means that another client has taken the
// address meanwhile, and the decision must be made again.
func (m *memory) hold(h boot.Hold, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[boot.PoolName(h.Network, h.Addr)]
	return p == nil || p.hold(h, now)
}

// checks returns the addresses of a network that should be probed now: those just
// offered, and those that will be offered next.
func (m *memory) checks(network string, offered netip.Addr, now time.Time) []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[network]
	if p == nil {
		return nil
	}
	out := p.upcoming(now)
	if s, ok := p.slot(offered); offered.IsValid() && (!ok || p.wants(s, now)) && len(p.asked) < maxAsked {
		if ok {
			p.asked[s] = now.Unix()
		}
		out = append(out, offered)
	}
	return out
}

// clean notes addresses that a probe found nobody on.
func (m *memory) clean(network string, addrs []netip.Addr, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[network]
	if p == nil {
		return
	}
	for _, a := range addrs {
		if s, ok := p.slot(a); ok {
			p.checked[s] = now.Unix()
			delete(p.asked, s)
		}
	}
}

// taken notes an address on which another machine was seen.
func (m *memory) taken(network string, a netip.Addr, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[boot.PoolName(network, a)]
	if p == nil {
		return
	}
	if h := p.byAddr[a]; !h.IsZero() {
		p.drop(h)
	}
	p.touch(a, until)
	if s, ok := p.slot(a); ok {
		delete(p.asked, s)
	}
}

// skip notes addresses that the store says are not free. It reports whether memory
// did not know that: only then can deciding again give another result.
func (m *memory) skip(spots []boot.Spot, now time.Time) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range spots {
		p := m.pools[boot.PoolName(x.Network, x.Addr)]
		if p == nil {
			continue
		}
		if s, ok := p.slot(x.Addr); ok && p.pos[s] >= 0 && p.expires[s] <= now.Unix() {
			p.touch(x.Addr, now.Add(time.Minute))
			news = true
		}
	}
	return news
}

// settle brings memory in line with what a decision is about to commit. It may run
// ahead of the disk by one commit, because the next decision of the same group must
// see the change. That is safe: memory gives hints only.
func (m *memory) settle(d *boot.Decision, p *boot.Policy, now time.Time) {
	if len(d.Writes.Leases) == 0 && len(d.Drops) == 0 && d.Enrolls == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range d.Writes.Leases {
		if p := m.pools[boot.PoolName(l.Network, l.Addr)]; p != nil {
			p.lease(l.Addr, l.Expires, l.OfUnknown() && l.Active(now))
		}
	}
	if d.New {
		if n := p.Network(d.Network); n != nil && n.NewLeases > 0 {
			m.bucket(n, now).left--
		}
	}
	if d.Enrolls != "" {
		b, _, ok := m.enrolls.get(d.Enrolls)
		if !ok {
			b = new(bucket)
			m.enrolls.set(d.Enrolls, b, now)
		}
		b.fill(boot.EnrollRate, enrollBurst, now)
		b.left--
	}
	for _, holder := range d.Drops {
		for _, p := range m.pools {
			p.drop(holder)
		}
	}
}

// unsettle takes back what settle did, except for leases.
func (m *memory) unsettle(d *boot.Decision, p *boot.Policy, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.New {
		if n := p.Network(d.Network); n != nil && n.NewLeases > 0 {
			m.bucket(n, now).left++
		}
	}
	if d.Enrolls != "" {
		if b, _, ok := m.enrolls.get(d.Enrolls); ok {
			b.left++
		}
	}
	for _, holder := range d.Drops {
		for _, p := range m.pools {
			p.restore(holder, now)
		}
	}
}

// Pools counts what the ranges hold.
func (e *Engine) Pools() []boot.PoolStatus {
	now := e.Now()
	p := e.policy.Load()
	e.mem.mu.Lock()
	defer e.mem.mu.Unlock()
	var out []boot.PoolStatus
	for n := range p.All() {
		x := e.mem.pools[n.Pool()]
		if x == nil || len(x.expires) == 0 {
			continue
		}
		s := boot.PoolStatus{Network: n.Pool(), Size: len(x.expires), Offered: len(x.holds), Unknown: x.strangers(now), Lost: x.dropped}
		for _, t := range x.expires {
			if t > now.Unix() {
				s.Leased++
			}
		}
		out = append(out, s)
	}
	return out
}
