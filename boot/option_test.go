package boot

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseOption(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string // hexadecimal
		text  string // what String gives
	}{
		{"ntp-servers", []any{"10.0.0.1", "10.0.0.2"}, "0a0000010a000002", "ntp-servers=10.0.0.1,10.0.0.2"},
		{"42", "10.0.0.1, 10.0.0.2", "0a0000010a000002", "ntp-servers=10.0.0.1,10.0.0.2"},
		{"ntp_servers", "10.0.0.1", "0a000001", "ntp-servers=10.0.0.1"},
		{"interface-mtu", int64(9000), "2328", "interface-mtu=9000"},
		{"ip-forwarding", true, "01", "ip-forwarding=true"},
		{"netbios-node-type", "8", "08", "netbios-node-type=8"},
		{"time-offset", "3600", "00000e10", "time-offset=3600"},
		{"renewal-time", "30m", "00000708", "renewal-time=30m0s"},
		{"pxelinux-reboot-time", int64(30), "0000001e", "pxelinux-reboot-time=30s"},
		{"pxelinux-config-file", "pxelinux.cfg/rack4", hex.EncodeToString([]byte("pxelinux.cfg/rack4")), "pxelinux-config-file=pxelinux.cfg/rack4"},
		{"classless-routes", []any{"10.1.0.0/16 via 10.0.0.1", "default via 10.0.0.2", "10.2.3.128/25 via 10.0.0.3"}, "100a010a000001" + "000a000002" + "190a0203800a000003", ""},
		{"domain-search", "lab.example,b.", "036c6162076578616d706c6500" + "016200", ""},
		{"vendor-options", "42623:1=http://x", "0000a67f0a" + "0108" + hex.EncodeToString([]byte("http://x")), ""},
		{"125", []any{"42623:1=a", "42623:2=b", "9:1=c"}, "0000a67f06010161020162" + "0000000903010163", ""},
		{"224", "plain", hex.EncodeToString([]byte("plain")), ""},
		{"224", "hex:01:02 03", "010203", "224=hex:010203"},
		{"224", "u16:258", "0102", ""},
		{"224", "ip:10.0.0.1,10.0.0.2", "0a0000010a000002", ""},
		{"bootfile-name", "text:hex:no", hex.EncodeToString([]byte("hex:no")), "bootfile-name=text:hex:no"},
		{"bootfile-name", "http://10.0.0.1/" + strings.Repeat("x", 200), hex.EncodeToString([]byte("http://10.0.0.1/" + strings.Repeat("x", 200))), ""},
		{"43", "hex:0601 08ff", "060108ff", "vendor-encapsulated-options=hex:060108ff"},
	} {
		o, err := ParseOption(c.key, c.value)
		if err != nil {
			t.Errorf("%s = %v: %v", c.key, c.value, err)
			continue
		}
		if got := hex.EncodeToString(o.Data); got != c.want {
			t.Errorf("%s = %v: %s, want %s", c.key, c.value, got, c.want)
		}
		if c.text != "" && o.String() != c.text {
			t.Errorf("%s = %v: written as %q, want %q", c.key, c.value, o, c.text)
		}
		// What is shown and stored can be read back.
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var again Option
		if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%s: read back as %v: %v", o, again, err)
		}
	}
}

func TestParseOptionErrors(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"ntp-server", "10.0.0.1", "no option is called that"},
		{"ntp-servers", "fd77::1", "is no IPv4 address"},
		{"300", "x", "codes go from 1 to 254"},
		{"54", "10.0.0.1", "cannot be set: it is the server's own address"},
		{"13", int64(1), "cannot be set: UEFI firmware"},
		{"52", "u8:1", "cannot be set"},
		{"domain-name", "", "it is empty"},
		{"224", "hex:0g", "bytes in hexadecimal"},
		{"interface-mtu", "70000", "number from 0 to 65535"},
		{"ip-forwarding", "maybe", "want true or false"},
		{"classless-routes", "10.1.0.0/16", "via 10.0.0.1"},
		{"classless-routes", "10.1.2.0/16 via 10.0.0.1", "via 10.0.0.1"},
		{"vendor-options", "x", "enterprise:code=text"},
		{"domain-search", "a..b", "is no domain name"},
		{"ntp-servers", []any{1}, "a list holds strings"},
		{"ntp-servers", 1.5, "want a string"},
		{"224", "hex:" + strings.Repeat("00", 2000), "more than any client takes"},
	} {
		if o, err := ParseOption(c.key, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: %v, %v, want %q", c.key, c.value, o, err, c.want)
		}
	}
}

// TestOptionRegistry: the names are those of the registry, with its numbers and with
// values as it has them.
func TestOptionRegistry(t *testing.T) {
	const ip, text, seconds = "10.0.0.1", "text", "1m"
	for _, c := range []struct {
		code        uint8
		name, value string
		want        string // "" is the text
	}{
		{2, "time-offset", "1", "00000001"}, {3, "routers", ip, "0a000001"}, {4, "time-servers", ip, "0a000001"}, {6, "dns-servers", ip, "0a000001"}, {7, "log-servers", ip, "0a000001"},
		{9, "lpr-servers", ip, "0a000001"}, {12, "host-name", text, ""}, {15, "domain-name", text, ""}, {17, "root-path", text, ""}, {19, "ip-forwarding", "true", "01"},
		{26, "interface-mtu", "1500", "05dc"}, {28, "broadcast-address", ip, "0a000001"}, {33, "static-routes", "10.1.0.0,10.0.0.1", "0a0100000a000001"}, {40, "nis-domain", text, ""},
		{41, "nis-servers", ip, "0a000001"}, {42, "ntp-servers", ip, "0a000001"}, {43, "vendor-encapsulated-options", "0102", "0102"}, {44, "netbios-name-servers", ip, "0a000001"},
		{46, "netbios-node-type", "8", "08"}, {58, "renewal-time", seconds, "0000003c"}, {59, "rebinding-time", seconds, "0000003c"}, {60, "vendor-class-identifier", text, ""},
		{64, "nisplus-domain", text, ""}, {66, "tftp-server-name", text, ""}, {67, "bootfile-name", text, ""}, {69, "smtp-servers", ip, "0a000001"}, {72, "www-servers", ip, "0a000001"},
		{100, "posix-timezone", text, ""}, {101, "tzdb-timezone", text, ""}, {108, "v6-only-preferred", seconds, "0000003c"}, {114, "default-url", text, ""}, {116, "auto-configure", "1", "01"},
		{119, "domain-search", "a.b", "0161016200"}, {120, "sip-servers", "01", "01"}, {121, "classless-routes", "default via " + ip, "000a000001"}, {125, "vendor-options", "1:2=x", "0000000103020178"},
		{138, "capwap-access-controllers", ip, "0a000001"}, {143, "sztp-redirect", "0102", "0102"}, {150, "tftp-server-address", ip, "0a000001"}, {160, "captive-portal", text, ""},
		{176, "ip-telephone", text, ""}, {208, "pxelinux-magic", "f100747e", "f100747e"}, {209, "pxelinux-config-file", text, ""}, {210, "pxelinux-path-prefix", text, ""},
		{211, "pxelinux-reboot-time", seconds, "0000003c"}, {239, "ztp-url", text, ""}, {249, "ms-classless-routes", "default via " + ip, "000a000001"}, {252, "wpad", text, ""},
	} {
		want := c.want
		if want == "" {
			want = hex.EncodeToString([]byte(c.value))
		}
		for _, key := range []string{c.name, fmt.Sprint(c.code)} {
			if o, err := ParseOption(key, c.value); err != nil || o.Code != c.code || o.Name() != c.name || hex.EncodeToString(o.Data) != want {
				t.Errorf("%s = %s: %d %s, %x, %v; want %d, %s", key, c.value, o.Code, o.Name(), o.Data, err, c.code, want)
			}
		}
	}
	for n := range 256 {
		no := slices.Contains([]int{0, 1, 13, 50, 51, 52, 53, 54, 55, 56, 57, 61, 80, 82, 255}, n)
		if _, err := ParseOption(fmt.Sprint(n), "hex:01"); (err != nil) != no {
			t.Errorf("option %d: %v", n, err)
		}
	}
}

// TestOptionBounds: the longest and the largest that a value may be.
func TestOptionBounds(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		key   string
		value any
		ok    bool
	}{
		{"255", "x", false}, {"256", "x", false}, {"-1", "x", false},
		{"224", "hex:" + strings.Repeat("00", 1024), true}, {"224", "hex:" + strings.Repeat("00", 1025), false},
		{"vendor-options", "1:1=" + x(253), true}, {"vendor-options", "1:1=" + x(254), false}, {"vendor-options", "1:1=" + x(256), false},
		{"vendor-options", []any{"1:1=" + x(126), "1:2=" + x(125)}, true}, {"vendor-options", []any{"1:1=" + x(126), "1:2=" + x(126)}, false},
		{"vendor-options", "4294967295:255=x", true}, {"vendor-options", "4294967296:1=x", false}, {"vendor-options", "1:256=x", false},
		{"domain-search", x(63), true}, {"domain-search", x(64), false},
		{"netbios-node-type", "255", true}, {"netbios-node-type", "256", false},
		{"interface-mtu", "65535", true}, {"interface-mtu", "65536", false},
		{"time-offset", "4294967295", true}, {"time-offset", "4294967296", false},
		{"renewal-time", "4294967295s", true}, {"renewal-time", "4294967296s", false}, {"renewal-time", "-1s", false}, {"renewal-time", "0s", true},
		{"broadcast-address", "10.0.0.1,10.0.0.2", false}, {"host-name", []any{"a", "b"}, false}, {"host-name", "a\x00", false},
	} {
		if _, err := ParseOption(c.key, c.value); (err == nil) != c.ok {
			t.Errorf("%s = %.40v: %v", c.key, c.value, err)
		}
	}
}

// FuzzOption: no text crashes the reader, and what it takes it can write and
// read again.
func FuzzOption(f *testing.F) {
	for _, s := range []string{"ntp-servers=10.0.0.1", "121=10.0.0.0/8 via 10.0.0.1", "224=hex:00", "125=1:2=x", "119=a.b,c", "58=1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOptionText(s)
		if err != nil {
			return
		}
		again, err := ParseOptionText(o.String())
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%q is %q, read again as %v: %v", s, o, again, err)
		}
	})
}
