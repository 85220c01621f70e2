// lab_test.go: what the tests with real peers share: the program built once,
// run in a lab's namespace, and asked through its own commands.

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
	"go.etcd.io/bbolt"
)

// command is what the program is built from.
const command = "github.com/musterboot/muster/cmd/muster"

// A build of the program, made when it is first asked for.
type build struct {
	now  string // the package whose Now is its clock; "" is time
	once sync.Once
	dir  string
	err  error
}

var (
	shipped = &build{} // as it ships
	jumping = &build{now: "github.com/musterboot/muster/test/clock"}
)

// program is the path of the binary.
func (b *build) program(t *testing.T) string {
	t.Helper()
	b.once.Do(func() { b.err = b.make() })
	must(t, b.err)
	return filepath.Join(b.dir, "muster")
}

func (b *build) make() (err error) {
	if b.dir, err = os.MkdirTemp("", "muster-test-"); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, "muster")}
	if b.now != "" {
		overlay, err := b.overlay()
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, command)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// overlay makes the compiler read another clock.go, so that the shipped program
// needs no way to change its clock.
func (b *build) overlay() (file string, err error) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", command).Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(b.dir, "clock.go")
	if err := os.WriteFile(source, fmt.Appendf(nil, "package main\n\nimport other %q\n\nvar clock = other.Now\n", b.now), 0o644); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(strings.TrimSpace(string(dir)), "clock.go"): source}})
	if err != nil {
		return "", err
	}
	file = filepath.Join(b.dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o644)
}

func TestMain(m *testing.M) {
	if s := os.Getenv(labFetch); s != "" {
		os.Exit(onlyFetch(s))
	}
	code := m.Run()
	for _, b := range []*build{shipped, jumping} {
		if b.dir != "" {
			os.RemoveAll(b.dir)
		}
	}
	os.Exit(code)
}

// rig is one lab with a server host, srv, on a switch.
type rig struct {
	t    *testing.T
	lab  *nettest.Lab
	sw   *nettest.Switch
	srv  *nettest.NS
	data string
	ctx  context.Context

	binary string   // muster
	wrap   []string // a command in front of it
	proc   *exec.Cmd
	out    *lockedBuffer
	done   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const serverAddr = "10.77.0.1"

// newRig makes a lab whose server host has 10.77.0.1/24 on eth0.
func newRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("real peers and whole boots run without -short")
	}
	nettest.NeedRoot(t)
	nettest.Need(t, "ip")
	binary := shipped.program(t)
	patience := 6 * time.Minute
	if os.Getenv("MUSTER_LONG") != "" {
		patience = 20 * time.Minute // ten power-ons of an emulated UEFI
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	lab, err := nettest.New()
	must(t, err)
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	r := &rig{t: t, lab: lab, data: t.TempDir(), ctx: ctx, binary: binary}
	r.sw, err = lab.Switch()
	must(t, err)
	r.srv = r.host("srv", serverAddr+"/24")
	return r
}

// host adds a host with eth0 on the switch, with an address if one is given.
func (r *rig) host(name, cidr string) *nettest.NS {
	r.t.Helper()
	ns, err := r.lab.Host(name)
	must(r.t, err)
	must(r.t, r.lab.Plug(ns, "eth0", r.sw))
	if cidr != "" {
		must(r.t, ns.Addr("eth0", cidr))
	}
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve starts muster and waits until it answers on its socket.
func (r *rig) serve(args ...string) {
	r.t.Helper()
	r.out = &lockedBuffer{}
	line := append(append([]string(nil), r.wrap...), append([]string{r.binary, "serve", "--data-dir", r.data}, args...)...)
	r.proc = r.srv.Command(r.ctx, line[0], line[1:]...)
	r.proc.Stdout, r.proc.Stderr = r.out, r.out
	must(r.t, r.proc.Start())
	done := make(chan struct{})
	r.done = done
	go func() { r.proc.Wait(); close(done) }()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("muster said:\n%s", r.out)
		}
	})
	r.wait("muster to start", 20*time.Second, func() error {
		select {
		case <-done:
			return fatal{fmt.Errorf("muster ended:\n%s", r.out)}
		default:
		}
		var s status
		return r.ask("/api/v1/status", &s)
	})
}

// serveConfig writes a configuration and serves it.
func (r *rig) serveConfig(toml string) {
	r.t.Helper()
	f := filepath.Join(r.t.TempDir(), "muster.toml")
	must(r.t, os.WriteFile(f, []byte(toml), 0o644))
	r.serve("--config", f)
}

// stop ends muster; kill tells how.
func (r *rig) stop(kill bool) {
	r.t.Helper()
	if kill {
		r.proc.Process.Kill()
	} else {
		r.proc.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("muster did not end:\n%s", r.out)
	}
}

// storeErr has bbolt, of which the store is a file, read every page while nobody
// has it open.
func (r *rig) storeErr() error {
	db, err := bbolt.Open(filepath.Join(r.data, "muster.db"), 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// daemon starts a peer's program that runs until the test ends, and returns what it
// says; a test that failed shows it.
func (r *rig) daemon(ns *nettest.NS, name string, args ...string) *lockedBuffer {
	r.t.Helper()
	cmd, said := ns.Command(r.ctx, name, args...), &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	must(r.t, cmd.Start())
	go cmd.Wait()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("%s said:\n%s", filepath.Base(name), said)
		}
	})
	return said
}

// fatal is an error that waiting cannot repair.
type fatal struct{ error }

// wait calls fn again and again until it succeeds.
func (r *rig) wait(what string, limit time.Duration, fn func() error) {
	r.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		var f fatal
		if errors.As(err, &f) {
			r.t.Fatal(f.error)
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
		<-tick.C
	}
}

// muster runs a command against the daemon and returns what it printed.
func (r *rig) muster(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.ctx, r.binary, append([]string{"--data-dir", r.data}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("muster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// json runs a command with --json into v.
func (r *rig) json(v any, args ...string) {
	r.t.Helper()
	out := r.muster(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		r.t.Fatalf("muster %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// show returns a host with its timeline.
func (r *rig) show(name string) host {
	r.t.Helper()
	var d host
	r.json(&d, "host", "show", name)
	return d
}

var installLine = regexp.MustCompile(`(?m)^ *install +(.+)$`)

// standing is where a host's installation is, as a person reads it.
func (r *rig) standing(name string) string {
	r.t.Helper()
	m := installLine.FindStringSubmatch(r.muster("host", "show", name))
	if m == nil {
		return ""
	}
	return m[1]
}

// hosts returns the roll.
func (r *rig) hosts() []host {
	r.t.Helper()
	var hs []host
	r.json(&hs, "host", "list")
	return hs
}

// events returns the stored events.
func (r *rig) events() []event {
	r.t.Helper()
	var es []event
	for line := range strings.Lines(r.muster("event", "list", "--json", "--lines")) {
		var e entry
		must(r.t, json.Unmarshal([]byte(line), &e))
		es = append(es, *e.Event)
	}
	return es
}

// tries runs a command that may fail, and returns what it printed.
func (r *rig) tries(args ...string) string {
	r.t.Helper()
	out, _ := exec.CommandContext(r.ctx, r.binary, append([]string{"--data-dir", r.data}, args...)...).Output()
	return string(out)
}

// fails runs a command that must fail, and returns what it said.
func (r *rig) fails(args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(r.ctx, r.binary, append([]string{"--data-dir", r.data}, args...)...).CombinedOutput()
	if err == nil {
		r.t.Fatalf("muster %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// status is the daemon's own account.
func (r *rig) status() status {
	r.t.Helper()
	var s status
	must(r.t, r.ask("/api/v1/status", &s))
	return s
}

// api is a client of the daemon's socket.
func (r *rig) api() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.data, "muster.sock"))
	}}}
}

// ask reads what the daemon's socket answers.
func (r *rig) ask(path string, v any) error {
	q, err := http.NewRequestWithContext(r.ctx, http.MethodGet, "http://muster"+path, nil)
	if err != nil {
		return err
	}
	a, err := r.api().Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, a.Status)
	}
	return json.NewDecoder(a.Body).Decode(v)
}
