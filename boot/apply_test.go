// apply_test.go: what orders answer that no conversation asks for.

package boot_test

import (
	"strings"
	"testing"

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
