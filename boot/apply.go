// apply.go: what an order changes: pure, as Decide is.

package boot

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Apply says what an order changes. An order that finds everything as it wants it
// changes nothing and is no error. Apply is pure: the time is an argument.
func Apply(v Reader, p *Policy, now time.Time, by Actor, o Order) (Changes, error) {
	a := &applying{v: v, p: p, now: now.UTC(), by: by}
	err := a.apply(o)
	if err == nil {
		err = a.account()
	}
	return a.c, err
}

func (a *applying) apply(o Order) (err error) {
	switch o := o.(type) {
	case AsSeen:
		h, err := find(a.v, a.p, a.now, o.Name)
		if err != nil {
			return err
		}
		if h.Revision != o.Revision || o.ID != 0 && h.ID != o.ID {
			return &ChangedHost{h}
		}
		return a.apply(o.Order)
	case AddHost:
		err = a.addHost(o)
	case AddHosts:
		err = a.addHosts(o)
	case SetHost:
		err = a.setHost(o)
	case Approve:
		err = a.change(o.Name, func(h *Host) error {
			if o.Template != nil {
				if err := a.assign(h, *o.Template); err != nil {
					return err
				}
			}
			if h.State == Approved && o.Template == nil && !h.Auto {
				return nil
			}
			if h.State == Denied && o.Template == nil {
				h.Pin = 0 // the version that it boots is chosen anew
			}
			first := h.State != Approved
			if x, err := a.willBoot(h); err != nil {
				return err
			} else if err := a.complete(h, x); err != nil {
				return err
			}
			h.State, h.Auto = Approved, false // a person has approved it now
			a.event(HostApproved, h, "%s approved by %s", h.Name, a.by)
			if first {
				return a.approved(h)
			}
			return nil
		})
	case Install:
		err = a.change(o.Name, func(h *Host) error { return a.install(h, o) })
	case Rescue:
		err = a.change(o.Name, func(h *Host) error { return a.rescue(h, o.Template) })
	case Local:
		err = a.change(o.Name, a.local)
	case Merge:
		err = a.merge(o)
	case Split:
		err = a.split(o)
	case Deny:
		err = a.change(o.Name, func(h *Host) error {
			if h.State == Denied && !h.Auto {
				return nil
			}
			h.State, h.Auto = Denied, false
			h.disarm(a.now)
			h.Once = ""
			a.event(HostDenied, h, "%s denied by %s", h.Name, a.by)
			return nil
		})
	case Update:
		err = a.change(o.Name, func(h *Host) error {
			if h.Template == "" {
				return NewFault(Invalid, "host %s has no template to update; choose one with: muster host set %s --template NAME", h.Name, h.Name)
			}
			if err := a.assign(h, h.Template); err != nil {
				return err
			}
			a.event(HostChanged, h, "%s moves to the version of template %s that is in force, at its next boot", h.Name, h.Template)
			return nil
		})
	case RemoveHost:
		err = a.removeHost(o)
	case PushTemplate:
		err = a.push(o)
	case DropTemplate:
		err = a.drop(o)
	case PinTemplate:
		err = a.pinTemplate(o)
	case ReleaseLease:
		err = a.release(o)
	case ImportImage:
		err = a.importImage(o)
	case RemoveImage:
		err = a.removeImage(o)
	case SetParams:
		err = a.setParams(o)
	case Within:
		err = a.within(o)
	case AddUser:
		err = a.addUser(o)
	case JoinUser:
		err = a.joinUser(o)
	case SetUser:
		err = a.setUser(o)
	case RemoveUser:
		err = a.removeUser(o)
	case AddToken:
		err = a.addToken(o)
	case RevokeToken:
		err = a.revokeToken(o)
	case UseToken:
		err = a.useToken(o)
	case Note:
		a.event(o.Kind, nil, "%s", o.Text)
	default:
		err = fmt.Errorf("order %T is not known", o)
	}
	return err
}

type applying struct {
	v   Reader
	p   *Policy
	now time.Time
	by  Actor
	c   Changes

	assigned string // template that assign found last
}

func (a *applying) event(kind EventKind, h *Host, format string, args ...any) {
	e := Event{At: a.now, Kind: kind, By: a.by, Text: fmt.Sprintf(format, args...)}
	e.About(h)
	a.c.Events = append(a.c.Events, e)
}

// find accepts a name or a MAC address.
func find(v Reader, p *Policy, now time.Time, name string) (*Host, error) {
	h, err := FindHost(v, p, now, name)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, NoHost(name)
	}
	return h, nil
}

// NoHost is the fault of a name that is no host's, or none of theirs who ask.
func NoHost(name string) *Fault {
	return NewFault(UnknownHost, "no host is called %s", CleanText(name, 64)).Try("muster host list")
}

// FindHost looks a host up by anything that it is known by: its name, a MAC in any
// spelling, UUID, serial number, DUID, switch port, reserved or leased address; nil if
// there is none. Its name comes first. A word that names several hosts otherwise is an error
// that lists them.
func FindHost(v Reader, p *Policy, now time.Time, name string) (*Host, error) {
	h, err := v.HostByName(name)
	if h != nil || err != nil || name == "" {
		return h, err
	}
	var found []*Host
	look := func(h *Host, err error) error {
		if h != nil && !slices.ContainsFunc(found, func(o *Host) bool { return o.ID == h.ID }) {
			found = append(found, h)
		}
		return err
	}
	var errs []error
	if m, err := ParseMAC(name); err == nil {
		errs = append(errs, look(v.HostByMAC(m)))
	}
	if u, err := ParseUUID(name); err == nil {
		errs = append(errs, look(lookupUUID(v, u)))
	}
	if s, ok := CleanSerial(name); ok {
		errs = append(errs, look(v.HostBySerial(s)))
	}
	if d, err := cleanDUID(name); err == nil && d != "" {
		errs = append(errs, look(v.HostByDUID(d)))
	}
	if a, err := netip.ParseAddr(name); err == nil {
		errs = append(errs, look(v.HostByAddress(a)))
		for net := range p.All() {
			l, err := v.Lease(net.Name, a)
			if errs = append(errs, err); l.Active(now) && l.Host != 0 && l.Given() {
				errs = append(errs, look(v.Host(l.Host)))
			}
		}
	}
	if len(name) <= 128 {
		errs = append(errs, look(v.HostByPort(name)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	var names []string
	for _, h := range found {
		names = append(names, h.Name)
	}
	return nil, NewFault(Ambiguous, "%s is %s: say which by its name", CleanText(name, 64), strings.Join(names, " and "))
}

func (a *applying) change(name string, fn func(*Host) error) error {
	old, err := find(a.v, a.p, a.now, name)
	if err != nil {
		return err
	}
	h := old.Clone()
	if err := fn(h); err != nil {
		return err
	}
	h.unpark()
	if len(a.c.Events) == 0 && reflect.DeepEqual(old, h) {
		a.c.Same = old
		return nil
	}
	h.Changed = a.now
	if err := h.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	a.c.Host = h
	return nil
}

// assign names a template on a host; its version is pinned at the next boot.
func (a *applying) assign(h *Host, name string) error {
	if name != "" && name != a.assigned {
		t, err := a.v.TemplateByName(name)
		if err != nil {
			return err
		}
		if t == nil {
			return NewFault(UnknownTemplate, "no template is called %s", CleanText(name, 64)).Try("muster template list")
		}
		a.assigned = name
	}
	if k := h.Ticket; k != nil && k.Template != name {
		h.disarm(a.now)
	}
	if t, err := a.v.TemplateByName(name); err != nil {
		return err
	} else if t != nil {
		a.mismatch(h, t)
	}
	h.Template, h.Pin = name, 0
	return nil
}

// mismatch warns of a template whose [match] the host does not meet: named, it is used
// all the same.
func (a *applying) mismatch(h *Host, t *Template) {
	if f := h.Facts(); f.Complete {
		if why := t.Match.misses(f); why != "" {
			a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("template %s is for machines with %s: host %s boots it because it is named there", t.Name, why, h.Name))
		}
	}
}

// checkAddress refuses a reservation that no network could ever give.
func (a *applying) checkAddress(h *Host) error {
	for _, x := range h.Reserved() {
		found := false
		for n := range a.p.All() {
			if !n.Subnet.Contains(x) {
				continue
			}
			if why := n.Unusable(x); why != nil {
				return NewFault(Invalid, "address %s cannot be reserved on network %s: %s", x, n.Name, why.Text())
			}
			found = true
		}
		if !found {
			return NewFault(Invalid, "address %s is in no configured network", x)
		}
	}
	return nil
}

func (a *applying) setHost(o SetHost) error {
	return a.change(o.Name, func(h *Host) error {
		var what []string
		if o.NewName != nil && *o.NewName != h.Name {
			what = append(what, "name "+*o.NewName)
			h.Name = *o.NewName
		}
		for _, m := range o.AddMACs {
			if !h.HasMAC(m) {
				h.MACs = append(h.MACs, m)
				what = append(what, "MAC "+m.String())
			}
		}
		for _, m := range o.DropMACs {
			if !h.HasMAC(m) {
				return NewFault(Invalid, "host %s has no MAC %s", h.Name, m)
			}
			h.MACs = slices.DeleteFunc(h.MACs, func(x MAC) bool { return x == m })
			what = append(what, "not MAC "+m.String())
		}
		if o.UUID != nil {
			h.UUID = *o.UUID
			what = append(what, "UUID "+h.UUID.String())
		}
		if o.Serial != nil {
			h.Serial = *o.Serial
			what = append(what, "serial "+h.Serial)
		}
		for _, x := range []*netip.Addr{o.Address, o.Address6} {
			if x == nil {
				continue
			}
			h.reserve(*x)
			if err := a.checkAddress(h); err != nil {
				return err
			}
			what = append(what, "address "+orNone(strings.TrimPrefix(x.String(), "invalid IP")))
		}
		if o.Template != nil {
			if err := a.assign(h, *o.Template); err != nil {
				return err
			}
			what = append(what, "template "+orNone(*o.Template))
		}
		if o.Protected != nil {
			h.Protected = *o.Protected
			what = append(what, fmt.Sprintf("protected %t", h.Protected))
			if h.Protected && h.disarm(a.now) {
				what = append(what, "its ticket taken away")
			}
		}
		if o.Port != nil {
			h.BoundPort = *o.Port
			what = append(what, "switch port "+orNone(*o.Port))
		}
		options, said, err := changeOptions(h.Options, o.Options, o.NoOption, "host "+h.Name)
		if err != nil {
			return err
		}
		h.Options, what = options, append(what, said...)
		for _, t := range o.Tags {
			h.Tags = mergeTags(h.Tags, t)
			what = append(what, "tag "+t)
		}
		for _, t := range o.NoTags {
			var had bool
			if h.Tags, had = dropTag(h.Tags, t); !had {
				return NewFault(Invalid, "host %s has no tag %s", h.Name, CleanText(t, 128))
			}
			what = append(what, "no tag "+t)
		}
		for _, k := range slices.Sorted(maps.Keys(o.Params)) {
			if o.Params[k] == nil {
				what = append(what, "no "+k)
			} else {
				what = append(what, "parameter "+k) // its value may be a password
			}
		}
		mine, err := a.ofHost(h)
		if err != nil {
			return err
		}
		if err := a.set(mine, o.Params, o.Typed); err != nil {
			return err
		}
		if err := a.unlike(h); err != nil {
			return err
		}
		if len(what) == 0 {
			return NewFault(Invalid, "nothing to set on host %s: name a field", h.Name).Try("muster host set --help")
		}
		a.event(HostChanged, h, "%s set by %s: %s", o.Name, a.by, strings.Join(what, ", "))
		return nil
	})
}

// unlike warns of a host whose tags give its template different values: it would wait at
// its next boot.
func (a *applying) unlike(h *Host) error {
	x, err := a.willBoot(h)
	if x == nil || err != nil {
		return err
	}
	given, err := Inherited(a.v, h, h.On())
	if err != nil {
		return err
	}
	if ks, scopes := unlike(x, given); len(ks) > 0 {
		a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("%s give host %s different values for %s, which template %s takes: it waits at its next boot until one of the tags is gone, or the host has a value of its own", Scopes(scopes), h.Name, strings.Join(ks, ", "), x.Name))
	}
	return nil
}

func (a *applying) removeHost(o RemoveHost) error {
	h, err := find(a.v, a.p, a.now, o.Name)
	if err != nil {
		return err
	}
	a.c.Remove = h
	for _, k := range h.Secrets {
		a.seal(Place(HostScope, h.ID, k), nil)
	}
	a.event(HostRemoved, h, "%s removed by %s", h.Name, a.by)
	return nil
}

func (a *applying) release(o ReleaseLease) error {
	l, err := a.v.Lease(o.Network, o.Addr)
	if err != nil {
		return err
	}
	if !l.Active(a.now) {
		return NewFault(UnknownLease, "no lease of %s on network %s", o.Addr, o.Network)
	}
	l.Expires = a.now
	a.c.Leases = []Lease{*l}
	return nil
}
