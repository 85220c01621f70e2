// Package reservation reads machines, and networks, from the files of other DHCP
// servers: a name and bytes in, hosts or [[network]] tables and notes out. Anything that
// a file says and that Muster cannot hold becomes a note with file and line. It must not
// open files, nor know which hosts exist already.
package reservation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/musterboot/muster/boot"
)

// Bounds of one import.
const (
	MaxBytes = 64 << 20
	MaxHosts = boot.MaxAddHosts
	maxNotes = 10_000 // of one file; further notes are only counted
	maxDepth = 100    // of blocks in blocks
	maxWords = 256    // of a statement, a line or a header row
)

// Format is the file format of one DHCP server.
type Format string

// Formats.
const (
	ISC     Format = "isc"
	Kea     Format = "kea"
	Dnsmasq Format = "dnsmasq"
	CSV     Format = "csv"
	Log     Format = "log" // of requests
)

// Formats lists them all.
var Formats = []Format{ISC, Kea, Dnsmasq, CSV, Log}

// Entry is one machine and the line that it was read from.
type Entry struct {
	File string
	Line int
	Host boot.NewHost
}

// Note is one thing that could not be imported as it was.
type Note struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Host string `json:"host,omitempty"` // as the file calls it
	Text string `json:"text"`
	Lost bool   `json:"lost,omitempty"`       // the whole machine is not imported
	Net  bool   `json:"of_network,omitempty"` // it is about a network or the server, and ReadNetworks may carry it over
}

func (n Note) String() string {
	s := fmt.Sprintf("%s:%d: ", n.File, n.Line)
	if n.Host != "" {
		s += n.Host + ": "
	}
	return s + n.Text
}

// Result is the content of one file.
type Result struct {
	Entries []Entry
	Notes   []Note
	Lost    int // machines that are not imported
	Parts   int // details of imported machines that are not imported; this counts on where Notes is full
}

// Parse reads a file. name is used only in notes and errors.
func Parse(f Format, name string, data []byte) (*Result, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB: split it", name, MaxBytes>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	r := &reader{file: name}
	var err error
	switch f {
	case ISC:
		err = r.isc(data)
	case Kea:
		err = r.kea(data)
	case Dnsmasq:
		err = r.dnsmasq(data)
	case CSV:
		err = r.csv(data)
	case Log:
		err = r.log(data)
	default:
		err = fmt.Errorf("format %q: want isc, kea, dnsmasq, csv or log", f)
	}
	if err != nil {
		return nil, err
	}
	// A host is checked when all of it was read, but its notes belong in file
	// order.
	slices.SortStableFunc(r.Notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	return &r.Result, nil
}

var (
	iscWords     = regexp.MustCompile(`(?m)^[ \t]*(host[ \t]+[^\s{]+[ \t]*\{|subnet[ \t]+\S+[ \t]+netmask[ \t]|shared-network[ \t]|option[ \t]+[a-z-]+[ \t]+[^=]*;)`)
	dnsmasqWords = regexp.MustCompile(`(?m)^[ \t]*(dhcp-(host|range|option|boot|hostsfile)[ \t]*=|([0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f*]{1,2}([ \t]+|[ \t]*,)\S)`)
)

// Detect returns the format of a file, by its content, else by its name; "" if
// neither shows it.
func Detect(name string, data []byte) Format {
	head := bytes.TrimPrefix(data[:min(len(data), 1<<20)], []byte("\ufeff"))
	first := bytes.TrimLeftFunc(head, unicode.IsSpace)
	for comment := true; comment; first = bytes.TrimLeftFunc(first, unicode.IsSpace) {
		switch {
		case bytes.HasPrefix(first, []byte("#")), bytes.HasPrefix(first, []byte("//")):
			_, first, _ = bytes.Cut(first, []byte("\n"))
		case bytes.HasPrefix(first, []byte("/*")):
			_, first, _ = bytes.Cut(first, []byte("*/"))
		default:
			comment = false
		}
	}
	header, _, _ := bytes.Cut(first, []byte("\n"))
	base := strings.ToLower(filepath.Base(name))
	switch {
	case logWords.Match(head):
		return Log
	case bytes.HasPrefix(first, []byte("{")), bytes.HasPrefix(first, []byte("[")):
		return Kea
	case isHeader(string(header)), excelSep(string(bytes.TrimSpace(header))) != 0:
		return CSV
	case dnsmasqWords.Match(head):
		return Dnsmasq
	case iscWords.Match(head):
		return ISC
	case strings.HasSuffix(base, ".csv"), strings.HasSuffix(base, ".tsv"):
		return CSV
	case strings.HasSuffix(base, ".json"), strings.HasPrefix(base, "kea"):
		return Kea
	case strings.Contains(base, "dnsmasq"), base == "ethers":
		return Dnsmasq
	case strings.HasPrefix(base, "dhcpd"):
		return ISC
	}
	return ""
}

// reader collects what the parser of one file finds.
type reader struct {
	Result
	file string
}

func (r *reader) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.file, line, fmt.Sprintf(format, args...))
}

func (r *reader) add(n Note) {
	n.File = r.file
	if n.Lost {
		r.Lost++
	} else {
		r.Parts++
	}
	if len(r.Notes) < maxNotes {
		r.Notes = append(r.Notes, n)
	}
}

// part notes one detail, of a host or of none, that is not imported.
func (r *reader) part(line int, host, format string, args ...any) {
	r.add(Note{Line: line, Host: host, Text: fmt.Sprintf(format, args...)})
}

// lost notes that a whole host is not imported.
func (r *reader) lost(line int, host, format string, args ...any) {
	r.add(Note{Line: line, Host: host, Text: "not carried over: " + fmt.Sprintf(format, args...), Lost: true})
}

var errMany = errors.New("too many hosts")

// draft is a host that is being read, before it becomes an Entry.
type draft struct {
	line  int
	label string // what notes call it
	host  boot.NewHost
	other []string // identifiers that Muster does not use
}

// addMAC reads one hardware address.
func (r *reader) addMAC(d *draft, line int, s string) {
	if strings.Contains(s, "*") {
		r.part(line, d.label, "%s stands for many machines; a host has whole addresses", show(s))
		return
	}
	m, err := parseMAC(s)
	switch {
	case err != nil:
		r.part(line, d.label, "%s is not an Ethernet address: want six bytes like 52:54:00:aa:bb:01", show(s))
	case !m.Usable():
		r.part(line, d.label, "%s is no station's address", m)
	case len(d.host.MACs) <= 64 && !slices.Contains(d.host.MACs, m): // one over the limit is kept, so that Validate refuses it
		d.host.MACs = append(d.host.MACs, m)
	}
}

// addOther notes an identifier; a host has few.
func (d *draft) addOther(s string) {
	if len(d.other) < 16 {
		d.other = append(d.other, s)
	}
}

// addAddress takes the first IPv4 address of a host.
func (r *reader) addAddress(d *draft, line int, s string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		r.part(line, d.label, "%s is no address: names are not looked up, give the IPv4 address itself", show(s))
	case !a.Is4():
		r.part(line, d.label, "address %s is not carried over: only IPv4 is reserved", show(s))
	case d.host.Address.IsValid() && d.host.Address != a:
		r.part(line, d.label, "address %s is not carried over: a host has one, here %s", a, d.host.Address)
	default:
		d.host.Address = a
	}
}

// finish checks a draft by the rules of a host and keeps the valid fields, so
// that one bad field does not refuse the machine.
func (r *reader) finish(d *draft) error {
	h := &d.host
	h.State = boot.Pending
	if name := cleanName(h.Name); name != h.Name {
		if name == "" {
			r.part(d.line, d.label, "name %s has no letter or digit: it is called by its MAC address instead", show(h.Name))
		} else {
			r.part(d.line, d.label, "name %s becomes %s: letters, digits, and '-', '_' or '.' inside, 63 at most", show(h.Name), name)
		}
		h.Name = name
	}
	if !h.UUID.IsZero() && h.UUID.Junk() {
		r.part(d.line, d.label, "UUID %s is a vendor's filler that many boards share", h.UUID)
		h.UUID = boot.UUID{}
	}
	if h.Serial != "" {
		s, ok := boot.CleanSerial(h.Serial)
		if !ok {
			r.part(d.line, d.label, "serial %s is filler or not plain text", show(h.Serial))
		}
		h.Serial = s
	}
	if len(h.MACs) == 0 && h.UUID.IsZero() && h.Serial == "" {
		if len(d.other) > 0 {
			r.lost(d.line, d.label, "it is known by %s only: a host needs a MAC address, UUID or serial number", strings.Join(d.other, ", "))
		} else {
			r.lost(d.line, d.label, "nothing identifies it: a host needs a MAC address, UUID or serial number")
		}
		return nil
	}
	if cleanName(h.Template) != h.Template {
		// Without it the machine would boot something else.
		r.lost(d.line, d.label, "no template can be called %s", show(h.Template))
		return nil
	}
	for _, o := range d.other {
		r.part(d.line, d.label, "%s is not carried over: the host is known by its MAC address", o)
	}
	// The daemon gives a default name to a host without one.
	judged := *h
	if judged.Name == "" {
		judged.Name = "unnamed"
	}
	if err := judged.Validate(); err != nil {
		r.lost(d.line, d.label, "%s", plain(strings.TrimPrefix(err.Error(), "host "+judged.Name+": "), 300))
		return nil
	}
	if len(r.Entries) >= MaxHosts {
		return fmt.Errorf("%s:%d: %w: more than %d; split the file", r.file, d.line, errMany, MaxHosts)
	}
	r.Entries = append(r.Entries, Entry{r.file, d.line, *h})
	return nil
}

// parseMAC also reads 0:1:2:a:b:c and 5254.00aa.bb01, which other programs
// write.
func parseMAC(s string) (boot.MAC, error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return boot.MAC{}, fmt.Errorf("too long")
	}
	for _, sep := range []string{":", "-"} {
		if parts := strings.Split(s, sep); len(parts) == 6 {
			for i, p := range parts {
				if len(p) == 1 {
					parts[i] = "0" + p
				}
				if len(parts[i]) != 2 {
					return boot.MAC{}, fmt.Errorf("not two digits")
				}
			}
			return boot.ParseMAC(strings.Join(parts, sep))
		}
	}
	if len(s) == 14 && s[4] == '.' && s[9] == '.' {
		s = strings.ReplaceAll(s, ".", "")
	}
	return boot.ParseMAC(s)
}

// cleanName makes a valid host name from an invalid one; "" if nothing is left.
func cleanName(s string) string {
	if len(s) > 1024 {
		s = s[:1024]
	}
	dash := false
	s = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
			dash = false
			return c
		case dash: // one for a run of them
			return -1
		}
		dash = true
		return '-'
	}, s)
	s = strings.Trim(s, "-._")
	return strings.TrimRight(s[:min(len(s), 63)], "-._")
}

// show is text of a file, made safe for one line of a terminal.
func show(s string) string { return `"` + word(s) + `"` }

// word is show without the quotes.
func word(s string) string { return plain(s, 60) }

func plain(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}

// clientID describes a DHCP client identifier for people; most are the MAC
// address with the hardware type in front.
func clientID(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 { // bytes, written as dhcpd does: "\001\122T…"
		s = strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% x:", s), " ", ":"), ":")
	}
	t := "client-id " + show(s)
	if rest, ok := strings.CutPrefix(strings.ReplaceAll(s, "-", ":"), "01:"); ok {
		if m, err := parseMAC(rest); err == nil {
			t += fmt.Sprintf(" (if that is its MAC address, write %s)", m)
		}
	}
	return t
}

// ofNetwork notes a setting of a whole network or server, which a host list does not have.
func (r *reader) ofNetwork(line int, text string) {
	r.add(Note{Line: line, Text: show(text) + " is not carried over: it belongs to a [[network]] of muster.toml", Net: true})
}

// Conflict is an entry that claims what an earlier one claims.
type Conflict struct {
	Entry int    // index of the later
	First int    // index of the earlier
	What  string // what both claim
}

// Conflicts finds entries that claim the name, an identifier or the address of
// an earlier one. An entry in conflict claims nothing itself. So leaving out
// all entries in conflict leaves no conflict.
func Conflicts(es []Entry) []Conflict {
	var out []Conflict
	owner := map[string]int{}
	for i := range es {
		h := &es[i].Host
		var claims []string
		for _, m := range h.MACs {
			claims = append(claims, "MAC "+m.String())
		}
		if h.Name != "" {
			claims = append(claims, "name "+h.Name)
		}
		if h.Address.IsValid() {
			claims = append(claims, "address "+h.Address.String())
		}
		if !h.UUID.IsZero() {
			claims = append(claims, "UUID "+h.UUID.String())
		}
		if h.Serial != "" {
			claims = append(claims, "serial "+h.Serial)
		}
		clash := false
		for _, c := range claims {
			if first, taken := owner[c]; taken {
				out = append(out, Conflict{i, first, c})
				clash = true
				break
			}
		}
		if clash {
			continue
		}
		for _, c := range claims {
			owner[c] = i
		}
	}
	return out
}
