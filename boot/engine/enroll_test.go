package engine_test

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
)

// newEngine is an engine over an empty store, with a policy.
func newEngine(t *testing.T, p boot.Policy) *engine.Engine {
	t.Helper()
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { e.Close(); s.Close() })
	if err := e.SetPolicy(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	return e
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// A link may bring a row of racks at once, and twenty new machines a second from
// then on; a burst that was used comes back at that rate and no further. Another
// link has its own.
func TestEnrolmentHasARate(t *testing.T) {
	network := func(name, iface, server, from, to string) boot.Network {
		a := netip.MustParseAddr(server)
		return boot.Network{Name: name, Interface: iface, Mode: boot.Full, Server: a, Subnet: netip.PrefixFrom(a, 16).Masked(), Lease: time.Hour,
			Ranges: []boot.Range{{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to)}}}
	}
	e := newEngine(t, boot.Policy{Enroll: boot.Enroll{Policy: boot.EnrollApprove}, Key: boot.Key{1}, Networks: []boot.Network{
		network("lab", "eth0", "10.77.0.1", "10.77.1.0", "10.77.255.0"), network("yard", "eth1", "10.78.0.1", "10.78.1.0", "10.78.255.0")}})
	n := 0
	enrols := func(iface string, third byte, at time.Time) bool {
		t.Helper()
		n++
		server := netip.AddrFrom4([4]byte{10, third, 0, 1})
		d, err := e.Next(t.Context(), boot.Sighting{At: at, Via: boot.DHCP4, Step: boot.Selecting, Link: boot.Link{Interface: iface},
			ID:       boot.Identity{MAC: boot.MAC{0x52, 0x54, 0, 0, byte(n >> 8), byte(n)}},
			Firmware: boot.Firmware{VendorClass: "PXEClient", Arch: 0},
			Want:     boot.Want{Addr: netip.AddrFrom4([4]byte{10, third, byte(1 + n>>8), byte(n)}), Server: server}})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := d.Reply.(boot.Answer4); a.Type != boot.Ack {
			t.Fatalf("%s: no address", boot.Verb(d.Reply))
		}
		return d.Host != nil
	}
	count := func(most int, at time.Time) (got int) {
		t.Helper()
		for got < most && enrols("eth0", 77, at) {
			got++
		}
		return got
	}
	if got := count(1100, noon); got != 1000 {
		t.Errorf("%d machines enrolled in one go, want 1000", got)
	}
	if !enrols("eth1", 78, noon) {
		t.Error("another link is held to that")
	}
	if enrols("eth0", 77, noon.Add(49*time.Millisecond)) {
		t.Error("one more after 49 ms: more than twenty a second")
	}
	if !enrols("eth0", 77, noon.Add(51*time.Millisecond)) {
		t.Error("none after 51 ms: less than twenty a second")
	}
	if got := count(100, noon.Add(1051*time.Millisecond)); got != 20 {
		t.Errorf("%d more after a second, want 20", got)
	}
	if got := count(1100, noon.Add(time.Hour)); got != 1000 {
		t.Errorf("%d after an hour of quiet, want 1000", got)
	}
}
