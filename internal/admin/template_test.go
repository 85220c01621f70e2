package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
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
	push := func(name, params string) (p Pushed) {
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
	push := func(params string) (p Pushed) {
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
	var in InForce
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":0}`).into(&in)
	if h := d.hosts()[0]; h.Params["pw"] != "" || len(h.Secrets) != 1 || len(in.Warnings) != 1 || !strings.HasPrefix(in.Warnings[0], "pw is secret now: sealed on one host.") {
		t.Errorf("when it is in force: %+v, %q", h, in.Warnings)
	}
}
