package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestApply: what was exported is applied without a change, in place and on an empty
// appliance; a machine that enrolled by itself gets its file's name, state and values;
// what is in no file goes only when that is asked for.
func TestApply(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	tmpl := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write(tmpl+"/template.toml", "name = \"tool\"\n[boot]\nkernel = \"sub/k\"\n[params.ntp]\ndefault = \"a\"\n[params.pw]\nsecret = true\n")
	write(tmpl+"/sub/k", "kernel")
	r.muster("template", "push", tmpl)
	r.muster("host", "add", "web1", "--mac", "52:54:00:aa:bb:01", "--template", "tool", "--address", "10.77.0.50", "--tag", "rack=12", "--option", "domain-name=web.example", "--approved", "--param", "ntp=10.77.0.1")
	r.muster("host", "add", "old", "--serial", "X-4711")
	r.muster("param", "set", "site", "ntp=10.77.0.9")
	r.muster("param", "set", "tag/rack=12", "ntp=10.77.0.8", "--option", "ntp-servers=10.77.0.8")
	secret := filepath.Join(t.TempDir(), "pw")
	write(secret, "hunter2")
	r.muster("host", "set", "web1", "pw=@"+secret)

	dir := filepath.Join(t.TempDir(), "fleet")
	r.muster("export", dir)
	if b, err := os.ReadFile(dir + "/hosts/web1.toml"); err != nil || strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), `options = ["domain-name=web.example"]`) {
		t.Errorf("%v\n%s", err, b)
	}
	if b, err := os.ReadFile(dir + "/templates/tool/sub/k"); err != nil || string(b) != "kernel" {
		t.Errorf("%v %q", err, b)
	}
	apply := func(want ...string) {
		t.Helper()
		out := r.muster(append([]string{"apply", "-f", dir}, want[0:1]...)...)
		for _, w := range want[1:] {
			if !strings.Contains(out, w) {
				t.Errorf("apply %s has no %q:\n%s", want[0], w, out)
			}
		}
	}
	apply("--yes", "nothing to do")

	// A machine asks, and is nobody's yet.
	cli := r.host("cli", "")
	r.leased(cli)
	mac := r.mac(cli)
	var before []host
	r.json(&before, "host", "list", "state:pending", "mac:"+mac)
	if len(before) != 1 {
		t.Fatalf("%+v", before)
	}
	write(dir+"/hosts/db1.toml", "state = \"approved\"\nmacs = [\""+mac+"\"]\ntags = [\"db\"]\n\n[params]\nntp = \"10.77.0.7\"\n")
	write(dir+"/hosts/web1.toml", "state = \"denied\"\nmacs = [\"52:54:00:aa:bb:01\"]\n")
	write(dir+"/templates/tool/sub/k", "kernel two")
	must(t, os.Remove(dir+"/hosts/old.toml"))
	must(t, os.Remove(dir+"/params/site.toml"))
	all := []string{"~ template tool", "sub/k", "~ host db1, which is " + before[0].Name + ": becomes approved", "~ host web1: becomes denied", "10.77.0.50, taken away", "2 are in no file"}
	apply(append([]string{"--dry-run"}, all...)...)
	if h := r.show("web1"); h.State != "approved" {
		t.Errorf("a dry run made it %s", h.State)
	}
	// Nobody is there to ask.
	if out, err := exec.CommandContext(r.ctx, r.binary, "--data-dir", r.data, "apply", "-f", dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "--yes") {
		t.Errorf("%v: %s", err, out)
	}
	apply(append([]string{"--yes", "3 changes done"}, all...)...)
	if h := r.show("db1"); h.State != "approved" || h.Params["ntp"] != "10.77.0.7" || len(h.MACs) == 0 || h.MACs[0] != mac {
		t.Errorf("%+v", h)
	}
	if h := r.show("web1"); h.State != "denied" || len(h.Params) != 0 {
		t.Errorf("%+v", h)
	}
	if out := r.muster("host", "show", "web1", "--json"); !strings.Contains(out, `"pw"`) {
		t.Errorf("its secret is gone:\n%s", out)
	}
	apply("--yes", "nothing to do")
	if out := r.muster("host", "list", "--output", "name"); !strings.Contains(out, "old") {
		t.Errorf("what is in no file went by itself:\n%s", out)
	}
	if out := r.muster("apply", "-f", dir, "--prune", "--yes"); !strings.Contains(out, "- host old") || !strings.Contains(out, "- params site") || !strings.Contains(out, "2 changes done") {
		t.Error(out)
	}
	if out := r.muster("host", "list", "--output", "name"); out != "web1\ndb1\n" {
		t.Errorf("%q", out)
	}

	// Onto an appliance that has nothing, and written again, it is the same.
	empty := newRig(t)
	empty.serveConfig(fullNetwork)
	if out := empty.muster("apply", "-f", dir, "--yes"); !strings.Contains(out, "4 changes done") {
		t.Error(out)
	}
	again := filepath.Join(t.TempDir(), "again")
	empty.muster("export", again)
	if out, err := exec.CommandContext(r.ctx, "diff", "-r", dir, again).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
