// catalogue_test.go: templates of the catalogue on machines, from power-on to the end.

package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// liveDisc is a Debian live system as Debian's own discs have it, made here.
func liveDisc(t *testing.T) string {
	t.Helper()
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("a Debian is made, and an emulated machine runs it for minutes: MUSTER_LONG=1")
	}
	nettest.Need(t, "mmdebstrap", "mksquashfs", "xorriso")
	dir := t.TempDir()
	madeDebian(t, "live", filepath.Join(dir, "live"))
	return packedDisc(t, dir)
}

// packedDisc packs a folder with a live system into a disc like Debian's own.
func packedDisc(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(dir, ".disk"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, ".disk/info"), []byte("Debian GNU/Linux Live 12 made here"), 0o644))
	disc := filepath.Join(t.TempDir(), "live.iso")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-V", "d-live 12 made", "-o", disc, dir).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return disc
}

// madeDebian makes a Debian in a folder, once for all tests. arch is amd64 if none is given.
func madeDebian(t *testing.T, what, dir string, arch ...string) {
	t.Helper()
	cmd := exec.Command("../internal/nettest/debian.sh", append([]string{what, dir}, arch...)...)
	cmd.Stderr = os.Stderr // a line each minute
	if err := cmd.Run(); err != nil {
		t.Fatalf("debian.sh %s: %v", what, err)
	}
}

// blankDisk is a disk of ten gigabytes, which no rule finds too small; head is what
// stands at its beginning.
func blankDisk(t *testing.T, head []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blank.img")
	must(t, os.WriteFile(name, head, 0o644))
	must(t, os.Truncate(name, 10_000_000_000))
	return name
}

// errand gives the guest a template of the catalogue, approves it and switches it on.
func (r *rig) errand(g nettest.Guest, disk string, args ...string) *nettest.VM {
	r.t.Helper()
	return r.errandFrom(liveDisc(r.t), g, disk, args...)
}

// errandFrom is errand with the disc of a live system.
func (r *rig) errandFrom(disc string, g nettest.Guest, disk string, args ...string) *nettest.VM {
	r.t.Helper()
	r.muster(append([]string{"template", "add", "--as", "errand", "--iso", disc, "--set", nettest.ConsoleArg(g.Firmware.Arch())}, args...)...)
	r.muster("host", "add", "web1", "--mac", guestMAC, "--template", "errand")
	if out := r.muster("host", "approve", "web1"); !strings.Contains(out, "its next boot installs") {
		r.t.Errorf("%s", out)
	}
	g.MemoryMB, g.Disk = 2048, disk
	return r.boot(g)
}

// stage waits until the guest reported a stage. A system that is emulated takes its time.
func (r *rig) stage(vm *nettest.VM, stage string) host {
	r.t.Helper()
	r.wait("the report of "+stage, 15*time.Minute, func() error {
		var all struct{ Items []host } // by the socket: a command a poll, for minutes, would be felt
		if err := r.ask("/api/v1/hosts", &all); err != nil || len(all.Items) != 1 {
			return fmt.Errorf("of the hosts it is said %+v, %v", all, err)
		}
		h := all.Items[0]
		if h.Stage == stage {
			return nil
		}
		if h.Stage == "failed" {
			return fatal{fmt.Errorf("it failed:\n%s", r.muster("event", "list", "--host", "web1"))}
		}
		select {
		case <-vm.Done():
			return fatal{fmt.Errorf("the machine went off at %q", h.Stage)}
		default:
		}
		return fmt.Errorf("it stands at %q", h.Stage)
	})
	return r.show(guestMAC)
}

// TestWipe: a disk that held something is zeros afterwards, is told how, and the machine
// is off.
func TestWipe(t *testing.T) {
	liveDisc(t)
	r := newRig(t)
	r.serveConfig(fullNetwork)
	disk := blankDisk(t, bytes.Repeat([]byte("secret. "), 1<<20))
	vm := r.errand(guest(nettest.BIOS), disk, "wipe", "--set", "disks=all")
	d := r.stage(vm, "done")
	if said := r.muster("event", "list", "--host", "web1"); !strings.Contains(said, "reports wiped: /dev/vda: overwritten with zeros") {
		t.Errorf("it does not say how:\n%s\n%s", said, strings.Join(timeline(d), "\n"))
	}
	r.wait("the machine to be off", time.Minute, func() error {
		select {
		case <-vm.Done():
			return nil
		default:
			return fmt.Errorf("it runs")
		}
	})
	f, err := os.Open(disk)
	must(t, err)
	defer f.Close()
	head := make([]byte, 16<<20)
	if _, err := io.ReadFull(f, head); err != nil || len(bytes.Trim(head, "\x00")) > 0 {
		t.Errorf("something is left of it: %v", err)
	}
}

// TestDiskImage: a machine gets the image of a disk, starts it with its name, user and
// key, says so, and boots its disk from then on. An image without cloud-init is refused
// with words, and the machine stays up.
func TestDiskImage(t *testing.T) {
	liveDisc(t)
	for _, c := range []struct {
		name   string
		fw     nettest.Firmware
		secure bool
	}{
		{"bios", nettest.BIOS, false},
		{"uefi", nettest.UEFI, false},
		{"secure boot", nettest.UEFI, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := t.TempDir()
			madeDebian(t, "disk", made)
			r := newRig(t)
			if c.secure {
				r.loader("shimx64.efi", "secureboot/usr/lib/shim/shimx64.efi.signed")
				r.loader("grubx64.efi", "secureboot/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")
			}
			r.serveConfig(fullNetwork)
			g := guest(c.fw)
			g.Secure = c.secure
			r.imaged(g, liveDisc(t), filepath.Join(made, "debian.raw.gz"))
		})
	}
	t.Run("no cloud-init", func(t *testing.T) {
		r := newRig(t)
		r.serveConfig(fullNetwork)
		plain := filepath.Join(t.TempDir(), "plain.raw")
		must(t, os.WriteFile(plain, bytes.Repeat([]byte("x"), 1<<20), 0o644))
		r.muster("image", "import", "plain", plain)
		vm := r.errand(guest(nettest.BIOS), blankDisk(t, nil), "disk-image", "--set", "image=plain/plain.raw")
		r.stage(vm, "failed")
		if said := r.muster("event", "list", "--host", "web1"); !strings.Contains(said, "reports failed: no partition of plain/plain.raw has cloud-init") {
			t.Errorf("%s", said)
		}
	})
}

// TestDiskImageARM64: the same on arm64, from a live system to an image of it.
func TestDiskImageARM64(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("a Debian is made by emulation, and an emulated machine runs it for minutes: MUSTER_LONG=1")
	}
	nettest.Need(t, append(nettest.ARM64.Needs(), "mmdebstrap", "mksquashfs", "xorriso")...)
	nettest.Cached(t, "qemu-user/usr/bin/qemu-aarch64-static")
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "debian.raw.gz")
	madeDebian(t, "both", filepath.Join(dir, "live"), "arm64")
	must(t, os.Rename(filepath.Join(dir, "live/debian.raw.gz"), image))
	r := newRig(t)
	r.debian13Loaders("ipxe-arm64.efi")
	r.serveConfig(fullNetwork)
	r.imaged(guest(nettest.ARM64), packedDisc(t, dir), image)
}

// imaged: a guest gets an image with cloud-init on its disk, and is what it was told to be.
func (r *rig) imaged(g nettest.Guest, disc, image string) {
	r.t.Helper()
	const key = "ssh-ed25519 AAAAC3Nza ann@home"
	tty := "/dev/" + strings.TrimPrefix(nettest.ConsoleArg(g.Firmware.Arch()), "console=")
	r.muster("image", "import", "cloud", image)
	vm := r.errandFrom(disc, g, blankDisk(r.t, nil), "disk-image", "--set", "image=cloud/debian.raw.gz", "--set", "user=ann", "--set", "ssh_keys="+key, "--set", "late=id ann >"+tty+"; cat /home/ann/.ssh/authorized_keys >"+tty)
	start := time.Now()
	r.stage(vm, "installed")
	r.t.Logf("from power-on to installed: %s", time.Since(start).Round(time.Second))
	d := r.stage(vm, "running")
	r.t.Logf("from power-on to the installed system's report: %s\n%s", time.Since(start).Round(time.Second), strings.Join(timeline(d), "\n"))
	// cloud-init reports after the late commands.
	for _, want := range []string{"(ann)", key} {
		if said := vm.Console(); !strings.Contains(said, want) {
			r.t.Errorf("the installed system does not say %q; its console ends in:\n%s", want, said[max(0, len(said)-1500):])
		}
	}
	must(r.t, vm.WaitConsole(r.ctx, "web1 login:"))
	if got := r.standing(guestMAC); !strings.Contains(got, "installed errand") {
		r.t.Errorf("the host stands at %q", got)
	}
	must(r.t, vm.Reset())
	must(r.t, vm.WaitConsole(r.ctx, "web1 login:"))
	r.t.Logf("from power-on to the second login: %s", time.Since(start).Round(time.Second))
}

// TestMemtest: the catalogue's template for one boot, by BIOS and by UEFI, from Memtest86+'s
// own disc.
func TestMemtest(t *testing.T) {
	for _, c := range []struct {
		name string
		fw   nettest.Firmware
	}{{"bios", nettest.BIOS}, {"uefi", nettest.UEFI}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.serveConfig(fullNetwork)
			r.muster("template", "add", "memtest", "--iso", nettest.Cached(t, "memtest/usr/lib/memtest86+/memtest86+x64.iso"), "--set", "console=ttyS0,115200")
			r.muster("host", "add", "web1", "--mac", guestMAC, "--approved")
			r.muster("host", "rescue", "web1", "--template", "memtest")
			g := guest(c.fw)
			g.ExtraArgs = []string{"-device", "VGA"} // as a UEFI program it wants a screen, and gives up without one
			vm := r.boot(g)
			must(t, vm.WaitConsole(r.ctx, "Memtest86+"))
			if got := r.show(guestMAC); got.Boots != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestRescue: a machine whose disk is left alone boots a live system once, and whoever has
// the key comes in as root.
func TestRescue(t *testing.T) {
	disc := liveDisc(t)
	nettest.Need(t, "ssh", "ssh-keygen")
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann's key", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	must(t, err)
	r := newRig(t)
	r.serveConfig(fullNetwork)
	r.muster("template", "add", "rescue", "--iso", disc, "--set", "console=ttyS0")
	r.muster("param", "set", "site", "ssh_keys="+strings.TrimSpace(string(public)))
	r.muster("host", "add", "web1", "--mac", guestMAC, "--approved")
	r.muster("host", "rescue", "web1")
	disk := blankDisk(t, []byte("what the machine is for"))
	g := guest(nettest.BIOS)
	g.MemoryMB, g.Disk = 2048, disk
	vm := r.boot(g)
	r.stage(vm, "running")
	var addr string
	r.wait("the report of where it is", time.Minute, func() error {
		said := r.muster("event", "list", "--host", "web1")
		_, after, ok := strings.Cut(said, "ssh root@")
		if !ok {
			return fmt.Errorf("it says\n%s", said)
		}
		addr = strings.Fields(after)[0]
		return nil
	})
	login := func(user string, more ...string) ([]byte, error) {
		args := append([]string{"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10"}, more...)
		return r.srv.Command(r.ctx, "ssh", append(args, user+"@"+addr, "hostname; head -c 23 /dev/vda")...).CombinedOutput()
	}
	r.wait("the key to open", 3*time.Minute, func() error {
		out, err := login("root", "-i", key)
		if err != nil || !strings.Contains(string(out), "web1\nwhat the machine is for") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	// The live system's own account has a password that everybody knows.
	if out, err := login("user", "-o", "PubkeyAuthentication=no"); err == nil || !strings.Contains(string(out), "Permission denied (publickey)") {
		t.Errorf("without a key it offers more than keys: %v, %s", err, out)
	}
}

// TestScripts: what needs no medium: iPXE's shell for one boot, and the local disk for a
// machine that another template would match.
func TestScripts(t *testing.T) {
	for _, c := range []struct {
		name string
		fw   nettest.Firmware
	}{{"bios", nettest.BIOS}, {"uefi", nettest.UEFI}} {
		t.Run(c.name, func(t *testing.T) {
			if c.fw == nettest.UEFI && os.Getenv("MUSTER_LONG") == "" {
				t.Skip("the scripts are the same by BIOS, which takes a third of the time: MUSTER_LONG=1")
			}
			t.Parallel()
			r := newRig(t)
			r.serveConfig(fullNetwork)
			r.muster("template", "add", "local")
			r.muster("template", "add", "ipxe-shell", "--as", "shell")
			r.muster("host", "add", "web1", "--mac", guestMAC, "--template", "local", "--approved")
			r.muster("host", "rescue", "web1", "--template", "shell")
			g := guest(c.fw)
			g.Disk = bootDisk(t, c.fw)
			must(t, os.Truncate(g.Disk, 16<<20)) // a BIOS finds no heads on a smaller one
			vm := r.boot(g)
			must(t, vm.WaitConsole(r.ctx, "iPXE>"))
			must(t, vm.Type("echo ${netX/mac}, at its shell\r"))
			must(t, vm.WaitConsole(r.ctx, guestMAC+", at its shell"))
			must(t, vm.Type("exit\r"))
			must(t, vm.WaitConsole(r.ctx, diskSays))
			must(t, vm.Reset())
			must(t, vm.WaitConsole(r.ctx, "Muster: web1 boots its disk"))
			must(t, vm.WaitConsole(r.ctx, diskSays))
		})
	}
}

// TestFix: a system that is on a disk gets a driver and a command from beside it, once, and
// boots with them.
func TestFix(t *testing.T) {
	disc := liveDisc(t)
	made := t.TempDir()
	madeDebian(t, "disk", made)
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := exec.Command("sh", "-c", "gzip -dc "+made+"/debian.raw.gz >"+disk+" && truncate -s 10G "+disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	drivers, tree := t.TempDir(), t.TempDir() // a folder: of an archive the files would be imported
	must(t, os.MkdirAll(filepath.Join(tree, "etc/modprobe.d"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "etc/modprobe.d/nic.conf"), []byte("options nic mended=1\n"), 0o644))
	if out, err := exec.Command("tar", "-czf", filepath.Join(drivers, "nic.tar.gz"), "-C", tree, "etc").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := newRig(t)
	r.serveConfig(fullNetwork)
	r.muster("image", "import", "drivers", drivers)
	r.muster("template", "add", "fix", "--iso", disc, "--set", "console=ttyS0", "--set", "drivers=drivers/nic.tar.gz", "--set", "run=cat /etc/modprobe.d/nic.conf >/etc/issue")
	r.muster("host", "add", "web1", "--mac", guestMAC, "--approved")
	r.muster("host", "rescue", "web1", "--template", "fix")
	g := guest(nettest.BIOS)
	g.MemoryMB, g.Disk = 2048, disk
	vm := r.boot(g)
	d := r.stage(vm, "done")
	t.Log(strings.Join(timeline(d), "\n"))
	must(t, vm.WaitConsole(r.ctx, "options nic mended=1"))
	must(t, vm.WaitConsole(r.ctx, "login:"))
}

// TestCIDATA: a machine with a disk of its own and the disc that Muster makes for it, as a
// BMC would insert it, is what the disc says: a real cloud-init reads it, as its own disc
// and as the config drive of a cloud.
func TestCIDATA(t *testing.T) {
	t.Run("cidata", func(t *testing.T) { seeded(t, "cidata.iso", "") })
	t.Run("config drive", func(t *testing.T) {
		seeded(t, "config-2.iso", "[archives.\"config-2.iso\"]\n\"openstack/latest/user_data\" = \"user-data\"\n\"openstack/latest/meta_data.json\" = \"meta_data.json\"\n")
	})
}

// seeded boots a machine whose cloud-init finds one disc alone.
func seeded(t *testing.T, name, spec string) {
	nettest.Need(t, "curl", "udhcpc", "debugfs")
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("a Debian is made, and an emulated machine runs it for minutes: MUSTER_LONG=1")
	}
	made := t.TempDir()
	madeDebian(t, "disk", made)
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := exec.Command("sh", "-c", "gzip -dc "+made+"/debian.raw.gz >"+disk+" && truncate -s 10G "+disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if spec != "" { // where a cloud-init looks is in its image
		list := filepath.Join(t.TempDir(), "list")
		must(t, os.WriteFile(list, []byte("datasource_list: [ ConfigDrive, None ]\n"), 0o644))
		out, err := exec.Command("debugfs", "-w", "-R", "write "+list+" /etc/cloud/cloud.cfg.d/99_list.cfg", disk+"?offset=69206016").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Allocated inode") {
			t.Fatalf("debugfs: %v\n%s", err, out)
		}
	}
	r := newRig(t)
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte("name = \"seeded\"\n[boot]\nkernel = \"k\"\n[params.motto]\n"+spec), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "meta_data.json.tmpl"), []byte("{\"uuid\": {{ toJson .Name }}, \"hostname\": {{ toJson .Name }}}\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "k"), []byte("never read"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "user-data"), []byte("#cloud-config\nhostname: {{ yaml .Name }}\nreporting:\n  muster: {type: webhook, endpoint: {{ yaml .ReportURL }}}\nruncmd:\n  - [sh, -c, \"cat /root/motto >/dev/ttyS0\"]\nwrite_files:\n  - path: /root/motto\n    content: {{ yaml .Params.motto }}\n"), 0o644))
	r.muster("template", "push", dir)
	r.muster("host", "add", "web1", "--mac", guestMAC, "--template", "seeded", "--approved")
	r.muster("host", "set", "web1", "motto=per aspera: \"ad astra\"")

	// A disc is asked for with the path of a boot.
	ns, err := r.lab.Host("bmc")
	must(t, err)
	must(t, r.lab.Plug(ns, "eth0", r.sw))
	_, err = ns.Run(r.ctx, "ip", "link", "set", "eth0", "address", guestMAC)
	must(t, err)
	r.leased(ns)
	script, err := ns.Run(r.ctx, "curl", "-fsS", "http://10.77.0.1/boot.ipxe?mac="+guestMAC+"&platform=pcbios")
	must(t, err)
	_, base, ok := strings.Cut(string(script), "kernel ")
	base, _, ok2 := strings.Cut(base, "/k ")
	if !ok || !ok2 {
		t.Fatalf("its script:\n%s", script)
	}
	disc := filepath.Join(t.TempDir(), name)
	_, err = ns.Run(r.ctx, "curl", "-fsS", "-o", disc, base+"/"+name)
	must(t, err)
	_, err = ns.Run(r.ctx, "ip", "link", "set", "eth0", "down")
	must(t, err)
	// No boot is numbered where nothing but the disk is booted: the report is of the present one.
	r.muster("host", "set", "web1", "--template", "")

	g := guest(nettest.BIOS)
	g.MemoryMB, g.Disk = 2048, disk
	g.ExtraArgs = []string{"-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file=" + disc, "-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=cd0"}
	vm := r.boot(g)
	must(t, vm.WaitConsole(r.ctx, "per aspera: \"ad astra\""))
	must(t, vm.WaitConsole(r.ctx, "web1 login:"))
	r.wait("its steps", time.Minute, func() error {
		said := r.muster("event", "list", "--host", "web1")
		for _, want := range []string{"web1: init-network/activate-datasource: activating datasource", "web1: modules-final: running modules for final (done)"} {
			if !strings.Contains(said, want) {
				return fmt.Errorf("no %q among\n%s", want, said)
			}
		}
		return nil
	})
}
