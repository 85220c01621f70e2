package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestChanges: what differs is named in the file's own words, tables by their names.
func TestChanges(t *testing.T) {
	const net = "[[network]]\nname = \"lab\"\ninterface = \"eth1\"\nmode = \"full\"\nsubnet = \"10.77.0.0/24\"\nrange = \"10.77.0.100-10.77.0.110\"\n"
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"nothing":          {net, net, nil},
		"order and blanks": {net + "lease = \"1h\"\n", strings.ReplaceAll(net, " = ", "=") + "lease=\"1h\"", nil},
		"a range":          {net, strings.Replace(net, "110", "105", 1), []string{`network lab: range: "10.77.0.100-10.77.0.110" → "10.77.0.100-10.77.0.105"`}},
		"a new network":    {net, net + "[[network]]\nname = \"b\"\ninterface = \"eth2\"\nmode = \"off\"\n", []string{"network b: new"}},
		"none left":        {net, "", []string{"network lab: removed"}},
		"a table":          {net, net + "[network.options]\nntp-servers = [\"10.77.0.1\"]\n[enroll]\npolicy = \"auto\"\n[boot]\nbind_tokens = false\n", []string{`network lab: options: not set → {ntp-servers = ["10.77.0.1"]}`, `enroll: policy: not set → "auto"`, `boot: bind_tokens: not set → false`}},
		"https":            {net, net + "[https]\nlisten = \":443\"\n", []string{"https: not set → a table"}},
		"a rule":           {net, net + "[[enroll.rule]]\nname = \"rack\"\naction = \"approve\"\nmax = 3\nmac = [\"52:54:00:*\"]\n", []string{"enroll: rule rack: new"}},
	} {
		from, err := Parse("a.toml", []byte(c.from))
		if err != nil {
			t.Fatal(name, err)
		}
		to, err := Parse("b.toml", []byte(c.to))
		if err != nil {
			t.Fatal(name, err)
		}
		if got := to.Changes(from); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if from.Equal(to) != (c.want == nil) {
			t.Errorf("%s: equal %t", name, from.Equal(to))
		}
	}
}

// TestDataDir: the directory is read from a file that is wrong otherwise.
func TestDataDir(t *testing.T) {
	f := filepath.Join(t.TempDir(), "muster.toml")
	if got := DataDir(f); got != "" {
		t.Errorf("of no file: %q", got)
	}
	if err := os.WriteFile(f, []byte("data_dir = \"/srv/muster\"\nunknown = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := DataDir(f); got != "/srv/muster" {
		t.Errorf("%q", got)
	}
}
