// kea_network.go: the subnets of kea-dhcp4.conf.

package reservation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// keaNode is a value with its line.
type keaNode struct {
	line  int
	key   string // in its block
	block bool   // in braces or brackets
	items []keaNode
	text  string // of what is no block
}

func (n *keaNode) get(key string) *keaNode {
	for i := range n.items {
		if n.items[i].key == key {
			return &n.items[i]
		}
	}
	return nil
}

func (n *keaNode) word(key string) string {
	if x := n.get(key); x != nil {
		return x.text
	}
	return ""
}

// String is the value in short, for notes.
func (n *keaNode) String() string {
	if !n.block {
		return n.key + " " + n.text
	}
	if len(n.items) == 0 {
		return n.key + " { }"
	}
	return n.key + " { … }"
}

// kea reads a file that Parse has judged.
func (w *walker) kea(data []byte) error {
	r := &reader{file: w.file}
	text, err := r.keaPlain(data)
	if err != nil {
		return err
	}
	for _, n := range r.Notes {
		w.note(w.all, n.Line, "%s", strings.Replace(n.Text, "give it to the import too", "name it too", 1))
	}
	k := &keaReader{reader: r, data: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}
	root, err := k.tree("")
	if err != nil {
		return err
	}
	w.keaFind(&root)
	return nil
}

// tree reads one value.
func (k *keaReader) tree(key string) (n keaNode, err error) {
	t, err := k.token()
	if err != nil {
		return n, err
	}
	n.key, n.line = key, k.line
	switch t {
	case json.Delim('{'), json.Delim('['):
		n.block = true
	case nil:
		return n, nil
	default:
		n.text = fmt.Sprint(t)
		return n, nil
	}
	for k.dec.More() {
		name := ""
		if t == json.Delim('{') {
			x, err := k.token()
			if err != nil {
				return n, err
			}
			name, _ = x.(string)
		}
		v, err := k.tree(name)
		if err != nil {
			return n, err
		}
		if name != "reservations" { // host import has them
			n.items = append(n.items, v)
		}
	}
	_, err = k.token()
	return n, err
}

// keaFind walks to the configuration, which may be an answer of Kea's agent.
func (w *walker) keaFind(n *keaNode) {
	if n.key == "Dhcp4" || n.get("subnet4") != nil || n.get("shared-networks") != nil {
		w.keaServer(n)
		return
	}
	for i := range n.items {
		if x := &n.items[i]; x.block && x.key != "Dhcp6" {
			w.keaFind(x)
		} else if x.key == "Dhcp6" {
			w.note(w.all, x.line, "Dhcp6: IPv6 is not read; a [[network]] has subnet6, range6 and mode6")
		}
	}
}

func (w *walker) keaServer(n *keaNode) {
	for i := range n.items {
		switch x := &n.items[i]; x.key {
		case "option-def":
			for j := range x.items {
				o := &x.items[j]
				code, err := strconv.ParseUint(o.word("code"), 10, 8)
				kind := o.word("type")
				if o.word("array") == "true" {
					kind = "array of " + kind
				}
				if space := o.word("space"); err == nil && (space == "" || space == "dhcp4") {
					w.names[strings.ToLower(o.word("name"))] = optionName{uint8(code), kind}
				} else {
					w.note(w.all, o.line, "option-def %s", show(o.word("name")))
				}
			}
		case "interfaces-config":
			if l := x.get("interfaces"); l != nil && len(l.items) == 1 && l.items[0].text != "*" {
				w.all.iface, _, _ = strings.Cut(l.items[0].text, "/")
			}
		}
	}
	for i := range n.items {
		switch x := &n.items[i]; x.key {
		case "option-def", "interfaces-config", "subnet4", "shared-networks":
		default:
			w.keaSetting(w.all, x)
		}
	}
	if l := n.get("shared-networks"); l != nil {
		for i := range l.items {
			s := w.inner(w.all, l.items[i].line)
			w.keaScope(s, &l.items[i])
			w.all.left = append(w.all.left, s.left...)
		}
	}
	if l := n.get("subnet4"); l != nil {
		w.keaSubnets(w.all, l)
	}
}

// keaScope reads what a shared network says, and its subnets.
func (w *walker) keaScope(s *scope, n *keaNode) {
	s.shared = n.word("name")
	for i := range n.items {
		switch x := &n.items[i]; x.key {
		case "name", "subnet4":
		default:
			w.keaSetting(s, x)
		}
	}
	if l := n.get("subnet4"); l != nil {
		w.keaSubnets(s, l)
	}
}

func (w *walker) keaSubnets(outer *scope, l *keaNode) {
	for i := range l.items {
		n := &l.items[i]
		s := w.inner(outer, n.line)
		p, err := netip.ParsePrefix(n.word("subnet"))
		if err != nil || !p.Addr().Is4() {
			w.note(outer, n.line, "subnet %s: that is no IPv4 subnet", show(n.word("subnet")))
			continue
		}
		s.subnet = p.Masked()
		if c := n.get("user-context"); c != nil {
			s.name = c.word("name")
		}
		class := n.get("client-class")
		for j := range n.items {
			switch x := &n.items[j]; x.key {
			case "subnet", "id":
			case "pools":
				if class == nil {
					w.keaPools(s, x)
				}
			default:
				w.keaSetting(s, x)
			}
		}
		if class != nil {
			w.note(s, class.line, "%s: the subnet is for a class of clients only, so its pools are left out", show(class.String()))
		}
		w.end(s)
	}
}

func (w *walker) keaPools(s *scope, l *keaNode) {
	for i := range l.items {
		n := &l.items[i]
		text := "pool " + n.word("pool")
		limited := false
		for j := range n.items {
			switch x := &n.items[j]; x.key {
			case "pool", "pool-id", "user-context", "comment":
			case "client-class", "client-classes":
				limited = true
				w.note(s, x.line, "%s: for a class of clients only, so it is left out", show(text))
			default:
				if !x.block || len(x.items) > 0 {
					w.note(s, x.line, "%s of one pool; here a network has one answer for all its ranges", show(x.String()))
				}
			}
		}
		if limited {
			continue
		}
		first, last, isRange := strings.Cut(n.word("pool"), "-")
		from, err1 := netip.ParseAddr(strings.TrimSpace(first))
		to, err2 := netip.ParseAddr(strings.TrimSpace(last))
		if p, err := netip.ParsePrefix(strings.TrimSpace(n.word("pool"))); !isRange && err == nil && p.Addr().Is4() {
			p = p.Masked()
			from, to, err1, err2 = p.Addr(), boot.Broadcast(p), nil, nil
		}
		if err1 != nil || err2 != nil {
			w.note(s, n.line, "%s: want FIRST - LAST", show(text))
			continue
		}
		w.addRange(s, n.line, text, from, to)
	}
}

// keaSetting reads one setting of a server, a shared network or a subnet.
func (w *walker) keaSetting(s *scope, x *keaNode) {
	empty := x.block && len(x.items) == 0 || !x.block && (x.text == "" || x.text == "0.0.0.0")
	switch x.key {
	case "option-data":
		for i := range x.items {
			w.keaOption(s, &x.items[i])
		}
	case "valid-lifetime":
		if n, err := strconv.ParseUint(x.text, 10, 32); err == nil {
			w.addLease(s, x.line, x.String(), time.Duration(n)*time.Second)
		}
	case "min-valid-lifetime", "max-valid-lifetime":
		w.note(s, x.line, "%s: a network has one lease time here, and unknown_lease for machines that nobody let in", show(x.String()))
	case "interface":
		s.iface = x.text
	case "relay":
		l := x.get("ip-addresses")
		if l == nil {
			l = &keaNode{items: []keaNode{{line: x.line, text: x.word("ip-address")}}}
		}
		for _, a := range l.items {
			if ip, err := netip.ParseAddr(a.text); err == nil && ip.Is4() && !ip.IsUnspecified() {
				s.relays = append(s.relays, ip)
			} else if a.text != "" && !ip.IsUnspecified() {
				w.note(s, a.line, "relay %s: that is no IPv4 address", show(a.text))
			}
		}
	case "boot-file-name", "next-server", "server-hostname":
		if !empty {
			w.note(s, x.line, "%s: Muster says itself what boots", show(x.String()))
		}
	case "client-classes":
		for i := range x.items {
			w.note(s, x.items[i].line, "client class %s: a condition; templates match machines, and [[class]] says how a kind of client is answered", show(x.items[i].word("name")))
		}
	case "client-class", "user-context", "comment", "authoritative":
	default:
		if !empty {
			w.note(s, x.line, "%s", show(x.String()))
		}
	}
}

func (w *walker) keaOption(s *scope, o *keaNode) {
	key, data := o.word("name"), o.word("data")
	text := "option-data " + key + " " + data
	if space := o.word("space"); space != "" && space != "dhcp4" {
		w.note(s, o.line, "%s of space %s", show(text), word(space))
		return
	}
	if code := o.word("code"); code != "" && w.names[strings.ToLower(key)].code == 0 {
		key = code
	}
	if o.get("client-classes") != nil {
		w.note(s, o.line, "%s: for a class of clients; a [[class]] has options of its own", show(text))
		return
	}
	switch k := anyOf(key, renamed); {
	case o.word("csv-format") == "false":
		data = "hex:" + strings.TrimPrefix(strings.ReplaceAll(data, " ", ""), "0x")
	case k == "classless-routes", k == "121":
		data = strings.ReplaceAll(data, " - ", " via ")
	}
	w.option(s, o.line, key, []string{data}, text)
}
