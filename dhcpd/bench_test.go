package dhcpd

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/capture"
	"github.com/musterboot/muster/store/mem"
)

// BenchmarkExchange is DISCOVER, OFFER, REQUEST, ACK of a machine nobody knows,
// without sockets and without a disk: what an exchange costs the processor.
func BenchmarkExchange(b *testing.B) {
	b.Run("bare", func(b *testing.B) { exchange(b, nil) })
	b.Run("recorded", func(b *testing.B) {
		exchange(b, capture.New(time.Now))
	})
}

func exchange(b *testing.B, rec boot.Recorder) {
	s, err := mem.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer e.Close()
	n := boot.Network{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: netip.MustParseAddr("10.64.0.1"), Subnet: netip.MustParsePrefix("10.64.0.0/11"), Lease: time.Hour,
		Ranges: []boot.Range{{From: netip.MustParseAddr("10.64.1.0"), To: netip.MustParseAddr("10.79.0.0")}}}
	if err := e.SetPolicy(context.Background(), boot.Policy{Networks: []boot.Network{n}}); err != nil {
		b.Fatal(err)
	}
	meta := Meta{At: time.Now(), Interface: "eth0", Index: 1}
	srv := NewServer(e, nil)
	srv.Record = rec
	ask := func(q Query) boot.Decision {
		p := q.Packet()
		r, err := parse4(p, meta)
		if err != nil {
			b.Fatal(err)
		}
		srv.recordRequest(r, p)
		d, err := e.Next(context.Background(), r.in)
		if err != nil {
			b.Fatal(err)
		}
		reply := build4(r, d)
		if reply == nil {
			b.Fatalf("no reply: %s", d.Why.String())
		}
		srv.send(nowhere{}, r, outgoing{b: reply, to: dest4(r, d), meta: meta})
		return d
	}
	b.ReportAllocs()
	var i uint32
	for b.Loop() {
		i++
		q := Query{MAC: boot.MAC{0x52, 0x54}, Arch: boot.ArchNone}
		binary.BigEndian.PutUint32(q.MAC[2:], i%900_000)
		d := ask(q)
		q.Addr, q.Server = d.Reply.(boot.Answer4).Grant.Addr, n.Server
		ask(q)
	}
}

// nowhere is a Conn that takes replies.
type nowhere struct{}

func (nowhere) Read([]Packet) (int, error)    { return 0, nil }
func (nowhere) Send([]byte, Dest, Meta) error { return nil }
func (nowhere) Close() error                  { return nil }
