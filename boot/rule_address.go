// rule_address.go: the DHCPv4 address (RFC 2131 4.3). The holder is the MAC:
// firmware, iPXE, installer and OS each send another client identifier, and
// one machine keeps one address through all of them.

package boot

import (
	"net/netip"
	"slices"
	"time"
)

// holdTime is how long an OFFER is kept for its client. edk2 collects for four
// seconds, old ROMs retry for up to a minute.
const HoldTime = time.Minute

// declineTime is how long an address is left alone on which somebody else was
// seen.
const DeclineTime = 10 * time.Minute

func ruleAddress(t *turn) (bool, error) {
	if !t.dhcp() {
		return false, nil
	}
	n, in := t.net, t.in
	if t.six() {
		return t.address6()
	}
	if !n.Addresses() {
		// A proxy answers discovery on port 67 and requests on 4011; a REQUEST
		// on 67 is the other server's, and a NAK would end that boot.
		if in.Via == DHCP4 && in.Step != Discover {
			return t.ignore("%s on port 67 belongs to the server that gives addresses", in.Step)
		}
		return false, nil
	}
	if in.Via == Proxy4 {
		return false, nil // boot data only
	}
	if t.id.MAC.IsZero() {
		return t.ignore("no usable hardware address")
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
		// The address is the client's own; it wants the options only.
		if !n.Subnet.Contains(in.Want.Addr) {
			return t.ignore("%s is no address of this network", in.Want.Addr)
		}
		t.note("inform")
		t.d.Reply = Answer4{Type: Ack, Options: t.options()}
		return false, nil
	case Bootp:
		return t.bootp()
	}
	return t.ignore("a server does not answer %s", in.Step)
}

// holder is who a lease belongs to: the MAC, because firmware, iPXE, installer
// and OS of one machine each bring another client-id; the client-id where the
// network wants RFC 4361; the switch port where a person bound a host to it.
func (t *turn) holder() string {
	if t.who != "" {
		return t.who
	}
	switch {
	case t.host != nil && t.host.BoundPort != "" && t.port() == t.host.BoundPort:
		t.who = "port:" + t.host.BoundPort
	case t.net.ClientID && t.in.Want.ClientID != "":
		t.who = "id:" + t.in.Want.ClientID
	default:
		t.who = t.id.MAC.String()
	}
	return t.who
}

// drop ends what a holder was offered.
func (t *turn) drop(holder string) {
	if holder != "" {
		t.d.Drops = append(t.d.Drops, holder)
	}
}

// known reports a machine that a person or a rule let in. The others share a
// part of the pool, for a short time each: a flood of made-up machines must not
// keep a real one out.
func (t *turn) known() bool { return t.host != nil && t.host.State == Approved }

// ours reports a server identifier that one of our replies on this link bears.
func (t *turn) ours(server netip.Addr) bool {
	if o := t.in.Link.ServerID; o.IsValid() && server == o {
		return true
	}
	return slices.ContainsFunc(t.link, func(n *Network) bool { return n.Server == server })
}

// rival notes another server that the client chose.
func (t *turn) rival() {
	s := t.in.Want.Server
	if t.in.Step != Selecting || !s.IsValid() || t.in.Link.Relay.IsValid() {
		return
	}
	t.d.Rival = &Rival{Network: t.net.Name, Server: s, Offered: t.in.Want.Addr}
}

// findReserved notes the address that the host's record keeps for it on this
// link. A machine with two NICs has one reservation: while one of them holds
// it, the other is served from the pool.
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
		if m, err := ParseMAC(l.Holder); err != nil || t.host.HasMAC(m) {
			t.why("%s is reserved, and %s of the same host has it", l.Addr, l.Holder)
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

// usable reports whether a may be given to this client, and if not, why.
func (t *turn) usable(n *Network, a netip.Addr) (ok bool, why string, err error) {
	if why := n.Unusable(a); why != "" {
		return false, why, nil
	}
	if res := t.reserved; res.IsValid() {
		if a != res {
			return false, "the host has " + res.String() + " reserved", nil
		}
	} else {
		if n.Mode == Reservations {
			return false, "only reservations are served here", nil
		}
		if !n.InRange(a) {
			return false, "it is in no range of this network", nil
		}
		owner, err := t.v.HostByAddress(a)
		if err != nil {
			return false, "", err
		}
		if owner != nil {
			return false, "it is reserved for " + owner.Name, nil
		}
	}
	l, err := t.v.Lease(n.Name, a)
	if err != nil {
		return false, "", err
	}
	if l.Active(t.in.At) {
		if l.Kind == Declined {
			return false, "somebody else was seen on it", nil
		}
		// Whom a probe found there may have it: a client of ours whose lease we
		// lost, or whose time a clock that jumped has ended. Beyond a relay the
		// probe does not tell who it is; then who says it has the address is
		// believed.
		if l.Kind == Occupied {
			by, err := ParseMAC(l.Holder)
			if by == t.id.MAC || err != nil && (t.in.Step == Renew || t.in.Step == InitReboot) {
				return true, "", nil
			}
			return false, "somebody answers on it: " + l.Holder, nil
		}
		if l.Holder != t.holder() {
			return false, "it is leased to " + l.Holder, nil
		}
		return true, "", nil
	}
	if h, firm := t.v.Offered(n.Name, a, t.known()); h.Holder != "" && h.Holder != t.holder() {
		// Between strangers the first REQUEST wins: a flood of DISCOVERs must
		// not take back what a real machine was offered.
		if t.in.Step == Selecting {
			firm = h.Known && !t.known()
		}
		if firm {
			return false, "it was just offered to " + h.Holder, nil
		}
	}
	return true, "", nil
}

// grant is a with the time this client may have it: what the network gives, or
// less if it asked for less.
func (t *turn) grant(a netip.Addr) *Grant {
	d := t.net.Lease
	if !t.known() && t.net.UnknownLease > 0 {
		d = min(d, t.net.UnknownLease)
	}
	if w := t.in.Want.Lease; w > 0 && w < d {
		d = max(w, time.Minute)
	}
	return &Grant{Addr: a, Lease: d}
}

func (t *turn) discover() (bool, error) {
	try := func(n *Network, a netip.Addr, why string) (bool, error) {
		ok, not, err := t.usable(n, a)
		if err != nil || !ok {
			if not != "" && why != "" {
				t.why("not %s, %s: %s", a, why, not)
			}
			return false, err
		}
		t.net = n
		if why == "" {
			why = "the longest unused"
		}
		t.note(a.String() + ", " + why)
		if t.rapid() {
			return true, t.give(n, a)
		}
		t.d.Holds = []Hold{{Network: n.Name, Addr: a, Holder: t.holder(), Known: t.known(), Until: t.in.At.Add(HoldTime)}}
		t.d.Reply = Answer4{Type: Offer, Grant: t.grant(a), Options: t.options()}
		return true, nil
	}
	if res := t.reserved; res.IsValid() {
		ok, err := try(t.within(res), res, "its reservation")
		if err != nil || ok {
			return false, err
		}
		why := t.d.Why[len(t.d.Why)-1].Note
		t.notice(t.net.Name+" "+res.String(), ReservationTaken, "%s has %s reserved and cannot get it: %s", t.host.Name, res, why)
		return t.ignore("the reserved address cannot be given")
	}
	pools := 0
	var crowded string
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
			if why := t.crowded(n); why != "" {
				crowded = why
				continue
			}
		}
		if last != nil {
			if ok, err := try(n, last.Addr, "its last address"); err != nil || ok {
				return false, err
			}
		}
		cs, probing := t.v.Candidates(n, t.holder(), t.known())
		if probing {
			crowded = "every free address of " + n.Name + " was somebody's, and is being probed first"
		}
		for _, a := range cs {
			if ok, err := try(n, a, ""); err != nil || ok {
				return false, err
			}
			t.d.Skip = append(t.d.Skip, Spot{n.Name, a})
		}
	}
	switch {
	case pools == 0:
		return t.ignore("no reservation for %s", t.holder())
	case crowded != "":
		return t.ignore("%s", crowded)
	}
	t.notice(t.net.Name, PoolExhausted, "no free address in %s: widen the range, shorten the lease time, or release leases (muster lease list)", t.net.Name)
	return t.ignore("no free address in %s", t.net.Name)
}

// crowded says why a machine that nobody let in gets no new lease; "" if it may.
func (t *turn) crowded(n *Network) string {
	if t.known() {
		return ""
	}
	switch r := t.v.Room(n); {
	case r.Full:
		t.notice(n.Name, UnknownLimit, "machines that nobody let in hold %d addresses of %s, all that they may have together: approve those that belong here (muster host list, muster host add), or raise unknown_share", r.Limit, n.Name)
		return "unknown machines have their share of " + n.Name
	case r.Fast:
		t.notice(n.Name+" rate", UnknownLimit, "more than %d new leases a second to machines that nobody let in on %s: they wait; raise new_leases if they belong here", n.NewLeases, n.Name)
		return "too many new leases to unknown machines on " + n.Name
	}
	return ""
}

func (t *turn) request() (bool, error) {
	in := t.in
	a := in.Want.Addr
	if in.Step == Selecting && !t.ours(in.Want.Server) {
		// The client chose another server. Its hold here ends; nothing is
		// said, least of all a NAK (edk2 gives up on one).
		t.drop(t.holder())
		t.rival()
		return t.ignore("the client chose server %s", in.Want.Server)
	}
	n := t.within(a)
	if n == nil {
		if in.Step == InitReboot && a.IsValid() && (t.net.Mode == Full || t.reserved.IsValid()) {
			// RFC 2131 4.3.2: it moved here from another network.
			return t.nak("%s is not an address of this network", a)
		}
		return t.ignore("no address of this network is asked for")
	}
	ok, not, err := t.usable(n, a)
	if err != nil {
		return false, err
	}
	if !ok {
		mine, err := t.mine(n, a)
		if err != nil {
			return false, err
		}
		if mine {
			return t.nak("%s cannot be given: %s", a, not)
		}
		return t.ignore("%s is not ours to give or refuse: %s", a, not)
	}
	t.net = n
	return false, t.give(n, a)
}

// mine reports a request that is ours to refuse: it says so, or it is for an
// address that we give out and it asks us alone or we have a record of the
// client. Another server's client hears nothing (RFC 2131 4.3.2).
func (t *turn) mine(n *Network, a netip.Addr) (bool, error) {
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

// give leases a, which is usable.
func (t *turn) give(n *Network, a netip.Addr) error {
	in := t.in
	old, err := t.v.Lease(n.Name, a)
	if err != nil {
		return err
	}
	g := t.grant(a)
	l := Lease{Network: n.Name, Addr: a, Holder: t.holder(), MAC: t.id.MAC, Kind: Dynamic, Name: CleanText(in.Want.Name, 63), Starts: in.At.UTC(), Expires: in.At.UTC().Add(g.Lease)}
	fresh := !old.Active(in.At) || old.Holder != l.Holder || !old.Given()
	switch {
	case t.reserved == a:
		l.Kind = Reserved
	case !t.known():
		l.Kind, t.d.New = Unknown, fresh
		if fresh {
			if why := t.crowded(n); why != "" {
				_, err := t.ignore("%s", why)
				return err
			}
		}
	}
	if t.host != nil {
		l.Host = t.host.ID
	}
	if !fresh && old.Starts.Before(l.Starts) {
		l.Starts = old.Starts
	}
	for _, o := range t.link {
		prev, err := t.v.LeaseByHolder(o.Name, l.Holder)
		if err != nil {
			return err
		}
		if prev != nil && prev.Addr != a && prev.Active(in.At) && prev.Given() {
			// One machine, one address: the one it left is free again.
			prev.Expires = in.At.UTC()
			t.d.Writes.Leases = append(t.d.Writes.Leases, *prev)
		}
	}
	t.d.Writes.Leases = append(t.d.Writes.Leases, l)
	t.drop(l.Holder)
	t.d.Reply = Answer4{Type: Ack, Grant: g, Options: t.options(), Rapid: in.Step == Discover}
	t.note(a.String() + " for " + g.Lease.String())
	// A machine that is not on the roll is the lease list's and the request
	// log's affair, and one that is gets told once a while: neither a flood nor
	// a machine that takes and releases may push everybody's events out.
	if fresh && t.host != nil {
		t.notice(l.Holder, LeaseGranted, "%s leased to %s for %s", a, l.Holder, g.Lease)
	}
	return nil
}

// rapid reports a DISCOVER that may be answered with an ACK (RFC 4039): the
// client asks for it, and this network has no other server.
func (t *turn) rapid() bool {
	if t.six() {
		return t.in.Step == Solicit && t.in.Want.Rapid && t.net != nil && t.net.RapidCommit
	}
	return t.in.Step == Discover && t.in.Want.Rapid && len(t.link) > 0 && !slices.ContainsFunc(t.link, func(n *Network) bool { return !n.RapidCommit })
}

// bootp answers RFC 951 for machines whose address a person reserved: such a
// client never gives an address back.
func (t *turn) bootp() (bool, error) {
	if !t.reserved.IsValid() {
		return t.ignore("BOOTP is answered for hosts with a reserved address only")
	}
	n := t.within(t.reserved)
	if ok, not, err := t.usable(n, t.reserved); err != nil || !ok {
		if err != nil {
			return false, err
		}
		return t.ignore("%s, its reservation, cannot be given: %s", t.reserved, not)
	}
	t.net = n
	t.note(t.reserved.String() + ", its reservation, for good")
	t.d.Reply = Answer4{Type: Ack, Grant: &Grant{Addr: t.reserved}, Options: t.options()}
	return false, nil
}

func (t *turn) nak(format string, args ...any) (bool, error) {
	t.refuse(false, format, args...)
	t.d.Reply = Answer4{Type: Nak, Options: t.options(), Message: t.d.Reply.(Refuse).Reason}
	t.drop(t.holder())
	return true, nil
}

func (t *turn) release() (bool, error) {
	n := t.within(t.in.Want.Addr)
	if n == nil {
		return t.ignore("release of %s, which is no address of this network", t.in.Want.Addr)
	}
	l, err := t.v.Lease(n.Name, t.in.Want.Addr)
	if err != nil {
		return false, err
	}
	if !l.Active(t.in.At) || l.Holder != t.holder() || !l.Given() {
		return t.ignore("release of %s, which it does not hold", t.in.Want.Addr)
	}
	l.Expires = t.in.At.UTC()
	t.d.Writes.Leases = []Lease{*l}
	return t.ignore("%s released", l.Addr)
}

func (t *turn) decline() (bool, error) {
	a := t.in.Want.Addr
	if t.in.Want.Server.IsValid() && !t.ours(t.in.Want.Server) {
		return t.ignore("decline meant for server %s", t.in.Want.Server)
	}
	n := t.within(a)
	if n == nil {
		return t.ignore("decline of %s, which is no address of this network", a)
	}
	l, err := t.v.Lease(n.Name, a)
	if err != nil {
		return false, err
	}
	// Only who has the lease may take it out of the pool (RFC 2131 3.1: the
	// client checks after the ACK). An offer is too cheap for that.
	if !l.Active(t.in.At) || l.Holder != t.holder() || !l.Given() {
		return t.ignore("decline of %s, which it was not given", a)
	}
	t.drop(t.holder())
	q := quarantine(n, a, Declined, t.holder(), t.in.At)
	if t.known() {
		q.Host = t.host.ID // else it goes on counting as a stranger's
	}
	t.d.Writes.Leases = []Lease{q}
	t.notice(n.Name+" "+a.String(), LeaseDeclined, "%s declined by %s: another machine answers on it; left alone for %s", a, t.holder(), DeclineTime)
	return t.ignore("%s declined, left alone for %s", a, DeclineTime)
}

// quarantine takes an address out of use for a while.
func quarantine(n *Network, a netip.Addr, kind LeaseKind, by string, now time.Time) Lease {
	return Lease{Network: n.Name, Addr: a, Holder: by, Kind: kind, Starts: now.UTC(), Expires: now.UTC().Add(DeclineTime)}
}
