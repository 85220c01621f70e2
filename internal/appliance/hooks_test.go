// hooks_test.go: the files that hooks name.

package appliance

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/config"
)

// TestHookFiles: what is wrong with a key or a program is said before anything
// starts, without a word of the key.
func TestHookFiles(t *testing.T) {
	dir := t.TempDir()
	key, ca, prog := dir+"/key", dir+"/ca.pem", dir+"/prog"
	text := fmt.Sprintf("[[webhook]]\nname = \"a\"\nurl = \"https://x.example/y?token=hush\"\nsecret_file = %q\nca_file = %q\n[[hook]]\nname = \"b\"\ncommand = [%q, \"hush\"]\n", key, ca, prog)
	write := func(f, s string, mode os.FileMode) func() {
		return func() {
			must(t, os.WriteFile(f, []byte(s), 0o600))
			must(t, os.Chmod(f, mode))
		}
	}
	for _, x := range []struct {
		do   func()
		want string
	}{
		{func() {}, "muster.toml:4: secret_file " + key + " does not exist; make one: "},
		{write(key, "aHVzaA==hush", 0o644), "muster.toml:4: secret_file " + key + " may be used by everybody on this machine: chmod 640"},
		{write(key, "hush", 0o640), "muster.toml:4: secret_file " + key + ": a key of 3 bytes"},
		{write(key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n", 0o640), "muster.toml:5: ca_file: open"},
		{write(ca, "hush", 0o644), "muster.toml:5: ca_file " + ca + ": no certificate is in it"},
		{func() { text = strings.Replace(text, "ca_file", "# ca_file", 1) }, "muster.toml:8: command: stat"},
		{write(prog, "#!/bin/sh\n", 0o644), "muster.toml:8: command: " + prog + " is no program: chmod +x it"},
		{write(prog, "#!/bin/sh\n", 0o755), ""},
	} {
		x.do()
		c, err := config.Parse("muster.toml", []byte(text))
		must(t, err)
		ts, err := targets(c, Options{Now: time.Now}, nil)
		switch {
		case x.want == "" && err == nil:
			if ts[0].Where != "https://x.example/y" || ts[1].Where != prog {
				t.Errorf("shown as %q and %q", ts[0].Where, ts[1].Where)
			}
		case err == nil || x.want == "" || !strings.Contains(err.Error(), x.want) || strings.Contains(strings.ReplaceAll(err.Error(), dir, ""), "hush"):
			t.Errorf("got %v, want %s", err, x.want)
		}
	}
}
