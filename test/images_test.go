// images_test.go: what people import, by the commands they type: real media
// layouts, hostile archives, and imports that break off.

package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
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

// stored lists the files of the store.
func (r *rig) stored() []string {
	r.t.Helper()
	l, err := filepath.Glob(filepath.Join(r.data, "files", "*", "*"))
	must(r.t, err)
	return l
}

type tarEntry struct {
	name, link, data string
	kind             byte
	size             int64 // where it lies about it
}

func writeTar(t *testing.T, file string, entries ...tarEntry) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.size == 0 {
			e.size = int64(len(e.data))
		}
		must(t, w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Size: e.size, Mode: 0o644, Format: tar.FormatPAX}))
		if e.kind == tar.TypeReg {
			_, err := w.Write([]byte(e.data))
			must(t, err)
		}
	}
	w.Close() // a lying entry makes it complain; the bytes are what counts
	must(t, z.Close())
	must(t, os.WriteFile(file, b.Bytes(), 0o644))
	return file
}

// TestImport: media are recognised, stored once, served from inside, verified and
// removed without a trace.
func TestImport(t *testing.T) {
	nettest.Need(t, "xorriso", "curl")
	r := newRig(t)
	r.serveConfig(fullNetwork)
	tree := t.TempDir()
	for name, data := range map[string]string{
		".disk/info":         "Ubuntu-Server 24.04.1 LTS \"Noble Numbat\" - Release amd64 (20240827)\n",
		"casper/vmlinuz":     strings.Repeat("kernel", 1000),
		"casper/initrd":      strings.Repeat("initrd", 5000),
		"pool/main/a.deb":    "a package",
		"casper/filesystem":  strings.Repeat("x", 100000),
		"Deep/Folder/FILE.X": "deep",
	} {
		must(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, name), []byte(data), 0o644))
	}
	iso := filepath.Join(t.TempDir(), "ubuntu.iso")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-R", "-J", "-V", "Ubuntu-Server 24.04.1 LTS amd64", "-o", iso, tree).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	out := r.muster("image", "import", "noble", iso)
	if !strings.Contains(out, "Ubuntu Server 24.04") {
		t.Errorf("import: %s", out)
	}
	show := r.muster("image", "show", "noble")
	for _, want := range []string{"noble.iso", `kernel  = "image:noble/vmlinuz"`, `initrd  = ["image:noble/initrd"]`, "/images/noble/noble.iso"} {
		if !strings.Contains(show, want) {
			t.Errorf("image show lacks %q:\n%s", want, show)
		}
	}
	if out := r.muster("image", "verify"); !strings.Contains(out, "noble: 3 files are what they were") {
		t.Errorf("verify: %s", out)
	}
	r.muster("image", "import", "again", iso, "--public")
	if n := len(r.stored()); n != 3 {
		t.Errorf("%d files are stored for one disc imported twice, want 3", n)
	}
	cli := r.host("cli", "10.77.0.60/24")
	get := func(path string) string {
		t.Helper()
		out, err := cli.Run(r.ctx, "curl", "-sS", "--path-as-is", "http://"+serverAddr+path)
		must(t, err)
		return out
	}
	if got := get("/images/again/tree/pool/main/a.deb"); got != "a package" {
		t.Errorf("a file inside the disc: %q", got)
	}
	if got := get("/images/again/tree/deep/folder/file.x"); got != "deep" {
		t.Errorf("a name in another case: %q", got)
	}
	for _, p := range []string{"/images/again/tree/../../../muster.db", "/images/again/tree/%2e%2e/x", "/images/again/tree/", "/images/again/tree/pool", "/images/noble/vmlinuz"} {
		if got := get(p); strings.Contains(got, "kernel") || !strings.Contains(got, " ") {
			t.Errorf("%s: %.60q", p, got)
		}
	}

	// A damaged disk is noticed.
	var img imported
	r.json(&img, "image", "show", "noble")
	file := filepath.Join(r.data, "files", img.Files["vmlinuz"].Digest[:2], img.Files["vmlinuz"].Digest)
	b, err := os.ReadFile(file)
	must(t, err)
	b[7] ^= 1
	must(t, os.WriteFile(file, b, 0o640))
	if out := r.fails("image", "verify", "noble"); !strings.Contains(out, "noble/vmlinuz: bytes do not match") {
		t.Errorf("verify of a damaged file: %s", out)
	}

	r.muster("image", "rm", "noble")
	if n := len(r.stored()); n != 3 {
		t.Errorf("%d files left, although the other image has 3", n)
	}
	r.muster("image", "rm", "again")
	if l := r.stored(); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}

// TestImageTemplate: media that need more than a kernel and an initrd boot as
// "image template" writes it: ESXi with a boot.cfg of its boot, Proxmox with its
// disc in the initial file system.
func TestImageTemplate(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "xorriso", "curl")
	r := newRig(t)
	r.fakeLoaders("snponly.efi")
	r.serveConfig(fullNetwork + "[boot]\nbind_tokens = false\n") // curl asks for what firmware would
	client := r.host("client", "10.77.0.60/24")
	for name, c := range map[string]struct {
		label string
		plain bool
		files map[string]string
	}{
		"esxi8": {"ESXI-8.0U3-24022510-STANDARD", true, map[string]string{
			"BOOT.CFG":             "bootstate=0\ntitle=Loading ESXi installer\ntimeout=5\nprefix=\nkernel=/b.b00\nkernelopt=runweasel cdromBoot\nmodules=/jumpstrt.gz --- /useropts.gz\nbuild=8.0.3-0.0.24022510\nupdated=0\n",
			"EFI/BOOT/BOOTX64.EFI": "mboot", "EFI/BOOT/CRYPTO64.EFI": "crypto", "B.B00": "the kernel", "JUMPSTRT.GZ": "a module", "USEROPTS.GZ": "another"}},
		"pve": {"PVE", false, map[string]string{
			".disk/info":   "RELEASE='9.2'\nISORELEASE='1'\nISONAME='proxmox-ve'\nPRODUCT='pve'\nPRODUCTLONG='Proxmox VE'\n",
			"boot/linux26": strings.Repeat("k", 2000), "boot/initrd.img": "i", "pve-base.squashfs": "s"}},
	} {
		tree, iso := t.TempDir(), filepath.Join(t.TempDir(), "x.iso")
		for f, data := range c.files {
			must(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(f)), 0o755))
			must(t, os.WriteFile(filepath.Join(tree, f), []byte(data), 0o644))
		}
		args := []string{"-as", "mkisofs", "-quiet"}
		if c.plain {
			args = append(args, "--norock", "-iso-level", "1")
		}
		if out, err := exec.Command("xorriso", append(args, "-V", c.label, "-o", iso, tree)...).CombinedOutput(); err != nil {
			t.Fatalf("xorriso: %v\n%s", err, out)
		}
		r.muster("image", "import", name, iso)
		dir := filepath.Join(t.TempDir(), name)
		r.muster("image", "template", name, dir)
		if said := r.fails("image", "template", name, dir); !strings.Contains(said, "exists") {
			t.Errorf("over a folder that is there: %s", said)
		}
		r.muster("template", "push", dir)
		mac := "52:54:00:00:00:0" + fmt.Sprint(len(name))
		r.muster("host", "add", name+"-host", "--mac", mac, "--template", name, "--approved")
		var tr simclient.Transcript
		code, said := r.simulate(client, &tr, "uefi-x64", "-i", "eth0", "--mac", mac, "--json")
		if code != 0 || tr.End != simclient.Booted {
			t.Fatalf("%s: exit %d: %s", name, code, said)
		}
		get := func(url string) string {
			t.Helper()
			out, err := client.Run(r.ctx, "curl", "-sS", url)
			must(t, err)
			return out
		}
		switch name {
		case "esxi8":
			base, ok := strings.CutPrefix(strings.Fields(tr.Cmdline)[1], "http://")
			base, ok2 := strings.CutSuffix(base, "/boot.cfg")
			if !ok || !ok2 || !strings.HasPrefix(tr.Cmdline, "-c ") {
				t.Fatalf("mboot.efi is told %q", tr.Cmdline)
			}
			prefix := "http://" + base + "/images/esxi8/tree"
			if cfg := get("http://" + base + "/boot.cfg"); !strings.Contains(cfg, "\nprefix="+prefix+"\nkernel=b.b00\nkernelopt=runweasel\nmodules=jumpstrt.gz --- useropts.gz\n") {
				t.Errorf("boot.cfg:\n%s", cfg)
			}
			for f, want := range map[string]string{prefix + "/b.b00": "the kernel", prefix + "/useropts.gz": "another", "http://" + base + "/images/esxi8/crypto64.efi": "crypto"} {
				if got := get(f); got != want {
					t.Errorf("%s: %q", f, got)
				}
			}
		case "pve":
			// The disc as it comes, and as a kernel unpacks it: byte for byte.
			i := slices.IndexFunc(tr.Steps, func(s simclient.Step) bool { return strings.HasSuffix(s.File, "/placed/proxmox.iso/archive.cpio") })
			if i < 0 || !strings.Contains(tr.Cmdline, "initrd=proxmox.iso.cpio") {
				t.Fatalf("the disc was not read: %s\n%s", tr.Cmdline, said)
			}
			dir := t.TempDir()
			archive := filepath.Join(dir, "archive.cpio")
			_, err := client.Run(r.ctx, "curl", "-sSf", "-o", archive, tr.Steps[i].File)
			must(t, err)
			if b, err := os.ReadFile(archive); err != nil || fmt.Sprintf("%x", sha256.Sum256(b)) != tr.Steps[i].SHA256 {
				t.Errorf("%d bytes now, it read %d, or they differ: %v", len(b), tr.Steps[i].Bytes, err)
			}
			if out, err := exec.Command("sh", "-c", "cd \"$1\" && \"$0\" cpio -i <archive.cpio", nettest.Cached(t, "busybox-amd64"), dir).CombinedOutput(); err != nil {
				t.Fatalf("cpio: %v\n%s", err, out)
			}
			got, err := os.ReadFile(filepath.Join(dir, "proxmox.iso"))
			must(t, err)
			if want, err := os.ReadFile(iso); err != nil || !bytes.Equal(got, want) {
				t.Errorf("unpacked, the disc has %d bytes, want %d, or they differ: %v", len(got), len(want), err)
			}
		}
	}

	// What is not there is said at once, and may still come.
	for text, want := range map[string]string{
		"kernel = \"image:pve/linux\"":                                    "warning: image pve has no file linux: muster image show pve lists",
		"kernel = \"image:evp/linux26\"\ninitrd = [\"image:evp/initrd\"]": "warning: there is no image evp yet: muster image import evp",
		"kernel = \"image:pve/LINUX26\"":                                  "",
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte("name = \"x\"\n[boot]\n"+text+"\n"), 0o644))
		if said := r.muster("template", "push", dir); strings.Count(said, "warning: ") != strings.Count(want, "warning: ") || !strings.Contains(said, want) {
			t.Errorf("%s: %s", text, said)
		}
	}
}

// TestCatalogue: one command makes a template out of a medium, and what cannot be is said
// before anything is stored.
func TestCatalogue(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	disc := writeTar(t, filepath.Join(dir, "netboot.tar.gz"),
		tarEntry{name: "./debian-installer/amd64/linux", data: "kernel"},
		tarEntry{name: "./debian-installer/amd64/initrd.gz", data: "initrd"},
		tarEntry{name: "./version.info", data: "Debian version:  12 (bookworm)\n"})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"debain", "--iso", disc}, "the catalogue has no debain: it has "},
		{[]string{"debian"}, "it takes debian-netboot"},
		{[]string{"local", "--installs", "1"}, "local installs nothing"},
		{[]string{"debian", "--iso", disc, "--set", "disc=x"}, "debian has no parameter disc: it has boot_order, console, disk"},
		{[]string{"debian", "--iso", disc, "--set", "disk=sda"}, "serial:S4EVNX0R123456"},
		{[]string{"debian", "--iso", disc, "--set", "password_hash=$6$x$y"}, "muster host set HOST password_hash=@FILE"},
	} {
		if out := r.fails(append([]string{"template", "add"}, c.args...)...); !strings.Contains(out, c.want) {
			t.Errorf("%q: %s", c.args, out)
		}
	}
	if l := r.stored(); len(l) != 0 {
		t.Errorf("stored: %v", l)
	}
	if out := r.muster("template", "add", "debian", "--iso", disc, "--as", "debian12", "--installs", "debian-12.11", "--set", "timezone=Europe/Vienna", "--set", "packages=vim,htop"); !strings.Contains(out, "debian12 version 1 stored") {
		t.Errorf("%s", out)
	}
	if out := r.fails("template", "add", "el", "--image", "debian12"); !strings.Contains(out, "image debian12 is Debian network installer 12, and el takes almalinux") {
		t.Errorf("%s", out)
	}
	if out := r.muster("template", "show", "debian12"); !strings.Contains(out, "debian-12.11") {
		t.Errorf("%s", out)
	}
	folder := filepath.Join(dir, "x")
	r.muster("template", "add", "debian", "--image", "debian12", "--dir", folder)
	r.muster("template", "lint", folder)
	r.muster("host", "add", "web1", "--mac", "52:54:00:12:34:56", "--template", "debian12")
	r.muster("host", "set", "web1", "disk=largest", "ssh_keys=ssh-ed25519 AAAA o'brien@x")
	if out := r.muster("host", "approve", "web1"); !strings.Contains(out, "armed") {
		t.Errorf("%s", out)
	}
}

// TestImportArchive: a netboot archive with links is taken; one that lies or
// climbs out is refused by its name, and nothing is left.
func TestImportArchive(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	ok := writeTar(t, filepath.Join(dir, "netboot.tar.gz"),
		tarEntry{name: "./debian-installer/amd64/linux", data: "kernel"},
		tarEntry{name: "./debian-installer/amd64/initrd.gz", data: "initrd"},
		tarEntry{name: "./linux", link: "debian-installer/amd64/linux", kind: tar.TypeSymlink},
		tarEntry{name: "./version.info", data: "Debian version:  12 (bookworm)\n"})
	r.muster("image", "import", "di", ok)
	var img imported
	r.json(&img, "image", "show", "di")
	if img.Files["linux"] != img.Files["debian-installer/amd64/linux"] || len(img.Files) != 4 {
		t.Errorf("imported: %+v", img)
	}
	r.muster("image", "rm", "di")
	deep := strings.Repeat("d/", 10000) + "f"
	for _, c := range []struct {
		name, want string
		entries    []tarEntry
	}{
		{"climbs", "outside the image", []tarEntry{{name: "a", data: "x"}, {name: "../../etc/passwd", data: "x"}}},
		{"absolute", "outside the image", []tarEntry{{name: "/etc/passwd", data: "x"}}},
		{"link out", "outside the archive", []tarEntry{{name: "a", link: "/etc/shadow", kind: tar.TypeSymlink}, {name: "b", data: "x"}}},
		{"link up", "outside the archive", []tarEntry{{name: "a/b", link: "../../x", kind: tar.TypeSymlink}, {name: "b", data: "x"}}},
		{"link nowhere", "not in it", []tarEntry{{name: "a", link: "gone", kind: tar.TypeSymlink}, {name: "b", data: "x"}}},
		{"link loop", "not in it", []tarEntry{{name: "a", link: "b", kind: tar.TypeSymlink}, {name: "b", link: "a", kind: tar.TypeSymlink}, {name: "c", data: "x"}}},
		{"device", "no file", []tarEntry{{name: "sda", kind: tar.TypeBlock}}},
		{"deep", "folders deep", []tarEntry{{name: deep, data: "x"}}},
		{"twice", "twice", []tarEntry{{name: "a", data: "x"}, {name: "a", data: "y"}}},
		{"truncated", "unexpected EOF", []tarEntry{{name: "a", data: "x"}, {name: "b", data: "x", size: 1 << 20}}},
		{"bomb", "unpacks to more", []tarEntry{{name: "a", data: "x", size: 1 << 40}}},
		{"bad name", "only letters", []tarEntry{{name: "a b;reboot", data: "x"}}},
		{"empty", "no file in it", nil},
	} {
		file := writeTar(t, filepath.Join(dir, "bad.tar.gz"), c.entries...)
		if out := r.fails("image", "import", "bad", file); !strings.Contains(out, c.want) {
			t.Errorf("%s: %.300s", c.name, out)
		}
		if l := r.stored(); len(l) != 0 {
			t.Errorf("%s left %v", c.name, l)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "bad.iso"), bytes.Repeat([]byte{7}, 1<<20), 0o644))
	if out := r.fails("image", "import", "bad", filepath.Join(dir, "bad.iso")); !strings.Contains(out, "bad.iso") {
		t.Errorf("noise called .iso: %s", out)
	}
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	if out := r.fails("image", "import", "bad", dir); !strings.Contains(out, "link") {
		t.Errorf("a folder with a link out of it: %s", out)
	}
	big := filepath.Join(dir, "big.img")
	must(t, os.WriteFile(big, []byte("kernel"), 0o644))
	if out := r.fails("image", "import", "bad", big, "--sha256", strings.Repeat("0", 64)); !strings.Contains(out, "do not match") {
		t.Errorf("a wrong digest: %s", out)
	}
}

// TestImportBreaksOff: a command that is killed in the middle, a full disk, and a
// daemon that is killed leave nothing.
func TestImportBreaksOff(t *testing.T) {
	r := newRig(t)
	small := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small).CombinedOutput(); err != nil {
		nettest.Lack(t, "no tmpfs: "+string(out))
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", small).Run() })
	r.data = filepath.Join(small, "data")
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	for i := range 6 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("part%d", i)), bytes.Repeat([]byte{byte(i + 1)}, 10<<20), 0o644))
	}
	if out := r.fails("image", "import", "big", dir); !strings.Contains(out, "no space is left on the disk") {
		t.Errorf("a full disk: %s", out)
	}
	if l := r.stored(); len(l) != 0 {
		t.Errorf("a full disk left %v", l)
	}

	// A file that never ends stands for a slow one: the command is killed in it.
	slow := t.TempDir()
	must(t, os.WriteFile(filepath.Join(slow, "a"), bytes.Repeat([]byte{1}, 1<<20), 0o644))
	must(t, os.WriteFile(filepath.Join(slow, "b"), bytes.Repeat([]byte{2}, 30<<20), 0o644))
	cmd := r.srv.Command(r.ctx, "sh", "-c", "exec \"$0\" image import slow \"$1\"", r.binary, slow)
	cmd.Env = append(os.Environ(), "MUSTER_DATA_DIR="+r.data)
	must(t, cmd.Start())
	r.wait("the first file to be stored", 20*time.Second, func() error {
		if len(r.stored()) == 0 {
			return fmt.Errorf("nothing is stored yet")
		}
		return nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	r.wait("the import to be cleaned up", 20*time.Second, func() error {
		if l := r.stored(); len(l) != 0 {
			if out := r.muster("image", "list"); strings.Contains(out, "slow") {
				return nil // it was through before it was killed
			}
			return fmt.Errorf("left: %v", l)
		}
		return nil
	})

	// What a crash left is gone after the next start.
	must(t, os.MkdirAll(filepath.Join(r.data, "files", "ab"), 0o750))
	orphan := filepath.Join(r.data, "files", "ab", "ab"+strings.Repeat("0", 62))
	must(t, os.WriteFile(orphan, []byte("half an import"), 0o640))
	r.stop(true)
	r.serveConfig(fullNetwork)
	r.wait("the sweep of the start", 10*time.Second, func() error {
		if _, err := os.Stat(orphan); err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}
