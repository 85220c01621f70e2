// rule_address6.go: DHCPv6 addresses and prefixes (RFC 8415 18.3). The holder of
// an address is the DUID with the IAID: edk2 runs two associations in one boot
// and gives the first back while it uses the second (measured), so one machine
// has as many addresses as it has associations.

package boot

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxIAs bounds the associations of one request that are answered.
const maxIAs = 3 // of which edk2 uses one a request, and a router two

// refresh6 is how long the answer to an Information-request is good for.
const refresh6 = time.Hour

func (t *turn) six() bool { return t.in.Via == DHCP6 }

func (t *turn) address6() (bool, error) {
	in := &t.in
	if t.id.DUID == "" && in.Step != Inform {
		return t.ignore("no client identifier")
	}
	if in.Want.ServerID != "" && in.Want.ServerID != t.p.DUID {
		for _, ia := range in.Want.IAs {
			t.drop(t.holder6(ia))
		}
		if in.Step == Selecting { // not Renew: the server that we were, before we lost our DUID, is no rival
			t.notice(t.net.Name+" DHCPv6", RivalServer, "another DHCPv6 server answers on network %s: a machine chose it (DUID %s); two servers give addresses there, turn one off or set mode6 = \"off\"", t.net.Name, in.Want.ServerID)
		}
		return t.ignore("the client chose another server")
	}
	a := Answer6{Options: t.options6(), Preference: 255}
	switch in.Step {
	case Inform:
		a.Refresh = refresh6
		t.note("options only")
	case Confirm:
		return t.confirm6(a)
	case Release, Decline:
		return t.giveBack6(a)
	case Solicit:
		a.Advertise, a.Rapid = !t.rapid(), t.rapid()
		return t.bind6(a)
	case Selecting, Renew, Rebind:
		if in.Step != Rebind && in.Want.ServerID == "" {
			return t.ignore("%s without a server identifier", in.Step)
		}
		return t.bind6(a)
	default:
		return t.ignore("a DHCPv6 server does not answer %s", in.Step)
	}
	t.d.Reply = a
	return false, nil
}

// holder6 names an association.
func (t *turn) holder6(ia IA) string {
	kind := ""
	if ia.Prefix {
		kind = "/pd"
	}
	return fmt.Sprintf("%s/%08x%s", t.id.DUID, ia.ID, kind)
}

// confirm6 says whether the addresses belong to this link (RFC 8415 18.3.3).
func (t *turn) confirm6(a Answer6) (bool, error) {
	some := false
	for _, ia := range t.in.Want.IAs {
		for _, p := range ia.Has {
			if ia.Prefix {
				continue
			}
			some = true
			if !t.net.Subnet.Contains(p.Addr()) {
				t.note(p.Addr().String() + " is not of this link")
				a.Status = &Status6{StatusNotOnLink, p.Addr().String() + " does not belong to this link"}
				t.d.Reply = a
				return false, nil
			}
		}
	}
	if !some {
		return t.ignore("nothing to confirm")
	}
	t.note("its addresses belong here")
	a.Status = &Status6{StatusSuccess, "all addresses belong to this link"}
	t.d.Reply = a
	return false, nil
}

// giveBack6 takes released addresses back, and leaves declined ones alone for a
// while. Both are answered with success whatever was held (RFC 8415 18.3.7).
func (t *turn) giveBack6(a Answer6) (bool, error) {
	for _, ia := range t.in.Want.IAs[:min(len(t.in.Want.IAs), maxIAs)] {
		holder := t.holder6(ia)
		t.drop(holder)
		had := false
		for _, p := range ia.Has[:min(len(ia.Has), maxIAs)] {
			l, err := t.v.Lease(t.net.Name, p.Addr())
			if err != nil {
				return false, err
			}
			if !l.Active(t.in.At) || l.Holder != holder || !l.Given() {
				continue
			}
			had = true
			if t.in.Step == Decline && !ia.Prefix {
				q := quarantine(t.net, p.Addr(), Declined, holder, t.in.At)
				if t.known() {
					q.Host = t.host.ID
				}
				t.d.Writes.Leases = append(t.d.Writes.Leases, q)
				t.notice(t.net.Name+" "+p.Addr().String(), LeaseDeclined, "%s declined by %s: another machine answers on it; left alone for %s", p.Addr(), holder, DeclineTime)
				t.note(p.Addr().String() + " declined")
				continue
			}
			l.Expires = t.in.At.UTC()
			t.d.Writes.Leases = append(t.d.Writes.Leases, *l)
			t.note(p.Addr().String() + " released")
		}
		if !had {
			a.IAs = append(a.IAs, Bound{ID: ia.ID, Prefix: ia.Prefix, Status: &Status6{StatusNoBinding, "it does not hold that"}})
		}
	}
	a.Status = &Status6{StatusSuccess, "noted"}
	t.d.Reply = a
	return false, nil
}

// bind6 advertises or leases something for each association.
func (t *turn) bind6(a Answer6) (bool, error) {
	got := false
	ias := t.in.Want.IAs[:min(len(t.in.Want.IAs), maxIAs)]
	if len(ias) == 0 && t.in.Step != Solicit {
		return t.ignore("no association is named")
	}
	for i, ia := range ias {
		find := t.address6For
		if ia.Prefix {
			find = t.prefix6For
		}
		p, reserved, why, err := find(ia, i == 0)
		if err != nil {
			return false, err
		}
		b := Bound{ID: ia.ID, Prefix: ia.Prefix}
		if !p.IsValid() {
			code := uint16(StatusNoAddrs)
			switch {
			case ia.Prefix:
				code = StatusNoPrefixAvail
			case t.in.Step == Renew || t.in.Step == Rebind:
				code = StatusNoBinding
			}
			b.Status = &Status6{code, why}
			t.note(why)
		} else {
			got = true
			g := t.grant6(p)
			b.Leases = append(b.Leases, g)
			t.note(fmt.Sprintf("%s for %s%s", PrefixText(p), g.Valid, why))
			if a.Advertise {
				t.d.Holds = append(t.d.Holds, Hold{Network: t.net.Name, Addr: p.Addr(), Holder: t.holder6(ia), Known: t.known(), Until: t.in.At.Add(HoldTime)})
			} else if err := t.lease6(ia, p, g.Valid, reserved); err != nil {
				return false, err
			}
		}
		// What the client goes on using and may not (RFC 8415 18.3.4).
		if t.in.Step == Renew || t.in.Step == Rebind {
			for _, old := range ia.Has[:min(len(ia.Has), maxIAs)] {
				if old.Addr() != p.Addr() && (got || !t.net.Subnet.Contains(old.Addr())) {
					b.Leases = append(b.Leases, Grant6{Prefix: old})
				}
			}
			if len(b.Leases) > 0 && !p.IsValid() {
				b.Status = nil
			}
		}
		a.IAs = append(a.IAs, b)
	}
	if !got && t.in.Step == Rebind {
		// Another server may know it; only who is sure answers (18.3.5).
		return t.ignore("nothing of it is ours to extend")
	}
	t.d.Reply = a
	return false, nil
}

func PrefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// grant6 is the time that the client may have it: preferred for three quarters.
func (t *turn) grant6(p netip.Prefix) Grant6 {
	valid := t.net.Lease
	if !t.known() && t.net.UnknownLease > 0 {
		valid = min(valid, t.net.UnknownLease)
	}
	return Grant6{Prefix: p, Preferred: valid * 3 / 4, Valid: valid}
}

// address6For chooses an address for an association: its host's reservation for
// the first one, what the association has or had, what it asks for, and then the
// longest unused.
func (t *turn) address6For(ia IA, first bool) (_ netip.Prefix, reserved bool, why string, err error) {
	holder := t.holder6(ia)
	n := t.net
	single := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	if first && t.host != nil && t.host.Address6.IsValid() && n.Subnet.Contains(t.host.Address6) {
		a := t.host.Address6
		l, err := t.v.Lease(n.Name, a)
		switch {
		case err != nil:
			return netip.Prefix{}, false, "", err
		case !l.Active(t.in.At) || l.Holder == holder:
			return single(a), true, ", its reservation", nil
		case l.Host != t.host.ID || !l.Given():
			t.notice(n.Name+" "+a.String(), ReservationTaken, "%s has %s reserved and cannot get it: it is leased to %s", t.host.Name, a, l.Holder)
			return netip.Prefix{}, false, "the reserved address " + a.String() + " is leased to " + l.Holder, nil
		}
		// Another association of the same machine has it.
	}
	if n.Mode == Reservations {
		return netip.Prefix{}, false, "only reservations are served here", nil
	}
	last, err := t.v.LeaseByHolder(n.Name, holder)
	if err != nil {
		return netip.Prefix{}, false, "", err
	}
	if last.Active(t.in.At) && last.Given() && n.InRange(last.Addr) {
		return single(last.Addr), false, ", as before", nil
	}
	if why := t.crowded(n); why != "" {
		return netip.Prefix{}, false, why, nil
	}
	var try []netip.Addr
	if last != nil {
		try = append(try, last.Addr)
	}
	for _, p := range ia.Has[:min(len(ia.Has), maxIAs)] {
		try = append(try, p.Addr())
	}
	hints := len(try)
	cs, _ := t.v.Candidates(n, holder, t.known())
	for i, a := range append(try, cs...) {
		free, err := t.free6(n, a, holder)
		if err != nil {
			return netip.Prefix{}, false, "", err
		}
		if free && !t.promised6(a) {
			return single(a), false, "", nil
		}
		if i >= hints && !free {
			t.d.Skip = append(t.d.Skip, Spot{n.Name, a})
		}
	}
	t.notice(n.Pool(), PoolExhausted, "no free address in %s: widen range6, shorten the lease time, or release leases (muster lease list)", n.Pool())
	return netip.Prefix{}, false, "no free address in " + n.Name, nil
}

// promised6 reports an address that this very answer gives to another
// association.
func (t *turn) promised6(a netip.Addr) bool {
	return slices.ContainsFunc(t.d.Holds, func(h Hold) bool { return h.Addr == a }) ||
		slices.ContainsFunc(t.d.Writes.Leases, func(l Lease) bool { return l.Addr == a })
}

// free6 reports an address of the ranges that nobody else has, is kept for, or
// was just offered.
func (t *turn) free6(n *Network, a netip.Addr, holder string) (bool, error) {
	if !n.InRange(a) || n.Unusable(a) != "" {
		return false, nil
	}
	owner, err := t.v.HostByAddress(a)
	if err != nil || owner != nil && (t.host == nil || owner.ID != t.host.ID) {
		return false, err
	}
	l, err := t.v.Lease(n.Name, a)
	if err != nil || l.Active(t.in.At) && l.Holder != holder {
		return false, err
	}
	if h, firm := t.v.Offered(n.Name, a, t.known()); h.Holder != "" && h.Holder != holder && firm {
		return false, nil
	}
	return true, nil
}

// prefixTries bounds how many prefixes are looked at for one that is free.
const prefixTries = 256

// prefix6For delegates a prefix of the network's (RFC 8415 6.3): the one that the
// association has or had, else one by the hash of its holder, so that a router
// gets the same again while it is free.
func (t *turn) prefix6For(ia IA, _ bool) (_ netip.Prefix, reserved bool, why string, err error) {
	n := t.net
	if !n.Delegated.IsValid() {
		return netip.Prefix{}, false, "no prefixes are delegated here", nil
	}
	if !t.known() {
		return netip.Prefix{}, false, "prefixes are delegated to machines that were let in", nil
	}
	holder := t.holder6(ia)
	last, err := t.v.LeaseByHolder(n.Name, holder)
	if err != nil {
		return netip.Prefix{}, false, "", err
	}
	free := func(a netip.Addr) (bool, error) {
		l, err := t.v.Lease(n.Name, a)
		return err == nil && n.Delegated.Contains(a) && (!l.Active(t.in.At) || l.Holder == holder), err
	}
	if last != nil {
		if ok, err := free(last.Addr); ok || err != nil {
			return netip.PrefixFrom(last.Addr, n.DelegatedLen), false, ", as before", err
		}
	}
	h := fnv.New64a()
	h.Write([]byte(holder))
	start, many := h.Sum64(), uint64(1)<<min(n.DelegatedLen-n.Delegated.Bits(), 62)
	for i := range min(many, prefixTries) {
		a := nthPrefix(n.Delegated, n.DelegatedLen, (start+i)%many)
		ok, err := free(a)
		if err != nil {
			return netip.Prefix{}, false, "", err
		}
		if ok && !t.promised6(a) {
			return netip.PrefixFrom(a, n.DelegatedLen), false, "", nil
		}
	}
	t.notice(n.Name+" prefixes", PoolExhausted, "no free prefix in %s of %s", n.Delegated, n.Name)
	return netip.Prefix{}, false, "no free prefix in " + n.Delegated.String(), nil
}

// nthPrefix is the address of the ith prefix of a length in a larger one, of at
// most /64.
func nthPrefix(in netip.Prefix, bits int, i uint64) netip.Addr {
	b := in.Masked().Addr().As16()
	v := binary.BigEndian.Uint64(b[:8]) | i<<(64-bits)
	binary.BigEndian.PutUint64(b[:8], v)
	return netip.AddrFrom16(b)
}

// lease6 writes a lease.
func (t *turn) lease6(ia IA, p netip.Prefix, valid time.Duration, reserved bool) error {
	holder, now := t.holder6(ia), t.in.At.UTC()
	old, err := t.v.Lease(t.net.Name, p.Addr())
	if err != nil {
		return err
	}
	l := Lease{Network: t.net.Name, Addr: p.Addr(), Holder: holder, MAC: t.id.MAC, Kind: Dynamic, Name: CleanText(t.in.Want.Name, 63), Starts: now, Expires: now.Add(valid)}
	fresh := !old.Active(now) || old.Holder != holder || !old.Given()
	switch {
	case reserved:
		l.Kind = Reserved
	case !t.known():
		l.Kind, t.d.New = Unknown, t.d.New || fresh
	}
	if t.host != nil {
		l.Host = t.host.ID
	}
	if !fresh && old.Starts.Before(l.Starts) {
		l.Starts = old.Starts
	}
	prev, err := t.v.LeaseByHolder(t.net.Name, holder)
	if err != nil {
		return err
	}
	if prev != nil && prev.Addr != l.Addr && prev.Active(now) && prev.Given() {
		prev.Expires = now
		t.d.Writes.Leases = append(t.d.Writes.Leases, *prev)
	}
	t.d.Writes.Leases = append(t.d.Writes.Leases, l)
	t.drop(holder)
	if fresh && t.host != nil {
		t.notice(holder, LeaseGranted, "%s leased to %s for %s", PrefixText(p), t.host.Name, valid)
	}
	return nil
}

func (t *turn) options6() Options6 {
	o := Options6{DNS: t.net.DNS}
	if t.net.Domain != "" {
		o.Search = strings.Fields(t.net.Domain)
	}
	return o
}
