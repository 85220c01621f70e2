// rule_log.go: a line of a machine's log. It gets no answer and is filed under its
// machine. Only the source address tells the sender, so a line may make things safer
// and nothing else: it neither ends an installation nor begins one.

package boot

// firmwareLog is the name under which iPXE logs. iPXE runs before the system that is
// booted, so its lines do not prove that the system runs.
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
		// The line proves that this boot runs, whatever its transfers looked like.
		// If that is wrong, a person must arm a ticket again, and no more is lost.
		t.ran(h.Boots, "its log lines say")
	}
	if l.trouble() && (h.Trouble == nil || l.Severity < *h.Trouble) {
		// The first line of a boot, and then only worse ones: four at most.
		h.Trouble, t.dirty = &l.Severity, true
		from := l.App
		if from == "" {
			from = l.Facility
		}
		t.record(BootTrouble, "%s logs %s from %s: %s", h.Name, l.Severity, from, CleanText(l.Text, 300))
	}
	return true, nil
}

// trouble reports a line that a person should be told of. Nearly every kernel calls
// something an error when it starts, so a line of a kernel must be worse than that.
func (l *Line) trouble() bool {
	return l.Severity < Err || l.Severity == Err && l.Facility != "kern"
}
