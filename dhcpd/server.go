// server.go: the DHCPv4 server. What it shares with DHCPv6 is in front.go.

package dhcpd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/musterboot/muster/boot"
)

// Server answers DHCPv4.
type Server struct {
	front[*request]
	ask    boot.Decider
	probes map[boot.MAC]bool // our own MACs, to be left unanswered
}

// NewServer returns a server that asks ask.
func NewServer(ask boot.Decider, log *slog.Logger) *Server {
	s := &Server{ask: ask, probes: map[boot.MAC]bool{}}
	s.front = front[*request]{log: log, buffer: bufferSize, parse: parse4, reply: s.reply4, byLink: map[int]*load{},
		pass: func(r *request) bool { return len(s.probes) > 0 && s.probes[r.in.ID.MAC] }}
	return s
}

func (s *Server) reply4(ctx context.Context, r *request) outgoing {
	d, err := s.ask.Next(ctx, r.in)
	if err != nil {
		return outgoing{} // the engine has logged the error; the client gets no answer and asks again
	}
	a := outgoing{ours: d.Network != "", b: build4(r, d), meta: r.meta}
	if a.b == nil {
		return a
	}
	if a.to = dest4(r, d); r.in.Step == boot.Discover {
		a.delay = d.Delay
	}
	return a
}

// commits reports a request that may wait for the disk.
func (r *request) commits() bool { return r.in.Step != boot.Discover || r.in.Want.Rapid }

func (r *request) index() int { return r.meta.Index }

func (r *request) facts() *boot.Sighting { return &r.in }

// sentTo is the address that the request was sent to. The socket does not mark
// a broadcast: a packet was broadcast if the socket names no address of ours.
func (r *request) sentTo() netip.AddrPort {
	to, port := everybody.Addr(), uint16(serverPort)
	if r.meta.Local.IsValid() {
		to = r.meta.Local
	}
	if r.meta.Proxy {
		port = proxyPort
	}
	return netip.AddrPortFrom(to, port)
}

func (r *request) who() slog.Attr { return slog.Any("mac", r.in.ID.MAC) }

var errNoAddress = errors.New("interface has no address to send from")
