// rule_log.go: a line of a machine's log. It has nothing to answer: it is filed
// under its machine. The sender is known by its address alone, so a line may only
// ever make things safer: it never ends an installation, and never begins one.

package boot

// firmwareLog is the name under which iPXE logs: it runs before anything of the
// boot does.
const firmwareLog = "ipxe"

func ruleLog(t *turn) (bool, error) {
	if t.in.Step != LogLine {
		return false, nil
	}
	if l := t.in.Line; l == nil || t.id.MAC.IsZero() {
		return t.ignore("log.nobody")
	}
	t.d.Reply = Done{}
	h := t.host
	if h == nil || h.State != Approved || h.Boots == 0 {
		return true, nil
	}
	t.d.Boot = h.Boots
	l := t.in.Line.Clean()
	if l.App != firmwareLog {
		// Whatever was seen of its transfers: something of this boot runs. At
		// worst a person must arm once more.
		t.ran(h.Boots, "its log lines say")
	}
	if l.trouble() && (h.Trouble == nil || l.Severity < *h.Trouble) {
		// The first one of a boot, and then only what is worse: four at most.
		h.Trouble, t.dirty = &l.Severity, true
		from := l.App
		if from == "" {
			from = l.Facility
		}
		t.record(BootTrouble, "%s logs %s from %s: %s", h.Name, l.Severity, from, CleanText(l.Text, 300))
	}
	return true, nil
}

// trouble reports a line that a person should be told of. Hardly a kernel starts
// without calling something an error, so from there it must be worse.
func (l *Line) trouble() bool {
	return l.Severity < Err || l.Severity == Err && l.Facility != "kern"
}
