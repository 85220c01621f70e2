// ra_test.go: what is said of other routers.

package appliance

import (
	"net/netip"
	"strings"
	"testing"
	"time"

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
