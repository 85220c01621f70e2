// api.go: the shapes of answers; field names are stable.

package client

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/diagnose"
)

// Problem is every error's body (RFC 9457). Codes are stable, texts are not.
type Problem struct {
	Type   string         `json:"type"`  // the code as a path of the API, which tells what it means
	Title  string         `json:"title"` // what the code means
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Code   boot.FaultCode `json:"code"`
	Hint   string         `json:"hint,omitempty"` // a command or a page that helps
	Host   *boot.Host     `json:"host,omitempty"` // the host as it is now, if it has changed since the caller read it
}

// ProblemKind is what all problems of a code have in common.
type ProblemKind struct {
	Code   boot.FaultCode `json:"code"`
	Status int            `json:"status"`
	Title  string         `json:"title"`
}

// List is one page of a list.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`  // the cursor of what follows; "" at the end
	Total *int   `json:"total,omitempty"` // of all pages, where it was asked for
}

// Status is the daemon at a glance.
type Status struct {
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	Config   string            `json:"config,omitempty"` // the file it runs by; "" for none
	DataDir  string            `json:"data_dir"`
	Networks []NetworkStatus   `json:"networks"`
	Loaders  []string          `json:"loaders"`
	Warnings []string          `json:"warnings,omitempty"`
	Damage   []string          `json:"damage,omitempty"` // of the store, until it is repaired
	Spoilt   []string          `json:"spoilt,omitempty"` // boot files that are not as they were stored
	Disk     string            `json:"disk,omitempty"`   // why writes fail, or soon will
	Pools    []boot.PoolStatus `json:"pools"`
	Missing  []MissingLoader   `json:"missing_loaders,omitempty"`
	Pending  uint64            `json:"pending"`
	Page     string            `json:"page,omitempty"` // where the page and the API are, for others; "" is nowhere
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
	// EffectiveOptions are the DHCP options that count for it: its own, inherited ones and its
	// template's. Those of the configuration are not among them.
	EffectiveOptions []boot.GivenOption `json:"effective_options,omitempty"`
	Found            []diagnose.Finding `json:"found,omitempty"` // what stopped it, or what it waits for
	Timeline         []Entry            `json:"timeline"`
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

// Webhook is a webhook or a hook.
type Webhook struct {
	Name   string        `json:"name"`
	Type   string        `json:"type"` // webhook or hook
	Where  string        `json:"where"`
	Kinds  []string      `json:"kinds,omitempty"`
	Upto   uint64        `json:"upto"`   // the last event that was delivered, skipped or given up
	Behind uint64        `json:"behind"` // events after it
	State  WebhookState  `json:"state"`
	Next   time.Time     `json:"next,omitzero"` // where it waits: when the next try is
	Error  string        `json:"error,omitempty"`
	Failed time.Time     `json:"failed,omitzero"` // when Error occurred
	Last   time.Time     `json:"last,omitzero"`   // when the latest message was delivered
	Dead   int           `json:"dead"`            // events that were given up and can be sent again
	Counts WebhookCounts `json:"counts"`
}

// WebhookState is what a webhook does.
type WebhookState string

// States of webhooks.
const (
	WebhookIdle    WebhookState = "idle"
	WebhookSending WebhookState = "sending"
	WebhookWaiting WebhookState = "waiting"
)

// WebhookCounts are since the start of the program.
type WebhookCounts struct {
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"` // attempts
	Dead      uint64 `json:"dead"`
	Lost      uint64 `json:"lost"`
}

// WebhookSent is the result of one message that a person ordered to be sent.
type WebhookSent struct {
	Seq   uint64 `json:"seq,omitempty"`
	OK    bool   `json:"ok"`
	Words string `json:"words"`
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

// Version is one version of a template.
type Version struct {
	boot.Template
	InForce bool `json:"in_force,omitempty"` // hosts that begin a boot without a version of their own get it
	Pinned  bool `json:"pinned,omitempty"`   // by a person: else the newest is in force
	Hosts   int  `json:"hosts"`              // that have it
}

// Difference is one file of two.
type Difference struct {
	File string `json:"file"`
	Text string `json:"text"` // unified; of bytes that are no text, their sizes
}

// Previewed is what a version would change of what machines read.
type Previewed struct {
	Name      string             `json:"name"`
	Version   int                `json:"version,omitempty"` // 0: it is not pushed
	Machines  int                `json:"machines"`          // that were looked at
	Unchanged int                `json:"unchanged"`
	Changed   int                `json:"changed"`
	Failed    []Failed           `json:"failed"` // machines that it cannot be rendered for; the first of them
	Failures  int                `json:"failures"`
	Listed    []PreviewedMachine `json:"listed"` // the first of those that change
}

// PreviewedMachine is one machine that would read something else.
type PreviewedMachine struct {
	Name  string       `json:"name"`
	Was   int          `json:"was,omitempty"` // the version that it has or would get now; 0: none of that name
	Files []Difference `json:"files"`
}

// Verified is one line of a verification: progress, then a verdict for each file
// that is wrong, then Done.
type Verified struct {
	Read  int64  `json:"read"`
	Total int64  `json:"total"`
	File  string `json:"file,omitempty"`
	Wrong string `json:"wrong,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Files int    `json:"files,omitempty"`
}

// Me is who asks, as the API knows them.
type Me struct {
	Name  string    `json:"name"` // of the user or the token
	Role  boot.Role `json:"role"`
	Scope string    `json:"scope,omitempty"`
	Token string    `json:"token,omitempty"` // that was shown
}

// UserView is a user as lists show it.
type UserView struct {
	Name    string    `json:"name"`
	Role    boot.Role `json:"role"`
	Scope   string    `json:"scope,omitempty"`
	Created time.Time `json:"created"`
	Since   time.Time `json:"password_set"`
	Invited time.Time `json:"invited_until,omitzero"` // a link to choose a password waits until then

	// Link is the path of the page where they choose it. It is said once, and works once.
	Link string `json:"link,omitempty"`
}

// TokenView is a token as lists show it: never what must be shown to come in.
type TokenView struct {
	Name    string    `json:"name"`
	User    string    `json:"user,omitempty"`
	Role    boot.Role `json:"role"`
	Scope   string    `json:"scope,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Used    time.Time `json:"used,omitzero"` // last, to the hour
	From    string    `json:"from,omitempty"`
	State   string    `json:"state"` // valid, expired, or void: its user has gone or has a new password
}

// TokenMade has what must be shown to come in. It is told once.
type TokenMade struct {
	TokenView
	Token string `json:"token"`
}

// Inboxed is the result for one of them.
type Inboxed struct {
	Host  boot.Host `json:"host"`
	Error string    `json:"error,omitempty"`
}

// Plan is what would be done.
type Plan struct {
	ID      string    `json:"id"`
	Action  string    `json:"action"`
	Query   string    `json:"query,omitempty"`
	Will    string    `json:"will"`     // do with each machine
	Count   int       `json:"count"`    // of machines
	Confirm bool      `json:"confirm"`  // running it wants Count said: many disks, or many taken off the roll
	Names   []string  `json:"names"`    // of the first of them
	LeftOut []LeftOut `json:"left_out"` // machines that were meant and are not in it
	Expires time.Time `json:"expires"`
}

// LeftOut are machines that an order would not change, for one reason.
type LeftOut struct {
	Why   string   `json:"why"`
	Count int      `json:"count"`
	Names []string `json:"names"` // of the first of them
}

// PlanResult is what a plan did.
type PlanResult struct {
	ID       string        `json:"id"`
	Done     int           `json:"done"`
	Failed   []Failed      `json:"failed"`
	Warnings []string      `json:"warnings,omitempty"`
	Hosts    []PlanOutcome `json:"hosts"` // the first of those that were done
}

// PlanOutcome is one machine as it is afterwards.
type PlanOutcome struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Then  string `json:"then,omitempty"` // where its installation is
}

// Failed is one that was not done.
type Failed struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Moving are the machines that asked for something in the last two minutes.
type Moving struct {
	Machines []MovingMachine `json:"machines"`
	More     int             `json:"more,omitempty"` // that are not listed
}

// MovingMachine is one of them. Without a name it is not on the roll.
type MovingMachine struct {
	Name       string     `json:"name,omitempty"`
	MAC        boot.MAC   `json:"mac"`
	State      boot.State `json:"state,omitempty"`
	Template   string     `json:"template,omitempty"`
	Stage      string     `json:"stage,omitempty"` // that it reported last
	Network    string     `json:"network,omitempty"`
	Boot       uint32     `json:"boot,omitempty"`
	Installing bool       `json:"installing,omitempty"`

	Via   boot.Via  `json:"via"` // of what it asked last
	Step  boot.Step `json:"step"`
	Reply string    `json:"reply,omitempty"`
	Got   string    `json:"got,omitempty"`  // file or address
	Sent  int64     `json:"sent,omitempty"` // bytes of a file that is on its way
	Size  int64     `json:"size,omitempty"` // of that file; 0: unknown
	At    time.Time `json:"at"`
	Since time.Time `json:"since"` // when it began to ask
}
