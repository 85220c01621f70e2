// conn6_linux_test.go: the DHCPv6 server on real sockets, with clients that we
// did not write, in network namespaces.

package dhcpd

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// heard is fake6 that tells what it was asked.
type heard struct {
	fake6
	in chan boot.Sighting
}

func (h heard) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	h.in <- in
	return fixed6(in)
}

// until waits for a step.
func (h heard) until(t *testing.T, step boot.Step) boot.Sighting {
	t.Helper()
	var seen []boot.Step
	for late := time.After(20 * time.Second); ; {
		select {
		case in := <-h.in:
			if in.Step == step {
				return in
			}
			seen = append(seen, in.Step)
		case <-late:
			t.Fatalf("no %s; only %v", step, seen)
		}
	}
}

// segment is a server on one link with clients.
type segment struct {
	t      *testing.T
	sw     *nettest.Switch
	lab    *nettest.T
	srv    *nettest.NS
	conn   *Conn6
	server *Server6
	asked  heard
	index  int
	calls  byte
}

func newSegment(t *testing.T) *segment {
	lab := nettest.NewT(t)
	s := &segment{t: t, lab: lab, sw: lab.Switch(), asked: heard{in: make(chan boot.Sighting, 1000)}}
	s.srv = lab.Host("server", s.sw, "fd77::1/64")
	s.ready(s.srv, "eth0")
	s.do(func() (err error) {
		if s.conn, err = Listen6(t.Context(), time.Now); err != nil {
			return err
		}
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		s.index = i.Index
		return s.conn.Join(i.Index)
	})
	s.server = NewServer6(s.asked, duid6, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, s.conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// do runs fn on the server's host.
func (s *segment) do(fn func() error) {
	s.t.Helper()
	if err := s.srv.Do(fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *segment) run(ns *nettest.NS, name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	out, err := ns.Run(ctx, name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// ready waits for the address that a link gets a moment after it came up.
func (s *segment) ready(ns *nettest.NS, iface string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if strings.Contains(s.run(ns, "ip", "-6", "addr", "show", "dev", iface, "scope", "link", "-tentative"), "fe80::") {
			return
		}
	}
	s.t.Fatalf("%s never got a link-local address", iface)
}

// client is a host beside the server.
func (s *segment) client(addrs ...string) *nettest.NS {
	s.t.Helper()
	c := s.lab.Host("client", s.sw, addrs...)
	s.ready(c, "eth0")
	return c
}

// socket is a client's, on port 546 of its link-local address.
func (s *segment) socket(ns *nettest.NS) *net.UDPConn {
	s.t.Helper()
	pc, err := ns.ListenPacket("udp6", "[::]:546")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { pc.Close() })
	return pc.(*net.UDPConn)
}

// exchange sends until there is an answer, as clients do: a link that just came up
// loses some. Each call has a number, in a byte that comes back: the end of the
// transaction, or the hop count.
func (s *segment) exchange(c *net.UDPConn, ns *nettest.NS, to string, b []byte) (reply []byte, from *net.UDPAddr) {
	s.t.Helper()
	s.calls++
	at := 3
	if b[0] == typeRelayForw {
		at = 1
	}
	b[at] = s.calls
	var dst *net.UDPAddr
	if err := ns.Do(func() (err error) { dst, err = net.ResolveUDPAddr("udp6", to); return err }); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for range 20 {
		if err := ns.Do(func() error { _, err := c.WriteToUDP(b, dst); return err }); err != nil {
			s.t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			s.t.Fatal(err)
		}
		for {
			n, from, err := c.ReadFromUDP(buf)
			if err != nil {
				break
			}
			if n > 3 && (buf[0] == typeRelayRepl) == (at == 1) && buf[at] == s.calls {
				return buf[:n], from
			}
		}
	}
	s.t.Fatalf("no answer from %s", to)
	return nil, nil
}

// clientScript configures the address and nothing else: the hosts of a lab share
// their files, resolv.conf among them.
const clientScript = `#!/bin/sh
echo "$reason $new_ip6_address" >> "$0.log"
case "$reason" in
BOUND6) ip -6 addr add "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" ;;
RELEASE6|STOP6|EXPIRE6) ip -6 addr flush dev "$interface" scope global ;;
esac
exit 0
`

// TestISCClient6: dhclient -6 takes an address, and gives it back.
func TestISCClient6(t *testing.T) {
	s := newSegment(t)
	nettest.Need(t, "dhclient")
	c := s.client()
	dir := s.lab.Dir // a client that lingers may still write there, until the lab ends
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(clientScript), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-6", "-1", "-v", "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-sf", script}
	s.run(c, "dhclient", append(args, "eth0")...)
	in := s.asked.until(t, boot.Request6)
	if in.ID.MAC.IsZero() || len(in.Want.IAs) != 1 || in.Link.Local.IsValid() {
		t.Errorf("%+v", in)
	}
	if out := s.run(c, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"); !strings.Contains(out, "fd77::") {
		t.Errorf("no address: %s", out)
	}
	s.run(c, "dhclient", append(args, "-r", "eth0")...)
	rel := s.asked.until(t, boot.Release)
	if len(rel.Want.IAs) != 1 || rel.Want.IAs[0].ID != in.Want.IAs[0].ID || len(rel.Want.IAs[0].Has) != 1 {
		t.Errorf("released %+v of %+v", rel.Want.IAs, in.Want.IAs)
	}
	if out := s.run(c, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"); strings.Contains(out, "fd77::") {
		t.Errorf("still there: %s", out)
	}
	// A stateless client asks only for options.
	s.run(c, "dhclient", "-6", "-S", "-lf", filepath.Join(dir, "stateless"), "-pf", filepath.Join(dir, "pid2"), "-sf", script, "eth0")
	s.asked.until(t, boot.Inform)
	if n := s.server.Stats.SendErrors.Load() + s.server.Stats.Malformed.Load() + s.server.Skipped.Load(); n != 0 {
		t.Errorf("%d things went wrong", n)
	}
}

// TestDhcpcd6: dhcpcd takes an address and a prefix, and gives both back.
func TestDhcpcd6(t *testing.T) {
	s := newSegment(t)
	nettest.Need(t, "dhcpcd")
	c := s.client()
	dir := s.lab.Dir // a client that lingers may still write there, until the lab ends
	conf, script := filepath.Join(dir, "conf"), filepath.Join(dir, "script")
	if err := os.WriteFile(conf, []byte("duid\nnoipv4\nnoipv6rs\ninterface eth0\nia_na 1\nia_pd 2 -\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Its state is beside the lab's: a mount namespace comes with the host, and
	// goes with the command.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := c.Command(ctx, "sh", "-c", `mkdir -p /var/lib/dhcpcd /run/dhcpcd
mount -t tmpfs none /var/lib/dhcpcd && mount -t tmpfs none /run/dhcpcd || exit
dhcpcd -6 -B -d -f "$0" -c "$1" eth0 &
read go
dhcpcd -6 -k eth0
wait`, conf, script)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := s.asked.until(t, boot.Request6)
	if len(in.Want.IAs) != 2 || in.Want.IAs[0].Prefix == in.Want.IAs[1].Prefix {
		t.Errorf("%+v", in.Want.IAs)
	}
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	defer func() {
		if t.Failed() {
			cancel()
			for line := range said {
				t.Log(line)
			}
		}
	}()
	var address, prefix bool
	for line := range said {
		t.Log(line)
		address = address || strings.Contains(line, "adding address fd77::")
		prefix = prefix || strings.Contains(line, "delegated prefix fd77:")
		if strings.Contains(line, " BOUND6") { // before that it goes without a Release
			break
		}
	}
	if !address || !prefix {
		t.Fatalf("address %v, prefix %v", address, prefix)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	rel := s.asked.until(t, boot.Release)
	if len(rel.Want.IAs) != 2 || len(rel.Want.IAs[0].Has) != 1 || len(rel.Want.IAs[1].Has) != 1 {
		t.Errorf("released %+v", rel.Want.IAs)
	}
	for range said {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestLink6: replies leave by the link and from the address that they must, and
// the groups are joined again where the kernel lost them.
func TestLink6(t *testing.T) {
	s := newSegment(t)
	c := s.client("fd77::99/64")
	sock := s.socket(c)
	solicit := message(typeSolicit, 1, client6, 3, "00000001 ffffffff ffffffff")
	multicast := "[ff02::1:2%eth0]:547"
	answered := func(why string) *net.UDPAddr {
		t.Helper()
		reply, from := s.exchange(sock, c, multicast, solicit)
		r, err := parse6(solicit, meta6)
		if err != nil {
			t.Fatal(err)
		}
		if err := strict6(r, reply, false); err != nil {
			t.Errorf("%s: %v", why, err)
		}
		return from
	}
	from := answered("at first")
	if a, _ := netip.AddrFromSlice(from.IP); !a.IsLinkLocalUnicast() || from.Port != server6Port {
		t.Errorf("from %v, want the server's link-local address", from)
	}
	// Joining again changes nothing.
	for range 3 {
		s.do(func() error { return s.conn.Join(s.index) })
	}
	if n := strings.Count(s.run(s.srv, "cat", "/proc/net/igmp6"), "ff020000000000000000000000010002"); n != 1 {
		t.Errorf("%d times in the group", n)
	}
	// A relay that asks an address of ours is answered from that, not from the one
	// that the kernel likes best.
	s.run(s.srv, "ip", "addr", "add", "fd77::2/64", "dev", "eth0")
	relay := relayed(0, "fd55::1", "fe80::1", solicit, 135, "0000")
	for _, addr := range []string{"fd77::1", "fd77::2"} {
		if reply, from := s.exchange(sock, c, "["+addr+"]:547", relay); reply[0] != typeRelayRepl || from.IP.String() != addr {
			t.Errorf("asked %s: %x from %v", addr, reply, from)
		}
	}
	if _, from := s.exchange(sock, c, "[ff05::1:3%eth0]:547", relay); !strings.HasPrefix(from.IP.String(), "fd77::") {
		t.Errorf("from %v", from)
	}
	// The link goes down and comes back.
	s.run(s.srv, "ip", "link", "set", "eth0", "down")
	s.run(s.srv, "ip", "link", "set", "eth0", "up")
	s.do(func() error { return s.conn.Join(s.index) })
	s.ready(s.srv, "eth0")
	answered("after a flap")
	// An MTU below IPv6's minimum removes the groups from the device, and the
	// socket does not notice.
	s.run(s.srv, "ip", "link", "set", "eth0", "mtu", "1000")
	s.run(s.srv, "ip", "link", "set", "eth0", "mtu", "1500")
	if out := s.run(s.srv, "cat", "/proc/net/igmp6"); strings.Contains(out, "ff020000000000000000000000010002") {
		t.Error("the kernel kept the group: the test proves nothing")
	}
	s.do(func() error { return s.conn.Join(s.index) })
	s.ready(s.srv, "eth0")
	answered("after the kernel lost it")
	// Another interface by the same number.
	s.run(s.srv, "ip", "link", "del", "eth0")
	s.do(func() error {
		if s.conn.Join(s.index) == nil {
			t.Error("joined an interface that is not there")
		}
		return nil
	})
	if err := s.lab.Plug(s.srv, "eth1", s.sw); err != nil {
		t.Fatal(err)
	}
	s.do(func() error {
		i, err := net.InterfaceByName("eth1")
		if err != nil {
			return err
		}
		s.index = i.Index
		return s.conn.Join(i.Index)
	})
	s.ready(s.srv, "eth1")
	answered("on a new interface")
	// Leaving twice is the same as leaving once.
	s.do(func() error {
		s.conn.Leave(s.index)
		s.conn.Leave(s.index)
		return nil
	})
	if out := s.run(s.srv, "cat", "/proc/net/igmp6"); strings.Contains(out, "ff020000000000000000000000010002") {
		t.Error("still in the group")
	}
	if n := s.server.Stats.SendErrors.Load(); n != 0 {
		t.Errorf("%d replies were not sent", n)
	}
}
