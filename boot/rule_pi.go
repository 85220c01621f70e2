// rule_pi.go: the files of a Raspberry Pi. It reads no script: its firmware
// asks for one file after the other, beneath its serial number or, while it cannot
// read that yet, in the root. The files come from its template. What the template
// does not have comes from the firmware tree that the template names.

package boot

import "time"

// bootGap is how far apart two readings of the same first file must be to
// count as two boots: firmware reads it more than once in a row.
const bootGap = time.Minute

func rulePi(t *turn) (bool, error) {
	if t.dhcp() || t.hasToken || !t.pi() && (t.host == nil || t.host.Platform != PiPlatform) {
		return false, nil
	}
	if t.ask.name == piLoader {
		return t.piFirst()
	}
	x := t.template
	switch {
	case t.barred != nil:
		return t.refuseFor(true, t.barred)
	case t.clash != nil:
		return t.refuse(true, "file.unclear")
	case t.host == nil:
		return t.refuse(true, "pi.stranger")
	case t.host.State != Approved:
		// On "not found" the firmware tries again; on any other error it stops.
		return t.refuse(true, "pi.pending", t.host.Name, t.host.Name)
	case x == nil:
		return t.refuse(true, "pi.no-template", t.host.Name)
	case x.Install:
		return t.refuse(true, "pi.installs", x.Name)
	}
	h := t.host
	if h.Pin != x.ID && !x.ThisRun {
		h.Template, h.Pin, t.dirty = x.Name, x.ID, true
	}
	if base(t.ask.name) == "config.txt" && Age(t.in.At, h.Booted) > bootGap {
		t.beginBoot(x)
		t.record(BootScript, "%s boots %s version %d (boot %d)", h.Name, x.Name, x.Version, h.Boots)
	}
	t.d.Boot = h.Boots
	m, err := t.boots(x, "", t.bootToken(ReportToken, h.Boots, x.ID))
	if err != nil {
		return false, err
	}
	t.why("file.of-template", t.ask.name, x.Name, x.Version)
	return t.overlay(x, t.ask.name, m)
}

// piFirst answers with the file that the ROM of a Pi 3 runs before it can say its
// serial number. Any machine may have it, as with iPXE; so it may come from a
// template that still waits for the serial number.
func (t *turn) piFirst() (bool, error) {
	all := t.choice.Waiting
	if t.template != nil {
		all = []*Template{t.template}
	}
	for _, x := range all {
		if t.barred != nil {
			break
		}
		_, has := x.serves(piLoader)
		if !has && x.Firmware != "" {
			img, err := t.v.Image(x.Firmware)
			if err != nil {
				return false, err
			}
			has = img != nil && img.Files[piLoader].Size > 0
		}
		if has {
			t.why("pi.loader", piLoader, x.Name)
			return t.overlay(x, piLoader, Machine{})
		}
	}
	return false, nil // the operator's file, if there is one
}

// overlay answers with a template's file, or with that of its firmware tree.
func (t *turn) overlay(x *Template, file string, m Machine) (bool, error) {
	if f, ok := x.serves(file); ok {
		t.d.Reply = File{Ref{Kind: RefTemplate, Name: f, Template: x, Machine: m}}
		return true, nil
	}
	if x.Firmware == "" {
		return t.refuse(true, "pi.no-file", x.Name, file)
	}
	return t.image(x.Firmware, file, false)
}

// beginBoot numbers a boot.
func (t *turn) beginBoot(x *Template) {
	h := t.host
	h.Boots++
	h.Once, h.Runs = "", x.ID
	h.Reports, h.Stage, h.Trouble, h.Booted = 0, "", nil, t.in.At.UTC()
	t.d.Boot, t.dirty = h.Boots, true
}
