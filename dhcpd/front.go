// front.go: what the DHCPv4 and DHCPv6 servers have in common: read packets in
// batches, give each a slot, ask the engine, answer. A burst waits in the
// socket's buffer, and the kernel drops what does not fit. In a flood few
// strangers are answered, so that those who may boot do not wait there behind
// them. A request that waits for the disk never delays one that does not.

package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/socket"
)

// Conn is the sockets of one port. Read fills buffers and returns how many
// packets it read; several may read at once. It returns net.ErrClosed (wrapped
// or not) after Close.
type Conn interface {
	Read([]Packet) (int, error)
	Send(reply []byte, to Dest, m Meta) error
	Close() error
}

// Packet is a buffer of the reader.
type Packet struct {
	Buf  []byte
	N    int
	Meta Meta
}

// Limits of what is in flight.
const (
	slots        = 8192
	requestSlots = slots / 2 // hold REQUESTs, which wait for a commit
	crowded      = slots * 3 / 4
	linkSlots    = slots / 4            // of one interface, once it is crowded
	forStrangers = requestSlots * 3 / 4 // of REQUESTs
	batch        = 64

	readers    = 2 // for each port
	bufferSize = 2048
	maxDelayed = 64 // replies that wait; beyond that they leave at once
)

// asked is a parsed request.
type asked interface {
	commits() bool // it may wait for the disk
	index() int    // of the interface that it came by
	who() slog.Attr
	facts() *boot.Sighting
	sentTo() netip.AddrPort
}

// front is a server without its protocol.
type front[R asked] struct {
	// Admitted, if not nil, reports the MAC of a machine that may boot: in a flood it is
	// answered before strangers. Set it before Serve.
	Admitted func(boot.MAC) bool
	// Record, if not nil, sees the packets that are answered, and the replies.
	// Set it before Serve.
	Record boot.Recorder

	log    *slog.Logger
	told   [256]time.Time // when a hardware type was last told of
	buffer int            // bytes of a packet
	parse  func([]byte, Meta) (R, error)
	reply  func(context.Context, R) outgoing
	pass   func(R) bool // requests that get no answer; nil: all get one

	mu       sync.Mutex
	inFlight int
	requests int
	byLink   map[int]*load // interfaces that ever asked; there are few

	buffers sync.Pool // for packets that wait for the disk
	delayed atomic.Int32
	Stats   Stats
}

// job is a request with the packet that its fields point into.
type job[R asked] struct {
	r      R
	packet []byte
}

// outgoing is the reply to a request; without bytes nothing is sent.
type outgoing struct {
	ours  bool // the request belongs to a network of ours, so it may be recorded
	b     []byte
	to    Dest
	meta  Meta
	delay time.Duration
}

// load is what one interface has in flight.
type load struct{ all, requests int }

// Stats counts packets; all of it only grows.
type Stats struct {
	Received, Malformed, Dropped, Answered, SendErrors, Panics atomic.Uint64
	Hardware                                                   atomic.Uint64 // of a link layer that is not served
}

// Serve reads c until ctx ends or reading fails, then waits for the packets in
// flight. It may run once for each port.
func (f *front[R]) Serve(ctx context.Context, c Conn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	// A reader itself answers a request that writes nothing; a flood of those
	// waits in the socket's buffer. Each request that waits for the disk has a
	// worker of its own. A worker that is done takes the next request.
	var wg sync.WaitGroup // of this port alone: the other port may go on
	work := &workers[R]{f: f, c: c, wg: &wg, commits: make(chan job[R]), tokens: make(chan struct{}, requestSlots)}
	errs := make(chan error, readers)
	for range readers {
		go func() { errs <- f.read(ctx, c, work) }()
	}
	var err error
	for range readers {
		if e := <-errs; e != nil && err == nil {
			err = e
			c.Close()
		}
	}
	close(work.commits)
	wg.Wait()
	return err
}

// workers answer requests that may wait for a commit.
type workers[R asked] struct {
	f       *front[R]
	c       Conn
	wg      *sync.WaitGroup
	commits chan job[R]
	tokens  chan struct{} // one token for each running worker
}

func (w *workers[R]) hand(ctx context.Context, j job[R]) {
	select {
	case w.commits <- j:
	case w.tokens <- struct{}{}:
		w.wg.Go(func() {
			w.answer(ctx, j)
			w.f.buffers.Put(&j.packet)
			for j := range w.commits {
				w.answer(ctx, j)
				w.f.buffers.Put(&j.packet)
			}
		})
	}
}

func (w *workers[R]) answer(ctx context.Context, j job[R]) {
	if wait := w.f.answer(ctx, w.c, j); wait != nil {
		w.wg.Go(func() { wait(); w.f.release(j.r) })
		return
	}
	w.f.release(j.r)
}

// read is one reader.
func (f *front[R]) read(ctx context.Context, c Conn, work *workers[R]) error {
	ps := make([]Packet, batch)
	for i := range ps {
		ps[i].Buf = f.fresh()
	}
	var patience socket.Patience
	var flood flood
	for {
		n, err := c.Read(ps)
		if err != nil {
			if end, err := patience.Failed(ctx, "read DHCP packets", err); end {
				return err
			}
			continue
		}
		patience.Worked()
		room := n // for strangers
		flooded := flood.on(n == len(ps), time.Now())
		if flooded {
			room = inFlood
		}
		for i := range n {
			p := &ps[i]
			f.Stats.Received.Add(1)
			r, err := f.shielded(p.Buf[:p.N], p.Meta)
			if h := hardware(0); errors.As(err, &h) {
				f.Stats.Hardware.Add(1)
				f.strange(h, p.Meta)
				continue
			}
			if err != nil {
				f.Stats.Malformed.Add(1)
				f.log.Debug("packet dropped", "from", p.Meta.Source, "interface", p.Meta.Interface, "err", err)
				continue
			}
			// Who asks is looked up only where it matters.
			known := flooded && f.admitted(r)
			if !known {
				room--
			}
			if !known && room < 0 || !f.slot(r, known) && (known || !f.admitted(r) || !f.slot(r, true)) {
				f.Stats.Dropped.Add(1)
				continue
			}
			j := job[R]{r, p.Buf[:p.N]}
			if r.commits() {
				p.Buf = f.fresh() // the packet goes with its request
				work.hand(ctx, j)
				continue
			}
			work.answer(ctx, j)
		}
	}
}

// strange says, once an hour for each type, that somebody asks who is not served.
func (f *front[R]) strange(h hardware, m Meta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.told[h].IsZero() || now.Sub(f.told[h]) > time.Hour {
		f.told[h] = now
		f.log.Warn("a client that is not on Ethernet asks by DHCP and gets no answer", "hardware", h.String(), "from", m.Source, "interface", m.Interface)
	}
}

// Limits of a flood.
const (
	fullBatches = 32 // in a row are one: a rack that is switched on is less
	inFlood     = 8  // strangers that are answered, of a full batch
	floodLasts  = time.Second
)

// flood tells when more packets come than a reader can answer. It must not answer all
// then: what it has no time for is dropped by the kernel, whoever sent it.
type flood struct {
	full  int // batches in a row
	until time.Time
}

// on says whether a batch, full or not, is part of a flood.
func (x *flood) on(full bool, now time.Time) bool {
	if !full {
		x.full = 0
		return false
	}
	if x.full++; x.full < fullBatches && !now.Before(x.until) {
		return false
	}
	x.until = now.Add(floodLasts)
	return true
}

// fresh is a buffer for a packet.
func (f *front[R]) fresh() []byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return (*b)[:cap(*b)]
	}
	return make([]byte, f.buffer)
}

// shielded keeps the read loop from a codec that panics.
func (f *front[R]) shielded(b []byte, m Meta) (r R, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.Stats.Panics.Add(1)
			err = fmt.Errorf("%w: codec panicked: %v", ErrMalformed, p)
		}
	}()
	return f.parse(b, m)
}

// slot finds a slot. Requests that commit get at most half of all slots, and those of
// strangers three quarters of these. Once many slots are taken, one of several
// interfaces gets at most a quarter. A DISCOVER or Solicit of a stranger, which does not
// commit, is refused while its interface's REQUESTs hold half of the REQUEST slots: the
// REQUEST after its offer would find none.
func (f *front[R]) slot(r R, known bool) bool {
	commits := r.commits()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pass != nil && f.pass(r) {
		return false
	}
	l := f.byLink[r.index()]
	if l == nil {
		l = new(load)
		f.byLink[r.index()] = l
	}
	switch {
	case f.inFlight >= slots, commits && f.requests >= requestSlots:
		return false
	case known:
	case commits && l.requests >= forStrangers,
		!commits && l.requests >= requestSlots/2,
		f.inFlight >= crowded && len(f.byLink) > 1 && l.all >= linkSlots:
		return false
	}
	f.count(l, commits, 1)
	return true
}

// admitted reports the request of a machine that may boot.
func (f *front[R]) admitted(r R) bool { return f.Admitted != nil && f.Admitted(r.facts().ID.MAC) }

func (f *front[R]) release(r R) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(f.byLink[r.index()], r.commits(), -1)
}

func (f *front[R]) count(l *load, commits bool, n int) {
	f.inFlight += n
	l.all += n
	if commits {
		f.requests += n
		l.requests += n
	}
}

// answer asks the engine and replies. If the reply must be delayed (a Raspberry
// Pi's ROM ignores a quick one), it returns the function that sends it.
func (f *front[R]) answer(ctx context.Context, c Conn, j job[R]) (later func()) {
	r := j.r
	defer func() {
		if p := recover(); p != nil {
			f.Stats.Panics.Add(1)
			f.log.Error("packet handling panicked", r.who(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	a := f.reply(ctx, r)
	if a.ours {
		f.recordRequest(r, j.packet)
	}
	if a.b == nil {
		return nil
	}
	if a.delay > 0 {
		if f.delayed.Add(1) <= maxDelayed {
			return func() {
				defer f.delayed.Add(-1)
				select {
				case <-ctx.Done():
				case <-time.After(a.delay):
					f.send(c, r, a)
				}
			}
		}
		f.delayed.Add(-1)
	}
	f.send(c, r, a)
	return nil
}

func (f *front[R]) send(c Conn, r R, a outgoing) {
	if err := c.Send(a.b, a.to, a.meta); err != nil {
		f.Stats.SendErrors.Add(1)
		f.log.Warn("reply was not sent", r.who(), "to", a.to.Addr, "how", a.to.How, "interface", a.meta.Interface, "err", err)
		return
	}
	f.Stats.Answered.Add(1)
	if f.Record != nil {
		from := a.to.From
		if !from.IsValid() {
			from = netip.IPv6Unspecified() // the kernel chooses
		}
		f.Record.Packet(boot.Packet{MAC: r.facts().ID.MAC, From: netip.AddrPortFrom(from, r.sentTo().Port()), To: a.to.Addr, Data: a.b})
	}
}

// recordRequest gives a packet to Record.
func (f *front[R]) recordRequest(r R, b []byte) {
	if f.Record != nil {
		in := r.facts()
		f.Record.Packet(boot.Packet{MAC: in.ID.MAC, From: in.Source, To: r.sentTo(), Data: b})
	}
}
