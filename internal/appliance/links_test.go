// links_test.go: interfaces and their addresses come and go.

package appliance

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/run"
)

// TestLinks: a network that cannot be served waits, says why, and is served when it
// can be.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		for _, x := range []struct {
			do    func()
			state string
			says  []string
		}{
			{func() {}, "serving", nil},
			{func() { r.c.unplug("eth0") }, "interface eth0 is not there", []string{"network waits: interface eth0 is not there", "network=lab"}},
			{func() { r.c.plug("eth0") }, "interface eth0 has no IPv4 address", []string{"network waits: interface eth0 has no IPv4 address"}},
			{func() { r.c.plug("eth0", "10.78.0.1/24") }, "range 10.77.0.100-10.77.0.109: 10.77.0.100 is outside subnet 10.78.0.0/24", []string{"network waits", "outside subnet"}},
			{func() { r.c.plug("eth0", "10.77.0.1/24") }, "serving", []string{"network is served again", "address=10.77.0.1"}},
			{func() { r.c.cut("eth0") }, "interface eth0 has no carrier: is the cable in, and the other end on?", []string{"network waits: interface eth0 has no carrier"}},
			{func() { r.c.set("eth0", run.Link{Name: "eth0", Found: true}) }, "interface eth0 is down: sudo ip link set eth0 up", []string{"sudo ip link set eth0 up"}},
			{func() { r.c.plug("eth0", "10.77.0.1/24") }, "serving", nil},
		} {
			x.do()
			r.settle()
			if n := r.network("lab"); n.State != x.state {
				t.Errorf("it is %q, want %q", n.State, x.state)
			}
			if x.says != nil {
				r.must(x.says...)
			}
			if a := r.lease("eth0", 1); a.IsValid() != (x.state == "serving") && !strings.Contains(x.state, "carrier") {
				t.Errorf("while it is %q a client gets %v", x.state, a)
			}
		}
		if n := strings.Count(r.said.String(), "network waits"); n != 5 {
			t.Errorf("it said %d times that it waits", n)
		}
	})
}

const six = quiet + `[[network]]
name = "six"
interface = "eth0"
subnet6 = "fd77::/64"
`

// TestLinksSix: DHCPv6 listens on an interface when that has an address there, and
// listens again when the address came back.
func TestLinksSix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, six)
		r.run()
		if n := r.network("six (IPv6)"); n.State != "interface eth0 has no address in fd77::/64" || len(r.c.joined) != 0 {
			t.Errorf("%+v, joined %q", n, r.c.joined)
		}
		r.c.plug("eth0", "fe80::1/64", "fd77::1/64")
		r.settle()
		if n := r.network("six (IPv6)"); n.State != "serving" || n.Server.String() != "fd77::1" || !slices.Equal(r.c.joined, []string{"eth0"}) {
			t.Errorf("%+v, joined %q", n, r.c.joined)
		}
		r.c.joinErr = errors.New("no such group")
		r.c.plug("eth0", "fe80::1/64", "fd77::1/64")
		r.settle()
		if n := r.network("six (IPv6)"); n.State != "no such group" {
			t.Errorf("%+v", n)
		}
		if s, err := r.status(t.Context()); err != nil || len(s.Networks) != 1 || s.Networks[0].Mode != boot.Full {
			t.Errorf("%v, %+v", err, s.Networks)
		}
		for _, m := range r.figures() {
			if m.Name == "muster_dhcp6_packets_total" {
				return
			}
		}
		t.Error("nothing is counted of DHCPv6")
	})
}

// TestLoaders: a package that is installed while we run is noticed.
func TestLoaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.run()
		if l := r.engine.Policy().Loaders[boot.ARM64UEFI]; l != "" {
			t.Skip("this machine has a loader for arm64")
		}
		r.file("loaders/ipxe-arm64.efi", "x")
		r.after(20 * time.Second)
		r.must("boot loaders changed", "arm64-uefi")
		if l := r.engine.Policy().Loaders[boot.ARM64UEFI]; l == "" {
			t.Error("and is not used")
		}
	})
}
