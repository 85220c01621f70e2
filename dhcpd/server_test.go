// server_test.go: the server over channel-backed connections, in fake time.

package dhcpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// pipe is a Conn of channels.
type pipe struct {
	in     chan []byte
	out    chan Dest
	broken chan struct{}
	once   sync.Once
	closed chan struct{}
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 5000), out: make(chan Dest, 5000), broken: make(chan struct{}), closed: make(chan struct{})}
}

func (p *pipe) Read(ps []Packet) (int, error) {
	select {
	case b := <-p.in:
		ps[0].N = copy(ps[0].Buf, b)
		ps[0].Meta = Meta{At: time.Now(), Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort("0.0.0.0:68")}
		return 1, nil
	case <-p.broken:
		return 0, errors.New("device is gone")
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *pipe) Send(_ []byte, to Dest, _ Meta) error { p.out <- to; return nil }
func (p *pipe) Close() error                         { p.once.Do(func() { close(p.closed) }); return nil }

// slow answers a DISCOVER at once and holds everything else until freed.
type slow struct{ free chan struct{} }

func (s slow) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	o := boot.Options{Server: server}
	if in.Step == boot.Discover {
		return boot.Decision{Reply: boot.Offer{Options: o}}, nil
	}
	select {
	case <-s.free:
		return boot.Decision{Reply: boot.Ack{Options: o}}, nil
	case <-ctx.Done():
		return boot.Decision{}, ctx.Err()
	}
}

func (slow) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error { return nil }

// TestDiscoverNeverWaitsForADisk: with REQUESTs stuck on the store, a DISCOVER
// is answered; a flood finds a bound and is counted; and a port that breaks
// ends by itself, whatever the other one does.
func TestDiscoverNeverWaitsForADisk(t *testing.T) {
	packets := captured(t)
	var discover, request []byte
	for _, b := range packets {
		r, err := parse4(b, Meta{At: at})
		if err != nil {
			continue
		}
		switch r.in.Step {
		case boot.Discover:
			discover = b
		case boot.Selecting:
			request = b
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ask := slow{free: make(chan struct{})}
		s := NewServer(ask, slog.New(slog.NewTextHandler(io.Discard, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		a, b := newPipe(), newPipe()
		ended := map[*pipe]chan error{a: make(chan error, 1), b: make(chan error, 1)}
		for p, e := range ended {
			go func() { e <- s.Serve(ctx, p) }()
		}
		for range 100 {
			a.in <- request
		}
		a.in <- discover
		synctest.Wait()
		if len(a.out) != 1 {
			t.Errorf("%d answers while 100 REQUESTs wait, want the one OFFER", len(a.out))
		}
		for range 2 * requestSlots {
			a.in <- request
		}
		synctest.Wait()
		if s.requests != requestSlots || s.Stats.Dropped.Load() != 100+requestSlots {
			t.Errorf("%d REQUESTs in hand, %d dropped", s.requests, s.Stats.Dropped.Load())
		}
		close(ask.free)
		synctest.Wait()
		if s.inFlight != 0 || s.requests != 0 {
			t.Errorf("%d slots are lost", s.inFlight)
		}
		close(a.broken)
		time.Sleep(10 * time.Second) // fake: the retries of a broken socket
		synctest.Wait()
		select {
		case err := <-ended[a]:
			if err == nil {
				t.Error("a broken port ended without an error")
			}
		default:
			t.Error("a broken port does not end while the other one lives")
		}
		cancel()
		if err := <-ended[b]; err != nil {
			t.Errorf("the other port: %v", err)
		}
	})
}
