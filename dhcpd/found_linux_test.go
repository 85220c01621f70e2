// found_linux_test.go: which answers count as another server or as a machine on
// an address, and which packets wake a probe. The filters run in a software BPF
// machine.

package dhcpd

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"github.com/musterboot/muster/boot"
)

func TestFilters(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.77.0.9:67"), netip.MustParseAddrPort("255.255.255.255:68")
	from6, to6 := netip.MustParseAddrPort("[fe80::2]:547"), netip.MustParseAddrPort("[fe80::1]:546")
	at := func(b []byte, i int, v byte) []byte { b[i] = v; return b }
	options := udpFrame(from, to, []byte("offer"))
	options = append(append(append([]byte{0x46}, options[1:20]...), 1, 1, 1, 1), options[20:]...)
	for _, c := range []struct {
		what   string
		filter []bpf.Instruction
		packet []byte
		want   bool
	}{
		{"an OFFER", toClient, udpFrame(from, to, []byte("offer")), true},
		{"an OFFER behind IP options", toClient, options, true},
		{"one for another port", toClient, udpFrame(from, netip.MustParseAddrPort("10.77.0.1:67"), []byte("offer")), false},
		{"TCP", toClient, at(udpFrame(from, to, []byte("offer")), 9, 6), false},
		{"a fragment", toClient, at(udpFrame(from, to, []byte("offer")), 7, 1), false},
		{"a first fragment", toClient, at(udpFrame(from, to, []byte("offer")), 6, 0x20), true},
		{"an Advertise", toClient6, udpFrame6(from6, to6, []byte("advertise")), true},
		{"one for the server", toClient6, udpFrame6(to6, from6, []byte("solicit")), false},
		{"TCP over IPv6", toClient6, at(udpFrame6(from6, to6, []byte("advertise")), 6, 6), false},
	} {
		vm, err := bpf.NewVM(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(c.packet)
		if err != nil || (n >= len(c.packet)) != c.want || !c.want && n != 0 {
			t.Errorf("%s: %d of %d bytes come in, %v", c.what, n, len(c.packet), err)
		}
	}
}

// TestOfferFor: of all packets to a client's port, only another server's answer
// to this very question counts.
func TestOfferFor(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.77.0.9:67"), netip.MustParseAddrPort("255.255.255.255:68")
	xid := dhcpv4.TransactionID{1, 2, 3, 4}
	offer := func(set ...func(*packet)) []byte {
		p := &packet{op: bootReply, htype: 1, hlen: 6, xid: xid, yiaddr: given.As4()}
		p.set(optType, []byte{typeOffer})
		p.set(optServerID, []byte{10, 77, 0, 9})
		for _, f := range set {
			f(p)
		}
		return p.encode()
	}
	rival := netip.MustParseAddr("10.77.0.9")
	frame := func(payload []byte) []byte { return udpFrame(from, to, payload) }
	elsewhere := udpFrame(from, netip.MustParseAddrPort("10.77.0.1:67"), offer())
	tcp, six := frame(offer()), frame(offer())
	tcp[9], six[0] = 6, 0x65
	options := frame(offer())
	options = append(append(append([]byte{0x46}, options[1:20]...), 1, 1, 1, 1), options[20:]...)
	for _, c := range []struct {
		what string
		ip   []byte
		want boot.Rival
	}{
		{"an offer", frame(offer()), boot.Rival{Server: rival, Offered: given}},
		{"one behind IP options", options, boot.Rival{Server: rival, Offered: given}},
		{"one with more", frame(offer(with(optRouter, 10, 77, 0, 254, 10, 77, 0, 253), func(p *packet) { p.file = strings.Repeat("f", 70) })),
			boot.Rival{Server: rival, Offered: given, Options: "router 10.77.0.254, boot file " + strings.Repeat("f", 64)}},
		{"one with a file", frame(offer(func(p *packet) { p.file = "a\x1bb" })), boot.Rival{Server: rival, Offered: given, Options: "boot file ab"}},
		{"a router of three bytes", frame(offer(with(optRouter, 10, 77, 0))), boot.Rival{Server: rival, Offered: given}},
		{"an ACK", frame(offer(with(optType, typeAck))), boot.Rival{}},
		{"to another question", frame(offer(func(p *packet) { p.xid[3]++ })), boot.Rival{}},
		{"of nobody", frame(offer(with(optServerID, 0, 0, 0, 0))), boot.Rival{Offered: given}},
		{"to another port", elsewhere, boot.Rival{}},
		{"by TCP", tcp, boot.Rival{}},
		{"of IPv6", six, boot.Rival{}},
		{"nonsense", frame([]byte("nonsense")), boot.Rival{}},
	} {
		if r, ok := offerFor(c.ip, xid); r != c.want || ok != c.want.Server.IsValid() {
			t.Errorf("%s: %+v, %v; want %+v", c.what, r, ok, c.want)
		}
		for n := range c.ip {
			offerFor(c.ip[:n], xid) // whatever is cut off
		}
	}
}

// TestARP: our question, byte for byte (RFC 826), and who answers it.
func TestARP(t *testing.T) {
	mac, theirs := boot.MAC{0x52, 0x54, 0, 0, 0, 1}, boot.MAC{0x52, 0x54, 0, 0, 0, 9}
	q := arpRequest(mac, server, given)
	if got := hex.EncodeToString(q); got != "0001080006040001"+"525400000001"+"0a4d0001"+"000000000000"+"0a4d0064" {
		t.Errorf("request %s", got)
	}
	if a, m, ok := arpSender(arpRequest(theirs, given, server)); a != given || m != theirs || !ok {
		t.Errorf("%s is at %s, %v", a, m, ok)
	}
	if _, _, ok := arpSender(arpRequest(theirs, netip.IPv4Unspecified(), given)); ok {
		t.Error("a probe (RFC 5227) claims an address")
	}
	for i := range 6 {
		b := arpRequest(theirs, given, server)
		b[i]++
		if _, _, ok := arpSender(b); ok {
			t.Errorf("byte %d is wrong and it is read", i)
		}
	}
	if _, _, ok := arpSender(q[:27]); ok {
		t.Error("27 bytes are an ARP packet")
	}
}

// Our own probe is left unanswered while it lasts.
func TestProbing(t *testing.T) {
	s := NewServer(nil, nil)
	mac := boot.MAC{2, 0, 0, 0, 0, 1}
	mine := parsed(t, client4(typeDiscover, func(p *packet) { copy(p.chaddr[:], mac[:]) }), Meta{})
	end := s.probing(mac)
	if s.slot(mine, false) {
		t.Error("our own DISCOVER takes a slot")
	}
	if !s.slot(parsed(t, client4(typeDiscover), Meta{}), false) {
		t.Error("another one does not")
	}
	end()
	if !s.slot(mine, false) || len(s.probes) != 0 {
		t.Error("it is left out for ever")
	}
}
