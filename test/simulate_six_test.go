// simulate_six_test.go: machines in software on networks with nothing but IPv6.

package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/simclient"
)

// stepNames are what a machine did.
func stepNames(tr simclient.Transcript) (out []string) {
	for _, s := range tr.Steps {
		out = append(out, s.Name)
	}
	return out
}

func TestSimulateSix(t *testing.T) {
	t.Parallel()
	r := sixRig(t)
	r.fakeLoaders("snponly.efi", "ipxe-arm64.efi")
	client := r.host("client", "")
	relay := r.host("relay", "fd77::fe/64")
	must(t, relay.Addr("lo", "fd99::1/128"))
	_, err := r.srv.Run(r.ctx, "ip", "route", "add", "fd99::/64", "via", "fd77::fe")
	must(t, err)
	network := strings.ReplaceAll(sixNetwork, "assisted", "managed") + "new_leases = 0\n" // a hundred machines at once are more than strangers get in a second
	config := network + strings.ReplaceAll(sixFar, `["fd77::fe"]`, `["fd99::1"]`) + "[enroll]\npolicy=\"approve\"\n"
	r.serveConfig(config)
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
	r.piTree()
	r.pushPi("kiosk", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"a1*\"]")
	left := func() {
		t.Helper()
		addrs, err := client.Run(r.ctx, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
		must(t, err)
		routes, err := client.Run(r.ctx, "ip", "-6", "route", "show", "proto", "static")
		must(t, err)
		if strings.TrimSpace(addrs+routes) != "" {
			t.Errorf("left behind on the interface:\n%s%s", addrs, routes)
		}
		if out := r.muster("lease", "list"); strings.Contains(out, "fd77::1") {
			t.Errorf("leases left:\n%s", out)
		}
	}

	firmware := []string{"router", "stack offer", "stack lease", "offer", "lease", "stack release", "address", "loader", "release", "ipxe router", "ipxe offer", "ipxe lease", "script", "script", "kernel", "initrd", "boot", "report", "release"}
	for _, c := range []struct {
		kind  string
		args  []string
		steps []string
	}{
		{"uefi-x64", nil, firmware},
		{"uefi-arm64", nil, firmware},
		{"uefi-http-x64", nil, firmware},
		{"uefi-http-arm64", nil, firmware},
		{"bluefield", nil, firmware},
		{"ipxe", []string{"--stage", "running,done"}, []string{"router", "offer", "lease", "script", "script", "kernel", "initrd", "boot", "report", "report", "release"}},
		{"pi4", []string{"--serial", "a1020304"}, []string{"router", "offer", "lease", "file", "boot", "release"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			var tr simclient.Transcript
			code, said := r.simulate(client, &tr, append([]string{c.kind, "-i", "eth0", "--ipv6", "--json", "--expect", "boot"}, c.args...)...)
			if code != 0 || tr.End != simclient.Booted {
				t.Fatalf("exit %d: %s", code, said)
			}
			for _, s := range tr.Steps {
				if s.Verdict == simclient.Failed || s.Hint != "" {
					t.Errorf("step %s: %s (%s)", s.Name, s.Text, s.Hint)
				}
			}
			inOrder(t, stepNames(tr), c.steps)
			if strings.HasPrefix(tr.MAC, "52:54:00") {
				d := r.show(tr.MAC)
				if want := map[bool]string{true: "done", false: "running"}[c.kind == "ipxe"]; string(d.Stage) != want {
					t.Errorf("muster knows stage %q, want %q", d.Stage, want)
				}
				if d.UUID != tr.UUID || d.Serial != tr.Serial {
					t.Errorf("muster knows UUID %s and serial %s, it told %s and %s", d.UUID, d.Serial, tr.UUID, tr.Serial)
				}
			}
		})
	}
	left()

	t.Run("relay", func(t *testing.T) {
		for _, kind := range []string{"uefi-x64", "ipxe"} {
			var tr simclient.Transcript
			if code, said := r.simulate(relay, &tr, kind, "--relay", "fd99::1", "--server", "fd77::1", "--circuit-id", "Ethernet12", "--json", "--mac", "52:54:00:78:00:01"); code != 0 {
				t.Fatalf("exit %d: %s", code, said)
			}
			if !strings.HasPrefix(tr.Address, "fd99::1") {
				t.Errorf("%s got %s", kind, tr.Address)
			}
		}
		if d := r.show("52:54:00:78:00:01"); !strings.Contains(r.muster("host", "show", d.Name), "Ethernet12") {
			t.Errorf("the switch port is not known:\n%s", r.muster("host", "show", d.Name))
		}
	})
	t.Run("hold", func(t *testing.T) {
		args := []string{"uefi-x64", "-i", "eth0", "--ipv6", "--mac", "06:00:00:00:00:01", "--json"}
		var tr simclient.Transcript
		if code, said := r.simulate(client, &tr, args...); code != 0 || tr.End != simclient.Held || !strings.Contains(tr.Text, "host approve") {
			t.Errorf("exit %d: %s", code, said)
		}
		r.muster("host", "approve", "06:00:00:00:00:01")
		if code, said := r.simulate(client, &tr, append(args, "--expect", "local")...); code != 0 || tr.End != simclient.Local {
			t.Errorf("exit %d: %s", code, said)
		}
	})
	t.Run("storm", func(t *testing.T) {
		var sum simclient.Sum
		code, said := r.simulate(client, &sum, "uefi-x64", "-i", "eth0", "--ipv6", "--count", "100", "--rate", "100", "--json", "--mac", "52:54:00:40:00:00")
		if code != 0 || sum.Ends[simclient.Booted] != 100 || sum.Twice != 0 || sum.Bytes < 100*500_000 {
			t.Fatalf("exit %d: %.3000s", code, said)
		}
		left()
	})
	// A host that has an address of the range without asking: the machine finds
	// out, and the server hears of it.
	t.Run("taken", func(t *testing.T) {
		var tr simclient.Transcript
		args := []string{"ipxe", "-i", "eth0", "--ipv6", "--mac", "52:54:00:78:00:02", "--json"}
		if code, said := r.simulate(client, &tr, append(args, "--keep")...); code != 0 {
			t.Fatalf("exit %d: %s", code, said)
		}
		r.host("squatter", tr.Address+"/64")
		mine := tr.Address
		code, said := r.simulate(client, &tr, args...)
		if code != exitFailed || !strings.Contains(said, "another machine of this network answers for "+mine) {
			t.Fatalf("exit %d: %s", code, said)
		}
		if out := r.muster("lease", "list"); !strings.Contains(out, mine) || !strings.Contains(out, "declined") {
			t.Errorf("the server does not know:\n%s", out)
		}
		if code, said := r.simulate(client, &tr, args...); code != 0 || tr.Address == mine {
			t.Errorf("then it has %s, exit %d: %s", tr.Address, code, said)
		}
	})
	// Without a router firmware boots, and iPXE does not.
	t.Run("no router", func(t *testing.T) {
		r.stop(false)
		r.serveConfig(strings.ReplaceAll(config, "ra=\"managed\"\n", ""))
		var tr simclient.Transcript
		if code, said := r.simulate(client, &tr, "uefi-x64", "-i", "eth0", "--ipv6", "--json"); code != exitFailed || slices.Contains(stepNames(tr), "stack offer") ||
			!strings.Contains(said, "no router advertisement in") || !strings.Contains(said, "ra = \\\"managed\\\"") || !slices.Contains(stepNames(tr), "loader") {
			t.Errorf("exit %d: %s", code, said)
		}
	})
	// Where hosts make their own addresses, iPXE asks only for the other
	// options.
	t.Run("slaac", func(t *testing.T) {
		r.stop(false)
		r.serveConfig(strings.ReplaceAll(config, "managed", "slaac"))
		for _, kind := range []string{"ipxe", "uefi-x64"} {
			var tr simclient.Transcript
			if code, said := r.simulate(client, &tr, kind, "-i", "eth0", "--ipv6", "--json", "--expect", "boot"); code != 0 || !strings.Contains(tr.Address, "ff:fe") {
				t.Errorf("%s: exit %d: %s", kind, code, said)
			}
		}
	})
}

// TestSimulateSixBeside: the machine speaks to any server: dnsmasq, whose router
// says managed, and says other.
func TestSimulateSixBeside(t *testing.T) {
	t.Parallel()
	r := sixRig(t)
	client := r.host("client", "")
	var tr simclient.Transcript
	start := time.Now()
	code, said := r.simulate(client, &tr, "uefi-x64", "-i", "eth0", "--ipv6", "--json")
	if took := time.Since(start); code != exitFailed || took > 25*time.Second || !strings.Contains(said, "no ADVERTISE to 4 Solicits") || !strings.Contains(said, "is the VLAN right") {
		t.Errorf("nobody there: exit %d after %s: %s", code, took, said)
	}
	files := bootFolder(t, "ip6=${net0/ip6}")
	for _, c := range []struct{ name, rng, kind string }{
		{"managed", "fd77::5000,fd77::5fff,64,1h", "uefi-x64"},
		{"managed", "fd77::5000,fd77::5fff,64,1h", "ipxe"},
		{"stateless", "fd77::,ra-stateless", "ipxe"},
	} {
		t.Run(c.name+"/"+c.kind, func(t *testing.T) {
			said, stop := r.dnsmasqAt(r.srv, "--enable-ra", "--dhcp-range="+c.rng, "--enable-tftp", "--tftp-root="+files, "--dhcp-userclass=set:ipxe,iPXE",
				"--dhcp-option=tag:!ipxe,option6:bootfile-url,tftp://[fd77::1]/ipxe.efi", "--dhcp-option=tag:ipxe,option6:bootfile-url,tftp://[fd77::1]/boot.ipxe")
			defer stop()
			var tr simclient.Transcript
			code, out := r.simulate(client, &tr, c.kind, "-i", "eth0", "--ipv6", "--json")
			if code != 0 || tr.End != simclient.Booted || tr.Cmdline != fmt.Sprintf("ip6=%s BOOTIF=01-%s", tr.Address, strings.ReplaceAll(tr.MAC, ":", "-")) {
				t.Errorf("exit %d: %s\ndnsmasq said:\n%s", code, out, said)
			}
		})
	}
}
