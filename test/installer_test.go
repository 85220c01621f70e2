// installer_test.go: a real installer, from the distribution's own package by the
// commands people type.

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// TestDebianInstaller: Debian 12's network installer is imported as its package
// has it, boots with the kernel and initrd that the import proposes, asks for
// its preseed file and obeys it. It goes no further: the lab has no mirror.
func TestDebianInstaller(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("an emulated installer takes more than a minute to find its hardware: MUSTER_LONG=1")
	}
	for _, c := range []struct {
		fw       nettest.Firmware
		platform string
	}{
		{nettest.UEFI, x64UEFI},
		{nettest.ARM64, arm64UEFI},
	} {
		t.Run(c.fw.String(), func(t *testing.T) {
			nettest.Need(t, c.fw.Needs()...)
			arch := c.fw.Arch()
			folder := nettest.Cached(t, fmt.Sprintf("di-%s/usr/lib/debian-installer/images/12/%[1]s/text", arch))
			r := newRig(t)
			r.debian13Loaders("snponly.efi", "ipxe-arm64.efi")
			// Without a router or a name server the installer stops to ask for them.
			r.serveConfig(fullNetwork + fmt.Sprintf("routers=[%q]\ndns=[%[1]q]\n", serverAddr))
			if out := r.muster("image", "import", "di", folder); !strings.Contains(out, "Debian network installer 12") {
				t.Errorf("what the import found out: %s", out)
			}
			var medium []string
			for line := range strings.Lines(r.muster("image", "show", "di")) {
				if s := strings.TrimSpace(line); strings.HasPrefix(s, "kernel ") || strings.HasPrefix(s, "initrd ") {
					medium = append(medium, s)
				}
			}
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, `
name = "debian12"
auto_approve = true
[match]
arch = [%q]
[boot]
%s
cmdline = "auto=true priority=critical url={{ .BaseURL }}/preseed.cfg hostname={{ .Name }} domain=lab interface=auto ipv6.disable=1 DEBIAN_FRONTEND=text %s --- quiet"
`, c.platform, strings.Join(medium, "\n"), nettest.ConsoleArg(arch)), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, "preseed.cfg"), []byte(
				`d-i preseed/early_command string wget -q -O /dev/null "{{ .ReportURL }}?stage=preseeded"`+"\n"), 0o644))
			r.muster("template", "push", dir)

			g := guest(c.fw)
			g.MemoryMB = 1024
			start := time.Now()
			d := r.reports(r.boot(g), "preseeded")
			t.Logf("from power-on to the preseeded step: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), []string{"http boot.ipxe", "http debian-installer/" + arch + "/linux", "http debian-installer/" + arch + "/initrd.gz", "http preseed.cfg", "boot.report"})
		})
	}
}
