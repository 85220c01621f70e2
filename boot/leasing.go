// leasing.go: what the leases of both families have in common: who may have an
// address, how it is given, and how it comes back.

package boot

import (
	"net/netip"
	"time"
)

// HoldTime is how long an OFFER is kept for its client. edk2 collects for four
// seconds, old ROMs retry for up to a minute.
const HoldTime = time.Minute

// DeclineTime is how long an address is not given out after another machine was seen
// on it.
const DeclineTime = 10 * time.Minute

// admitted reports a machine that a person or a rule let in. All others share a part
// of the pool and get short leases: a flood of made-up machines must not keep a real
// one out.
func (t *turn) admitted() bool { return t.host != nil && t.host.State == Approved }

// mayHave says why a holder may not have an address; nil if it may. kept says that
// the address is reserved for this machine. The stored lease of the address is
// returned too, so that the caller need not look it up again.
func (t *turn) mayHave(n *Network, a netip.Addr, h Holder, kept bool) (old *Lease, why *Reason, err error) {
	if why := n.Unusable(a); why != nil {
		return nil, why, nil
	}
	if !kept {
		if n.Mode == Reservations {
			return nil, because("lease.reservations-only"), nil
		}
		if !n.InRange(a) {
			old, err = t.v.Lease(n.Name, a)
			if err == nil && t.leaving(n, old, h) {
				return old, nil, nil
			}
			return nil, because("lease.out-of-range"), err
		}
		// The address is this host's, though another of its adapters may hold it.
		if owner, err := t.v.HostByAddress(a); err != nil {
			return nil, nil, err
		} else if owner != nil && (t.host == nil || owner.ID != t.host.ID) {
			return nil, because("lease.reserved-for", owner.Name), nil
		}
	}
	if old, err = t.v.Lease(n.Name, a); err != nil {
		return nil, nil, err
	}
	if old.Active(t.in.At) {
		if kept && !old.Given() {
			return old, nil, nil // who was seen on it is told; a reservation is a person's word
		}
		return old, t.keeps(old, h), nil
	}
	if o, firm := t.v.Offered(n.Name, a, t.admitted()); !o.Holder.IsZero() && o.Holder != h {
		// Between strangers the first REQUEST wins: a flood of DISCOVERs must
		// not take back what a real machine was offered. In DHCPv6 it gets another
		// address in the same answer.
		if t.in.Step == Selecting && !t.six() {
			firm = o.Admitted && !t.admitted()
		}
		if firm {
			return old, because("lease.offered", o.Holder), nil
		}
	}
	return old, nil, nil
}

// leaving reports a lease that the range no longer has, and that its holder keeps to
// its end: what was given is not taken back by a change of the configuration.
func (t *turn) leaving(n *Network, l *Lease, h Holder) bool {
	return !n.NakLeaving && n.Mode == Full && t.in.Step != Discover && t.in.Step != Solicit &&
		l.Active(t.in.At) && l.Given() && l.Holder == h && l.Expires.Sub(t.in.At) >= time.Minute
}

// keeps says why h may not have an address that is taken; nil if h may.
func (t *turn) keeps(l *Lease, h Holder) *Reason {
	switch l.Kind {
	case Declined:
		// This holds for the machine that declined it too: another one answers there.
		return because("lease.declined")
	case Occupied:
		// The machine that answered the probe may have the address: it is a client
		// of ours whose lease was lost, or ended by a clock that jumped. Beyond a
		// relay the probe does not tell the MAC; then a client that says it already
		// has the address is believed.
		if by, named := l.Holder.MAC(); named && (by == t.id.MAC || t.host != nil && t.host.HasMAC(by)) || !named && (t.in.Step == Renew || t.in.Step == InitReboot) {
			return nil
		}
		return because("lease.occupied", l.Holder)
	}
	if l.Holder != h {
		return because("lease.leased", l.Holder)
	}
	return nil
}

// crowded says why a machine that is not admitted gets no new lease; nil if it may.
func (t *turn) rationed(n *Network) *Reason {
	if t.admitted() {
		return nil
	}
	switch r := t.v.Ration(n); {
	case r.Full:
		t.notice(n.Name, UnknownLimit, "machines that nobody let in hold %d addresses of %s, all that they may have together: approve those that belong here (muster host list, muster host add), or raise unknown_share", r.Limit, n.Name)
		return because("lease.share", n.Name)
	case r.Fast:
		t.notice(n.Name+" rate", UnknownLimit, "more than %d new leases a second to machines that nobody let in on %s: they wait; raise new_leases if they belong here", n.NewLeases, n.Name)
		return because("lease.rate", n.Name)
	}
	return nil
}

// leaseTime is how long this machine may have an address: what the network
// gives, or less if it asked for less.
func (t *turn) leaseTime() time.Duration {
	d := t.net.Lease
	if !t.admitted() && t.net.UnknownLease > 0 {
		d = min(d, t.net.UnknownLease)
	}
	if w := t.in.Want.Lease; w > 0 && w < d {
		d = max(w, time.Minute)
	}
	return d
}

// validFor is leaseTime or, of an address that left the range, what remains.
func (t *turn) validFor(n *Network, p netip.Prefix, old *Lease, kept bool) time.Duration {
	d := t.leaseTime()
	if !kept && p.IsSingleIP() && !n.InRange(p.Addr()) && old.Active(t.in.At) {
		d = min(d, old.Expires.Sub(t.in.At).Truncate(time.Second))
		t.why("lease.leaving", p.Addr())
	}
	return d
}

// offer promises an address in memory.
func (t *turn) offer(n *Network, a netip.Addr, h Holder) {
	t.d.Holds = append(t.d.Holds, Hold{Network: n.Name, Addr: a, Holder: h, Admitted: t.admitted(), Until: t.in.At.Add(HoldTime)})
}

// lease gives h the address or prefix p for the time d. It ends h's other lease on
// this link: one holder has one address. old is the stored lease of p. A reason means
// that p was not given after all.
func (t *turn) lease(n *Network, p netip.Prefix, h Holder, old *Lease, kept bool, d time.Duration) (*Reason, error) {
	a, now := p.Addr(), t.in.At.UTC()
	l := Lease{Network: n.Name, Addr: a, Holder: h, MAC: t.id.MAC, Kind: Dynamic, Name: CleanText(t.in.Want.Name, 63), Starts: now, Expires: now.Add(d)}
	fresh := !old.Active(now) || old.Holder != h || !old.Given()
	switch {
	case kept:
		l.Kind = Reserved
	case !t.admitted():
		l.Kind = Unknown
		if fresh {
			if why := t.rationed(n); why != nil {
				return why, nil
			}
			t.d.New = true
		}
	}
	if t.host != nil {
		l.Host = t.host.ID
	}
	if !fresh && old.Starts.Before(l.Starts) {
		l.Starts = old.Starts
	}
	for _, o := range t.link {
		prev, err := t.v.LeaseByHolder(o.Name, h)
		if err != nil {
			return nil, err
		}
		if prev != nil && prev.Addr != a && prev.Active(now) && prev.Given() {
			prev.Expires = now
			t.d.Writes.Leases = append(t.d.Writes.Leases, *prev)
		}
	}
	t.d.Writes.Leases = append(t.d.Writes.Leases, l)
	t.drop(h)
	// A lease of a stranger is no event: the lease list and the request log show
	// it. A lease of a host is told once in a while. So neither a flood nor a machine
	// that takes and releases pushes out the events of others.
	if fresh && t.host != nil {
		whom := h.String()
		if h.Kind == HolderAssociation {
			whom = t.host.Name // a name says more than a DUID
		}
		t.notice(h.String(), LeaseGranted, "%s leased to %s for %s", PrefixText(p), whom, d)
	}
	return nil, nil
}

// drop ends what a holder was offered.
func (t *turn) drop(h Holder) {
	if !h.IsZero() {
		t.d.Drops = append(t.d.Drops, h)
	}
}

// giveBack ends h's lease of an address. If the client found another machine on it,
// the address is out of use for a while. Only the holder of the lease may do either
// (RFC 2131 3.1: the client checks after the ACK); anybody can get an offer.
func (t *turn) giveBack(n *Network, a netip.Addr, h Holder, declined bool) (had bool, err error) {
	l, err := t.v.Lease(n.Name, a)
	if err != nil || !l.Active(t.in.At) || l.Holder != h || !l.Given() {
		return false, err
	}
	if !declined {
		l.Expires = t.in.At.UTC()
		t.d.Writes.Leases = append(t.d.Writes.Leases, *l)
		return true, nil
	}
	if l.Kind == Reserved {
		// Its other port may have answered. Out of use it would be nobody's.
		l.Expires = t.in.At.UTC()
		t.d.Writes.Leases = append(t.d.Writes.Leases, *l)
		t.notice(n.Name+" "+a.String(), LeaseDeclined, "%s is reserved for %s, and declined by %s: it says that another machine answers on it; it gets it again", a, l.whose(t.host), h)
		return true, nil
	}
	q := quarantine(n, a, Declined, h, t.in.At)
	if t.admitted() {
		q.Host = t.host.ID // else the quarantine would still count against the ration
	}
	t.d.Writes.Leases = append(t.d.Writes.Leases, q)
	t.notice(n.Name+" "+a.String(), LeaseDeclined, "%s declined by %s: another machine answers on it; left alone for %s", a, h, DeclineTime)
	return true, nil
}

// quarantine takes an address out of use for a while.
func quarantine(n *Network, a netip.Addr, kind LeaseKind, by Holder, now time.Time) Lease {
	return Lease{Network: n.Name, Addr: a, Holder: by, Kind: kind, Starts: now.UTC(), Expires: now.UTC().Add(DeclineTime)}
}

// whose names the machine of a lease.
func (l *Lease) whose(h *Host) string {
	if h != nil {
		return h.Name
	}
	return l.Holder.String()
}

// PoolStatus is one network's ranges at a moment.
type PoolStatus struct {
	Network string `json:"network"`
	Size    int    `json:"size"`
	Leased  int    `json:"leased"`  // or out of use for a while
	Offered int    `json:"offered"` // promises not yet taken
	Unknown int    `json:"unknown"` // leases of machines that are not admitted
	Lost    uint64 `json:"lost"`    // promises that were dropped to keep memory bounded
}
