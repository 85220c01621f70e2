// stuck.go: boots that stop before the system starts. iPXE and GRUB come back for
// their script by the path of that boot: what could not start may start now, and no
// other boot has begun.

package boot

import (
	"strings"
	"time"
)

// Stuck is a boot that the loader could not start.
type Stuck struct {
	Boot    uint32     `json:"boot"`
	Version TemplateID `json:"version"`
	At      time.Time  `json:"at"`              // when it last failed
	Tried   time.Time  `json:"tried,omitzero"`  // when its script was last given again
	Times   int        `json:"times"`           // how often it failed
	Step    string     `json:"step,omitempty"`  // kernel, initrd or boot
	Errno   string     `json:"errno,omitempty"` // iPXE's, hexadecimal
}

// patience is how long a loader waits before the next try, by how often it failed. The
// first failure may be the network's.
var patience = []time.Duration{0, 0, time.Minute, 5 * time.Minute, 15 * time.Minute}

// retries reports a loader that comes back for the script of the boot that it is in.
func (t *turn) retries() bool {
	return t.hasToken && t.host != nil && t.token.Boot != 0 && t.token.Boot == t.host.Boots && t.ask.script() != ""
}

// failed notes that the loader could not start what it was given: it says so, or it
// has come back.
func (t *turn) failed() {
	if !t.retries() || t.in.Want.Head {
		return
	}
	h, q, s := t.host, t.in.Want.Query, t.host.Stuck
	if q.Step == "kernel" || q.Step == "initrd" {
		t.brokeOff(q.Step)
	}
	if s == nil || s.Boot != h.Boots {
		s = &Stuck{Boot: h.Boots}
	} else if !s.Tried.After(s.At) && (q.Errno == "" || Age(t.in.At, s.At) < time.Minute) {
		return // it waits
	}
	n := *s
	n.Version, n.At, n.Times = t.token.Version, t.in.At.UTC(), min(s.Times+1, 1000)
	if q.Errno != "" {
		n.Step, n.Errno = q.Step, q.Errno
	}
	h.Stuck, t.dirty = &n, true
	x, err := t.findTemplate(n.Version)
	if err != nil || x == nil {
		return
	}
	why := because("boot.stuck", x.Name, x.Version, n.Boot, n.What())
	t.note(why)
	// A hundred machines that fail on one file are told once.
	t.notice("stuck "+x.Name+" "+n.What(), BootStopped, "%s: %s", h.Name, why.Text())
}

// What is what the loader says, for a person.
func (s *Stuck) What() string {
	if s.Errno == "" {
		return "its loader came back for the script"
	}
	text := "its iPXE could not load the " + s.Step
	if s.Step == "boot" {
		text = "its iPXE could not start the kernel"
	}
	if m := ipxeError(s.Errno); m != "" {
		text += ": " + m
	}
	return text + " (https://ipxe.org/" + s.Errno + ")"
}

// ipxeError is what an error of iPXE means, by its first byte. The rest says where in
// iPXE it arose.
func ipxeError(errno string) string {
	for _, e := range []struct{ code, text string }{
		{"02", "not permitted, as Secure Boot says"},
		{"2d", "there is no such file"},
		{"2e", "it is no program that this firmware can start (Exec format error)"},
		{"31", "it does not fit into memory"},
		{"4c", "the transfer timed out"},
	} {
		if len(errno) == 8 && strings.HasPrefix(errno, e.code) {
			return e.text
		}
	}
	return ""
}

// waits says why a boot that could not start is not tried again yet; nil if it is.
func (s *Stuck) waits(boot uint32, x *Template, now time.Time) *Reason {
	if s == nil || s.Boot != boot || s.Version != x.ID {
		return nil
	}
	left := patience[min(s.Times, len(patience)-1)] - Age(now, s.At)
	if left <= 0 {
		return nil
	}
	return because(WhyStuck, left.Round(time.Second), because("boot.stuck", x.Name, x.Version, s.Boot, s.What()))
}

// lacks says which file of the boot is not there; nil if all are. Without it no boot
// begins, and all machines go on when it appears.
func (t *turn) lacks(x *Template) (*Reason, error) {
	for _, ref := range x.Boots {
		name, file, ok := imageFile(refPath(ref))
		if !ok {
			continue // of its own folder, which was pushed whole
		}
		img, err := t.v.Image(name)
		if err != nil {
			return nil, err
		}
		if img == nil {
			return because(WhyMissing, ref, x.Name, x.Version), nil
		}
		if !img.has(file) {
			return because(WhyMissing, ref, x.Name, x.Version), nil
		}
	}
	return nil, nil
}

// unmade says what of the version cannot be rendered for this machine. Found later, the
// kernel has left and the ticket is used.
func (t *turn) unmade(x *Template) (*Reason, error) {
	if t.p.Renders == nil {
		return nil, nil
	}
	m, err := t.boots(x, t.text, t.text)
	if err != nil {
		return nil, err
	}
	m.Boot = int(t.host.Boots) + 1
	if err := t.sealed(&m); err != nil {
		return nil, err
	}
	if err := t.p.Renders(x, t.ask.dialect, m); err != nil {
		return because(WhyUnmade, x.Name, x.Version, t.host.Name, CleanText(err.Error(), 400)), nil
	}
	return nil, nil
}

// has reports a file that the image serves under a name.
func (img *Image) has(file string) bool {
	if inside, ok := strings.CutPrefix(file, treePrefix); ok && img.Tree != "" {
		return inside != ""
	}
	if _, ok := img.Files[file]; ok {
		return true
	}
	_, ok := matchName(file, func(yield func(string) bool) {
		for f := range img.Files {
			if !yield(f) {
				return
			}
		}
	})
	return ok
}
