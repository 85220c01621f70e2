package radv

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	mac    = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	us     = netip.MustParseAddr("fe80::1")
	other  = netip.MustParseAddr("fe80::2")
	prefix = netip.MustParsePrefix("fd77::/64")
)

func managed() Config {
	return Config{Interface: "eth0", Advertise: true, Managed: true, Other: true,
		Prefixes: []Prefix{{Prefix: prefix, OnLink: true, Valid: 24 * time.Hour, Preferred: 4 * time.Hour}}}
}

func router() Config {
	c := managed()
	c.Router, c.Preference, c.HopLimit, c.MTU = true, High, 64, 1400
	c.Prefixes[0].Autonomous = true
	c.DNS = []netip.Addr{netip.MustParseAddr("fd77::1"), netip.MustParseAddr("2001:db8::53")}
	c.Search = []string{"lab.example"}
	return c
}

// TestMessage: the bytes, field by field as RFC 4861 4.2 draws them.
func TestMessage(t *testing.T) {
	const lla = "01 01 020000000001 "
	for _, c := range []struct {
		name     string
		config   Config
		forwards bool
		want     string
	}{
		{"managed, not a router", managed(), true,
			"86 00 0000 00 c0 0000 00000000 00000000 " + lla +
				"03 04 40 80 00015180 00003840 00000000 fd770000000000000000000000000000"},
		{"a router, with everything", router(), true,
			"86 00 0000 40 c8 0708 00000000 00000000 " + lla +
				"05 01 0000 00000578 " +
				"03 04 40 c0 00015180 00003840 00000000 fd770000000000000000000000000000 " +
				"19 05 0000 00000708 fd770000000000000000000000000001 20010db8000000000000000000000053 " +
				"1f 03 0000 00000708 03 6c6162 07 6578616d706c65 00 000000"},
		{"a router that does not forward", router(), false, // lifetime 0, and the preference medium
			"86 00 0000 40 c0 0000 00000000 00000000 " + lla +
				"05 01 0000 00000578 " +
				"03 04 40 c0 00015180 00003840 00000000 fd770000000000000000000000000000 " +
				"19 05 0000 00000708 fd770000000000000000000000000001 20010db8000000000000000000000053 " +
				"1f 03 0000 00000708 03 6c6162 07 6578616d706c65 00 000000"},
		{"stateless, low preference", Config{Advertise: true, Other: true, Router: true, Preference: Low, Prefixes: []Prefix{{Prefix: prefix, OnLink: true, Autonomous: true, Valid: Infinity, Preferred: Infinity}}}, true,
			"86 00 0000 00 58 0708 00000000 00000000 " + lla +
				"03 04 40 c0 ffffffff ffffffff 00000000 fd770000000000000000000000000000"},
		{"nothing", Config{}, true, "86 00 0000 00 00 0000 00000000 00000000 " + lla},
	} {
		got, err := c.config.Message(mac, c.forwards)
		want, herr := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil || herr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v %v\n got %x\nwant %x", c.name, err, herr, got, want)
		}
	}
	for _, bad := range []Config{{Search: []string{"a..b"}}, {Search: []string{""}}, {Search: []string{strings.Repeat("a", 64) + ".x"}}, {Search: []string{"lab example"}}, {Prefixes: []Prefix{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}} {
		if b, err := bad.Message(mac, true); err == nil {
			t.Errorf("%+v made %x", bad, b)
		}
	}
}

// TestParse: messages that RFC 4861 6.1 tells a router to ignore are ignored,
// and no odd option hides a router.
func TestParse(t *testing.T) {
	ours, err := router().Message(mac, true)
	if err != nil {
		t.Fatal(err)
	}
	sol := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	withSource := append(slices.Clone(sol), 1, 1, 2, 0, 0, 0, 0, 1)
	odd := append(slices.Clone(ours[:16]), 31, 1, 0, 0, 0, 0, 0, 1) // DNSSL without a name
	code := slices.Clone(ours)
	code[1] = 1
	global := netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name     string
		b        []byte
		hopLimit int
		from     netip.Addr
		ok       bool
	}{
		{"advertisement", ours, 255, other, true},
		{"through a router", ours, 254, other, false},
		{"from a global address", ours, 255, global, false},
		{"with a code", code, 255, other, false},
		{"cut off", ours[:15], 255, other, false},
		{"cut off in an option", ours[:len(ours)-1], 255, other, false},
		{"option of no length", append(slices.Clone(ours[:16]), 1, 0, 0, 0, 0, 0, 0, 0), 255, other, false},
		{"odd option", odd, 255, other, true},
		{"solicitation", withSource, 255, other, true},
		{"of nobody", sol, 255, netip.IPv6Unspecified(), true},
		{"of nobody with a link-layer address", withSource, 255, netip.IPv6Unspecified(), false},
		{"solicitation through a router", sol, 64, other, false},
		{"neighbor solicitation", append([]byte{135, 0}, make([]byte, 22)...), 255, other, false},
		{"nothing", nil, 255, other, false},
	} {
		p, err := parse(c.b, c.hopLimit, c.from.WithZone("eth0"))
		if (err == nil) != c.ok || c.ok && (p.from != c.from || (p.router != nil) != (c.b[0] == 134)) {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
	p, err := parse(ours, 255, other)
	if err != nil {
		t.Fatal(err)
	}
	r := p.router
	if r.Addr != other || !r.Managed || !r.Other || r.Lifetime != Lifetime || r.Preference != High || r.HopLimit != 64 || r.MTU != 1400 || len(r.Prefixes) != 1 || r.Prefixes[0] != router().Prefixes[0] {
		t.Errorf("heard %+v", r)
	}
}

// TestDiffers: RFC 4861 6.2.7, one field at a time.
func TestDiffers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Router)
		want   string
	}{
		{"the same", func(*Router) {}, ""},
		{"no M", func(r *Router) { r.Managed = false }, "it says M=0, we say M=1"},
		{"no O", func(r *Router) { r.Other = false }, "it says O=0, we say O=1"},
		{"hop limit", func(r *Router) { r.HopLimit = 32 }, "its hop limit is 32, ours 64"},
		{"no hop limit", func(r *Router) { r.HopLimit = 0 }, ""},
		{"MTU", func(r *Router) { r.MTU = 1280 }, "its MTU is 1280, ours 1400"},
		{"no MTU", func(r *Router) { r.MTU = 0 }, ""},
		{"valid", func(r *Router) { r.Prefixes[0].Valid = Infinity }, "prefix fd77::/64 is valid for ever from it, 24h0m0s from us"},
		{"preferred", func(r *Router) { r.Prefixes[0].Preferred = time.Hour }, "prefix fd77::/64 is preferred for 1h0m0s from it, 4h0m0s from us"},
		{"autonomous", func(r *Router) { r.Prefixes[0].Autonomous = false }, "it says A of fd77::/64=0, we say A of fd77::/64=1"},
		{"another prefix", func(r *Router) { r.Prefixes[0] = Prefix{Prefix: netip.MustParsePrefix("fd78::/64")} }, ""},
		{"no router", func(r *Router) { r.Lifetime = 0 }, ""},
	} {
		b, err := router().Message(mac, true)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(b, 255, other)
		if err != nil {
			t.Fatal(err)
		}
		c.change(p.router)
		if got := strings.Join(router().differs(p.router), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := (Config{Managed: true}).differs(p.router); got != nil {
			t.Errorf("%s: who only listens cannot be contradicted: %v", c.name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range []Config{managed(), router()} {
		b, err := c.Message(mac, true)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b, 255, other)
		if err == nil && p.router != nil {
			router().differs(p.router)
		}
		if err == nil && p.router == nil && b[0] != typeSolicitation {
			t.Fatalf("%x is no solicitation", b)
		}
	})
}
