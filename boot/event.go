// event.go: one durable thing that changed, and why.

package boot

import "time"

// Event is appended in the same transaction as what it tells of.
type Event struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Host    HostID    `json:"host,omitempty"`
	Name    string    `json:"name,omitempty"` // the host's name at that moment
	MAC     MAC       `json:"mac,omitzero"`
	Network string    `json:"network,omitempty"`
	Boot    uint32    `json:"boot,omitempty"`
	Text    string    `json:"text"`
	Why     string    `json:"why,omitempty"` // the rules that fired, in order

	// Once names the cause of a Notice, so that one that repeats (a full
	// pool, a clash that asks again every five seconds) is told once a while.
	Once string `json:"-"`
}

// EventKind names what changed; the words are stable.
type EventKind string

// Event kinds.
const (
	HostEnrolled     EventKind = "host.enrolled"
	HostApproved     EventKind = "host.approved"
	HostDenied       EventKind = "host.denied"
	HostAdded        EventKind = "host.added"
	HostChanged      EventKind = "host.changed"
	HostRemoved      EventKind = "host.removed"
	HostLearned      EventKind = "host.learned" // a fact or a MAC joined a known host
	HostClash        EventKind = "host.clash"   // one request names two hosts: a person decides
	LeaseGranted     EventKind = "lease.granted"
	LeaseDeclined    EventKind = "lease.declined"
	LeaseConflict    EventKind = "lease.conflict" // a probe found somebody on a free address
	ReservationTaken EventKind = "reservation.taken"
	ReservationStale EventKind = "reservation.stale" // it is in no network any more
	UnknownLimit     EventKind = "unknown.limit"     // machines nobody let in have their share
	RivalServer      EventKind = "server.rival"      // another DHCP server on a link
	ModeChanged      EventKind = "network.mode"      // of mode auto
	PoolExhausted    EventKind = "pool.exhausted"
	BootScript       EventKind = "boot.script"
	BootReport       EventKind = "boot.report"
	BootStopped      EventKind = "boot.stopped" // a machine fell silent on its way
	HostParked       EventKind = "host.parked"  // it boots and boots and reports nothing
	TicketArm        EventKind = "ticket.armed"
	TicketUsed       EventKind = "ticket.spent"
	TicketBack       EventKind = "ticket.returned"
	TicketDone       EventKind = "ticket.closed"
	LoaderMissing    EventKind = "loader.missing"
	TemplatePush     EventKind = "template.pushed"
	TemplateGone     EventKind = "template.removed"
	ImageImported    EventKind = "image.imported"
	ImageGone        EventKind = "image.removed"
	EnrollLimit      EventKind = "enroll.limit"
	InstallLimit     EventKind = "install.limit" // of a network, in an hour
	HandshakeFailed  EventKind = "tls.failed"
)
