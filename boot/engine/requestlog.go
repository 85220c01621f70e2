// requestlog.go: what every machine asked and what it got, in memory. The number of
// machines is bounded, and so are the entries of each. A sink may write entries
// down; the log never waits for it.

package engine

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// bounds of a log. When there are too many machines, the one that asked longest ago is
// forgotten with all of its entries: a flood of MACs pushes out whole machines.
type bounds struct {
	perMachine, machines, entries, bytes, tail int
}

var (
	requestBounds = bounds{perMachine: 64, machines: 16384, entries: 1 << 17, bytes: 128 << 20, tail: 4096}
	// An installer logs more in a minute than firmware asks in a year, in lines of
	// up to MaxLine.
	lineBounds = bounds{perMachine: 256, machines: 4096, entries: 1 << 17, bytes: 16 << 20, tail: 1024}
)

// RequestLog is safe for concurrent use.
type RequestLog struct {
	most     bounds
	mu       sync.Mutex
	seq      uint64
	entries  int
	bytes    int
	pushed   uint64
	machines map[who]*list.Element // of *machineLog, most recent first
	lru      *list.List
	tail     []packed // ring of the newest over all machines
	changed  chan struct{}
	watched  bool // a caller waits on changed
	sink     func(boot.Request) bool
	dropped  uint64
	buf      [1024]byte
}

// who is the MAC, or the source address of a request without one.
type who struct {
	mac    boot.MAC
	source netip.Addr
}

type machineLog struct {
	key  who
	last time.Time
	ring []packed
	next int
}

// newest is the entry before the position that is written next; if that is the first
// position, the last entry.
func (m *machineLog) newest() *packed {
	if len(m.ring) == 0 {
		return nil
	}
	return &m.ring[(m.next+len(m.ring)-1)%len(m.ring)]
}

// NewRequestLog returns an empty log. sink, if not nil, is called with every
// entry under the lock and must not block; it returns false when it dropped
// the entry, which is counted.
func NewRequestLog(sink func(boot.Request) bool) *RequestLog { return newLog(requestBounds, sink) }

// NewLineLog returns a log for the lines that machines log themselves: it keeps more
// for each machine and fewer in all.
func NewLineLog(sink func(boot.Request) bool) *RequestLog { return newLog(lineBounds, sink) }

func newLog(most bounds, sink func(boot.Request) bool) *RequestLog {
	return &RequestLog{most: most, machines: map[who]*list.Element{}, lru: list.New(), changed: make(chan struct{}), sink: sink}
}

// keyOf says to which machine's log an entry goes.
func keyOf(r *boot.Request) who {
	if !r.MAC.IsZero() {
		return who{mac: r.MAC}
	}
	return who{source: r.Source}
}

// Add appends an entry and returns its number.
func (l *RequestLog) Add(r boot.Request) uint64 { return l.add(r, l.sink) }

// Restore appends an entry read back at start; it is not written down again.
func (l *RequestLog) Restore(r boot.Request) { l.add(r, nil) }

func (l *RequestLog) add(r boot.Request, sink func(boot.Request) bool) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	r.Seq = l.seq
	k := keyOf(&r)
	e := l.machines[k]
	if e == nil {
		e = l.lru.PushFront(&machineLog{key: k})
		l.machines[k] = e
	} else {
		l.lru.MoveToFront(e)
	}
	m := e.Value.(*machineLog)
	m.last = r.At
	entry := pack(&r, l.buf[:])
	if prev := m.newest(); prev != nil && prev.same() == entry.same() {
		// A machine that is held asks for a quarter of an hour. That is one entry
		// and must not fill the whole log of the machine.
		prev.repeated++
		prev.last = r.At.UnixNano()
	} else if len(m.ring) < l.most.perMachine {
		m.ring = append(m.ring, entry)
		l.entries++
		l.bytes += entry.size()
	} else {
		l.bytes += entry.size() - m.ring[m.next].size()
		m.ring[m.next] = entry
		m.next = (m.next + 1) % l.most.perMachine
		l.pushed++
	}
	for l.lru.Len() > l.most.machines || l.lru.Len() > 1 && (l.entries > l.most.entries || l.bytes > l.most.bytes) {
		l.evict(l.lru.Back())
	}
	if len(l.tail) < l.most.tail {
		l.tail = append(l.tail, entry)
	} else {
		l.tail[(r.Seq-1)%uint64(l.most.tail)] = entry
	}
	if sink != nil && !sink(r) {
		l.dropped++
	}
	if l.watched {
		l.watched = false
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return r.Seq
}

// evict forgets a machine.
func (l *RequestLog) evict(e *list.Element) {
	m := l.lru.Remove(e).(*machineLog)
	for i := range m.ring {
		l.bytes -= m.ring[i].size()
	}
	l.entries -= len(m.ring)
	l.pushed += uint64(len(m.ring))
	delete(l.machines, m.key)
}

// Seq is the number of the newest entry.
func (l *RequestLog) Seq() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// Pushed counts entries that newer ones pushed out.
func (l *RequestLog) Pushed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pushed
}

// Machine returns what a MAC (or, without one, a source address) asked, oldest
// first.
func (l *RequestLog) Machine(key string) []boot.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var k who
	if m, err := boot.ParseMAC(key); err == nil {
		k.mac = m
	} else if k.source, err = netip.ParseAddr(key); err != nil {
		return nil
	}
	e := l.machines[k]
	if e == nil {
		return nil
	}
	m := e.Value.(*machineLog)
	out := make([]boot.Request, 0, len(m.ring))
	for _, half := range [][]packed{m.ring[m.next:], m.ring[:m.next]} {
		for i := range half {
			out = append(out, half[i].unpack())
		}
	}
	return out
}

// LastSeen returns when a MAC last asked for anything; the zero time if never
// or long ago.
func (l *RequestLog) LastSeen(m boot.MAC) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.machines[who{mac: m}]; e != nil {
		return e.Value.(*machineLog).last
	}
	return time.Time{}
}

// Since returns entries numbered above seq that the ring still holds, and a
// channel that is closed when there is more.
func (l *RequestLog) Since(seq uint64) ([]boot.Request, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := uint64(len(l.tail))
	start := max(seq, l.seq-n)
	var out []boot.Request
	for s := start + 1; s <= l.seq; s++ {
		out = append(out, l.tail[(s-1)%uint64(l.most.tail)].unpack())
	}
	l.watched = true
	return out, l.changed
}

// Dropped counts entries that the sink did not take.
func (l *RequestLog) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}
