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
const maxIAs = 3 // edk2 uses one in a request, a router two

// refresh6 is how long the answer to an Information-request is good for.
const refresh6 = time.Hour

func (t *turn) six() bool { return t.in.Via == DHCP6 }

func (t *turn) address6() (bool, error) {
	in := &t.in
	if t.id.DUID == "" && in.Step != Inform {
		return t.ignore("lease6.no-duid")
	}
	if in.Want.ServerID != "" && in.Want.ServerID != t.p.DUID {
		for _, ia := range in.Want.IAs {
			t.drop(t.holder6(ia))
		}
		if in.Step == Selecting { // not Renew: that may name ourselves by a DUID that we lost, which is no rival
			t.notice(t.net.Name+" DHCPv6", RivalServer, "another DHCPv6 server answers on network %s: a machine chose it (DUID %s); two servers give addresses there, turn one off or set mode6 = \"off\"", t.net.Name, in.Want.ServerID)
		}
		return t.ignore("lease6.other-server")
	}
	a := Answer6{Options: t.options6(), Preference: 255}
	switch in.Step {
	case Inform:
		a.Refresh = refresh6
		t.why("lease6.options")
	case Confirm:
		return t.confirm6(a)
	case Release, Decline:
		return t.giveBack6(a)
	case Solicit:
		a.Advertise, a.Rapid = !t.rapid(), t.rapid()
		return t.bind6(a)
	case Selecting, Renew, Rebind:
		if in.Step != Rebind && in.Want.ServerID == "" {
			return t.ignore("lease6.no-server", in.Step)
		}
		return t.bind6(a)
	default:
		return t.ignore("lease6.no-answer", in.Step)
	}
	t.d.Reply = a
	return false, nil
}

// holder6 is the holder that an association is.
func (t *turn) holder6(ia IA) Holder {
	kind := ""
	if ia.Prefix {
		kind = "/pd"
	}
	return Holder{HolderAssociation, fmt.Sprintf("%s/%08x%s", t.id.DUID, ia.ID, kind)}
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
				t.why("lease6.foreign", p.Addr())
				a.Status = &Status6{StatusNotOnLink, p.Addr().String() + " does not belong to this link"}
				t.d.Reply = a
				return false, nil
			}
		}
	}
	if !some {
		return t.ignore("lease6.nothing")
	}
	t.why("lease6.confirmed")
	a.Status = &Status6{StatusSuccess, "all addresses belong to this link"}
	t.d.Reply = a
	return false, nil
}

// giveBack6 takes released addresses back, and takes declined ones out of use for a
// while. Both are answered with success, also where nothing was held (RFC 8415
// 18.3.7).
func (t *turn) giveBack6(a Answer6) (bool, error) {
	for _, ia := range t.in.Want.IAs[:min(len(t.in.Want.IAs), maxIAs)] {
		holder := t.holder6(ia)
		t.drop(holder)
		had := false
		for _, p := range ia.Has[:min(len(ia.Has), maxIAs)] {
			declined := t.in.Step == Decline && !ia.Prefix
			ok, err := t.giveBack(t.net, p.Addr(), holder, declined)
			switch {
			case err != nil:
				return false, err
			case !ok:
				continue
			case declined:
				t.why("lease6.declined", p.Addr())
			default:
				t.why("lease6.released", p.Addr())
			}
			had = true
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
		return t.ignore("lease6.no-association")
	}
	for i, ia := range ias {
		find := t.address6For
		if ia.Prefix {
			find = t.prefix6For
		}
		c, err := find(ia, i == 0)
		if err != nil {
			return false, err
		}
		b := Bound{ID: ia.ID, Prefix: ia.Prefix}
		valid := t.validFor(t.net, c.prefix, c.old, c.kept)
		if c.missed == nil && !a.Advertise {
			if c.missed, err = t.lease(t.net, c.prefix, t.holder6(ia), c.old, c.kept, valid); err != nil {
				return false, err
			}
		}
		p := c.prefix
		if c.missed != nil {
			p = netip.Prefix{}
			code := uint16(StatusNoAddrs)
			switch {
			case ia.Prefix:
				code = StatusNoPrefixAvail
			case t.in.Step == Renew || t.in.Step == Rebind:
				code = StatusNoBinding
			}
			b.Status = &Status6{code, c.missed.Text()}
			t.note(c.missed)
		} else {
			got = true
			// Preferred for three quarters of the time.
			b.Leases = append(b.Leases, Grant6{Prefix: p, Preferred: valid * 3 / 4, Valid: valid})
			t.why(c.code, PrefixText(p), valid)
			if a.Advertise {
				t.offer(t.net, p.Addr(), t.holder6(ia))
			}
		}
		// Addresses that the client still uses but may not use (RFC 8415 18.3.4).
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
		// Another server may have the binding; only a server that is sure answers (18.3.5).
		return t.ignore("lease6.not-ours")
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

// choice6 is the prefix that an association may have (for IA_NA a single address), or
// why it gets none.
type choice6 struct {
	prefix netip.Prefix
	old    *Lease // the stored lease of it
	kept   bool   // it is the host's reservation
	code   Code   // why this one was chosen
	missed *Reason
}

// address6For chooses an address for an association. It tries, in this order: the
// host's reservation (for the first association only), the address that the
// association has or had, the one that it asks for, the one unused for longest.
func (t *turn) address6For(ia IA, first bool) (c choice6, err error) {
	h, n := t.holder6(ia), t.net
	single := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	if first && t.host != nil && t.host.Address6.IsValid() && n.Subnet.Contains(t.host.Address6) {
		a := t.host.Address6
		old, why, err := t.mayHave(n, a, h, true)
		switch {
		case err != nil:
			return c, err
		case why == nil:
			return choice6{prefix: single(a), old: old, kept: true, code: "lease6.reserved"}, nil
		case old == nil || old.Host != t.host.ID || !old.Given():
			t.notice(n.Name+" "+a.String(), ReservationTaken, "%s has %s reserved and cannot get it: %s", t.host.Name, a, why.Text())
			return choice6{missed: because("lease6.reservation-taken", a, why)}, nil
		}
		// Another association of the same machine has it.
	}
	if n.Mode == Reservations {
		return choice6{missed: because("lease.reservations-only")}, nil
	}
	last, err := t.v.LeaseByHolder(n.Name, h)
	if err != nil {
		return c, err
	}
	if last.Active(t.in.At) && last.Given() && (n.InRange(last.Addr) || t.leaving(n, last, h)) {
		return choice6{prefix: single(last.Addr), old: last, code: "lease6.as-before"}, nil
	}
	if why := t.rationed(n); why != nil {
		return choice6{missed: why}, nil
	}
	var try []netip.Addr
	if last != nil {
		try = append(try, last.Addr)
	}
	for _, p := range ia.Has[:min(len(ia.Has), maxIAs)] {
		try = append(try, p.Addr())
	}
	hints := len(try)
	cs, _ := t.v.Candidates(n, h, t.admitted())
	for i, a := range append(try, cs...) {
		old, why, err := t.mayHave(n, a, h, false)
		if err != nil {
			return c, err
		}
		if why == nil && !t.promised6(a) {
			return choice6{prefix: single(a), old: old, code: "lease6.fresh"}, nil
		}
		if i >= hints && why != nil {
			t.d.Skip = append(t.d.Skip, Spot{n.Name, a})
		}
	}
	t.notice(n.Pool(), PoolExhausted, "no free address in %s: widen range6, shorten the lease time, or release leases (muster lease list)", n.Pool())
	return choice6{missed: because("lease.none-free", n.Name)}, nil
}

// promised6 reports an address that this very answer gives to another
// association.
func (t *turn) promised6(a netip.Addr) bool {
	return slices.ContainsFunc(t.d.Holds, func(h Hold) bool { return h.Addr == a }) ||
		slices.ContainsFunc(t.d.Writes.Leases, func(l Lease) bool { return l.Addr == a })
}

// prefixTries bounds how many prefixes are looked at for one that is free.
const prefixTries = 256

// prefix6For delegates a prefix out of the network's own (RFC 8415 6.3): the one that
// the association has or had, else one chosen by a hash of its holder, so that a
// router gets the same prefix again while that is free.
func (t *turn) prefix6For(ia IA, _ bool) (c choice6, err error) {
	n, holder := t.net, t.holder6(ia)
	if !n.Delegated.IsValid() {
		return choice6{missed: because("lease6.no-delegation")}, nil
	}
	if !t.admitted() {
		return choice6{missed: because("lease6.prefix-to-strangers")}, nil
	}
	last, err := t.v.LeaseByHolder(n.Name, holder)
	if err != nil {
		return c, err
	}
	free := func(a netip.Addr) (old *Lease, ok bool, err error) {
		if !n.Delegated.Contains(a) {
			return nil, false, nil
		}
		old, err = t.v.Lease(n.Name, a)
		return old, err == nil && (!old.Active(t.in.At) || t.keeps(old, holder) == nil), err
	}
	if last != nil {
		if old, ok, err := free(last.Addr); ok || err != nil {
			return choice6{prefix: netip.PrefixFrom(last.Addr, n.DelegatedLen), old: old, code: "lease6.as-before"}, err
		}
	}
	f := fnv.New64a()
	f.Write([]byte(holder.Key))
	start, many := f.Sum64(), uint64(1)<<min(n.DelegatedLen-n.Delegated.Bits(), 62)
	for i := range min(many, prefixTries) {
		a := nthPrefix(n.Delegated, n.DelegatedLen, (start+i)%many)
		old, ok, err := free(a)
		if err != nil {
			return c, err
		}
		if ok && !t.promised6(a) {
			return choice6{prefix: netip.PrefixFrom(a, n.DelegatedLen), old: old, code: "lease6.fresh"}, nil
		}
	}
	t.notice(n.Name+" prefixes", PoolExhausted, "no free prefix in %s of %s", n.Delegated, n.Name)
	return choice6{missed: because("lease6.no-prefix", n.Delegated)}, nil
}

// nthPrefix is the address of the ith prefix of a length inside a larger prefix; the
// length is at most 64.
func nthPrefix(in netip.Prefix, bits int, i uint64) netip.Addr {
	b := in.Masked().Addr().As16()
	v := binary.BigEndian.Uint64(b[:8]) | i<<(64-bits)
	binary.BigEndian.PutUint64(b[:8], v)
	return netip.AddrFrom16(b)
}

func (t *turn) options6() Options6 {
	o := Options6{DNS: t.net.DNS}
	if t.net.Domain != "" {
		o.Search = strings.Fields(t.net.Domain)
	}
	return o
}
