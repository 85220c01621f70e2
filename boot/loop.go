// loop.go: machines that boot again and again and never say that they run. The
// cause is a template that panics or a disk that is not bootable, and a rack of
// them is a load on the line and a riddle on the screen.

package boot

import (
	"time"
)

// loopWindow is the time in which silent boots count.
const loopWindow = 30 * time.Minute

// loops counts a boot that is about to begin, and says why it does not where
// there were too many since the machine last reported. A new window, or any
// change by a person, lets it try again.
func (t *turn) loops(x *Template) *Reason {
	h, most := t.host, t.p.Enroll.Loop
	if most <= 0 || x.ThisRun {
		return nil // on a bench a person stands beside it
	}
	if h.Stage != "" || t.in.At.Sub(h.Window) >= loopWindow {
		h.Window, h.Silent = t.in.At.UTC(), 0
	}
	if h.Silent++; h.Silent <= most {
		return nil
	}
	left := h.Window.Add(loopWindow).Sub(t.in.At).Round(time.Minute)
	why := because("boot.loops", most, max(1, int(left.Minutes())), h.Name)
	if h.Silent == most+1 {
		t.dirty = true // once; asking on changes nothing
		t.record(HostParked, "%s is parked: %s", h.Name, why.Text())
	}
	return why
}

// unpark lets a host boot whatever it did before: a person has seen to it.
func (h *Host) unpark() { h.Window, h.Silent = time.Time{}, 0 }
