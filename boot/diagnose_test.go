// diagnose_test.go: every finding is shown by a machine that fails in its way
// and has a section in the manual, and machines that boot well have none.

package boot_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot/diagnose"
)

func TestEveryFindingIsShown(t *testing.T) {
	src, err := os.ReadFile("diagnose/diagnose.go")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../docs/diagnose.md")
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, s := range scenarios(t) {
		all += s
	}
	codes := regexp.MustCompile(`(?m)^\t[A-Z]\w+ += "([a-z0-9-]+)"`).FindAllSubmatch(src, -1)
	if len(codes) < 25 {
		t.Fatalf("only %d codes found", len(codes))
	}
	for _, c := range codes {
		if !strings.Contains(all, "< found "+string(c[1])+": ") {
			t.Errorf("no conversation in testdata/decide ends in %q", c[1])
		}
		if !strings.Contains(string(manual), "### "+string(c[1])+"\n") {
			t.Errorf("docs/diagnose.md has no section %q", c[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(#([a-z0-9-]+)\)`).FindAllStringSubmatch(string(manual), -1) {
		if !strings.Contains(string(manual), "### "+m[1]+"\n") {
			t.Errorf("docs/diagnose.md points at %q, which it does not have", m[1])
		}
	}
}

// TestGoodBootsHaveNoFinding lets a thousand machines boot, each in the way of a
// firmware, with the pauses and repetitions of real ones, and looks at each of
// them after every request.
func TestGoodBootsHaveNoFinding(t *testing.T) {
	setup := []string{
		"then complete",
		"network lab eth0 full 10.77.0.1/16 10.77.1.0-10.77.20.0",
		"network beside eth1 proxy 10.78.0.1/16",
		"network6 six eth2 full fd77::1/64 fd77::1000-fd77::1fff",
		"loader x64-uefi snponly.efi", "loader bios undionly.kpxe", "loader arm64-uefi ipxe-arm64.efi",
		"template linux arch=x64-uefi,bios,arm64-uefi mac=52:54:* auto_approve",
		"template debian install arch=x64-uefi,bios,arm64-uefi priority=-1",
	}
	var w *world
	play := func(line string) []string {
		t.Helper()
		out, err := w.play(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return out
	}
	fresh := func() {
		t.Helper()
		var done func()
		var err error
		if w, done, err = newWorld(plain); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(done)
		for _, l := range setup {
			play(l)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	bad, machines := 0, 1000
	if testing.Short() {
		machines = 140 // each way once: they repeat after 4, 5 and 7
	}
	for n := range machines {
		if n%10 == 0 {
			fresh() // a diagnosis reads the latest events, which slow a thousand machines down
		}
		mac := fmt.Sprintf("52:54:00:00:%02x:%02x", n>>8, n&255)
		addr := fmt.Sprintf("10.77.%d.%d", 1+n/250, 1+n%250)
		var said []string
		look := func(at string) {
			for _, s := range play("diagnose " + mac) {
				if s != "found nothing" && strings.HasPrefix(s, "found ") {
					said = append(said, at+": "+s)
				}
			}
		}
		step := func(line string, args ...any) {
			l := fmt.Sprintf("> "+line, args...)
			play(l)
			play(fmt.Sprintf("wait %dms", r.IntN(6000)))
			look(l)
		}
		kind := []struct {
			class, arch, loader, platform string
			via                           string
		}{{"PXEClient", "0", "undionly.kpxe", "bios", "tftp"}, {"PXEClient", "7", "snponly.efi", "x64-uefi", "tftp"}, {"PXEClient", "11", "ipxe-arm64.efi", "arm64-uefi", "tftp"}, {"HTTPClient", "16", "snponly.efi", "x64-uefi", "http"}}[n%4]
		dhcp := fmt.Sprintf("mac=%s class=%s arch=%s", mac, kind.class, kind.arch)
		install := n%7 == 0
		if install {
			play(fmt.Sprintf("host web%d approved mac=%s template=debian", n, mac))
			play(fmt.Sprintf("order install web%d", n))
		}
		iface := "eth0"
		if n%5 == 4 { // by IPv6: edk2 asks twice over, and so does the system
			iface = "eth2"
			six := "iface=eth2 duid=0004aa mac=" + mac
			addrOf := func(ia string) string {
				out := strings.Join(play(fmt.Sprintf("> dhcp6 solicit %s ia=%s", six, ia)), " ")
				_, a, _ := strings.Cut(out, "ia "+ia[:2]+" ")
				a, _, _ = strings.Cut(a, " ")
				return a
			}
			own := addrOf("a1")
			look("its stack")
			step("dhcp6 request %s ia=a1=%s server=ours", six, own)
			pxe := fmt.Sprintf("class=%s arch=%s", kind.class, kind.arch)
			addr = addrOf("b2 " + pxe)
			look("offered")
			step("dhcp6 request %s ia=b2=%s %s server=ours", six, addr, pxe)
			play(fmt.Sprintf("> dhcp6 release %s ia=a1=%s server=ours", six, own))
			look("released")
			step("%s boot/$token/%s iface=eth2 from=%s", kind.via, kind.loader, addr)
			addr = addrOf("c3 ipxe " + pxe)
			step("dhcp6 request ipxe %s ia=c3=%s %s server=ours", six, addr, pxe)
			step("http boot/$token/boot.ipxe iface=eth2 from=%s", addr)
			step("http boot/$token/boot.ipxe asked iface=eth2 from=%s mac=%s platform=%s", addr, mac, kind.platform)
			step("http boot/$token/vmlinuz iface=eth2 from=%s", addr)
			if install {
				step("http boot/$token/initrd.gz iface=eth2 from=%s", addr)
			}
			play(fmt.Sprintf("> dhcp6 solicit %s ia=d4", six))
		} else if n%3 == 0 { // beside another server
			iface = "eth1"
			addr = fmt.Sprintf("10.78.%d.%d", 1+n/250, 1+n%250)
			for range 1 + r.IntN(2) {
				step("dhcp4 discover iface=eth1 %s", dhcp)
			}
			play(fmt.Sprintf("> dhcp4 request iface=eth1 %s want=%s server=10.78.0.9", dhcp, addr))
			play(fmt.Sprintf("> proxy4 request iface=eth1 %s from=%s", dhcp, addr))
			if kind.via == "tftp" {
				step("tftp boot/$token/%s iface=eth1 from=%s then=probe", kind.loader, addr)
			}
			step("%s boot/$token/%s iface=eth1 from=%s", kind.via, kind.loader, addr)
			step("dhcp4 discover ipxe iface=eth1 %s", dhcp)
			play(fmt.Sprintf("> dhcp4 request ipxe iface=eth1 %s want=%s server=10.78.0.9", dhcp, addr))
			step("proxy4 request ipxe iface=eth1 %s from=%s", dhcp, addr)
			step("http boot/$token/boot.ipxe asked iface=eth1 from=%s mac=%s platform=%s", addr, mac, kind.platform)
			step("http boot/$token/vmlinuz iface=eth1 from=%s", addr)
		} else {
			for range 1 + r.IntN(3) {
				step("dhcp4 discover %s", dhcp)
			}
			step("dhcp4 request %s want=%s server=10.77.0.1", dhcp, addr)
			if kind.via == "tftp" && kind.arch != "0" {
				step("tftp boot/$token/%s from=%s then=probe", kind.loader, addr)
			}
			step("%s boot/$token/%s from=%s", kind.via, kind.loader, addr)
			step("dhcp4 discover ipxe %s", dhcp)
			step("dhcp4 request ipxe %s want=%s server=10.77.0.1", dhcp, addr)
			step("http boot/$token/boot.ipxe from=%s", addr)
			step("http boot/$token/boot.ipxe asked from=%s mac=%s platform=%s", addr, mac, kind.platform)
			step("http boot/$token/vmlinuz from=%s", addr)
			if install {
				step("http boot/$token/initrd.gz from=%s", addr)
			}
		}
		play(fmt.Sprintf("wait %ds", r.IntN(240))) // the kernel starts
		look("booting")
		stage := "running"
		if install {
			stage = "installed"
		}
		play(fmt.Sprintf("> http boot/$token/report iface=%s from=%s stage=%s", iface, addr, stage))
		play("wait 3h")
		look("afterwards")
		if len(said) > 0 {
			if bad++; bad < 5 {
				t.Errorf("machine %d (%s): %s", n, kind.platform, strings.Join(said, "\n    "))
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d good boots have a finding", bad, machines)
	}
	// It would say so.
	play("> dhcp4 discover mac=02:00:00:00:00:01 class=PXEClient arch=7")
	w.now = w.now.Add(time.Minute)
	if out := play("diagnose 02:00:00:00:00:01"); !strings.Contains(strings.Join(out, " "), diagnose.NoRequest) {
		t.Errorf("a machine that stopped: %v", out)
	}
}
