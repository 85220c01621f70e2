// conformance_fault_test.go: the server's clock jumps, and the server is
// killed under load.

package test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/test/clock"
)

// TestKilledUnderLoad: kill -9 while perfdhcp asks for 50,000 machines, again
// and again. Each time the store has every address that a machine was told, and
// no address was ever told to two. MUSTER_LONG makes it fifty kills.
func TestKilledUnderLoad(t *testing.T) {
	nettest.Need(t, "perfdhcp")
	rounds := 5
	if os.Getenv("MUSTER_LONG") != "" {
		rounds = 50
	}
	r := newLab(t)
	must(t, r.srv.Addr("eth0", "10.80.0.1/16"))
	cli := r.host("cli", "10.80.0.2/16")
	conf := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(conf, []byte(serves("lab", "10.80.1.0-10.80.254.232", `subnet = "10.80.0.0/16"`,
		`lease = "12h"`, `unknown_lease = "12h"`, `unknown_share = 100`, `new_leases = 0`)), 0o644))

	// What the clients' side of the cable saw.
	k := newKilling()
	told := map[string]netip.Addr{}
	whose := map[netip.Addr]string{}
	watch(t, cli, "eth0", func(m message) {
		if m.MessageType() != dhcpv4.MessageTypeAck {
			return
		}
		mac, a := m.ClientHWAddr.String(), m.your()
		k.saw(func() {
			if o, ok := whose[a]; ok && o != mac {
				t.Errorf("%s was acknowledged to %s, who has it, and to %s", a, o, mac)
			}
			if old, ok := told[mac]; ok && old != a {
				delete(whose, old) // one machine, one address: it left the other
			}
			told[mac], whose[a] = a, mac
		})
	})
	k.rounds(r, rounds, 50, conf, func(ctx context.Context, base string) *exec.Cmd {
		return cli.Command(ctx, "perfdhcp", "-4", "-l", "eth0", "-r", "1500", "-R", "50000", "-p", "60", "-b", base, "10.80.0.1")
	}, func(lost func(string, ...any)) int {
		held := r.leases()
		for mac, a := range told {
			if held[mac].Addr != a {
				lost("%s was told %s, after the kill the store says %+v", mac, a, held[mac])
			}
		}
		return len(told)
	})
}

// killing kills a daemon in the middle of a load, again and again.
type killing struct {
	mu          sync.Mutex
	seen, until int
	enough      chan struct{}
}

func newKilling() *killing { return &killing{enough: make(chan struct{}, 1)} }

// saw counts a promise to a client; note writes it down.
func (k *killing) saw(note func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	note()
	if k.seen++; k.seen == k.until {
		k.enough <- struct{}{}
	}
}

// rounds loads, kills after at least some promises, starts again and has kept
// compare the store with what was promised; it tells how many that were.
func (k *killing) rounds(r *rig, n, some int, conf string, load func(ctx context.Context, base string) *exec.Cmd, kept func(lost func(string, ...any)) int) {
	t := r.t
	t.Helper()
	r.serve("--config", conf)
	machines := 0
	for round := range n {
		k.mu.Lock()
		k.until = k.seen + some + round*397%1500 // another moment each time
		k.mu.Unlock()
		ctx, cancel := context.WithCancel(r.ctx)
		cmd := load(ctx, fmt.Sprintf("mac=52:54:%02x:00:00:00", round/2)) // each machine twice: as new, and as known
		out := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		must(t, cmd.Start())
		select {
		case <-k.enough:
		case <-time.After(20 * time.Second):
			cancel()
			cmd.Wait()
			t.Fatalf("round %d: too few replies in 20 s\n%s", round, out)
		}
		r.stop(true)
		cancel()
		cmd.Wait()
		if err := r.storeErr(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r.serve("--config", conf)
		lost := 0
		k.mu.Lock()
		machines = kept(func(format string, args ...any) {
			if lost++; lost <= 5 {
				t.Errorf("round %d: "+format, append([]any{round}, args...)...)
			}
		})
		k.mu.Unlock()
		if t.Failed() {
			t.Fatalf("round %d: %d of %d lost", round, lost, machines)
		}
	}
	t.Logf("%d replies to %d machines over %d kills, all kept", k.seen, machines, n)
}

// clockLab is a lab whose Muster has a clock that jump sets, off by so much.
// Four machines, in this order, hold addresses of nine.
func clockLab(t *testing.T, kinds ...string) (r *rig, w *wire, ps []*peer, jump func(time.Duration)) {
	t.Helper()
	needPeers(t)
	r = newLab(t)
	w = watch(t, r.sw.NS, nettest.BridgeName, nil)
	offset := filepath.Join(t.TempDir(), "clock")
	jump = func(d time.Duration) {
		// In one step: Muster may be reading.
		must(t, os.WriteFile(offset+".new", []byte(d.String()), 0o644))
		must(t, os.Rename(offset+".new", offset))
	}
	jump(0)
	r.binary = jumping.program(t)
	r.wrap = []string{"env", clock.File + "=" + offset}
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.108", `lease = "10m"`, `unknown_lease = "10m"`, `unknown_share = 100`, `new_leases = 0`))
	for i, kind := range kinds {
		p := r.peer(kind, fmt.Sprintf("cli%d", i), r.sw)
		p.start(w)
		ps = append(ps, p)
	}
	for _, p := range ps {
		p.had = p.bound(w, 30*time.Second).your()
	}
	return r, w, ps, jump
}

// again has a client ask for the address it has, by renewing or starting anew,
// and wants it to get that.
func (p *peer) again(w *wire) {
	p.t.Helper()
	n := len(w.of(p.mac))
	if p.reboots {
		p.cut()
		p.start(w)
	} else {
		must(p.t, p.cmd.Process.Signal(syscall.SIGUSR1))
	}
	p.wait(p.kind+" to keep "+p.had.String(), 20*time.Second, func() error {
		ms := w.after(p.mac, n)
		if said(ms, "NAK") || said(ms, "DISCOVER") {
			return fatal{fmt.Errorf("%s had %s and lost it:%s", p.kind, p.had, story(w.of(p.mac)))}
		}
		if !said(ms, "ACK") || last(ms).your() != p.had {
			return fmt.Errorf("so far:%s", story(ms))
		}
		return nil
	})
}

// TestClockJumps: the server's clock goes an hour ahead, back, and an hour
// behind, while machines hold leases. They renew and come back to the address
// they have, and no newcomer gets it as long as they answer on it.
func TestClockJumps(t *testing.T) {
	r, w, ps, jump := clockLab(t, "udhcpc", "dhclient", "udhcpc", "busybox")
	live := map[netip.Addr]*peer{}
	for _, p := range ps {
		live[p.had] = p
	}
	crowd := newCrowd(t, r.host("crowd", ""))
	for i, now := range []time.Duration{time.Hour, 0, -time.Hour} {
		jump(now)
		ps[0].again(w)
		ps[1].again(w)
		// The other two have not renewed. After a jump ahead their time is over
		// by this clock, but they are there.
		for n, m := range newMachines(7, 10+i) {
			ctx, cancel := context.WithTimeout(r.ctx, 3*time.Second)
			err := crowd.lease(ctx, m)
			cancel()
			if err != nil {
				break // the pool is empty
			}
			if o := live[m.addr]; o != nil {
				t.Errorf("clock %s: %s was given %s, on which %s answers:%s", now, m.mac, m.addr, o.kind, story(w.of(m.mac.String())))
			}
			if n == 0 && now > 0 {
				r.wait("Muster to see who is still there", 10*time.Second, func() error {
					for _, p := range ps[2:] {
						if !slices.ContainsFunc(r.events(), func(e event) bool {
							return e.Kind == "lease.conflict" && e.MAC == p.mac
						}) {
							return fmt.Errorf("no event names %s on %s", p.mac, p.had)
						}
					}
					return nil
				})
			}
		}
		ps[2].again(w)
		ps[3].again(w)
		at := time.Now().Add(now)
		held := map[netip.Addr]lease{}
		var ls []lease
		r.json(&ls, "lease", "list", "--all") // what has ended by which clock is not the question
		for _, l := range ls {
			if o, ok := held[l.Addr]; ok {
				t.Errorf("clock %s: two leases of one address: %+v, %+v", now, o, l)
			}
			held[l.Addr] = l
		}
		for _, p := range ps {
			l := held[p.had]
			if l.Holder != p.mac || l.Kind == declined || !l.Expires.After(at) || l.Expires.After(at.Add(11*time.Minute)) || !l.Starts.Before(l.Expires) {
				t.Errorf("clock %s (%s): %s renewed %s, and its lease is %+v", now, at.UTC(), p.kind, p.had, l)
			}
		}
	}
	if strings.Contains(r.out.String(), "panic") {
		t.Error("muster panicked")
	}
}

// TestClockAheadRush: as before, but many newcomers ask in the moment after the
// jump, sooner than anybody who is there can have answered.
func TestClockAheadRush(t *testing.T) {
	r, w, ps, jump := clockLab(t, "udhcpc", "udhcpc", "busybox", "busybox")
	crowd := newCrowd(t, r.host("crowd", ""))
	jump(time.Hour)
	for _, m := range newMachines(9, 20) {
		ctx, cancel := context.WithTimeout(r.ctx, 3*time.Second)
		err := crowd.lease(ctx, m)
		cancel()
		if err != nil {
			break // the pool is empty
		}
		for _, p := range ps {
			if p.had == m.addr {
				t.Errorf("%s was given %s, on which %s answers:%s", m.mac, m.addr, p.kind, story(w.of(m.mac.String())))
			}
		}
	}
	for _, p := range ps {
		p.again(w)
	}
}

// TestStoreLost: Muster starts with an empty store among machines that hold its
// addresses. Whoever comes back to renew keeps what it has.
func TestStoreLost(t *testing.T) {
	r, w, ps, _ := clockLab(t, "udhcpc", "dhclient")
	r.stop(false)
	must(t, os.RemoveAll(r.data))
	r.binary, r.wrap = shipped.program(t), nil
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.108"))
	// It looks at what it would give out.
	for _, p := range ps {
		r.wait("Muster to see who is there", 10*time.Second, func() error {
			if !slices.ContainsFunc(r.events(), func(e event) bool { return e.Kind == "lease.conflict" && e.MAC == p.mac }) {
				return fmt.Errorf("no event names %s on %s", p.mac, p.had)
			}
			return nil
		})
	}
	for _, p := range ps {
		p.again(w)
	}
}
