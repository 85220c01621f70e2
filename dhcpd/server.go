// server.go: reads packets in batches, gives each a slot, asks, answers. A
// flood waits in the socket's buffer and what does not fit is the kernel's to
// drop; a REQUEST that waits for the disk never keeps a DISCOVER waiting.

package dhcpd

import (
	"bytes"
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
	linkSlots    = slots / 4 // of one interface, once it is crowded
	batch        = 64

	readers    = 2 // of a port
	bufferSize = 2048
	maxDelayed = 64 // replies that wait; beyond that they leave at once
)

// Server answers DHCPv4.
type Server struct {
	// Record, where not nil, sees the packets that are answered and the replies.
	// Set before Serve.
	Record boot.Recorder

	ask boot.Decider
	log *slog.Logger

	mu       sync.Mutex
	inFlight int
	requests int
	byLink   map[int]*load     // interfaces that ever asked; there are few
	own      map[boot.MAC]bool // our own probes, to be left unanswered

	delayed atomic.Int32
	Stats   Stats
}

// load is what one interface has in flight.
type load struct{ all, requests int }

// Stats counts packets; all of it only grows.
type Stats struct {
	Received, Malformed, Dropped, Answered, SendErrors, Panics atomic.Uint64
}

// NewServer returns a server that asks ask.
func NewServer(ask boot.Decider, log *slog.Logger) *Server {
	return &Server{ask: ask, log: log, byLink: map[int]*load{}, own: map[boot.MAC]bool{}}
}

// Serve reads c until ctx ends or reading fails, then waits for the packets in
// hand. It may run once for each port.
func (s *Server) Serve(ctx context.Context, c Conn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	// Readers answer DISCOVERs themselves: a flood of them waits in the socket's
	// buffer. REQUESTs wait for the disk: each has a worker, and a worker that
	// is done takes the next.
	var wg sync.WaitGroup // this port's alone: the other one may live on
	work := &workers{s: s, c: c, wg: &wg, commits: make(chan *request), room: make(chan struct{}, requestSlots)}
	errs := make(chan error, readers)
	for range readers {
		go func() { errs <- s.read(ctx, c, work) }()
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

// workers answer what may wait for a commit.
type workers struct {
	s       *Server
	c       Conn
	wg      *sync.WaitGroup
	commits chan *request
	room    chan struct{} // a token for each worker there is
}

func (w *workers) hand(ctx context.Context, r *request) {
	select {
	case w.commits <- r:
	case w.room <- struct{}{}:
		w.wg.Go(func() {
			w.answer(ctx, r)
			for r := range w.commits {
				w.answer(ctx, r)
			}
		})
	}
}

func (w *workers) answer(ctx context.Context, r *request) {
	if wait := w.s.answer(ctx, w.c, r); wait != nil {
		w.wg.Go(func() { wait(); w.s.release(r) })
		return
	}
	w.s.release(r)
}

// read is one reader.
func (s *Server) read(ctx context.Context, c Conn, work *workers) error {
	ps := make([]Packet, batch)
	for i := range ps {
		ps[i].Buf = make([]byte, bufferSize)
	}
	failures := 0
	for {
		n, err := c.Read(ps)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			// An interface that goes away makes a read fail once; a socket
			// that is broken fails every time.
			if failures++; failures > 100 {
				return fmt.Errorf("read DHCP packets: %w", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		failures = 0
		for i := range n {
			p := &ps[i]
			s.Stats.Received.Add(1)
			r, err := s.parse(p.Buf[:p.N], p.Meta)
			if err != nil {
				s.Stats.Malformed.Add(1)
				s.log.Debug("packet dropped", "from", p.Meta.Source, "interface", p.Meta.Interface, "err", err)
				continue
			}
			if !s.take(r) {
				s.Stats.Dropped.Add(1)
				continue
			}
			s.recordRequest(r, p.Buf[:p.N])
			switch {
			case r.commits():
				r.own()
				work.hand(ctx, r)
			default:
				work.answer(ctx, r)
			}
		}
	}
}

// own keeps, of the options that lie in the reader's buffer, copies of those that
// the reply will need.
func (r *request) own() {
	old := r.msg
	r.msg.options, r.msg.at = nil, [256]uint8{}
	for _, code := range []byte{optRelayInfo, optClientID, optMachineID, optMaxSize} {
		if old.has(code) {
			r.msg.set(code, bytes.Clone(old.get(code)))
		}
	}
}

// commits reports a request that may wait for the disk.
func (r *request) commits() bool { return r.in.Step != boot.Discover || r.in.Want.Rapid }

// parse shields the read loop from a codec that panics.
func (s *Server) parse(b []byte, m Meta) (r *request, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Stats.Panics.Add(1)
			err = fmt.Errorf("%w: codec panicked: %v", ErrMalformed, p)
		}
	}()
	return parse4(b, m)
}

// take finds a slot: at most half of them for REQUESTs, and at most a quarter
// for one interface while it is crowded and others ask too. A DISCOVER is
// refused while half of the REQUEST slots wait for the disk: an offer that
// nobody could confirm is work for nothing.
func (s *Server) take(r *request) bool {
	commits := r.commits()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.own) > 0 && s.own[r.in.ID.MAC] {
		return false
	}
	l := s.byLink[r.meta.Index]
	if l == nil {
		l = new(load)
		s.byLink[r.meta.Index] = l
	}
	// An interface that is not the only one leaves room for the others, and
	// sheds its own DISCOVERs by its own REQUESTs.
	share := requestSlots
	if len(s.byLink) > 1 {
		share = requestSlots * 3 / 4
	}
	switch {
	case s.inFlight >= slots,
		commits && (s.requests >= requestSlots || l.requests >= share),
		!commits && l.requests >= requestSlots/2,
		s.inFlight >= crowded && len(s.byLink) > 1 && l.all >= linkSlots:
		return false
	}
	s.count(l, commits, 1)
	return true
}

func (s *Server) release(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(s.byLink[r.meta.Index], r.commits(), -1)
}

func (s *Server) count(l *load, commits bool, n int) {
	s.inFlight += n
	l.all += n
	if commits {
		s.requests += n
		l.requests += n
	}
}

// answer asks and replies. Where the reply must wait (a Raspberry Pi's ROM takes
// none that is quick) it returns what is left to do.
func (s *Server) answer(ctx context.Context, c Conn, r *request) (later func()) {
	defer func() {
		if p := recover(); p != nil {
			s.Stats.Panics.Add(1)
			s.log.Error("packet handling panicked", "mac", r.in.ID.MAC, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	d, err := s.ask.Next(ctx, r.in)
	if err != nil {
		return nil // the engine logged it; silence is right: the client asks again
	}
	reply := build4(r, d)
	if reply == nil {
		return nil
	}
	to := dest4(r, d)
	if d.Delay > 0 && r.in.Step == boot.Discover {
		if s.delayed.Add(1) <= maxDelayed {
			return func() {
				defer s.delayed.Add(-1)
				select {
				case <-ctx.Done():
				case <-time.After(d.Delay):
					s.send(c, r, reply, to)
				}
			}
		}
		s.delayed.Add(-1)
	}
	s.send(c, r, reply, to)
	return nil
}

func (s *Server) send(c Conn, r *request, reply []byte, to Dest) {
	if err := c.Send(reply, to, r.meta); err != nil {
		s.Stats.SendErrors.Add(1)
		s.log.Warn("reply was not sent", "mac", r.in.ID.MAC, "to", to.Addr, "how", to.How, "interface", r.meta.Interface, "err", err)
		return
	}
	s.Stats.Answered.Add(1)
	if s.Record != nil {
		s.Record.Packet(boot.Packet{MAC: r.in.ID.MAC, From: netip.AddrPortFrom(to.From, r.meta.port()), To: to.Addr, Data: reply})
	}
}

// recordRequest has a packet kept. Whether it was sent to everybody the socket
// tells only by not telling an address of ours.
func (s *Server) recordRequest(r *request, b []byte) {
	if s.Record == nil {
		return
	}
	to := everybody.Addr()
	if r.meta.Local.IsValid() {
		to = r.meta.Local
	}
	s.Record.Packet(boot.Packet{MAC: r.in.ID.MAC, From: r.meta.Source, To: netip.AddrPortFrom(to, r.meta.port()), Data: b, Link: &r.in.Link})
}

// port is ours.
func (m Meta) port() uint16 {
	if m.Proxy {
		return proxyPort
	}
	return serverPort
}

var errNoAddress = errors.New("interface has no address to send from")
