// rule_script.go: the boot script of the machine that asks: its template's,
// or one that asks who it is, holds it, or boots its own disk.

package boot

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// scriptFile is iPXE's script. autoexec.ipxe, which newer iPXE looks for beside
// itself, is not served: it would run before the network is up, and without it iPXE
// asks DHCP for its script. A signed iPXE is the exception: it can get our script in
// no other way.
const scriptFile = "boot.ipxe"

// Files that GRUB reads. Signed builds ask for the first one, in a folder and with an
// ending that depend on the build. It tests whether the firmware locks GRUB down
// (Secure Boot) and asks for one of the others.
const (
	grubConfig = "grub.cfg"
	grubLocked = "locked.cfg"
	grubOpen   = "open.cfg"
	grubDirect = "direct.cfg" // open.cfg could not start iPXE
	grubDisk   = "disk.cfg"   // a person asked for the local disk
)

// Files that U-Boot reads. It asks for the first, or with its PXE command for the
// second by its MAC address, in the root: a server cannot name it another place. Both
// only lead to a path of the machine's own.
const (
	ubootScript  = "boot.scr.uimg"
	ubootPXE     = "pxelinux.cfg/"
	extlinuxFile = "extlinux.conf"
)

// isPXEName reports the one name of U-Boot's PXE command that says who asks: hardware
// type 1 and its MAC address. It tries a UUID before and its address afterwards.
func isPXEName(file string) bool {
	m, ok := strings.CutPrefix(file, ubootPXE+"01-")
	if !ok || len(m) != 17 {
		return false
	}
	_, err := ParseMAC(m)
	return err == nil
}

func ruleScript(t *turn) (bool, error) {
	if t.dhcp() {
		return false, nil
	}
	s := t.ask.script()
	if s == "" {
		return false, nil
	}
	if (s == ubootScript || s == ubootPXE) && !t.hasToken {
		if t.id.MAC.IsZero() && t.host == nil || s == ubootPXE && t.plat.x86() { // PXELINUX, whose names these were
			return t.refuse(true, "file.no-path", strconv.Quote(t.ask.name))
		}
		return t.builtin("stub", because("script.own-path"))
	}
	// Only iPXE is asked who it is; the others cannot tell, and had a stub before.
	grub, ipxe := t.ask.dialect == GRUBScript, t.ask.dialect == IPXEScript
	if s == grubConfig {
		// Never refused: without this file GRUB stays at its prompt for ever.
		return t.builtin("stub", because("script.locked-down"))
	}
	if s == grubDisk {
		return t.builtin("local", because("disk.asked"))
	}
	if !ipxe && !t.hasToken {
		// A known machine gets these names beneath a token. Without a token, any
		// packet with its source address would begin a boot.
		return t.builtin("stranger", because("script.nobody"))
	}
	if t.host == nil && t.barred != nil && ipxe {
		return t.refuseFor(false, t.barred)
	}
	if t.id.MAC.IsZero() && t.host == nil {
		return t.builtin("stranger", because("script.nobody"))
	}
	if grub {
		t.lockdown(s == grubLocked)
	}
	if t.barred != nil {
		return t.builtin("local", t.barred)
	}
	if s == grubOpen && t.chains() {
		return t.builtin("chain", because("script.to-ipxe"))
	}
	if !ipxe || t.in.Want.Query.Asked || t.in.Want.Query.Errno != "" {
		t.failed()
	}
	if ipxe && !t.in.Want.Query.Asked {
		return t.builtin("ask", because("script.who"))
	}
	if t.host != nil && ipxe && !t.host.Tried.IsZero() {
		t.host.Tried, t.dirty = time.Time{}, true // the unsigned loader runs: firmware did not refuse it
	}
	if h := t.host; h != nil && h.Fresh && h.State == Approved && !t.in.Want.Head {
		h.Fresh, t.dirty = false, true
	}
	switch {
	case t.clash != nil && t.clash.Code == "clash.restarted":
		return t.hold(because("host.restarted"))
	case t.clash != nil:
		return t.hold(because(WhyUnclear))
	case t.host == nil && t.unsure:
		return t.hold(because(WhyMaybe))
	case t.host == nil && t.later != nil:
		return t.hold(t.later)
	case t.host == nil && t.roaming:
		return t.hold(because(WhyNameless))
	case t.host == nil:
		return t.hold(because("host.not-yet"))
	case t.host.State != Approved:
		return t.hold(because("host.pending", t.host.Name))
	case t.template == nil:
		return t.builtin("local", because("disk.instead", because(WhyNoTemplate)))
	}
	if t.template.Install {
		if k := t.host.Ticket; k.arriving(t.in.At) {
			// Most likely its power was cut and the transfer has not timed out yet.
			return t.builtin("hold", because("ticket.arriving", k.standing()))
		}
		t.skip(t.template)
		if why := t.mayInstall(t.template); why != nil {
			return t.builtin("local", because("disk.instead", why))
		}
	}
	h, x := t.host, t.template
	if grub && !x.GRUBBoots {
		if s == grubLocked {
			return t.builtin("local", because("disk.instead", because("template.no-kernel", x.Name)))
		}
		return t.builtin("restart", because("template.for-ipxe", x.Name))
	}
	if !grub && !ipxe && !x.UBootBoots {
		return t.builtin("local", because("disk.instead", because("template.not-for-uboot", x.Name)))
	}
	if t.in.Want.Head {
		// A request for the size begins no boot.
		t.why("script.size", x.Name, x.Version)
		m, err := t.boots(x, t.text, t.text)
		if err != nil {
			return false, err
		}
		t.d.Reply = Script{Ref{Kind: RefGenerated, Name: scriptFile, Template: x, Machine: m, Dialect: t.ask.dialect}}
		return true, nil
	}
	if why := h.unfit(x); why != nil {
		return t.builtin("hold", why)
	}
	given, err := t.inherited()
	if err != nil {
		return false, err
	}
	if ks, scopes := unlike(x, given); len(ks) > 0 {
		return t.builtin("hold", because(WhyUnlike, Scopes(scopes), strings.Join(ks, ", "), x.Name, h.Name, strings.Join(ks, "=… ")))
	}
	if miss := lacking(x, given); len(miss) > 0 {
		return t.builtin("hold", because(WhyParams, x.Name, strings.Join(miss, ", "), h.Name, strings.Join(miss, "=… ")))
	}
	if why, err := t.lacks(x); err != nil {
		return false, err
	} else if why != nil {
		t.notice("missing "+why.Args[0], FileMissing, "%s; %s and all others that boot it wait until it is there", why.Text(), h.Name)
		return t.builtin("hold", why)
	}
	if why, err := t.unmade(x); err != nil {
		return false, err
	} else if why != nil {
		t.notice("unmade "+h.Name+" "+x.Name, BootStopped, "%s", why.Text())
		return t.builtin("hold", why)
	}
	if t.retries() && t.token.Version == x.ID && h.Once == "" && (!x.Install || h.Ticket.Boot == h.Boots) {
		if why := h.Stuck.waits(t.token.Boot, x, t.in.At); why != nil {
			return t.builtin("hold", why)
		}
		return t.again(x)
	}
	if x.Install {
		if why, err := t.queued(); err != nil {
			return false, err
		} else if why != nil {
			return t.builtin("hold", why)
		}
	}
	if why := t.loops(x); why != nil {
		return t.builtin("hold", because(WhyParked, why))
	}
	once := h.Once == x.Name
	t.beginBoot(x)
	if x.Install {
		if err := t.begins(); err != nil {
			return false, err
		}
		t.useTicket(x)
	}
	if !x.ThisRun && !once {
		h.Template, h.Pin = x.Name, x.ID
	}
	t.why("script.boot", h.Boots, x.Name, x.Version)
	t.record(BootScript, "%s boots %s version %d (boot %d)", h.Name, x.Name, x.Version, h.Boots)
	return t.script(x)
}

// again gives the script of the boot that runs once more: its loader could not start
// it. That is no new boot, and begins no other installation: a ticket that was armed
// anew, or another template, is for a boot of its own.
func (t *turn) again(x *Template) (bool, error) {
	h := t.host
	if h.Stuck != nil {
		h.Stuck.Tried = t.in.At.UTC()
		if !h.Stuck.Tried.After(h.Stuck.At) {
			h.Stuck.Tried = h.Stuck.At.Add(1) // it failed and was given again in one moment
		}
		t.dirty = true
	}
	t.why("script.again", h.Boots, x.Name, x.Version)
	return t.script(x)
}

// script answers with the script of the present boot.
func (t *turn) script(x *Template) (bool, error) {
	h := t.host
	m, err := t.boots(x, t.bootToken(BootToken, h.Boots, x.ID), t.bootToken(ReportToken, h.Boots, x.ID))
	if err != nil {
		return false, err
	}
	// Who asks for the script is the machine: nobody comes before it to the new path.
	if src := t.in.Source.Addr(); src.IsValid() {
		t.bindTo(Use{Host: h.ID, Network: t.net.Name, Boot: h.Boots, Issued: t.in.At.UTC().Truncate(time.Minute).Unix(), Kind: addressKind(src)}, src)
	}
	t.d.Reply = Script{Ref{Kind: RefGenerated, Name: t.ask.script(), Template: x, Machine: m, Dialect: t.ask.dialect}}
	return true, nil
}

// chains reports that GRUB may be sent on to iPXE. Debian 12's GRUB never lets
// go of the network card; a build that uses the firmware's driver (snponly)
// says so and gives up, a build with drivers of its own hangs.
func (t *turn) chains() bool {
	return strings.HasPrefix(t.p.Loaders[t.plat], "snponly")
}

// lockdown notes what GRUB found: the one way to learn of Secure Boot.
func (t *turn) lockdown(on bool) {
	v := SecureOff
	if on {
		v = SecureOn
	}
	if h := t.host; h != nil && h.Secure != v {
		h.Secure, h.Tried, t.dirty = v, time.Time{}, true
		t.record(HostLearned, "%s has Secure Boot %s", h.Name, v)
	}
	t.why("script.secure", string(v))
}

// hold lets a machine ask again until a person decides. After a limit it boots its
// disk, so that a machine with a working disk is not kept from running.
func (t *turn) hold(why *Reason) (bool, error) {
	limit := t.p.Enroll.Hold
	waited := time.Duration(0)
	if t.hasToken {
		waited = t.in.At.Sub(t.token.Issued)
	}
	if limit != 0 && waited >= limit {
		return t.builtin("local", because("disk.held", limit))
	}
	t.limited = limit != 0
	return t.builtin("hold", why)
}

func (t *turn) builtin(name string, why *Reason) (bool, error) {
	if t.ask.dialect == Extlinux && name != "stub" {
		// A list can neither wait nor ask again. Without it U-Boot goes on as EFI.
		return t.refuseFor(true, why)
	}
	t.note(because(Code("script."+name), why))
	tok := t.text
	if t.hasToken && t.p.Enroll.Hold == 0 && t.in.At.Sub(t.token.Issued) > BootTokenLife/2 {
		tok = "" // a machine that is held for ever gets a new token before the old one ends
	}
	if tok == "" && (t.host != nil || !t.id.MAC.IsZero()) {
		tok = t.bootToken(BootToken, 0, 0)
	}
	m := t.machine(tok, tok)
	m.Note, m.Loader = why.Text(), t.p.Loaders[t.plat]
	if t.ask.kind == askLoader {
		m.Loader = t.ask.meant
	}
	// Ask often at first, while a person is likely to look, then seldom.
	m.WaitSeconds = 5
	if t.hasToken {
		if waited := t.in.At.Sub(t.token.Issued); waited > 5*time.Minute {
			m.WaitSeconds = 15
		}
		if limit := t.p.Enroll.Hold; t.limited {
			m.HoldSeconds = int((limit - t.in.At.Sub(t.token.Issued)).Seconds())
		}
	}
	t.d.Reply = Script{Ref{Kind: RefBuiltin, Name: name, Machine: m, Dialect: t.ask.dialect}}
	return true, nil
}

// machine is what a template may see of this one.
func (t *turn) machine(bootTok, reportTok string) Machine {
	m := Machine{
		Server: t.net.Server.String(), Network: t.net.Name, Platform: string(t.plat), UEFI: t.plat.UEFI(),
		Address: t.in.Source.Addr().String(), Boot: int(t.d.Boot), Params: map[string]string{},
		UUID: t.id.UUID.String(), Serial: t.id.Serial,
	}
	if t.p.LogPort != 0 {
		m.LogHost, m.LogPort = m.Server, int(t.p.LogPort)
	}
	if !t.id.MAC.IsZero() {
		m.MAC = t.id.MAC.String()
		b := t.id.MAC
		m.MACDash = "01-" + dashes(b)
		m.BOOTIF = m.MACDash
	}
	t.netFacts(&m)
	root := t.p.origin(false, t.urlHost(false))
	if bootTok == "" {
		m.BaseURL, m.ScriptURL = root, root+"/"+scriptFile
		m.GRUBBase = "(tftp," + m.Server + ")"
	} else {
		m.BaseURL = root + "/boot/" + bootTok
		m.TFTPPath = bootPrefix + bootTok
		m.GRUBBase = "(tftp," + m.Server + ")/" + m.TFTPPath
		m.ScriptURL = m.BaseURL + "/" + scriptFile
	}
	if reportTok != "" {
		m.ReportURL = root + "/boot/" + reportTok + "/report"
	}
	if h := t.host; h != nil {
		m.Known, m.Name, m.State = true, h.Name, string(h.State)
		if m.UUID == "" {
			m.UUID = h.UUID.String()
		}
		if m.Serial == "" {
			m.Serial = h.Serial
		}
	}
	return m
}

// inherited are the values that count for the host here.
func (t *turn) inherited() (map[string]Given, error) {
	if t.given == nil && t.host != nil {
		var err error
		if t.given, err = Inherited(t.v, t.host, t.net.Name); err != nil {
			return nil, err
		}
	}
	return t.given, nil
}

// boots is what the files of a template see of this machine, which boots it. Secrets are
// not among it.
func (t *turn) boots(x *Template, bootTok, reportTok string) (Machine, error) {
	m := t.machine(bootTok, reportTok)
	m.Template, m.Version = x.Name, x.Version
	if x.UsesDisks && t.host != nil {
		m.Disks = t.host.Disks
	}
	given, err := t.inherited()
	for k, g := range given {
		switch {
		case len(g.Differ) > 0:
			if m.Unclear == nil {
				m.Unclear = map[string]string{}
			}
			m.Unclear[k] = Scopes(g.Differ) + " give it different values"
		case !g.Secret:
			m.Params[k] = g.Value
		}
	}
	return m, err
}

// netFacts are what a system needs to configure its address by hand: what a DHCP
// client of the machine would be told.
func (t *turn) netFacts(m *Machine) {
	n := t.net
	m.Domain, m.VLAN = n.Domain, n.VLAN
	if p := n.Subnet; p.IsValid() {
		m.Prefix = p.Bits()
		if p.Addr().Is4() {
			var mask [4]byte
			binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-p.Bits()))
			m.Netmask = netip.AddrFrom4(mask).String()
		}
	}
	routers, dns := n.Routers, n.DNS
	var ntp []netip.Addr
	for _, o := range t.extra() {
		switch o.Code {
		case optRouters:
			routers = addresses(o.Data)
		case optDNS:
			dns = addresses(o.Data)
		case optNTP:
			ntp = addresses(o.Data)
		case optDomain:
			m.Domain = string(o.Data)
		}
	}
	if len(routers) > 0 {
		m.Gateway = routers[0].String()
	}
	m.DNS, m.NTP = texts(dns), texts(ntp)
}

// DHCP options (RFC 2132) that a template sees as network facts.
const (
	optRouters = 3
	optDNS     = 6
	optDomain  = 15
	optNTP     = 42
)

// addresses reads a list of IPv4 addresses.
func addresses(b []byte) (out []netip.Addr) {
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, netip.AddrFrom4([4]byte(b)))
	}
	return out
}

func texts(as []netip.Addr) (out []string) {
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}

func dashes(m MAC) string {
	s := []byte(m.String())
	for i, c := range s {
		if c == ':' {
			s[i] = '-'
		}
	}
	return string(s)
}
