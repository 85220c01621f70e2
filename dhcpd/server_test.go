// server_test.go: the server over channel-backed connections, in fake time.

package dhcpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
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
	sent   func([]byte)
	link   string
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 5000), out: make(chan Dest, 5000), broken: make(chan struct{}), closed: make(chan struct{}), link: "eth0"}
}

func (p *pipe) Read(ps []Packet) (int, error) {
	select {
	case b := <-p.in:
		ps[0].N = copy(ps[0].Buf, b)
		ps[0].Meta = Meta{At: time.Now(), Interface: p.link, Index: 2, Source: netip.MustParseAddrPort("0.0.0.0:68")}
		return 1, nil
	case <-p.broken:
		return 0, errors.New("device is gone")
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *pipe) Send(b []byte, to Dest, _ Meta) error {
	if p.sent != nil {
		p.sent(b)
	}
	p.out <- to
	return nil
}
func (p *pipe) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// slow answers a DISCOVER at once and holds everything else until freed.
type slow struct{ free chan struct{} }

func (s slow) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	o := boot.Options{Server: server, Source: server}
	if in.Step == boot.Discover {
		return boot.Decision{Network: in.Link.Interface, Reply: boot.Answer4{Type: boot.Offer, Options: o}}, nil
	}
	select {
	case <-s.free:
		return boot.Decision{Network: in.Link.Interface, Reply: boot.Answer4{Type: boot.Ack, Boot: &boot.BootInfo{Class: boot.PXE, File: "x"}, Options: o}}, nil
	case <-ctx.Done():
		return boot.Decision{}, ctx.Err()
	}
}

func (slow) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error { return nil }

// TestDiscoverNeverWaitsForADisk: a DISCOVER is answered while REQUESTs are
// stuck on the store. A flood reaches a bound and is counted. A broken port
// ends by itself and does not affect the other one.
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
		s.Admitted = func(boot.MAC) bool { return true } // they may have all slots
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

// TestPacketGoesWithItsRequest: a request that waits for the disk keeps its
// packet, however many packets came in since.
func TestPacketGoesWithItsRequest(t *testing.T) {
	var request []byte
	guid := -1
	for _, b := range captured(t) {
		if r, err := parse4(b, Meta{At: at}); err == nil && r.in.Step == boot.Selecting {
			if guid = bytes.Index(b, []byte{optMachineID, 17, 0}); guid > 0 {
				request = b
				break
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ask := slow{free: make(chan struct{})}
		s := NewServer(ask, slog.New(slog.NewTextHandler(io.Discard, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		p := newPipe()
		var mu sync.Mutex
		seen := map[byte]bool{}
		p.sent = func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			if i := bytes.Index(b, []byte{optMachineID, 17, 0}); i > 0 {
				seen[b[i+18]] = true
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, p) }()
		const many = 200
		for i := range many {
			b := bytes.Clone(request)
			b[guid+18] = byte(i)
			p.in <- b
		}
		synctest.Wait()
		close(ask.free)
		synctest.Wait()
		if len(seen) != many {
			t.Errorf("%d of %d machines got their own identifier back", len(seen), many)
		}
		cancel()
		<-ended
	})
}

// recorder keeps what it is told.
type recorder struct {
	mu  sync.Mutex
	all []boot.Packet
}

func (r *recorder) Packet(p boot.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Data = bytes.Clone(p.Data)
	r.all = append(r.all, p)
}

// TestRecorded: every packet that is answered is recorded byte for byte, and its
// reply after it.
func TestRecorded(t *testing.T) {
	var requests [][]byte
	for _, b := range captured(t) {
		if r, err := parse4(b, Meta{At: at}); err == nil && (r.in.Step == boot.Discover || r.in.Step == boot.Selecting) && !r.in.Link.Relay.IsValid() {
			requests = append(requests, b)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		close(free)
		s := NewServer(slow{free: free}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		rec := &recorder{}
		s.Record = rec
		ctx, cancel := context.WithCancel(t.Context())
		p := newPipe()
		var sent []byte
		p.sent = func(b []byte) { sent = bytes.Clone(b) }
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, p) }()
		for _, b := range requests {
			p.in <- b
			synctest.Wait()
			if len(rec.all) != 2 {
				t.Fatalf("%d packets are recorded, want a request and a reply", len(rec.all))
			}
			q, a := rec.all[0], rec.all[1]
			mac := boot.MAC(b[28:34])
			if !bytes.Equal(q.Data, b) || q.From.String() != "0.0.0.0:68" || q.To.String() != "255.255.255.255:67" || q.MAC != mac {
				t.Errorf("request of %s: %s %s > %s, %d bytes of %d", mac, q.MAC, q.From, q.To, len(q.Data), len(b))
			}
			if !bytes.Equal(a.Data, sent) || a.From != netip.AddrPortFrom(server, 67) || a.To.Port() != 68 || a.MAC != mac {
				t.Errorf("reply to %s: %s %s > %s, %d bytes of %d", mac, a.MAC, a.From, a.To, len(a.Data), len(sent))
			}
			rec.all = nil
		}
		p.in <- []byte("noise")
		synctest.Wait()
		if len(rec.all) != 0 {
			t.Error("what was dropped is recorded")
		}
		p.link = "" // no network is there
		p.in <- requests[0]
		synctest.Wait()
		if len(rec.all) != 1 {
			t.Errorf("%d packets of another network are recorded, want the reply that this test makes to it alone", len(rec.all))
		}
		cancel()
		<-ended
	})
	if len(requests) < 4 {
		t.Errorf("only %d requests", len(requests))
	}
}

// TestInfiniBand: who is not on Ethernet is counted apart and named once an hour, however
// often it asks.
func TestInfiniBand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		s := NewServer(nil, slog.New(slog.NewTextHandler(&said, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		p := newPipe()
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, p) }()
		b := client4(typeDiscover)
		b[1], b[2] = 32, 0 // RFC 4390: no address in chaddr
		for range 3 {
			p.in <- b
		}
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		p.in <- b
		synctest.Wait()
		if s.Stats.Hardware.Load() != 4 || s.Stats.Malformed.Load() != 0 || strings.Count(said.String(), `hardware="32, InfiniBand"`) != 2 {
			t.Errorf("%d of other hardware, %d malformed\n%s", s.Stats.Hardware.Load(), s.Stats.Malformed.Load(), said.String())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
