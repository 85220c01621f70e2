// option.go: DHCP options that an operator writes, by name or number. Each has the
// type that the registry gives it, so that a configuration can be read.

package boot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option is one DHCPv4 option as it goes out. Its text form is "name=value",
// which ParseOption reads.
type Option struct {
	Code uint8
	Data []byte
}

// Addrs are the addresses of an option that is a list of them.
func (o Option) Addrs() (out []netip.Addr) {
	for b := o.Data; len(b) >= 4; b = b[4:] {
		out = append(out, netip.AddrFrom4([4]byte(b)))
	}
	return out
}

// optionKind is how a value is written and encoded.
type optionKind string

const (
	kindIP      optionKind = "address"                        // one IPv4 address
	kindIPs     optionKind = "addresses"                      // a list
	kindText    optionKind = "text"                           // without NUL
	kindU8      optionKind = "number from 0 to 255"           //
	kindU16     optionKind = "number from 0 to 65535"         //
	kindU32     optionKind = "number from 0 to 4294967295"    //
	kindSeconds optionKind = "duration"                       // 32 bits of seconds
	kindBool    optionKind = "true or false"                  //
	kindRoutes  optionKind = "routes"                         // "10.1.0.0/16 via 10.0.0.1" (RFC 3442)
	kindDomains optionKind = "domains"                        // RFC 3397, without compression
	kindVendor  optionKind = "enterprise:code=text"           // option 125 (RFC 3925)
	kindHex     optionKind = "bytes in hexadecimal, as hex:…" //
)

// optionTypes is the part of the registry (RFC 2132 and later) that operators
// write. What is not in it is written by number, as hex:, text:, ip:, u8:, u16:
// or u32: and a value.
var optionTypes = []struct {
	code uint8
	name string
	kind optionKind
}{
	{2, "time-offset", kindU32}, {3, "routers", kindIPs}, {4, "time-servers", kindIPs}, {6, "dns-servers", kindIPs}, {7, "log-servers", kindIPs},
	{9, "lpr-servers", kindIPs}, {12, "host-name", kindText}, {15, "domain-name", kindText}, {17, "root-path", kindText}, {19, "ip-forwarding", kindBool},
	{26, "interface-mtu", kindU16}, {28, "broadcast-address", kindIP}, {33, "static-routes", kindIPs}, {40, "nis-domain", kindText}, {41, "nis-servers", kindIPs},
	{42, "ntp-servers", kindIPs}, {43, "vendor-encapsulated-options", kindHex}, {44, "netbios-name-servers", kindIPs}, {46, "netbios-node-type", kindU8},
	{58, "renewal-time", kindSeconds}, {59, "rebinding-time", kindSeconds}, {60, "vendor-class-identifier", kindText}, {64, "nisplus-domain", kindText},
	{66, "tftp-server-name", kindText}, {67, "bootfile-name", kindText}, {69, "smtp-servers", kindIPs}, {72, "www-servers", kindIPs},
	{100, "posix-timezone", kindText}, {101, "tzdb-timezone", kindText}, {108, "v6-only-preferred", kindSeconds}, {114, "default-url", kindText},
	{116, "auto-configure", kindU8}, {119, "domain-search", kindDomains}, {120, "sip-servers", kindHex}, {121, "classless-routes", kindRoutes},
	{125, "vendor-options", kindVendor}, {138, "capwap-access-controllers", kindIPs}, {143, "sztp-redirect", kindHex}, {150, "tftp-server-address", kindIPs},
	{160, "captive-portal", kindText}, {176, "ip-telephone", kindText}, {208, "pxelinux-magic", kindHex}, {209, "pxelinux-config-file", kindText},
	{210, "pxelinux-path-prefix", kindText}, {211, "pxelinux-reboot-time", kindSeconds}, {239, "ztp-url", kindText}, {249, "ms-classless-routes", kindRoutes}, {252, "wpad", kindText},
}

// ours are options that cannot be written here: the protocol sets them, or the
// configuration has a key of its own for them.
var ours = map[uint8]string{
	0: "it is padding", 255: "it is the end mark", 1: "it is the network's subnet", 13: "UEFI firmware multiplies it in 16 bits and then believes it instead of the file's size",
	50: "it is the client's", 51: "it is the network's lease", 52: "some boot loaders do not understand it", 53: "it is the message type", 54: "it is the server's own address",
	55: "it is the client's", 56: "it is for refusals", 57: "it is the client's", 61: "it is echoed", 80: "it is the network's rapid_commit", 82: "it is the relay's, and echoed",
}

// ParseOption reads an option. key is a name or number; value a string, a whole
// number, true or false, or a list of strings. Lists in one string are separated
// by commas.
func ParseOption(key string, value any) (Option, error) {
	key = strings.TrimSpace(key)
	var o Option
	name, kind := "", optionKind("")
	if n, err := strconv.Atoi(key); err == nil {
		if n < 0 || n > 255 {
			return o, fmt.Errorf("option %d: codes go from 1 to 254", n)
		}
		o.Code, name = uint8(n), key
		for _, t := range optionTypes {
			if t.code == o.Code && t.name != "" {
				name, kind = t.name, t.kind
			}
		}
	} else {
		i := slices.IndexFunc(optionTypes, func(t struct {
			code uint8
			name string
			kind optionKind
		}) bool {
			return t.name != "" && t.name == strings.ToLower(strings.ReplaceAll(key, "_", "-"))
		})
		if i < 0 {
			return o, fmt.Errorf("option %q: no option is called that; write its number, or one of %s", key, strings.Join(OptionNames(), ", "))
		}
		o.Code, name, kind = optionTypes[i].code, optionTypes[i].name, optionTypes[i].kind
	}
	if why, no := ours[o.Code]; no {
		return o, fmt.Errorf("option %s (%d) cannot be set: %s", name, o.Code, why)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("option %s (%d): %s", name, o.Code, fmt.Sprintf(format, args...))
	}
	var list []string
	switch v := value.(type) {
	case string:
		list = []string{v}
	case int64:
		list = []string{strconv.FormatInt(v, 10)}
	case int:
		list = []string{strconv.Itoa(v)}
	case bool:
		list = []string{strconv.FormatBool(v)}
	case []string:
		list = v
	case []any:
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return o, bad("a list holds strings: %v is none", x)
			}
			list = append(list, s)
		}
	default:
		return o, bad("want a string, a number, true or false, or a list of strings")
	}
	// A prefix overrides the type: some vendors used a code before it was registered.
	if len(list) == 1 {
		if p, rest, ok := strings.Cut(list[0], ":"); ok {
			if k, known := map[string]optionKind{"hex": kindHex, "text": kindText, "ip": kindIPs, "u8": kindU8, "u16": kindU16, "u32": kindU32}[p]; known {
				kind, list = k, []string{rest}
			}
		}
	}
	if kind == "" {
		kind = kindText
	}
	data, err := encodeOption(kind, list)
	if err != nil {
		return o, bad("%v", err)
	}
	if o.Data = data; len(data) == 0 {
		return o, bad("it is empty, and firmware drops a whole reply for an empty option")
	}
	if len(data) > 1024 {
		return o, bad("%d bytes are more than any client takes (1024)", len(data))
	}
	return o, nil
}

func encodeOption(kind optionKind, list []string) (b []byte, err error) {
	items := func() (out []string) {
		for _, s := range list {
			for _, x := range strings.Split(s, ",") {
				if x = strings.TrimSpace(x); x != "" {
					out = append(out, x)
				}
			}
		}
		return out
	}
	one := func() (string, error) {
		if len(list) != 1 {
			return "", fmt.Errorf("want one %s, got %d", kind, len(list))
		}
		return list[0], nil
	}
	number := func(bits int) ([]byte, error) {
		s, err := one()
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(s), 0, bits)
		if err != nil {
			return nil, fmt.Errorf("%q: want a %s", s, kind)
		}
		return binary.BigEndian.AppendUint64(nil, n)[8-bits/8:], nil
	}
	switch kind {
	case kindText:
		s, err := one()
		if err == nil && strings.ContainsRune(s, 0) {
			err = fmt.Errorf("text with a NUL in it; write it in hexadecimal, with hex: in front")
		}
		return []byte(s), err
	case kindHex:
		s, err := one()
		if err != nil {
			return nil, err
		}
		if b, err = hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(s)); err != nil {
			return nil, fmt.Errorf("%q: want %s", s, kind)
		}
		return b, nil
	case kindIP, kindIPs:
		l := items()
		if kind == kindIP && len(l) != 1 {
			return nil, fmt.Errorf("want one address, got %d", len(l))
		}
		for _, s := range l {
			a, err := netip.ParseAddr(s)
			if err != nil || !a.Is4() {
				return nil, fmt.Errorf("%q is no IPv4 address", s)
			}
			b = append(b, a.AsSlice()...)
		}
		return b, nil
	case kindU8:
		return number(8)
	case kindU16:
		return number(16)
	case kindU32:
		return number(32)
	case kindSeconds:
		s, err := one()
		if err != nil {
			return nil, err
		}
		if d, err := time.ParseDuration(s); err == nil && d >= 0 && d < 1<<32*time.Second {
			return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second)), nil
		}
		return number(32)
	case kindBool:
		s, err := one()
		if err != nil {
			return nil, err
		}
		v, err := strconv.ParseBool(s)
		if err != nil {
			return nil, fmt.Errorf("%q: want true or false", s)
		}
		return []byte{map[bool]byte{true: 1}[v]}, nil
	case kindDomains:
		for _, s := range items() {
			for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
				if label == "" || len(label) > 63 {
					return nil, fmt.Errorf("%q is no domain name", s)
				}
				b = append(append(b, byte(len(label))), label...)
			}
			b = append(b, 0)
		}
		return b, nil
	case kindRoutes:
		for _, s := range items() {
			to, via, ok := strings.Cut(s, " via ")
			if to = strings.TrimSpace(to); to == "default" {
				to = "0.0.0.0/0"
			}
			p, err1 := netip.ParsePrefix(to)
			gw, err2 := netip.ParseAddr(strings.TrimSpace(via))
			if !ok || err1 != nil || err2 != nil || !p.Addr().Is4() || !gw.Is4() || p != p.Masked() {
				return nil, fmt.Errorf("%q: want \"10.1.0.0/16 via 10.0.0.1\" or \"default via 10.0.0.1\"", s)
			}
			// RFC 3442: only the significant bytes of the destination.
			b = append(append(append(b, byte(p.Bits())), p.Addr().AsSlice()[:(p.Bits()+7)/8]...), gw.AsSlice()...)
		}
		return b, nil
	case kindVendor:
		var order []uint32
		subs := map[uint32][]byte{}
		for _, s := range list {
			head, text, ok := strings.Cut(s, "=")
			e, c, ok2 := strings.Cut(head, ":")
			n, err1 := strconv.ParseUint(e, 10, 32)
			code, err2 := strconv.ParseUint(c, 10, 8)
			if !ok || !ok2 || err1 != nil || err2 != nil || len(text) > 255 {
				return nil, fmt.Errorf("%q: want enterprise:code=text, like \"42623:1=http://10.0.0.1/onie.bin\"", s)
			}
			if subs[uint32(n)] == nil {
				order = append(order, uint32(n))
			}
			subs[uint32(n)] = append(append(subs[uint32(n)], byte(code), byte(len(text))), text...)
		}
		for _, e := range order {
			if len(subs[e]) > 255 {
				return nil, fmt.Errorf("%d bytes for enterprise %d: at most 255 fit", len(subs[e]), e)
			}
			b = append(binary.BigEndian.AppendUint32(b, e), byte(len(subs[e])))
			b = append(b, subs[e]...)
		}
		return b, nil
	}
	return nil, fmt.Errorf("nobody knows how to write %s", kind)
}

// OptionNames lists the options that have a name.
func OptionNames() []string {
	var out []string
	for _, t := range optionTypes {
		if t.name != "" {
			out = append(out, t.name)
		}
	}
	slices.Sort(out)
	return out
}

// Name is the option's name, or its number.
func (o Option) Name() string {
	for _, t := range optionTypes {
		if t.code == o.Code && t.name != "" {
			return t.name
		}
	}
	return strconv.Itoa(int(o.Code))
}

// String is the option as a person would write it. ParseOptionText reads it back to
// the same bytes.
func (o Option) String() string {
	s := o.text()
	if again, err := ParseOptionText(s); err != nil || !bytes.Equal(again.Data, o.Data) {
		return o.Name() + "=hex:" + hex.EncodeToString(o.Data)
	}
	return s
}

func (o Option) text() string {
	kind := kindHex
	for _, t := range optionTypes {
		if t.code == o.Code && t.name != "" {
			kind = t.kind
		}
	}
	v := "hex:" + hex.EncodeToString(o.Data)
	switch {
	case (kind == kindIP || kind == kindIPs) && len(o.Data)%4 == 0:
		var l []string
		for b := o.Data; len(b) > 0; b = b[4:] {
			l = append(l, netip.AddrFrom4([4]byte(b)).String())
		}
		v = strings.Join(l, ",")
	case kind == kindText && plainText(string(o.Data)):
		v = string(o.Data)
		if p, _, ok := strings.Cut(v, ":"); ok && slices.Contains([]string{"hex", "text", "ip", "u8", "u16", "u32"}, p) {
			v = "text:" + v
		}
	case kind == kindSeconds && len(o.Data) == 4:
		v = (time.Duration(binary.BigEndian.Uint32(o.Data)) * time.Second).String()
	case kind == kindU8 && len(o.Data) == 1, kind == kindU16 && len(o.Data) == 2, kind == kindU32 && len(o.Data) == 4:
		var n uint64
		for _, x := range o.Data {
			n = n<<8 | uint64(x)
		}
		v = strconv.FormatUint(n, 10)
	case kind == kindBool && len(o.Data) == 1 && o.Data[0] < 2:
		v = strconv.FormatBool(o.Data[0] != 0)
	}
	return o.Name() + "=" + v
}

// MarshalJSON keeps the text form: an export is read by people.
func (o Option) MarshalJSON() ([]byte, error) { return json.Marshal(o.String()) }

// UnmarshalJSON reads it back.
func (o *Option) UnmarshalJSON(b []byte) (err error) {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*o, err = ParseOptionText(s)
	return err
}

// ParseOptionText reads "name=value".
func ParseOptionText(s string) (Option, error) {
	k, v, ok := strings.Cut(s, "=")
	if !ok {
		return Option{}, fmt.Errorf("%q: want NAME=VALUE, like ntp-servers=10.0.0.1", s)
	}
	return ParseOption(k, v)
}

// mergeOptions joins the lists; of two options with one code the last one stays.
func mergeOptions(lists ...[]Option) []Option {
	var out []Option
	for _, l := range lists {
		for _, o := range l {
			if i := slices.IndexFunc(out, func(x Option) bool { return x.Code == o.Code }); i >= 0 {
				out[i] = o
			} else {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(a, b Option) int { return int(a.Code) - int(b.Code) })
	return out
}

// Menu is what PXE firmware shows instead of starting its file at once
// (PXE 2.1, option 43).
type Menu struct {
	Prompt  string
	Timeout uint8 // seconds; 0 takes the first entry at once, 255 waits
	Items   []MenuItem
}

// MenuItem is one line. Its place in the menu is the boot server type that the
// firmware asks port 4011 for; a line without a loader boots the disk.
type MenuItem struct {
	Text   string
	Loader string // file name; "default" is what the machine would get without a menu
}

// MenuTypes is the first boot server type of a menu's items: those below are the
// standard's own.
const MenuTypes = 0x8000

// Item finds the menu item of a boot server type.
func (m *Menu) Item(t uint16) (MenuItem, bool) {
	if m == nil || t < MenuTypes || int(t-MenuTypes) >= len(m.Items) {
		return MenuItem{}, false
	}
	return m.Items[t-MenuTypes], true
}
