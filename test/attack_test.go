// attack_test.go: somebody on the network tries to keep a machine of the roll from
// booting. Beside each attack that machine boots, in about the time it took before. Here
// is what the attacks share, and those on the log and on the socket.

package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/internal/simclient"
)

// siege is a lab with a machine of the roll, and a host of whom nobody knows that has
// many addresses.
type siege struct {
	*rig
	config string

	good  *nettest.NS
	args  []string // of its simulated boot
	peace time.Duration
	last  simclient.Transcript

	foe   *nettest.NS
	addrs []netip.Addr
}

const goodMAC = "52:54:00:00:0a:01"

// besiege serves a configuration in a wide subnet, puts a machine on the roll, and gives
// the foe so many addresses.
func besiege(t *testing.T, config string, foes int) *siege {
	t.Helper()
	r := newRig(t)
	var files unix.Rlimit
	if must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files)); files.Max < 10000 {
		nettest.Lack(t, fmt.Sprintf("needs 10000 open files, and may have %d: ulimit -n", files.Max))
	}
	s := &siege{rig: r, good: r.host("good", ""), foe: r.host("foe", "")}
	must(t, r.srv.Addr("eth0", serverAddr+"/16"))
	_, err := r.srv.Run(r.ctx, "ip", "addr", "del", serverAddr+"/24", "dev", "eth0")
	must(t, err)
	var batch bytes.Buffer
	for i, a := 0, netip.MustParseAddr("10.77.4.1"); i < foes; i, a = i+1, a.Next() {
		s.addrs = append(s.addrs, a)
		fmt.Fprintf(&batch, "addr add %s/16 dev eth0\n", a)
	}
	add := s.foe.Command(r.ctx, "ip", "-batch", "-")
	add.Stdin = &batch
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.fakeLoaders("snponly.efi", "undionly.kpxe")
	must(t, os.WriteFile(filepath.Join(r.data, "loaders", "ipxe.efi"), noise(4<<20), 0o644)) // more than a socket holds
	s.config = "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.100-10.77.0.200\"\n" + config
	r.serveConfig(s.config)
	kernel, initrd := r.smallLinux()
	r.pushLinux("linux", "", kernel, initrd, "quiet muster.report={{ .ReportURL }}")
	r.muster("host", "add", "good", "--mac", goodMAC, "--template", "linux", "--approved")
	return s
}

// settle says what the machine of the roll is, and how long it takes to boot in peace.
func (s *siege) settle(kind ...string) {
	s.t.Helper()
	s.args = append(kind, "-i", "eth0", "--mac", goodMAC, "--json", "--expect", "boot", "--timeout", "40s")
	s.boot() // what is made only once is made now
	s.peace = s.boot()
}

// boot boots the machine of the roll, and says how long that took.
func (s *siege) boot() time.Duration {
	s.t.Helper()
	at := time.Now()
	if code, said := s.simulate(s.good, &s.last, s.args...); code != 0 {
		s.t.Errorf("the machine of the roll does not boot: exit %d: %s", code, said)
	}
	return time.Since(at)
}

// stands boots the machine under an attack. The attack runs on the same processors, so
// that some time is its own.
func (s *siege) stands(attack string) {
	s.t.Helper()
	took := s.boot()
	s.t.Logf("a boot took %s, beside %s %s", s.peace.Round(time.Millisecond), attack, took.Round(time.Millisecond))
	if took > 3*s.peace+5*time.Second { // of which a busy machine may take some
		s.t.Errorf("beside %s a boot took %s, %s before", attack, took, s.peace)
	}
}

// during runs an attack in the background until the test, or stop, ends it.
func (s *siege) during(attack func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { attack(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.t.Cleanup(stop)
	return stop
}

// dropped is how often a bound was met, as the daemon's status counts it.
func (s *siege) dropped(what string) uint64 {
	s.t.Helper()
	var st struct {
		Dropped map[string]uint64 `json:"dropped"`
	}
	must(s.t, s.ask("/api/v1/status", &st))
	n, ok := st.Dropped[what]
	if !ok {
		s.t.Fatalf("the status does not count %q", what)
	}
	return n
}

// met waits until a bound was met so many times more.
func (s *siege) met(what string, before, times uint64) {
	s.t.Helper()
	s.wait("a bound to be met: "+what, 20*time.Second, func() error {
		if n := s.dropped(what) - before; n < times {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
}

// cling opens connections to a port, so many from each of some addresses, and does
// something with each. One that is over is opened again, though not more than 2000 in a
// second. It returns when as many have been opened, and counts them.
func (s *siege) cling(addrs []netip.Addr, port string, each int, do func(context.Context, net.Conn)) (opened *atomic.Int64, stop func()) {
	s.t.Helper()
	opened = new(atomic.Int64)
	stop = s.during(func(ctx context.Context) {
		pace := time.NewTicker(time.Second / 2000)
		defer pace.Stop()
		dialing := make(chan struct{}, 16) // each takes a thread
		var wg sync.WaitGroup
		defer wg.Wait()
		one := func(d *net.Dialer) {
			dialing <- struct{}{}
			var conn net.Conn
			err := s.foe.Do(func() (err error) {
				conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(serverAddr, port))
				return err
			})
			<-dialing
			if err != nil {
				return
			}
			opened.Add(1)
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			do(ctx, conn)
		}
		for _, a := range addrs {
			d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: a.AsSlice()}, Timeout: 5 * time.Second, Control: narrow}
			for range each {
				wg.Go(func() {
					for ctx.Err() == nil {
						one(d)
						select {
						case <-pace.C:
						case <-ctx.Done():
						}
					}
				})
			}
		}
	})
	s.passes(opened, len(addrs)*each)
	return opened, stop
}

// passes waits until so many more connections have been opened.
func (s *siege) passes(opened *atomic.Int64, n int) {
	s.t.Helper()
	want := opened.Load() + int64(n)
	s.wait(fmt.Sprintf("%d connections of the foe", n), 20*time.Second, func() error {
		if got := opened.Load(); got < want {
			return fmt.Errorf("%d of them", got-want+int64(n))
		}
		return nil
	})
}

// narrow has a socket take little, so that files stay with the server.
func narrow(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
}

// idle waits until the server ends the connection.
func idle(_ context.Context, c net.Conn) { io.Copy(io.Discard, c) }

// slow is another machine of the roll, on a line on which everything takes long. It has
// an address that it was given.
func (s *siege) slow() *nettest.NS {
	s.t.Helper()
	ns := s.host("slow", "")
	s.muster("host", "add", "slow", "--mac", s.mac(ns), "--template", "linux", "--approved")
	s.leased(ns)
	return ns
}

// decides has a person decide on a guest.
func (s *siege) decides() {
	s.t.Helper()
	s.muster("host", "add", "guest", "--mac", "52:54:00:00:0b:01")
	s.muster("host", "approve", "guest")
	s.muster("host", "deny", "guest")
}

// decided finds in the audit trail what decides did.
func (s *siege) decided() {
	s.t.Helper()
	audit := s.muster("event", "list", "--audit")
	for _, want := range []string{"guest approved by", "guest denied by"} {
		if !strings.Contains(audit, want) {
			s.t.Errorf("not in the audit trail: %s\n%s", want, audit)
		}
	}
}

// TestAttackSyslog: as many silent connections as the log takes, and more. A machine
// boots, its lines are kept, and a connection over which it says nothing for long stays.
func TestAttackSyslog(t *testing.T) {
	nettest.Need(t, "logger")
	s := besiege(t, "", 33)
	s.settle("uefi-x64")
	slow := s.slow()
	before := s.dropped("log connections, gave way")
	opened, _ := s.cling(s.addrs, "514", 8, idle)
	s.met("log connections, gave way", before, 1)
	s.stands("silent connections for log lines")
	silent, err := slow.Dial(s.ctx, "tcp", serverAddr+":514")
	must(t, err)
	defer silent.Close()
	s.passes(opened, 1000)
	if out, err := slow.Run(s.ctx, "logger", "-n", serverAddr, "-P", "514", "-T", "-t", "tcp", "beside them"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	fmt.Fprintln(silent, "<13>late: after all")
	s.logs("slow", "notice tcp: beside them", "notice late: after all")
}

// TestAttackSocket: who is neither root nor in the socket's group can order nothing.
func TestAttackSocket(t *testing.T) {
	nettest.Need(t, "curl", "setpriv")
	r := newRig(t)
	r.serveConfig(fullNetwork)
	for _, dir := range []string{filepath.Dir(r.data), r.data} {
		must(t, os.Chmod(dir, 0o755)) // the socket itself must keep him out
	}
	sock := filepath.Join(r.data, "muster.sock")
	st, err := os.Stat(sock)
	must(t, err)
	group := strconv.Itoa(int(st.Sys().(*syscall.Stat_t).Gid))
	for as, want := range map[string]bool{"65534": false, group: true} {
		out, err := r.srv.Run(r.ctx, "setpriv", "--reuid", "65534", "--regid", as, "--clear-groups", "curl", "-sS", "--fail", "--unix-socket", sock, "http://muster/api/v1/status")
		if (err == nil) != want || !want && !strings.Contains(out, "connect") {
			t.Errorf("group %s: %v\n%s", as, err, out)
		}
	}
}
