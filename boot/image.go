// image.go: named sets of immutable files, shared by templates.

package boot

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Image is a set of files by name; a template names one as
// "image:debian12/vmlinuz".
type Image struct {
	Name     string          `json:"name"`
	Public   bool            `json:"public,omitempty"` // served without a boot path, to anyone on a configured network
	Imported time.Time       `json:"imported"`
	Files    map[string]Blob `json:"files"`

	// Upstream is the URL beneath which files lie that are declared and not stored: they are
	// fetched when the first machine asks, and stored then.
	Upstream string `json:"upstream,omitempty"`

	// Before are the files of a mirror that it had until its last update and has no more:
	// who read its lists then still finds what they name.
	Before []string `json:"before,omitempty"`

	Tree    string `json:"tree,omitempty"`    // the file that is a disc image whose files are served as tree/…
	Kind    string `json:"kind,omitempty"`    // what it was found to be: "debian", "folder", …
	Title   string `json:"title,omitempty"`   // the same for people, with a version
	Cmdline string `json:"cmdline,omitempty"` // what boots it, as a template would write it
	BootCfg string `json:"bootcfg,omitempty"` // of ESXi: boot.cfg for a boot from the network, as a template would write it

	Boots    []ImageBoot    `json:"boots,omitempty"`    // its kernels, one for each architecture
	Variants []ImageVariant `json:"variants,omitempty"` // ways to boot it; the first is Cmdline
	Params   []ImageParam   `json:"params,omitempty"`   // that their command lines ask for
	DiscAt   string         `json:"disc_at,omitempty"`  // where the initial file system wants the disc itself
}

// ImageBoot is a kernel of an image, with names of the image's files.
type ImageBoot struct {
	Arch   string   `json:"arch"` // x64 or arm64
	Kernel string   `json:"kernel"`
	Initrd []string `json:"initrd,omitempty"`
}

// ImageVariant is a way to boot an image.
type ImageVariant struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Cmdline string `json:"cmdline"` // as a template would write it
}

// ImageParam is a parameter of a template that boots the image.
type ImageParam struct {
	Name     string `json:"name"`
	Default  string `json:"default,omitempty"`
	Help     string `json:"help"`
	Required bool   `json:"required,omitempty"`
}

// treePrefix is where the files inside a disc image are.
const treePrefix = "tree/"

// Validate reports the first thing wrong with an image.
func (i *Image) Validate() error {
	if err := validName("image", i.Name, 63); err != nil {
		return err
	}
	if len(i.Files) == 0 {
		return fmt.Errorf("image %s has no files", i.Name)
	}
	if u, err := url.Parse(i.Upstream); i.Upstream != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(i.Upstream) > 1024) {
		return fmt.Errorf("image %s: upstream %q: want http://HOST/PATH or https://HOST/PATH, without a password, a query or a fragment", i.Name, CleanText(i.Upstream, 200))
	}
	if len(i.Boots) > maxWays || len(i.Variants) > maxWays || len(i.Params) > maxWays {
		return fmt.Errorf("image %s: more than %d kernels, variants or parameters", i.Name, maxWays)
	}
	for _, b := range i.Boots {
		if len(b.Initrd) > maxWays {
			return fmt.Errorf("image %s: more than %d initrds", i.Name, maxWays)
		}
		for _, f := range append([]string{b.Kernel}, b.Initrd...) {
			if !i.Has(f) {
				return fmt.Errorf("image %s: it is said to boot %s, which is not among its files", i.Name, CleanText(f, 200))
			}
		}
	}
	return nil
}

// maxWays bounds each list of how an image boots.
const maxWays = 32

// clean makes fit for a terminal what a medium says of itself, which anybody can write.
func (i *Image) clean() {
	i.Kind, i.Title, i.Cmdline, i.DiscAt = CleanText(i.Kind, 64), CleanText(i.Title, 200), CleanText(i.Cmdline, 4096), CleanText(i.DiscAt, 200)
	for n := range i.Boots {
		i.Boots[n].Arch = CleanText(i.Boots[n].Arch, 16)
	}
	for n := range i.Variants {
		v := &i.Variants[n]
		v.Name, v.Title, v.Cmdline = CleanText(v.Name, 64), CleanText(v.Title, 200), CleanText(v.Cmdline, 4096)
	}
	for n := range i.Params {
		p := &i.Params[n]
		p.Name, p.Default, p.Help = CleanText(p.Name, 64), CleanText(p.Default, 1024), CleanText(p.Help, 1024)
	}
}

// Has reports that a file, or a path inside the disc, is served.
func (i *Image) Has(file string) bool {
	if strings.HasPrefix(file, treePrefix) {
		return i.Tree != ""
	}
	_, ok := matchName(file, maps.Keys(i.Files))
	return ok
}

// imageFile splits "images/NAME/FILE".
func imageFile(path string) (name, file string, ok bool) {
	rest, ok := strings.CutPrefix(path, "images/")
	if !ok {
		return "", "", false
	}
	name, file, ok = strings.Cut(rest, "/")
	return name, file, ok && file != ""
}

// MirrorImage is the kind of an image that is a part of a distribution's archive.
const MirrorImage = "mirror"

// ImportImage names files that are stored already.
type ImportImage struct{ Image Image }

// RemoveImage forgets an image that no template boots.
type RemoveImage struct{ Name string }

func (ImportImage) order() {}
func (RemoveImage) order() {}

const maxBootCfg = 64 << 10

func (a *applying) importImage(o ImportImage) error {
	i := o.Image
	if err := i.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	if _, sent := i.Files[i.Tree]; i.Tree != "" && !sent {
		return NewFault(Invalid, "image %s names %s as its disc, which is not among its files", i.Name, i.Tree)
	}
	have, err := a.v.Image(i.Name)
	if err != nil {
		return err
	}
	// What reads a mirror knows that an archive goes on.
	if have != nil && !maps.Equal(have.Files, i.Files) && !(have.Kind == MirrorImage && i.Kind == MirrorImage) {
		// A boot reads kernel and initrd at two moments: a name must not
		// change its bytes between them.
		return NewFault(InUse, "image %s exists with other files, and a boot may be reading them: import under another name, such as %s-2", i.Name, i.Name)
	}
	if i.Kind == MirrorImage && have != nil {
		i.keep(have)
	}
	i.clean()
	if len(i.BootCfg) > maxBootCfg {
		return NewFault(TooLarge, "image %s: its boot.cfg has %d bytes: at most %d", i.Name, len(i.BootCfg), maxBootCfg)
	}
	if have != nil {
		if i.Imported = have.Imported; reflect.DeepEqual(i, *have) {
			a.c.Image = have
			return nil
		}
	}
	i.Imported = a.now
	a.c.Image = &i
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: ImageImported, By: a.by, Text: fmt.Sprintf("image %s imported, %d files", i.Name, len(i.Files))})
	return nil
}

// keep adds what an update of a mirror would take from machines that are in the middle of
// one: lists by their hash and packages, of the last update alone.
func (i *Image) keep(have *Image) {
	now := maps.Clone(have.Files)
	for _, n := range have.Before {
		delete(now, n)
	}
	if maps.Equal(now, i.Files) { // the same again is no update
		i.Files, i.Before = maps.Clone(have.Files), have.Before
		return
	}
	i.Files, i.Before = maps.Clone(i.Files), nil
	for _, n := range slices.Sorted(maps.Keys(now)) {
		if _, is := i.Files[n]; is || !strings.HasPrefix(n, poolPrefix) && !strings.Contains(n, "/by-hash/") || len(i.Files) >= MaxImageFiles {
			continue
		}
		i.Files[n] = now[n]
		i.Before = append(i.Before, n)
	}
}

// MaxImageFiles is the most files of an image.
const MaxImageFiles = 20_000

// poolPrefix is where the packages of an archive lie.
const poolPrefix = "pool/"

// Lazy reports a file that may not be stored: packages of a mirror are fetched when the
// first machine asks. Its lists are stored, for upstream's go on.
func (i *Image) Lazy(name string) bool {
	return i.Upstream != "" && strings.HasPrefix(name, poolPrefix)
}

// removeImage refuses an image that any version of a template boots: a host may be
// pinned to an old one.
func (a *applying) removeImage(o RemoveImage) error {
	i, err := a.v.Image(o.Name)
	if err != nil {
		return err
	}
	if i == nil {
		return NewFault(UnknownImage, "no image is called %s", CleanText(o.Name, 64)).Try("muster image list")
	}
	if t := a.p.Images[i.Name]; t != nil {
		return NewFault(InUse, "image %s is used by version %d of template %s", i.Name, t.Version, t.Name)
	}
	a.c.NoImage = i
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: ImageGone, By: a.by, Text: "image " + i.Name + " removed"})
	return nil
}
