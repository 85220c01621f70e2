// rule_file.go: every other file, by name. A stranger gets loaders; an
// approved machine gets the files of the version that its boot was given.

package boot

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
	if name, file, ok := imageFile(t.file); ok && !t.hasToken {
		return t.image(name, file, true)
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
	if name, file, ok := imageFile(t.file); ok {
		return t.image(name, file, false)
	}
	t.why("%s of %s version %d", t.file, x.Name, x.Version)
	t.d.Reply = File{Ref{Kind: RefTemplate, Name: t.file, Template: x, Machine: m}}
	return true, nil
}

// image answers with a file of an image. Without a boot path only public
// images exist.
func (t *turn) image(name, file string, publicOnly bool) (bool, error) {
	img, err := t.v.Image(name)
	if err != nil {
		return false, err
	}
	if img == nil || publicOnly && !img.Public {
		return t.refuse(true, "no image %s for this machine", name)
	}
	b, ok := img.Files[file]
	if !ok {
		return t.refuse(true, "image %s has no file %s", name, file)
	}
	t.why("%s of image %s", file, name)
	t.d.Reply = File{Ref{Kind: RefImage, Name: file, Blob: b}}
	return true, nil
}
