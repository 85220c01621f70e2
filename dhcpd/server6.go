// server6.go: the DHCPv6 server. front.go holds what it shares with DHCPv4: the
// reader answers a Solicit itself, and workers answer every message that
// writes.

package dhcpd

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/musterboot/muster/boot"
)

// Server6 answers DHCPv6.
type Server6 struct {
	front[*request6]
	ask     boot.Decider
	duid    []byte
	refused map[error]*atomic.Uint64

	// Skipped counts options that made no sense in messages that were answered
	// without them.
	Skipped atomic.Uint64
}

// reasons6 are what a message is refused for.
var reasons6 = []error{ErrMalformed, ErrNotAsked, ErrType, ErrHops, ErrNoClientID, ErrNoServerID, ErrHasServerID, ErrHasIA, ErrUnicast}

// ServerDUID is the identifier of a server that is called by a UUID (RFC 6355).
func ServerDUID(u boot.UUID) []byte { return append([]byte{0, duidUUID}, u[:]...) }

// NewServer6 returns a server that asks ask. duid must stay the same for as
// long as there are leases, because a client renews with the server that it
// names.
func NewServer6(ask boot.Decider, duid []byte, log *slog.Logger) *Server6 {
	s := &Server6{ask: ask, duid: duid, refused: map[error]*atomic.Uint64{}}
	for _, e := range reasons6 {
		s.refused[e] = new(atomic.Uint64)
	}
	s.front = front[*request6]{log: log, buffer: maxPacket6, parse: s.parse, reply: s.reply6, byLink: map[int]*load{}}
	return s
}

// Refused says how many messages were refused, by reason. All of them are counted
// as malformed as well.
func (s *Server6) Refused() map[string]uint64 {
	out := map[string]uint64{}
	for e, n := range s.refused {
		out[e.Error()] = n.Load()
	}
	return out
}

func (s *Server6) parse(b []byte, m Meta) (*request6, error) {
	r, err := read6(b, m, s.duid)
	if err == nil {
		s.Skipped.Add(uint64(r.skipped))
		return r, nil
	}
	for _, e := range reasons6 {
		if errors.Is(err, e) {
			s.refused[e].Add(1)
			break
		}
	}
	return nil, err
}

func (s *Server6) reply6(ctx context.Context, r *request6) outgoing {
	d, err := r.decide(func(in boot.Sighting) (boot.Decision, error) { return s.ask.Next(ctx, in) })
	if err != nil {
		return outgoing{} // the engine has logged the error; the client gets no answer and asks again
	}
	return outgoing{ours: d.Network != "", b: build6(r, d, s.duid), to: dest6(r), meta: r.meta}
}
