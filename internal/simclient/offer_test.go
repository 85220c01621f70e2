package simclient

// This file holds the choice among offers, and whole talks with servers in
// memory, on a clock of their own.

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// answer is a reply to parse: fields by name.
func answer(t testing.TB, kind dhcpv4.MessageType, m MAC, id xid, yi, si, file string, options map[uint8]string) []byte {
	t.Helper()
	d := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootReply, HWType: 1, TransactionID: id, ClientHWAddr: net.HardwareAddr(m[:]), YourIPAddr: net.ParseIP(yi).To4(), ServerIPAddr: net.ParseIP(si).To4(), ClientIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero, BootFileName: file, Options: dhcpv4.Options{53: {byte(kind)}}}
	for code, v := range options {
		d.Options[code] = []byte(v)
	}
	return d.ToBytes()
}

func offered(t testing.TB, yi, si, file string, options map[uint8]string) *reply {
	t.Helper()
	r, err := parseReply(answer(t, dhcpv4.MessageTypeOffer, MAC{1: 1}, xid{}, yi, si, file, options))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestChoose: the order in which edk2, iPXE and others prefer offers.
func TestChoose(t *testing.T) {
	const none = "0.0.0.0"
	direct, id := "\x06\x01\x08\xff", "\x0a\x00\x00\x01"
	plain := offered(t, "10.0.0.9", none, "", map[uint8]string{54: id})
	withFile := offered(t, "10.0.0.10", "10.0.0.1", "a", map[uint8]string{54: id})
	pxe := offered(t, "10.0.0.11", "10.0.0.1", "b", map[uint8]string{54: id, 60: "PXEClient", 43: direct})
	binl := offered(t, "10.0.0.12", "10.0.0.1", "c", map[uint8]string{54: id, 60: "PXEClient"})
	proxy := offered(t, none, "10.0.0.2", "d", map[uint8]string{54: "\x0a\x00\x00\x02", 60: "PXEClient", 43: direct})
	proxyBINL := offered(t, none, "10.0.0.2", "e", map[uint8]string{54: "\x0a\x00\x00\x02", 60: "PXEClient"})
	http := offered(t, "10.0.0.13", none, "", map[uint8]string{54: id, 60: "HTTPClient", 67: "http://10.0.0.1/x.efi"})
	noEcho := offered(t, "10.0.0.14", none, "", map[uint8]string{54: id, 67: "http://10.0.0.1/x.efi"})
	httpProxy := offered(t, none, none, "", map[uint8]string{54: id, 60: "HTTPClient", 67: "http://10.0.0.2/x.efi"})
	script := offered(t, "10.0.0.15", "10.0.0.1", "http://10.0.0.1/s.ipxe", map[uint8]string{54: id})
	words := offered(t, "10.0.0.16", "10.0.0.1", "", map[uint8]string{54: id, 60: "PXEClient", 43: "\x09\x14\x00\x00\x11Raspberry Pi Boot\xff"})
	bf := offered(t, "10.0.0.17", "10.0.0.1", "g", map[uint8]string{54: id, 60: "NVIDIA/BF/PXE", 43: direct})
	for _, c := range []struct {
		kind       string
		offers     []*reply
		addr, boot *reply
		ask        bool
	}{
		{"uefi-x64", []*reply{plain, proxy, pxe}, pxe, pxe, false},
		{"uefi-x64", []*reply{binl, plain, proxy}, binl, proxy, false},
		{"uefi-x64", []*reply{plain, proxyBINL, binl}, binl, binl, true},
		{"uefi-x64", []*reply{proxyBINL, plain}, plain, proxyBINL, true},
		{"uefi-x64", []*reply{plain, withFile}, withFile, withFile, false},
		{"uefi-x64", []*reply{plain}, plain, nil, false},
		{"uefi-x64", []*reply{proxy}, nil, nil, false},
		{"bluefield", []*reply{bf}, bf, bf, false},
		{"uefi-http-x64", []*reply{withFile, http}, http, http, false},
		{"uefi-http-x64", []*reply{plain, httpProxy}, plain, httpProxy, false},
		{"uefi-http-x64", []*reply{noEcho}, noEcho, nil, false},
		{"ipxe", []*reply{plain, script, proxy}, script, script, false},
		{"ipxe", []*reply{plain, proxy}, plain, proxy, false},
		{"pi3", []*reply{pxe, words}, words, words, false},
		{"pi3", []*reply{pxe}, pxe, nil, false},
		{"pi4", []*reply{withFile}, withFile, withFile, false},
		{"onie", []*reply{plain, pxe}, plain, plain, false},
	} {
		k, _ := KindNamed(c.kind)
		got := k.choose(c.offers)
		if got.addr != c.addr || got.boot != c.boot || got.ask4011 != c.ask {
			t.Errorf("%s of %v takes %+v", c.kind, c.offers, got)
		}
		if (got.boot == nil) != (got.why != "") {
			t.Errorf("%s: boot %v, reason %q", c.kind, got.boot, got.why)
		}
	}
	k, _ := KindNamed("uefi-http-x64")
	if why := k.choose([]*reply{noEcho}).why; !strings.Contains(why, "HTTPClient") {
		t.Errorf("the reason is %q", why)
	}
}

// ether is a wire in memory.
type ether struct {
	exchange
	sent func(d *dhcpv4.DHCPv4)
}

func (e *ether) send(d *dhcpv4.DHCPv4, _ *dest) error { e.sent(d); return nil }

func testRun(kind string, w wire) *run {
	k, _ := KindNamed(kind)
	h := &Host{cfg: Config{Limit: time.Hour, MaxFile: 1 << 20}, wire: w, addr: &addresses{relay: netip.MustParseAddr("10.0.0.2")}, owners: map[netip.Addr]MAC{}}
	return &run{m: NewMachine(k, "test", 0), h: h, wire: w, addr: h.addr, t: &Transcript{}, tell: func(Step) {}, webs: map[bool]*web{}}
}

// TestSilence: without a server each firmware asks at its own times, and then
// says what a person should look at.
func TestSilence(t *testing.T) {
	for kind, want := range map[string][]int{"uefi-x64": {0, 4, 12, 28}, "ipxe": {0, 1, 3, 7, 15, 25}, "pi3": {0, 5, 10, 15, 20}, "onie": {0, 3, 6, 9, 12}} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var at []int
			e := &ether{}
			e.sent = func(*dhcpv4.DHCPv4) { at = append(at, int(time.Since(start).Seconds())) }
			r := testRun(kind, e)
			_, _, err := r.lease(context.Background(), r.m.Kind, "")
			var s *stop
			if !errors.As(err, &s) || s.End != Broken || !strings.Contains(s.Text, "no OFFER in") || !strings.Contains(s.Hint, "VLAN") {
				t.Errorf("%s: %v", kind, err)
			}
			if !slices.Equal(at, want) {
				t.Errorf("%s asked after %v s, want %v", kind, at, want)
			}
			if took := time.Since(start); took > 61*time.Second {
				t.Errorf("%s gave up after %s", kind, took)
			}
		})
	}
}

// TestLease: offers of two servers are joined and named, a foreign reply is not
// heard, and an address that another machine holds is a failure.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{}
		const id1, id2 = "\x0a\x00\x00\x01", "\x0a\x00\x00\x07"
		e.sent = func(d *dhcpv4.DHCPv4) {
			id, m := d.TransactionID, MAC(d.ClientHWAddr)
			put := func(b []byte) { e.pass(b, netip.MustParseAddrPort("10.0.0.1:67"), MAC{}) }
			switch d.MessageType() {
			case discover:
				put(answer(t, 2, m, xid{9}, "10.0.0.66", "10.0.0.1", "x", map[uint8]string{54: id1})) // of another talk
				put(answer(t, 2, m, id, "10.0.0.50", "0.0.0.0", "", map[uint8]string{54: id2}))
				put(answer(t, 2, m, id, "10.0.0.60", "10.0.0.1", "ipxe.efi", map[uint8]string{54: id1, 60: "PXEClient", 43: "\x06\x01\x08\xff"}))
			case request:
				if got := string(d.Options[54]); got != id1 {
					t.Errorf("the request names server %x", got)
				}
				put(answer(t, 5, m, id, "10.0.0.60", "10.0.0.1", "ipxe.efi", map[uint8]string{54: id1, 51: "\x00\x00\x0e\x10", 1: "\xff\xff\x00\x00", 3: "\x0a\x00\x00\xfe"}))
			}
		}
		r := testRun("uefi-x64", e)
		l, boot, err := r.lease(context.Background(), r.m.Kind, "")
		if err != nil || boot == nil || boot.name() != "ipxe.efi" || l.addr != netip.MustParseAddr("10.0.0.60") || l.mask != 16 || l.router != netip.MustParseAddr("10.0.0.254") {
			t.Fatal(l, boot, err)
		}
		first := r.t.Steps[0]
		if !strings.Contains(first.Text, "10.0.0.7 offers 10.0.0.50") || !strings.Contains(first.Hint, "2 servers give addresses") {
			t.Errorf("the step says %q, %q", first.Text, first.Hint)
		}
		other := testRun("uefi-x64", e)
		other.h = r.h
		other.m = r.m.After(1)
		if _, _, err := other.lease(context.Background(), other.m.Kind, ""); err == nil || r.h.twice != 1 {
			t.Errorf("one address for two machines: %v, counted %d", err, r.h.twice)
		}
		r.addrs[0].held = true
		r.release()
		if len(r.h.owners) != 0 {
			t.Errorf("after the release %v are held", r.h.owners)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add(answer(f, 2, MAC{1: 1}, xid{}, "10.0.0.1", "10.0.0.2", "x", map[uint8]string{43: "\x06\x01\x08\x09\x03\x00\x01\x08\xff", 175: "\xb0\x01\x01", 125: "\x00\x00\xa6\x7f\x02\x01\x00"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReply(b)
		if err != nil {
			return
		}
		for _, k := range kinds {
			k.enough([]*reply{r})
			k.choose([]*reply{r, r})
		}
		if typ, _, ok := r.menu(); ok {
			r.menuServer(typ)
		}
		r.tftpServer()
		r.text()
	})
}
