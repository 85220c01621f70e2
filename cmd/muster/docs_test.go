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

// TestSecurityPage: every test and conversation that the page names is there.
func TestSecurityPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/security.md")
	must(t, err)
	all := ""
	must(t, filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			b, err := os.ReadFile(path)
			all += string(b)
			return err
		}
		return err
	}))
	rows := 0
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		rows++
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[3], -1) {
			name := m[1]
			talk, _ := filepath.Glob("../../*/testdata/*/" + name + ".txt")
			inner, _ := filepath.Glob("../../internal/*/testdata/*/" + name + ".txt")
			if !strings.Contains(all, "func "+name+"(") && len(talk)+len(inner) == 0 && name != "make fuzz" {
				t.Errorf("it names %s, which is no test", name)
			}
		}
	}
	if rows < 15 {
		t.Errorf("only %d attacks", rows)
	}
}
