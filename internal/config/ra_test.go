// ra_test.go: the keys of router advertisements.

package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/tomlfile"
)

const raNetwork = `[[network]]
name      = "lab"
interface = "eth0"
mode      = "reservations"
domain    = "lab.example"
subnet6   = "fd77::/64"
dns6      = ["fd77::1"]
`

// TestConfigRA: what each word advertises.
func TestConfigRA(t *testing.T) {
	for _, c := range []struct {
		name, add string
		want      string
	}{
		{"nothing said", "", "off M=false O=false A=[] router=false hops=0 mtu=0 dns=[] search=[] medium"},
		{"off", `ra = "off"`, "off M=false O=false A=[] router=false hops=0 mtu=0 dns=[] search=[] medium"},
		{"managed", `ra = "managed"`, "managed M=true O=true A=[false] router=false hops=0 mtu=0 dns=[fd77::1] search=[lab.example] medium"},
		{"assisted", "ra = \"assisted\"\nmtu6 = 1400", "assisted M=true O=true A=[true] router=false hops=0 mtu=1400 dns=[fd77::1] search=[lab.example] medium"},
		{"slaac, router", "ra = \"slaac\"\nra_router = true\nra_preference = \"high\"", "slaac, router M=false O=true A=[true] router=true hops=64 mtu=0 dns=[fd77::1] search=[lab.example] high"},
		{"two networks on a link", "ra = \"managed\"\n[[network]]\nname = \"b\"\ninterface = \"eth0\"\nmode = \"reservations\"\nsubnet = \"10.78.0.0/24\"\nsubnet6 = \"fd78::/64\"\nra = \"managed\"\ndns6 = [\"fd77::1\", \"fd78::1\"]",
			"managed M=true O=true A=[false false] router=false hops=0 mtu=0 dns=[fd77::1 fd78::1] search=[lab.example] medium"},
		{"one of two", "ra = \"off\"\n[[network]]\nname = \"b\"\ninterface = \"eth0\"\nmode = \"reservations\"\nsubnet = \"10.78.0.0/24\"\nsubnet6 = \"fd78::/64\"\nra = \"managed\"",
			"managed M=true O=true A=[false] router=false hops=0 mtu=0 dns=[] search=[] medium"},
	} {
		cfg, err := Parse("muster.toml", []byte(raNetwork+c.add+"\n"))
		if err != nil || len(cfg.RA) != 1 {
			t.Errorf("%s: %v, %+v", c.name, err, cfg)
			continue
		}
		x := cfg.RA[0]
		var auto []bool
		for _, p := range x.Prefixes {
			auto = append(auto, p.Autonomous)
			if !p.OnLink || p.Valid != 24*time.Hour || p.Preferred != 4*time.Hour {
				t.Errorf("%s: prefix %+v", c.name, p)
			}
		}
		got := fmt.Sprintf("%s M=%t O=%t A=%v router=%t hops=%d mtu=%d dns=%v search=%v %s", RAWord(x), x.Managed, x.Other, auto, x.Router, x.HopLimit, x.MTU, x.DNS, x.Search, x.Preference)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	text := "[[network]]\ninterface = \"eth0\"\nmode = \"reservations\"\n"
	if c, err := Parse("muster.toml", []byte(text)); err != nil || len(c.RA) != 0 {
		t.Errorf("%v, %+v\n%s", err, c.RA, text)
	}
}

// TestConfigRAErrors: each mistake is told with its line and what was meant.
func TestConfigRAErrors(t *testing.T) {
	const second = "\n[[network]]\nname = \"b\"\ninterface = \"eth0\"\nmode = \"reservations\"\nsubnet = \"10.78.0.0/24\"\n"
	for _, c := range []struct{ old, new, want string }{
		{`"fd77::/64"`, `"10.0.0.0/24"`, `muster.toml:6: subnet6 "10.0.0.0/24": want an IPv6 subnet`},
		{`"fd77::/64"`, `"fe80::/64"`, `muster.toml:6: subnet6 "fe80::/64": want an IPv6 subnet`},
		{`"fd77::/64"`, `"fd77::1/64"`, `muster.toml:6: subnet6 fd77::1/64 has host bits set; did you mean fd77::/64?`},
		{`"fd77::/64"`, "\"fd77::/80\"\nra = \"slaac\"", "muster.toml:6: subnet6 fd77::/80: hosts make addresses of their own in a /64 only"},
		{`["fd77::1"]`, `["10.77.0.1"]`, `muster.toml:7: dns6: "10.77.0.1" is no IPv6 address of a server`},
		{`["fd77::1"]`, "[]\nra = \"on\"", `muster.toml:8: ra "on": want off, none`},
		{"subnet6   = \"fd77::/64\"\ndns6      = [\"fd77::1\"]", `ra = "nobody"`, `muster.toml:6: ra "nobody": want off, none`},
		{`["fd77::1"]`, "[]\nra = \"managed\"\nmtu6 = 1000", "muster.toml:9: mtu6 1000: want 1280"},
		{`["fd77::1"]`, "[]\nmtu6 = 1400", "muster.toml:8: mtu6 is said in advertisements"},
		{`["fd77::1"]`, "[]\nra_router = true", "muster.toml:8: ra_router = true is said in advertisements"},
		{`["fd77::1"]`, "[]\nra = \"slaac\"\nra_preference = \"high\"", "muster.toml:9: ra_preference is that of a default router"},
		{`["fd77::1"]`, "[]\nra = \"slaac\"\nra_router = true\nra_preference = \"best\"", `muster.toml:10: ra_preference "best": want low, medium or high`},
		{`"lab.example"`, "\"lab example\"\nra = \"managed\"", `muster.toml:5: domain "lab example"`},
		{`subnet6   = "fd77::/64"`, "", `muster.toml:7: dns6 needs the network's IPv6 subnet`},
		{"subnet6   = \"fd77::/64\"\ndns6      = [\"fd77::1\"]", `ra = "managed"`, `muster.toml:6: ra needs the network's IPv6 subnet`},
		{`["fd77::1"]`, "[]\nra = \"managed\"" + second + "subnet6 = \"fd78::/64\"\nra = \"slaac\"", `muster.toml:15: interface eth0 advertises "managed" for another network already`},
		{`["fd77::1"]`, "[]\nra = \"managed\"" + second + "subnet6 = \"fd77::/64\"\nra = \"managed\"", `muster.toml:14: subnet6 fd77::/64 overlaps`},
	} {
		_, err := Parse("muster.toml", []byte(strings.Replace(raNetwork, c.old, c.new, 1)))
		var te *tomlfile.Error
		if err == nil || !errors.As(err, &te) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.new, err, c.want)
		}
	}
}
