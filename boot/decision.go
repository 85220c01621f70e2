// decision.go: what leaves, what is written, and why.

package boot

import (
	"net/netip"
	"time"
)

// Decision is the answer to one Sighting.
type Decision struct {
	Reply    Reply
	Class    Class
	Kind     string        // name of the client class
	Delay    time.Duration // before an OFFER leaves
	Network  string
	Host     *Host // as it is after the writes; nil for a stranger
	ID       Identity
	Proof    Proof  // of who asks
	Boot     uint32 // number of the boot this belongs to; 0 before its first script
	Writes   Changes
	Notices  []Event    // told after the reply, once in a while for each cause; a DISCOVER writes nothing else
	Holds    []Hold     // what is offered; DHCPv6 offers several things at once
	Drops    []Holder   // holders whose holds end
	Skip     []Spot     // candidates that turned out not to be free
	New      bool       // a new lease of a machine that is not admitted
	Enrolls  string     // link whose budget a new host is charged to
	Opening  *Opening   // what the exchange that begins must know to its end
	Heard    *Heard     // a machine whose address another server gave; nil is none
	Rival    *Rival     // another DHCP server that the request gave away
	Binds    *Binding   // a first use of a boot path
	Spends   string     // file of an installation that leaves with this reply
	Installs TemplateID // template of that installation
	Ticket   uint32     // number of the boot that installs
	Why      Reasons

	Bandwidth int64 // of its network, bytes a second for all its files together; 0 is no cap
}

// Reply is sealed: a front switches over exactly these.
type Reply interface{ reply() }

// Ignore sends nothing.
type Ignore struct{}

// Answer4 answers a DHCPv4 message. Grant and Boot may each be absent: an INFORM
// has no grant, a plain client no boot, a NAK neither.
type Answer4 struct {
	Type    MessageType
	Grant   *Grant
	Boot    *BootInfo
	Options Options // a NAK uses Server and Source only
	Rapid   bool    // an ACK that answers a DISCOVER (RFC 4039)
	Message string  // why a NAK refuses, for option 56
}

// MessageType is the type of a DHCPv4 answer.
type MessageType string

// What a server sends.
const (
	Offer MessageType = "offer"
	Ack   MessageType = "ack"
	Nak   MessageType = "nak"
)

// File is bytes by reference.
type File struct{ Ref Ref }

// Script is a file that was made for this machine.
type Script struct{ Ref Ref }

// Refuse says no to a file request.
type Refuse struct {
	NotFound bool // else not allowed (yet)
	Reason   string
	Retry    time.Duration
}

// Done acknowledges something that has no bytes of its own: a report.
type Done struct{ Text string }

func (Ignore) reply()  {}
func (Answer4) reply() {}
func (File) reply()    {}
func (Script) reply()  {}
func (Refuse) reply()  {}
func (Done) reply()    {}

// Heard is a machine that another server gave an address, or is about to.
type Heard struct {
	Addr netip.Addr
	MAC  MAC
}

// Rival is another DHCP server on a link.
type Rival struct {
	Network string     `json:"network"`
	Server  netip.Addr `json:"server"`
	Offered netip.Addr `json:"offered,omitzero"`  // an address it gave
	Options string     `json:"options,omitempty"` // what came with it, for people
}

// Verb is the reply in one word, for logs.
func Verb(r Reply) string {
	switch r := r.(type) {
	case Ignore:
		return "ignore"
	case Answer4:
		return string(r.Type)
	case Answer6:
		if r.Advertise {
			return "advertise"
		}
		return "reply"
	case File:
		return "file"
	case Script:
		return "script"
	case Refuse:
		if r.NotFound {
			return "not found"
		}
		return "refuse"
	case Done:
		return "done"
	}
	return "none"
}

// Grant is an address and how long it may be used.
type Grant struct {
	Addr  netip.Addr
	Lease time.Duration
}

// Options are what a network tells every client on it.
type Options struct {
	Server  netip.Addr // option 54: ours, or what the relay has in its place (RFC 5107)
	Source  netip.Addr // source address of the reply
	Subnet  netip.Prefix
	Routers []netip.Addr
	DNS     []netip.Addr
	Domain  string
	Name    string     // option 12
	Log     netip.Addr // option 7
	Extra   []Option   // what the operator wants sent, by code; it replaces the above
}

// BootInfo is the boot part of a DHCP reply.
type BootInfo struct {
	Class       Class      // how the client reads it
	VendorClass string     // what option 60 echoes
	File        string     // TFTP path for PXE, URL otherwise; never over 127 bytes
	Server      netip.Addr // siaddr and option 66
	BINL        bool       // the client is to ask again on port 4011
	Menu        *Menu      // shown first
	Item        uint16     // boot server type that this file is for, echoed in 43.71
}

// Hold promises an address to the holder of an OFFER, in memory only.
type Hold struct {
	Network  string
	Addr     netip.Addr
	Holder   Holder
	Admitted bool // the holder is an admitted machine
	Until    time.Time
}

// Spot is an address of a network.
type Spot struct {
	Network string
	Addr    netip.Addr
}

// Changes are the writes of one decision; all are committed or none.
type Changes struct {
	Host      *Host              // put
	Hosts     []*Host            // put, of one AddHosts
	Listed    []Listed           // what became of each of its machines
	Warnings  []string           // of an order that was carried out in spite of them
	Remove    *Host              // delete with its keys
	Same      *Host              // the host of an order that had nothing to change; nothing is written
	Leases    []Lease            // put
	Template  *Template          // put, as the newest of its name
	Drop      string             // template name to forget
	Pinned    string             // name of a template of which another version is in force now
	Image     *Image             // put
	NoImage   *Image             // to remove
	Values    *Values            // put; deleted where it has none left
	User      *User              // put
	NoUser    *User              // to remove
	Token     *APIToken          // put
	NoToken   *APIToken          // to remove
	Events    []Event            // appended with the rest
	Counters  map[Counter]uint64 // set
	Secrets   map[string][]byte  // set, sealed; nil removes
	Inventory *Inventory         // of Host, put
}

func (c *Changes) count(k Counter, n uint64) {
	if c.Counters == nil {
		c.Counters = map[Counter]uint64{}
	}
	c.Counters[k] = n
}

// Subject is the host that an order was about: as it is afterwards or, if it was
// removed, as it was last.
func (c *Changes) Subject() *Host {
	switch {
	case c.Host != nil:
		return c.Host
	case c.Same != nil:
		return c.Same
	}
	return c.Remove
}

// Empty reports a decision that writes nothing to disk.
func (c *Changes) Empty() bool {
	return c.Host == nil && len(c.Hosts) == 0 && c.Remove == nil && len(c.Leases) == 0 && len(c.Events) == 0 && c.Template == nil && c.Drop == "" && c.Image == nil && c.NoImage == nil
}
