// clock_test.go: every conversation with a clock that is wrong for a while.

package boot_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

// wrongTime is what no answer may say: an age that is negative, or one of a year that
// never was.
var wrongTime = regexp.MustCompile(`(^|[ (])-\d+(\.\d+)?(h|m|s|ms|µs)\b|\b(8[67]\d\d|17[45]\d\d)h|\b525\d{3} minutes|\b36[456] days`)

// played runs a conversation whose clock jumps by a shift before its line number at, and
// comes back before its end. It returns all that was said, and then the verb of each
// exchange that is had again an hour later, by its line.
func played(text string, at int, shift time.Duration) (said []string, again map[string]string, err error) {
	w, done, err := newWorld(plain)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	var dhcp []string
	n := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '<' || line[0] == '#' {
			continue
		}
		if n++; n == at {
			w.now = w.now.Add(shift)
		}
		shown, err := w.play(line)
		if err != nil && at == 0 {
			return nil, nil, fmt.Errorf("%s: %w", line, err)
		}
		said = append(said, line)
		said = append(said, shown...)
		if strings.HasPrefix(line, "> dhcp") {
			dhcp = append(dhcp, line)
		}
	}
	if at > 0 && at <= n {
		w.now = w.now.Add(-shift)
	}
	w.now = w.now.Add(2 * time.Hour)
	again = map[string]string{}
	for _, line := range dhcp {
		shown, err := w.play(line)
		if err != nil {
			return nil, nil, fmt.Errorf("again: %s: %w", line, err)
		}
		said = append(said, shown...)
		again[line] = strings.Join(shown, "\n")
	}
	return said, again, nil
}

// TestClockWalk: wherever in a conversation the clock jumps by a year, ahead or back,
// every rule answers, nobody is told an age that never was, and when the clock is right
// again, who asks gets what it would have got.
func TestClockWalk(t *testing.T) {
	places := 7
	if testing.Short() {
		places = 2
	}
	for name, text := range scenarios(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			_, right, err := played(text, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for line := range strings.Lines(text) {
				if line != "\n" && line[0] != '<' && line[0] != '#' {
					lines++
				}
			}
			for at := 1; at <= lines; at += max(1, lines/places) {
				for _, shift := range []time.Duration{-year, year} {
					said, again, err := played(text, at, shift)
					if err != nil {
						t.Errorf("from line %d, %s: %v", at, shift, err)
						continue
					}
					for _, s := range said {
						if wrongTime.MatchString(s) && !strings.HasPrefix(s, "wait") {
							t.Errorf("from line %d, %s: %s", at, shift, s)
						}
					}
					for line, want := range right {
						v := func(s string) string {
							f, _, _ := strings.Cut(s, "\n")
							f, _, _ = strings.Cut(f, " ")
							return f
						}
						if v(again[line]) != v(want) {
							t.Errorf("from line %d, %s: %s\ngot  %s\nwant %s", at, shift, line, again[line], want)
						}
					}
				}
			}
		})
	}
}
