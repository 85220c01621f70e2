// uses_test.go: what docs/uses.md tells other programs to do, done by them.

package test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// inManual is the first block of a language in a page of the manual.
func inManual(t *testing.T, page, language string) string {
	t.Helper()
	b, err := os.ReadFile("../docs/" + page)
	must(t, err)
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(string(b))
	if m == nil {
		t.Fatalf("docs/%s has no %s", page, language)
	}
	return m[1]
}

// TestUses: Ansible takes the inventory as the manual has it, and the manual's hook brings
// an event to a chat.
func TestUses(t *testing.T) {
	nettest.Need(t, "ansible-inventory", "ansible", "python3")
	r := newRig(t)
	chat := r.host("chat", "10.77.0.9/24")
	l, err := chat.Listen("tcp", "10.77.0.9:8080")
	must(t, err)
	messages := make(chan string, 100)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		messages <- q.URL.Path + " " + string(b)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "chat.url"), []byte("http://10.77.0.9:8080/secret\n"), 0o644))
	program := filepath.Join(dir, "muster-chat")
	must(t, os.WriteFile(program, []byte(strings.ReplaceAll(inManual(t, "uses.md", "python"), "/etc/muster", dir)), 0o755))
	r.serveConfig(fullNetwork + strings.ReplaceAll(inManual(t, "uses.md", "toml"), "/usr/local/bin/muster-chat", program))

	client, err := r.lab.Host("client")
	must(t, err)
	must(t, r.lab.Plug(client, "eth0", r.sw))
	r.leased(client)
	select {
	case m := <-messages:
		var text struct{ Text string }
		path, body, _ := strings.Cut(m, " ")
		if err := json.Unmarshal([]byte(body), &text); err != nil || path != "/secret" || !strings.Contains(text.Text, "enrolled on network lab") {
			t.Errorf("%v: %s", err, m)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the chat heard nothing: %s", r.muster("webhook", "list"))
	}

	r.muster("host", "add", "web1", "--mac", "52:54:00:aa:bb:01", "--address", "10.77.0.20", "--tag", "rack=12")
	r.muster("host", "set", "web1", "timezone=Europe/Vienna")
	r.muster("host", "add", "web-2.example", "--mac", "52:54:00:aa:bb:02", "--tag", "rack=12")
	r.muster("host", "add", "db1", "--mac", "52:54:00:aa:bb:03", "--tag", "db")
	r.muster("host", "approve", "web1", "web-2.example", "db1")
	inventory := filepath.Join(dir, "inventory")
	must(t, os.WriteFile(inventory, []byte(strings.ReplaceAll(inManual(t, "uses.md", "sh"), "exec muster", "exec "+r.binary+" --data-dir "+r.data)), 0o755))
	t.Setenv("ANSIBLE_LOCAL_TEMP", filepath.Join(dir, "ansible"))
	ansible := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(r.ctx, name, append(args, "-i", inventory)...)
		var warnings strings.Builder
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s %q: %v\n%s%s", name, args, err, out, warnings.String())
		}
		return string(out)
	}
	var all map[string]json.RawMessage
	list := ansible("ansible-inventory", "--list")
	must(t, json.Unmarshal([]byte(list), &all))
	var rack struct{ Hosts []string }
	if err := json.Unmarshal(all["tag_rack_12"], &rack); err != nil {
		t.Fatalf("%v: %s", err, list)
	}
	if slices.Sort(rack.Hosts); !slices.Equal(rack.Hosts, []string{"web-2.example", "web1"}) || strings.Contains(list, "m-") {
		t.Error(list)
	}
	if out := ansible("ansible", "web1", "-m", "debug", "-a", "msg={{ ansible_host }},{{ muster_params.timezone }},{{ muster_tags[0] }}"); !strings.Contains(out, "10.77.0.20,Europe/Vienna,rack=12") {
		t.Error(out)
	}
	if out := ansible("ansible", "all", "--list-hosts"); !strings.Contains(out, "hosts (3)") {
		t.Error(out)
	}
}
