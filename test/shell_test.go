package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

// TestCompletions: bash, zsh and fish take our completions, and those complete the names
// of hosts and templates that the daemon has.
func TestCompletions(t *testing.T) {
	nettest.Need(t, "zsh", "fish", "/usr/share/bash-completion/bash_completion")
	r := newRig(t)
	r.serveConfig(fullNetwork)
	r.muster("host", "add", "web1", "--mac", "52:54:00:aa:bb:01")
	r.muster("host", "add", "web2", "--mac", "52:54:00:aa:bb:02")
	r.muster("host", "add", "db1", "--mac", "52:54:00:aa:bb:03")
	bin := filepath.Join(t.TempDir(), "muster")
	must(t, os.Symlink(r.binary, bin))
	env := append(os.Environ(), "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"), "MUSTER_DATA_DIR="+r.data, "HOME="+t.TempDir(), "TERM=xterm")
	run := func(shell string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(r.ctx, shell, args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, c := range []struct{ line, want string }{
		{"muster host show web", "web1 web2"},
		{"muster host show d", "db1"},
		{"muster host approve web1 web", "web2"}, // each once
		{"muster lease list --network l", "lab"},
		{"muster netw", "network"},
	} {
		words := strings.Fields(c.line)
		if got := strings.Join(first(run("fish", "--no-config", "-c", "muster completion fish | source; complete -C '"+c.line+"'")), " "); got != c.want {
			t.Errorf("fish completes %q by %q, want %q", c.line, got, c.want)
		}
		if got := strings.Join(first(run("bash", append([]string{"--norc", "-c", `. /usr/share/bash-completion/bash_completion; . <(muster completion bash)
			COMP_LINE=$0; COMP_POINT=${#0}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMP_TYPE=9; COMP_KEY=9
			compopt() { :; }
			__start_muster; printf '%s\n' "${COMPREPLY[@]}"`, c.line}, words...)...)), " "); got != c.want {
			t.Errorf("bash completes %q by %q, want %q", c.line, got, c.want)
		}
	}
	if got := run("zsh", "-f", "-c", `autoload -U compinit; compinit -u -D; . <(muster completion zsh); print ${_comps[muster]}; whence -w _muster`); got != "_muster\n_muster: function" {
		t.Errorf("zsh says %q", got)
	}
}

// first are the first words of lines.
func first(text string) (out []string) {
	for l := range strings.Lines(text) {
		if f := strings.Fields(l); len(f) > 0 {
			out = append(out, f[0])
		}
	}
	return out
}

// TestManualPages: mandoc finds nothing wrong with them. Its remarks on style are about
// long lines of ours, which roff fills.
func TestManualPages(t *testing.T) {
	nettest.Need(t, "mandoc")
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), newRig(t).binary, "man", dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	must(t, err)
	if len(pages) < 90 {
		t.Errorf("%d pages", len(pages))
	}
	if out, err := exec.CommandContext(t.Context(), "mandoc", append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
