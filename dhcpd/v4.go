// v4.go: DHCPv4 bytes to a Sighting, and a Decision to DHCPv4 bytes. Pure.

package dhcpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// Meta is what the socket knows of a packet.
type Meta struct {
	At        time.Time
	Interface string
	Index     int
	Local     netip.Addr // destination address, where it is one of ours
	Source    netip.AddrPort
	Proxy     bool // arrived on port 4011
}

// Reasons to drop a packet without an answer; each is counted.
var (
	ErrMalformed = errors.New("malformed packet")
	ErrNotAsked  = errors.New("not a request")
	ErrHardware  = errors.New("hardware address is not Ethernet")
	ErrType      = errors.New("message type is not a client's")
)

// hardware is the type of a link layer (RFC 1700) that is not served, as an error.
type hardware uint8

func (h hardware) Error() string     { return ErrHardware.Error() + ": type " + h.String() }
func (h hardware) Is(err error) bool { return err == ErrHardware }

func (h hardware) String() string {
	if name, ok := map[hardware]string{6: "IEEE 802", 7: "ARCNET", 24: "FireWire", 27: "EUI-64", 32: "InfiniBand"}[h]; ok {
		return fmt.Sprintf("%d, %s", uint8(h), name)
	}
	return strconv.Itoa(int(h))
}

// request is a parsed packet with the facts drawn from it.
type request struct {
	msg       packet
	meta      Meta
	in        boot.Sighting
	relayPort bool // the relay wants the reply at the port it sent from (RFC 8357)
}

const (
	ipxeHTTP      = 0x13
	pxeBootItem   = 71 // of option 43
	relayCircuit  = 1
	relayRemote   = 2
	relayLink     = 5
	relayServerID = 11
	relaySource   = 19
)

// parse4 reads one packet. Option values in msg are slices of b; the Sighting
// keeps none of b.
func parse4(b []byte, m Meta) (*request, error) {
	r := &request{meta: m}
	msg := &r.msg
	if err := msg.decode(b); err != nil {
		return nil, err
	}
	if msg.op != bootRequest {
		return nil, ErrNotAsked
	}
	if msg.htype != 1 || msg.hlen != 6 {
		return nil, hardware(msg.htype)
	}
	in := &r.in
	in.At, in.Source = m.At, m.Source
	in.Via = boot.DHCP4
	if m.Proxy {
		in.Via = boot.Proxy4
	}
	in.Link = boot.Link{Interface: m.Interface, Local: m.Local}
	in.Proof = boot.ProofHeard
	if ga := addr4(msg.giaddr[:]); ga.IsValid() {
		in.Link.Relay, in.Link.Subnet = ga, ga
		in.Proof = boot.ProofNone // a relay agent forwarded it, so it proves nothing
	}
	in.XID = binary.BigEndian.Uint32(msg.xid[:])
	copy(in.ID.MAC[:], msg.chaddr[:])

	ciaddr := addr4(msg.ciaddr[:])
	if in.Link.Client = ciaddr; !ciaddr.IsValid() && m.Source.Addr().IsValid() && !m.Source.Addr().IsUnspecified() && !in.Link.Relay.IsValid() {
		in.Link.Client = m.Source.Addr()
	}
	asked := addr4(msg.get(optRequested))
	in.Want.Server = addr4(msg.get(optServerID))
	in.Want.Name = text(msg.get(optHostName))
	in.Want.Rapid = msg.has(optRapidCommit)
	if l := msg.get(optAsked); len(l) > 0 {
		in.Want.Options = bytes.Clone(l)
	}
	if id := msg.get(optClientID); len(id) <= 255 {
		in.Want.ClientID = hex.EncodeToString(id)
	}
	if v := msg.get(optLease); len(v) == 4 {
		in.Want.Lease = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	}
	kind := byte(typeNone)
	if v := msg.get(optType); len(v) == 1 {
		kind = v[0]
	} else if msg.has(optType) {
		return nil, fmt.Errorf("%w: message type of %d bytes", ErrMalformed, len(v))
	}
	switch kind {
	case typeNone:
		if m.Proxy {
			return nil, ErrType // nobody speaks BOOTP to port 4011
		}
		in.Step = boot.Bootp
	case typeDiscover:
		in.Step, in.Want.Addr = boot.Discover, asked
	case typeRequest:
		switch {
		case m.Proxy:
			in.Step, in.Want.Addr = boot.Selecting, ciaddr
		case in.Want.Server.IsValid():
			in.Step, in.Want.Addr = boot.Selecting, asked
		case ciaddr.IsValid():
			in.Step, in.Want.Addr = boot.Renew, ciaddr
		default:
			in.Step, in.Want.Addr = boot.InitReboot, asked
		}
	case typeDecline:
		in.Step, in.Want.Addr = boot.Decline, asked
	case typeRelease:
		in.Step, in.Want.Addr = boot.Release, ciaddr
	case typeInform:
		in.Step, in.Want.Addr = boot.Inform, ciaddr
	default:
		return nil, ErrType
	}

	f := &in.Firmware
	f.Arch = boot.ArchNone
	if a := msg.get(optArch); len(a) >= 2 {
		f.Arch = boot.Arch(binary.BigEndian.Uint16(a)) // a list is possible; the first counts
	}
	f.VendorClass = text(msg.get(optVendorClass))
	f.UserClass = userClass(msg.get(optUserClass))
	f.UBoot = isUBoot(msg)
	feat := msg.get(optIPXE)
	f.IPXE = f.UserClass == "iPXE" || feat != nil
	f.NoHTTP = lacksHTTP(feat)
	f.Proxied = m.Proxy
	for _, code := range []uint8{optVendorClasses, optVendorOptions} {
		if v := msg.get(code); len(v) >= 4 && f.Enterprise == 0 {
			f.Enterprise = binary.BigEndian.Uint32(v)
		}
	}
	if g := msg.get(optMachineID); len(g) == 17 && g[0] == 0 {
		in.ID.UUID, _ = boot.UUIDFromWire(g[1:])
		f.PiROM = bytes.Count(g[1:], []byte{0x44}) == 16
		f.PiBoard = bytes.HasPrefix(g[1:], []byte("RPi"))
	}
	if id := msg.get(optClientID); len(id) > 7 && len(id) < 140 && id[0] == 0xff {
		in.ID.DUID = hex.EncodeToString(id[5:]) // RFC 4361: ff, IAID, DUID
	}
	if in.Link.Relay.IsValid() {
		// Option 82 is believed only from a relay. A client could write it too,
		// but a switch between the client and us strips it or drops the packet
		// (RFC 3046 2.1).
		ri := subOptions(msg.get(optRelayInfo))
		in.Link.Port = switchPort(ri[relayRemote], ri[relayCircuit])
		if v := ri[relayLink]; len(v) == 4 {
			in.Link.Subnet = addr4(v)
		}
		if v := ri[relayServerID]; len(v) == 4 {
			in.Link.ServerID = addr4(v)
		}
		_, r.relayPort = ri[relaySource]
		if s := msg.get(optSubnet); len(s) == 4 {
			in.Link.Subnet = addr4(s)
		}
	} else if ri := msg.get(optRelayInfo); ri != nil {
		// A switch that does DHCP snooping adds it without being a relay.
		sub := subOptions(ri)
		in.Link.Port = switchPort(sub[relayRemote], sub[relayCircuit])
	}
	if v := subOptions(msg.get(optVendor43))[pxeBootItem]; len(v) == 4 && v[2]&0x80 == 0 {
		in.Want.Item = binary.BigEndian.Uint16(v)
	}
	return r, nil
}

// switchPort names a switch port as people write it, "leaf3:Ethernet12":
// remote-id and circuit-id of option 82. A value that is not text is written in
// hexadecimal. A remote-id of six bytes is written as a MAC address.
func switchPort(remote, circuit []byte) string {
	var parts []string
	for _, b := range [][]byte{remote, circuit} {
		switch t := text(b); {
		case len(b) == 0:
		case len(t) == len(strings.TrimRight(string(b), "\x00")):
			parts = append(parts, t)
		case len(b) == 6:
			parts = append(parts, boot.MAC(b).String())
		case len(b) == 8 && b[0] == 0 && b[1] == 6: // type and length in front of a MAC
			parts = append(parts, boot.MAC(b[2:]).String())
		default:
			parts = append(parts, "0x"+hex.EncodeToString(b))
		}
	}
	return strings.Join(parts, ":")
}

// text keeps the printable part of an option; firmware pads with NULs.
func text(b []byte) string {
	s := strings.TrimRight(string(b), "\x00")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, s)
}

// userClass reads option 77 in both encodings: as a list with length bytes (RFC
// 3004) if that fits exactly, else as plain text, which iPXE sends.
func userClass(b []byte) string {
	for rest := b; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n+1 > len(rest) {
			return text(b)
		}
		if n+1 == len(rest) {
			return text(b[1 : 1+int(b[0])])
		}
		rest = rest[n+1:]
	}
	return ""
}

// lacksHTTP reads iPXE's encapsulated features and says whether it lists any
// of its own protocols (0x10 to 0x29) without HTTP among them.
func lacksHTTP(b []byte) bool {
	listed, http := false, false
	for code := range subOptions(b) {
		listed = listed || code >= 0x10 && code <= 0x29
		http = http || code == ipxeHTTP
	}
	return listed && !http
}

// subOptions walks code, length, value; it stops at the first that does not
// fit. A code that repeats keeps its first value.
func subOptions(b []byte) map[byte][]byte {
	m := map[byte][]byte{}
	for len(b) >= 2 {
		code, n := b[0], int(b[1])
		if code == 0 {
			b = b[1:]
			continue
		}
		if code == 255 || n+2 > len(b) {
			break
		}
		if _, dup := m[code]; !dup {
			m[code] = b[2 : 2+n]
		}
		b = b[2+n:]
	}
	return m
}

// build4 makes the reply, or nil where the decision sends none.
func build4(r *request, d boot.Decision) []byte {
	x, ok := d.Reply.(boot.Answer4)
	if !ok {
		return nil
	}
	kind, grant, info, opts := byte(typeOffer), x.Grant, x.Boot, x.Options
	switch x.Type {
	case boot.Ack:
		kind = typeAck
	case boot.Nak:
		return nak4(r, x)
	}
	m := r.skeleton()
	w := optionWriter{msg: m, left: r.space(), extra: opts.Extra, split: d.Class == boot.Plain}
	if r.in.Step != boot.Bootp {
		w.must(optType, []byte{kind})
		w.must(optServerID, opts.Server.AsSlice())
	}
	w.echo(r)
	if kind == typeAck {
		m.ciaddr = r.msg.ciaddr
	}
	if x.Rapid {
		w.must(optRapidCommit, nil)
	}
	if grant != nil {
		m.yiaddr = four(grant.Addr)
	}
	if grant != nil && grant.Lease > 0 {
		secs := func(d time.Duration) []byte { return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second)) }
		w.put(optLease, secs(grant.Lease))
		w.put(optRenew, secs(grant.Lease/2))
		w.put(optRebind, secs(grant.Lease*7/8))
	}
	if opts.Subnet.IsValid() {
		w.put(optSubnetMask, net.CIDRMask(opts.Subnet.Bits(), 32))
	}
	w.put(optRouter, addrs(opts.Routers))
	if info != nil {
		bootPart(m, &w, info, grant != nil)
		if g := r.msg.get(optMachineID); len(g) == 17 {
			w.put(optMachineID, g) // BIOS ROMs expect it back
		}
	}
	w.put(optDNS, addrs(opts.DNS))
	w.put(optDomain, []byte(opts.Domain))
	w.put(optHostName, []byte(opts.Name))
	if opts.Log.IsValid() {
		w.put(optLogServers, opts.Log.AsSlice())
	}
	for _, o := range opts.Extra {
		w.put(o.Code, o.Data)
	}
	return m.encode()
}

// bootPart writes the first file in every place that some client reads it:
// the header for shim, GRUB, U-Boot and ROMs, options 66 and 67 for the rest.
func bootPart(m *packet, w *optionWriter, info *boot.BootInfo, full bool) {
	w.put(optVendorClass, []byte(info.VendorClass))
	if info.Class == boot.HTTPClient {
		w.put(optBootfile, []byte(info.File))
		return
	}
	m.siaddr = four(info.Server)
	m.sname = info.Server.String()
	file := info.File
	switch info.Class {
	case boot.PXE:
		switch {
		case info.Menu != nil:
			// Firmware would start the file and never show the menu.
			if w.put(optVendor43, menu(info.Menu, info.Server)); m.has(optVendor43) {
				file = ""
			}
		case info.Item != 0:
			// The boot item is echoed (PXE 2.1 3.3); layer 0 is the loader.
			w.put(optVendor43, append(binary.BigEndian.AppendUint16([]byte{pxeBootItem, 4}, info.Item), 0, 0, 255))
		case !info.BINL:
			// Discovery control with bit 3 set: load the file at once, without
			// a menu and without boot server discovery. Without it UEFI asks on
			// port 4011. The inner end marker is part of the option.
			w.put(optVendor43, []byte{6, 1, 8, 255})
		}
		if file != "" {
			// The NUL keeps old UEFI from reading into the next option.
			w.put(optBootfile, append([]byte(file), 0))
		}
	case boot.IPXE:
		w.put(optBootfile, []byte(file))
		if full {
			// no-pxedhcp keeps iPXE from waiting two seconds for a proxy. A
			// proxy itself must never send it.
			w.put(optIPXE, []byte{176, 1, 1})
		}
	}
	// A boot file that the operator sets as an option also goes into the field
	// that this client reads first.
	if o := w.extraOf(optBootfile); o != nil {
		file = strings.TrimRight(string(o), "\x00")
	}
	if len(file) < 128 {
		m.file = file
	}
	w.put(optTFTPServer, []byte(info.Server.String()))
}

// menu is option 43 for firmware that shows a boot menu. Discovery is
// restricted to the list of boot servers, and every entry of that list is this
// server.
func menu(m *boot.Menu, server netip.Addr) []byte {
	b := []byte{6, 1, 7, 8, 0}
	var lines []byte
	for i, it := range m.Items {
		t := boot.MenuTypes + uint16(i)
		if it.Loader == "" {
			t = 0 // the firmware goes on to its next boot entry
		} else {
			b = append(append(binary.BigEndian.AppendUint16(b, t), 1), server.AsSlice()...)
		}
		lines = append(append(binary.BigEndian.AppendUint16(lines, t), byte(len(it.Text))), it.Text...)
	}
	b[4] = byte(len(b) - 5)
	b = append(append(b, 9, byte(len(lines))), lines...)
	b = append(append(b, 10, byte(1+len(m.Prompt)), m.Timeout), m.Prompt...)
	return append(b, 255)
}

func nak4(r *request, x boot.Answer4) []byte {
	m := r.skeleton()
	w := optionWriter{msg: m, left: r.space()}
	w.must(optType, []byte{typeNak})
	if s := x.Options.Server; s.IsValid() {
		w.must(optServerID, s.AsSlice())
	}
	w.echo(r)
	msg := x.Message
	if len(msg) > 128 {
		msg = msg[:128]
	}
	w.put(optMessage, []byte(msg))
	if r.in.Link.Relay.IsValid() {
		m.flags |= broadcastFlag // RFC 2131 4.3.2: the relay must broadcast it
	}
	return m.encode()
}

// source is the address that a reply leaves from.
func source(d boot.Decision) netip.Addr {
	x, _ := d.Reply.(boot.Answer4)
	return x.Options.Source
}

// skeleton copies what every reply repeats.
func (r *request) skeleton() *packet {
	q := &r.msg
	return &packet{op: bootReply, htype: q.htype, hlen: q.hlen, xid: q.xid, flags: q.flags, giaddr: q.giaddr, chaddr: q.chaddr, options: make([]option, 0, 20)}
}

// room is how many bytes of options the client takes.
func (r *request) space() int {
	if r.in.Step == boot.Bootp {
		return 64 - 4 - 1 // RFC 951: the vendor area, with its cookie and end mark
	}
	n := minDatagram
	if v := r.msg.get(optMaxSize); len(v) == 2 {
		n = min(max(int(binary.BigEndian.Uint16(v)), minDatagram), maxDatagram)
	}
	return n - headersIPUDP - fixedPart - 1 // the end marker
}

// optionWriter adds options in order of priority until the reply is full; what
// does not fit is left out rather than cut.
type optionWriter struct {
	msg   *packet
	left  int
	extra []boot.Option // options that the operator sets in place of ours
	split bool          // the client joins options of more than 255 bytes (RFC 3396)
}

// put adds an option. It refuses an empty one, because edk2 drops the whole
// packet for that. It splits no option over 255 bytes for firmware, because
// ROMs do not join the parts.
func (w *optionWriter) put(code byte, v []byte) {
	if x := w.extraOf(code); x != nil {
		v = x
	}
	n := len(v) + 2*((len(v)+254)/255)
	if w.msg.has(code) || len(v) == 0 || len(v) > 255 && !w.split || n > w.left {
		return
	}
	w.msg.set(code, v)
	w.left -= n
}

func (w *optionWriter) extraOf(code uint8) []byte {
	for _, o := range w.extra {
		if o.Code == code {
			return o.Data
		}
	}
	return nil
}

func (w *optionWriter) must(code byte, v []byte) {
	w.msg.set(code, v)
	w.left -= len(v) + 2
}

// echo copies the options that the client or its relay must get back: 82 byte
// for byte (RFC 3046), and 61 only if the client sent it (RFC 6842).
func (w *optionWriter) echo(r *request) {
	for _, code := range []byte{optRelayInfo, optClientID} {
		if v := r.msg.get(code); len(v) > 0 && len(v) <= 255 {
			w.must(code, v)
		}
	}
}

func addrs(l []netip.Addr) []byte {
	var b []byte
	for _, a := range l {
		if a.Is4() {
			b = append(b, a.AsSlice()...)
		}
	}
	return b
}

// isUBoot reports a request of U-Boot. It sends 1.0.0 in option 94, as no other
// firmware does; a build without its PXE options is known by the few things it asks
// for, the root path among them, and by what it leaves out.
func isUBoot(m *packet) bool {
	if v := m.get(optUNDI); v != nil {
		return bytes.Equal(v, []byte{1, 0, 0})
	}
	size, asks := m.get(optMaxSize), m.get(optAsked)
	if m.has(optVendorClass) || m.has(optUserClass) || m.has(optClientID) || m.has(optMachineID) || len(size) != 2 || binary.BigEndian.Uint16(size) != 576 {
		return false
	}
	return bytes.IndexByte(asks, 17) >= 0 && len(bytes.Trim(asks, "\x01\x02\x03\x06\x0c\x0f\x11\x2a\xd1")) == 0
}
