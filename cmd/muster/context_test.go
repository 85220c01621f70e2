package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/musterboot/muster/client"
)

// TestContexts: who signs in is believed by the commands from then on, at that appliance,
// until they say otherwise; another's authority is not believed, and the token is in a file
// that nobody else can read.
func TestContexts(t *testing.T) {
	asked := map[string]int{}
	var ca []byte
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")]++
		e := json.NewEncoder(w)
		switch r.URL.Path {
		case "/api/v1/ca":
			_ = e.Encode(client.CA{PEM: string(ca)})
		case "/api/v1/login":
			var in client.Login
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Password != "correct horse" {
				w.WriteHeader(http.StatusUnauthorized)
				_ = e.Encode(client.Problem{Detail: "name or password is wrong", Code: "unauthorized"})
				return
			}
			_ = e.Encode(client.TokenMade{Token: "mst_secret"})
		case "/api/v1/me":
			_ = e.Encode(client.Me{Name: "ann", Role: "operate"})
		case "/api/v1/hosts":
			_ = e.Encode(client.List[client.HostView]{Items: []client.HostView{}})
		default:
			_ = e.Encode(struct{}{})
		}
	}))
	defer srv.Close()
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	home := t.TempDir()
	pass := filepath.Join(home, "pass")
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	env := map[string]string{"XDG_CONFIG_HOME": home}
	run := func(args ...string) (int, string) {
		var out strings.Builder
		code := execute(t.Context(), args, func(k string) string { return env[k] }, &out, &out)
		return code, out.String()
	}
	login := func(more ...string) (int, string) {
		return run(append([]string{"login", srv.URL, "--user", "ann", "--password-file", pass, "--name", "lab"}, more...)...)
	}
	sum := sha256.Sum256(srv.Certificate().Raw)
	print := strings.ToUpper(hex.EncodeToString(sum[:]))
	if code, out := login(); code == 0 || !strings.Contains(out, "certificate") {
		t.Errorf("an authority that nobody trusts: %d %s", code, out)
	}
	wrong := strings.Repeat("00:", 31) + "00"
	if code, out := login("--fingerprint", wrong); code == 0 || !strings.Contains(out, "somebody may be between you") {
		t.Errorf("another fingerprint: %d %s", code, out)
	}
	if asked["POST /api/v1/login "] != 0 {
		t.Error("a password was sent to somebody who was not believed")
	}
	must(t, os.WriteFile(pass, []byte("wrong\n"), 0o600))
	if code, out := login("--fingerprint", print); code != 1 || !strings.Contains(out, "name or password is wrong") {
		t.Errorf("a wrong password: %d %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(home, "muster")); err == nil {
		t.Error("a login that failed left something")
	}
	must(t, os.WriteFile(pass, []byte("correct horse\n"), 0o600))
	if code, out := login("--fingerprint", print); code != 0 || !strings.Contains(out, "ann at "+srv.URL+", role operate: in use as lab") || strings.Contains(out, "mst_") {
		t.Fatalf("%d %s", code, out)
	}
	file := filepath.Join(home, "muster", "contexts.json")
	if st, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	const list = "GET /api/v1/hosts Bearer mst_secret"
	if code, out := run("host", "list"); code != 0 || asked[list] != 1 {
		t.Errorf("%d %s, %v", code, out, asked)
	}
	if _, out := run("context", "list"); !strings.Contains(out, srv.URL) || !strings.Contains(out, "ann") || strings.Contains(out, "mst_") {
		t.Error(out)
	}
	// These mean the daemon here, and there is none.
	for _, args := range [][]string{{"host", "list", "--data-dir", home}} {
		if code, out := run(args...); code == 0 || asked[list] != 1 {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
	env["MUSTER_CONTEXT"] = "local"
	if code, _ := run("host", "list"); code == 0 || asked[list] != 1 {
		t.Error("MUSTER_CONTEXT=local speaks to another")
	}
	env["MUSTER_CONTEXT"] = "nobody"
	if code, out := run("host", "list"); code == 0 || !strings.Contains(out, "muster context list") {
		t.Errorf("%d %s", code, out)
	}
	delete(env, "MUSTER_CONTEXT")
	if code, out := run("context", "use", "nobody"); code == 0 {
		t.Error(out)
	}
	if code, out := run("context", "use", "local"); code != 0 {
		t.Error(out)
	}
	if code, _ := run("host", "list"); code == 0 || asked[list] != 1 {
		t.Error("a context that is not in use is spoken to")
	}
	if code, out := run("logout", "lab"); code != 0 || asked["POST /api/v1/logout Bearer mst_secret"] != 1 {
		t.Errorf("%d %s", code, out)
	}
	if b, err := os.ReadFile(file); err != nil || strings.Contains(string(b), "mst_") {
		t.Errorf("%s %v", b, err)
	}
	must(t, os.WriteFile(file, []byte("{"), 0o600))
	if code, out := run("host", "list"); code == 0 || !strings.Contains(out, file) {
		t.Errorf("a file that is none: %d %s", code, out)
	}
}
