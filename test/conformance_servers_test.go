// conformance_servers_test.go: a relay agent in front, another server beside,
// and somebody on an address of the pool.

package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
)

// TestRelay: clients two hops away, behind ISC's relay agent. They get
// addresses of their own network, option 82 comes back to the agent byte for
// byte, and renewals and releases come by routing, without the agent.
func TestRelay(t *testing.T) {
	needPeers(t)
	dhcrelay, err := nettest.CachePath("dhcrelay/usr/sbin/dhcrelay")
	if err != nil {
		dhcrelay = "/missing/dhcrelay"
	}
	nettest.Need(t, dhcrelay)
	r := newLab(t)
	far, router := r.behindRouter()
	near := watch(t, r.sw.NS, nettest.BridgeName, nil)
	w := watch(t, far.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("near", "10.77.0.100-10.77.0.110", append(shortLease, `subnet = "10.77.0.0/24"`)...) +
		serves("far", "10.88.0.100-10.88.0.110", append(shortLease, `subnet = "10.88.0.0/24"`, `routers = ["10.88.0.1"]`, `relays = ["10.88.0.1"]`)...))
	said := r.daemon(router, dhcrelay, "-4", "-d", "--no-pid", "-a", "-m", "append", "-id", "far0", "-iu", "near0", serverAddr)
	r.wait("the relay agent", 10*time.Second, func() error {
		if s := said.String(); !strings.Contains(s, "Sending on   Socket/fallback") {
			return errors.New(s)
		}
		return nil
	})

	ps := []*peer{r.peer("dhclient", "far-dhclient", far), r.peer("udhcpc", "far-udhcpc", far)}
	local := r.peer("udhcpc", "near-udhcpc", r.sw)
	for _, p := range ps {
		p.start(w)
	}
	local.start(near)
	if a := last(local.expect(near, 20*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK")).your(); a.As4()[1] != 77 {
		t.Errorf("a client on the server's own link was given %s", a)
	}
	acks := map[*peer]message{}
	for _, p := range ps {
		acks[p] = last(p.expect(w, 20*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK"))
		if a := acks[p].your(); a.As4()[1] != 88 || len(acks[p].Router()) != 1 || acks[p].Router()[0].String() != "10.88.0.1" {
			t.Errorf("%s behind the relay was given %s:\n%s", p.kind, a, acks[p].Summary())
		}
		// What passed between agent and server.
		asked := map[dhcpv4.TransactionID][]byte{}
		replies := 0
		for _, m := range near.of(p.mac) {
			agent := m.Options.Get(dhcpv4.OptionRelayAgentInformation)
			switch m.MessageType() {
			case dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest:
				if m.GatewayIPAddr.String() != "10.88.0.1" || !bytes.Contains(agent, []byte("far0")) {
					t.Fatalf("the agent did not do its part: %s\n%s", m, m.Summary())
				}
				asked[m.TransactionID] = agent
			default:
				replies++
				if m.to.String() != "10.88.0.1:67" || m.GatewayIPAddr.String() != "10.88.0.1" {
					t.Errorf("a reply must go to the agent's port 67: %s\n%s", m, m.Summary())
				}
				if !bytes.Equal(agent, asked[m.TransactionID]) {
					t.Errorf("option 82 went out as %x and came back as %x", asked[m.TransactionID], agent)
				}
			}
		}
		if replies < 2 {
			t.Errorf("%d replies to %s passed by the agent:%s", replies, p.kind, story(near.of(p.mac)))
		}
	}
	for _, p := range ps {
		// ISC's agent reads along and relays a copy of what is routed past it.
		// The client's own message is the one that names no agent.
		r.wait("the renewal of "+p.kind, 50*time.Second, func() error {
			ms := slices.DeleteFunc(near.of(p.mac), func(m message) bool { return !m.GatewayIPAddr.IsUnspecified() })
			got, ok := follow(ms, "REQUEST renewing", "ACK")
			if !ok {
				return fmt.Errorf("so far:%s", story(near.of(p.mac)))
			}
			if ack := got[1]; ack.your() != acks[p].your() || ack.to.Addr() != ack.your() || ack.Options.Has(dhcpv4.OptionRelayAgentInformation) {
				return fatal{fmt.Errorf("%s had %s and renews:%s", p.kind, acks[p].your(), story(got))}
			}
			return nil
		})
	}
	for _, p := range ps {
		must(t, p.release())
		r.wait("the release of "+p.kind, 10*time.Second, func() error {
			if l, ok := r.leases()[p.mac]; ok {
				return fmt.Errorf("still leased: %+v", l)
			}
			return nil
		})
	}
}

func last(ms []message) message { return ms[len(ms)-1] }

// scripted plays a client word for word, against several servers on one link.
type scripted struct {
	*rig
	ns  *nettest.NS
	w   *wire
	mac net.HardwareAddr
}

func (s *scripted) make(typ dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	s.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(s.mac), dhcpv4.WithMessageType(typ),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask)}, mods...)...)
	must(s.t, err)
	return m
}

// ask sends a message and returns the reply of this word from a server.
func (s *scripted) ask(m *dhcpv4.DHCPv4, from, to, server, word string) message {
	s.t.Helper()
	send(s.t, s.ns, m, netip.MustParseAddr(from), netip.MustParseAddr(to))
	return s.await(m, server, word)
}

func (s *scripted) await(m *dhcpv4.DHCPv4, server, word string) (got message) {
	s.t.Helper()
	s.wait(word+" from "+server, 10*time.Second, func() error {
		for _, got = range s.w.of(m.ClientHWAddr.String()) {
			if got.TransactionID == m.TransactionID && got.word() == word && got.from.Addr().String() == server {
				return nil
			}
		}
		return fmt.Errorf("so far:%s", story(s.w.of(m.ClientHWAddr.String())))
	})
	return got
}

// settle puts the address on the client's interface: who renews must answer
// ARP for the reply to come.
func (s *scripted) settle(a netip.Addr) {
	s.t.Helper()
	must(s.t, s.ns.Addr("eth0", a.String()+"/24"))
}

func (s *scripted) tell(m *dhcpv4.DHCPv4, from, to string) {
	s.t.Helper()
	send(s.t, s.ns, m, netip.MustParseAddr(from), netip.MustParseAddr(to))
}

func selecting(offer message) []dhcpv4.Modifier {
	return []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))}
}

func wants(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func holding(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }

const (
	zero    = "0.0.0.0"
	all     = "255.255.255.255"
	otherIP = "10.77.0.2"
)

// TestProxyBesideMuster: one Muster gives the addresses, another the boot
// answers. Whatever a client says, the proxy never gives an address, never
// refuses one, and has no lease.
func TestProxyBesideMuster(t *testing.T) {
	needPeers(t)
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.119"))
	b := r.second("proxy", otherIP+"/24")
	b.serveConfig("[[network]]\nname = \"lab\"\ninterface = \"eth0\"\nmode = \"proxy\"\n")

	ps := []*peer{r.peer("dhclient", "dhclient", r.sw), r.peer("udhcpc", "udhcpc", r.sw), r.peer("dhcpcd", "dhcpcd", r.sw)}
	for _, p := range ps {
		p.start(w)
	}
	s := &scripted{r, r.host("cli", ""), w, net.HardwareAddr{0x52, 0x54, 0, 0xcc, 0, 1}}
	pxe := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
		dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(93), []byte{0, 7}), dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(97), make([]byte, 17))}
	discover := s.make(dhcpv4.MessageTypeDiscover, pxe...)
	offer := s.ask(discover, zero, all, serverAddr, "OFFER")
	boots := s.await(discover, otherIP, "OFFER")
	if !boots.YourIPAddr.IsUnspecified() || boots.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || boots.ClassIdentifier() != "PXEClient" {
		t.Errorf("the proxy's offer is no proxy's:\n%s", boots.Summary())
	}
	a := s.ask(s.make(dhcpv4.MessageTypeRequest, append(pxe, selecting(offer)...)...), zero, all, serverAddr, "ACK").your()
	s.settle(a)
	s.ask(s.make(dhcpv4.MessageTypeRequest, wants(a)), zero, all, serverAddr, "ACK")
	s.ask(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), all, serverAddr, "ACK")
	// An address of elsewhere, which the server must refuse and the proxy not.
	s.ask(s.make(dhcpv4.MessageTypeRequest, wants(netip.MustParseAddr("10.99.0.5"))), zero, all, serverAddr, "NAK")
	// Sent to the proxy alone, as by a client of a server that was there before.
	s.tell(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), otherIP)
	s.tell(s.make(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(otherIP))), wants(a)), zero, all)
	s.tell(s.make(dhcpv4.MessageTypeDecline, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(otherIP))), wants(a)), zero, all)
	s.tell(s.make(dhcpv4.MessageTypeRelease, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(otherIP))), holding(a)), a.String(), otherIP)
	// The proxy has read all of it when it answers this.
	s.ask(s.make(dhcpv4.MessageTypeDiscover, pxe...), zero, all, otherIP, "OFFER")

	for _, p := range ps {
		p.expect(w, 30*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK")
		p.cut()
		p.start(w)
	}
	for _, p := range ps {
		p.expect(w, 30*time.Second, "ACK")
	}
	for _, m := range w.of("") {
		if m.from.Addr().String() == otherIP && (m.word() != "OFFER" || !m.YourIPAddr.IsUnspecified()) {
			t.Errorf("the proxy said: %s", m)
		}
	}
	if ls := b.leases(); len(ls) != 0 {
		t.Errorf("the proxy has leases: %+v", ls)
	}
}

// TestTwoMusters: two in mode full on one link, each with its own part of the
// addresses. A client of the one is never refused by the other, and leaves no
// trace in it.
func TestTwoMusters(t *testing.T) {
	needPeers(t)
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.119"))
	b := r.second("srv2", otherIP+"/24")
	b.serveConfig(serves("lab", "10.77.0.120-10.77.0.139"))

	s := &scripted{r, r.host("cli", ""), w, net.HardwareAddr{0x52, 0x54, 0, 0xcc, 0, 1}}
	discover := s.make(dhcpv4.MessageTypeDiscover)
	offer := s.ask(discover, zero, all, serverAddr, "OFFER")
	others := s.await(discover, otherIP, "OFFER").your()
	a := s.ask(s.make(dhcpv4.MessageTypeRequest, selecting(offer)...), zero, all, serverAddr, "ACK").your()
	s.settle(a)
	// The other one takes back what it had offered, and gives it to whoever asks next:
	// often the first server, which looks for others on its link. A next client may also
	// overtake the request that the other learns it from.
	var next *scripted
	given := func(m message) bool {
		return m.word() == "OFFER" && m.from.Addr().String() == otherIP && m.your() == others && m.ClientHWAddr.String() != s.mac.String()
	}
	for n := range byte(8) {
		next = &scripted{r, s.ns, w, net.HardwareAddr{0x52, 0x54, 0, 0xcc, 0, 2 + n}}
		next.ask(next.make(dhcpv4.MessageTypeDiscover), zero, all, otherIP, "OFFER")
		if slices.ContainsFunc(w.of(""), given) {
			break
		}
	}
	if !slices.ContainsFunc(w.of(""), given) {
		t.Errorf("a client that chose the other server still holds %s: nobody else is offered it:%s", others, story(w.of("")))
	}
	s.ask(s.make(dhcpv4.MessageTypeRequest, wants(a)), zero, all, serverAddr, "ACK")
	s.ask(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), serverAddr, serverAddr, "ACK")
	s.ask(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), all, serverAddr, "ACK")
	// To the wrong one by unicast, as after the servers changed places.
	s.tell(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), otherIP)
	next.ask(next.make(dhcpv4.MessageTypeDiscover), zero, all, otherIP, "OFFER")

	// Clients that we did not write, each with either server.
	ps := []*peer{r.peer("dhclient", "dhclient", r.sw), r.peer("udhcpc", "udhcpc", r.sw), r.peer("dhcpcd", "dhcpcd", r.sw), r.peer("networkd", "networkd", r.sw)}
	for _, p := range ps {
		p.start(w)
	}
	chosen := map[*peer]message{}
	for _, p := range ps {
		chosen[p] = last(p.expect(w, 30*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK"))
		p.cut()
		p.start(w)
	}
	for _, p := range ps {
		ack := last(p.expect(w, 30*time.Second, "ACK"))
		if p.reboots && (ack.your() != chosen[p].your() || ack.from != chosen[p].from) {
			t.Errorf("%s had %s of %s and after its restart %s of %s", p.kind, chosen[p].your(), chosen[p].from, ack.your(), ack.from)
		}
	}
	la, lb := r.leases(), b.leases()
	if _, ok := lb[s.mac.String()]; ok || la[s.mac.String()].Addr != a {
		t.Errorf("%s is the first server's, and the stores say %+v and %+v", a, la[s.mac.String()], lb[s.mac.String()])
	}
	for _, p := range ps {
		_, inA := la[p.mac]
		_, inB := lb[p.mac]
		// Who starts anew may choose the other server.
		if p.reboots && inA && inB {
			t.Errorf("%s has a lease with both: %+v, %+v", p.kind, la[p.mac], lb[p.mac])
		}
	}

	// One is gone: its client in REBINDING hears nothing of the other, and
	// starting over gets an address of it.
	r.stop(false)
	s.tell(s.make(dhcpv4.MessageTypeRequest, holding(a)), a.String(), all)
	s.tell(s.make(dhcpv4.MessageTypeRequest, wants(a)), zero, all)
	offer = s.ask(s.make(dhcpv4.MessageTypeDiscover), zero, all, otherIP, "OFFER")
	if got := s.ask(s.make(dhcpv4.MessageTypeRequest, selecting(offer)...), zero, all, otherIP, "ACK").your(); got.As4()[3] < 120 {
		t.Errorf("the second server gave %s", got)
	}
	for _, m := range w.of("") {
		if m.MessageType() == dhcpv4.MessageTypeNak {
			t.Errorf("refused: %s", m)
		}
	}
	for _, m := range w.of(s.mac.String()) {
		if m.from.Addr().String() == otherIP && m.MessageType() == dhcpv4.MessageTypeAck && m.your() == a {
			t.Errorf("acknowledged an address that is not its own: %s", m)
		}
	}
}

// TestTwoMustersOneRange: two servers with the same range are a mistake, and
// both say so. Machines that check their address still end up with one each,
// and a declined address is not given again. A refusal may happen: a server
// refuses an address that was declined to it to the client of the other server.
func TestTwoMustersOneRange(t *testing.T) {
	needPeers(t)
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.119"))
	b := r.second("srv2", otherIP+"/24")
	b.serveConfig(serves("lab", "10.77.0.100-10.77.0.119"))
	who := map[netip.Addr]*peer{}
	for i, kind := range []string{"udhcpc", "dhclient", "busybox", "dhclient", "udhcpc", "dhclient"} {
		p := r.peer(kind, fmt.Sprintf("cli%d", i), r.sw)
		p.start(w) // one after the other: the one before is there to be seen
		a := p.bound(w, 40*time.Second).your()
		if o := who[a]; o != nil {
			t.Errorf("%s is %s's and %s's:%s", a, o.mac, p.mac, story(w.of("")))
		}
		who[a] = p
	}
	for _, m := range []*rig{r, b} {
		r.wait("the warning of two servers", 10*time.Second, func() error {
			if !strings.Contains(m.out.String(), "two servers give addresses") {
				return errors.New(m.out.String())
			}
			return nil
		})
	}
	again := map[netip.Addr]*peer{}
	for a, p := range who {
		if p.reboots {
			p.cut()
			p.start(w)
			a = p.bound(w, 40*time.Second).your()
		}
		if o := again[a]; o != nil {
			t.Errorf("%s is %s's and, after a restart, %s's:%s", a, o.mac, p.mac, story(w.of("")))
		}
		again[a] = p
	}
	type place struct{ addr, server string }
	declined := map[place]bool{}
	for _, m := range w.of("") {
		switch m.MessageType() {
		case dhcpv4.MessageTypeDecline:
			declined[place{m.RequestedIPAddress().String(), m.ServerIdentifier().String()}] = true
		case dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck:
			if declined[place{m.your().String(), m.ServerIdentifier().String()}] {
				t.Errorf("declined to this server, and given by it again: %s", m)
			}
		}
	}
	if len(declined) == 0 {
		// On a busy machine a server's own probe sees the other's client first, and
		// nobody has anything to decline: that is no fault.
		t.Log("nobody declined anything: the probes were faster than the clients")
	}
}

// TestSquatter: a machine has two addresses of the pool, set by hand, one of
// them the first in line. Muster looks ahead: an event says who sits there,
// nobody is offered either, and all the rest is given out.
func TestSquatter(t *testing.T) {
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	squatted := []netip.Addr{netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("10.77.0.103")}
	squatter := r.host("squatter", "")
	mac := r.mac(squatter)
	who := map[netip.Addr]string{}
	for _, a := range squatted {
		must(t, squatter.Addr("eth0", a.String()+"/24"))
		who[a] = mac
	}
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.107", `unknown_share = 100`))
	for _, a := range squatted {
		r.wait("an event that names the squatter on "+a.String(), 10*time.Second, func() error {
			es := r.events()
			for _, e := range es {
				if e.Kind == "lease.conflict" && e.MAC == mac && strings.Contains(e.Text, a.String()) && strings.Contains(e.Text, mac) {
					return nil
				}
			}
			return fmt.Errorf("events: %+v", es)
		})
	}
	c := newCrowd(t, r.host("crowd", ""))
	for _, m := range newMachines(6, 3) {
		if err := c.lease(r.ctx, m); err != nil {
			t.Fatalf("%s: %v", m.mac, err)
		}
		if o := who[m.addr]; o != "" {
			t.Errorf("%s was given %s, which is %s's", m.mac, m.addr, o)
		}
		who[m.addr] = m.mac.String()
	}
	for _, m := range w.of("") {
		if who[m.your()] == mac {
			t.Errorf("the squatter's address was offered: %s", m)
		}
	}
}
