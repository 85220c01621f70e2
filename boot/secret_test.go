package boot_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
)

// box seals so that a test can look inside.
type box struct{}

func (box) Seal(place string, secret []byte) []byte {
	return []byte(fmt.Sprintf("sealed %s %x", place, secret))
}

// TestSecrets: a secret parameter is nowhere but sealed apart, and leaves in files that
// say so: for the boot that runs, in time, and as its template asks.
func TestSecrets(t *testing.T) {
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer func() { e.Close(); s.Close() }()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	e.Now = func() time.Time { return now }
	lab := netip.MustParsePrefix("10.77.0.1/24")
	p := boot.Policy{Sealer: box{}, Networks: []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: lab.Addr(), Subnet: lab.Masked(), Lease: time.Hour,
		Ranges: []boot.Range{{From: netip.MustParseAddr("10.77.0.100"), To: netip.MustParseAddr("10.77.0.110")}}}}, Loaders: map[boot.Platform]string{boot.BIOS: "undionly.kpxe"}}
	if err := e.SetPolicy(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	do := func(o boot.Order) error { _, err := e.Do(t.Context(), boot.Actor{Kind: boot.Person}, o); return err }
	push := func(https bool) {
		t.Helper()
		if err := do(boot.PushTemplate{Template: boot.Template{Name: "deb", Files: map[string]boot.Blob{"template.toml": {}, "vmlinuz": {}, "preseed.cfg": {}, "notes": {}},
			Params: map[string]boot.Param{"rootpw": {Secret: true, Required: true}}, Secret: &boot.SecretFiles{Files: []string{"preseed.cfg"}, Needs: boot.ProofToken, HTTPS: https}}}); err != nil {
			t.Fatal(err)
		}
	}
	push(false)
	mac := boot.MAC{0x52, 0x54, 0, 0, 0, 1}
	secret := "correct horse"
	for what, err := range map[string]error{
		"approved without it": do(boot.AddHost{Host: boot.NewHost{Name: "x", State: boot.Approved, MACs: []boot.MAC{{2}}, Template: "deb"}}),
	} {
		if boot.FaultOf(err) == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := do(boot.AddHost{Host: boot.NewHost{Name: "web1", State: boot.Approved, MACs: []boot.MAC{mac}, Template: "deb", Params: map[string]string{"rootpw": "first"}}}); err != nil {
		t.Fatal(err)
	}
	if err := do(boot.SetHost{Name: "web1", Params: map[string]*string{"rootpw": &secret}, Typed: []string{"rootpw"}}); err == nil || !strings.Contains(err.Error(), "rootpw=@FILE") {
		t.Errorf("typed on a command line: %v", err)
	}
	if err := do(boot.SetHost{Name: "web1", Params: map[string]*string{"rootpw": &secret}}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		h, err := tx.HostByName("web1")
		if err != nil {
			return err
		}
		events, err := tx.Events(0, 1000)
		all, _ := json.Marshal([]any{h, events})
		if bytes.Contains(all, []byte(secret)) || bytes.Contains(all, []byte("first")) || len(h.Secrets) != 1 || len(h.Params) != 0 {
			t.Errorf("%s", all)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}

	ask := func(path string, f func(*boot.Sighting)) boot.Decision {
		t.Helper()
		in := boot.Sighting{At: now, Via: boot.HTTP, Step: boot.Fetch, Link: boot.Link{Interface: "eth0", Local: lab.Addr()}, Source: netip.MustParseAddrPort("10.77.0.100:999"), Firmware: boot.Firmware{Arch: boot.ArchNone},
			Want: boot.Want{Path: path, Query: boot.Query{Asked: true, MAC: mac}}}
		in.ID.MAC = mac
		if f != nil {
			f(&in)
		}
		d, err := e.Next(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	power := func() string {
		t.Helper()
		d := ask("", func(in *boot.Sighting) {
			in.Via, in.Step, in.Want = boot.DHCP4, boot.Selecting, boot.Want{Addr: netip.MustParseAddr("10.77.0.100"), Server: lab.Addr()}
			in.Firmware = boot.Firmware{VendorClass: "PXEClient", Arch: 0}
		})
		file := d.Reply.(boot.Answer4).Boot.File
		token := strings.Split(file, "/")[1]
		x := ask("boot/"+token+"/boot.ipxe", nil)
		script, ok := x.Reply.(boot.Script)
		if !ok || script.Ref.Template == nil {
			t.Fatalf("%+v: %s", x.Reply, x.Why)
		}
		return strings.TrimPrefix(script.Ref.Machine.BaseURL, "http://10.77.0.1/")
	}
	given := func(d boot.Decision) string {
		f, ok := d.Reply.(boot.File)
		if !ok {
			return "refused: " + d.Reply.(boot.Refuse).Reason
		}
		return string(f.Ref.Machine.Sealed["rootpw"].Data)
	}
	one := power()
	if got, want := given(ask(one+"/preseed.cfg", nil)), fmt.Sprintf("sealed param/1/rootpw %x", secret); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// One that the site has is sealed for the site, and comes where the host has none of its own.
	site := "of the site"
	if err := do(boot.SetParams{Scope: boot.Site, Params: map[string]*string{"rootpw": &site}, Typed: []string{"rootpw"}}); err == nil || !strings.Contains(err.Error(), "muster param set site rootpw=@FILE") {
		t.Errorf("typed for the site: %v", err)
	}
	if err := errors.Join(do(boot.SetParams{Scope: boot.Site, Params: map[string]*string{"rootpw": &site}}), do(boot.SetHost{Name: "web1", Params: map[string]*string{"rootpw": nil}})); err != nil {
		t.Fatal(err)
	}
	if got, want := given(ask(one+"/preseed.cfg", nil)), fmt.Sprintf("sealed param/site/rootpw %x", site); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := errors.Join(do(boot.SetHost{Name: "web1", Params: map[string]*string{"rootpw": &secret}}), do(boot.SetParams{Scope: boot.Site, Params: map[string]*string{"rootpw": nil}})); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		v, err := tx.Values(boot.Site)
		b, err2 := tx.Secret("param/site/rootpw")
		if v != nil || len(b) > 0 {
			t.Errorf("what was taken away is there: %+v, %q", v, b)
		}
		return errors.Join(err, err2)
	}); err != nil {
		t.Fatal(err)
	}
	if got := given(ask(one+"/notes", nil)); got != "" {
		t.Errorf("another file has %q", got)
	}
	two := power()
	if got := given(ask(one+"/preseed.cfg", nil)); !strings.Contains(got, "has begun boot 2") {
		t.Errorf("an old boot: %q", got)
	}
	now = now.Add(2*time.Hour + time.Minute)
	if got := given(ask(two+"/preseed.cfg", nil)); !strings.Contains(got, "more than 2h0m0s ago") {
		t.Errorf("late: %q", got)
	}
	three := power()
	ask(three+"/report", func(in *boot.Sighting) { in.Want.Query.Stage = "installed" })
	if got := given(ask(three+"/preseed.cfg", nil)); !strings.Contains(got, "it reported installed") {
		t.Errorf("after its report: %q", got)
	}
	push(true)
	if err := do(boot.Update{Name: "web1"}); err != nil {
		t.Fatal(err)
	}
	four := power()
	if got := given(ask(four+"/preseed.cfg", nil)); !strings.Contains(got, "over HTTPS alone") {
		t.Errorf("over HTTP: %q", got)
	}
	if got := given(ask(four+"/preseed.cfg", func(in *boot.Sighting) { in.TLS = true })); !strings.HasPrefix(got, "sealed") {
		t.Errorf("over HTTPS: %q", got)
	}
	// Another template has a plain parameter of that name: it is no secret there, and a
	// sealed value does not stand for it.
	if err := do(boot.PushTemplate{Template: boot.Template{Name: "other", Files: map[string]boot.Blob{"template.toml": {}, "vmlinuz": {}}, Params: map[string]boot.Param{"rootpw": {Required: true}}}}); err != nil {
		t.Fatal(err)
	}
	if err := do(boot.AddHost{Host: boot.NewHost{Name: "web2", State: boot.Approved, MACs: []boot.MAC{{2, 2}}, Template: "other", Params: map[string]string{"rootpw": "plain"}}}); err != nil {
		t.Fatal(err)
	}
	other := "other"
	if err := do(boot.SetHost{Name: "web1", Template: &other}); err != nil {
		t.Fatal(err)
	}
	if err := do(boot.Approve{Name: "web1", Template: &other}); err == nil || !strings.Contains(err.Error(), "needs rootpw") {
		t.Errorf("a sealed value stands for a plain one: %v", err)
	}
	if err := do(boot.AddHost{Host: boot.NewHost{Name: "web3", MACs: []boot.MAC{{2, 3}}, Template: "deb", Params: map[string]string{"rootpw": "x"}, Typed: []string{"rootpw"}}}); err == nil {
		t.Error("a secret was typed at host add")
	}
	if err := do(boot.RemoveHost{Name: "web1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx boot.ReadTx) error {
		b, err := tx.Secret("param/1/rootpw")
		if b != nil {
			t.Errorf("its secret outlives it: %q", b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
