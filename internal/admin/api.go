// api.go: the shapes of answers; field names are stable.

package admin

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
)

// SocketName is the socket's file in the data directory.
const SocketName = "muster.sock"

// Failure is every error's body. Codes are stable, texts are not.
type Failure struct {
	Error string         `json:"error"`
	Code  boot.FaultCode `json:"code"`
	Hint  string         `json:"hint,omitempty"` // a command or a page that helps
	Host  *boot.Host     `json:"host,omitempty"` // the host as it is now, if it has changed since the caller read it
}

// Status is the daemon at a glance.
type Status struct {
	Version  string              `json:"version"`
	Started  time.Time           `json:"started"`
	Config   string              `json:"config,omitempty"` // the file it runs by; "" for none
	DataDir  string              `json:"data_dir"`
	Networks []NetworkStatus     `json:"networks"`
	Loaders  []string            `json:"loaders"`
	Warnings []string            `json:"warnings,omitempty"`
	Damage   []string            `json:"damage,omitempty"` // of the store, until it is repaired
	Spoilt   []string            `json:"spoilt,omitempty"` // boot files that are not as they were stored
	Disk     string              `json:"disk,omitempty"`   // why writes fail, or soon will
	Pools    []engine.PoolStatus `json:"pools"`
	Missing  []MissingLoader     `json:"missing_loaders,omitempty"`
	Pending  uint64              `json:"pending"`
	// Dropped counts, for each bound, what it turned away since the start.
	Dropped map[string]uint64 `json:"dropped"`
}

// NetworkStatus is one network as it is served now.
type NetworkStatus struct {
	Name      string       `json:"name"`
	Interface string       `json:"interface"`
	Mode      boot.Mode    `json:"mode"`
	Server    netip.Addr   `json:"server,omitzero"`
	Subnet    netip.Prefix `json:"subnet,omitzero"`
	Ranges    []string     `json:"ranges,omitempty"`
	State     string       `json:"state"` // serving, or what it waits for
	// Rivals are other DHCP servers that answered there.
	Rivals []RivalStatus `json:"rivals,omitempty"`
	// Names are those that [http] and [https] host give the appliance.
	Names []NameStatus `json:"names,omitempty"`
	// Certificate is what firmware will refuse about that of https URLs there.
	Certificate string `json:"certificate,omitempty"`
	// RA is present for networks with an IPv6 subnet.
	RA *RAStatus `json:"ra,omitempty"`
}

// NameStatus is a name of the appliance on one network.
type NameStatus struct {
	Name   string `json:"name"`
	Scheme string `json:"scheme"`         // of the URLs that it is for: http or https
	OK     bool   `json:"ok"`             // URLs carry it
	Text   string `json:"text,omitempty"` // why they carry our address
}

// Said is the status for people.
func (s NameStatus) Said() string {
	if s.OK {
		return fmt.Sprintf("%s URLs carry %s", s.Scheme, s.Name)
	}
	return fmt.Sprintf("%s URLs carry our address and not %s: %s", s.Scheme, s.Name, s.Text)
}

// RAStatus is what a network's interface says in router advertisements.
type RAStatus struct {
	Says    string         `json:"says"`            // off, managed, assisted or slaac; with ", router"
	State   string         `json:"state,omitempty"` // why it does not advertise; "" if it does
	Routers []RouterStatus `json:"routers,omitempty"`
}

// RouterStatus is another router that advertises there, and when it was noticed.
type RouterStatus struct {
	Router netip.Addr `json:"router"`
	Text   string     `json:"text"`
	OK     bool       `json:"ok"` // it does not contradict what we advertise
	First  time.Time  `json:"first"`
	Last   time.Time  `json:"last"`
}

// RivalStatus is another DHCP server and when it was noticed.
type RivalStatus struct {
	boot.Rival
	Named bool      `json:"named,omitempty"` // by a client only: it has answered no question of ours
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Offered says, for people, what another server would have given.
func Offered(r boot.Rival) (s string) {
	if r.Offered.IsValid() {
		s = fmt.Sprintf("; it offered %s", r.Offered)
	}
	if r.Options != "" {
		s += " with " + r.Options
	}
	return s
}

// HostView is a host as lists show it.
type HostView struct {
	boot.Host
	LastSeen time.Time  `json:"last_seen,omitzero"`
	Lease    netip.Addr `json:"lease,omitzero"`
	Lease6   netip.Addr `json:"lease6,omitzero"`   // the latest IPv6 address that it was given
	Version  int        `json:"version,omitempty"` // of its pinned template
}

// HostDetail is everything known of one host.
type HostDetail struct {
	HostView
	Inventory *boot.Inventory `json:"inventory,omitempty"` // as it last reported
	// Effective are the parameters that count for it: its own, inherited ones and its
	// template's defaults.
	Effective map[string]boot.Given `json:"effective_params,omitempty"`
	Found     []diagnose.Finding    `json:"found,omitempty"` // what stopped it, or what it waits for
	Timeline  []Entry               `json:"timeline"`
}

// ParamsSet are the parameters of a scope as they are after an order, and what should be
// said about that.
type ParamsSet struct {
	boot.Values
	Warnings []string `json:"warnings,omitempty"`
}

// Entry is one line of a timeline: an event or a request.
type Entry struct {
	Event   *boot.Event   `json:"event,omitempty"`
	Request *boot.Request `json:"request,omitempty"`
	Size    int64         `json:"size,omitempty"` // of a file under way
}

// RequestEntry shows a request, with its reasons as text.
func RequestEntry(q boot.Request) Entry { q.Render(); return Entry{Request: &q} }

// EventEntry shows an event.
func EventEntry(e boot.Event) Entry { e.Render(); return Entry{Event: &e} }

// At is when it happened.
func (e Entry) At() time.Time {
	if e.Event != nil {
		return e.Event.At
	}
	return e.Request.At
}

// HostImported has a result for each host, in order.
type HostImported struct {
	Results  []ImportResult `json:"results"`
	Warnings []string       `json:"warnings,omitempty"`
}

// ImportResult is the result for one host. It was added, unless it was on the roll
// already or, in a dry run, would be refused. A pending host that the list approves is
// let in, with what the list says of it.
type ImportResult struct {
	Name    string     `json:"name"`
	Known   *boot.Host `json:"known,omitempty"`
	LetIn   bool       `json:"let_in,omitempty"`
	Refused string     `json:"refused,omitempty"`
}

// Pushed is the result of a push.
type Pushed struct {
	Template boot.Template `json:"template"`
	Affected int           `json:"affected,omitempty"` // machines without a version of their own: the next boot of each gets this one
	Warnings []string      `json:"warnings,omitempty"`
}

// Explanation is how the machine boots, step by step.
type Explanation struct {
	Network string        `json:"network"`
	RA      *RAStatus     `json:"ra,omitempty"` // what is advertised on its link
	Steps   []ExplainStep `json:"steps"`
}

// ExplainStep is one question and its answer.
type ExplainStep struct {
	Step   string        `json:"step"`
	Reply  string        `json:"reply"`
	Gets   string        `json:"gets,omitempty"`
	Why    []boot.Reason `json:"why"`
	Script string        `json:"script,omitempty"` // text of a script
	Size   int64         `json:"size,omitempty"`   // of a file
	Proof  boot.Proof    `json:"proof"`            // of who asks
	Class  string        `json:"class,omitempty"`  // client class, of DHCP
	Way    string        `json:"way,omitempty"`    // how the reply leaves, and where to
	Fields []string      `json:"fields,omitempty"` // of the DHCP reply, in the order they are sent
	Packet []byte        `json:"packet,omitempty"` // the DHCP reply itself
}

// StoreChecked says what was read of the store, and what of it is damaged.
type StoreChecked struct {
	Records int      `json:"records"`
	Damage  []string `json:"damage,omitempty"`
}

// StoreRepaired says what was found lost and given up.
type StoreRepaired struct {
	Damage    []string `json:"damage,omitempty"`
	Forgotten []string `json:"forgotten,omitempty"` // keys of hosts that are lost; their machines may enrol anew
}

// CA is the built-in certificate authority.
type CA struct {
	Name        string    `json:"name"`
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"sha256"`
	PEM         string    `json:"pem"`
	DER         []byte    `json:"der"`
	ESL         []byte    `json:"esl"` // EFI_SIGNATURE_LIST
}

// MissingLoader is a kind of machine that there is no loader for.
type MissingLoader struct {
	Platform boot.Platform `json:"platform"`
	Text     string        `json:"text"`
	Expected bool          `json:"expected"` // a template or a host is of that kind
}

// Ready says whether machines are served, and if not, why.
type Ready struct {
	Ready bool     `json:"ready"`
	Why   []string `json:"why"`
}

// HostAnswer is a host as it is after an order, and what should be said about that.
type HostAnswer struct {
	*boot.Host
	Warnings []string `json:"warnings,omitempty"`
}
