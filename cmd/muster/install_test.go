// install_test.go: whole boots of machines that ask the network first, with an
// installer that writes a disk: it runs once, whatever happens on the way.

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// diskSays is what a machine prints that boots the disk of bootDisk.
const diskSays = "MUSTER-DISK: running"

// bootDisk makes a disk that a machine with this firmware boots.
func bootDisk(t *testing.T, fw nettest.Firmware) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "disk.img")
	if fw == nettest.BIOS {
		// Prints what follows it, by the BIOS, and halts.
		sector := append([]byte{
			0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
			0xbe, 0x18, 0x7c, // mov si, 0x7c18
			0xac, 0x84, 0xc0, 0x74, 0x09, // lodsb; test al, al; jz halt
			0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, // mov ah, 0xe; mov bx, 7; int 0x10
			0xeb, 0xf2, // jmp lodsb
			0xf4, 0xeb, 0xfd, // halt: hlt; jmp halt
		}, diskSays+"\r\n\x00"...)
		sector = append(sector, make([]byte, 510-len(sector))...)
		must(t, os.WriteFile(img, append(append(sector, 0x55, 0xaa), make([]byte, 63*512)...), 0o644))
		return img
	}
	nettest.Need(t, "mformat", "mcopy", "mmd")
	grub := nettest.Cached(t, "secureboot/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
	cfg := filepath.Join(t.TempDir(), "grub.cfg")
	must(t, os.WriteFile(cfg, []byte("echo '"+diskSays+"'\nsleep 3600\n"), 0o644))
	for _, args := range [][]string{
		{"mformat", "-i", img, "-C", "-T", "16384", "-h", "16", "-s", "32", "::"},
		{"mmd", "-i", img, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"},
		{"mcopy", "-i", img, grub, "::/EFI/BOOT/BOOTX64.EFI"},
		{"mcopy", "-i", img, cfg, "::/EFI/debian/grub.cfg"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return img
}

// TestInstall: approved once, installed once. The machine asks the network
// first at every power-on, and gets its disk from then on, also when the server
// died between the last byte and the report, and when no report ever came.
func TestInstall(t *testing.T) {
	again := 1
	if os.Getenv("MUSTER_LONG") != "" {
		again = 10
	}
	for _, c := range []struct {
		name     string
		fw       nettest.Firmware
		platform boot.Platform
		report   string
	}{
		{"bios", nettest.BIOS, boot.BIOS, "{{ .ReportURL }}"},
		{"uefi", nettest.UEFI, boot.X64UEFI, "{{ .ReportURL }}"},
		{"bios-lost", nettest.BIOS, boot.BIOS, "http://{{ .Server }}/lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			kernel, initrd, _ := r.kernelFor(c.fw)
			disk := bootDisk(t, c.fw)
			if c.fw == nettest.UEFI {
				r.debian13Loaders("snponly.efi") // spares its wait for an IPv6 router
			}
			r.serveConfig(fullNetwork + "[enroll]\npolicy=\"approve\"\n")
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, "name = \"disk\"\ninstall = true\n[match]\narch = [%q]\n[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = %q\n",
				c.platform, nettest.ConsoleArg(c.fw.Arch())+" quiet muster.report="+c.report+" muster.install={{ .BaseURL }}/disk.img muster.reboot"), 0o644))
			for name, from := range map[string]string{"vmlinuz": kernel, "initrd.gz": initrd, "disk.img": disk} {
				must(t, os.Symlink(from, filepath.Join(dir, name)))
			}
			r.muster("template", "push", dir)
			g := guest(c.fw)
			g.Disk = filepath.Join(t.TempDir(), "empty.img")
			must(t, os.WriteFile(g.Disk, nil, 0o644))
			must(t, os.Truncate(g.Disk, 16<<20))
			vm := r.boot(g)
			must(t, vm.WaitConsole(r.ctx, "waiting for approval: muster host approve "+guestName))
			if said := r.muster("host", "approve", guestName); !strings.Contains(said, "its next boot installs") {
				t.Errorf("approval does not say that it installs: %q", said)
			}
			must(t, vm.WaitConsole(r.ctx, "MUSTER-GUEST: disk written"))
			lost := strings.HasSuffix(c.report, "lost")
			if lost {
				// The installer has run, and nobody knows how it ended.
				r.stop(true)
				r.serveConfig(fullNetwork + "[enroll]\npolicy=\"approve\"\n")
			}
			must(t, vm.WaitConsole(r.ctx, diskSays))
			for range again {
				must(t, vm.Reset())
				must(t, vm.WaitConsole(r.ctx, diskSays))
			}
			d := r.show(guestMAC)
			want := "installed disk in boot 1"
			if lost {
				want = "install unconfirmed: boot 1 asked for all of disk and has not reported its end"
			}
			if got := d.Ticket.Standing(); got != want {
				t.Errorf("the host stands at %q, want %q", got, want)
			}
			// Ten power-ons push the first boot out of the timeline; its event stays.
			n, scripts := strings.Count(strings.Join(timeline(d), "\n"), "http vmlinuz"), strings.Count(r.muster("event", "list", "--kind", "boot.script"), "boots disk version 1")
			if (n > 1 || n == 0 && again == 1) && !lost || d.Boots != 1 || scripts != 1 {
				t.Errorf("%d kernels, %d boots, %d scripts, want one of each:\n%s", n, d.Boots, scripts, strings.Join(timeline(d), "\n"))
			}
			onDisk, err := os.ReadFile(g.Disk)
			must(t, err)
			wrote, err := os.ReadFile(disk)
			must(t, err)
			if !bytes.Equal(onDisk[:512], wrote[:512]) {
				t.Error("the disk is not what the installer wrote")
			}
			if said := r.muster("host", "show", guestName); !strings.Contains(said, want) {
				t.Errorf("host show does not say %q:\n%s", want, said)
			}
		})
	}
}
