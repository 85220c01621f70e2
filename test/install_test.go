// install_test.go: whole boots of machines that ask the network first, with an
// installer that writes a disk: it runs once, whatever happens on the way.

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// pushDisk pushes a template that writes the disk it returns.
func (r *rig) pushDisk(fw nettest.Firmware, platform string, report string) (disk string) {
	t := r.t
	t.Helper()
	kernel, initrd, _ := r.kernelFor(fw)
	disk = bootDisk(t, fw)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, "name = \"disk\"\ninstall = true\n[match]\narch = [%q]\n[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = %q\n",
		platform, nettest.ConsoleArg(fw.Arch())+" quiet muster.report="+report+" muster.install={{ .BaseURL }}/disk.img muster.reboot"), 0o644))
	for name, from := range map[string]string{"vmlinuz": kernel, "initrd.gz": initrd, "disk.img": disk} {
		must(t, os.Symlink(from, filepath.Join(dir, name)))
	}
	r.muster("template", "push", dir)
	return disk
}

func emptyDisk(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "empty.img")
	must(t, os.WriteFile(name, nil, 0o644))
	must(t, os.Truncate(name, 16<<20))
	return name
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
		platform string
		report   string
	}{
		{"bios", nettest.BIOS, bios, "{{ .ReportURL }}"},
		{"uefi", nettest.UEFI, x64UEFI, "{{ .ReportURL }}"},
		{"bios-lost", nettest.BIOS, bios, "http://{{ .Server }}/lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if c.fw == nettest.UEFI {
				r.debian13Loaders("snponly.efi") // spares its wait for an IPv6 router
			}
			r.serveConfig(fullNetwork + "[enroll]\npolicy=\"approve\"\n")
			disk := r.pushDisk(c.fw, c.platform, c.report)
			g := guest(c.fw)
			g.Disk = emptyDisk(t)
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
			if got := r.standing(guestMAC); got != want {
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

// TestInstallKilled: the daemon is killed at each step of an installation by
// real firmware and started again, as systemd would. The machine is switched on
// until its disk boots. The disk is written once.
func TestInstallKilled(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("machines in software die at the same steps in every run: MUSTER_LONG=1")
	}
	config := fullNetwork + "[enroll]\npolicy=\"approve\"\n"
	for i, at := range []string{"offer 1", "ack 1", "boot.ipxe 1", "vmlinuz 1", "initrd.gz 1", "offer 2", "ack 2", "stage=running 1", "disk.img 1", "stage=installed 1"} {
		t.Run(strings.ReplaceAll(at, " ", "-"), func(t *testing.T) {
			r := newRig(t)
			r.serveConfig(config)
			r.pushDisk(nettest.BIOS, bios, "{{ .ReportURL }}")
			r.muster("host", "add", "victim", "--mac", guestMAC, "--template", "disk", "--approved")
			r.muster("host", "install", "victim")
			passed := r.landmarks()
			g := guest(nettest.BIOS)
			g.Disk = emptyDisk(t)
			vm := r.boot(g)
			r.passes(passed, at)
			r.stop(true)
			r.serveConfig(config)

			written, on, failed := 0, 1, false
			for ; on < 6; on++ {
				text := eventually(r.ctx, vm, time.Minute, diskSays, "No bootable device")
				written += strings.Count(text, "MUSTER-GUEST: disk written")
				if strings.Contains(text, diskSays) {
					break
				}
				t.Logf("power-on %d ends in: %.300s", on, text[max(0, len(text)-300):])
				// An installer that says that it failed is not run again before a
				// person says so: two power-ons show the first.
				if on == 2 && strings.HasPrefix(r.standing("victim"), "install of disk failed in boot 1, as it reports") {
					failed = true
					r.muster("host", "install", "victim")
				}
				must(t, vm.Reset())
			}
			for range 2 {
				must(t, vm.Reset())
				must(t, vm.WaitConsole(r.ctx, diskSays))
				written += strings.Count(vm.Console(), "MUSTER-GUEST: disk written")
			}
			got := r.standing("victim")
			t.Logf("killed at %s: disk after %d power-ons, %s", at, on, got)
			if written != 1 || failed && at != "disk.img 1" { // the image is short: it may be there before the kill
				t.Errorf("the disk was written %d times; the installer reported a failure: %t", written, failed)
			}
			if !strings.HasPrefix(got, "installed disk in boot") && !(i >= 8 && strings.HasPrefix(got, "install unconfirmed")) {
				t.Errorf("it stands at %q\n%s", got, strings.Join(timeline(r.show("victim")), "\n"))
			}
		})
	}
}

// passes waits for a landmark.
func (r *rig) passes(landmarks <-chan string, want string) {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case mark := <-landmarks:
			if mark == want {
				return
			}
		case <-limit:
			r.t.Fatalf("%s did not pass in a minute", want)
		}
	}
}

// eventually waits for one of several words, or for so long, and returns the
// console.
func eventually(ctx context.Context, vm *nettest.VM, limit time.Duration, words ...string) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, w := range words {
		go func() {
			_ = vm.WaitConsole(ctx, w)
			cancel()
		}()
	}
	<-ctx.Done()
	return vm.Console()
}

// landmarks tells what passes on the wire, each with its number: "offer 2" is the
// second OFFER, "vmlinuz 1" the first request for it.
func (r *rig) landmarks() <-chan string {
	out, seen := make(chan string, 10000), map[string]int{}
	frames(r.t, r.sw.NS, nettest.BridgeName, unix.ETH_P_IP, func(b []byte) {
		if len(b) < 14+20+8 {
			return
		}
		if what := landmark(b[14:]); what != "" {
			seen[what]++
			select {
			case out <- fmt.Sprintf("%s %d", what, seen[what]):
			default: // nobody listens any more
			}
		}
	}, func(int) {})
	return out
}

// landmark names a packet of IPv4.
func landmark(b []byte) string {
	head := 4 * int(b[0]&15)
	if len(b) < head+8 {
		return ""
	}
	from, payload := binary.BigEndian.Uint16(b[head:]), b[head+8:]
	switch {
	case b[9] == unix.IPPROTO_UDP && from == 67 && len(payload) > 243:
		for code, v := range map[byte]string{2: "offer", 5: "ack"} {
			if bytes.Contains(payload[240:], []byte{53, 1, code}) {
				return v
			}
		}
	case b[9] == unix.IPPROTO_TCP && bytes.Contains(payload, []byte(" HTTP/1.")):
		for _, w := range []string{"boot.ipxe", "vmlinuz", "initrd.gz", "disk.img", "stage=running", "stage=installed"} {
			if line, _, _ := bytes.Cut(payload, []byte("\r\n")); bytes.Contains(line, []byte(w)) && bytes.Contains(line, []byte("GET ")) {
				return w
			}
		}
	}
	return ""
}
