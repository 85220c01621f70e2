// secure_test.go: whole boots of firmware that demands something: a signature,
// or a certificate it trusts.

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// pushFor pushes a template that lets every machine of a platform in and boots a
// Linux which reports.
func (r *rig) pushFor(fw nettest.Firmware, platform string) {
	r.t.Helper()
	kernel, initrd, cmdline := r.kernelFor(fw)
	r.pushLinux("linux", "auto_approve = true\n[match]\narch = [\""+string(platform)+"\"]", kernel, initrd, cmdline)
}

// TestSecureBoot: one network and one template, without any choice by a person.
// With Secure Boot on GRUB boots the signed kernel. With it off the signed pair
// comes first too, the machine boots, and it gets iPXE at once the next time.
func TestSecureBoot(t *testing.T) {
	for _, c := range []struct {
		name       string
		fw         nettest.Firmware
		on         bool
		platform   string
		cache      string
		shim, grub string
		grubFrom   string
	}{
		{"x64 on", nettest.UEFI, true, x64UEFI, "secureboot", "shimx64.efi", "grubx64.efi", "x86_64-efi-signed/grubnetx64.efi.signed"},
		{"x64 off", nettest.UEFI, false, x64UEFI, "secureboot", "shimx64.efi", "grubx64.efi", "x86_64-efi-signed/grubnetx64.efi.signed"},
		{"arm64 on", nettest.ARM64, true, arm64UEFI, "secureboot-arm64", "shimaa64.efi", "grubaa64.efi", "arm64-efi-signed/grubnetaa64.efi.signed"},
		{"arm64 off", nettest.ARM64, false, arm64UEFI, "secureboot-arm64", "shimaa64.efi", "grubaa64.efi", "arm64-efi-signed/grubnetaa64.efi.signed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.loader(c.shim, c.cache+"/usr/lib/shim/"+c.shim+".signed")
			r.loader(c.grub, c.cache+"/usr/lib/grub/"+c.grubFrom)
			r.serveConfig(fullNetwork)
			r.pushFor(c.fw, c.platform)
			g := guest(c.fw)
			g.Secure = c.on
			d := r.reported(r.boot(g))
			want := "off"
			if c.on {
				want = "on"
			}
			if d.Secure != want {
				t.Errorf("Secure Boot is noted as %q, want %q", d.Secure, want)
			}
			if d.Serial != guestSerial {
				t.Errorf("GRUB told serial %q", d.Serial)
			}
			var files []string
			for _, e := range d.Timeline {
				if q := e.Request; q != nil && q.Via == "tftp" {
					files = append(files, filepath.Base(q.Path))
				}
			}
			for _, f := range []string{c.shim, c.grub, "grub.cfg", "vmlinuz"} {
				if f == "vmlinuz" && !c.on && slices.Contains(files, "snponly.efi") {
					continue // Debian 13's GRUB goes on to iPXE where it may
				}
				if !slices.Contains(files, f) {
					t.Errorf("%s was not read over TFTP: %v", f, files)
				}
			}
		})
	}
}

// TestPlaced: a file of the template lies in the initial file system of the system
// that boots, whatever hands it over.
func TestPlaced(t *testing.T) {
	for _, c := range []struct {
		name     string
		fw       nettest.Firmware
		platform string
		grub     bool
	}{
		{"iPXE of BIOS", nettest.BIOS, bios, false},
		{"iPXE of UEFI", nettest.UEFI, x64UEFI, false},
		{"GRUB", nettest.UEFI, x64UEFI, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if c.grub {
				r.loader("shimx64.efi", "secureboot/usr/lib/shim/shimx64.efi.signed")
				r.loader("grubx64.efi", "secureboot/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")
			}
			r.serveConfig(fullNetwork)
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, "name = \"linux\"\nauto_approve = true\n[match]\narch = [%q]\n[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = %q\n[boot.files]\n\"/disc.iso\" = \"medium\"\n",
				c.platform, cmdline+" muster.see=/disc.iso"), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, "medium.tmpl"), []byte("the whole disc of {{ .Name }}"), 0o644))
			must(t, os.Symlink(kernel, filepath.Join(dir, "vmlinuz")))
			must(t, os.Symlink(initrd, filepath.Join(dir, "initrd.gz")))
			r.muster("template", "push", dir)
			g := guest(c.fw)
			g.Secure = c.grub
			vm := r.boot(g)
			if text := eventually(r.ctx, vm, time.Minute, "MUSTER-GUEST: running"); !strings.Contains(text, "MUSTER-GUEST: /disc.iso holds the whole disc of "+guestName) {
				t.Fatal("it does not see the file")
			}
			via := "http medium"
			if c.grub {
				via = "tftp medium"
			}
			inOrder(t, timeline(r.reported(vm)), []string{"boot.script", via, "boot.report"})
		})
	}
}

// TestHTTPS: firmware that trusts our CA boots over HTTPS. The timeline of
// firmware that does not trust it says why, if the firmware reported a reason.
// Debian's firmware, 12 and 13, has no elliptic curves.
func TestHTTPS(t *testing.T) {
	const (
		ours, anothers, none = "ours", "another's", "none"
		boots, nothing       = "boots", "nothing" // else the reason on the timeline
	)
	withoutCA := "unknown-ca"
	if b, _ := os.ReadFile("/etc/os-release"); strings.Contains(string(b), "VERSION_CODENAME=bookworm") {
		withoutCA = nothing // Debian 12's build gives up before it connects
	}
	for _, c := range []struct {
		name     string
		fw       nettest.Firmware
		debian13 bool
		ca       string
		rsa      bool // firmware_tls
		want     string
	}{
		{"installed", nettest.UEFIHTTP, false, ours, true, boots},
		{"installed another CA", nettest.UEFIHTTP, false, anothers, true, "unknown-ca"},
		{"installed no CA", nettest.UEFIHTTP, false, none, true, withoutCA},
		{"debian13", nettest.UEFIHTTP, true, ours, true, boots},
		{"debian13 no CA", nettest.UEFIHTTP, true, none, true, "unknown-ca"},
		{"debian13 no RSA", nettest.UEFIHTTP, true, ours, false, "no-shared-cipher"},
		{"arm64", nettest.ARM64HTTP, false, ours, true, boots},
	} {
		t.Run(c.name, func(t *testing.T) {
			platform := x64UEFI
			if c.fw == nettest.ARM64HTTP {
				platform = arm64UEFI
				if os.Getenv("MUSTER_LONG") == "" {
					t.Skip("takes half a minute and shows little more: MUSTER_LONG=1")
				}
			}
			r := newRig(t)
			r.debian13Loaders("snponly.efi", "ipxe-arm64.efi")
			config := fullNetwork + "https=true\n[https]\n"
			if c.rsa {
				config += "firmware_tls=true\n"
			}
			r.serveConfig(config)
			r.pushFor(c.fw, platform)
			g := guest(c.fw)
			if g.Debian13 = c.debian13; c.debian13 {
				nettest.Cached(t, "ovmf-13")
			}
			if c.ca != none {
				g.CACerts = filepath.Join(t.TempDir(), "cacerts.esl")
				r.muster("ca", "export", "--esl", g.CACerts)
			}
			if c.ca == anothers {
				other := r.second("another", "")
				other.serveConfig("[https]\n")
				g.CACerts = filepath.Join(t.TempDir(), "anothers.esl")
				other.muster("ca", "export", "--esl", g.CACerts)
				other.stop(false)
			}
			vm := r.boot(g)
			if c.want == boots {
				d := r.reported(vm)
				if !strings.Contains(vm.Console(), "URI: https://"+serverAddr+"/") {
					t.Errorf("it did not boot over HTTPS:\n%s", vm.Console())
				}
				inOrder(t, timeline(d), []string{"dhcp4 request ack", "http ask script", "http boot.ipxe", "boot.report"})
				return
			}
			must(t, vm.WaitConsole(r.ctx, "BdsDxe: failed to load Boot"))
			var asked, faults []string
			for _, s := range timeline(r.show(guestMAC)) {
				if s == "http handshake refuse" || s == "tls.failed" {
					faults = append(faults, s)
				} else if strings.HasPrefix(s, "http ") {
					asked = append(asked, s)
				}
			}
			if len(asked) > 0 {
				t.Errorf("it got %v", asked)
			}
			if c.want == nothing {
				if len(faults) > 0 {
					t.Errorf("it connected: %v", faults)
				}
				return
			}
			if !slices.Equal(faults, []string{"http handshake refuse", "tls.failed"}) {
				t.Errorf("on the timeline: %v", faults)
			}
			if shown := r.muster("host", "show", guestMAC); !strings.Contains(shown, "handshake: "+c.want+": it") {
				t.Errorf("a person who looks does not read %s:\n%s", c.want, shown)
			}
		})
	}
}
