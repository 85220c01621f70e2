package templates

import (
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestFormats: what would stop an installer stops a push, by file and line; what is only
// likely to be meant otherwise is told.
func TestFormats(t *testing.T) {
	ks := "lang en_US\nreboot\n%packages\n@core\n%end\n"
	for _, c := range []struct {
		file, text string
		fault      string // a part of it; "" takes the file
		advice     string
	}{
		{"a.json", `{"a": [1, {{ .Boot }}]}`, "", ""},
		{"a.json", "{\"a\":\n [1,]}", "a.json, line 2 as a machine gets it: it is no JSON", ""},
		{"a.json", "{} {}", "something follows the end", ""},
		{"a.jsonnet", "{ a: 1 }", "", ""},
		{"a.ign", `{"ignition": {"version": "3.3.0"}}`, "", ""},
		{"a.ign", `{"ignition": {}}`, "wants to be told its version", ""},
		{"a.ign", `[]`, "wants to be told its version", ""},
		{"a.xml", "<?xml version=\"1.0\"?>\n<a><b>&amp;</b></a>\n", "", ""},
		{"a.xml", "<a>\n<b>\n</a>", "a.xml, line 3 as a machine gets it: it is no XML", ""},
		{"a.xml", "<a>x&y</a>", "it is no XML", ""},
		{"a.xml", "words", "it is no XML", ""},
		{"a.toml", "a = 1\n[b]\nc = \"{{ .Name }}\"\n", "", ""},
		{"a.toml", "a = 1\na = 2\n", "a.toml", ""},
		{"a.yaml", "- 1\n- 2\n---\nx: y\n", "", ""},
		{"a.yaml", "a: [1\nb: 2\n", "it is no YAML", ""},
		{"a.yaml", "a: 1\na: 2\n", "it is no YAML", ""},
		{"vendor-data", "", "", ""},
		{"user-data", "#cloud-config\nhostname: {{ .Name }}\n", "", ""},
		{"user-data", "#!/bin/sh\nfoo: [", "", ""},
		{"user-data", "hostname: x\n", `user-data, line 1 as a machine gets it: cloud-init heeds a file that begins with #cloud-config`, ""},
		{"user-data", "#cloud-config\n- x\n", "no map of keys", ""},
		{"user-data", "#cloud-config\nautoinstall:\n  identity: {}\n", "autoinstall wants version: 1", ""},
		{"user-data", "#cloud-config\nautoinstall: 1\n", "autoinstall wants version: 1", ""},
		{"user-data", "#cloud-config\nautoinstall:\n  version: 1\n  identity:\n    password: \"$6$x\"\n", "", ""},
		{"user-data", "#cloud-config\nusers:\n  - passwd: hunter2\n", "", "as it is typed"},
		{"meta-data", "instance-id: x\n", "", ""},
		{"meta-data", "x", "no map of keys", ""},
		{"preseed.cfg", "# c\n\nd-i a/b boolean true\nd-i a/c string\nd-i a/d string x\\\n  y\n", "", ""},
		{"preseed.cfg", "d-i a/b strings x\n", "preseed.cfg, line 1 as a machine gets it: strings is no type", ""},
		{"preseed.cfg", "d-i a/b boolean yes\n", "a/b wants true or false", ""},
		{"preseed.cfg", "d-i a/b boolean\n", "a/b wants true or false", ""},
		{"preseed.cfg", "d-i\n", "is no owner, question, type and value", ""},
		{"preseed.cfg", "d-i a/b string \\\n", "ends in a backslash", ""},
		{"preseed.cfg", "d-i passwd/root-password password hunter2\n", "", "passwd/root-password-crypted"},
		{"my.seed", "d-i a/b\n", "no owner", ""},
		{"ks.cfg", ks, "", ""},
		{"ks.cfg", strings.Replace(ks, "%end\n", "", 1), "ks.cfg, line 3 as a machine gets it: %packages has no %end", ""},
		{"ks.cfg", ks + "%end\n", "line 6 as a machine gets it: %end of nothing", ""},
		{"ks.cfg", ks + "%pst\n%end\n", "%pst is no section", ""},
		{"ks.cfg", ks + "%pre\n%post\n%end\n", "%post begins within %pre of line 6", ""},
		{"ks.cfg", strings.Replace(ks, "reboot\n", "%include /tmp/x\n", 1), "", "waits for somebody"},
		{"ks.cfg", ks + "rootpw hunter2\n", "", "--iscrypted"},
		{"ks.cfg", ks + "rootpw --lock\nuser --name=a --iscrypted --password=$6$\n", "", ""},
		{"ks.cfg", "vmaccepteula\nreboot\n%pre\nx\n%firstboot\ny\n", "", ""},
	} {
		f := folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n", "k": "K", c.file + ".tmpl": c.text}
		s, err := f.lint()
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s %q: %v", c.file, c.text, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s %q: %v, want %q", c.file, c.text, err, c.fault)
		case err == nil && (len(s.Advice) > 0) != (c.advice != ""), err == nil && !strings.Contains(strings.Join(s.Advice, "\n"), c.advice):
			t.Errorf("%s %q: it is told %q, want %q", c.file, c.text, s.Advice, c.advice)
		}
	}
	for _, c := range []struct{ spec, fault, advice string }{
		{"cmdline = \"ds=nocloud;s=http://x/ ds=nocloud-net;s=http://x/\"\n", "2 words begin with ds=", ""},
		{"cmdline = \"ds=nocloud-net;s={{ .BaseURL }}/\"\n", "", ""},
		{"cmdline = \"" + strings.Repeat("word=value ", 150) + "\"\n", "", "the kernel's line has 1649 bytes"},
		{"initrd = [\"i\"]\n", "", "no file of it names .ReportURL"},
		{"initrd = [\"i\"]\ncmdline = \"r={{ .ReportURL }}\"\n", "", ""},
	} {
		install := ""
		if strings.HasPrefix(c.spec, "initrd") {
			install = "install = true\n"
		}
		s, err := folder{SpecFile: "name = \"x\"\n" + install + "[boot]\nkernel = \"k\"\n" + c.spec, "k": "K", "i": "I"}.lint()
		switch {
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v, want %q", c.spec, err, c.fault)
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.spec, err)
		case err == nil && ((len(s.Advice) > 0) != (c.advice != "") || !strings.Contains(strings.Join(s.Advice, "\n"), c.advice)):
			t.Errorf("%s: it is told %q, want %q", c.spec, s.Advice, c.advice)
		}
	}
}

// TestSeed: what cloud-init reads beside user-data is there, and the folder's own counts.
func TestSeed(t *testing.T) {
	spec := "name = \"x\"\n[boot]\nkernel = \"k\"\n"
	for _, c := range []struct {
		files folder
		want  string // the generated files
	}{
		{folder{}, ""},
		{folder{"user-data": "#cloud-config\n"}, "meta-data vendor-data cidata.iso"},
		{folder{"user-data": "#cloud-config\n", "meta-data": "instance-id: mine\n"}, "vendor-data cidata.iso"},
		{folder{"user-data.tmpl": "#cloud-config\n", "meta-data": "instance-id: mine\n", "vendor-data": ""}, "cidata.iso"},
	} {
		c.files[SpecFile], c.files["k"] = spec, "K"
		s, err := c.files.lint()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Template().Generated, " "); got != c.want {
			t.Errorf("%v: generated are %q, want %q", c.files, got, c.want)
		}
	}
	s, tm := set(t, folder{SpecFile: spec, "k": "K", "user-data": "#cloud-config\n"})
	m := machine()
	m.Boot = 7
	for name, want := range map[string]string{"meta-data": "instance-id: \"web1-7\"\nlocal-hostname: \"web1\"\n", "vendor-data": ""} {
		if got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: name, Template: tm, Machine: m}); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}
