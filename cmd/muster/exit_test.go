// exit_test.go: how commands end, and what they say of it.

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCodes: a mistake of the person is 2, and nothing was started.
func TestExitCodes(t *testing.T) {
	bad := t.TempDir() + "/muster.toml"
	if err := os.WriteFile(bad, []byte("[[network]]\nmode = \"full\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serve", "--config", bad}, 2, ":1: a network needs an interface"},
		{[]string{"serve", "--config", "/nowhere/muster.toml"}, 2, "no such file"},
		{[]string{"serve", "--frobnicate"}, 2, "unknown flag"},
		{[]string{"serve", "--range", "10.0.0.1-10.0.0.2"}, 2, "belong to -i INTERFACE"},
		{[]string{"serve", "-i", "eth0", "--range", "one"}, 2, "want FIRST-LAST"},
		{[]string{"serve", "-i", "lo", "--kernel", "/nowhere"}, 2, "--kernel"},
		{[]string{"host", "list"}, 1, "no running muster"},
		{[]string{"host", "show"}, 2, "wants a host's name"},
		{[]string{"host", "add", "x", "--mac", "zz"}, 2, "is not a MAC address"},
		{[]string{"template", "lint", "/nowhere"}, 2, "no such file"},
		{[]string{"version"}, 0, "muster devel"},
	} {
		var out strings.Builder
		code := execute(t.Context(), append(c.args, "--data-dir", data), os.Getenv, &out, &out)
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("muster %s: exit %d, want %d\n%s", strings.Join(c.args, " "), code, c.code, out.String())
		}
	}
}

// TestNoStore: a store that cannot be opened is said, and nothing else happens.
func TestNoStore(t *testing.T) {
	data := t.TempDir()
	conf := filepath.Join(data, "muster.toml")
	for name, b := range map[string][]byte{
		conf:                             []byte("[[network]]\ninterface = \"lo\"\nmode = \"full\"\nsubnet = \"10.9.9.0/24\"\nrange = \"10.9.9.10-10.9.9.20\"\n"),
		filepath.Join(data, "muster.db"): bytes.Repeat([]byte("not a store "), 10_000),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if code := execute(t.Context(), []string{"serve", "--config", conf, "--data-dir", data}, os.Getenv, &out, &out); code != 1 || !strings.Contains(out.String(), "muster.db") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}
