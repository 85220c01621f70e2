package boot

import (
	"slices"
	"strings"
	"testing"
)

// TestClassHolds: a class holds where each of its conditions does, and one that has
// no condition of a kind asks nothing of it.
func TestClassHolds(t *testing.T) {
	in := Sighting{ID: Identity{MAC: MAC{0xb8, 0x27, 0xeb, 1, 2, 3}}, Firmware: Firmware{VendorClass: "PXEClient:Arch:00007", UserClass: "rack", Arch: 7, Enterprise: 343}}
	for what, c := range map[string]struct {
		m    ClassMatch
		want bool
	}{
		"nothing":                  {ClassMatch{}, true},
		"vendor class":             {ClassMatch{VendorClass: []string{"HTTPClient*", "PXEClient*"}}, true},
		"another vendor class":     {ClassMatch{VendorClass: []string{"HTTPClient*"}}, false},
		"user class":               {ClassMatch{UserClass: []string{"r?ck"}}, true},
		"another user class":       {ClassMatch{UserClass: []string{"desk"}}, false},
		"architecture":             {ClassMatch{Arch: []Arch{9, 7}}, true},
		"another architecture":     {ClassMatch{Arch: []Arch{9}}, false},
		"any architecture":         {ClassMatch{AnyArch: true}, true},
		"enterprise":               {ClassMatch{Enterprise: []uint32{9, 343}}, true},
		"another enterprise":       {ClassMatch{Enterprise: []uint32{9}}, false},
		"OUI":                      {ClassMatch{OUI: []string{"00-11-22", "B8-27-EB"}}, true},
		"more than the OUI":        {ClassMatch{OUI: []string{"b8:27:eb:01"}}, true},
		"another OUI":              {ClassMatch{OUI: []string{"b8:27:ec"}}, false},
		"iPXE":                     {ClassMatch{IPXE: true}, false},
		"a Pi's ROM":               {ClassMatch{PiROM: true}, false},
		"a Pi":                     {ClassMatch{PiBoard: true}, false},
		"two, one of which is not": {ClassMatch{Arch: []Arch{7}, Enterprise: []uint32{9}}, false},
	} {
		if got := c.m.holds(&in); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	none := Sighting{Firmware: Firmware{Arch: ArchNone}}
	any := ClassMatch{AnyArch: true}
	if any.holds(&none) {
		t.Error("no architecture is any")
	}
	if none.Firmware.Proxied = true; !any.holds(&none) {
		t.Error("who asks on port 4011 boots something")
	}
}

// TestEverybodyHasAClass: the last class of the table holds for whoever no other does.
func TestEverybodyHasAClass(t *testing.T) {
	p := &Policy{Classes: []ClientClass{{Name: "racks", Match: ClassMatch{UserClass: []string{"rack"}}, Echo: true}}}
	for user, want := range map[string]string{"": "plain ", "desk": "plain ", "rack": "plain racks"} {
		if c := p.classify(&Sighting{Firmware: Firmware{Arch: ArchNone, UserClass: user}}); c.Name+" "+c.Added != want || c.Echo != (user == "rack") {
			t.Errorf("%q is %s with %q, echo %v", user, c.Name, c.Added, c.Echo)
		}
	}
}

// TestURLClients: a client whose architecture boots by URL gets one, also where it says
// PXEClient.
func TestURLClients(t *testing.T) {
	p := &Policy{}
	for a := range Arch(100) {
		want := PXE
		if slices.Contains([]Arch{15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40}, a) {
			want = HTTPClient
		}
		if c := p.classify(&Sighting{Firmware: Firmware{VendorClass: "PXEClient:Arch", Arch: a}}); c.As != want {
			t.Errorf("%s is %s, answered as %s", a, c.Name, c.As)
		}
	}
}

// TestClassValidate: what a class of the configuration may say.
func TestClassValidate(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, c := range []struct {
		c    ClientClass
		want string // "" is well
	}{
		{ClientClass{Match: ClassMatch{Arch: []Arch{7}}}, "class name"},
		{ClientClass{Name: strings.Repeat("n", 63), Match: ClassMatch{Arch: []Arch{7}}}, ""},
		{ClientClass{Name: strings.Repeat("n", 64), Match: ClassMatch{Arch: []Arch{7}}}, "class name"},
		{ClientClass{Name: "a"}, "matches every client"},
		{ClientClass{Name: "a", Match: ClassMatch{AnyArch: true}}, "matches every client"},
		{ClientClass{Name: "a", Match: ClassMatch{Enterprise: []uint32{1}}}, ""},
		{ClientClass{Name: "a", Match: ClassMatch{VendorClass: []string{long}, UserClass: []string{"x"}}}, ""},
		{ClientClass{Name: "a", Match: ClassMatch{VendorClass: []string{long + "x"}}}, "is not a pattern"},
		{ClientClass{Name: "a", Match: ClassMatch{VendorClass: []string{"x", "["}}}, "is not a pattern"},
		{ClientClass{Name: "a", Match: ClassMatch{UserClass: []string{""}}}, "is not a pattern"},
		{ClientClass{Name: "a", Match: ClassMatch{OUI: []string{"b8:27:eb", "B8-27-EB-01-02-03"}}}, ""},
		{ClientClass{Name: "a", Match: ClassMatch{OUI: []string{"b8:27:e"}}}, "first three bytes"},
		{ClientClass{Name: "a", Match: ClassMatch{OUI: []string{"b8:27:eb:01:02:03:0"}}}, "first three bytes"},
		{ClientClass{Name: "a", Match: ClassMatch{OUI: []string{"b8:27:eg"}}}, "first three bytes"},
		{ClientClass{Name: "a", As: Plain, Match: ClassMatch{Arch: []Arch{7}}}, ""},
		{ClientClass{Name: "a", As: PXE, Match: ClassMatch{Arch: []Arch{7}}}, ""},
		{ClientClass{Name: "a", As: HTTPClient, Match: ClassMatch{Arch: []Arch{7}}}, ""},
		{ClientClass{Name: "a", As: IPXE, Match: ClassMatch{Arch: []Arch{7}}}, ""},
		{ClientClass{Name: "a", As: "bios", Match: ClassMatch{Arch: []Arch{7}}}, "want plain, pxe, http or ipxe"},
	} {
		if err := c.c.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.c, err, c.want)
		}
	}
}
