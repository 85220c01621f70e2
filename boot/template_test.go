package boot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestSelectorOrder: priority, then the strongest condition, then how many,
// then pattern length, then name.
func TestSelectorOrder(t *testing.T) {
	uuid, _ := boot.ParseUUID("c0ffee00-1111-2222-3333-444455556666")
	want := []*boot.Template{
		{Name: "priority", Priority: 1, Match: boot.Selector{Arch: []boot.Platform{boot.BIOS}}},
		{Name: "uuid", Match: boot.Selector{UUID: []boot.UUID{uuid}}},
		{Name: "port", Match: boot.Selector{SwitchPort: []string{"leaf3:*"}}},
		{Name: "serial", Match: boot.Selector{Serial: []string{"RIG*"}}},
		{Name: "mac-and-arch", Match: boot.Selector{MAC: []string{"52:54:*"}, Arch: []boot.Platform{boot.BIOS}}},
		{Name: "mac-long", Match: boot.Selector{MAC: []string{"52:54:00:*"}}},
		{Name: "mac-short", Match: boot.Selector{MAC: []string{"52:54:*"}}},
		{Name: "class", Match: boot.Selector{VendorClass: []string{"PXE*"}}},
		{Name: "network", Match: boot.Selector{Network: []string{"lab"}}},
		{Name: "arch", Match: boot.Selector{Arch: []boot.Platform{boot.BIOS}}},
		{Name: "arch2", Match: boot.Selector{Arch: []boot.Platform{boot.X64UEFI}}},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	boot.SortTemplates(got)
	for i := range want {
		if got[i].Name != want[i].Name {
			t.Errorf("place %d is %s, want %s", i, got[i].Name, want[i].Name)
		}
	}
	// An exact MAC is as strong as a UUID, and a list is as loose as its
	// loosest entry.
	exact := &boot.Template{Name: "a", Match: boot.Selector{MAC: []string{"52:54:00:aa:bb:01"}}}
	loose := &boot.Template{Name: "b", Match: boot.Selector{MAC: []string{"52:54:00:aa:bb:01", "*"}}}
	two := []*boot.Template{loose, exact}
	boot.SortTemplates(two)
	if two[0] != exact {
		t.Error("a list with a wildcard counts as exact")
	}
}

func TestSelectorMatch(t *testing.T) {
	mac, _ := boot.ParseMAC("52:54:00:aa:bb:01")
	uuid, _ := boot.ParseUUID("c0ffee00-1111-2222-3333-444455556666")
	full := boot.Facts{ID: boot.Identity{MAC: mac, UUID: uuid, Serial: "RIG/7"}, Platform: boot.BIOS, VendorClass: "PXEClient:Arch:00000", Network: "lab", Complete: true}
	for _, c := range []struct {
		name string
		s    boot.Selector
		f    boot.Facts
		want boot.Verdict
	}{
		{"nothing asked", boot.Selector{}, full, boot.Yes},
		{"mac by dashes and capitals", boot.Selector{MAC: []string{"52-54-00-AA-*"}}, full, boot.Yes},
		{"uuid in the other order", boot.Selector{UUID: []boot.UUID{uuid.Swapped()}}, full, boot.Yes},
		{"star crosses a slash", boot.Selector{Serial: []string{"RIG*"}}, full, boot.Yes},
		{"one of several", boot.Selector{Serial: []string{"X", "RIG?7"}}, full, boot.Yes},
		{"every kind must hold", boot.Selector{Serial: []string{"RIG*"}, Network: []string{"other"}}, full, boot.No},
		{"serial unknown yet", boot.Selector{Serial: []string{"RIG*"}}, boot.Facts{ID: boot.Identity{MAC: mac}}, boot.Maybe},
		{"serial unknown for good", boot.Selector{Serial: []string{"RIG*"}}, boot.Facts{ID: boot.Identity{MAC: mac}, Complete: true}, boot.No},
		{"unknown and wrong", boot.Selector{Serial: []string{"RIG*"}, Network: []string{"other"}}, boot.Facts{Network: "lab"}, boot.No},
		{"absent serial is not an empty match", boot.Selector{Serial: []string{"*"}}, boot.Facts{Complete: true}, boot.No},
	} {
		if got := c.s.Match(c.f); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// FuzzSelector: no pattern panics, the choice does not depend on the order in
// which templates are stored, and more facts never turn a no into a yes.
func FuzzSelector(f *testing.F) {
	f.Add("52:54:00:*", "RIG*", "bios", "lab", "RIG-7", 3)
	f.Add("[", "?", "x64-uefi", "", "", 0)
	f.Fuzz(func(t *testing.T, mac, serial, arch, network, have string, prio int) {
		ts := []*boot.Template{
			{Name: "a", Priority: prio, Match: boot.Selector{MAC: []string{mac}, Serial: []string{serial}}},
			{Name: "b", Match: boot.Selector{Serial: []string{serial}, Network: []string{network}}},
			{Name: "c", Match: boot.Selector{Arch: []boot.Platform{boot.Platform(arch)}}},
		}
		facts := boot.Facts{ID: boot.Identity{MAC: boot.MAC{0x52, 0x54, 0, 1, 2, 3}}, Platform: boot.BIOS, Network: "lab"}
		more := facts
		more.ID.Serial, more.Complete = strings.ToValidUTF8(have, ""), true
		for _, x := range ts {
			_ = x.Validate()
			if x.Match.Match(facts) == boot.No && x.Match.Match(more) != boot.No {
				t.Fatalf("%+v: no became yes with more facts", x.Match)
			}
		}
		boot.SortTemplates(ts)
		first := boot.Choose(ts, more)
		slices.Reverse(ts)
		boot.SortTemplates(ts)
		if second := boot.Choose(ts, more); first.Template != second.Template {
			t.Fatal("the choice depends on the order of storing")
		}
	})
}
