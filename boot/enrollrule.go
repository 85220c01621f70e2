// enrollrule.go: what a person decides beforehand about machines that nobody
// has seen yet: these are expected, those are not wanted here.

package boot

import (
	"time"
)

// EnrollRule approves or refuses unknown machines by what is known of them. The
// first that matches decides.
type EnrollRule struct {
	Name     string
	Match    Selector
	From     time.Time // not before; zero is any time
	Until    time.Time // not from then on
	Max      int       // machines it approves in all; 0 is any number
	Deny     bool
	Template string // that the machine boots; "" is the one that matches it
	Install  bool   // arms one ticket, where the template installs
	Tags     []string
}

// approvals counts what a rule has approved. It is kept under the rule's name: a
// new name starts at zero.
func (r *EnrollRule) approvals() Counter { return ApprovedBy(r.Name) }

// shut says why a rule does not apply at this time; "" if it does.
func (r *EnrollRule) shut(now time.Time) *Reason {
	switch {
	case !r.From.IsZero() && now.Before(r.From):
		return because("rule.not-yet", r.Name, r.From.UTC().Format(time.DateTime))
	case !r.Until.IsZero() && !now.Before(r.Until):
		return because("rule.ended", r.Name, r.Until.UTC().Format(time.DateTime))
	}
	return nil
}

// byRule lets the first matching rule decide about a pending host. It reports whether
// a rule did so, or may do so when more is known.
func (t *turn) byRule() (settled bool, err error) {
	f := t.facts()
	for i := range t.p.Enroll.Rules {
		r := &t.p.Enroll.Rules[i]
		verdict := r.Match.Match(f)
		if verdict == No {
			continue
		}
		if why := r.shut(t.in.At); why != nil {
			t.note(why)
			continue
		}
		if verdict == Maybe {
			t.why("rule.maybe", r.Name)
			return true, nil
		}
		if r.Deny {
			h := t.host
			h.State, h.Auto, t.dirty = Denied, true, true
			t.barred = because("host.denied")
			t.why("rule.denies", r.Name)
			t.recordBy(r.Name, HostDenied, "%s denied by rule %s", h.Name, r.Name)
			return true, nil
		}
		if decided, err := t.approveBy(r); decided || err != nil {
			return decided, err
		}
	}
	return false, nil
}

func (t *turn) approveBy(r *EnrollRule) (bool, error) {
	n, err := t.v.Counter(r.approvals())
	if err != nil {
		return false, err
	}
	if r.Max > 0 && n >= uint64(r.Max) {
		t.why("rule.spent", r.Name, n)
		t.notice("rule "+r.Name, EnrollLimit, "rule %s has approved %d machines, all it may: %s is not approved by it; raise its max, or approve by hand (muster host approve %s)", r.Name, n, t.host.Name, t.host.Name)
		return false, nil
	}
	tags := mergeTags(t.host.Tags, r.Tags...)
	if len(tags) > maxTags { // a person gave it that many
		tags = t.host.Tags
	}
	if len(r.Tags) > 0 && t.host.Template == "" { // they may choose another template
		f := t.facts()
		f.Tags = tags
		t.choice = Choose(t.p.Templates, f)
		t.template = t.choice.Template
	}
	x := t.template
	if r.Template != "" {
		if x, err = t.v.TemplateByName(r.Template); err != nil {
			return false, err
		}
		if x == nil {
			t.why("rule.no-template", r.Name, r.Template)
			t.notice("rule "+r.Name, EnrollLimit, "rule %s names template %s, which does not exist: %s is not approved (muster template list)", r.Name, r.Template, t.host.Name)
			return true, nil // no later rule decides in its place
		}
		t.host.Template, t.template, t.choice = x.Name, x, Choice{}
	}
	if r.Install && len(t.choice.Waiting) > 0 {
		t.why("rule.waits", r.Name, names(t.choice.Waiting))
		return true, nil
	}
	t.host.Tags = tags
	why := because("enroll.by-rule", r.Name)
	if r.Max > 0 {
		why = because("enroll.by-rule-of", r.Name, n+1, r.Max)
	}
	t.approve(r.Name, why)
	t.d.Writes.count(r.approvals(), n+1)
	if h := t.host; r.Install && x != nil && x.Install && h.Ticket == nil && !h.Protected {
		h.arm(x.Name, "rule "+r.Name, t.in.At)
		t.recordBy(r.Name, TicketArm, "%s: %s, by rule %s", h.Name, h.Ticket.Standing(), r.Name)
	}
	return true, nil
}
