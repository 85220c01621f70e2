package templates

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// folder is a template's folder in memory.
type folder map[string]string

func (f folder) blobs() map[string]boot.Blob {
	out := map[string]boot.Blob{}
	for n, s := range f {
		out[n] = boot.Blob{Digest: n, Size: int64(len(s))}
	}
	return out
}

func (f folder) lint() (*Spec, error) {
	return Lint(f.blobs(), func(n string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(f[n])), nil })
}

const minimal = "name = \"rescue\"\n[boot]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\", \"more/extra.img\"]\ncmdline = \"console=ttyS0 root={{ .Params.disk }} muster.report={{ .ReportURL }}\"\n[params.disk]\ntype = \"string\"\ndefault = \"/dev/sda\"\n"

func rescue() folder {
	return folder{SpecFile: minimal, "vmlinuz": "K", "initrd.gz": "I", "more/extra.img": "X"}
}

// onDisk serves a folder's files as stored ones, with the name as digest.
type onDisk string

func (d onDisk) Open(digest string) (*boot.Section, error) {
	f, err := os.Open(filepath.Join(string(d), digest))
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	return boot.NewSection(f, 0, st.Size(), func() { f.Close() }), err
}

func set(t *testing.T, f folder) (*Set, *boot.Template) {
	t.Helper()
	dir := t.TempDir()
	for n, s := range f {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewSet(onDisk(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s, &boot.Template{ID: 1, Name: "rescue", Version: 3, Files: f.blobs()}
}

func machine() boot.Machine {
	m := sample(boot.X64UEFI)
	m.Name, m.Template, m.Version, m.Boot = "web1", "rescue", 3, 7
	return m
}

func (s *Set) text(t *testing.T, ref boot.Ref) (string, error) {
	t.Helper()
	o, err := s.Open(context.Background(), ref)
	if err != nil {
		return "", err
	}
	defer o.Body.Close()
	b, err := io.ReadAll(o.Body)
	if int64(len(b)) != o.Size {
		t.Errorf("%s: size says %d, there are %d bytes", ref.Name, o.Size, len(b))
	}
	return string(b), err
}

// golden compares with testdata/NAME; MUSTER_GOLDEN=write rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	p := filepath.Join("testdata", name)
	if os.Getenv("MUSTER_GOLDEN") == "write" {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(p, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func TestGeneratedScript(t *testing.T) {
	s, tm := set(t, rescue())
	got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Template: tm, Machine: machine()})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "generated.ipxe", got)
	m := machine()
	m.Params = map[string]string{"disk": "/dev/nvme0n1"}
	if got, err = s.text(t, boot.Ref{Kind: boot.RefGenerated, Template: tm, Machine: m}); err != nil || !strings.Contains(got, "root=/dev/nvme0n1 ") {
		t.Errorf("a host's parameter is not used: %v\n%s", err, got)
	}
}

// TestUBoot: its script, wrapped as it reads one, and the list of its PXE command. What
// its shell cannot be told is an error, and what is shown cannot leave its quotes.
func TestUBoot(t *testing.T) {
	f := rescue()
	s, tm := set(t, f)
	for name, d := range map[string]boot.Dialect{"generated.scr": boot.UBootScript, "generated.extlinux": boot.Extlinux} {
		got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Dialect: d, Template: tm, Machine: machine()})
		if d == boot.Extlinux {
			if err == nil || !strings.Contains(err.Error(), "takes one initrd") {
				t.Errorf("two initrds in a list that has room for one: %v\n%s", err, got)
			}
			one := rescue()
			one[SpecFile] = strings.Replace(minimal, ", \"more/extra.img\"", "", 1)
			one[SpecFile] = strings.Replace(one[SpecFile], "[params.disk]", "device_tree = \"dtbs\"\n[params.disk]", 1)
			one["dtbs/acme/board.dtb"] = "D"
			s, tm := set(t, one)
			got, err = s.text(t, boot.Ref{Kind: boot.RefGenerated, Dialect: d, Template: tm, Machine: machine()})
		}
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
	}
	for _, name := range []string{"stub", "hold", "local"} {
		m := machine()
		m.Note, m.WaitSeconds, m.HoldSeconds, m.TFTPPath = "it's held; reset\\' && reset", 5, 600, "boot/sample"
		got, err := s.text(t, boot.Ref{Kind: boot.RefBuiltin, Name: name, Dialect: boot.UBootScript, Machine: m})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".scr", got)
	}
	for _, evil := range []string{"a'b", "a\\", "${ethaddr}"} {
		m := machine()
		m.Params = map[string]string{"disk": evil}
		if got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Dialect: boot.UBootScript, Template: tm, Machine: m}); err == nil {
			t.Errorf("%q became a command line:\n%s", evil, got)
		}
	}
	f["board.dtb"] = "D"
	for dt, ok := range map[string]bool{"board.dtb": true, "other.dtb": false, "dtbs": false, "image:sbc/dtbs": true, "../x.dtb": false} {
		f[SpecFile] = strings.Replace(minimal, "[params.disk]", "device_tree = \""+dt+"\"\n[params.disk]", 1)
		if spec, err := f.lint(); (err == nil) != ok || ok && !spec.Template().UBootBoots {
			t.Errorf("device_tree %s: %v", dt, err)
		}
	}
}

// TestPlaced: the script, iPXE's and GRUB's, names the archives of placed files before
// the initrds, where they begin aligned, and an installation counts them.
func TestPlaced(t *testing.T) {
	f := rescue()
	f[SpecFile] = strings.Replace(minimal, "[params.disk]", "[boot.files]\n\"/proxmox.iso\" = \"image:pve/pve.iso\"\n\"/etc/a.conf\" = \"vmlinuz\"\n[params.disk]", 1)
	s, tm := set(t, f)
	for dialect, want := range map[boot.Dialect][]string{
		boot.IPXEScript: {" initrd=etc-a.conf.cpio initrd=proxmox.iso.cpio initrd=initrd.gz initrd=extra.img ", "\ninitrd --name etc-a.conf.cpio http://192.0.2.1/boot/sample/placed/etc/a.conf/archive.cpio || goto failed\ninitrd --name proxmox.iso.cpio http://192.0.2.1/boot/sample/placed/proxmox.iso/archive.cpio || goto failed\ninitrd --name initrd.gz "},
		boot.GRUBScript: {"if initrd (tftp,192.0.2.1)/boot/sample/placed/etc/a.conf/archive.cpio (tftp,192.0.2.1)/boot/sample/placed/proxmox.iso/archive.cpio (tftp,192.0.2.1)/boot/sample/initrd.gz (tftp,192.0.2.1)/boot/sample/more/extra.img; then"},
	} {
		got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Dialect: dialect, Template: tm, Machine: machine()})
		for _, w := range want {
			if err != nil || !strings.Contains(got, w) {
				t.Errorf("%s: %v; %q is not in\n%s", dialect, err, w, got)
			}
		}
	}
	f[SpecFile] = "install = true\n" + f[SpecFile]
	spec, err := f.lint()
	if err != nil {
		t.Fatal(err)
	}
	if got := spec.Template(); !slices.Equal(got.Media, []string{"vmlinuz", "initrd.gz", "more/extra.img", "placed/etc/a.conf/archive.cpio", "placed/proxmox.iso/archive.cpio"}) || got.Placed["/proxmox.iso"] != "image:pve/pve.iso" || !slices.Equal(spec.Images(), []string{"pve"}) {
		t.Errorf("media %q, placed %q, images %q", got.Media, got.Placed, spec.Images())
	}
}

// TestESXi: its loader is a program of UEFI, which GRUB cannot start as a kernel,
// and its boot.cfg has no quotes, unless a script for GRUB reads it.
func TestESXi(t *testing.T) {
	f := folder{SpecFile: "name = \"rescue\"\n[boot]\nkernel = \"MBOOT.efi\"\ncmdline = \"-c {{ .BaseURL }}/boot.cfg\"\n", "MBOOT.efi": "M", "boot.cfg.tmpl": "kernelopt={{ .Params.opt }}\n"}
	f[SpecFile] += "[params.opt]\ndefault = \"a; b\"\n"
	spec, err := f.lint()
	if err != nil || spec.Template().GRUBBoots {
		t.Errorf("%v; GRUB is to boot it", err)
	}
	s, tm := set(t, f)
	if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "boot.cfg", Template: tm, Machine: machine()}); err != nil || got != "kernelopt=a; b\n" {
		t.Errorf("%q, %v", got, err)
	}
	f["grub.cfg"] = "source boot.cfg\n"
	if spec, err := f.lint(); err == nil || spec != nil {
		t.Errorf("a value that is a command of GRUB passes: %v", err)
	}
}

func TestBuiltins(t *testing.T) {
	s, _ := set(t, rescue())
	for _, name := range []string{"ask", "hold", "local", "stranger", "round"} {
		m := machine()
		m.Loader = "snponly.efi"
		m.Note, m.WaitSeconds, m.HoldSeconds = "waiting for approval: muster host approve web1", 5, 600
		got, err := s.text(t, boot.Ref{Kind: boot.RefBuiltin, Name: name, Machine: m})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got, "#!ipxe\n") {
			t.Errorf("%s does not begin with #!ipxe", name)
		}
		golden(t, name+".ipxe", got)
	}
}

// TestHostileValues: what came over the wire cannot become a command.
func TestHostileValues(t *testing.T) {
	f := rescue()
	f["boot.ipxe"] = "#!ipxe\nset x {{ .Params.disk }}\n"
	s, tm := set(t, f)
	for _, evil := range []string{"a || shell", "x${net0/mac}", "a\nshell", "#", "a;b ; c", "&&", "ends\\"} {
		m := machine()
		m.Params = map[string]string{"disk": evil}
		if got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Template: tm, Machine: m}); err == nil {
			t.Errorf("parameter %q went into a script:\n%s", evil, got)
		}
		m.Note, m.Name = evil, "n"
		got, err := s.text(t, boot.Ref{Kind: boot.RefBuiltin, Name: "hold", Machine: m})
		if err != nil {
			t.Errorf("a note must be shown, however odd: %v", err)
		}
		for line := range strings.Lines(got) {
			if strings.Contains(line, "echo   ") && (strings.Contains(line, " || ") || strings.Contains(line, " && ") || strings.Contains(line, "${")) {
				t.Errorf("note %q became %q", evil, line)
			}
		}
	}
}

func TestRendered(t *testing.T) {
	f := rescue()
	f["preseed.cfg"] = "d-i netcfg/hostname string {{ .Name | sh }}\n"
	f["post.sh.tmpl"] = "curl {{ .ReportURL }} # {{ raw (toJson .Params.disk) }}\n"
	f["raw.txt"] = "{{ not a template"
	s, tm := set(t, f)
	for name, want := range map[string]string{
		"preseed.cfg": "d-i netcfg/hostname string 'web1'\n",
		"post.sh":     "curl http://192.0.2.1/boot/sample/report # \"/dev/sda\"\n",
		"raw.txt":     "{{ not a template",
		"vmlinuz":     "K",
	} {
		got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: name, Template: pad(tm), Machine: machine()})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"post.sh.tmpl", "nothing", "../vmlinuz", SpecFile} {
		if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: name, Template: pad(tm), Machine: machine()}); err == nil {
			t.Errorf("%s was served: %q", name, got)
		}
	}
}

// pad gives short test digests the length that an ETag takes.
func pad(t *boot.Template) *boot.Template {
	c := *t
	c.Files = map[string]boot.Blob{}
	for n, b := range t.Files {
		b.Digest = strings.Repeat("./", 20) + n
		c.Files[n] = b
	}
	return &c
}

// TestLint: each folder here is wrong in one way, and the message says which.
func TestLint(t *testing.T) {
	if s, err := rescue().lint(); err != nil || s.Name != "rescue" {
		t.Fatalf("a good folder: %v", err)
	}
	change := func(file, text string) folder {
		f := rescue()
		f[file] = text
		return f
	}
	for _, c := range []struct {
		name string
		f    folder
		want string
	}{
		{"no template.toml", folder{"vmlinuz": ""}, "there is no template.toml"},
		{"unknown key", change(SpecFile, "name = \"a\"\n[boot]\nkernal = \"vmlinuz\"\n"), `template.toml:3: unknown key "kernal" in [boot]; did you mean "kernel"?`},
		{"wrong type", change(SpecFile, "name = \"a\"\npriority = \"high\"\n"), "template.toml:2"},
		{"no name", change(SpecFile, "[boot]\nkernel = \"vmlinuz\"\n"), "needs a name"},
		{"kernel not there", change(SpecFile, "name = \"a\"\n[boot]\nkernel = \"linux\"\n"), "[boot] names linux, which is not in the folder"},
		{"nothing to boot", change(SpecFile, "name = \"a\"\n"), "nothing to boot"},
		{"auto_approve for all", change(SpecFile, "name = \"a\"\nauto_approve = true\n[boot]\nkernel = \"vmlinuz\"\n"), "auto_approve without [match]"},
		{"unknown architecture", change(SpecFile, "name = \"a\"\n[match]\narch = [\"x86\"]\n[boot]\nkernel = \"vmlinuz\"\n"), `match.arch "x86"`},
		{"bad parameter", change(SpecFile, minimal+"[params.n]\ntype = \"int\"\ndefault = \"many\"\n"), "parameter n: default: \"many\" is no whole number"},
		{"climbing kernel", change(SpecFile, "name = \"a\"\n[boot]\nkernel = \"../vmlinuz\"\n"), "want a relative path"},
		{"a place with a blank", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/a b\" = \"vmlinuz\"\n"), `"/a b": want a path from the root`},
		{"a place above", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/../b\" = \"vmlinuz\"\n"), `"/../b": want a path from the root`},
		{"a place without a file", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/b\" = \"\"\n"), "is no file"},
		{"a placed file not there", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/b\" = \"no.iso\"\n"), "[boot] names no.iso, which is not in the folder"},
		{"placed without an initrd", change(SpecFile, "name = \"a\"\n[boot]\nkernel = \"vmlinuz\"\n[boot.files]\n\"/b\" = \"vmlinuz\"\n"), "it needs kernel and initrd"},
		{"a file and a folder", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/b\" = \"vmlinuz\"\n\"/b/c\" = \"vmlinuz\"\n"), `"/b" would be a file and a folder`},
		{"two of one name", change(SpecFile, minimal[:strings.Index(minimal, "[params")]+"[boot.files]\n\"/b-c\" = \"vmlinuz\"\n\"/b/c\" = \"vmlinuz\"\n"), `another initrd is called b-c.cpio`},
		{"a folder of Muster's", change("placed/x", "x"), "the name is Muster's own"},
		{"missing value", change("user-data", "{{ .Params.nothing }}"), "nothing"},
		{"unknown function", change("user-data", "{{ env \"HOME\" }}"), `function "env" not defined`},
		{"endless range", change("user-data", "{{ range 1000000000 }}{{ end }}"), "range is allowed over"},
		{"endless range by variable", change("user-data", "{{ $n := 1000000000 }}{{ range $n }}{{ end }}"), "range is allowed over"},
		{"nested template", change("user-data", "{{ define \"a\" }}x{{ end }}{{ template \"a\" }}"), "cannot call another"},
		{"script without its mark", change("boot.ipxe", "echo hello\n"), "must begin with #!ipxe"},
		{"reserved name", change("snponly.efi", "x"), "the name is Muster's own"},
		{"two files of one name", folder{SpecFile: minimal, "vmlinuz": "", "initrd.gz": "", "more/extra.img": "", "a.tmpl": "", "a": ""}, "would both be served as a"},
		{"command in the command line", change(SpecFile, "name = \"a\"\n[boot]\nkernel = \"vmlinuz\"\ncmdline = \"quiet || shell\"\n"), "reads as a command"},
		{"much output", change("user-data", strings.Repeat("{{ range split \",\" \""+strings.Repeat(",", 2000)+"\" }}"+strings.Repeat("x", 1000)+"{{ end }}", 1)), "more than"},
	} {
		_, err := c.f.lint()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestOtherDelims(t *testing.T) {
	f := rescue()
	f[SpecFile] = "delims = [\"[[\", \"]]\"]\n" + strings.ReplaceAll(strings.ReplaceAll(minimal, "{{", "[["), "}}", "]]")
	f["user-data"] = "{{ jinja }} [[ .Name ]]"
	s, tm := set(t, f)
	if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "user-data", Template: tm, Machine: machine()}); err != nil || got != "{{ jinja }} web1" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzSpec: no text of a template.toml panics, hangs or yields a script that
// is not one.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(minimal), "{{ .Name }}")
	f.Add([]byte("name=\"a\"\n[match]\nmac=[\"52:*\"]\n"), "{{ range split \",\" .Serial }}{{ . }}{{ end }}")
	f.Fuzz(func(t *testing.T, spec []byte, body string) {
		fl := folder{SpecFile: string(spec), "vmlinuz": "K", "initrd.gz": "I", "more/extra.img": "", "user-data": body, "boot.ipxe": "#!ipxe\n" + body}
		c, err := compile(fl.blobs(), func(n string) ([]byte, error) { return []byte(fl[n]), nil })
		if err != nil {
			return
		}
		b, err := c.Script(machine())
		if err == nil && !bytes.HasPrefix(b, []byte("#!ipxe")) {
			t.Fatalf("script %q", b)
		}
	})
}

func ExampleParseSpec() {
	_, err := ParseSpec("template.toml", []byte("name = \"rescue\"\nintsall = true\n"))
	fmt.Println(err)
	// Output: template.toml:2: unknown key "intsall"; did you mean "install"?
}

// TestParamsAsTheyMayBe: what a template says of a parameter is judged with the template,
// a list is words in a line and one by one in a range, and a number is never as many
// rounds of a range.
func TestParamsAsTheyMayBe(t *testing.T) {
	for _, c := range []struct{ params, want string }{ // what lint says; "" is nothing
		{"[params.role]\nenum = [\"db\", \"web\"]\ndefault = \"web\"\n", ""},
		{"[params.role]\nenum = [\"db\", \"web\"]\ndefault = \"mail\"\n", `parameter role: default: "mail" is none of db, web`},
		{"[params.role]\nenum = [\"db\", \"\"]\n", `parameter role: enum: "" is no value of it`},
		{"[params.role]\ntype = \"int\"\nenum = [\"1\", \"x\"]\n", `parameter role: enum: "x" is no value of it`},
		{"[params.role]\ntype = \"list\"\nenum = [\"a,b\"]\n", `parameter role: enum: "a,b" is no value of it`},
		{"[params.role]\npattern = \"[\"\n", "parameter role: pattern: error parsing regexp"},
		{"[params.role]\npattern = \"[a-z]+\"\nrequired = true\n", "one with a pattern says by an example what is meant"},
		{"[params.role]\npattern = \"[a-z]+\"\nrequired = true\nexample = \"7\"\n", `parameter role: example: "7" does not match [a-z]+`},
		{"[params.role]\npattern = \"[a-z]+\"\nrequired = true\nexample = \"seven\"\n", ""},
		{"[params.role]\ntype = \"list\"\npattern = \"[a-z]+\"\ndefault = \"a,b\"\n", ""},
		{"[params.role]\ntype = \"list\"\ndefault = \"a,b\"\npattern = \"[a-z]\"\nenum = [\"a\"]\n", `parameter role: default: "b" is none of a`},
	} {
		_, err := folder{SpecFile: minimal + c.params, "vmlinuz": "k", "initrd.gz": "i", "more/extra.img": "e"}.lint()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.params, err, c.want)
		}
	}

	const rest = "[params.packages]\ntype = \"list\"\n[params.rounds]\ntype = \"int\"\n"
	with := func(text string) folder {
		return folder{SpecFile: minimal + rest, "vmlinuz": "k", "initrd.gz": "i", "more/extra.img": "e", "install.sh.tmpl": text}
	}
	if _, err := with("{{ range .Params.rounds }}{{ end }}").lint(); err == nil || !strings.Contains(err.Error(), "range is allowed over") {
		t.Errorf("a range over a number: %v", err)
	}
	f := with("{{ range .Params.packages }}get {{ . | sh }}\n{{ end }}all={{ .Params.packages | sh }}\n")
	c, err := compile(f.blobs(), func(n string) ([]byte, error) { return []byte(f[n]), nil })
	if err != nil {
		t.Fatal(err)
	}
	m := sample(boot.X64UEFI)
	m.Params["packages"] = "vim, curl"
	got, err := c.render("install.sh", m)
	if want := "get 'vim'\nget 'curl'\nall='vim curl'\n"; err != nil || string(got) != want {
		t.Errorf("%v: %q, want %q", err, got, want)
	}
}

// TestWimboot: the loader of Windows refuses words that it does not know, and GRUB cannot
// start it.
func TestWimboot(t *testing.T) {
	f := folder{SpecFile: "name = \"win\"\n[boot]\nkernel = \"image:win/wimboot\"\ninitrd = [\"image:win/sources/boot.wim\", \"install.bat\"]\n", "install.bat": "wpeinit\r\n"}
	spec, err := f.lint()
	if err != nil || spec.Template().GRUBBoots || spec.Template().UBootBoots {
		t.Fatalf("%v", err)
	}
	s, tm := set(t, f)
	got, err := s.text(t, boot.Ref{Kind: boot.RefGenerated, Name: "boot.ipxe", Template: pad(tm), Machine: machine()})
	if err != nil || strings.Contains(got, "BOOTIF") || strings.Contains(got, "initrd=") || !strings.Contains(got, "/images/win/wimboot || goto failed") || !strings.Contains(got, "initrd --name boot.wim ") || !strings.Contains(got, "initrd --name install.bat ") {
		t.Errorf("%v:\n%s", err, got)
	}
}

// TestMirrorURL: where packages come from is a URL, or a mirror that is stored here.
func TestMirrorURL(t *testing.T) {
	f := folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n[params.mirror]\n", "k": "K", "a.tmpl": "{{ .Mirror | default \"none\" }}"}
	s, tm := set(t, f)
	for value, want := range map[string]string{"": "none", "http://a.example/debian": "http://a.example/debian", "image:debian13": "http://10.77.0.1/images/debian13"} {
		m := machine()
		m.BaseURL, m.Params = "http://10.77.0.1/boot/TOKEN", map[string]string{"mirror": value}
		if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "a", Template: pad(tm), Machine: m}); err != nil || got != want {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
}
