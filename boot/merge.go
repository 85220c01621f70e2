// merge.go: two hosts on the roll that are one machine, and one host that is two
// machines. Muster never decides this by itself: it holds the machine and asks a
// person.

package boot

import (
	"cmp"
	"slices"
	"strings"
)

// Merge makes one host of two. The host Name keeps its name, template, ticket and
// address. The host Other has what the machine says today: its MACs are added, and
// its UUID, serial number and DUID, where it has them, replace those of Name. Other
// is gone afterwards.
type Merge struct{ Name, Other string }

// Split takes from a host what belongs to another machine. It makes a new host of
// that, which waits for approval.
type Split struct {
	Name   string
	New    string // name of the new host; "" for the usual one
	MACs   []MAC
	UUID   bool // the UUID goes too
	Serial bool // and the serial number
}

func (Merge) order() {}
func (Split) order() {}

func (a *applying) merge(o Merge) error {
	other, err := find(a.v, a.p, a.now, o.Other)
	if err != nil {
		return err
	}
	err = a.change(o.Name, func(h *Host) error {
		switch k := other.Ticket; {
		case other.ID == h.ID:
			return NewFault(Invalid, "%s and %s are the same host already", o.Name, o.Other)
		case k != nil && k.State != TicketClosed:
			return NewFault(TicketOpen, "host %s: %s; end that first: muster host local %s", other.Name, k.Standing(), other.Name)
		}
		for _, m := range other.MACs {
			if !h.HasMAC(m) {
				h.MACs = append(h.MACs, m)
			}
		}
		var was []string
		replaces := func(what, now, before string) bool {
			if now == "" || now == before {
				return false
			}
			if before != "" {
				was = append(was, what+" "+before)
			}
			return true
		}
		if replaces("UUID", other.UUID.String(), h.UUID.String()) {
			h.UUID = other.UUID
		}
		if replaces("serial", other.Serial, h.Serial) {
			h.Serial = other.Serial
		}
		if replaces("DUID", other.DUID, h.DUID) {
			h.DUID = other.DUID
		}
		if !h.Address.IsValid() {
			h.Address = other.Address
		}
		if !h.Address6.IsValid() {
			h.Address6 = other.Address6
		}
		if h.BoundPort == "" {
			h.BoundPort = other.BoundPort
		}
		for _, k := range other.Secrets {
			a.seal(Place(HostScope, other.ID, k), nil) // sealed for the other host: it must be given again
		}
		for k, v := range other.Params {
			if _, has := h.Params[k]; !has && !slices.Contains(h.Secrets, k) {
				if h.Params == nil {
					h.Params = map[string]string{}
				}
				h.Params[k] = v
			}
		}
		if other.Booted.After(h.Booted) { // it knows the machine as it is now
			h.SeenOn = cmp.Or(other.SeenOn, h.SeenOn)
			if other.Memory > 0 || other.Disks != nil {
				h.Memory, h.Disks = other.Memory, slices.Clone(other.Disks)
			}
		}
		h.Tags = mergeTags(other.Tags, h.Tags...)
		if h.Protected = h.Protected || other.Protected; h.Protected {
			h.disarm(a.now)
		}
		before := ""
		if len(was) > 0 {
			before = "; before: " + strings.Join(was, ", ")
		}
		a.event(HostChanged, h, "%s and %s are one machine, as %s says: %s%s", h.Name, other.Name, a.by, Describe(h, Firmware{}), before)
		return nil
	})
	if err != nil {
		return err
	}
	a.c.Remove = other
	return nil
}

func (a *applying) split(o Split) error {
	last, err := a.v.Counter(LastHost)
	if err != nil {
		return err
	}
	n := NewHost{Name: o.New}
	err = a.change(o.Name, func(h *Host) error {
		for _, m := range o.MACs {
			if !h.HasMAC(m) {
				return NewFault(Invalid, "host %s has no MAC %s (muster host show %s)", h.Name, m, h.Name)
			}
			h.MACs = slices.DeleteFunc(h.MACs, func(x MAC) bool { return x == m })
			n.MACs = append(n.MACs, m)
		}
		if o.UUID {
			n.UUID, h.UUID = h.UUID, UUID{}
		}
		if o.Serial {
			n.Serial, h.Serial = h.Serial, ""
		}
		if len(n.MACs) == 0 && n.UUID.IsZero() && n.Serial == "" {
			return NewFault(Invalid, "say what of host %s is the other machine's: a MAC address, its UUID, its serial number", h.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	h, err := a.newHost(&n, HostID(last+1))
	if err != nil {
		return err
	}
	if other, err := a.v.HostByName(h.Name); err != nil {
		return err
	} else if other != nil {
		return NewFault(Taken, "name %s belongs to another host already; choose one", h.Name)
	}
	a.c.Hosts = []*Host{h}
	a.event(HostAdded, h, "%s split off %s by %s: %s", h.Name, a.c.Host.Name, a.by, Describe(h, Firmware{}))
	return nil
}
