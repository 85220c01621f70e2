// addresses_test.go: machines that sit on addresses which are to be given out.

package appliance

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
)

var probing = strings.Replace(lab, "probe = false\n", "", 1)

// TestSquatter: an address that somebody sits on is not offered, and a client that has
// it already keeps it.
func TestSquatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, probing)
		sits := boot.MAC{2, 0, 0, 0, 0, 7}
		r.c.occupied = func(addrs []netip.Addr) (map[netip.Addr]boot.MAC, error) {
			return map[netip.Addr]boot.MAC{netip.MustParseAddr("10.77.0.100"): sits}, nil
		}
		r.run()
		r.after(time.Minute)
		if a := r.lease("eth0", 1); a.String() != "10.77.0.101" {
			t.Errorf("a client gets %v", a)
		}
		if es := r.events(boot.LeaseConflict); len(es) != 1 || !strings.Contains(es[0], "10.77.0.100") || !strings.Contains(es[0], sits.String()) {
			t.Errorf("%q", es)
		}
	})
}

// TestProbes: a link that cannot be asked, or where one answers for everybody, keeps
// nobody from an address, and is told of; behind a relay agent ICMP asks.
func TestProbes(t *testing.T) {
	var many []boot.Check
	all := map[netip.Addr]boot.MAC{}
	for i := range 20 {
		a := netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + i)})
		many = append(many, boot.Check{Network: "lab", Addr: a})
		all[a] = boot.MAC{2, 0, 0, 0, 0, 9}
	}
	wide := strings.Replace(probing, "10.77.0.109", "10.77.0.150", 1)
	far := strings.Replace(wide, "range =", "subnet = \"10.77.0.0/24\"\nrelays = [\"10.77.0.254\"]\nrange =", 1)
	for _, x := range []struct {
		name, toml string
		addr       string
		occupied   map[netip.Addr]boot.MAC
		answers    []netip.Addr
		err        error
		want       string // an error
		taken      int
	}{
		{"nobody", wide, "10.77.0.1/24", nil, nil, nil, "", 0},
		{"no privilege", wide, "10.77.0.1/24", nil, nil, errors.New("no privilege"), "no privilege", 0},
		{"a proxy of ARP", wide, "10.77.0.1/24", all, nil, nil, "02:00:00:00:00:09 answers ARP for every address, as a proxy does; set probe = false", 0},
		{"behind a relay", far, "10.9.9.9/24", all, []netip.Addr{many[3].Addr, many[5].Addr}, nil, "", 2},
		{"behind a relay, unasked", far, "10.9.9.9/24", nil, nil, errors.New("no privilege"), "no privilege", 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, x.toml)
				var mu sync.Mutex
				quiet := true                        // what the daemon asks by itself
				ours := func(as []netip.Addr) bool { // and that may come late
					return slices.EqualFunc(as, many, func(a netip.Addr, c boot.Check) bool { return a == c.Addr })
				}
				r.c.plug("eth0", x.addr)
				r.c.occupied = func(as []netip.Addr) (map[netip.Addr]boot.MAC, error) {
					mu.Lock()
					defer mu.Unlock()
					if quiet || !ours(as) {
						return nil, nil
					}
					return x.occupied, x.err
				}
				r.c.answers = func(as []netip.Addr) ([]netip.Addr, error) {
					mu.Lock()
					defer mu.Unlock()
					if quiet || !ours(as) {
						return nil, nil
					}
					return x.answers, x.err
				}
				r.run()
				mu.Lock()
				quiet = false
				mu.Unlock()
				err := r.checkAddresses(t.Context(), "lab", many)
				if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
					t.Errorf("%v, want %q", err, x.want)
				}
				if n := len(r.events(boot.LeaseConflict)); n != x.taken {
					t.Errorf("%d addresses are taken, want %d", n, x.taken)
				}
				if err := r.checkAddresses(t.Context(), "nowhere", many); err != nil {
					t.Errorf("a network that is gone: %v", err)
				}
			})
		})
	}
}
