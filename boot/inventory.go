// inventory.go: what a machine is made of, as it reports itself.

package boot

import (
	"fmt"
	"strings"
	"time"
)

// Inventory is what one report said of a machine's hardware. People and programs
// read it. Decisions use of it what is kept with the host, memory and disks: nothing proves
// what a machine says of itself.
type Inventory struct {
	At      time.Time `json:"at"`
	Boot    uint32    `json:"boot"`
	CPU     string    `json:"cpu,omitempty"` // model
	Arch    string    `json:"arch,omitempty"`
	Sockets int       `json:"sockets,omitempty"`
	Cores   int       `json:"cores,omitempty"`   // in all
	Threads int       `json:"threads,omitempty"` // in all
	Memory  int64     `json:"memory,omitempty"`  // bytes
	Disks   []Disk    `json:"disks,omitempty"`
	NICs    []NIC     `json:"nics,omitempty"`
	PCI     []string  `json:"pci,omitempty"` // lines of lspci
}

// Disk is a block device that is no partition.
type Disk struct {
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"` // bytes
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	Bus    string `json:"bus,omitempty"` // sata, nvme, usb
	Spins  bool   `json:"spins,omitempty"`
}

// NIC is a network interface.
type NIC struct {
	Name  string `json:"name"`
	MAC   MAC    `json:"mac,omitzero"`
	State string `json:"state,omitempty"` // up, down
}

// Bounds of one inventory: what a report has beyond them is left out.
const (
	maxDisks     = 128
	maxNICs      = 128
	maxPCI       = 256
	maxFactBytes = 160

	maxKnownDisks = 24 // kept in memory with the host
)

// Clean keeps an inventory to its bounds and to text that can stand on a
// terminal.
func (v *Inventory) Clean() {
	text := func(s *string) { *s = strings.TrimSpace(CleanText(*s, maxFactBytes)) }
	text(&v.CPU)
	text(&v.Arch)
	v.Disks = v.Disks[:min(len(v.Disks), maxDisks)]
	for i := range v.Disks {
		d := &v.Disks[i]
		for _, s := range []*string{&d.Name, &d.Model, &d.Serial, &d.Bus} {
			text(s)
		}
	}
	v.NICs = v.NICs[:min(len(v.NICs), maxNICs)]
	for i := range v.NICs {
		text(&v.NICs[i].Name)
		text(&v.NICs[i].State)
	}
	v.PCI = v.PCI[:min(len(v.PCI), maxPCI)]
	for i := range v.PCI {
		text(&v.PCI[i])
	}
}

// String is the machine in one line.
func (v *Inventory) String() string {
	var parts []string
	if v.CPU != "" || v.Threads > 0 {
		cpu := v.CPU
		if v.Sockets > 1 {
			cpu = fmt.Sprintf("%d x %s", v.Sockets, cpu)
		}
		if v.Threads > 0 {
			cpu = strings.TrimSpace(fmt.Sprintf("%s (%d threads)", cpu, v.Threads))
		}
		parts = append(parts, cpu)
	}
	if v.Memory > 0 {
		parts = append(parts, fmt.Sprintf("%.0f GiB of memory", float64(v.Memory)/(1<<30)))
	}
	for _, c := range []struct {
		n    int
		what string
	}{{len(v.Disks), "disk"}, {len(v.NICs), "network interface"}, {len(v.PCI), "PCI device"}} {
		switch {
		case c.n == 1:
			parts = append(parts, "1 "+c.what)
		case c.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}
