// rule_script.go: the boot script of the machine that asks: its template's,
// or one that asks who it is, holds it, or boots its own disk.

package boot

import "time"

// scriptFile is the one script name. autoexec.ipxe, which newer iPXE looks for
// beside itself, is not served: it runs before the network is up, and without
// it iPXE asks DHCP, which is the way we know.
const scriptFile = "boot.ipxe"

func ruleScript(t *turn) (bool, error) {
	if t.dhcp() || t.file != scriptFile {
		return false, nil
	}
	if t.host == nil && t.barred != "" {
		return t.refuse(false, "%s", t.barred)
	}
	if t.id.MAC.IsZero() && t.host == nil {
		return t.builtin("stranger", "nobody knows this address")
	}
	if t.barred != "" {
		return t.builtin("local", t.barred)
	}
	if !t.in.Want.Query.Asked {
		return t.builtin("ask", "who are you")
	}
	switch {
	case t.clash != "":
		return t.hold("two hosts claim this machine; a person decides (muster event list --kind host.clash)")
	case t.host == nil:
		return t.hold("this machine is not on the roll yet")
	case t.host.State != Approved:
		return t.hold("waiting for approval: muster host approve " + t.host.Name)
	case t.template == nil:
		return t.builtin("local", "approved, but no template matches: booting the local disk")
	case t.template.Install:
		// Without a ticket an installer never leaves: see Push.
		return t.builtin("local", "template "+t.template.Name+" installs and no ticket is armed: booting the local disk")
	}
	h, x := t.host, t.template
	if t.in.Want.Head {
		// Asking for the size is no boot.
		t.why("%s version %d, size only", x.Name, x.Version)
		m := t.machine(t.text, t.text)
		m.Template, m.Version = x.Name, x.Version
		t.d.Reply = Script{Ref{Kind: RefGenerated, Name: scriptFile, Template: x, Machine: m}}
		return true, nil
	}
	h.Boots++
	h.Reports = 0
	t.d.Boot = h.Boots
	if !x.ThisRun {
		h.Template, h.Pin = x.Name, x.ID
	}
	h.Stage = ""
	t.dirty = true
	m := t.machine(t.bootToken(BootToken, h.Boots, x.ID), t.bootToken(ReportToken, h.Boots, x.ID))
	m.Template, m.Version = x.Name, x.Version
	t.why("boot %d: %s version %d", h.Boots, x.Name, x.Version)
	t.record(BootScript, "%s boots %s version %d (boot %d)", h.Name, x.Name, x.Version, h.Boots)
	t.d.Reply = Script{Ref{Kind: RefGenerated, Name: scriptFile, Template: x, Machine: m}}
	return true, nil
}

// hold keeps a machine asking until a person decides, but not for ever: one
// with a working disk is never held hostage.
func (t *turn) hold(note string) (bool, error) {
	limit := t.p.Enroll.Hold
	waited := time.Duration(0)
	if t.hasToken {
		waited = t.in.At.Sub(t.token.Issued)
	}
	if limit > 0 && waited >= limit {
		return t.builtin("local", "held for "+limit.String()+"; booting the local disk")
	}
	return t.builtin("hold", note)
}

func (t *turn) builtin(name, note string) (bool, error) {
	t.why("%s: %s", name, note)
	tok := t.text
	if t.hasToken && t.p.Enroll.Hold == 0 && t.in.At.Sub(t.token.Issued) > bootTokenLife/2 {
		tok = "" // who is held for ever must still be known tomorrow
	}
	if tok == "" && (t.host != nil || !t.id.MAC.IsZero()) {
		tok = t.bootToken(BootToken, 0, 0)
	}
	m := t.machine(tok, tok)
	m.Note = note
	// Ask often at first, when a person is likely looking, then politely.
	m.WaitSeconds = 5
	if t.hasToken {
		if waited := t.in.At.Sub(t.token.Issued); waited > 5*time.Minute {
			m.WaitSeconds = 15
		}
		if limit := t.p.Enroll.Hold; limit > 0 {
			m.HoldSeconds = int((limit - t.in.At.Sub(t.token.Issued)).Seconds())
		}
	}
	t.d.Reply = Script{Ref{Kind: RefBuiltin, Name: name, Machine: m}}
	return true, nil
}

// machine is what a template may see of this one.
func (t *turn) machine(bootTok, reportTok string) Machine {
	m := Machine{
		Server: t.net.Server.String(), Network: t.net.Name, Platform: string(t.plat), UEFI: t.plat.UEFI(),
		Address: t.in.Source.Addr().String(), Boot: int(t.d.Boot), Params: map[string]string{},
		UUID: t.id.UUID.String(), Serial: t.id.Serial,
	}
	if !t.id.MAC.IsZero() {
		m.MAC = t.id.MAC.String()
		b := t.id.MAC
		m.MACDash = "01-" + dashes(b)
	}
	root := t.p.baseURL(t.net.Server)
	if bootTok == "" {
		m.BaseURL, m.ScriptURL = root, root+"/"+scriptFile
	} else {
		m.BaseURL = root + "/boot/" + bootTok
		m.ScriptURL = m.BaseURL + "/" + scriptFile
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
		for k, v := range h.Params {
			m.Params[k] = v
		}
	}
	return m
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
