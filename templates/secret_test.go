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
	f := folder{SpecFile: secretSpec, "k": "K", "preseed.cfg": "root {{ sh .Params.rootpw }}\n", "plain.tmpl": "{{ range $k, $v := .Params }}{{ $k }}={{ $v }} {{ end }}"}
	s, err := f.lint()
	if err != nil {
		t.Fatal(err)
	}
	if x := s.Template(); x.Secret == nil || x.Secret.Needs != boot.ProofToken || !x.Secret.HTTPS || !x.Params["rootpw"].Secret {
		t.Errorf("%+v", x)
	}
	c, tm := set(t, f)
	m := machine()
	m.Sealed, m.Params = map[string][]byte{"rootpw": {1}}, map[string]string{"rootpw": "it's"}
	if got, err := c.text(t, boot.Ref{Kind: boot.RefTemplate, Name: "preseed.cfg", Template: pad(tm), Machine: m}); err != nil || got != "root 'it'\\''s'\n" {
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
		f := folder{SpecFile: secretSpec, "k": "K", "preseed.cfg": "root {{ sh .Params.rootpw }}\n"}
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
