// decide.go: the one question, and the ordered list of rules that answers it.

package boot

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Decide says what a machine gets next. It is pure: the same View, Policy and
// Sighting give the same Decision. The error means that the store failed;
// an unknown machine, a bad token or an empty pool are decisions.
func Decide(v View, p *Policy, in Sighting) (Decision, error) {
	in.ID = in.ID.Clean()
	t := turns.Get().(*turn)
	defer turns.Put(t)
	*t = turn{v: v, p: p, in: in}
	t.d.Proof = ProofNone
	t.proven(in.Proof)
	for _, r := range rules {
		t.rule = r.name
		done, err := r.fn(t)
		if err == nil {
			err = t.broken
		}
		if err != nil {
			return Decision{}, fmt.Errorf("rule %s: %w", r.name, err)
		}
		if done {
			break
		}
	}
	if t.d.Reply == nil {
		t.rule = "end"
		t.ignore("end.unanswered", in.Via, in.Step)
	}
	t.finish()
	return t.d, nil
}

// turns is a pool. A turn is large and short-lived, and collecting garbage limits how
// many machines are answered. Whatever leaves a turn is a copy.
var turns = sync.Pool{New: func() any { return new(turn) }}

// rules, in order. Each is in a file of its own, and each either ends the turn
// or adds to it.
var rules = []struct {
	name string
	fn   func(*turn) (done bool, err error)
}{
	{"network", ruleNetwork},     // which VLAN, and is it ours to serve
	{"token", ruleToken},         // a signed path names machine, boot and version
	{"source", ruleSource},       // without a token, the source address names the machine
	{"class", ruleClass},         // what kind of client
	{"identify", ruleIdentify},   // which host
	{"bound", ruleBound},         // a signed path, from where its machine is
	{"handshake", ruleHandshake}, // a TLS handshake that failed before any request
	{"log", ruleLog},             // a line of a machine's log
	{"enroll", ruleEnroll},       // put an unknown boot client on the roll
	{"template", ruleTemplate},   // what it would boot
	{"approve", ruleApprove},     // may it
	{"learn", ruleLearn},         // facts that a known host did not have
	{"address", ruleAddress},     // DHCP: the address
	{"loader", ruleLoader},       // DHCP: the first file
	{"report", ruleReport},       // the machine tells us
	{"script", ruleScript},       // the boot script
	{"pi", rulePi},               // the files of a Raspberry Pi
	{"file", ruleFile},           // everything else by name
}

// turn is one run through the rules.
type turn struct {
	v    View
	p    *Policy
	in   Sighting
	rule string
	d    Decision

	net  *Network
	link []*Network // the networks of its link that give addresses; net comes first

	asker          // who asks
	holding        // which lease
	ask      asked // what is asked for, of a file request
	standing       // what it would boot, and why it may not

	dirty bool // the host has changed

	given  map[string]Given // values that count for the host; nil until somebody asks
	lent   *lentOptions     // options of site, network and tags, and of which network; nil until somebody asks
	lentOn string
	broken error // of the store, where there was nobody to tell
}

// asker is who asks, as far as the rules have found out so far.
type asker struct {
	token    Token
	hasToken bool   // a valid one
	text     string // its text

	id       Identity // token or link first, then what it says of itself
	plat     Platform
	class    Class
	kind     *ClientClass
	host     *Host   // a copy; changes to it are written by finish
	before   *Host   // as the store has it; nil for a new host
	maybe    *Host   // a known host whose UUID an unknown MAC claims, not yet confirmed
	unsure   bool    // the token says that maybe is not confirmed
	joins    bool    // the unknown MAC was confirmed as host's
	lessee   HostID  // whose lease the source address is
	roaming  bool    // the adapter goes from machine to machine: its MAC names none
	believed bool    // its MAC is its own word
	doubt    bool    // it may be another machine than its MAC says
	changed  bool    // what the host says of itself replaces what is known of it
	stub     *Host   // an entry made by DHCP that turned out to be a host that a person wrote down by its serial
	clash    *Reason // why it is not clear who this is
}

// holding is the lease that a DHCP client has or may have.
type holding struct {
	who      Holder     // once asked for: see holder
	reserved netip.Addr // kept for this machine here
}

// standing is what the machine would boot, and what is in the way.
type standing struct {
	later    *Reason // why it is not on the roll yet
	barred   *Reason // why there is nothing to boot at all
	limited  bool    // it is held for a limited time
	choice   Choice
	template *Template
}

// pi reports the path of a Raspberry Pi.
func (t *turn) pi() bool { return t.ask.dialect == PiFiles }

// why notes a reason.
func (t *turn) why(code Code, args ...any) { t.add(reasonOf(code, args)) }

func (t *turn) note(r *Reason) { t.add(*r) }

func (t *turn) add(r Reason) {
	if t.d.Why == nil {
		t.d.Why = make(Reasons, 0, 8)
	}
	r.Rule = t.rule
	t.d.Why = append(t.d.Why, r)
}

// ignore ends the turn without a reply, refuse with a refusal.
func (t *turn) ignore(code Code, args ...any) (bool, error) {
	return t.ignoreFor(because(code, args...))
}

func (t *turn) ignoreFor(r *Reason) (bool, error) {
	t.note(r)
	t.d.Reply = Ignore{}
	return true, nil
}

func (t *turn) refuse(notFound bool, code Code, args ...any) (bool, error) {
	return t.refuseFor(notFound, because(code, args...))
}

func (t *turn) refuseFor(notFound bool, r *Reason) (bool, error) {
	t.note(r)
	t.d.Reply = Refuse{NotFound: notFound, Reason: r.Text()}
	return true, nil
}

// dhcp reports whether the turn is for a DHCP packet rather than a file.
func (t *turn) dhcp() bool { return t.in.Via == DHCP4 || t.in.Via == Proxy4 || t.in.Via == DHCP6 }

// writes reports whether this step may touch the disk: a DISCOVER never does,
// so that a flood of them costs nothing that lasts.
func (t *turn) writes() bool { return t.in.Step != Discover && t.in.Step != Solicit || t.rapid() }

func (t *turn) event(kind EventKind, format string, args ...any) Event {
	e := Event{At: t.in.At.UTC(), Kind: kind, MAC: t.id.MAC, By: Actor{Kind: AMachine, Via: string(t.in.Via)}, Text: fmt.Sprintf(format, args...)}
	if !t.id.MAC.IsZero() {
		e.By.Name = t.id.MAC.String()
	}
	if t.net != nil {
		e.Network = t.net.Name
	}
	if t.host != nil {
		e.Boot = t.d.Boot
		e.About(t.host)
	}
	return e
}

func (t *turn) record(kind EventKind, format string, args ...any) {
	t.d.Writes.Events = append(t.d.Writes.Events, t.event(kind, format, args...))
}

// recordBy is record for an event that an enrolment rule or a template caused.
func (t *turn) recordBy(rule string, kind EventKind, format string, args ...any) {
	t.record(kind, format, args...)
	t.d.Writes.Events[len(t.d.Writes.Events)-1].By = Actor{Kind: ByRule, Name: rule}
}

func (t *turn) notice(once string, kind EventKind, format string, args ...any) {
	e := t.event(kind, format, args...)
	e.Once = string(kind) + " " + once
	t.d.Notices = append(t.d.Notices, e)
}

// finish turns what the rules noted into writes, and stamps every event with
// the reasons of the whole decision.
func (t *turn) finish() {
	t.d.Class = t.class
	t.d.ID = t.id
	if t.before == nil && t.host != nil && t.dhcp() {
		switch r := t.d.Reply.(type) {
		case Answer6:
			if !slices.ContainsFunc(r.IAs, func(b Bound) bool { return len(b.Leases) > 0 }) {
				t.forgetHost()
			}
		case Answer4:
			if r.Type == Nak {
				t.forgetHost() // a refused request does not prove that the machine exists
			}
		case Ignore:
			t.forgetHost()
		}
	}
	if t.net != nil {
		t.d.Network = t.net.Name
	}
	if t.host != nil {
		if t.dirty && t.writes() {
			t.host.Changed = t.in.At.UTC()
			t.d.Writes.Host = t.host
		}
		t.d.Host = t.host
		if t.before == nil && !t.writes() {
			t.d.Host = nil
		}
	}
	if len(t.d.Writes.Events)+len(t.d.Notices) == 0 {
		return
	}
	for i := range t.d.Writes.Events {
		t.d.Writes.Events[i].Reasons = t.d.Why
	}
	for i := range t.d.Notices {
		t.d.Notices[i].Reasons = t.d.Why
	}
}

func (t *turn) forgetHost() {
	t.host, t.d.Enrolls = nil, ""
	t.d.Writes.Events, t.d.Writes.Counters = nil, nil
}

// bootToken is the token that the next reply carries: for the host where there
// is one, else for the MAC that asks.
func (t *turn) bootToken(kind TokenKind, boot uint32, version TemplateID) string {
	if kind == BootToken && t.host == nil && (t.maybe != nil || t.unsure) {
		kind = MaybeToken
	}
	tok := Token{Kind: kind, MAC: t.id.MAC, Boot: boot, Version: version, Issued: t.in.At.UTC().Truncate(time.Minute)}
	if t.host != nil && (t.before != nil || t.writes()) {
		tok.Host = t.host.ID
	}
	return t.p.Key.Sign(tok)
}

// findTemplate looks in the policy first: a template of this run is not in the
// store.
func (t *turn) findTemplate(id TemplateID) (*Template, error) {
	for _, x := range t.p.Templates {
		if x.ID == id {
			return x, nil
		}
	}
	return t.v.Template(id)
}

// cleanText keeps what came over the wire to something that can stand in a
// log line and on a terminal: no control characters of either set, nothing
// that reorders or hides text.
func CleanText(s string, max int) string {
	if len(s) <= max && plainText(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "")
	}
	return s
}

// plainText reports printable ASCII, which nearly all text is.
func plainText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func base(p string) string { return path.Base("/" + p) }
