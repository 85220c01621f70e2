package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// TestYAML: what is printed as YAML says the same as the JSON, and steers no terminal.
func TestYAML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "yes", "0x10", "null", "~", "- a", "a: b", "#", hostile, "2026-01-02", "1e3", "a\n b\n", "\U000e0001", "\ufeff", " x "}))
		in := map[string]any{"a": text.Draw(t, "a"), "list": []any{text.Draw(t, "b"), map[string]any{text.Draw(t, "key"): rapid.Bool().Draw(t, "yes")}}, "n": nil, "int": rapid.Uint32().Draw(t, "int"), "half": 0.5, "none": []any{}}
		doc, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := inYAML(doc)
		if err != nil {
			t.Fatal(err)
		}
		if bad := steers(string(out)); bad != "" {
			t.Fatalf("%q", bad)
		}
		var back any
		if err := yaml.Unmarshal(out, &back); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(doc) {
			t.Fatalf("%s\n%s\n%s", doc, again, out)
		}
	})
}

// TestForms: the same list in each form.
func TestForms(t *testing.T) {
	m := mouthpiece{}
	dir := m.start(t)
	run := func(args ...string) (int, string) {
		var out strings.Builder
		code := execute(t.Context(), append(args, "--data-dir", dir), func(string) string { return "" }, &out, &out)
		return code, out.String()
	}
	for _, c := range []struct {
		args []string
		code int
		want string // the beginning
	}{
		{[]string{"network", "list"}, 0, "NAME "},
		{[]string{"network", "list", "--no-headers"}, 0, "a"},
		{[]string{"network", "list", "--json"}, 0, "[\n  {\n    \"name\": "},
		{[]string{"network", "list", "--output", "json"}, 0, "[\n  {\n    \"name\": "},
		{[]string{"network", "list", "--output", "yaml"}, 0, "- name: \""},
		{[]string{"network", "list", "--output", "name"}, 0, "a"},
		{[]string{"host", "list", "--output", "wide"}, 0, "NAME"},
		{[]string{"network", "list", "--output", "xml"}, 2, `muster: --output "xml": want one of table, wide, json, yaml, name`},
		{[]string{"network", "list", "--output", "yaml", "--json"}, 2, `{"error":"--json and`},
		{[]string{"version", "--output", "name"}, 2, `{"error":"--output name: what is printed has no names`},
		{[]string{"network", "list", "--watch", "--json"}, 2, `{"error":"--watch is for`},
	} {
		if code, out := run(c.args...); code != c.code || !strings.HasPrefix(out, c.want) {
			t.Errorf("muster %s: %d\n%s", strings.Join(c.args, " "), code, out)
		}
	}
	if _, out := run("host", "list", "--output", "wide"); !strings.Contains(out, "PROTECTED") {
		t.Error(out)
	}
}

// TestWatch: it prints until it is interrupted; an appliance that is away at first ends
// it, one that goes away is waited for, and a list that takes long is not made all the time.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		a := &app{out: &out, getenv: func(string) string { return "" }}
		gone := errors.New("gone")
		if err := a.redraw(t.Context(), time.Second, func() error { return gone }); !errors.Is(err, gone) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n, began := 0, time.Now()
		var at []time.Duration
		if err := a.redraw(ctx, time.Second, func() error {
			n++
			at = append(at, time.Since(began))
			switch n {
			case 2:
				return gone
			case 3:
				time.Sleep(2 * time.Second)
			case 4:
				cancel()
			}
			a.print("%d\n", n)
			return nil
		}); err != nil {
			t.Error(err)
		}
		if out.String() != "1\n\ngone\n3\n\n" || at[1] != time.Second || at[3] != 2*time.Second+2*time.Second+watchShare*2*time.Second {
			t.Errorf("%q %v", out.String(), at)
		}
	})
}
