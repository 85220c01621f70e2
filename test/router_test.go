// router_test.go: routers that give addresses and can only be told a next-server and a
// file name, which they then say to everybody, iPXE too.

package test

import (
	"os"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// behindRouter is another link, 10.88.0.0/24, with a router between it and ours that
// forwards: far0 is 10.88.0.1, near0 10.77.0.254.
func (r *rig) behindRouter() (far *nettest.Switch, router *nettest.NS) {
	r.t.Helper()
	far, err := r.lab.Switch()
	must(r.t, err)
	router, err = r.lab.Host("router")
	must(r.t, err)
	must(r.t, r.lab.Plug(router, "far0", far))
	must(r.t, r.lab.Plug(router, "near0", r.sw))
	must(r.t, router.Addr("far0", "10.88.0.1/24"))
	must(r.t, router.Addr("near0", "10.77.0.254/24"))
	for ns, args := range map[*nettest.NS][]string{
		router: {"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
		r.srv:  {"ip", "route", "add", "10.88.0.0/24", "via", "10.77.0.254"},
	} {
		_, err := ns.Run(r.ctx, args[0], args[1:]...)
		must(r.t, err)
	}
	return far, router
}

// TestRouter: a machine behind such a router, on our link and on another, reaches its
// script. iPXE, which is told its own name as the file to boot, does not go round.
func TestRouter(t *testing.T) {
	for _, c := range []struct {
		name string
		fw   nettest.Firmware
		file string
		far  bool
		long bool
	}{
		{"BIOS", nettest.BIOS, "undionly.kpxe", false, true},
		{"UEFI", nettest.UEFI, "snponly.efi", false, false},
		{"BIOS far", nettest.BIOS, "undionly.kpxe", true, false},
		{"UEFI far", nettest.UEFI, "snponly.efi", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("MUSTER_LONG") == "" {
				t.Skip("each firmware and each place are in every run once: MUSTER_LONG=1")
			}
			r := newRig(t)
			sw, config := r.sw, "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"proxy\"\n"
			if c.far {
				far, router := r.behindRouter()
				r.dnsmasqAt(router, "--interface=far0", "--dhcp-range=10.88.0.50,10.88.0.60,255.255.255.0,1h", "--dhcp-boot="+c.file+",,"+serverAddr)
				sw, config = far, config+"[[network]]\nname=\"far\"\ninterface=\"eth0\"\nmode=\"proxy\"\nsubnet=\"10.88.0.0/24\"\nnext_server=true\n"
			} else {
				router := r.host("router", "10.77.0.254/24")
				r.dnsmasqAt(router, "--interface=eth0", dnsmasqRange, "--dhcp-boot="+c.file+",,"+serverAddr)
			}
			kernel, initrd, cmdline := r.kernelFor(c.fw)
			r.serveConfig(config)
			r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, cmdline)
			start := time.Now()
			d := r.reported(r.bootOn(sw, guest(c.fw)))
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), []string{"boot.script", "http vmlinuz", "http initrd.gz", "boot.report"})
		})
	}
}
