// isc.go: dhcpd.conf, and the host declarations of dhcpd.leases.

package reservation

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// iscToken is a word, a string, or one of { } ; ,
type iscToken struct {
	text   string
	line   int
	quoted bool
}

func (t iscToken) is(s string) bool { return !t.quoted && strings.EqualFold(t.text, s) }

// iscLexer hands out tokens; text is "" at the end.
type iscLexer struct {
	data []byte
	line int
}

func (l *iscLexer) next() iscToken {
	for len(l.data) > 0 {
		switch c := l.data[0]; {
		case c == '\n':
			l.line++
			l.data = l.data[1:]
		case c == '#':
			i := bytes.IndexByte(l.data, '\n')
			if i < 0 {
				i = len(l.data)
			}
			l.data = l.data[i:]
		case c <= ' ':
			l.data = l.data[1:]
		case c == '{', c == '}', c == ';', c == ',':
			l.data = l.data[1:]
			return iscToken{text: string(c), line: l.line}
		case c == '"':
			return l.quoted()
		default:
			i := bytes.IndexAny(l.data, " \t\r\n\v\f{};,\"#")
			if i < 0 {
				i = len(l.data)
			}
			i = max(i, 1)
			t := iscToken{text: string(l.data[:i]), line: l.line}
			l.data = l.data[i:]
			return t
		}
	}
	return iscToken{line: l.line}
}

func (l *iscLexer) quoted() iscToken {
	t := iscToken{line: l.line, quoted: true}
	var b []byte
	i := 1
	for ; i < len(l.data) && l.data[i] != '"'; i++ {
		if l.data[i] == '\\' && i+1 < len(l.data) {
			i++
			if n, c := escape(l.data[i:]); n > 0 {
				b = append(b, c)
				i += n - 1
				continue
			}
		}
		if l.data[i] == '\n' {
			l.line++
		}
		b = append(b, l.data[i])
	}
	l.data = l.data[min(i+1, len(l.data)):]
	t.text = string(b)
	return t
}

// escape reads what stands behind a backslash where it is a byte: three octal digits at
// most, or x and two hexadecimal ones, as dhcpd's leases have them. n is its length; 0
// means the character itself.
func escape(b []byte) (n int, c byte) {
	if len(b) > 2 && b[0] == 'x' {
		if v, err := strconv.ParseUint(string(b[1:3]), 16, 8); err == nil {
			return 3, byte(v)
		}
	}
	v := 0
	for n < len(b) && n < 3 && b[n] >= '0' && b[n] <= '7' {
		v = v*8 + int(b[n]-'0')
		n++
	}
	if v > 255 {
		return 0, 0
	}
	return n, byte(v)
}

// iscBlock is one level of braces.
type iscBlock struct {
	kind string // its first word
	line int
	host *draft // of a host block
	gone bool   // declared deleted, in a leases file
	name string // host-name option, which wins over the block's
}

func (r *reader) isc(data []byte) error {
	l := &iscLexer{data: data, line: 1}
	var open []iscBlock
	var stmt []iscToken
	for {
		t := l.next()
		if t.text == "" && !t.quoted {
			break
		}
		if t.quoted || t.text != "{" && t.text != "}" && t.text != ";" {
			if len(stmt) < maxWords { // longer ones are lists that no host has
				stmt = append(stmt, t)
			}
			continue
		}
		in := enclosing(open)
		switch t.text {
		case ";":
			if len(stmt) > 0 {
				r.iscStatement(open, in, stmt)
			}
		case "{":
			if len(stmt) > 1 && (stmt[len(stmt)-1].is("=") || stmt[len(stmt)-1].is("of")) {
				// A record type: option x code 200 = { ip-address, text };
				for t = l.next(); t.quoted || t.text != "" && t.text != "}"; t = l.next() {
				}
				continue
			}
			if len(open) >= maxDepth {
				return r.errorf(t.line, "more than %d blocks in one another", maxDepth)
			}
			b := iscBlock{line: t.line}
			if len(stmt) > 0 {
				b.kind, b.line = strings.ToLower(stmt[0].text), stmt[0].line
			}
			switch {
			case in != nil && b.kind == "host":
				return r.errorf(b.line, "host inside host %s of line %d: a '}' is missing before it", in.host.label, in.line)
			case in == nil && (b.kind == "class" || b.kind == "subclass" || b.kind == "failover"):
				r.ofNetwork(b.line, iscText(stmt))
			case in != nil:
				r.part(b.line, in.host.label, "the block %s is not carried over", show(iscText(stmt)))
			case b.kind == "host":
				if len(stmt) != 2 {
					return r.errorf(b.line, "%s: want host NAME {", show(iscText(stmt)))
				}
				b.host = &draft{line: b.line, label: word(stmt[1].text)}
				b.host.host.Name = stmt[1].text
			}
			open = append(open, b)
		case "}":
			if len(stmt) > 0 {
				return r.errorf(stmt[0].line, "%s has no ';' at its end", show(iscText(stmt)))
			}
			if len(open) == 0 {
				return r.errorf(t.line, "'}' without a '{'")
			}
			b := open[len(open)-1]
			open = open[:len(open)-1]
			if b.host != nil && !b.gone {
				if b.name != "" {
					b.host.host.Name = b.name
				}
				if err := r.finish(b.host); err != nil {
					return err
				}
			}
		}
		stmt = stmt[:0]
	}
	switch {
	case len(open) > 0:
		b := open[len(open)-1]
		return r.errorf(b.line, "the block %s that begins here has no '}'", show(b.kind))
	case len(stmt) > 0:
		return r.errorf(stmt[0].line, "%s has no ';' at its end", show(iscText(stmt)))
	}
	return nil
}

// enclosing is the host block around the current statement.
func enclosing(open []iscBlock) *iscBlock {
	for i := range open {
		if open[i].host != nil {
			return &open[i]
		}
	}
	return nil
}

func iscText(ts []iscToken) string {
	var b strings.Builder
	for i, t := range ts {
		if i > 0 && t.text != "," {
			b.WriteByte(' ')
		}
		b.WriteString(t.text)
		if b.Len() > 200 {
			break
		}
	}
	return b.String()
}

// iscStatement reads one statement that ended with ';'. in is the host that it
// belongs to, or nil.
func (r *reader) iscStatement(open []iscBlock, in *iscBlock, s []iscToken) {
	line := s[0].line
	is := func(words ...string) bool {
		for i, w := range words {
			if i >= len(s) || !s[i].is(w) {
				return false
			}
		}
		return true
	}
	if is("include") {
		r.part(line, "", "%s is another file: give it to the import too", show(iscText(s[1:])))
		return
	}
	if in == nil {
		// Of the other statements only two kinds are about machines: those that
		// they boot by, and those that a group gives its hosts.
		group := len(open) > 0 && open[len(open)-1].kind == "group"
		switch {
		case is("filename"), is("next-server"), is("server-name"):
			r.part(line, "", "%s is not carried over: a template says what boots", show(iscText(s)))
		case is("option") && slices.ContainsFunc(s, func(t iscToken) bool { return t.is("code") }): // says of which type an option is
		case !group && is("option"), is("range"), is("pool"), is("default-lease-time"), is("max-lease-time"), is("min-lease-time"), is("subclass"):
			r.ofNetwork(line, iscText(s))
		case group && is("option"):
			r.part(line, "", "%s of a group is not carried over: say it again in muster.toml if it is needed", show(iscText(s)))
		}
		return
	}
	d := in.host
	if open[len(open)-1].host == nil {
		return // inside a block that has one note as a whole
	}
	switch {
	case is("hardware", "ethernet") && len(s) == 3:
		r.addMAC(d, line, s[2].text)
	case is("hardware") && len(s) == 3 && !is("hardware", "ethernet"):
		r.part(line, d.label, "hardware %s is not Ethernet", show(iscText(s[1:])))
	case is("fixed-address"):
		for _, t := range s[1:] {
			if t.text != "," {
				r.addAddress(d, line, t.text)
			}
		}
	case is("option", "host-name") && len(s) >= 3, is("supersede", "host-name") && len(s) >= 3:
		v := s[2:]
		if v[0].is("=") {
			v = v[1:]
		}
		if len(v) != 1 {
			r.part(line, d.label, "%s is made up by a rule: give the name itself", show(iscText(s)))
			break
		}
		if in.name = v[0].text; in.name != d.host.Name {
			r.part(line, d.label, "is called %s, after its option host-name", word(in.name))
		}
	case is("filename"), is("next-server"), is("server-name"), is("supersede", "server.filename"), is("supersede", "server.next-server"):
		r.part(line, d.label, "%s is not carried over: a template says what it boots", show(iscText(s)))
	case is("uid"), is("option", "dhcp-client-identifier"), is("option", "dhcp6.client-id"), is("host-identifier"):
		i := slices.IndexFunc(s, func(t iscToken) bool { return t.is("uid") || t.is("dhcp-client-identifier") })
		if i >= 0 {
			d.addOther(clientID(iscText(s[i+1:])))
		} else {
			d.addOther(show(iscText(s)))
		}
	case is("option"), is("supersede"):
		r.part(line, d.label, "%s is not carried over: say it again in muster.toml if it is needed", show(iscText(s)))
	case is("deny", "booting"), is("ignore", "booting"):
		r.part(line, d.label, "%s is not carried over: refuse it afterwards with: muster host deny NAME", show(iscText(s)))
	case is("deleted"):
		in.gone = true
	case is("dynamic"), is("allow", "booting"), is("use-host-decl-names"):
	default:
		r.part(line, d.label, "%s is not carried over", show(iscText(s)))
	}
}
