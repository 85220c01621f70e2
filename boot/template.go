// template.go: a set of boot files and the machines it is for.

package boot

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// TemplateID numbers pushed versions over all templates of an appliance, so
// that one small number in a token names exact bytes.
type TemplateID uint32

// Template is one pushed version. It never changes once stored.
type Template struct {
	ID      TemplateID      `json:"id"`
	Name    string          `json:"name"`
	Version int             `json:"version"` // per name, from 1, for people
	Pushed  time.Time       `json:"pushed"`
	Files   map[string]Blob `json:"files"` // by name inside the folder, template.toml among them

	Base         *Base            `json:"base,omitempty"` // the version that it extends
	Install      bool             `json:"install,omitempty"`
	FirstInstall bool             `json:"first_install,omitempty"` // a machine that a rule let in gets its first ticket, too
	Installs     string           `json:"installs,omitempty"`      // version or digest of what it installs
	Needs        Needs            `json:"needs,omitzero"`
	Media        []string         `json:"media,omitempty"`  // kernel, initrds and placed files of an installation, file or image:NAME/FILE
	Boots        []string         `json:"boots,omitempty"`  // what the script starts, kernel first, as in Media
	Secret       *SecretFiles     `json:"secret,omitempty"` // files that hold secret parameters
	Params       map[string]Param `json:"params,omitzero"`  // what it takes; nil: pushed before this was kept
	AutoApprove  bool             `json:"auto_approve,omitempty"`
	Priority     int              `json:"priority,omitempty"`
	Match        Selector         `json:"match,omitzero"`
	Options      []Option         `json:"options,omitempty"`     // DHCP options of the machines that boot it
	Generated    []string         `json:"generated,omitempty"`   // files that the server makes; the folder has none of that name
	GRUBBoots    bool             `json:"grub_boots,omitempty"`  // GRUB can start it: it names a kernel, or has a grub.cfg
	UBootBoots   bool             `json:"uboot_boots,omitempty"` // U-Boot can: it names a kernel that is no program of UEFI
	UsesDisks    bool             `json:"uses_disks,omitempty"`  // a file asks for the disks that the machine reported
	Direct       string           `json:"direct,omitempty"`      // file or image:NAME/FILE that UEFI HTTP boot starts itself
	Firmware     string           `json:"firmware,omitempty"`    // image beneath the template's own files: the firmware tree of a Raspberry Pi
	Shim         string           `json:"shim,omitempty"`        // signed loaders of its own, file or image:NAME/FILE
	GRUB         string           `json:"grub,omitempty"`

	// Placed are files that lie in the initial file system, by their names there.
	Placed map[string]string `json:"placed,omitempty"`

	ThisRun bool `json:"this_run,omitempty"` // made by "serve --kernel"; gone with the process
}

// Base is the version of another template that one extends. What it took of it is among its
// files, and stays as it is when the other changes.
type Base struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Files   []string `json:"files,omitempty"` // that are the other's
}

// SecretFiles are the rendered files of a template that secret parameters go into, and
// what a machine must show to get one.
type SecretFiles struct {
	Files []string `json:"files"`
	Needs Proof    `json:"needs"` // the least
	HTTPS bool     `json:"https,omitempty"`
}

// serves returns the name by which a template serves what is asked for.
func (t *Template) serves(name string) (string, bool) {
	return matchName(name, func(yield func(string) bool) {
		for f := range t.Files {
			if f != "template.toml" && f != "template.own.toml" && !yield(strings.TrimSuffix(f, ".tmpl")) {
				return
			}
		}
		for _, f := range t.Generated {
			if !yield(f) {
				return
			}
		}
	})
}

// A placed file is served beneath a boot's URL as an archive, which a kernel unpacks
// beside its initrd. The last part of the path keeps it apart from loaders and
// scripts: those are known by the last part of their paths, in any folder.
const placedPrefix, placedSuffix = "placed", "/archive.cpio"

// PlacedPath is the path under which the file to be placed at name is served.
func PlacedPath(at string) string { return placedPrefix + at + placedSuffix }

// placedName is the inverse: the name in the initial file system of a served path.
func placedName(path string) (at string, ok bool) {
	at, ok = strings.CutSuffix(path, placedSuffix)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(at, placedPrefix)
}

// Blob is a file by the SHA-256 of its bytes.
type Blob struct {
	Digest string `json:"digest"` // 64 hexadecimal digits
	Size   int64  `json:"size"`
}

// Selector is a table of conditions. Every condition that is present must hold; an
// absent one matches any machine. Within a condition one matching value suffices.
type Selector struct {
	Arch        []Platform `json:"arch,omitempty" toml:"arch"`
	MAC         []string   `json:"mac,omitempty" toml:"mac"`
	UUID        []UUID     `json:"uuid,omitempty" toml:"uuid"`
	Serial      []string   `json:"serial,omitempty" toml:"serial"`
	VendorClass []string   `json:"vendor_class,omitempty" toml:"vendor_class"`
	SwitchPort  []string   `json:"switch_port,omitempty" toml:"switch_port"`
	Network     []string   `json:"network,omitempty" toml:"network"`
	Tag         []string   `json:"tag,omitempty" toml:"tag"` // of the host on the roll
}

// Facts are what a selector may look at. Complete says that nothing more will
// be learned in this boot: a serial still absent then will not come.
type Facts struct {
	ID          Identity
	Platform    Platform
	VendorClass string
	SwitchPort  string
	Network     string
	Known       bool     // the host on the roll is known, and Tags are its tags
	Tags        []string // a pattern means a tag whole, or its key
	Complete    bool
}

// Empty reports a selector that matches every machine.
func (s *Selector) Empty() bool {
	return len(s.Arch)+len(s.MAC)+len(s.UUID)+len(s.Serial)+len(s.VendorClass)+len(s.SwitchPort)+len(s.Network)+len(s.Tag) == 0
}

// Verdict of a selector: no, not yet known, yes.
type Verdict int

// Maybe means that a fact which is still missing could make it match.
const (
	No Verdict = iota
	Maybe
	Yes
)

// macPattern is how a pattern for MAC addresses is compared.
func macPattern(p string) string { return strings.ToLower(strings.ReplaceAll(p, "-", ":")) }

// glob matches as path.Match does, but "/" is an ordinary character.
func glob(pattern, s string) bool {
	// "PXEClient*" and its like, which every packet is compared with.
	if p, ok := strings.CutSuffix(pattern, "*"); ok && literal(p) {
		return strings.HasPrefix(s, p)
	}
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01"))
	return ok && err == nil
}

func anyGlob(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

// Match judges one selector against the facts known so far.
func (s *Selector) Match(f Facts) Verdict {
	v := Yes
	// Of thousands of templates nearly all fail at their first condition: the others are
	// not looked at.
	cond := func(wanted int, known bool, holds func() bool) {
		switch {
		case wanted == 0 || v == No || known && holds():
		case !known && !f.Complete:
			v = Maybe
		default:
			v = No
		}
	}
	cond(len(s.Arch), f.Platform != "", func() bool { return slices.Contains(s.Arch, f.Platform) })
	cond(len(s.MAC), !f.ID.MAC.IsZero(), func() bool {
		mac := f.ID.MAC.String()
		return slices.ContainsFunc(s.MAC, func(p string) bool { return glob(macPattern(p), mac) })
	})
	cond(len(s.UUID), !f.ID.UUID.IsZero(), func() bool { return slices.Contains(s.UUID, f.ID.UUID) || slices.Contains(s.UUID, f.ID.UUID.Swapped()) })
	cond(len(s.Serial), f.ID.Serial != "", func() bool { return anyGlob(s.Serial, f.ID.Serial) })
	cond(len(s.VendorClass), f.VendorClass != "", func() bool { return anyGlob(s.VendorClass, f.VendorClass) })
	cond(len(s.SwitchPort), f.SwitchPort != "", func() bool { return anyGlob(s.SwitchPort, f.SwitchPort) })
	cond(len(s.Network), f.Network != "", func() bool { return slices.Contains(s.Network, f.Network) })
	cond(len(s.Tag), f.Known, func() bool {
		return slices.ContainsFunc(f.Tags, func(t string) bool { return anyGlob(s.Tag, t) || slices.Contains(s.Tag, TagKey(t)) })
	})
	return v
}

// misses names the first condition that a machine does not meet and what it has
// instead; "" where all are met or may be.
func (s *Selector) misses(f Facts) string {
	if s.Match(f) != No {
		return ""
	}
	list := func(l []string) string { return strings.Join(l[:min(len(l), 5)], " or ") }
	var arch, uuid []string
	for _, p := range s.Arch {
		arch = append(arch, string(p))
	}
	for _, u := range s.UUID {
		uuid = append(uuid, u.String())
	}
	for _, c := range []struct {
		what string
		one  Selector
		want []string
		has  string
	}{
		{"architecture", Selector{Arch: s.Arch}, arch, string(f.Platform)}, {"MAC", Selector{MAC: s.MAC}, s.MAC, f.ID.MAC.String()}, {"UUID", Selector{UUID: s.UUID}, uuid, f.ID.UUID.String()},
		{"serial", Selector{Serial: s.Serial}, s.Serial, f.ID.Serial}, {"vendor class", Selector{VendorClass: s.VendorClass}, s.VendorClass, f.VendorClass},
		{"switch port", Selector{SwitchPort: s.SwitchPort}, s.SwitchPort, f.SwitchPort}, {"network", Selector{Network: s.Network}, s.Network, f.Network},
		{"tag", Selector{Tag: s.Tag}, s.Tag, strings.Join(f.Tags, ", ")},
	} {
		if c.one.Match(f) == No {
			return c.what + " " + list(c.want) + ", and this one has " + orNone(CleanText(c.has, 64))
		}
	}
	return ""
}

func literal(p string) bool { return !strings.ContainsAny(p, "*?[\\") }

// strength ranks a selector by its strongest condition. From strong to weak: exact
// MAC, UUID or serial, tag, which a person gave, switch port, serial pattern, MAC prefix,
// vendor class, network, architecture.
func (s *Selector) strength() int {
	switch {
	case len(s.UUID) > 0, len(s.MAC) > 0 && !slices.ContainsFunc(s.MAC, func(p string) bool { return !literal(p) }),
		len(s.Serial) > 0 && !slices.ContainsFunc(s.Serial, func(p string) bool { return !literal(p) }):
		return 8
	case len(s.Tag) > 0:
		return 7
	case len(s.SwitchPort) > 0:
		return 6
	case len(s.Serial) > 0:
		return 5
	case len(s.MAC) > 0:
		return 4
	case len(s.VendorClass) > 0:
		return 3
	case len(s.Network) > 0:
		return 2
	case len(s.Arch) > 0:
		return 1
	}
	return 0
}

func (s *Selector) conditions() int {
	n := 0
	for _, l := range []int{len(s.Arch), len(s.MAC), len(s.UUID), len(s.Serial), len(s.VendorClass), len(s.SwitchPort), len(s.Network), len(s.Tag)} {
		if l > 0 {
			n++
		}
	}
	return n
}

// patternLen is the length of the shortest pattern of each kind: a selector is
// only as exact as its loosest alternative.
func (s *Selector) patternLen() int {
	n := 0
	for _, list := range [][]string{s.MAC, s.Serial, s.VendorClass, s.SwitchPort, s.Tag} {
		if len(list) > 0 {
			n += len(slices.MinFunc(list, func(a, b string) int { return len(a) - len(b) }))
		}
	}
	return n
}

// compareTemplates orders templates strongest first. It is total: names are
// unique among the newest versions.
func compareTemplates(a, b *Template) int {
	return cmp.Or(
		-cmp.Compare(a.Priority, b.Priority),
		-cmp.Compare(a.Match.strength(), b.Match.strength()),
		-cmp.Compare(a.Match.conditions(), b.Match.conditions()),
		-cmp.Compare(a.Match.patternLen(), b.Match.patternLen()),
		cmp.Compare(a.Name, b.Name),
	)
}

// SameRank reports two templates whose order only their names decide.
func SameRank(a, b *Template) bool {
	x, y := *a, *b
	x.Name, y.Name = "", ""
	return compareTemplates(&x, &y) == 0
}

// SortTemplates puts the newest versions into the order in which they are
// tried.
func SortTemplates(ts []*Template) { slices.SortFunc(ts, compareTemplates) }

// Choice is the outcome of trying every template against the facts.
type Choice struct {
	Template *Template   // the strongest that matches, or nil
	Losers   []*Template // others that match
	Waiting  []*Template // stronger ones that a missing fact could still make match
}

// Choose tries templates in order; ts must be sorted. A template without conditions
// is never chosen here: it is used by hosts that name it.
func Choose(ts []*Template, f Facts) Choice {
	var c Choice
	for _, t := range ts {
		if t.Match.Empty() {
			continue
		}
		switch t.Match.Match(f) {
		case Yes:
			if c.Template == nil {
				c.Template = t
			} else {
				c.Losers = append(c.Losers, t)
			}
		case Maybe:
			if c.Template == nil {
				c.Waiting = append(c.Waiting, t)
			}
		}
	}
	return c
}

// Validate reports the first thing wrong with a template's own fields; what is
// inside its files is for package templates to judge.
func (t *Template) Validate() error {
	if err := validName("template", t.Name, 63); err != nil {
		return err
	}
	if t.AutoApprove && t.Match.Empty() {
		return fmt.Errorf("template %s: auto_approve without [match] would boot every unknown machine; add a condition, for example mac = \"52:54:00:*\"", t.Name)
	}
	if key, err := t.Match.Validate(); err != nil {
		return fmt.Errorf("template %s: match.%s %w", t.Name, key, err)
	}
	return nil
}

// Validate reports the first condition that could never be met, and its key.
func (s *Selector) Validate() (key string, err error) {
	for _, p := range s.Arch {
		if !KnownPlatform(p) {
			return "arch", fmt.Errorf("%q is no architecture; examples: bios, x64-uefi, arm64-uefi", p)
		}
	}
	for _, c := range []struct {
		key      string
		patterns []string
	}{{"mac", s.MAC}, {"serial", s.Serial}, {"vendor_class", s.VendorClass}, {"switch_port", s.SwitchPort}, {"tag", s.Tag}} {
		for _, p := range c.patterns {
			if err := ValidPattern(p); err != nil {
				return c.key, err
			}
		}
	}
	for _, u := range s.UUID {
		if u.Junk() {
			return "uuid", fmt.Errorf("%s is a value many boards share", u)
		}
	}
	return "", nil
}

// ValidPattern reports what is wrong with a pattern of a selector.
func ValidPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil || p == "" || len(p) > 128 {
		return fmt.Errorf("%q is not a pattern: use letters and * or ?", p)
	}
	return nil
}

// MediaPaths are what an installation begins with, by their names beneath a boot's URL.
func (t *Template) MediaPaths() []string {
	out := make([]string, len(t.Media))
	for i, f := range t.Media {
		out[i] = refPath(f)
	}
	return out
}

// SameMatch reports selectors with the same conditions, whatever their order.
func SameMatch(a, b *Selector) bool { return a.key() == b.key() }

func (s *Selector) key() string {
	sorted := func(l []string) string {
		l = slices.Clone(l)
		slices.Sort(l)
		return strings.Join(l, "\x00")
	}
	var arch, uuid []string
	for _, a := range s.Arch {
		arch = append(arch, string(a))
	}
	for _, u := range s.UUID {
		uuid = append(uuid, u.String())
	}
	return strings.Join([]string{sorted(arch), sorted(s.MAC), sorted(uuid), sorted(s.Serial), sorted(s.VendorClass), sorted(s.SwitchPort), sorted(s.Network), sorted(s.Tag)}, "\x01")
}
