// syslog_test.go: machines that log, with loggers that we did not write.

package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// leased has a host boot as PXE firmware does, with busybox's client, and returns
// what its script was told.
func (r *rig) leased(ns *nettest.NS) (env string) {
	r.t.Helper()
	nettest.Need(r.t, "udhcpc")
	dir := r.t.TempDir()
	script := filepath.Join(dir, "script")
	must(r.t, os.WriteFile(script, []byte("#!/bin/sh\nenv > "+dir+"/$1\ncase $1 in bound) ip addr replace $ip/24 dev $interface;; deconfig) ip link set $interface up;; esac\n"), 0o755))
	if out, err := ns.Run(r.ctx, "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", script, "-t", "10", "-T", "1", "-O", "7", "-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007"); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(dir + "/bound")
	must(r.t, err)
	return string(b)
}

// hostLog returns the texts of what a host logged.
func (r *rig) hostLog(name string) (out []string) {
	r.t.Helper()
	for l := range strings.Lines(r.muster("host", "log", name)) {
		if _, l, ok := strings.Cut(strings.TrimSpace(l), "  | "); ok {
			out = append(out, strings.Join(strings.Fields(l), " "))
		}
	}
	return out
}

func (r *rig) logs(name string, want ...string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("lines %q", want), 10*time.Second, func() error {
		got := r.hostLog(name)
		for _, w := range want {
			if !slices.Contains(got, w) {
				return fmt.Errorf("%q", got)
			}
		}
		return nil
	})
}

// figure is one of the daemon's metrics.
func (r *rig) figure(name string) float64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(r.metrics())
	if m == nil {
		r.t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	must(r.t, err)
	return v
}

const lineMetric = `muster_syslog_lines_total{result=%q}`

// TestSyslog: lines of every installer's logger are on its machine's timeline;
// lines of a stranger are stored nowhere.
func TestSyslog(t *testing.T) {
	nettest.Need(t, "logger", "unshare", "curl")
	busybox := nettest.Cached(t, "busybox-amd64")
	r := newRig(t)
	r.serveConfig(fullNetwork)
	cli := r.host("cli", "")
	r.muster("host", "add", "web1", "--mac", r.mac(cli), "--approved")
	if env := r.leased(cli); !strings.Contains(env, "opt7=0a4d0001\n") {
		t.Errorf("the client was not told where to log:\n%s", env)
	}
	for _, args := range [][]string{
		{"-d", "-t", "udp", "by default"},
		{"-d", "--rfc3164", "-t", "udp", "-p", "daemon.err", "by 3164"},
		{"-d", "--rfc5424", "-t", "udp", "-p", "kern.crit", "--sd-id", "x@1", "--sd-param", `a="x"`, "by 5424"},
		{"-T", "-t", "tcp", "by line"},
		{"-T", "--octet-count", "-t", "tcp", "by count"},
		{"-T", "--rfc3164", "-t", "tcp", "by 3164"},
	} {
		if out, err := cli.Run(r.ctx, "logger", append([]string{"-n", serverAddr, "-P", "514"}, args...)...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	r.logs("web1", "notice udp: by default", "err udp: by 3164", "crit udp: by 5424", "notice tcp: by line", "notice tcp: by count", "notice tcp: by 3164")

	// As in the Debian installer: programs log to busybox, and that to us.
	installer := cli.Command(r.ctx, "unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev && mknod /dev/null c 1 3 &&
		`+busybox+` syslogd -n -R `+serverAddr+` & until [ -S /dev/log ]; do :; done
		`+busybox+` logger -t main-menu[212] -p daemon.warning "it failed" && read x; kill $!`)
	stdin, err := installer.StdinPipe()
	must(t, err)
	must(t, installer.Start())
	r.logs("web1", "warning main-menu: it failed")
	stdin.Close()
	_ = installer.Wait()

	// In the order in which it happened.
	shown := r.muster("host", "show", "web1")
	var at []int
	for _, w := range []string{"request   -> ack", "| notice  udp: by default", "| err     udp: by 3164", "| warning main-menu: it failed"} {
		at = append(at, strings.Index(shown, w))
	}
	if !slices.IsSorted(at) || at[0] < 0 {
		t.Errorf("not in order %v:\n%s", at, shown)
	}
	if all := r.muster("event", "list", "--all", "--host", "web1"); !strings.Contains(all, "by 5424") {
		t.Errorf("event list --all has no lines:\n%s", all)
	}

	// As it happens.
	follow := exec.CommandContext(r.ctx, r.binary, "--data-dir", r.data, "host", "log", "web1", "--follow", "--json")
	out := &lockedBuffer{}
	follow.Stdout, follow.Stderr = out, out
	must(t, follow.Start())
	go follow.Wait()
	r.wait("what is there already", 10*time.Second, func() error {
		if !strings.Contains(out.String(), "it failed") {
			return errors.New(out.String())
		}
		return nil
	})
	_, err = cli.Run(r.ctx, "logger", "-n", serverAddr, "-d", "-t", "udp", "-p", "user.debug", "one more")
	must(t, err)
	r.wait("the next line", 10*time.Second, func() error {
		if !strings.Contains(out.String(), `"line":{"severity":"debug","facility":"user","app":"udp","text":"one more"}`) {
			return errors.New(out.String())
		}
		return nil
	})

	stranger := r.host("stranger", "10.77.0.50/24")
	_, err = stranger.Run(r.ctx, "logger", "-n", serverAddr, "-d", "let me in")
	must(t, err)
	_, err = stranger.Run(r.ctx, "logger", "-n", serverAddr, "-P", "514", "-T", "let me in")
	must(t, err)
	r.wait("the stranger to be counted", 10*time.Second, func() error {
		if n := r.figure(fmt.Sprintf(lineMetric, "stranger")); n != 2 {
			return fmt.Errorf("%v lines of strangers", n)
		}
		return nil
	})
	if all := r.muster("event", "list", "--all"); strings.Contains(all, "let me in") || strings.Contains(all, "10.77.0.50") {
		t.Errorf("a stranger left a trace:\n%s", all)
	}
	if n := r.figure(fmt.Sprintf(lineMetric, "kept")); n != 8 {
		t.Errorf("%v lines kept, want 8", n)
	}

	// What was said survives a restart.
	r.stop(false)
	r.serveConfig(fullNetwork)
	r.logs("web1", "notice tcp: by count", "debug udp: one more")
}

// TestSyslogFlood: a machine that logs 100,000 lines at once is bounded, and no
// other machine notices.
func TestSyslogFlood(t *testing.T) {
	nettest.Need(t, "curl")
	const lines = 100000
	r := newRig(t)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.220", "unknown_share = 100"))
	cli := r.host("cli", "")
	r.muster("host", "add", "loud", "--mac", r.mac(cli), "--approved")
	r.leased(cli)
	pid := r.child(r.proc.Process.Pid)
	before := resident(t, pid)
	c, err := cli.Dial(r.ctx, "udp", serverAddr+":514")
	must(t, err)
	defer c.Close()
	stream, err := cli.Dial(r.ctx, "tcp", serverAddr+":514")
	must(t, err)
	defer stream.Close()
	var wg sync.WaitGroup
	began := time.Now()
	flood := func(c net.Conn, end string) {
		for i := range lines / 2 {
			if _, err := fmt.Fprintf(c, "<13>Mar  4 12:00:00 loud: line %d of too many, and %s%s", i, strings.Repeat("more ", 100), end); err != nil {
				return
			}
		}
	}
	wg.Go(func() { flood(c, "") })
	wg.Go(func() { flood(stream, "\n") })
	crowd := newCrowd(t, r.host("others", ""))
	ms := newMachines(100, 7)
	errs := make([]error, len(ms))
	var took []time.Duration
	for i, m := range ms {
		at := time.Now()
		errs[i] = crowd.lease(r.ctx, m)
		took = append(took, time.Since(at))
	}
	for i, err := range errs {
		if err != nil {
			t.Errorf("machine %d beside the flood: %v", i, err)
		}
	}
	// The kernel's queues are everybody's: a packet may be lost in them, and a
	// client asks again after a second. Most must not have to.
	slices.Sort(took)
	if took[90] > 900*time.Millisecond {
		t.Errorf("of 100 machines beside the flood ten waited %s and more", took[90])
	}
	wg.Wait()
	stream.Close()
	lasted := time.Since(began)
	count := func(result string) float64 { return r.figure(fmt.Sprintf(lineMetric, result)) }
	r.wait("the sink to be idle", 20*time.Second, func() error {
		if n := r.figure("muster_syslog_connections"); n != 0 {
			return fmt.Errorf("%v connections", n)
		}
		return nil
	})
	kept, lost := count("kept"), count("too-fast")+count("too-many")+count("overflow")
	if most := 1000 + 200*(lasted.Seconds()+20); kept < 1000 || kept > most || lost == 0 || kept+lost < lines*0.95 || kept+lost > lines {
		t.Errorf("%v kept and %v counted as lost of %d in %s; at most %v may be kept", kept, lost, lines, lasted, most)
	}
	if grown := resident(t, pid) - before; grown > 48<<20 {
		t.Errorf("the flood cost %d MiB", grown>>20)
	}
	d := r.show("loud")
	said, asked := 0, 0
	for _, e := range d.Timeline {
		if e.Request != nil && e.Request.Line != nil {
			said++
		} else if e.Request != nil && e.Request.Via == "dhcp4" {
			asked++
		}
	}
	if said != 256 || asked < 2 {
		t.Errorf("%d lines and %d of its requests are on the timeline, want 256 and all", said, asked)
	}
	t.Logf("%.0f kept, %.0f lost in %s; a lease beside it took %s, the slowest %s; %d KiB grown", kept, lost, lasted, took[50], took[99], (resident(t, pid)-before)>>10)
}

// resident is the memory that a process has, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	must(t, err)
	n, err := strconv.Atoi(strings.Fields(string(b))[1])
	must(t, err)
	return n * os.Getpagesize()
}

// TestSyslogPortTaken: beside another syslog daemon everything else works, unless
// a person asked for the port.
func TestSyslogPortTaken(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		r := newRig(t)
		var other interface{ Close() error }
		var err error
		if network == "udp" {
			other, err = r.srv.ListenPacket("udp4", ":514")
		} else {
			other, err = r.srv.Listen("tcp4", ":514")
		}
		must(t, err)
		defer other.Close()
		r.serveConfig(fullNetwork)
		if said := r.out.String(); strings.Count(said, "log lines are not taken") != 1 || !strings.Contains(said, "port 514/"+network+" is taken by "+filepath.Base(os.Args[0])) {
			t.Errorf("it said:\n%s", said)
		}
		cli := r.host("cli", "")
		if env := r.leased(cli); strings.Contains(env, "opt7") {
			t.Errorf("the client was told to log where nobody listens:\n%s", env)
		}
		r.stop(false)
		conf := filepath.Join(t.TempDir(), "muster.toml")
		must(t, os.WriteFile(conf, []byte(fullNetwork+"[syslog]\nlisten=\":514\"\n"), 0o644))
		out, err := r.srv.Run(r.ctx, r.binary, "serve", "--data-dir", r.data, "--config", conf)
		if err == nil || !strings.Contains(out, "port 514/"+network+" is taken") {
			t.Errorf("asked for, it said: %v\n%s", err, out)
		}
		must(t, os.WriteFile(conf, []byte(fullNetwork+"[syslog]\nlisten=\"off\"\n"), 0o644))
		r.serve("--config", conf)
		if said := r.out.String(); strings.Contains(said, "log lines") || strings.Contains(said, "port 514") {
			t.Errorf("off, it said:\n%s", said)
		}
	}
}
