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
// has it, gets the template of the catalogue, asks for its answers and obeys them. It
// goes no further: the lab has no mirror.
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
			dir := filepath.Join(t.TempDir(), "debian12")
			r.muster("template", "add", "debian", "--image", "di", "--as", "debian12", "--dir", dir, "--set", "mirror=http://"+serverAddr+"/debian", "--set", strings.TrimSpace(nettest.ConsoleArg(arch)))
			spec, err := os.ReadFile(filepath.Join(dir, "template.toml"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, "auto_approve = true\nfirst_install = true\n%s\n[match]\narch = [%q]\n", spec, c.platform), 0o644))
			r.muster("template", "push", dir)

			g := guest(c.fw)
			g.MemoryMB = 1024
			start := time.Now()
			d := r.reports(r.boot(g), "installing")
			t.Logf("from power-on to the installer's first report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), []string{"http boot.ipxe", "http debian-installer/" + arch + "/linux", "http debian-installer/" + arch + "/initrd.gz", "http preseed.cfg", "http report.sh", "boot.report"})
		})
	}
}
