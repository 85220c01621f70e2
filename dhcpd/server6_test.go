// server6_test.go: the DHCPv6 server over channel-backed connections, in fake
// time; and whole, with the engine behind it, for whatever comes off the wire.

package dhcpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

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

// networks6 are those of the whole server: one on its own link, with DNS servers that
// nearly fill a reply, and one behind a relay.
var networks6 = []boot.Network{
	{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: netip.MustParseAddr("fd77::1"), Subnet: netip.MustParsePrefix("fd77::/64"), Lease: time.Hour,
		Ranges: []boot.Range{{From: netip.MustParseAddr("fd77::1000"), To: netip.MustParseAddr("fd77::100f")}}, UnknownShare: 50, NewLeases: 100, RapidCommit: true,
		DNS: slices.Repeat([]netip.Addr{netip.MustParseAddr("fd77::53")}, 70), Domain: "lab.example", Delegated: netip.MustParsePrefix("fd78::/48"), DelegatedLen: 56},
	{Name: "far", Interface: "eth1", Mode: boot.Full, Server: netip.MustParseAddr("fd77::1"), Subnet: netip.MustParsePrefix("fd55::/64"), Lease: time.Hour,
		Ranges: []boot.Range{{From: netip.MustParseAddr("fd55::1000"), To: netip.MustParseAddr("fd55::100f")}}, Relays: []netip.Addr{relay6.Source.Addr()}},
}

// outbox is a Conn that keeps what is sent.
type outbox struct{ sent [][]byte }

func (*outbox) Read([]Packet) (int, error)            { return 0, net.ErrClosed }
func (o *outbox) Send(b []byte, _ Dest, _ Meta) error { o.sent = append(o.sent, b); return nil }
func (*outbox) Close() error                          { return nil }

// mute6 reports a message that no server may answer (RFC 8415 16), read by itself: an
// identifier counts if it has the length of one.
func mute6(b []byte, unicast bool) bool {
	find := func(b []byte, code uint16, least, most int) []byte {
		for len(b) >= 4 {
			n := int(binary.BigEndian.Uint16(b[2:]))
			if n > len(b)-4 {
				break
			}
			if binary.BigEndian.Uint16(b) == code && n >= least && n <= most {
				return b[4 : 4+n]
			}
			b = b[4+n:]
		}
		return nil
	}
	for len(b) >= 34 && b[0] == 12 {
		b, unicast = find(b[34:], 9, 0, 1<<16), false
	}
	if len(b) < 4 {
		return true
	}
	client, server := find(b[4:], 1, 3, 130), find(b[4:], 2, 3, 130)
	switch b[0] {
	case 1, 4, 6: // Solicit, Confirm, Rebind
		return client == nil || server != nil || unicast
	case 3, 5, 8, 9: // Request, Renew, Release, Decline
		return client == nil || !bytes.Equal(server, duid6)
	case 11: // Information-request
		for _, ia := range []uint16{3, 4, 25} {
			if find(b[4:], ia, 0, 1<<16) != nil {
				return true
			}
		}
		return server != nil && !bytes.Equal(server, duid6) || unicast
	}
	return true
}

// given6 checks that what a reply gives is ours to give.
func given6(reply []byte) error {
	m, err := dhcpv6.FromBytes(reply)
	if err != nil {
		return err
	}
	inner, err := m.GetInnerMessage()
	if err != nil {
		return err
	}
	for _, ia := range inner.Options.IANA() {
		for _, x := range ia.Options.Addresses() {
			a, _ := netip.AddrFromSlice(x.IPv6Addr)
			if x.ValidLifetime > 0 && !networks6[0].InRange(a) && !networks6[1].InRange(a) {
				return fmt.Errorf("%s is given", a)
			}
		}
	}
	for _, ia := range inner.Options.IAPD() {
		for _, x := range ia.Options.Prefixes() {
			if x.ValidLifetime == 0 {
				continue // of any length, as it was asked for
			}
			if x.Prefix == nil {
				return errors.New("all of IPv6 is given")
			}
			a, _ := netip.AddrFromSlice(x.Prefix.IP)
			if n, _ := x.Prefix.Mask.Size(); n != networks6[0].DelegatedLen || !networks6[0].Delegated.Contains(a) {
				return fmt.Errorf("%s is given", x.Prefix)
			}
		}
	}
	return nil
}

// FuzzServer6: three datagrams go through the whole server as from the wire, and each
// finds what the ones before it left. Nothing panics, what must be discarded is, and
// what leaves is well formed, of bounded size and ours to give.
func FuzzServer6(f *testing.F) {
	direct := meta6
	direct.Local, direct.Source = networks6[0].Server, netip.MustParseAddrPort("[fd77::50]:546")
	metas := []Meta{meta6, relay6, direct}
	seeds := captured6(f)
	for i := range seeds[2:] {
		f.Add(seeds[i], seeds[i+1], seeds[i+2], byte(0), i%2 == 0)
	}
	ia, pd := "00000001 00000000 00000000", "00000002 00000000 00000000"
	solicit := message(typeSolicit, 1, client6, 3, ia, 25, pd, 61, "0007")
	request := message(typeRequest6, 1, client6, 2, duid6, 3, ia, 25, pd, 61, "0007")
	renew := message(typeRenew, 1, client6, 2, duid6, 3, ia, 25, pd)
	decline := message(typeDecline6, 1, client6, 2, duid6, 3, ia+"0005 0018 fd770000000000000000000000001000 00000e10 00001c20")
	far := func(b []byte) []byte { return relayed(0, "fd55::1", "fe80::1", b, 18, []byte("e1"), 135, "0000") }
	f.Add(solicit, request, renew, byte(0), true)
	f.Add(message(typeSolicit, 1, client6, 14, "", 3, ia), message(typeRebind, 1, client6, 3, ia), decline, byte(0), false)
	f.Add(far(solicit), far(request), far(far(message(typeInform6, 1, client6, 6, "0017 0020"))), byte(1), false)
	f.Add(request, renew, message(typeConfirm, 1, client6, 3, ia), byte(2), false)
	for _, b := range hostile() {
		f.Add(b, b, b, byte(0), false)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f.Fuzz(func(t *testing.T, first, second, third []byte, by byte, letIn bool) {
		e, done, err := newEngine(boot.Full, false)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if letIn { // and may have prefixes
			p := *e.Policy()
			p.Enroll.Policy = boot.EnrollAuto
			if err := e.SetPolicy(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		s, c := NewServer6(e, duid6, log), &outbox{}
		m := metas[int(by)%len(metas)]
		for _, b := range [][]byte{first, second, third} {
			m.At = m.At.Add(time.Second)
			c.sent = nil
			in := bytes.Clone(b)
			r, err := s.shielded(b, m)
			if err == nil && s.slot(r, false) {
				if later := s.answer(t.Context(), c, job[*request6]{r, b}); later != nil {
					t.Fatal("a reply that waits")
				}
				s.release(r)
			}
			if s.Stats.Panics.Load() != 0 || !bytes.Equal(in, b) {
				t.Fatalf("%d panics, %x became %x", s.Stats.Panics.Load(), in, b)
			}
			if len(c.sent) == 0 {
				continue
			}
			reply := c.sent[0]
			if len(c.sent) > 1 || mute6(b, m.Local.IsValid()) {
				t.Fatalf("%x is answered %d times", b, len(c.sent))
			}
			if err := strict6(r, reply, bytes.Contains(reply, []byte("tftp://"))); err != nil {
				t.Fatalf("%v\n%x", err, reply)
			}
			if len(reply) > len(b)+maxReply6 {
				t.Fatalf("%d bytes are answered with %d", len(b), len(reply))
			}
			// The library wants a DUID to be of its type's length; to a server it is
			// a value like any other (RFC 8415 11).
			if _, err := dhcpv6.DUIDFromBytes(r.clientID); err != nil && r.clientID != nil {
				continue
			}
			agree6(t, reply)
			if err := given6(reply); err != nil {
				t.Fatalf("%v\n%x", err, reply)
			}
		}
		if s.inFlight != 0 {
			t.Fatalf("%d slots are lost", s.inFlight)
		}
	})
}
