package tomlfile

import (
	"strings"
	"testing"
)

// TestTypes: what is of the wrong type is said in people's words, with its line,
// and a value where a table belongs is not passed over.
func TestTypes(t *testing.T) {
	type outer struct {
		Embedded int `toml:"embedded"`
	}
	type inner struct {
		A int               `toml:"a"`
		M map[string]string `toml:"m"`
	}
	for text, want := range map[string]string{
		"s = 1":                      `x.toml:2: s: want text in quotes, "…", not a whole number`,
		"s = [1]":                    `x.toml:2: s: want text in quotes, "…", not a list`,
		"s = true":                   `x.toml:2: s: want text in quotes, "…", not true or false`,
		"s = 2020-01-01":             `x.toml:2: s: want text in quotes, "…", not a date`,
		"[s]\na = 1":                 `x.toml:2: s: want text in quotes, "…", not a table`,
		"i = \"1\"":                  `x.toml:2: i: want a whole number, not text in quotes, "…"`,
		"i = 1.5":                    `x.toml:2: i: want a whole number, not a number`,
		"port = 70000":               `x.toml:2: port: 70000 is out of range for uint16`,
		"b = \"yes\"":                `x.toml:2: b: want true or false, not text in quotes, "…"`,
		"l = \"x\"":                  `x.toml:2: l: want a list, ["…"], not text in quotes, "…"`,
		"l = [1]":                    `x.toml:2: l: want text in quotes, "…", not a whole number`,
		"m = 1":                      `x.toml:2: m: want a table, [m], not a whole number`,
		"m = \"x\"":                  `x.toml:2: m: want a table, [m], not text in quotes, "…"`,
		"[m]\na = 1":                 `x.toml:3: m.a: want text in quotes, "…", not a whole number`,
		"t = 1":                      `x.toml:2: t: want a table, not a whole number`,
		"[t]\nm = []":                `x.toml:3: t.m: want a table, [t.m], not a list`,
		"[[y]]\na = 1\n[[y]]\nm = 2": `x.toml:5: y.m: want a table, [y.m], not a whole number`,
		"[y]\na = 1":                 `x.toml:2: y: want a list, ["…"], not a table`,
		"[[y]]\nb = 1":               `x.toml:3: unknown key "b" in [y]; did you mean "a"?`,
		"sx = 1":                     `x.toml:2: unknown key "sx"; did you mean "s"?`,
		"nothing = 1":                `x.toml:2: unknown key "nothing"; known here: s, i, port, b, l, m, t, y, embedded`,
		"embeded = 1":                `x.toml:2: unknown key "embeded"; did you mean "embedded"?`,
		"[t]\nm.x = 1":               `x.toml:3: t.m.x: want text in quotes, "…", not a whole number`,
		"s = \"x\"\n[m]\na = \"b\"":  "",
		"[[y]]\n[y.m]\nq = \"x\"":    "",
	} {
		var v struct {
			S string            `toml:"s"`
			I int               `toml:"i"`
			U uint16            `toml:"port"`
			B bool              `toml:"b"`
			L []string          `toml:"l"`
			M map[string]string `toml:"m"`
			T inner             `toml:"t"`
			Y []inner           `toml:"y"`
			outer
		}
		_, err := Decode("x.toml", []byte("\n"+text+"\n"), &v)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

// TestKeys: which keys a value takes, and which table they are of.
func TestKeys(t *testing.T) {
	type param struct {
		Type string `toml:"type"`
	}
	type embedded struct {
		E int `toml:"e"`
	}
	type all struct {
		A      int `toml:"a"`
		None   int
		Hidden int                 `toml:"-"`
		List   []embedded          `toml:"list"`
		Params map[string]param    `toml:"params"`
		Free   map[string]any      `toml:"free"`
		Far    *struct{ embedded } `toml:"far"`
		embedded
	}
	if got, want := strings.Join(Keys(all{}), " "), "a list list.e params params.* params.*.type free free.* far far.e e"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for table, want := range map[string]string{"": "a list params free far e", "list": "e", "params": "", "params.x": "type", "free": "", "nowhere": ""} {
		if got := strings.Join(keysOf(&all{}, table), " "); got != want {
			t.Errorf("of %q: %s, want %s", table, got, want)
		}
	}
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{{"a", "a", true}, {"a", "a.b", false}, {"a.b", "a", false}, {"free.*", "free.x.y", true}, {"free.*", "free", false}, {"params.*.type", "params.x.type", true}, {"params.*.type", "params.x.help", false}} {
		if Match(c.pattern, c.key) != c.want {
			t.Errorf("%s and %s: want %v", c.pattern, c.key, c.want)
		}
	}
	f, err := Decode("f", []byte("a = 1\n[params.x]\ntype = \"int\"\n[free]\n\"b.c\" = 1\n"), new(all))
	if got := strings.Join(f.Keys(), " "); err != nil || got != "a free free.b.c params.x params.x.type" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Decode("f", []byte("[params.x]\ntipe = \"int\"\n"), new(all)); err == nil || err.Error() != `f:2: unknown key "tipe" in [params.x]; did you mean "type"?` {
		t.Error(err)
	}
}
