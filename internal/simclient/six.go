package simclient

// This file is the messages that a machine sends in DHCPv6, and the parts of a
// reply that it reads. Options are written in the order of the captured
// firmware, byte for byte.

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// six is a kind's behaviour over IPv6.
type six struct {
	class      string // "" sends no option 16
	enterprise uint32
	arch       uint16
	undi       []byte // option 62
	asks       []uint16
	user       string
	duid       func(*Machine) []byte
	iaid       func(MAC) uint32 // nil makes one up, as edk2 does for each boot
	order      []uint16         // of its options
	zeroes     bool             // asks for no lifetimes, where edk2 asks for infinite ones
	stack      bool             // its IP stack gets an address of its own if a router says so
	router     bool             // asks by DHCPv6 only after a router advertisement
	first      bool             // takes the first Advertise
	blksize    int
}

// efiSix is edk2: class is PXEClient or HTTPClient.
func efiSix(class string, arch uint16) *six {
	return &six{class: fmt.Sprintf("%s:Arch:%05d:UNDI:003000", class, arch), enterprise: 343, arch: arch, undi: []byte{1, 3, 0}, asks: []uint16{59, 60, 23, 16},
		duid: duidUEFI, order: orderEDK2, stack: true, blksize: 1228}
}

func ipxeSix(arch uint16) *six {
	return &six{class: fmt.Sprintf("PXEClient:Arch:%05d:UNDI:003010", arch), enterprise: 343, arch: arch, undi: []byte{1, 3, 10}, asks: []uint16{23, 24, 59, 60}, user: "iPXE",
		duid: duidIPXE, iaid: iaidIPXE, order: orderIPXE, zeroes: true, router: true, first: true, blksize: 1432}
}

var (
	piSix        = &six{arch: 41, undi: []byte{1, 3, 0}, asks: []uint16{23, 24, 59}, duid: duidLL, iaid: func(MAC) uint32 { return 0 }, order: orderEDK2, first: true, blksize: 1024}
	bluefieldSix = &six{class: "NVIDIA/BF/PXE", enterprise: 5703, arch: 11, undi: []byte{1, 3, 0}, asks: []uint16{59, 60, 23, 16}, duid: duidUEFI, order: orderEDK2, stack: true, blksize: 1228}

	orderEDK2 = []uint16{optClient6, optElapsed6, optServer6, optIA6, optAsks6, optUser6, optInterface6, optArch6, optClass6}
	orderEnds = []uint16{optClient6, optServer6, optElapsed6, optIA6} // of edk2's Release
	orderIPXE = []uint16{optClient6, optServer6, optIA6, optAsks6, optClass6, optArch6, optInterface6, optUser6, optElapsed6}
)

// duidUEFI is made of the UUID in SMBIOS byte order, duidIPXE of the UUID as
// written (RFC 6355).
func duidUEFI(m *Machine) []byte { return append([]byte{0, 4}, m.guid()[1:]...) }
func duidIPXE(m *Machine) []byte { return append([]byte{0, 4}, m.UUID[:]...) }
func duidLL(m *Machine) []byte   { return append([]byte{0, 3, 0, 1}, m.MAC[:]...) }

// iaidIPXE is a CRC of the MAC, without the usual inversions.
func iaidIPXE(m MAC) uint32 { return ^crc32.Update(0xffffffff, crc32.IEEETable, m[:]) }

// Messages and options (RFC 8415 7.3 and 21, RFC 5970).
const (
	solicit6   = 1
	advertise6 = 2
	request6   = 3
	reply6     = 7
	release6   = 8
	decline6   = 9
	inform6    = 11
	relayForw6 = 12
	relayRepl6 = 13

	optClient6    = 1
	optServer6    = 2
	optIA6        = 3
	optAddr6      = 5
	optAsks6      = 6
	optPref6      = 7
	optElapsed6   = 8
	optRelayed6   = 9
	optStatus6    = 13
	optUser6      = 15
	optClass6     = 16
	optIfaceID6   = 18
	optDNS6       = 23
	optRemoteID6  = 37
	optURL6       = 59
	optBootArgs6  = 60
	optArch6      = 61
	optInterface6 = 62
)

func option6(b []byte, code uint16, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

// ia is an identity association and the addresses that a server gave for it.
type ia struct {
	id    uint32
	given *reply
	stack bool // of edk2's IP stack, whose messages have no boot options
}

// message6 builds the message that machine m sends as kind k. An
// Information-request has no association; then a may be nil.
func message6(m *Machine, k *Kind, typ byte, xid [3]byte, waited time.Duration, a *ia) []byte {
	s := k.six
	ends := typ == release6 || typ == decline6
	u16, u32 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint32
	v := map[uint16][]byte{optClient6: s.duid(m), optElapsed6: u16(nil, uint16(min(waited/(10*ms), 0xffff)))}
	if a != nil && typ != inform6 {
		t1, t2 := uint32(0xffffffff), uint32(0xffffffff)
		if s.zeroes {
			t1, t2 = 0, 0
		} else if a.given != nil && !ends {
			t1, t2 = a.given.t1, a.given.t2
		}
		w := u32(u32(u32(nil, a.id), t1), t2)
		if g := a.given; g != nil {
			v[optServer6] = g.duid
			preferred, valid := g.preferred, uint32(g.ttl/sec)
			if s.zeroes {
				preferred, valid = 0, 0
			}
			w = option6(w, optAddr6, u32(u32(g.addr.AsSlice(), preferred), valid))
		}
		v[optIA6] = w
	}
	asks := s.asks
	if a != nil && a.stack {
		asks = []uint16{optDNS6}
	} else {
		v[optInterface6], v[optArch6] = s.undi, u16(nil, s.arch)
		if s.user != "" {
			v[optUser6] = append(u16(nil, uint16(len(s.user))), s.user...)
		}
		if s.class != "" {
			v[optClass6] = append(u16(u32(nil, s.enterprise), uint16(len(s.class))), s.class...)
		}
	}
	for _, code := range asks {
		v[optAsks6] = u16(v[optAsks6], code)
	}
	order := s.order
	if ends {
		order = orderEnds
	}
	b := append([]byte{typ}, xid[:]...)
	for _, code := range order {
		if v, ok := v[code]; ok {
			b = option6(b, code, v)
		}
	}
	return b
}

// options6 walks options; it stops at one that is cut short.
func options6(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := 4 + int(binary.BigEndian.Uint16(b[2:]))
			if n > len(b) || !yield(binary.BigEndian.Uint16(b), b[4:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// sixReply is the part of a reply that only DHCPv6 has.
type sixReply struct {
	xid       [3]byte
	duid      []byte // of the server
	client    []byte
	pref      int
	iaid      uint32
	t1, t2    uint32
	preferred uint32 // seconds
	status    string // why there is no address, or nothing at all; "" if all is well
	bootArgs  []byte
}

// parseReply6 reads an answer. Malformed options are skipped.
func parseReply6(b []byte) (*reply, error) {
	if len(b) < 4 || b[0] != advertise6 && b[0] != reply6 {
		return nil, fmt.Errorf("no reply to a client")
	}
	r := &reply{kind: messageType(b[0]), mask: 64, options: map[uint8][]byte{}}
	r.xid = [3]byte(b[1:4])
	status := func(v []byte) {
		if len(v) >= 2 && binary.BigEndian.Uint16(v) != 0 {
			r.status = statusText(binary.BigEndian.Uint16(v), string(v[2:]))
		}
	}
	for code, v := range options6(b[4:]) {
		switch code {
		case optServer6:
			r.duid = v
		case optClient6:
			r.client = v
		case optPref6:
			if len(v) == 1 {
				r.pref = int(v[0])
			}
		case optIA6:
			if len(v) < 12 || r.addr.IsValid() {
				continue
			}
			r.iaid, r.t1, r.t2 = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
			for code, v := range options6(v[12:]) {
				if code == optStatus6 {
					status(v)
				}
				if code == optAddr6 && len(v) >= 24 && !r.addr.IsValid() && binary.BigEndian.Uint32(v[20:]) > 0 {
					r.addr = netip.AddrFrom16([16]byte(v[:16]))
					r.preferred, r.ttl = binary.BigEndian.Uint32(v[16:]), time.Duration(binary.BigEndian.Uint32(v[20:]))*sec
				}
			}
		case optStatus6:
			status(v)
		case optClass6:
			if len(v) >= 6 {
				r.class = string(v[6:])
			}
		case optDNS6:
			for ; len(v) >= 16; v = v[16:] {
				r.dns = append(r.dns, netip.AddrFrom16([16]byte(v[:16])))
			}
		case optURL6:
			r.opt67 = untilNUL(v)
		case optBootArgs6:
			r.bootArgs = v
		}
		if code < 256 {
			r.options[uint8(code)] = v
		}
	}
	if u, err := url.Parse(r.opt67); err == nil {
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			r.next = a
		}
	}
	return r, nil
}

// statusText is a status code in words (RFC 8415 21.13).
func statusText(code uint16, said string) string {
	names := []string{"Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail"}
	t := fmt.Sprintf("status %d", code)
	if int(code) < len(names) {
		t = names[code]
	}
	if said != "" {
		t += ": " + shown(said)
	}
	return t
}

// refuses says why firmware of kind k cannot use a boot file; "" if it can.
func (k *Kind) refuses(o *reply) (why, hint string) {
	u, err := url.Parse(o.opt67)
	switch {
	case o.opt67 == "":
		return o.who() + " gives an address and no boot file (option 59)", "is this machine allowed to boot, and does the server know its kind? ask it: muster explain --ipv6, muster host show"
	case k.way == asIPXE:
	case k.way == byHTTP && !strings.HasPrefix(o.class, "HTTPClient"):
		return o.who() + " names " + shown(o.opt67) + " without HTTPClient in option 16, and UEFI HTTP boot ignores that", "send the vendor class HTTPClient with the URL"
	case k.way == byHTTP && (err != nil || u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Sprintf("UEFI HTTP boot is told to load %s, which is no URL of HTTP", shown(o.opt67)), "option 59 must be a URL like http://[fd00::1]/ipxe.efi"
	case k.way == byTFTP && strings.HasPrefix(o.class, "PXEClient"):
		return o.who() + " echoes PXEClient in option 16: edk2 then gives its address back and stops", "send no vendor class to PXE clients of DHCPv6"
	case k.way != byHTTP && (err != nil || u.Scheme != "tftp"):
		return fmt.Sprintf("PXE over IPv6 is told to load %s, and takes tftp:// only", shown(o.opt67)), "option 59 must be a URL like tftp://[fd00::1]/ipxe.efi"
	}
	// edk2 reads it as the size of the file, and stops if that is no number.
	if k.way == byTFTP && len(o.bootArgs) > 0 && (len(o.bootArgs) > 5 || slices.ContainsFunc(o.bootArgs, func(c byte) bool { return c < '0' || c > '9' })) {
		return fmt.Sprintf("%s sends boot parameters (option 60) %q, and edk2 stops at all but a short number", o.who(), shown(string(o.bootArgs))), "send no option 60 to PXE clients"
	}
	return "", ""
}

// firmwareURL is the boot file as edk2's PXE reads it: percent-decoded, without
// the mode suffix.
func firmwareURL(target string) string {
	scheme, rest, ok := strings.Cut(target, "://")
	host, file, _ := strings.Cut(rest, "/")
	if !ok || scheme != "tftp" {
		return target
	}
	if f, err := url.PathUnescape(file); err == nil {
		file = f
	}
	file, _, _ = strings.Cut(file, ";mode=")
	return scheme + "://" + host + "/" + file
}

// linkLocal is the address of a MAC on its own link (RFC 4291 appendix A).
func (m MAC) linkLocal() netip.Addr { return m.in(netip.MustParsePrefix("fe80::/64")) }

// in is the address that a machine makes from a prefix (RFC 4862).
func (m MAC) in(p netip.Prefix) netip.Addr {
	a := p.Addr().As16()
	copy(a[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(a)
}

// An advert is what a router advertises (RFC 4861 4.2).
type advert struct {
	from           netip.Addr
	managed, other bool
	lifetime       time.Duration
	prefixes       []netip.Prefix
	own            []netip.Prefix // hosts make addresses of these
	dns            []netip.Addr
	at             time.Time
}

func parseAdvert(b []byte) (a *advert, ok bool) {
	if len(b) < 16 {
		return nil, false
	}
	a = &advert{managed: b[5]&0x80 != 0, other: b[5]&0x40 != 0, lifetime: time.Duration(binary.BigEndian.Uint16(b[6:])) * sec}
	for b = b[16:]; len(b) >= 8; {
		n := 8 * int(b[1])
		if n == 0 || n > len(b) {
			return nil, false
		}
		switch {
		case b[0] == 3 && n == 32 && b[2] <= 128:
			p := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[16:32])), int(b[2])).Masked()
			a.prefixes = append(a.prefixes, p)
			if b[3]&0x40 != 0 && p.Bits() == 64 && binary.BigEndian.Uint32(b[4:]) > 0 {
				a.own = append(a.own, p)
			}
		case b[0] == 25 && n >= 24:
			for v := b[8:n]; len(v) >= 16; v = v[16:] {
				a.dns = append(a.dns, netip.AddrFrom16([16]byte(v[:16])))
			}
		}
		b = b[n:]
	}
	return a, true
}

// text is an advert in a few words.
func (a *advert) text() string {
	t := a.from.String() + " advertises"
	for _, p := range a.prefixes {
		t += " " + p.String()
	}
	if len(a.prefixes) == 0 {
		t += " no prefix"
	}
	switch {
	case a.managed:
		t += ", addresses by DHCPv6"
	case a.other:
		t += ", DHCPv6 without addresses"
	default:
		t += ", no DHCPv6"
	}
	if a.lifetime > 0 {
		t += ", and is a router"
	}
	return t
}
