// serve_test.go: the configuration that flags make or name.

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServeReads: where the data is, and which port, when the file, a flag and nobody
// says it.
func TestServeReads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(file, []byte("data_dir = \"/srv/file\"\n[http]\nlisten = \":81\"\n"), 0o600))
	bare := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(bare, nil, 0o600))
	for _, x := range []struct {
		name      string
		f         serveFlags
		given     bool
		dir, http string
	}{
		{"the file", serveFlags{config: file, hasConfig: true}, false, "/srv/file", ":81"},
		{"the flag before the file", serveFlags{config: file, hasConfig: true, httpAddr: ":8080"}, true, "/srv/flag", ":8080"},
		{"nobody", serveFlags{config: bare, hasConfig: true}, false, "/srv/flag", ":80"},
		{"a bench", serveFlags{iface: "eth1", lease: time.Hour, httpAddr: "10.77.0.1:80"}, false, "/srv/flag", "10.77.0.1:80"},
	} {
		c, err := x.f.read("/srv/flag", x.given)
		if err != nil || c.DataDir != x.dir || c.HTTP != x.http {
			t.Errorf("%s: %v, %+v", x.name, err, c)
		}
	}
	if _, err := (serveFlags{config: bare, httpAddr: "80"}).read("/srv", false); err == nil || !strings.Contains(err.Error(), `--http "80": want an address like :8080`) {
		t.Error(err)
	}
}
