package boot

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// oneLease is a store of which a probe asks one lease.
type oneLease struct {
	Reader
	l      *Lease
	owner  *Host
	answer *Host
}

func (r oneLease) Lease(string, netip.Addr) (*Lease, error) { return r.l, nil }
func (r oneLease) HostByMAC(m MAC) (*Host, error) {
	for _, h := range []*Host{r.owner, r.answer} {
		if h != nil && h.HasMAC(m) {
			return h, nil
		}
	}
	return nil, nil
}
func (r oneLease) HostByAddress(netip.Addr) (*Host, error) { return r.owner, nil }

// TestOccupy: what is told and done when somebody answers on an address, by whose
// the address is.
func TestOccupy(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	a, one, two := netip.MustParseAddr("10.0.0.9"), MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	lease := func(h Holder, kind LeaseKind, left time.Duration) *Lease {
		return &Lease{Network: "lab", Addr: a, Holder: h, Kind: kind, Expires: now.Add(left)}
	}
	for what, c := range map[string]struct {
		l    *Lease
		by   MAC
		want string // "" is nothing
		left bool   // alone, for a while
	}{
		"nobody had it":                     {nil, one, "10.0.0.9 is free, and 02:00:00:00:00:01 answers on it", true},
		"its holder stays on":               {lease(HeldBy(one), Dynamic, -time.Hour), one, "the lease of 10.0.0.9 has ended and its holder 02:00:00:00:00:01 still uses it", true},
		"somebody else had it":              {lease(HeldBy(two), Dynamic, -time.Hour), one, "10.0.0.9 is free, and 02:00:00:00:00:01 answers on it", true},
		"its holder has it":                 {lease(HeldBy(one), Dynamic, time.Hour), one, "", false},
		"somebody else has it":              {lease(HeldBy(two), Dynamic, time.Hour), one, "10.0.0.9 is leased to 02:00:00:00:00:02, and 02:00:00:00:00:01 answers on it too", false},
		"it is out of use":                  {lease(HeldBy(two), Declined, time.Hour), one, "", false},
		"a ping on a lease":                 {lease(HeldBy(two), Dynamic, time.Hour), MAC{}, "", false},
		"a ping on a free one":              {nil, MAC{}, "10.0.0.9 is free, and somebody who answers pings answers on it", true},
		"a holder that is known by an ID":   {lease(ReadHolder("id:0102"), Dynamic, time.Hour), one, "", false},
		"it was out of use, of the machine": {lease(HeldBy(one), Occupied, -time.Hour), one, "the lease of 10.0.0.9 has ended and its holder", true},
	} {
		got, err := Occupy(oneLease{l: c.l}, &Network{Name: "lab"}, a, c.by, MAC{}, now)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, ev := range got.Events {
			text += ev.Text
		}
		if !strings.HasPrefix(text, c.want) || (text == "") != (c.want == "") {
			t.Errorf("%s: %q", what, text)
		}
		if left := len(got.Leases) == 1; left != c.left || left && (got.Leases[0].Kind != Occupied || got.Leases[0].Holder != HeldBy(c.by) || !got.Leases[0].Expires.Equal(now.Add(10*time.Minute))) {
			t.Errorf("%s: %+v", what, got.Leases)
		}
	}
}

// TestOccupyByHost: machines are compared as hosts. Neither its own other port nor a
// squatter takes a reserved address out of use, and both machines are named.
func TestOccupyByHost(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	a, one, two, third := netip.MustParseAddr("10.0.0.9"), MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}, MAC{2, 0, 0, 0, 0, 3}
	bond, other := &Host{ID: 1, Name: "web1", MACs: []MAC{one, two}}, &Host{ID: 2, Name: "web2", MACs: []MAC{third}}
	held := &Lease{Network: "lab", Addr: a, Holder: HeldBy(one), MAC: one, Host: 1, Kind: Dynamic, Expires: now.Add(time.Hour)}
	for what, c := range map[string]struct {
		r      oneLease
		by     MAC
		wanted MAC
		want   string
	}{
		"its own other port, reserved":        {oneLease{owner: bond}, two, one, ""},
		"its own other port, leased":          {oneLease{l: held, answer: bond}, two, MAC{}, ""},
		"its own other port, free":            {oneLease{answer: bond}, two, one, ""},
		"a stranger on a reservation":         {oneLease{owner: bond}, MAC{2, 9}, one, "10.0.0.9 is reserved for web1, and 02:09:00:00:00:00 answers on it: take the address off that machine; web1 gets it all the same"},
		"another host on a reservation":       {oneLease{owner: bond, answer: other}, third, one, "10.0.0.9 is reserved for web1, and web2 (02:00:00:00:00:03) answers on it: take the address off that machine; web1 gets it all the same"},
		"a ping on a reservation":             {oneLease{owner: bond}, MAC{}, one, "10.0.0.9 is reserved for web1, and somebody who answers pings answers on it: take the address off that machine; web1 gets it all the same"},
		"another host on a lease":             {oneLease{l: held, answer: other}, third, one, "10.0.0.9 is leased to 02:00:00:00:00:01, and 02:00:00:00:00:03 answers on it too: take the address off that machine, or exclude it from the range"},
		"its other port on an address it had": {oneLease{l: &Lease{Network: "lab", Addr: a, Holder: HeldBy(one), MAC: one, Host: 1, Kind: Dynamic, Expires: now.Add(-time.Hour)}, answer: bond}, two, one, ""},
	} {
		got, err := Occupy(c.r, &Network{Name: "lab"}, a, c.by, c.wanted, now)
		text := ""
		for _, ev := range got.Events {
			text += ev.Text
		}
		if err != nil || text != c.want || len(got.Leases) != 0 {
			t.Errorf("%s: %q, %+v, %v; want %q", what, text, got.Leases, err, c.want)
		}
	}
}
