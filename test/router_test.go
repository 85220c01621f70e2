// router_test.go: routers that give addresses and can only be told a next-server and a
// file name, which they then say to everybody, iPXE too.

package test

import (
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// TestRouter: a machine behind such a router, on our link and on another, reaches its
// script. iPXE, which is told its own name as the file to boot, does not go round.
func TestRouter(t *testing.T) {
	for _, c := range []struct {
		name string
		fw   nettest.Firmware
		file string
		far  bool
	}{
		{"BIOS", nettest.BIOS, "undionly.kpxe", false},
		{"UEFI", nettest.UEFI, "snponly.efi", false},
		{"BIOS far", nettest.BIOS, "undionly.kpxe", true},
		{"UEFI far", nettest.UEFI, "snponly.efi", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			sw, config := r.sw, "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"proxy\"\n"
			if c.far {
				far, err := r.lab.Switch()
				must(t, err)
				router, err := r.lab.Host("router")
				must(t, err)
				must(t, r.lab.Plug(router, "far0", far))
				must(t, r.lab.Plug(router, "near0", r.sw))
				must(t, router.Addr("far0", "10.88.0.1/24"))
				must(t, router.Addr("near0", "10.77.0.254/24"))
				_, err = router.Run(r.ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
				must(t, err)
				_, err = r.srv.Run(r.ctx, "ip", "route", "add", "10.88.0.0/24", "via", "10.77.0.254")
				must(t, err)
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
			vm, err := r.lab.Boot(r.ctx, sw, guest(c.fw))
			must(t, err)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("console:\n%s", vm.Console())
				}
			})
			d := r.reported(vm)
			t.Logf("from power-on to report: %s", time.Since(start).Round(time.Second/10))
			inOrder(t, timeline(d), []string{"boot.script", "http vmlinuz", "http initrd.gz", "boot.report"})
		})
	}
}
