package reservation

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
)

// onEth0 is a computer with an address in each of these.
func onEth0(p netip.Prefix) string {
	if p.Contains(netip.MustParseAddr("10.50.0.1")) {
		return "eth0"
	}
	return ""
}

// TestNetworks compares the tables that come of whole files, and has each judged as a
// configuration. MUSTER_GOLDEN=write rewrites them.
func TestNetworks(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		format := Detect(f, b)
		if err != nil || strings.HasSuffix(f, ".golden") || strings.HasSuffix(f, ".toml") || format != ISC && format != Kea && format != Dnsmasq {
			continue
		}
		ns, err := ReadNetworks([]File{{filepath.Base(f), format, b}})
		if err != nil {
			t.Error(err)
			continue
		}
		got := ns.TOML(onEth0)
		if os.Getenv("MUSTER_GOLDEN") == "write" {
			if err := os.WriteFile(f+".toml", got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(f + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s:\n got\n%s\nwant\n%s", f, got, want)
		}
		takes(t, ns, got)
		judged++
	}
	if judged < 6 {
		t.Errorf("%d files only", judged)
	}
}

// takes has the program's own reader judge what was written, and compares.
func takes(t *testing.T, ns *Networks, text []byte) {
	t.Helper()
	c, err := config.Parse("muster.toml", text)
	if err != nil {
		t.Errorf("it is no configuration: %v\n%s", err, text)
		return
	}
	for i, n := range c.Networks {
		w := ns.Networks[i]
		slices.SortFunc(n.Options, func(a, b boot.Option) int { return cmp.Compare(a.Code, b.Code) })
		if n.Name != w.Name || n.Mode != w.Mode || n.Subnet != w.Subnet || n.Domain != w.Domain || fmt.Sprint(n.Ranges) != fmt.Sprint(w.ranges) || fmt.Sprint(n.Options) != fmt.Sprint(w.Options) || fmt.Sprint(n.DNS) != fmt.Sprint(w.DNS) {
			t.Errorf("it reads\n%+v\nwhere this was meant:\n%+v", n, w)
		}
	}
}

// TestFilesTogether: what one file of a server says counts in another, a range's tag
// too; another server's does not.
func TestFilesTogether(t *testing.T) {
	ns, err := ReadNetworks([]File{
		{"options", Dnsmasq, []byte("dhcp-option=tag:red,3,10.1.0.1\ndhcp-option=6,10.1.0.2\n")},
		{"ranges", Dnsmasq, []byte("dhcp-range=set:red,10.1.0.10,10.1.0.20,255.255.255.0\ndhcp-host=52:54:00:00:00:01,a\n")},
		{"dhcpd.conf", ISC, []byte("subnet 10.2.0.0 netmask 255.255.255.0 { range 10.2.0.5; }")},
	})
	if err != nil || len(ns.Networks) != 2 || len(ns.Left) != 0 || ns.Hosts != 1 {
		t.Fatalf("%v, %+v", err, ns)
	}
	if n := ns.Networks[0]; n.Name != "red" || fmt.Sprint(n.Routers, n.DNS) != "[10.1.0.1] [10.1.0.2]" || len(n.Left) != 0 {
		t.Errorf("%+v", n)
	}
	if n := ns.Networks[1]; n.Name != "net-10.2.0.0" || n.DNS != nil {
		t.Errorf("%+v", n)
	}
	if _, err := ReadNetworks([]File{{"x.csv", CSV, []byte("name,mac\n")}}); err == nil || !strings.Contains(err.Error(), "x.csv: a file of format csv has no networks") {
		t.Error(err)
	}
	if _, err := ReadNetworks([]File{{"dhcpd.conf", ISC, []byte("subnet {\n")}}); err == nil || !strings.Contains(err.Error(), "dhcpd.conf:1: ") {
		t.Error(err)
	}
	if ns, err := ReadNetworks([]File{{"c", ISC, []byte("subnet 10.0.0.0 netmask 255.0.0.0 { range 10.0.0.1 10.20.255.255; }")}}); err != nil || ns.Networks[0].Mode != boot.Reservations || !strings.Contains(ns.Networks[0].Left[0].Text, "a network has 1048576 addresses to give at most") {
		t.Errorf("%v, %+v", err, ns)
	}
	// What no machine can have is left out, and said.
	for conf, want := range map[string]string{
		"subnet 10.3.0.0 netmask 255.255.255.0 { range 10.3.0.0 10.3.0.255; }": "[10.3.0.1-10.3.0.254]",
		"subnet 10.3.0.0 netmask 255.255.255.0 { range 10.3.0.255; }":          "[]",
		"subnet 10.3.0.0 netmask 255.255.255.254 { range 10.3.0.0 10.3.0.1; }": "[10.3.0.0-10.3.0.1]",
		"subnet 10.3.0.0 netmask 255.255.255.0 { range 10.3.0.1 10.3.0.254; }": "[10.3.0.1-10.3.0.254]",
	} {
		ns, err := ReadNetworks([]File{{"c", ISC, []byte(conf)}})
		if err != nil || fmt.Sprint(ns.Networks[0].Ranges) != want {
			t.Errorf("%s: %v, %+v", conf, err, ns)
			continue
		}
		if told := len(ns.Networks[0].Left) > 0; told != (strings.Contains(conf, ".255;")) {
			t.Errorf("%s: %+v", conf, ns.Networks[0].Left)
		}
	}
	// A pool of a shared network is of the subnet that it lies in.
	shared := "shared-network a { subnet 10.3.0.0 netmask 255.255.255.0 { } subnet 10.4.0.0 netmask 255.255.255.0 { }\npool { range 10.4.0.5 10.4.0.9; } pool { range 10.5.0.5; } }"
	if ns, err := ReadNetworks([]File{{"s", ISC, []byte(shared)}}); err != nil || len(ns.Networks) != 2 || fmt.Sprint(ns.Networks[0].Ranges, ns.Networks[1].Ranges) != "[] [10.4.0.5-10.4.0.9]" || len(ns.Left) != 1 || !strings.Contains(ns.Left[0].Text, "range 10.5.0.5-10.5.0.5 is in no subnet of shared-network") {
		t.Errorf("%v, %+v", err, ns)
	}
	// Two files are of two servers on one subnet: one of them stands.
	two := []byte("subnet 10.2.0.0 netmask 255.255.255.0 { range 10.2.0.5; }")
	if ns, err := ReadNetworks([]File{{"a", ISC, two}, {"b", ISC, two}}); err != nil || len(ns.Networks) != 1 || len(ns.Left) != 1 || ns.Left[0].String() != "b:1: subnet 10.2.0.0/24 overlaps 10.2.0.0/24 of a:1" {
		t.Errorf("%v, %+v", err, ns)
	}
}
