// rule_network.go: which VLAN a request belongs to, and whether it is ours.

package boot

import "strings"

func ruleNetwork(t *turn) (bool, error) {
	if t.dhcp() {
		networks := t.p.Networks
		if t.six() {
			networks = t.p.Networks6
		}
		var listed []string
		t.net, listed = networkFor(networks, t.in.Link, t.in.Source.Addr())
		if t.net == nil {
			if t.in.Link.Relayed() {
				t.unservedRelay(listed)
				return t.ignore("relay.unserved", t.in.Link.Relay)
			}
			return t.ignore("network.none", t.in.Link.Interface)
		}
		if why := t.noRelay(); why != nil {
			return t.ignoreFor(why)
		}
		if src := t.in.Source.Addr(); t.in.Link.Relayed() && t.net.RelaysOnly && !containsAddr(t.net.Relays, src) {
			t.notice(t.in.Link.Interface, RelayUnknown, "relay agent %s, which sends from %s, is not listed on network %s, and relays_only is set there: %s = [%q] on it lets it ask", t.in.Link.Relay, src, t.net.Name, t.relaysKey(), src)
			return t.ignore("relay.unlisted", t.in.Link.Relay, src, t.net.Name)
		}
		switch t.net.Mode {
		case Off:
			return t.ignore("network.off", t.net.Name)
		case Listening:
			return t.ignore("network.listening", t.net.Name)
		}
		if !t.net.Server.IsValid() {
			return t.ignore("network.no-address", t.net.Interface, t.net.Name)
		}
		if src := t.in.Source.Addr(); t.in.Via == Proxy4 && src.IsValid() && !src.IsUnspecified() && !t.net.Subnet.Contains(src) {
			return t.ignore("network.foreign", src, t.net.Name)
		}
		if t.six() {
			t.link = []*Network{t.net}
		} else if t.net.Addresses() {
			t.link = t.p.link(t.net)
			if n := t.within(t.in.Want.Addr); n != nil && t.in.Step != Discover {
				t.net = n
			}
		}
		t.overhear()
		t.why("network.found", t.net.Name, string(t.net.Mode))
		return false, nil
	}
	t.net = t.p.Serves(t.in.Link, t.in.Source.Addr())
	if t.net == nil {
		return t.ignore("network.unknown", t.in.Source.Addr())
	}
	t.why("network.files", t.net.Name)
	t.d.Bandwidth = t.net.Bandwidth
	return false, nil
}

// overhear notes which machine gets an address from another server: the machine will
// ask for files from that address.
func (t *turn) overhear() {
	switch in := &t.in; {
	case t.net.Mode != Proxy || !in.ID.MAC.Usable() || !in.Want.Addr.IsValid() || !t.net.Subnet.Contains(in.Want.Addr):
	case in.Step == Selecting, in.Step == Renew, in.Step == InitReboot:
		t.d.Heard = &Heard{Addr: in.Want.Addr, MAC: in.ID.MAC}
	}
}

// unservedRelay tells once in a while of a relay agent that is not served. The
// machines behind it get no answer and have no timeline, so nothing else shows it.
func (t *turn) unservedRelay(listed []string) {
	agent, at := t.in.Link.Relay, t.in.Link.Subnet
	switch {
	case len(listed) > 0:
		t.notice(t.in.Link.Interface, RelayUnknown, "relay agent %s does not say for which link it asks, and the networks %s list it: list it on one of them, or have it say so (link selection, RFC 3527)",
			agent, strings.Join(listed, " and "))
	case at.IsValid() && at != agent:
		t.notice(t.in.Link.Interface, RelayUnknown, "relay agent %s asks for the link of %s, and no network is configured for that: a [[network]] whose %s has %s, with %s = [%q]",
			agent, at, map[bool]string{false: "subnet", true: "subnet6"}[t.six()], at, t.relaysKey(), agent)
	default:
		t.notice(t.in.Link.Interface, RelayUnknown, "relay agent %s is in no network's subnet, and none lists it: %s = [%q] on the network that it asks for", agent, t.relaysKey(), agent)
	}
}

// relaysKey is the key of the configuration that lists relay agents.
func (t *turn) relaysKey() string {
	if t.six() {
		return "relays6"
	}
	return "relays"
}

// noRelay says why a relayed request is not believed. A client of another VLAN can
// write giaddr and option 82 into a packet. A relay agent has an address of its own,
// which we do not lease.
func (t *turn) noRelay() *Reason {
	src := t.in.Source.Addr()
	if !t.in.Link.Relayed() || !src.IsValid() {
		return nil
	}
	if src.IsUnspecified() {
		return because("relay.from-nowhere", t.in.Link.Relay)
	}
	for n := range t.p.All() {
		if n.InRange(src) {
			return because("relay.from-client", t.in.Link.Relay, src, n.Name)
		}
	}
	return nil
}
