// backup_test.go: an appliance made again of one file, on another machine.

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackup: a backup of a running appliance becomes the same appliance in an empty
// data directory, without the daemon's help: the roll, the templates and the secrets,
// and no leave to install. Damaged, it changes nothing.
func TestBackup(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte("name = \"deb\"\ninstall = true\n[boot]\nkernel = \"vmlinuz\"\n[params.rootpw]\nsecret = true\nrequired = true\n[secrets]\nfiles = [\"preseed.cfg\"]\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "preseed.cfg"), []byte("d-i passwd/root string {{ sh .Params.rootpw }}\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), bytes.Repeat([]byte("kernel "), 1<<18), 0o644)) // 1.75 MiB
	r.muster("template", "push", dir)
	pw := filepath.Join(t.TempDir(), "pw")
	must(t, os.WriteFile(pw, []byte("correct horse\n"), 0o600))
	for i := range 20 {
		name := fmt.Sprintf("web%02d", i)
		r.muster("host", "add", name, "--mac", fmt.Sprintf("52:54:00:00:00:%02d", i), "--serial", fmt.Sprintf("SN-%d", i), "--template", "deb")
		if i < 3 {
			r.muster("host", "set", name, "rootpw=@"+pw)
			r.muster("host", "approve", name)
		}
	}
	if s := r.fails("host", "set", "web05", "rootpw=typed"); !strings.Contains(s, "rootpw=@FILE") {
		t.Errorf("a secret that was typed: %s", s)
	}
	if s := r.muster("host", "show", "web00", "--json") + r.muster("event", "list", "--json"); strings.Contains(s, "correct horse") {
		t.Error("the secret is shown")
	}
	if !strings.Contains(r.muster("host", "list", "--armed"), "web02") {
		t.Error("nothing is armed before")
	}
	before := r.hosts()

	file := filepath.Join(t.TempDir(), "muster.tar")
	said := r.muster("backup", file)
	if !strings.Contains(said, "not in it: template deb version 1, file vmlinuz") || !strings.Contains(said, "3 secret parameters") {
		t.Errorf("it does not say what it lacks:\n%s", said)
	}
	b, err := os.ReadFile(file)
	must(t, err)
	if bytes.Contains(b, []byte("correct horse")) {
		t.Error("the secret is in the backup")
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", st.Mode(), err)
	}
	r.fails("backup", file) // it is there already
	full := filepath.Join(t.TempDir(), "full.tar")
	r.muster("backup", full, "--files")

	r.stop(false)
	whole := r.data
	if s := r.fails("restore", full); !strings.Contains(s, "--replace") {
		t.Errorf("over a store: %s", s)
	}
	offline := filepath.Join(t.TempDir(), "offline.tar")
	r.muster("backup", offline)

	// On another machine, with the sealing key.
	r.data = t.TempDir()
	must(t, exec.CommandContext(t.Context(), "cp", "-p", filepath.Join(whole, "seal.key"), r.data).Run())
	bad := bytes.Clone(b)
	bad[len(bad)/2] ^= 1
	damaged := filepath.Join(t.TempDir(), "damaged.tar")
	must(t, os.WriteFile(damaged, bad, 0o600))
	if s := r.fails("restore", damaged); !strings.Contains(s, "damaged") {
		t.Errorf("a wrong bit: %s", s)
	}
	if l, _ := filepath.Glob(filepath.Join(r.data, "*")); len(l) != 1 {
		t.Errorf("a damaged backup left %v", l)
	}
	r.muster("restore", full)
	r.serveConfig(fullNetwork)
	after := r.hosts()
	if len(after) != len(before) {
		t.Fatalf("%d hosts, before %d", len(after), len(before))
	}
	for i := range after {
		if a, b := after[i], before[i]; a.ID != b.ID || a.Name != b.Name || a.State != b.State || a.Serial != b.Serial || a.MACs[0] != b.MACs[0] {
			t.Errorf("%+v was %+v", a, b)
		}
	}
	if s := r.muster("host", "list", "--armed"); !strings.Contains(s, "nothing would be installed") {
		t.Errorf("a restored ticket installs:\n%s", s)
	}
	told := false
	for _, e := range r.events() {
		told = told || strings.Contains(e.Text, "was restored from a backup of")
	}
	if !told {
		t.Error("its first start does not say what it is")
	}
	if s := r.muster("store", "check"); !strings.Contains(s, "all whole") {
		t.Errorf("%s", s)
	}
	// What it serves is what it served: the secret opens.
	r.muster("host", "install", "web00")
	cli := r.host("cli", "")
	out, err := cli.Run(r.ctx, r.binary, "simulate", "bios", "--interface", "eth0", "--fast", "--mac", "52:54:00:00:00:00", "--serial", "SN-0", "--json")
	if err != nil || !strings.Contains(string(out), "vmlinuz") {
		t.Errorf("it boots nobody: %v\n%s", err, out)
	}
	r.stop(false)

	// Without the key it starts all the same, and says what must be given again; and over
	// a store that is there.
	r.muster("restore", offline, "--replace")
	if l, _ := filepath.Glob(filepath.Join(r.data, "muster.db.before-restore-*")); len(l) == 0 {
		t.Error("the store that was there is gone")
	}
	r.data = t.TempDir()
	if s := r.muster("restore", file); !strings.Contains(s, "the sealing key of the backup is not here") || !strings.Contains(s, "web01 rootpw") || !strings.Contains(s, "bring again") {
		t.Errorf("without the key:\n%s", s)
	}
	r.serveConfig(fullNetwork)
	if n := len(r.hosts()); n != len(before) {
		t.Errorf("%d hosts", n)
	}
	if s := r.fails("host", "install", "web00"); !strings.Contains(s, "needs rootpw") {
		t.Errorf("a secret that is gone is not asked for: %s", s)
	}
	r.muster("ca", "show")
	r.stop(false)

	// Onto a machine that has another key: the usual way after a disaster. And a restore
	// that was cut off in its last step leaves nothing that a daemon would start with.
	own, err := os.ReadFile(filepath.Join(r.data, "seal.key"))
	must(t, err)
	r.data = t.TempDir()
	r.serveConfig(fullNetwork)
	r.stop(false)
	if s := r.muster("restore", offline, "--replace"); !strings.Contains(s, "secret parameters must be given again") {
		t.Errorf("another key is there:\n%s", s)
	}
	if b, _ := os.ReadFile(filepath.Join(r.data, "seal.key")); bytes.Equal(b, own) {
		t.Error("one key for two stores")
	}
	r.serveConfig(fullNetwork)
	r.muster("ca", "show")
	r.stop(false)
	r.serveConfig(fullNetwork) // and once more: nothing waits for the old key
	r.stop(false)
	must(t, os.WriteFile(filepath.Join(r.data, "muster.db.restoring"), nil, 0o600))
	if s := r.fails("backup", filepath.Join(t.TempDir(), "x.tar")); !strings.Contains(s, "a restore was cut off") {
		t.Errorf("half a restore is opened: %s", s)
	}
	r.muster("restore", offline, "--replace")
	r.serveConfig(fullNetwork)
	if n := len(r.hosts()); n != len(before) {
		t.Errorf("%d hosts", n)
	}
}
