// conflict.go: a machine was seen on an address that was to be given out.

package boot

import (
	"fmt"
	"net/netip"
	"time"
)

// Occupy says what follows when a probe found the machine by on an address that was
// to be given to another MAC. The zero MAC stands for a machine beyond a relay that
// answered a ping. A lease among the changes takes the address out of use for a while.
//
// Machines are compared as hosts: the other port of a bond answers too. A reserved
// address stays in use whoever answers on it, or any squatter could keep its host from
// booting.
func Occupy(v Reader, n *Network, a netip.Addr, by, wanted MAC, now time.Time) (c Changes, err error) {
	who := HeldBy(by)
	l, err := v.Lease(n.Name, a)
	if err != nil || l.Active(now) && (!l.Given() || l.Holder == who) {
		return c, err
	}
	h, err := v.HostByMAC(by)
	if err != nil || h != nil && (h.HasMAC(wanted) || l.Active(now) && l.Host == h.ID) {
		return c, err
	}
	owner, err := v.HostByAddress(a)
	if err != nil || owner != nil && h != nil && owner.ID == h.ID {
		return c, err
	}
	ev := Event{At: now.UTC(), Kind: LeaseConflict, Network: n.Name, MAC: by, By: Actor{Kind: Program, Name: "muster", Via: "probe"}}
	ev.About(h)
	if owner != nil {
		ev.Kind, ev.Text = ReservationTaken, fmt.Sprintf("%s is reserved for %s, and %s answers on it: take the address off that machine; %s gets it all the same", a, owner.Name, called(h, who), owner.Name)
		ev.About(owner)
		c.Events = []Event{ev}
		return c, nil
	}
	if l.Active(now) {
		// Neither a ping nor a lease that is held by an identifier or a switch port
		// tells the MAC of the machine that answered.
		if _, named := l.Holder.MAC(); !named || by.IsZero() {
			return c, nil
		}
	}
	leave := func() { c.Leases = []Lease{quarantine(n, a, Occupied, who, now)} }
	switch {
	case l.Active(now):
		ev.Text = fmt.Sprintf("%s is leased to %s, and %s answers on it too: take the address off that machine, or exclude it from the range", a, l.Holder, who)
	case l != nil && l.Holder == who:
		ev.Text = fmt.Sprintf("the lease of %s has ended and its holder %s still uses it: nobody else gets it for %s", a, who, DeclineTime)
		leave()
	default:
		ev.Text = fmt.Sprintf("%s is free, and %s answers on it: nobody else gets it for %s; take the address off that machine, reserve it for it (muster host set), or exclude it from the range", a, who, DeclineTime)
		leave()
	}
	c.Events = []Event{ev}
	return c, nil
}

// called is a machine as a person finds it.
func called(h *Host, who Holder) string {
	if h != nil {
		return h.Name + " (" + who.String() + ")"
	}
	return who.String()
}
