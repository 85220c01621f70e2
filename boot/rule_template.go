// rule_template.go: what a machine would boot.

package boot

import "strings"

func ruleTemplate(t *turn) (bool, error) {
	if t.class == Plain || t.id.MAC.IsZero() && t.host == nil && !t.pi() || t.barred != nil {
		return false, nil
	}
	// The token of a running boot names the template version, so none is chosen.
	if !t.dhcp() && t.token.Version != 0 && t.ask.script() == "" {
		return false, nil
	}
	h := t.host
	if h != nil && h.Once != "" && !t.pi() {
		x, err := t.v.TemplateByName(h.Once)
		if err != nil {
			return false, err
		}
		if x != nil {
			t.template = x
			t.why("template.once", x.Name, x.Version)
			return false, nil
		}
		t.why("template.once-gone", h.Once)
	}
	if h != nil && h.Pin != 0 {
		x, err := t.findTemplate(h.Pin)
		if err != nil {
			return false, err
		}
		if x != nil {
			t.template = x
			t.why("template.pinned", x.Name, x.Version)
			t.mismatch(x)
			return false, nil
		}
		t.why("template.pin-gone", h.Template)
	}
	if h != nil && h.Template != "" {
		x, err := t.v.TemplateByName(h.Template)
		if err != nil {
			return false, err
		}
		if x == nil {
			t.why("template.named-gone", h.Template)
			return false, nil
		}
		t.template = x
		t.why("template.named", x.Name, x.Version)
		t.mismatch(x)
		return false, nil
	}
	t.choice = Choose(t.p.Templates, t.facts())
	t.template = t.choice.Template
	switch c := t.choice; {
	case c.Template != nil && len(c.Waiting) > 0:
		t.why("template.unless", c.Template.Name, names(c.Waiting))
	case c.Template != nil && len(c.Losers) > 0:
		t.why("template.before", c.Template.Name, names(c.Losers))
	case c.Template != nil:
		t.why("template.matches", c.Template.Name)
	case len(c.Waiting) > 0:
		t.why("template.none-yet", names(c.Waiting))
	default:
		t.why("template.none")
	}
	return false, nil
}

// mismatch says that the host is named for a template whose [match] it does not meet.
func (t *turn) mismatch(x *Template) {
	if why := x.Match.misses(t.facts()); why != "" {
		t.why(WhyMismatch, x.Name, why)
	}
}

// facts are what is known of the machine that asks, by now.
func (t *turn) facts() Facts {
	f := Facts{ID: t.id, Platform: t.plat, VendorClass: t.in.Firmware.VendorClass, SwitchPort: t.port(), Network: t.net.Name, Complete: t.in.Want.Query.Asked}
	if s := t.ask.script(); !t.dhcp() && (s == grubLocked || s == grubDirect || s == grubOpen && !t.chains()) {
		f.Complete = true // GRUB will tell no more facts
	}
	if t.hasToken && (t.ask.dialect == UBootScript || t.ask.dialect == Extlinux) {
		f.Complete = true // nor will U-Boot
	}
	if t.pi() && (t.id.Serial != "" || !t.in.Want.Query.MAC.IsZero()) {
		f.Complete = true // a Pi whose folder is its MAC will not tell its serial number
	}
	if h := t.host; h != nil {
		f.Known, f.Tags = true, h.Tags
		if f.ID.UUID.IsZero() {
			f.ID.UUID = h.UUID
		}
		if f.ID.Serial == "" {
			f.ID.Serial = h.Serial
		}
		if f.Platform == "" {
			f.Platform = h.Platform
		}
		if h.Class != "" {
			f.VendorClass = h.Class // the firmware's, not iPXE's
		}
		if f.SwitchPort == "" {
			f.SwitchPort = h.Port
		}
	}
	return f
}

func names(ts []*Template) string {
	var l []string
	for _, t := range ts {
		l = append(l, t.Name)
	}
	return strings.Join(l, ", ")
}
