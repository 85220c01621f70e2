// six.go: what a DHCPv6 request asks for, and what answers it (RFC 8415). One
// machine asks for several things at once: edk2 runs two identity associations
// in one boot, and a router asks for a prefix beside its address.

package boot

import (
	"iter"
	"net/netip"
	"time"
)

// DHCP6 is DHCPv6. Its steps have the names of DHCPv4 where the RFCs use one word for
// both; the others are these.
const (
	DHCP6 Via = "dhcp6"

	Solicit  Step = "solicit"
	Request6 Step = Selecting // a Request, which names the chosen server
	Rebind   Step = "rebind"
	Confirm  Step = "confirm"
	// Information-request is Inform; Renew, Release and Decline are themselves.
)

// IA is an identity association: what a client wants to have leased.
type IA struct {
	ID     uint32 `json:"iaid"`
	Prefix bool   `json:"pd,omitempty"` // IA_PD; else IA_NA
	// Has is what the client has or asks for. An address is a /128. A prefix whose
	// address bits are zero is a hint at the length only.
	Has []netip.Prefix `json:"has,omitempty"`
}

// Answer6 answers a DHCPv6 message.
type Answer6 struct {
	Advertise  bool // else a Reply
	Rapid      bool // it answers a Solicit at once
	Preference byte // 255: the client need not wait for other servers
	IAs        []Bound
	Boot       *BootInfo // File is a URL
	Options    Options6
	Status     *Status6      // of the whole message
	Refresh    time.Duration // of an Information-request's answer (option 32)
}

func (Answer6) reply() {}

// Given are the addresses (each a /128) and prefixes that the answer gives; what it
// takes away is left out.
func (a Answer6) Given() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, b := range a.IAs {
			for _, l := range b.Leases {
				if l.Valid > 0 && !yield(l.Prefix) {
					return
				}
			}
		}
	}
}

// Bound is the answer to one IA.
type Bound struct {
	ID     uint32
	Prefix bool
	Leases []Grant6
	Status *Status6
}

// Grant6 is an address (a /128) or prefix and how long it may be used. If both times
// are zero, it must not be used any more.
type Grant6 struct {
	Prefix    netip.Prefix
	Preferred time.Duration
	Valid     time.Duration
}

// Status6 is a status code (RFC 8415 21.13) with words for a person.
type Status6 struct {
	Code uint16
	Text string
}

// Status codes.
const (
	StatusSuccess       = 0
	StatusUnspecFail    = 1
	StatusNoAddrs       = 2
	StatusNoBinding     = 3
	StatusNotOnLink     = 4
	StatusUseMulticast  = 5
	StatusNoPrefixAvail = 6
)

// Options6 is what a network tells every DHCPv6 client on it, if it asks.
type Options6 struct {
	DNS    []netip.Addr
	Search []string
	Extra  []Option // by code; they replace the above
}
