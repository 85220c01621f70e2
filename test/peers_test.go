// peers_test.go: clients that we did not write, in network namespaces, and
// what a killed daemon still knows.

package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
)

// leases returns who holds what now.
func (r *rig) leases() map[string]lease {
	r.t.Helper()
	var ls []lease
	r.json(&ls, "lease", "list")
	out := map[string]lease{}
	for _, l := range ls {
		out[l.Holder] = l
	}
	return out
}

// mac reads a host's hardware address.
func (r *rig) mac(ns *nettest.NS) string {
	r.t.Helper()
	out, err := ns.Run(r.ctx, "cat", "/sys/class/net/eth0/address")
	must(r.t, err)
	return strings.TrimSpace(out)
}

var inet = regexp.MustCompile(`inet (10\.77\.0\.\d+)/24`)

func (r *rig) address(ns *nettest.NS) string {
	r.t.Helper()
	out, err := ns.Run(r.ctx, "ip", "-4", "addr", "show", "dev", "eth0")
	must(r.t, err)
	if m := inet.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return ""
}

// TestDhclient: the ISC client gets, renews and releases.
func TestDhclient(t *testing.T) {
	nettest.Need(t, "dhclient")
	r := newRig(t)
	r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110", "--lease", "1m")
	ns := r.host("cli", "")
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	must(t, os.WriteFile(conf, []byte("timeout 10;\n"), 0o644))
	// The script sets the address and nothing of the machine that runs us.
	script := filepath.Join(dir, "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$reason $new_ip_address\" >> "+dir+"/log\ncase $reason in BOUND|RENEW|REBIND|REBOOT) ip addr replace $new_ip_address/24 dev $interface;; RELEASE|EXPIRE|STOP) ip addr flush dev $interface;; PREINIT) ip link set $interface up;; esac\nexit 0\n"), 0o755))
	args := []string{"-4", "-v", "-cf", conf, "-lf", dir + "/leases", "-pf", dir + "/pid", "-sf", script}
	if out, err := ns.Run(r.ctx, "dhclient", append(args, "-1", "eth0")...); err != nil {
		t.Fatalf("dhclient: %v\n%s", err, out)
	}
	mac := r.mac(ns)
	first := r.leases()[mac]
	if !first.Addr.IsValid() || r.address(ns) != first.Addr.String() {
		t.Fatalf("the client has %s, the store says %+v", r.address(ns), first)
	}
	// The client itself renews at half the lease.
	r.wait("a renewal", 50*time.Second, func() error {
		if l := r.leases()[mac]; !l.Expires.After(first.Expires) || l.Addr != first.Addr {
			return fmt.Errorf("lease is %+v", l)
		}
		return nil
	})
	if out, err := ns.Run(r.ctx, "dhclient", append(args, "-r", "eth0")...); err != nil {
		t.Fatalf("dhclient -r: %v\n%s", err, out)
	}
	r.wait("the release", 5*time.Second, func() error {
		if l, ok := r.leases()[mac]; ok {
			return fmt.Errorf("still leased: %+v", l)
		}
		return nil
	})
	if hs := r.hosts(); len(hs) != 0 {
		t.Errorf("a client that boots nothing is on the roll: %+v", hs)
	}
}

// TestUdhcpc: busybox's client, as package udhcpc and in busybox itself, gets,
// renews on demand, and releases.
func TestUdhcpc(t *testing.T) {
	busybox, err := nettest.CachePath("busybox-amd64")
	if err != nil {
		busybox = "/missing/busybox"
	}
	for name, client := range map[string][]string{"udhcpc": {"udhcpc"}, "busybox": {busybox, "udhcpc"}} {
		t.Run(name, func(t *testing.T) {
			nettest.Need(t, client[0])
			r := newRig(t)
			r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
			ns := r.host("cli", "")
			dir := t.TempDir()
			script := filepath.Join(dir, "script")
			must(t, os.WriteFile(script, []byte("#!/bin/sh\necho $1 $ip >> "+dir+"/log\ncase $1 in bound|renew) ip addr replace $ip/24 dev $interface;; deconfig) ip addr flush dev $interface; ip link set $interface up;; esac\n"), 0o755))
			cmd := ns.Command(r.ctx, client[0], append(client[1:], "-f", "-R", "-i", "eth0", "-s", script, "-t", "5", "-T", "1")...)
			out := &lockedBuffer{}
			cmd.Stdout, cmd.Stderr = out, out
			must(t, cmd.Start())
			done := make(chan struct{})
			go func() { cmd.Wait(); close(done) }()
			mac := r.mac(ns)
			log := func() string { b, _ := os.ReadFile(dir + "/log"); return string(b) }
			r.wait("the lease", 20*time.Second, func() error {
				if !strings.Contains(log(), "bound ") {
					return errors.New(out.String())
				}
				return nil
			})
			first := r.leases()[mac]
			if r.address(ns) != first.Addr.String() {
				t.Fatalf("the client has %s, the store says %+v", r.address(ns), first)
			}
			pid := r.child(cmd.Process.Pid)
			must(t, syscall.Kill(pid, syscall.SIGUSR1)) // renew
			r.wait("the renewal", 20*time.Second, func() error {
				if !strings.Contains(log(), "renew ") || !r.leases()[mac].Expires.After(first.Expires) {
					return errors.New(out.String())
				}
				return nil
			})
			must(t, syscall.Kill(pid, syscall.SIGTERM)) // -R releases
			<-done
			r.wait("the release", 5*time.Second, func() error {
				if l, ok := r.leases()[mac]; ok {
					return fmt.Errorf("still leased: %+v", l)
				}
				return nil
			})
		})
	}
}

// child is the process that a wrapper such as "ip netns exec" became or began.
func (r *rig) child(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if f := strings.Fields(string(b)); err == nil && len(f) > 0 {
		var c int
		fmt.Sscan(f[0], &c)
		return r.child(c)
	}
	return pid
}

// TestFilesBackBitForBit: tftp-hpa, atftp and curl read what was put there.
func TestFilesBackBitForBit(t *testing.T) {
	nettest.Need(t, "tftp", "atftp", "curl")
	r := newRig(t)
	// Loaders are what a machine without a boot path may read.
	dir := filepath.Join(r.data, "loaders")
	must(t, os.MkdirAll(dir, 0o755))
	files := map[string]int{"undionly.kpxe": 70_001, "ipxe.efi": 1_048_576, "snponly.efi": 512 * 700, "ipxe-arm64.efi": 1, "ipxe.pxe": 40 << 20}
	want := map[string][]byte{}
	for name, n := range files {
		b := make([]byte, n)
		rand.Read(b)
		want[name] = b
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
	ns := r.host("cli", "10.77.0.50/24")
	for name := range files {
		got := filepath.Join(t.TempDir(), "got")
		for _, c := range []struct {
			tool string
			args []string
		}{
			{"tftp", []string{"-m", "binary", serverAddr, "-c", "get", name, got}},
			{"atftp", []string{"--get", "--remote-file", name, "--local-file", got, serverAddr}},
			{"atftp", []string{"--option", "blksize 1468", "--option", "windowsize 16", "--get", "--remote-file", name, "--local-file", got, serverAddr}},
			{"atftp", []string{"--option", "blksize 1428", "--option", "tsize 0", "--get", "-r", "//" + name, "-l", got, serverAddr}},
			{"curl", []string{"-sS", "-o", got, "tftp://" + serverAddr + "/" + name}},
			{"curl", []string{"-sS", "--fail", "-o", got, "http://" + serverAddr + "/" + name}},
			{"curl", []string{"-sS", "--fail", "-o", got, "-r", "0-", "http://" + serverAddr + "//" + name}},
		} {
			if c.tool == "tftp" && files[name] > 32<<20 {
				continue // 512-byte blocks in lock-step: the others show roll-over
			}
			os.Remove(got)
			if out, err := ns.Run(r.ctx, c.tool, c.args...); err != nil {
				t.Errorf("%s %v: %v\n%s", c.tool, c.args, err, out)
				continue
			}
			if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, want[name]) {
				t.Errorf("%s %v: %d bytes, want %d, or they differ (%v)", c.tool, c.args, len(b), len(want[name]), err)
			}
		}
	}
	// Nothing outside, nothing that is not a loader.
	for _, path := range []string{"etc/passwd", "../../../../etc/passwd", "muster.db", "..%2f..%2fmuster.db", "loaders/../../muster.db"} {
		if out, err := ns.Run(r.ctx, "curl", "-sS", "--fail", "--path-as-is", "http://"+serverAddr+"/"+path); err == nil {
			t.Errorf("%s was served: %.80q", path, out)
		}
		if out, err := ns.Run(r.ctx, "curl", "-sS", "--path-as-is", "tftp://"+serverAddr+"/"+path); err == nil {
			t.Errorf("%s was served by TFTP: %.80q", path, out)
		}
	}
}

// machine is a DHCP client in software, many of which share one interface.
type machine struct {
	mac  net.HardwareAddr
	addr netip.Addr // acknowledged
}

// crowd opens a packet socket on a host's eth0 and hands every DHCP reply to
// the machine it is for.
type crowd struct {
	fd    int
	index int
	mu    sync.Mutex
	wait  map[[6]byte]chan *dhcpv4.DHCPv4

	patience time.Duration // before a message is sent again, doubling
}

func newCrowd(t *testing.T, ns *nettest.NS) *crowd {
	t.Helper()
	c := &crowd{wait: map[[6]byte]chan *dhcpv4.DHCPv4{}, patience: time.Second}
	must(t, ns.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c.index = i.Index
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP))); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		if err := unix.SetsockoptPacketMreq(c.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(200 * time.Millisecond))
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i.Index})
	}))
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, _, err := unix.Recvfrom(c.fd, buf, 0)
			if err != nil || n < 14+28 || buf[23] != 17 || buf[14+22] != 0 || buf[14+23] != 68 {
				continue
			}
			m, err := dhcpv4.FromBytes(buf[14+28 : n])
			if err != nil {
				continue
			}
			c.mu.Lock()
			ch := c.wait[[6]byte(m.ClientHWAddr)]
			c.mu.Unlock()
			if ch != nil {
				select {
				case ch <- m:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
		unix.Close(c.fd)
	})
	return c
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// ask sends one message and waits for the answer to its transaction.
func (c *crowd) ask(ctx context.Context, m *dhcpv4.DHCPv4, ch chan *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	body := m.ToBytes()
	b := make([]byte, 14+28+len(body))
	for i := range 6 {
		b[i] = 0xff
	}
	copy(b[6:], m.ClientHWAddr)
	b[12], b[14], b[22], b[23] = 8, 0x45, 64, 17
	n := 28 + len(body)
	b[16], b[17] = byte(n>>8), byte(n)
	copy(b[30:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	b[24], b[25] = byte(^sum>>8), byte(^sum)
	b[35], b[37] = 68, 67
	u := 8 + len(body)
	b[38], b[39] = byte(u>>8), byte(u)
	copy(b[42:], body)
	for try := range 4 {
		if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: c.index}); err != nil {
			return nil, err
		}
		timer := time.NewTimer(c.patience << try)
		for waiting := true; waiting; {
			select {
			case r := <-ch:
				if r.TransactionID == m.TransactionID {
					timer.Stop()
					return r, nil
				}
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			}
		}
	}
	return nil, errors.New("no answer")
}

// hear has the replies to a machine come through a channel until leave.
func (c *crowd) hear(mac net.HardwareAddr) (ch chan *dhcpv4.DHCPv4, leave func()) {
	ch = make(chan *dhcpv4.DHCPv4, 8)
	key := [6]byte(mac)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait[key] = ch
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.wait, key)
	}
}

// lease goes through DISCOVER and REQUEST, starting over after a NAK.
func (c *crowd) lease(ctx context.Context, m *machine) error {
	ch, leave := c.hear(m.mac)
	defer leave()
	for range 5 {
		d, err := dhcpv4.NewDiscovery(m.mac)
		if err != nil {
			return err
		}
		offer, err := c.ask(ctx, d, ch)
		if err != nil {
			return fmt.Errorf("DISCOVER: %w", err)
		}
		q, err := dhcpv4.NewRequestFromOffer(offer)
		if err != nil {
			return err
		}
		ack, err := c.ask(ctx, q, ch)
		if err != nil {
			return fmt.Errorf("REQUEST: %w", err)
		}
		if ack.MessageType() == dhcpv4.MessageTypeAck {
			m.addr, _ = netip.AddrFromSlice(ack.YourIPAddr.To4())
			return nil
		}
	}
	return errors.New("refused five times")
}

func newMachines(n, salt int) []*machine {
	ms := make([]*machine, n)
	for i := range ms {
		ms[i] = &machine{mac: net.HardwareAddr{0x52, 0x54, byte(salt), 0, byte(i >> 8), byte(i)}}
	}
	return ms
}

// TestTwoHundredAtOnce: 200 machines at once from a pool of 200 get 200
// different addresses.
func TestTwoHundredAtOnce(t *testing.T) {
	r := newRig(t)
	r.serve("-i", "eth0", "--range", "10.77.0.2-10.77.0.201")
	c := newCrowd(t, r.host("cli", ""))
	ms := newMachines(200, 1)
	var wg sync.WaitGroup
	errs := make([]error, len(ms))
	for i, m := range ms {
		wg.Go(func() { errs[i] = c.lease(r.ctx, m) })
	}
	wg.Wait()
	seen := map[netip.Addr]string{}
	for i, m := range ms {
		if errs[i] != nil {
			t.Errorf("%s: %v", m.mac, errs[i])
			continue
		}
		if other, ok := seen[m.addr]; ok {
			t.Errorf("%s was given to %s and to %s", m.addr, other, m.mac)
		}
		seen[m.addr] = m.mac.String()
	}
	held := r.leases()
	for a, mac := range seen {
		if held[mac].Addr != a {
			t.Errorf("%s was acknowledged %s, the store says %s", mac, a, held[mac].Addr)
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d different addresses, want 200", len(seen))
	}
}

// TestKilledDaemon: kill -9 in the middle of 200 concurrent exchanges, twenty
// times. Every address that was acknowledged is still its holder's, none is
// held twice, and the store is whole.
func TestKilledDaemon(t *testing.T) {
	rounds := 20
	r := newRig(t)
	serve := func() { r.serve("-i", "eth0", "--range", "10.77.0.2-10.77.0.254") }
	serve()
	c := newCrowd(t, r.host("cli", ""))
	acked := map[string]netip.Addr{} // by MAC
	total := 0
	for round := range rounds {
		ms := newMachines(200, 2) // the same machines, again and again
		ctx, cancel := context.WithCancel(r.ctx)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := 0
		enough := make(chan struct{})
		for _, m := range ms {
			wg.Go(func() {
				if c.lease(ctx, m) != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				mac := m.mac.String()
				if was, ok := acked[mac]; ok && was != m.addr {
					t.Errorf("round %d: %s had %s acknowledged and was given %s", round, mac, was, m.addr)
				}
				acked[mac] = m.addr
				if got++; got == 5+round*7 {
					close(enough)
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: only %d exchanges in 20 s", round, got)
		}
		r.stop(true)
		cancel()
		wg.Wait()
		total += got
		if err := r.storeErr(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		serve()
		held := r.leases()
		byAddr := map[netip.Addr]string{}
		for mac, a := range acked {
			if held[mac].Addr != a {
				t.Errorf("round %d: %s was acknowledged %s, after the kill the store says %s", round, mac, a, held[mac].Addr)
			}
			if other, ok := byAddr[a]; ok {
				t.Errorf("round %d: %s is %s's and %s's", round, a, mac, other)
			}
			byAddr[a] = mac
		}
		if t.Failed() {
			return
		}
		// Half of them are freed, so that later rounds give addresses anew.
		if round%3 == 2 {
			for mac, a := range acked {
				if a.As4()[3]%2 == 0 {
					r.muster("lease", "release", "eth0", a.String())
					delete(acked, mac)
				}
			}
		}
	}
	t.Logf("%d exchanges acknowledged over %d kills, all kept", total, rounds)
}

// TestFirstHour: what stops a first hour is named, with the command that mends
// it, and nothing is started.
func TestFirstHour(t *testing.T) {
	r := newRig(t)
	bare := r.host("bare", "")
	run := func(ns *nettest.NS, args ...string) (string, int) {
		t.Helper()
		out, err := ns.Run(r.ctx, r.binary, append([]string{"serve", "--data-dir", t.TempDir()}, args...)...)
		code := 0
		if err != nil {
			code = 1
			var e interface{ ExitCode() int }
			if errors.As(err, &e) {
				code = e.ExitCode()
			}
		}
		return out, code
	}
	if out, code := run(bare, "-i", "eth0", "--range", "10.77.0.100-10.77.0.110"); code != 2 || !strings.Contains(out, "muster serve -i eth0 --address 10.77.0.1/24") {
		t.Errorf("an interface without an address: exit %d\n%s", code, out)
	}
	if out, code := run(r.srv, "-i", "eth0", "--range", "10.99.0.100-10.99.0.110"); code != 2 || !strings.Contains(out, "outside subnet 10.77.0.0/24") {
		t.Errorf("a range elsewhere: exit %d\n%s", code, out)
	}
	if out, code := run(r.srv, "-i", "eth7"); code != 2 || !strings.Contains(out, "-i eth7: there is no such interface; this machine has eth0; did you mean eth0? (with --wait it is waited for)") {
		t.Errorf("an interface that is not there: exit %d\n%s", code, out)
	}
	// A port that somebody has.
	hold, err := r.srv.ListenPacket("udp4", "0.0.0.0:69")
	must(t, err)
	out, code := run(r.srv, "-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
	hold.Close()
	if code != 1 || !strings.Contains(out, "port 69/udp is taken by "+filepath.Base(os.Args[0])+" (pid ") {
		t.Errorf("a taken port: exit %d\n%s", code, out)
	}
}

// TestFirewallIsNamed: a packet filter that would drop our requests is named
// with the command that opens it, and the command does.
func TestFirewallIsNamed(t *testing.T) {
	nettest.Need(t, "nft", "udhcpc")
	r := newRig(t)
	if out, err := r.srv.Run(r.ctx, "nft", "add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; }"); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
	mend := regexp.MustCompile(`sudo (nft insert rule [^;]*accept); sudo (nft insert rule [^\n]*accept)`)
	var cmds []string
	r.wait("the warning", 15*time.Second, func() error {
		if cmds = mend.FindStringSubmatch(r.out.String()); cmds == nil {
			return errors.New("no warning yet")
		}
		return nil
	})
	cli := r.host("cli", "")
	ask := []string{"-n", "-q", "-f", "-i", "eth0", "-s", "/bin/true", "-t", "2", "-T", "1"}
	if out, err := cli.Run(r.ctx, "udhcpc", ask...); err == nil {
		t.Fatalf("the filter drops nothing, so the test proves nothing:\n%s", out)
	}
	for _, c := range cmds[1:] {
		if out, err := r.srv.Run(r.ctx, "sh", "-c", strings.NewReplacer("{", "'{", "}", "}'").Replace(c)); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	if out, err := cli.Run(r.ctx, "udhcpc", ask...); err != nil {
		t.Errorf("after the advice was followed: %v\n%s", err, out)
	}
}

// TestUnprivileged: without the right to open the ports, the message says how
// to get it.
func TestUnprivileged(t *testing.T) {
	nettest.Need(t, "setpriv")
	r := newRig(t)
	data := t.TempDir()
	must(t, os.Chmod(data, 0o777))
	bin := r.binary
	must(t, os.Chmod(filepath.Dir(bin), 0o755))
	must(t, os.Chmod(filepath.Dir(data), 0o755))
	out, err := r.srv.Run(r.ctx, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
		bin, "serve", "--data-dir", data, "-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
	if err == nil || !strings.Contains(out, "no permission to open port 67/udp; run with sudo, or once: sudo setcap cap_net_bind_service,cap_net_raw+ep") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBroadcastWithoutRaw: with the port but not the raw socket, a client
// without an address is answered by broadcast.
func TestBroadcastWithoutRaw(t *testing.T) {
	nettest.Need(t, "setpriv", "udhcpc")
	r := newRig(t)
	bin := r.binary
	must(t, os.Chmod(filepath.Dir(bin), 0o755))
	r.wrap = []string{"setpriv", "--bounding-set=-all,+net_bind_service", "--inh-caps=-all", "--"}
	r.serve("-i", "eth0", "--range", "10.77.0.100-10.77.0.110")
	if !strings.Contains(r.out.String(), "no permission for raw frames") {
		t.Errorf("nothing is said of it:\n%s", r.out)
	}
	cli := r.host("cli", "")
	if out, err := cli.Run(r.ctx, "udhcpc", "-n", "-q", "-f", "-i", "eth0", "-s", "/bin/true", "-t", "3", "-T", "1"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInterfaceComesAndGoes: a USB NIC is waited for, served, missed, and
// served again with the address of this run.
func TestInterfaceComesAndGoes(t *testing.T) {
	nettest.Need(t, "udhcpc")
	r := newRig(t)
	r.serve("-i", "usb0", "--wait", "--address", "10.88.0.1/24", "--range", "10.88.0.10-10.88.0.20")
	if !strings.Contains(r.out.String(), "interface usb0 is not there; waiting for it") {
		t.Errorf("it does not say that it waits:\n%s", r.out)
	}
	cli := r.host("cli", "")
	for round := range 2 {
		// A cable between the two hosts, plugged in late.
		for _, args := range [][]string{
			{"link", "add", "usb0", "netns", r.srv.Name, "type", "veth", "peer", "name", "eth9", "netns", cli.Name},
			{"-n", cli.Name, "link", "set", "eth9", "up"},
		} {
			if out, err := exec.CommandContext(r.ctx, "ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v\n%s", args, err, out)
			}
		}
		var last string
		r.wait("an address over the new cable", 30*time.Second, func() error {
			out, err := cli.Run(r.ctx, "udhcpc", "-n", "-q", "-f", "-i", "eth9", "-s", "/bin/true", "-t", "2", "-T", "1")
			last = out
			return err
		})
		if !strings.Contains(last, "lease of 10.88.0.1") {
			t.Errorf("round %d: %s", round, last)
		}
		if out, err := r.srv.Run(r.ctx, "ip", "link", "del", "usb0"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// TestNoDHCPServer: -i without a range is a proxy; with nobody to be a proxy
// of, it says so and names the flag.
func TestNoDHCPServer(t *testing.T) {
	r := newRig(t)
	r.serve("-i", "eth0")
	r.wait("the advice", 15*time.Second, func() error {
		if !strings.Contains(r.out.String(), "muster serve -i eth0 --range 10.77.0.100-10.77.0.200") {
			return errors.New("no advice yet")
		}
		return nil
	})
	r.stop(false)
	r.dnsmasq()
	r.serve("-i", "eth0")
	r.wait("the other server to be named", 15*time.Second, func() error {
		if !strings.Contains(r.out.String(), "another DHCP server gives the addresses") || !strings.Contains(r.out.String(), "10.77.0.2") {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestCommands walks the commands against a running daemon, in JSON and for
// people.
func TestCommands(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte("name = \"rescue\"\n[match]\nserial = [\"RIG*\"]\n[boot]\nkernel = \"vmlinuz\"\n[params.disk]\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), []byte("kernel"), 0o644))
	r.muster("template", "lint", dir)
	if out := r.muster("template", "push", dir); !strings.Contains(out, "rescue version 1 stored") {
		t.Errorf("push: %s", out)
	}
	if out := r.muster("template", "push", dir); !strings.Contains(out, "rescue version 2 stored") {
		t.Errorf("second push: %s", out)
	}
	img := t.TempDir()
	must(t, os.WriteFile(filepath.Join(img, "vmlinuz"), []byte("shared kernel"), 0o644))
	r.muster("image", "import", "debian12", img, "--public")
	must(t, os.WriteFile(filepath.Join(dir, "template.toml"), []byte("name = \"shared\"\n[boot]\nkernel = \"image:debian12/vmlinuz\"\n"), 0o644))
	r.muster("template", "push", dir)
	if out := r.fails("image", "rm", "debian12"); !strings.Contains(out, "used by version 1 of template shared") {
		t.Errorf("removing a used image: %s", out)
	}
	must(t, os.WriteFile(filepath.Join(img, "vmlinuz"), []byte("another kernel"), 0o644))
	if out := r.fails("image", "import", "debian12", img); !strings.Contains(out, "exists with other files") {
		t.Errorf("a name changed its bytes: %s", out)
	}
	cli := r.host("cli", "10.77.0.60/24")
	if out, err := cli.Run(r.ctx, "curl", "-sS", "--fail", "http://"+serverAddr+"/images/debian12/vmlinuz"); err != nil || out != "shared kernel" {
		t.Errorf("a public image: %q, %v", out, err)
	}
	r.muster("template", "rm", "shared")
	if out := r.fails("image", "rm", "debian12"); !strings.Contains(out, "used by version 1 of template shared") {
		t.Errorf("a stored version still boots it: %s", out)
	}
	r.muster("host", "add", "web1", "--mac", "52:54:00:00:00:01", "--serial", "RIG-1", "--address", "10.77.0.50")
	if out := r.fails("host", "add", "web2", "--mac", "52:54:00:00:00:01"); !strings.Contains(out, "MAC 52:54:00:00:00:01 already exists: it belongs to host web1") {
		t.Errorf("a second host with one MAC: %s", out)
	}
	if out := r.fails("host", "set", "web1", "--address", "10.99.0.1"); !strings.Contains(out, "in no configured network") {
		t.Errorf("a reservation elsewhere: %s", out)
	}
	r.muster("host", "set", "web1", "disk=/dev/vda", "--template", "rescue")
	r.muster("host", "approve", "web1")
	var h host
	r.json(&h, "host", "set", "web1", "--name", "web01")
	if h.Name != "web01" || h.State != approved || h.Params["disk"] != "/dev/vda" {
		t.Errorf("after set: %+v", h)
	}
	if out := r.muster("explain", "web01"); !strings.Contains(out, "10.77.0.50, its reservation") || !strings.Contains(out, "boot 1: rescue version 2") {
		t.Errorf("explain:\n%s", out)
	}
	if out := r.fails("template", "rm", "rescue"); !strings.Contains(out, "template rescue is in use: 1 host names it") {
		t.Errorf("removing a used template: %s", out)
	}
	var kinds []string
	for _, e := range r.events() {
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "template.pushed template.pushed image.imported template.pushed template.removed host.added host.changed host.approved host.changed" {
		t.Errorf("events: %s", got)
	}
	r.muster("host", "deny", "52:54:00:00:00:01")
	if out := r.muster("host", "list", "--state", "denied"); !strings.Contains(out, "web01") {
		t.Errorf("denied hosts:\n%s", out)
	}
	r.muster("host", "rm", "web01")
	r.muster("template", "rm", "rescue")
	if hs := r.hosts(); len(hs) != 0 {
		t.Errorf("left: %+v", hs)
	}
	var fs []struct {
		OK   bool   `json:"ok"`
		What string `json:"what"`
	}
	out := r.tries("doctor", "--json")
	must(t, json.Unmarshal([]byte(out), &fs))
	if len(fs) == 0 || fs[0].What != "daemon" || !fs[0].OK {
		t.Errorf("doctor: %s", out)
	}
}

// TestFollow: an event reaches a follower as it happens, and a reload that is
// wrong changes nothing.
func TestFollow(t *testing.T) {
	r := newRig(t)
	conf := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(conf, []byte(fullNetwork), 0o644))
	r.serve("--config", conf)
	follow := exec.CommandContext(r.ctx, r.binary, "--data-dir", r.data, "event", "list", "--follow")
	out := &lockedBuffer{}
	follow.Stdout, follow.Stderr = out, out
	must(t, follow.Start())
	go follow.Wait()
	r.muster("host", "add", "web1", "--mac", "52:54:00:00:00:01")
	r.wait("the event", 10*time.Second, func() error {
		if !strings.Contains(out.String(), "web1 added by root") {
			return errors.New(out.String())
		}
		return nil
	})
	must(t, os.WriteFile(conf, []byte("[[network]]\nmodus = 1\n"), 0o644))
	must(t, syscall.Kill(r.child(r.proc.Process.Pid), syscall.SIGHUP))
	r.wait("the complaint", 10*time.Second, func() error {
		if !strings.Contains(r.out.String(), "the old one stays") || !strings.Contains(r.out.String(), `did you mean`) {
			return errors.New(r.out.String())
		}
		return nil
	})
	must(t, os.WriteFile(conf, []byte(strings.Replace(fullNetwork, "10.77.0.110", "10.77.0.120", 1)), 0o644))
	must(t, syscall.Kill(r.child(r.proc.Process.Pid), syscall.SIGHUP))
	r.wait("the reload", 10*time.Second, func() error {
		if s := r.status(); len(s.Networks) != 1 || s.Networks[0].Ranges[0] != "10.77.0.100-10.77.0.120" {
			return errors.New("old range still")
		}
		return nil
	})
}
