// rule_class.go: what kind of client asks.

package boot

import "slices"

func ruleClass(t *turn) (bool, error) {
	if !t.dhcp() {
		t.plat = t.in.Firmware.PlatformHint
		if t.plat == "" && t.pi() {
			t.plat = PiPlatform
		}
		if t.plat == "" {
			t.plat = loaderPlatform(t.ask.name)
		}
		return false, nil
	}
	t.recall()
	t.kind = t.p.classify(&t.in)
	t.class = t.kind.As
	t.d.Kind, t.d.Delay = t.kind.Name, t.kind.Delay
	if t.in.Step == Discover || t.in.Step == Solicit {
		t.d.Opening = &Opening{t.in.XID, Identity{MAC: t.in.ID.MAC, UUID: t.in.ID.UUID, DUID: t.in.ID.DUID}, t.in.Firmware}
	}
	if t.kind.Added != "" {
		t.d.Kind += " + " + t.kind.Added
	}
	if t.in.Step == Bootp && t.class == Plain {
		// A ROM older than DHCP; its host's template says what it boots.
		t.class, t.plat = PXE, BIOS
		t.why("class.bootp")
		return false, nil
	}
	if t.class == Plain {
		if t.kind.Name == "plain" {
			t.why("class.plain")
		} else {
			t.why("class.plain-kind", t.kind.Name)
		}
		if t.net.Mode == Proxy {
			// The other server gives the address, so it serves this client too.
			return t.ignore("class.not-by-proxy")
		}
		return false, nil
	}
	t.plat = t.in.Firmware.Platform()
	if t.kind.Platform != "" {
		t.plat = t.kind.Platform
	}
	what := string(t.class)
	if !slices.Contains([]string{"ipxe", "uefi-http", "pxe"}, t.kind.Name) {
		what += " (" + t.kind.Name + ")"
	}
	if t.plat == "" {
		t.why("class.arch", what, t.in.Firmware.Arch)
	} else {
		t.why("class.platform", what, string(t.plat))
	}
	return false, nil
}

// recall has a client be one kind from the first packet of an exchange to the last: some
// firmware says less in its REQUEST than in its DISCOVER (a Raspberry Pi 4 leaves option
// 60 out).
func (t *turn) recall() {
	if t.in.Step != Selecting {
		return
	}
	s, ok := t.v.Opening(t.in.ID.key())
	if !ok || s.XID != t.in.XID {
		return
	}
	more := t.in.Firmware.recall(&s.Firmware)
	if t.in.ID.UUID.IsZero() && !s.ID.UUID.IsZero() {
		t.in.ID.UUID, more = s.ID.UUID, true
	}
	if more {
		t.why("class.recalled")
	}
}
