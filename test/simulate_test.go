// simulate_test.go: machines in software against a real daemon, against dnsmasq
// and against nobody, in network namespaces.

package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/internal/simclient"
)

// exitFailed is muster's exit code when what was asked for did not come true.
const exitFailed = 1

// simulate runs machines on a host of the lab, into v, and returns the exit
// code with what was said.
func (r *rig) simulate(ns *nettest.NS, v any, args ...string) (code int, said string) {
	r.t.Helper()
	cmd := ns.Command(r.ctx, r.binary, append([]string{"simulate", "--fast"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatalf("muster simulate %s: %v", strings.Join(args, " "), err)
	}
	if v != nil {
		if err := json.Unmarshal(out.Bytes(), v); err != nil {
			r.t.Fatalf("muster simulate %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String() + errs.String()
}

// noise is bytes that are the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// fakeLoaders puts files with a loader's name where Muster looks: simulated
// machines run none.
func (r *rig) fakeLoaders(names ...string) {
	r.t.Helper()
	dir := filepath.Join(r.data, "loaders")
	must(r.t, os.MkdirAll(dir, 0o755))
	for i, n := range names {
		must(r.t, os.WriteFile(filepath.Join(dir, n), noise(20_000+i), 0o644))
	}
}

// smallLinux is a kernel and an initrd that are quick to load.
func (r *rig) smallLinux() (kernel, initrd string) {
	r.t.Helper()
	dir := r.t.TempDir()
	kernel, initrd = filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.gz")
	must(r.t, os.WriteFile(kernel, noise(200_000), 0o644))
	must(r.t, os.WriteFile(initrd, noise(300_000), 0o644))
	return kernel, initrd
}

// noLeases waits until every lease was given back: nobody answers a RELEASE.
func (r *rig) noLeases() {
	r.t.Helper()
	r.wait("leases to be given back", 10*time.Second, func() error {
		// The interface of a simulated machine answers for its address a moment
		// longer, and a probe may find that: occupied is no lease.
		for _, l := range strings.Split(r.muster("lease", "list"), "\n") {
			if strings.HasPrefix(l, "10.") && !strings.Contains(l, " occupied ") {
				return errors.New(l)
			}
		}
		return nil
	})
}

func TestSimulate(t *testing.T) {
	r := newRig(t)
	r.fakeLoaders("snponly.efi", "undionly.kpxe", "ipxe-arm64.efi", "shimaa64.efi", "grubaa64.efi")
	client := r.host("client", "") // without an address
	addressed := r.host("addressed", "10.77.0.3/24")
	relay := r.host("relay", "10.77.0.4/24")
	must(t, relay.Addr("lo", "10.78.0.1/32"))
	_, err := r.srv.Run(r.ctx, "ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.4")
	must(t, err)
	r.serveConfig("[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.10-10.77.0.254\"\n" +
		"[[network]]\nname=\"far\"\ninterface=\"eth0\"\nmode=\"full\"\nsubnet=\"10.78.0.0/24\"\nrange=\"10.78.0.10-10.78.0.99\"\nrelays=[\"10.78.0.1\"]\n" +
		"[[class]]\nname=\"acme\"\nvendor_class=[\"onie_vendor:*\"]\nas=\"plain\"\n[class.options]\ndefault-url=\"http://10.77.0.1/images/nos/installer.bin\"\n" +
		"[enroll]\npolicy=\"approve\"\n[https]\n")
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
	r.piTree()
	r.pushPi("kiosk", "auto_approve = true\n[match]\narch = [\"raspberry-pi\"]\nserial = [\"a1*\"]")
	nos := filepath.Join(t.TempDir(), "installer.bin")
	must(t, os.WriteFile(nos, noise(100_000), 0o644))
	r.muster("image", "import", "nos", nos, "--public")

	// Every kind comes to its system, and gets its steps in this order.
	for _, c := range []struct {
		kind  string
		args  []string
		steps []string
	}{
		{"uefi-x64", nil, []string{"offer", "lease", "address", "loader", "ipxe offer", "ipxe lease", "script", "script", "kernel", "initrd", "boot", "report", "release"}},
		{"bios", nil, []string{"offer", "lease", "loader", "ipxe offer", "script", "kernel", "initrd", "boot", "report", "release"}},
		{"uefi-http-x64", nil, []string{"offer", "lease", "loader", "ipxe offer", "script", "kernel", "initrd", "boot", "report", "release"}},
		{"uefi-arm64", nil, []string{"offer", "lease", "loader", "loader", "config", "config", "kernel", "initrd", "boot", "report", "release"}}, // shim and GRUB
		{"uefi-http-arm64", nil, []string{"offer", "lease", "loader", "ipxe offer", "script", "kernel", "boot", "report"}},
		{"ipxe", []string{"--stage", "running,done"}, []string{"offer", "lease", "script", "script", "kernel", "initrd", "boot", "report", "report", "release"}},
		{"bluefield", nil, []string{"offer", "lease", "loader", "kernel", "initrd", "boot", "report"}},
		{"pi4", []string{"--serial", "a1020304"}, []string{"offer", "lease", "file", "boot", "release"}},
		{"pi5", []string{"--serial", "a1020305"}, []string{"offer", "lease", "file", "boot", "release"}},
		{"onie", nil, []string{"offer", "lease", "installer", "boot", "release"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			var tr simclient.Transcript
			code, said := r.simulate(client, &tr, append([]string{c.kind, "-i", "eth0", "--json", "--expect", "boot"}, c.args...)...)
			if code != 0 || tr.End != simclient.Booted {
				t.Fatalf("exit %d: %s", code, said)
			}
			var got []string
			for _, s := range tr.Steps {
				if s.Verdict == simclient.Failed {
					t.Errorf("step %s failed: %s", s.Name, s.Text)
				}
				got = append(got, s.Name)
				if s.Name == "kernel" && (s.Bytes != 200_000 || len(s.SHA256) != 64) {
					t.Errorf("the kernel is %+v", s)
				}
			}
			inOrder(t, got, c.steps)
			if strings.HasPrefix(tr.MAC, "52:54:00") && c.kind != "onie" {
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
	out, err := client.Run(r.ctx, "ip", "-4", "addr", "show", "dev", "eth0")
	must(t, err)
	routes, err := client.Run(r.ctx, "ip", "-4", "route")
	must(t, err)
	if strings.Contains(out, "inet ") || strings.TrimSpace(routes) != "" {
		t.Errorf("left behind on the interface:\n%s%s", out, routes)
	}
	r.noLeases()

	t.Run("relay", func(t *testing.T) {
		for _, kind := range []string{"uefi-x64", "ipxe"} {
			var tr simclient.Transcript
			if code, said := r.simulate(relay, &tr, kind, "--relay", "10.78.0.1", "--server", serverAddr, "--circuit-id", "Ethernet12", "--remote-id", "leaf3", "--json", "--mac", "52:54:00:78:00:01"); code != 0 {
				t.Fatalf("exit %d: %s", code, said)
			}
			if !strings.HasPrefix(tr.Address, "10.78.0.") {
				t.Errorf("%s got %s", kind, tr.Address)
			}
		}
		if d := r.show("52:54:00:78:00:01"); !strings.Contains(r.muster("host", "show", d.Name), "leaf3:Ethernet12") {
			t.Errorf("the switch port is not known")
		}
		r.noLeases()
	})
	// Held for a person, then let in without a template: the local disk.
	t.Run("hold", func(t *testing.T) {
		for _, kind := range []string{"uefi-x64", "uefi-arm64"} { // by iPXE and by GRUB
			mac := map[string]string{"uefi-x64": "06:00:00:00:00:01", "uefi-arm64": "06:00:00:00:00:02"}[kind]
			args := []string{kind, "-i", "eth0", "--mac", mac, "--json"}
			var tr simclient.Transcript
			if code, said := r.simulate(client, &tr, args...); code != 0 || tr.End != simclient.Held || !strings.Contains(tr.Text, "host approve") {
				t.Errorf("%s: exit %d: %s", kind, code, said)
			}
			if code, _ := r.simulate(client, &tr, append(args, "--expect", "boot")...); code != exitFailed {
				t.Errorf("%s: held where it was to boot: exit %d", kind, code)
			}
			r.muster("host", "approve", mac)
			if code, said := r.simulate(client, &tr, append(args, "--expect", "local")...); code != 0 || tr.End != simclient.Local {
				t.Errorf("%s: exit %d: %s", kind, code, said)
			}
		}
	})
	// With an address of its own there the interface is left as it is, and the server
	// refuses files to another address than the machine's; a Pi whose files nobody has is
	// told so.
	t.Run("own address", func(t *testing.T) {
		var tr simclient.Transcript
		if code, said := r.simulate(addressed, &tr, "bios", "-i", "eth0", "--no-address", "--mac", "52:54:00:00:00:77", "--json"); code != exitFailed || !strings.Contains(said, "10.77.0.3, the interface's own") || !strings.Contains(said, "10.77.0.3 uses a path that was made for") {
			t.Errorf("exit %d: %s", code, said)
		}
		if code, said := r.simulate(client, nil, "bios", "-i", "eth0", "--no-address", "--mac", "52:54:00:00:00:77"); code != exitFailed || !strings.Contains(said, "leave out --no-address") {
			t.Errorf("exit %d: %s", code, said)
		}
		if code, said := r.simulate(client, nil, "pi4", "-i", "eth0", "--serial", "b2b2b2b2", "--mac", "dc:a6:32:00:00:99"); code != exitFailed || !strings.Contains(said, "b2b2b2b2") {
			t.Errorf("exit %d: %s", code, said)
		}
	})
	t.Run("storm", func(t *testing.T) {
		var sum simclient.Sum
		code, said := r.simulate(client, &sum, "uefi-x64", "-i", "eth0", "--count", "200", "--rate", "200", "--json", "--mac", "52:54:00:40:00:00")
		if code != 0 || sum.Ends[simclient.Booted] != 200 || sum.Twice != 0 || sum.Bytes < 200*500_000 {
			t.Fatalf("exit %d: %.3000s", code, said)
		}
		macs := map[string]bool{}
		for _, m := range sum.Machines {
			macs[m.MAC] = true
		}
		if len(macs) != 200 {
			t.Errorf("%d machines had %d MACs", 200, len(macs))
		}
		if code, said := r.simulate(client, nil, "ipxe", "-i", "eth0", "--count", "3", "--no-kernel"); code != 0 || !strings.Contains(said, "no address twice") || !strings.Contains(said, "whole boot") {
			t.Errorf("exit %d: %s", code, said)
		}
	})
}

// TestSimulateHTTPS: a certificate that nobody vouches for is named, and with its
// CA at hand the machine boots.
func TestSimulateHTTPS(t *testing.T) {
	r := newRig(t)
	r.fakeLoaders("snponly.efi")
	client := r.host("client", "")
	r.serveConfig(fullNetwork + "https=true\n[https]\n")
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
	if code, said := r.simulate(client, nil, "uefi-http-x64", "-i", "eth0"); code != exitFailed || !strings.Contains(said, "signed by nobody whom this machine trusts") || !strings.Contains(said, "--ca FILE") {
		t.Errorf("exit %d: %s", code, said)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	r.muster("ca", "export", "--pem", ca)
	var tr simclient.Transcript
	if code, said := r.simulate(client, &tr, "uefi-http-x64", "-i", "eth0", "--ca", ca, "--json"); code != 0 || !strings.Contains(said, "https://10.77.0.1/") {
		t.Errorf("exit %d: %s", code, said)
	}
}

// bootFolder is what a TFTP server without Muster has: a loader, a script whose
// kernel is told args, and what the script names.
func bootFolder(t *testing.T, args string) string {
	t.Helper()
	files := t.TempDir()
	for name, b := range map[string][]byte{
		"ipxe.efi": noise(30_000), "vmlinuz": noise(50_000), "initrd": noise(70_000),
		"boot.ipxe": []byte("#!ipxe\nkernel vmlinuz " + args + " BOOTIF=01-${net0/mac:hexhyp} || exit 1\ninitrd initrd\nboot\n"),
	} {
		must(t, os.WriteFile(filepath.Join(files, name), b, 0o644))
	}
	must(t, os.Chmod(files, 0o755))
	must(t, os.Chmod(filepath.Dir(files), 0o755))
	return files
}

// TestSimulateBeside: the machine speaks to any server: dnsmasq alone, dnsmasq for
// addresses with Muster as proxy, and nobody.
func TestSimulateBeside(t *testing.T) {
	nettest.Need(t, "dnsmasq")
	r := newRig(t)
	client := r.host("client", "")
	var tr simclient.Transcript
	start := time.Now()
	code, said := r.simulate(client, &tr, "onie", "-i", "eth0", "--json")
	if took := time.Since(start); code != exitFailed || took > 15*time.Second || !strings.Contains(said, "no OFFER in") || !strings.Contains(said, "is the VLAN right") {
		t.Errorf("nobody there: exit %d after %s: %s", code, took, said)
	}

	files := bootFolder(t, "ip=dhcp")
	other := r.host("other", "10.77.0.7/24")
	_, stop := r.dnsmasqAt(other, dnsmasqRange, "--enable-tftp", "--tftp-root="+files, "--dhcp-userclass=set:ipxe,iPXE", "--dhcp-boot=tag:!ipxe,ipxe.efi", "--dhcp-boot=tag:ipxe,boot.ipxe")
	for _, kind := range []string{"uefi-x64", "bios", "ipxe"} { // dnsmasq sends UEFI to port 4011
		code, said := r.simulate(client, &tr, kind, "-i", "eth0", "--json")
		if code != 0 || tr.End != simclient.Booted || !strings.HasPrefix(tr.Cmdline, "ip=dhcp BOOTIF=01-"+strings.ReplaceAll(tr.MAC, ":", "-")) {
			t.Errorf("%s of dnsmasq: exit %d: %s", kind, code, said)
		}
	}
	stop()

	r.dnsmasqAt(other, dnsmasqRange)
	r.fakeLoaders("snponly.efi", "undionly.kpxe")
	for _, pxe := range []string{"direct", "binl"} {
		r.serveConfig(fmt.Sprintf("[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"proxy\"\npxe=%q\n", pxe))
		kernel, initrd := r.smallLinux()
		r.pushLinux("linux", "auto_approve = true\n[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
		code, said := r.simulate(client, &tr, "uefi-x64", "-i", "eth0", "--json")
		if code != 0 || !strings.Contains(said, "10.77.0.7 offers") || !strings.Contains(said, "no address (proxy)") {
			t.Errorf("%s: exit %d: %s", pxe, code, said)
		}
		if asked := slices.ContainsFunc(tr.Steps, func(s simclient.Step) bool { return s.Name == "4011" }); asked != (pxe == "binl") {
			t.Errorf("%s: port 4011 was asked: %v\n%s", pxe, asked, said)
		}
		r.stop(false)
	}
}
