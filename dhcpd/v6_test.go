// v6_test.go: bytes in, bytes out. Each file in testdata/v6 is a conversation
// with real firmware: "packet" lines are what it sent, captured on the wire unless
// the head of the file says otherwise; beneath each, "<" lines are the facts drawn from it and our reply, byte for
// byte, one option a line. MUSTER_GOLDEN=write rewrites the "<" lines.

package dhcpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// duid6 is the DUID of the server that the captured firmware talked to.
var duid6, _ = hex.DecodeString("00030001020000000001")

// fixed6 answers without any state: the address is made from the IAID, and the
// loader is chosen by the class.
func fixed6(in boot.Sighting) (boot.Decision, error) {
	a := boot.Answer6{Preference: 255, Options: boot.Options6{DNS: []netip.Addr{netip.MustParseAddr("fd77::53")}, Search: []string{"lab.example"}}}
	d := boot.Decision{Class: boot.Plain, Network: "lab"}
	f := in.Firmware
	switch {
	case f.IPXE:
		d.Class, a.Boot = boot.IPXE, &boot.BootInfo{Class: boot.IPXE, File: "http://[fd77::1]/boot.ipxe"}
	case strings.HasPrefix(f.VendorClass, "HTTPClient"):
		d.Class, a.Boot = boot.HTTPClient, &boot.BootInfo{Class: boot.HTTPClient, File: "http://[fd77::1]:8080/ipxe.efi"}
	case f.Arch != boot.ArchNone:
		d.Class, a.Boot = boot.PXE, &boot.BootInfo{Class: boot.PXE, File: "tftp://[fd77::1]/ipxe.efi"}
	}
	switch in.Step {
	case boot.Solicit, boot.Request6, boot.Renew, boot.Rebind:
		a.Advertise = in.Step == boot.Solicit && !in.Want.Rapid
		a.Rapid = in.Want.Rapid
		for _, ia := range in.Want.IAs {
			b := boot.Bound{ID: ia.ID, Prefix: ia.Prefix}
			x := netip.MustParseAddr("fd77::").As16()
			bits := 128
			if ia.Prefix {
				bits = 56
				binary.BigEndian.PutUint32(x[2:], ia.ID)
			} else {
				binary.BigEndian.PutUint32(x[12:], ia.ID)
			}
			b.Leases = []boot.Grant6{{Prefix: netip.PrefixFrom(netip.AddrFrom16(x), bits).Masked(), Preferred: time.Hour, Valid: 2 * time.Hour}}
			a.IAs = append(a.IAs, b)
		}
	case boot.Inform:
		a.Refresh = 24 * time.Hour
	default:
		a = boot.Answer6{Status: &boot.Status6{Text: "done"}}
	}
	d.Reply = a
	return d, nil
}

// show6 prints a reply so that every byte of it can be checked by a reader.
func show6(b []byte, indent string) (out []string) {
	fixed := 4
	if b[0] == typeRelayForw || b[0] == typeRelayRepl {
		fixed = relayFixed
	}
	out = append(out, indent+"head "+hex.EncodeToString(b[:fixed]))
	var options func(b []byte, indent string)
	options = func(b []byte, indent string) {
		w := walk6{rest: b}
		for code, v, ok := w.next(); ok; code, v, ok = w.next() {
			switch {
			case code == opt6RelayMessage:
				out = append(append(out, fmt.Sprintf("%s%d %d bytes", indent, code, len(v))), show6(v, indent+"  ")...)
			case code == opt6IANA || code == opt6IAPD:
				out = append(out, fmt.Sprintf("%s%d %s", indent, code, hex.EncodeToString(v[:12])))
				options(v[12:], indent+"  ")
			default:
				out = append(out, fmt.Sprintf("%s%d %s %q", indent, code, hex.EncodeToString(v), v))
			}
		}
		if w.bad > 0 {
			out = append(out, indent+"BROKEN")
		}
	}
	options(b[fixed:], indent)
	return out
}

// strict6 checks what holds for every reply, whatever was asked and decided.
func strict6(r *request6, reply []byte, pxe bool) error {
	for i, h := range r.hops {
		if len(reply) < relayFixed || reply[0] != typeRelayRepl || reply[1] != h.count || !bytes.Equal(reply[2:18], as16(h.link)) || !bytes.Equal(reply[18:34], as16(h.peer)) {
			return fmt.Errorf("hop %d is not mirrored", i)
		}
		var inner []byte
		var order []uint16
		w := walk6{rest: reply[relayFixed:]}
		for code, v, ok := w.next(); ok; code, v, ok = w.next() {
			order = append(order, code)
			switch code {
			case opt6InterfaceID:
				if h.iface == nil || !bytes.Equal(v, h.iface) {
					return fmt.Errorf("hop %d: interface-id %x, want %x", i, v, h.iface)
				}
			case opt6RelayPort:
				if !bytes.Equal(v, h.port) {
					return fmt.Errorf("hop %d: port", i)
				}
			case opt6RelayMessage:
				inner = v
			default:
				return fmt.Errorf("hop %d: option %d", i, code)
			}
		}
		want := 1
		if h.iface != nil {
			want++
		}
		if h.port != nil {
			want++
		}
		if w.bad > 0 || len(order) != want {
			return fmt.Errorf("hop %d: options %v", i, order)
		}
		reply = inner
	}
	if len(reply) < 4 || reply[0] != typeAdvertise && reply[0] != typeReply {
		return errors.New("no message")
	}
	if len(reply) > maxReply6 {
		return fmt.Errorf("%d bytes do not fit every link", len(reply))
	}
	if [3]byte(reply[1:4]) != r.xid {
		return errors.New("transaction")
	}
	seen := map[uint16]bool{}
	w := walk6{rest: reply[4:]}
	for code, v, ok := w.next(); ok; code, v, ok = w.next() {
		if seen[code] && code != opt6IANA && code != opt6IAPD {
			return fmt.Errorf("option %d twice", code)
		}
		seen[code] = true
		switch code {
		case opt6ClientID:
			if !bytes.Equal(v, r.clientID) {
				return errors.New("client identifier is not the client's")
			}
		case opt6ServerID:
			if !bytes.Equal(v, duid6) {
				return errors.New("server identifier is not ours")
			}
		case opt6BootURL:
			if len(w.rest) == 0 || w.rest[0] != 0 {
				return errors.New("nothing ends the boot URL in edk2's memory")
			}
		case opt6VendorClass, opt6BootParams:
			if pxe {
				return fmt.Errorf("option %d for PXE firmware", code)
			}
		case opt6IANA, opt6IAPD:
			t1, t2 := binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
			if t1 > t2 {
				return fmt.Errorf("T1 %d > T2 %d: edk2 drops the IA", t1, t2)
			}
			sub := walk6{rest: v[12:]}
			for c, x, ok := sub.next(); ok; c, x, ok = sub.next() {
				at := 16
				switch {
				case c == opt6IAAddr && code == opt6IANA && len(x) == 24:
				case c == opt6IAPrefix && code == opt6IAPD && len(x) == 25:
					at = 0
				case c == opt6Status && len(x) >= 2:
					continue
				default:
					return fmt.Errorf("option %d of %d bytes in %d", c, len(x), code)
				}
				if binary.BigEndian.Uint32(x[at:]) > binary.BigEndian.Uint32(x[at+4:]) {
					return errors.New("preferred longer than valid")
				}
			}
			if sub.bad > 0 {
				return errors.New("an IA is broken")
			}
		}
	}
	if w.bad > 0 {
		return errors.New("the options are broken")
	}
	if !seen[opt6ServerID] || seen[opt6ClientID] != (r.clientID != nil) {
		return errors.New("an identifier is missing")
	}
	return nil
}

func converse6(t *testing.T, script string) string {
	var out strings.Builder
	now := at
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "<") {
			continue
		}
		out.WriteString(line)
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if f[0] != "packet" || len(f) != 4 {
			t.Fatalf("line is not understood: %s", line)
		}
		raw, err := hex.DecodeString(f[3])
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		m := Meta{At: now, Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort(f[1])}
		if dst := netip.MustParseAddr(f[2]); !dst.IsMulticast() {
			m.Local = dst
		}
		var facts []byte
		d, reply, to, err := Dry6(raw, m, duid6, func(in boot.Sighting) (boot.Decision, error) {
			facts, _ = json.Marshal(in)
			return fixed6(in)
		})
		if facts != nil {
			out.WriteString("< facts " + string(facts) + "\n")
		}
		if err != nil {
			out.WriteString("< dropped: " + err.Error() + "\n")
			continue
		}
		fmt.Fprintf(&out, "< %s to %s, %d bytes\n", to.How, to.Addr, len(reply))
		for _, s := range show6(reply, "") {
			out.WriteString("< " + s + "\n")
		}
		r, _ := parse6(raw, m)
		if err := strict6(r, reply, d.Class == boot.PXE); err != nil {
			t.Errorf("%s: %v", f[3], err)
		}
		agree6(t, reply)
	}
	return out.String()
}

func TestReplies6(t *testing.T) {
	names, _ := filepath.Glob("testdata/v6/*.txt")
	if len(names) < 10 {
		t.Fatalf("only %d conversations", len(names))
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, converse6(t, string(want)), string(want))
		})
	}
}

// captured6 returns every packet of the conversations: the seeds.
func captured6(t testing.TB) [][]byte {
	names, _ := filepath.Glob("testdata/v6/*.txt")
	var out [][]byte
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == "packet" {
				raw, err := hex.DecodeString(f[3])
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, raw)
			}
		}
	}
	return out
}

// fake6 is fixed6 as a Decider.
type fake6 struct{}

func (fake6) Next(_ context.Context, in boot.Sighting) (boot.Decision, error) { return fixed6(in) }
func (fake6) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error {
	return nil
}

// message makes a client's message: a type and options of code and hexadecimal.
func message(kind byte, options ...any) []byte {
	b := []byte{kind, 0xab, 0xcd, 0xef}
	for i := 0; i < len(options); i += 2 {
		b = append6(b, uint16(options[i].(int)), raw6(options[i+1])...)
	}
	return b
}

func raw6(v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		b, err := hex.DecodeString(strings.ReplaceAll(v, " ", ""))
		if err != nil {
			panic(err)
		}
		return b
	}
	panic(v)
}

// relayed wraps a message.
func relayed(count byte, link, peer string, msg []byte, options ...any) []byte {
	b := append([]byte{typeRelayForw, count}, as16(netip.MustParseAddr(link))...)
	b = append(b, as16(netip.MustParseAddr(peer))...)
	for i := 0; i < len(options); i += 2 {
		b = append6(b, uint16(options[i].(int)), raw6(options[i+1])...)
	}
	return append6(b, opt6RelayMessage, msg...)
}

var (
	client6 = "00030001 525400aabb01"
	meta6   = Meta{At: at, Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort("[fe80::5054:ff:feaa:bb02]:546")}
	relay6  = Meta{At: at, Interface: "eth1", Index: 3, Local: netip.MustParseAddr("fd77::1"), Source: netip.MustParseAddrPort("[fd99::9]:40000")}
)

// TestRefused6 is RFC 8415 16, message by message.
func TestRefused6(t *testing.T) {
	ours, other := hex.EncodeToString(duid6), "000300010200000000ff"
	direct := meta6
	direct.Local = netip.MustParseAddr("fd77::1")
	ia := "00000001 00000000 00000000"
	deep := message(typeSolicit, opt6ClientID, client6)
	for range maxHops {
		deep = relayed(0, "fd00::1", "fe80::1", deep)
	}
	for _, c := range []struct {
		name string
		b    []byte
		m    Meta
		want error
	}{
		{"solicit", message(typeSolicit, 1, client6), meta6, nil},
		{"solicit without client", message(typeSolicit), meta6, ErrNoClientID},
		{"solicit with server", message(typeSolicit, 1, client6, 2, ours), meta6, ErrHasServerID},
		{"solicit to one server", message(typeSolicit, 1, client6), direct, ErrUnicast},
		{"request", message(typeRequest6, 1, client6, 2, ours), meta6, nil},
		{"request without server", message(typeRequest6, 1, client6), meta6, ErrNoServerID},
		{"request without client", message(typeRequest6, 2, ours), meta6, ErrNoClientID},
		{"request of another server", message(typeRequest6, 1, client6, 2, other), meta6, nil},
		{"confirm", message(typeConfirm, 1, client6), meta6, nil},
		{"confirm with server", message(typeConfirm, 1, client6, 2, ours), meta6, ErrHasServerID},
		{"confirm without client", message(typeConfirm), meta6, ErrNoClientID},
		{"confirm to one server", message(typeConfirm, 1, client6), direct, ErrUnicast},
		{"renew", message(typeRenew, 1, client6, 2, ours), meta6, nil},
		{"renew without server", message(typeRenew, 1, client6), meta6, ErrNoServerID},
		{"renew without client", message(typeRenew, 2, ours), meta6, ErrNoClientID},
		{"renew with another server", message(typeRenew, 1, client6, 2, other), meta6, nil},
		{"rebind", message(typeRebind, 1, client6), meta6, nil},
		{"rebind with server", message(typeRebind, 1, client6, 2, ours), meta6, ErrHasServerID},
		{"rebind without client", message(typeRebind), meta6, ErrNoClientID},
		{"rebind to one server", message(typeRebind, 1, client6), direct, ErrUnicast},
		{"decline", message(typeDecline6, 1, client6, 2, ours), meta6, nil},
		{"decline without server", message(typeDecline6, 1, client6), meta6, ErrNoServerID},
		{"decline without client", message(typeDecline6, 2, ours), meta6, ErrNoClientID},
		{"release", message(typeRelease6, 1, client6, 2, ours), meta6, nil},
		{"release without server", message(typeRelease6, 1, client6), meta6, ErrNoServerID},
		{"release to another server", message(typeRelease6, 1, client6, 2, other), meta6, nil},
		{"inform of nobody", message(typeInform6), meta6, nil},
		{"inform", message(typeInform6, 1, client6, 2, ours), meta6, nil},
		{"inform of another server", message(typeInform6, 1, client6, 2, other), meta6, nil},
		{"inform with an address", message(typeInform6, 1, client6, 3, ia), meta6, ErrHasIA},
		{"inform with a prefix", message(typeInform6, 1, client6, 25, ia), meta6, ErrHasIA},
		{"inform with a temporary address", message(typeInform6, 1, client6, 4, "00000001"), meta6, ErrHasIA},
		{"inform to one server", message(typeInform6, 1, client6), direct, ErrUnicast},
		{"advertise", message(typeAdvertise, 1, client6, 2, ours), meta6, ErrNotAsked},
		{"reply", message(typeReply, 1, client6, 2, ours), meta6, ErrNotAsked},
		{"reconfigure", message(typeReconfigure, 1, client6, 2, ours), meta6, ErrNotAsked},
		{"relay-reply", append(append([]byte{typeRelayRepl}, make([]byte, 33)...), 0, 9, 0, 4, 7, 1, 2, 3), meta6, ErrNotAsked},
		{"leasequery", message(14, 1, client6), meta6, ErrType},
		{"type 0", message(0, 1, client6), meta6, ErrType},
		{"empty", nil, meta6, ErrMalformed},
		{"three bytes", []byte{1, 2, 3}, meta6, ErrMalformed},
		{"half a relay", make([]byte, 33), meta6, ErrType},
		{"relay cut off", append([]byte{typeRelayForw}, make([]byte, 32)...), meta6, ErrMalformed},
		{"relay with nothing", append([]byte{typeRelayForw}, make([]byte, 33)...), relay6, ErrMalformed},
		{"relay of an empty message", relayed(0, "fd00::1", "fe80::1", nil), relay6, ErrMalformed},
		{"relay of a reply", relayed(0, "fd00::1", "fe80::1", message(typeReply, 1, client6)), relay6, ErrNotAsked},
		{"eight relays", deep, relay6, nil},
		{"nine relays", relayed(8, "fd00::1", "fe80::1", deep), relay6, ErrHops},
		{"giant", append(message(typeSolicit, 1, client6), make([]byte, maxPacket6)...), meta6, ErrMalformed},
		{"client identifier too short", message(typeSolicit, 1, "0003"), meta6, ErrNoClientID},
		{"client identifier too long", message(typeSolicit, 1, make([]byte, 131)), meta6, ErrNoClientID},
	} {
		_, err := read6(c.b, c.m, duid6)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestToldToMulticast: a client that asks by unicast is told to use multicast
// (RFC 8415 18.4). The engine is not asked, and the reply has nothing else in
// it.
func TestToldToMulticast(t *testing.T) {
	m := meta6
	m.Local, m.Source = netip.MustParseAddr("fd77::1"), netip.MustParseAddrPort("[fd77::50]:546")
	for _, kind := range []byte{typeRequest6, typeRenew, typeRelease6, typeDecline6} {
		_, reply, to, err := Dry6(message(kind, 1, client6, 2, duid6, 3, "00000001 00000000 00000000"), m, duid6, func(boot.Sighting) (boot.Decision, error) {
			t.Error("asked")
			return boot.Decision{Reply: boot.Ignore{}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(show6(reply, ""), "\n")
		want := fmt.Sprintf("head 07abcdef\n1 00030001525400aabb01 %q\n2 %x %q\n13 000573656e64207468697320746f20666630323a3a313a32 \"\\x00\\x05send this to ff02::1:2\"",
			raw6(client6), duid6, duid6)
		if got != want {
			t.Errorf("type %d:\n%s\nwant\n%s", kind, got, want)
		}
		if to.Addr != m.Source || to.From != m.Local {
			t.Errorf("to %v from %v", to.Addr, to.From)
		}
	}
}

// TestOtherServer6: a message that names another server reaches the rules and
// is never answered.
func TestOtherServer6(t *testing.T) {
	direct := meta6
	direct.Local, direct.Source = netip.MustParseAddr("fd77::1"), netip.MustParseAddrPort("[fd77::50]:546")
	for _, m := range []Meta{meta6, direct} {
		for _, kind := range []byte{typeRequest6, typeRenew, typeRelease6, typeDecline6} {
			asked := false
			_, reply, _, err := Dry6(message(kind, 1, client6, 2, "000300010200000000ff"), m, duid6, func(in boot.Sighting) (boot.Decision, error) {
				asked = in.Want.ServerID == "000300010200000000ff"
				return fixed6(in)
			})
			if err != nil || reply != nil || !asked {
				t.Errorf("type %d: asked %v, replied %x, %v", kind, asked, reply, err)
			}
		}
	}
}

// TestFacts6: the facts drawn from the options, one option at a time.
func TestFacts6(t *testing.T) {
	text := func(s string) []byte { return []byte(s) }
	parse := func(t *testing.T, m Meta, b []byte) *request6 {
		t.Helper()
		r, err := parse6(b, m)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	solicit := func(options ...any) []byte { return message(typeSolicit, append([]any{1, client6}, options...)...) }

	t.Run("classes", func(t *testing.T) {
		for _, c := range []struct {
			name              string
			b                 []byte
			vendor, user      string
			ipxe              bool
			enterprise, wrong int
		}{
			{"iPXE with a length", solicit(15, text("\x00\x04iPXE")), "", "iPXE", true, 0, 0},
			{"iPXE raw", solicit(15, text("iPXE")), "", "iPXE", true, 0, 0},
			{"iPXE as DHCPv4 has it", solicit(15, text("\x04iPXE")), "", "iPXE", true, 0, 0},
			{"iPXE second", solicit(15, text("\x00\x02ab\x00\x04iPXE")), "", "ab", true, 0, 0},
			{"empty user class", solicit(15, ""), "", "", false, 0, 0},
			{"pxe", solicit(16, text("\x00\x00\x01\x57\x00\x20PXEClient:Arch:00007:UNDI:003000")), "PXEClient:Arch:00007:UNDI:003000", "", false, 343, 0},
			{"windows first", solicit(16, text("\x00\x00\x01\x37\x00\x08MSFT 5.0"), 16, text("\x00\x00\x01\x57\x00\x09PXEClient")), "PXEClient", "", false, 343, 0},
			{"pxe first", solicit(16, text("\x00\x00\x01\x57\x00\x09PXEClient"), 16, text("\x00\x00\x01\x37\x00\x08MSFT 5.0")), "PXEClient", "", false, 343, 0},
			{"bluefield", solicit(16, text("\x00\x00\x16\x47\x00\x0aNVIDIA/BF/")), "NVIDIA/BF/", "", false, 5703, 0},
			{"no class", solicit(16, text("\x00\x00\x01\x37")), "", "", false, 311, 0},
			{"class too long", solicit(16, text("\x00\x00\x01\x37\x00\x09MSFT 5.0")), "", "", false, 0, 1},
			{"no enterprise", solicit(16, text("\x00")), "", "", false, 0, 1},
		} {
			r := parse(t, meta6, c.b)
			f := r.in.Firmware
			if f.VendorClass != c.vendor || f.UserClass != c.user || f.IPXE != c.ipxe || f.Enterprise != uint32(c.enterprise) || r.skipped != c.wrong {
				t.Errorf("%s: %+v, %d skipped", c.name, f, r.skipped)
			}
		}
	})
	t.Run("wants", func(t *testing.T) {
		r := parse(t, meta6, solicit(14, "", 6, "003b 0017", 61, "0007 0010", 39, "01 05686f737431076578616d706c6500",
			3, "00000001 00000000 00000000  0005 0018 fd770000000000000000000000000050 00000e10 00001c20",
			25, "00000001 00000000 00000000  001a 0019 00000000 00000000 38 00000000000000000000000000000000",
			25, "00000002 00000000 00000000  001a 0019 00000e10 00001c20 30 fd770001ffff00000000000000000001"))
		w := r.in.Want
		want := boot.Want{Rapid: true, Name: "host1", Options6: []uint16{59, 23}, IAs: []boot.IA{
			{ID: 1, Has: []netip.Prefix{netip.MustParsePrefix("fd77::50/128")}},
			{ID: 1, Prefix: true, Has: []netip.Prefix{netip.MustParsePrefix("::/56")}},
			{ID: 2, Prefix: true, Has: []netip.Prefix{netip.MustParsePrefix("fd77:1:ffff::/48")}}}}
		if got, want := fmt.Sprintf("%+v", w), fmt.Sprintf("%+v", want); got != want || r.skipped != 0 {
			t.Errorf("%s, %d skipped\nwant %s", got, r.skipped, want)
		}
		if r.in.Firmware.Arch != 7 {
			t.Errorf("arch %d", r.in.Firmware.Arch)
		}
	})
	t.Run("odd", func(t *testing.T) {
		// One thing wrong in each; the rest of the message still counts.
		good := "00000009 00000000 00000000"
		for name, opt := range map[string][]any{
			"odd list":           {6, "003b17"},
			"short IA":           {3, "00000001"},
			"IA twice":           {3, good},
			"short address":      {3, "00000001 00000000 00000000 0005 0002 0000"},
			"prefix in IA_NA":    {3, "00000001 00000000 00000000 001a 0019 00000e10 00001c20 30 fd770001000000000000000000000001"},
			"prefix of 129 bits": {25, "00000001 00000000 00000000 001a 0019 00000e10 00001c20 81 fd770001000000000000000000000001"},
			"IA cut off":         {3, "00000001 00000000 00000000 0005 0018 00"},
			"architecture":       {61, "07"},
			"name of a pointer":  {39, append([]byte{0, 0xc0, 0}, make([]byte, 250)...)},
			"name cut off":       {39, "00 0561"},
		} {
			r := parse(t, meta6, solicit(append(opt, 3, good, 6, "0017")...))
			if r.skipped != 1 {
				t.Errorf("%s: %d skipped", name, r.skipped)
			}
			found := false
			for _, ia := range r.in.Want.IAs {
				found = found || ia.ID == 9
			}
			if !found || len(r.in.Want.Options6) != 1 {
				t.Errorf("%s: lost the rest: %+v", name, r.in.Want)
			}
		}
		b := append(solicit(3, good), 0, 6, 0, 9, 1)
		if r := parse(t, meta6, b); r.skipped != 1 || len(r.in.Want.IAs) != 1 {
			t.Errorf("option beyond the end: %d skipped, %+v", r.skipped, r.in.Want)
		}
	})
	t.Run("identity", func(t *testing.T) {
		llt, ll, uuid := "00010001 01020304 525400aabb03", "00030001 525400aabb04", "0004 44332211 6655 8877 99aabbccddeeff00"
		u := "11223344-5566-7788-99aa-bbccddeeff00"
		random := meta6
		random.Source = netip.MustParseAddrPort("[fe80::1234:5678:9abc:def0]:546")
		for _, c := range []struct {
			name      string
			m         Meta
			b         []byte
			mac, uuid string
		}{
			{"LLT before the address", meta6, message(1, 1, llt), "52:54:00:aa:bb:03", ""},
			{"LL before the address", meta6, message(1, 1, ll), "52:54:00:aa:bb:04", ""},
			{"LL that is no Ethernet", meta6, message(1, 1, "00030020 525400aabb04"), "52:54:00:aa:bb:02", ""},
			{"LL of a group", meta6, message(1, 1, "00030001 535400aabb04"), "52:54:00:aa:bb:02", ""},
			{"LL too long", meta6, message(1, 1, "00030001 525400aabb0405"), "52:54:00:aa:bb:02", ""},
			{"UUID of firmware", meta6, message(1, 1, uuid, 61, "0007"), "52:54:00:aa:bb:02", u},
			{"UUID of edk2's own stack", meta6, message(1, 1, uuid, 6, "0017"), "52:54:00:aa:bb:02", u},
			{"UUID of iPXE", meta6, message(1, 1, "0004 11223344 5566 7788 99aabbccddeeff00", 15, []byte("\x00\x04iPXE")), "52:54:00:aa:bb:02", u},
			{"UUID of a system", meta6, message(1, 1, uuid, 6, "0017 0018 0027"), "52:54:00:aa:bb:02", ""},
			{"random address", random, message(1, 1, uuid), "", ""},
			{"79 before all", relay6, relayed(0, "fd55::1", "fe80::5054:ff:feaa:bb05", message(1, 1, ll), 79, "0001 525400aabb06"), "52:54:00:aa:bb:06", ""},
			{"79 of the nearest", relay6, relayed(1, "::", "fd55::2", relayed(0, "fd55::1", "fe80::1", message(1, 1, ll), 79, "0001 525400aabb06"), 79, "0001 525400aabb07"), "52:54:00:aa:bb:06", ""},
			{"79 that is no Ethernet", relay6, relayed(0, "fd55::1", "fe80::5054:ff:feaa:bb05", message(1, 1, ll), 79, "0020 525400aabb06"), "52:54:00:aa:bb:04", ""},
			{"peer of a relay", relay6, relayed(0, "fd55::1", "fe80::5054:ff:feaa:bb05", message(1, 1, uuid)), "52:54:00:aa:bb:05", ""},
		} {
			id := parse(t, c.m, c.b).in.ID
			mac := ""
			if !id.MAC.IsZero() {
				mac = id.MAC.String()
			}
			if mac != c.mac || id.UUID.String() != c.uuid || id.DUID == "" {
				t.Errorf("%s: %+v", c.name, id)
			}
		}
	})
	t.Run("link", func(t *testing.T) {
		in := message(1, 1, client6)
		for _, c := range []struct {
			name   string
			b      []byte
			subnet string
			port   string
			client string
		}{
			{"one hop", relayed(0, "fd55::1", "fe80::2", in, 18, []byte("Ethernet12"), 37, []byte("\x00\x00\x00\x09leaf3")), "fd55::1", "leaf3:Ethernet12", "fe80::2"},
			{"two hops, the inner one", relayed(1, "fd66::1", "fd55::1", relayed(0, "fd55::1", "fe80::2", in, 18, []byte("in")), 18, []byte("out")), "fd55::1", "in", "fe80::2"},
			{"a switch without an address", relayed(1, "fd66::1", "fe80::2", relayed(0, "::", "fe80::2", in, 18, []byte("ge-0/0/1"))), "fd66::1", "ge-0/0/1", "fe80::2"},
			{"link-local link", relayed(1, "fd66::1", "fe80::9", relayed(0, "fe80::1", "fe80::2", in)), "fd66::1", "", "fe80::2"},
			{"a switch alone", relayed(0, "::", "fe80::2", in, 18, "00000007"), "", "0x00000007", "fe80::2"},
			{"remote-id without a value", relayed(0, "fd55::1", "fe80::2", in, 37, "00000009"), "fd55::1", "", "fe80::2"},
			{"link of IPv4", relayed(0, "::ffff:10.0.0.1", "fe80::2", in), "", "", "fe80::2"},
			{"peer unknown", relayed(0, "fd55::1", "::", in), "fd55::1", "", ""},
		} {
			l := parse(t, relay6, c.b).in.Link
			s := func(a netip.Addr) string {
				if !a.IsValid() {
					return ""
				}
				return a.String()
			}
			if l.Relay != relay6.Source.Addr() || s(l.Subnet) != c.subnet || l.Port != c.port || s(l.Client) != c.client || l.Local != relay6.Local {
				t.Errorf("%s: %+v", c.name, l)
			}
		}
	})
}

// TestRelayed6: replies go back hop by hop. They go to the source port of the
// relay nearest to us only if it asks for that.
func TestRelayed6(t *testing.T) {
	msg := message(typeSolicit, 1, client6, 3, "00000001 ffffffff ffffffff")
	for _, hops := range []int{1, 2, 8} {
		for _, port := range []bool{false, true} {
			b := msg
			for i := range hops {
				options := []any{18, []byte{byte(i), 0}}
				if i%2 == 1 {
					options = nil
				}
				if port && i == hops-1 {
					options = append(options, 135, "0000")
				}
				b = relayed(byte(i), fmt.Sprintf("fd55::%d", i), fmt.Sprintf("fe80::%d", i), b, options...)
			}
			r, err := parse6(b, relay6)
			if err != nil {
				t.Fatal(err)
			}
			d, _ := fixed6(r.in)
			reply := build6(r, d, duid6)
			if err := strict6(r, reply, false); err != nil {
				t.Errorf("%d hops: %v", hops, err)
			}
			agree6(t, reply)
			want := Dest{How: Relayed, Addr: netip.MustParseAddrPort("[fd99::9]:547"), From: relay6.Local}
			if port {
				want.Addr = relay6.Source
			}
			if to := dest6(r); to != want {
				t.Errorf("%d hops, port %v: to %+v, want %+v", hops, port, to, want)
			}
			msg = message(typeSolicit, 1, client6, 3, "00000001 ffffffff ffffffff")
		}
	}
	// A relay carries one message.
	if r, err := parse6(append6(relayed(0, "fd55::1", "fe80::1", msg), opt6RelayMessage, 1, 2, 3), relay6); err != nil || r.xid != [3]byte(msg[1:4]) {
		t.Errorf("the second message of a relay counts: %v", err)
	}
	// 135 of a relay further in is that relay's business.
	r, err := parse6(relayed(1, "fd55::1", "fe80::1", relayed(0, "fd55::2", "fe80::2", msg, 135, "9c40")), relay6)
	if err != nil {
		t.Fatal(err)
	}
	if to := dest6(r); to.Addr.Port() != server6Port {
		t.Errorf("to %v", to.Addr)
	}
	// A switch in between has the client's own link-local address, which means
	// nothing without its link.
	m := meta6
	m.Source = netip.MustParseAddrPort("[fe80::2]:547")
	r, err = parse6(relayed(0, "::", "fe80::2", msg), m)
	if err != nil {
		t.Fatal(err)
	}
	if to := dest6(r); to.Addr.String() != "[fe80::2%eth0]:547" || to.How != Relayed {
		t.Errorf("to %v", to)
	}
	m.Source = netip.MustParseAddrPort("[fe80::2]:0")
	r, _ = parse6(message(typeSolicit, 1, client6), m)
	if to := dest6(r); to.Addr.Port() != client6Port || to.How != Unicast {
		t.Errorf("to %v", to)
	}
}

// TestBuild6: which options go into a reply, and for which client.
func TestBuild6(t *testing.T) {
	pxe := []byte("\x00\x00\x01\x57\x00\x09PXEClient")
	http := []byte("\x00\x00\x01\x57\x00\x0aHTTPClient")
	ia := "00000001 ffffffff ffffffff"
	full := boot.Options6{DNS: []netip.Addr{netip.MustParseAddr("fd77::53"), server}, Search: []string{"lab.example.", "no..name", "x"},
		Extra: []boot.Option{{Code: 60, Data: []byte("\x00\x01p")}, {Code: 16, Data: http}, {Code: 1, Data: []byte("evil")}, {Code: 56, Data: append([]byte{0, 1, 0, 16}, make([]byte, 16)...)}, {Code: 56, Data: []byte("twice")}}}
	grant := []boot.Bound{{ID: 1, Leases: []boot.Grant6{{Prefix: netip.MustParsePrefix("fd77::50/128"), Preferred: 3 * time.Hour, Valid: time.Hour}, {Prefix: netip.MustParsePrefix("fd77::51/128")}}}}
	for _, c := range []struct {
		name string
		b    []byte
		d    boot.Decision
		want []string // options in order, in words
	}{
		{"PXE", message(1, 1, client6, 3, ia, 6, "003b 003c 0017 0010", 16, pxe),
			boot.Decision{Class: boot.PXE, Reply: boot.Answer6{Advertise: true, Preference: 255, IAs: grant, Boot: &boot.BootInfo{Class: boot.PXE, File: "tftp://[fd77::1]/a"}, Options: full}},
			[]string{"1", "3 t1=1800s t2=2880s", "59=tftp://[fd77::1]/a", "2", "7", "23"}},
		{"PXE that may not boot", message(1, 1, client6, 6, "003b 003c 0017 0010", 16, pxe),
			boot.Decision{Class: boot.PXE, Reply: boot.Answer6{Options: full}}, []string{"1", "2", "23"}},
		{"HTTP", message(1, 1, client6, 6, "003b 003c 0017 0010", 16, http),
			boot.Decision{Class: boot.HTTPClient, Reply: boot.Answer6{Boot: &boot.BootInfo{Class: boot.HTTPClient, File: "http://[fd77::1]/a"}, Options: full}},
			[]string{"1", "16", "59=http://[fd77::1]/a", "2", "23", "60"}},
		{"asks for nothing in particular", message(1, 1, client6),
			boot.Decision{Class: boot.Plain, Reply: boot.Answer6{Options: full}}, []string{"1", "2", "23", "24=lab.example,x", "60", "56"}},
		{"an operator's file", message(1, 1, client6, 6, "003b"),
			boot.Decision{Class: boot.Plain, Reply: boot.Answer6{Options: boot.Options6{Extra: []boot.Option{{Code: 59, Data: []byte("http://onie")}}}}}, []string{"1", "59=http://onie", "2"}},
		{"an operator's servers", message(1, 1, client6, 6, "0017"),
			boot.Decision{Class: boot.Plain, Reply: boot.Answer6{Options: boot.Options6{DNS: full.DNS, Extra: []boot.Option{{Code: 23, Data: make([]byte, 16)}}}}}, []string{"1", "2", "23=::"}},
		{"no preference", message(1, 1, client6), boot.Decision{Reply: boot.Answer6{Advertise: true}}, []string{"1", "2"}},
		{"asks for more than we remember", message(1, 1, client6, 6, append(make([]byte, 2*maxAsked6), 0, 23)), boot.Decision{Reply: boot.Answer6{Options: boot.Options6{DNS: full.DNS}}},
			[]string{"1", "2", "23"}},
		{"many words", message(3, 1, client6, 2, duid6), boot.Decision{Reply: boot.Answer6{Status: &boot.Status6{Code: 1, Text: strings.Repeat("x", 300)}}},
			[]string{"1", "2", "13=UnspecFail " + strings.Repeat("x", 128)}},
		{"rapid", message(1, 1, client6, 14, ""), boot.Decision{Reply: boot.Answer6{Rapid: true}}, []string{"1", "2", "14"}},
		{"rapid that nobody asked for", message(1, 1, client6), boot.Decision{Reply: boot.Answer6{Rapid: true}}, []string{"1", "2"}},
		{"preference in a reply", message(3, 1, client6, 2, duid6), boot.Decision{Reply: boot.Answer6{Preference: 255}}, []string{"1", "2"}},
		{"status", message(3, 1, client6, 2, duid6, 3, ia), boot.Decision{Reply: boot.Answer6{Status: &boot.Status6{Code: 1, Text: "no"},
			IAs: []boot.Bound{{ID: 1, Status: &boot.Status6{Code: boot.StatusNoAddrs, Text: "none left"}}}}}, []string{"1", "3 t1=0s t2=0s", "2", "13=UnspecFail no"}},
		{"inform", message(11, 6, "0017 0020"), boot.Decision{Reply: boot.Answer6{Refresh: time.Hour, Options: full}}, []string{"2", "23", "32=3600s"}},
		{"refresh in another answer", message(3, 1, client6, 2, duid6), boot.Decision{Reply: boot.Answer6{Refresh: time.Hour}}, []string{"1", "2"}},
		{"for ever", message(3, 1, client6, 2, duid6, 25, ia), boot.Decision{Reply: boot.Answer6{IAs: []boot.Bound{{ID: 1, Prefix: true,
			Leases: []boot.Grant6{{Prefix: netip.MustParsePrefix("fd77:1::/56"), Preferred: 1<<63 - 1, Valid: 1<<63 - 1}, {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Preferred: 1, Valid: 1}}}}}},
			[]string{"1", "25 t1=forever t2=forever", "2"}},
		{"ignored", message(1, 1, client6), boot.Decision{Reply: boot.Ignore{}}, nil},
		{"DHCPv4's", message(1, 1, client6), boot.Decision{Reply: boot.Answer4{Type: boot.Offer}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := read6(c.b, meta6, duid6)
			if err != nil {
				t.Fatal(err)
			}
			reply := build6(r, c.d, duid6)
			if c.want == nil {
				if reply != nil {
					t.Errorf("%x", reply)
				}
				return
			}
			if err := strict6(r, reply, c.d.Class == boot.PXE); err != nil {
				t.Error(err)
			}
			agree6(t, reply)
			var got []string
			for _, s := range Describe6(reply)[1:] {
				if strings.HasPrefix(s, "    ") {
					continue
				}
				code, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
				for _, w := range c.want {
					if head, v, ok := strings.Cut(w, " t1="); ok && head == code {
						if _, have, _ := strings.Cut(rest, " t1="); have == v {
							code = w
						}
					} else if head, v, ok := strings.Cut(w, "="); ok && head == code {
						if _, have, _ := strings.Cut(rest, "="); have == v {
							code = w
						}
					}
				}
				got = append(got, code)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %q\nwant %q\n%s", got, c.want, strings.Join(Describe6(reply), "\n"))
			}
		})
	}
}
