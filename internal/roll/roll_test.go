package roll

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
)

func none(string) (map[string]boot.Blob, error) { return map[string]boot.Blob{}, nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mac(n int) boot.MAC { return boot.MAC{0x52, 0x54, 0, 0, byte(n >> 8), byte(n)} }

func drawOptions(t *rapid.T) (out []boot.Option) {
	for _, s := range rapid.SampledFrom([][]string{nil, {"ntp-servers=10.0.0.1"}, {"domain-name=x", "ntp-servers=10.0.0.1,10.0.0.2"}, {"224=hex:00ff"}}).Draw(t, "options") {
		o, err := boot.ParseOptionText(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// drawHost is a host as the appliance may have it.
func drawHost(t *rapid.T, i int) *boot.Host {
	text := rapid.SampledFrom([]string{"", "x", `a"b`, "two\nlines", "ü", "'", `\`, "#", "[x]", "\t", "true", "{{ .Name }}"})
	h := &boot.Host{Name: fmt.Sprintf("h%d", i), State: rapid.SampledFrom([]boot.State{boot.Pending, boot.Approved, boot.Denied}).Draw(t, "state"), MACs: []boot.MAC{mac(i)},
		Serial: rapid.SampledFrom([]string{"", fmt.Sprint("SN ", i), fmt.Sprintf("\"%d", i)}).Draw(t, "serial"), Template: rapid.SampledFrom([]string{"", "deb"}).Draw(t, "template"),
		Protected: rapid.Bool().Draw(t, "protected"), Params: map[string]string{}, BoundPort: rapid.SampledFrom([]string{"", fmt.Sprintf("leaf:%d", i)}).Draw(t, "port")}
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"disk", "a.b", "late", "x-y"}), 0, 3, rapid.ID).Draw(t, "keys") {
		h.Params[k] = text.Draw(t, k)
	}
	h.Tags = rapid.SampledFrom([][]string{nil, {"db"}, {"db", "rack=12"}, {"rack=13"}}).Draw(t, "tags")
	h.Options = drawOptions(t)
	if rapid.Bool().Draw(t, "four") {
		h.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	}
	if rapid.Bool().Draw(t, "six") {
		h.Address6 = netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1))
	}
	return h
}

// TestRoundTrip: what was written is read as the same, and applying it changes nothing.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		d, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		r := New()
		for i := range rapid.IntRange(1, 4).Draw(t, "hosts") {
			r.AddHost(drawHost(t, i))
		}
		for _, s := range rapid.SliceOfDistinct(rapid.SampledFrom([]boot.Scope{boot.Site, "network/lab", "tag/rack=12", "tag/db"}), rapid.ID).Draw(t, "scopes") {
			r.AddScope(&boot.Values{Scope: s, Options: drawOptions(t), Params: map[string]string{"k": rapid.SampledFrom([]string{"", "v", "\"\n"}).Draw(t, "v")}, Secrets: []string{"pw"}})
		}
		r.AddScope(&boot.Values{Scope: "tag/sealed", Secrets: []string{"pw"}})
		for range 2 { // the second time it is there
			if others, err := r.Write(d); err != nil || len(others) > 0 {
				t.Fatal(others, err)
			}
		}
		back, err := Read(d, none)
		if err != nil {
			t.Fatal(err)
		}
		if cs, err := Diff(r, back, true); err != nil || len(cs) > 0 {
			t.Fatalf("%+v %v", cs, err)
		}
		// Onto nothing it makes the same again.
		for name, h := range back.Hosts {
			n, err := NewHost(name, h)
			if err != nil {
				t.Fatal(err)
			}
			x := New()
			x.AddHost(&boot.Host{Name: n.Name, State: n.State, MACs: n.MACs, UUID: n.UUID, Serial: n.Serial, DUID: n.DUID, Address: n.Address, Address6: n.Address6, Template: n.Template,
				Params: n.Params, Tags: n.Tags, Options: n.Options, Protected: n.Protected, BoundPort: n.BoundPort})
			if got, want := fields(x.Hosts[name].texts(), h.texts()), []Field(nil); !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// TestPatches: a host that is patched is what the file says, whatever it was.
func TestPatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := New(), New()
		a, b := drawHost(t, 0), drawHost(t, 0)
		have.AddHost(a)
		want.AddHost(b)
		was, file := have.Hosts["h0"], want.Hosts["h0"]
		ps, err := Patches(Change{}, was, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			for _, x := range []*netip.Addr{p.Address, p.Address6} {
				switch {
				case x == nil:
				case !x.IsValid():
					a.Address, a.Address6 = netip.Addr{}, netip.Addr{}
				case x.Is4():
					a.Address = *x
				default:
					a.Address6 = *x
				}
			}
			if p.Serial != nil {
				a.Serial = *p.Serial
			}
			if p.Template != nil {
				a.Template = *p.Template
			}
			if p.Port != nil {
				a.BoundPort = *p.Port
			}
			if p.Protected != nil {
				a.Protected = *p.Protected
			}
			for k, v := range p.Params {
				if v == nil {
					delete(a.Params, k)
				} else {
					a.Params[k] = *v
				}
			}
			for _, o := range p.Options {
				a.Options = append(del(a.Options, func(x boot.Option) bool { return x.Code == o.Code }), o)
			}
			for _, n := range p.NoOption {
				a.Options = del(a.Options, func(x boot.Option) bool { return x.Name() == n })
			}
			for _, n := range p.Tags {
				a.Tags = append(del(a.Tags, func(x string) bool { return boot.TagKey(x) == boot.TagKey(n) }), n)
			}
			for _, n := range p.NoTags {
				a.Tags = del(a.Tags, func(x string) bool { return x == n })
			}
		}
		is := New()
		is.AddHost(a)
		x := is.Hosts["h0"]
		x.Tags = strings.Fields(strings.Join(x.Tags, " "))
		if got := fields(x.texts(), was.said(file).texts()); len(got) > 0 {
			t.Fatalf("%+v left by %+v", got, ps)
		}
		if again, err := Patches(Change{}, x, file); err != nil || len(again) > 0 {
			t.Fatalf("again: %+v, %v", again, err)
		}
	})
}

func del[T any](in []T, f func(T) bool) (out []T) {
	for _, x := range in {
		if !f(x) {
			out = append(out, x)
		}
	}
	return out
}

// TestDiff: renames, what is left and what is pruned, and what no folder can mean.
func TestDiff(t *testing.T) {
	write := func(fs map[string]string) string {
		dir := t.TempDir()
		for name, text := range fs {
			p := filepath.Join(dir, name)
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.WriteFile(p, []byte(text), 0o644))
		}
		return dir
	}
	have := New()
	have.AddHost(&boot.Host{Name: "m-1", State: boot.Pending, MACs: []boot.MAC{mac(1), mac(9)}, Serial: "S1"})
	have.AddHost(&boot.Host{Name: "web2", State: boot.Approved, MACs: []boot.MAC{mac(2)}, Params: map[string]string{"a": "1"}, Secrets: []string{"pw"}, Tags: []string{"db"}})
	have.AddScope(&boot.Values{Scope: "site", Params: map[string]string{"ntp": "x"}, Secrets: []string{"key"}})
	for _, c := range []struct {
		files map[string]string
		prune bool
		want  string
	}{
		{map[string]string{"hosts/web1.toml": "macs=[\"52-54-00-00-00-01\"]\nstate=\"approved\"\n"}, false,
			"[{left params site   [{params.ntp \"x\" }]} {change host web1 m-1 approved [{state pending approved}]} {left host web2   []}]"},
		{map[string]string{"hosts/web2.toml": "", ".git/x": "", "hosts/.web2.toml.swp": "x"}, true,
			"[{remove params site   [{params.ntp \"x\" }]} {change host web2   [{params.a \"1\" } {tags db }]} {remove host m-1   []}]"},
		{map[string]string{"hosts/new.toml": "macs=[\"52:54:00:00:00:07\"]", "params/site.toml": "[params]\nntp=\"y\"", "params/tag/rack=12.toml": "[params]\na=\"b\""}, false,
			"[{change params site   [{params.ntp \"x\" \"y\"}]} {add params tag/rack=12   [{params.a  \"b\"}]} {add host new   [{macs  52:54:00:00:00:07}]} {left host m-1   []} {left host web2   []}]"},
		{map[string]string{"hosts/m-1.toml": "macs=[\"52:54:00:00:00:05\"]", "hosts/web2.toml": "tags=[\"db\"]\nparams={a=\"1\"}", "params/site.toml": "[params]\nntp=\"x\""}, true,
			"[{change host m-1   [{macs 52:54:00:00:00:01 52:54:00:00:00:09 52:54:00:00:00:01 52:54:00:00:00:09 52:54:00:00:00:05}]}]"},
		{map[string]string{"hosts/x.toml": "serial=\"S1\"\nmacs=[\"52:54:00:00:00:02\"]"}, false, "hosts/x.toml is about two machines"},
		{map[string]string{"hosts/x.toml": "macs=[\"52:54:00:00:00:02\"]", "hosts/web2.toml": ""}, false, "one machine has one file"},
		{map[string]string{"hosts/x.toml": "serial=\"S1\"", "hosts/y.toml": "macs=[\"52:54:00:00:00:09\"]"}, false, "one machine has one file"},
		{map[string]string{"hosts/web2.toml": "state=\"pending\""}, false, "nobody becomes pending again"},
		{map[string]string{"hosts/web2.toml": "[params]\npw=\"x\""}, false, "hosts/web2.toml: parameter pw is secret"},
		{map[string]string{"params/site.toml": "[params]\nkey=\"x\""}, false, "params/site.toml: parameter key is secret"},
		{map[string]string{"hosts/x.toml": "mac = []"}, false, `x.toml:1: unknown key "mac"; did you mean "macs"?`},
		{map[string]string{"hosts/x.toml": "\nmacs=[\"zz\"]"}, false, "x.toml:2: macs: "},
		{map[string]string{"hosts/x.toml": "address=\"fd00::1\""}, false, "of the other family"},
		{map[string]string{"hosts/x.toml": "state=\"on\""}, false, "want approved, pending or denied"},
		{map[string]string{"hosts/x.toml": "options=[\"nonsense\"]"}, false, "want NAME=VALUE"},
		{map[string]string{"hosts/x.toml": "tags=[\"a=1\",\"a=2\"]"}, false, "twice"},
		{map[string]string{"hosts/a/x.toml": ""}, false, "lies in hosts itself"},
		{map[string]string{"params/sight.toml": ""}, false, "is no scope"},
		{map[string]string{"hosts/x.toml": strings.Repeat("#", maxFile+1)}, false, "a file has at most"},
		{map[string]string{"README": "x"}, false, "muster export"},
	} {
		got := ""
		want, err := Read(write(c.files), none)
		if err == nil {
			var cs []Change
			cs, err = Diff(have, want, c.prune)
			got = fmt.Sprint(cs)
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%v:\n%s\nwant\n%s", c.files, got, c.want)
		}
	}
}

// TestScopePatch: the request that makes of a scope what a file says does so.
func TestScopePatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() *boot.Values {
			return &boot.Values{Scope: "tag/db", Options: drawOptions(t), Params: rapid.MapOf(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"x", "y"})).Draw(t, "params")}
		}
		a, b := draw(), draw()
		have, want := New(), New()
		have.AddScope(a)
		want.AddScope(b)
		p, err := ParamPatch(have.Scopes["tag/db"], want.Scopes["tag/db"])
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range p.Params {
			if v == nil {
				delete(a.Params, k)
			} else {
				a.Params[k] = *v
			}
		}
		for _, o := range p.Options {
			a.Options = append(slices.DeleteFunc(a.Options, func(x boot.Option) bool { return x.Code == o.Code }), o)
		}
		for _, n := range p.NoOption {
			a.Options = slices.DeleteFunc(a.Options, func(x boot.Option) bool { return x.Name() == n })
		}
		have.AddScope(a)
		if cs, err := Diff(have, want, false); err != nil || len(cs) > 0 {
			t.Fatalf("%+v %v after %+v", cs, err, p)
		}
	})
}
