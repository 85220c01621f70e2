// facts_test.go: the facts drawn from a DHCPv4 packet, one option at a time,
// and which of them go into the reply.

package dhcpd

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func optionText(code byte, s string) func(*packet) { return with(code, []byte(s)...) }

func in32(code byte, n uint32) func(*packet) {
	return with(code, binary.BigEndian.AppendUint32(nil, n)...)
}

// TestFacts4: each request of the list, and the Sighting that comes of it in
// testdata/facts/v4.txt.
func TestFacts4(t *testing.T) {
	eth0 := Meta{Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort("0.0.0.0:68")}
	unicast := Meta{Interface: "eth0", Index: 2, Source: netip.MustParseAddrPort("10.77.0.9:68"), Local: server}
	relay := Meta{Interface: "eth1", Index: 3, Source: netip.MustParseAddrPort("10.20.0.2:67"), Local: server}
	proxy := unicast
	proxy.Proxy = true
	uuid := append([]byte{0}, 0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0)
	pi3 := append([]byte{0}, []byte(strings.Repeat("D", 16))...)
	pi4 := append([]byte{0}, []byte("RPi4\x12\x34\x56\x78\x00\x01\x02\x03\x04\x05\x06\x07")...)
	duid := []byte{0xff, 1, 2, 3, 4, 0, 4, 9}
	port := []byte{relayCircuit, 2, 'e', '1', relayRemote, 5, 'l', 'e', 'a', 'f', '3'}
	requested, ours := with(optRequested, 10, 77, 0, 100), with(optServerID, 10, 77, 0, 1)
	var out strings.Builder
	for _, c := range []struct {
		what string
		b    []byte
		m    Meta
	}{
		{"DISCOVER", client4(typeDiscover), eth0},
		{"DISCOVER for an address", client4(typeDiscover, requested, ciaddr("10.77.0.5")), eth0},
		{"DISCOVER from an address", client4(typeDiscover), unicast},
		{"REQUEST, selecting", client4(typeRequest, requested, ours), eth0},
		{"REQUEST, selecting, with ciaddr", client4(typeRequest, requested, ours, ciaddr("10.77.0.5")), eth0},
		{"REQUEST, init-reboot", client4(typeRequest, requested), eth0},
		{"REQUEST, renew", client4(typeRequest, ciaddr("10.77.0.9"), requested), unicast},
		{"REQUEST at 4011", client4(typeRequest, ciaddr("10.77.0.9"), requested, ours), proxy},
		{"DECLINE", client4(typeDecline, requested, ours), eth0},
		{"RELEASE", client4(typeRelease, ciaddr("10.77.0.9"), ours), unicast},
		{"INFORM", client4(typeInform, ciaddr("10.77.0.9")), unicast},
		{"BOOTP", client4(typeNone, requested), eth0},
		{"lease time", client4(typeDiscover, in32(optLease, 90)), eth0},
		{"lease time of three bytes", client4(typeDiscover, with(optLease, 0, 0, 9)), eth0},
		{"names", client4(typeDiscover, optionText(optHostName, "web1\x00"), with(optAsked, 1, 3, 67), with(optRapidCommit), with(optClientID, 1, 0x52, 0x54, 0, 0, 0, 1)), eth0},
		{"DUID", client4(typeDiscover, with(optClientID, duid...)), eth0},
		{"DUID that is too short", client4(typeDiscover, with(optClientID, duid[:7]...)), eth0},
		{"DUID of the longest kind", client4(typeDiscover, with(optClientID, append(slices.Clone(duid), make([]byte, 131)...)...)), eth0},
		{"DUID that is too long", client4(typeDiscover, with(optClientID, append(slices.Clone(duid), make([]byte, 132)...)...)), eth0},
		{"client identifier of another kind", client4(typeDiscover, with(optClientID, append([]byte{0}, duid[1:]...)...)), eth0},
		{"firmware", client4(typeDiscover, optionText(optVendorClass, "PXEClient:Arch:00007:UNDI:003016"), with(optArch, 0, 7, 0, 16), with(optMachineID, uuid...)), eth0},
		{"arch of one byte", client4(typeDiscover, with(optArch, 7)), eth0},
		{"iPXE by its class", client4(typeDiscover, optionText(optUserClass, "iPXE")), eth0},
		{"iPXE by its features", client4(typeDiscover, with(optIPXE, 0x13, 1, 1)), eth0},
		{"iPXE without HTTP", client4(typeDiscover, with(optIPXE, 0x10, 1, 1, 0x29, 1, 1)), eth0},
		{"iPXE that names none of its protocols", client4(typeDiscover, with(optIPXE, 0x0f, 1, 1, 0x2a, 1, 1)), eth0},
		{"features with padding, doubled and cut", client4(typeDiscover, with(optIPXE, 0, 0x13, 1, 1, 0x13, 0, 0xff, 9, 9)), eth0},
		{"enterprise of 124", client4(typeDiscover, in32(optVendorClasses, 343), in32(optVendorOptions, 9)), eth0},
		{"enterprise of 125", client4(typeDiscover, in32(optVendorOptions, 9)), eth0},
		{"enterprise of three bytes", client4(typeDiscover, with(optVendorClasses, 1, 2, 3)), eth0},
		{"UUID of another type", client4(typeDiscover, with(optMachineID, append([]byte{1}, uuid[1:]...)...)), eth0},
		{"UUID of 16 bytes", client4(typeDiscover, with(optMachineID, uuid[:16]...)), eth0},
		{"Raspberry Pi 3", client4(typeDiscover, with(optMachineID, pi3...)), eth0},
		{"Raspberry Pi 4", client4(typeDiscover, with(optMachineID, pi4...)), eth0},
		{"relay", client4(typeDiscover, giaddr("10.20.0.2")), relay},
		{"relay with a port", client4(typeDiscover, giaddr("10.20.0.2"), with(optRelayInfo, port...)), relay},
		{"relay with more", client4(typeDiscover, giaddr("10.20.0.2"), with(optRelayInfo, relayLink, 4, 10, 21, 0, 1, relayServerID, 4, 10, 20, 0, 3)), relay},
		{"relay with parts of a wrong length", client4(typeDiscover, giaddr("10.20.0.2"), with(optRelayInfo, relayLink, 3, 10, 21, 0, relayServerID, 3, 10, 20, 0), with(optSubnet, 10, 22, 0)), relay},
		{"relay with option 118", client4(typeDiscover, giaddr("10.20.0.2"), with(optRelayInfo, relayLink, 4, 10, 21, 0, 1), with(optSubnet, 10, 22, 0, 0)), relay},
		{"a switch that snoops", client4(typeDiscover, with(optRelayInfo, append(port, relayLink, 4, 10, 21, 0, 1)...)), eth0},
		{"a menu's item", client4(typeRequest, with(optVendor43, pxeBootItem, 4, 0x80, 2, 0, 0), ciaddr("10.77.0.9")), proxy},
		{"a menu's item that asks for credentials", client4(typeRequest, with(optVendor43, pxeBootItem, 4, 0x80, 2, 0x80, 0), ciaddr("10.77.0.9")), proxy},
	} {
		r, err := parse4(c.b, Meta{At: at, Interface: c.m.Interface, Index: c.m.Index, Local: c.m.Local, Source: c.m.Source, Proxy: c.m.Proxy})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		facts, err := json.Marshal(r.in)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(fmt.Sprintf("%s\n< commits %v, relay's port %v\n< %s\n", c.what, r.commits(), r.relayPort, facts))
	}
	const name = "testdata/facts/v4.txt"
	want, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	golden(t, name, out.String(), string(want))
}

// What is no request of a client is dropped, each kind for its own reason.
func TestRefused4(t *testing.T) {
	header := func(at int, v byte) []byte { b := client4(typeDiscover); b[at] = v; return b }
	parts := func(n int) []byte {
		b := client4(typeDiscover)[:fixedPart]
		for range n {
			b = append(b, optHostName, 1, 'a')
		}
		return append(b, optEnd)
	}
	for _, c := range []struct {
		what string
		b    []byte
		m    Meta
		want error
	}{
		{"a reply", header(0, bootReply), Meta{}, ErrNotAsked},
		{"token ring", header(1, 6), Meta{}, ErrHardware},
		{"an address of eight bytes", header(2, 8), Meta{}, ErrHardware},
		{"an OFFER", client4(typeOffer), Meta{}, ErrType},
		{"type 9", client4(9), Meta{}, ErrType},
		{"a type of two bytes", client4(typeNone, with(optType, 1, 1)), Meta{}, ErrMalformed},
		{"BOOTP to 4011", client4(typeNone), Meta{Proxy: true}, ErrType},
		{"239 bytes", client4(typeDiscover)[:239], Meta{}, ErrMalformed},
		{"another cookie", header(236, 1), Meta{}, ErrMalformed},
		{"an option without its length", append(client4(typeDiscover)[:fixedPart], optHostName), Meta{}, ErrMalformed},
		{"an option longer than the packet", append(client4(typeDiscover)[:fixedPart], optHostName, 2, 'a'), Meta{}, ErrMalformed},
		{"an option in 18 parts", parts(18), Meta{}, ErrMalformed},
	} {
		if _, err := parse4(c.b, c.m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if r, err := parse4(parts(17), Meta{}); err != nil || r.in.Want.Name != strings.Repeat("a", 17) {
		t.Errorf("an option in 17 parts: %v", err)
	}
	if _, err := parse4(client4(typeDiscover)[:fixedPart], Meta{}); err != nil {
		t.Errorf("no options at all: %v", err)
	}
}

// TestSwitchPort: what a switch writes is text, a MAC address, or bytes.
func TestSwitchPort(t *testing.T) {
	for _, c := range []struct{ remote, circuit, want string }{
		{"", "", ""},
		{"leaf3", "Ethernet12", "leaf3:Ethernet12"},
		{"", "Ethernet12", "Ethernet12"},
		{"leaf3\x00\x00", "", "leaf3"},
		{"\x00\x1b\x0d\x00\x00\x01", "\x00\x04\x00\x01", "00:1b:0d:00:00:01:0x00040001"},
		{"\x00\x06\x00\x1b\x0d\x00\x00\x01", "1", "00:1b:0d:00:00:01:1"},
		{"\x00\x07\x00\x1b\x0d\x00\x00\x01", "1", "0x0007001b0d000001:1"},
		{"\x01\x06\x00\x1b\x0d\x00\x00\x01", "1", "0x0106001b0d000001:1"},
		{"a\nb", "1", "0x610a62:1"},
	} {
		if got := switchPort([]byte(c.remote), []byte(c.circuit)); got != c.want {
			t.Errorf("%q and %q are called %q, want %q", c.remote, c.circuit, got, c.want)
		}
	}
}

// TestMenu: the menu for PXE firmware, byte for byte (PXE 2.1, table 2-1):
// discovery restricted to the listed servers, the servers, the lines, the
// prompt.
func TestMenu(t *testing.T) {
	got := menu(&boot.Menu{Prompt: "F8", Timeout: 5, Items: []boot.MenuItem{{Text: "one", Loader: "default"}, {Text: "disk"}, {Text: "two", Loader: "x.efi"}}}, server)
	const want = "060107" + // discovery control: the list alone
		"080e" + "8000010a4d0001" + "8002010a4d0001" + // a type, one server, our address
		"0913" + "8000036f6e65" + "0000046469736b" + "80020374776f" + // types, lengths, texts
		"0a03054638" + // five seconds, F8
		"ff"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x\n%s", got, want)
	}
}

// reply4 is what a client gets, decoded, with the bytes that its options take.
func reply4(t *testing.T, q []byte, d boot.Decision) *packet {
	t.Helper()
	b := build4(parsed(t, q, Meta{}), d)
	var p packet
	if err := p.decode(b); err != nil {
		t.Fatal(err)
	}
	return &p
}

// What a reply carries of a lease: RFC 2131 4.4.5's times, and 4.3.1's table.
func TestGrant(t *testing.T) {
	q := client4(typeRequest, ciaddr("10.77.0.100"))
	d := answer(boot.Answer4{Type: boot.Ack, Grant: &boot.Grant{Addr: given, Lease: 800 * time.Second}, Options: boot.Options{
		Subnet: netip.MustParsePrefix("10.77.0.0/23"), Routers: []netip.Addr{netip.MustParseAddr("10.77.0.254"), netip.MustParseAddr("fd77::1")},
		DNS: []netip.Addr{netip.MustParseAddr("10.77.0.53")}, Domain: "lab.example", Name: "web1", Log: netip.MustParseAddr("10.77.0.9"),
		Extra: []boot.Option{{Code: 42, Data: []byte{1, 2, 3, 4}}, {Code: optDNS, Data: []byte{9, 9, 9, 9}}}}})
	p := reply4(t, q, d)
	for code, want := range map[byte]string{
		optType: "05", optServerID: "0a4d0001", optLease: "00000320", optRenew: "00000190", optRebind: "000002bc", optSubnetMask: "fffffe00", optRouter: "0a4d00fe",
		optDNS: "09090909", optDomain: hex.EncodeToString([]byte("lab.example")), optHostName: hex.EncodeToString([]byte("web1")), optLogServers: "0a4d0009", 42: "01020304",
	} {
		if got := hex.EncodeToString(p.get(code)); got != want {
			t.Errorf("option %d is %s, want %s", code, got, want)
		}
	}
	if len(p.options) != 12 || p.yiaddr != given.As4() || p.ciaddr != given.As4() {
		t.Errorf("%d options, yiaddr %v, ciaddr %v", len(p.options), p.yiaddr, p.ciaddr)
	}
	if p := reply4(t, client4(typeDiscover, ciaddr("10.77.0.100")), offered); p.ciaddr != [4]byte{} {
		t.Errorf("an OFFER repeats ciaddr %v", p.ciaddr)
	}
	d = answer(boot.Answer4{Type: boot.Ack, Rapid: true, Grant: &boot.Grant{Addr: given}})
	if p := reply4(t, client4(typeDiscover), d); !p.has(optRapidCommit) || p.has(optLease) || p.has(optRenew) || p.has(optSubnetMask) {
		t.Errorf("a lease for good, at once: %+v", p.options)
	}
	// BOOTP knows neither types nor servers (RFC 1534), and room for 59 bytes.
	d = answer(boot.Answer4{Type: boot.Ack, Grant: &boot.Grant{Addr: given}, Options: boot.Options{Subnet: netip.MustParsePrefix("10.77.0.0/24"), Domain: strings.Repeat("d", 51)}})
	if p := reply4(t, client4(typeNone), d); p.has(optType) || p.has(optServerID) || !p.has(optSubnetMask) || !p.has(optDomain) {
		t.Errorf("BOOTP: %+v", p.options)
	}
	d = answer(boot.Answer4{Type: boot.Ack, Grant: &boot.Grant{Addr: given}, Options: boot.Options{Subnet: netip.MustParsePrefix("10.77.0.0/24"), Domain: strings.Repeat("d", 52)}})
	if p := reply4(t, client4(typeNone), d); p.has(optDomain) {
		t.Error("60 bytes of options in a BOOTP reply")
	}
}

// The client's maximum size counts between 576 and the most that edk2 takes.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		says []byte
		want int
	}{{nil, 576}, {[]byte{2, 0x40}, 576}, {[]byte{2}, 576}, {[]byte{1, 0}, 576}, {[]byte{3, 0}, 768}, {[]byte{5, 0xc0}, 1472}, {[]byte{0xff, 0xff}, 1472}} {
		q := client4(typeDiscover)
		if c.says != nil {
			q = client4(typeDiscover, with(optMaxSize, c.says...))
		}
		d := answer(boot.Answer4{Type: boot.Offer, Grant: grant})
		x := d.Reply.(boot.Answer4)
		for i := range 10 { // in steps that leave no more than one byte unused
			x.Options.Extra = append(x.Options.Extra, boot.Option{Code: byte(200 + i), Data: make([]byte, 200)})
		}
		for i := range 14 {
			x.Options.Extra = append(x.Options.Extra, boot.Option{Code: byte(220 + i), Data: make([]byte, 1<<(7-i/2))})
		}
		d.Reply = x
		got := len(build4(parsed(t, q, Meta{}), d)) + headersIPUDP
		if got > c.want || got < c.want-3 {
			t.Errorf("%x: a packet of %d bytes, want %d", c.says, got, c.want)
		}
	}
}

// Options of more than 255 bytes are for clients that join them (RFC 3396): no
// firmware does.
func TestLongOptions(t *testing.T) {
	long := boot.Option{Code: 119, Data: make([]byte, 300)}
	for class, want := range map[boot.Class]int{boot.Plain: 300, boot.PXE: 0} {
		d := answer(boot.Answer4{Type: boot.Offer, Grant: grant, Options: boot.Options{Extra: []boot.Option{long}}})
		d.Class = class
		if got := len(reply4(t, client4(typeDiscover, with(optMaxSize, 5, 0xc0)), d).get(119)); got != want {
			t.Errorf("%s gets %d bytes, want %d", class, got, want)
		}
	}
}

// TestIsUBoot: by option 94, or by the shape of a build that has none; each thing that
// it never sends rules it out.
func TestIsUBoot(t *testing.T) {
	bare := []func(*packet){with(optMaxSize, 2, 64), with(optAsked, 1, 3, 6, 12, 17)}
	for what, c := range map[string]struct {
		options []func(*packet)
		want    bool
	}{
		"bare":                {bare, true},
		"option 94":           {[]func(*packet){with(optUNDI, 1, 0, 0)}, true},
		"edk2":                {append(bare, with(optUNDI, 1, 3, 0)), false},
		"a client identifier": {append(bare, with(optClientID, 1, 2)), false},
		"a class":             {append(bare, with(optVendorClass, 'x')), false},
		"a user class":        {append(bare, with(optUserClass, 'x')), false},
		"a GUID":              {append(bare, with(optMachineID, 0)), false},
		"another size":        {[]func(*packet){with(optMaxSize, 5, 192), with(optAsked, 1, 3, 6, 12, 17)}, false},
		"no root path":        {[]func(*packet){with(optMaxSize, 2, 64), with(optAsked, 1, 3, 6, 12)}, false},
		"the kernel's ip=":    {[]func(*packet){with(optMaxSize, 2, 64), with(optAsked, 1, 3, 6, 12, 15, 17, 26, 40)}, false},
	} {
		r, err := parse4(client4(typeDiscover, c.options...), Meta{})
		if err != nil || r.in.Firmware.UBoot != c.want {
			t.Errorf("%s: U-Boot %t, %v", what, !c.want, err)
		}
	}
}
