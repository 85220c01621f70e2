// v6.go: DHCPv6 bytes to a Sighting (RFC 8415). Pure; the way back is build6.go.

package dhcpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// Further reasons to drop a DHCPv6 message (RFC 8415 16); each is counted.
var (
	ErrHops        = errors.New("relayed more often than a message may be")
	ErrNoClientID  = errors.New("no client identifier")
	ErrNoServerID  = errors.New("no server identifier")
	ErrHasServerID = errors.New("a server identifier where none may be")
	ErrHasIA       = errors.New("an Information-request that asks for addresses")
	ErrUnicast     = errors.New("sent to one server that must go to all")
)

// request6 is a parsed message with the facts drawn from it.
type request6 struct {
	kind     byte
	xid      [3]byte
	clientID []byte // a slice of the packet, until own copies it
	serverID []byte // compared at once, so it is not copied
	hops     []hop  // outermost first
	meta     Meta
	in       boot.Sighting
	skipped  int  // options that made no sense
	unicast  bool // sent by unicast where that is not allowed: the client is told (RFC 8415 18.4)
	other    bool // names another server
}

// read6 reads a message to a server. A message that names another server gets
// no answer (RFC 8415 16.4). The rules still see it, because it frees the
// address that was held for the client.
func read6(b []byte, m Meta, serverDUID []byte) (*request6, error) {
	r, err := parse6(b, m)
	if err == nil && r.serverID != nil {
		r.other = !bytes.Equal(r.serverID, serverDUID)
	}
	return r, err
}

// parse6 reads one message. The byte slices in r point into b; the Sighting
// keeps none of b.
func parse6(b []byte, m Meta) (*request6, error) {
	if len(b) > maxPacket6 {
		return nil, fmt.Errorf("%w: %d bytes are more than anybody sends", ErrMalformed, len(b))
	}
	msg, hops, bad, err := unwrap(b)
	if err != nil {
		return nil, err
	}
	r := &request6{kind: msg[0], xid: [3]byte(msg[1:4]), hops: hops, meta: m, skipped: bad}
	in := &r.in
	switch r.kind {
	case typeSolicit:
		in.Step = boot.Solicit
	case typeRequest6:
		in.Step = boot.Request6
	case typeConfirm:
		in.Step = boot.Confirm
	case typeRenew:
		in.Step = boot.Renew
	case typeRebind:
		in.Step = boot.Rebind
	case typeRelease6:
		in.Step = boot.Release
	case typeDecline6:
		in.Step = boot.Decline
	case typeInform6:
		in.Step = boot.Inform
	case typeAdvertise, typeReply, typeReconfigure, typeRelayRepl:
		return nil, ErrNotAsked
	default:
		return nil, ErrType
	}
	in.At, in.Via, in.Source = m.At, boot.DHCP6, m.Source
	r.link()
	in.Firmware.Arch = boot.ArchNone
	firmware, err := r.options(msg[4:])
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	r.identify(firmware)
	return r, nil
}

// link says where the message came from.
func (r *request6) link() {
	l, src := &r.in.Link, r.meta.Source.Addr().WithZone("")
	l.Interface, l.Local, l.Client = r.meta.Interface, r.meta.Local, src
	r.in.Proof = boot.ProofHeard
	if len(r.hops) == 0 {
		return
	}
	r.in.Proof = boot.ProofNone // a relay agent forwarded it, so it proves nothing
	l.Relay = src
	if l.Client = r.hops[len(r.hops)-1].peer; l.Client.IsUnspecified() {
		l.Client = netip.Addr{}
	}
	for _, h := range slices.Backward(r.hops) {
		// A switch between the client and its first relay may have no address
		// on the link, and writes :: instead (RFC 6221 5.3.1).
		if !l.Subnet.IsValid() && routable(h.link) {
			l.Subnet = h.link
		}
		// The relay nearest to the client is the switch that it is plugged
		// into.
		if l.Port == "" {
			l.Port = switchPort(h.remote, h.iface)
		}
	}
}

// routable reports an address that identifies a link.
func routable(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.Is4In6() }

// options draws the facts from a client's options; of a repeated option the
// first counts. firmware reports whether the options include something that
// only firmware sends.
func (r *request6) options(b []byte) (firmware bool, err error) {
	in, f := &r.in, &r.in.Firmware
	w := walk6{rest: b}
	user, asked, ia := false, false, false
	for code, v, ok := w.next(); ok; code, v, ok = w.next() {
		switch code {
		case opt6ClientID, opt6ServerID:
			id := &r.clientID
			if code == opt6ServerID {
				id = &r.serverID
			}
			switch {
			case *id != nil:
			case len(v) < 3 || len(v) > maxDUID:
				w.bad++
			default:
				*id = v
			}
		case opt6IANA, opt6IAPD:
			ia = true
			r.ia(&w, v, code == opt6IAPD)
		case opt6IATA:
			ia = true
		case opt6Asked:
			if len(v)%2 != 0 {
				w.bad++
			} else if !asked && len(v) > 0 {
				asked = true
				n := min(len(v)/2, maxAsked6)
				in.Want.Options6 = make([]uint16, n)
				for i := range n {
					in.Want.Options6[i] = binary.BigEndian.Uint16(v[2*i:])
				}
			}
		case opt6Rapid:
			in.Want.Rapid = r.kind == typeSolicit
		case opt6UserClass:
			if !user {
				user = true
				f.UserClass, f.IPXE = userClass6(v)
				firmware = firmware || f.IPXE
			}
		case opt6VendorClass:
			// There may be one for each vendor (RFC 8415 21.16).
			if !vendorClass6(f, v) {
				w.bad++
			}
		case opt6FQDN:
			if in.Want.Name == "" {
				name, ok := "", len(v) > 0
				if ok {
					name, ok = firstLabel(v[1:])
				}
				if in.Want.Name = name; !ok {
					w.bad++
				}
			}
		case opt6Arch:
			switch {
			case len(v) < 2:
				w.bad++
			case f.Arch == boot.ArchNone:
				f.Arch = boot.Arch(binary.BigEndian.Uint16(v)) // a list; the first counts
				firmware = true
			}
		case opt6NII:
			firmware = true
		}
	}
	r.skipped += w.bad
	if ia && r.kind == typeInform6 {
		return false, ErrHasIA
	}
	// edk2's own IPv6 stack asks for an address of its own, besides the one for
	// the boot. It is recognised by asking for DNS servers and nothing else.
	stack := len(in.Want.Options6) == 1 && in.Want.Options6[0] == opt6DNS
	return firmware || stack || bootClass(f.VendorClass), nil
}

// userClass6 reads option 15 as a list with lengths (RFC 8415 21.15), else in the
// ways of DHCPv4, and whether iPXE is among it.
func userClass6(b []byte) (first string, ipxe bool) {
	if classes6(b, func(v []byte) {
		if first == "" {
			first = class6(v)
		}
		ipxe = ipxe || string(v) == "iPXE"
	}) {
		return first, ipxe
	}
	first = userClass(b[:min(len(b), maxClass6)])
	return first, first == "iPXE"
}

// vendorClass6 reads option 16: an enterprise number and a list. A boot
// client's class takes precedence over an operating system's.
func vendorClass6(f *boot.Firmware, b []byte) bool {
	if len(b) < 4 {
		return false
	}
	var class []byte
	if !classes6(b[4:], func(v []byte) {
		if len(class) == 0 {
			class = v
		}
	}) {
		return false
	}
	switch n := binary.BigEndian.Uint32(b); {
	case f.VendorClass == "" && len(class) > 0, bootClass(string(class[:min(len(class), 10)])) && !bootClass(f.VendorClass):
		f.VendorClass, f.Enterprise = class6(class), n
	case f.Enterprise == 0:
		f.Enterprise = n
	}
	return true
}

func class6(v []byte) string { return text(v[:min(len(v), maxClass6)]) }

func bootClass(s string) bool {
	return strings.HasPrefix(s, "PXEClient") || strings.HasPrefix(s, "HTTPClient")
}

// check holds a message to RFC 8415 16.
func (r *request6) check() error {
	named := false
	switch r.kind {
	case typeRequest6, typeRenew, typeDecline6, typeRelease6:
		named = true
		if r.serverID == nil {
			return ErrNoServerID
		}
	case typeSolicit, typeConfirm, typeRebind:
		if r.serverID != nil {
			return ErrHasServerID
		}
	}
	if r.clientID == nil && r.kind != typeInform6 {
		return ErrNoClientID
	}
	if len(r.hops) == 0 && r.meta.Local.IsValid() {
		if !named {
			return ErrUnicast
		}
		r.unicast = true
	}
	return nil
}

// identify draws who asks from the DUID, the relays and the client's address.
// The UUID of a DUID is the machine's only where firmware speaks: NetworkManager
// makes one up from the machine-id, and that would contradict the board's.
func (r *request6) identify(firmware bool) {
	id, d := &r.in.ID, r.clientID
	id.DUID = hex.EncodeToString(d)
	r.in.Want.ServerID = hex.EncodeToString(r.serverID)
	kind := -1
	if len(d) > 2 {
		kind = int(binary.BigEndian.Uint16(d))
	}
	if kind == duidUUID && firmware {
		// edk2 copies it from SMBIOS as it lies there, iPXE writes it as RFC 9562 does.
		if id.UUID, _ = boot.UUIDFromWire(d[2:]); r.in.Firmware.IPXE {
			id.UUID = id.UUID.Swapped()
		}
	}
	for _, h := range slices.Backward(r.hops) {
		if l := h.linkLayer; len(l) == 8 && binary.BigEndian.Uint16(l) == ethernet && boot.MAC(l[2:]).Usable() {
			id.MAC = boot.MAC(l[2:])
			return
		}
	}
	switch {
	case kind == duidLLT && len(d) == 14 && binary.BigEndian.Uint16(d[2:]) == ethernet:
		id.MAC = boot.MAC(d[8:])
	case kind == duidLL && len(d) == 10 && binary.BigEndian.Uint16(d[2:]) == ethernet:
		id.MAC = boot.MAC(d[4:])
	}
	if !id.MAC.Usable() {
		id.MAC = eui64(r.in.Link.Client)
	}
}

// eui64 is the MAC address that a link-local address was made from (RFC 4291
// appendix A), zero where it was not: a system may choose it at random.
func eui64(a netip.Addr) (m boot.MAC) {
	b := a.As16()
	if !a.IsLinkLocalUnicast() || b[11] != 0xff || b[12] != 0xfe {
		return m
	}
	m = boot.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}
	if !m.Usable() {
		return boot.MAC{}
	}
	return m
}

// commits reports a request that may wait for the disk.
func (r *request6) commits() bool { return r.kind != typeSolicit || r.in.Want.Rapid }

func (r *request6) index() int { return r.meta.Index }

func (r *request6) facts() *boot.Sighting { return &r.in }

// sentTo is the address that the message was sent to. The socket does not name
// a multicast group: if it names no address of ours, the message went to the
// clients' group, or to the relays' if a relay sent it by a routable address.
func (r *request6) sentTo() netip.AddrPort {
	to := groups6[0]
	if r.meta.Local.IsValid() {
		to = r.meta.Local
	} else if len(r.hops) > 0 && !r.meta.Source.Addr().IsLinkLocalUnicast() {
		to = groups6[1]
	}
	return netip.AddrPortFrom(to, server6Port)
}

func (r *request6) who() slog.Attr { return slog.String("duid", r.in.ID.DUID) }

// decide asks the engine, unless the message alone determines the answer.
func (r *request6) decide(ask func(boot.Sighting) (boot.Decision, error)) (boot.Decision, error) {
	if r.unicast && !r.other {
		return boot.Decision{Reply: boot.Answer6{Status: &boot.Status6{Code: boot.StatusUseMulticast, Text: "send this to ff02::1:2"}}}, nil
	}
	return ask(r.in)
}

// ia reads an identity association. A second one with the same IAID is skipped,
// because one IAID cannot have two answers.
func (r *request6) ia(w *walk6, v []byte, prefix bool) {
	want := &r.in.Want
	if len(v) < 12 || len(want.IAs) == maxIAs {
		w.bad++
		return
	}
	ia := boot.IA{ID: binary.BigEndian.Uint32(v), Prefix: prefix}
	for _, x := range want.IAs {
		if x.ID == ia.ID && x.Prefix == prefix {
			w.bad++
			return
		}
	}
	sub := walk6{rest: v[12:]}
	for code, v, ok := sub.next(); ok; code, v, ok = sub.next() {
		switch {
		case code != opt6IAAddr && code != opt6IAPrefix:
			continue
		case prefix != (code == opt6IAPrefix), len(v) < 24, prefix && (len(v) < 25 || v[8] > 128), len(ia.Has) == maxHas:
			sub.bad++
			continue
		}
		at, bits := 0, 128
		if prefix {
			at, bits = 9, int(v[8])
		}
		a := netip.AddrFrom16([16]byte(v[at : at+16]))
		if !prefix && a.IsUnspecified() {
			continue // "any" (RFC 8415 18.2.1)
		}
		// An address is kept as the client claims it, right or wrong. A prefix
		// loses the bits behind its length: it is the same prefix.
		ia.Has = append(ia.Has, netip.PrefixFrom(a, bits).Masked())
	}
	w.bad += sub.bad
	want.IAs = append(want.IAs, ia)
}
