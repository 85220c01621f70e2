package admin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// TestVersions: each machine's difference, those that a version cannot be rendered for, and
// which version is in force.
func TestVersions(t *testing.T) {
	d := newDesk(t)
	push := func(preseed string) {
		d.push(200, "template.toml", "name = \"deb\"\n[match]\ntag = [\"db\"]\n[boot]\nkernel = \"k\"\ncmdline = \"report={{ .ReportURL }}\"\n[params.disk]\n[params.size]\ntype = \"int\"\n", "k", "kernel", "preseed.cfg", preseed)
	}
	push("d-i a/disk string {{ sh .Params.disk }}\n")
	for _, h := range []string{`"web1","macs":["02:00:00:00:00:01"],"template":"deb","params":{"disk":"/dev/sda"}`, `"web2","macs":["02:00:00:00:00:02"],"tags":["db"]`, `"web3","macs":["02:00:00:00:00:03"],"params":{"disk":"/dev/sdb"}`, `"web4","macs":["02:00:00:00:00:04"],"template":"deb","params":{"disk":"/dev/sdd"}`} {
		d.want(200, "POST", "/api/v1/hosts", `{"name":`+h+`}`)
	}
	d.want(200, "PATCH", "/api/v1/params/tag/db", `{"params":{"disk":"/dev/sdc"}}`)
	push("d-i a/disk string {{ sh .Params.disk }}\n{{ if ne .Params.disk \"/dev/sda\" }}d-i b/new string x\n{{ end }}{{ if eq .Params.disk \"/dev/sdd\" }}{{ required \"no such disk\" \"\" }}{{ end }}")

	var list client.List[client.Version]
	d.want(200, "GET", "/api/v1/templates/deb/versions", "").into(&list)
	vs := list.Items
	if len(vs) != 2 || !vs[1].InForce || vs[1].Pinned || vs[0].InForce {
		t.Fatalf("%+v", vs)
	}
	var in client.InForce
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":1}`).into(&in)
	if vs = in.Versions; !vs[0].InForce || !vs[0].Pinned || vs[1].InForce {
		t.Errorf("pinned: %+v", vs)
	}
	if p := d.engine.Policy().Templates; len(p) != 1 || p[0].Version != 1 {
		t.Errorf("the policy has %+v", p)
	}

	var p client.Previewed
	d.want(200, "POST", "/api/v1/templates/preview", `{"name":"deb","version":2}`).into(&p)
	if p.Machines != 3 || p.Changed != 1 || p.Unchanged != 1 || p.Failures != 1 || p.Version != 2 {
		t.Errorf("%+v", p)
	}
	if len(p.Failed) != 1 || p.Failed[0].Name != "web4" || !strings.Contains(p.Failed[0].Why, "no such disk") {
		t.Errorf("failed: %+v", p.Failed)
	}
	if len(p.Listed) != 1 || p.Listed[0].Name != "web2" || p.Listed[0].Was != 1 || len(p.Listed[0].Files) != 1 || p.Listed[0].Files[0].File != "preseed.cfg" ||
		!strings.Contains(p.Listed[0].Files[0].Text, " d-i a/disk string '/dev/sdc'\n+d-i b/new string x\n") {
		t.Errorf("listed: %+v", p.Listed)
	}
	p = client.Previewed{}
	d.want(200, "POST", "/api/v1/templates/preview", `{"name":"deb","names":["web3"]}`).into(&p) // which would not boot it by itself
	if p.Machines != 1 || p.Changed != 1 {
		t.Errorf("web3: %+v", p)
	}

	var ds []client.Difference
	d.want(200, "GET", "/api/v1/templates/deb/diff", "").into(&ds)
	if len(ds) != 1 || ds[0].File != "preseed.cfg" || !strings.Contains(ds[0].Text, "--- preseed.cfg, version 1\n+++ preseed.cfg, version 2\n") {
		t.Errorf("%+v", ds)
	}

	var pushed client.Pushed
	d.push(200, "template.toml", "name = \"deb\"\n[boot]\nkernel = \"k\"\n", "k", "kernel2").into(&pushed)
	var seen client.Previewed
	d.want(200, "POST", "/api/v1/templates/preview", `{"name":"deb","version":3,"names":["web2"]}`).into(&seen)
	if len(seen.Listed) != 1 || len(seen.Listed[0].Files) != 3 || seen.Listed[0].Files[2] != (client.Difference{File: "k", Text: "6 bytes, and 7 bytes\n"}) {
		t.Errorf("a preview of another kernel: %+v", seen)
	}
	if pushed.Template.Version != 3 || len(pushed.Warnings) != 1 || !strings.Contains(pushed.Warnings[0], "pinned at another version") {
		t.Errorf("a push beneath a pin: %+v", pushed)
	}
	in = client.InForce{}
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":0}`).into(&in)
	if vs = in.Versions; len(vs) != 3 || !vs[2].InForce || vs[2].Pinned {
		t.Errorf("not pinned: %+v", vs)
	}
	for _, k := range []boot.EventKind{boot.TemplatePinned} {
		if n := strings.Count(d.everything(), string(k)); n != 2 {
			t.Errorf("%d events %s", n, k)
		}
	}
}

// TestPushAsks: where many machines would boot a version next, their number is said.
func TestPushAsks(t *testing.T) {
	d := newDesk(t)
	spec := "name = \"deb\"\n[match]\ntag = [\"db\"]\n[boot]\nkernel = \"k\"\n"
	d.push(200, "template.toml", spec, "k", "kernel")
	var hosts []string
	for i := range 14 {
		state := "approved"
		if i == 0 {
			state = "pending"
		}
		hosts = append(hosts, fmt.Sprintf(`{"name":"h%d","serial":"SN-%d","state":"%s","tags":["db"]}`, i, i, state))
	}
	d.want(200, "POST", "/api/v1/hosts/import", `{"hosts":[`+strings.Join(hosts, ",")+`]}`)
	d.want(200, "POST", "/api/v1/hosts", `{"name":"other","serial":"SN-99","state":"approved"}`)
	if err := d.store.Update(t.Context(), func(tx boot.Tx) error { // one has begun a boot
		h, err := tx.HostByName("h1")
		if err != nil {
			return err
		}
		c := h.Clone()
		c.Pin = 1
		return tx.PutHost(c)
	}); err != nil {
		t.Fatal(err)
	}
	var f client.Problem
	if d.push(409, "template.toml", spec, "k", "another kernel").into(&f); f.Code != boot.Unconfirmed || !strings.Contains(f.Detail, "what 12 machines boot next") {
		t.Errorf("%+v", f)
	}
	var p client.Pushed
	d.want(200, "POST", "/api/v1/templates", fmt.Sprintf(`{"dry_run":true,"spec":%q}`, spec)).into(&p)
	if p.Affected != 12 {
		t.Errorf("a dry run: %+v", p)
	}
	d.want(200, "POST", "/api/v1/templates/deb/pin", `{"version":1}`)
	d.push(200, "template.toml", spec, "k", "another kernel") // nobody boots it
	d.want(200, "DELETE", "/api/v1/templates/deb", "")
	d.push(409, "template.toml", spec, "k", "another kernel") // the pin went with the name
}
