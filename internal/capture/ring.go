// ring.go: the packets, stored without pointers in memory that is reused.
// Adding one is a copy under a lock.

package capture

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// Bounds.
const (
	perQueue    = 64       // packets of a machine, for each kind
	queueBytes  = 32 << 10 // of them
	maxPacket   = 1500
	maxMachines = 4096

	chunkSize  = 384 // most packets fit into one
	slabChunks = 1024
	maxSlabs   = 16 << 20 / (chunkSize * slabChunks)
)

// head precedes each packet: sequence, time, addresses and ports, the stored
// length, and the full length.
const (
	headFrom = 8 + 8
	headTo   = headFrom + 18
	headKept = headTo + 18
	head     = headKept + 2 + 2
)

// Kinds of packet. A Raspberry Pi asks for fifty files that do not exist; those
// packets must not push out its DHCP exchange.
const (
	dhcp = iota
	files
	kinds
)

// Ring is safe for concurrent use.
type Ring struct {
	now func() time.Time

	mu       sync.Mutex
	seq      uint64
	slabs    [][]byte
	next     []uint32 // for each chunk, the next one of its packet or of the free list
	free     uint32   // head of the free list; unused if left is 0
	left     int
	machines map[boot.MAC]*machine
	newest   *machine
	oldest   *machine
	spare    *machine // one that was pushed out
	stats    Stats
}

// Stats counts packets; all of it only grows.
type Stats struct {
	Added   uint64
	Cut     uint64 // longer than the stored length of one packet
	Pushed  uint64 // pushed out by newer packets of the same machine
	Evicted uint64 // dropped together with their machine
	Odd     uint64 // without a machine, or with addresses of two families
}

type machine struct {
	mac          boot.MAC
	newer, older *machine
	queues       [kinds]queue
}

// queue is a ring of packets by their first chunk.
type queue struct {
	first [perQueue]uint32
	head  int
	n     int
	bytes int
}

// New returns a ring.
func New(now func() time.Time) *Ring {
	return &Ring{now: now, machines: map[boot.MAC]*machine{}}
}

// Packet implements boot.Recorder.
func (r *Ring) Packet(p boot.Packet) {
	at := r.now().UnixNano()
	full := max(p.Full, len(p.Data))
	data := p.Data[:min(len(p.Data), maxPacket)]
	r.mu.Lock()
	defer r.mu.Unlock()
	if !p.MAC.Usable() || !p.From.IsValid() || !p.To.IsValid() || p.From.Addr().Unmap().Is4() != p.To.Addr().Unmap().Is4() {
		r.stats.Odd++
		return
	}
	r.stats.Added++
	if len(data) < full {
		r.stats.Cut++
	}
	m := r.machine(p.MAC)
	q := &m.queues[kindOf(p)]
	for q.n == perQueue || q.n > 0 && q.bytes+len(data) > queueBytes {
		r.pop(q)
		r.stats.Pushed++
	}
	var h [head]byte
	r.seq++
	binary.BigEndian.PutUint64(h[0:], r.seq)
	binary.BigEndian.PutUint64(h[8:], uint64(at))
	putAddr(h[headFrom:], p.From)
	putAddr(h[headTo:], p.To)
	binary.BigEndian.PutUint16(h[headKept:], uint16(len(data)))
	binary.BigEndian.PutUint16(h[headKept+2:], uint16(min(full, 0xffff)))
	q.first[(q.head+q.n)%perQueue] = r.store(h[:], data)
	q.n++
	q.bytes += len(data)
}

func putAddr(b []byte, a netip.AddrPort) {
	ip := a.Addr().As16()
	copy(b, ip[:])
	binary.BigEndian.PutUint16(b[16:], a.Port())
}

func getAddr(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:]))
}

// kindOf returns a packet's kind by its ports.
func kindOf(p boot.Packet) int {
	for _, port := range []uint16{p.From.Port(), p.To.Port()} {
		switch port {
		case 67, 68, 4011, 546, 547:
			return dhcp
		}
	}
	return files
}

// machine finds or makes a machine and moves it to the front; if all are in use
// the oldest is dropped.
func (r *Ring) machine(mac boot.MAC) *machine {
	m := r.machines[mac]
	if m != nil {
		if r.newest == m {
			return m
		}
		r.unlink(m)
	} else {
		if len(r.machines) >= maxMachines {
			r.evict()
		}
		if m = r.spare; m == nil {
			m = new(machine)
		}
		r.spare = nil
		*m = machine{mac: mac}
		r.machines[mac] = m
	}
	m.older = r.newest
	if r.newest != nil {
		r.newest.newer = m
	}
	r.newest = m
	if r.oldest == nil {
		r.oldest = m
	}
	return m
}

func (r *Ring) unlink(m *machine) {
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		r.newest = m.older
	}
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		r.oldest = m.newer
	}
	m.newer, m.older = nil, nil
}

// evict drops the machine that was silent for longest.
func (r *Ring) evict() {
	m := r.oldest
	for i := range m.queues {
		for q := &m.queues[i]; q.n > 0; {
			r.pop(q)
			r.stats.Evicted++
		}
	}
	r.unlink(m)
	delete(r.machines, m.mac)
	r.spare = m
}

// pop removes the oldest packet of a queue.
func (r *Ring) pop(q *queue) {
	c := q.first[q.head]
	_, kept, _ := r.header(c)
	q.bytes -= kept
	q.head = (q.head + 1) % perQueue
	q.n--
	for n := chunks(kept); n > 0; n-- {
		after := r.next[c]
		r.next[c], r.free = r.free, c
		r.left++
		c = after
	}
}

func chunks(kept int) int { return (head + kept + chunkSize - 1) / chunkSize }

func (r *Ring) chunk(c uint32) []byte {
	s := r.slabs[c/slabChunks]
	return s[c%slabChunks*chunkSize:][:chunkSize]
}

// take takes a chunk from the free list. room has made sure that there is one.
func (r *Ring) take() uint32 {
	c := r.free
	r.free = r.next[c]
	r.left--
	return c
}

// room makes sure that n chunks are free, by adding a slab or by dropping the
// oldest machines. One machine can never hold all chunks.
func (r *Ring) room(n int) {
	for r.left < n {
		if len(r.slabs) == maxSlabs {
			r.evict()
			continue
		}
		base := uint32(len(r.next))
		r.slabs = append(r.slabs, make([]byte, slabChunks*chunkSize))
		for i := range uint32(slabChunks) {
			r.next = append(r.next, r.free)
			r.free = base + i
		}
		r.left += slabChunks
	}
}

// store writes a packet and returns its first chunk.
func (r *Ring) store(h, data []byte) uint32 {
	r.room(chunks(len(data)))
	first := r.take()
	b := r.chunk(first)
	n := copy(b[copy(b, h):], data)
	for last := first; n < len(data); {
		c := r.take()
		r.next[last], last = c, c
		n += copy(r.chunk(c), data[n:])
	}
	return first
}

func (r *Ring) header(c uint32) (h []byte, kept, full int) {
	h = r.chunk(c)[:head]
	return h, int(binary.BigEndian.Uint16(h[headKept:])), int(binary.BigEndian.Uint16(h[headKept+2:]))
}

// Packet is a stored packet.
type Packet struct {
	At       time.Time
	From, To netip.AddrPort
	Data     []byte
	Full     int // length of the whole packet in bytes

	seq uint64
}

// Of returns the stored packets of the machine that has these MAC addresses, in
// the order in which they passed.
func (r *Ring) Of(macs ...boot.MAC) []Packet {
	var out []Packet
	r.mu.Lock()
	for _, mac := range macs {
		m := r.machines[mac]
		if m == nil {
			continue
		}
		for i := range m.queues {
			q := &m.queues[i]
			for j := range q.n {
				out = append(out, r.read(q.first[(q.head+j)%perQueue]))
			}
		}
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b Packet) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

func (r *Ring) read(c uint32) Packet {
	h, kept, full := r.header(c)
	p := Packet{seq: binary.BigEndian.Uint64(h), At: time.Unix(0, int64(binary.BigEndian.Uint64(h[8:]))).UTC(), From: getAddr(h[headFrom:]), To: getAddr(h[headTo:]), Full: full}
	b := r.chunk(c)[head:]
	p.Data = make([]byte, 0, kept)
	for {
		p.Data = append(p.Data, b[:min(len(b), kept-len(p.Data))]...)
		if len(p.Data) == kept {
			return p
		}
		c = r.next[c]
		b = r.chunk(c)
	}
}

// Stats returns the counters of this moment.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}
