// uboot_test.go: machines whose firmware is U-Boot, from power-on to their report.

package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// TestUBoot boots U-Boot by its own words: its script, the list that its PXE command
// reads, and as the UEFI that it also is, which runs GRUB and not Debian's iPXE.
func TestUBoot(t *testing.T) {
	for _, c := range []struct {
		name     string
		fw       nettest.Firmware
		debian13 bool
		keys     string // typed at its prompt, for what this build does not try first or at all
		grub     bool
		held     bool // until a person approves it
		platform string
		want     []string
		long     bool
	}{
		{name: "arm64", fw: nettest.ARM64UBoot, held: true, platform: "arm64-uboot", want: []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled", "lease.granted",
			"tftp stub script", "tftp hold script", "host.approved", "tftp boot.scr.uimg", "tftp vmlinuz", "tftp initrd.gz", "boot.report"}},
		{name: "riscv64", fw: nettest.RISCV64UBoot, debian13: true, platform: "riscv64-uboot", want: []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled", "host.approved", "lease.granted",
			"tftp stub script", "tftp boot.scr.uimg", "tftp vmlinuz", "tftp initrd.gz", "boot.report"}, long: true},
		{name: "PXE", fw: nettest.ARM64UBoot, debian13: true, keys: "setenv autoload no; dhcp; pxe get && pxe boot\n", platform: "arm64-uboot", want: []string{
			"host.enrolled", "host.approved", "lease.granted",
			"tftp stub script", "tftp extlinux.conf", "tftp vmlinuz", "tftp initrd.gz", "boot.report"}, long: true},
		{name: "EFI", fw: nettest.ARM64UBoot, keys: "setenv boot_script_dhcp none; run bootcmd_dhcp\n", grub: true, platform: arm64UEFI, want: []string{
			"host.enrolled", "host.approved", "lease.granted",
			"tftp grubaa64.efi", "tftp stub script", "tftp open.cfg", "tftp vmlinuz", "tftp initrd.gz", "boot.report"}, long: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("MUSTER_LONG") == "" {
				t.Skip("half a minute and more of TFTP; one board is in every run: MUSTER_LONG=1")
			}
			r := newRig(t)
			if c.grub {
				r.loader("shimaa64.efi", "secureboot-arm64/usr/lib/shim/shimaa64.efi.signed")
				r.loader("grubaa64.efi", "secureboot-arm64/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed")
				r.debian13Loaders("ipxe-arm64.efi")
			}
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			if c.held {
				r.serveConfig(fullNetwork + "[enroll]\npolicy=\"approve\"\n")
				r.pushLinux("board", "[match]\narch = [\""+c.platform+"\"]\n", kernel, initrd, cmdline)
			} else {
				r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110",
					"--kernel", link(t, kernel, "vmlinuz"), "--initrd", link(t, initrd, "initrd.gz"), "--cmdline", cmdline)
			}
			g := guest(c.fw)
			g.Debian13 = c.debian13
			if c.fw == nettest.ARM64UBoot && !c.debian13 {
				g.MAC = "52:52:52:52:52:52" // whatever the card has: this build's environment says so
			}
			vm := r.boot(g)
			if c.keys != "" {
				must(t, vm.WaitConsole(r.ctx, "stop autoboot"))
				must(t, vm.Type("\n"))
				must(t, vm.WaitConsole(r.ctx, "=> "))
				must(t, vm.Type(c.keys))
			}
			if c.held {
				r.wait("it to ask again while it is held", 2*time.Minute, func() error {
					if n := strings.Count(vm.Console(), "waiting for approval: muster host approve"); n < 2 {
						return fmt.Errorf("it showed that %d times", n)
					}
					return nil
				})
				r.muster("host", "approve", g.MAC)
			}
			d := r.reported(vm)
			inOrder(t, timeline(d), c.want)
			if d.Name != "m-"+strings.ReplaceAll(g.MAC, ":", "") || d.State != approved || d.Platform != c.platform || d.Boots != 1 {
				t.Errorf("host is %s, %s, %s, boots %d", d.Name, d.State, d.Platform, d.Boots)
			}
			if s := timeline(d); c.grub && slices.Contains(s, "tftp ipxe-arm64.efi") {
				t.Errorf("it was given the loader that hangs there: %v", s)
			}
		})
	}
}
