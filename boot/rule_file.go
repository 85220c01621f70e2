// rule_file.go: every other file, by name. A stranger gets loaders; an
// approved machine gets the files of the version that its boot was given.

package boot

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func ruleFile(t *turn) (bool, error) {
	if t.dhcp() {
		return false, nil
	}
	if t.barred != nil {
		return t.refuseFor(false, t.barred)
	}
	if t.ask.kind == askLoader {
		return t.loader(t.ask.meant)
	}
	if t.ask.kind == askImage && !t.hasToken {
		return t.image(t.ask.image, t.ask.meant, true)
	}
	if !t.hasToken && t.ask.name == AnswerFile && t.host != nil && t.host.Boots > 0 && !t.believed {
		t.ofPresentBoot()
	}
	if !t.hasToken {
		return t.refuse(true, "file.no-path", strconv.Quote(t.ask.name))
	}
	switch {
	case t.clash != nil:
		return t.refuse(false, "file.unclear")
	case t.host == nil:
		return t.refuse(true, "file.stranger", strconv.Quote(t.ask.name))
	case t.host.State != Approved:
		return t.refuse(false, "file.pending", t.host.Name)
	case t.token.Kind != BootToken:
		return t.refuse(false, "file.report-token")
	case t.token.Version == 0:
		// The loader looks for files beside itself before it has a script.
		return t.refuse(true, "file.early", strconv.Quote(t.ask.name))
	}
	x, err := t.findTemplate(t.token.Version)
	if err != nil {
		return false, err
	}
	if x == nil {
		return t.refuse(true, "file.template-gone")
	}
	if x.Install {
		if why := t.running(x); why != nil {
			return t.refuseFor(false, why)
		}
	}
	if x.Direct != "" && !x.Install && refPath(x.Direct) == t.ask.name && !t.in.Want.Head && Age(t.in.At, t.host.Booted) > bootGap {
		// Where firmware starts a file itself, no script numbers the boot.
		t.beginBoot(x)
		t.record(BootScript, "%s boots %s version %d directly (boot %d)", t.host.Name, x.Name, x.Version, t.host.Boots)
	}
	number := t.token.Boot
	if number == 0 {
		number = t.host.Boots // a path of DHCP, which is no boot's
	}
	if name, file := t.ask.image, t.ask.meant; t.ask.kind == askImage { // as it is, whoever asks
		if done, err := t.image(name, file, false); err != nil || !x.Install {
			return done, err
		}
		if f, ok := t.d.Reply.(File); ok {
			if f.Ref.Kind == RefImage {
				file = f.Ref.Name
			}
			return t.spend(x, "images/"+name+"/"+file)
		}
		return true, nil
	}
	path := t.text
	if t.token.Issued.IsZero() {
		path = "" // what is known by the lease alone is not told a path that proves more
	}
	m, err := t.boots(x, path, t.p.Key.Sign(Token{Kind: ReportToken, Host: t.host.ID, Boot: number, Version: x.ID, Issued: cmp.Or(t.token.Issued, t.in.At.UTC().Truncate(time.Minute))}))
	if err != nil {
		return false, err
	}
	m.Boot = int(number)
	if ref := x.Placed[t.ask.meant]; t.ask.kind == askPlaced && ref != "" {
		done, err := t.templateFile(x, ref, m)
		f, ok := t.d.Reply.(File)
		if err != nil || !ok {
			return done, err
		}
		f.Ref.Placed = t.ask.meant
		t.d.Reply = f
		if x.Install {
			return t.spend(x, t.ask.name)
		}
		return true, nil
	}
	f, ok := x.serves(t.ask.name)
	if !ok {
		return t.refuse(true, "file.none-in-template", x.Name, x.Version, t.ask.name)
	}
	if x.Secret != nil && slices.Contains(x.Secret.Files, f) {
		why, err := t.secrets(x, &m)
		if err != nil {
			return false, err
		}
		if why != nil {
			t.notice("secret "+t.host.Name+" "+string(why.Code), SecretRefused, "%s was refused %s: %s", t.host.Name, f, why.Text())
			return t.refuseFor(false, why)
		}
	}
	t.why("file.of-template", f, x.Name, x.Version)
	t.d.Reply = File{Ref{Kind: RefTemplate, Name: f, Template: x, Machine: m}}
	if x.Install {
		return t.spend(x, f)
	}
	return true, nil
}

// AnswerFile is the file of a template that a machine asks for by one URL, which is the same
// for all: Proxmox's disc is prepared with it, and its installer POSTs what it knows of the
// machine.
const AnswerFile = "answer.toml"

// ofPresentBoot makes a request without a path one of the host's present boot. Who asks is
// known by its lease, and no better: the path, which has no time, is never signed.
func (t *turn) ofPresentBoot() {
	h := t.host
	t.token = Token{Kind: BootToken, Host: h.ID, Boot: h.Boots, Version: h.Runs}
	t.hasToken, t.d.Boot = true, h.Boots
	t.why("file.present-boot", t.ask.name, h.Boots)
}

// loader answers with a boot loader: the common one, or one of the signed pair of
// the template that the boot path names, because a shim decides which kernel may
// boot.
func (t *turn) loader(name string) (bool, error) {
	if t.hasToken && t.token.Kind == BootToken && t.token.Version != 0 && t.host != nil && t.host.State == Approved && t.clash == nil {
		x, err := t.findTemplate(t.token.Version)
		if err != nil {
			return false, err
		}
		if x != nil && x.Shim != "" {
			if pair, ok := templatePair(loaderPlatform(name)); ok && (name == pair.Shim || name == pair.Next) {
				ref := x.Shim
				if name == pair.Next {
					ref = x.GRUB
				}
				return t.templateFile(x, ref, Machine{}) // nothing signed is rendered
			}
		}
	}
	if h := t.host; h != nil && h.Secure == SecureOff && h.Tried.IsZero() && unsigned(name) && !t.in.Want.Head && len(t.p.Signed) > 0 {
		// If the loader asks for nothing afterwards, Secure Boot is on: see bootInfo.
		h.Tried, t.dirty = t.in.At.UTC(), true
	}
	if t.in.Firmware.IPXE && !t.hasToken && t.ask.name == name && signedLoaders[name] == "" {
		// Another DHCP server tells one file name to everybody, and to iPXE its own:
		// it would go round for ever. It runs a script by whatever name that comes. The
		// script asks for the loader in a folder, where a build has no HTTP.
		return t.builtin("round", because("script.own-name", name))
	}
	t.why("file.loader", name)
	t.d.Reply = File{Ref{Kind: RefLoader, Name: name}}
	return true, nil
}

// templateFile answers with what a template names: a file of its folder, or of
// an image. One of the folder may be rendered, for m.
func (t *turn) templateFile(x *Template, ref string, m Machine) (bool, error) {
	if name, file, ok := imageFile(refPath(ref)); ok {
		return t.image(name, file, false)
	}
	t.why("file.of-template", ref, x.Name, x.Version)
	t.d.Reply = File{Ref{Kind: RefTemplate, Name: ref, Template: x, Machine: m}}
	return true, nil
}

// refPath is where beneath a boot path a template's reference is: "vmlinuz" as
// it is, "image:debian12/vmlinuz" as images/debian12/vmlinuz.
func refPath(ref string) string {
	if img, ok := strings.CutPrefix(ref, "image:"); ok {
		return "images/" + img
	}
	return ref
}

// image answers with a file of an image. Without a boot path only public
// images exist.
func (t *turn) image(name, file string, publicOnly bool) (bool, error) {
	img, err := t.v.Image(name)
	if err != nil {
		return false, err
	}
	if img == nil || publicOnly && !img.Public {
		return t.refuse(true, "file.no-image", name)
	}
	if inside, ok := strings.CutPrefix(file, treePrefix); ok && img.Tree != "" {
		t.why("file.inside", inside, img.Tree, name)
		t.d.Reply = File{Ref{Kind: RefTree, Name: inside, Blob: img.Files[img.Tree]}}
		return true, nil
	}
	f, ok := file, false
	b, ok := img.Files[f]
	if !ok {
		if f, ok = matchName(file, maps.Keys(img.Files)); !ok {
			return t.refuse(true, "file.none-in-image", name, file)
		}
		b = img.Files[f]
	}
	t.why("file.of-image", f, name)
	ref := Ref{Kind: RefImage, Name: f, Blob: b}
	if img.Lazy(f) {
		ref.Upstream = strings.TrimSuffix(img.Upstream, "/") + "/" + (&url.URL{Path: f}).EscapedPath()
	}
	t.d.Reply = File{ref}
	return true, nil
}
