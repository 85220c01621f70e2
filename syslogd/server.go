// server.go: the sockets, and the limits on who may hold them.

package syslogd

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/socket"
)

// Limits.
const (
	maxConns  = 256
	perSource = 8
	firstLine = 30 * time.Second // a new connection must send a line within this time
	idle      = time.Hour        // the kernel's keepalive notices sooner that a sender is gone
	batch     = 32
	datagram  = 8192 // the kernel cuts off longer ones
	inARow    = 256  // lines that a connection may lose before its reader pauses
	askTime   = 5 * time.Second
)

// Server takes log lines.
type Server struct {
	// Now is the clock for lease times. Set it before serving.
	Now func() time.Time
	// Admitted, if not nil, reports the address of a machine that may boot: its connections
	// do not give way. Set it before serving.
	Admitted func(netip.Addr) bool

	ask  boot.Decider
	log  *slog.Logger
	gate *gate

	mu     sync.Mutex
	conns  map[netip.Addr]int
	open   int
	silent *list.List // connections of strangers that have brought no line of a known machine, the oldest first
	udp    *net.UDPConn

	Stats Stats
}

// Stats counts lines and what became of them; all of it only grows.
type Stats struct {
	Received, Kept, Strangers, TooFast, TooMany, Empty, Failed, Cut, Panics atomic.Uint64
	Connections, Refused, GaveWay                                           atomic.Uint64
}

// NewServer returns a server that asks ask.
func NewServer(ask boot.Decider, log *slog.Logger) *Server {
	return &Server{Now: time.Now, ask: ask, log: log, gate: newGate(), conns: map[netip.Addr]int{}, silent: list.New()}
}

// Sockets are the UDP and the TCP socket of one port.
type Sockets struct {
	UDP *net.UDPConn
	TCP net.Listener
}

// Listen opens a port for UDP and TCP, for both families unless addr names one.
// On an error, network is the one that failed.
func Listen(ctx context.Context, addr string) (s *Sockets, network string, err error) {
	lc := net.ListenConfig{Control: func(network, _ string, rc syscall.RawConn) error {
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if network == "udp6" {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // it tells of IPv4 too
		}
		var serr error
		if err := rc.Control(func(fd uintptr) {
			// The option is set before bind. A datagram that arrives before it
			// is set carries no interface, now or later.
			serr = unix.SetsockoptInt(int(fd), level, option, 1)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
		}); err != nil {
			return err
		}
		return serr
	}}
	u, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, "udp", err
	}
	t, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		u.Close()
		return nil, "tcp", err
	}
	return &Sockets{u.(*net.UDPConn), t}, "", nil
}

// Close closes both.
func (s *Sockets) Close() error { return errors.Join(s.UDP.Close(), s.TCP.Close()) }

// Serve takes lines until ctx ends or a socket fails.
func (s *Server) Serve(ctx context.Context, k *Sockets) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { k.Close() })
	defer stop()
	s.mu.Lock()
	s.udp = k.UDP
	s.mu.Unlock()
	errs := make(chan error, 2)
	go func() { errs <- s.datagrams(ctx, k.UDP) }()
	go func() { errs <- s.accept(ctx, k.TCP) }()
	err := <-errs
	cancel()
	return errors.Join(err, <-errs)
}

// Overflow counts datagrams that the kernel dropped because they were not read
// fast enough.
func (s *Server) Overflow() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.udp == nil {
		return 0
	}
	rc, err := s.udp.SyscallConn()
	if err != nil {
		return 0
	}
	// struct sk_meminfo: nine words, drops the last (linux/sock_diag.h).
	var info [9]uint32
	_ = rc.Control(func(fd uintptr) { _ = memInfo(int(fd), &info) })
	return uint64(info[8])
}

// datagrams is the only reader of UDP. While it is busy the socket's buffer
// fills; what does not fit is dropped and costs next to nothing.
func (s *Server) datagrams(ctx context.Context, c *net.UDPConn) error {
	p, v4 := batches(ipv6.NewPacketConn(c)), addrOf(c.LocalAddr()).Addr().Is4()
	if v4 {
		p = ipv4.NewPacketConn(c)
	}
	msgs := make([]ipv4.Message, batch)
	for i := range msgs {
		msgs[i].Buffers, msgs[i].OOB = [][]byte{make([]byte, datagram)}, ipv6.NewControlMessage(ipv6.FlagInterface|ipv6.FlagDst)
	}
	var names socket.Names
	var patience socket.Patience
	for {
		n, err := p.ReadBatch(msgs, 0)
		if err != nil {
			if end, err := patience.Failed(ctx, "read log lines", err); end {
				return err
			}
			continue
		}
		patience.Worked()
		crowd := false
		for i := range msgs[:n] {
			m := &msgs[i]
			from := addrOf(m.Addr)
			to, index := sentTo(m.OOB[:m.NN], v4)
			if !from.IsValid() {
				continue
			}
			if !to.IsValid() || to.IsMulticast() || to == everybody {
				s.Stats.Received.Add(1)
				s.Stats.Strangers.Add(1) // a line sent to everybody is dropped
				continue
			}
			crowd = s.line(ctx, m.Buffers[0][:m.N], 0, from, boot.Link{Interface: names.Of(index, time.Now()), Local: to}) == tooMany || crowd
		}
		if crowd {
			socket.Nap(ctx)
		}
	}
}

// batches is what ipv4.PacketConn and ipv6.PacketConn have in common.
type batches interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

// sentTo is where a datagram was sent to, and the interface that it came by.
func sentTo(oob []byte, v4 bool) (to netip.Addr, index int) {
	var dst net.IP
	if v4 {
		var cm ipv4.ControlMessage
		_ = cm.Parse(oob)
		dst, index = cm.Dst, cm.IfIndex
	} else {
		var cm ipv6.ControlMessage
		_ = cm.Parse(oob)
		dst, index = cm.Dst, cm.IfIndex
	}
	to, _ = netip.AddrFromSlice(dst)
	return to.Unmap(), index
}

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (s *Server) admitted(a netip.Addr) bool { return s.Admitted != nil && s.Admitted(a) }

// line passes one line on, if its sender may send one more.
func (s *Server) line(ctx context.Context, b []byte, cut int, from netip.AddrPort, link boot.Link) verdict {
	s.Stats.Received.Add(1)
	if len(bytes.TrimRight(b, blanks)) == 0 {
		s.Stats.Empty.Add(1)
		return nothing
	}
	now := time.Now()
	v := s.gate.ask(from.Addr(), now, s.admitted)
	switch v {
	case tooFast:
		s.Stats.TooFast.Add(1)
		return v
	case tooMany, noRoom:
		s.Stats.TooMany.Add(1)
		return v
	case noStation:
		s.Stats.Strangers.Add(1)
		return v
	}
	known, err := s.tell(ctx, b, cut, from, link)
	switch {
	case err != nil:
		s.Stats.Failed.Add(1)
		return pass
	case !known:
		s.Stats.Strangers.Add(1)
		v = noStation
	default:
		s.Stats.Kept.Add(1)
	}
	s.gate.known(from.Addr(), known, now)
	return v
}

// tell passes a line to the engine; known reports whether a machine could be
// found for it.
func (s *Server) tell(ctx context.Context, b []byte, cut int, from netip.AddrPort, link boot.Link) (known bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Stats.Panics.Add(1)
			s.log.Error("log line panicked", "from", from, "panic", p)
			err = errors.New("panic")
		}
	}()
	l := parse(b)
	l.Cut += cut
	if l.Cut > 0 {
		s.Stats.Cut.Add(1)
	}
	in := boot.Sighting{At: s.Now(), Via: boot.Syslog, Step: boot.LogLine, Proof: boot.ProofNone, Source: from, Link: link, Firmware: boot.Firmware{Arch: boot.ArchNone}, Line: &l}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	d, err := s.ask.Next(ctx, in)
	if err != nil {
		return false, err
	}
	_, known = d.Reply.(boot.Done)
	return known, nil
}

// accept takes connections while there is room.
func (s *Server) accept(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var patience socket.Patience
	for {
		c, err := l.Accept()
		if err != nil {
			if end, err := patience.Failed(ctx, "accept log connections", err); end {
				return err
			}
			continue
		}
		patience.Worked()
		from := addrOf(c.RemoteAddr())
		place := s.enter(from.Addr(), c)
		if place == nil {
			s.Stats.Refused.Add(1)
			c.Close()
			continue
		}
		s.Stats.Connections.Add(1)
		wg.Go(func() {
			defer s.leave(from.Addr(), place)
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.stream(ctx, c, from, place)
		})
	}
}

// enter finds a place for a connection; nil if there is none. When all are taken, the
// connection of a stranger gives way that has been longest without a line of a known
// machine: it costs a stranger nothing to open one and be silent.
func (s *Server) enter(a netip.Addr, c net.Conn) *list.Element {
	admitted := s.admitted(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[a] >= perSource {
		return nil
	}
	if s.open >= maxConns {
		e := s.silent.Front()
		if e == nil {
			return nil
		}
		s.silent.Remove(e)
		_ = e.Value.(net.Conn).Close() // its reader leaves
		s.Stats.GaveWay.Add(1)
	}
	s.open++
	s.conns[a]++
	place := s.silent.PushBack(c)
	if admitted {
		s.silent.Remove(place)
	}
	return place
}

// heard notes that a connection brought a line of a known machine.
func (s *Server) heard(place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent.Remove(place)
}

func (s *Server) leave(a netip.Addr, place *list.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent.Remove(place)
	s.open--
	if s.conns[a]--; s.conns[a] <= 0 {
		delete(s.conns, a)
	}
}

// Open is the number of open connections.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// stream reads one connection. A sender that is too fast loses lines but is
// never blocked: an installer whose logger blocks stops installing.
func (s *Server) stream(ctx context.Context, c net.Conn, from netip.AddrPort, place *list.Element) {
	f := newFrames(c)
	link := boot.Link{Local: addrOf(c.LocalAddr()).Addr()}
	lost := 0
	wait := firstLine
	for {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		b, cut, err := f.next()
		if err != nil {
			return
		}
		switch s.line(ctx, b, cut, from, link) {
		case pass:
			if wait == firstLine {
				s.heard(place)
			}
			lost, wait = 0, idle
		case noStation:
			return // makes room for a machine that is known
		default:
			lost++
		}
		if lost >= inARow {
			lost = 0
			socket.Nap(ctx)
		}
	}
}

func addrOf(a net.Addr) netip.AddrPort {
	t, ok := a.(interface{ AddrPort() netip.AddrPort }) // UDP's and TCP's
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
