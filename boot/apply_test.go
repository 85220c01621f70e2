// apply_test.go: what orders answer that no conversation asks for.

package boot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// do carries out an order that must succeed, and returns what it changed.
func (w *world) do(t *testing.T, o boot.Order) boot.Changes {
	t.Helper()
	c, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person, Name: "ann"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestProtectTakesTheTicket: an armed host that is protected loses its ticket, and the
// event says so; one without a ticket loses none.
func TestProtectTakesTheTicket(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.PushTemplate{Template: boot.Template{Name: "inst", Install: true, Media: []string{"vmlinuz"}, Files: map[string]boot.Blob{"vmlinuz": {}}}})
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, Template: "inst", MACs: []boot.MAC{aMAC}}})
	w.do(t, boot.Install{Name: "web1"})
	yes, no := true, false
	for _, c := range []struct {
		to    *bool
		taken bool
	}{{&yes, true}, {&no, false}, {&yes, false}} {
		es := w.do(t, boot.SetHost{Name: "web1", Protected: c.to}).Events
		if len(es) != 1 || strings.Contains(es[0].Text, "its ticket taken away") != c.taken {
			t.Errorf("protected %v: %+v", *c.to, es)
		}
	}
}

// TestPushTellsOfMissingImages: each image that a template needs and that is not there
// as it needs it is told once, and the template is stored all the same.
func TestPushTellsOfMissingImages(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.ImportImage{Image: boot.Image{Name: "deb", Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 1}}}})
	c := w.do(t, boot.PushTemplate{Template: boot.Template{Name: "a", Files: map[string]boot.Blob{"vmlinuz": {}}}, Images: []string{"deb", "deb/vmlinuz", "deb/initrd", "none/vmlinuz", "none/initrd", "none"}})
	want := []string{"image deb has no file initrd: ", "there is no image none yet: "}
	if len(c.Warnings) != len(want) || c.Template == nil {
		t.Fatalf("%q", c.Warnings)
	}
	for i := range want {
		if !strings.HasPrefix(c.Warnings[i], want[i]) {
			t.Errorf("%q, want %q", c.Warnings[i], want[i])
		}
	}
}

// TestImageBootsItsOwnFiles: what an import says of how the image boots must be among
// its files, and is bounded; text of a medium reaches no terminal.
func TestImageBootsItsOwnFiles(t *testing.T) {
	w := inLab(t, nil)
	img := boot.Image{Name: "deb", Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 1}}}
	for what, boots := range map[string][]boot.ImageBoot{
		"boot linux, which is not among its files":     {{Arch: "x64", Kernel: "linux"}},
		"boot initrd.gz, which is not among its files": {{Arch: "x64", Kernel: "vmlinuz", Initrd: []string{"initrd.gz"}}},
		"more than 32 kernels":                         make([]boot.ImageBoot, 33),
		"more than 32 initrds":                         {{Kernel: "vmlinuz", Initrd: make([]string, 33)}},
	} {
		x := img
		x.Boots = boots
		if _, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.ImportImage{Image: x}); boot.FaultOf(err) == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	img.Boots = []boot.ImageBoot{{Arch: "x64\x1b[2J", Kernel: "vmlinuz"}}
	img.Variants = []boot.ImageVariant{{Name: "a\x1b", Title: "\x1b[2Jb", Cmdline: "c\x1b"}}
	img.Params = []boot.ImageParam{{Name: "d\x1b", Help: "\x1be"}}
	c := w.do(t, boot.ImportImage{Image: img})
	if s := fmt.Sprintf("%+v", c.Image); strings.Contains(s, "\x1b") || c.Image.Boots[0].Kernel != "vmlinuz" {
		t.Errorf("%q", s)
	}
}

// TestUnknownNames: an order that names what is not there is refused with as much of
// the name as a person needs, and with where to look.
func TestUnknownNames(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", MACs: []boot.MAC{aMAC}}})
	name := strings.Repeat("n", 100)
	for want, o := range map[string]boot.Order{
		"no host is called ":      boot.Approve{Name: name},
		"no template is called ":  boot.SetHost{Name: "web1", Template: &name},
		"no template is called  ": boot.DropTemplate{Name: name},
		"no image is called ":     boot.RemoveImage{Name: name},
	} {
		_, err := w.engine.Do(w.ctx, boot.Actor{}, o)
		if f := boot.FaultOf(err); f == nil || f.Text != strings.TrimSpace(want)+" "+name[:64] || f.Hint == "" {
			t.Errorf("%T: %v", o, err)
		}
	}
}

// TestRescueIsRefused: what a host cannot boot once is said, and nothing is changed.
func TestRescueIsRefused(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.PushTemplate{Template: boot.Template{Name: "inst", Install: true, Media: []string{"vmlinuz"}, Files: map[string]boot.Blob{"vmlinuz": {}}}})
	w.do(t, boot.PushTemplate{Template: boot.Template{Name: "live", Files: map[string]boot.Blob{"vmlinuz": {}}}})
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, MACs: []boot.MAC{aMAC}}})
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "waits", MACs: []boot.MAC{{2, 2}}}})
	for o, code := range map[boot.Rescue]boot.FaultCode{
		{Name: "web1", Template: "none"}: boot.UnknownTemplate, {Name: "web1", Template: "inst"}: boot.Invalid, {Name: "waits", Template: "live"}: boot.WrongState, {Name: "nobody", Template: "live"}: boot.UnknownHost,
	} {
		c, err := w.engine.Do(w.ctx, boot.Actor{}, o)
		if f := boot.FaultOf(err); f == nil || f.Code != code || c.Host != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if h := w.do(t, boot.Rescue{Name: "web1", Template: "live"}).Host; h == nil || h.Once != "live" {
		t.Errorf("%+v", h)
	}
}

// TestActorInASentence: who gave an order, as a person reads it.
func TestActorInASentence(t *testing.T) {
	for want, a := range map[string]boot.Actor{
		"a person": {}, "a program": {Kind: boot.Program}, "ann": {Kind: boot.Person, Name: "ann"}, "program muster": {Kind: boot.Program, Name: "muster"},
	} {
		if got := a.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestListKnowsByAnyName: a line of a list is known by all its MACs, and without one
// by its UUID or its serial number.
func TestListKnowsByAnyName(t *testing.T) {
	w := inLab(t, nil)
	uuid, err := boot.ParseUUID("4c4c4544-0042-3310-8052-b4c04f4d3232")
	if err != nil {
		t.Fatal(err)
	}
	two := boot.MAC{2, 0, 0, 0, 0, 2}
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, MACs: []boot.MAC{aMAC, two}, UUID: uuid, Serial: "RIG-7"}})
	for what, h := range map[string]boot.NewHost{
		"both MACs": {Name: "x", MACs: []boot.MAC{two, aMAC}}, "a MAC": {Name: "x", MACs: []boot.MAC{two}},
		"its UUID": {Name: "x", UUID: uuid}, "its serial": {Name: "x", Serial: "RIG-7"}, "a serial beside another UUID": {Name: "x", UUID: boot.UUID{1}, Serial: "RIG-7"},
	} {
		if c := w.do(t, boot.AddHosts{Hosts: []boot.NewHost{h}}); len(c.Listed) != 1 || c.Listed[0].Known == nil || c.Listed[0].Known.Name != "web1" || len(c.Hosts) != 0 {
			t.Errorf("%s: %+v", what, c.Listed)
		}
	}
	if c := w.do(t, boot.AddHosts{Hosts: []boot.NewHost{{Name: "y", Serial: "RIG-8"}}}); len(c.Hosts) != 1 {
		t.Errorf("a new serial: %+v", c.Listed)
	}
}

// TestOptionOfAHostGoes: by its name or its number, that one alone; one that is not
// there is a mistake.
func TestOptionOfAHostGoes(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "web1", MACs: []boot.MAC{aMAC}}})
	opts, err := options("ntp-servers=10.0.0.1;domain-name=lab")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"42", "ntp-servers"} {
		w.do(t, boot.SetHost{Name: "web1", Options: opts})
		if h := w.do(t, boot.SetHost{Name: "web1", NoOption: []string{name}}).Host; h == nil || len(h.Options) != 1 || h.Options[0].Name() != "domain-name" {
			t.Errorf("without %s: %+v", name, h)
		}
	}
	if _, err := w.engine.Do(w.ctx, boot.Actor{}, boot.SetHost{Name: "web1", NoOption: []string{"42"}}); boot.FaultOf(err) == nil {
		t.Errorf("it has no option 42: %v", err)
	}
}

// TestKernelOfAnotherArch: a template for machines that cannot run the kernel of its image
// is refused when it is pushed.
func TestKernelOfAnotherArch(t *testing.T) {
	w := inLab(t, nil)
	w.do(t, boot.ImportImage{Image: boot.Image{Name: "deb", Files: map[string]boot.Blob{"vmlinuz": {Digest: "d", Size: 1}, "linux": {Digest: "d", Size: 1}, "initrd": {Digest: "d", Size: 1}},
		Boots: []boot.ImageBoot{{Arch: "x64", Kernel: "vmlinuz"}, {Arch: "arm64", Kernel: "linux"}}}})
	for _, c := range []struct {
		arch, needs []boot.Platform
		kernel      string
		want        string
	}{
		{nil, nil, "vmlinuz", ""},
		{[]boot.Platform{boot.BIOS, boot.ARM64UEFI}, nil, "vmlinuz", ""},
		{[]boot.Platform{boot.ARM64UEFI}, nil, "vmlinuz", "is for machines with arm64-uefi, and the kernel of image deb, vmlinuz, is for x64"},
		{nil, []boot.Platform{boot.X64UEFI, boot.BIOS}, "linux", "is for machines with x64-uefi or bios, and the kernel of image deb, linux, is for arm64"},
		{[]boot.Platform{boot.ARM64UEFI}, nil, "linux", ""},
	} {
		x := boot.Template{Name: "t", Files: map[string]boot.Blob{"template.toml": {}}, Boots: []string{"image:deb/" + c.kernel, "image:deb/initrd"}, Match: boot.Selector{Arch: c.arch}, Needs: boot.Needs{Arch: c.needs}}
		_, err := w.engine.Do(w.ctx, boot.Actor{Kind: boot.Person}, boot.PushTemplate{Template: x})
		if f := boot.FaultOf(err); (f == nil) != (c.want == "") || f != nil && !strings.Contains(f.Text, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestMergeKnowsTheMachineOfToday: memory, disks and network are those of the host that
// booted last.
func TestMergeKnowsTheMachineOfToday(t *testing.T) {
	w := inLab(t, nil)
	for _, name := range []string{"old", "new"} {
		w.do(t, boot.AddHost{Host: boot.NewHost{Name: name, Serial: name}})
	}
	told := func(name string, booted time.Time, memory int64, disk, on string) {
		t.Helper()
		err := w.store.Update(w.ctx, func(tx boot.Tx) error {
			h, err := tx.HostByName(name)
			if err != nil {
				return err
			}
			h.Booted, h.Memory, h.Disks, h.SeenOn = booted, memory, []boot.Disk{{Name: disk}}, on
			return tx.PutHost(h)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	told("old", now, 1<<30, "sda", "lab")
	told("new", now.Add(time.Hour), 2<<30, "nvme0n1", "dmz")
	if h := w.do(t, boot.Merge{Name: "old", Other: "new"}).Host; h.Memory != 2<<30 || h.Disks[0].Name != "nvme0n1" || h.SeenOn != "dmz" {
		t.Errorf("of the newer: %+v", h)
	}
	w.do(t, boot.AddHost{Host: boot.NewHost{Name: "older", Serial: "older"}})
	told("older", now.Add(-time.Hour), 1<<20, "hda", "attic")
	if h := w.do(t, boot.Merge{Name: "old", Other: "older"}).Host; h.Memory != 2<<30 || h.Disks[0].Name != "nvme0n1" || h.SeenOn != "dmz" {
		t.Errorf("of the older: %+v", h)
	}
}

// TestMirrorKeepsWhatItHad: an update leaves packages and lists by their hash of the update
// before, and of that one alone; the same again is no update.
func TestMirrorKeepsWhatItHad(t *testing.T) {
	w := inLab(t, nil)
	put := func(names ...string) *boot.Image {
		t.Helper()
		files := map[string]boot.Blob{}
		for _, n := range names {
			files[n] = boot.Blob{Digest: n, Size: 1}
		}
		return w.do(t, boot.ImportImage{Image: boot.Image{Name: "deb", Kind: boot.MirrorImage, Files: files}}).Image
	}
	const one, two, three = "pool/a_1.deb", "pool/a_2.deb", "pool/a_3.deb"
	put("dists/x/InRelease", "dists/x/by-hash/SHA256/1", one)
	for range 2 {
		i := put("dists/x/InRelease", "dists/x/by-hash/SHA256/2", two)
		if len(i.Files) != 5 || i.Files[one].Size != 1 || strings.Join(i.Before, " ") != "dists/x/by-hash/SHA256/1 "+one {
			t.Errorf("%v, before %v", i.Files, i.Before)
		}
	}
	i := put("dists/x/InRelease", three)
	if len(i.Files) != 4 || i.Files[one].Size != 0 || i.Files[two].Size != 1 {
		t.Errorf("%v, before %v", i.Files, i.Before)
	}
	up := boot.Image{Upstream: "http://a"}
	if !up.Lazy(one) || up.Lazy("dists/x/InRelease") || i.Lazy(one) {
		t.Error("which files may be left to an upstream")
	}
}
