// Package tomltest holds a page of the manual to the keys that a file may have.
package tomltest

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/musterboot/muster/internal/tomlfile"
)

var (
	block   = regexp.MustCompile("(?s)```([a-z ]+)\n(.*?)```")
	comment = regexp.MustCompile(`(?m)^# ?([a-z0-9_]+ *=|\[+[a-z0-9_.]+\]+$)`)
)

// Manual checks that every key of v stands in the page, in a block of this language,
// written out or as a comment, and that nothing there is a key that v has not.
func Manual(t *testing.T, page, language string, v any) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var written []string
	for _, m := range block.FindAllStringSubmatch(string(b), -1) {
		if m[1] != language {
			continue
		}
		f, err := tomlfile.Decode(page, []byte(comment.ReplaceAllString(m[2], "$1")), reflect.New(reflect.TypeOf(v)).Interface())
		if err != nil {
			t.Fatalf("in a block of %s, with what is commented out: %v", page, err)
		}
		written = append(written, f.Keys()...)
	}
	for _, k := range tomlfile.Keys(v) {
		if !slices.ContainsFunc(written, func(w string) bool { return tomlfile.Match(k, w) || tomlfile.Match(k+".*", w) }) {
			t.Errorf("%s does not say what %s is", page, k)
		}
	}
}
