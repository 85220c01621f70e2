// rule_report.go: reports of a machine about itself. That its files were served does
// not prove that it booted: only the machine itself can say that it runs.

package boot

import "strings"

// reportFile is the name beneath a token that takes reports.
const ReportFile = "report"

// maxReports is how many events the reports of one boot may cause; the rest
// are in the request log.
const maxReports = 64

// maxVersion is the length of a version, or of a digest, of what is installed.
const maxVersion = 128

func ruleReport(t *turn) (bool, error) {
	if t.dhcp() || t.ask.kind != askReport {
		return false, nil
	}
	if !t.hasToken || t.host == nil {
		return t.refuse(false, "report.no-token")
	}
	if t.in.Want.Head {
		t.why("report.probe")
		t.d.Reply = Done{Text: "report"}
		return true, nil
	}
	if t.host.State != Approved {
		return t.refuse(false, "report.not-approved", t.host.Name, string(t.host.State))
	}
	stage := CleanText(t.in.Want.Query.Stage, 64)
	if stage == "" {
		stage = "running"
	}
	// Who holds a boot token may be anybody with that MAC. What has not begun to leave
	// does not run, and cannot have been installed.
	k := t.host.Ticket
	early := t.token.Kind == BootToken && k.open(t.token.Boot) && !k.Ran && len(k.Files) == 0
	if early && endsInstall(stage) {
		return t.refuse(false, "report.early", t.host.Name, stage)
	}
	if !early {
		t.ran(t.token.Boot, "it reports")
		if t.in.Want.Query.Progress == "" {
			t.closeTicket(stage)
		}
	}
	if t.token.Boot != t.host.Boots {
		// A report of an earlier boot must not count for the present one.
		t.why("report.old", t.token.Boot, t.host.Boots)
		t.d.Reply = Done{Text: "noted"}
		return true, nil
	}
	if p := CleanText(t.in.Want.Query.Progress, 200); p != "" {
		t.progress(p)
		return true, nil
	}
	text := CleanText(t.in.Want.Query.Text, 512)
	t.why("report.stage", stage)
	t.d.Reply = Done{Text: "noted: " + stage}
	if v := CleanText(t.in.Want.Query.Version, maxVersion); v != "" && v != t.host.Installed && t.host.Reports < maxReports && t.token.Boot != 0 && !k.open(t.token.Boot) && stage != StageFailed {
		t.host.Installed, t.dirty = v, true
		t.host.Reports++
		t.record(HostLearned, "%s has %s, as it reports", t.host.Name, v)
	}
	if v := t.in.Facts; v != nil && t.host.Reports < maxReports {
		x := *v
		x.Clean()
		x.At, x.Boot = t.in.At.UTC(), t.token.Boot
		t.d.Writes.Inventory, t.dirty = &x, true
		if x.Memory > 0 {
			t.host.Memory = x.Memory
		}
		if len(x.Disks) > 0 {
			t.host.Disks = x.Disks[:min(len(x.Disks), maxKnownDisks)]
		}
		t.host.Reports++
		t.record(HostLearned, "%s is %s, as it reports", t.host.Name, x.String())
	}
	if t.host.Stage == stage && text == "" {
		return true, nil // a repetition: it is in the request log and makes no event
	}
	if t.host.Reports >= maxReports && !endsInstall(stage) {
		return true, nil
	}
	t.host.Stage, t.dirty = stage, true
	t.host.Reports++
	if text != "" {
		t.record(BootReport, "%s reports %s: %s", t.host.Name, stage, text)
	} else {
		t.record(BootReport, "%s reports %s", t.host.Name, stage)
	}
	return true, nil
}

// progress notes a step of many. The stage says how far the machine is at all, and stays; of
// the events that a boot may cause steps leave half to reports that say more.
func (t *turn) progress(step string) {
	h := t.host
	t.why("report.progress", step)
	t.d.Reply = Done{Text: "noted"}
	if h.Stage == "" {
		h.Stage, t.dirty = "running", true
		if h.Ticket.open(t.token.Boot) {
			h.Stage = StageInstalling
		}
	}
	most := maxReports / 2
	if strings.Contains(step, "failed") { // what went wrong is not lost behind what went well
		most = maxReports
	}
	if h.Reports < most {
		h.Reports++
		t.dirty = true
		t.record(BootReport, "%s: %s", h.Name, step)
	}
}
