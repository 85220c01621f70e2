package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

const goodConfig = `# all of it
data_dir = "/var/lib/muster"

[[network]]
name      = "lab"
interface = "eth1"
mode      = "full"
subnet    = "10.77.0.0/24"
range     = "10.77.0.100-10.77.0.200"
routers   = ["10.77.0.1"]
dns       = ["10.77.0.1"]
lease     = "1h"

[[network]]
name      = "racks"
interface = "eth2"
mode      = "proxy"
pxe       = "binl"

[http]
listen = ":80"
[tftp]
listen = ":69"
[enroll]
policy = "approve"
hold = "15m"
limit = 500
`

func TestConfig(t *testing.T) {
	c, err := Parse("muster.toml", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Networks) != 2 || c.Networks[0].Ranges[0].Size() != 101 || !c.Networks[1].BINL || c.Enroll.Limit != 500 {
		t.Errorf("read as %+v", c)
	}
	// An empty file is valid and configures nothing.
	if c, err = Parse("muster.toml", nil); err != nil || len(c.Networks) != 0 || c.Enroll.Policy != boot.EnrollApprove {
		t.Errorf("empty: %+v, %v", c, err)
	}
}

// TestConfigErrors: each mistake is told with file and line, and what was
// meant.
func TestConfigErrors(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(goodConfig, old) {
			t.Fatalf("the good configuration has no %q", old)
		}
		return strings.Replace(goodConfig, old, new, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", change("lease     =", "leese     ="), `muster.toml:12: unknown key "leese" in [network]; did you mean "lease"?`},
		{"unknown table", change("[tftp]", "[ftp]"), `muster.toml:22: unknown key "ftp"; did you mean "tftp"?`},
		{"not yet there", goodConfig + "[fleet]\nlisten = \":8067\"\n", `unknown key "fleet"`},
		{"syntax", change(`mode      = "full"`, `mode      = full`), "muster.toml:7"},
		{"wrong type", change(`limit = 500`, `limit = "many"`), "muster.toml:27"},
		{"misspelt mode", change(`"full"`, `"ful"`), `muster.toml:7: mode "ful": want full, reservations, proxy, auto or off`},
		{"excluded elsewhere", change(`lease     = "1h"`, "lease = \"1h\"\nexclude = \"10.77.0.5\""), "exclude 10.77.0.5-10.77.0.5 is in no range"},
		{"all excluded", change(`lease     = "1h"`, "lease = \"1h\"\nexclude = \"10.77.0.1-10.77.0.250\""), "exclude leaves no address"},
		{"share", change(`lease     = "1h"`, "lease = \"1h\"\nunknown_share = 0"), "percentage from 1 to 100"},
		{"client id", change(`lease     = "1h"`, "lease = \"1h\"\nclient_id = \"duid\""), "want mac"},
		{"range outside", change("10.77.0.100-10.77.0.200", "10.77.0.100-10.77.1.200"), "muster.toml:9: range 10.77.0.100-10.77.1.200: 10.77.1.200 is outside subnet 10.77.0.0/24"},
		{"range backwards", change("10.77.0.100-10.77.0.200", "10.77.0.200-10.77.0.100"), "did you mean 10.77.0.100-10.77.0.200?"},
		{"range of nonsense", change("10.77.0.100-10.77.0.200", "100-200"), "muster.toml:9: range \"100-200\": want FIRST-LAST"},
		{"overlapping ranges", change("10.77.0.100-10.77.0.200", "10.77.0.100-10.77.0.150, 10.77.0.150-10.77.0.160"), "muster.toml:9: range 10.77.0.150-10.77.0.160 overlaps 10.77.0.100-10.77.0.150"},
		{"broadcast address", change("10.77.0.100-10.77.0.200", "10.77.0.100-10.77.0.255"), "network or broadcast address"},
		{"huge range", change("subnet    = \"10.77.0.0/24\"\nrange     = \"10.77.0.100-10.77.0.200\"", "range = \"10.0.0.0-10.255.255.0\""), "more than 1048576 addresses"},
		{"full without range", change(`range     = "10.77.0.100-10.77.0.200"`, ""), "mode full needs a range"},
		{"proxy with range", change(`pxe       = "binl"`, `range = "10.78.0.1-10.78.0.2"`), "muster.toml:18: mode proxy gives no addresses"},
		{"host bits", change("10.77.0.0/24", "10.77.0.1/24"), "muster.toml:8: subnet 10.77.0.1/24 has host bits set; did you mean 10.77.0.0/24?"},
		{"router elsewhere", change(`routers   = ["10.77.0.1"]`, `routers   = ["10.78.0.1"]`), "muster.toml:10: router 10.78.0.1 is outside subnet"},
		{"no address", change(`dns       = ["10.77.0.1"]`, `dns       = ["one"]`), `muster.toml:11: dns: "one" is no IPv4 address`},
		{"range6 alone", change(`lease     = "1h"`, "lease = \"1h\"\nrange6 = \"fd77::1-fd77::2\""), "muster.toml:13: range6 needs the network's IPv6 subnet"},
		{"range6 elsewhere", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/64\"\nrange6 = \"fd78::1-fd78::2\""), "muster.toml:14: range6 fd78::1-fd78::2: fd78::1 is outside subnet6 fd77::/64"},
		{"range6 backwards", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/64\"\nrange6 = \"fd77::2-fd77::1\""), "did you mean fd77::1-fd77::2?"},
		{"mode6", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/64\"\nmode6 = \"proxy\""), "DHCPv6 has no proxy"},
		{"delegate6", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/64\"\ndelegate6 = \"fd77::/48\""), "overlaps subnet6"},
		{"delegate6_len", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/64\"\ndelegate6 = \"fd78::/48\"\ndelegate6_len = 40"), "from 48 to 64"},
		{"subnet6 twice", "[[network]]\nname = \"a\"\ninterface = \"eth0\"\nsubnet6 = \"fd77::/64\"\n[[network]]\nname = \"b\"\ninterface = \"eth1\"\nsubnet6 = \"fd77::/48\"\n", "muster.toml:8: subnet6 fd77::/48 overlaps fd77::/64 of network \"a\""},
		{"small subnet6", change(`lease     = "1h"`, "lease = \"1h\"\nsubnet6 = \"fd77::/120\""), "say which addresses"},
		{"no interface", change(`interface = "eth2"`, ""), "muster.toml:14: a network needs an interface"},
		{"name twice", change(`name      = "racks"`, `name      = "lab"`), `muster.toml:15: network name "lab" is used twice`},
		{"overlapping subnets", change(`mode      = "proxy"`, "mode      = \"proxy\"\nsubnet = \"10.77.0.128/25\""), "muster.toml:18: subnet 10.77.0.128/25 overlaps 10.77.0.0/24 of network \"lab\""},
		{"short lease", change(`"1h"`, `"1s"`), "muster.toml:12: lease \"1s\""},
		{"policy", change(`"approve"`, `"aprove"`), "muster.toml:25: policy \"aprove\""},
		{"listen", change(`":80"`, `"80"`), "muster.toml:21: listen \"80\""},
	} {
		_, err := Parse("muster.toml", []byte(c.text))
		var te *tomlfile.Error
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &te) || te.Line == 0 {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	p := netip.MustParsePrefix
	n := boot.Network{Name: "lab", Interface: "eth1", Mode: boot.Full, Ranges: []boot.Range{{From: netip.MustParseAddr("10.77.0.100"), To: netip.MustParseAddr("10.77.0.110")}}}
	link := []netip.Prefix{p("169.254.1.1/16"), p("10.77.0.1/24")}
	r, waits, err := Resolve(n, true, link)
	if err != nil || waits != "" || r.Server.String() != "10.77.0.1" || r.Subnet != p("10.77.0.0/24") {
		t.Errorf("%+v, %q, %v", r, waits, err)
	}
	if _, waits, _ = Resolve(n, false, nil); waits != "interface eth1 is not there" {
		t.Errorf("waits for %q", waits)
	}
	if _, waits, _ = Resolve(n, true, nil); waits != "interface eth1 has no IPv4 address" {
		t.Errorf("waits for %q", waits)
	}
	link = []netip.Prefix{p("192.168.0.1/24")}
	if _, _, err = Resolve(n, true, link); err == nil || !strings.Contains(err.Error(), "outside subnet 192.168.0.0/24") {
		t.Errorf("a range outside the interface's subnet: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("[[network]]\ninterface=\"e\"\nmode=\"full\"\nrange=\"1.1.1.1-255.255.255.255\"\n"))
	f.Add([]byte("x=\"\"\"\n[network]\n\"\"\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		for _, n := range c.Networks {
			if n.Interface == "" || n.Mode == boot.Full && len(n.Ranges) == 0 {
				t.Fatalf("accepted %+v", n)
			}
			if n.Subnet.IsValid() {
				if err := inside(n.Subnet, n.Ranges); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestConfigSix: an IPv6 network, alone and beside IPv4.
func TestConfigSix(t *testing.T) {
	// One interface, one link of its own and one behind a relay agent.
	two := "[[network]]\nname = \"six\"\ninterface = \"eth0\"\nsubnet6 = \"fd77::/64\"\n[[network]]\nname = \"far\"\ninterface = \"eth0\"\nsubnet6 = \"fd99::/64\"\nrelays6 = [\"fd99::1\"]\n"
	if c, err := Parse("muster.toml", []byte(two)); err != nil || len(c.Networks6) != 2 {
		t.Errorf("two IPv6 networks on an interface: %v, %+v", err, c)
	}
	c, err := Parse("muster.toml", []byte("[[network]]\nname = \"six\"\ninterface = \"eth0\"\nsubnet6 = \"fd77::/64\"\ndelegate6 = \"fd78::/48\"\nrelays6 = [\"fd99::2\"]\n"))
	if err != nil || len(c.Networks) != 1 || c.Networks[0].Mode != boot.Off || len(c.Networks6) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	n := c.Networks6[0]
	if n.Mode != boot.Full || n.Ranges[0].String() != "fd77::1000-fd77::ffff" || n.DelegatedLen != 56 || n.Lease != time.Hour || len(n.Relays) != 1 {
		t.Errorf("%+v", n)
	}
	c, err = Parse("muster.toml", []byte(strings.Replace(goodConfig, `lease     = "1h"`, "lease = \"2h\"\nsubnet6 = \"fd77::/64\"\nrange6 = \"fd77::10-fd77::1f, fd77::40-fd77::4f\"", 1)))
	if err != nil || c.Networks[0].Mode != boot.Full || len(c.Networks6) != 1 || len(c.Networks6[0].Ranges) != 2 || c.Networks6[0].Lease != 2*time.Hour {
		t.Errorf("%+v, %v", c.Networks6, err)
	}
}
