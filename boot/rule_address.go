// rule_address.go: the DHCPv4 address (RFC 2131 4.3). The holder is the MAC:
// firmware, iPXE, installer and OS each send another client identifier, and
// one machine keeps one address through all of them.

package boot

import (
	"net/netip"
	"slices"
)

func ruleAddress(t *turn) (bool, error) {
	if !t.dhcp() {
		return false, nil
	}
	n, in := t.net, t.in
	if t.six() {
		return t.address6()
	}
	if !n.Addresses() {
		// A proxy answers DISCOVERs on port 67 and REQUESTs on 4011. A REQUEST on
		// port 67 is for the other server; a NAK to it would end that boot.
		if in.Via == DHCP4 && in.Step != Discover {
			return t.ignore("lease.not-ours", in.Step)
		}
		return false, nil
	}
	if in.Via == Proxy4 {
		return false, nil // boot data only
	}
	if t.id.MAC.IsZero() {
		return t.ignore("lease.no-mac")
	}
	if err := t.findReserved(); err != nil {
		return false, err
	}
	switch in.Step {
	case Discover:
		return t.discover()
	case Selecting, InitReboot, Renew:
		return t.request()
	case Release:
		return t.release()
	case Decline:
		return t.decline()
	case Inform:
		// The client has an address already and asks for options only.
		if !in.Want.Addr.IsValid() {
			return t.ignore("lease.inform-nowhere")
		}
		if !n.Subnet.Contains(in.Want.Addr) {
			return t.ignore("lease.foreign", in.Want.Addr)
		}
		t.why("lease.inform")
		t.d.Reply = Answer4{Type: Ack, Options: t.options()}
		return false, nil
	case Bootp:
		return t.bootp()
	}
	return t.ignore("lease.no-answer", in.Step)
}

// holder is who the lease of this machine belongs to.
func (t *turn) holder() Holder {
	if !t.who.IsZero() {
		return t.who
	}
	switch {
	case t.host != nil && t.host.BoundPort != "" && t.port() == t.host.BoundPort:
		t.who = Holder{HolderPort, t.host.BoundPort}
	case t.net.ClientID && t.in.Want.ClientID != "":
		t.who = Holder{HolderClientID, t.in.Want.ClientID}
	default:
		t.who = HeldBy(t.id.MAC)
	}
	return t.who
}

// ours reports a server identifier that our replies on this link carry.
func (t *turn) ours(server netip.Addr) bool {
	if o := t.in.Link.ServerID; o.IsValid() && server == o {
		return true
	}
	return slices.ContainsFunc(t.link, func(n *Network) bool { return n.Server == server })
}

// rival notes the other DHCP server that the client chose.
func (t *turn) rival() {
	s := t.in.Want.Server
	if t.in.Step != Selecting || !s.IsValid() || t.in.Link.Relay.IsValid() {
		return
	}
	t.d.Rival = &Rival{Network: t.net.Name, Server: s, Offered: t.in.Want.Addr}
}

// findReserved notes the address that the host's record keeps for it on this
// link. A machine with two NICs has one reservation: while one NIC holds it, the
// other is served from the pool.
func (t *turn) findReserved() error {
	if t.host == nil || !t.host.Address.IsValid() {
		return nil
	}
	a := t.host.Address
	n := t.within(a)
	if n == nil {
		if !slices.ContainsFunc(t.p.Networks, func(n Network) bool { return n.Subnet.Contains(a) }) {
			t.notice(t.host.Name, ReservationStale, "%s has %s reserved, which is in no configured network: muster host set %s --address ADDRESS, or --address none", t.host.Name, a, t.host.Name)
		}
		return nil
	}
	l, err := t.v.Lease(n.Name, a)
	if err != nil {
		return err
	}
	if l.Active(t.in.At) && l.Given() && l.Holder != t.holder() && l.Host == t.host.ID {
		if m, ok := l.Holder.MAC(); !ok || t.host.HasMAC(m) {
			t.why("lease.reserved-in-use", l.Addr, l.Holder)
			return nil
		}
	}
	t.reserved = a
	return nil
}

// within returns the network of this link that an address belongs to.
func (t *turn) within(a netip.Addr) *Network {
	for _, n := range t.link {
		if n.Subnet.Contains(a) {
			return n
		}
	}
	return nil
}

// usable says why address a may not be given to this client; nil if it may.
func (t *turn) usable(n *Network, a netip.Addr) (old *Lease, why *Reason, err error) {
	if res := t.reserved; res.IsValid() && a != res && n.Unusable(a) == nil {
		return nil, because("lease.has-reservation", res), nil
	}
	return t.mayHave(n, a, t.holder(), a == t.reserved)
}

func (t *turn) discover() (bool, error) {
	// try offers address a; if that is impossible, it notes the reason missed.
	try := func(n *Network, a netip.Addr, offered, missed Code) (bool, error) {
		old, not, err := t.usable(n, a)
		if err != nil || not != nil {
			if not != nil && missed != "" {
				t.why(missed, a, not)
			}
			return false, err
		}
		t.net = n
		t.why(offered, a)
		if t.rapid() {
			return true, t.give(n, a, old)
		}
		t.offer(n, a, t.holder())
		t.d.Reply = Answer4{Type: Offer, Grant: &Grant{Addr: a, Lease: t.leaseTime()}, Options: t.options()}
		return true, nil
	}
	if res := t.reserved; res.IsValid() {
		ok, err := try(t.within(res), res, "lease.reserved", "lease.not-reserved")
		if err != nil || ok {
			return false, err
		}
		why := t.d.Why[len(t.d.Why)-1]
		t.notice(t.net.Name+" "+res.String(), ReservationTaken, "%s has %s reserved and cannot get it: %s", t.host.Name, res, why.Text())
		return t.ignore("lease.reservation-taken")
	}
	pools := 0
	var crowded *Reason
	for _, n := range t.link {
		if n.Mode == Reservations {
			continue
		}
		pools++
		last, err := t.v.LeaseByHolder(n.Name, t.holder())
		if err != nil {
			return false, err
		}
		if !last.Active(t.in.At) {
			if why := t.rationed(n); why != nil {
				crowded = why
				continue
			}
		}
		if last != nil {
			if ok, err := try(n, last.Addr, "lease.last", "lease.not-last"); err != nil || ok {
				return false, err
			}
		}
		cs, probing := t.v.Candidates(n, t.holder(), t.admitted())
		if probing {
			crowded = because("lease.probing", n.Name)
		}
		for _, a := range cs {
			if ok, err := try(n, a, "lease.longest-unused", ""); err != nil || ok {
				return false, err
			}
			t.d.Skip = append(t.d.Skip, Spot{n.Name, a})
		}
	}
	switch {
	case pools == 0:
		return t.ignore("lease.no-reservation", t.holder())
	case crowded != nil:
		return t.ignoreFor(crowded)
	}
	t.notice(t.net.Name, PoolExhausted, "no free address in %s: widen the range, shorten the lease time, or release leases (muster lease list)", t.net.Name)
	return t.ignore("lease.none-free", t.net.Name)
}

// give leases an address that this client may have, and answers with an ACK.
func (t *turn) give(n *Network, a netip.Addr, old *Lease) error {
	p := netip.PrefixFrom(a, a.BitLen())
	d := t.validFor(n, p, old, a == t.reserved)
	why, err := t.lease(n, p, t.holder(), old, a == t.reserved, d)
	switch {
	case err != nil:
	case why != nil:
		_, err = t.ignoreFor(why)
	default:
		t.d.Reply = Answer4{Type: Ack, Grant: &Grant{Addr: a, Lease: d}, Options: t.options(), Rapid: t.in.Step == Discover}
		t.why("lease.given", a, d)
	}
	return err
}

func (t *turn) request() (bool, error) {
	in := t.in
	a := in.Want.Addr
	if in.Step == Selecting && !t.ours(in.Want.Server) {
		// The client chose another server. Its hold here ends, and it gets no
		// reply. A NAK would do harm: edk2 gives up on one.
		t.drop(t.holder())
		t.rival()
		return t.ignore(WhyOtherServer, in.Want.Server)
	}
	n := t.within(a)
	if n == nil {
		if in.Step == InitReboot && a.IsValid() && (t.net.Mode == Full || t.reserved.IsValid()) {
			// RFC 2131 4.3.2: the client moved here from another network.
			return t.nak("lease.moved", a)
		}
		return t.ignore("lease.none-asked")
	}
	old, not, err := t.usable(n, a)
	if err != nil {
		return false, err
	}
	if not != nil {
		mine, err := t.mine(n, a)
		if err != nil {
			return false, err
		}
		if mine {
			return t.nak("lease.refused", a, not)
		}
		return t.ignore("lease.not-ours-to-refuse", a, not)
	}
	t.net = n
	return false, t.give(n, a, old)
}

// mine reports whether we may send a NAK: the client chose us, or it sent the request
// to us alone, or we have a record of it. A client of another server must get no
// reply from us (RFC 2131 4.3.2).
func (t *turn) mine(n *Network, a netip.Addr) (bool, error) {
	if l, err := t.v.Lease(n.Name, a); err != nil || l != nil && l.Given() && l.Holder == t.holder() {
		return true, err // of a range that was cut
	}
	switch {
	case t.in.Step == Selecting, t.in.Step == InitReboot && t.reserved.IsValid():
		return true, nil
	case n.Mode != Full || !n.InRange(a):
		return false, nil
	case t.reserved.IsValid(), t.in.Step == Renew && t.in.Link.Local == n.Server && !t.in.Link.Relay.IsValid():
		return true, nil
	}
	for _, o := range t.link {
		if l, err := t.v.LeaseByHolder(o.Name, t.holder()); l != nil || err != nil {
			return true, err
		}
	}
	return false, nil
}

// rapid reports a DISCOVER that may be answered with an ACK (RFC 4039): the
// client asks for it, and this network has no other server.
func (t *turn) rapid() bool {
	if t.six() {
		return t.in.Step == Solicit && t.in.Want.Rapid && t.net != nil && t.net.RapidCommit
	}
	return t.in.Step == Discover && t.in.Want.Rapid && len(t.link) > 0 && !slices.ContainsFunc(t.link, func(n *Network) bool { return !n.RapidCommit })
}

// bootp answers BOOTP (RFC 951), but only machines whose address a person reserved:
// a BOOTP client never gives an address back.
func (t *turn) bootp() (bool, error) {
	if !t.reserved.IsValid() {
		return t.ignore("lease.bootp-unreserved")
	}
	n := t.within(t.reserved)
	if _, not, err := t.usable(n, t.reserved); err != nil || not != nil {
		if err != nil {
			return false, err
		}
		return t.ignore("lease.bootp-refused", t.reserved, not)
	}
	t.net = n
	t.why("lease.bootp", t.reserved)
	t.d.Reply = Answer4{Type: Ack, Grant: &Grant{Addr: t.reserved}, Options: t.options()}
	return false, nil
}

func (t *turn) nak(code Code, args ...any) (bool, error) {
	why := because(code, args...)
	t.note(why)
	t.d.Reply = Answer4{Type: Nak, Options: t.options(), Message: why.Text()}
	t.drop(t.holder())
	return true, nil
}

func (t *turn) release() (bool, error) {
	a := t.in.Want.Addr
	n := t.within(a)
	if n == nil {
		return t.ignore("lease.release-foreign", a)
	}
	switch had, err := t.giveBack(n, a, t.holder(), false); {
	case err != nil:
		return false, err
	case !had:
		return t.ignore("lease.release-unheld", a)
	}
	t.why("lease.released", a)
	t.d.Reply = Done{Text: "released"} // which nobody is told (RFC 2131 4.3.4)
	return true, nil
}

func (t *turn) decline() (bool, error) {
	a := t.in.Want.Addr
	if t.in.Want.Server.IsValid() && !t.ours(t.in.Want.Server) {
		return t.ignore("lease.decline-other", t.in.Want.Server)
	}
	n := t.within(a)
	if n == nil {
		return t.ignore("lease.decline-foreign", a)
	}
	switch had, err := t.giveBack(n, a, t.holder(), true); {
	case err != nil:
		return false, err
	case !had:
		return t.ignore("lease.decline-ungiven", a)
	}
	t.drop(t.holder())
	return t.ignore("lease.left-alone", a, DeclineTime)
}
