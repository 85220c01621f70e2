// stuck_test.go: machines whose loader cannot start what it was given.

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

// TestKernelThatCannotStart: a file that is no kernel counts as one boot, however
// often iPXE comes back; the finding has iPXE's own error, and the machine goes on by
// itself when the template is mended, or when the image that it waits for appears.
func TestKernelThatCannotStart(t *testing.T) {
	for _, fw := range []nettest.Firmware{nettest.UEFI} { // iPXE for BIOS runs any file as a boot program
		t.Run(fw.String(), func(t *testing.T) {
			r := newRig(t)
			kernel, initrd, cmdline := r.kernelFor(fw)
			junk := filepath.Join(t.TempDir(), "page.html")
			must(t, os.WriteFile(junk, []byte("<html>"+strings.Repeat("no kernel ", 1000)), 0o644))
			r.serveConfig(fullNetwork)
			r.muster("host", "add", "web1", "--mac", guestMAC, "--approved")
			r.pushLinux("linux", "", junk, initrd, cmdline)
			r.muster("host", "set", "web1", "--template", "linux")
			vm := r.boot(guest(fw))
			r.wait("the finding", 3*time.Minute, func() error {
				if s := r.muster("diagnose", "web1"); !strings.Contains(s, "not-started") || !strings.Contains(s, "Exec format error") || !strings.Contains(s, "tried twice") {
					return fmt.Errorf("%s", s)
				}
				return nil
			})
			if d := r.show("web1"); d.Boots != 1 {
				t.Errorf("%d boots", d.Boots)
			}
			told := 0
			for _, e := range r.events() {
				if e.Kind == "boot.stopped" {
					told++
				}
			}
			if told != 1 {
				t.Errorf("it is told %d times", told)
			}

			// Another template, of an image that is not there yet.
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte(fmt.Sprintf("name = \"live\"\n[boot]\nkernel = \"image:live/vmlinuz\"\ninitrd = [\"image:live/initrd.gz\"]\ncmdline = %q\n", cmdline)), 0o644))
			r.muster("template", "push", dir)
			r.muster("host", "set", "web1", "--template", "live")
			r.wait("the file that is missing", time.Minute, func() error {
				if s := r.muster("diagnose", "web1"); !strings.Contains(s, "file-missing") || !strings.Contains(s, "image:live/vmlinuz") {
					return fmt.Errorf("%s", s)
				}
				return nil
			})
			if s := r.muster("explain", guestMAC); !strings.Contains(s, "is not there") {
				t.Errorf("explain does not say that a file is missing:\n%s", s)
			}
			image := t.TempDir()
			must(t, os.Symlink(kernel, filepath.Join(image, "vmlinuz")))
			must(t, os.Symlink(initrd, filepath.Join(image, "initrd.gz")))
			r.muster("image", "import", "live", filepath.Join(image, "vmlinuz"), filepath.Join(image, "initrd.gz"))
			if d := r.reported(vm); d.Boots != 2 {
				t.Errorf("%d boots", d.Boots)
			}
		})
	}
}
