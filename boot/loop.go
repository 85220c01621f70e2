// loop.go: machines that boot again and again and never report that they run. The
// cause is a template whose kernel panics or a disk that is not bootable. A rack of
// such machines loads the network, and their screens do not say why.

package boot

import (
	"time"
)

// loopWindow is the time in which silent boots count.
const loopWindow = 30 * time.Minute

// loops counts a boot that is about to begin. If there were too many since the
// machine last reported, it says why this one does not begin. A new window, or any
// change by a person, lets the machine try again.
func (t *turn) loops(x *Template) *Reason {
	h, most := t.host, t.p.Enroll.Loop
	if most <= 0 || x.ThisRun {
		return nil // on a bench a person watches the machine
	}
	if h.Stage != "" || Age(t.in.At, h.Window) >= loopWindow {
		h.Window, h.Silent = t.in.At.UTC(), 0
	}
	if h.Silent++; h.Silent <= most {
		return nil
	}
	left := h.Window.Add(loopWindow).Sub(t.in.At).Round(time.Minute)
	why := because("boot.loops", most, max(1, int(left.Minutes())), h.Name)
	if h.Silent == most+1 {
		t.dirty = true // written once: later requests change nothing
		t.record(HostParked, "%s is parked: %s", h.Name, why.Text())
	}
	return why
}

// unpark lets a parked host boot again: a person has changed something.
func (h *Host) unpark() { h.Window, h.Silent, h.Stuck = time.Time{}, 0, nil }
