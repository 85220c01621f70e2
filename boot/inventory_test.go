package boot

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestInventoryIsBounded: of a report stays what its bounds allow, as text that can
// stand on a terminal.
func TestInventoryIsBounded(t *testing.T) {
	long, kept := "\x1b "+strings.Repeat("x", 200), strings.Repeat("x", 159)
	v := Inventory{CPU: long, Arch: long}
	for i := range 300 {
		n := fmt.Sprint(i)
		v.Disks = append(v.Disks, Disk{Name: n, Model: long, Serial: long, Bus: long})
		v.NICs = append(v.NICs, NIC{Name: n, State: long})
		v.PCI = append(v.PCI, n)
	}
	v.PCI[0] = long
	v.Clean()
	if len(v.Disks) != 128 || len(v.NICs) != 128 || len(v.PCI) != 256 || v.Disks[127].Name != "127" || v.NICs[127].Name != "127" || v.PCI[255] != "255" {
		t.Errorf("%d disks, %d NICs, %d PCI devices", len(v.Disks), len(v.NICs), len(v.PCI))
	}
	for i, s := range []string{v.CPU, v.Arch, v.Disks[0].Model, v.Disks[127].Serial, v.Disks[127].Bus, v.NICs[127].State, v.PCI[0]} {
		if s != kept {
			t.Errorf("text %d is %q", i, s)
		}
	}
	few := Inventory{Disks: []Disk{{Name: "sda"}}, NICs: []NIC{{Name: "eth0", State: "up"}}, PCI: []string{"x"}}
	if few.Clean(); !slices.Equal(few.Disks, []Disk{{Name: "sda"}}) || few.NICs[0].State != "up" || len(few.PCI) != 1 {
		t.Errorf("%+v", few)
	}
}

// TestInventoryInOneLine: a machine as a person reads it.
func TestInventoryInOneLine(t *testing.T) {
	for want, v := range map[string]Inventory{
		"":                       {},
		"EPYC":                   {CPU: "EPYC", Sockets: 1},
		"2 x EPYC (128 threads)": {CPU: "EPYC", Sockets: 2, Threads: 128},
		"(4 threads)":            {Threads: 4},
		"16 GiB of memory, 1 disk, 2 network interfaces, 3 PCI devices": {Memory: 16 << 30, Disks: make([]Disk, 1), NICs: make([]NIC, 2), PCI: make([]string, 3)},
	} {
		if got := v.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
