// add.go: machines that people put on the roll before they were seen: one, or a
// list of which all are added or none.

package boot

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// NewHost is what a person or a program may say of a machine. What the machine
// tells by itself and what the engine counts is not among it.
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
	Options   []Option
	Protected bool
	BoundPort string
}

// host is the record that they begin as.
func (n *NewHost) host() *Host {
	return (&Host{Name: n.Name, State: cmp.Or(n.State, Pending), MACs: n.MACs, UUID: n.UUID, Serial: n.Serial, DUID: n.DUID, Address: n.Address, Address6: n.Address6,
		Template: n.Template, Params: n.Params, Options: n.Options, Protected: n.Protected, BoundPort: n.BoundPort}).Clone()
}

// Validate reports the first thing wrong with it, in words for a person.
func (n *NewHost) Validate() error { return n.host().Validate() }

// AddHost puts a machine on the roll before it was ever seen.
type AddHost struct{ Host NewHost }

// AddHosts puts many machines on the roll, all of them or none. Install arms a
// ticket for each that is approved: they install when they first boot.
type AddHosts struct {
	Hosts   []NewHost
	Install bool
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

// newHost judges a host that somebody adds.
func (a *applying) newHost(given *NewHost, id HostID) (*Host, error) {
	h := given.host()
	h.ID, h.Created, h.Changed = id, a.now, a.now
	h.Options = mergeOptions(h.Options)
	if h.Name == "" {
		h.Name = defaultName(h.Identity(), h.ID)
	}
	if err := a.assign(h, h.Template); err != nil {
		return nil, err
	}
	reserved := h.Reserved()
	h.reserve(netip.Addr{})
	for _, x := range reserved {
		h.reserve(x) // each to its family
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
	var err error
	if h.DUID, err = cleanDUID(h.DUID); err != nil {
		return nil, NewFault(Invalid, "host %s: %v", h.Name, err)
	}
	for _, m := range h.MACs {
		if a.p.Enroll.shared(m) {
			return nil, NewFault(Invalid, "host %s: adapter %s goes from machine to machine ([enroll] shared, or a vendor's one address for all): give UUID or serial number instead", h.Name, m)
		}
	}
	if h.State == Pending {
		a.c.Pending++
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

// maxDUID is the longest there is (RFC 8415 11.1): a type and 128 bytes.
const maxDUID = 130

// MaxAddHosts bounds one AddHosts.
const MaxAddHosts = 100_000

// ownEvents is how many hosts of one order are told one by one: more would
// push out the events of others.
const ownEvents = 100

// RefusedHosts says which hosts of an AddHosts kept it from being carried out.
type RefusedHosts []RefusedHost

// RefusedHost is one of them.
type RefusedHost struct {
	Index int // in the order
	Name  string
	Why   string
}

// Unwrap makes it a fault of the one who asked.
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

// addHosts judges every host, so that whoever mends the list sees all that is
// wrong with it at once.
func (a *applying) addHosts(o AddHosts) error {
	if len(o.Hosts) > MaxAddHosts {
		return NewFault(TooLarge, "%d hosts at once: at most %d", len(o.Hosts), MaxAddHosts)
	}
	last, err := a.v.Counter(LastHost)
	if err != nil {
		return err
	}
	var refused RefusedHosts
	taken := map[string]*Host{}
	for i := range o.Hosts {
		h, err := a.newHost(&o.Hosts[i], HostID(last+1+uint64(i)))
		if err == nil {
			err = a.checkFree(h, taken)
		}
		if err == nil && o.Install {
			err = a.expected(h)
		}
		switch {
		case err == nil:
			a.c.Hosts = append(a.c.Hosts, h)
		case FaultOf(err) != nil:
			name := CleanText(o.Hosts[i].Name, 63)
			if name == "" {
				name = defaultName(o.Hosts[i].host().Identity(), HostID(i+1))
			}
			refused = append(refused, RefusedHost{i, name, strings.TrimPrefix(err.Error(), "host "+name+": ")})
		default:
			return err
		}
	}
	if len(refused) > 0 {
		return refused
	}
	if len(a.c.Hosts) <= ownEvents {
		for _, h := range a.c.Hosts {
			a.event(HostAdded, h, "%s added by %s: %s", h.Name, a.by, Describe(h, Firmware{}))
		}
		return nil
	}
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: HostAdded, By: a.by, Text: fmt.Sprintf("%d hosts added by %s at once, from %s to %s", len(a.c.Hosts), a.by, a.c.Hosts[0].Name, a.c.Hosts[len(a.c.Hosts)-1].Name)})
	return nil
}

// checkFree refuses a host of which something is another's already: on the
// roll, or in the same order, where taken gathers it.
func (a *applying) checkFree(h *Host, taken map[string]*Host) error {
	var mine []string
	check := func(what string, other *Host, err error) error {
		if err != nil {
			return err
		}
		if other != nil {
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

// KnownHost returns the host on the roll that has all the MACs of h or, where
// it has none, its UUID or serial number; nil if no single one does.
func KnownHost(v Reader, h *NewHost) (*Host, error) {
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
