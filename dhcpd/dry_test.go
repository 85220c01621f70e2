// dry_test.go: the packets that explain makes up for DHCPv4 are those that the
// machine would send, and a reply in words leaves nothing out.

package dhcpd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

func TestQuery4(t *testing.T) {
	mac := boot.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	uuid, err := boot.ParseUUID("11223344-5566-7788-99aa-bbccddeeff00")
	if err != nil {
		t.Fatal(err)
	}
	relay, long := netip.MustParseAddr("10.20.0.2"), strings.Repeat("x", 130)
	for name, c := range map[string]struct {
		q    Query
		step boot.Step
		port string
	}{
		"firmware":       {Query{MAC: mac, UUID: uuid, Arch: 7, VendorClass: "PXEClient:Arch:00007:UNDI:003016"}, boot.Discover, ""},
		"iPXE":           {Query{MAC: mac, UUID: uuid, Arch: 0, VendorClass: "PXEClient", UserClass: "iPXE"}, boot.Discover, ""},
		"system":         {Query{MAC: mac, Arch: boot.ArchNone}, boot.Discover, ""},
		"request":        {Query{MAC: mac, Arch: 7, Addr: given, Server: server}, boot.Selecting, ""},
		"relayed":        {Query{MAC: mac, Arch: 7, Relay: relay, Port: "leaf3:Ethernet12"}, boot.Discover, "leaf3:Ethernet12"},
		"a port alone":   {Query{MAC: mac, Arch: 7, Relay: relay, Port: "Ethernet12"}, boot.Discover, "Ethernet12"},
		"a remote alone": {Query{MAC: mac, Arch: 7, Relay: relay, Port: "leaf3:"}, boot.Discover, "leaf3"},
		"a long port":    {Query{MAC: mac, Arch: 7, Relay: relay, Port: long + ":" + long}, boot.Discover, long[:120] + ":" + long[:120]},
	} {
		r := parsed(t, c.q.Packet(), Meta{})
		in := r.in
		if in.Step != c.step || in.ID.MAC != c.q.MAC || in.ID.UUID != c.q.UUID || in.Firmware.Arch != c.q.Arch || in.Firmware.VendorClass != c.q.VendorClass ||
			in.Firmware.UserClass != c.q.UserClass || in.Link.Relay != c.q.Relay || in.Link.Port != c.port || in.Want.Server != c.q.Server || in.Want.Addr != c.q.Addr {
			t.Errorf("%s: %+v", name, in)
		}
		if r.msg.flags != broadcastFlag || r.space() != maxDatagram-headersIPUDP-fixedPart-1 || r.msg.has(optArch) == (c.q.Arch == boot.ArchNone) {
			t.Errorf("%s: flags %#x, room for %d", name, r.msg.flags, r.space())
		}
	}
}

func TestDescribe(t *testing.T) {
	p := &packet{op: bootReply, htype: 1, hlen: 6, ciaddr: [4]byte{10, 77, 0, 9}, yiaddr: given.As4(), siaddr: server.As4(), giaddr: [4]byte{10, 20, 0, 2},
		sname: "10.77.0.1", file: "boot/x/undionly.kpxe"}
	for _, f := range []func(*packet){
		with(optType, 2), with(optServerID, 10, 77, 0, 1), in32(optLease, 3600), with(optSubnetMask, 255, 255, 254, 0), with(optRouter, 10, 77, 0, 254),
		with(optMachineID, 0, 0x44), with(optClientID, 1, 2), with(optRelayInfo, 1, 1, 'a'), with(optIPXE, 0xb0, 1, 1),
		optionText(optBootfile, "x.efi\x00"), optionText(optTFTPServer, "10.77.0.1"), with(250, 1, 2, 3),
	} {
		f(p)
	}
	want := []string{
		"ciaddr 10.77.0.9", "yiaddr 10.77.0.100", "siaddr 10.77.0.1", "giaddr 10.20.0.2", "sname 10.77.0.1", "file boot/x/undionly.kpxe",
		"1 subnet-mask=255.255.254.0", "3 routers=10.77.0.254", "51 lease-time=3600s", "53 message-type=OFFER", "54 server-identifier=10.77.0.1",
		"61 client-identifier=hex:0102", "66 tftp-server-name=10.77.0.1", "67 bootfile-name=x.efi and a NUL", "97 machine-identifier=hex:0044", "175 ipxe=hex:b00101",
		"250 250=hex:010203", "82 relay-agent-information=hex:010161", // last, as RFC 3046 2.1 has it
	}
	b := p.encode()
	if got := Describe(b); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Of the wrong length they are no lease time, mask or type.
	p = &packet{}
	for _, f := range []func(*packet){with(optType, 2, 2), with(optServerID, 1), with(optLease, 1), with(optSubnetMask, 1), with(optBootfile, 0)} {
		f(p)
	}
	want = []string{"1 1=hex:01", "51 51=hex:01", "53 53=hex:0202", "54 54=hex:01", "67 bootfile-name=hex:00"}
	if got := Describe(p.encode()); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for n := range b {
		Describe(b[:n]) // whatever is cut off
	}
	if got := Describe(b[:fixedPart]); len(got) != 6 {
		t.Errorf("a header alone: %q", got)
	}
	if Describe(b[:fixedPart-1]) != nil {
		t.Error("half a header says something")
	}
}

// Dry answers as the server does, and not where that stays silent.
func TestDry(t *testing.T) {
	q := client4(typeDiscover)
	d, reply, to, err := Dry(q, Meta{At: at}, func(boot.Sighting) (boot.Decision, error) { return offered, nil })
	if err != nil || boot.Verb(d.Reply) != "offer" || to.How != Frame || to.From != other {
		t.Errorf("%v to %+v: %v", d, to, err)
	}
	if err := checkReply(q, reply); err != nil {
		t.Error(err)
	}
	if _, reply, to, err := Dry(q, Meta{At: at}, func(boot.Sighting) (boot.Decision, error) { return boot.Decision{Reply: boot.Ignore{}}, nil }); reply != nil || to != (Dest{}) || err != nil {
		t.Errorf("silence is %x to %+v: %v", reply, to, err)
	}
	failed := func(boot.Sighting) (boot.Decision, error) { return boot.Decision{}, ErrType }
	if _, _, _, err := Dry(q, Meta{At: at}, failed); err != ErrType {
		t.Errorf("a decision that failed: %v", err)
	}
	if _, _, _, err := Dry(q[:9], Meta{At: at}, failed); err == nil {
		t.Error("half a packet is explained")
	}
	q6 := message(typeSolicit, 1, client6)
	if _, reply, to, err := Dry6(q6, meta6, duid6, fixed6); len(reply) == 0 || to.How != Unicast || err != nil {
		t.Errorf("DHCPv6: %x to %+v: %v", reply, to, err)
	}
	if _, _, _, err := Dry6(q6, meta6, duid6, failed); err != ErrType {
		t.Errorf("DHCPv6, a decision that failed: %v", err)
	}
	if _, reply, _, err := Dry6(q6, meta6, duid6, func(boot.Sighting) (boot.Decision, error) { return boot.Decision{Reply: boot.Ignore{}}, nil }); reply != nil || err != nil {
		t.Errorf("DHCPv6, silence is %x: %v", reply, err)
	}
	if _, _, _, err := Dry6(q6[:3], meta6, duid6, fixed6); err == nil {
		t.Error("half a message is explained")
	}
}

// TestDescribe6: every kind of option that is described, and invalid ones.
func TestDescribe6(t *testing.T) {
	a16 := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	status := func(n byte) []byte { return append([]byte{0, n}, "why"...) }
	address := append6(append(append(a16("fd77::50"), 0, 0, 0, 60), 0xff, 0xff, 0xff, 0xff), opt6Status, status(2)...)
	prefix := append([]byte{0, 0, 0, 60, 0, 0, 0, 90, 56}, a16("fd88::")...)
	m := []byte{typeReply, 1, 2, 3}
	for _, o := range []struct {
		code uint16
		v    []byte
	}{
		{opt6ServerID, []byte{0, 4, 9}},
		{opt6IANA, append6([]byte{0, 0, 0, 9, 0, 0, 0, 30, 0, 0, 0, 45}, opt6IAAddr, address...)},
		{opt6IAPD, append6(append6([]byte{0, 0, 0, 7, 0, 0, 0, 30, 0, 0, 0, 45}, opt6IAPrefix, prefix...), opt6Status, status(6)...)},
		{opt6Status, status(7)},
		{opt6Refresh, []byte{0, 0, 1, 0}},
		{opt6Preference, []byte{255}},
		{opt6Rapid, nil},
		{opt6Asked, []byte{0, 23, 0, 59, 1}},
		{opt6DNS, append(a16("fd77::1"), a16("fd77::2")...)},
		{opt6DNS, []byte{1, 2}},
		{opt6VendorClass, []byte{0, 0, 1, 0x57, 0, 2, 'a', 'b'}},
		{opt6UserClass, []byte{0, 4, 'i', 'P', 'X', 'E'}},
		{opt6UserClass, []byte{0, 9, 'i'}},
		{opt6BootURL, []byte("tftp://x\x00")},
		{opt6InterfaceID, []byte("eth1")},
		{opt6InterfaceID, []byte{1, 2}},
		{999, []byte{7}},
	} {
		m = append6(m, o.code, o.v...)
	}
	m = append(m, 0)
	want := `reply transaction=010203
  2 server-identifier=hex:000409
  3 ia-na iaid=00000009 t1=30s t2=45s
    5 address=fd77::50 preferred=60s valid=forever
  25 ia-pd iaid=00000007 t1=30s t2=45s
    26 prefix=fd88::/56 preferred=60s valid=90s
    13 status=NoPrefixAvail why
  13 status=7 why
  32 refresh-time=256s
  7 preference=255
  14 rapid-commit
  6 asks-for=23,59
  23 dns-servers=fd77::1,fd77::2
  23 dns-servers=hex:0102
  16 vendor-class enterprise=343 ab
  15 user-class=iPXE
  15 user-class=hex:000969
  59 boot-file-url=tftp://x
  18 interface-id=eth1
  18 interface-id=hex:0102
  999 hex:07
  and what is no option`
	if got := strings.Join(Describe6(m), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	relay := append6(append(append([]byte{typeRelayRepl, 2}, a16("fd55::1")...), a16("fe80::9")...), opt6RelayMessage, []byte{99, 1, 2, 3}...)
	want = "relay-reply hop-count=2 link-address=fd55::1 peer-address=fe80::9\n  9 relay-message\n    message-type 99 transaction=010203"
	if got := strings.Join(Describe6(relay), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for n := range m {
		Describe6(m[:n])
		Describe6(relay[:min(n, len(relay))])
	}
	// Relays around relays end somewhere, and so do addresses within addresses.
	deep, nested := []byte{typeReply, 1, 2, 3}, []byte(nil)
	for range 20 {
		deep = append6(append(append([]byte{typeRelayRepl, 2}, a16("fd55::1")...), a16("fe80::9")...), opt6RelayMessage, deep...)
		nested = append6(nil, opt6IANA, append(make([]byte, 12), nested...)...)
	}
	if got := len(Describe6(deep)); got != 18 {
		t.Errorf("%d lines of 20 relays, want those of nine", got)
	}
	if got := len(Describe6(append([]byte{typeReply, 1, 2, 3}, nested...))); got != 3 {
		t.Errorf("%d lines of 20 nested addresses, want 3", got)
	}
}
