package templates

import (
	"errors"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

func files(names ...string) map[string]boot.Blob {
	out := map[string]boot.Blob{}
	for _, n := range names {
		out[n] = boot.Blob{Digest: "d", Size: 1}
	}
	return out
}

// TestSuggest: what is known of an image decides, and where nothing is known its names.
func TestSuggest(t *testing.T) {
	two := &boot.Image{Name: "talos", Title: "Talos Linux 1.13", Kind: "talos", Files: files("kernel-amd64", "initramfs-amd64.xz", "kernel-arm64", "initramfs-arm64.xz"), Cmdline: "first{{ with .Params.config }} talos.config={{ . }}{{ end }}",
		Boots:    []boot.ImageBoot{{Arch: "x64", Kernel: "kernel-amd64", Initrd: []string{"initramfs-amd64.xz"}}, {Arch: "arm64", Kernel: "kernel-arm64", Initrd: []string{"initramfs-arm64.xz"}}},
		Variants: []boot.ImageVariant{{Name: "boot", Title: "Boot", Cmdline: "first{{ with .Params.config }} talos.config={{ . }}{{ end }}"}, {Name: "rescue", Title: "Rescue", Cmdline: "second={{ .Params.disk }}"}},
		Params:   []boot.ImageParam{{Name: "config", Help: "a URL"}, {Name: "disk", Help: "which disk", Required: true}}}
	for _, c := range []struct {
		name          string
		image         *boot.Image
		arch, variant string
		want          string // template.toml, or what the error says
	}{
		{"two architectures", two, "", "", "image talos has more than one architecture, or not the one that was named: say which, x64 or arm64"},
		{"no such architecture", two, "riscv64", "", "say which, x64 or arm64"},
		{"no such variant", two, "x64", "install", "say which, boot or rescue"},
		{"one of them", two, "arm64", "", "# Talos Linux 1.13: Boot\nname = \"talos-arm64\"\n[boot]\nkernel  = \"image:talos/kernel-arm64\"\ninitrd  = [\"image:talos/initramfs-arm64.xz\"]\ncmdline = \"first{{ with .Params.config }} talos.config={{ . }}{{ end }}\"\n\n[params.config]\ntype = \"string\"\ndefault = \"\"\nhelp = \"a URL\"\n"},
		{"another variant", two, "x64", "rescue", "# Talos Linux 1.13: Rescue\nname = \"talos-x64-rescue\"\n[boot]\nkernel  = \"image:talos/kernel-amd64\"\ninitrd  = [\"image:talos/initramfs-amd64.xz\"]\ncmdline = \"second={{ .Params.disk }}\"\n\n[params.disk]\ntype = \"string\"\nrequired = true\nhelp = \"which disk\"\n"},
		{"a folder that somebody made", &boot.Image{Name: "mine", Files: files("a/vmlinuz-6.1", "a/initrd.img-6.1", "b/initrd.img", "notes")}, "", "", "name = \"mine\"\n[boot]\nkernel  = \"image:mine/a/vmlinuz-6.1\"\ninitrd  = [\"image:mine/a/initrd.img-6.1\"]\n"},
		{"of which no architecture is known", &boot.Image{Name: "mine", Files: files("vmlinuz")}, "x64", "", "of image mine no architecture is known"},
		{"a disc that nobody knows", &boot.Image{Name: "disc", Files: files("disc.iso"), Tree: "disc.iso"}, "", "", "name = \"disc\"\n[boot]\nfile = \"image:disc/disc.iso\"\n"},
		{"nothing that boots", &boot.Image{Name: "notes", Files: files("notes")}, "", "", ""},
		{"the disc in the initrd", &boot.Image{Name: "pve", Files: files("linux26", "initrd.img", "pve.iso"), Tree: "pve.iso", DiscAt: "/proxmox.iso", Boots: []boot.ImageBoot{{Arch: "x64", Kernel: "linux26", Initrd: []string{"initrd.img"}}}}, "", "", "name = \"pve\"\n[boot]\nkernel  = \"image:pve/linux26\"\ninitrd  = [\"image:pve/initrd.img\"]\n\n[boot.files]\n\"/proxmox.iso\" = \"image:pve/pve.iso\"\n"},
	} {
		got, err := Suggest(c.image, c.arch, c.variant)
		said := got[SpecFile]
		if err != nil {
			said = err.Error()
		}
		if said != c.want && (err == nil || !strings.Contains(said, c.want)) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, said, c.want)
		}
	}
	var which *ErrWhich
	if _, err := Suggest(two, "", ""); !errors.As(err, &which) || which.What != "architecture" {
		t.Errorf("%v", err)
	}
}
