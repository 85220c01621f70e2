// dry.go: the server without sockets, for explain: a request made up from what a
// person says of a machine, and a reply in words.

package dhcpd

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/boot"
)

// Query is a request to be made up.
type Query struct {
	MAC         boot.MAC
	UUID        boot.UUID
	Arch        boot.Arch // ArchNone leaves option 93 out
	VendorClass string
	UserClass   string
	UBoot       bool // option 94 is U-Boot's
	Relay       netip.Addr
	Port        string     // remote-id:circuit-id
	Addr        netip.Addr // in a REQUEST: the address that was offered
	Server      netip.Addr // the server that offered it; absent in a DISCOVER
}

// Packet is the request as firmware would send it.
func (q Query) Packet() []byte {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: dhcpv4.TransactionID{'m', 'u', 's', 't'}, Flags: 0x8000,
		ClientHWAddr: q.MAC[:], ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero, Options: dhcpv4.Options{}}
	set := func(code uint8, v []byte) {
		if len(v) > 0 {
			m.Options[code] = v
		}
	}
	kind := dhcpv4.MessageTypeDiscover
	if q.Server.IsValid() {
		kind = dhcpv4.MessageTypeRequest
		set(54, q.Server.AsSlice())
		set(50, q.Addr.AsSlice())
	}
	set(53, []byte{byte(kind)})
	set(57, []byte{0x05, 0xc0})
	set(60, []byte(q.VendorClass))
	set(77, []byte(q.UserClass))
	if q.Arch != boot.ArchNone {
		set(optArch, binary.BigEndian.AppendUint16(nil, uint16(q.Arch)))
	}
	if q.UBoot {
		set(optUNDI, []byte{1, 0, 0})
	}
	if !q.UUID.IsZero() {
		u := q.UUID.Swapped()
		set(optMachineID, append([]byte{0}, u[:]...))
	}
	if q.Relay.Is4() {
		m.GatewayIPAddr = q.Relay.AsSlice()
		if q.Port != "" {
			remote, circuit, ok := strings.Cut(q.Port, ":")
			if !ok {
				remote, circuit = "", q.Port
			}
			var ri []byte
			for i, s := range []string{circuit, remote} {
				if s = s[:min(len(s), 120)]; s != "" {
					ri = append(append(ri, byte(i+1), byte(len(s))), s...)
				}
			}
			set(82, ri)
		}
	}
	return m.ToBytes()
}

// Dry is the server without sockets: bytes in, Decision, bytes and way out.
func Dry(packet []byte, m Meta, ask func(boot.Sighting) (boot.Decision, error)) (boot.Decision, []byte, Dest, error) {
	r, err := parse4(packet, m)
	if err != nil {
		return boot.Decision{}, nil, Dest{}, err
	}
	d, err := ask(r.in)
	if err != nil {
		return d, nil, Dest{}, err
	}
	reply := build4(r, d)
	if reply == nil {
		return d, nil, Dest{}, nil
	}
	return d, reply, dest4(r, d), nil
}

// Describe describes a reply in words: first the header fields that are set,
// then the options in the order on the wire.
func Describe(b []byte) []string {
	if len(b) < fixedPart {
		return nil
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, f := range []struct {
		name string
		at   int
	}{{"ciaddr", 12}, {"yiaddr", 16}, {"siaddr", 20}, {"giaddr", 24}} {
		if a := addr4(b[f.at : f.at+4]); a.IsValid() {
			add("%s %s", f.name, a)
		}
	}
	if s := strings.TrimRight(string(b[44:108]), "\x00"); s != "" {
		add("sname %s", s)
	}
	if s := strings.TrimRight(string(b[108:236]), "\x00"); s != "" {
		add("file %s", s)
	}
	for o := b[fixedPart:]; len(o) >= 2 && o[0] != 255; {
		n := int(o[1])
		if n+2 > len(o) {
			break
		}
		code, v := o[0], o[2:2+n]
		switch {
		case code == 53 && n == 1:
			add("53 message-type=%s", dhcpv4.MessageType(v[0]))
		case code == 51 && n == 4:
			add("51 lease-time=%ds", binary.BigEndian.Uint32(v))
		case code == 54 && n == 4:
			add("54 server-identifier=%s", addr4(v))
		case code == 1 && n == 4:
			add("1 subnet-mask=%s", addr4(v))
		case code == 97 || code == 61 || code == 82 || code == 175:
			add("%d %s=hex:%s", code, map[uint8]string{97: "machine-identifier", 61: "client-identifier", 82: "relay-agent-information", 175: "ipxe"}[code], hex.EncodeToString(v))
		case code == optBootfile && n > 1 && v[n-1] == 0:
			add("%d %s and a NUL", code, boot.Option{Code: code, Data: v[:n-1]})
		default:
			add("%d %s", code, boot.Option{Code: code, Data: v})
		}
		o = o[2+n:]
	}
	return out
}
