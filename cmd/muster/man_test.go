package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestMan: each command has a page with its flags, the same one on every machine.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"MUSTER_DATA_DIR": "/srv/other", "SOURCE_DATE_EPOCH": "1700000000"}
	var said bytes.Buffer
	if code := execute(context.Background(), []string{"man", dir}, func(k string) string { return env[k] }, &said, &said); code != 0 {
		t.Fatalf("%d: %s", code, said.String())
	}
	pages := 0
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		pages++
		b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		must(t, err)
		text := strings.ReplaceAll(string(b), `\-`, "-")
		for _, want := range []string{" 1 \"2023-11-14\" ", ".SH NAME\n" + manName(c) + " - " + strings.ReplaceAll(c.Short, "…", `\[u2026]`), "\n.SH SYNOPSIS\n" + c.CommandPath(), "--data-dir"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in:\n%s", manName(c), want, text)
			}
		}
		if strings.Contains(text, "/srv/other") {
			t.Errorf("%s tells of this machine:\n%s", manName(c), text)
		}
		for _, s := range c.Commands() {
			if s.IsAvailableCommand() {
				look(s)
			}
		}
	}
	look((&app{getenv: func(string) string { return "" }}).root())
	if pages < 40 {
		t.Errorf("only %d pages", pages)
	}
	b, err := os.ReadFile(filepath.Join(dir, "muster-host-add.1"))
	must(t, err)
	if !bytes.Contains(b, []byte("\n.TP\n\\fB\\-\\-mac\\fR")) {
		t.Errorf("a flag is missing:\n%s", b)
	}
}

// TestManIsNoRequest: a line of a help text that begins like a request of roff is text.
func TestManIsNoRequest(t *testing.T) {
	c := &cobra.Command{Use: "x", Short: "short", Long: ".TH evil\n'br a\\b"}
	if s := manPage(c, ""); !strings.Contains(s, "\n\\&.TH evil\n\\&'br a\\eb\n") {
		t.Error(s)
	}
}
