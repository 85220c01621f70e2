// dracut_test.go: live systems whose initramfs dracut made, from power-on to the root
// file system that it fetches.

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// dracutDisc is a disc with the layout and the label of another system, whose kernel,
// initramfs by dracut and root file system are Debian's; size is that of the latter.
func dracutDisc(t *testing.T, label string) (disc string, size int64) {
	t.Helper()
	const loader = "boot/x86_64/loader"
	made, dir := t.TempDir(), t.TempDir()
	madeDebian(t, "dracut", made)
	for from, to := range map[string]string{
		"vmlinuz":      loader + "/linux",
		"initrd.img":   loader + "/initrd",
		"squashfs.img": "LiveOS/squashfs.img",
	} {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(to)), 0o755))
		must(t, os.Rename(filepath.Join(made, from), filepath.Join(dir, to)))
	}
	root, err := os.Stat(filepath.Join(dir, "LiveOS/squashfs.img"))
	must(t, err)
	disc = filepath.Join(t.TempDir(), "dracut.iso")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-R", "-V", label, "-o", disc, dir).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return disc, root.Size()
}

// TestDracut: with the command line of the catalogue, dracut brings up the card that
// booted, fetches the root file system from where Muster said, once and whole, and that
// system runs. Another card has no network.
func TestDracut(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("a Debian is made, and an emulated machine runs it for minutes: MUSTER_LONG=1")
	}
	nettest.Need(t, "mmdebstrap", "mksquashfs", "xorriso")
	for _, c := range []struct {
		fw    nettest.Firmware
		label string
		title string
	}{
		{nettest.BIOS, "Install-Leap-16.0-x86_64", "SUSE (Agama)"},
		{nettest.UEFI, "Fedora-WS-Live-42", "Fedora live"},
	} {
		t.Run(c.title, func(t *testing.T) {
			nettest.Need(t, c.fw.Needs()...)
			r := newRig(t)
			r.serveConfig(fullNetwork)
			disc, size := dracutDisc(t, c.label)
			if out := r.muster("image", "import", "live", disc); !strings.Contains(out, c.title) {
				t.Errorf("what the import found out: %s", out)
			}
			dir := filepath.Join(t.TempDir(), "live")
			r.muster("image", "template", "live", dir)
			file := filepath.Join(dir, "template.toml")
			spec, err := os.ReadFile(file)
			must(t, err)
			before, after, ok := strings.Cut(string(spec), "rd.neednet=1 ip=dhcp")
			if !ok {
				t.Fatalf("the template:\n%s", spec)
			}
			must(t, os.WriteFile(file, []byte(before+"rd.neednet=1 ip=dhcp rd.shell=0 rd.emergency=poweroff console=ttyS0 muster.report={{ .ReportURL }}"+after), 0o644))
			r.muster("template", "push", dir)
			r.muster("host", "add", "web1", "--mac", guestMAC, "--template", "live", "--approved")

			g := guest(c.fw)
			g.MemoryMB = 2048
			g.ExtraArgs = []string{"-device", "virtio-net-pci,mac=52:54:00:aa:bb:99,romfile="}
			start := time.Now()
			vm := r.boot(g)
			r.wait("the report of the live system", 10*time.Minute, func() error {
				var all struct{ Items []host } // by the socket: a command a poll, for minutes, would be felt
				if err := r.ask("/api/v1/hosts", &all); err == nil && len(all.Items) == 1 && all.Items[0].Stage == "running" {
					return nil
				}
				if strings.Contains(vm.Console(), "failed to download live image") {
					return fatal{fmt.Errorf("dracut did not get it:\n%s", strings.Join(timeline(r.show(guestMAC)), "\n"))}
				}
				select {
				case <-vm.Done():
					return fatal{fmt.Errorf("the machine went off")}
				default:
				}
				return fmt.Errorf("no report yet")
			})
			d := r.show(guestMAC)
			t.Logf("from power-on to the report: %s\n%s", time.Since(start).Round(time.Second), strings.Join(timeline(d), "\n"))
			must(t, vm.WaitConsole(r.ctx, "muster: reported"))

			_, line, _ := strings.Cut(vm.Console(), "Command line: ")
			line, _, _ = strings.Cut(line, "\n")
			_, url, _ := strings.Cut(line, "root=live:")
			url, _, _ = strings.Cut(url, " ")
			if !strings.HasPrefix(url, "http://"+serverAddr+"/boot/") || !strings.HasSuffix(url, "/images/live/tree/LiveOS/squashfs.img") {
				t.Errorf("the kernel was told %q", line)
			}
			if !strings.Contains(line, " BOOTIF=01-"+strings.ReplaceAll(guestMAC, ":", "-")) {
				t.Errorf("the kernel was not told which card booted: %q", line)
			}
			for _, want := range []string{"muster: dracut: fetching " + url, "muster: root: /dev/mapper/live-rw ext4"} {
				if !strings.Contains(vm.Console(), want) {
					t.Errorf("the live system does not say %q", want)
				}
			}
			n := 0
			for _, e := range d.Timeline {
				if q := e.Request; q != nil && strings.HasSuffix(q.Path, "/squashfs.img") {
					if n++; q.Outcome != "complete" || q.Bytes != size {
						t.Errorf("%s: %s, %d bytes of %d", q.Path, q.Outcome, q.Bytes, size)
					}
				}
			}
			if n != 1 {
				t.Errorf("it asked for the root file system %d times", n)
			}
			inOrder(t, timeline(d), []string{"http boot.ipxe", "boot.script", "http linux", "http initrd", "http LiveOS/squashfs.img", "boot.report"})
		})
	}
}
