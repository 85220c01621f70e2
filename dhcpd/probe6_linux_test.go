package dhcpd

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestAdvertised: of all packets to a client's port, only another server's
// answer to this very question counts.
func TestAdvertised(t *testing.T) {
	from, to := netip.MustParseAddrPort("[fe80::2]:547"), netip.MustParseAddrPort("[fe80::1]:546")
	id, duid, other, own := []byte{1, 2, 3}, []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 1}, []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 2}, []byte{0, 4, 9, 9}
	message := func(kind byte, id, client, server []byte, more ...byte) []byte {
		m := append([]byte{kind}, id...)
		m = append6(m, opt6ClientID, client...)
		if server != nil {
			m = append6(m, opt6ServerID, server...)
		}
		return append(m, more...)
	}
	address := netip.MustParseAddr("fd77::50").AsSlice()
	ia := append6(nil, opt6IANA, append(make([]byte, 12), append6(nil, opt6IAAddr, append(address, make([]byte, 8)...)...)...)...)
	url := append6(nil, opt6BootURL, []byte("tftp://[fd77::2]/x.efi\x1b[2J")...)
	for _, c := range []struct {
		name string
		m    []byte
		want boot.Rival
	}{
		{"an offer", message(typeAdvertise, id, duid, other, append(ia, url...)...), boot.Rival{Server: from.Addr(), Offered: netip.MustParseAddr("fd77::50"),
			Options: "boot file tftp://[fd77::2]/x.efi[2J, DUID 00030001020000000002"}},
		{"no address left", message(typeAdvertise, id, duid, other), boot.Rival{Server: from.Addr(), Options: "DUID 00030001020000000002"}},
		{"our own", message(typeAdvertise, id, duid, own, ia...), boot.Rival{}},
		{"to another question", message(typeAdvertise, []byte{1, 2, 4}, duid, other, ia...), boot.Rival{}},
		{"to another client", message(typeAdvertise, id, other, other, ia...), boot.Rival{}},
		{"a Reply", message(typeReply, id, duid, other, ia...), boot.Rival{}},
		{"of nobody", message(typeAdvertise, id, duid, nil, ia...), boot.Rival{}},
		{"of a name too long", message(typeAdvertise, id, duid, bytes.Repeat([]byte{7}, 200), ia...), boot.Rival{}},
		{"cut short", message(typeAdvertise, id, duid, other, 0, 3, 0, 40, 1), boot.Rival{Server: from.Addr(), Options: "DUID 00030001020000000002"}},
		{"half a header", id, boot.Rival{}},
	} {
		frame := udpFrame6(from, to, c.m)
		if r, ok := advertised(frame, id, duid, own); r != c.want || ok != c.want.Server.IsValid() {
			t.Errorf("%s: %+v, %v; want %+v", c.name, r, ok, c.want)
		}
		for n := range frame {
			advertised(frame[:n], id, duid, own) // whatever is cut off
		}
	}
}
