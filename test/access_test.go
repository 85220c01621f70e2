// access_test.go: people and programs on another computer, by TLS and a token.

package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

// TestAccess: from elsewhere nobody comes in until a user or a token is made; then curl
// and our own command line do as their role and their scope let them, and the audit trail
// says who, from where.
func TestAccess(t *testing.T) {
	nettest.Need(t, "curl")
	r := newRig(t)
	r.serveConfig(fullNetwork + "\n[admin]\nlisten = \":8067\"\n")
	ns, err := r.lab.Host("desk")
	must(t, err)
	must(t, r.lab.Plug(ns, "eth0", r.sw))
	must(t, ns.Addr("eth0", "10.77.0.9/24"))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	r.muster("ca", "export", "--pem", ca)
	curl := func(token string, args ...string) string {
		t.Helper()
		all := append([]string{"-sS", "--cacert", ca, "-w", " %{http_code}"}, args...)
		if token != "" {
			all = append(all, "-H", "Authorization: Bearer "+token)
		}
		out, err := ns.Run(r.ctx, "curl", all...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	const at = "https://10.77.0.1:8067"
	if out := curl("", at+"/"); !strings.Contains(out, "sudo muster user add NAME") || !strings.HasSuffix(out, " 503") {
		t.Errorf("while nobody may come in: %s", out)
	}
	r.muster("host", "add", "web1", "--mac", guestMAC, "--tag", "lab")
	r.muster("host", "add", "db1", "--mac", "52:54:00:00:00:99")
	var made struct{ Token, Password string }
	must(t, json.Unmarshal([]byte(r.muster("token", "create", "ci", "--role", "operate", "--scope", "tag:lab", "--expires", "1h", "--json")), &made))
	if out := curl(made.Token, at+"/api/v1/hosts"); !strings.HasSuffix(out, " 200") || !strings.Contains(out, "web1") || strings.Contains(out, "db1") {
		t.Errorf("its hosts: %s", out)
	}
	if out := curl("", at+"/api/v1/hosts"); !strings.HasSuffix(out, " 401") {
		t.Errorf("without a token: %s", out)
	}
	if out := curl(made.Token, "-X", "POST", at+"/api/v1/hosts/db1/approve"); !strings.HasSuffix(out, " 404") {
		t.Errorf("another's: %s", out)
	}
	// Our own command line, there.
	muster := func(token string, args ...string) (string, error) {
		out, err := ns.Run(r.ctx, "env", append([]string{"MUSTER_URL=" + at, "MUSTER_TOKEN=" + token, "MUSTER_CA=" + ca, r.binary}, args...)...)
		return out, err
	}
	if out, err := muster(made.Token, "host", "approve", "web1"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := muster(made.Token, "template", "rm", "x"); err == nil || !strings.Contains(out+err.Error(), "role admin") {
		t.Errorf("%v: %s", err, out)
	}
	must(t, json.Unmarshal([]byte(r.muster("user", "add", "ann", "--role", "admin", "--password", "--json")), &made))
	login := filepath.Join(t.TempDir(), "login")
	must(t, os.WriteFile(login, []byte(`{"name":"ann","password":"`+made.Password+`"}`), 0o600))
	var in struct{ Token string }
	out := curl("", "--data-binary", "@"+login, at+"/api/v1/login")
	must(t, json.Unmarshal([]byte(strings.TrimSuffix(out, " 200")), &in))
	if out, err := muster(in.Token, "host", "deny", "db1"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	// And signed in, as on a laptop: the authority is known by the fingerprint that is read
	// on the appliance.
	var authority struct {
		Fingerprint string `json:"sha256"`
	}
	r.json(&authority, "ca", "show")
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte(made.Password+"\n"), 0o600))
	home := t.TempDir()
	laptop := func(args ...string) (string, error) {
		return ns.Run(r.ctx, "env", append([]string{"-u", "MUSTER_DATA_DIR", "XDG_CONFIG_HOME=" + home, r.binary}, args...)...)
	}
	if out, err := laptop("login", at, "--fingerprint", strings.Repeat("0", 64), "--user", "ann", "--password-file", password); err == nil {
		t.Errorf("another authority is believed: %s", out)
	}
	if out, err := laptop("login", at, "--fingerprint", authority.Fingerprint, "--user", "ann", "--password-file", password); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := laptop("host", "list"); err != nil || !strings.Contains(out, "db1") {
		t.Errorf("%v: %s", err, out)
	}
	audit := r.muster("audit", "list", "--json")
	for _, want := range []string{`"name": "ann"`, `"from": "10.77.0.9"`, `"name": "ci"`, "token ci made by root", "user ann added by root", "web1 approved by program ci", "db1 denied by ann"} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit trail has no %s:\n%s", want, audit)
		}
	}
	r.muster("token", "revoke", "ci")
	if out := curl(made.Token, at+"/api/v1/hosts"); !strings.HasSuffix(out, " 401") {
		t.Errorf("a revoked token: %s", out)
	}
	if out := curl("", "-H", "Host: evil.example.com", at+"/api/v1/hosts"); !strings.HasSuffix(out, " 421") {
		t.Errorf("by another name: %s", out)
	}
}
