// pin.go: which version of a template is in force, where that is not the newest.

package boot

import "fmt"

// PinTemplate puts a version in force, whatever is pushed later; ID 0 ends that, and the
// newest is in force again. A host whose boot has begun keeps the version that it has.
type PinTemplate struct {
	Name string
	ID   TemplateID
}

func (PinTemplate) order() {}

// InForce is the number of the version of a template that is pinned; 0 is the newest.
func InForce(template string) Counter { return Counter{"version of template " + template} }

func (a *applying) pinTemplate(o PinTemplate) error {
	was, err := a.v.TemplateByName(o.Name)
	if err != nil {
		return err
	}
	if was == nil {
		return NewFault(UnknownTemplate, "no template is called %s", CleanText(o.Name, 64)).Try("muster template list")
	}
	if was.ThisRun {
		return NewFault(WrongState, "template %s is of this run of muster serve, and has no versions", was.Name)
	}
	said := "is not pinned any more: its newest version is in force"
	x, err := a.v.NewestTemplate(o.Name)
	if o.ID != 0 {
		if x, err = a.v.Template(o.ID); err == nil && (x == nil || x.Name != was.Name) {
			return NewFault(UnknownTemplate, "template %s has no such version", was.Name).Try("muster template history %s", was.Name)
		}
	}
	if err != nil {
		return err
	}
	if o.ID != 0 {
		said = fmt.Sprintf("is pinned at version %d", x.Version)
	}
	for _, other := range a.p.Templates { // it may have been pushed when they were not there
		if other.Name != x.Name && !x.Match.Empty() && other.Priority == x.Priority && SameMatch(&other.Match, &x.Match) {
			return NewFault(Taken, "version %d of template %s has the same [match] as %s at the same priority: which one a machine gets would be chance", x.Version, x.Name, other.Name)
		}
	}
	have, err := a.v.Counter(InForce(was.Name))
	if err != nil || have == uint64(o.ID) {
		return err
	}
	a.c.count(InForce(was.Name), uint64(o.ID))
	a.c.Pinned = was.Name
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: TemplatePinned, By: a.by, Text: fmt.Sprintf("template %s %s, as %s says", was.Name, said, a.by)})
	return nil
}
