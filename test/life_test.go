// life_test.go: the life of a simulated machine against the real daemon: how it
// is let in, and that it is installed only once, whenever the daemon is killed.

package test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/internal/simclient"
)

// pushInstaller pushes a template that installs.
func (r *rig) pushInstaller(name, match string) {
	r.t.Helper()
	kernel, initrd := r.smallLinux()
	dir := r.t.TempDir()
	must(r.t, os.WriteFile(filepath.Join(dir, "template.toml"), fmt.Appendf(nil, "name = %q\ninstall = true\n%s[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = \"muster.report={{ .ReportURL }}\"\n", name, match), 0o644))
	must(r.t, os.Symlink(kernel, filepath.Join(dir, "vmlinuz")))
	must(r.t, os.Symlink(initrd, filepath.Join(dir, "initrd.gz")))
	r.muster("template", "push", dir)
}

// TestApprovalJourneys: a machine that nobody knows is held on every way, and
// boots without being touched when it is let in: by name, by filter, by a list,
// by a rule, and by a program on the socket.
func TestApprovalJourneys(t *testing.T) {
	r := newRig(t)
	r.fakeLoaders("snponly.efi", "undionly.kpxe")
	client := r.host("client", "")
	config := func(rules string) string {
		return "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.10-10.77.0.250\"\n[enroll]\npolicy=\"approve\"\n" + rules
	}
	r.serveConfig(config("[[enroll.rule]]\nname=\"pallet\"\naction=\"approve\"\nserial=[\"PALLET-*\"]\nmax=1\n[[enroll.rule]]\nname=\"visitors\"\naction=\"deny\"\nmac=[\"02:*\"]\n"))
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "[params.role]\n[match]\narch = [\"x64-uefi\", \"bios\"]\n", kernel, initrd, "quiet muster.report={{ .ReportURL }}")

	sim := func(kind, mac, serial, expect string) simclient.Transcript {
		t.Helper()
		var tr simclient.Transcript
		if code, said := r.simulate(client, &tr, kind, "-i", "eth0", "--json", "--mac", mac, "--serial", serial, "--expect", expect); code != 0 {
			t.Errorf("%s %s: exit %d: %s", mac, serial, code, said)
		}
		for _, s := range tr.Steps {
			if expect != "boot" && (s.Name == "kernel" || s.Name == "initrd") && s.Verdict == simclient.OK {
				t.Errorf("%s got %s", mac, s.Name)
			}
		}
		return tr
	}
	state := func(mac string, want string) {
		t.Helper()
		if d := r.show(mac); d.State != want {
			t.Errorf("%s is %s, want %s", mac, d.State, want)
		}
	}

	// By name.
	sim("uefi-x64", "06:00:00:00:01:01", "CLI-1", "hold")
	state("06:00:00:00:01:01", pending)
	r.muster("host", "approve", "06:00:00:00:01:01")
	sim("uefi-x64", "06:00:00:00:01:01", "CLI-1", "boot")

	// By filter: the dry run changes nothing, and others stay.
	for _, n := range []string{"1", "2", "3"} {
		sim("bios", "06:00:00:00:02:0"+n, "FILTER-"+n, "hold")
	}
	sim("bios", "06:00:00:00:02:09", "OTHER-9", "hold")
	if said := r.muster("host", "approve", "--serial", "FILTER-*", "--dry-run"); !strings.Contains(said, "3 machines would be approved") {
		t.Errorf("dry run: %s", said)
	}
	state("06:00:00:00:02:01", pending)
	if said := r.muster("host", "approve", "--serial", "FILTER-*", "--arch", "bios"); !strings.Contains(said, "3 machines approved") {
		t.Errorf("by filter: %s", said)
	}
	sim("bios", "06:00:00:00:02:02", "FILTER-2", "boot")
	state("06:00:00:00:02:09", pending)
	r.fails("host", "approve", "--serial", "FILTER-*", "m-060000000209")
	r.muster("host", "deny", "--serial", "OTHER-*")
	state("06:00:00:00:02:09", denied)

	// By a list of expected machines: one waits already, two come later, by
	// serial and by MAC.
	sim("bios", "06:00:00:00:03:01", "CSV-1", "hold")
	list := filepath.Join(t.TempDir(), "pallet.csv")
	must(t, os.WriteFile(list, []byte("name,serial,mac,template,param.role\nweb1,CSV-1,,linux,web\nweb2,CSV-2,,linux,web\nweb3,,06:00:00:00:03:03,linux,db\n"), 0o644))
	if said := r.muster("host", "import", "--approved", list); !strings.Contains(said, "let in") {
		t.Errorf("import: %s", said)
	}
	for _, x := range []struct{ mac, serial, name string }{{"06:00:00:00:03:01", "CSV-1", "web1"}, {"06:00:00:00:03:02", "CSV-2", "web2"}, {"06:00:00:00:03:03", "CSV-3", "web3"}} {
		sim("uefi-x64", x.mac, x.serial, "boot")
		if d := r.show(x.mac); d.Name != x.name || d.Params["role"] == "" || d.Stage != "running" {
			t.Errorf("%s is %s, params %v, stage %q", x.mac, d.Name, d.Params, d.Stage)
		}
	}

	// By rule: one of a pallet of two; a visitor is refused.
	sim("uefi-x64", "06:00:00:00:04:01", "PALLET-1", "boot")
	sim("uefi-x64", "06:00:00:00:04:02", "PALLET-2", "hold")
	if code, said := r.simulate(client, nil, "uefi-x64", "-i", "eth0", "--mac", "02:00:00:00:04:03", "--expect", "boot"); code == 0 {
		t.Errorf("a visitor boots: %s", said)
	}
	state("02:00:00:00:04:03", denied)

	// By a program on the socket.
	sim("bios", "06:00:00:00:05:01", "API-1", "hold")
	resp, err := r.api().Post("http://muster/api/v1/hosts/06:00:00:00:05:01/approve", "application/json", strings.NewReader("{}"))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the socket says %s", resp.Status)
	}
	sim("bios", "06:00:00:00:05:01", "API-1", "boot")
	// An empty filter is a mistake, not everybody.
	resp, err = r.api().Post("http://muster/api/v1/hosts/approve", "application/json", strings.NewReader("{}"))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("approving by an empty filter: %s", resp.Status)
	}
	state("06:00:00:00:04:02", pending)
	r.muster("host", "approve", "--all")
	state("06:00:00:00:04:02", approved)
}

// TestKilledWhileInstalling: the daemon dies at each step of an installation, and
// the machine is switched on until it boots its disk. It is installed once, or
// not at all where nobody can know.
func TestKilledWhileInstalling(t *testing.T) {
	r := newRig(t)
	r.fakeLoaders("undionly.kpxe")
	client := r.host("client", "")
	config := "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.10-10.77.0.250\"\n[enroll]\npolicy=\"approve\"\n"
	r.serveConfig(config)
	r.pushInstaller("debian", "")
	for i, at := range []string{"offer", "lease", "loader", "ipxe offer", "ipxe lease", "script", "kernel", "initrd", "boot", "report", "release"} {
		t.Run(strings.ReplaceAll(at, " ", "-"), func(t *testing.T) {
			mac := fmt.Sprintf("52:54:00:00:09:%02x", i)
			r.muster("host", "add", "h"+fmt.Sprint(i), "--mac", mac, "--template", "debian", "--approved")
			r.muster("host", "install", "h"+fmt.Sprint(i))
			args := []string{"simulate", "bios", "--fast", "-i", "eth0", "--mac", mac, "--stage", "installed", "--timeout", "40s"}
			installed := 0
			// The first power-on, with the daemon killed behind a step.
			cmd := client.Command(r.ctx, r.binary, args...)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			var said []string
			for sc, killed := bufio.NewScanner(out), false; sc.Scan(); {
				line := sc.Text()
				said = append(said, line)
				if !killed && strings.HasPrefix(line, "  "+at+" ") && strings.Contains(line, " ok ") {
					killed = true
					r.stop(true)
					r.serveConfig(config)
				}
				if strings.HasPrefix(line, "  boot ") && strings.Contains(line, " ok ") {
					installed++ // it has all and runs it, whatever becomes of its report
				}
			}
			_ = cmd.Wait()
			all := strings.Join(said, "\n")
			// Switched on until it boots its disk.
			disk := false
			for range 3 {
				var tr simclient.Transcript
				code, what := r.simulate(client, &tr, "bios", "-i", "eth0", "--mac", mac, "--stage", "installed", "--json", "--timeout", "40s")
				if strings.Contains(what, "somebody answers on it") {
					continue // this host, by another MAC: the daemon looked while the machine had the address
				}
				if code != 0 {
					t.Fatalf("after the kill: exit %d: %s\nbefore:\n%s", code, what, all)
				}
				if tr.End == simclient.Booted {
					installed++
				}
				if disk = tr.End == simclient.Local; disk {
					break
				}
			}
			if at == "kernel" && installed == 0 && strings.Contains(r.standing(mac), "install unconfirmed") {
				return // it had asked for the initrd too when the daemon died: it may run
			}
			d := r.show(mac)
			if !disk || installed != 1 {
				t.Errorf("installed %d times, boots its disk: %t; it stands at %q\n%s", installed, disk, r.standing(mac), all)
			}
			want := "installed debian in boot"
			if at == "initrd" || at == "boot" {
				want = "" // its report may have come or not
			}
			if got := r.standing(mac); !strings.Contains(got, want) || d.Ticket.State == "armed" {
				t.Errorf("it stands at %q, want %q", got, want)
			}
		})
	}
}

// TestReportsFromInstallers: reports as installers send them, by the tools that
// they have.
func TestReportsFromInstallers(t *testing.T) {
	nettest.Need(t, "curl", "busybox")
	r := newRig(t)
	r.fakeLoaders("undionly.kpxe")
	client := r.host("client", "10.77.0.9/24")
	r.serveConfig(fullNetwork + "[enroll]\npolicy=\"auto\"\n")
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "[match]\nmac = [\"52:54:00:*\"]\n", kernel, initrd, "muster.report={{ .ReportURL }}")
	var tr simclient.Transcript
	if code, said := r.simulate(client, &tr, "ipxe", "-i", "eth0", "--mac", "52:54:00:00:00:01", "--json", "--no-report"); code != 0 {
		t.Fatalf("exit %d: %s", code, said)
	}
	_, url, ok := strings.Cut(tr.Cmdline, "muster.report=")
	if !ok {
		t.Fatalf("command line %q", tr.Cmdline)
	}
	url = strings.Fields(url)[0]
	for _, c := range []struct {
		cmd   []string
		stage string
		text  string
	}{
		{[]string{"busybox", "wget", "-qO-", url + "?stage=partitioning"}, "partitioning", ""},
		{[]string{"curl", "-sf", url + "?stage=packages&text=412%20of%20900"}, "packages", "412 of 900"},
		{[]string{"curl", "-sf", "-F", "stage=bootloader", "-F", "text=a & b", url}, "bootloader", "a & b"},
		{[]string{"curl", "-sf", "-d", "pub_key_rsa=ssh-rsa%20AAAA&instance_id=i-1&hostname=web1&fqdn=web1.lab", url}, "running", "cloud-init of web1"},
		{[]string{"curl", "-sf", "-H", "Content-Type: application/json", "-d", `{"stage":"done","text":"bye"}`, url}, "done", "bye"},
		{[]string{"sh", "-c", `curl -sf -F stage=inventory -F lscpu="$(lscpu)" -F lsblk="$(lsblk -J -b -o NAME,TYPE,SIZE,MODEL,SERIAL,TRAN,ROTA)" -F ip="$(ip -j link)" -F meminfo="$(cat /proc/meminfo)" ` + url}, "inventory", ""},
	} {
		if out, err := client.Run(r.ctx, c.cmd[0], c.cmd[1:]...); err != nil {
			t.Fatalf("%v: %v\n%s", c.cmd, err, out)
		}
		d := r.show("52:54:00:00:00:01")
		if d.Stage != c.stage {
			t.Errorf("%v: stage %q, want %q", c.cmd, d.Stage, c.stage)
		}
		if c.text != "" && !strings.Contains(r.muster("host", "show", d.Name), c.text) {
			t.Errorf("%v: %q is not on the timeline", c.cmd, c.text)
		}
	}
	d := r.show("52:54:00:00:00:01")
	if v := d.Inventory; v.Threads == 0 || v.Memory == 0 || len(v.NICs) == 0 {
		t.Errorf("inventory: %+v", v)
	}
	if said := r.muster("host", "show", d.Name); !strings.Contains(said, "hardware") || !strings.Contains(said, " > script +") {
		t.Errorf("host show:\n%s", said)
	}
	// Not another one's URL, and not for ever.
	if out, err := client.Run(r.ctx, "curl", "-sf", strings.Replace(url, "/boot/", "/boot/x", 1)+"?stage=done"); err == nil {
		t.Errorf("a made-up token reports: %s", out)
	}
}
