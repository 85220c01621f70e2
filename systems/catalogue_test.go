// catalogue_test.go: the catalogue's own files, by the programs that read them.

package systems_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/systems"
	"github.com/musterboot/muster/templates"
)

// TestCatalogue: what a template may be told is used, and its own files are needed.
func TestCatalogue(t *testing.T) {
	for _, e := range systems.Catalogue() {
		files, err := e.Files()
		if err != nil {
			t.Fatal(err)
		}
		all := e.Cmdline + " " + e.Kernelopt
		for _, f := range e.Initrd {
			all += " /" + f
		}
		for _, s := range e.Systems {
			for _, v := range s.Variants {
				all += " " + v.Cmdline
			}
		}
		for _, members := range e.Archives {
			for _, from := range members {
				all += " /" + from
			}
		}
		for _, text := range files {
			all += text
		}
		for n := range e.Params {
			if !regexp.MustCompile(`\.Params\.`+n+`\b`).MatchString(all) && !(n == "mirror" && strings.Contains(all, ".Mirror")) {
				t.Errorf("%s: nothing reads parameter %s", e.Name, n)
			}
		}
		for n := range files {
			if served := strings.TrimSuffix(n, ".tmpl"); !strings.Contains(all, "/"+served) && !strings.Contains(all, "fetch "+served) && !slices.Contains([]string{"user-data", "meta-data", "vendor-data", "boot.ipxe", "answer.toml.tmpl"}, n) {
				t.Errorf("%s: nothing asks for %s", e.Name, n)
			}
		}
		for _, stage := range []string{"installing", "(installed|done)", "failed"} {
			if e.Install && !e.Silent && !regexp.MustCompile(`report(\.sh)? `+stage).MatchString(all) {
				t.Errorf("%s: it does not report %s", e.Name, stage)
			}
		}
	}
}

// filled renders a template of the catalogue for the first medium of its systems, with a
// value for each parameter or with as few as it may have.
func filled(t *testing.T, e systems.Entry, full bool) map[string]string {
	t.Helper()
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var img *boot.Image
	for _, m := range systems.Media() {
		f := m.Found()
		if e.Takes(f.System) && slices.ContainsFunc(f.Variants, func(v systems.Variant) bool { return v.Name == e.Variant }) {
			img = stored(t, store, m.Lay(t))
			break
		}
	}
	arch := ""
	if img != nil {
		arch = img.Boots[0].Arch
	}
	files, err := templates.Complete(&e.Template, img, templates.Choice{Arch: arch})
	if err != nil {
		t.Fatal(err)
	}
	tmpl := pushed(t, store, files)
	set, err := templates.NewSet(store)
	if err != nil {
		t.Fatal(err)
	}
	m := boot.Machine{Name: "web1", Known: true, State: "approved", MAC: "52:54:00:12:34:56", MACDash: "01-52-54-00-12-34-56", Platform: "x64-uefi", Network: "lab", Domain: "lab.example", NTP: []string{"10.77.0.1"},
		Server: "10.77.0.1", BaseURL: "http://10.77.0.1/boot/TOKEN", ReportURL: "http://10.77.0.1/boot/TOKEN/report", LogHost: "10.77.0.1", LogPort: 514, Disks: []boot.Disk{{Name: "sda", Size: 1 << 40, Serial: "S1"}}, Boot: 1, Params: map[string]string{}, Sealed: map[string]boot.Sealed{}}
	for n, p := range e.Params {
		if full || p.Required {
			m.Params[n] = map[string]string{
				"image": p.Example, "disks": p.Example, "ssh_keys": "ssh-ed25519 AAAAC3Nza+/= o'brien@x,ssh-rsa BBBB two words", "late": `echo "it's done" >/root/$HOSTNAME; true`, "hostname": "db-1",
			}[n]
			if m.Params[n] == "" {
				m.Params[n] = p.Example
			}
			if m.Params[n] == "" && len(p.Enum) > 0 {
				m.Params[n] = p.Enum[len(p.Enum)-1]
			}
		}
	}
	out := map[string]string{}
	for name := range files {
		served := strings.TrimSuffix(name, ".tmpl")
		if name == templates.SpecFile {
			continue
		}
		o, err := set.Open(t.Context(), boot.Ref{Kind: boot.RefTemplate, Name: served, Template: tmpl, Machine: m})
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		b, err := io.ReadAll(o.Body)
		if err != nil {
			t.Fatal(err)
		}
		out[served] = string(b)
	}
	return out
}

// TestFormats: each file of the catalogue, with much and with little to say, is what the
// program that reads it takes: both shells of installers, debconf, Ignition, cloud-init's schema, and those
// that judge XML and YAML.
func TestFormats(t *testing.T) {
	nettest.Need(t, "xorriso", "busybox", "dash", "debconf-set-selections", "python3", "xmllint", "yamllint")
	for _, e := range systems.Catalogue() {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/full=%v", e.Name, full), func(t *testing.T) {
				t.Parallel()
				for name, text := range filled(t, e, full) {
					file := filepath.Join(t.TempDir(), name)
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
					for _, argv := range readers(t, name, text, file) {
						if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
							t.Errorf("%s: %s: %v\n%s\n%s", name, strings.Join(argv, " "), err, out, text)
						}
					}
					if name == "boot.cfg" && !regexp.MustCompile(`(?m)^kernelopt=.*ks=http://10\.77\.0\.1/boot/TOKEN/ks\.cfg$`).MatchString(text) {
						t.Errorf("no ks= among the kernel's options:\n%s", text)
					}
					if name == "preseed.cfg" {
						preseed(t, text)
					}
					if name == "ks.cfg" {
						kickstart(t, text)
					}
				}
			})
		}
	}
}

// readers are the programs that judge a file.
func readers(t *testing.T, name, text, file string) [][]string {
	switch {
	case strings.HasPrefix(text, "#!/bin/sh"):
		return [][]string{{"dash", "-n", file}, {"busybox", "sh", "-n", file}}
	case strings.HasSuffix(name, ".json"):
		return [][]string{{"python3", "-m", "json.tool", file}}
	case strings.HasSuffix(name, ".xml"):
		return [][]string{{"xmllint", "--noout", file}}
	case strings.HasSuffix(name, ".ign"):
		return [][]string{{nettest.Cached(t, "ignition/usr/bin/ignition-validate"), file}}
	case name == "preseed.cfg":
		// With databases of its own: it wants the system's for itself, also to check, and
		// another test or a package's script may have them.
		dir := t.TempDir()
		rc := filepath.Join(dir, "debconf.conf")
		text := fmt.Sprintf("Config: config\nTemplates: templates\n\nName: config\nDriver: File\nFilename: %s/config.dat\n\nName: templates\nDriver: File\nFilename: %s/templates.dat\n", dir, dir)
		if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return [][]string{{"env", "DEBCONF_SYSTEMRC=" + rc, "debconf-set-selections", "--checkonly", file}}
	case name == "user-data" || name == "meta-data":
		lint := []string{"yamllint", "--strict", "-d", "{extends: relaxed, rules: {line-length: disable}}", file}
		if !strings.HasPrefix(text, "#cloud-config\n") {
			return [][]string{lint}
		}
		// Debian's own python: cloud-init and what it imports are Debian's packages.
		packages := "PYTHONPATH=" + nettest.Cached(t, "cloud-init/usr/lib/python3/dist-packages")
		return [][]string{lint, {"env", packages, "/usr/bin/python3", nettest.Cached(t, "cloud-init/usr/bin/cloud-init"), "schema", "--config-file", file}}
	}
	return nil
}

var preseedTypes = []string{"string", "boolean", "select", "multiselect", "note", "password", "text", "title", "error"}

// preseed judges what debconf's own check lets pass: a type that is none, a boolean that
// is neither.
func preseed(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line, " ", 4)
		if len(f) < 3 || !slices.Contains(preseedTypes, f[2]) || !strings.Contains(f[1], "/") {
			t.Errorf("%q is no owner, question, type and value", line)
			continue
		}
		if f[2] == "boolean" && (len(f) < 4 || f[3] != "true" && f[3] != "false") {
			t.Errorf("%q: want true or false", line)
		}
	}
}

// kickstart judges the sections of a kickstart file, and that it asks nothing.
func kickstart(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "\nvmaccepteula\n") { // ESXi's, whose sections end where the next begins
		for _, want := range []string{"\nreboot\n", "\nrootpw --iscrypted $", "\nnetwork ", "\n%include /tmp/disk.ks\n", "\n%pre ", "\n%firstboot "} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		return
	}
	open := ""
	for line := range strings.Lines(text) {
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case word == "%end":
			if open == "" {
				t.Errorf("%%end of nothing")
			}
			open = ""
		case strings.HasPrefix(word, "%") && word != "%include":
			if open != "" {
				t.Errorf("%s within %s", word, open)
			}
			open = word
		}
	}
	if open != "" {
		t.Errorf("%s has no end", open)
	}
	for _, want := range []string{"\nreboot\n", "\nzerombr\n", "\nlang ", "\nkeyboard ", "\ntimezone ", "\nnetwork ", "\nrootpw ", "\n%packages\n", "\n%onerror\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestDiskRule: which disk a rule means, by both shells that installers have.
func TestDiskRule(t *testing.T) {
	nettest.Need(t, "busybox", "dash")
	type disk map[string]string
	const gb = 1953125 // sectors
	size := func(n int) string { return fmt.Sprint(n * gb) }
	one := map[string]disk{"vda": {"size": size(20), "removable": "0", "serial": "V1"}, "sr0": {"size": size(4), "removable": "1"}, "loop0": {"size": size(50)}, "sdb": {"size": size(64), "removable": "1", "device/serial": "STICK"}, "sdc": {"size": size(2)}}
	many := map[string]disk{
		"nvme0n1": {"size": size(1000), "queue/rotational": "0", "device/serial": "  S4EV NX0 "}, "nvme1n1": {"size": size(500), "queue/rotational": "0"}, "nvme2n1": {"size": size(500), "queue/rotational": "0"},
		"sda": {"size": size(8000), "queue/rotational": "1", "device/vpd_pg80": "\x00\x80\x00\x08  WD-1234"}, "sdb": {"size": size(4), "queue/rotational": "0"}, "sdc": {"size": size(100), "queue/rotational": "0", "ro": "1"},
	}
	for _, c := range []struct {
		disks map[string]disk
		rule  string
		want  string // the disk, or a part of the error
	}{
		{one, "only", "/vda"},
		{one, "", "/vda"},
		{one, "largest", "/vda"},
		{one, "smallest-ssd", "none fits: sdb (64 GB, serial STICK) is removable; sdc (2 GB, serial ) is too small; vda (20 GB, serial V1);"},
		{one, "serial:V1", "/vda"},
		{one, "serial:STICK", "none fits"},
		{many, "only", "there are several, name one: nvme0n1 (1000 GB, serial S4EVNX0);"},
		{many, "largest", "/sda"},
		{many, "smallest", "/nvme1n1"},
		{many, "smallest-ssd", "/nvme1n1"},
		{many, "serial:S4EVNX0", "/nvme0n1"},
		{many, "serial:WD-1234", "/sda"},
		{many, "serial:", "it names nothing"},
		{many, "first", "no such rule"},
		{many, "by-id:ata-X", "/sda"},
		{many, "by-id:ata-Y", "there is no"},
		{many, "/nowhere/sdz", "there is no /nowhere/sdz"},
		{nil, "only", "there is no disk at all"},
	} {
		root := t.TempDir()
		dev := filepath.Join(root, "dev")
		if err := os.MkdirAll(filepath.Join(dev, "disk/by-id"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, files := range c.disks {
			if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for f, text := range files {
				p := filepath.Join(root, "sys/block", name, f)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.Symlink("../../sda", filepath.Join(dev, "disk/by-id/ata-X")); err != nil {
			t.Fatal(err)
		}
		for _, shell := range [][]string{{"dash"}, {"busybox", "sh"}} {
			cmd := exec.Command(shell[0], append(shell[1:], "shared/disk.sh", c.rule)...)
			cmd.Env = append(os.Environ(), "MUSTER_SYS="+root+"/sys", "MUSTER_DEV="+dev)
			out, err := cmd.CombinedOutput()
			got := strings.TrimSpace(string(out))
			if strings.HasPrefix(c.want, "/") {
				if err != nil || got != dev+c.want {
					t.Errorf("%s, %q: %v, %s, want %s", shell[0], c.rule, err, got, c.want)
				}
			} else if err == nil || !strings.Contains(got, c.want) {
				t.Errorf("%s, %q: %v, %s, want %q", shell[0], c.rule, err, got, c.want)
			}
		}
	}
}

// TestESXiDiskRule: which device a rule means, by what ESXi's own program says of each.
func TestESXiDiskRule(t *testing.T) {
	nettest.Need(t, "busybox")
	devices, bin := t.TempDir(), t.TempDir()
	about := map[string]string{
		"t10.NVMe____S4EVNX0:1": "", "mpx.vmhba0:C0:T0:L0:1": "", "vml.0100": "", // partitions, a second name
		"mpx.vmhba0:C0:T0:L0": "   Size: 8192\n   Is Removable: false\n   Is SSD: false\n   Is USB: false\n",
		"t10.NVMe____S4EVNX0": "   Size: 953869\n   Is Removable: false\n   Is SSD: true\n   Is USB: false\n",
		"naa.5000":            "   Size: 7630885\n   Is Removable: false\n   Is SSD: false\n   Is USB: false\n",
		"naa.5001":            "   Size: 61440\n   Is Removable: true\n   Is SSD: false\n   Is USB: true\n",
		"naa.5002":            "   Size: 8192\n   Is Removable: false\n   Is SSD: true\n   Is USB: false\n",
	}
	for name, text := range about {
		if err := errors.Join(os.WriteFile(filepath.Join(devices, name), nil, 0o600), os.WriteFile(filepath.Join(bin, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "localcli"), []byte("#!/bin/sh\ncat "+bin+"/$6\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[string]string{
		"only":                      "there are several, name one: mpx.vmhba0:C0:T0:L0 (8 GB); naa.5000 (7998 GB); naa.5001 (64 GB); naa.5002 (8 GB); t10.NVMe____S4EVNX0 (999 GB);",
		"largest":                   "naa.5000",
		"smallest":                  "t10.NVMe____S4EVNX0",
		"smallest-ssd":              "t10.NVMe____S4EVNX0",
		"serial:S4EVNX0":            "t10.NVMe____S4EVNX0",
		"serial:5001":               "none fits",
		"serial:S4EVNX":             "none fits",
		"serial:":                   "no such rule",
		"by-id:mpx.vmhba0:C0:T0:L0": "mpx.vmhba0:C0:T0:L0",
		"by-id:naa.5001":            "naa.5001",
		"/dev/disks/naa.500":        "there is no naa.500",
		"first":                     "no such rule",
	} {
		cmd := exec.Command("busybox", "sh", "esxi/esxi/vmdisk.sh", rule)
		cmd.Env = append(os.Environ(), "MUSTER_DEVICES="+devices, "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); !strings.Contains(got, want) || (err == nil) != (got == want) {
			t.Errorf("%s: %v, %s, want %s", rule, err, got, want)
		}
	}
}

// TestAlone: what needs no medium passes the check of a push.
func TestAlone(t *testing.T) {
	n := 0
	for _, e := range systems.Catalogue() {
		if !e.Alone() {
			continue
		}
		n++
		files, err := templates.Complete(&e.Template, nil, templates.Choice{Name: "mine"})
		if err != nil {
			t.Fatal(err)
		}
		blobs := map[string]boot.Blob{}
		for f, text := range files {
			blobs[f] = boot.Blob{Digest: "d", Size: int64(len(text))}
		}
		spec, err := templates.Lint(blobs, func(f string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(files[f])), nil })
		if err != nil || spec.Name != "mine" {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	if n < 2 {
		t.Errorf("%d need no medium", n)
	}
}
