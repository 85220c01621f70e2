package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

type box struct{}

func (box) Seal(place string, secret []byte) []byte { return []byte(place + " " + string(secret[:2])) }

// TestBecomesSecret: what hosts have in plain text of a parameter that a new version
// calls secret is sealed when that version is pushed, on the hosts that boot it.
func TestBecomesSecret(t *testing.T) {
	d := newDesk(t)
	d.policy.Sealer = box{}
	if err := d.engine.SetPolicy(t.Context(), d.policy); err != nil {
		t.Fatal(err)
	}
	push := func(name, params string) (p client.Pushed) {
		d.push(200, "template.toml", "name = \""+name+"\"\n[boot]\nkernel = \"k\"\n[params.pw]\n"+params, "k", "kernel", "preseed.cfg.tmpl", "d-i a/b string {{ sh .Params.pw }}").into(&p)
		return p
	}
	push("deb", "")
	push("other", "")
	for _, h := range []string{`"web1","macs":["02:00:00:00:00:01"],"template":"deb"`, `"web2","macs":["02:00:00:00:00:02"],"template":"other"`} {
		d.want(200, "POST", "/api/v1/hosts", `{"name":`+h+`,"params":{"pw":"in plain text"}}`)
	}
	d.want(200, "PATCH", "/api/v1/params/site", `{"params":{"pw":"in plain text"}}`)
	if p := push("deb", "secret = true\n[secrets]\nfiles = [\"preseed.cfg\"]\n"); len(p.Warnings) != 2 || !strings.HasPrefix(p.Warnings[1], "pw is secret now: sealed on one host and one scope.") || !strings.Contains(p.Warnings[0], "machines of other, which takes it in plain text, wait") {
		t.Errorf("%q", p.Warnings)
	}
	if p := push("deb", "secret = true\n[secrets]\nfiles = [\"preseed.cfg\"]\n"); len(p.Warnings) != 0 {
		t.Errorf("again: %q", p.Warnings)
	}
	d.view(func(tx boot.ReadTx) error {
		for name, want := range map[string]string{"web1": `null, ["pw"]`, "web2": `{"pw":"in plain text"}, null`} {
			h, err := tx.HostByName(name)
			if err != nil {
				return err
			}
			params, _ := json.Marshal(h.Params)
			secrets, _ := json.Marshal(h.Secrets)
			sealed, err := tx.Secret(boot.Place(boot.HostScope, h.ID, "pw"))
			if got := string(params) + ", " + string(secrets); got != want || err != nil || (len(sealed) > 0) != (name == "web1") {
				t.Errorf("%s: %s, sealed %q, %v", name, got, sealed, err)
			}
		}
		v, err := tx.Values(boot.Site)
		if err != nil || v == nil || len(v.Params) != 0 || len(v.Secrets) != 1 {
			t.Errorf("the site: %+v, %v", v, err)
		}
		return err
	})
}

// TestSealsWhatIsInForce: beneath a pin nothing is sealed that the version in force takes
// in plain text, and the version that a pin puts in force seals.
func TestSealsWhatIsInForce(t *testing.T) {
	d := newDesk(t)
	d.policy.Sealer = box{}
	if err := d.engine.SetPolicy(t.Context(), d.policy); err != nil {
		t.Fatal(err)
	}
	push := func(params string) (p client.Pushed) {
		d.push(200, "template.toml", "name = \"deb\"\n[boot]\nkernel = \"k\"\n[params.pw]\n"+params, "k", "kernel", "preseed.cfg.tmpl", "d-i a/b string {{ sh .Params.pw }}").into(&p)
		return p
	}
	push("")
	d.want(200, "POST", "/api/v1/hosts", `{"name":"web1","macs":["02:00:00:00:00:01"],"template":"deb","params":{"pw":"in plain text"}}`)
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":1}`)
	if p := push("secret = true\n[secrets]\nfiles = [\"preseed.cfg\"]\n"); len(p.Warnings) != 1 || strings.Contains(p.Warnings[0], "secret") {
		t.Errorf("beneath a pin: %q", p.Warnings)
	}
	if h := d.hosts()[0]; h.Params["pw"] == "" {
		t.Errorf("beneath a pin: %+v", h)
	}
	var in client.InForce
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":0}`).into(&in)
	if h := d.hosts()[0]; h.Params["pw"] != "" || len(h.Secrets) != 1 || len(in.Warnings) != 1 || !strings.HasPrefix(in.Warnings[0], "pw is secret now: sealed on one host.") {
		t.Errorf("when it is in force: %+v, %q", h, in.Warnings)
	}
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":1}`).into(&in)
	if len(in.Warnings) != 1 || !strings.HasPrefix(in.Warnings[0], "pw: version 1 takes it in plain text, and it is sealed on one host: their machines wait.") {
		t.Errorf("back to the plain version: %q", in.Warnings)
	}
}

// TestExtends: a template that says only what differs has the rest of another, as it was
// when it was pushed.
func TestExtends(t *testing.T) {
	d := newDesk(t)
	base := "name = \"base\"\npriority = 7\n[match]\narch = [\"bios\"]\n[boot]\nkernel = \"k\"\ninitrd = [\"i\"]\ncmdline = \"quiet\"\n[params.disk]\ndefault = \"/dev/sda\"\n[params.size]\ntype = \"int\"\n[archives.\"o.tar.gz\"]\n\"a/b\" = \"i\"\n"
	d.push(200, "template.toml", base, "k", "kernel", "i", "initrd", "preseed.cfg.tmpl", "d-i a/b string {{ sh .Params.disk }}\n", "post.sh", "#!/bin/sh\n")
	own := "name = \"db\"\nextends = \"base\" # and more\n[match]\ntag = [\"db\"]\n[boot]\ncmdline = \"debug\"\n[params.disk]\ndefault = \"/dev/sdb\"\n"
	var p client.Pushed
	d.push(200, "template.toml", own, "i", "another", "preseed.cfg", "d-i c/d string {{ sh .Params.disk }}\n").into(&p)
	x := p.Template
	if x.Base == nil || x.Base.Name != "base" || x.Base.Version != 1 || strings.Join(x.Base.Files, " ") != "k post.sh" || x.Priority != 0 || len(x.Match.Arch) != 0 || len(x.Match.Tag) != 1 ||
		x.Params["disk"].Default != "/dev/sdb" || x.Params["size"].Type != "int" || x.Files["k"].Size != 6 || x.Files["i"].Size != 7 || x.Files["preseed.cfg.tmpl"].Digest != "" || len(x.Generated) != 1 {
		t.Errorf("%+v", x)
	}
	var shown client.TemplateShown
	d.want(200, "GET", "/api/v1/templates/db?spec=true", "").into(&shown)
	if s := shown.Spec; !strings.HasPrefix(s, "# db, with what it takes of base version 1.\n") || !strings.Contains(s, `cmdline = "debug"`) || !strings.Contains(s, `kernel = "k"`) || strings.Contains(s, "extends =") {
		t.Errorf("%s", s)
	}
	var seen client.Previewed
	d.want(200, "POST", "/api/v1/hosts", `{"name":"web1","macs":["02:00:00:00:00:01"],"template":"db"}`)
	d.want(200, "POST", "/api/v1/templates/preview", `{"name":"db","names":["web1"]}`).into(&seen)
	if seen.Failures != 0 || seen.Unchanged != 1 {
		t.Errorf("%+v", seen)
	}
	// The base goes on, and is told who stands on it.
	p = client.Pushed{}
	d.push(200, "template.toml", base, "k", "newer!!", "i", "initrd").into(&p)
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "db extends base and keeps what it took of it") {
		t.Errorf("%q", p.Warnings)
	}
	p = client.Pushed{}
	d.push(200, "template.toml", own).into(&p)
	if x := p.Template; x.Base.Version != 2 || x.Files["k"].Size != 7 || x.Files["post.sh"].Digest != "" {
		t.Errorf("pushed again: %+v", x)
	}
	// A third level, a loop, and nothing to stand on.
	d.push(200, "template.toml", "name = \"db-big\"\nextends = \"db\"\n")
	for name, c := range map[string]struct{ spec, want string }{
		"a loop":    {"name = \"base\"\nextends = \"db-big\"\n", "which extends it: a loop"},
		"itself":    {"name = \"base\"\nextends = \"base\"\n", "which extends it: a loop"},
		"nothing":   {"name = \"x\"\nextends = \"none\"\n", "no template is called so"},
		"a mistake": {"name = \"x\"\nextends = \"base\"\n[boot]\nkernel = \"gone\"\n", "[boot] names gone"},
	} {
		var f client.Problem
		if d.push(422, "template.toml", c.spec).into(&f); !strings.Contains(f.Detail, c.want) {
			t.Errorf("%s: %s", name, f.Detail)
		}
	}
	var f client.Problem
	blob := d.put("kernel")
	if d.want(422, "POST", "/api/v1/templates", fmt.Sprintf(`{"dry_run":true,"files":{"k":{"digest":%q,"size":6}},"spec":"name = \"base\"\nextends = \"db\"\n"}`, blob.Digest)).into(&f); !strings.Contains(f.Detail, "a loop") {
		t.Errorf("a dry run: %s", f.Detail)
	}
}

// TestExtendsDryRun: what a client leaves out is no reason to fall.
func TestExtendsDryRun(t *testing.T) {
	d := newDesk(t)
	d.push(200, "template.toml", "name = \"base\"\n[boot]\nkernel = \"k\"\n", "k", "kernel", "go.sh.tmpl", "#!/bin/sh\necho {{ sh .Name }}\n")
	d.want(200, "POST", "/api/v1/templates", `{"dry_run":true,"spec":"name = \"x\"\nextends = \"base\"\n"}`)
	var f client.Problem
	if d.push(422, "template.toml", "name = \"x\"\nextends = \"base\"\ndelims = [\"[[\", \"]]\"]\n").into(&f); !strings.Contains(f.Detail, "go.sh.tmpl is rendered by its own") {
		t.Errorf("other delims: %s", f.Detail)
	}
}
