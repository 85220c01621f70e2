// tag.go: words that people put on hosts, to mean many by one of them.

package boot

import (
	"fmt"
	"slices"
	"strings"
)

// maxTags is how many tags a host may have.
const maxTags = 32

// ValidTag reports what is wrong with a tag: a word such as db, or KEY=VALUE such as
// rack=12.
func ValidTag(tag string) error {
	key, value, pair := strings.Cut(tag, "=")
	err := validName("tag", key, 63)
	if err == nil && pair {
		err = validName("value of tag "+key+", which is no", value, 63)
	}
	return err
}

// TagKey is the part of a tag that a host has once.
func TagKey(tag string) string {
	key, _, _ := strings.Cut(tag, "=")
	return key
}

// mergeTags adds tags to those that a host has, in order. One with a key that is there
// takes its place.
func mergeTags(have []string, add ...string) []string {
	out := slices.Clone(have)
	for _, t := range add {
		out = slices.DeleteFunc(out, func(o string) bool { return TagKey(o) == TagKey(t) })
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

// dropTag takes a tag away, named whole or by its key, and reports whether it was there.
func dropTag(have []string, tag string) ([]string, bool) {
	out := slices.DeleteFunc(slices.Clone(have), func(o string) bool { return o == tag || TagKey(o) == tag })
	return out, len(out) < len(have)
}

// ValidTags reports the first thing wrong with the tags of a host or a rule.
func ValidTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%d tags: at most %d", len(tags), maxTags)
	}
	for i, t := range tags {
		if err := ValidTag(t); err != nil {
			return err
		}
		if slices.ContainsFunc(tags[:i], func(o string) bool { return TagKey(o) == TagKey(t) }) {
			return fmt.Errorf("tag %s stands there twice", TagKey(t))
		}
	}
	return nil
}
