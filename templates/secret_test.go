package templates

import (
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

const secretSpec = "name = \"deb\"\n[boot]\nkernel = \"k\"\ncmdline = \"quiet\"\n[params.rootpw]\nsecret = true\nrequired = true\n[secrets]\nfiles = [\"preseed.cfg\"]\nhttps = true\n"

// TestSecrets: a secret is rendered into the files of [secrets] and into no other; lint
// says where one is named that may not have it.
func TestSecrets(t *testing.T) {
	f := folder{SpecFile: secretSpec, "k": "K", "preseed.cfg": "d-i passwd/root string {{ sh .Params.rootpw }}\n", "plain.tmpl": "{{ range $k, $v := .Params }}{{ $k }}={{ $v }} {{ end }}"}
	s, err := f.lint()
	if err != nil {
		t.Fatal(err)
	}
	if x := s.Template(); x.Secret == nil || x.Secret.Needs != boot.ProofToken || !x.Secret.HTTPS || !x.Params["rootpw"].Secret {
		t.Errorf("%+v", x)
	}
	c, tm := set(t, f)
	m := machine()
	m.Sealed, m.Params = map[string]boot.Sealed{"rootpw": {Data: []byte{1}}}, map[string]string{"rootpw": "it's"}
	if got, err := c.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "preseed.cfg", Template: pad(tm), Machine: m}); err != nil || got != "d-i passwd/root string 'it'\\''s'\n" {
		t.Errorf("%q, %v", got, err)
	}
	// A value from before the parameter was secret, and none at all.
	m.Sealed = nil
	if got, err := c.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "preseed.cfg", Template: pad(tm), Machine: m}); err == nil {
		t.Errorf("%q", got)
	}
	if got, err := c.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "plain", Template: pad(tm), Machine: m}); err != nil || strings.Contains(got, "rootpw") {
		t.Errorf("%q, %v", got, err)
	}

	for what, c := range map[string]struct {
		name, from, to, want string
	}{
		"in another file":       {"post.sh", "", "{{ if .Name }}{{ sh .Params.rootpw }}{{ end }}", "is not in files of [secrets]"},
		"by index":              {"post.sh", "", "{{ sh (index .Params \"rootpw\") }}", "is not in files of [secrets]"},
		"on the command line":   {SpecFile, "quiet", "pw={{ .Params.rootpw }}", "the kernel's command line is not in files"},
		"a file that is not":    {SpecFile, "preseed.cfg\"]", "other.cfg\"]", "no rendered file"},
		"with a default":        {SpecFile, "secret = true\nrequired = true", "secret = true\ndefault = \"x\"", "without a default"},
		"a proof of the future": {SpecFile, "https = true", "needs = \"tpm\"", "no protocol here proves that yet"},
		"no proof":              {SpecFile, "https = true", "needs = \"luck\"", "want heard or token"},
		"in a script":           {SpecFile, "[\"preseed.cfg\"]", "[\"preseed.cfg\", \"boot.ipxe\"]", "boot script"},
	} {
		f := folder{SpecFile: secretSpec, "k": "K", "preseed.cfg": "d-i passwd/root string {{ sh .Params.rootpw }}\n"}
		if c.name == SpecFile {
			f[SpecFile] = strings.Replace(secretSpec, c.from, c.to, 1)
			if c.want == "boot script" {
				f["boot.ipxe"] = "#!ipxe\n"
			}
		} else {
			f[c.name+".tmpl"] = c.to
		}
		if _, err := f.lint(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRenders: everything that a boot asks for is rendered before it begins, each file
// with what it may have, and what is refused does not show a secret.
func TestRenders(t *testing.T) {
	f := folder{SpecFile: secretSpec + "[params.disk]\n", "k": "K",
		"preseed.cfg": "d-i passwd/root string {{ .Params.rootpw }}\n", "user-data.tmpl": "disk: {{ .Params.disk }}\n"}
	f[SpecFile] = strings.Replace(f[SpecFile], "cmdline = \"quiet\"", "cmdline = \"quiet {{ .Params.disk }}\"", 1)
	s, tm := set(t, f)
	for what, c := range map[string]struct {
		disk, pw string
		dialect  boot.Dialect
		want     string
	}{
		"all is well":          {disk: "/dev/sda", pw: "$6$abc"},
		"in the command line":  {disk: "a\nb", pw: "x", want: "control character"},
		"in a file":            {disk: "[x]", pw: "x", want: "user-data.tmpl:1"},
		"in GRUB's script":     {disk: "${x}", pw: "x", dialect: boot.GRUBScript, want: "cmdline"},
		"a secret in its file": {disk: "x", pw: "open;sesame", want: "preseed.cfg:1"},
	} {
		m := machine()
		m.Sealed, m.Params = map[string]boot.Sealed{"rootpw": {Data: []byte{1}}}, map[string]string{"rootpw": c.pw, "disk": c.disk}
		err := s.Renders(pad(tm), c.dialect, m)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: it shows the secret: %v", what, err)
		}
	}
}

// TestMaskedSecret: where secrets are shown as stars, a pattern does not judge them.
func TestMaskedSecret(t *testing.T) {
	f := folder{SpecFile: strings.Replace(secretSpec, "required = true\n", "required = true\npattern = '[0-9]+'\nexample = '7'\n", 1), "k": "K", "preseed.cfg": "d-i passwd/root string {{ .Params.rootpw | sh }}\n"}
	s, tm := set(t, f)
	for pw, want := range map[string]bool{boot.Masked: true, "77": true, "secret": false} {
		m := machine()
		m.Sealed, m.Params = map[string]boot.Sealed{"rootpw": {Data: []byte{1}}}, map[string]string{"rootpw": pw}
		if err := s.Renders(pad(tm), boot.IPXEScript, m); (err == nil) != want {
			t.Errorf("%s: %v", pw, err)
		}
	}
}

// TestOptionalSecret: one that nobody set reads as empty in its files, and a template
// that cannot do without it says required, or is not stored.
func TestOptionalSecret(t *testing.T) {
	spec := strings.Replace(secretSpec, "required = true\n", "", 1)
	if spec == secretSpec {
		t.Fatal("the secret was not required")
	}
	f := folder{SpecFile: spec, "k": "K", "preseed.cfg": "d-i passwd/root string {{ .Params.rootpw | default \"!\" }}\n"}
	s, tm := set(t, f)
	for _, sealed := range []map[string]boot.Sealed{nil, {}} {
		m := machine()
		m.Sealed, m.Params = sealed, map[string]string{}
		if err := s.Renders(pad(tm), boot.IPXEScript, m); err != nil {
			t.Errorf("with %v: %v", sealed, err)
		}
	}
	f["preseed.cfg"] = "d-i passwd/root string {{ required \"no password\" .Params.rootpw }}\n"
	if _, err := f.lint(); err == nil || !strings.Contains(err.Error(), "no password") {
		t.Errorf("a template that needs it: %v", err)
	}
}

// TestUnclear: a file is not rendered with a default where tags give a parameter different
// values, and one that takes others is.
func TestUnclear(t *testing.T) {
	s, tm := set(t, folder{SpecFile: "name = \"t\"\n[boot]\nkernel = \"k\"\n[params.disk]\ndefault = \"/dev/sda\"\n", "k": "K", "ks.cfg": "# {{ .Params.disk | sh }}\n"})
	m := machine()
	for param, want := range map[string]string{"disk": "tag/a and tag/b give it different values", "other": ""} {
		m.Unclear = map[string]string{param: "tag/a and tag/b give it different values"}
		if err := s.Renders(pad(tm), boot.IPXEScript, m); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", param, err)
		}
	}
}
