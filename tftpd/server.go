// server.go: the listening socket, and the limits on who may have a transfer.

package tftpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// Limits.
const (
	MaxTransfers = 2048
	perClient    = 64 // transfers of one address
	maxWindow    = 16 // 64-block windows overran the rings of small NICs
	maxRequest   = 1500
	askTimeout   = 5 * time.Second
)

// Server serves reads.
type Server struct {
	ask     boot.Decider
	content boot.Content
	log     *slog.Logger

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session
	byClient map[netip.Addr]int
	wg       sync.WaitGroup

	Stats Stats
}

// Stats counts requests and how they ended; all of it only grows.
type Stats struct {
	Requests, Malformed, Dropped, Repeated, Refused, Complete, Probes, Short, TimedOut, Bytes atomic.Uint64
}

// NewServer returns a server that asks ask and opens through content.
func NewServer(ask boot.Decider, content boot.Content, log *slog.Logger) *Server {
	return &Server{ask: ask, content: content, log: log, sessions: map[netip.AddrPort]*session{}, byClient: map[netip.Addr]int{}}
}

// Listen opens the TFTP port.
func Listen(ctx context.Context, addr string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
		})
	}}
	c, err := lc.ListenPacket(ctx, "udp4", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// Serve answers requests from c until ctx ends, then ends every transfer.
func (s *Server) Serve(ctx context.Context, c *net.UDPConn) error {
	pc := ipv4.NewPacketConn(c)
	// The reply must leave from the address that was asked (wire: aliases).
	if err := pc.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		return fmt.Errorf("ask for packet information: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer s.wg.Wait()
	buf := make([]byte, maxRequest)
	failures := 0
	for {
		n, cm, src, err := pc.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if failures++; failures > 100 {
				return fmt.Errorf("read TFTP requests: %w", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		failures = 0
		ua, ok := src.(*net.UDPAddr)
		if !ok || cm == nil {
			continue
		}
		from := netip.AddrPortFrom(ua.AddrPort().Addr().Unmap(), ua.AddrPort().Port())
		local, ok := netip.AddrFromSlice(cm.Dst.To4())
		if !ok || local.IsMulticast() || local == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			continue // a request to everybody is meant for nobody
		}
		s.Stats.Requests.Add(1)
		s.request(ctx, append([]byte(nil), buf[:n]...), from, local, cm.IfIndex, pc)
	}
}

// request checks the limits and starts a session.
func (s *Server) request(ctx context.Context, b []byte, from netip.AddrPort, local netip.Addr, index int, pc *ipv4.PacketConn) {
	say := func(code uint16, text string) {
		_, _ = pc.WriteTo(errorPacket(code, text), &ipv4.ControlMessage{Src: local.AsSlice()}, net.UDPAddrFromAddrPort(from))
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
		return // not worth an answer, and never one to a reflected packet
	}
	s.mu.Lock()
	if old := s.sessions[from]; old != nil {
		if old.read == r && (!old.moved.Load() || time.Since(old.born) < time.Second) {
			// The client did not see our first packet, or the network doubled
			// its request: the running session says it again.
			s.mu.Unlock()
			s.Stats.Repeated.Add(1)
			old.again()
			return
		}
		// It was reset, or asks for something else: ROMs use one source port
		// for everything.
		old.cancel()
		s.drop(old)
	}
	if len(s.sessions) >= MaxTransfers || s.byClient[from.Addr()] >= perClient {
		s.mu.Unlock()
		s.Stats.Dropped.Add(1)
		return // it asks again, and by then there is room
	}
	sctx, cancel := context.WithCancel(ctx)
	ses := &session{server: s, read: r, from: from, local: local, index: index, kick: make(chan struct{}, 1), cancel: cancel, born: time.Now()}
	s.sessions[from] = ses
	s.byClient[from.Addr()]++
	s.mu.Unlock()
	s.wg.Go(func() {
		defer s.forget(ses)
		defer cancel()
		ses.run(sctx)
	})
}

func (s *Server) forget(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(ses)
}

// drop takes a session off the books, once; the lock is held.
func (s *Server) drop(ses *session) {
	if s.sessions[ses.from] != ses {
		return
	}
	delete(s.sessions, ses.from)
	if s.byClient[ses.from.Addr()]--; s.byClient[ses.from.Addr()] <= 0 {
		delete(s.byClient, ses.from.Addr())
	}
}
