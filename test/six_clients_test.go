// six_clients_test.go: DHCPv6 clients that we did not write, against the whole
// daemon: the life of a lease (RFC 8415 18.2), prefixes, a relay agent, hosts and
// their reservations, and kill -9 under load.

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
)

// ---- the wire --------------------------------------------------------------

// watch6 is watch for DHCPv6.
func watch6(t *testing.T, ns *nettest.NS, iface string, each func(message)) *wire {
	t.Helper()
	return watchFrames(t, ns, iface, unix.ETH_P_IPV6, parseFrame6, each)
}

// parseFrame6 reads an Ethernet frame, if it is DHCPv6. Of a relayed message it is
// what the client said or is told.
func parseFrame6(b []byte) (m message, ok bool) {
	const udp = 14 + 40
	if len(b) < udp+8 || b[14]>>4 != 6 || b[14+6] != unix.IPPROTO_UDP {
		return m, false
	}
	from, to := binary.BigEndian.Uint16(b[udp:]), binary.BigEndian.Uint16(b[udp+2:])
	if to != dhcpv6.DefaultClientPort && to != dhcpv6.DefaultServerPort {
		return m, false
	}
	raw := bytes.Clone(b[udp+8:])
	d, err := dhcpv6.FromBytes(raw)
	if err != nil {
		return m, false
	}
	inner, err := d.GetInnerMessage()
	if err != nil {
		return m, false
	}
	return message{at: time.Now(), dst: bytes.Clone(b[0:6]), src: bytes.Clone(b[6:12]), raw: raw, six: inner,
		from: netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[22:38])), from),
		to:   netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[38:54])), to)}, true
}

// your6 is the first address that a message of DHCPv6 names to be used.
func (m message) your6() (a netip.Addr) {
	for _, ia := range m.six.Options.IANA() {
		for _, o := range ia.Options.Addresses() {
			if o.ValidLifetime > 0 || m.word() != "REPLY" {
				a, _ = netip.AddrFromSlice(o.IPv6Addr)
				return a
			}
		}
	}
	return a
}

// prefix6 is the first delegated prefix of a message.
func (m message) prefix6() (p netip.Prefix) {
	for _, ia := range m.six.Options.IAPD() {
		for _, o := range ia.Options.Prefixes() {
			if o.ValidLifetime > 0 && o.Prefix != nil {
				a, _ := netip.AddrFromSlice(o.Prefix.IP)
				bits, _ := o.Prefix.Mask.Size()
				return netip.PrefixFrom(a, bits)
			}
		}
	}
	return p
}

// ---- the clients -----------------------------------------------------------

// dhcp6c is WIDE's client, as install.sh unpacks it.
const dhcp6c = "dhcp6c/usr/sbin/dhcp6c"

// peer6 is a DHCPv6 client of a kind on a switch; start starts it. dhcpcd and
// dhcp6c are routers, which take a prefix for their interface lan0 too.
func (r *rig) peer6(kind, name string, sw *nettest.Switch) *peer {
	r.t.Helper()
	return r.newPeer(kind, name, sw).speak6()
}

// speak6 has a client's host run it for DHCPv6.
func (p *peer) speak6() *peer {
	p.t.Helper()
	r := p.rig
	lan := func() {
		far, err := r.lab.Switch()
		must(r.t, err)
		must(r.t, r.lab.Plug(p.ns, "lan0", far))
	}
	switch p.kind {
	case "dhclient":
		nettest.Need(r.t, "dhclient")
		args := []string{"-6", "-v", "-lf", p.dir + "/leases6", "-pf", p.dir + "/pid6", "-sf", p.file("script", peerScript, 0o755)}
		p.argv = append(append([]string{"dhclient", "-d"}, args...), "eth0")
		p.release = func() error {
			_, err := p.ns.Run(r.ctx, "dhclient", append(args, "-r", "eth0")...)
			return err
		}
	case "dhcpcd":
		nettest.Need(r.t, "dhcpcd", "unshare", "mount")
		lan()
		conf := p.file("conf", "duid\nnoipv4\nscript /bin/true\ninterface eth0\nia_na 1\nia_pd 2 lan0/1\n", 0o644)
		p.argv = append(p.alone(), "dhcpcd", "-6", "-B", "-d", "-f", conf, "eth0")
		p.release = p.signal(syscall.SIGALRM)
	case "networkd":
		nettest.Need(r.t, networkd, "unshare", "mount")
		p.file("etc/10-lab.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv6\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes\n", 0o644)
		p.argv = append(p.alone(), "env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", networkd)
		p.release = p.signal(syscall.SIGTERM)
	case "dhcp6c":
		nettest.Need(r.t, "unshare", "mount")
		bin := nettest.Cached(r.t, dhcp6c)
		lan()
		conf := p.file("conf", "interface eth0 { send ia-na 1; send ia-pd 2; };\nid-assoc na 1 { };\n"+
			"id-assoc pd 2 { prefix-interface lan0 { sla-id 1; sla-len 8; }; };\n", 0o644)
		p.argv = append(p.alone(), bin, "-f", "-D", "-c", conf, "-p", p.dir+"/pid", "eth0")
		p.release = p.signal(syscall.SIGTERM)
	default:
		r.t.Fatalf("no DHCPv6 client %q", p.kind)
	}
	return p
}

// start6 starts a client when its link can send.
func (p *peer) start6(w *wire) {
	p.t.Helper()
	p.linkLocal(p.ns)
	p.start(w)
}

// linkLocal waits until duplicate address detection of a host is over: until then
// it has no address that it may send from.
func (r *rig) linkLocal(ns *nettest.NS) {
	r.t.Helper()
	r.wait("a link-local address", 10*time.Second, func() error {
		out, err := ns.Run(r.ctx, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative")
		if err == nil && !strings.Contains(out, "fe80::") {
			err = errors.New("none")
		}
		return err
	})
}

// router reports a client that takes a prefix.
func (p *peer) router() bool { return p.kind == "dhcpcd" || p.kind == "dhcp6c" }

// lan is an error until a router has an address of its prefix on lan0.
func (p *peer) lan(prefix netip.Prefix) error {
	out, err := p.ns.Run(p.ctx, "ip", "-6", "-o", "addr", "show", "dev", "lan0", "scope", "global")
	if err != nil {
		return err
	}
	for f := range strings.FieldsSeq(out) {
		if a, err := netip.ParsePrefix(f); err == nil && prefix.Contains(a.Addr()) {
			return nil
		}
	}
	return errors.New(out)
}

// named is the name of a host, empty if there is none.
func (r *rig) named(id uint64) string {
	r.t.Helper()
	for _, h := range r.hosts() {
		if h.ID == id {
			return h.Name
		}
	}
	return ""
}

// leases6 returns what is leased now, by address.
func (r *rig) leases6() map[netip.Addr]lease {
	r.t.Helper()
	out := map[netip.Addr]lease{}
	for _, l := range r.leases() {
		out[l.Addr] = l
	}
	return out
}

const sixFull = "[[network]]\nname=\"six\"\ninterface=\"eth0\"\nsubnet6=\"fd77::/64\"\nrange6=\"fd77::1000-fd77::1fff\"\nra=\"managed\"\n" +
	"dns6=[\"fd77::53\"]\ndomain=\"lab.example\"\ndelegate6=\"fd88::/48\"\nlease=\"1m\"\nunknown_lease=\"1m\"\n"

// peers6 starts a client of each kind; who wants a prefix is a host that has one.
func (r *rig) peers6(w *wire) (ps []*peer) {
	r.t.Helper()
	for _, kind := range []string{"dhclient", "dhcpcd", "networkd", "dhcp6c"} {
		p := r.peer6(kind, kind, r.sw)
		if p.router() {
			r.muster("host", "add", kind, "--mac", p.mac, "--approved")
		}
		ps = append(ps, p)
	}
	for _, p := range ps {
		p.start6(w)
	}
	return ps
}

// TestSixClientLives: four clients take addresses, two of them prefixes too. The
// daemon is killed, some of the clients start again, and all extend what they have
// with the daemon that came after; in the end they give it back.
func TestSixClientLives(t *testing.T) {
	t.Parallel() // it waits for T1, which the shortest lease puts at 22 s
	r := sixRig(t)
	w := watch6(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull)
	ps := r.peers6(w)

	bound := map[*peer]message{}
	whose := map[netip.Addr]*peer{}
	for _, p := range ps {
		got := p.expect(w, 20*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY")
		bound[p] = last(got)
		a, l := bound[p].your(), r.leases6()[bound[p].your()]
		if !netip.MustParsePrefix("fd77::1000/116").Contains(a) || got[1].your() != a {
			t.Errorf("%s was given %s:%s", p.kind, a, story(got))
		}
		if o := whose[a]; o != nil {
			t.Errorf("%s is %s's and %s's", a, o.kind, p.kind)
		}
		whose[a] = p
		host, kind := "", unknown
		if p.router() {
			host, kind = p.kind, dynamic
		}
		if l.Kind != kind || l.MAC != p.mac || r.named(l.Host) != host {
			t.Errorf("%s of %s has %s, and the store says %+v", p.kind, p.mac, a, l)
		}
		if !p.router() {
			continue
		}
		prefix := bound[p].prefix6()
		if !netip.MustParsePrefix("fd88::/48").Contains(prefix.Addr()) || prefix.Bits() != 56 {
			t.Errorf("%s was given the prefix %s", p.kind, prefix)
		}
		r.wait("an address of "+prefix.String()+" behind "+p.kind, 10*time.Second, func() error { return p.lan(prefix) })
		if l := r.leases6()[prefix.Addr()]; r.named(l.Host) != p.kind || !strings.HasSuffix(l.Holder, "/pd") {
			t.Errorf("%s has %s, and the store says %+v", p.kind, prefix, l)
		}
	}
	if s := r.out.String(); !strings.Contains(s, `name="six (IPv6)"`) || strings.Contains(s, "invalid") {
		t.Errorf("a network of IPv6 alone greets with\n%s", s)
	}
	// What made them ask: addresses by DHCPv6, and none of their own making.
	isc := ps[0]
	nettest.Need(t, "rdisc6")
	seen, err := isc.ns.Run(r.ctx, "rdisc6", "-1", "-w", "2000", "eth0")
	for _, want := range []string{`Stateful address conf\. +: +Yes`, `Stateful other conf\. +: +Yes`, `Router lifetime +: +0 `, `Prefix +: fd77::/64`, `Autonomous address conf\.: +No`} {
		if err != nil || !regexp.MustCompile(want).MatchString(seen) {
			t.Errorf("rdisc6 saw no %s: %v\n%s", want, err, seen)
		}
	}
	b, err := os.ReadFile(filepath.Join(isc.dir, "leases6"))
	must(t, err)
	for _, want := range []string{"iaaddr " + bound[isc].your().String(), "preferred-life 45;", "max-life 60;", "renew 22;", "rebind 36;", "dhcp6.name-servers fd77::53;", `dhcp6.domain-search "lab.example.";`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("dhclient noted no %q:\n%s", want, b)
		}
	}
	before := r.leases6()

	// A client that comes back from a power cut asks whether it is still on the
	// same link (RFC 8415 18.2.3). A router does so by Rebind, for its prefix
	// (18.2.12). A daemon that was killed meanwhile answers both.
	r.stop(true)
	for _, p := range ps[:2] {
		p.cut()
	}
	r.serveConfig(sixFull)
	for p, word := range map[*peer]string{ps[0]: "CONFIRM", ps[1]: "REBIND"} {
		p.start6(w)
		got := p.expect(w, 10*time.Second, word, "REPLY")
		r.wait(p.kind+" to use its address again", 10*time.Second, func() error {
			if !p.has(bound[p].your()) {
				return errors.New(story(got))
			}
			return nil
		})
	}

	// At half of the preferred time all renew.
	for _, p := range ps {
		got := p.expect(w, 40*time.Second, "RENEW", "REPLY")
		a := bound[p].your()
		held := []netip.Addr{a}
		if p.router() {
			held = append(held, bound[p].prefix6().Addr())
		}
		// dhcp6c renews each association by itself, in either order.
		r.wait(p.kind+" to renew", 15*time.Second, func() error {
			for _, a := range held {
				if l := r.leases6()[a]; !l.Expires.After(before[a].Expires.Add(10*time.Second)) || !l.Starts.Equal(before[a].Starts) {
					return fmt.Errorf("the store says %+v, before %+v:%s", l, before[a], story(got))
				}
			}
			return nil
		})
		if _, again := follow(w.of(p.mac), "REQUEST", "SOLICIT"); again {
			t.Errorf("%s had to start over:%s", p.kind, story(w.of(p.mac)))
		}
	}

	for _, p := range ps {
		must(t, p.release())
		if p.kind == "networkd" {
			continue // that of systemd 252 sends no Release
		}
		p.expect(w, 10*time.Second, "RENEW", "REPLY", "RELEASE", "REPLY")
		r.wait("the release of "+p.kind, 5*time.Second, func() error {
			for _, l := range r.leases6() {
				if l.MAC == p.mac {
					return fmt.Errorf("still leased: %+v", l)
				}
			}
			if a := bound[p].your(); p.has(a) {
				return fmt.Errorf("still on its interface: %s", a)
			}
			return nil
		})
	}
	if hs := r.hosts(); len(hs) != 2 {
		t.Errorf("clients that boot nothing are on the roll: %+v", hs)
	}
}

// TestSixRebind: a client that does not reach its server asks any server, at T2
// (RFC 8415 18.2.5), and keeps its address.
func TestSixRebind(t *testing.T) {
	t.Parallel() // it waits for T2, which the shortest lease puts at 36 s
	r := sixRig(t)
	w := watch6(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull)
	ps, bound, since := r.peers6(w), map[*peer]netip.Addr{}, map[*peer]time.Time{}
	for _, p := range ps {
		reply := last(p.expect(w, 20*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY"))
		bound[p], since[p] = reply.your(), reply.at
	}
	r.stop(true)
	before := map[*peer]int{}
	for _, p := range ps {
		before[p] = len(w.of(p.mac))
	}
	for _, p := range ps {
		p.expect(w, 60*time.Second, "REPLY", "RENEW", "REBIND")
	}
	r.serveConfig(sixFull)
	back := time.Now()
	for _, p := range ps {
		// dhcp6c asks for its prefix apart, and may be answered that first.
		r.wait(fmt.Sprintf("%s to be told %s again", p.kind, bound[p]), 30*time.Second, func() error {
			got := w.of(p.mac)[before[p]:]
			if !slices.ContainsFunc(got, func(m message) bool { return m.word() == "REPLY" && m.your() == bound[p] }) {
				return errors.New(story(got))
			}
			return nil
		})
		// They begin one after the other, and all must have come to T2. On a loaded machine the
		// first is by then so near to the end of its preferred time, 45 s, that it does not ask
		// once more before: dhcpcd does so each 4 s and more.
		if _, again := follow(w.of(p.mac)[before[p]:], "SOLICIT"); again && back.Sub(since[p]) < 40*time.Second {
			t.Errorf("%s had to start over:%s", p.kind, story(w.of(p.mac)))
		} else if again {
			t.Logf("%s had to start over: the server came back %s after it was bound", p.kind, back.Sub(since[p]).Round(time.Second))
		}
		if l := r.leases6()[bound[p]]; l.MAC != p.mac {
			t.Errorf("the store says %+v", l)
		}
	}
}

// TestSixStateless: a client that has an address gets the other options (RFC
// 8415 18.2.6), and no lease is made.
func TestSixStateless(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "dhclient")
	r := sixRig(t)
	w := watch6(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull)
	p := r.peer6("dhclient", "cli", r.sw)
	script := p.file("script", "#!/bin/sh\necho \"$reason $new_dhcp6_name_servers $new_dhcp6_domain_search\" >>"+p.dir+"/told\n", 0o755)
	p.argv = []string{"dhclient", "-d", "-6", "-S", "-lf", p.dir + "/leases", "-pf", p.dir + "/pid", "-sf", script, "eth0"}
	p.start6(w)
	got := p.expect(w, 10*time.Second, "INFORMATION-REQUEST", "REPLY")
	if n := len(got[1].six.Options.IANA()); n != 0 {
		t.Errorf("%d associations: %s", n, got[1].six.Summary())
	}
	r.wait("dhclient to tell what it learned", 5*time.Second, func() error {
		b, err := os.ReadFile(filepath.Join(p.dir, "told"))
		if err == nil && !strings.Contains(string(b), "RENEW6 fd77::53 lab.example.") {
			err = errors.New(string(b))
		}
		return err
	})
	if ls := r.leases6(); len(ls) != 0 {
		t.Errorf("leased: %+v", ls)
	}
}

// sixFar is the network behind the agent of relayed6.
const sixFar = "[[network]]\nname=\"far\"\ninterface=\"eth0\"\nsubnet6=\"fd99::/64\"\nrange6=\"fd99::1000-fd99::1fff\"\nrelays6=[\"fd77::fe\"]\nlease=\"1m\"\nunknown_lease=\"1m\"\n"

// relayed6 is a link behind a router that runs ISC's relay agent.
func (r *rig) relayed6() (*nettest.Switch, *nettest.NS) {
	r.t.Helper()
	_, err := r.srv.Run(r.ctx, "ip", "route", "add", "fd99::/64", "via", "fd77::fe")
	must(r.t, err)
	return r.agent6("router", r.sw, "fd77::fe/64", "fd99::1/64", "fd77::1")
}

// agent6 is a link behind ISC's relay agent, which is near on one link and far on
// the other.
func (r *rig) agent6(name string, sw *nettest.Switch, near, far, server string) (*nettest.Switch, *nettest.NS) {
	t := r.t
	t.Helper()
	dhcrelay := nettest.Cached(t, "dhcrelay/usr/sbin/dhcrelay")
	behind, err := r.lab.Switch()
	must(t, err)
	router, err := r.lab.Host(name)
	must(t, err)
	must(t, r.lab.Plug(router, "far0", behind))
	must(t, r.lab.Plug(router, "eth0", sw))
	// The agent opens its sockets once: an address that is still being looked at
	// would fail it.
	for dev, a := range map[string]string{"far0": far, "eth0": near} {
		_, err := router.Run(r.ctx, "ip", "addr", "add", a, "dev", dev, "nodad")
		must(t, err)
	}
	r.wait("the router's links", 10*time.Second, func() error {
		out, err := router.Run(r.ctx, "ip", "-6", "-o", "addr", "show", "scope", "link", "-tentative")
		if err == nil && strings.Count(out, "fe80::") != 2 {
			err = errors.New(out)
		}
		return err
	})
	_, err = router.Run(r.ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
	must(t, err)
	said := r.daemon(router, dhcrelay, "-6", "-d", "--no-pid", "-I", "-l", "far0", "-u", server+"%eth0")
	r.wait("the relay agent", 10*time.Second, func() error {
		if s := said.String(); !strings.Contains(s, "Sending on   Socket/") {
			return errors.New(s)
		}
		return nil
	})
	return behind, router
}

// TestSixRelayTwice: a relay behind a relay. The one next to the client says which
// network it is on (RFC 8415 19.1.2), and the answer goes back through both.
func TestSixRelayTwice(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "dhclient")
	r := sixRig(t)
	near := watch6(t, r.sw.NS, nettest.BridgeName, nil)
	far, _ := r.relayed6()
	beyond, _ := r.agent6("router2", far, "fd99::fe/64", "fd98::1/64", "fd99::1")
	w := watch6(t, beyond.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull + sixFar + strings.NewReplacer("far", "beyond", "fd99", "fd98").Replace(sixFar))
	p := r.peer6("dhclient", "beyond", beyond)
	p.start6(w)
	a := last(p.expect(w, 20*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY")).your()
	if l := r.leases6()[a]; !netip.MustParsePrefix("fd98::1000/116").Contains(a) || l.Network != "beyond" || l.MAC != p.mac {
		t.Errorf("it was given %s, and the store says %+v", a, l)
	}
	must(t, p.release())
	p.expect(w, 10*time.Second, "RELEASE", "REPLY")
	twice := 0
	for _, m := range near.of("") {
		if m.raw[0] != byte(dhcpv6.MessageTypeRelayReply) {
			continue
		}
		outer, err := dhcpv6.RelayMessageFromBytes(m.raw)
		must(t, err)
		inner, ok := outer.Options.RelayMessage().(*dhcpv6.RelayMessage)
		if !ok || m.to.Addr().String() != "fd77::fe" || outer.LinkAddr.String() != "fd99::1" || outer.PeerAddr.String() != "fd99::fe" || inner.LinkAddr.String() != "fd98::1" {
			t.Errorf("%s > %s: %s", m.from, m.to, outer.Summary())
		}
		twice++
	}
	if twice < 3 {
		t.Errorf("%d replies came by both agents:%s", twice, story(near.of("")))
	}
}

// TestSixRelay: clients behind ISC's relay agent get addresses of their own
// network, and its answers come back by the agent (RFC 8415 19.2).
func TestSixRelay(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "dhclient", networkd)
	r := sixRig(t)
	near := watch6(t, r.sw.NS, nettest.BridgeName, nil)
	far, _ := r.relayed6()
	w := watch6(t, far.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull + sixFar + "delegate6=\"fd9a::/48\"\n")

	ps := []*peer{r.peer6("dhclient", "far-dhclient", far), r.peer6("networkd", "far-networkd", far), r.peer6("dhcp6c", "far-dhcp6c", far)}
	r.muster("host", "add", "far-router", "--mac", ps[2].mac, "--approved")
	// Nobody advertises there.
	ps[1].file("etc/10-lab.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv6\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n[DHCPv6]\nWithoutRA=solicit\n", 0o644)
	local := r.peer6("dhclient", "near-dhclient", r.sw)
	for _, p := range ps {
		p.start6(w)
	}
	local.start6(near)
	if a := last(local.expect(near, 10*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY")).your(); !netip.MustParsePrefix("fd77::/64").Contains(a) {
		t.Errorf("a client on the server's own link was given %s", a)
	}
	for _, p := range ps {
		reply := last(p.expect(w, 20*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY"))
		a := reply.your()
		l := r.leases6()[a]
		if prefix := reply.prefix6(); p.router() {
			if !netip.MustParsePrefix("fd9a::/48").Contains(prefix.Addr()) || prefix.Bits() != 56 || r.named(r.leases6()[prefix.Addr()].Host) != "far-router" {
				t.Errorf("%s behind the relay was given the prefix %s", p.kind, prefix)
			}
			r.wait("an address of "+prefix.String()+" behind "+p.kind, 10*time.Second, func() error { return p.lan(prefix) })
		}
		if !netip.MustParsePrefix("fd99::1000/116").Contains(a) || l.Network != "far" || l.MAC != p.mac {
			t.Errorf("%s behind the relay was given %s, and the store says %+v", p.kind, a, l)
		}
		must(t, p.release())
		if p.kind == "networkd" {
			continue // that of systemd 252 sends no Release
		}
		p.expect(w, 10*time.Second, "RELEASE", "REPLY")
		if l, ok := r.leases6()[a]; ok {
			t.Errorf("still leased: %+v", l)
		}
	}
	relayed := 0
	for _, m := range near.of("") {
		if m.raw[0] != byte(dhcpv6.MessageTypeRelayReply) {
			continue
		}
		relayed++
		d, err := dhcpv6.RelayMessageFromBytes(m.raw)
		must(t, err)
		if m.from.String() != "[fd77::1]:547" || m.to.Port() != 547 || d.LinkAddr.String() != "fd99::1" || d.Options.InterfaceID() == nil {
			t.Errorf("%s > %s: %s", m.from, m.to, d.Summary())
		}
	}
	if relayed < 5 {
		t.Errorf("%d replies came by the agent:%s", relayed, story(near.of("")))
	}
}

// TestSixHost: one machine asks by both protocols and is one host, which gets
// what is reserved for it by each.
func TestSixHost(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "dhclient", "arping")
	r := sixRig(t)
	must(t, r.srv.Addr("eth0", serverAddr+"/24"))
	w4, w := watch(t, r.sw.NS, nettest.BridgeName, nil), watch6(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(sixFull + "mode=\"full\"\nsubnet=\"10.77.0.0/24\"\nrange=\"10.77.0.100-10.77.0.150\"\n")
	p4 := r.peer("dhclient", "cli", r.sw)
	p := (&peer{rig: r, kind: p4.kind, ns: p4.ns, mac: p4.mac, dir: p4.dir}).speak6()
	r.muster("host", "add", "web1", "--mac", p4.mac, "--approved", "--address", "fd77::51", "--address", "10.77.0.50")
	r.muster("host", "set", "web1", "--address", "fd77::50")
	if said := r.fails("host", "set", "web1", "--address", "10.77.0.51", "--address", "10.77.0.52"); !strings.Contains(said, "one reserved address of IPv4 and one of IPv6") {
		t.Errorf("two of one family: %s", said)
	}
	p4.start(w4)
	p.start6(w)
	if a := last(p4.expect(w4, 20*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK")).your(); a.String() != "10.77.0.50" {
		t.Errorf("by DHCPv4 it was given %s", a)
	}
	if a := last(p.expect(w, 20*time.Second, "SOLICIT", "ADVERTISE", "REQUEST", "REPLY")).your(); a.String() != "fd77::50" {
		t.Errorf("by DHCPv6 it was given %s", a)
	}
	held := r.leases6()
	for _, a := range []string{"10.77.0.50", "fd77::50"} {
		if l := held[netip.MustParseAddr(a)]; r.named(l.Host) != "web1" || l.Kind != reserved {
			t.Errorf("%s: %+v", a, l)
		}
	}
	if hs := r.hosts(); len(hs) != 1 || len(held) != 2 {
		t.Errorf("hosts %+v, leases %+v", hs, held)
	}
}

// TestSixKilledUnderLoad: kill -9 while perfdhcp asks for addresses of many
// machines. The store has every address that a machine was told, and no address
// was told to two. MUSTER_LONG makes it twenty kills.
func TestSixKilledUnderLoad(t *testing.T) {
	t.Parallel()
	nettest.Need(t, "perfdhcp")
	rounds := 2
	if os.Getenv("MUSTER_LONG") != "" {
		rounds = 20
	}
	r := sixRig(t)
	cli := r.host("cli", "")
	r.linkLocal(cli)
	conf := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(conf, []byte("[[network]]\nname=\"six\"\ninterface=\"eth0\"\nsubnet6=\"fd77::/64\"\nrange6=\"fd77::1:0-fd77::1:ffff\"\n"+
		"lease=\"12h\"\nunknown_lease=\"12h\"\nunknown_share=100\nnew_leases=0\n"), 0o644))

	k := newKilling()
	told := map[netip.Addr]string{}
	watch6(t, cli, "eth0", func(m message) {
		if m.word() != "REPLY" || !m.your().IsValid() {
			return
		}
		holder := fmt.Sprintf("%x/%x", m.six.Options.ClientID().ToBytes(), m.six.Options.OneIANA().IaId)
		k.saw(func() {
			if o, ok := told[m.your()]; ok && o != holder {
				t.Errorf("%s was given to %s, who has it, and to %s", m.your(), o, holder)
			}
			told[m.your()] = holder
		})
	})
	k.rounds(r, rounds, 500, conf, func(ctx context.Context, base string) *exec.Cmd {
		return cli.Command(ctx, "perfdhcp", "-6", "-l", "eth0", "-r", "1500", "-R", "50000", "-p", "60", "-b", base, "all")
	}, func(lost func(string, ...any)) int {
		held := r.leases6()
		for a, holder := range told {
			if held[a].Holder != holder {
				lost("%s was told %s, after the kill the store says %+v", holder, a, held[a])
			}
		}
		return len(told)
	})
}
