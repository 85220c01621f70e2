// packet6.go: the DHCPv6 wire format (RFC 8415 8, 9, 21). Options are read in
// place and never copied. An invalid option is skipped and counted, because
// some firmware sends one. Dropping the whole packet would keep that machine
// from booting.

package dhcpd

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Message types (RFC 8415 7.3).
const (
	typeSolicit     = 1
	typeAdvertise   = 2
	typeRequest6    = 3
	typeConfirm     = 4
	typeRenew       = 5
	typeRebind      = 6
	typeReply       = 7
	typeRelease6    = 8
	typeDecline6    = 9
	typeReconfigure = 10
	typeInform6     = 11
	typeRelayForw   = 12
	typeRelayRepl   = 13
)

// Option codes that have a part to play here.
const (
	opt6ClientID     = 1
	opt6ServerID     = 2
	opt6IANA         = 3
	opt6IATA         = 4
	opt6IAAddr       = 5
	opt6Asked        = 6
	opt6Preference   = 7
	opt6Elapsed      = 8
	opt6RelayMessage = 9
	opt6Auth         = 11
	opt6Unicast      = 12
	opt6Status       = 13
	opt6Rapid        = 14
	opt6UserClass    = 15
	opt6VendorClass  = 16
	opt6InterfaceID  = 18
	opt6ReconfMsg    = 19
	opt6ReconfAccept = 20
	opt6DNS          = 23
	opt6Search       = 24
	opt6IAPD         = 25
	opt6IAPrefix     = 26
	opt6Refresh      = 32
	opt6RemoteID     = 37
	opt6FQDN         = 39
	opt6BootURL      = 59
	opt6BootParams   = 60
	opt6Arch         = 61
	opt6NII          = 62
	opt6LinkLayer    = 79
	opt6RelayPort    = 135
)

// DUID types (RFC 8415 11, RFC 6355).
const (
	duidLLT  = 1
	duidLL   = 3
	duidUUID = 4
)

const (
	ethernet = 1 // hardware type, in a DUID and in option 79

	maxHops    = 8   // relays around one message (HOP_COUNT_LIMIT)
	maxDUID    = 130 // RFC 8415 11.1: 128 and the type
	maxIAs     = 16  // a router asks for a handful
	maxHas     = 8   // of one IA
	maxAsked6  = 64  // option codes that are remembered
	maxClass6  = 255 // bytes of a class; longer values name no class
	relayFixed = 34  // type, hop count, two addresses

	maxPacket6 = 4096 // eight relays around 1500 bytes, and room

	// maxReply6 is a UDP payload that every link carries in one piece (RFC 8200 5).
	maxReply6 = 1280 - 40 - 8
)

// walk6 reads options off a packet, one at a time. A packet that ends inside an
// option is malformed; the options before that one still count.
type walk6 struct {
	rest []byte
	bad  int
}

func (w *walk6) next() (code uint16, v []byte, ok bool) {
	if len(w.rest) < 4 {
		if len(w.rest) > 0 {
			w.bad++
			w.rest = nil
		}
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(w.rest[2:]))
	if 4+n > len(w.rest) {
		w.bad++
		w.rest = nil
		return 0, nil, false
	}
	code, v = binary.BigEndian.Uint16(w.rest), w.rest[4:4+n]
	w.rest = w.rest[4+n:]
	return code, v, true
}

// hop is one relay around a message (RFC 8415 9).
type hop struct {
	count     byte
	link      netip.Addr
	peer      netip.Addr
	iface     []byte // interface-id, echoed; like the rest nil where absent
	remote    []byte // remote-id without its enterprise number (RFC 4649)
	port      []byte // relay source port, echoed (RFC 8357)
	linkLayer []byte // RFC 6939
}

// unwrap removes the relay headers from a packet, outermost first, and returns
// the client's own message. Each byte is read once: the message inside a relay
// option is skipped here and read in the next round.
func unwrap(b []byte) (msg []byte, hops []hop, bad int, err error) {
	for len(b) > 0 && b[0] == typeRelayForw {
		if len(hops) == maxHops {
			return nil, hops, bad, ErrHops
		}
		if len(b) < relayFixed {
			return nil, hops, bad, fmt.Errorf("%w: %d bytes are no relay message", ErrMalformed, len(b))
		}
		h := hop{count: b[1], link: netip.AddrFrom16([16]byte(b[2:18])), peer: netip.AddrFrom16([16]byte(b[18:34]))}
		var inner []byte
		w := walk6{rest: b[relayFixed:]}
		for code, v, ok := w.next(); ok; code, v, ok = w.next() {
			switch {
			case code == opt6RelayMessage && inner == nil:
				inner = v
			case code == opt6InterfaceID && h.iface == nil:
				h.iface = v
			case code == opt6RemoteID && h.remote == nil:
				if len(v) <= 4 {
					w.bad++
					continue
				}
				h.remote = v[4:]
			case code == opt6LinkLayer && h.linkLayer == nil:
				if len(v) < 2 {
					w.bad++
					continue
				}
				h.linkLayer = v
			case code == opt6RelayPort && h.port == nil:
				if len(v) != 2 {
					w.bad++
					continue
				}
				h.port = v
			}
		}
		bad += w.bad
		hops = append(hops, h)
		if len(inner) == 0 {
			return nil, hops, bad, fmt.Errorf("%w: a relay with nothing to relay", ErrMalformed)
		}
		b = inner
	}
	if len(b) < 4 {
		return nil, hops, bad, fmt.Errorf("%w: %d bytes are no message", ErrMalformed, len(b))
	}
	return b, hops, bad, nil
}

// append6 writes an option. It leaves out an option that is too long for the
// length field.
func append6(b []byte, code uint16, v ...byte) []byte {
	if len(v) > math.MaxUint16 {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

// open6 begins an option whose length close6 fills in.
func open6(b []byte, code uint16) ([]byte, int) {
	b = binary.BigEndian.AppendUint16(b, code)
	return append(b, 0, 0), len(b) + 2
}

func close6(b []byte, at int) { binary.BigEndian.PutUint16(b[at-2:], uint16(len(b)-at)) }

// seconds6 is a lifetime; all ones is for ever (RFC 8415 7.7).
func seconds6(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 0), math.MaxUint32))
}

// firstLabel reads the first label of a domain name (RFC 1035). No more is
// needed. It follows no compression pointer (RFC 8415 10 forbids them), so a
// name costs only its first bytes.
func firstLabel(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", true
	}
	n := int(b[0])
	if n > 63 || 1+n > len(b) {
		return "", false
	}
	return text(b[1 : 1+n]), true
}

// appendName writes a domain name as labels, uncompressed (RFC 8415 10).
func appendName(b []byte, name string) ([]byte, bool) {
	start := len(b)
	for len(name) > 0 && name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if name == "" {
		return b, false
	}
	for from := 0; from <= len(name); {
		to := from
		for to < len(name) && name[to] != '.' {
			to++
		}
		if to == from || to-from > 63 || len(b)-start+to-from+2 > 255 {
			return b[:start], false
		}
		b = append(append(b, byte(to-from)), name[from:to]...)
		from = to + 1
	}
	return append(b, 0), true
}

// classes6 walks a list of texts with two bytes of length each, as options 15 and
// 16 hold them.
func classes6(b []byte, each func([]byte)) bool {
	for len(b) > 0 {
		if len(b) < 2 {
			return false
		}
		n := int(binary.BigEndian.Uint16(b))
		if 2+n > len(b) {
			return false
		}
		each(b[2 : 2+n])
		b = b[2+n:]
	}
	return true
}
