// network.go: what the files of other DHCP servers say of whole networks, as [[network]]
// tables of muster.toml.

package reservation

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/musterboot/muster/boot"
)

// File is one file of a configuration.
type File struct {
	Name   string
	Format Format
	Data   []byte
}

// Network is a subnet of another server, as far as Muster can have it.
type Network struct {
	File      string        `json:"file"`
	Line      int           `json:"line"`
	Name      string        `json:"name"`
	Interface string        `json:"interface,omitempty"` // "" where the file does not say
	Mode      boot.Mode     `json:"mode"`
	Subnet    netip.Prefix  `json:"subnet,omitzero"`
	Ranges    []string      `json:"ranges,omitempty"`
	Routers   []netip.Addr  `json:"routers,omitempty"`
	DNS       []netip.Addr  `json:"dns,omitempty"`
	Domain    string        `json:"domain,omitempty"`
	Lease     time.Duration `json:"lease,omitempty"` // nanoseconds; 0 where the file does not say
	Relays    []netip.Addr  `json:"relays,omitempty"`
	Shared    string        `json:"shared,omitempty"`
	Options   []boot.Option `json:"options,omitempty"`
	Left      []Note        `json:"not_carried_over,omitempty"` // of this network

	ranges []boot.Range
	values map[uint8]string // of the options, as muster.toml has them
}

// Networks is the whole configuration.
type Networks struct {
	Networks []Network `json:"networks"`
	Left     []Note    `json:"not_carried_over"` // that belongs to no network
	Hosts    int       `json:"hosts"`            // that an import of the same files would add
}

// longest is the longest lease that muster.toml takes.
const longest = 365 * 24 * time.Hour

// ReadNetworks reads the files of one server: what one says for all networks counts in
// the others too.
func ReadNetworks(files []File) (*Networks, error) {
	out := &Networks{Networks: []Network{}, Left: []Note{}}
	walkers := map[Format]*walker{}
	for _, f := range files {
		res, err := Parse(f.Format, f.Name, f.Data) // which also judges what is written there
		if err != nil {
			return nil, err
		}
		out.Hosts += len(res.Entries)
		w := walkers[f.Format]
		if w == nil {
			w = &walker{all: &scope{}, names: map[string]optionName{}}
			walkers[f.Format] = w
		}
		w.file = f.Name
		data := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
		switch f.Format {
		case ISC:
			w.isc(iscTree(&iscLexer{data: data, line: 1}), w.all)
		case Kea:
			err = w.kea(data)
		case Dnsmasq:
			w.dnsmasq(data)
		default:
			return nil, fmt.Errorf("%s: a file of format %s has no networks: want isc, kea or dnsmasq", f.Name, f.Format)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, f := range []Format{ISC, Kea, Dnsmasq} {
		if w := walkers[f]; w != nil {
			for _, later := range w.later {
				later()
			}
			for _, s := range w.all.within {
				out.Networks = append(out.Networks, s.network())
			}
			out.Left = append(out.Left, w.all.left...)
		}
	}
	order := map[string]int{}
	for i, f := range files {
		order[f.Name] = i
	}
	slices.SortStableFunc(out.Networks, func(a, b Network) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	out.settle()
	slices.SortStableFunc(out.Left, func(a, b Note) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	nameAll(out.Networks)
	return out, nil
}

// most is how many addresses a list in a reply has (RFC 2132: 255 octets; the
// configuration takes no more).
const most = 16

// settle leaves out what cannot stand beside something else in one file.
func (ns *Networks) settle() {
	var kept []Network
	for _, n := range ns.Networks {
		note := func(format string, args ...any) {
			n.Left = append(n.Left, Note{File: n.File, Line: n.Line, Text: fmt.Sprintf(format, args...)})
		}
		if alone := len(ns.Networks) == 1; !alone && !n.Subnet.IsValid() && len(n.ranges) > 0 {
			n.Subnet = netip.PrefixFrom(n.ranges[0].From, 24).Masked()
			note("dnsmasq takes the netmask of its interface: /24 is a guess")
			if r, _ := usable(n.Subnet, n.ranges[0]); !n.Subnet.Contains(n.ranges[0].To) || r.To.Less(r.From) {
				ns.Left = append(ns.Left, Note{File: n.File, Line: n.Line, Text: fmt.Sprintf("range %s: which subnet is it of? Write its netmask", n.ranges[0])})
				continue
			}
			for i, r := range n.ranges {
				var cut bool
				if n.ranges[i], cut = usable(n.Subnet, r); cut {
					n.Ranges[i] = n.ranges[i].String()
					note("range %s: without the network and broadcast address of %s, which no machine can have", r, n.Subnet)
				}
			}
		} else if !alone && !n.Subnet.IsValid() {
			ns.Left = append(ns.Left, Note{File: n.File, Line: n.Line, Text: "a second network on an interface needs a subnet: write its netmask"})
			continue
		}
		if i := slices.IndexFunc(kept, func(o Network) bool { return n.Subnet.IsValid() && o.Subnet.IsValid() && n.Subnet.Overlaps(o.Subnet) }); i >= 0 {
			ns.Left = append(ns.Left, Note{File: n.File, Line: n.Line, Text: fmt.Sprintf("subnet %s overlaps %s of %s:%d", n.Subnet, kept[i].Subnet, kept[i].File, kept[i].Line)})
			continue
		}
		for _, l := range []struct {
			key  string
			list *[]netip.Addr
		}{{"routers", &n.Routers}, {"dns", &n.DNS}, {"relays", &n.Relays}} {
			if len(*l.list) > most {
				note("%s: the first %d of %d", l.key, most, len(*l.list))
				*l.list = (*l.list)[:most]
			}
		}
		kept = append(kept, n)
	}
	ns.Networks = append([]Network{}, kept...)
}

// nameAll gives every network a name that no other has.
func nameAll(ns []Network) {
	used := map[string]bool{}
	for i := range ns {
		n := &ns[i]
		n.Name = cleanName(n.Name)
		if n.Name == "" || used[n.Name] {
			at := cmp.Or(cleanName(n.Interface), "net")
			if n.Subnet.IsValid() {
				at = "net-" + n.Subnet.Addr().String()
			}
			n.Name = cmp.Or(n.Name, at)
			for base, k := n.Name, 2; used[n.Name]; k++ {
				n.Name = fmt.Sprintf("%s-%d", base[:min(len(base), 55)], k)
			}
		}
		used[n.Name] = true
	}
}

// scope is one level of a configuration: a server, a shared network, a subnet. What an
// outer one says counts in those within, unless they say otherwise.
type scope struct {
	outer   *scope
	within  []*scope // subnets
	file    string
	line    int
	name    string
	iface   string
	shared  string
	tag     string // dnsmasq's, which options may name
	self    bool   // its machines are told the server's own address as router and name server unless another is said
	subnet  netip.Prefix
	mode    boot.Mode // "" follows from the ranges
	ranges  []boot.Range
	relays  []netip.Addr
	lease   time.Duration
	options []given
	left    []Note
}

// given is an option and where it is said.
type given struct {
	boot.Option
	file  string
	line  int
	text  string // as the file has it
	value string // as muster.toml has it
	none  bool   // it is taken back
}

// walker reads the files of one server into scopes.
type walker struct {
	file  string // the present one
	all   *scope
	names map[string]optionName // that the files make
	later []func()              // when all files were read
}

// optionName is an option that a file gives a name and a type.
type optionName struct {
	code uint8
	kind string // as the file calls it
}

func (w *walker) note(s *scope, line int, format string, args ...any) {
	if len(s.left) < maxNotes {
		s.left = append(s.left, Note{File: w.file, Line: line, Text: fmt.Sprintf(format, args...)})
	}
}

// inner opens a level.
func (w *walker) inner(s *scope, line int) *scope {
	return &scope{outer: s, file: w.file, line: line}
}

// end adds a subnet to its server.
func (w *walker) end(s *scope) { w.all.within = append(w.all.within, s) }

// usable is a range without the network and broadcast address of its subnet: other servers
// take them in a range, and give them to nobody.
func usable(p netip.Prefix, r boot.Range) (_ boot.Range, cut bool) {
	if !p.IsValid() || p.Bits() > 30 {
		return r, false
	}
	if r.From == p.Masked().Addr() {
		r.From, cut = r.From.Next(), true
	}
	if r.To == boot.Broadcast(p) {
		r.To, cut = r.To.Prev(), true
	}
	return r, cut
}

// addRange takes a range that is in the subnet and overlaps no other.
func (w *walker) addRange(s *scope, line int, text string, from, to netip.Addr) {
	r, cut := usable(s.subnet, boot.Range{From: from, To: to})
	switch {
	case !from.Is4() || !to.Is4() || to.Less(from):
		w.note(s, line, "%s: want two IPv4 addresses, the lower one first", show(text))
	case s.subnet.IsValid() && (!s.subnet.Contains(from) || !s.subnet.Contains(to)):
		w.note(s, line, "%s is not in subnet %s", show(text), s.subnet)
	case slices.ContainsFunc(s.ranges, func(o boot.Range) bool { return !o.To.Less(from) && !to.Less(o.From) }):
		w.note(s, line, "%s overlaps another range", show(text))
	case r.To.Less(r.From):
		w.note(s, line, "%s: a machine cannot have the network or broadcast address of %s", show(text), s.subnet)
	default:
		if cut {
			w.note(s, line, "%s: without the network and broadcast address of %s, which no machine can have", show(text), s.subnet)
		}
		total := r.Size()
		for _, o := range s.ranges {
			total += o.Size()
		}
		if total > boot.MaxPool {
			w.note(s, line, "%s: a network has %d addresses to give at most", show(text), boot.MaxPool)
			return
		}
		s.ranges = append(s.ranges, r)
	}
}

// addLease takes the lease time.
func (w *walker) addLease(s *scope, line int, text string, d time.Duration) {
	switch {
	case d < time.Minute:
		w.note(s, line, "%s: a lease lasts a minute or more here", show(text))
	case d > longest:
		s.lease = longest
		w.note(s, line, "%s becomes a year, the longest lease here", show(text))
	default:
		s.lease = d
	}
}

// renamed are options that other programs call otherwise.
var renamed = map[string]string{
	"domain-name-servers": "dns-servers", "dns-server": "dns-servers", "router": "routers", "mtu": "interface-mtu", "broadcast": "broadcast-address", "ntp-server": "ntp-servers",
	"log-server": "log-servers", "lpr-server": "lpr-servers", "nis-server": "nis-servers", "smtp-server": "smtp-servers", "netbios-ns": "netbios-name-servers", "netbios-nodetype": "netbios-node-type",
	"ip-forward-enable": "ip-forwarding", "static-route": "static-routes", "classless-static-route": "classless-routes", "classless-static-routes": "classless-routes",
	"rfc3442-classless-static-routes": "classless-routes", "ipv6-only": "v6-only-preferred", "smtp-server-name": "smtp-servers", "pcode": "posix-timezone", "tcode": "tzdb-timezone",
	"netmask": "1", "subnet-mask": "1", "tftp-server": "tftp-server-name", "boot-file-name": "bootfile-name", "vendor-class": "vendor-class-identifier", "vendor-encap": "43",
	"vendor-id-encap": "125", "vivso-suboptions": "125", "boot-size": "13", "boot-file-size": "13", "dhcp-lease-time": "51", "dhcp-server-identifier": "54", "dhcp-renewal-time": "renewal-time",
	"dhcp-rebinding-time": "rebinding-time", "www-server": "www-servers", "time-server": "time-servers", "irc-server": "74", "capwap-ac-v4": "capwap-access-controllers",
}

// option reads one option. key is its name or number.
func (w *walker) option(s *scope, line int, key string, values []string, text string) {
	key = strings.ToLower(key)
	if n, own := w.names[key]; own {
		key = fmt.Sprint(n.code)
		if values = n.typed(values); values == nil {
			w.note(s, line, "%s is of type %s, which is written in hexadecimal here: say it again in [network.options]", show(text), word(n.kind))
			return
		}
	} else if k, other := renamed[key]; other {
		key = k
	}
	switch key {
	case "1", "broadcast-address", "28":
		return // they follow from the subnet
	case "host-name", "12":
		w.note(s, line, "%s: the name is the host's here", show(text))
		return
	}
	if _, err := strconv.Atoi(key); err != nil && !slices.Contains(boot.OptionNames(), key) {
		w.note(s, line, "%s: no option is called that here; write its number", show(text))
		return
	}
	o, err := boot.ParseOption(key, values)
	switch {
	case err != nil:
		w.note(s, line, "%s: %s", show(text), plain(err.Error(), 200))
		return
	case boots(o.Code):
		w.note(s, line, "%s: Muster says itself what boots; a template, a class or a host can have options of its own", show(text))
		return
	}
	value := strings.Join(values, ", ")
	if again, err := boot.ParseOption(key, value); err != nil || !bytes.Equal(again.Data, o.Data) || !utf8.ValidString(value) {
		value = "hex:" + hex.EncodeToString(o.Data)
	}
	s.setOption(given{Option: o, file: w.file, line: line, text: text, value: value})
}

func (s *scope) setOption(g given) {
	s.options = slices.DeleteFunc(s.options, func(o given) bool { return o.Code == g.Code })
	s.options = append(s.options, g)
}

// typed writes values of a type of ISC's or Kea's as ParseOption reads them; nil if it
// has no such type.
func (n optionName) typed(values []string) []string {
	pre, all := "", strings.Join(values, ",")
	switch n.kind {
	case "text", "string":
		pre = "text:"
	case "ip-address", "array of ip-address", "ipv4-address", "array of ipv4-address":
		pre, values = "ip:", []string{all}
	case "unsigned integer 8", "integer 8", "uint8":
		pre = "u8:"
	case "unsigned integer 16", "integer 16", "uint16":
		pre = "u16:"
	case "unsigned integer 32", "integer 32", "uint32":
		pre = "u32:"
	case "array of integer 8", "array of unsigned integer 8", "array of uint8":
		var b strings.Builder
		for v := range strings.SplitSeq(all, ",") {
			x, err := strconv.ParseUint(strings.TrimSpace(v), 10, 8)
			if err != nil {
				return nil
			}
			fmt.Fprintf(&b, "%02x", x)
		}
		return []string{"hex:" + b.String()}
	}
	if pre == "" || len(values) != 1 {
		return nil
	}
	return []string{pre + values[0]}
}

// boots are options by which another server says what boots: here templates do.
func boots(code uint8) bool {
	return slices.Contains([]uint8{43, 60, 66, 67, 150, 209, 210}, code)
}

// network is a subnet with all that is said around it.
func (s *scope) network() Network {
	n := Network{File: s.file, Line: s.line, Name: s.name, Subnet: s.subnet, ranges: s.ranges, values: map[uint8]string{}, Left: s.left}
	chain := []*scope{}
	for o := s; o != nil; o = o.outer {
		chain = append(chain, o)
		n.Interface, n.Shared, n.Lease = cmp.Or(n.Interface, o.iface), cmp.Or(n.Shared, o.shared), cmp.Or(n.Lease, o.lease)
		if n.Relays == nil {
			n.Relays = o.relays
		}
	}
	var options []given
	for _, o := range slices.Backward(chain) {
		for _, g := range o.options {
			options = slices.DeleteFunc(options, func(x given) bool { return x.Code == g.Code })
			if !g.none {
				options = append(options, g)
			}
		}
	}
	left := func(g given, format string, args ...any) {
		n.Left = append(n.Left, Note{File: g.file, Line: g.line, Text: fmt.Sprintf("%s: %s", show(g.text), fmt.Sprintf(format, args...))})
	}
	for _, g := range options {
		switch {
		case g.Code == 3:
			for _, a := range g.Addrs() {
				if n.Subnet.IsValid() && !n.Subnet.Contains(a) {
					left(g, "router %s is not in subnet %s", a, n.Subnet)
				} else {
					n.Routers = append(n.Routers, a)
				}
			}
		case g.Code == 6:
			n.DNS = g.Addrs()
		case g.Code == 15 && !utf8.Valid(g.Data):
			left(g, "that is no domain")
		case g.Code == 15:
			n.Domain = string(g.Data)
		default:
			n.Options, n.values[g.Code] = append(n.Options, g.Option), g.value
		}
	}
	n.Shared = cleanName(n.Shared)
	slices.SortFunc(n.Options, func(a, b boot.Option) int { return cmp.Compare(a.Code, b.Code) })
	for _, r := range n.ranges {
		n.Ranges = append(n.Ranges, r.String())
	}
	if n.Mode = s.mode; n.Mode == "" {
		n.Mode = boot.Full
		if len(n.Ranges) == 0 {
			n.Mode = boot.Reservations
		}
	}
	if n.Mode == boot.Proxy {
		n.Routers, n.Lease, n.Options = nil, 0, nil // the other server gives them
	}
	if said := func(code uint8) bool {
		return slices.ContainsFunc(chain, func(o *scope) bool {
			return slices.ContainsFunc(o.options, func(g given) bool { return g.Code == code })
		})
	}; s.self && n.Mode != boot.Proxy {
		for _, x := range []struct {
			code      uint8
			key, what string
		}{{3, "routers", "router"}, {6, "dns", "name server"}} {
			if !said(x.code) {
				n.Left = append(n.Left, Note{File: s.file, Line: s.line, Text: fmt.Sprintf("dnsmasq tells its own address as %s, as nothing else is said: set %s", x.what, x.key)})
			}
		}
	}
	slices.SortStableFunc(n.Left, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	return n
}

// NoInterface stands where a person must say the interface.
const NoInterface = "CHANGE-ME"

// TOML writes the networks as muster.toml has them, with all that is left as comments.
// on says, for a subnet, which interface of this computer has an address in it; "" if
// none has.
func (ns *Networks) TOML(on func(netip.Prefix) string) []byte {
	var b bytes.Buffer
	for i, n := range ns.Networks {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s:%d\n", comment(n.File), n.Line)
		iface := n.Interface
		if n.Subnet.IsValid() {
			iface = cmp.Or(on(n.Subnet), iface)
		}
		if iface == "" {
			iface = NoInterface
			b.WriteString("# Which interface? None here has an address in it. If a relay agent passes its requests on, list that: relays = [\"ADDRESS\"]\n")
		}
		b.WriteString("[[network]]\n")
		set := func(key, value string) {
			if value != "" && value != `""` && value != "[]" {
				fmt.Fprintf(&b, "%-9s = %s\n", key, value)
			}
		}
		subnet, lease := "", ""
		if n.Subnet.IsValid() {
			subnet = n.Subnet.String()
		}
		if n.Lease != 0 {
			lease = short(n.Lease)
		}
		set("name", quoted(n.Name))
		set("interface", quoted(iface))
		set("mode", quoted(string(n.Mode)))
		set("subnet", quoted(subnet))
		set("range", quoted(strings.Join(n.Ranges, ", ")))
		set("routers", quotedAll(n.Routers))
		set("dns", quotedAll(n.DNS))
		set("domain", quoted(n.Domain))
		set("lease", quoted(lease))
		set("relays", quotedAll(n.Relays))
		set("shared", quoted(n.Shared))
		if len(n.Options) > 0 {
			b.WriteString("[network.options]\n")
		}
		for _, o := range n.Options {
			fmt.Fprintf(&b, "%s = %s\n", o.Name(), quoted(n.values[o.Code]))
		}
		writeLeft(&b, n.Left)
	}
	if len(ns.Left) > 0 {
		b.WriteString("\n# Of the whole server:\n")
		writeLeft(&b, ns.Left)
	}
	return b.Bytes()
}

// quoted is a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\U%08X`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quotedAll(as []netip.Addr) string {
	var out []string
	for _, a := range as {
		out = append(out, quoted(a.String()))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func writeLeft(b *bytes.Buffer, left []Note) {
	if len(left) == 0 {
		return
	}
	b.WriteString("# Not carried over:\n")
	for _, n := range left {
		fmt.Fprintf(b, "#   %s\n", comment(n.String()))
	}
}

// comment is text for one line of a comment.
func comment(s string) string { return plain(s, 400) }

// short is a duration without its zeros: 12h, 90m, 45s.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.Round(time.Second).String()
}
