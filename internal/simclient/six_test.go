package simclient

// This file holds what kinds send over IPv6 against captured firmware, and what
// they make of replies.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCaptured6: each kind sends, byte for byte, what the firmware it stands for
// was captured sending.
func TestCaptured6(t *testing.T) {
	for _, c := range []struct {
		kind, file string
		least      int
	}{
		{"uefi-x64", "x64-uefi-ra-released", 6}, {"uefi-x64", "x64-uefi-unanswered", 4}, {"uefi-x64", "x64-uefi-no-ra", 3}, {"uefi-http-x64", "x64-http", 4},
	} {
		t.Run(c.kind+"/"+c.file, func(t *testing.T) {
			text, err := os.ReadFile("../../dhcpd/testdata/v6/" + c.file + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			k := kindNamed(c.kind)
			n := 0
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) != 4 || f[0] != "packet" {
					continue
				}
				want, err := hex.DecodeString(f[3])
				if err != nil {
					t.Fatal(err)
				}
				m := &Machine{Kind: k, MAC: MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}, UUID: UUID{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0}}
				var waited time.Duration
				var a *ia
				var given reply
				for code, v := range options6(want[4:]) {
					switch code {
					case optElapsed6:
						waited = time.Duration(binary.BigEndian.Uint16(v)) * 10 * ms
					case optServer6:
						given.duid = v
					case optIA6:
						a = &ia{id: binary.BigEndian.Uint32(v)}
						given.t1, given.t2 = binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
						for _, v := range options6(v[12:]) {
							given.addr = netip.AddrFrom16([16]byte(v[:16]))
							given.preferred, given.ttl = binary.BigEndian.Uint32(v[16:]), time.Duration(binary.BigEndian.Uint32(v[20:]))*sec
							a.given = &given
						}
					case optAsks6:
						if a == nil {
							a = &ia{}
						}
						a.stack = len(v) == 2
					}
				}
				n++
				if got := message6(m, k, want[0], [3]byte(want[1:4]), waited, a); !bytes.Equal(got, want) {
					t.Errorf("message %d:\n got %x\nwant %x", n, got, want)
				}
			}
			if n < c.least {
				t.Errorf("%d packets were compared, want %d", n, c.least)
			}
		})
	}
}

func reply6With(typ byte, opts ...[]byte) []byte {
	return append([]byte{typ, 1, 2, 3}, slices.Concat(opts...)...)
}

func given6(a string) []byte {
	v := append(make([]byte, 12), 0, 5, 0, 24)
	v = append(v, netip.MustParseAddr(a).AsSlice()...)
	return option6(nil, optIA6, append(v, 0, 0, 0, 60, 0, 0, 0, 120))
}

func words6(code uint16, text string) []byte { return option6(nil, code, []byte(text)) }

func class6(text string) []byte {
	return option6(nil, optClass6, append([]byte{0, 0, 1, 0x57, 0, byte(len(text))}, text...))
}

// TestRefuses6: what edk2 and iPXE make of the ways in which servers name a boot
// file.
func TestRefuses6(t *testing.T) {
	for _, c := range []struct {
		kind string
		opts [][]byte
		want string // "" is taken
	}{
		{"uefi-x64", [][]byte{words6(optURL6, "tftp://[fd00::1]/a.efi")}, ""},
		{"uefi-x64", nil, "no boot file"},
		{"uefi-x64", [][]byte{words6(optURL6, "http://[fd00::1]/a.efi")}, "tftp:// only"},
		{"uefi-x64", [][]byte{words6(optURL6, "a.efi")}, "tftp:// only"},
		{"uefi-x64", [][]byte{words6(optURL6, "tftp://[fd00::1]/a.efi"), class6("PXEClient")}, "gives its address back"},
		{"uefi-x64", [][]byte{words6(optURL6, "tftp://[fd00::1]/a.efi"), words6(optBootArgs6, "quiet")}, "option 60"},
		{"uefi-x64", [][]byte{words6(optURL6, "tftp://[fd00::1]/a.efi"), words6(optBootArgs6, "123")}, ""},
		{"uefi-http-x64", [][]byte{words6(optURL6, "http://[fd00::1]/a.efi"), class6("HTTPClient")}, ""},
		{"uefi-http-x64", [][]byte{words6(optURL6, "http://[fd00::1]/a.efi")}, "without HTTPClient"},
		{"uefi-http-x64", [][]byte{words6(optURL6, "tftp://[fd00::1]/a.efi"), class6("HTTPClient")}, "no URL of HTTP"},
		{"ipxe", [][]byte{words6(optURL6, "http://[fd00::1]/a.ipxe")}, ""},
		{"pi4", [][]byte{words6(optURL6, "tftp://[fd00::1]/")}, ""},
		{"pi4", [][]byte{words6(optURL6, "http://[fd00::1]/")}, "tftp:// only"},
	} {
		o, err := parseReply6(reply6With(reply6, append(c.opts, given6("fd00::9"))...))
		if err != nil {
			t.Fatal(err)
		}
		if why, hint := kindNamed(c.kind).refuses(o); (why == "") != (c.want == "") || !strings.Contains(why, c.want) || (why == "") != (hint == "") {
			t.Errorf("%s of %q: %q, %q", c.kind, o.opt67, why, hint)
		}
	}
}

// TestChoose6: preference, then a boot file, then the first.
func TestChoose6(t *testing.T) {
	offer := func(a string, pref byte, more ...[]byte) *reply {
		r, err := parseReply6(reply6With(advertise6, append(more, given6(a), option6(nil, optPref6, []byte{pref}))...))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	url := words6(optURL6, "tftp://[fd00::1]/a.efi")
	empty, _ := parseReply6(reply6With(advertise6, option6(nil, optIA6, append(make([]byte, 12), 0, 13, 0, 6, 0, 2, 'n', 'o', 'n', 'e'))))
	if empty.addr.IsValid() || empty.status != "NoAddrsAvail: none" {
		t.Errorf("no address left is %v, %q", empty.addr, empty.status)
	}
	for _, c := range []struct {
		offers []*reply
		stack  bool
		want   string
	}{
		{[]*reply{offer("fd00::1", 0), offer("fd00::2", 0)}, false, "fd00::1"},
		{[]*reply{offer("fd00::1", 0), offer("fd00::2", 0, url)}, false, "fd00::2"},
		{[]*reply{offer("fd00::1", 0), offer("fd00::2", 0, url)}, true, "fd00::1"},
		{[]*reply{offer("fd00::1", 0, url), offer("fd00::2", 7)}, false, "fd00::2"},
		{[]*reply{empty, offer("fd00::2", 0)}, false, "fd00::2"},
		{[]*reply{empty}, false, ""},
	} {
		got := ""
		if o := kindNamed("uefi-x64").choose6(c.offers, c.stack); o != nil {
			got = o.addr.String()
		}
		if got != c.want {
			t.Errorf("of %d offers %q was taken, want %q", len(c.offers), got, c.want)
		}
	}
}

func TestFirmwareURL(t *testing.T) {
	for in, want := range map[string]string{
		"tftp://[fd00::1]/a%20b.efi":           "tftp://[fd00::1]/a b.efi",
		"tftp://[fd00::1]/a.efi;mode=octet":    "tftp://[fd00::1]/a.efi",
		"http://[fd00::1]/a%20b.efi":           "http://[fd00::1]/a%20b.efi",
		"tftp://[fd00::1]/boot/100%/x.efi":     "tftp://[fd00::1]/boot/100%/x.efi",
		"tftp://boot.example/d%2Fe;mode=octet": "tftp://boot.example/d/e",
	} {
		if got := firmwareURL(in); got != want {
			t.Errorf("%s is read as %s, want %s", in, got, want)
		}
	}
}

// TestLinkLocal: MAC and link-local address are each other's.
func TestLinkLocal(t *testing.T) {
	m := MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	if a := m.linkLocal(); a.String() != "fe80::5054:ff:feaa:bb01" || macOf(a) != m {
		t.Errorf("%s is at %s, whose MAC is %s", m, a, macOf(a))
	}
	for _, a := range []string{"fe80::1", "fd00::5054:ff:feaa:bb01", "::"} {
		if got := macOf(netip.MustParseAddr(a)); got != (MAC{}) {
			t.Errorf("%s is machine %s", a, got)
		}
	}
}

// FuzzReply6: nothing that comes over the wire may do harm.
func FuzzReply6(f *testing.F) {
	f.Add(reply6With(advertise6, given6("fd00::9"), words6(optURL6, "tftp://[fd00::1]/a")))
	f.Add([]byte{reply6})
	f.Add(append(make([]byte, 16), 3, 4, 64, 0xc0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseReply6(b); err == nil {
			r.text6()
			for _, k := range kinds {
				if k.six != nil {
					k.refuses(r)
				}
			}
			firmwareURL(r.opt67)
		}
		if a, ok := parseAdvert(b); ok {
			_ = a.text()
		}
		l := &link6{adverts: map[netip.Addr]*advert{}, news: make(chan struct{}), claimed: map[netip.Addr]chan struct{}{}}
		if len(b) >= headSix+8 {
			l.take(b)
		}
	})
}
