// tables_test.go: every table of muster.toml: what it says is what it means, and what
// it cannot mean is told with its line.

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// full says something in every table.
const full = `[[network]]
name = "lab"
interface = "eth1"
mode = "full"
range = "10.77.0.100-10.77.0.120, 10.77.0.140-10.77.0.150"
exclude = "10.77.0.105-10.77.0.106, 10.77.0.120"
lease = "2h"
unknown_lease = "20m"
unknown_share = 30
new_leases = 0
probe = false
client_id = "rfc4361"
rapid_commit = true
trust_ports = true
shared = "floor"
bandwidth = "900Mbit"
https = true
loader = "shim"
installs_per_hour = 4
relays = ["10.77.9.1"]
[network.options]
ntp-servers = "10.77.0.1"
150 = "10.77.0.2"
[network.menu]
prompt = "F8"
timeout = 5
[[network.menu.item]]
text = "Install"
[[network.menu.item]]
text = "Disk"
local = true
[[network.menu.item]]
text = "Other"
loader = "other.efi"

[[class]]
name = "switches"
vendor_class = ["acme-*"]
arch = [7, 11]
oui = ["52:54:00"]
as = "plain"
delay = "2s"
echo_vendor_class = true
https = true
[class.options]
domain-name = "switches.example"

[http]
host = "plain.example.org"

[https]
listen = ":8443"
host = "Safe.Example.org."
names = ["boot.example.org"]
firmware_tls = true

[tftp]
listen = "10.77.0.1:69"
ports = "30000-30999"

[enroll]
policy = "approve"
hold = "1h"
limit = 50
loop = 5
shared = ["02:*"]
[admin]
listen = ":9443"
names = ["muster.example.org"]
[[enroll.rule]]
name = "rack 7"
action = "approve"
serial = ["R7-*"]
network = ["lab"]
max = 40
template = "debian12"
install = true
until = 2026-12-31T00:00:00Z
[[enroll.rule]]
name = "not those"
action = "deny"
vendor_class = ["printer*"]
`

func TestTables(t *testing.T) {
	c, err := Parse("muster.toml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	n := c.Networks[0]
	for _, x := range []struct {
		what      string
		got, want any
	}{
		{"ranges without what is excluded", fmt.Sprint(n.Ranges), "[10.77.0.100-10.77.0.104 10.77.0.107-10.77.0.119 10.77.0.140-10.77.0.150]"},
		{"leases", []time.Duration{n.Lease, n.UnknownLease}, []time.Duration{2 * time.Hour, 20 * time.Minute}},
		{"limits", []int{n.UnknownShare, n.NewLeases, n.InstallsPerHour}, []int{30, 0, 4}},
		{"switches", []bool{n.Probe, n.ClientID, n.RapidCommit, n.TrustPorts, n.HTTPS, n.BINL}, []bool{false, true, true, true, true, false}},
		{"bandwidth", n.Bandwidth, int64(900e6 / 8)},
		{"words", []string{n.Shared, n.Loader}, []string{"floor", boot.LoaderShim}},
		{"options", fmt.Sprint(n.Options), "[tftp-server-address=10.77.0.2 ntp-servers=10.77.0.1]"},
		{"menu", n.Menu, &boot.Menu{Prompt: "F8", Timeout: 5, Items: []boot.MenuItem{{Text: "Install", Loader: "default"}, {Text: "Disk"}, {Text: "Other", Loader: "other.efi"}}}},
		{"class", c.Classes[0].Match, boot.ClassMatch{VendorClass: []string{"acme-*"}, Arch: []boot.Arch{7, 11}, OUI: []string{"52:54:00"}}},
		{"how it is answered", []any{c.Classes[0].As, c.Classes[0].Delay, c.Classes[0].Echo, c.Classes[0].HTTPS, fmt.Sprint(c.Classes[0].Options)}, []any{boot.Plain, 2 * time.Second, true, true, "[domain-name=switches.example]"}},
		{"HTTPS", c.HTTPS, HTTPS{Listen: ":8443"}},
		{"names of ours", []string{c.HTTPHost, c.HTTPSHost}, []string{"plain.example.org", "safe.example.org"}},
		{"whom it serves", []any{c.CertNames, c.FirmwareTLS}, []any{[]string{"boot.example.org"}, true}},
		{"TFTP", c.TFTP, TFTP{Listen: "10.77.0.1:69", Ports: Ports{30000, 30999}}},
		{"the API", []any{c.Admin, c.AdminNames, c.Admin.Plain()}, []any{Admin{Listen: ":9443", Asked: true}, []string{"muster.example.org"}, false}},
		{"enrolment", []any{c.Enroll.Policy, c.Enroll.Hold, c.Enroll.Limit, c.Enroll.Loop, c.Enroll.Shared}, []any{boot.EnrollApprove, time.Hour, 50, 5, []string{"02:*"}}},
		{"a rule", c.Enroll.Rules[0], boot.EnrollRule{Name: "rack 7", Max: 40, Template: "debian12", Install: true, Until: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), Match: boot.Selector{Serial: []string{"R7-*"}, Network: []string{"lab"}}}},
		{"a rule that refuses", c.Enroll.Rules[1].Deny, true},
		{"what a firewall must let in", c.UDP(), []int{67, 69, 4011, 514}},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: %+v, want %+v", x.what, x.got, x.want)
		}
	}
}

func TestTablesErrors(t *testing.T) {
	for _, x := range []struct{ old, new, want string }{
		{`loop = 5`, `lopp = 5`, `unknown key "lopp" in [enroll]; did you mean "loop"?`},
		{`max = 40`, `mx = 40`, `unknown key "mx" in [enroll.rule]; did you mean "max"?`},
		{`prompt =`, `promt =`, `unknown key "promt" in [network.menu]; did you mean "prompt"?`},
		{`"20m"`, `"2s"`, `unknown_lease "2s": want a duration`},
		{`new_leases = 0`, `new_leases = -1`, "new_leases -1: want"},
		{`installs_per_hour = 4`, `installs_per_hour = -4`, "installs_per_hour -4"},
		{`"900Mbit"`, `"fast"`, `bandwidth "fast": want a rate`},
		{`"900Mbit"`, `"1kbit"`, `bandwidth "1kbit": want a rate`},
		{`"shim"`, `"grub"`, `loader "grub": want auto`},
		{`"floor"`, `"` + strings.Repeat("x", 64) + `"`, "want a word of up to 63"},
		{`"10.77.9.1"`, `"fd77::1"`, `relays: "fd77::1" is no IPv4 address`},
		{`ntp-servers = "10.77.0.1"`, `ntp-servers = "one"`, "ntp-servers"},
		{`150 =`, `42 =`, "is set twice, by name and by number"},
		{`timeout = 5`, `timeout = 300`, "timeout 300: want seconds"},
		{`text = "Disk"`, `text = ""`, "a line of the menu needs a text"},
		{`local = true`, "local = true\nloader = \"x.efi\"", "wants no loader"},
		{`"other.efi"`, `"../other.efi"`, "want the name of a file in the loaders folder"},
		{`"Install"`, `"` + strings.Repeat("x", 240) + `"`, "bytes of the 255 that firmware reads"},
		{`arch = [7, 11]`, `arch = [70000]`, "arch 70000: want a number of option 93"},
		{`"2s"`, `"1m"`, `delay "1m": want a duration up to "10s"`},
		{`domain-name = "switches.example"`, `colour = "blue"`, "colour"},
		{`as = "plain"`, `as = "dhcp"`, "dhcp"},
		{`name = "switches"`, ``, "class"},
		{`listen = ":8443"`, `listen = ":80"`, "is the port of [http] too"},
		{`listen = ":8443"`, "listen = \":8443\"\ncert = \"/a\"", "cert and key go together"},
		{`listen = ":8443"`, "listen = \":8443\"\ncert = \"/a\"\nkey = \"/b\"", "names are for certificates of the built-in CA"},
		{`"boot.example.org"`, `"10.77.0.1"`, `name "10.77.0.1": want a DNS name`},
		{`"30000-30999"`, `"30999-30000"`, `ports "30999-30000": want FIRST-LAST`},
		{`ports = "`, "single_port = true\nports = \"", "exclude each other"},
		{`hold = "1h"`, `hold = "-1h"`, `hold "-1h"`},
		{`limit = 50`, `limit = 0`, "limit 0"},
		{`loop = 5`, `loop = 1`, "loop 1"},
		{`"02:*"`, `"["`, "shared:"},
		{`name = "rack 7"`, ``, "a rule needs a name"},
		{`action = "approve"`, `action = "maybe"`, `rule rack 7: action "maybe"`},
		{`network = ["lab"]`, `network = ["far"]`, `no [[network]] is called "far"`},
		{`max = 40`, `max = -1`, "max -1"},
		{`max = 40`, "max = 40\ntags = [\"rack 7\"]", `tag name "rack 7"`},
		{`max = 40`, "max = 40\ntags = [\"rack=7\", \"rack=8\"]", `tag rack stands there twice`},
		{`until = 2026-12-31T00:00:00Z`, "until = 2026-12-31T00:00:00Z\nfrom = 2027-01-01T00:00:00Z", "it ends (2026-12-31T00:00:00Z) before it begins"},
		{`vendor_class = ["printer*"]`, ``, "rule not those refuses every machine"},
		{`vendor_class = ["printer*"]`, "vendor_class = [\"printer*\"]\nmax = 1", "refuses machines: max, template, install and tags are for those that it approves"},
		{"serial = [\"R7-*\"]\nnetwork = [\"lab\"]\nmax = 40\ntemplate = \"debian12\"\ninstall = true\nuntil = 2026-12-31T00:00:00Z", ``, "rule rack 7 approves every machine for ever"},
		{`name = "not those"`, `name = "rack 7"`, `rule name "rack 7" is used twice`},
		{`policy = "approve"`, `policy = "ignore"`, `policy = "ignore" enrols none`},
		{"[http]\nhost = \"plain.example.org\"", "[http]\nhost = \"boot\"", `muster.toml:49: host "boot": want a whole DNS name like "boot.example.org"`},
		{"[http]\nhost = \"plain.example.org\"", "[http]\nhost = \"10.77.0.1\"", `want a whole DNS name`},
		{"[http]\nhost = \"plain.example.org\"", "[http]\nhost = \"boot.-x.org\"", `want a whole DNS name`},
		{"[http]\nhost = \"plain.example.org\"", "[http]\nhost = \"boot.exa mple.org\"", `want a whole DNS name`},
		{`host = "Safe.Example.org."`, `host = "` + strings.Repeat("a.", 20) + `b"`, "has 41 characters; more than 40 leave no room"},
		{"[https]\nlisten = \":8443\"\nhost = \"Safe.Example.org.\"\nnames = [\"boot.example.org\"]\nfirmware_tls = true\n", "", "https = true needs the listener"},
	} {
		text := strings.Replace(full, x.old, x.new, 1)
		_, err := Parse("muster.toml", []byte(text))
		var te *tomlfile.Error
		if text == full || err == nil || !strings.Contains(err.Error(), x.want) || !errors.As(err, &te) || te.Line == 0 {
			t.Errorf("%s -> %s:\n got %v\nwant %s", x.old, x.new, err, x.want)
		}
	}
	two := full + "[[class]]\nname = \"switches\"\nvendor_class = [\"x\"]\n"
	if _, err := Parse("muster.toml", []byte(two)); err == nil || !strings.Contains(err.Error(), `class name "switches" is used twice`) {
		t.Error(err)
	}
}

// TestLoad: a file that nobody named may be missing, and one that is named may not.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	none, some := filepath.Join(dir, "none.toml"), filepath.Join(dir, "some.toml")
	if err := os.WriteFile(some, []byte("[[network]]\nmode = \"full\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(none, false, nil); err != nil || !c.Equal(Default()) {
		t.Errorf("%v, %+v", err, c)
	}
	if _, err := Load(none, true, nil); !errors.As(err, new(Mistake)) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Load(some, false, []string{"eth0", "eth1"}); err == nil || err.Error() != some+`:1: a network needs an interface: interface = "eth1" (this machine has eth0, eth1)` {
		t.Error(err)
	}
}

// TestLater: what the machine shows to be wrong is told where it stands in the file, or
// as flags are.
func TestLater(t *testing.T) {
	c, err := Parse("muster.toml", []byte(goodConfig+goodHooks))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.NetworkError(1, "interface", "it burns"); err.Error() != "muster.toml:16: it burns" {
		t.Error(err)
	}
	if err := c.HookError(c.Hooks[1], "command", "it burns"); err.Error() != "muster.toml:38: it burns" {
		t.Error(err)
	}
	b, err := Bench{Interface: "eth1", Lease: time.Hour}.Config()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{b.NetworkError(0, "interface", "it burns"), b.HookError(Hook{}, "command", "it burns")} {
		if !errors.As(err, new(Mistake)) || err.Error() != "it burns" {
			t.Error(err)
		}
	}
}

// TestResolveSix: an address in the subnet is ours to serve with; behind a relay agent
// any that others reach.
func TestResolveSix(t *testing.T) {
	n := boot.Network{Name: "six", Interface: "eth1", Subnet: netip.MustParsePrefix("fd77::/64")}
	far := n
	far.Relays = []netip.Addr{netip.MustParseAddr("fd77::9")}
	for _, x := range []struct {
		n     boot.Network
		addrs string // "" is no interface
		want  string
		waits string
	}{
		{n, "", "", "interface eth1 is not there"},
		{n, "fe80::1/64", "", "interface eth1 has no address in fd77::/64"},
		{n, "fe80::1/64 10.77.0.1/24 fd78::1/64", "", "interface eth1 has no address in fd77::/64"},
		{n, "fd78::1/64 fd77::1/64", "fd77::1", ""},
		{far, "fe80::1/64 fd78::1/64", "fd78::1", ""},
		{far, "fe80::1/64 10.77.0.1/24", "", "interface eth1 has no address in fd77::/64"},
	} {
		var addrs []netip.Prefix
		for _, s := range strings.Fields(x.addrs) {
			addrs = append(addrs, netip.MustParsePrefix(s))
		}
		r, waits := Resolve6(x.n, x.addrs != "", addrs)
		if waits != x.waits || r.Server.IsValid() != (x.want != "") || x.want != "" && r.Server.String() != x.want {
			t.Errorf("%q: %v, %q, want %q, %q", x.addrs, r.Server, waits, x.want, x.waits)
		}
	}
	// The same for IPv4.
	v4 := boot.Network{Name: "lab", Interface: "eth1", Subnet: netip.MustParsePrefix("10.99.0.0/24")}
	addrs := []netip.Prefix{netip.MustParsePrefix("169.254.0.1/16"), netip.MustParsePrefix("10.77.0.1/24")}
	if _, waits, err := Resolve(v4, true, addrs); waits != "interface eth1 has no address in 10.99.0.0/24; where that is behind a relay agent, list it: relays = [\"ADDRESS\"]; behind a router that names us as next-server: next_server = true" || err != nil {
		t.Errorf("%q, %v", waits, err)
	}
	v4.Relays = []netip.Addr{netip.MustParseAddr("10.99.0.1")}
	if r, waits, err := Resolve(v4, true, addrs); r.Server.String() != "10.77.0.1" || waits != "" || err != nil || r.Subnet != v4.Subnet {
		t.Errorf("%+v, %q, %v", r, waits, err)
	}
}
