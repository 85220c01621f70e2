// changelog.go: CHANGELOG.md in the form that Debian's tools read.

package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	release = regexp.MustCompile(`^## (?:Unreleased|v?(\d[0-9A-Za-z.+~-]*))(?:\W+(\d{4}-\d\d-\d\d)\W*)?$`)
	link    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// changelog has an entry for each release. What is unreleased is what the package has, so
// its version is the package's.
func changelog(notes, version, maintainer string, at time.Time) (string, error) {
	type entry struct {
		version string
		at      time.Time
		items   []string
	}
	var entries []entry
	for l := range strings.Lines(notes) {
		l = strings.TrimRight(l, "\r\n")
		switch {
		case strings.HasPrefix(l, "## "):
			m := release.FindStringSubmatch(l)
			if m == nil {
				return "", fmt.Errorf("CHANGELOG.md: %q is no release", l)
			}
			e := entry{version: m[1], at: at}
			if m[1] == "" {
				e.version = version
			}
			if m[2] != "" {
				day, err := time.Parse(time.DateOnly, m[2])
				if err != nil {
					return "", fmt.Errorf("CHANGELOG.md: %q: %w", l, err)
				}
				e.at = day
			}
			entries = append(entries, e)
		case len(entries) == 0 || strings.TrimSpace(l) == "":
		default:
			e := &entries[len(entries)-1]
			if item, ok := strings.CutPrefix(l, "- "); ok {
				e.items = append(e.items, item)
			} else if n := len(e.items); n > 0 {
				e.items[n-1] += " " + strings.TrimSpace(l)
			} else {
				e.items = append(e.items, l)
			}
		}
	}
	if len(entries) > 0 && len(entries[0].items) == 0 {
		entries = entries[1:] // nothing since the last release
	}
	if len(entries) == 0 {
		return "", errors.New("CHANGELOG.md has no entry")
	}
	if v := entries[0].version; v != version {
		// A build of what has no notes of its own yet.
		entries = append([]entry{{version, at, []string{"Built from the source after " + v + "."}}}, entries...)
	}
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "muster (%s) unstable; urgency=medium\n\n", e.version)
		for _, i := range e.items {
			b.WriteString(wrap(link.ReplaceAllString(i, "$1"), "  * ", "    "))
		}
		fmt.Fprintf(&b, "\n -- %s  %s\n\n", maintainer, e.at.Format(time.RFC1123Z))
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// wrap breaks text at 78 columns.
func wrap(text, first, rest string) string {
	var b strings.Builder
	line := first
	for i, w := range strings.Fields(text) {
		if i > 0 && len([]rune(line))+1+len([]rune(w)) > 78 {
			b.WriteString(line + "\n")
			line = rest + w
			continue
		}
		if i > 0 {
			line += " "
		}
		line += w
	}
	return b.String() + line + "\n"
}
