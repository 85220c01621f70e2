// values_test.go: which of many values counts, against the rule said in the plainest way.

package boot_test

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/store/mem"
)

// TestInherited: the host's own value counts before its tags', theirs before the
// network's, that before the site's; and of tags that differ none, whatever is beneath.
func TestInherited(t *testing.T) {
	scopes := []boot.Scope{boot.Site, "network/lab", "network/other", "tag/a", "tag/b=1", "tag/b=2", "tag/c"}
	rapid.Check(t, func(t *rapid.T) {
		s, err := mem.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		value := rapid.SampledFrom([]string{"", "x", "y", "secret"}) // "": it says nothing
		said := map[boot.Scope]string{}
		for _, scope := range append(scopes, boot.HostScope) {
			said[scope] = value.Draw(t, string(scope))
		}
		h := &boot.Host{ID: 7, Name: "web1", State: boot.Approved, MACs: []boot.MAC{{2}}}
		for _, tag := range []string{"a", "b=1", "c"} {
			if rapid.Bool().Draw(t, tag) {
				h.Tags = append(h.Tags, tag)
			}
		}
		switch said[boot.HostScope] {
		case "x", "y":
			h.Params = map[string]string{"k": said[boot.HostScope]}
		case "secret":
			h.Secrets = []string{"k"}
		}
		if err := s.Update(t.Context(), func(tx boot.Tx) error {
			for _, scope := range scopes {
				v := &boot.Values{Scope: scope, Params: map[string]string{"k": said[scope]}}
				switch said[scope] {
				case "":
					continue
				case "secret":
					v.Params, v.Secrets = nil, []string{"k"}
				}
				if err := tx.PutValues(v); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		var got map[string]boot.Given
		if err := s.View(t.Context(), func(tx boot.ReadTx) (err error) { got, err = boot.Inherited(tx, h, "lab"); return err }); err != nil {
			t.Fatal(err)
		}

		want := "nothing"
		for _, scope := range []boot.Scope{boot.Site, "network/lab"} {
			if said[scope] != "" {
				want = fmt.Sprintf("%s from %s", said[scope], scope)
			}
		}
		words := map[string]int{}
		var first boot.Scope
		var all []string
		for _, tag := range h.Tags {
			if w := said[boot.TagScope(tag)]; w != "" {
				if words[w]++; first == "" {
					first = boot.TagScope(tag)
				}
				all = append(all, "tag/"+tag)
			}
		}
		switch {
		case len(words) > 1 || words["secret"] > 1:
			want = "differ"
		case len(words) == 1:
			want = fmt.Sprintf("%s from %s", slices.Collect(maps.Keys(words))[0], first)
		}
		if said[boot.HostScope] != "" {
			want = said[boot.HostScope] + " from host"
		}
		g, has := got["k"]
		is := fmt.Sprintf("%s from %s", g.Value, g.From)
		switch {
		case !has:
			is = "nothing"
		case len(g.Differ) > 0:
			is = "differ"
			for _, d := range g.Differ {
				if !slices.Contains(all, string(d)) {
					t.Errorf("%v differ, of %v", g.Differ, all)
				}
			}
		case g.Secret:
			is = "secret" + is
		}
		if is != want {
			t.Errorf("%q, want %q: host %v, said %v", is, want, h.Tags, said)
		}
	})
}

// TestTags: what a tag is, and a host has one of each key.
func TestTags(t *testing.T) {
	for tag, good := range map[string]bool{"db": true, "rack=12": true, "site=a.b": true, "": false, "=x": false, "a=": false, "a b": false, "a=b=c": false, "a/b": false, "-a": false, strings.Repeat("x", 64): false} {
		if err := boot.ValidTag(tag); (err == nil) != good {
			t.Errorf("%q: %v", tag, err)
		}
		if err := boot.TagScope(tag).Validate(); (err == nil) != good {
			t.Errorf("scope of %q: %v", tag, err)
		}
	}
	for scope, good := range map[boot.Scope]bool{boot.Site: true, "network/lab": true, "network/": false, boot.HostScope: false, "template/x": false, "": false, "network/a\x00": false} {
		if err := scope.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", scope, err)
		}
	}
	h := boot.Host{Name: "x", State: boot.Pending, Serial: "SN-0001", Tags: []string{"rack=1", "rack=2"}}
	if err := h.Validate(); err == nil || !strings.Contains(err.Error(), "tag rack stands there twice") {
		t.Error(err)
	}
}

// TestUnseenNetwork: what some network gives is not missed on a host that was never seen,
// and is at its first script on another network.
func TestUnseenNetwork(t *testing.T) {
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer func() { e.Close(); s.Close() }()
	if err := e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{{Name: "lab"}, {Name: "far"}}}); err != nil {
		t.Fatal(err)
	}
	do := func(o boot.Order) error { _, err := e.Do(t.Context(), boot.Actor{Kind: boot.Person}, o); return err }
	if err := do(boot.PushTemplate{Template: boot.Template{Name: "deb", Files: map[string]boot.Blob{"template.toml": {}}, Params: map[string]boot.Param{"mirror": {Required: true}}}}); err != nil {
		t.Fatal(err)
	}
	add := func(name string) error {
		return do(boot.AddHost{Host: boot.NewHost{Name: name, State: boot.Approved, Serial: "SN-" + name, Template: "deb"}})
	}
	if err := add("web1"); boot.FaultOf(err) == nil || !strings.Contains(err.Error(), "needs mirror") {
		t.Errorf("nothing gives it: %v", err)
	}
	v := "http://10.77.0.1/"
	if err := do(boot.SetParams{Scope: boot.NetworkScope("far"), Params: map[string]*string{"mirror": &v}}); err != nil {
		t.Fatal(err)
	}
	if err := add("web1"); err != nil {
		t.Errorf("network far gives it: %v", err)
	}
}

// TestSecretsDiffer: whether two secrets are alike nobody can see, so two tags with one
// each differ.
func TestSecretsDiffer(t *testing.T) {
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := &boot.Host{ID: 7, Tags: []string{"a", "b"}}
	var got map[string]boot.Given
	if err := s.Update(t.Context(), func(tx boot.Tx) error {
		for _, tag := range h.Tags {
			if err := tx.PutValues(&boot.Values{Scope: boot.TagScope(tag), Secrets: []string{"k"}}); err != nil {
				return err
			}
		}
		got, err = boot.Inherited(tx, h, "")
		return err
	}); err != nil || !slices.Equal(got["k"].Differ, []boot.Scope{"tag/a", "tag/b"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestLacking: a value that is sealed is no plain one, and a plain one no secret; neither
// has the template's default in its place.
func TestLacking(t *testing.T) {
	given := map[string]boot.Given{"plain": {Value: "x"}, "sealed": {Secret: true}, "empty": {}}
	for _, c := range []struct {
		name string
		p    boot.Param
		want bool
	}{
		{"plain", boot.Param{}, false}, {"plain", boot.Param{Required: true}, false}, {"plain", boot.Param{Secret: true}, true},
		{"sealed", boot.Param{Secret: true}, false}, {"sealed", boot.Param{Secret: true, Required: true}, false}, {"sealed", boot.Param{Default: "d"}, true},
		{"empty", boot.Param{}, false}, {"empty", boot.Param{Required: true}, true},
		{"none", boot.Param{Secret: true}, false}, {"none", boot.Param{Secret: true, Required: true}, true},
	} {
		if got := boot.Lacking(&boot.Template{Params: map[string]boot.Param{c.name: c.p}}, given); len(got) == 1 != c.want {
			t.Errorf("%s of %+v: %q", c.name, c.p, got)
		}
	}
}

// TestEffectiveOptions: each option of a host is shown with the narrowest scope that gives
// it, and those about which tags differ with both.
func TestEffectiveOptions(t *testing.T) {
	s, err := mem.Open()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(s, engine.NewRequestLog(nil), slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer func() { e.Close(); s.Close() }()
	if err := e.SetPolicy(t.Context(), boot.Policy{Networks: []boot.Network{{Name: "lab"}}}); err != nil {
		t.Fatal(err)
	}
	opt := func(s string) boot.Option {
		o, err := boot.ParseOptionText(s)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	do := func(o boot.Order) {
		t.Helper()
		if _, err := e.Do(t.Context(), boot.Actor{Kind: boot.Person}, o); err != nil {
			t.Fatal(err)
		}
	}
	do(boot.PushTemplate{Template: boot.Template{Name: "deb", Files: map[string]boot.Blob{"template.toml": {}}, Options: []boot.Option{opt("domain-name=deb"), opt("time-servers=10.0.0.1")}}})
	do(boot.AddHost{Host: boot.NewHost{Name: "web1", Serial: "SN-1", Template: "deb", Tags: []string{"db", "rack=12"}, Options: []boot.Option{opt("224=hex:01")}}})
	do(boot.SetParams{Scope: boot.Site, Options: []boot.Option{opt("ntp-servers=10.0.0.1"), opt("domain-name=site"), opt("225=hex:02")}})
	do(boot.SetParams{Scope: boot.TagScope("db"), Options: []boot.Option{opt("time-servers=10.0.0.2"), opt("224=hex:03"), opt("225=hex:04")}})
	do(boot.SetParams{Scope: boot.TagScope("rack=12"), Options: []boot.Option{opt("time-servers=10.0.0.2"), opt("224=hex:05"), opt("225=hex:06")}})
	var got []string
	if err := e.View(t.Context(), func(tx boot.ReadTx) error {
		h, err := tx.HostByName("web1")
		if err != nil {
			return err
		}
		given, err := boot.EffectiveOptions(tx, e.Policy(), h)
		got = nil
		for _, g := range given {
			got = append(got, fmt.Sprint(g.Option, " ", g.From, " ", g.Differ))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"time-servers=10.0.0.2 tag/db []", "domain-name=deb template/deb []", "ntp-servers=10.0.0.1 site []", "224=hex:01 host []", "225=hex:02 site []", "225=hex:04 tag/db [tag/db tag/rack=12]"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// One that has no parameters left but an option stays, and goes with it.
	do(boot.SetParams{Scope: boot.Site, NoOption: []string{"ntp-servers", "domain-name", "225"}})
	if err := e.View(t.Context(), func(tx boot.ReadTx) error {
		if v, err := tx.Values(boot.Site); err != nil || v != nil {
			t.Errorf("%+v %v", v, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
