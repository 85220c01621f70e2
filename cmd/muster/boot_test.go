// boot_test.go: whole boots on real firmware, from power-on to a Linux that
// fetches its report URL, and the timeline each leaves.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/nettest"
)

const (
	guestMAC    = "52:54:00:aa:bb:01"
	guestUUID   = "c0ffee00-1111-2222-3333-444455556666"
	guestSerial = "RIG-0042"
	guestName   = "m-525400aabb01"
)

// guest is a machine that Muster has never seen.
func guest(fw nettest.Firmware) nettest.Guest {
	return nettest.Guest{Firmware: fw, MAC: guestMAC, UUID: guestUUID, Serial: guestSerial}
}

// kernelFor returns the flags that serve a Linux which reports.
func (r *rig) kernelFor(fw nettest.Firmware) (kernel, initrd, cmdline string) {
	r.t.Helper()
	nettest.Need(r.t, fw.Needs()...)
	kernel, err := nettest.Kernel(fw.Arch())
	must(r.t, err)
	initrd, err = nettest.Initrd(fw.Arch(), r.t.TempDir())
	must(r.t, err)
	return kernel, initrd, nettest.ConsoleArg(fw.Arch()) + " quiet muster.report={{ .ReportURL }}"
}

func (r *rig) boot(g nettest.Guest) *nettest.VM {
	r.t.Helper()
	vm, err := r.lab.Boot(r.ctx, r.sw, g)
	must(r.t, err)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("console of %s:\n%s", g.Firmware, vm.Console())
		}
	})
	return vm
}

// reported waits until the machine itself says that it runs.
func (r *rig) reported(vm *nettest.VM) admin.HostDetail {
	r.t.Helper()
	r.wait("the machine's report", 4*time.Minute, func() error {
		select {
		case <-vm.Done():
			return fatal{fmt.Errorf("the machine went off")}
		default:
		}
		for _, h := range r.hosts() {
			if h.Stage == "running" {
				return nil
			}
		}
		return fmt.Errorf("no report yet")
	})
	return r.show(guestMAC)
}

// timeline turns a host's timeline into one word a step.
func timeline(d admin.HostDetail) []string {
	var out []string
	for _, e := range d.Timeline {
		if e.Event != nil {
			out = append(out, string(e.Event.Kind))
			continue
		}
		q := e.Request
		s := fmt.Sprintf("%s %s %s", q.Via, q.Step, q.Reply)
		if q.Reply == "file" || q.Reply == "script" {
			s = fmt.Sprintf("%s %s", q.Via, q.Got)
			if q.Outcome != "complete" {
				s += " " + q.Outcome
			}
		}
		out = append(out, s)
	}
	return out
}

// inOrder checks that want appears within got, in that order.
func inOrder(t *testing.T, got, want []string) {
	t.Helper()
	i := 0
	for _, g := range got {
		if i < len(want) && g == want[i] {
			i++
		}
	}
	if i < len(want) {
		t.Errorf("timeline has no %q (after %q):\n  %s", want[i], want[:i], strings.Join(got, "\n  "))
	}
}

// debian13Loaders puts the loaders that Debian 12 lacks where Muster looks.
func (r *rig) debian13Loaders(names ...string) {
	r.t.Helper()
	dir := filepath.Join(r.data, "loaders")
	must(r.t, os.MkdirAll(dir, 0o755))
	for _, n := range names {
		p, err := nettest.CachePath("ipxe-13/usr/lib/ipxe/" + n)
		must(r.t, err)
		b, err := os.ReadFile(p)
		must(r.t, err)
		must(r.t, os.WriteFile(filepath.Join(dir, n), b, 0o644))
	}
}

// TestBoot: an unknown machine of each firmware boots through, with an address
// from us, and its timeline says how.
func TestBoot(t *testing.T) {
	for _, c := range []struct {
		fw       nettest.Firmware
		platform boot.Platform
		want     []string
	}{
		{nettest.UEFI, boot.X64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled", "host.approved", "lease.granted",
			"tftp snponly.efi probe", "tftp snponly.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.UEFIHTTP, boot.X64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"http snponly.efi probe", "http snponly.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.BIOS, boot.BIOS, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.ARM64, boot.ARM64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"tftp ipxe-arm64.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
	} {
		t.Run(c.fw.String(), func(t *testing.T) {
			r := newRig(t)
			if c.fw == nettest.ARM64 {
				r.debian13Loaders("ipxe-arm64.efi")
			}
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110",
				"--kernel", link(t, kernel, "vmlinuz"), "--initrd", link(t, initrd, "initrd.gz"), "--cmdline", cmdline)
			start := time.Now()
			d := r.reported(r.boot(guest(c.fw)))
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), c.want)
			if d.Name != guestName || d.State != boot.Approved || d.Platform != c.platform || d.Boots != 1 {
				t.Errorf("host is %s, %s, %s, boots %d", d.Name, d.State, d.Platform, d.Boots)
			}
			if d.UUID.String() != guestUUID || d.Serial != guestSerial {
				t.Errorf("known as UUID %s serial %q, want %s %q without anyone typing them", d.UUID, d.Serial, guestUUID, guestSerial)
			}
		})
	}
}

// link gives a file the name a test wants.
func link(t *testing.T, file, name string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	must(t, os.Symlink(file, p))
	return p
}

