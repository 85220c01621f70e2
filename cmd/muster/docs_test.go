// docs_test.go: what the manual shows is true: every configuration and
// template in it is read, every command in it exists.

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/templates"
)

var (
	block   = regexp.MustCompile("(?s)```toml( template)?\n(.*?)```")
	command = regexp.MustCompile("(?m)(?:^    (?:sudo )?|`)muster ((?:[a-z]+ )?[a-z]+)\\b")
)

func TestDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	files = append(files, "../../README.md")
	blocks, commands := 0, 0
	root := (&app{getenv: func(string) string { return "" }}).root()
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		for _, m := range block.FindAllStringSubmatch(string(b), -1) {
			blocks++
			if m[1] != "" {
				_, err = templates.ParseSpec(f, []byte(m[2]))
			} else {
				_, err = config.Parse(f, []byte(m[2]))
			}
			if err != nil {
				t.Errorf("an example is wrong: %v", err)
			}
		}
		for _, m := range command.FindAllStringSubmatch(string(b), -1) {
			commands++
			words := strings.Fields(m[1])
			c, _, err := root.Find(words)
			if err != nil || c == root {
				t.Errorf("%s: there is no command \"muster %s\"", f, m[1])
			}
		}
	}
	if blocks < 3 || commands < 10 {
		t.Errorf("only %d examples and %d commands found: the test reads the wrong files", blocks, commands)
	}
}

// TestHelp: every command has help with an example.
func TestHelp(t *testing.T) {
	root := (&app{getenv: func(string) string { return "" }}).root()
	for _, c := range root.Commands() {
		subs := c.Commands()
		if len(subs) == 0 {
			subs = append(subs, c)
		}
		for _, s := range subs {
			if s.Name() == "help" || s.Name() == "completion" || s.Parent().Name() == "completion" || s.Name() == "version" {
				continue
			}
			if s.Short == "" || s.Example == "" {
				t.Errorf("%s has no help with an example", s.CommandPath())
			}
		}
	}
}
