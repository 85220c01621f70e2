// hooks_lab_test.go: webhooks and hooks of the whole program. A slow receiver
// delays no machine, and no event is lost.

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

var avgDelay = regexp.MustCompile(`avg delay: ([0-9.]+) ms`)

// quickness leases and boots for a while. It returns the mean times of OFFERs,
// ACKs and files in milliseconds. No request may fail.
func (r *rig) quickness(cli *nettest.NS, round int) (took [3]float64) {
	r.t.Helper()
	out, err := cli.Run(r.ctx, "perfdhcp", "-4", "-l", "eth0", "-r", "50", "-R", "1000", "-p", "5", "-D", "1%",
		"-o", "60,505845436c69656e74", "-o", "93,0007", "-b", fmt.Sprintf("mac=52:54:%02x:00:00:00", round), "10.80.0.1")
	found := avgDelay.FindAllStringSubmatch(out, -1)
	if len(found) != 2 {
		r.t.Fatalf("perfdhcp: %v\n%s", err, out)
	}
	for i, m := range found {
		took[i], _ = strconv.ParseFloat(m[1], 64)
	}
	c := &http.Client{Transport: &http.Transport{DialContext: cli.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	began := time.Now()
	const files = 50
	for range files {
		resp, err := c.Get("http://10.80.0.1/ipxe.efi")
		must(r.t, err)
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || n != 100_000 {
			r.t.Fatalf("ipxe.efi: %d bytes, %v", n, err)
		}
	}
	took[2] = float64(time.Since(began).Milliseconds()) / files
	return took
}

// receiver keeps what a webhook brings.
type receiver struct {
	mu  sync.Mutex
	got []uint64
}

func (x *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var e struct{ Data event }
	if json.NewDecoder(q.Body).Decode(&e) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got = append(x.got, e.Data.Seq)
}

func (r *rig) webhooks() map[string]webhook {
	r.t.Helper()
	var ss []webhook
	r.json(&ss, "webhook", "list")
	m := map[string]webhook{}
	for _, s := range ss {
		m[s.Name] = s
	}
	return m
}

// hangup has muster read its configuration again.
func (r *rig) hangup() {
	r.t.Helper()
	before := strings.Count(r.out.String(), "configuration reloaded")
	must(r.t, syscall.Kill(r.child(r.proc.Process.Pid), syscall.SIGHUP))
	r.wait("the reload", 10*time.Second, func() error {
		if strings.Count(r.out.String(), "configuration reloaded") == before {
			return errors.New(r.out.String())
		}
		return nil
	})
}

// TestHooksDelayNobody: with a receiver that hangs and a command that hangs,
// machines are answered as before; after a kill, and once the receiver is well,
// it gets every event in order.
func TestHooksDelayNobody(t *testing.T) {
	nettest.Need(t, "perfdhcp")
	r := newRig(t)
	must(t, r.srv.Addr("eth0", "10.80.0.1/16"))
	cli, sink := r.host("cli", "10.80.0.2/16"), r.host("sink", "10.80.0.3/16")
	must(t, os.MkdirAll(filepath.Join(r.data, "loaders"), 0o755))
	must(t, os.WriteFile(filepath.Join(r.data, "loaders", "ipxe.efi"), make([]byte, 100_000), 0o644))
	key, prog, conf := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "hangs"), filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n"), 0o600))
	must(t, os.WriteFile(prog, []byte("#!/bin/sh\nsleep 1000\n"), 0o755))
	plainConf := serves("lab", "10.80.1.0-10.80.254.232", `subnet = "10.80.0.0/16"`, `unknown_share = 100`, `new_leases = 0`)
	must(t, os.WriteFile(conf, []byte(plainConf), 0o644))
	r.serve("--config", conf)
	without := r.quickness(cli, 1)

	hooks := fmt.Sprintf("[[webhook]]\nname = \"cmdb\"\nurl = \"http://10.80.0.3:8080/x?token=hush\"\nsecret_file = %q\ntimeout = \"2s\"\n[[hook]]\nname = \"prog\"\ncommand = [%q]\ntimeout = \"5m\"\n", key, prog)
	must(t, os.WriteFile(conf, []byte(plainConf+hooks), 0o644))
	l, err := sink.Listen("tcp", "10.80.0.3:8080")
	must(t, err)
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c) // and not a word
		}
	}()
	r.hangup()
	begun := r.events()
	first := begun[len(begun)-1].Seq + 1
	// A hundred machines are an event each.
	roll := filepath.Join(t.TempDir(), "roll.csv")
	rows := "name,mac\n"
	for i := range 100 {
		rows += fmt.Sprintf("m%d,52:54:00:00:78:%02x\n", i, i)
	}
	must(t, os.WriteFile(roll, []byte(rows), 0o644))
	r.muster("host", "import", roll)
	with := r.quickness(cli, 2)
	t.Logf("OFFER, ACK and file in ms: %v without, %v with hooks that hang", without, with)
	for i := range with {
		// Far below the time of one exchange that hangs; the rest is this machine.
		if with[i] > 4*without[i]+20 {
			t.Errorf("%v ms with hooks that hang, %v without", with, without)
		}
	}
	var st map[string]webhook
	r.wait("the webhook's time to be over", 20*time.Second, func() error {
		if st = r.webhooks(); st["cmdb"].Error != "no answer within 2s" {
			return fmt.Errorf("%+v", st["cmdb"])
		}
		return nil
	})
	if s := st["cmdb"]; s.Behind < 100 || s.Counts.Delivered != 0 || s.Counts.Failed == 0 || s.Where != "http://10.80.0.3:8080/x" {
		t.Errorf("cmdb: %+v", s)
	}
	if s := st["prog"]; s.Behind < 100 || s.State != "sending" {
		t.Errorf("prog: %+v", s)
	}
	if s := r.fails("webhook", "test", "cmdb"); !strings.Contains(s, "no answer within 2s") {
		t.Errorf("test says %s", s)
	}
	if s := r.metrics(); !strings.Contains(s, `muster_webhook_behind_events{name="cmdb"}`) || strings.Contains(s, "hush") {
		t.Errorf("metrics are\n%s", s)
	}
	r.stop(true)
	l.Close()
	<-done
	for _, c := range held {
		c.Close()
	}

	x := &receiver{}
	l, err = sink.Listen("tcp", "10.80.0.3:8080")
	must(t, err)
	srv := &http.Server{Handler: x}
	go srv.Serve(l)
	defer srv.Close()
	must(t, os.WriteFile(prog, []byte("#!/bin/sh\necho $MUSTER_EVENT_SEQ >> "+prog+".out\n"), 0o755))
	r.serve("--config", conf)
	last := func() uint64 { es := r.events(); return es[len(es)-1].Seq }
	r.wait("the backlog", time.Minute, func() error {
		for n, s := range r.webhooks() {
			if s.Behind > 0 {
				return fmt.Errorf("%s: %+v", n, s)
			}
		}
		return nil
	})
	// Killed in the middle: an event whose delivery was not recorded comes
	// again, and none is left out.
	r.muster("host", "add", "one", "--mac", "52:54:00:00:77:01")
	r.wait("one", 20*time.Second, func() error { return x.has(last()) })
	r.stop(true)
	r.serve("--config", conf)
	r.muster("host", "add", "two", "--mac", "52:54:00:00:77:02")
	end := last()
	r.wait("two", 20*time.Second, func() error { return x.has(end) })
	if s := r.muster("webhook", "test", "cmdb"); !strings.Contains(s, "cmdb took the ping: HTTP 200 OK") {
		t.Errorf("test says %s", s)
	}
	x.mu.Lock()
	got := slices.DeleteFunc(slices.Clone(x.got), func(n uint64) bool { return n == 0 })
	x.mu.Unlock()
	complete(t, "cmdb", got, first, end)
	var ran []uint64
	r.wait("the command", 20*time.Second, func() error {
		b, err := os.ReadFile(prog + ".out")
		ran = nil
		for _, s := range strings.Fields(string(b)) {
			n, _ := strconv.ParseUint(s, 10, 64)
			ran = append(ran, n)
		}
		if !slices.Contains(ran, end) {
			return fmt.Errorf("not at %d yet, %v", end, err)
		}
		return nil
	})
	complete(t, "prog", ran, first, end)
	if s := r.out.String() + r.muster("webhook", "list", "--json") + r.muster("event", "list", "--json"); strings.Contains(s, "hush") || strings.Contains(s, "MDEyMz") {
		t.Error("a secret was said")
	}
}

func (x *receiver) has(seq uint64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Contains(x.got, seq) {
		return fmt.Errorf("%d is not among %d", seq, len(x.got))
	}
	return nil
}

// complete checks that every number came, the first time in order.
func complete(t *testing.T, who string, got []uint64, first, last uint64) {
	t.Helper()
	next := first
	for _, n := range got {
		switch {
		case n == next:
			next++
		case n > next:
			t.Fatalf("%s: %d came before %d", who, n, next)
		}
	}
	if next != last+1 || len(got) > int(last-first)+100 {
		t.Errorf("%s: %d messages up to %d, want %d to %d", who, len(got), next-1, first, last)
	}
}

// TestReceiverOfTheManual: the program in docs/events.md accepts signed
// messages, and nothing else.
func TestReceiverOfTheManual(t *testing.T) {
	nettest.Need(t, "python3", "curl")
	text, err := os.ReadFile("../docs/events.md")
	must(t, err)
	_, code, _ := strings.Cut(string(text), "```python\n")
	code, _, _ = strings.Cut(code, "```")
	r := newRig(t)
	key, conf := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n"), 0o600))
	cmd := r.srv.Command(r.ctx, "python3", "-c", strings.ReplaceAll(code, "/etc/muster/cmdb.key", key))
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	defer func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); cmd.Wait() }()
	must(t, os.WriteFile(conf, []byte(fmt.Sprintf("[[webhook]]\nname = \"cmdb\"\nurl = \"http://127.0.0.1:8080/\"\nsecret_file = %q\n", key)), 0o644))
	r.serve("--config", conf)
	r.wait("a ping", 20*time.Second, func() error {
		s := r.tries("webhook", "test", "cmdb")
		if !strings.Contains(s, "took the ping: HTTP 204") {
			return errors.New(s + out.String())
		}
		return nil
	})
	if s, _ := r.srv.Run(r.ctx, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "webhook-id: a", "-H", "webhook-timestamp: 1", "-H", "webhook-signature: v1,x", "-d", "{}", "http://127.0.0.1:8080/"); s != "401" {
		t.Errorf("a forged message: %s", s)
	}
	r.muster("host", "add", "web1", "--mac", "52:54:00:00:00:01")
	r.wait("the event", 20*time.Second, func() error {
		if !strings.Contains(out.String(), "muster.host.added web1") {
			return errors.New(out.String())
		}
		return nil
	})
}

// TestFollowOutlives: a follower goes on over a restart, without a gap and without
// telling anything twice.
func TestFollowOutlives(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	r.muster("host", "add", "before", "--mac", "52:54:00:00:00:09")
	follow := exec.CommandContext(r.ctx, r.binary, "--data-dir", r.data, "event", "list", "--follow", "--json", "--kind", "host.*")
	out := &lockedBuffer{}
	follow.Stdout = out
	must(t, follow.Start())
	go follow.Wait()
	for i, kill := range []bool{false, true, false} {
		name := fmt.Sprint("web", i)
		r.muster("host", "add", name, "--mac", fmt.Sprintf("52:54:00:00:00:0%d", i))
		r.wait("the event", 20*time.Second, func() error {
			if !strings.Contains(out.String(), name) {
				return errors.New(out.String())
			}
			return nil
		})
		r.stop(kill)
		r.serveConfig(fullNetwork)
	}
	var seqs []uint64
	for line := range strings.Lines(out.String()) {
		var e struct{ Event event }
		must(t, json.Unmarshal([]byte(line), &e))
		seqs = append(seqs, e.Event.Seq)
	}
	if want := []uint64{1, 2, 3, 4}; !slices.Equal(seqs, want) {
		t.Errorf("told %d, want %d", seqs, want)
	}
}

// TestHookWithoutCapabilities: the service has capabilities for its sockets,
// and the commands that it runs do not.
func TestHookWithoutCapabilities(t *testing.T) {
	nettest.Need(t, "setpriv")
	r := newRig(t)
	for _, dir := range []string{filepath.Dir(r.binary), filepath.Dir(r.data)} {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.Chown(r.data, 65534, 65534))
	conf := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(conf, []byte("[[hook]]\nname = \"caps\"\ncommand = [\"/bin/sh\", \"-c\", \"grep -hE '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status; exit 3\"]\n"), 0o644))
	r.wrap = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--"}
	r.serve("--config", conf)
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.child(r.proc.Process.Pid)))
	if err != nil || !regexp.MustCompile(`(?m)^CapAmb:\s+0*2000$`).Match(own) {
		t.Fatalf("muster itself has not what it should: %v\n%s", err, own)
	}
	if s := r.fails("webhook", "test", "caps"); !regexp.MustCompile(`CapPrm:\s+0{16} CapEff:\s+0{16} CapAmb:\s+0{16}`).MatchString(s) {
		t.Errorf("the command has %s", s)
	}
}
