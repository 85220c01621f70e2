// replies_test.go: what is in a reply that the conversations do not show.

package boot_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// inLab is a world with one network.
func inLab(t *testing.T, change func(*boot.Policy)) *world {
	t.Helper()
	w, done, err := newWorld(plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	addr := netip.MustParseAddr
	w.policy.Networks = []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: addr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Lease: time.Hour,
		Routers: []netip.Addr{addr("10.77.0.2")}, DNS: []netip.Addr{addr("10.77.0.3")}, Domain: "lab.example", TrustPorts: true,
		Ranges: []boot.Range{{From: addr("10.77.0.100"), To: addr("10.77.0.109")}}}}
	if change != nil {
		change(&w.policy)
	}
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) next(t *testing.T, in boot.Sighting) boot.Decision {
	t.Helper()
	if in.At.IsZero() {
		in.At = began
	}
	in.Link.Interface = "eth0"
	d, err := w.engine.Next(w.ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var aMAC = boot.MAC{2, 0, 0, 0, 0, 1}

// TestHeldMachineWaits: it asks often at first and then seldom, and is told how long
// until it boots its disk; where that never comes, it waits for ever.
func TestHeldMachineWaits(t *testing.T) {
	for _, c := range []struct {
		hold, waited time.Duration
		want         string
	}{
		{15 * time.Minute, 0, "hold 5 900"},
		{15 * time.Minute, 5 * time.Minute, "hold 5 600"},
		{15 * time.Minute, 5*time.Minute + time.Second, "hold 15 599"},
		{15 * time.Minute, 15*time.Minute - time.Second, "hold 15 1"},
		{15 * time.Minute, 15 * time.Minute, "local 15 0"},
		{0, 0, "hold 5 0"},
		{0, 20 * time.Hour, "hold 15 0"},
	} {
		w := inLab(t, func(p *boot.Policy) { p.Enroll.Hold = c.hold })
		token := w.policy.Key.Sign(boot.Token{Kind: boot.BootToken, MAC: aMAC, Issued: began})
		d := w.next(t, boot.Sighting{At: began.Add(c.waited), Via: boot.HTTP, Step: boot.Fetch, Source: netip.MustParseAddrPort("10.77.0.100:1024"),
			Want: boot.Want{Path: "boot/" + token + "/boot.ipxe", Query: boot.Query{Asked: true, MAC: aMAC}}, Firmware: boot.Firmware{Arch: boot.ArchNone}})
		s, _ := d.Reply.(boot.Script)
		if got := fmt.Sprint(s.Ref.Name, " ", s.Ref.Machine.WaitSeconds, " ", s.Ref.Machine.HoldSeconds); got != c.want {
			t.Errorf("held for %s after %s: %s, want %s (%s)", c.hold, c.waited, got, c.want, d.Why)
		}
	}
}

// TestOptionsOfANetwork: who gets an address gets what the network says with it, and
// a machine that was let in its name.
func TestOptionsOfANetwork(t *testing.T) {
	w := inLab(t, nil)
	other := boot.MAC{2, 0, 0, 0, 0, 2}
	if _, err := w.engine.Do(w.ctx, boot.Actor{}, boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, MACs: []boot.MAC{other}}}); err != nil {
		t.Fatal(err)
	}
	n := w.policy.Networks[0]
	for mac, name := range map[boot.MAC]string{aMAC: "", other: "web1"} {
		a, _ := w.next(t, boot.Sighting{Via: boot.DHCP4, Step: boot.Discover, ID: boot.Identity{MAC: mac}, Firmware: boot.Firmware{Arch: boot.ArchNone}}).Reply.(boot.Answer4)
		o := a.Options
		if o.Server != n.Server || o.Source != n.Server || o.Subnet != n.Subnet || !slices.Equal(o.Routers, n.Routers) || !slices.Equal(o.DNS, n.DNS) || o.Domain != "lab.example" || o.Name != name {
			t.Errorf("%s: %+v", mac, o)
		}
	}
}

// TestNoAddressToAnswerFrom: a network whose interface has no address is silent, and
// says why.
func TestNoAddressToAnswerFrom(t *testing.T) {
	w := inLab(t, func(p *boot.Policy) { p.Networks[0].Server = netip.Addr{} })
	d := w.next(t, boot.Sighting{Via: boot.DHCP4, Step: boot.Discover, ID: boot.Identity{MAC: aMAC}, Firmware: boot.Firmware{Arch: boot.ArchNone}})
	if want := "interface eth0 of network lab has no address to answer from"; boot.Verb(d.Reply) != "ignore" || len(d.Holds) != 0 || !strings.Contains(d.Why.String(), want) {
		t.Errorf("%s: %s", boot.Verb(d.Reply), d.Why)
	}
}

// TestEnrolledAsItSays: a new host keeps what it said of itself, within bounds, and
// takes over what it says later.
func TestEnrolledAsItSays(t *testing.T) {
	w := inLab(t, nil)
	for i, class := range []string{"PXEClient:" + strings.Repeat("x", 100), "PXEClient:" + strings.Repeat("y", 100)} {
		in := boot.Sighting{At: began.Add(time.Duration(i) * time.Minute), Via: boot.DHCP4, Step: boot.Selecting, ID: boot.Identity{MAC: aMAC}, Firmware: boot.Firmware{VendorClass: class, Arch: 7},
			Want: boot.Want{Addr: netip.MustParseAddr("10.77.0.100"), Server: netip.MustParseAddr("10.77.0.1")}, Link: boot.Link{Port: fmt.Sprint(i, strings.Repeat("p", 200))}}
		d := w.next(t, in)
		h := d.Writes.Host
		if h == nil || h.Class != class[:64] || h.Port != in.Link.Port[:128] {
			t.Errorf("%d: %+v", i, h)
		}
	}
}

// TestAgainAfterItWasOccupied: a machine that a probe found on an address has a new
// lease when it asks for it: it begins then, and counts as new.
func TestAgainAfterItWasOccupied(t *testing.T) {
	w := inLab(t, nil)
	a := netip.MustParseAddr("10.77.0.100")
	w.engine.Now = func() time.Time { return began }
	if err := w.engine.Taken(w.ctx, boot.Check{Network: "lab", Addr: a}, aMAC); err != nil {
		t.Fatal(err)
	}
	for i, fresh := range []bool{true, false} {
		at := began.Add(time.Duration(i+1) * time.Minute)
		in := boot.Sighting{At: at, Via: boot.DHCP4, Step: boot.Renew, ID: boot.Identity{MAC: aMAC}, Want: boot.Want{Addr: a}, Link: boot.Link{Client: a}, Firmware: boot.Firmware{Arch: boot.ArchNone}}
		d := w.next(t, in)
		if l := d.Writes.Leases; len(l) != 1 || l[0].Kind != boot.Unknown || !l[0].Starts.Equal(began.Add(time.Minute)) || !l[0].Expires.Equal(at.Add(time.Hour)) || d.New != fresh {
			t.Errorf("%+v, new %v (%s)", l, d.New, d.Why)
		}
	}
}

// TestReportOfWhoMayNotBoot: a machine that was let in and no longer is reports to
// nobody.
func TestReportOfWhoMayNotBoot(t *testing.T) {
	w := inLab(t, nil)
	play := func(line string) string {
		t.Helper()
		out, err := w.play(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return strings.Join(out, "\n")
	}
	w.policy.Loaders[boot.X64UEFI] = "snponly.efi"
	play("template all")
	play("host web1 approved mac=" + aMAC.String() + " template=all")
	play("> dhcp4 request mac=" + aMAC.String() + " class=PXEClient arch=7 want=10.77.0.100 server=10.77.0.1")
	play("> http boot/$token/boot.ipxe asked from=10.77.0.100 mac=" + aMAC.String() + " platform=x64-uefi")
	play("save r report")
	if got := play("> http boot/$r/report from=10.77.0.100 stage=installing"); !strings.Contains(got, "stage installing") {
		t.Errorf("before: %s", got)
	}
	play("order deny web1")
	if got := play("> http boot/$r/report from=10.77.0.100 stage=running"); !strings.HasPrefix(got, "refuse") || !strings.Contains(got, "report: web1 is denied") || strings.Contains(got, "event") {
		t.Errorf("after: %s", got)
	}
}
