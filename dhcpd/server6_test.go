// server6_test.go: the DHCPv6 server over channel-backed connections, in fake
// time.

package dhcpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

// pipe6 is a pipe of one client.
type pipe6 struct{ *pipe }

func (p pipe6) Read(ps []Packet) (int, error) {
	n, err := p.pipe.Read(ps)
	for i := range n {
		ps[i].Meta = meta6
		ps[i].Meta.At = time.Now()
	}
	return n, err
}

// slow6 holds what is not a Solicit until freed, and panics for who is called so.
type slow6 struct{ free chan struct{} }

func (s slow6) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	if in.Want.Name == "panic" {
		panic("as asked")
	}
	if in.Step != boot.Solicit {
		select {
		case <-s.free:
		case <-ctx.Done():
			return boot.Decision{}, ctx.Err()
		}
	}
	return fixed6(in)
}

func (slow6) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error { return nil }

// TestSolicitNeverWaitsForADisk: a Solicit is answered while Requests are stuck
// on the store. A flood reaches a bound, refused messages are counted by
// reason, and a panic costs one packet.
func TestSolicitNeverWaitsForADisk(t *testing.T) {
	solicit := message(typeSolicit, 1, client6)
	request := message(typeRequest6, 1, client6, 2, duid6)
	synctest.Test(t, func(t *testing.T) {
		ask := slow6{free: make(chan struct{})}
		s := NewServer6(ask, duid6, slog.New(slog.NewTextHandler(io.Discard, nil)))
		s.Admitted = func(boot.MAC) bool { return true } // they may have all slots
		rec := &recorder{}
		s.Record = rec
		ctx, cancel := context.WithCancel(t.Context())
		p := pipe6{newPipe()}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, p) }()
		for range 100 {
			p.in <- request
		}
		p.in <- solicit
		synctest.Wait()
		if len(p.out) != 1 {
			t.Fatalf("%d answers while 100 Requests wait, want the one Advertise", len(p.out))
		}
		if to := <-p.out; to.Addr.String() != "[fe80::5054:ff:feaa:bb02%eth0]:546" {
			t.Errorf("to %v", to.Addr)
		}
		var asked, answered bool
		for _, p := range rec.all {
			asked = asked || bytes.Equal(p.Data, solicit) && p.From == meta6.Source && p.To.String() == "[ff02::1:2]:547"
			answered = answered || len(p.Data) > 0 && p.Data[0] == typeAdvertise && p.From.String() == "[::]:547" && p.To.Port() == 546 && p.MAC.String() == "52:54:00:aa:bb:01"
		}
		if !asked || !answered || len(rec.all) != 2 {
			t.Errorf("%d recorded, the Solicit %v, the Advertise %v", len(rec.all), asked, answered)
		}
		for range requestSlots {
			p.in <- request
		}
		synctest.Wait()
		if s.requests != requestSlots || s.Stats.Dropped.Load() != 100 {
			t.Errorf("%d Requests in hand, %d dropped", s.requests, s.Stats.Dropped.Load())
		}
		// A Solicit with Rapid Commit waits like a Request.
		p.in <- message(typeSolicit, 1, client6, 14, "")
		synctest.Wait()
		if s.Stats.Dropped.Load() != 101 {
			t.Error("a rapid Solicit was taken past the bound")
		}
		close(ask.free)
		synctest.Wait()
		if len(p.out) != requestSlots || s.inFlight != 0 || s.requests != 0 {
			t.Errorf("%d answers, %d slots lost", len(p.out), s.inFlight)
		}
		before := s.Stats.Answered.Load()
		p.in <- message(typeSolicit, 1, client6, 39, append([]byte{0, 5}, "panic"...))
		p.in <- message(typeSolicit, 1, client6, 61, "07", 16, "00")
		p.in <- message(typeSolicit)
		p.in <- []byte{1}
		p.in <- message(typeRequest6, 1, client6)
		synctest.Wait()
		if n := s.Stats.Answered.Load() - before; n != 1 || s.Stats.Panics.Load() != 1 || s.Skipped.Load() != 2 || s.Stats.Malformed.Load() != 3 || s.inFlight != 0 {
			t.Errorf("%d answered, %d panics, %d options skipped, %d refused, %d in flight", n, s.Stats.Panics.Load(), s.Skipped.Load(), s.Stats.Malformed.Load(), s.inFlight)
		}
		why := s.Refused()
		if why[ErrNoClientID.Error()] != 1 || why[ErrMalformed.Error()] != 1 || why[ErrNoServerID.Error()] != 1 || why[ErrHops.Error()] != 0 || len(why) != len(reasons6) {
			t.Errorf("%v", why)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestQuery6: the messages that explain makes up are those that the machine
// would send.
func TestQuery6(t *testing.T) {
	mac := boot.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	uuid, _ := boot.ParseUUID("11223344-5566-7788-99aa-bbccddeeff00")
	// But for the transaction, as OVMF was captured to send it.
	ovmf := raw6("01f6afbb000100120004443322116655887799aabbccddeeff000008000200000003000cfe81fffbffffffffffffffff00060008003b003c00170010003e0003010300003d0002000700100026000001570020505845436c69656e743a417263683a30303030373a554e44493a303033303030")
	q := Query6{MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient:Arch:00007:UNDI:003000", IAID: 0xfe81fffb}
	if got := q.Packet(); !bytes.Equal(got[4:], ovmf[4:]) {
		t.Errorf("%x\nOVMF sends\n%x", got, ovmf)
	}
	for name, q := range map[string]Query6{
		"pxe":     {MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient:Arch:00007:UNDI:003000", IAID: 5},
		"http":    {MAC: mac, UUID: uuid, Arch: 16, VendorClass: "HTTPClient:Arch:00016:UNDI:003000", IAID: 5},
		"ipxe":    {MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient:Arch:00007:UNDI:003000", UserClass: "iPXE", IAID: 5},
		"system":  {MAC: mac, Arch: boot.ArchNone, IAID: 5},
		"request": {MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient", IAID: 5, Server: duid6, Addr: netip.MustParseAddr("fd77::9")},
		"inform":  {MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient", UserClass: "iPXE", Inform: true},
		"relayed": {MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient", IAID: 5, Link: netip.MustParseAddr("fd55::1"), Port: "leaf3:Ethernet12"},
	} {
		b := q.Packet()
		agree6(t, b)
		m := Meta{At: at, Interface: "eth0", Source: q.Source()}
		if q.Link.IsValid() {
			m = relay6
		}
		r, err := read6(b, m, duid6)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		in := r.in
		if in.ID.MAC != q.MAC || in.ID.UUID != q.UUID || in.Firmware.Arch != q.Arch || in.Firmware.VendorClass != q.VendorClass || in.Firmware.UserClass != q.UserClass ||
			in.Firmware.IPXE != (q.UserClass == "iPXE") || in.Link.Subnet != q.Link || in.Link.Port != q.Port || r.skipped != 0 {
			t.Errorf("%s: %+v", name, in)
		}
		if q.Inform != (in.Step == boot.Inform) || (q.Server != nil) != (in.Step == boot.Request6) || q.Inform != (len(in.Want.IAs) == 0) {
			t.Errorf("%s: step %s, %+v", name, in.Step, in.Want)
		}
		if q.Addr.IsValid() && in.Want.IAs[0].Has[0].Addr() != q.Addr {
			t.Errorf("%s: %+v", name, in.Want.IAs)
		}
	}
}
