// dry6.go: the DHCPv6 server without sockets, for explain, as dry.go is for
// DHCPv4.

package dhcpd

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/musterboot/muster/boot"
)

// Query6 is a DHCPv6 message to be made up.
type Query6 struct {
	MAC         boot.MAC
	UUID        boot.UUID // sent in the DUID, as firmware does; without it the DUID is made from the MAC
	Arch        boot.Arch // ArchNone leaves option 61 out
	VendorClass string    // "PXEClient:Arch:00007:UNDI:003000"
	UserClass   string
	IAID        uint32
	Link        netip.Addr // link-address of a relay; if set, the message comes through that relay
	Port        string     // remote-id:interface-id of that relay
	Addr        netip.Addr // in a Request: the address that was advertised
	Server      []byte     // DUID of the server that advertised it; absent in a Solicit
	Inform      bool       // an Information-request: the client has its address from elsewhere
}

// intel is the enterprise of PXEClient and HTTPClient.
const intel = 343

// Packet is the message as the client would send it, or as its relay would
// forward it.
func (q Query6) Packet() []byte {
	kind := byte(typeSolicit)
	switch {
	case q.Inform:
		kind = typeInform6
	case q.Server != nil:
		kind = typeRequest6
	}
	b := append6([]byte{kind, 'm', 's', 't'}, opt6ClientID, q.duid()...)
	b = append6(b, opt6Elapsed, 0, 0)
	if q.Server != nil && !q.Inform {
		b = append6(b, opt6ServerID, q.Server...)
	}
	if !q.Inform {
		var at int
		b, at = open6(b, opt6IANA)
		b = binary.BigEndian.AppendUint32(b, q.IAID)
		b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // as edk2 sends them: the server chooses the lifetimes
		if q.Addr.Is6() && kind == typeRequest6 {
			b = append6(b, opt6IAAddr, append(as16(q.Addr), 0, 0, 0, 0, 0, 0, 0, 0)...)
		}
		close6(b, at)
	}
	asked := []byte{0, opt6DNS, 0, opt6Search}
	switch {
	case q.UserClass == "iPXE":
		asked = append(asked, 0, opt6BootURL, 0, opt6BootParams)
	case bootClass(q.VendorClass):
		asked = []byte{0, opt6BootURL, 0, opt6BootParams, 0, opt6DNS, 0, opt6VendorClass}
	case q.Arch != boot.ArchNone:
		asked = append(asked, 0, opt6BootURL)
	}
	b = append6(b, opt6Asked, asked...)
	list := func(s string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
	}
	if q.UserClass != "" {
		b = append6(b, opt6UserClass, list(q.UserClass[:min(len(q.UserClass), maxClass6)])...)
	}
	if q.Arch != boot.ArchNone {
		b = append6(b, opt6NII, 1, 3, 0)
		b = append6(b, opt6Arch, binary.BigEndian.AppendUint16(nil, uint16(q.Arch))...)
	}
	if q.VendorClass != "" {
		b = append6(b, opt6VendorClass, append(binary.BigEndian.AppendUint32(nil, intel), list(q.VendorClass[:min(len(q.VendorClass), maxClass6)])...)...)
	}
	if q.Link.Is6() {
		b = q.relayed(b)
	}
	return b
}

// duid is what the client calls itself: a UUID, or its MAC (RFC 8415 11.4).
func (q Query6) duid() []byte {
	if !q.UUID.IsZero() {
		u := q.UUID
		if q.UserClass != "iPXE" {
			u = u.Swapped() // as SMBIOS keeps it
		}
		return append([]byte{0, duidUUID}, u[:]...)
	}
	return append([]byte{0, duidLL, 0, ethernet}, q.MAC[:]...)
}

func (q Query6) relayed(msg []byte) []byte {
	b := append([]byte{typeRelayForw, 0}, as16(q.Link)...)
	b = append(b, as16(q.Source().Addr())...)
	remote, circuit, ok := strings.Cut(q.Port, ":")
	if !ok {
		remote, circuit = "", q.Port
	}
	if circuit != "" {
		b = append6(b, opt6InterfaceID, []byte(circuit[:min(len(circuit), maxClass6)])...)
	}
	if remote != "" {
		b = append6(b, opt6RemoteID, append([]byte{0, 0, 0, 0}, remote[:min(len(remote), maxClass6)]...)...)
	}
	if !q.MAC.IsZero() {
		b = append6(b, opt6LinkLayer, append([]byte{0, ethernet}, q.MAC[:]...)...)
	}
	return append6(b, opt6RelayMessage, msg...)
}

// Source is where the message comes from: the client's link-local address, made
// of its MAC, or its relay.
func (q Query6) Source() netip.AddrPort {
	m := q.MAC
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}), client6Port)
}

// Dry6 is the server without sockets: bytes in, Decision, bytes and way out.
func Dry6(packet []byte, m Meta, serverDUID []byte, ask func(boot.Sighting) (boot.Decision, error)) (boot.Decision, []byte, Dest, error) {
	r, err := read6(packet, m, serverDUID)
	if err != nil {
		return boot.Decision{}, nil, Dest{}, err
	}
	d, err := r.decide(ask)
	if err != nil {
		return d, nil, Dest{}, err
	}
	reply := build6(r, d, serverDUID)
	if reply == nil {
		return d, nil, Dest{}, nil
	}
	return d, reply, dest6(r), nil
}

var kinds6 = map[byte]string{typeSolicit: "solicit", typeAdvertise: "advertise", typeRequest6: "request", typeConfirm: "confirm", typeRenew: "renew",
	typeRebind: "rebind", typeReply: "reply", typeRelease6: "release", typeDecline6: "decline", typeReconfigure: "reconfigure", typeInform6: "information-request",
	typeRelayForw: "relay-forward", typeRelayRepl: "relay-reply"}

// names6 names options for display. An option that is not listed is shown by
// its number.
var names6 = map[uint16]string{opt6ClientID: "client-identifier", opt6ServerID: "server-identifier", opt6IANA: "ia-na", opt6IAAddr: "address", opt6Asked: "asks-for",
	opt6Preference: "preference", opt6Elapsed: "elapsed", opt6RelayMessage: "relay-message", opt6Status: "status", opt6Rapid: "rapid-commit", opt6UserClass: "user-class",
	opt6VendorClass: "vendor-class", opt6InterfaceID: "interface-id", opt6DNS: "dns-servers", opt6Search: "domain-search", opt6IAPD: "ia-pd", opt6IAPrefix: "prefix",
	opt6Refresh: "refresh-time", opt6RemoteID: "remote-id", opt6BootURL: "boot-file-url", opt6BootParams: "boot-file-parameters", opt6Arch: "architecture",
	opt6NII: "network-interface", opt6LinkLayer: "client-link-layer-address", opt6RelayPort: "relay-source-port"}

var statuses6 = []string{"Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail"}

// Describe6 describes a message in words, one line for each option in the order
// on the wire. A nested option is indented.
func Describe6(b []byte) []string {
	var out []string
	describe6(b, "", 0, func(indent, format string, args ...any) {
		out = append(out, indent+fmt.Sprintf(format, args...))
	})
	return out
}

func describe6(b []byte, indent string, depth int, add func(indent, format string, args ...any)) {
	if len(b) < 4 || depth > maxHops {
		return
	}
	name := kinds6[b[0]]
	if name == "" {
		name = fmt.Sprintf("message-type %d", b[0])
	}
	if b[0] == typeRelayForw || b[0] == typeRelayRepl {
		if len(b) < relayFixed {
			return
		}
		add(indent, "%s hop-count=%d link-address=%s peer-address=%s", name, b[1], netip.AddrFrom16([16]byte(b[2:18])), netip.AddrFrom16([16]byte(b[18:34])))
		options6(b[relayFixed:], indent+"  ", depth, add)
		return
	}
	add(indent, "%s transaction=%x", name, b[1:4])
	options6(b[4:], indent+"  ", depth, add)
}

func options6(b []byte, indent string, depth int, add func(indent, format string, args ...any)) {
	w := walk6{rest: b}
	for code, v, ok := w.next(); ok; code, v, ok = w.next() {
		name := names6[code]
		u32 := func(at int) uint32 { return binary.BigEndian.Uint32(v[at:]) }
		switch {
		case code == opt6RelayMessage:
			add(indent, "%d %s", code, name)
			describe6(v, indent+"  ", depth+1, add)
		case (code == opt6IANA || code == opt6IAPD) && len(v) >= 12:
			add(indent, "%d %s iaid=%08x t1=%s t2=%s", code, name, u32(0), lasts6(u32(4)), lasts6(u32(8)))
			if depth <= maxHops { // an IA inside an IA has no meaning
				options6(v[12:], indent+"  ", maxHops+1, add)
			}
		case code == opt6IAAddr && len(v) >= 24:
			add(indent, "%d %s=%s preferred=%s valid=%s", code, name, netip.AddrFrom16([16]byte(v[:16])), lasts6(u32(16)), lasts6(u32(20)))
		case code == opt6IAPrefix && len(v) >= 25:
			add(indent, "%d %s=%s/%d preferred=%s valid=%s", code, name, netip.AddrFrom16([16]byte(v[9:25])), v[8], lasts6(u32(0)), lasts6(u32(4)))
		case code == opt6Status && len(v) >= 2:
			s := fmt.Sprint(binary.BigEndian.Uint16(v))
			if n := int(binary.BigEndian.Uint16(v)); n < len(statuses6) {
				s = statuses6[n]
			}
			add(indent, "%d %s=%s %s", code, name, s, text(v[2:]))
		case code == opt6Refresh && len(v) == 4:
			add(indent, "%d %s=%s", code, name, lasts6(u32(0)))
		case code == opt6Preference && len(v) == 1:
			add(indent, "%d %s=%d", code, name, v[0])
		case code == opt6Rapid:
			add(indent, "%d %s", code, name)
		case code == opt6Asked, code == opt6Arch:
			var l []string
			for ; len(v) >= 2; v = v[2:] {
				l = append(l, fmt.Sprint(binary.BigEndian.Uint16(v)))
			}
			add(indent, "%d %s=%s", code, name, strings.Join(l, ","))
		case code == opt6DNS && len(v)%16 == 0:
			var l []string
			for ; len(v) > 0; v = v[16:] {
				l = append(l, netip.AddrFrom16([16]byte(v)).String())
			}
			add(indent, "%d %s=%s", code, name, strings.Join(l, ","))
		case code == opt6Search:
			add(indent, "%d %s=%s", code, name, strings.Join(readNames(v), ","))
		case code == opt6VendorClass && len(v) >= 4:
			add(indent, "%d %s enterprise=%d %s", code, name, u32(0), texts6(v[4:]))
		case code == opt6UserClass:
			add(indent, "%d %s=%s", code, name, texts6(v))
		case code == opt6BootURL, code == opt6InterfaceID && text(v) == string(v):
			add(indent, "%d %s=%s", code, name, text(v))
		case name != "":
			add(indent, "%d %s=hex:%s", code, name, hex.EncodeToString(v))
		default:
			add(indent, "%d hex:%s", code, hex.EncodeToString(v))
		}
	}
	if w.bad > 0 {
		add(indent, "and what is no option")
	}
}

func lasts6(s uint32) string {
	if s == 1<<32-1 {
		return "forever"
	}
	return fmt.Sprintf("%ds", s)
}

func texts6(b []byte) string {
	var l []string
	if !classes6(b, func(v []byte) { l = append(l, text(v)) }) {
		return "hex:" + hex.EncodeToString(b)
	}
	return strings.Join(l, ",")
}

// readNames reads what appendName writes, and stops where anything else begins.
func readNames(b []byte) (out []string) {
	var labels []string
	for len(b) > 0 {
		n := int(b[0])
		if n > 63 || 1+n > len(b) {
			break
		}
		if n == 0 {
			out, labels = append(out, strings.Join(labels, ".")), nil
		} else {
			labels = append(labels, text(b[1:1+n]))
		}
		b = b[1+n:]
	}
	return out
}
