// ticket.go: leave to install, once. Without it, a machine that boots from the
// network first would wipe its disk after every power cut. A person arms a ticket;
// it is spent file by file. Only the machine's own report says that the installation
// succeeded.

package boot

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// TicketState is how far the one installation of a ticket is.
type TicketState string

// An armed ticket lets the next boot install. It is spent once every file of the
// installation has begun to leave: from then on the installer may have run, and no
// other boot may use the ticket. The machine's report closes it.
const (
	TicketArmed  TicketState = "armed"
	TicketSpent  TicketState = "spent"
	TicketClosed TicketState = "closed"
)

// Ticket is a host's latest one.
type Ticket struct {
	Template string      `json:"template"`
	State    TicketState `json:"state"`
	By       string      `json:"by"` // who armed it
	Armed    time.Time   `json:"armed"`
	Expires  time.Time   `json:"expires,omitzero"` // unused until then, it installs no more

	Boot    uint32          `json:"boot,omitempty"`    // number of the boot that uses it
	Version TemplateID      `json:"version,omitempty"` // that this boot was given
	Files   map[string]Read `json:"files,omitempty"`   // files that began to leave for this boot
	Told    int             `json:"told,omitempty"`    // how often its files changed the state: see tells
	Ran     bool            `json:"ran,omitempty"`     // the installer is known to have run, so the ticket cannot become armed again
	Spent   time.Time       `json:"spent,omitzero"`
	Closed  time.Time       `json:"closed,omitzero"`
	Stage   string          `json:"stage,omitempty"` // of the report that closed it
	Again   bool            `json:"again,omitempty"` // it installs what is there already, too
}

// Read counts how often a file of an installation was read. A reading whose end was
// not seen counts for ever: the file may have arrived and run.
type Read struct {
	Open  int  `json:"open"` // begun, and not seen to end short
	Whole bool `json:"whole,omitempty"`
}

func (k *Ticket) state() TicketState {
	if k == nil {
		return ""
	}
	return k.State
}

func (k *Ticket) clone() *Ticket {
	if k == nil {
		return nil
	}
	c := *k
	c.Files = maps.Clone(k.Files)
	return &c
}

// Installing reports a host whose installation has begun and has not ended.
func (h *Host) Installing() bool {
	k := h.Ticket
	return k != nil && k.State != TicketClosed && k.Boot != 0
}

// InstallDone reports a host whose last installation said that it succeeded.
func (h *Host) InstallDone() bool {
	k := h.Ticket
	return k != nil && k.State == TicketClosed && (k.Stage == "installed" || k.Stage == "done")
}

// Failed reports a host that said that it failed, in this boot or in its last installation.
func (h *Host) Failed() bool {
	k := h.Ticket
	return h.Stage == StageFailed || k != nil && k.State == TicketClosed && k.Stage == StageFailed
}

// Standing says where a host's installation is, for a person; "" without a
// ticket.
func (k *Ticket) Standing() string { return k.standing().Text() }

func (k *Ticket) standing() *Reason {
	switch {
	case k == nil:
		return nil
	case k.State == TicketArmed && k.Boot == 0 && !k.Expires.IsZero():
		return because("ticket.armed-until", k.Template, k.Expires.Format("2006-01-02 15:04 MST"))
	case k.State == TicketArmed && k.Boot == 0:
		return because("ticket.armed", k.Template)
	case k.State == TicketArmed:
		return because("ticket.under-way", k.Template, k.Boot)
	case k.State == TicketSpent:
		return because("ticket.unconfirmed", k.Boot, k.Template)
	case k.Stage == stageSame:
		return because("ticket.same", k.Template)
	case k.Stage == stageLocal:
		return because("ticket.taken-away", k.Template)
	case k.Stage == StageFailed:
		return because("ticket.failed", k.Template, k.Boot)
	}
	return because("ticket.installed", k.Template, k.Boot)
}

// Stages of a report that end an installation.
const (
	stageInstalled = "installed"
	stageDone      = "done"
	StageFailed    = "failed"

	StageInstalling = "installing" // it goes on

	stageLocal = "local" // not from a report: a person took the ticket away
	stageSame  = "same"  // nor this: the machine has what would be installed
)

func endsInstall(stage string) bool {
	return stage == stageInstalled || stage == stageDone || stage == StageFailed
}

// TicketLife is how long a ticket waits for its machine, unless a person says
// otherwise: a ticket that is forgotten would wipe a disk at the next power cut.
const TicketLife = 7 * 24 * time.Hour

// arm gives a host one ticket.
func (h *Host) arm(template, by string, now time.Time) { h.armFor(template, by, now, TicketLife) }

// armFor gives a host a ticket that waits for a time; 0 is for ever.
func (h *Host) armFor(template, by string, now time.Time, life time.Duration) {
	h.Ticket = &Ticket{Template: template, State: TicketArmed, By: by, Armed: now.UTC()}
	if life > 0 {
		h.Ticket.Expires = now.UTC().Add(life)
	}
}

// expired reports a ticket whose time is over, even if a boot began to use it and did
// not get all of its files. A boot that is under way is not cut off.
func (k *Ticket) expired(now time.Time) bool {
	return k != nil && k.State == TicketArmed && !k.Expires.IsZero() && !now.Before(k.Expires)
}

// Installs reports a host that its next boot would install.
func (h *Host) Installs(now time.Time) bool {
	return h.State == Approved && !h.Protected && h.Ticket.state() == TicketArmed && !h.Ticket.expired(now)
}

// close closes a ticket, at a stage.
func (k *Ticket) close(stage string, now time.Time) {
	k.State, k.Stage, k.Closed = TicketClosed, stage, now.UTC()
}

// open reports that a ticket was used and is not closed, by a boot.
func (k *Ticket) open(boot uint32) bool {
	return k != nil && k.State != TicketClosed && k.Boot != 0 && k.Boot == boot
}

// mayInstall says why a new boot does not get an installing template; nil if it
// does.
func (t *turn) mayInstall(x *Template) *Reason {
	k := t.host.Ticket
	switch {
	case t.host.Protected:
		return because(WhyProtected, t.host.Name, x.Name)
	case k == nil:
		return because(WhyNoTicket, x.Name, t.host.Name)
	case k.Template != x.Name:
		return because("install.other-ticket", x.Name, k.Template)
	case k.State != TicketArmed:
		return k.standing()
	case k.expired(t.in.At) && !(t.retries() && t.token.Boot == k.Boot):
		return because("ticket.expired", k.Template, k.Expires.Format("2006-01-02 15:04 MST"), t.host.Name)
	}
	return nil
}

// useTicket begins an installation with the boot that was just numbered. Files that
// an earlier boot read do not count: it did not get all of them, so nothing ran.
func (t *turn) useTicket(x *Template) {
	k := t.host.Ticket
	k.Boot, k.Version, k.Files, k.Ran = t.host.Boots, x.ID, nil, false
	t.host.Installed = "" // from here on its disk may be anything
	t.why("ticket.used", k.Armed.Format(time.DateTime), k.By)
}

// running says why a file of an installing template does not leave; nil if it
// does.
func (t *turn) running(x *Template) *Reason {
	k := t.host.Ticket
	switch {
	case t.host.Protected:
		return because(WhyProtected, t.host.Name, x.Name)
	case k == nil || k.Version != x.ID:
		return because("install.unarmed", x.Name)
	case k.Boot != t.token.Boot:
		return because("install.other-boot", t.token.Boot, x.Name)
	}
	return nil
}

// spend notes a file of the installation before its first byte leaves. A request for
// a size, or for a file that is not one of the installation's media, is not noted.
func (t *turn) spend(x *Template, file string) (bool, error) {
	k := t.host.Ticket
	file = x.medium(file)
	switch {
	case t.in.Want.Head || file == "":
		return true, nil
	case k.State == TicketClosed:
		return t.refuseFor(false, k.standing())
	}
	if k.Files == nil {
		k.Files = map[string]Read{}
	}
	r := k.Files[file]
	r.Open++
	k.Files[file], t.dirty = r, true
	t.d.Spends, t.d.Installs, t.d.Ticket = file, x.ID, k.Boot
	if k.count(x, t.in.At) {
		t.why("ticket.spent")
		if !k.tells() {
			return true, nil
		}
		t.record(TicketUsed, "%s has all of %s version %d on its way: no other boot gets it unless this is seen to end short", t.host.Name, x.Name, x.Version)
	}
	return true, nil
}

// lastByte is how long it may take until the end of a transfer is noticed. A machine
// that asks anew in that time is told to wait, so that it does not boot an empty
// disk.
const lastByte = 90 * time.Second

// arriving reports a spent ticket with a file that is still on its way.
func (k *Ticket) arriving(now time.Time) bool {
	if k == nil || k.State != TicketSpent || k.Ran || Age(now, k.Spent) > lastByte {
		return false
	}
	for _, r := range k.Files {
		if !r.Whole {
			return true
		}
	}
	return false
}

// count says whether all files of the installation have left, and reports a change.
// An installation that is known to have run had all of them, whatever its template.
func (k *Ticket) count(x *Template, now time.Time) bool {
	all := k.Ran || !slices.ContainsFunc(x.Media, func(f string) bool { _, has := k.Files[refPath(f)]; return !has })
	switch {
	case all && k.State == TicketArmed:
		k.State, k.Spent = TicketSpent, now.UTC()
	case !all && k.State == TicketSpent:
		k.State, k.Spent = TicketArmed, time.Time{}
	default:
		return false
	}
	return true
}

// maxTold is how many events the files of one ticket may cause.
const maxTold = 16

// tells notes that files changed the state, and says whether that is one more event. A
// machine can break its transfer off and ask again as often as it likes, and each event
// of a ticket is in the audit trail.
func (k *Ticket) tells() bool {
	k.Told++
	return k.Told <= maxTold
}

// medium returns the path of the installation's file that file names, as Ticket.Files
// has it; "" if there is none. Images and discs are served whatever the case of a name.
func (t *Template) medium(file string) string {
	for _, f := range t.Media {
		if f = refPath(f); strings.EqualFold(f, file) {
			return f
		}
	}
	return ""
}

// delivered notes how a file of an installation arrived. A file that came short was
// not run, so its boot may be tried again. A file that once arrived whole may have
// run, whatever became of a second reading.
func (k *Ticket) delivered(x *Template, boot uint32, file string, whole bool, now time.Time) (changed bool) {
	if !k.open(boot) || k.Version != x.ID {
		return false
	}
	r, has := k.Files[file]
	switch {
	case !has || r.Whole:
		return false
	case whole:
		r.Whole = true
		k.Files[file] = r
	case r.Open > 1:
		r.Open--
		k.Files[file] = r
	default:
		delete(k.Files, file)
	}
	k.count(x, now)
	return true
}

// Deliver says what follows from how a file of an installation arrived.
func Deliver(v Reader, d *Decision, whole bool, now time.Time) (c Changes, err error) {
	h, err := v.Host(d.Host.ID)
	if err != nil || h == nil {
		return c, err
	}
	x, err := v.Template(d.Installs)
	if err != nil || x == nil {
		return c, err
	}
	h = h.Clone()
	was := h.Ticket.state()
	if !h.Ticket.delivered(x, d.Ticket, d.Spends, whole, now) {
		return c, nil
	}
	c.Host = h
	if h.Ticket.State != was && h.Ticket.tells() {
		ev := Event{At: now.UTC(), Kind: TicketBack, Boot: d.Ticket, By: Actor{Kind: AMachine, Name: h.Name},
			Text: fmt.Sprintf("%s of %s was seen to end short: %s may try again", d.Spends, x.Name, h.Name)}
		ev.About(h)
		c.Events = []Event{ev}
	}
	return c, nil
}

// brokeOff takes the loader's word that a file of this boot did not load: none of those
// that were not seen to arrive did, and nothing ran. A server that was killed while it
// sent them cannot know otherwise.
func (t *turn) brokeOff(step string) {
	k := t.host.Ticket
	if !k.open(t.token.Boot) || k.Ran || k.Version != t.token.Version {
		return
	}
	x, err := t.findTemplate(k.Version)
	if err != nil || x == nil {
		return
	}
	for f, r := range k.Files {
		if !r.Whole {
			delete(k.Files, f)
			t.dirty = true
		}
	}
	if k.count(x, t.in.At) && k.tells() {
		t.record(TicketBack, "%s could not load the %s of %s: it may try again", t.host.Name, step, x.Name)
	}
}

// ran notes that the boot of a ticket runs. It may have begun to write to the disk,
// whatever its transfers looked like.
func (t *turn) ran(boot uint32, as string) {
	k := t.host.Ticket
	if !k.open(boot) || k.Ran {
		return
	}
	k.Ran, t.dirty = true, true
	if k.count(nil, t.in.At) {
		t.record(TicketUsed, "%s runs the installation of %s, as %s: no other boot gets it", t.host.Name, k.Template, as)
	}
}

// closeTicket takes a report that ends an installation.
func (t *turn) closeTicket(stage string) {
	k := t.host.Ticket
	if !k.open(t.token.Boot) || !endsInstall(stage) {
		return
	}
	if stage != StageFailed { // else it is what useTicket left: unknown
		if x, err := t.findTemplate(k.Version); err == nil && x != nil {
			t.host.Installed = x.Installs
		}
	}
	k.close(stage, t.in.At)
	t.dirty = true
	t.ended()
}

// ended tells of a ticket that was closed.
func (t *turn) ended() {
	k := t.host.Ticket
	t.record(TicketDone, "%s: %s", t.host.Name, k.Standing())
	t.d.Writes.Events[len(t.d.Writes.Events)-1].End = k.end()
}

// InstallEnds are how an installation ends: installed or failed, as reported; same, when
// what it would install is there already; local, when somebody took its ticket away.
func InstallEnds() []string { return []string{stageInstalled, StageFailed, stageSame, stageLocal} }

func (k *Ticket) end() string {
	if k.Stage == stageDone {
		return stageInstalled
	}
	return k.Stage
}

// firstInstall arms the ticket of a machine that a rule let in, if its template says
// first_install.
func (t *turn) firstInstall(x *Template) {
	h := t.host
	if x == nil || !x.Install || !x.FirstInstall || !h.Fresh || h.State != Approved || h.Ticket != nil || h.Protected || !t.writes() {
		return
	}
	h.arm(x.Name, "template "+x.Name+" (first_install)", t.in.At)
	t.dirty = true
	t.recordBy("template "+x.Name, TicketArm, "%s: %s, by its first_install", h.Name, h.Ticket.Standing())
}

// Install arms a ticket: the next boot of the host installs, once. Template,
// where not nil, becomes the host's.
// Again arms one even where the last installation may be running, or has ended.
type Install struct {
	Name     string
	Template *string
	Again    bool
	Expires  time.Duration // how long the ticket waits; 0 is TicketLife, below 0 for ever
}

// Local takes a host's ticket away: it boots its disk.
type Local struct{ Name string }

// Rescue gives a host another template for its next boot, and for no other.
type Rescue struct{ Name, Template string }

func (Rescue) order()  {}
func (Install) order() {}
func (Local) order()   {}

// willBoot is the template that a host would boot, by the facts known of it.
func (a *applying) willBoot(h *Host) (*Template, error) {
	if h.Template != "" {
		return a.v.TemplateByName(h.Template)
	}
	// A serial number that is still unknown will not come: the holding script would
	// have told it. Of a machine that was never seen it may still come.
	c := Choose(a.p.Templates, h.Facts())
	if len(c.Waiting) > 0 {
		return nil, nil
	}
	return c.Template, nil
}

func (a *applying) install(h *Host, o Install) error {
	if o.Template != nil {
		if err := a.assign(h, *o.Template); err != nil {
			return err
		}
	}
	x, err := a.willBoot(h)
	switch {
	case err != nil:
		return err
	case x == nil:
		return NewFault(Invalid, "host %s has no template yet: choose one with muster host install %s --template NAME", h.Name, h.Name)
	case !x.Install:
		return NewFault(Invalid, "template %s of host %s does not install (install = true in its template.toml): it boots every time without a ticket", x.Name, h.Name)
	case h.State != Approved:
		return NewFault(WrongState, "host %s is %s: approve it first (muster host approve %s arms one ticket)", h.Name, h.State, h.Name)
	case h.Protected:
		return NewFault(IsProtected, "host %s is protected from installation: muster host set %s --protected=false", h.Name, h.Name)
	}
	again := ""
	if k := h.Ticket; k != nil {
		switch {
		case k.State == TicketArmed && k.Boot == 0 && k.Template == x.Name && o.Expires == 0 && (k.Again || !o.Again) && (k.Expires.IsZero() || k.Expires.Sub(a.now) > TicketLife/2):
			return nil // the same order again
		case k.State == TicketArmed && k.Boot == 0: // it expired, or is to wait for another time
		case k.State != TicketClosed && !o.Again:
			return NewFault(TicketOpen, "host %s: %s; to install it once more all the same: muster host install %s --again", h.Name, k.Standing(), h.Name)
		}
		again = "; before: " + k.Standing()
	}
	h.Pin = 0 // a new installation takes the version in force
	if err := a.complete(h, x); err != nil {
		return err
	}
	if h.same(x) && !o.Again {
		return NewFault(WrongState, "host %s has %s already, which template %s installs", h.Name, h.Installed, x.Name).Try("muster host install %s --again", h.Name)
	}
	h.armFor(x.Name, a.by.String(), a.now, cmp.Or(o.Expires, TicketLife))
	h.Ticket.Again = o.Again
	a.event(TicketArm, h, "%s: %s%s", h.Name, h.Ticket.Standing(), again)
	return nil
}

// approved arms the first ticket of a machine that a person let in.
func (a *applying) approved(h *Host) error {
	x, err := a.willBoot(h)
	if err != nil || x == nil || !x.Install || h.Ticket != nil || h.Protected || h.same(x) {
		return err
	}
	h.arm(x.Name, "its approval", a.now)
	a.event(TicketArm, h, "%s: %s", h.Name, h.Ticket.Standing())
	return nil
}

// expected arms the ticket of a machine that was never seen, because the person who
// adds it asks for that.
func (a *applying) expected(h *Host) error {
	if h.State != Approved {
		return NewFault(WrongState, "host %s waits for approval and installs nothing before: add it approved", h.Name)
	}
	if h.Protected {
		return NewFault(IsProtected, "host %s is protected from installation", h.Name)
	}
	if h.Template == "" {
		return NewFault(Invalid, "host %s names no template that it could install", h.Name)
	}
	x, err := a.v.TemplateByName(h.Template)
	if err != nil {
		return err
	}
	if !x.Install {
		return NewFault(Invalid, "host %s: template %s does not install (install = true in its template.toml): it boots every time without a ticket", h.Name, x.Name)
	}
	if err := a.complete(h, x); err != nil {
		return err
	}
	h.arm(x.Name, a.by.String(), a.now)
	return nil
}

func (a *applying) rescue(h *Host, template string) error {
	x, err := a.v.TemplateByName(template)
	switch {
	case err != nil:
		return err
	case x == nil:
		return NewFault(UnknownTemplate, "no template is called %s", template).Try("muster template list")
	case x.Install:
		return NewFault(Invalid, "template %s installs: muster host install %s --template %s", x.Name, h.Name, x.Name)
	case h.State != Approved:
		return NewFault(WrongState, "host %s is %s: approve it first", h.Name, h.State)
	case h.Platform == PiPlatform:
		return NewFault(Invalid, "host %s is a Raspberry Pi, which reads no script that could count its boots: muster host set %s --template %s, and back", h.Name, h.Name, x.Name)
	}
	h.Once = x.Name
	a.event(HostChanged, h, "%s boots template %s next, once, as %s asked", h.Name, x.Name, a.by)
	return nil
}

// disarm closes a ticket whose cause is gone. A spent ticket stays, because the
// machine's report may still come.
func (h *Host) disarm(now time.Time) bool {
	k := h.Ticket
	switch {
	case k == nil || k.State == TicketClosed:
		return false
	case k.State == TicketSpent:
		k.Ran = true
		return false
	}
	k.close(stageLocal, now)
	return true
}

func (a *applying) local(h *Host) error {
	k := h.Ticket
	if k == nil || k.State == TicketClosed {
		return nil // it boots its disk, or what its template gives it every time
	}
	was := k.Standing()
	k.close(stageLocal, a.now)
	a.event(TicketDone, h, "%s: ticket taken away by %s; it was: %s", h.Name, a.by, was)
	a.c.Events[len(a.c.Events)-1].End = k.end()
	return nil
}

// Disarm takes the ticket away from a host of whose state nobody knows whether it is
// the newest: a ticket that was used since would install again. It reports whether
// there was one that was not used.
func (h *Host) Disarm(now time.Time) bool { return h.disarm(now) }
