// requests_test.go: what the manual says to programs, said by them.

package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

var shell = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestRequests: every line of docs/requests.md works, in its order, from an empty
// appliance; and each operation that the appliance describes is among them.
func TestRequests(t *testing.T) {
	nettest.Need(t, "curl", "bash")
	page, err := os.ReadFile("../docs/requests.md")
	must(t, err)
	r := newRig(t)
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n"), 0o600))
	r.serveConfig(fullNetwork + "\n[admin]\nlisten = \":8067\"\n[[webhook]]\nname = \"chat\"\nurl = \"http://10.77.0.9:8080/\"\nsecret_file = \"" + key + "\"\n")
	ns := r.host("desk", "10.77.0.9/24")
	l, err := ns.Listen("tcp", "10.77.0.9:8080")
	must(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })

	dir := t.TempDir()
	r.muster("ca", "export", "--pem", filepath.Join(dir, "ca.pem"))
	var made struct{ Token string }
	r.json(&made, "token", "create", "curl", "--role", "admin", "--expires", "1d")
	client, err := r.lab.Host("client")
	must(t, err)
	must(t, r.lab.Plug(client, "eth0", r.sw))
	mac, err := client.Run(r.ctx, "cat", "/sys/class/net/eth0/address")
	must(t, err)
	name := "m-" + strings.ReplaceAll(strings.TrimSpace(mac), ":", "")
	r.leased(client)
	var leases []struct{ Addr string }
	r.json(&leases, "lease", "list")
	if len(leases) != 1 {
		t.Fatalf("%+v", leases)
	}

	var script strings.Builder
	for _, m := range shell.FindAllStringSubmatch(string(page), -1) {
		script.WriteString(m[1])
	}
	lines := strings.NewReplacer("https://muster.example.org:8067", "https://10.77.0.1:8067", "mst_…", made.Token, "52:54:00:*", mac[:8]+":*", "m-525400000001", name, "/lab/10.77.0.100", "/lab/"+leases[0].Addr).Replace(script.String())
	file := filepath.Join(dir, "requests")
	must(t, os.WriteFile(file, []byte("cd "+dir+"; exec >answers\n"+lines), 0o600))
	out, err := ns.Run(r.ctx, "bash", "-veuo", "pipefail", file)
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(dir, "answers"))
		t.Fatalf("%v\n%s\n%s", err, out, said[max(0, len(said)-1000):])
	}

	var d struct {
		Paths map[string]map[string]any
	}
	b, err := os.ReadFile(filepath.Join(dir, "openapi.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &d))
	for path, methods := range d.Paths {
		pattern := regexp.MustCompile(`"\$M` + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `[^"?]+`) + `["?]`)
		for method := range methods {
			shown := false
			for line := range strings.Lines(script.String()) {
				shown = shown || pattern.MatchString(line) && curlMethod(line) == strings.ToUpper(method)
			}
			if !shown {
				t.Errorf("docs/requests.md does not show %s %s", strings.ToUpper(method), path)
			}
		}
	}
	if len(d.Paths) < 50 {
		t.Errorf("%d paths are described", len(d.Paths))
	}
	// What was to be approved is, and what was made went away again.
	var hs []struct{ Name, State string }
	r.json(&hs, "host", "list")
	if s := fmt.Sprint(hs); !strings.Contains(s, "{"+name+" approved}") || strings.Contains(s, "web5") {
		t.Errorf("%s\n%s", s, out)
	}
}

// curlMethod is the method of a line's request.
func curlMethod(line string) string {
	if m := regexp.MustCompile(` -X ([A-Z]+)`).FindStringSubmatch(line); m != nil {
		return m[1]
	}
	switch {
	case strings.Contains(line, " -T "):
		return "PUT"
	case strings.Contains(line, " -d "), strings.Contains(line, " --data-binary "):
		return "POST"
	}
	return "GET"
}
