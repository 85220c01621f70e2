package templates

import (
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestDisk: which disk a rule means, by what a machine reported.
func TestDisk(t *testing.T) {
	const gb = 1_000_000_000
	one := []boot.Disk{{Name: "vda", Size: 20 * gb, Serial: "V1"}, {Name: "sdb", Size: 64 * gb, Bus: "usb"}, {Name: "sdc", Size: 2 * gb}}
	many := []boot.Disk{{Name: "nvme0n1", Size: 1000 * gb, Serial: "  S4EV NX0"}, {Name: "nvme1n1", Size: 500 * gb, Serial: "N1"}, {Name: "sda", Size: 8000 * gb, Spins: true, Serial: "WD-1\n{{x}}"}, {Name: "sdd", Size: 100 * gb, Spins: true, Serial: "D"}}
	for _, c := range []struct {
		disks []boot.Disk
		rule  string
		want  string // name, a blank and the serial number; or a part of the error
	}{
		{one, "only", "vda V1"},
		{one, "", "vda V1"},
		{one, "largest", "vda V1"},
		{one, "/dev/vda", "vda V1"},
		{one, "/dev/vdz", "vdz "},
		{one, "serial:OTHER", " OTHER"},
		{one[1:], "largest", "none fits: sdb (64 GB, serial ) is removable; sdc (2 GB, serial ) is too small;"},
		{many, "only", "there are several, name one: nvme0n1 (1000 GB, serial S4EV-NX0);"},
		{many, "largest", "sda WD-1-x"},
		{many, "smallest", "sdd D"},
		{many, "smallest-ssd", "nvme1n1 N1"},
		{many, "serial:S4EVNX0", "nvme0n1 S4EVNX0"},
		{many, "by-id:ata-X", "an inventory does not tell it"},
		{many, "/dev/disk/by-id/x", "an inventory does not tell it"},
		{many, "first", "an inventory does not tell it"},
		{many, "serial:", "it names nothing"},
		{[]boot.Disk{{Name: "sdb", Size: 64 * gb, Bus: "usb", Serial: "STICK"}}, "serial:STICK", "sdb is removable"},
		{[]boot.Disk{{Name: "sda", Size: 64 * gb}}, "only", "sda has no serial number"},
		{nil, "serial:S 4", " S4"},
		{nil, "largest", "web9 has not reported its disks"},
	} {
		got, err := diskOf(c.rule, disks{c.disks, "web9"})
		said := got.Name + " " + got.Serial
		if err != nil {
			said = err.Error()
		}
		if said != c.want && (err == nil || !strings.Contains(said, c.want)) {
			t.Errorf("%s: %q, want %q", c.rule, said, c.want)
		}
	}
	// In a file it is one word, whatever a machine called its disk; and the list is no text.
	f := folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n[params.disk]\ndefault = \"largest\"\n", "k": "K", "a.toml.tmpl": "d = {{ (disk .Params.disk .Disks).Serial | toml }}\nn = {{ .Disks | toml }}\n"}
	spec, err := f.lint()
	if err != nil || !spec.Template().UsesDisks {
		t.Fatalf("%v", err)
	}
	s, tm := set(t, f)
	m := machine()
	m.Disks = many
	if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "a.toml", Template: pad(tm), Machine: m}); err != nil || got != "d = \"WD-1-x\"\nn = \"4 disks\"\n" {
		t.Errorf("%q, %v", got, err)
	}
}
