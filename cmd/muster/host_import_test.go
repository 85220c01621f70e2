package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/reservation"
	"github.com/musterboot/muster/store/mem"
)

// desk is the engine and its API in this process, asked through the commands;
// no network and no root.
type desk struct {
	t     *testing.T
	dir   string
	store boot.Store
	hooks *hook.Hooks
	do    func(boot.Order)
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	s, err := mem.Open()
	must(t, err)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := engine.New(s, engine.NewRequestLog(nil), log)
	must(t, e.SetPolicy(t.Context(), boot.Policy{
		Enroll: boot.Enroll{Policy: boot.EnrollApprove, Limit: 100},
		Networks: []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Reservations,
			Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/16")}},
	}))
	d := &desk{t: t, dir: t.TempDir(), store: s, hooks: hook.New(s, log, "0000", time.Now)}
	d.do = func(o boot.Order) {
		_, err := e.Do(t.Context(), boot.Actor{Kind: boot.Person}, o)
		must(t, err)
	}
	l, err := admin.Listen(d.dir)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	files, err := images.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { files.Close() })
	go func() {
		done <- (&admin.Server{Engine: e, Files: files, Log: log, Hooks: d.hooks}).Serve(ctx, l)
	}()
	go func() { done <- d.hooks.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; <-done; e.Close(); s.Close() })
	return d
}

// run runs a command and returns what it printed and how it ended.
func (d *desk) run(args ...string) (string, int) {
	var out strings.Builder
	code := execute(d.t.Context(), append(args, "--data-dir", d.dir), func(string) string { return "" }, &out, &out)
	return out.String(), code
}

// says runs a command that ends with code and prints each of want.
func (d *desk) says(code int, args []string, want ...string) {
	d.t.Helper()
	out, got := d.run(args...)
	if got != code {
		d.t.Errorf("muster %s: exit %d, want %d", strings.Join(args, " "), got, code)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out) {
			d.t.Errorf("muster %s does not say %q", strings.Join(args, " "), w)
		}
	}
	if d.t.Failed() {
		d.t.Logf("it said:\n%s", out)
	}
}

func (d *desk) hosts() map[string]client.HostView {
	d.t.Helper()
	out, code := d.run("host", "list", "--json")
	var hs []client.HostView
	if err := json.Unmarshal([]byte(out), &hs); err != nil || code != 0 {
		d.t.Fatalf("host list: exit %d, %v\n%s", code, err, out)
	}
	m := map[string]client.HostView{}
	for _, h := range hs {
		m[h.Name] = h
	}
	return m
}

func (d *desk) events() int {
	out, _ := d.run("event", "list", "--json", "--lines")
	return strings.Count(out, "\n")
}

func (d *desk) file(name, text string) string {
	f := filepath.Join(d.t.TempDir(), name)
	must(d.t, os.WriteFile(f, []byte(text), 0o644))
	return f
}

const iscHosts = `subnet 10.77.0.0 netmask 255.255.0.0 {
  group {
    filename "pxelinux.0";
    host web_1 { hardware ethernet 52:54:00:aa:00:01; fixed-address 10.77.1.1; }
    host web2  { hardware ethernet 52:54:00:aa:00:02; fixed-address 10.77.1.2; option host-name "web2"; }
  }
}
host far { hardware ethernet 52:54:00:aa:00:03; fixed-address 192.168.1.3; }
`

func TestHostImport(t *testing.T) {
	d := newDesk(t)
	conf := d.file("dhcpd.conf", iscHosts)
	q := regexp.QuoteMeta

	// A dry run says what the real one would, and changes nothing.
	refused := q(conf) + `:8: far: refused: address 192.168.1.3 is in no configured network`
	d.says(1, []string{"host", "import", "--dry-run", conf},
		q(conf)+`:3: "filename pxelinux.0" is not carried over`, refused,
		`web2 +not added +52:54:00:aa:00:02 +10.77.1.2`, `would be added +0`, `not carried over +3`, `nothing would be added: 0 in conflict, 1 refused`)
	d.says(0, []string{"host", "import", "--dry-run", "--skip-conflicts", conf},
		refused, `web_1 +would be added`, `would be added +2`, `details not carried over +1`)
	d.says(1, []string{"host", "import", conf}, refused, `nothing was added`)
	if n, e := len(d.hosts()), d.events(); n != 0 || e != 0 {
		t.Fatalf("dry runs and refusals left %d hosts and %d events", n, e)
	}

	// One that enrolled by itself before stays as it is, unless the file says
	// that it was expected.
	d.says(0, []string{"host", "add", "m-525400aa0002", "--mac", "52:54:00:aa:00:02"}, "added")
	d.says(1, []string{"host", "import", conf},
		q(conf)+`:5: m-525400aa0002: differs: name web2, known with m-525400aa0002, address 10.77.1.2, known with none`,
		`(?m)^ +`+q(`muster host set m-525400aa0002 --name web2 --address 10.77.1.2`)+`$`, `known, but differ +1`)
	d.says(0, []string{"host", "import", "--approved", "--skip-conflicts", "--dry-run", conf}, `web2 +would be let in`)
	d.says(0, []string{"host", "import", "--approved", "--skip-conflicts", conf}, `web2 +let in`, `(?m)^added +1$`, `(?m)^let in +1$`)
	hs := d.hosts()
	if h, w := hs["web_1"], hs["web2"]; len(hs) != 2 || h.State != boot.Approved || h.Address.String() != "10.77.1.1" || w.State != boot.Approved || w.Address.String() != "10.77.1.2" {
		t.Fatalf("the roll: %+v", hs)
	}
	d.says(0, []string{"host", "set", "web2", "--serial", "SN-2", "--address", "none"})
	d.says(0, []string{"host", "import", "--approved", "--skip-conflicts", conf}, `known, but differ +1`, `(?m)^ +`+q(`muster host set web2 --address 10.77.1.2`)+`$`)
	d.says(0, []string{"host", "set", "web2", "--address", "10.77.1.2"})
	before := d.events()
	d.says(0, []string{"host", "import", "--approved", "--skip-conflicts", conf}, `known already +2`, `known, but differ +0`, `(?m)^added +0$`)
	if d.events() != before {
		t.Error("an import of known machines was an event")
	}

	// Several files are one import: all or none.
	one := d.file("one.csv", "name,mac,address,param.disk\nweb3,52:54:00:aa:00:04,10.77.1.4,/dev/sda\nweb4,52:54:00:aa:00:05,10.77.1.4,\n")
	two := d.file("hosts", "dhcp-host=52:54:00:aa:00:06,web3,10.77.1.6\n")
	d.says(1, []string{"host", "import", one, two},
		q(one)+`:3: web4: conflict: address 10.77.1.4 is web3's already, `+q(one)+`:2;`, q(two)+`:1: web3: conflict: name web3 is web3's already`, `nothing was added: 2 in conflict`)
	d.says(0, []string{"host", "import", "--skip-conflicts", one, two}, `(?m)^added +1$`, `not carried over +2`, `wait for approval`)
	if h := d.hosts()["web3"]; h.State != boot.Pending || h.Params["disk"] != "/dev/sda" {
		t.Errorf("web3: %+v", h)
	}
	d.says(1, []string{"host", "import", "--template", "nowhere", d.file("t.csv", "mac\n52:54:00:aa:00:07\n")}, `refused: no template is called nowhere`)

	// Programs read the same.
	out, code := d.run("host", "import", "--json", "--dry-run", one)
	var r importReport
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil || code != 1 || !r.DryRun || r.Known != 1 || r.Conflicts != 1 || r.Hosts[0].Result != hostKnown {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}

	// Many machines are one event, and a warning where enrolment would stop.
	var b strings.Builder
	for i := range 150 {
		fmt.Fprintf(&b, "52:54:00:bb:00:%02x,10.77.2.%d\n", i, i+1)
	}
	before = d.events()
	d.says(0, []string{"host", "import", "--from", "dnsmasq", d.file("many", b.String())}, `(?m)^added +150$`, `warning: 151 machines wait`, `m-525400bb0095 +added`)
	if n := d.events() - before; n != 1 {
		t.Errorf("150 machines were %d events", n)
	}
}

// TestHostImportMistakes: a person's mistake is 2, with file and line.
func TestHostImportMistakes(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "wants a file"},
		{[]string{"/nowhere"}, "no such file"},
		{[]string{t.TempDir()}, "is a directory"},
		{[]string{"--from", "bind", "/nowhere"}, `--from "bind": want isc, kea, dnsmasq, csv or log`},
		{[]string{d.file("notes", "hello\n")}, "cannot tell whose file this is"},
		{[]string{d.file("m.csv", "name,mac,colour\n")}, `m.csv:1: unknown column "colour"`},
		{[]string{d.file("kea.conf", "{\n\"Dhcp4\": {\n")}, "kea.conf:3: the file ends too early"},
	} {
		out, code := d.run(append([]string{"host", "import"}, c.args...)...)
		if code != exitUsage || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d\n%s", c.args, code, out)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"disk=/dev/sda": "disk=/dev/sda", "": "''", "a b": "'a b'", "$(x)": "'$(x)'", "it's": `'it'\''s'`, "*": "'*'",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzHostImport: from a file to what is printed. An error names the file, and the line
// if it is about one; what would be sent is valid; nothing printed steers a terminal, and
// the JSON is read as it was written.
func FuzzHostImport(f *testing.F) {
	files, err := filepath.Glob("../../internal/reservation/testdata/*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		if filepath.Base(name) == "fuzz" {
			continue // seeds, in a form of their own
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if !strings.HasSuffix(name, ".golden") {
			f.Add(b, uint8(0))
		}
	}
	f.Add([]byte("name,mac,param.k,template\na\x1b,52:54:00:aa:bb:01,\"x\u009b\ny\",t\u202e\nb,52:54:00:aa:bb:01,,\n"), uint8(4))
	f.Add([]byte("host \x1b {\n"), uint8(1))
	formats := append([]reservation.Format{""}, reservation.Formats...)
	at := regexp.MustCompile(`/hosts(:[0-9]+)?: .`)
	name := filepath.Join(f.TempDir(), "hosts")
	f.Fuzz(func(t *testing.T, data []byte, format uint8) {
		must(t, os.WriteFile(name, data, 0o600))
		from := formats[int(format)%len(formats)]
		r, err := readReservations(from, []string{name, name})
		if err != nil {
			if s := string(lines(err.Error(), "")); !errors.As(err, new(usageError)) || !at.MatchString(s) || from != "" && !strings.Contains(s, "hosts:") {
				t.Fatalf("%q", err)
			}
			return
		}
		r.conflicts()
		half := len(r.Hosts) / 2 // the second time, all are there already
		for i, h := range r.Hosts {
			given := boot.NewHost(h.Host)
			if given.Name == "" {
				given.Name = "unnamed"
			}
			if err := given.Validate(); err != nil || h.Line < 1 {
				t.Fatalf("%s:%d: %v", h.File, h.Line, err)
			}
			if i >= half && h.Result != hostConflict {
				t.Fatalf("%+v is not in conflict with itself", h)
			}
		}
		var out strings.Builder
		a := &app{out: &out, err: &out, getenv: os.Getenv}
		a.showImport(r)
		if bad := steers(out.String()); bad != "" {
			t.Fatalf("it prints %q", bad)
		}
		out.Reset()
		must(t, a.printJSON(r))
		if bad := steers(out.String()); bad != "" {
			t.Fatalf("it prints %q", bad)
		}
		var again importReport
		if err := json.Unmarshal([]byte(out.String()), &again); err != nil || !reflect.DeepEqual(again.Hosts, r.Hosts) || !reflect.DeepEqual(again.Notes, r.Notes) {
			t.Fatalf("%s is not what it was: %v", out.String(), err)
		}
	})
}
