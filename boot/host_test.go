package boot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestHostValidate: what a host's record may hold.
func TestHostValidate(t *testing.T) {
	macs := func(n int) (out []boot.MAC) {
		for i := range n {
			out = append(out, boot.MAC{2, 0, 0, 0, 0, byte(i)})
		}
		return out
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	for i, c := range []struct {
		change func(*boot.Host)
		want   string // "" is well
	}{
		{func(h *boot.Host) {}, ""},
		{func(h *boot.Host) { h.Name = "" }, "host name"},
		{func(h *boot.Host) { h.Name = x(63) }, ""},
		{func(h *boot.Host) { h.Name = x(64) }, "host name"},
		{func(h *boot.Host) { h.Name = "a-b.c_9" }, ""},
		{func(h *boot.Host) { h.Name = "-a" }, "host name"},
		{func(h *boot.Host) { h.Name = "a." }, "host name"},
		{func(h *boot.Host) { h.Name = "a b" }, "host name"},
		{func(h *boot.Host) { h.State = "" }, "state"},
		{func(h *boot.Host) { h.State = boot.Denied }, ""},
		{func(h *boot.Host) { h.MACs = nil }, "nothing identifies it"},
		{func(h *boot.Host) { h.MACs, h.UUID = nil, boot.UUID{1, 2} }, ""},
		{func(h *boot.Host) { h.MACs, h.Serial = nil, "RIG-7" }, ""},
		{func(h *boot.Host) { h.MACs, h.DUID = nil, "0004" }, ""},
		{func(h *boot.Host) { h.MACs, h.BoundPort = nil, x(128) }, ""},
		{func(h *boot.Host) { h.BoundPort = x(129) }, "switch port"},
		{func(h *boot.Host) { h.BoundPort = "a\x1b" }, "switch port"},
		{func(h *boot.Host) { h.MACs = macs(64) }, ""},
		{func(h *boot.Host) { h.MACs = macs(65) }, "at most 64"},
		{func(h *boot.Host) { h.MACs = append(macs(2), macs(1)...) }, "listed twice"},
		{func(h *boot.Host) { h.MACs = []boot.MAC{{3}} }, "no station's address"},
		{func(h *boot.Host) { h.Options = make([]boot.Option, 64) }, ""},
		{func(h *boot.Host) { h.Options = make([]boot.Option, 65) }, "at most 64"},
		{func(h *boot.Host) {
			h.UUID, _ = boot.ParseUUID("03000200-0400-0500-0006-000700080009")
		}, "vendor's filler"},
		{func(h *boot.Host) { h.Serial = "To be filled by O.E.M." }, "is filler"},
		{func(h *boot.Host) { h.Params = map[string]string{"role": x(1024)} }, ""},
		{func(h *boot.Host) { h.Params = map[string]string{"role": x(1025)} }, "parameter role"},
		{func(h *boot.Host) { h.Params = map[string]string{"role": "a\nb"} }, "parameter role"},
		{func(h *boot.Host) { h.Params = map[string]string{"a role": "x"} }, "parameter name"},
	} {
		h := &boot.Host{ID: 1, Name: "web1", State: boot.Approved, MACs: macs(1)}
		c.change(h)
		if err := h.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: %v, want %q", i, err, c.want)
		}
	}
	for want, h := range map[string]boot.Host{"": {}, "a": {Template: "a"}, "b": {Once: "b"}, "a b": {Template: "a", Once: "b"}, "c": {Template: "c", Once: "c"}} {
		if got := strings.Join(h.Templates(), " "); got != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
}

// TestArchitectures: the numbers are those of the registry, each with what boots there
// and how; a selector may use their names and no others.
func TestArchitectures(t *testing.T) {
	for platform, c := range map[boot.Platform]struct{ file, url []boot.Arch }{
		boot.BIOS:     {[]boot.Arch{0}, []boot.Arch{20}},
		boot.IA32UEFI: {[]boot.Arch{6}, []boot.Arch{15}},
		boot.X64UEFI:  {[]boot.Arch{7, 9}, []boot.Arch{16, 17}}, boot.ARM32UEFI: {[]boot.Arch{10}, []boot.Arch{18}}, boot.ARM64UEFI: {[]boot.Arch{11}, []boot.Arch{19}},
	} {
		for _, a := range slices.Concat(c.file, c.url) {
			http := slices.Contains(c.url, a)
			want := fmt.Sprintf("%s(%d)", platform, uint16(a))
			if http {
				want = fmt.Sprintf("%s-http(%d)", platform, uint16(a))
			}
			if a.HTTP() != http || a.String() != want {
				t.Errorf("%d is %s, by URL %v; want %s", uint16(a), a, a.HTTP(), want)
			}
		}
		if !boot.KnownPlatform(platform) || platform.UEFI() != (platform != boot.BIOS) {
			t.Errorf("%s: known %v, UEFI %v", platform, boot.KnownPlatform(platform), platform.UEFI())
		}
	}
	if boot.KnownPlatform("x86") || boot.Arch(999).String() != "unknown(999)" || boot.ArchNone.String() != "none" {
		t.Error("what is no architecture has a name")
	}
}
