// rule_address.go: the DHCPv4 address (RFC 2131 4.3). The holder is the MAC:
// firmware, iPXE, installer and OS each send another client identifier, and
// one machine keeps one address through all of them.

package boot

import (
	"net/netip"
	"time"
)

// holdTime is how long an OFFER is kept for its client. edk2 collects for four
// seconds, old ROMs retry for up to a minute.
const holdTime = time.Minute

// declineTime is how long a declined address is left alone.
const declineTime = 10 * time.Minute

func ruleAddress(t *turn) (bool, error) {
	if !t.dhcp() {
		return false, nil
	}
	n, in := t.net, t.in
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
		t.why("inform")
		t.d.Reply = Ack{Options: t.options()}
		return false, nil
	}
	return t.ignore("a server does not answer %s", in.Step)
}

func (t *turn) holder() string { return t.id.MAC.String() }

// findReserved notes the address that the host's record keeps for it here. A
// machine with two NICs has one reservation: while one of them holds it, the
// other is served from the pool.
func (t *turn) findReserved() error {
	if t.host == nil || !t.host.Address.IsValid() || !t.net.Subnet.Contains(t.host.Address) {
		return nil
	}
	l, err := t.v.Lease(t.net.Name, t.host.Address)
	if err != nil {
		return err
	}
	if l.Active(t.in.At) && l.Kind != Declined && l.Holder != t.holder() {
		if m, err := ParseMAC(l.Holder); err == nil && t.host.HasMAC(m) {
			t.why("%s is reserved, and %s of the same host has it", l.Addr, m)
			return nil
		}
	}
	t.reserved = t.host.Address
	return nil
}

// usable reports whether a may be given to this client, and if not, why.
func (t *turn) usable(a netip.Addr) (ok bool, why string, err error) {
	n := t.net
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
		if l.Holder != t.holder() {
			return false, "it is leased to " + l.Holder, nil
		}
		return true, "", nil
	}
	if h := t.v.Holder(n.Name, a); h != "" && h != t.holder() {
		return false, "it was just offered to " + h, nil
	}
	return true, "", nil
}

func (t *turn) grant(a netip.Addr) *Grant { return &Grant{Addr: a, Lease: t.net.Lease} }

func (t *turn) discover() (bool, error) {
	n := t.net
	try := func(a netip.Addr, why string) (bool, error) {
		if !a.IsValid() {
			return false, nil
		}
		ok, not, err := t.usable(a)
		if err != nil || !ok {
			if not != "" && why != "" {
				t.why("not %s, %s: %s", a, why, not)
			}
			return false, err
		}
		t.why("%s, %s", a, orNone(why))
		t.d.Hold = &Hold{Network: n.Name, Addr: a, Holder: t.holder(), Until: t.in.At.Add(holdTime)}
		t.d.Reply = Offer{Grant: t.grant(a), Options: t.options()}
		return true, nil
	}
	if res := t.reserved; res.IsValid() {
		ok, err := try(res, "its reservation")
		if err != nil || ok {
			return false, err
		}
		why := t.d.Why[len(t.d.Why)-1].Note
		t.notice(t.net.Name+" "+res.String(), ReservationTaken, "%s has %s reserved and cannot get it: %s", t.host.Name, res, why)
		return t.ignore("the reserved address cannot be given")
	}
	if n.Mode == Reservations {
		return t.ignore("no reservation for %s", t.id.MAC)
	}
	last, err := t.v.LeaseByHolder(n.Name, t.holder())
	if err != nil {
		return false, err
	}
	if last != nil {
		if ok, err := try(last.Addr, "its last address"); err != nil || ok {
			return false, err
		}
	}
	for _, a := range t.v.Candidates(n, t.holder()) {
		ok, err := try(a, "")
		if err != nil {
			return false, err
		}
		if ok {
			t.d.Why[len(t.d.Why)-1].Note = a.String() + ", the longest unused"
			return false, nil
		}
		t.d.Skip = append(t.d.Skip, a)
	}
	return t.exhausted("no free address in %s", n.Name)
}

func (t *turn) exhausted(format string, args ...any) (bool, error) {
	t.notice(t.net.Name, PoolExhausted, format+": widen the range, shorten the lease time, or release leases (muster lease list)", args...)
	return t.ignore(format, args...)
}

func (t *turn) request() (bool, error) {
	n, in := t.net, t.in
	a := in.Want.Addr
	if in.Step == Selecting && in.Want.Server != n.Server {
		// The client chose another server. Its hold here ends; nothing is
		// said, least of all a NAK (edk2 gives up on one).
		t.d.Drop = t.holder()
		return t.ignore("the client chose server %s", in.Want.Server)
	}
	if !a.IsValid() || !n.Subnet.Contains(a) {
		if in.Step == InitReboot && a.IsValid() && (n.Mode == Full || t.reserved.IsValid()) {
			// RFC 2131 4.3.2: it moved here from another network.
			return t.nak("%s is not an address of this network", a)
		}
		return t.ignore("no address of this network is asked for")
	}
	ok, not, err := t.usable(a)
	if err != nil {
		return false, err
	}
	if !ok {
		// Refuse what is ours to refuse: an address in our ranges or of our
		// reservations. Another server's client hears nothing from us.
		if in.Step == Selecting || n.Mode == Full && n.InRange(a) {
			return t.nak("%s cannot be given: %s", a, not)
		}
		if t.reserved.IsValid() && in.Step == InitReboot {
			return t.nak("%s cannot be given: %s", a, not)
		}
		return t.ignore("%s is not ours to give or refuse: %s", a, not)
	}
	old, err := t.v.Lease(n.Name, a)
	if err != nil {
		return false, err
	}
	l := Lease{Network: n.Name, Addr: a, Holder: t.holder(), Kind: Dynamic, Name: cleanText(in.Want.Name, 63), Starts: in.At.UTC(), Expires: in.At.UTC().Add(n.Lease)}
	if t.reserved == a {
		l.Kind = Reserved
	}
	if t.host != nil {
		l.Host = t.host.ID
	}
	fresh := true
	if old.Active(in.At) && old.Holder == l.Holder {
		l.Starts, fresh = old.Starts, false
	}
	if prev, err := t.v.LeaseByHolder(n.Name, l.Holder); err != nil {
		return false, err
	} else if prev != nil && prev.Addr != a && prev.Active(in.At) && prev.Kind != Declined {
		// One machine, one address: the one it left is free again.
		prev.Expires = in.At.UTC()
		t.d.Writes.Leases = append(t.d.Writes.Leases, *prev)
	}
	t.d.Writes.Leases = append(t.d.Writes.Leases, l)
	t.d.Drop = l.Holder
	t.d.Reply = Ack{Grant: t.grant(a), Options: t.options()}
	t.why("%s for %s", a, n.Lease)
	if fresh {
		t.record(LeaseGranted, "%s leased to %s for %s", a, l.Holder, n.Lease)
	}
	return false, nil
}

func (t *turn) nak(format string, args ...any) (bool, error) {
	t.refuse(false, format, args...)
	t.d.Reply = Nak{Server: t.net.Server, Message: t.d.Reply.(Refuse).Reason}
	t.d.Drop = t.holder()
	return true, nil
}

func (t *turn) release() (bool, error) {
	l, err := t.v.Lease(t.net.Name, t.in.Want.Addr)
	if err != nil {
		return false, err
	}
	if !l.Active(t.in.At) || l.Holder != t.holder() || l.Kind == Declined {
		return t.ignore("release of %s, which it does not hold", t.in.Want.Addr)
	}
	l.Expires = t.in.At.UTC()
	t.d.Writes.Leases = []Lease{*l}
	return t.ignore("%s released", l.Addr)
}

func (t *turn) decline() (bool, error) {
	a, n := t.in.Want.Addr, t.net
	if t.in.Want.Server.IsValid() && t.in.Want.Server != n.Server {
		return t.ignore("decline meant for server %s", t.in.Want.Server)
	}
	l, err := t.v.Lease(n.Name, a)
	if err != nil {
		return false, err
	}
	// Only who was given the address may take it out of the pool.
	held := t.v.Holder(n.Name, a) == t.holder()
	if !held && (!l.Active(t.in.At) || l.Holder != t.holder() || l.Kind == Declined) {
		return t.ignore("decline of %s, which it was not given", a)
	}
	t.d.Drop = t.holder()
	t.d.Writes.Leases = []Lease{{Network: n.Name, Addr: a, Holder: t.holder(), Kind: Declined, Starts: t.in.At.UTC(), Expires: t.in.At.UTC().Add(declineTime)}}
	t.record(LeaseDeclined, "%s declined by %s: another machine answers on it; left alone for %s", a, t.holder(), declineTime)
	return t.ignore("%s declined, left alone for %s", a, declineTime)
}
