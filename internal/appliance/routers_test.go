// ra_test.go: what is said of other routers.

package appliance

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/radv"
)

// TestTellRouter: what is wrong is said, and what is as it should be is not wrong.
func TestTellRouter(t *testing.T) {
	r := radv.Router{Addr: netip.MustParseAddr("fe80::2"), Managed: true, Other: true, Lifetime: 30 * time.Minute,
		Prefixes: []radv.Prefix{{Prefix: netip.MustParsePrefix("fd77::/64")}, {Prefix: netip.MustParsePrefix("fd78::/64"), Autonomous: true}}}
	const about = " on network lab: M=1 O=1, default router for 30m0s, prefix fd77::/64, prefix fd78::/64 for hosts' own addresses"
	plain, own, differs := r, r, r
	plain.Managed = false
	own.Own = true
	differs.Differs = []string{"it says M=1, we say M=0"}
	for _, c := range []struct {
		r         radv.Router
		advertise bool
		want      string
		bad       bool
	}{
		{r, false, "router fe80::2 advertises" + about, false},
		{r, true, "another router, fe80::2, advertises" + about, false},
		{own, true, "another program on this machine (fe80::2) advertises" + about, true},
		{own, false, "another program on this machine (fe80::2) advertises" + about, false},
		{differs, true, "another router, fe80::2, advertises" + about + "; hosts hear both and follow neither for long: it says M=1, we say M=0", true},
		{plain, false, "router fe80::2 advertises" + strings.Replace(about, "M=1", "M=0", 1) + "; without M machines do not ask for addresses by DHCPv6: set it there, or ra = \"managed\" here", true},
	} {
		if got, bad := tellRouter(c.r, "lab", c.advertise); got != c.want || bad != c.bad {
			t.Errorf("%v:\n got %s\nwant %s", bad, got, c.want)
		}
	}
}

const raNetwork = quiet + `[[network]]
name = "six"
interface = "eth0"
subnet6 = "fd77::/64"
ra = "managed"
`

// TestRouters: another router is told of once, again when it says something else, and
// forgotten when it falls silent. It is so on a link that has nothing but IPv6.
func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raNetwork)
		r.run()
		router := radv.Router{Interface: "eth0", Addr: netip.MustParseAddr("fe80::2"), Managed: true, Other: true, Lifetime: 30 * time.Minute}
		hear := func(x radv.Router) []string {
			t.Helper()
			r.hear(x)
			r.settle()
			return r.events(boot.RivalRouter)
		}
		if es := hear(router); len(es) != 1 || !strings.Contains(es[0], "another router, fe80::2, advertises on network six") {
			t.Fatalf("%q", es)
		}
		shorter := router
		shorter.Lifetime = 10 * time.Minute
		r.after(time.Minute)
		if es := hear(shorter); len(es) != 1 {
			t.Errorf("a lifetime that counts down is news: %q", es)
		}
		differs := router
		differs.Managed, differs.Differs = false, []string{"it says M=0, we say M=1"}
		if es := hear(differs); len(es) != 1 {
			t.Errorf("who changes within ten minutes is news: %q", es)
		}
		r.after(15 * time.Minute)
		if es := hear(differs); len(es) != 2 {
			t.Errorf("%q", es)
		}
		r.must("level=WARN", "hosts hear both")
		n := r.network("six (IPv6)")
		if n.RA == nil || n.RA.Says != "managed" || len(n.RA.Routers) != 1 || n.RA.Routers[0].OK || !strings.Contains(n.RA.Routers[0].Text, "fe80::2") {
			t.Errorf("%+v", n.RA)
		}
		r.figure("muster_other_router_seen_timestamp_seconds", "interface=eth0 router=fe80::2", float64(time.Now().Unix()))
		elsewhere := router
		elsewhere.Interface = "eth9"
		if es := hear(elsewhere); len(es) != 2 {
			t.Errorf("a link that is not ours: %q", es)
		}
		for i := range 2 * maxRivals {
			x := router
			x.Addr = netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i + 10)})
			hear(x)
		}
		if n := len(r.events(boot.RivalRouter)); n != 2+maxRivals-1 {
			t.Errorf("routers that somebody makes up were news %d times", n)
		}
		r.after(2 * time.Hour)
		if n := r.network("six (IPv6)"); len(n.RA.Routers) != 0 {
			t.Errorf("after two hours: %+v", n.RA.Routers)
		}
	})
}
