// boot_test.go: whole boots on real firmware, from power-on to a Linux that
// fetches its report URL, and the timeline each leaves.

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	return r.bootOn(r.sw, g)
}

// bootOn is boot on another link.
func (r *rig) bootOn(sw *nettest.Switch, g nettest.Guest) *nettest.VM {
	r.t.Helper()
	vm, err := r.lab.Boot(r.ctx, sw, g)
	must(r.t, err)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("console of %s:\n%s", g.Firmware, vm.Console())
		}
	})
	return vm
}

// reported waits until the machine itself says that it runs.
func (r *rig) reported(vm *nettest.VM) host {
	r.t.Helper()
	return r.reports(vm, "running")
}

// reports waits until the machine itself names a stage.
func (r *rig) reports(vm *nettest.VM, stage string) host {
	r.t.Helper()
	r.wait("the machine's report", 4*time.Minute, func() error {
		select {
		case <-vm.Done():
			return fatal{fmt.Errorf("the machine went off")}
		default:
		}
		for _, h := range r.hosts() {
			if h.Stage == stage {
				return nil
			}
		}
		return fmt.Errorf("no report yet")
	})
	return r.show(vm.MAC)
}

// timeline turns a host's timeline into one word a step.
func timeline(d host) []string {
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

// loader puts a file of install.sh's where Muster looks for loaders.
func (r *rig) loader(name, cached string) {
	r.t.Helper()
	dir := filepath.Join(r.data, "loaders")
	must(r.t, os.MkdirAll(dir, 0o755))
	must(r.t, os.Symlink(nettest.Cached(r.t, cached), filepath.Join(dir, name)))
}

// debian13Loaders adds loaders that Debian 12 lacks, or has older.
func (r *rig) debian13Loaders(names ...string) {
	r.t.Helper()
	for _, n := range names {
		r.loader(n, "ipxe-13/usr/lib/ipxe/"+n)
	}
}

// TestBoot: an unknown machine of each firmware boots through, with an address
// from us, and its timeline says how.
func TestBoot(t *testing.T) {
	for _, c := range []struct {
		fw       nettest.Firmware
		platform string
		want     []string
	}{
		{nettest.UEFI, x64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled", "host.approved", "lease.granted",
			"tftp snponly.efi probe", "tftp snponly.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.UEFIHTTP, x64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"http snponly.efi probe", "http snponly.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.BIOS, bios, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.ARM64, arm64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"tftp ipxe-arm64.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{nettest.ARM64HTTP, arm64UEFI, []string{
			"dhcp4 discover offer", "dhcp4 request ack", "host.enrolled",
			"http ipxe-arm64.efi probe", "http ipxe-arm64.efi", "dhcp4 discover offer", "dhcp4 request ack",
			"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
	} {
		t.Run(c.fw.String(), func(t *testing.T) {
			r := newRig(t)
			if c.platform == arm64UEFI {
				r.debian13Loaders("ipxe-arm64.efi")
			}
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110",
				"--kernel", link(t, kernel, "vmlinuz"), "--initrd", link(t, initrd, "initrd.gz"), "--cmdline", cmdline)
			start := time.Now()
			d := r.reported(r.boot(guest(c.fw)))
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), c.want)
			if d.Name != guestName || d.State != approved || d.Platform != c.platform || d.Boots != 1 {
				t.Errorf("host is %s, %s, %s, boots %d", d.Name, d.State, d.Platform, d.Boots)
			}
			if d.UUID != guestUUID || d.Serial != guestSerial {
				t.Errorf("known as UUID %s serial %q, want %s %q without anyone typing them", d.UUID, d.Serial, guestUUID, guestSerial)
			}
		})
	}
}

// dnsmasq gives addresses and nothing else, as the router of a house does.
func (r *rig) dnsmasq() {
	r.t.Helper()
	r.dnsmasqAt(r.host("dhcp", "10.77.0.2/24"), dnsmasqRange)
}

const dnsmasqRange = "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0,1h"

// dnsmasqAt starts dnsmasq on a host, one that offers at once; stop ends it before the
// test does.
func (r *rig) dnsmasqAt(ns *nettest.NS, args ...string) (said *lockedBuffer, stop func()) {
	r.t.Helper()
	return r.slowDnsmasqAt(ns, append(args, "--no-ping")...)
}

// slowDnsmasqAt is dnsmasqAt, as a default dnsmasq is: it pings an address for three
// seconds before it offers it.
func (r *rig) slowDnsmasqAt(ns *nettest.NS, args ...string) (said *lockedBuffer, stop func()) {
	r.t.Helper()
	nettest.Need(r.t, "dnsmasq")
	ctx, cancel := context.WithCancel(r.ctx)
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--port=") }) {
		args = append(args, "--port=0") // no DNS
	}
	cmd, said := ns.Command(ctx, "dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root",
		"--dhcp-authoritative", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(r.t.TempDir(), "leases")}, args...)...), &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	must(r.t, cmd.Start())
	return said, func() { cancel(); cmd.Wait() }
}

// TestProxy: another server gives the addresses, Muster adds the boot answers,
// straight to the file and by port 4011.
func TestProxy(t *testing.T) {
	for _, c := range []struct {
		pxe  string
		want []string
	}{
		{"direct", []string{"dhcp4 discover offer", "tftp snponly.efi probe", "host.enrolled", "host.approved", "tftp snponly.efi",
			"dhcp4 discover offer", "http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
		{"binl", []string{"dhcp4 discover offer", "proxy4 request ack", "host.enrolled", "host.approved", "tftp snponly.efi probe", "tftp snponly.efi",
			"dhcp4 discover offer", "http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}},
	} {
		t.Run(c.pxe, func(t *testing.T) {
			r := newRig(t)
			r.dnsmasq()
			kernel, initrd, cmdline := r.kernelFor(nettest.UEFI)
			r.serveConfig(fmt.Sprintf("[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"proxy\"\npxe=%q\n", c.pxe))
			r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, cmdline)
			d := r.reported(r.boot(guest(nettest.UEFI)))
			got := timeline(d)
			inOrder(t, got, c.want)
			if slices.Contains(got, "proxy4 request ack") != (c.pxe == "binl") {
				t.Errorf("port 4011 was asked or not, against the setting %s:\n  %s", c.pxe, strings.Join(got, "\n  "))
			}
			if ls := r.muster("lease", "list"); !strings.Contains(ls, "no leases") {
				t.Errorf("a proxy gave addresses:\n%s", ls)
			}
		})
	}
}

// pushLinux stores a template that boots a Linux which reports.
func (r *rig) pushLinux(name, head, kernel, initrd, cmdline string) {
	r.t.Helper()
	dir := r.t.TempDir()
	spec := fmt.Sprintf("name = %q\n%s\n[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = %q\n", name, head, cmdline)
	must(r.t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte(spec), 0o644))
	must(r.t, os.Symlink(kernel, filepath.Join(dir, "vmlinuz")))
	must(r.t, os.Symlink(initrd, filepath.Join(dir, "initrd.gz")))
	r.muster("template", "push", dir)
}

const fullNetwork = "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.100-10.77.0.110\"\n"

// TestApproval: under approve a machine is held, gets nothing else, and boots
// when a person says so, without anyone touching it.
func TestApproval(t *testing.T) {
	r := newRig(t)
	kernel, initrd, cmdline := r.kernelFor(nettest.BIOS)
	r.serveConfig(fullNetwork + "[enroll]\npolicy=\"approve\"\n")
	r.pushLinux("linux", "[match]\narch = [\"bios\"]\n", kernel, initrd, cmdline)
	vm := r.boot(guest(nettest.BIOS))
	r.wait("the machine to be held", time.Minute, func() error {
		for _, h := range r.hosts() {
			for _, s := range timeline(r.show(h.Name)) {
				if s == "http hold script" {
					return nil
				}
			}
		}
		return fmt.Errorf("not held yet")
	})
	must(t, vm.WaitConsole(r.ctx, "waiting for approval: muster host approve "+guestName))
	d := r.show(guestMAC)
	if d.State != pending || d.Boots != 0 || d.Serial != guestSerial {
		t.Errorf("held host is %s, boots %d, serial %q", d.State, d.Boots, d.Serial)
	}
	for _, s := range timeline(d) {
		if strings.Contains(s, "vmlinuz") || strings.Contains(s, "initrd") {
			t.Errorf("a pending machine got %s", s)
		}
	}
	approved := time.Now()
	r.muster("host", "approve", guestName)
	d = r.reported(vm)
	t.Logf("from approval to report: %s", time.Since(approved).Round(time.Second/10))
	inOrder(t, timeline(d), []string{"host.enrolled", "http hold script", "host.approved", "http boot.ipxe", "boot.script", "http vmlinuz", "boot.report"})
	if d.Pin == 0 || d.Template != "linux" {
		t.Errorf("after its first script the host has template %q, pin %d", d.Template, d.Pin)
	}
}

// TestIgnored: under ignore an unknown machine gets an address, no boot answer
// and no file, and never gets on the roll.
func TestIgnored(t *testing.T) {
	r := newRig(t)
	nettest.Need(t, nettest.UEFI.Needs()...)
	r.serveConfig(fullNetwork + "[enroll]\npolicy=\"ignore\"\n")
	vm := r.boot(guest(nettest.UEFI))
	// OVMF asks as a PXE client, gives up, and goes on to HTTP boot.
	asked := map[string]int{}
	var requests []request
	r.wait("both ways of asking", 2*time.Minute, func() error {
		clear(asked)
		requests = requests[:0]
		for line := range strings.Lines(r.muster("event", "list", "--all", "--json", "--lines")) {
			var e entry
			must(t, json.Unmarshal([]byte(line), &e))
			if e.Request != nil {
				requests = append(requests, *e.Request)
				asked[e.Request.Class]++
			}
		}
		if asked["pxe"] == 0 || asked["http"] < 2 {
			return fmt.Errorf("asked so far: %v", asked)
		}
		return nil
	})
	if hs := r.hosts(); len(hs) != 0 {
		t.Errorf("an ignored machine is on the roll: %+v", hs)
	}
	if es := r.events(); slices.ContainsFunc(es, func(e event) bool { return e.Kind == "host.enrolled" }) {
		t.Errorf("an ignored machine was enrolled: %+v", es)
	}
	for _, q := range requests {
		if q.Via != "dhcp4" || strings.Contains(q.Got, "efi") || strings.Contains(q.Got, "ipxe") {
			t.Errorf("an ignored machine got %s %s: %s", q.Via, q.Reply, q.Got)
		}
	}
	if s := vm.Console(); strings.Contains(s, "NBP") || strings.Contains(s, "iPXE") {
		t.Errorf("the firmware found something to load:\n%s", s)
	}
}

// link gives a file the name a test wants.
func link(t *testing.T, file, name string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	must(t, os.Symlink(file, p))
	return p
}
