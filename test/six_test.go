// six_test.go: whole boots and real clients on a network with nothing but IPv6.

package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// sixNetwork gives addresses by DHCPv6, and tells hosts so; the guests' system
// makes one of its own, because busybox has no DHCPv6 client.
const sixNetwork = "[[network]]\nname=\"six\"\ninterface=\"eth0\"\nsubnet6=\"fd77::/64\"\nrange6=\"fd77::1000-fd77::1fff\"\nra=\"assisted\"\n"

// sixRig is a rig whose server has an IPv6 address and no other on the wire.
func sixRig(t *testing.T) *rig {
	t.Helper()
	nettest.NeedIPv6(t)
	r := newRig(t)
	_, err := r.srv.Run(r.ctx, "ip", "addr", "flush", "dev", "eth0", "scope", "global")
	must(t, err)
	must(t, r.srv.Addr("eth0", "fd77::1/64"))
	return r
}

// TestBootSix: power-on to report with no IPv4 on the wire, or with one that
// nobody answers.
func TestBootSix(t *testing.T) {
	fromTFTP := []string{
		"dhcp6 solicit advertise", "dhcp6 request reply", "host.enrolled", "host.approved", "tftp LOADER",
		"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}
	fromHTTP := []string{
		"dhcp6 solicit advertise", "dhcp6 request reply", "host.enrolled", "http LOADER",
		"http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"}
	for _, c := range []struct {
		name     string
		fw       nettest.Firmware
		platform string
		https    bool
		dual     bool
		want     []string
	}{
		{"uefi", nettest.UEFI, x64UEFI, false, false, fromTFTP},
		{"uefi-http", nettest.UEFIHTTP, x64UEFI, false, false, fromHTTP},
		{"uefi-https", nettest.UEFIHTTP, x64UEFI, true, false, fromHTTP},
		{"arm64", nettest.ARM64, arm64UEFI, false, false, fromTFTP},
		{"after IPv4", nettest.UEFI, x64UEFI, false, true, fromTFTP},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "uefi" && os.Getenv("MUSTER_LONG") == "" {
				t.Skip("one firmware by IPv6 is enough for every run: MUSTER_LONG=1")
			}
			r := sixRig(t)
			loader := "snponly.efi"
			if c.platform == arm64UEFI {
				loader = "ipxe-arm64.efi"
			}
			r.debian13Loaders(loader)
			config := sixNetwork
			if c.https {
				config += "https=true\n[https]\nfirmware_tls=true\n"
			}
			r.serveConfig(config)
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			r.pushLinux("linux", fmt.Sprintf("auto_approve = true\n[match]\narch = [%q]\n", c.platform), kernel, initrd, cmdline+" muster.ipv6")
			g := guest(c.fw)
			g.IPv6, g.DualStack = true, c.dual
			if c.https {
				g.CACerts = filepath.Join(t.TempDir(), "cacerts.esl")
				r.muster("ca", "export", "--esl", g.CACerts)
			}
			start := time.Now()
			vm := r.boot(g)
			d := r.reported(vm)
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			var want []string
			for _, w := range c.want {
				want = append(want, strings.ReplaceAll(w, "LOADER", loader))
			}
			inOrder(t, timeline(d), want)
			if c.https && !strings.Contains(vm.Console(), "URI: https://[fd77::1]/") {
				t.Errorf("it did not boot over HTTPS:\n%s", vm.Console())
			}
			if !netip.MustParsePrefix("fd77::/64").Contains(d.Lease6) || d.Lease.IsValid() {
				t.Errorf("its addresses are %q and %q", d.Lease6, d.Lease)
			}
			kept := filepath.Join(t.TempDir(), "kept.pcap")
			r.muster("host", "capture", guestName, "-o", kept)
			if bad := fields(t, kept, `udp.checksum.status == "Bad" or _ws.malformed or not (dhcpv6 or tftp or dhcp)`, "frame.number", "_ws.col.info"); len(bad) > 0 {
				t.Errorf("tshark finds fault with %q", bad)
			}
			types := strings.Join(fields(t, kept, "dhcpv6", "dhcpv6.msgtype"), " ")
			for _, want := range []string{"1 2 ", "3 7"} { // Solicit and Advertise, Request and Reply
				if !strings.Contains(types, want) {
					t.Errorf("DHCPv6 messages %s, want %s among them", types, want)
				}
			}
			if d.Name != guestName || d.State != approved || d.Platform != c.platform || d.Boots != 1 || d.UUID != guestUUID {
				t.Errorf("host is %s, %s, %s, boots %d, UUID %s", d.Name, d.State, d.Platform, d.Boots, d.UUID)
			}
			for _, s := range timeline(d) {
				if strings.HasPrefix(s, "dhcp4") && !strings.HasSuffix(s, " ignore") { // iPXE asks for both
					t.Errorf("IPv4 was answered: %s", s)
				}
			}
		})
	}
}

// TestBootDual: a machine with both families switched on boots where IPv6 is
// silent, with a router that says that there is DHCPv6 and with none.
func TestBootDual(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("each family alone is booted in every run: MUSTER_LONG=1")
	}
	for _, router := range []bool{false, true} {
		t.Run(fmt.Sprintf("router=%t", router), func(t *testing.T) {
			nettest.NeedIPv6(t)
			nettest.Need(t, "radvd")
			r := newRig(t)
			r.debian13Loaders("snponly.efi")
			r.serveConfig(fullNetwork)
			if router {
				r.radvd(r.host("router", "fd77::fe/64"), "eth0", "fd77::/64")
			}
			kernel, initrd, cmdline := r.kernelFor(nettest.UEFI)
			r.pushLinux("linux", "auto_approve = true\n[match]\narch = [\"x64-uefi\"]\n", kernel, initrd, cmdline)
			g := guest(nettest.UEFI)
			g.IPv6, g.DualStack = true, true
			start := time.Now()
			d := r.reported(r.boot(g))
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), []string{"dhcp4 discover offer", "dhcp4 request ack", "tftp snponly.efi", "http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"})
			if !d.Lease.IsValid() || d.Lease6.IsValid() || d.Boots != 1 {
				t.Errorf("its addresses are %q and %q, boots %d", d.Lease, d.Lease6, d.Boots)
			}
		})
	}
}

// radvd runs a router that says that addresses come by DHCPv6.
func (r *rig) radvd(ns *nettest.NS, iface, prefix string) {
	t := r.t
	t.Helper()
	conf := filepath.Join(t.TempDir(), "radvd.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "interface %s { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvManagedFlag on; prefix %s { AdvAutonomous on; }; };\n", iface, prefix), 0o644))
	r.daemon(ns, "radvd", "-n", "-C", conf, "-p", conf+".pid", "-m", "stderr")
}

// TestBootSixRelayed: firmware behind a relay agent, on a link whose router says
// where DHCPv6 is.
func TestBootSixRelayed(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("the agent is tested in every run, and so is the firmware: MUSTER_LONG=1")
	}
	nettest.Need(t, "radvd")
	r := sixRig(t)
	r.debian13Loaders("snponly.efi")
	far, router := r.relayed6()
	r.serveConfig(sixNetwork + strings.ReplaceAll(sixFar, "\"1m\"", "\"1h\""))
	r.radvd(router, "far0", "fd99::/64")

	kernel, initrd, cmdline := r.kernelFor(nettest.UEFI)
	r.pushLinux("linux", "auto_approve = true\n[match]\narch = [\"x64-uefi\"]\n", kernel, initrd, cmdline+" muster.ipv6")
	g := guest(nettest.UEFI)
	g.IPv6 = true
	start := time.Now()
	d := r.reported(r.bootOn(far, g))
	t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
	inOrder(t, timeline(d), []string{"dhcp6 solicit advertise", "dhcp6 request reply", "host.enrolled", "tftp snponly.efi",
		"dhcp6 solicit advertise", "dhcp6 request reply", "http ask script", "http boot.ipxe", "boot.script", "http vmlinuz", "http initrd.gz", "boot.report"})
	if d.Network != "far" || !netip.MustParsePrefix("fd99::1000/116").Contains(d.Lease6) || d.UUID != guestUUID {
		t.Errorf("host is on %s with %s, UUID %s", d.Network, d.Lease6, d.UUID)
	}
}
