package simclient

// This file is the only user of the codec: the messages that a machine sends in
// DHCPv4, and the parts of a reply that it reads. DHCPv6 is in six.go.

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// A UUID is a system's, in the order that it is written in.
type UUID [16]byte

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// A Machine is who boots.
type Machine struct {
	Kind   *Kind
	MAC    MAC
	UUID   UUID
	Serial string
}

// guid is option 97: type 0, then the UUID with its first three fields in
// reverse byte order, as SMBIOS stores it.
func (m *Machine) guid() []byte {
	if p := m.Kind.pi; p != nil {
		if p.guid == "" {
			return append([]byte{0}, slices.Repeat([]byte{0x44}, 16)...)
		}
		digits := [4]byte{}
		hex.Decode(digits[:], []byte(m.piSerial()))
		return slices.Concat([]byte{0}, []byte(p.guid), []byte{0xc0, 0x31, 0x11, 0}, m.MAC[2:], digits[:])
	}
	b := append([]byte{0}, m.UUID[:]...)
	slices.Reverse(b[1:5])
	slices.Reverse(b[5:7])
	slices.Reverse(b[7:9])
	return b
}

// piSerial is the eight digits that name a Pi's folder: the end of its serial
// number.
func (m *Machine) piSerial() string {
	digits := strings.ToLower(m.Serial)
	digits = digits[max(0, len(digits)-8):]
	if b, err := hex.DecodeString(digits); err == nil && len(b) == 4 {
		return digits
	}
	return hex.EncodeToString(m.MAC[2:])
}

// xid makes the transaction ID of an exchange. The ROM of a Pi 3 always has the
// same one.
type xid = dhcpv4.TransactionID

var xidPi3 = xid{0x26, 0xf3, 0x03, 0x39}

type messageType = dhcpv4.MessageType

const (
	discover = dhcpv4.MessageTypeDiscover
	request  = dhcpv4.MessageTypeRequest
	release  = dhcpv4.MessageTypeRelease
)

// message builds the message that machine m sends as kind k, which is its own
// kind or the one that it has become.
func message(m *Machine, k *Kind, t messageType, id xid, waited time.Duration) *dhcpv4.DHCPv4 {
	d := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: id, ClientHWAddr: net.HardwareAddr(slices.Clone(m.MAC[:])), NumSeconds: uint16(min(waited/sec, 0xffff)),
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero, BootFileName: k.file, Options: dhcpv4.Options{},
	}
	set := func(code uint8, v []byte) {
		if len(v) > 0 {
			d.Options[code] = v
		}
	}
	d.UpdateOption(dhcpv4.OptMessageType(t))
	if k.broadcast {
		d.SetBroadcast()
	}
	set(55, k.asks)
	if size := k.maxSize; size > 0 {
		if t != discover && k.maxSize2 > 0 {
			size = k.maxSize2 // edk2 does
		}
		set(57, binary.BigEndian.AppendUint16(nil, size))
	}
	// A Pi 4 or 5 leaves its class out of the REQUEST.
	if t == discover || k.way != asPi {
		set(60, []byte(k.class))
	}
	switch {
	case k.clientID:
		set(61, append([]byte{1}, m.MAC[:]...))
	case k.way == asONIE:
		set(61, append([]byte{0}, m.Serial...))
		// Enterprise 42623: machine, architecture, revision of the machine.
		var vi []byte
		for i, v := range []string{onieMachine, onieArch, "0"} {
			vi = append(append(vi, byte(3+i), byte(len(v))), v...)
		}
		set(125, append([]byte{0, 0, 0xa6, 0x7f, byte(len(vi))}, vi...))
	}
	set(77, []byte(k.user))
	set(93, k.arch)
	set(94, k.undi)
	if k.guid {
		set(97, m.guid())
	}
	set(175, k.features)
	return d
}

// reply is the part of an answer that a machine reads. Strings are as received,
// but end at a NUL.
type reply struct {
	kind     messageType
	id       xid
	mac      MAC
	addr     netip.Addr // yiaddr; invalid if zero
	next     netip.Addr // siaddr
	server   netip.Addr // option 54
	file     string     // of the header
	class    string     // 60
	vendor   []byte     // 43
	opt66    string
	opt67    string
	url114   string
	said     string // 56
	vendorID []byte // 125
	servers  []netip.Addr
	mask     int
	routers  []netip.Addr
	dns      []netip.Addr
	ttl      time.Duration
	noProxy  bool // 175.176: iPXE need not wait for a proxy
	options  map[uint8][]byte
	sixReply

	from netip.AddrPort
	hw   MAC
}

// parseReply reads an answer; an invalid one is an error.
func parseReply(b []byte) (r *reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("a reply that cannot be read: %v", p)
		}
	}()
	d, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, err
	}
	if d.OpCode != dhcpv4.OpcodeBootReply || len(d.ClientHWAddr) != 6 {
		return nil, fmt.Errorf("no reply to an Ethernet client")
	}
	opt := func(code uint8) []byte { return d.Options[code] }
	r = &reply{kind: d.MessageType(), id: d.TransactionID, mac: MAC(d.ClientHWAddr), addr: addrOf(d.YourIPAddr), next: addrOf(d.ServerIPAddr), server: addrOf(opt(54)),
		file: untilNUL([]byte(d.BootFileName)), class: untilNUL(opt(60)), vendor: opt(43), opt66: untilNUL(opt(66)), opt67: untilNUL(opt(67)), url114: untilNUL(opt(114)),
		said: untilNUL(opt(56)), vendorID: opt(125), servers: append(addrsOf(opt(72)), addrsOf(opt(150))...), mask: 24, routers: addrsOf(opt(3)), dns: addrsOf(opt(6)),
		options: d.Options}
	if m := opt(1); len(m) == 4 {
		if ones, bits := net.IPMask(m).Size(); bits == 32 {
			r.mask = ones
		}
	}
	if v := opt(51); len(v) == 4 {
		r.ttl = time.Duration(binary.BigEndian.Uint32(v)) * sec
	}
	for code, v := range tlvs(opt(175)) {
		if code == 176 && len(v) == 1 && v[0] == 1 {
			r.noProxy = true
		}
	}
	return r, nil
}

// addrOf is an IPv4 address, or none.
func addrOf(b []byte) netip.Addr {
	if ip := net.IP(b).To4(); ip != nil {
		b = ip
	}
	if a, ok := netip.AddrFromSlice(b); ok && a.Is4() && !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

func addrsOf(b []byte) (out []netip.Addr) {
	for ; len(b) >= 4; b = b[4:] {
		if a := addrOf(b[:4]); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

func untilNUL(b []byte) string {
	t, _, _ := strings.Cut(string(b), "\x00")
	return t
}

// tlvs walks encapsulated options: code, length, value; 0 pads, 255 ends.
func tlvs(b []byte) func(yield func(byte, []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		for len(b) >= 1 && b[0] != 255 {
			if b[0] == 0 {
				b = b[1:]
				continue
			}
			if len(b) < 2 || len(b) < 2+int(b[1]) || !yield(b[0], b[2:2+int(b[1])]) {
				return
			}
			b = b[2+int(b[1]):]
		}
	}
}

// relayed turns a message into one that a relay agent forwards (RFC 2131 4.1.1,
// RFC 3046).
func relayed(d *dhcpv4.DHCPv4, via Relay) {
	d.HopCount = 1
	d.GatewayIPAddr = via.Addr.AsSlice()
	var v []byte
	for i, id := range []string{via.CircuitID, via.RemoteID} {
		if id != "" {
			v = append(append(v, byte(i+1), byte(len(id))), id...)
		}
	}
	if len(v) > 0 {
		d.Options[82] = v
	}
}
