// event.go: one durable thing that changed, and why.

package boot

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Event is appended in the same transaction as what it tells of.
type Event struct {
	Seq  uint64    `json:"seq"`
	At   time.Time `json:"at"`
	Kind EventKind `json:"kind"`
	Host HostID    `json:"host,omitempty"`
	Name string    `json:"name,omitempty"` // the host's name at that moment
	MAC  MAC       `json:"mac,omitzero"`   // the MAC that asked; else the host's first one
	By   Actor     `json:"by,omitzero"`

	// What the host is known by at that moment, so that a reader of the event need
	// not look it up.
	MACs     []MAC  `json:"macs,omitempty"`
	UUID     UUID   `json:"uuid,omitzero"`
	Serial   string `json:"serial,omitempty"`
	Template string `json:"template,omitempty"`

	Network string  `json:"network,omitempty"`
	Boot    uint32  `json:"boot,omitempty"`
	Text    string  `json:"text"`
	Reasons Reasons `json:"reasons,omitempty"` // of the decision: the rules that fired, in order
	Why     string  `json:"why,omitempty"`     // Reasons as text: made by Render, or stored by an older version
	Hook    string  `json:"hook,omitempty"`    // the webhook or hook that this is about
	End     string  `json:"end,omitempty"`     // of a ticket that was closed: one of InstallEnds
	Ref     uint64  `json:"ref,omitempty"`     // number of the event that this is about
	Audit   uint64  `json:"audit,omitempty"`   // number in the audit trail, where it is read from there
	Was     Fields  `json:"was,omitempty"`     // of what a person or a program changed: the fields as they were
	Is      Fields  `json:"is,omitempty"`      // and as they are

	// Once names the cause of a Notice. A notice that repeats (a full pool, a
	// clash that asks again every five seconds) is told only once in a while.
	Once string `json:"-"`
}

// Render fills in Why, the reasons as text, for a program that shows the event.
func (e *Event) Render() {
	if len(e.Reasons) > 0 {
		e.Why = e.Reasons.String()
	}
}

// Finding is the code of what stopped a boot, of an event that tells of one.
func (e *Event) Finding() string {
	if e.Kind != BootStopped || len(e.Reasons) == 0 {
		return ""
	}
	return string(e.Reasons[0].Code)
}

// Stage is what a machine said of its boot, of a report that names one.
func (e *Event) Stage() string {
	if e.Kind != BootReport {
		return ""
	}
	for _, r := range e.Reasons {
		if r.Code == "report.stage" && len(r.Args) > 0 {
			return r.Args[0]
		}
	}
	return ""
}

// Decides reports that an event is a decision of a person, or belongs to an
// installation. Those are kept in the audit trail too: a machine can push everything
// else out of the events within minutes.
func (e *Event) Decides() bool {
	switch e.Kind {
	case TicketArm, TicketUsed, TicketBack, TicketDone:
		return true
	}
	return e.By.Kind == Person || e.By.Kind == Program && e.By.From != ""
}

// About notes whom the event is about; h may be nil.
func (e *Event) About(h *Host) {
	if h == nil {
		return
	}
	e.Host, e.Name = h.ID, h.Name
	e.MACs, e.UUID, e.Serial, e.Template = slices.Clone(h.MACs), h.UUID, h.Serial, h.Template
	if e.MAC.IsZero() && len(h.MACs) > 0 {
		e.MAC = h.MACs[0]
	}
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
	LeaseConflict    EventKind = "lease.conflict" // a probe found a machine on a free address
	ReservationTaken EventKind = "reservation.taken"
	ReservationStale EventKind = "reservation.stale" // a reserved address is in no network any more
	UnknownLimit     EventKind = "unknown.limit"     // machines that are not admitted have used up their ration
	RivalServer      EventKind = "server.rival"      // another DHCP server on a link
	RivalRouter      EventKind = "router.rival"      // another router that advertises on a link
	RelayUnknown     EventKind = "relay.unknown"     // a relay agent asked for a network that nobody configured
	ModeChanged      EventKind = "network.mode"      // of mode auto
	PoolExhausted    EventKind = "pool.exhausted"
	BootScript       EventKind = "boot.script"
	BootReport       EventKind = "boot.report"
	BootStopped      EventKind = "boot.stopped" // a machine fell silent on its way
	BootTrouble      EventKind = "boot.trouble" // it logs an error
	HostParked       EventKind = "host.parked"  // it boots again and again and reports nothing
	TicketArm        EventKind = "ticket.armed"
	TicketUsed       EventKind = "ticket.spent"
	TicketBack       EventKind = "ticket.returned"
	TicketDone       EventKind = "ticket.closed"
	LoaderMissing    EventKind = "loader.missing"
	TemplatePush     EventKind = "template.pushed"
	TemplateGone     EventKind = "template.removed"
	TemplatePinned   EventKind = "template.pinned" // or not any more
	ImageImported    EventKind = "image.imported"
	ImageGone        EventKind = "image.removed"
	ParamChanged     EventKind = "param.changed" // the parameters of the site, a network or a tag
	EnrollLimit      EventKind = "enroll.limit"
	InstallLimit     EventKind = "install.limit" // of a network, in an hour
	HandshakeFailed  EventKind = "tls.failed"
	TokenRefused     EventKind = "token.refused"  // a boot path was used from an address that is not its machine's
	WebhookDead      EventKind = "webhook.dead"   // an event was not delivered and is not tried again
	WebhookResent    EventKind = "webhook.resent" // such an event was delivered after all
	WebhookLost      EventKind = "webhook.lost"   // events were removed before they could be delivered
	HookDead         EventKind = "hook.dead"      // WebhookDead, for a command
	HookResent       EventKind = "hook.resent"
	HookLost         EventKind = "hook.lost"
	SecretRefused    EventKind = "secret.refused" // a file with secret parameters was asked for in a way that its template does not allow
	ConfigReloaded   EventKind = "config.reloaded"
	ConfigRefused    EventKind = "config.refused" // and the old one stays
	FileMissing      EventKind = "file.missing"   // a template boots a file that is not there
	FileSpoilt       EventKind = "file.spoilt"    // a boot file is not as it was stored
	StoreDamaged     EventKind = "store.damaged"  // at each start, until somebody repairs it
	StoreRepaired    EventKind = "store.repaired" // what was damaged is forgotten
	BackupMade       EventKind = "backup.made"
	UserAdded        EventKind = "user.added"
	UserChanged      EventKind = "user.changed"
	UserRemoved      EventKind = "user.removed"
	TokenMade        EventKind = "token.created" // of the API
	TokenRevoked     EventKind = "token.revoked"
	LoginRefused     EventKind = "login.refused" // told once a while
)

// eventKinds are all kinds, to check a kind that a file or a command names.
var eventKinds = []EventKind{
	HostEnrolled, HostApproved, HostDenied, HostAdded, HostChanged, HostRemoved, HostLearned, HostClash, LeaseGranted, LeaseDeclined,
	LeaseConflict, ReservationTaken, ReservationStale, UnknownLimit, RivalServer, RivalRouter, RelayUnknown, ModeChanged, PoolExhausted, BootScript, BootReport, BootStopped, BootTrouble, HostParked,
	TicketArm, TicketUsed, TicketBack, TicketDone, LoaderMissing, TemplatePush, TemplateGone, TemplatePinned, ImageImported, ImageGone, ParamChanged, EnrollLimit, InstallLimit, HandshakeFailed, TokenRefused,
	WebhookDead, WebhookResent, WebhookLost, HookDead, HookResent, HookLost, SecretRefused, ConfigReloaded, ConfigRefused, FileMissing, FileSpoilt, StoreDamaged,
	StoreRepaired, BackupMade, UserAdded, UserChanged, UserRemoved, TokenMade, TokenRevoked, LoginRefused,
}

// Kinds are patterns of event kinds: a kind itself, all kinds with one beginning
// ("host.*"), or "*". An empty list matches every kind.
type Kinds []string

// Check refuses a pattern that matches no kind: it must be a spelling mistake.
func (ks Kinds) Check() error {
	for _, p := range ks {
		if !slices.ContainsFunc(eventKinds, Kinds{p}.Match) {
			var groups []string
			for _, k := range eventKinds {
				if g, _, _ := strings.Cut(string(k), "."); !slices.Contains(groups, g+".*") {
					groups = append(groups, g+".*")
				}
			}
			slices.Sort(groups)
			return fmt.Errorf("no event is of kind %q: want one like host.approved, or all that begin alike: %s", p, strings.Join(groups, ", "))
		}
	}
	return nil
}

// Match reports whether a kind is meant.
func (ks Kinds) Match(k EventKind) bool {
	for _, p := range ks {
		if prefix, all := strings.CutSuffix(p, "*"); all && strings.HasPrefix(string(k), prefix) || p == string(k) {
			return true
		}
	}
	return len(ks) == 0
}
