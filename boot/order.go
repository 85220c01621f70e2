// order.go: what people and programs can order. Orders are handled as requests of
// machines are: a pure function turns one into changes, and the engine commits them.

package boot

import (
	"net/netip"
)

// Order is sealed: everything a person or a program may ask of the appliance.
type Order interface{ order() }

// SetHost changes fields of a host; nil fields stay.
type SetHost struct {
	Name      string
	NewName   *string
	AddMACs   []MAC
	DropMACs  []MAC
	UUID      *UUID
	Serial    *string
	Address   *netip.Addr // of either family; the zero address removes both
	Address6  *netip.Addr // a second one
	Template  *string
	Protected *bool
	Port      *string            // switch port to bind to; "" unbinds
	Params    map[string]*string // nil removes
	Typed     []string           // of Params, those whose values were typed on a command line: no secret comes that way
	Tags      []string           // set; in place of one with the same key
	NoTags    []string           // tags, or keys of them, to remove
	Options   []Option           // set
	NoOption  []string           // names or numbers of options to remove
}

// Approve lets a host boot; Deny gives it nothing to boot. Update moves its
// pinned template to the newest version.
type Approve struct {
	Name     string
	Template *string
}

// Deny refuses a host.
type Deny struct{ Name string }

// Update moves the pin.
type Update struct{ Name string }

// RemoveHost takes a host off the roll; the machine is unknown afterwards.
type RemoveHost struct{ Name string }

// PushTemplate stores a new version. Files are stored already. Images are the image
// files that it needs, as NAME/FILE; a NAME alone is a whole image.
type PushTemplate struct {
	Template Template
	Images   []string
}

// DropTemplate forgets a name that no host uses.
type DropTemplate struct{ Name string }

// AsSeen carries out an order on a host only if the host has not changed since the
// caller read it.
type AsSeen struct {
	Name     string
	ID       HostID // 0: whoever has the name
	Revision uint64
	Order    Order
}

// ChangedHost says that a host has changed since the caller read it, and carries the
// host as it is now.
type ChangedHost struct{ Host *Host }

func (c *ChangedHost) Error() string { return c.Unwrap().Error() }

// Unwrap makes it a Fault, which the caller can mend.
func (c *ChangedHost) Unwrap() error {
	return NewFault(Changed, "host %s was changed since, and is at revision %d", c.Host.Name, c.Host.Revision).Try("muster host show %s", c.Host.Name)
}

// ReleaseLease frees an address.
type ReleaseLease struct {
	Network string
	Addr    netip.Addr
}

func (SetHost) order()      {}
func (AsSeen) order()       {}
func (Approve) order()      {}
func (Deny) order()         {}
func (Update) order()       {}
func (RemoveHost) order()   {}
func (PushTemplate) order() {}
func (DropTemplate) order() {}
func (ReleaseLease) order() {}
