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
	l *Lease
}

func (r oneLease) Lease(string, netip.Addr) (*Lease, error) { return r.l, nil }
func (r oneLease) HostByMAC(m MAC) (*Host, error)           { return nil, nil }

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
		got, err := Occupy(oneLease{l: c.l}, &Network{Name: "lab"}, a, c.by, now)
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
