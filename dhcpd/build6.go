// build6.go: a decision as a DHCPv6 reply.

package dhcpd

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// build6 makes the reply, or nil where the decision sends none.
func build6(r *request6, d boot.Decision, serverDUID []byte) []byte {
	a, ok := d.Reply.(boot.Answer6)
	if !ok || r.other {
		return nil
	}
	b := make([]byte, 0, maxReply6+len(r.hops)*64)
	// Relay messages are nested; the outermost is written first.
	var inner [maxHops]int
	for i, h := range r.hops {
		b = append(b, typeRelayRepl, h.count)
		b = append(b, as16(h.link)...)
		b = append(b, as16(h.peer)...)
		if h.iface != nil {
			b = append6(b, opt6InterfaceID, h.iface...)
		}
		if h.port != nil {
			b = append6(b, opt6RelayPort, h.port...)
		}
		b, inner[i] = open6(b, opt6RelayMessage)
	}
	b = answer6(b, r, d, &a, serverDUID)
	for i := len(r.hops) - 1; i >= 0; i-- {
		close6(b, inner[i])
	}
	return b
}

func as16(a netip.Addr) []byte { b := a.As16(); return b[:] }

// ours6 are options that only the protocol writes.
var ours6 = map[uint16]bool{
	opt6ClientID: true, opt6ServerID: true, opt6IANA: true, opt6IATA: true, opt6IAAddr: true, opt6Asked: true, opt6Preference: true, opt6Elapsed: true,
	opt6RelayMessage: true, opt6Auth: true, opt6Unicast: true, opt6Status: true, opt6Rapid: true, opt6UserClass: true, opt6VendorClass: true, opt6InterfaceID: true,
	opt6ReconfMsg: true, opt6ReconfAccept: true, opt6IAPD: true, opt6IAPrefix: true, opt6RelayPort: true, 0: true,
}

// httpClass6 is option 16 as UEFI HTTP boot wants it back; the enterprise is
// Intel's, as the firmware writes it.
var httpClass6 = append([]byte{0, 0, 1, 0x57, 0, 10}, "HTTPClient"...)

// answer6 writes the client's own message. The mandatory options always go in.
// The others follow in order of priority for as long as they fit.
func answer6(b []byte, r *request6, d boot.Decision, a *boot.Answer6, serverDUID []byte) []byte {
	w := writer6{b: b, asked: r.in.Want.Options6, extra: a.Options.Extra}
	kind := byte(typeReply)
	if a.Advertise {
		kind = typeAdvertise
	}
	w.b = append(append(w.b, kind), r.xid[:]...)
	if r.clientID != nil {
		w.b = append6(w.b, opt6ClientID, r.clientID...)
	}
	var status []byte
	if s := a.Status; s != nil {
		status = status6(s)
	}
	w.end = len(b) + maxReply6 - (4 + len(serverDUID)) - (4 + len(status)) - (4 + 1) - 4
	for _, ia := range a.IAs {
		w.ia(ia)
	}
	file, pxe := w.extraOf(opt6BootURL), d.Class == boot.PXE || strings.HasPrefix(r.in.Firmware.VendorClass, "PXEClient")
	if i := a.Boot; i != nil {
		pxe = pxe || i.Class == boot.PXE
		if i.Class == boot.HTTPClient {
			w.put(opt6VendorClass, httpClass6)
		}
		if file == nil {
			file = []byte(i.File)
		}
	}
	// edk2 reads the option as a C string but does not terminate it. Another
	// option always follows here, and the first byte of its code is a NUL.
	w.put(opt6BootURL, file)
	w.b = append6(w.b, opt6ServerID, serverDUID...)
	if a.Advertise && a.Preference > 0 {
		w.b = append6(w.b, opt6Preference, a.Preference)
	}
	if a.Rapid && !a.Advertise && r.in.Want.Rapid {
		w.b = append6(w.b, opt6Rapid)
	}
	if a.Status != nil {
		w.b = append6(w.b, opt6Status, status...)
	}
	w.end = len(b) + maxReply6
	w.network(opt6DNS, addrs6(a.Options.DNS))
	w.network(opt6Search, search6(a.Options.Search))
	if r.kind == typeInform6 && a.Refresh > 0 {
		w.put(opt6Refresh, binary.BigEndian.AppendUint32(nil, seconds6(a.Refresh)))
	}
	for i, o := range a.Options.Extra {
		code := uint16(o.Code)
		switch {
		case ours6[code], code == opt6BootURL, code == opt6DNS, code == opt6Search,
			// PXE firmware of 2023 fails the whole boot for an option that it
			// cannot read.
			code == opt6BootParams && pxe,
			slices.ContainsFunc(a.Options.Extra[:i], func(x boot.Option) bool { return x.Code == o.Code }):
			continue
		}
		w.network(code, o.Data)
	}
	return w.b
}

// writer6 adds options until the reply is full; what does not fit is left out
// rather than cut.
type writer6 struct {
	b     []byte
	end   int // as long as b may become
	asked []uint16
	extra []boot.Option
}

func (w *writer6) put(code uint16, v []byte) {
	if len(v) > 0 && len(w.b)+4+len(v) <= w.end {
		w.b = append6(w.b, code, v...)
	}
}

// network writes the network's options. They go to clients that ask for them,
// and to clients that send no list of what they ask for (RFC 8415 21.7).
func (w *writer6) network(code uint16, v []byte) {
	if x := w.extraOf(code); x != nil {
		v = x
	}
	if len(w.asked) == 0 || len(w.asked) == maxAsked6 || slices.Contains(w.asked, code) {
		w.put(code, v)
	}
}

func (w *writer6) extraOf(code uint16) []byte {
	for _, o := range w.extra {
		if uint16(o.Code) == code {
			return o.Data
		}
	}
	return nil
}

// ia writes the answer to one IA, whole or not at all. A client takes an
// address that is missing from its IA as withdrawn.
func (w *writer6) ia(ia boot.Bound) {
	code, each := uint16(opt6IANA), uint16(opt6IAAddr)
	if ia.Prefix {
		code, each = opt6IAPD, opt6IAPrefix
	}
	// T1 and T2 are half and four fifths of the shortest preferred lifetime
	// (RFC 8415 21.4), never the other way round: edk2 drops such an IA.
	shortest := uint32(0)
	for _, l := range ia.Leases {
		if p := seconds6(min(l.Preferred, l.Valid)); p > 0 && (shortest == 0 || p < shortest) {
			shortest = p
		}
	}
	t1, t2 := shortest/2, uint32(uint64(shortest)*4/5)
	if shortest == math.MaxUint32 {
		t1, t2 = shortest, shortest
	}
	start := len(w.b)
	var at int
	w.b, at = open6(w.b, code)
	w.b = binary.BigEndian.AppendUint32(w.b, ia.ID)
	w.b = binary.BigEndian.AppendUint32(w.b, t1)
	w.b = binary.BigEndian.AppendUint32(w.b, t2)
	for _, l := range ia.Leases {
		if !l.Prefix.IsValid() || !l.Prefix.Addr().Is6() {
			continue
		}
		var in int
		w.b, in = open6(w.b, each)
		preferred, valid := seconds6(min(l.Preferred, l.Valid)), seconds6(l.Valid)
		if ia.Prefix {
			w.b = binary.BigEndian.AppendUint32(w.b, preferred)
			w.b = binary.BigEndian.AppendUint32(w.b, valid)
			w.b = append(w.b, byte(l.Prefix.Bits()))
			w.b = append(w.b, as16(l.Prefix.Addr())...)
		} else {
			w.b = append(w.b, as16(l.Prefix.Addr())...)
			w.b = binary.BigEndian.AppendUint32(w.b, preferred)
			w.b = binary.BigEndian.AppendUint32(w.b, valid)
		}
		close6(w.b, in)
		if len(w.b) > w.end {
			break
		}
	}
	if ia.Status != nil {
		w.b = append6(w.b, opt6Status, status6(ia.Status)...)
	}
	if len(w.b) > w.end {
		w.b = w.b[:start]
		return
	}
	close6(w.b, at)
}

func status6(s *boot.Status6) []byte {
	return append(binary.BigEndian.AppendUint16(nil, s.Code), s.Text[:min(len(s.Text), 128)]...)
}

func addrs6(l []netip.Addr) []byte {
	var b []byte
	for _, a := range l {
		if a.Is6() && !a.Is4In6() {
			b = append(b, as16(a)...)
		}
	}
	return b
}

// search6 skips invalid names; the rest of the list is still useful.
func search6(l []string) []byte {
	var b []byte
	for _, s := range l {
		b, _ = appendName(b, s)
	}
	return b
}
