// server.go: the listening sockets, and the limits on who may have a transfer.

package tftpd

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
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
	MaxTransfers = 2048
	perClient    = 64 // transfers of one address
	crowded      = MaxTransfers / 2
	perCrowded   = 8  // of one address, while more than crowded transfers run
	maxWindow    = 16 // 64-block windows overran the rings of small NICs
	maxRequest   = 1500
	maxLoops     = 4
	askTimeout   = 5 * time.Second
)

// PortRange is the local ports of transfers, for firewalls; zero is any.
type PortRange struct{ From, To uint16 }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.From, r.To) }

// Server serves reads.
type Server struct {
	// SinglePort answers from the port that the request came to. It is for
	// clients behind NAT, and firewalls that do not track TFTP. Set it before
	// Serve.
	SinglePort bool
	// Ports are the local ports of transfers. Set before Serve.
	Ports PortRange
	// Admitted, if not nil, reports the address of a machine that may boot: it finds room
	// before strangers. Set it before Serve.
	Admitted func(netip.Addr) bool
	// Record, if not nil, sees the packets that show how a transfer went,
	// without the blocks between the first and the last. Set it before Serve.
	Record boot.Recorder

	ask     boot.Fetcher
	content boot.Content
	log     *slog.Logger
	history history

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session
	byAge    *list.List // of sessions, the oldest first
	byClient map[netip.Addr]int
	loops    []*loop
	serving  int // running Serves that use the loops

	Stats Stats
}

// Stats counts requests and how they ended; all of it only grows.
type Stats struct {
	Requests, Malformed, Dropped, GaveWay, Repeated, Refused, NoSocket, Complete, Probes, Short, TimedOut, Bytes atomic.Uint64
}

// NewServer returns a server that asks ask and opens through content.
func NewServer(ask boot.Fetcher, content boot.Content, log *slog.Logger) *Server {
	return &Server{ask: ask, content: content, log: log, sessions: map[netip.AddrPort]*session{}, byAge: list.New(), byClient: map[netip.Addr]int{},
		history: history{of: map[netip.Addr]limits{}}}
}

// Listen opens the TFTP port with one socket for each family. A single socket
// for both would show IPv4 clients by IPv4-mapped addresses, and count the
// larger IPv6 header for their packets. A numeric addr names its family; "" and
// "::" mean both, as they do for HTTP.
func Listen(ctx context.Context, addr string) ([]*net.UDPConn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	networks := []string{"udp4"}
	switch ip, _ := netip.ParseAddr(host); {
	case host == "" || ip == netip.IPv6Unspecified():
		networks, addr = []string{"udp4", "udp6"}, net.JoinHostPort("", port)
	case ip.Unmap().Is6():
		networks = []string{"udp6"}
	}
	var cs []*net.UDPConn
	for _, n := range networks {
		c, err := listen(ctx, n, addr)
		if err != nil {
			if host == "" && n == "udp6" && errors.Is(err, unix.EAFNOSUPPORT) {
				continue // the kernel has no IPv6, and addr does not ask for it
			}
			for _, c := range cs {
				c.Close()
			}
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

func listen(ctx context.Context, network, addr string) (*net.UDPConn, error) {
	family := unix.AF_INET
	if network == "udp6" {
		family = unix.AF_INET6
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
			fragmentable(int(fd), family)
		})
	}}
	c, err := lc.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// start makes the loops that carry transfers, for the first Serve.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Half of the processors: the kernel's network path keeps the other half
	// busy. Fewer loops, each with more to do, are also woken less often.
	for s.serving == 0 && len(s.loops) < min((runtime.GOMAXPROCS(0)+1)/2, maxLoops) {
		l, err := newLoop(s.log)
		if err != nil {
			return err
		}
		s.loops = append(s.loops, l)
	}
	s.serving++
	return nil
}

// finish ends the loops when the last Serve ends and no transfer is left.
func (s *Server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving--; s.serving > 0 {
		return
	}
	for _, l := range s.loops {
		l.stop()
	}
	s.loops = nil
}

// idlest is the loop with the fewest transfers.
func (s *Server) idlest() *loop {
	best := s.loops[0]
	for _, l := range s.loops[1:] {
		if l.load.Load() < best.load.Load() {
			best = l
		}
	}
	return best
}

// port is a listening socket.
type port struct {
	fd   int
	conn *net.UDPConn
	v4   *ipv4.PacketConn
	v6   *ipv6.PacketConn
}

// newPort has the kernel report the address that a packet was sent to, because
// the reply must leave from it (an interface may have several).
func newPort(c *net.UDPConn) (*port, error) {
	p := &port{conn: c}
	a, _ := c.LocalAddr().(*net.UDPAddr)
	var err error
	if a.IP.To4() != nil {
		p.v4 = ipv4.NewPacketConn(c)
		err = p.v4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
	} else {
		p.v6 = ipv6.NewPacketConn(c)
		err = p.v6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true)
	}
	if err == nil {
		p.fd, err = descriptor(c)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for packet information: %w", err)
	}
	return p, nil
}

// receive reads one packet. Without a valid dst the packet is ignored.
func (p *port) receive(b []byte) (n int, from netip.AddrPort, dst netip.Addr, index int, err error) {
	var src net.Addr
	var to net.IP
	if p.v4 != nil {
		var cm *ipv4.ControlMessage
		if n, cm, src, err = p.v4.ReadFrom(b); cm != nil {
			to, index = cm.Dst.To4(), cm.IfIndex
		}
	} else {
		var cm *ipv6.ControlMessage
		if n, cm, src, err = p.v6.ReadFrom(b); cm != nil {
			to, index = cm.Dst, cm.IfIndex
		}
	}
	if a, ok := src.(*net.UDPAddr); ok {
		ap := a.AddrPort()
		from = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	dst, _ = netip.AddrFromSlice(to)
	if dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		dst = netip.Addr{} // a request sent to everybody gets no answer
	}
	return n, from, dst, index, err
}

// Serve answers requests from c until ctx ends, then ends every transfer. It
// may run once for each socket.
func (s *Server) Serve(ctx context.Context, c *net.UDPConn) error {
	p, err := newPort(c)
	if err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	defer s.finish()
	// Transfers in single-port mode use the listener's socket until they end.
	defer c.Close()
	var mine sync.WaitGroup
	defer mine.Wait()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxRequest)
	var patience socket.Patience
	for {
		n, from, local, index, err := p.receive(buf)
		if err != nil {
			if end, err := patience.Failed(ctx, "read TFTP requests", err); end {
				return err
			}
			continue
		}
		patience.Worked()
		if !local.IsValid() || !from.IsValid() {
			continue
		}
		if s.SinglePort && n >= 2 && buf[1] != opRRQ && buf[1] != opWRQ {
			s.mu.Lock()
			ses := s.sessions[from]
			s.mu.Unlock()
			if ses != nil {
				ses.packet(buf[:n])
			}
			continue
		}
		s.Stats.Requests.Add(1)
		s.request(ctx, &mine, p, append([]byte(nil), buf[:n]...), from, local, index)
	}
}

// request checks the limits and starts a session.
func (s *Server) request(ctx context.Context, mine *sync.WaitGroup, p *port, b []byte, from netip.AddrPort, local netip.Addr, index int) {
	say := func(code uint16, text string) {
		_, to := sockaddr(from, index)
		_ = unix.Sendmsg(p.fd, errorPacket(code, text), sendFrom(local, index), to, 0)
	}
	r, err := parseRead(b)
	switch {
	case errors.Is(err, errWrite):
		s.Stats.Refused.Add(1)
		say(codeAccess, err.Error())
		return
	case errors.Is(err, errMode):
		s.Stats.Malformed.Add(1)
		say(codeIllegal, err.Error())
		return
	case err != nil:
		s.Stats.Malformed.Add(1)
		return // no error is sent: the packet may be a reflected one
	}
	admitted := s.Admitted != nil && s.Admitted(from.Addr())
	s.mu.Lock()
	if old := s.sessions[from]; old != nil {
		if old.read == r && (!old.moved.Load() || time.Since(old.born) < time.Second) {
			// The client did not see our first packet, or the network doubled
			// its request. The running session repeats its first packet.
			s.mu.Unlock()
			s.Stats.Repeated.Add(1)
			old.again()
			return
		}
		// The machine was reset, or asks for something else: ROMs use one
		// source port for every request.
		old.past.Store(true)
		old.cancel()
		s.drop(old)
	}
	// The more transfers run, the fewer one address may have. So a client that
	// wants one file finds a slot beside a client that wants many.
	share := perClient
	if len(s.sessions) > crowded {
		share = perCrowded
	}
	// Anybody can use up the share of a machine, in its name. Others are sent no more than
	// their share, because it may be somebody else who asks.
	own := func(ses *session) bool { return ses.from.Addr() == from.Addr() && !ses.heard.Load() }
	if s.byClient[from.Addr()] >= share && !(admitted && s.giveWay(own)) || len(s.sessions) >= MaxTransfers && !s.makeRoom(admitted) {
		s.mu.Unlock()
		s.Stats.Dropped.Add(1)
		return // the client asks again, and may find a slot then
	}
	sctx, cancel := context.WithCancel(ctx)
	ses := &session{server: s, port: p, read: r, from: from, local: local, index: index, asked: b, cancel: cancel, born: time.Now(), admitted: admitted}
	s.sessions[from] = ses
	s.byClient[from.Addr()]++
	ses.place = s.byAge.PushBack(ses)
	s.mu.Unlock()
	mine.Go(func() {
		defer s.forget(ses)
		defer cancel()
		ses.run(sctx)
	})
}

func (s *Server) forget(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byAge.Remove(ses.place)
	s.drop(ses)
}

// makeRoom ends the oldest transfer of a stranger that nobody has acknowledged. Requests
// with made-up addresses take every slot otherwise, and are never heard of again; a
// machine answers within moments. For a machine that may boot, any transfer of a stranger
// is ended, and then the oldest one without an answer. The caller holds the lock.
func (s *Server) makeRoom(admitted bool) bool {
	strange := func(ses *session) bool { return !ses.admitted }
	unheard := func(ses *session) bool { return !ses.heard.Load() }
	return s.giveWay(func(ses *session) bool { return strange(ses) && unheard(ses) }) || admitted && (s.giveWay(strange) || s.giveWay(unheard))
}

// giveWay ends the oldest transfer of a kind. The caller holds the lock.
func (s *Server) giveWay(kind func(*session) bool) bool {
	for e := s.byAge.Front(); e != nil; e = e.Next() {
		ses := e.Value.(*session)
		if s.sessions[ses.from] == ses && kind(ses) {
			ses.way.Store(true)
			ses.cancel()
			s.drop(ses)
			s.Stats.GaveWay.Add(1)
			return true
		}
	}
	return false
}

// drop removes a session from the table, once; the caller holds the lock.
func (s *Server) drop(ses *session) {
	if s.sessions[ses.from] != ses {
		return
	}
	delete(s.sessions, ses.from)
	if s.byClient[ses.from.Addr()]--; s.byClient[ses.from.Addr()] <= 0 {
		delete(s.byClient, ses.from.Addr())
	}
}
