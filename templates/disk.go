// disk.go: which disk a rule means, by what the machine reported before: for installers that
// have no rule of their own and run no script.

package templates

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// disks are a machine's, for disk alone: what stands in them the machine said.
type disks struct {
	all  []boot.Disk // nil: it never reported them
	host string
}

func (d disks) String() string { return fmt.Sprintf("%d disks", len(d.all)) }

// chosenDisk is a disk as a file may name it: with letters, digits, "-", "_" and "." alone.
// Of one that is named and was not reported the rest is "".
type chosenDisk struct{ Name, Serial, Model string }

func (d chosenDisk) String() string { return d.Name }

// smallestDisk is what a rule takes no disk below: a stick, a BMC's disc.
const smallestDisk = 8_000_000_000

// diskOf is the rule that the catalogue's disk.sh follows on the machine itself.
func diskOf(rule string, d disks) (chosenDisk, error) {
	serial, bySerial := strings.CutPrefix(rule, "serial:")
	serial = strings.ReplaceAll(serial, " ", "")
	if name, is := strings.CutPrefix(rule, "/dev/"); is && !strings.Contains(name, "/") {
		for _, x := range d.all {
			if x.Name == name {
				return chosen(x), nil
			}
		}
		return chosenDisk{Name: plain(name)}, nil
	}
	fail := func(format string, args ...any) (chosenDisk, error) {
		return chosenDisk{}, fmt.Errorf("disk %s: %s", rule, fmt.Sprintf(format, args...))
	}
	if d.all == nil && !bySerial {
		return fail("%s has not reported its disks: name one by serial:NUMBER, or let it report an inventory first", d.host)
	}
	switch {
	case bySerial && serial == "":
		return fail("it names nothing")
	case !bySerial && !slices.Contains([]string{"", "only", "largest", "smallest", "smallest-ssd"}, rule):
		return fail("an inventory does not tell it: name it by serial:NUMBER")
	}
	var found *boot.Disk
	n, seen := 0, ""
	for i := range d.all {
		x := &d.all[i]
		why := ""
		switch {
		case x.Bus == "usb":
			why = " is removable"
		case x.Size < smallestDisk:
			why = " is too small"
		}
		seen += fmt.Sprintf(" %s (%d GB, serial %s)%s;", plain(x.Name), x.Size/1_000_000_000, plain(x.Serial), why)
		named := bySerial && strings.ReplaceAll(x.Serial, " ", "") == serial
		if why != "" && named {
			return fail("%s%s", plain(x.Name), why)
		}
		if why != "" {
			continue
		}
		switch {
		case rule == "only" || rule == "":
			found, n = x, n+1
		case rule == "largest" && (found == nil || x.Size > found.Size),
			rule == "smallest" && (found == nil || x.Size < found.Size),
			rule == "smallest-ssd" && !x.Spins && (found == nil || x.Size < found.Size),
			named:
			found = x
		}
	}
	switch {
	case n > 1:
		return fail("there are several, name one:%s", seen)
	case found == nil && bySerial: // it may be newer than the inventory
		return chosenDisk{Serial: plain(serial)}, nil
	case found == nil:
		return fail("none fits:%s", seen)
	}
	d1 := chosen(*found)
	if d1.Serial == "" { // the kernel's name is that of another boot
		return fail("%s has no serial number to be named by", d1.Name)
	}
	return d1, nil
}

func chosen(d boot.Disk) chosenDisk {
	return chosenDisk{Name: plain(d.Name), Serial: plain(strings.ReplaceAll(d.Serial, " ", "")), Model: plain(d.Model)}
}
