// conformance_test.go: what the conformance tests share: an eye on the wire
// that names every DHCP message, and clients that we did not write, each run
// as its distribution would but touching nothing outside its own namespace.

package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
)

// newLab is newRig for a test that runs beside others.
func newLab(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	return newRig(t)
}

// message is one DHCP message as it passed.
type message struct {
	at       time.Time
	src, dst net.HardwareAddr
	from, to netip.AddrPort
	raw      []byte // the UDP payload
	*dhcpv4.DHCPv4
	six *dhcpv6.Message // instead, on a wire of DHCPv6
}

// word names a message the way RFC 2131 does, a REQUEST by the client's state;
// one of DHCPv6 by its type alone, which tells the state (RFC 8415 7.3).
func (m message) word() string {
	if m.six != nil {
		return m.six.MessageType.String()
	}
	switch typ := m.MessageType(); {
	case typ != dhcpv4.MessageTypeRequest:
		return typ.String()
	case m.ServerIdentifier() != nil:
		return "REQUEST selecting"
	case m.ClientIPAddr.IsUnspecified():
		return "REQUEST init-reboot"
	case m.to.Addr() == broadcast:
		return "REQUEST rebinding"
	default:
		return "REQUEST renewing"
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// mine reports whether it is to or from a client.
func (m message) mine(mac string) bool {
	if m.six != nil {
		return m.src.String() == mac || m.dst.String() == mac
	}
	return m.ClientHWAddr.String() == mac
}

// your is yiaddr, the address a reply gives.
func (m message) your() netip.Addr {
	if m.six != nil {
		return m.your6()
	}
	a, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	return a
}

func (m message) String() string {
	s := fmt.Sprintf("%s %s > %s: %s", m.at.Format("05.000"), m.from, m.to, m.word())
	if m.six != nil {
		return s + " " + m.your().String()
	}
	if a := m.your(); a.IsValid() && !a.IsUnspecified() {
		s += " " + a.String()
	} else if a := m.RequestedIPAddress(); a != nil {
		s += " " + a.String()
	}
	if m.MessageType() == dhcpv4.MessageTypeNak {
		s += " (" + m.Message() + ")"
	}
	return s
}

func story(ms []message) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "\n  %s", m)
	}
	return b.String()
}

// wire records the DHCP messages that pass an interface.
type wire struct {
	mu  sync.Mutex
	all []message
}

// listen opens a packet socket that sees all of a protocol, such as
// unix.ETH_P_IP, on an interface, also what is for others.
func listen(t *testing.T, ns *nettest.NS, iface string, proto uint16) (fd, index int) {
	t.Helper()
	must(t, ns.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		index = i.Index
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(proto))); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(100 * time.Millisecond)) // to notice the end
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
			unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(proto), Ifindex: index}),
		)
	}))
	return fd, index
}

// watch records until the test ends. each, if given, is told of every message
// and nothing is kept.
func watch(t *testing.T, ns *nettest.NS, iface string, each func(message)) *wire {
	t.Helper()
	return watchFrames(t, ns, iface, unix.ETH_P_IP, parseFrame, each)
}

func watchFrames(t *testing.T, ns *nettest.NS, iface string, proto uint16, parse func([]byte) (message, bool), each func(message)) *wire {
	t.Helper()
	w := &wire{}
	frames(t, ns, iface, proto, func(b []byte) {
		m, ok := parse(b)
		if !ok {
			return
		}
		if each != nil {
			each(m)
			return
		}
		w.mu.Lock()
		w.all = append(w.all, m)
		w.mu.Unlock()
	}, func(fd int) {
		s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil || s.Drops > 0 {
			t.Errorf("the eye on the wire missed frames: %+v, %v", s, err)
		}
	})
	return w
}

// frames has take look at every frame of a protocol until the test ends, and then
// end at the socket.
func frames(t *testing.T, ns *nettest.NS, iface string, proto uint16, take func([]byte), end func(fd int)) {
	t.Helper()
	fd, _ := listen(t, ns, iface, proto)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 9000)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n, _, err := unix.Recvfrom(fd, buf, 0); err == nil {
				take(buf[:n])
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
		end(fd)
		unix.Close(fd)
	})
}

// parseFrame reads an Ethernet frame, if it is DHCP.
func parseFrame(b []byte) (m message, ok bool) {
	if len(b) < 14+20+8 || b[14]>>4 != 4 || b[23] != unix.IPPROTO_UDP {
		return m, false
	}
	u := 14 + int(b[14]&15)*4
	if len(b) < u+8 {
		return m, false
	}
	from, to := binary.BigEndian.Uint16(b[u:]), binary.BigEndian.Uint16(b[u+2:])
	if to != 67 && to != 68 && to != 4011 && from != 4011 {
		return m, false
	}
	raw := bytes.Clone(b[u+8:])
	d, err := dhcpv4.FromBytes(raw)
	if err != nil {
		return m, false
	}
	return message{at: time.Now(), dst: bytes.Clone(b[0:6]), src: bytes.Clone(b[6:12]), raw: raw, DHCPv4: d,
		from: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[26:30])), from),
		to:   netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[30:34])), to)}, true
}

// of returns the messages to and from a client, or all.
func (w *wire) of(mac string) []message {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []message
	for _, m := range w.all {
		if mac == "" || m.mine(mac) {
			out = append(out, m)
		}
	}
	return out
}

// after is what a client and its servers said from message number n on.
func (w *wire) after(mac string, n int) []message {
	ms := w.of(mac)
	return ms[min(n, len(ms)):]
}

// follow returns the first messages of ms with these words, in this order.
func follow(ms []message, words ...string) (out []message, ok bool) {
	for _, m := range ms {
		if len(out) < len(words) && m.word() == words[len(out)] {
			out = append(out, m)
		}
	}
	return out, len(out) == len(words)
}

// said reports whether any of the messages has this word.
func said(ms []message, word string) bool {
	return slices.ContainsFunc(ms, func(m message) bool { return m.word() == word })
}

// nobody is the source of a client that has no address yet.
var nobody = netip.IPv4Unspecified()

// send puts a client's message on its link.
func send(t *testing.T, ns *nettest.NS, m *dhcpv4.DHCPv4, from, to netip.Addr) {
	t.Helper()
	fd, index := listen(t, ns, "eth0", unix.ETH_P_IP)
	defer unix.Close(fd)
	must(t, unix.Sendto(fd, frame(m, from, to), 0, &unix.SockaddrLinklayer{Ifindex: index}))
}

// frame is an Ethernet frame with a client's message. UDP has no checksum in it.
func frame(m *dhcpv4.DHCPv4, from, to netip.Addr) []byte {
	body := m.ToBytes()
	b := make([]byte, 14+28, 14+28+len(body))
	// A broadcast frame also for a unicast packet: whom it is for is in the
	// IP header, and no ARP is needed.
	for i := range 6 {
		b[i] = 0xff
	}
	copy(b[6:], m.ClientHWAddr)
	b[12] = 8
	ip := b[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(body)))
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(b[34:], 68)
	binary.BigEndian.PutUint16(b[36:], 67)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(body)))
	return append(b, body...)
}

// ---- the clients -----------------------------------------------------------

// peer is a DHCP client on a host of its own.
type peer struct {
	*rig
	kind    string
	ns      *nettest.NS
	mac     string
	dir     string
	argv    []string
	reboots bool         // asks for its old address by INIT-REBOOT when it starts again
	release func() error // gives the address back

	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan struct{}
	from int // messages on the wire before its present life
	had  netip.Addr
}

const networkd = "/lib/systemd/systemd-networkd"

var peerKinds = []string{"dhclient", "udhcpc", "busybox", "dhcpcd", "networkd"}

// needPeers ends the test where a client is missing.
func needPeers(t *testing.T) {
	t.Helper()
	busybox, err := nettest.CachePath("busybox-amd64")
	if err != nil {
		busybox = "/missing/busybox"
	}
	nettest.Need(t, "dhclient", "arping", "udhcpc", busybox, "dhcpcd", networkd, "unshare", "mount")
}

// peerScript sets the address and nothing of the machine that runs us. With
// its status it tells dhclient that somebody else has the address.
const peerScript = `#!/bin/sh
case ${reason:-$1} in
BOUND|REBOOT|RENEW|REBIND|bound|renew)
	a=${new_ip_address:-$ip}
	case $reason in BOUND|REBOOT) arping -q -D -c 2 -w 1 -I $interface $a || exit 1;; esac
	ip addr replace $a/24 dev $interface
	for g in ${new_routers:-$router}; do ip route replace default via $g dev $interface; done;;
BOUND6|RENEW6|REBIND6)
	ip -6 addr replace $new_ip6_address/128 dev $interface valid_lft $new_max_life preferred_lft $new_preferred_life;;
RELEASE6|EXPIRE6|STOP6) ip -6 addr flush dev $interface scope global;;
RELEASE|EXPIRE|STOP|deconfig) ip addr flush dev $interface;;
PREINIT) ip link set $interface up;;
esac
exit 0
`

// private runs a client with files of its own in the places where it expects
// the machine's: /run, its leases, its configuration. Its /sys is read-only,
// which is how networkd knows that there is no udev to wait for.
const private = `set -e
mount --make-rprivate /
mount --bind "$0/run" /run
mount --bind "$0/lib" /var/lib
mkdir -p /var/lib/dhcpcd /var/lib/dhcpv6
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif
mount --bind "$0/etc" /etc/systemd/network
mount -o remount,ro,bind /sys
exec "$@"
`

// newPeer makes the host of a client on a switch, and its files.
func (r *rig) newPeer(kind, name string, sw *nettest.Switch) *peer {
	r.t.Helper()
	ns, err := r.lab.Host(name)
	must(r.t, err)
	must(r.t, r.lab.Plug(ns, "eth0", sw))
	p := &peer{rig: r, kind: kind, ns: ns, mac: r.mac(ns), dir: filepath.Join(r.lab.Dir, name)}
	for _, d := range []string{"run", "lib", "etc"} {
		must(r.t, os.MkdirAll(filepath.Join(p.dir, d), 0o755))
	}
	return p
}

func (p *peer) file(name, text string, mode os.FileMode) string {
	p.t.Helper()
	f := filepath.Join(p.dir, name)
	must(p.t, os.WriteFile(f, []byte(text), mode))
	return f
}

// alone is the command in front of a client that is to have private files.
func (p *peer) alone() []string { return []string{"unshare", "-m", "sh", "-c", private, p.dir} }

func (p *peer) signal(s syscall.Signal) func() error {
	return func() error { return p.cmd.Process.Signal(s) }
}

// peer makes a client of a kind on a switch; start starts it.
func (r *rig) peer(kind, name string, sw *nettest.Switch) *peer {
	r.t.Helper()
	p := r.newPeer(kind, name, sw)
	file, alone, signal := p.file, p.alone(), p.signal
	script := file("script", peerScript, 0o755)
	udhcpc := []string{"-f", "-i", "eth0", "-s", script, "-t", "10", "-T", "1", "-A", "2", "-a500"}
	switch kind {
	case "dhclient":
		conf := file("conf", "timeout 30;\nretry 2;\ninitial-interval 1;\nbackoff-cutoff 2;\nreboot 10;\n", 0o644)
		args := []string{"-4", "-cf", conf, "-lf", p.dir + "/leases", "-pf", p.dir + "/pid", "-sf", script}
		p.argv = append(append([]string{"dhclient", "-d"}, args...), "eth0")
		p.reboots = true
		p.release = func() error {
			_, err := p.ns.Run(r.ctx, "dhclient", append(args, "-r", "eth0")...)
			return err
		}
	case "udhcpc":
		p.argv = append([]string{"udhcpc"}, udhcpc...)
		p.release = signal(syscall.SIGUSR2)
	case "busybox":
		box, err := nettest.CachePath("busybox-amd64")
		must(r.t, err)
		p.argv = append([]string{box, "udhcpc"}, udhcpc...)
		p.release = signal(syscall.SIGUSR2)
	case "dhcpcd":
		conf := file("conf", "ipv4only\nnoipv4ll\noption routers\nscript /bin/true\n", 0o644)
		p.argv = append(alone, "dhcpcd", "-B", "-d", "-f", conf, "eth0")
		p.reboots = true
		p.release = signal(syscall.SIGALRM)
	case "networkd":
		file("etc/10-lab.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", 0o644)
		p.argv = append(alone, "env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", networkd)
		p.release = signal(syscall.SIGTERM)
	default:
		r.t.Fatalf("no client %q", kind)
	}
	return p
}

// keep has networkd leave the address in place when it ends, without which it
// starts from nothing: from the address it knows what to ask for by INIT-REBOOT.
func (p *peer) keep() {
	p.t.Helper()
	if p.kind != "networkd" {
		return
	}
	f := filepath.Join(p.dir, "etc/10-lab.network")
	b, err := os.ReadFile(f)
	must(p.t, err)
	must(p.t, os.WriteFile(f, bytes.Replace(b, []byte("DHCP=ipv4\n"), []byte("DHCP=ipv4\nKeepConfiguration=dhcp\n"), 1), 0o644))
	p.reboots = true
}

func (p *peer) start(w *wire) {
	p.t.Helper()
	p.from = len(w.of(p.mac))
	p.out, p.done = &lockedBuffer{}, make(chan struct{})
	p.cmd = p.ns.Command(p.ctx, p.argv[0], p.argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	must(p.t, p.cmd.Start())
	cmd, out, done := p.cmd, p.out, p.done
	go func() { cmd.Wait(); close(done) }()
	p.t.Cleanup(func() {
		if p.t.Failed() {
			s := out.String()
			p.t.Logf("%s on %s said:\n%s", p.kind, p.mac, s[max(0, len(s)-4000):])
		}
	})
}

// cut ends the client as a power cut would: it says nothing to anybody. All
// but networkd keep what they know of the lease on disk, so the address goes.
func (p *peer) cut() {
	p.t.Helper()
	// dhcpcd is several processes, and one that is left would hold the port.
	p.wait("the processes of "+p.kind+" to end", 10*time.Second, func() error {
		pids, err := exec.Command("ip", "netns", "pids", p.ns.Name).Output()
		if err != nil || len(pids) == 0 {
			return err
		}
		for f := range strings.FieldsSeq(string(pids)) {
			if pid, err := strconv.Atoi(f); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return fmt.Errorf("still there: %s", pids)
	})
	<-p.done
	if p.kind != "networkd" {
		_, err := p.ns.Run(p.ctx, "ip", "addr", "flush", "dev", "eth0", "scope", "global")
		must(p.t, err)
	}
}

// expect waits until the client's present life has these words in it, and its
// interface the address of the last of them, if that is an ACK.
func (p *peer) expect(w *wire, limit time.Duration, words ...string) []message {
	p.t.Helper()
	var got []message
	p.wait(fmt.Sprintf("%s of %s (%s)", strings.Join(words, ", "), p.kind, p.mac), limit, func() error {
		ms := w.after(p.mac, p.from)
		var ok bool
		if got, ok = follow(ms, words...); !ok {
			return fmt.Errorf("so far:%s", story(ms))
		}
		last := got[len(got)-1]
		if w := last.word(); (w == "ACK" && last.your() != nobody || w == "REPLY" && last.your().IsValid()) && !p.has(last.your()) {
			return fmt.Errorf("%s is not on its interface; so far:%s", last.your(), story(ms))
		}
		return nil
	})
	return got
}

// bound waits until the client has an address that a server acknowledged, also
// if it declined others first, and returns that ACK.
func (p *peer) bound(w *wire, limit time.Duration) (ack message) {
	p.t.Helper()
	p.wait("an address for "+p.kind, limit, func() error {
		ms := w.after(p.mac, p.from)
		for _, m := range slices.Backward(ms) {
			if m.MessageType() == dhcpv4.MessageTypeAck && p.has(m.your()) {
				ack = m
				return nil
			}
		}
		return fmt.Errorf("so far:%s", story(ms))
	})
	return ack
}

// has reports whether the client's interface has an address.
func (p *peer) has(a netip.Addr) bool {
	p.t.Helper()
	out, err := p.ns.Run(p.ctx, "ip", "-o", "addr", "show", "dev", "eth0")
	must(p.t, err)
	return strings.Contains(out, " "+a.String()+"/")
}

// second is another Muster on the link of the first.
func (r *rig) second(name, cidr string) *rig {
	r.t.Helper()
	return &rig{t: r.t, lab: r.lab, sw: r.sw, srv: r.host(name, cidr), data: r.t.TempDir(), ctx: r.ctx, binary: shipped.program(r.t)}
}

// serves is a [[network]] on eth0 in mode full, with more keys, one a line.
func serves(name, ranges string, keys ...string) string {
	return fmt.Sprintf("[[network]]\nname = %q\ninterface = \"eth0\"\nmode = \"full\"\nrange = %q\n%s\n", name, ranges, strings.Join(keys, "\n"))
}
