// servers_test.go: other DHCP servers, as the daemon sees them: what is asked of a link,
// what clients say, and what machines get from then on.

package appliance

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
)

var auto = strings.Replace(lab, `"full"`, `"auto"`, 1)

func server(addr string) boot.Rival {
	return boot.Rival{Server: netip.MustParseAddr(addr), Offered: netip.MustParseAddr("10.77.0.50"), Options: "router 10.77.0.254"}
}

// mode is what a network is now.
func (r *rig) mode(want boot.Mode) {
	r.t.Helper()
	if m := r.network("lab").Mode; m != want {
		r.t.Errorf("mode %s, want %s", m, want)
	}
}

// TestAuto: not a word before the link was asked; then addresses; then none, when a
// server is there that a client took an address of; and the same again with the next
// link. That a client names a server is no proof of it.
func TestAuto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, auto)
		var asked atomic.Int32
		var there atomic.Bool
		r.c.probe = func(iface string) ([]boot.Rival, error) {
			asked.Add(1)
			if there.Load() {
				return []boot.Rival{server("10.77.0.2")}, nil
			}
			return nil, nil
		}
		r.run()
		r.mode(boot.Listening)
		r.after(4 * time.Second)
		if a := r.lease("eth0", 1); a.IsValid() || asked.Load() != 0 {
			t.Errorf("while it listens it gives %s, and asked %d times", a, asked.Load())
		}
		r.after(13 * time.Second)
		r.mode(boot.Full)
		r.must("network lab is now in mode full: no other DHCP server answered")
		a := r.lease("eth0", 1)
		if !a.IsValid() || asked.Load() != 1 {
			t.Errorf("it gives %v, and asked %d times", a, asked.Load())
		}
		r.after(6 * time.Minute)
		if asked.Load() != 2 {
			t.Errorf("it asked %d times", asked.Load())
		}

		// A client that takes another's offer has the link asked.
		takes := func(of string) {
			r.send("eth0", dhcpd.Query{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, 9}, Arch: boot.ArchNone, Addr: netip.MustParseAddr("10.77.0.50"), Server: netip.MustParseAddr(of)})
			r.after(45 * time.Second)
		}
		takes("10.77.0.9") // which is made up
		r.mode(boot.Full)
		if asked.Load() != 3 {
			t.Errorf("it asked %d times", asked.Load())
		}
		there.Store(true)
		takes("10.77.0.2")
		r.mode(boot.Proxy)
		r.must("level=WARN", "another DHCP server, 10.77.0.2, answers on network lab; it offered 10.77.0.50 with router 10.77.0.254\"")
		if a := r.lease("eth0", 2); a.IsValid() {
			t.Errorf("beside another server it gives %s", a)
		}
		if n := r.network("lab"); len(n.Rivals) != 2 || n.Rivals[0].Server.String() != "10.77.0.2" || n.Rivals[0].Named || !n.Rivals[1].Named {
			t.Errorf("others: %+v", n.Rivals)
		}
		r.figure("muster_other_dhcp_server_seen_timestamp_seconds", "network=lab server=10.77.0.2", float64(time.Now().Add(-44*time.Second).Unix()))
		if es := r.events(boot.ModeChanged); len(es) != 2 || !strings.HasSuffix(es[1], "mode proxy: DHCP server 10.77.0.2 gives the addresses") {
			t.Errorf("%q", es)
		}
		if es := r.events(boot.RivalServer); len(es) != 3 {
			t.Errorf("%q", es)
		}

		// The cable is in another switch.
		there.Store(false)
		r.c.cut("eth0")
		r.after(2 * time.Second)
		r.mode(boot.Listening)
		r.c.plug("eth0", "10.77.0.1/24")
		r.after(17 * time.Second)
		r.mode(boot.Full)
		if b := r.lease("eth0", 1); b != a {
			t.Errorf("the client had %s, and gets %s", a, b)
		}
	})
}

// TestAutoBeside: who answers is news once, and settles every network of the link; our
// own answer is nobody's.
func TestAutoBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := "[[network]]\nname = \"b\"\ninterface = \"eth0\"\nmode = \"auto\"\nsubnet = \"10.78.0.0/24\"\nrange = \"10.78.0.100-10.78.0.109\"\n"
		other := "[[network]]\nname = \"c\"\ninterface = \"eth1\"\nmode = \"auto\"\nrange = \"10.79.0.100-10.79.0.109\"\n"
		r := newRig(t, auto+second+other)
		r.c.plug("eth0", "10.77.0.1/24", "10.78.0.1/24")
		r.c.plug("eth1", "10.79.0.1/24")
		var first atomic.Bool
		r.c.probe = func(iface string) ([]boot.Rival, error) {
			if iface == "eth1" {
				return []boot.Rival{server("10.77.0.1")}, nil // ours
			}
			if first.Swap(true) {
				return nil, errors.New("no luck")
			}
			return []boot.Rival{server("10.77.0.2")}, nil
		}
		r.run()
		r.after(20 * time.Second)
		for name, want := range map[string]boot.Mode{"lab": boot.Proxy, "b": boot.Proxy, "c": boot.Full} {
			if m := r.network(name).Mode; m != want {
				t.Errorf("%s is in mode %s, want %s", name, m, want)
			}
		}
		r.must("another DHCP server, 10.77.0.2, answers on network", "it offered 10.77.0.50 with router 10.77.0.254")
		if es := r.events(boot.RivalServer); len(es) != 1 {
			t.Errorf("%q", es)
		}
	})
}

// TestFullBeside: where a person said that addresses are given they are, and two servers
// are worth a warning.
func TestFullBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lab)
		r.c.probe = func(string) ([]boot.Rival, error) { return []boot.Rival{server("10.77.0.2")}, nil }
		r.run()
		r.after(time.Hour)
		r.mode(boot.Full)
		r.must("two servers give addresses there; turn one off, or set mode = \\\"proxy\\\"")
		if n := len(r.events(boot.RivalServer)); n != 1 {
			t.Errorf("it was news %d times", n)
		}
	})
}

// TestProxyAsksNobody: beside a server that is meant to be there nothing is asked.
func TestProxyAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, quiet+"[[network]]\nname = \"lab\"\ninterface = \"eth0\"\nmode = \"proxy\"\n")
		r.c.probe = func(string) ([]boot.Rival, error) {
			t.Error("it asked")
			return nil, nil
		}
		r.run()
		r.after(10 * time.Minute)
	})
}

// TestUnasked: what cannot be asked is a warning, and never taken for silence.
func TestUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, auto)
		r.c.probe = func(string) ([]boot.Rival, error) { return nil, errors.New("no privilege") }
		r.run()
		r.after(time.Minute)
		r.mode(boot.Listening)
		r.must("network lab: cannot look for other DHCP servers: no privilege")
		if n := strings.Count(r.said.String(), "no privilege"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}

// TestSixBeside: servers of DHCPv6 are asked for once a link, from its own address.
func TestSixBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, six+strings.NewReplacer("six", "far", "fd77", "fd78", quiet, "").Replace(six)+"relays6 = [\"fd78::9\"]\n")
		var asked atomic.Int32
		r.c.probe6 = func(string) ([]boot.Rival, error) {
			asked.Add(1)
			return []boot.Rival{{Server: netip.MustParseAddr("fe80::2"), Options: "DUID 00"}}, nil
		}
		r.run()
		r.after(time.Minute)
		if asked.Load() != 0 {
			t.Error("it asked without an address")
		}
		r.c.plug("eth0", "fe80::1/64", "fd77::1/64")
		r.after(4 * time.Minute)
		if asked.Load() != 1 {
			t.Errorf("it asked %d times", asked.Load())
		}
		r.must("another DHCPv6 server, fe80::2, answers on network six with DUID 00", "set mode6 =")
		if n := r.network("six (IPv6)"); len(n.Rivals) != 1 {
			t.Errorf("%+v", n)
		}
		if n := r.network("far (IPv6)"); len(n.Rivals) != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// TestDismissed: what answers when its network is gone from the configuration says
// nothing any more.
func TestDismissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, auto)
		answer := make(chan []boot.Rival)
		r.c.probe = func(string) ([]boot.Rival, error) { return <-answer, nil }
		r.run()
		r.after(17 * time.Second)
		r.reread(quiet)
		answer <- []boot.Rival{server("10.77.0.2")}
		r.settle()
		if es := append(r.events(boot.RivalServer), r.events(boot.ModeChanged)...); len(es) != 0 {
			t.Errorf("%q", es)
		}
	})
}
