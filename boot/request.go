// request.go: one entry of the request log: what a machine asked and what it got.

package boot

import (
	"net/netip"
	"strings"
	"time"
)

// Request is one entry of the log.
type Request struct {
	Seq      uint64        `json:"seq"`
	At       time.Time     `json:"at"`
	Host     HostID        `json:"host,omitempty"`
	Name     string        `json:"name,omitempty"`
	MAC      MAC           `json:"mac,omitzero"`
	Source   netip.Addr    `json:"source,omitzero"`
	Network  string        `json:"network,omitempty"`
	Via      Via           `json:"via"`
	Step     Step          `json:"step"`
	Class    Class         `json:"class,omitempty"`
	Path     string        `json:"path,omitempty"` // token shortened
	Reply    string        `json:"reply"`
	Got      string        `json:"got,omitempty"`     // address offered, file served
	Outcome  string        `json:"outcome,omitempty"` // of a transfer
	Bytes    int64         `json:"bytes,omitempty"`
	Took     time.Duration `json:"took,omitempty"` // nanoseconds
	Boot     uint32        `json:"boot,omitempty"`
	Reasons  Reasons       `json:"reasons,omitempty"`
	Why      string        `json:"why,omitempty"`      // Reasons as text: made by Render, or stored by an older version
	Line     *Line         `json:"line,omitempty"`     // of the machine's own log
	Repeated int           `json:"repeated,omitempty"` // the same again, this many times
	Last     time.Time     `json:"last,omitzero"`      // of the repetitions
}

// Render fills in Why, the reasons as text, for a program that shows the request.
func (r *Request) Render() {
	if len(r.Reasons) > 0 {
		r.Why = r.Reasons.String()
	}
}

// End is when the last of a repeated request came.
func (r *Request) End() time.Time {
	if r.Last.After(r.At) {
		return r.Last
	}
	return r.At
}

// Firmware reports a request of the firmware itself, before any loader of ours.
func (r *Request) Firmware() bool {
	return (r.Class == PXE || r.Class == HTTPClient) && (r.Via == DHCP4 || r.Via == Proxy4 || r.Via == DHCP6)
}

// Begins reports the question that opens a conversation, of either family.
func (r *Request) Begins() bool { return r.Step == Discover || r.Step == Solicit }

// Address is the first one that the answer gave or offered; an answer of DHCPv6
// may have none.
func (r *Request) Address() netip.Addr {
	first, _, _ := strings.Cut(r.Got, ",")
	first, _, _ = strings.Cut(first, " ")
	a, _ := netip.ParseAddr(first)
	return a
}

// Addressed reports an answer with an address in it.
func (r *Request) Addressed() bool { return r.Address().IsValid() }

// Offered reports an answer that promised an address.
func (r *Request) Offered() bool {
	return r.Reply == "offer" || r.Reply == "advertise" && r.Addressed()
}

// Acked reports an answer that gave one.
func (r *Request) Acked() bool { return r.Reply == "ack" || r.Reply == "reply" && r.Addressed() }

// Unserved reports a client that asked for an address and got none.
func (r *Request) Unserved() bool {
	switch r.Via {
	case DHCP4:
		return r.Reply == "ignore"
	case DHCP6:
		return (r.Step == Solicit || r.Step == Request6) && !r.Addressed()
	}
	return false
}

// Fetched reports a file that was served.
func (r *Request) Fetched() bool {
	return r.Reply == "file" && (r.Via == TFTP || r.Via == HTTP) && r.Step == Fetch
}

// Short reports a transfer that ended before the end of its file.
func (r *Request) Short() bool {
	return strings.HasPrefix(r.Outcome, string(CutShort)) || strings.HasPrefix(r.Outcome, string(TimedOut))
}

// Whole reports a transfer whose whole file arrived.
func (r *Request) Whole() bool { return strings.HasPrefix(r.Outcome, string(Complete)) }
