// closed_test.go: whoever may not boot gets nothing to boot, whichever way it
// asks: every path is walked for every kind of machine that nobody let in.

package boot_test

import (
	"strings"
	"testing"
)

func TestFailsClosed(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	setting := []string{
		"network lab eth0 full 10.77.0.1/24 10.77.0.100-10.77.0.110",
		"loader bios undionly.kpxe", "loader x64-uefi snponly.efi", "loader raspberry-pi bootcode.bin",
		"signed x64-uefi shimx64.efi grubx64.efi",
		"image secret vmlinuz,initrd.gz,disc.iso tree=disc.iso",
		"enroll approve",
	}
	dhcp := []string{
		"> dhcp4 discover mac=" + mac + " class=PXEClient arch=7",
		"> dhcp4 request mac=" + mac + " class=PXEClient arch=7 want=10.77.0.100 server=10.77.0.1",
		"> dhcp4 request ipxe mac=" + mac + " class=PXEClient arch=7 want=10.77.0.100 server=10.77.0.1",
		"> dhcp4 request mac=" + mac + " class=HTTPClient arch=16 want=10.77.0.100 server=10.77.0.1",
		"> proxy4 request mac=" + mac + " class=PXEClient arch=7 from=10.77.0.100",
	}
	var files []string
	for _, via := range []string{"tftp", "http"} {
		for _, at := range []string{"", "boot/$token/", "boot/$old/"} {
			for _, f := range []string{"boot.ipxe", "grub.cfg", "locked.cfg", "open.cfg", "direct.cfg", "x86_64-sb/autoexec.ipxe",
				"vmlinuz", "initrd.gz", "preseed.cfg", "template.toml", "live.iso", "images/secret/vmlinuz", "images/secret/tree/install/vmlinuz",
				"0badc0de/config.txt", "52-54-00-00-00-01/kernel8.img", "config.txt"} {
				for _, how := range []string{"", " asked", " head"} {
					files = append(files, "> "+via+" "+at+f+how+" from=10.77.0.100 mac="+mac+" serial=RIG-7 platform=x64-uefi")
				}
			}
		}
	}
	for _, c := range []struct {
		name     string
		template string
		before   []string
	}{
		{"unknown", "template all files=vmlinuz,initrd.gz,preseed.cfg,live.iso,config.txt direct=live.iso firmware=secret", nil},
		{"pending", "template all files=vmlinuz,initrd.gz,preseed.cfg,live.iso,config.txt direct=live.iso firmware=secret", []string{"host web1 pending mac=" + mac + " template=all"}},
		{"denied", "template all files=vmlinuz,initrd.gz,preseed.cfg,live.iso,config.txt direct=live.iso firmware=secret", []string{
			"host web1 approved mac=" + mac + " template=all",
			"> dhcp4 request mac=" + mac + " class=PXEClient arch=7 want=10.77.0.100 server=10.77.0.1",
			"> http boot/$token/boot.ipxe asked from=10.77.0.100 mac=" + mac + " platform=x64-uefi", "save old", "order deny web1"}},
		{"installs without a ticket", "template all install files=vmlinuz,initrd.gz,live.iso,config.txt direct=live.iso firmware=secret", []string{"host web1 approved mac=" + mac + " template=all"}},
		{"protected", "template all install files=vmlinuz,initrd.gz,live.iso,config.txt direct=live.iso firmware=secret", []string{
			"host web1 approved mac=" + mac + " template=all", "order install web1",
			"> dhcp4 request mac=" + mac + " class=PXEClient arch=7 want=10.77.0.100 server=10.77.0.1",
			"> http boot/$token/boot.ipxe asked from=10.77.0.100 mac=" + mac + " platform=x64-uefi", "save old", "order protect web1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, end, err := newWorld(plain)
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			play := func(line string) []string {
				out, err := w.play(line)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				return out
			}
			for _, line := range append(append(setting, c.template), c.before...) {
				play(line)
			}
			if w.saved["old"] == "" {
				w.saved["old"] = "none"
			}
			asked := 0
			for _, line := range append(dhcp, files...) {
				out := play(line)
				asked++
				// A loader, and a script of ours that holds it or boots its disk, are
				// all there is.
				for _, bad := range []string{"script generated", "file template", "file image", "file tree"} {
					if strings.HasPrefix(out[0], bad) {
						t.Errorf("%s\n  got %s", line, strings.Join(out, "\n  "))
					}
				}
			}
			t.Logf("%d requests", asked)
		})
	}
}
