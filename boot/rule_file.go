// rule_file.go: every other file, by name. A stranger gets loaders; an
// approved machine gets the files of the version that its boot was given.

package boot

import "strings"

func ruleFile(t *turn) (bool, error) {
	if t.dhcp() {
		return false, nil
	}
	if t.barred != "" {
		return t.refuse(false, "%s", t.barred)
	}
	if IsLoader(t.file) {
		t.why("loader %s", t.file)
		t.d.Reply = File{Ref{Kind: RefLoader, Name: t.file}}
		return true, nil
	}
	if !t.hasToken {
		return t.refuse(true, "no file %q for a machine without a boot path", t.file)
	}
	switch {
	case t.clash != "":
		return t.refuse(false, "two hosts claim this machine")
	case t.host == nil:
		return t.refuse(true, "no file %q for a machine that is not on the roll", t.file)
	case t.host.State != Approved:
		return t.refuse(false, "%s waits for approval", t.host.Name)
	case t.token.Kind != BootToken:
		return t.refuse(false, "this token can only report")
	case t.token.Version == 0:
		// The loader looks around beside itself before it has a script.
		return t.refuse(true, "no file %q before the boot script", t.file)
	}
	x, err := t.findTemplate(t.token.Version)
	if err != nil {
		return false, err
	}
	if x == nil {
		return t.refuse(true, "the template of this boot was removed")
	}
	if x.Install {
		return t.refuse(false, "template %s installs and no ticket is armed", x.Name)
	}
	m := t.machine(t.text, t.p.Key.Sign(Token{Kind: ReportToken, Host: t.host.ID, Boot: t.token.Boot, Version: x.ID, Issued: t.token.Issued}))
	m.Boot, m.Template, m.Version = int(t.token.Boot), x.Name, x.Version
	if name, ok := strings.CutPrefix(t.file, "images/"); ok {
		t.why("image %s", name)
		t.d.Reply = File{Ref{Kind: RefImage, Name: name, Template: x, Machine: m}}
		return true, nil
	}
	t.why("%s of %s version %d", t.file, x.Name, x.Version)
	t.d.Reply = File{Ref{Kind: RefTemplate, Name: t.file, Template: x, Machine: m}}
	return true, nil
}
