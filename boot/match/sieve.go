// sieve.go: which records need not be read to know that they are not meant.

package match

import (
	"bytes"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// Sieve returns a test of a host's record, as encoding/json writes a boot.Host: false means
// that the query does not mean the host, true that the host must be looked at. To find a
// text is far cheaper than to decode a record, so a search in a long roll passes most
// records over. nil passes none over. The test may be called by one goroutine at a time.
func (q Query) Sieve() func(record []byte) bool {
	var all [][][]byte // of each element, one text must be in the record
	for i := range q.terms {
		if one := q.terms[i].texts(); one != nil {
			all = append(all, one)
		}
	}
	if all == nil {
		return nil
	}
	var folded []byte
	return func(record []byte) bool {
		var plain bool
		if folded, plain = squeeze(folded[:0], record); !plain {
			return true
		}
		for _, one := range all {
			if !slices.ContainsFunc(one, func(text []byte) bool { return bytes.Contains(folded, text) }) {
				return false
			}
		}
		return true
	}
}

// squeeze appends a text without case, and without what MAC addresses and UUIDs are spelled
// with. It is plain if that is the text that a query would compare: characters outside ASCII
// change case in ways of their own, and what JSON escapes is not there as it is read.
func squeeze(to, text []byte) (_ []byte, plain bool) {
	for _, c := range text {
		switch {
		case c >= 0x80 || c == '\\':
			return to, false
		case c == ':' || c == '-' || c == '.':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to, true
}

// texts are pieces of a record of which one must be there if the term holds. nil: nothing
// need be there.
func (t *term) texts() (out [][]byte) {
	if t.not {
		return nil
	}
	for _, v := range t.values {
		text := t.text(v)
		s, plain := squeeze(nil, []byte(strings.ToLower(text)))
		if len(s) == 0 || !plain {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// text is a piece of a record that must be there if the term holds by a value; "" if none need be.
func (t *term) text(v value) string {
	switch t.key {
	case "":
		if !startsAddress(v.text) { // which a lease would tell, not the record
			return v.text
		}
	case "state":
		switch s := boot.State(v.text); s {
		case boot.Pending, boot.Approved, boot.Denied:
			return `"state":"` + v.text + `"`
		}
		switch v.text {
		case "installing", "installed":
			return `"ticket":{`
		case "failed":
			return `"stage":"` + boot.StageFailed + `"`
		case "parked":
			return `"silent":`
		}
	case "ticket":
		if v.text != "none" {
			return `"ticket":{`
		}
	case "protected":
		if v.text == "yes" {
			return `"protected":true`
		}
	case "stage", "template", "tag", "net", "port", "arch", "vendor", "name", "serial", "mac", "uuid":
		if !globs(v.text, "none") {
			return literal(v.text)
		}
	}
	return ""
}

// literal is the longest piece of a pattern that stands for itself.
func literal(pattern string) (longest string) {
	if strings.ContainsAny(pattern, `[\`) {
		return ""
	}
	for _, s := range strings.FieldsFunc(pattern, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(s) > len(longest) {
			longest = s
		}
	}
	return longest
}
