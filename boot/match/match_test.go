package match

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func subject() Subject {
	u, _ := boot.ParseUUID("c0ffee00-1111-2222-3333-444455556666")
	return Subject{Now: now, Seen: now.Add(-5 * time.Minute), Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.57")}, Loop: 10,
		Findings: func() []string { return []string{"silent"} },
		Params:   map[string]boot.Given{"disk": {Value: "/dev/sda", From: boot.Site}, "rootpw": {Secret: true, From: boot.HostScope}, "mirror": {Differ: []boot.Scope{"tag/a", "tag/b"}}},
		Host: &boot.Host{Name: "db-0007", State: boot.Approved, MACs: []boot.MAC{{0x52, 0x54, 0, 0xaa, 0xbb, 1}, {2, 0, 0, 0, 0, 9}}, UUID: u, Serial: "RIG-7731", Template: "debian12", Network: "lab",
			Platform: boot.X64UEFI, Class: "PXEClient:Arch:00007", BoundPort: "leaf3:Ethernet12", Boots: 12, Silent: 3, Stage: "running", Created: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
			Address: netip.MustParseAddr("10.77.0.50"), Tags: []string{"db", "rack=12"}, Ticket: &boot.Ticket{State: boot.TicketArmed, Template: "debian12", Expires: now.Add(time.Hour)}}}
}

// TestMatch: which queries mean one machine.
func TestMatch(t *testing.T) {
	for q, want := range map[string]bool{
		"": true, "state:approved": true, "state:pending": false, "-state:pending": true, "state:pending,approved": true, "state:installing": false, "state:parked": false,
		"db": true, "DB-00": true, "web": false, "-web": true, "7731": true, "rig": true, "aabb01": true, "52:54:00": true, "52-54-00-AA": true, "5254.00aa": true, "ccc": false, "10.77.0.5": true, "10.77.1": false, "c0ffee00-1111": true, "ee001111": true,
		"template:debian*": true, "template:none": false, "net:lab": true, "net:lab,far serial:RIG*": true, "net:lab serial:SN*": false, "port:leaf3:*": true, "arch:x64-uefi": true, "vendor:pxeclient*": true,
		"mac:52:54:*": true, "mac:52-54-*": true, "mac:aa:*": false, "uuid:c0ffee*": true, "address:10.77.0.50": true, "address:10.77.0.57": true, "address:10.78.*": false,
		"finding:any": true, "finding:silent": true, "finding:parked": false, "-finding:any": false, "protected:no": true, "protected:yes": false, "secure:unknown": true,
		"seen:<10m": true, "seen:<1m": false, "seen:>1m": true, "seen:>30d": false, "enrolled:>2026-01-01": true, "enrolled:<2026-01-01": false, "enrolled:<60d": true, "boots:>10": true, "boots:12": true, "boots:<12": false,
		"tag:db": true, "tag:rack": true, "tag:rack=12": true, "tag:rack=*": true, "tag:rack=13": false, "tag:web": false, "tag:none": false, "param.rootpw:*": false, "param.rootpw:none": false, "param.mirror:*": false,
		"param.disk:/dev/sd*": true, "param.disk:/dev/nvme*": false, "param.size:none": true, "ticket:armed": true, "ticket:expired": false, "ticket:armed,none state:approved": true,
		`"db-0007"`: true, `name:"db-0007"`: true, `param.disk:"/dev/sda"`: true, `"a b"`: false, "stage:running": true, "version:0": true,
	} {
		p, err := Parse(q)
		if err != nil {
			t.Errorf("%q: %v", q, err)
			continue
		}
		if got := p.Match(subject()); got != want {
			t.Errorf("%q: %t", q, got)
		}
		if p.Empty() != (q == "") || p.String() != q {
			t.Errorf("%q is %q", q, p)
		}
	}
}

// TestNever: what was never seen is older than anything.
func TestNever(t *testing.T) {
	s := subject()
	s.Seen, s.Findings = time.Time{}, nil
	for q, want := range map[string]bool{"seen:>30d": true, "seen:<30d": false, "seen:<2026-01-01": false, "finding:any": false, "finding:none": true} {
		if p, err := Parse(q); err != nil || p.Match(s) != want {
			t.Errorf("%q: not %t, %v", q, want, err)
		}
	}
	s.Now = now.Add(time.Hour)
	if p, _ := Parse("ticket:expired"); !p.Match(s) {
		t.Error("an expired ticket")
	}
}

// TestParse: what is wrong is said, and what is possible.
func TestParse(t *testing.T) {
	for q, want := range map[string]string{
		"stat:pending": "no key is called", "state:waiting": "want pending, approved", "state:": "has no value", "seen:10m": "an age or a date after < or >", "seen:<x": "want an age", "boots:many": "want a number", `"open`: "not closed",
		"serial:[": "letters and", "net:a,,b": "want a value", "param.:x": "no key", strings.Repeat("a ", 70): "terms", strings.Repeat("a", 3000): "bytes", "seen:<-3h": "want an age",
	} {
		if _, err := Parse(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", q, err, want)
		}
	}
	if !slices.Contains(Keys(), "state") {
		t.Error(Keys())
	}
}

// FuzzParse: any text parses or is refused in words, and what parses can be judged and
// parsed again to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"state:pending net:lab", `-serial:"RIG 7",X*`, "52:54:00 seen:<10m", "param.disk:/dev/sd* ticket:armed", "enrolled:>2026-11-01 -finding:any"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Parse(s)
		if err != nil {
			if len(err.Error()) > 3000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := Parse(q.String())
		if err != nil || again.Match(subject()) != q.Match(subject()) {
			t.Errorf("%q means two things: %v", s, err)
		}
	})
}

// TestAddresses: leases are looked up only for a query that could mean one.
func TestAddresses(t *testing.T) {
	for q, want := range map[string]bool{"": false, "web1": false, "10.77": true, "FD77::": true, "address:10.*": true, "-address:none": true, "web1 10.": true, "tag:10": false, "state:pending": false, "abc": true} {
		p, err := Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		if p.Addresses() != want {
			t.Errorf("%q: %t", q, !want)
		}
	}
}
