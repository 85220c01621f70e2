// push.go: storing and dropping templates.

package boot

import (
	"fmt"
	"slices"
	"strings"
)

func (a *applying) push(o PushTemplate) error {
	t := o.Template
	if t.Install && len(t.Media) == 0 {
		return NewFault(Invalid, "template %s has install = true and no kernel in [boot]: an installation ends its ticket when kernel and initrd have left, so name them there", t.Name)
	}
	if t.Install {
		for _, f := range []string{"boot.ipxe", "boot.ipxe.tmpl", "grub.cfg", "grub.cfg.tmpl"} {
			if _, has := t.Files[f]; has {
				return NewFault(Invalid, "template %s has install = true and a %s of its own: what a script of yours reads cannot be counted, and the machine could be installed twice; leave the script to [boot]", t.Name, f)
			}
		}
		for i, f := range t.Media {
			if slices.ContainsFunc(t.Media[:i], func(o string) bool { return strings.EqualFold(o, f) }) {
				return NewFault(Invalid, "template %s names %s twice in [boot]: an installation counts each file once", t.Name, f)
			}
		}
	}
	if err := t.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	last, err := a.v.Counter(LastTemplate)
	if err != nil {
		return err
	}
	old, err := a.v.NewestTemplate(t.Name)
	if err != nil {
		return err
	}
	pinned, err := a.v.Counter(InForce(t.Name))
	if err != nil {
		return err
	}
	if pinned != 0 {
		a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("template %s is pinned at another version: this one is stored, and boots nothing until muster template unpin %s", t.Name, t.Name))
	}
	t.ID, t.Version, t.Pushed, t.ThisRun = TemplateID(last+1), 1, a.now, false
	if old != nil {
		t.Version = old.Version + 1
	}
	for _, other := range a.p.Templates {
		if other.Name != t.Name && !t.Match.Empty() && other.Priority == t.Priority && SameMatch(&other.Match, &t.Match) {
			return NewFault(Taken, "template %s has the same [match] as %s at the same priority: which one a machine gets would be chance; give one a higher priority", t.Name, other.Name)
		}
		if other.Name != t.Name && !other.Match.Empty() && !t.Match.Empty() && SameRank(other, &t) {
			a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("a machine that matches both %s and %s gets %s, because of its name; a priority would say so", t.Name, other.Name, min(t.Name, other.Name)))
		}
	}
	var upon []string
	for _, other := range a.p.Templates {
		if other.Base != nil && other.Base.Name == t.Name && other.Name != t.Name {
			upon = append(upon, other.Name)
		}
	}
	if len(upon) > 0 {
		a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("%s extends %s and keeps what it took of it: push it again for this version to count there", strings.Join(upon, ", "), t.Name))
	}
	if err := a.lacks(o.Images); err != nil {
		return err
	}
	if err := a.sameArch(&t); err != nil {
		return err
	}
	a.c.Template = &t
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: TemplatePush, By: a.by, Text: fmt.Sprintf("template %s version %d pushed, %d files", t.Name, t.Version, len(t.Files))})
	return nil
}

// sameArch refuses a template for machines that cannot run the kernel of its image.
func (a *applying) sameArch(t *Template) error {
	for _, ref := range t.Boots {
		name, file, ok := imageFile(refPath(ref))
		if !ok {
			continue
		}
		i, err := a.v.Image(name)
		if err != nil {
			return err
		}
		if i == nil {
			continue
		}
		n := slices.IndexFunc(i.Boots, func(b ImageBoot) bool { return b.Kernel == file })
		if n < 0 {
			continue
		}
		for _, arches := range [][]Platform{t.Match.Arch, t.Needs.Arch} {
			if len(arches) > 0 && !slices.ContainsFunc(arches, func(p Platform) bool { return p.runs(i.Boots[n].Arch) }) {
				return NewFault(Invalid, "template %s is for machines with %s, and the kernel of image %s, %s, is for %s", t.Name, either(arches), i.Name, file, i.Boots[n].Arch)
			}
		}
	}
	return nil
}

// drop refuses to forget a template that a rule or a host names. Hosts that a
// pushed version was chosen for keep it.
func (a *applying) drop(o DropTemplate) error {
	t, err := a.v.TemplateByName(o.Name)
	if err != nil {
		return err
	}
	if t == nil {
		return NewFault(UnknownTemplate, "no template is called %s", CleanText(o.Name, 64)).Try("muster template list")
	}
	for _, r := range a.p.Enroll.Rules {
		if r.Template == t.Name {
			return NewFault(InUse, "template %s is named by rule %s of the configuration", t.Name, r.Name)
		}
	}
	switch n, err := a.v.Counter(NamedBy(t.Name)); {
	case err != nil:
		return err
	case n > 0:
		hosts := "hosts name"
		if n == 1 {
			hosts = "host names"
		}
		return NewFault(InUse, "template %s is in use: %d %s it", t.Name, n, hosts).Try("muster host list")
	}
	a.c.Drop = t.Name
	a.c.count(InForce(t.Name), 0)
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: TemplateGone, By: a.by, Text: "template " + t.Name + " removed"})
	return nil
}

// lacks warns of images that a template needs and that are missing, or of another
// kind than it expects. They may still come: until then a machine that boots the
// template is refused.
func (a *applying) lacks(refs []string) error {
	for _, ref := range refs {
		name, file, _ := strings.Cut(ref, "/")
		i, err := a.v.Image(name)
		said := ""
		switch {
		case err != nil:
			return err
		case i == nil:
			said = fmt.Sprintf("there is no image %s yet: muster image import %s …, before a machine boots this", name, name)
		case file != "" && !i.Has(file):
			said = fmt.Sprintf("image %s has no file %s: muster image show %s lists what it has", name, file, name)
		}
		if said != "" && !slices.Contains(a.c.Warnings, said) {
			a.c.Warnings = append(a.c.Warnings, said)
		}
	}
	return nil
}
