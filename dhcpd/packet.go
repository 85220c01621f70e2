// packet.go: the DHCPv4 wire format (RFC 951, 2131, 3396), as far as a server
// reads and writes it. The codec library would be a third of an answer's cost.
// Only the tests use it, as a second implementation and for the client side.

package dhcpd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Option codes that have a part to play here.
const (
	optSubnetMask    = 1
	optRouter        = 3
	optDNS           = 6
	optLogServers    = 7
	optHostName      = 12
	optDomain        = 15
	optVendor43      = 43
	optRequested     = 50
	optLease         = 51
	optType          = 53
	optServerID      = 54
	optAsked         = 55
	optMessage       = 56
	optMaxSize       = 57
	optRenew         = 58
	optRebind        = 59
	optVendorClass   = 60
	optClientID      = 61
	optTFTPServer    = 66
	optBootfile      = 67
	optUserClass     = 77
	optRapidCommit   = 80
	optRelayInfo     = 82
	optArch          = 93
	optUNDI          = 94
	optMachineID     = 97
	optSubnet        = 118
	optVendorClasses = 124
	optVendorOptions = 125
	optIPXE          = 175
	optEnd           = 255
)

// Message types (RFC 2132 9.6).
const (
	typeNone     = 0 // BOOTP
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeDecline  = 4
	typeAck      = 5
	typeNak      = 6
	typeRelease  = 7
	typeInform   = 8
)

const (
	bootRequest    = 1
	bootReply      = 2
	maxDatagram    = 1472 // edk2 PXE discards more, whatever it advertised
	minDatagram    = 576
	headersIPUDP   = 28
	fixedPart      = 240 // header and magic cookie
	bootpMinLength = 300 // relays and switches drop less
	broadcastFlag  = 0x8000
)

// maxParts bounds how many parts of one option are joined (RFC 3396). No known
// client sends more, and the cost grows with the square.
const maxParts = 16

var cookie = [4]byte{99, 130, 83, 99}

// packet is a request, or a reply that is being built. The option values of a
// request are slices of the packet's buffer.
type packet struct {
	op, htype, hlen byte
	xid             [4]byte
	flags           uint16
	ciaddr, yiaddr  [4]byte
	siaddr, giaddr  [4]byte
	chaddr          [16]byte
	sname, file     string
	options         []option
	at              [256]uint8 // by code: index in options plus one
}

type option struct {
	code byte
	data []byte
}

func (p *packet) get(code byte) []byte {
	if i := p.at[code]; i > 0 {
		return p.options[i-1].data
	}
	return nil
}

func (p *packet) has(code byte) bool { return p.at[code] > 0 }

// set replaces an option.
func (p *packet) set(code byte, data []byte) {
	if i := p.at[code]; i > 0 {
		p.options[i-1].data = data
		return
	}
	p.options = append(p.options, option{code, data})
	p.at[code] = uint8(len(p.options))
}

// decode reads a packet. Its values are slices of b. An option that comes in
// parts is joined (RFC 3396).
func (p *packet) decode(b []byte) error {
	if len(b) < fixedPart {
		return fmt.Errorf("%w: %d bytes are shorter than the header", ErrMalformed, len(b))
	}
	if [4]byte(b[236:240]) != cookie {
		return fmt.Errorf("%w: no magic cookie", ErrMalformed)
	}
	p.op, p.htype, p.hlen = b[0], b[1], b[2]
	copy(p.xid[:], b[4:])
	p.flags = binary.BigEndian.Uint16(b[10:])
	copy(p.ciaddr[:], b[12:])
	copy(p.yiaddr[:], b[16:])
	copy(p.siaddr[:], b[20:])
	copy(p.giaddr[:], b[24:])
	copy(p.chaddr[:], b[28:])
	p.options = make([]option, 0, 16)
	parts := 0
	for o := b[fixedPart:]; len(o) > 0 && o[0] != optEnd; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || len(o) < 2+int(o[1]) {
			return fmt.Errorf("%w: option %d goes beyond the packet", ErrMalformed, o[0])
		}
		code, v := o[0], o[2:2+int(o[1])]
		o = o[2+len(v):]
		if p.has(code) {
			if parts++; parts > maxParts {
				return fmt.Errorf("%w: options in more than %d further parts", ErrMalformed, maxParts)
			}
			v = slices.Concat(p.get(code), v)
		} else if len(p.options) == 255 {
			return fmt.Errorf("%w: too many options", ErrMalformed)
		}
		p.set(code, v)
	}
	return nil
}

// encode writes the packet: options in ascending order, the relay's last
// (RFC 3046 2.1), those over 255 bytes in parts, zeros behind the end.
func (p *packet) encode() []byte {
	slices.SortFunc(p.options, func(a, b option) int {
		if (a.code == optRelayInfo) != (b.code == optRelayInfo) {
			if a.code == optRelayInfo {
				return 1
			}
			return -1
		}
		return int(a.code) - int(b.code)
	})
	n := fixedPart + 1
	for _, o := range p.options {
		n += len(o.data) + 2*max(1, (len(o.data)+254)/255)
	}
	b := make([]byte, fixedPart, max(n, bootpMinLength))
	b[0], b[1], b[2] = p.op, p.htype, p.hlen
	copy(b[4:], p.xid[:])
	binary.BigEndian.PutUint16(b[10:], p.flags)
	copy(b[12:], p.ciaddr[:])
	copy(b[16:], p.yiaddr[:])
	copy(b[20:], p.siaddr[:])
	copy(b[24:], p.giaddr[:])
	copy(b[28:], p.chaddr[:])
	copy(b[44:107], p.sname) // the last byte of either stays NUL
	copy(b[108:235], p.file)
	copy(b[236:], cookie[:])
	for _, o := range p.options {
		for v := o.data; ; {
			part := v[:min(len(v), 255)]
			b = append(append(b, o.code, byte(len(part))), part...)
			if v = v[len(part):]; len(v) == 0 {
				break
			}
		}
	}
	b = append(b, optEnd)
	return b[:max(len(b), bootpMinLength)]
}

// addr4 is an IPv4 address; it is invalid if b has another length or is all
// zero.
func addr4(b []byte) netip.Addr {
	if len(b) != 4 {
		return netip.Addr{}
	}
	if a := netip.AddrFrom4([4]byte(b)); !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

// four is an address as the header has it; zero if a is not an IPv4 address.
func four(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}
