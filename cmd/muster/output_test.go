// output_test.go: whatever is printed, and wherever it comes from, steers no terminal.

package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/simclient"
)

// hostile is text that clears a screen, names a window, turns letters around, and begins
// a line of its own.
const hostile = "a\x1b[2J\x1b]0;t\x07\u009b31m\u202e\x7f\r\nFORGED\tb"

// steers finds what a terminal would obey, and a line that is not ours.
func steers(out string) string {
	for l := range strings.SplitSeq(out, "\n") {
		if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(l, "FORGED") {
			return l
		}
	}
	return ""
}

// fill writes hostile text into every text of a value, one entry into every list and
// map, and yes into every flag.
func fill(v reflect.Value, yes bool) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	case *netip.Addr:
		*x = netip.MustParseAddr("10.77.0.100")
	case *netip.Prefix:
		*x = netip.MustParsePrefix("10.77.0.0/24")
	case *boot.MAC:
		*x = boot.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	case *boot.Severity:
		*x = boot.Err
	case *boot.Option:
		*x = boot.Option{Code: 15, Data: []byte(hostile)}
	case *[]client.Entry:
		var one, two, three client.Entry
		fill(reflect.ValueOf(&one).Elem(), yes)
		fill(reflect.ValueOf(&two).Elem(), yes)
		fill(reflect.ValueOf(&three).Elem(), yes)
		one.Request, two.Event, three.Event, three.Request.Line = nil, nil, nil, nil
		*x = []client.Entry{one, two, three}
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(hostile)
		case reflect.Bool:
			v.SetBool(yes)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			if v.Type() != reflect.TypeFor[*boot.Reason]() { // its cause, and so on
				fill(v.Elem(), yes)
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), yes)
		case reflect.Map:
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, yes)
			fill(value, yes)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(key, value)
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					fill(v.Field(i), yes)
				}
			}
		default:
			if v.CanInt() {
				v.SetInt(7)
			} else if v.CanUint() {
				v.SetUint(7)
			}
		}
	}
}

func filled[T any](yes bool) (v T) {
	fill(reflect.ValueOf(&v).Elem(), yes)
	return v
}

// aPage is one page of a list, and the last one.
func aPage[T any](yes bool) client.List[T] {
	return client.List[T]{Items: filled[[]T](yes)}
}

// mouthpiece is a daemon that says nothing but hostile text, or fails with it.
type mouthpiece struct{ yes, fails bool }

func (m *mouthpiece) start(t *testing.T) (dir string) {
	mux := http.NewServeMux()
	say := func(pattern string, make func(*http.Request) []any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			e := json.NewEncoder(w)
			if m.fails {
				w.WriteHeader(http.StatusUnprocessableEntity)
				_ = e.Encode(filled[client.Problem](m.yes))
				return
			}
			for _, v := range make(r) {
				if err := e.Encode(v); err != nil {
					t.Error(err)
				}
			}
		})
	}
	add := func(pattern string, make func(yes bool) any) {
		say(pattern, func(*http.Request) []any { return []any{make(m.yes)} })
	}
	one := func(yes bool) any { return filled[boot.Host](yes) }
	none := func(bool) any { return struct{}{} }
	add("GET /api/v1/status", func(yes bool) any { return filled[client.Status](yes) })
	add("GET /api/v1/moving", func(yes bool) any { return filled[client.Moving](yes) })
	add("GET /api/v1/ca", func(yes bool) any { return filled[client.CA](yes) })
	add("POST /api/v1/store/check", func(yes bool) any { return filled[client.StoreChecked](yes) })
	add("POST /api/v1/store/repair", func(yes bool) any { return filled[client.StoreRepaired](yes) })
	add("GET /api/v1/hosts", func(yes bool) any { return aPage[client.HostView](yes) })
	add("POST /api/v1/hosts", one)
	say("POST /api/v1/hosts/import", func(r *http.Request) []any {
		var in client.HostImport
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		out := filled[client.HostImported](m.yes)
		out.Results = slices.Repeat(out.Results, len(in.Hosts))
		return []any{out}
	})
	add("POST /api/v1/hosts/approve", func(yes bool) any { return filled[[]client.Inboxed](yes) })
	add("POST /api/v1/hosts/deny", func(yes bool) any { return filled[[]client.Inboxed](yes) })
	add("GET /api/v1/hosts/{name}", func(yes bool) any { return filled[client.HostDetail](yes) })
	add("PATCH /api/v1/hosts/{name}", one)
	add("DELETE /api/v1/hosts/{name}", one)
	add("POST /api/v1/hosts/{name}/{verb}", one)
	add("GET /api/v1/hosts/{name}/log", func(yes bool) any { return filled[boot.Request](yes) })
	add("GET /api/v1/hosts/{name}/capture", none)
	add("GET /api/v1/templates", func(yes bool) any { return aPage[boot.Template](yes) })
	add("GET /api/v1/templates/{name}", func(yes bool) any { return filled[client.TemplateShown](yes) })
	add("GET /api/v1/templates/{name}/versions", func(yes bool) any { return aPage[client.Version](yes) })
	add("GET /api/v1/templates/{name}/diff", func(yes bool) any { return filled[[]client.Difference](yes) })
	add("POST /api/v1/templates/preview", func(yes bool) any { return filled[client.Previewed](yes) })
	add("POST /api/v1/templates/{name}/pin", func(yes bool) any { return filled[client.InForce](yes) })
	add("POST /api/v1/templates", func(yes bool) any { return filled[client.Pushed](yes) })
	add("DELETE /api/v1/templates/{name}", none)
	add("GET /api/v1/files/{digest}", none)
	add("GET /api/v1/images", func(yes bool) any { return aPage[boot.Image](yes) })
	say("POST /api/v1/images/import", func(r *http.Request) []any {
		_, _ = io.Copy(io.Discard, r.Body)
		return []any{filled[boot.Image](m.yes)}
	})
	say("POST /api/v1/images/{name}/verify", func(*http.Request) []any {
		v := filled[client.Verified](false)
		return []any{v, client.Verified{Done: true}}
	})
	add("DELETE /api/v1/images/{name}", none)
	add("GET /api/v1/users", func(yes bool) any { return aPage[client.UserView](yes) })
	add("POST /api/v1/users", func(yes bool) any { return filled[client.UserView](yes) })
	add("PATCH /api/v1/users/{name}", func(yes bool) any { return filled[client.UserView](yes) })
	add("DELETE /api/v1/users/{name}", func(yes bool) any { return filled[client.UserView](yes) })
	add("GET /api/v1/tokens", func(yes bool) any { return aPage[client.TokenView](yes) })
	add("POST /api/v1/tokens", func(yes bool) any { return filled[client.TokenMade](yes) })
	add("DELETE /api/v1/tokens/{name}", func(yes bool) any { return filled[client.TokenView](yes) })
	add("GET /api/v1/params", func(yes bool) any { return aPage[boot.Values](yes) })
	add("PATCH /api/v1/params/{scope...}", func(yes bool) any { return filled[client.ParamsSet](yes) })
	add("GET /api/v1/leases", func(yes bool) any { return aPage[boot.Lease](yes) })
	say("POST /api/v1/plans", func(*http.Request) []any {
		x := filled[client.Plan](m.yes)
		x.ID = "1" // of a path
		return []any{x}
	})
	add("POST /api/v1/plans/{id}/run", func(yes bool) any { return filled[client.PlanResult](yes) })
	add("POST /api/v1/config/plan", func(yes bool) any { return filled[client.ConfigPlan](yes) })
	add("POST /api/v1/config/reload", func(yes bool) any { return filled[client.ConfigPlan](yes) })
	add("DELETE /api/v1/leases/{network}/{addr}", none)
	add("GET /api/v1/diagnose", func(yes bool) any { return aPage[diagnose.Stopped](yes) })
	add("POST /api/v1/explain", func(yes bool) any { return filled[client.Explanation](yes) })
	add("GET /api/v1/webhooks", func(yes bool) any { return aPage[client.Webhook](yes) })
	add("POST /api/v1/webhooks/{name}/test", func(yes bool) any { return filled[client.WebhookSent](yes) })
	add("POST /api/v1/webhooks/{name}/resend", func(yes bool) any { return filled[[]client.WebhookSent](yes) })
	say("GET /api/v1/events", func(*http.Request) (out []any) {
		for _, e := range filled[[]client.Entry](m.yes) {
			out = append(out, e)
		}
		return out
	})

	dir = t.TempDir()
	l, err := admin.Listen(dir)
	must(t, err)
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return dir
}

// TestNothingSteersATerminal runs every command against such a daemon: what it prints for
// people, as JSON, and when it fails.
func TestNothingSteersATerminal(t *testing.T) {
	work := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(work, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(text), 0o644))
		return name
	}
	hosts := write("hosts.csv", "name,mac,param.k\nweb1,52:54:00:aa:bb:01,\"a\u009b\"\nw\x1b[2J,52:54:00:aa:bb:02,\nweb3,\x1bx,\n")
	tmpl := filepath.Dir(write("tmpl/template.toml", "name = \"t\"\n[boot]\nkernel = \"k\"\n"))
	write("tmpl/k", "kernel")
	bad := filepath.Dir(write("bad/template.toml", "name = \"\\u001b[2J\"\n"))
	files := filepath.Dir(write("files/x\u009by", "x"))
	pi := filepath.Dir(write("pi/start4.elf", "x"))
	many := [][]string{{hostile}, {"--match", "x", "--yes"}, {"--match", hostile, "--dry-run"}}
	conf := write("muster.toml", "")
	fleet := filepath.Dir(filepath.Dir(write("fleet1/hosts/x.toml", "serial=\"\\u001b[2J\"\n")))
	dhcpd := write("dhcpd.conf", "option site\x1b[2J 1;\nshared-network \"a\u009b\" { subnet 10.1.0.0 netmask 255.255.255.0 { range 10.1.0.1; option domain-name \"x\x1b[2J\"; } }\n")
	runs := map[string][][]string{
		"config check": {{conf}, {}, {hostile}}, "config plan": {{conf}, {hostile}}, "config reload": {{}},
		"config from":  {{dhcpd}, {"--from", hostile, dhcpd}, {dhcpd, hosts}, {hostile}},
		"host list":    {{}, {"--wide"}, {hostile}},
		"host show":    {{hostile}},
		"host log":     {{hostile}},
		"host capture": {{hostile, "-o", filepath.Join(work, "x.pcap")}},
		"host add":     {{hostile}, {"x", "--mac", hostile}, {"x", "--uuid", hostile}, {"x", "--address", hostile}, {"x", "--option", hostile}, {"x", "--param", hostile}},
		"host set":     {{hostile, "k=v"}, {"x", hostile}},
		"host approve": append(many, []string{hostile, hostile}, []string{"--all"}, []string{"--all", "--dry-run"}),
		"host deny":    append(many, []string{hostile, hostile}, []string{"--all"}),
		"host install": many, "host rescue": many, "host local": many, "host update": many, "host rm": {{hostile}},
		"host merge": {{hostile, hostile}}, "host split": {{hostile}},
		"host import":   {{hosts}, {"--dry-run", hosts}, {"--from", hostile, hosts}, {hostile}},
		"template list": {{}}, "template show": {{hostile}}, "template rm": {{hostile}}, "template push": {{tmpl}, {bad}}, "template lint": {{tmpl}, {bad}, {hostile}},
		"template catalog": {{}, {"el"}, {hostile}}, "template add": {{"el", "--image", hostile}, {"el", "--image", "x", "--set", hostile}, {"el", "--iso", hostile, "--set", "disk=" + hostile}, {hostile}},
		"template history": {{hostile}}, "template diff": {{hostile}, {hostile, "1", hostile}}, "template preview": {{hostile}, {hostile, "--host", hostile}, {hostile, "--match", hostile}},
		"template pin": {{hostile, "1"}, {"x", hostile}}, "template unpin": {{hostile}}, "template rollback": {{hostile}},
		"template import-dir": {{"x", pi}, {hostile, files}},
		"user add":            {{hostile}, {"x", "--scope", hostile}, {"x", "--password-file", hostile}}, "user list": {{}}, "user set": {{"x", "--role", hostile}, {"x", "--scope", hostile}, {"x"}}, "user passwd": {{hostile}}, "user rm": {{hostile}},
		"login": {{hostile}, {"https://127.0.0.1:1", "--user", hostile, "--password-file", conf}, {"https://127.0.0.1:1", "--fingerprint", hostile}}, "logout": {{hostile}, {}}, "context list": {{}}, "context use": {{hostile}},
		"token create": {{hostile}, {"x", "--expires", hostile}}, "token list": {{}}, "token revoke": {{hostile}}, "audit list": {{}, {"--kind", hostile}, {"--since", hostile}},
		"param list": {{}, {hostile}}, "param show": {{hostile}}, "param set": {{"site", "k=" + hostile}, {hostile, "k=v"}, {"site", hostile}, {"site", "--option", hostile}, {"site", "--no-option", hostile}},
		"image list": {{}}, "image show": {{hostile}, {"x" + hostile}}, "image rm": {{hostile}}, "image verify": {{}, {hostile}},
		"image mirror":   {{"x", "--from", hostile, "--suite", hostile, "--keyring", files}, {"x", "--from", work, "--suite", hostile, "--keyring", hostile}},
		"image import":   {{hostile, files}, {"x", hostile}, {"x", "https://x/" + hostile}},
		"image template": {{hostile, filepath.Join(work, "new")}},
		"ca show":        {{}}, "ca export": {{}, {"--pem", filepath.Join(work, "ca.pem")}},
		"event list":   {{}, {"--all", "--why"}, {"--kind", hostile}, {"--since", hostile}, {"--host", hostile}},
		"webhook list": {{}}, "webhook test": {{hostile}}, "webhook resend": {{hostile, "7"}, {hostile, "--dead"}, {"x", hostile}},
		"network list": {{}}, "top": {{}},
		"inventory": {{"--ansible"}, {"--ansible", "--list"}, {"--ansible", "--host", hostile}, {"--ansible", "--match", hostile}, {}},
		"export":    {{filepath.Join(work, "fleet")}}, "apply": {{"-f", fleet, "--prune", "--dry-run"}, {"-f", fleet}, {"-f", fleet, "--yes", "--prune"}, {"-f", hostile}, {}},
		"lease list": {{}, {"--network", hostile}}, "lease release": {{hostile, hostile}},
		"explain":     {{hostile, "--packets"}, {"x", "--arch", hostile}},
		"diagnose":    {{}, {hostile}},
		"doctor":      {{}, {"--config", filepath.Join(work, hostile)}},
		"store check": {{}}, "store repair": {{}},
		"backup":   {{filepath.Join(work, "b.tar")}, {hostile}, {filepath.Join(work, "c.tar"), "--recipient", hostile}},
		"restore":  {{hostile}, {bad, "--identity", hostile}},
		"version":  {{}},
		"man":      {{work}, {filepath.Join(work, hostile)}},
		"simulate": {{hostile}, {"bios", "-i", hostile}, {"bios", "-i", "lo", "--mac", hostile}},
		"serve":    {{"--config", filepath.Join(work, hostile)}, {"-i", "lo", "--range", hostile}},
	}
	// These say nothing of the daemon's when all is well.
	silent := []string{"export", "login", "logout", "context list", "context use", "backup", "restore", "version", "man", "config check", "config from", "serve", "simulate", "host import", "template lint", "template push", "template import-dir", "template catalog", "template add", "template history", "template pin", "template unpin", "image template", "image mirror"}
	root := (&app{getenv: os.Getenv}).root()
	var leaves func(c *cobra.Command)
	leaves = func(c *cobra.Command) {
		if name := strings.TrimPrefix(c.CommandPath(), "muster "); len(c.Commands()) == 0 && runs[name] == nil {
			t.Errorf("no run of muster %s", name)
		}
		for _, s := range c.Commands() {
			leaves(s)
		}
	}
	leaves(root)
	for name, all := range runs {
		for _, m := range []mouthpiece{{yes: true}, {}, {fails: true}} {
			for i, args := range all {
				for _, as := range [][]string{nil, {"--json"}, {"--output", "yaml"}, {"--output", "name"}, {"--no-headers", "--output", "wide"}} {
					dir := m.start(t)
					line := slices.Concat(strings.Fields(name), args, []string{"--data-dir", dir}, as)
					os.RemoveAll(filepath.Join(work, "new"))
					os.Remove(filepath.Join(work, "ca.pem"))
					var out strings.Builder
					code := execute(t.Context(), line, func(string) string { return "" }, &out, &out)
					bad := steers(out.String())
					if name == "ca export" { // which has lines, and is the daemon's own
						bad = steers(strings.ReplaceAll(out.String(), "\nFORGED", "\n"))
					}
					if bad != "" || out.Len() == 0 {
						t.Errorf("muster %s %q, exit %d, %+v, prints %q", name, args, code, m, bad)
					}
					if i == 0 && !m.fails && as == nil && !slices.Contains(silent, name) && !strings.Contains(out.String(), "FORGED") {
						t.Errorf("muster %s %q, exit %d, %+v, shows nothing of it: %s", name, args, code, m, out.String())
					}
				}
			}
		}
	}
}

// TestOnePlace: only output.go writes to the output, so that nothing is printed that was
// not cleaned there.
func TestOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	fset := token.NewFileSet()
	// packets go out as they are, to what is no terminal; the log quotes what it is told.
	allowed := []string{"host_capture.go: a.out.Write", "log.go: io.WriteString"}
	for _, f := range files {
		if f == "output.go" || strings.HasSuffix(f, "_test.go") {
			continue
		}
		x, err := parser.ParseFile(fset, f, nil, 0)
		must(t, err)
		ast.Inspect(x, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := types.ExprString(call.Fun)
			prints := strings.HasPrefix(name, "fmt.Print") || name == "print" || name == "println" || name == "io.WriteString" ||
				strings.HasSuffix(name, ".out.Write") || strings.HasSuffix(name, ".err.Write") || strings.HasPrefix(name, "os.Std")
			if strings.HasPrefix(name, "fmt.Fprint") {
				to, builds := call.Args[0].(*ast.UnaryExpr) // &b, a buffer
				prints = !builds || to.Op != token.AND
			}
			if prints && !slices.Contains(allowed, f+": "+name) {
				t.Errorf("%s: %s prints beside output.go", fset.Position(call.Pos()), name)
			}
			return true
		})
	}
}

// uncolored takes our own colours off.
func uncolored(s string) string {
	return strings.NewReplacer(bold, "", dim, "", red, "", green, "", plain, "").Replace(s)
}

// TestColours: with colours on, what is painted is cleaned too.
func TestColours(t *testing.T) {
	for _, yes := range []bool{true, false} {
		var out strings.Builder
		p := printer{out: &out, color: true}
		es := filled[[]client.Entry](yes)
		for _, e := range es {
			for _, reply := range []string{"nak", "ignore", "file", hostile} {
				if e.Request != nil {
					e.Request.Reply = reply
				}
				p.entry(e, yes)
			}
		}
		p.timeline(slices.Repeat(es[2:], 40), hostile)
		p.timeline(slices.Repeat(filledLines(), 40), hostile)
		p.strip([]client.Entry{{Request: &boot.Request{At: time.Now(), Via: boot.HTTP, Reply: "done"}}}, hostile)
		p.found(filled[[]diagnose.Finding](yes))
		p.simStep(filled[simclient.Step](yes))
		for _, end := range []simclient.End{simclient.Booted, simclient.Broken, simclient.End(hostile)} {
			x := filled[simclient.Transcript](yes)
			x.End, x.Steps = end, nil
			p.simEnd(&x)
		}
		if s := out.String(); !strings.Contains(s, red) || !strings.Contains(s, "FORGED") || !strings.Contains(s, "lines more") {
			t.Errorf("too little was printed: %q", s)
		}
		if bad := steers(uncolored(out.String())); bad != "" {
			t.Errorf("%q", bad)
		}
	}
}

// filledLines is a machine's log of one line that is no error.
func filledLines() []client.Entry {
	e := filled[[]client.Entry](true)[1]
	e.Request.Line.Severity = boot.Debug
	return []client.Entry{e}
}

// TestPhrase: numbers stay numbers, widths hold, and only what is fit keeps its lines.
func TestPhrase(t *testing.T) {
	for _, c := range []struct{ got, want fit }{
		{phrase("%-4s|%4d|%.1f|%q|%v", "a\x1bb", 7, 1.25, "c\nd", boot.Err), `ab  |   7|1.2|"c d"|err`},
		{phrase("%s %s", fit(red+"x\ny"+plain), errors.New("a\tb\x00")), fit(red + "x\ny" + plain + " a b")},
		{phrase("%v %v", []string{"a\n", "\u202eb"}, time.Second), "[a  b] 1s"},
		{phrase("%d%%", uint16(3)), "3%"},
		{lines("\na\tb\n\x1b[1mc\r\n", "> "), "a    b\n> [1mc"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// FuzzOutput: no text steers a terminal, in a table, a phrase, colours, a line of the log
// or JSON; and JSON says the same as before.
func FuzzOutput(f *testing.F) {
	f.Add(hostile, "b")
	f.Add("\xff\xfe", "\v\f")
	f.Add("\U000e0001\u2028", strings.Repeat("x", 100))
	f.Fuzz(func(t *testing.T, a, b string) {
		var out strings.Builder
		x := &app{out: &out, err: &out, getenv: os.Getenv}
		x.table([][]string{{"A", "B"}, {a, b}, {b, a}})
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines of 3", n)
		}
		x.print("%s %v\n%s\n", a, []string{b}, lines(a, "> "))
		printer{out: &out, color: true}.print("%s\n", printer{color: true}.paint(red, a))
		if err := newLogHandler(&out, slog.LevelInfo, true).Handle(t.Context(), func() slog.Record {
			r := slog.NewRecord(time.Time{}, slog.LevelInfo, a, 0)
			r.Add("b", b)
			return r
		}()); err != nil {
			t.Fatal(err)
		}
		before := out.Len()
		if err := x.printJSON([]string{a, b}); err != nil {
			t.Fatal(err)
		}
		var said []string
		if err := json.Unmarshal([]byte(out.String()[before:]), &said); err != nil || said[0] != strings.ToValidUTF8(a, "\ufffd") && utf8.ValidString(a) {
			t.Errorf("%q says %q: %v", out.String()[before:], said, err)
		}
		raw, err := json.Marshal(map[string]string{a: b})
		if err == nil {
			err = x.printRaw(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.SplitSeq(uncolored(out.String()), "\n") {
			if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", l)
			}
		}
	})
}
