// rule_report.go: the machine phones home. Served is not booted: only the
// machine itself can say that it runs.

package boot

func ruleReport(t *turn) (bool, error) {
	if t.dhcp() || t.file != "report" {
		return false, nil
	}
	if !t.hasToken || t.host == nil {
		return t.refuse(false, "a report needs the URL that the boot script carried")
	}
	if t.in.Want.Head {
		t.why("probe")
		t.d.Reply = Done{Text: "report"}
		return true, nil
	}
	stage := cleanText(t.in.Want.Query.Stage, 64)
	if stage == "" {
		stage = "running"
	}
	text := cleanText(t.in.Want.Query.Text, 512)
	t.why("%s", stage)
	t.d.Reply = Done{Text: "noted: " + stage}
	if t.host.Stage == stage && text == "" {
		return true, nil // said before: in the request log, not an event
	}
	t.host.Stage, t.dirty = stage, true
	if text != "" {
		t.record(BootReport, "%s reports %s: %s", t.host.Name, stage, text)
	} else {
		t.record(BootReport, "%s reports %s", t.host.Name, stage)
	}
	return true, nil
}
