// Package match is the one grammar by which people and programs say which machines
// they mean: "state:pending net:lab -serial:RIG*". It parses and judges; it must not
// look anything up: the caller gives each machine as a Subject.
//
// A blank is "and", a comma inside a value is "or", "-" before a term negates it, and
// quotation marks keep blanks. A word without a key is looked for in everything that a
// machine is known by.
package match

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// Bounds of a query.
const (
	maxLen   = 2000
	maxTerms = 64
)

// Subject is one machine, as far as a query can ask about it.
type Subject struct {
	Host      *boot.Host
	Now       time.Time
	Seen      time.Time             // when it last asked for anything; zero is never
	Addresses []netip.Addr          // that are leased to it
	Loop      int                   // silent boots after which it is parked; 0 is never
	Findings  func() []string       // codes of what stops it; asked only where the query needs them
	Params    map[string]boot.Given // values that count for it
}

// Query is a parsed query. The zero Query matches every machine.
type Query struct {
	terms []term
	text  string
}

type term struct {
	key, param string
	not        bool
	values     []value
}

type value struct {
	text string
	op   byte // '<', '>' or 0
	age  time.Duration
	at   time.Time
	n    int64
}

// Empty reports a query that matches every machine.
func (q Query) Empty() bool { return len(q.terms) == 0 }

// Asks reports a query that looks at what a key is about. A word without a key looks at
// addresses too.
func (q Query) Asks(key string) bool {
	return slices.ContainsFunc(q.terms, func(t term) bool { return t.key == key || t.key == "" && key == "address" })
}

// Addresses reports a query whose answer may hang on addresses that are leased: it asks for
// one, or has a word that could begin one.
func (q Query) Addresses() bool {
	return slices.ContainsFunc(q.terms, func(t term) bool {
		return t.key == "address" || t.key == "" && slices.ContainsFunc(t.values, func(v value) bool { return startsAddress(v.text) })
	})
}

// startsAddress reports a word that could begin an address as it is written: digits and
// dots, or groups of IPv6, of which none begins with a zero. Six groups of a MAC address
// usually do not.
func startsAddress(s string) bool {
	s, _, _ = strings.Cut(strings.ToLower(s), "%")
	if strings.Trim(s, "0123456789.") == "" {
		return true
	}
	if strings.Trim(s, "0123456789abcdef.:") != "" {
		return false
	}
	for g := range strings.SplitSeq(s, ":") {
		dotted := strings.Contains(g, ".")
		if dotted && strings.Trim(g, "0123456789.") != "" || len(g) > 1 && g[0] == '0' || len(g) > 4 && !dotted {
			return false
		}
	}
	return true
}

// String is the query as it was written.
func (q Query) String() string { return q.text }

// kind is how the values of a key are written.
type kind byte

const (
	word  kind = iota // one of a list
	glob              // with * and ?
	when              // <10m, >30d or >2026-11-01
	count             // 7, >7 or <7
)

var keys = map[string]struct {
	kind  kind
	words []string
	help  string
}{
	"state":     {word, []string{"pending", "approved", "denied", "installing", "installed", "failed", "parked"}, "where it stands"},
	"stage":     {glob, nil, "what it reported last"},
	"ticket":    {word, []string{"armed", "expired", "spent", "closed", "none"}, "its leave to install"},
	"template":  {glob, nil, "the template that it names, or none"},
	"version":   {count, nil, "the number of its pinned version over all templates"},
	"tag":       {glob, nil, "one of its tags, whole or by its key: tag:db, tag:rack=12, tag:rack"},
	"net":       {glob, nil, "the network where it asks"},
	"port":      {glob, nil, "its switch port"},
	"arch":      {glob, nil, "its architecture, such as x64-uefi"},
	"vendor":    {glob, nil, "the vendor class of its firmware"},
	"name":      {glob, nil, "its name"},
	"serial":    {glob, nil, "its serial number"},
	"mac":       {glob, nil, "one of its MAC addresses"},
	"uuid":      {glob, nil, "its UUID"},
	"address":   {glob, nil, "an address that is leased to it or reserved for it"},
	"finding":   {glob, nil, "what stops it, as muster diagnose says; any is every finding"},
	"protected": {word, []string{"yes", "no"}, "nothing installs on it"},
	"secure":    {word, []string{"on", "off", "unknown"}, "Secure Boot"},
	"seen":      {when, nil, "when it last asked for anything"},
	"enrolled":  {when, nil, "when it came onto the roll"},
	"boots":     {count, nil, "how often it booted"},
}

// Keys lists the keys, for people.
func Keys() (out []string) {
	for k := range keys {
		out = append(out, k)
	}
	out = append(out, "param.NAME")
	slices.Sort(out)
	return out
}

// Parse reads a query. An unknown key or a value that could never match is an error
// that says what is possible: a query that is misunderstood would mean other machines.
func Parse(s string) (Query, error) {
	q := Query{text: strings.TrimSpace(s)}
	if len(s) > maxLen {
		return q, fmt.Errorf("a query of %d bytes: at most %d", len(s), maxLen)
	}
	words, err := split(q.text)
	if err != nil {
		return q, err
	}
	if len(words) > maxTerms {
		return q, fmt.Errorf("a query of %d terms: at most %d", len(words), maxTerms)
	}
	for _, w := range words {
		t, err := parseTerm(w)
		if err != nil {
			return q, err
		}
		q.terms = append(q.terms, t)
	}
	return q, nil
}

// piece is one term, with the places that were quoted.
type piece struct {
	text   string
	quoted []bool // by byte
}

// split cuts at blanks outside quotation marks.
func split(s string) (out []piece, err error) {
	var p piece
	in, any := false, false
	end := func() {
		if any {
			out = append(out, p)
		}
		p, any = piece{}, false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			in, any = !in, true
		case !in && (c == ' ' || c == '\t' || c == '\n'):
			end()
		default:
			p.text, p.quoted, any = p.text+s[i:i+1], append(p.quoted, in), true
		}
	}
	if in {
		return nil, fmt.Errorf("a quotation mark is not closed")
	}
	end()
	return out, nil
}

// index finds a byte outside quotation marks; -1 if there is none.
func (p piece) index(c byte) int {
	for i := range len(p.text) {
		if p.text[i] == c && !p.quoted[i] {
			return i
		}
	}
	return -1
}

func (p piece) from(i int) piece { return piece{p.text[i:], p.quoted[i:]} }

func parseTerm(p piece) (t term, err error) {
	if len(p.text) > 1 && p.text[0] == '-' && !p.quoted[0] {
		t.not, p = true, p.from(1)
	}
	if i := p.index(':'); i > 0 {
		key := strings.ToLower(p.text[:i])
		_, known := keys[key]
		if name, is := strings.CutPrefix(key, "param."); is && name != "" {
			t.param, t.key, known = p.text[len("param."):i], "param", true
		} else {
			t.key = key
		}
		if !known {
			if looksLikeMAC(p.text) {
				t.key, t.values = "", []value{{text: p.text}}
				return t, nil
			}
			return t, fmt.Errorf("no key is called %q: want one of %s", boot.CleanText(key, 40), strings.Join(Keys(), ", "))
		}
		p = p.from(i + 1)
	}
	if p.text == "" {
		return t, fmt.Errorf("%s: has no value", t.name())
	}
	if t.key == "" {
		t.values = []value{{text: p.text}}
		return t, nil
	}
	for {
		i := p.index(',')
		one := p.text
		if i >= 0 {
			one = p.text[:i]
		}
		v, err := t.read(one)
		if err != nil {
			return t, err
		}
		if t.values = append(t.values, v); i < 0 {
			return t, nil
		}
		p = p.from(i + 1)
	}
}

// looksLikeMAC reports a word like 52:54:00 or fd77::1, whose colon begins no value.
func looksLikeMAC(s string) bool {
	return strings.Trim(strings.ToLower(s), "0123456789abcdef:.") == ""
}

func (t *term) name() string {
	if t.key == "param" {
		return "param." + t.param
	}
	return t.key
}

func (t *term) read(s string) (v value, err error) {
	v.text = s
	bad := func(want string) (value, error) {
		return v, fmt.Errorf("%s:%s: want %s", t.name(), boot.CleanText(s, 40), want)
	}
	if s == "" {
		return bad("a value")
	}
	k := keys[t.key]
	if t.key == "param" {
		k.kind = glob
	}
	switch k.kind {
	case word:
		if !slices.Contains(k.words, s) {
			return bad(strings.Join(k.words, ", "))
		}
	case glob:
		if _, err := path.Match(fold(s), ""); err != nil {
			return bad("letters and * or ?")
		}
	case when, count:
		if s[0] == '<' || s[0] == '>' {
			v.op, s = s[0], s[1:]
		}
		if k.kind == count {
			if v.n, err = strconv.ParseInt(s, 10, 64); err != nil {
				return bad("a number, like 7, >7 or <7")
			}
			return v, nil
		}
		if v.at, err = time.ParseInLocation(time.DateOnly, s, time.Local); err == nil && v.op != 0 {
			return v, nil
		}
		if v.at, err = time.Parse(time.RFC3339, s); err == nil && v.op != 0 {
			return v, nil
		}
		v.at = time.Time{}
		if v.age, err = age(s); err != nil || v.op == 0 {
			return bad("an age or a date after < or >, like <10m, >30d or >2026-11-01")
		}
	}
	return v, nil
}

// age reads 10m, 3h or 30d.
func age(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("negative")
	}
	return d, err
}

// Match reports whether the machine is meant.
func (q Query) Match(s Subject) bool {
	for i := range q.terms {
		t := &q.terms[i]
		if slices.ContainsFunc(t.values, func(v value) bool { return t.holds(v, s) }) == t.not {
			return false
		}
	}
	return true
}

// fold makes names comparable: without case, "/" as any other character.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "/", "\x01") }

func globs(pattern, s string) bool {
	ok, err := path.Match(fold(pattern), fold(s))
	return ok && err == nil
}

func (t *term) holds(v value, s Subject) bool {
	h := s.Host
	orNone := func(have string) bool { return globs(v.text, cmp.Or(have, "none")) }
	any := func(list []string) bool {
		if len(list) == 0 {
			return v.text == "none"
		}
		return slices.ContainsFunc(list, func(x string) bool { return globs(v.text, x) })
	}
	switch t.key {
	case "":
		return anywhere(strings.ToLower(v.text), s)
	case "state":
		return state(v.text, s)
	case "stage":
		return orNone(h.Stage)
	case "ticket":
		return ticket(h, s.Now) == v.text
	case "template":
		return any(h.Templates())
	case "version":
		return v.compare(int64(h.Pin))
	case "net":
		return orNone(h.On())
	case "port":
		return orNone(cmp.Or(h.BoundPort, h.Port))
	case "arch":
		return orNone(string(h.Platform))
	case "vendor":
		return orNone(h.Class)
	case "name":
		return orNone(h.Name)
	case "serial":
		return orNone(h.Serial)
	case "mac":
		var l []string
		for _, m := range h.MACs {
			l = append(l, m.String())
		}
		v.text = strings.ReplaceAll(v.text, "-", ":")
		return any(l)
	case "uuid":
		return orNone(h.UUID.String())
	case "address":
		var l []string
		for _, a := range append(h.Reserved(), s.Addresses...) {
			l = append(l, a.String())
		}
		return any(l)
	case "finding":
		if s.Findings == nil {
			return v.text == "none"
		}
		l := s.Findings()
		if v.text == "any" {
			return len(l) > 0
		}
		return any(l)
	case "protected":
		return h.Protected == (v.text == "yes")
	case "secure":
		return cmp.Or(string(h.Secure), "unknown") == v.text
	case "seen":
		return v.during(s.Seen, s.Now)
	case "enrolled":
		return v.during(h.Created, s.Now)
	case "boots":
		return v.compare(int64(h.Boots))
	case "tag":
		return any(h.Tags) || slices.ContainsFunc(h.Tags, func(x string) bool { return globs(v.text, boot.TagKey(x)) })
	case "param":
		g, has := s.Params[t.param]
		if !has || g.Secret || len(g.Differ) > 0 { // what a secret is, nobody can ask
			return v.text == "none" && !has
		}
		return globs(v.text, g.Value)
	}
	return false
}

func (v value) compare(n int64) bool {
	switch v.op {
	case '<':
		return n < v.n
	case '>':
		return n > v.n
	}
	return n == v.n
}

// during compares a time: <10m is younger than ten minutes, >30d older than thirty
// days or never, >2026-11-01 later than that day, <2026-11-01 before it.
func (v value) during(at, now time.Time) bool {
	if !v.at.IsZero() {
		if v.op == '>' {
			return at.After(v.at)
		}
		return !at.IsZero() && at.Before(v.at)
	}
	if at.IsZero() {
		return v.op == '>'
	}
	if v.op == '<' {
		return boot.Age(now, at) < v.age
	}
	return boot.Age(now, at) > v.age
}

func ticket(h *boot.Host, now time.Time) string {
	k := h.Ticket
	switch {
	case k == nil:
		return "none"
	case k.State == boot.TicketArmed && h.State == boot.Approved && !h.Protected && !h.Installs(now):
		return "expired"
	}
	return string(k.State)
}

func state(want string, s Subject) bool {
	h := s.Host
	switch want {
	case "installing":
		return h.Installing()
	case "installed":
		return h.InstallDone()
	case "failed":
		return h.Failed()
	case "parked":
		return s.Loop > 0 && h.Silent > s.Loop
	}
	return string(h.State) == want
}

// anywhere looks for a word in everything that a machine is known by. Digits of a MAC
// address or UUID are found in any spelling, from four digits on.
func anywhere(w string, s Subject) bool {
	h := s.Host
	for _, x := range []string{h.Name, h.Serial, h.UUID.String()} {
		if strings.Contains(strings.ToLower(x), w) {
			return true
		}
	}
	for _, a := range append(h.Reserved(), s.Addresses...) {
		if strings.HasPrefix(a.String(), w) {
			return true
		}
	}
	digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(w)
	if len(digits) < 4 || strings.Trim(digits, "0123456789abcdef") != "" {
		return false
	}
	for _, m := range h.MACs {
		if strings.Contains(m.Bare(), digits) {
			return true
		}
	}
	return strings.Contains(hex.EncodeToString(h.UUID[:]), digits) && !h.UUID.IsZero()
}
