// Package diagnose says, from what a machine asked and got, what stopped it, why
// that is likely, and what to do. Firmware that gave up says so only on its own
// screen, which nobody watches. The package is pure and judges one machine's latest
// attempt.
//
// It must not look anything up: the engine gathers the Case.
package diagnose

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

// Finding is what stopped a machine, or what it waits for.
type Finding struct {
	Code   string    `json:"code"` // stable; docs/diagnose.md has a section for each
	At     time.Time `json:"at"`   // when the machine stopped
	Text   string    `json:"text"` // what was seen
	Remedy Remedy    `json:"remedy"`
}

// Stopped is a machine with what was found.
type Stopped struct {
	Name     string    `json:"name,omitempty"` // of its host; "" where it is not on the roll
	Who      string    `json:"who"`            // host, MAC or address; Diagnose takes it
	Found    []Finding `json:"found"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// Codes of findings.
const (
	Denied       = "denied"
	Ignored      = "ignored"
	Pending      = "pending"
	Clash        = "clash"
	Parked       = "parked"
	Queued       = "install-queued"
	NoTicket     = "no-ticket"
	Protected    = "protected"
	Unconfirmed  = "install-unconfirmed"
	Failed       = "failed"
	NoTemplate   = "no-template"
	NeverSeen    = "never-seen"
	NoAddress    = "no-address"
	OtherServer  = "other-server"
	NoRequest    = "no-request"
	NoProxy      = "no-4011"
	Nak          = "nak"
	Declined     = "declined"
	NoLoader     = "no-loader"
	LoaderUnread = "loader-unread"
	NoTLS        = "https-unread"
	TLS          = "tls"
	Transfer     = "transfer"
	ProbeOnly    = "size-only"
	LoaderDead   = "loader-dead"
	ShimLost     = "shim-lost"
	ScriptUnread = "script-unread"
	Stranger     = "stranger"
	AskUnheard   = "identity-unread"
	FileMissing  = "file-missing"
	NotStarted   = "not-started"
	Mismatch     = "template-mismatch"
	NoParams     = "parameters-missing"
	TagsDiffer   = "tags-differ"
	Unfit        = "does-not-fit"
	NotRendered  = "not-rendered"
	KernelUnread = "kernel-unread"
	Silent       = "silent"
	DiskDead     = "disk-dead"
)

// Case is what is known of one machine. Requests and Events are those of this machine
// only, oldest first. Rival is another DHCP server that answered on its network,
// Rival6 another DHCPv6 server.
type Case struct {
	Now      time.Time
	MAC      boot.MAC
	Host     *boot.Host // nil for one that is not on the roll
	Network  *boot.Network
	Requests []boot.Request
	Events   []boot.Event
	Running  int       // files on their way to it
	Logged   time.Time // when its own log last said anything
	Rival    string
	Rival6   string
}

// How long the next step may take before its absence means something. Firmware
// collects offers for seconds, edk2 prints its error after ten, and an iPXE
// waits for an IPv6 router for sixteen.
const (
	answerTime = 8 * time.Second
	nextTime   = 30 * time.Second
	reportTime = 2 * time.Hour    // for the end of an installation
	again      = 5 * time.Minute  // a machine that was sent to its disk and asks again within this time is back too soon
	attemptGap = 10 * time.Minute // between two attempts of firmware that asks seldom
)

// QuietTime is how long a system that boots may take until it is first heard of.
const QuietTime = 10 * time.Minute

// Diagnose says what stopped a machine or what it waits for; nothing where it is
// on its way or has arrived.
func Find(c Case) []Finding {
	d := &diagnosis{Case: c}
	d.latest()
	d.standing()
	if hold, _ := d.held(); c.Running == 0 && (len(d.found) == 0 || d.found[0].Code == Pending && hold == nil) {
		d.stopped() // a machine that waits for approval may have stopped before the screen that says so
	}
	return d.found
}

type diagnosis struct {
	Case
	reqs  []boot.Request // of the latest attempt
	found []Finding
}

// latest keeps only the requests of the latest attempt. Firmware begins an attempt
// with a DISCOVER, after another kind of request or after a pause.
func (d *diagnosis) latest() {
	start := 0
	for i := range d.Requests {
		r := &d.Requests[i]
		if i > 0 && r.Firmware() && r.Begins() {
			p := &d.Requests[i-1]
			if !p.Begins() && !(r.Via == boot.DHCP6 && p.Via == boot.DHCP6 && p.Class == boot.Plain) || r.At.Sub(p.End()) > attemptGap {
				start = i
			}
		}
	}
	d.reqs = d.Requests[start:]
}

func (d *diagnosis) say(code string, at time.Time, text, remedy string) {
	d.found = append(d.found, Finding{code, at.UTC(), text, Remedy{Text: remedy}})
}

// order adds, to the finding made last, the order that is its remedy.
func (d *diagnosis) order(o boot.Order) { d.found[len(d.found)-1].Remedy.Order = o }

// quiet is how long nothing was heard of the machine.
func (d *diagnosis) quiet() time.Duration {
	if len(d.reqs) == 0 {
		return 1 << 62
	}
	return d.Now.Sub(d.reqs[len(d.reqs)-1].End())
}

// last finds the latest request of the attempt for which is holds.
func (d *diagnosis) last(is func(*boot.Request) bool) *boot.Request {
	for i := len(d.reqs) - 1; i >= 0; i-- {
		if is(&d.reqs[i]) {
			return &d.reqs[i]
		}
	}
	return nil
}

// times counts requests of a kind, repeated ones too.
func (d *diagnosis) times(is func(*boot.Request) bool) (n int) {
	for i := range d.reqs {
		if is(&d.reqs[i]) {
			n += 1 + d.reqs[i].Repeated
		}
	}
	return n
}

func (d *diagnosis) name() string {
	if d.Host != nil {
		return d.Host.Name
	}
	if d.MAC.IsZero() && len(d.reqs) > 0 {
		return d.reqs[0].Source.String()
	}
	return d.MAC.String()
}

func isScript(r *boot.Request) bool { return r.Reply == "script" }

// held says whether the machine was last given the holding script, and why.
func (d *diagnosis) held() (*boot.Request, *boot.Reason) {
	r := d.last(isScript)
	if r == nil {
		return nil, nil
	}
	if why := r.Reasons.Find(boot.WhyHeld); why != nil {
		return r, why.Cause
	}
	return nil, nil
}

// standing adds findings that no packet shows: what people and rules decided.
func (d *diagnosis) standing() {
	h := d.Host
	seen := len(d.Requests) > 0
	hold, why := d.held()
	if hold != nil && (why.Is(boot.WhyUnclear) || why.Is(boot.WhyNameless) || why.Is(boot.WhyMaybe)) && (h == nil || h.State != boot.Denied) {
		text := d.name() + " is held: " + why.Text()
		for _, e := range slices.Backward(d.Events) {
			if e.Kind == boot.HostClash {
				text = d.name() + " is held: " + e.Text
				break
			}
		}
		d.say(Clash, hold.At, text, "say who it is: muster host merge, muster host split, muster host set, or [enroll] shared")
		return
	}
	if h == nil {
		if r := d.last(func(r *boot.Request) bool { return r.Reasons.Find(boot.WhyIgnored) != nil }); r != nil {
			d.say(Ignored, r.At, d.MAC.String()+" is not on the roll, and [enroll] policy is ignore: it gets nothing to boot",
				"muster host add NAME --mac "+d.MAC.String()+" --approved, or policy = \"approve\"")
		}
		return
	}
	k := h.Ticket
	if k == nil {
		k = new(boot.Ticket)
	}
	switch {
	case h.State == boot.Denied:
		d.say(Denied, h.Changed, h.Name+" is denied: it gets an address and nothing to boot", "muster host approve "+h.Name)
		d.order(boot.Approve{Name: h.Name})
	case h.State == boot.Pending && seen:
		d.say(Pending, h.Created, h.Name+" waits for approval", "muster host approve "+h.Name)
		d.order(boot.Approve{Name: h.Name})
	case hold != nil && why.Is(boot.WhyParams):
		d.say(NoParams, hold.At, h.Name+" waits: "+why.Text(), "set them; the machine goes on by itself")
	case hold != nil && why.Is(boot.WhyUnfit):
		d.say(Unfit, hold.At, h.Name+" waits, and no ticket was used: "+why.Text(), "muster host set "+h.Name+" --template NAME, of one for such machines")
	case hold != nil && why.Is(boot.WhyUnlike):
		d.say(TagsDiffer, hold.At, h.Name+" waits: "+why.Text(), "muster param show "+h.Name+" says what comes from where; the machine goes on by itself")
	case hold != nil && why.Is(boot.WhyUnmade):
		d.say(NotRendered, hold.At, h.Name+" waits, and no ticket was used: "+why.Text(), "set the parameter that it names, or mend the template, push it, and muster host update "+h.Name+"; the machine goes on by itself")
	case hold != nil && why.Is(boot.WhyMissing):
		d.say(FileMissing, hold.At, h.Name+" waits: "+why.Text(), "muster image import brings it (muster image list shows what is there); every machine that waits for it goes on by itself")
	case h.Stuck != nil && h.Stuck.Boot == h.Boots && h.Stage == "" && (k.State != boot.TicketSpent || !k.Ran):
		s := h.Stuck
		if k.State == boot.TicketSpent {
			d.say(NotStarted, s.At, fmt.Sprintf("%s could not start boot %d (tried %s): %s; all files of its installation had arrived, and the ticket is spent", h.Name, s.Boot, often(s.Times), s.What()),
				"mend what it names, push the template again, then muster host install "+h.Name+" --again")
			d.order(boot.Install{Name: h.Name, Again: true})
			break
		}
		d.say(NotStarted, s.At, fmt.Sprintf("%s could not start boot %d (tried %s): %s", h.Name, s.Boot, often(s.Times), s.What()),
			"mend what it names and push the template again, then muster host update "+h.Name+"; it tries again by itself, ever more seldom")
		d.order(boot.Update{Name: h.Name})
	case h.Stage == "" && d.mismatch() != nil:
		r := d.mismatch()
		d.say(Mismatch, r.At, h.Name+": "+r.Reasons.Find(boot.WhyMismatch).Text(), "muster host set "+h.Name+" --template NAME, of one for such machines, or widen its [match]")
	case hold != nil && why.Is(boot.WhyParked):
		d.say(Parked, hold.At, h.Name+" is "+why.Text()+d.lastRead(), "look at its console for what fails; muster host update "+h.Name+" lets it try again")
		d.order(boot.Update{Name: h.Name})
	case hold != nil && why.Is(boot.WhyQueued):
		d.say(Queued, hold.At, h.Name+" waits: "+why.Text(), "nothing to do; installs_per_hour of the network is the limit")
	case k.State == boot.TicketClosed && k.Stage == boot.StageFailed:
		d.say(Failed, k.Closed, k.Standing()+d.lastReport(), "mend what it names, then muster host install "+h.Name)
		d.order(boot.Install{Name: h.Name})
	case h.Stage == boot.StageFailed:
		d.say(Failed, h.Changed, h.Name+" reports that boot "+fmt.Sprint(h.Boots)+" failed"+d.lastReport(), "mend what it names; the machine tries again at its next boot")
	case k.State == boot.TicketSpent && d.Now.Sub(k.Spent) > reportTime:
		d.say(Unconfirmed, k.Spent, fmt.Sprintf("%s for %s", k.Standing(), d.Now.Sub(k.Spent).Round(time.Hour)),
			"look at the machine: if it runs, its installer sent no report (docs/templates.md); if not, muster host install "+h.Name+" --again")
		d.order(boot.Install{Name: h.Name, Again: true})
	case !seen && h.State == boot.Approved && h.Boots == 0:
		d.say(NeverSeen, h.Created, "nothing was ever heard of "+h.Name,
			"is it on, is the network first in its boot order, is its port in this VLAN, and are these its addresses: "+boot.Describe(h, boot.Firmware{}))
	}
}

// mismatch is the last request that was answered by a template for other machines.
func (d *diagnosis) mismatch() *boot.Request {
	return d.last(func(r *boot.Request) bool { return r.Reasons.Find(boot.WhyMismatch) != nil })
}

// lastRead is how far the last boot came, for the end of a sentence.
func (d *diagnosis) lastRead() string {
	var files []string
	for i := range d.Requests {
		if r := &d.Requests[i]; r.Fetched() && r.Boot == d.Host.Boots && r.Boot != 0 {
			if f := path.Base(r.Path); !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	switch len(files) {
	case 0:
		return "; it read no file of the last one"
	case 1:
		return "; of the last one it read " + files[0] + " and asked for nothing more"
	}
	return "; of the last one it read " + strings.Join(files, ", ")
}

// lastReport is what the machine said last, for the end of a sentence.
func (d *diagnosis) lastReport() string {
	for _, e := range slices.Backward(d.Events) {
		if e.Kind == boot.BootReport {
			return ": " + e.Text
		}
	}
	return ""
}

// stopped looks at how far the attempt came, beginning with the last step.
func (d *diagnosis) stopped() {
	if len(d.reqs) == 0 || d.arrived() {
		return
	}
	for _, step := range []func() bool{d.afterDecline, d.afterBoot, d.afterScript, d.afterIPXE, d.afterLoader, d.afterAck, d.afterOffer, d.afterDiscover} {
		if step() {
			return
		}
	}
}

// arrived reports a machine that was heard of from a running system: a report,
// or an ordinary DHCP client after the last boot file. The IPv6 stack of edk2 is
// such a client too, before it boots.
func (d *diagnosis) arrived() bool {
	for i := len(d.reqs) - 1; i >= 0; i-- {
		r := &d.reqs[i]
		if r.Reply == "done" && path.Base(r.Path) == boot.ReportFile || r.Class == boot.Plain && (r.Via == boot.DHCP4 || r.Via == boot.DHCP6 && slices.ContainsFunc(d.reqs[:i], func(q boot.Request) bool { return isScript(&q) })) {
			return true
		}
		if r.Firmware() || r.Class == boot.IPXE {
			return false
		}
	}
	return false
}

// afterBoot judges what was read after the script of a boot.
func (d *diagnosis) afterBoot() bool {
	var number uint32
	for i := range d.reqs {
		number = max(number, d.reqs[i].Boot)
	}
	script := d.last(func(r *boot.Request) bool { return isScript(r) && r.Boot == number })
	if number == 0 || script == nil || script != d.last(isScript) || strings.HasSuffix(script.Got, " script") {
		return false
	}
	file := d.last(func(r *boot.Request) bool { return r.Fetched() && r.Boot == number })
	missing := d.last(func(r *boot.Request) bool { return r.Reply == "not found" && r.Boot == number })
	switch {
	case missing != nil && (file == nil || missing.At.After(file.At)) && d.quiet() > nextTime:
		d.say(FileMissing, missing.At, fmt.Sprintf("%s asked for %s, which is not there, and then nothing more", d.name(), path.Base(missing.Path)),
			"muster template show names its files; muster template lint says what is missing; an image must be imported")
	case file == nil && d.quiet() > nextTime:
		d.say(KernelUnread, script.At, fmt.Sprintf("%s got the script of boot %d and asked for no file of it", d.name(), number),
			"its screen says why: mostly a script of your own that stops, or a loader without HTTP; muster explain "+d.name()+" prints the script")
	case file != nil && file.Short() && d.quiet() > nextTime:
		d.transfer(file)
	case file != nil && file.Whole() && d.quiet() > QuietTime && !d.Logged.After(file.At): // if it logs, it runs, and the log says what went wrong
		d.say(Silent, file.At, fmt.Sprintf("%s read %s of boot %d whole, and was not heard of since", d.name(), path.Base(file.Path), number),
			"the kernel has it from here: look at its console (console=ttyS0, and memory for a large initrd); a system that runs well and sends no report is silent too: give its template one (docs/templates.md)")
	}
	return true
}

// transfer is a file that stopped on its way.
func (d *diagnosis) transfer(r *boot.Request) {
	how, remedy := "after", "its screen says why it gave up; a bad cable or a switch port with errors looks like this too"
	if strings.HasPrefix(r.Outcome, string(boot.TimedOut)) {
		how, remedy = "in time-out after", "something on the way drops packets: the MTU, a firewall between (the ports of a TFTP transfer are not port 69: [tftp] ports or single_port), or the machine hangs"
	}
	d.say(Transfer, r.At, fmt.Sprintf("%s stopped reading %s %s %d bytes%s", d.name(), path.Base(r.Path), how, r.Bytes, because(r.Outcome)), remedy)
}

func because(outcome string) string {
	if _, why, ok := strings.Cut(outcome, ": "); ok {
		return " (" + why + ")"
	}
	return ""
}

// afterScript judges a machine whose last script was one of Muster's own.
func (d *diagnosis) afterScript() bool {
	r := d.last(isScript)
	if r == nil {
		return false
	}
	why := r.Reasons.Of("script")
	h := d.Host
	switch r.Got {
	case "local script":
		switch {
		case why.Is(boot.WhyProtected):
			d.say(Protected, r.At, d.name()+" boots its disk: "+why.Cause.Text(), "muster host set "+d.name()+" --protected=false, if it is to be installed")
			d.order(boot.SetHost{Name: d.name(), Protected: new(bool)})
		case why.Is(boot.WhyNoTemplate):
			d.say(NoTemplate, r.At, d.name()+" is approved, but no template matches it: it boots its disk", "muster host set "+d.name()+" --template NAME, or a template whose [match] it meets (muster template list)")
		case h != nil && h.Ticket == nil && why.Is(boot.WhyNoTicket):
			d.say(NoTicket, r.At, d.name()+" boots its disk: "+why.Cause.Text(), "muster host install "+d.name())
			d.order(boot.Install{Name: d.name()})
		default:
			d.back(r)
		}
	case "ask script":
		if d.quiet() > nextTime {
			d.say(AskUnheard, r.At, d.name()+" was asked who it is and did not answer",
				"its iPXE could not read the next script: a proxy between, or a build that lacks \"param\"; muster host capture shows what it sent last")
		}
	case "stranger script":
		d.say(Stranger, r.At, fmt.Sprintf("%s asked for a script from %s, an address that nobody knows", d.name(), r.Source),
			"it got its address elsewhere: serve DHCP here, or mode = \"proxy\" so that Muster hears who has which address")
	case "hold script":
	default:
		return false
	}
	return true
}

// back looks for a machine that was sent to its disk and is here again.
func (d *diagnosis) back(r *boot.Request) {
	n := 0
	for i := range d.Requests {
		q := &d.Requests[i]
		if isScript(q) && q.Got == "local script" && r.At.Sub(q.At) < again*time.Duration(3) {
			n += 1 + q.Repeated
		}
	}
	if n >= 3 {
		d.say(DiskDead, r.At, fmt.Sprintf("%s was sent to its own disk %d times in a quarter of an hour and is back each time", d.name(), n),
			"nothing on that disk boots in the way its firmware starts (BIOS or UEFI): install it (muster host install "+d.name()+"), or look at its boot entries")
	}
}

// afterIPXE judges an iPXE that got the URL of its script.
func (d *diagnosis) afterIPXE() bool {
	r := d.last(func(r *boot.Request) bool { return r.Class == boot.IPXE && (r.Acked() || r.Offered()) })
	if r == nil {
		return false
	}
	if other := d.last(func(q *boot.Request) bool { return q.Class == boot.IPXE && q.Acked() && q.Via != r.Via }); other != nil && r.Offered() {
		r = other // it asks for IPv4 and for IPv6, and goes on with one of them
	}
	if d.tls() {
		return true
	}
	if r.Offered() {
		if d.quiet() > answerTime {
			d.noRequest(r)
		}
		return true
	}
	if d.quiet() > nextTime {
		d.say(ScriptUnread, r.At, d.name()+" runs iPXE, was told where its script is, and did not ask for it",
			"port 80 is closed on the way, or routing is wrong for "+r.Got+"; its screen says which URL failed")
	}
	return true
}

// tls makes a finding of a failed TLS handshake.
func (d *diagnosis) tls() bool {
	r := d.last(func(r *boot.Request) bool { return r.Step == boot.Handshake })
	if r == nil {
		return false
	}
	d.say(TLS, r.At, d.name()+" could not speak HTTPS: "+r.Reasons.Of("handshake").Text(), "docs/secure-boot.md has the remedy for each cause")
	return true
}

// loaderOf is the file that a DHCP answer named; "" where it named none.
func loaderOf(r *boot.Request) string {
	_, file, ok := strings.Cut(r.Got, ", ")
	if !ok && r.Got != "" && !strings.Contains(r.Got, ".") {
		return ""
	}
	if !ok {
		file = r.Got // the answer of a proxy
	}
	if _, err := netip.ParseAddr(file); err == nil {
		return ""
	}
	return file
}

// afterLoader judges a machine that was given the name of its first file.
func (d *diagnosis) afterLoader() bool {
	r := d.last((*boot.Request).Fetched)
	if r == nil {
		return false
	}
	file := path.Base(r.Path)
	other := d.last(func(q *boot.Request) bool { return q.Reply == "not found" && q.At.After(r.At) })
	uefi := d.Host == nil || d.Host.Platform.UEFI()
	six := d.last(func(q *boot.Request) bool { return q.Firmware() && q.Acked() })
	switch {
	case r.Short():
		if d.quiet() > nextTime {
			d.transfer(r)
		}
	case strings.HasPrefix(r.Outcome, string(boot.Probe)):
		if d.quiet() > nextTime {
			d.say(ProbeOnly, r.At, fmt.Sprintf("%s asked how large %s is, and did not read it", d.name(), file),
				"firmware does this first and reads it next; one that stops there has no memory for it or wants another file: check the architecture (muster host show) and the loader")
		}
	case d.quiet() <= nextTime:
	case strings.HasPrefix(file, "shim") && other != nil:
		d.say(ShimLost, other.At, fmt.Sprintf("%s runs shim, which asked for %s, and that is not there", d.name(), path.Base(other.Path)),
			"put GRUB beside shim under the name that this shim asks for (docs/secure-boot.md)")
	case strings.HasPrefix(file, "shim") && d.Network != nil && d.Network.Mode == boot.Proxy:
		d.say(ShimLost, r.At, d.name()+" read shim and asked nothing more: beside another DHCP server, shim looks for GRUB on the server that gave the address",
			"use UEFI HTTP boot for it, or full mode here")
	case strings.HasPrefix(file, "shim"):
		d.say(ShimLost, r.At, d.name()+" read shim and did not go on to GRUB", "its screen says why; a shim whose certificate was revoked (SBAT, dbx) says \"Security Violation\": take a newer shim-signed")
	case six != nil && six.Via == boot.DHCP6:
		d.say(LoaderDead, r.At, fmt.Sprintf("%s read %s whole by IPv6, and it was not heard of since", d.name(), file),
			"iPXE asks for DHCPv6 only where a router advertisement says managed or other: has this link one (rdisc6), or ra = \"managed\" on the network (docs/configuration.md)? If it has, Secure Boot refuses what is not signed (docs/secure-boot.md), or a driver hangs")
	case uefi:
		d.say(LoaderDead, r.At, fmt.Sprintf("%s read %s whole, and it was not heard of since", d.name(), file),
			"Secure Boot refuses what is not signed (\"Access Denied\", \"Security Violation\" on its screen): install shim-signed and grub-efi-*-signed here, loader = \"shim\" or \"auto\" (docs/secure-boot.md); else a driver of that iPXE hangs: snponly in place of ipxe, or the other way round")
	default:
		d.say(LoaderDead, r.At, fmt.Sprintf("%s read %s whole, and it was not heard of since", d.name(), file),
			"its screen stands in iPXE: a driver that hangs is the usual cause, undionly.kpxe in place of ipxe.pxe or the other way round helps")
	}
	return true
}

// afterAck judges a machine that took its address, or a proxy's answer.
func (d *diagnosis) afterAck() bool {
	r := d.last(func(r *boot.Request) bool { return r.Firmware() && (r.Acked() || r.Via == boot.Proxy4) })
	if r == nil {
		return false
	}
	if d.tls() {
		return true
	}
	file := loaderOf(r)
	switch {
	case file == "" && r.Reasons.Find(boot.WhyNoLoader) != nil:
		d.say(NoLoader, r.At, fmt.Sprintf("%s asked to boot, and there is no loader for %s", d.name(), r.Reasons.Find(boot.WhyNoLoader).Args[0]), "muster doctor says where loaders are looked for; Debian's ipxe, shim-signed and grub-efi-*-signed packages bring them")
	case file == "" && r.Reasons.Find(boot.WhyBarred) != nil:
		d.say(NoLoader, r.At, d.name()+" asked to boot and got nothing to boot: "+r.Reasons.Find(boot.WhyBarred).Cause.Text(), "muster host show "+d.name())
	case file == "" || d.quiet() <= nextTime:
	case r.Class == boot.HTTPClient && d.Network != nil && d.Network.HTTPS:
		d.say(NoTLS, r.At, d.name()+" was given an https URL and opened no connection",
			"firmware without any CA certificate does not even try: enrol Muster's (muster ca export; docs/secure-boot.md), or port 443 is closed on the way")
	case r.Class == boot.HTTPClient:
		d.say(LoaderUnread, r.At, fmt.Sprintf("%s was given the URL of %s and did not ask for it", d.name(), file), "port 80 is closed on the way, or its firmware takes https only (https = true on the network or a [[class]])")
	default:
		d.say(LoaderUnread, r.At, fmt.Sprintf("%s was told to read %s by TFTP and did not (PXE-E32, PXE-E18)", d.name(), file), "UDP port 69 is closed on the way, or another DHCP server's next-server won: muster host capture "+d.MAC.String()+" shows what it was told")
	}
	return true
}

// afterDecline judges a machine that found its address in use.
func (d *diagnosis) afterDecline() bool {
	r := &d.reqs[len(d.reqs)-1]
	if r.Step != boot.Decline {
		return false
	}
	if d.quiet() > answerTime {
		d.say(Declined, r.At, d.name()+" found somebody else on the address that it was given", "find who has it: muster event list --kind lease.declined; exclude the address from the range, or take it off that machine")
	}
	return true
}

// afterOffer judges a machine that was offered something.
func (d *diagnosis) afterOffer() bool {
	if r := d.last(func(r *boot.Request) bool { return r.Reply == "nak" }); r != nil && d.quiet() > answerTime {
		d.say(Nak, r.At, fmt.Sprintf("%s was refused the address that it asked for: %s", d.name(), r.Reasons.Of("address").Text()),
			"a machine that moved from another network asks once more and gets a new one; if it repeats, two servers give addresses here")
		return true
	}
	r := d.last((*boot.Request).Offered)
	if r == nil {
		return false
	}
	if d.quiet() > answerTime {
		d.noRequest(r)
	}
	return true
}

func (d *diagnosis) noRequest(r *boot.Request) {
	n := d.times(func(q *boot.Request) bool { return q.Offered() && q.Class == r.Class })
	offer, port, instead := "an OFFER", 68, "or let it give the addresses: mode = \"proxy\" (docs/dhcp.md)"
	if r.Via == boot.DHCP6 {
		offer, port, instead = "an ADVERTISE", 546, "or leave the addresses to it: mode6 = \"off\" (DHCPv6 has no proxy)"
	}
	text := fmt.Sprintf("%s was sent %s %s and no REQUEST came in %s", d.name(), offer, often(n), answerTime)
	rival := d.Rival
	switch {
	case r.Via == boot.DHCP6:
		rival = d.Rival6
	case d.Network != nil && d.Network.Mode == boot.Proxy:
		rival = "" // the other server is meant to be there
	}
	if q := d.last(func(q *boot.Request) bool { return q.Step == boot.Selecting && q.Reply == "ignore" }); q != nil || rival != "" {
		said := text + ": another DHCP server may have answered first, " + rival + " was noticed there"
		if q != nil {
			said = text + ": it chose another DHCP server"
			if c := q.Reasons.Find(boot.WhyOtherServer); c != nil { // in DHCPv6 the other server is known by its DUID only
				said += " (" + c.Args[0] + ")"
			}
		}
		d.say(OtherServer, r.At, said,
			"two servers on one network: stop the other one there, "+instead)
		return
	}
	if r.Reasons.Find(boot.WhyPort4011) != nil {
		d.say(NoProxy, r.At, d.name()+" was told to ask on UDP port 4011 and did not", "a firewall between lets 67 through and not 4011; pxe = \"direct\" on the network does without")
		return
	}
	remedy := fmt.Sprintf("it may not have heard it: a switch port that learns for half a minute after link-up (spanning tree: portfast), a relay agent that does not pass replies on, or a firewall on UDP %d; muster host capture %s shows what was sent", port, d.MAC)
	if d.Network != nil && d.Network.Mode == boot.Proxy && r.Via != boot.DHCP6 {
		remedy = "beside another DHCP server it takes that one's address first: is there one, and does it have addresses left? muster host capture " + d.MAC.String() + " shows what was sent"
	}
	d.say(NoRequest, r.At, text, remedy)
}

func often(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// afterDiscover judges a machine that was not answered at all.
func (d *diagnosis) afterDiscover() bool {
	r := d.last((*boot.Request).Unserved)
	if r == nil || d.quiet() <= answerTime {
		return false
	}
	if r.Step == boot.Selecting && r.Reply == "ignore" {
		d.noRequest(r)
		return true
	}
	why := r.Reasons.Of("address").Text()
	if c := r.Reasons.Find(boot.WhyNoLoader); c != nil {
		d.say(NoLoader, r.At, fmt.Sprintf("%s asked to boot, and there is no loader for %s", d.name(), c.Args[0]), "muster doctor says where loaders are looked for")
		return true
	}
	if why == "" {
		why = r.Reasons.String()
	}
	d.say(NoAddress, r.At, fmt.Sprintf("%s asked for an address %s and got none: %s", d.name(), often(d.times((*boot.Request).Unserved)), why),
		"muster lease list shows who has them; a longer range, shorter leases, or a reservation (muster host set "+d.name()+" --address) mend it")
	return true
}

// Standing reports a finding about what a person or a rule decided. Nobody has to
// watch the machine to know it.
func (f *Finding) Standing() bool {
	switch f.Code {
	case Denied, Ignored, Pending, Clash, Parked, Queued, Failed, NoTicket, Protected, NeverSeen:
		return true
	}
	return false
}
