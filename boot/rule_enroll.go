// rule_enroll.go: how an unknown boot client gets on the roll, who approves it, and
// which facts a known host adds later.

package boot

import "strings"

// proves reports that the machine took what we offered. Only then is it put on the
// roll, so that a flood of DISCOVERs enrols nobody.
func (t *turn) proves() bool {
	switch t.in.Via {
	case DHCP4:
		// A REQUEST that names another server chose that one.
		return t.net.Addresses() && t.in.Step == Selecting && t.ours(t.in.Want.Server) || t.rapid() ||
			t.net.Mode == Full && t.net.InRange(t.in.Want.Addr) && (t.in.Step == InitReboot || t.in.Step == Renew)
	case DHCP6:
		return t.net.Addresses() && (t.in.Step == Selecting && t.in.Want.ServerID == t.p.DUID || t.rapid())
	case Proxy4:
		return t.in.Step != Discover
	default:
		if t.pi() { // its firmware asks for the first file by itself
			return !t.id.MAC.IsZero() || t.id.Serial != ""
		}
		return (t.hasToken || t.believed) && !t.id.MAC.IsZero()
	}
}

func ruleEnroll(t *turn) (bool, error) {
	if t.host != nil {
		if t.host.State == Denied {
			t.barred = because("host.denied")
			t.why("enroll.denied")
		}
		return false, nil
	}
	if t.class == Plain {
		return false, nil
	}
	if t.p.Enroll.Policy == EnrollIgnore {
		t.barred = because("enroll.strangers-ignored")
		t.why(WhyIgnored)
		return false, nil
	}
	if t.id.MAC.IsZero() && !t.pi() || t.clash != nil || t.maybe != nil || t.unsure || !t.proves() {
		return false, nil
	}
	if t.roaming && t.id.UUID.IsZero() && t.id.Serial == "" {
		t.why("enroll.nameless")
		return false, nil
	}
	n, err := t.v.Counter(PendingHosts)
	if err != nil {
		return false, err
	}
	auto, err := t.v.Counter(AutoHosts)
	if err != nil {
		return false, err
	}
	if n += auto; t.p.Enroll.Limit > 0 && n >= uint64(t.p.Enroll.Limit) {
		t.later = because("enroll.full")
		t.why("enroll.limit", n)
		t.notice("", EnrollLimit, "%d machines wait for approval or were let in by a rule: no more are enrolled until a person approves, denies or removes some of them (muster host list), or [enroll] limit is raised", n)
		return false, nil
	}
	link := t.net.Name + " " + t.net.Interface       // a file request does not always say where it came in
	if containsAddr(t.net.Relays, t.in.Link.Relay) { // a client can write any other address there
		link += " " + t.in.Link.Relay.String()
	}
	if !t.v.MayEnroll(link) {
		t.later = because("enroll.soon")
		t.why("enroll.rate", EnrollRate, link)
		t.notice(link, EnrollLimit, "more than %d new machines a second on %s: the rest are enrolled when they ask again", EnrollRate, link)
		return false, nil
	}
	t.d.Enrolls = link
	last, err := t.v.Counter(LastHost)
	if err != nil {
		return false, err
	}
	h := &Host{
		ID: HostID(last + 1), State: Pending, UUID: t.id.UUID, Serial: t.id.Serial,
		Platform: t.plat, Network: t.net.Name, Created: t.in.At.UTC(), Class: CleanText(t.in.Firmware.VendorClass, 64), Port: CleanText(t.port(), 128),
	}
	switch {
	case t.roaming:
		h.Name = defaultName(Identity{}, h.ID)
	case t.id.MAC.IsZero():
		h.Name = "pi-" + t.id.Serial
	default:
		h.MACs = []MAC{t.id.MAC}
		h.Name = defaultName(t.id, h.ID)
	}
	if other, err := t.v.HostByName(h.Name); err != nil {
		return false, err
	} else if other != nil {
		// A person gave another machine this one's name.
		h.Name = defaultName(Identity{}, h.ID)
	}
	t.host, t.dirty = h, true
	t.why("enroll.new", h.Name)
	t.record(HostEnrolled, "%s enrolled on network %s: %s", h.Name, t.net.Name, Describe(h, t.in.Firmware))
	return false, nil
}

func (t *turn) approve(rule string, why *Reason) {
	t.host.State, t.host.Auto, t.host.Fresh, t.dirty = Approved, true, true, true
	t.note(because("enroll.approved", why))
	t.recordBy(rule, HostApproved, "%s approved: %s", t.host.Name, why.Text())
}

func instead(was string) string {
	if was == "" {
		return ""
	}
	return " in place of " + was
}

// describe puts what is known of a machine in one line.
func Describe(h *Host, f Firmware) string {
	var parts []string
	add := func(k, v string) {
		if v != "" {
			parts = append(parts, k+" "+v)
		}
	}
	for _, m := range h.MACs {
		add("MAC", m.String())
	}
	add("UUID", h.UUID.String())
	add("serial", h.Serial)
	add("switch port", h.BoundPort)
	add("platform", string(h.Platform))
	add("class", CleanText(f.VendorClass, 48))
	return strings.Join(parts, ", ")
}

// ruleApprove lets an enrolment rule, a template or the policy approve a machine; the
// first that decides counts. While a fact is missing that could make a rule or
// template match, the machine waits.
func ruleApprove(t *turn) (bool, error) {
	if t.host == nil || t.clash != nil || t.p.Enroll.Policy == EnrollIgnore || !t.writes() {
		return false, nil
	}
	if t.host.State == Pending {
		settled, err := t.byRule()
		if err != nil {
			return false, err
		}
		switch c := t.choice; {
		case settled:
		case c.Template != nil && c.Template.AutoApprove && len(c.Waiting) == 0:
			t.approve("template "+c.Template.Name, because("enroll.by-template", c.Template.Name))
		case t.p.Enroll.Policy == EnrollAuto && t.host.Network != "": // it enrolled by itself
			t.approve("policy auto", because("enroll.by-policy"))
		}
	}
	if len(t.choice.Waiting) == 0 {
		t.firstInstall(t.template)
	}
	return false, nil
}

// ruleLearn adds what this request tells of a known host: a serial number that only
// iPXE could read, or a second NIC that UUID and serial number prove to be its own.
func ruleLearn(t *turn) (bool, error) {
	h := t.host
	if h == nil || t.before == nil || t.clash != nil || !t.writes() || t.class == Plain {
		return false, nil
	}
	var learned []string
	if t.stub != nil {
		t.d.Writes.Remove = t.stub
		t.dirty = true
		learned = append(learned, "what "+t.stub.Name+" was")
	}
	if t.joins && !t.roaming && !h.HasMAC(t.id.MAC) {
		if len(h.MACs) >= 64 {
			t.why("learn.too-many", t.id.MAC)
		} else {
			h.MACs = append(h.MACs, t.id.MAC)
			learned = append(learned, "MAC "+t.id.MAC.String())
		}
	}
	if t.in.Want.Query.Asked && !h.Told {
		h.Told, t.dirty = true, true
	}
	bound := h.BoundPort != "" // the host is the board that is plugged in there, whichever it is
	// A fact that another host has stays with that host: a board behind a bound
	// switch port may belong to it, or share a vendor's filler with it.
	if u := t.in.ID.UUID; !bound && (h.UUID.IsZero() || t.changed) && !u.IsZero() && u != h.UUID && u.Swapped() != h.UUID {
		if other, err := lookupUUID(t.v, u); err != nil {
			return false, err
		} else if other == nil || t.stub != nil && other.ID == t.stub.ID {
			learned = append(learned, "UUID "+u.String()+instead(h.UUID.String()))
			h.UUID = u
		}
	}
	if s := t.in.ID.Serial; !bound && (h.Serial == "" || t.changed) && s != "" && s != h.Serial {
		if other, err := t.v.HostBySerial(s); err != nil {
			return false, err
		} else if other == nil || t.stub != nil && other.ID == t.stub.ID {
			learned = append(learned, "serial "+s+instead(h.Serial))
			h.Serial = s
		}
	}
	// The name of a file tells little of who asks for it.
	told := t.dhcp() || t.in.Want.Query.Asked || t.pi() || t.ask.dialect == Extlinux
	if (told || h.Platform == "") && t.plat != "" && h.Platform != t.plat {
		h.Platform, t.dirty = t.plat, true
	}
	// A packet that we do not answer moves nobody.
	if n := t.net.Name; told && n != h.On() && (!t.dhcp() || t.proves()) {
		h.SeenOn, t.dirty = n, true
	}
	// A script's request does not repeat what DHCP said; templates may match it.
	if c := CleanText(t.in.Firmware.VendorClass, 64); c != "" && c != h.Class && (t.class != IPXE || h.Class == "") {
		h.Class, t.dirty = c, true
	}
	if p := CleanText(t.port(), 128); p != "" && p != h.Port {
		h.Port, t.dirty = p, true
	}
	if len(learned) > 0 {
		t.dirty = true
		t.why("learn.has", strings.Join(learned, ", "))
		t.record(HostLearned, "%s has %s", h.Name, strings.Join(learned, ", "))
	}
	return false, nil
}
