// explain_test.go: what explain says is what is served, whatever the machine,
// the templates and the networks, and saying it changes nothing.

package appliance

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/store/mem"
)

var explainPlatforms = []boot.Platform{boot.BIOS, boot.X64UEFI, boot.ARM64UEFI, boot.PiPlatform}

// world is a policy and a store made up by rapid.
func drawWorld(t *rapid.T, now time.Time) (*engine.Engine, boot.Store) {
	st, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(st, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	e.Now = func() time.Time { return now }
	t.Cleanup(func() { e.Close(); st.Close() })
	yes := func(label string) bool { return rapid.Bool().Draw(t, label) }
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }

	p := boot.Policy{Key: boot.Key{1, 2, 3}, Loaders: map[boot.Platform]string{}, HTTPPort: 80, HTTPSPort: 443,
		Enroll: boot.Enroll{Policy: boot.EnrollPolicy(pick("policy", "auto", "approve", "ignore")), Hold: 15 * time.Minute, Limit: rapid.IntRange(0, 3).Draw(t, "limit"), Loop: rapid.IntRange(0, 2).Draw(t, "loop")}}
	if yes("shared") {
		p.Enroll.Shared = []string{"52:54:00:00:00:0" + pick("shared adapter", "1", "2", "*")}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "rules") {
		p.Enroll.Rules = append(p.Enroll.Rules, boot.EnrollRule{Name: fmt.Sprint("rule", i), Deny: yes("deny"), Max: rapid.IntRange(0, 1).Draw(t, "max"), Install: yes("rule installs"),
			Match: boot.Selector{Serial: []string{pick("rule serial", "SN-1", "SN-*")}}})
	}
	for _, x := range []struct {
		p boot.Platform
		f string
	}{{boot.BIOS, "undionly.kpxe"}, {boot.X64UEFI, "snponly.efi"}, {boot.ARM64UEFI, "ipxe-arm64.efi"}} {
		if rapid.IntRange(0, 3).Draw(t, "has loader") > 0 {
			p.Loaders[x.p] = x.f
		}
	}
	if yes("signed") {
		p.Signed = map[boot.Platform]boot.SignedPair{boot.X64UEFI: {Shim: "shimx64.efi", Next: "grubx64.efi"}}
	}
	n := boot.Network{Name: "lab", Interface: "eth0", Mode: boot.Mode(pick("mode", "full", "full", "proxy", "reservations", "off")), Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"),
		Lease: time.Hour, UnknownLease: 10 * time.Minute, BINL: yes("4011"), HTTPS: yes("https"), RapidCommit: yes("rapid"), Loader: pick("loader", "auto", "shim", "ipxe"), InstallsPerHour: rapid.IntRange(0, 1).Draw(t, "an hour")}
	if n.Mode == boot.Full {
		n.Ranges = []boot.Range{{From: netip.MustParseAddr("10.77.0.100"), To: netip.MustParseAddr(pick("to", "10.77.0.100", "10.77.0.120"))}}
	}
	p.Networks = []boot.Network{n}
	if yes("IPv6") {
		six := n
		six.Mode, six.Server, six.Subnet, six.Ranges, six.BINL = boot.Mode(pick("mode6", "full", "full", "reservations", "off")), netip.MustParseAddr("fd77::1"), netip.MustParsePrefix("fd77::/64"), nil, false
		if six.Mode == boot.Full {
			six.Ranges = []boot.Range{{From: netip.MustParseAddr("fd77::100"), To: netip.MustParseAddr("fd77::" + pick("to6", "100", "120"))}}
		}
		p.Networks6, p.DUID = []boot.Network{six}, "000401020304050607080910111213141516"
		if yes("IPv6 alone") {
			p.Networks = nil
		}
	}
	if err := e.SetPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}

	do := func(o boot.Order) {
		if _, err := e.Do(t.Context(), boot.Actor{Kind: boot.Person}, o); err != nil && boot.FaultOf(err) == nil {
			t.Fatal(err)
		}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "templates") {
		x := boot.Template{Name: fmt.Sprint("t", i), Priority: i, Install: yes("installs"), FirstInstall: yes("first"), GRUBBoots: yes("for GRUB"),
			Media: []string{"vmlinuz", "initrd.gz"}, Files: map[string]boot.Blob{"template.toml": {}, "vmlinuz": {Digest: "a", Size: 1}, "initrd.gz": {Digest: "b", Size: 1}}}
		if yes("by arch") {
			x.Match.Arch = []boot.Platform{rapid.SampledFrom(explainPlatforms).Draw(t, "arch")}
		}
		if yes("by serial") {
			x.Match.Serial = []string{pick("serial pattern", "SN-1", "SN-*", "X*")}
		}
		if yes("by mac") {
			x.Match.MAC = []string{pick("mac pattern", "52:54:00:00:00:01", "52:54:*", "02:*")}
		}
		x.AutoApprove = !x.Match.Empty() && yes("auto")
		do(boot.PushTemplate{Template: x})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "hosts") {
		h := boot.NewHost{Name: fmt.Sprint("h", i), State: boot.State(pick("state", "pending", "approved", "approved", "denied"))}
		if yes("with mac") {
			h.MACs = []boot.MAC{{0x52, 0x54, 0, 0, 0, byte(1 + i)}}
		}
		if yes("with uuid") {
			h.UUID = boot.UUID{1, 2, 3, byte(i)}
		}
		if yes("with serial") {
			h.Serial = fmt.Sprint("SN-", i+1)
		}
		if yes("with template") {
			h.Template = fmt.Sprint("t", i)
		}
		if yes("reserved6") {
			h.Address6 = netip.MustParseAddr("fd77::" + fmt.Sprint(50+i))
		}
		if yes("reserved") {
			h.Address = netip.AddrFrom4([4]byte{10, 77, 0, byte(50 + i)})
		}
		do(boot.AddHost{Host: h})
		if yes("install it") {
			do(boot.Install{Name: h.Name})
		}
		if yes("rescue it") {
			do(boot.Rescue{Name: h.Name, Template: "t0"})
		}
	}
	return e, st
}

// contents is everything in a store, as text.
func contents(t *rapid.T, st boot.Store) string {
	var all []any
	err := st.View(t.Context(), func(tx boot.ReadTx) error {
		hs, err := tx.Hosts(0, 100)
		if err != nil {
			return err
		}
		ls, err := tx.Leases("lab", netip.Addr{}, 100)
		if err != nil {
			return err
		}
		es, err := tx.Events(0, 100)
		all = append(all, hs, ls, es)
		for _, c := range []boot.Counter{boot.LastHost, boot.PendingHosts, boot.AutoHosts, boot.ApprovedBy("rule0"), boot.NextInstall("lab")} {
			n, _ := tx.Counter(c)
			all = append(all, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExplainIsWhatIsServed(t *testing.T) {
	steps, scripts, files, refused, six := 0, 0, 0, 0, 0
	check := func(t *rapid.T) {
		now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
		e, st := drawWorld(t, now)
		n := rapid.IntRange(1, 4).Draw(t, "machine")
		q := client.ExplainRequest{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, byte(n)}, Platform: rapid.SampledFrom(explainPlatforms).Draw(t, "its platform"), SecureBoot: rapid.Bool().Draw(t, "Secure Boot")}
		if rapid.Bool().Draw(t, "says uuid") {
			q.UUID = boot.UUID{1, 2, 3, byte(rapid.IntRange(0, 3).Draw(t, "uuid"))}
		}
		if rapid.Bool().Draw(t, "says serial") {
			q.Serial = fmt.Sprint("SN-", rapid.IntRange(1, 4).Draw(t, "serial"))
		}
		if q.Platform == boot.PiPlatform {
			q.Serial = "1000000012345678"
		}
		q.HTTP = q.Platform.UEFI() && rapid.Bool().Draw(t, "by HTTP")
		q.IPv6 = len(e.Policy().Networks6) > 0 && rapid.Bool().Draw(t, "by IPv6")
		w := walk{policy: e.Policy(), now: now, q: q}
		if err := e.View(t.Context(), w.describe); err != nil {
			t.Fatal(err)
		}

		before := contents(t, st)
		var said []walked
		if err := e.Rehearse(t.Context(), func(decide func(boot.Sighting) (boot.Decision, error)) error {
			x := w
			x.decide = decide
			err := x.boot()
			said = x.steps
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if after := contents(t, st); after != before {
			t.Fatalf("explaining wrote:\n%s\n%s", before, after)
		}

		live := w
		live.decide = func(in boot.Sighting) (boot.Decision, error) { return e.Next(t.Context(), in) }
		if err := live.boot(); err != nil {
			t.Fatal(err)
		}
		if len(said) != len(live.steps) {
			t.Fatalf("explain has %d steps, serving %d:\n%v\n%v", len(said), len(live.steps), said, live.steps)
		}
		for i := range said {
			a, b := said[i], live.steps[i]
			steps++
			switch b.dec.Reply.(type) {
			case boot.Script:
				scripts++
			case boot.File:
				files++
			case boot.Refuse:
				refused++
			case boot.Answer6:
				six++
			}
			if !reflect.DeepEqual(a.ExplainStep, b.ExplainStep) || !reflect.DeepEqual(a.dec.Reply, b.dec.Reply) {
				t.Fatalf("step %d:\nexplained %+v\n          %+v\nserved    %+v\n          %+v", i, a.ExplainStep, a.dec.Reply, b.ExplainStep, b.dec.Reply)
			}
		}
	}
	// A short run draws twenty worlds, and in some twenty nobody is refused:
	// it draws on until each kind of answer was compared.
	poor := func() bool { return scripts == 0 || files == 0 || refused == 0 || six == 0 }
	for i := 0; i < 20 && (i == 0 || poor()) && !t.Failed(); i++ {
		rapid.Check(t, check)
	}
	t.Logf("%d steps: %d scripts, %d files, %d refusals, %d by DHCPv6", steps, scripts, files, refused, six)
	if poor() {
		t.Error("none of one kind: the worlds are too poor to show anything")
	}
}
