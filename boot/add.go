// add.go: machines that people put on the roll before the machines are seen: one
// machine, or a list. Of a list all are added or none.

package boot

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// NewHost is what a person or a program may set on a new host. It has no field for
// what the machine tells by itself or what the engine counts.
type NewHost struct {
	Name      string // "" for one made of its MAC
	State     State  // "" is Pending
	MACs      []MAC
	UUID      UUID
	Serial    string
	DUID      string     // hexadecimal
	Address   netip.Addr // reservations, one of each family in any order
	Address6  netip.Addr
	Template  string
	Params    map[string]string
	Typed     []string // of Params, as in SetHost
	Tags      []string
	Options   []Option
	Protected bool
	BoundPort string
}

// host makes the record that is stored first.
func (n *NewHost) host() *Host {
	return (&Host{Name: n.Name, State: cmp.Or(n.State, Pending), MACs: n.MACs, UUID: n.UUID, Serial: n.Serial, DUID: n.DUID, Address: n.Address, Address6: n.Address6,
		Template: n.Template, Params: n.Params, Tags: n.Tags, Options: n.Options, Protected: n.Protected, BoundPort: n.BoundPort}).Clone()
}

// Validate reports the first thing wrong with it, in words for a person.
func (n *NewHost) Validate() error { return n.host().Validate() }

// AddHost puts a machine on the roll before it was ever seen.
type AddHost struct{ Host NewHost }

// AddHosts is a list of machines that people expect. A machine that is not on the
// roll is added. One that is on the roll stays as it is, with one exception: a
// pending host that the list approves is let in, with what the list says of it. All
// of the list is carried out, or nothing. Install arms a ticket for each host that is
// added or let in: it installs when it next boots.
type AddHosts struct {
	Hosts   []NewHost
	Install bool
}

// Listed is the result for one machine of an AddHosts.
type Listed struct {
	Host  *Host // as it is afterwards
	Known *Host // as it was; nil where it was not on the roll
	LetIn bool  // it was pending and is approved now
}

func (AddHost) order()  {}
func (AddHosts) order() {}

func (a *applying) addHost(o AddHost) error {
	last, err := a.v.Counter(LastHost)
	if err != nil {
		return err
	}
	h, err := a.newHost(&o.Host, HostID(last+1))
	if err != nil {
		return err
	}
	a.c.Host = h
	a.event(HostAdded, h, "%s added by %s: %s", h.Name, a.by, Describe(h, Firmware{}))
	return nil
}

// newHost checks a host that is to be added.
func (a *applying) newHost(given *NewHost, id HostID) (*Host, error) {
	h := given.host()
	h.ID, h.Created, h.Changed = id, a.now, a.now
	h.Options, h.Tags = mergeOptions(h.Options), mergeTags(nil, h.Tags...)
	if h.Name == "" {
		h.Name = defaultName(h.Identity(), h.ID)
	}
	if err := a.assign(h, h.Template); err != nil {
		return nil, err
	}
	reserved := h.Reserved()
	h.reserve(netip.Addr{})
	for _, x := range reserved {
		h.reserve(x) // each in the field of its family
	}
	if len(h.Reserved()) < len(reserved) {
		return nil, NewFault(Invalid, "host %s: %s and %s are of one family; a host has one reserved address in each", h.Name, reserved[0], reserved[1])
	}
	if err := a.checkAddress(h); err != nil {
		return nil, err
	}
	if err := h.Validate(); err != nil {
		return nil, NewFault(Invalid, "%v", err)
	}
	if err := a.give(h, given); err != nil {
		return nil, err
	}
	if h.State == Approved && h.Template != "" {
		x, err := a.v.TemplateByName(h.Template)
		if err == nil {
			err = a.complete(h, x)
		}
		if err != nil {
			return nil, err
		}
	}
	var err error
	if h.DUID, err = cleanDUID(h.DUID); err != nil {
		return nil, NewFault(Invalid, "host %s: %v", h.Name, err)
	}
	for _, m := range h.MACs {
		if a.p.Enroll.roams(m) {
			return nil, NewFault(Invalid, "host %s: adapter %s goes from machine to machine ([enroll] shared, or a vendor's one address for all): give UUID or serial number instead", h.Name, m)
		}
	}
	return h, nil
}

// cleanDUID reads a DUID as people write it: hexadecimal, with colons or without.
func cleanDUID(s string) (string, error) {
	b, err := hex.DecodeString(separators.Replace(s))
	if err != nil || len(b) > maxDUID || s != "" && len(b) < 3 {
		return "", fmt.Errorf("DUID %q: want 3 to %d bytes in hexadecimal", CleanText(s, 40), maxDUID)
	}
	return hex.EncodeToString(b), nil
}

// maxDUID is the length of the longest DUID (RFC 8415 11.1): a type and 128 bytes.
const maxDUID = 130

// MaxAddHosts bounds one AddHosts.
const MaxAddHosts = 100_000

// ownEvents is how many hosts of one order get an event each. More events would
// push out those of others.
const ownEvents = 100

// RefusedHosts says which hosts of an AddHosts kept it from being carried out.
type RefusedHosts []RefusedHost

// RefusedHost is one of them.
type RefusedHost struct {
	Index int // in the order
	Name  string
	Why   string
}

// Unwrap makes it a Fault, which the caller can mend.
func (r RefusedHosts) Unwrap() error { return &Fault{Code: HostsRefused, Text: r.text()} }

func (r RefusedHosts) Error() string { return r.text() }

func (r RefusedHosts) text() string {
	const most = 20
	var b strings.Builder
	fmt.Fprintf(&b, "none was added: %d cannot be", len(r))
	for i, h := range r {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(r)-most)
			break
		}
		fmt.Fprintf(&b, "; %s: %s", h.Name, h.Why)
	}
	return b.String()
}

// addHosts judges every host, so that a person who mends the list sees all of its
// mistakes at once.
func (a *applying) addHosts(o AddHosts) error {
	if len(o.Hosts) > MaxAddHosts {
		return NewFault(TooLarge, "%d hosts at once: at most %d", len(o.Hosts), MaxAddHosts)
	}
	last, err := a.v.Counter(LastHost)
	if err != nil {
		return err
	}
	var refused RefusedHosts
	var added []*Host
	taken := map[string]*Host{}
	letIn := map[HostID]bool{}
	a.c.Listed = make([]Listed, len(o.Hosts))
	for i := range o.Hosts {
		given, x := &o.Hosts[i], &a.c.Listed[i]
		known, err := knownHost(a.v, given)
		switch {
		case err != nil:
			return err
		case known == nil:
			x.Host, err = a.newHost(given, HostID(last+1+uint64(len(added))))
			if err == nil {
				err = a.checkFree(x.Host, taken)
			}
			if err == nil && o.Install {
				err = a.expected(x.Host)
			}
			if err == nil {
				added = append(added, x.Host)
			}
		case known.State != Pending || given.State != Approved:
			x.Host, x.Known = known, known
			continue
		case letIn[known.ID]:
			err = NewFault(Taken, "this is %s, which an earlier line lets in", known.Name)
		default:
			letIn[known.ID], x.Known, x.LetIn = true, known, true
			x.Host, err = a.letIn(known, given, o.Install, taken)
		}
		switch {
		case err == nil:
			a.c.Hosts = append(a.c.Hosts, x.Host)
		case FaultOf(err) != nil:
			name := CleanText(given.Name, 63)
			switch {
			case name != "":
			case known != nil:
				name = known.Name
			default:
				name = defaultName(given.host().Identity(), HostID(i+1))
			}
			refused = append(refused, RefusedHost{i, name, CleanText(strings.TrimPrefix(err.Error(), "host "+name+": "), 300)})
			*x = Listed{}
		default:
			return err
		}
	}
	if len(refused) > 0 {
		return refused
	}
	if len(added) <= ownEvents {
		for _, h := range added {
			a.event(HostAdded, h, "%s added by %s: %s", h.Name, a.by, Describe(h, Firmware{}))
		}
		return nil
	}
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: HostAdded, By: a.by, Text: fmt.Sprintf("%d hosts added by %s at once, from %s to %s", len(added), a.by, added[0].Name, added[len(added)-1].Name)})
	return nil
}

// give sets the parameters that a person gave with a host.
func (a *applying) give(h *Host, n *NewHost) error {
	mine, err := a.ofHost(h)
	if err != nil {
		return err
	}
	return a.set(mine, pointers(n.Params), n.Typed)
}

func pointers(m map[string]string) map[string]*string {
	out := map[string]*string{}
	for k, v := range m {
		out[k] = &v
	}
	return out
}

// letIn approves a pending host by a list of expected machines. Name, template,
// parameters and address come from the list, where the list has them.
func (a *applying) letIn(known *Host, as *NewHost, install bool, taken map[string]*Host) (*Host, error) {
	h := known.Clone()
	h.State, h.Changed = Approved, a.now
	h.unpark()
	if as.Name != "" {
		h.Name = as.Name
	}
	if as.Template != "" {
		if err := a.assign(h, as.Template); err != nil {
			return nil, err
		}
	}
	for _, x := range as.host().Reserved() {
		h.reserve(x)
	}
	if err := a.checkAddress(h); err != nil {
		return nil, err
	}
	h.Tags = mergeTags(h.Tags, as.Tags...)
	if err := a.give(h, as); err != nil {
		return nil, err
	}
	if err := h.Validate(); err != nil {
		return nil, NewFault(Invalid, "%v", err)
	}
	if err := a.checkFree(h, taken); err != nil {
		return nil, err
	}
	was := ""
	if h.Name != known.Name {
		was = ", which was " + known.Name + ","
	}
	if install {
		if err := a.expected(h); err != nil {
			return nil, err
		}
	}
	a.event(HostApproved, h, "%s%s approved: it was expected", h.Name, was)
	if install {
		a.event(TicketArm, h, "%s: %s", h.Name, h.Ticket.Standing())
	}
	return h, nil
}

// checkFree refuses a host whose name, MAC or other key another host has: one on the
// roll, or one in the same order. taken gathers the keys of the order.
func (a *applying) checkFree(h *Host, taken map[string]*Host) error {
	var mine []string
	check := func(what string, other *Host, err error) error {
		if err != nil {
			return err
		}
		if other != nil && other.ID != h.ID {
			return NewFault(Taken, "%s belongs to host %s already (muster host show %s)", what, other.Name, other.Name)
		}
		if other := taken[what]; other != nil {
			return NewFault(Taken, "%s is given to host %s too", what, other.Name)
		}
		mine = append(mine, what)
		return nil
	}
	for _, m := range h.MACs {
		o, err := a.v.HostByMAC(m)
		if err := check("MAC "+m.String(), o, err); err != nil {
			return err
		}
	}
	o, err := a.v.HostByName(h.Name)
	if err := check("name "+h.Name, o, err); err != nil {
		return err
	}
	for _, x := range h.Reserved() {
		o, err := a.v.HostByAddress(x)
		if err := check("address "+x.String(), o, err); err != nil {
			return err
		}
	}
	if !h.UUID.IsZero() {
		o, err := a.v.HostByUUID(h.UUID)
		if err := check("UUID "+h.UUID.String(), o, err); err != nil {
			return err
		}
	}
	if h.Serial != "" {
		o, err := a.v.HostBySerial(h.Serial)
		if err := check("serial "+h.Serial, o, err); err != nil {
			return err
		}
	}
	if h.DUID != "" {
		o, err := a.v.HostByDUID(h.DUID)
		if err := check("DUID "+h.DUID, o, err); err != nil {
			return err
		}
	}
	for _, what := range mine {
		taken[what] = h
	}
	return nil
}

// knownHost returns the host on the roll that has all the MACs of h or, where
// it has none, its UUID or serial number; nil if no single one does.
func knownHost(v Reader, h *NewHost) (*Host, error) {
	var known *Host
	for _, m := range h.MACs {
		o, err := v.HostByMAC(m)
		if o == nil || err != nil || known != nil && o.ID != known.ID {
			return nil, err
		}
		known = o
	}
	if known != nil || len(h.MACs) > 0 {
		return known, nil
	}
	if !h.UUID.IsZero() {
		if o, err := v.HostByUUID(h.UUID); o != nil || err != nil {
			return o, err
		}
	}
	if h.Serial != "" {
		return v.HostBySerial(h.Serial)
	}
	return nil, nil
}
