// isc_network.go: the subnets of dhcpd.conf.

package reservation

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// iscNode is a statement, or a block with what is in it.
type iscNode struct {
	words []iscToken
	block bool
	body  []iscNode
}

// iscTree reads to the end of a block. Parse has judged the file, so that nothing is
// left open and nothing is too deep.
func iscTree(l *iscLexer) (out []iscNode) {
	var words []iscToken
	for {
		t := l.next()
		switch {
		case t.text == "" && !t.quoted:
			return out
		case t.quoted, t.text != "{" && t.text != "}" && t.text != ";":
			if len(words) < maxWords {
				words = append(words, t)
			}
		case t.text == ";":
			if len(words) > 0 {
				out = append(out, iscNode{words: words})
			}
			words = nil
		case t.text == "}":
			return out
		case len(words) > 1 && (words[len(words)-1].is("=") || words[len(words)-1].is("of")): // a record type
			for t = l.next(); t.quoted || t.text != "" && t.text != "}"; t = l.next() {
			}
			words = append(words, iscToken{text: "record", line: t.line})
		default:
			out = append(out, iscNode{words: words, block: true, body: iscTree(l)})
			words = nil
		}
	}
}

func (n *iscNode) is(words ...string) bool {
	for i, w := range words {
		if i >= len(n.words) || !n.words[i].is(w) {
			return false
		}
	}
	return true
}

// rest is the text from the nth word on; a comma stands alone.
func (n *iscNode) rest(from int) (out []string) {
	for _, t := range n.words[min(from, len(n.words)):] {
		out = append(out, t.text)
	}
	return out
}

func (w *walker) isc(nodes []iscNode, s *scope) {
	for _, n := range nodes {
		if len(n.words) == 0 {
			continue
		}
		if n.block {
			w.iscBlock(n, s)
		} else {
			w.iscSetting(n, s)
		}
	}
}

func (w *walker) iscBlock(n iscNode, s *scope) {
	line, text := n.words[0].line, iscText(n.words)+" { … }"
	switch {
	case n.is("host"): // host import has it
	case n.is("group"):
		// What it says for its hosts, host import tells; subnets in it are as elsewhere.
		in := w.inner(s, line)
		w.isc(n.body, in)
		if slices.ContainsFunc(w.all.within, func(o *scope) bool { return o.outer == in }) {
			s.left = append(s.left, in.left...)
		}
	case n.is("shared-network") && len(n.words) == 2:
		in := w.inner(s, line)
		in.shared = n.words[1].text
		w.isc(n.body, in)
		for _, r := range in.ranges { // of pools beside the subnets
			i := slices.IndexFunc(w.all.within, func(o *scope) bool { return o.outer == in && o.subnet.Contains(r.From) })
			if i < 0 {
				w.note(s, line, "range %s is in no subnet of shared-network %s", r, show(in.shared))
				continue
			}
			w.addRange(w.all.within[i], line, "range "+r.String(), r.From, r.To)
		}
		s.left = append(s.left, in.left...)
	case n.is("subnet") && len(n.words) == 4 && n.words[2].is("netmask"):
		a, _ := netip.ParseAddr(n.words[1].text)
		mask, _ := netip.ParseAddr(n.words[3].text)
		p, ok := masked(a, mask)
		if !ok || p.Addr() != a {
			w.note(s, line, "%s: that is no subnet", show(text))
			return
		}
		in := w.inner(s, line)
		in.subnet = p
		w.isc(n.body, in)
		w.end(in)
	case n.is("pool"):
		w.iscPool(n, s)
	case n.is("subnet6"), n.is("pool6"), n.is("prefix6"):
		w.note(s, line, "%s: IPv6 is not read; a [[network]] has subnet6, range6 and mode6", show(text))
	case n.is("class"), n.is("subclass"), n.is("if"), n.is("elsif"), n.is("else"), n.is("switch"):
		w.note(s, line, "%s: a condition; templates match machines, and [[class]] says how a kind of client is answered", show(text))
	default:
		w.note(s, line, "%s", show(text))
	}
}

// iscPool takes the ranges of a pool, unless only some clients may have them: to give
// them to all would be worse than to give them to nobody.
func (w *walker) iscPool(n iscNode, s *scope) {
	in := w.inner(s, n.words[0].line)
	in.subnet, in.ranges = s.subnet, s.ranges
	var plain []iscNode
	class := -1
	for _, x := range n.body {
		switch {
		case x.block || len(x.words) == 0:
			plain = append(plain, x)
		case (x.is("allow") || x.is("deny")) && x.is(x.words[0].text, "members"):
			class = x.words[0].line
			w.note(s, class, "%s: the ranges of this pool are for a class of clients only, so they are left out", show(iscText(x.words)))
		case x.is("allow"), x.is("deny"), x.is("ignore"):
			w.note(s, x.words[0].line, "%s: here [enroll] says who is let in, and unknown_share how much of the ranges strangers may have", show(iscText(x.words)))
		case x.is("option"), x.is("default-lease-time"):
			w.note(s, x.words[0].line, "%s: of one pool; here a network has one answer for all its ranges", show(iscText(x.words)))
		case x.is("failover"):
			w.note(s, x.words[0].line, "%s: there is no pair of servers here", show(iscText(x.words)))
		default:
			plain = append(plain, x)
		}
	}
	if class >= 0 {
		plain = slices.DeleteFunc(plain, func(x iscNode) bool { return x.is("range") })
	}
	w.isc(plain, in)
	s.ranges = in.ranges
	s.left = append(s.left, in.left...)
}

func (w *walker) iscSetting(n iscNode, s *scope) {
	line, text := n.words[0].line, iscText(n.words)
	switch {
	case n.is("include"):
		w.note(s, line, "%s: another file: name it too", show(text))
	case n.is("range"):
		v := n.rest(1)
		if len(v) > 0 && strings.EqualFold(v[0], "dynamic-bootp") {
			v = v[1:]
		}
		if len(v) != 1 && len(v) != 2 {
			w.note(s, line, "%s: want one address, or the first and the last", show(text))
			return
		}
		from, _ := netip.ParseAddr(v[0])
		to, _ := netip.ParseAddr(v[len(v)-1])
		w.addRange(s, line, text, from, to)
	case n.is("default-lease-time") && len(n.words) == 2:
		d, err := strconv.ParseUint(n.words[1].text, 10, 32)
		if err != nil {
			w.note(s, line, "%s: want seconds", show(text))
			return
		}
		w.addLease(s, line, text, time.Duration(d)*time.Second)
	case n.is("max-lease-time"), n.is("min-lease-time"):
		w.note(s, line, "%s: a network has one lease time here, and unknown_lease for machines that nobody let in", show(text))
	case n.is("option") && len(n.words) > 3 && n.words[2].is("code"):
		w.iscOptionType(n)
	case n.is("option") && len(n.words) > 2:
		if n.words[2].is("=") || n.words[1].text == "space" {
			w.note(s, line, "%s: made up by a rule", show(text))
			return
		}
		w.option(s, line, n.words[1].text, iscValues(n.words[2:]), text)
	case n.is("interface") && len(n.words) == 2:
		s.iface = n.words[1].text
	case n.is("filename"), n.is("next-server"), n.is("server-name"):
		w.note(s, line, "%s: Muster says itself what boots", show(text))
	case n.is("range6"), n.is("fixed-address6"), n.is("prefix6"):
		w.note(s, line, "%s: IPv6 is not read; a [[network]] has subnet6, range6 and mode6", show(text))
	case (n.is("deny") || n.is("ignore") || n.is("allow")) && n.is(n.words[0].text, "unknown-clients"):
		w.note(s, line, "%s: here [enroll] policy says what becomes of unknown machines", show(text))
	case n.is("authoritative"): // that is what a network is here
	default:
		w.note(s, line, "%s", show(text))
	}
}

// iscOptionType reads "option NAME code N = TYPE".
func (w *walker) iscOptionType(n iscNode) {
	v := n.rest(3)
	code, err := strconv.ParseUint(v[0], 10, 8)
	if err != nil || len(v) < 3 || v[1] != "=" {
		return
	}
	kind := strings.Join(v[2:], " ")
	w.names[strings.ToLower(n.words[1].text)] = optionName{uint8(code), strings.ToLower(strings.TrimPrefix(kind, "signed "))}
}

// iscValues are the values of an option, without commas.
func iscValues(ts []iscToken) (out []string) {
	for _, t := range ts {
		if t.quoted || t.text != "," {
			out = append(out, t.text)
		}
	}
	return out
}

// masked is the subnet of an address by a mask; not ok if that is none.
func masked(a, mask netip.Addr) (p netip.Prefix, ok bool) {
	if !a.Is4() || !mask.Is4() {
		return p, false
	}
	ones, bits := net.IPMask(mask.AsSlice()).Size()
	return netip.PrefixFrom(a, ones).Masked(), bits != 0
}
