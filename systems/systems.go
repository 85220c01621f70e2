// Package systems knows the systems that people install: how to recognise one's
// medium, where its kernels are, and what they must be told to find the rest of
// it over HTTP. All of that is data: one folder for each system, whose system.toml
// says it. The code only compares. It must not know how files are stored or served.
package systems

// This file reads the data and says what may stand in it.

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/musterboot/muster/internal/tomlfile"
)

//go:embed params.toml */system.toml */*/* shared/*
var data embed.FS

// Kinds of boot.
const (
	Linux   = "linux"   // kernel, initrds and a command line
	Program = "program" // a program that boots as a kernel does, without an initrd
	ESXi    = "esxi"    // mboot.efi as a kernel, with a boot.cfg, see BootConfig
	Pi      = "pi"      // the tree of files that a Raspberry Pi's firmware reads
	None    = "none"    // no medium at all: what the catalogue has without one
	Disc    = "disc"    // recognised, and nothing of it can be booted but the disc; the notes say why
)

// System is what a folder's system.toml says.
type System struct {
	Name  string   `toml:"name"`
	Title string   `toml:"title"`
	Named *Source  `toml:"named"` // where the medium says its own title
	Kind  string   `toml:"kind"`
	Notes []string `toml:"notes"` // for people; one sentence each

	// Like names the system whose boot files, ways to boot and notes these are too.
	// Generic: looked for when no other system was found.
	Like    string `toml:"like"`
	Generic bool   `toml:"generic"`

	// Tree: the installer fetches files of the medium, which must be served as
	// @IMAGE@/tree/PATH. WholeISO: it fetches the medium itself, as @ISO@.
	// ISOInInitrd: the medium must be in the initial file system under this
	// name.
	Tree        bool   `toml:"tree"`
	WholeISO    bool   `toml:"whole_iso"`
	ISOInInitrd string `toml:"iso_in_initrd"`

	// NeedsMedium: the initrd looks for the medium in the machine. It boots
	// from the network, but then asks for a CD.
	NeedsMedium bool `toml:"needs_medium"`

	Detect   []Condition      `toml:"detect"` // one of them must hold
	Version  []Source         `toml:"version"`
	Arches   []ArchSpec       `toml:"arch"`
	Variants []VariantSpec    `toml:"variant"`
	Params   map[string]Param `toml:"params"` // that a command line uses

	Templates []Template `toml:"template"` // of the catalogue

	file string
}

// Condition holds when every test that it names holds.
type Condition struct {
	Label  []string          `toml:"label"`  // volume labels; one must fit
	Files  []string          `toml:"files"`  // each must exist
	Absent []string          `toml:"absent"` // none may exist
	Text   map[string]string `toml:"text"`   // file: regular expression found in it

	exprs map[string]*regexp.Regexp // of Text
}

// Source is where a version is read from: the groups of Match, joined.
type Source struct {
	File  string `toml:"file"` // none: the volume label
	Match string `toml:"match"`
	Join  string `toml:"join"` // "." if not given

	match *regexp.Regexp
}

// ArchSpec is a kernel. Of several for one platform, the first that exists
// counts. A * matches any part of a name. In an initrd or extra file it stands
// for the text that it matched in the kernel's name.
type ArchSpec struct {
	Condition
	Platform string   `toml:"platform"` // x64 or arm64
	Kernel   string   `toml:"kernel"`
	Initrd   []string `toml:"initrd"`
	Extra    []string `toml:"extra"` // files that must also exist for it to boot
	Also     []string `toml:"also"`  // files that are taken if they exist
}

// VariantSpec is a way to boot it. The first that applies is the default.
type VariantSpec struct {
	Condition
	Name    string `toml:"name"`
	Title   string `toml:"title"`
	Cmdline string `toml:"cmdline"` // see Expand
}

// Param is a value that a command line, or a file of a catalogue's template, asks for
// as {{ .Params.NAME }}. What templates alone have is as in a template.toml.
type Param struct {
	Name     string   `toml:"-"`
	Default  string   `toml:"default"`
	Required bool     `toml:"required"` // without a value nothing boots
	Help     string   `toml:"help"`
	Type     string   `toml:"type"` // "" is string
	Secret   bool     `toml:"secret"`
	Enum     []string `toml:"enum"`
	Pattern  string   `toml:"pattern"`
	Example  string   `toml:"example"`
}

// All returns all systems in the order in which they are looked for: by name, the
// generic ones last.
func All() []System {
	return slices.DeleteFunc(slices.Clone(load()), func(s System) bool { return s.Kind == None })
}

// KindOf is the kind of boot of a system's media, "" for a name that is no system.
func KindOf(name string) string {
	for _, s := range load() {
		if s.Name == name {
			return s.Kind
		}
	}
	return ""
}

// The data is part of the program, and a test parses all of it. So a user
// cannot see a parse error.
var load = sync.OnceValue(func() []System {
	files, err := fs.Glob(data, "*/system.toml")
	var all []System
	for _, f := range files {
		d, e := read(path.Dir(f))
		err = errors.Join(err, e)
		if d != nil {
			all = append(all, *d)
		}
	}
	if err != nil {
		panic(err)
	}
	slices.SortFunc(all, func(a, b System) int {
		switch {
		case a.Generic == b.Generic:
			return strings.Compare(a.Name, b.Name)
		case a.Generic:
			return 1
		}
		return -1
	})
	return all
})

// read reads one system, and the one that it is like.
func read(name string) (*System, error) {
	b, err := data.ReadFile(name + "/system.toml")
	if err != nil {
		return nil, err
	}
	return parse(name+"/system.toml", b, read)
}

var (
	nameRE = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	mark   = regexp.MustCompile(`@[A-Z]+@`)
)

// parse reads a system.toml strictly; read finds another system.
func parse(file string, b []byte, read func(name string) (*System, error)) (*System, error) {
	d := &System{file: file}
	f, err := tomlfile.Decode(d.file, b, d)
	if err != nil {
		return nil, err
	}
	if d.Like != "" {
		if d.Kind != "" || len(d.Arches)+len(d.Variants)+len(d.Params) > 0 {
			return nil, f.Errorf("like", 0, "kind, [[arch]], [[variant]] and [params] are those of %s", d.Like)
		}
		base, err := read(d.Like)
		if err != nil {
			return nil, f.Errorf("like", 0, "%v", err)
		}
		d.Kind, d.Tree, d.WholeISO, d.Arches, d.Variants, d.Params = base.Kind, base.Tree, base.WholeISO, base.Arches, base.Variants, base.Params
		d.Notes, d.Templates = slices.Concat(d.Notes, base.Notes), slices.Concat(d.Templates, base.Templates)
	}
	switch {
	case d.Name != path.Dir(d.file) || !nameRE.MatchString(d.Name):
		return nil, f.Errorf("name", 0, "name %q: want the name of the folder", d.Name)
	case d.Title == "":
		return nil, f.Errorf("title", 0, "a title is missing")
	case !slices.Contains([]string{Linux, Program, ESXi, Pi, Disc, None}, d.Kind):
		return nil, f.Errorf("kind", 0, "kind %q: want linux, program, esxi, pi, disc or none", d.Kind)
	case d.Kind == None && len(d.Detect)+len(d.Arches)+len(d.Variants) > 0:
		return nil, f.Errorf("kind", 0, "without a medium there is neither [[detect]], [[arch]] nor [[variant]]")
	case d.Kind == Disc && (len(d.Detect) == 0 || len(d.Arches)+len(d.Variants) > 0 || len(d.Notes) == 0):
		return nil, f.Errorf("kind", 0, "a disc that does not boot has a [[detect]], neither [[arch]] nor [[variant]], and says in its notes why")
	case d.Kind != Disc && d.Kind != None && (len(d.Detect) == 0 || len(d.Arches) == 0 || len(d.Variants) == 0):
		return nil, f.Errorf("name", 0, "want at least one [[detect]], [[arch]] and [[variant]]")
	case d.ISOInInitrd != "" && !d.WholeISO:
		return nil, f.Errorf("iso_in_initrd", 0, "without whole_iso there is no ISO to put into the initrd")
	}
	for i := range d.Detect {
		c := &d.Detect[i]
		if len(c.Label)+len(c.Files)+len(c.Text) == 0 {
			return nil, f.Errorf("detect", i, "names nothing that a medium must have")
		}
		if err := c.compile(); err != nil {
			return nil, f.Errorf("detect", i, "%v", err)
		}
	}
	for i := range d.Version {
		if err := d.Version[i].compile(); err != nil {
			return nil, f.Errorf("version", i, "%v", err)
		}
	}
	if d.Named != nil {
		if err := d.Named.compile(); err != nil {
			return nil, f.Errorf("named", 0, "%v", err)
		}
	}
	for i := range d.Arches {
		a := &d.Arches[i]
		if a.Platform != "x64" && a.Platform != "arm64" {
			return nil, f.ErrorIn("arch", i, "platform", "platform %q: want x64 or arm64", a.Platform)
		}
		stars := strings.Count(a.Kernel, "*")
		for _, p := range slices.Concat([]string{a.Kernel}, a.Initrd, a.Extra, a.Also) {
			if err := checkPattern(p); err != nil {
				return nil, f.Errorf("arch", i, "%v", err)
			}
			if strings.Count(p, "*") > stars {
				return nil, f.Errorf("arch", i, "%q has a * that the kernel has not", p)
			}
		}
		if d.Kind == Linux && len(a.Initrd) == 0 {
			return nil, f.Errorf("arch", i, "an initrd is missing")
		}
		if err := a.compile(); err != nil {
			return nil, f.Errorf("arch", i, "%v", err)
		}
	}
	for i := range d.Variants {
		v := &d.Variants[i]
		if !nameRE.MatchString(v.Name) || v.Title == "" {
			return nil, f.Errorf("variant", i, "want a name of small letters and a title")
		}
		if slices.ContainsFunc(d.Variants[:i], func(o VariantSpec) bool { return o.Name == v.Name && o.Title != v.Title }) {
			return nil, f.Errorf("variant", i, "variant %q has another title above", v.Name)
		}
		if err := v.compile(); err != nil {
			return nil, f.Errorf("variant", i, "%v", err)
		}
		for _, m := range mark.FindAllString(v.Cmdline, -1) {
			if !slices.Contains(marks, m) {
				return nil, f.ErrorIn("variant", i, "cmdline", "%s is no mark; known are %s", m, strings.Join(marks, ", "))
			}
		}
		if strings.Contains(v.Cmdline, "@IMAGE@/tree") && !d.Tree || strings.Contains(v.Cmdline, "@ISO@") && !d.WholeISO {
			return nil, f.ErrorIn("variant", i, "cmdline", "it fetches what tree or whole_iso says is not served")
		}
	}
	if err := named(d.Params); err != nil {
		return nil, f.Errorf("params", 0, "%v", err)
	}
	for i := range d.Templates {
		if t := &d.Templates[i]; t.in == "" {
			t.in = d.Name
			if err := t.check(d); err != nil {
				return nil, f.Errorf("template", i, "template %s: %v", t.Name, err)
			}
		}
	}
	return d, nil
}

// named gives parameters their names.
func named(all map[string]Param) error {
	for _, n := range slices.Sorted(maps.Keys(all)) {
		p := all[n]
		if p.Help == "" {
			return fmt.Errorf("parameter %s: help is missing", n)
		}
		p.Name = n
		all[n] = p
	}
	return nil
}

func (s *Source) compile() (err error) {
	if s.match, err = regexp.Compile(s.Match); err != nil || s.match.NumSubexp() == 0 {
		return fmt.Errorf("match %q: want a regular expression with a group (%v)", s.Match, err)
	}
	if s.Join == "" {
		s.Join = "."
	}
	if s.File == "" {
		return nil
	}
	return checkPattern(s.File)
}

func (c *Condition) compile() error {
	for _, p := range slices.Concat(c.Files, c.Absent, slices.Sorted(maps.Keys(c.Text))) {
		if err := checkPattern(p); err != nil {
			return err
		}
	}
	for _, l := range c.Label {
		if _, err := path.Match(l, ""); err != nil || l == "" {
			return fmt.Errorf("label %q is no pattern", l)
		}
	}
	c.exprs = map[string]*regexp.Regexp{}
	for f, expr := range c.Text {
		re, err := regexp.Compile(expr)
		if err != nil {
			return err
		}
		c.exprs[f] = re
	}
	return nil
}

// checkPattern accepts a relative path with at most one * in each part.
func checkPattern(p string) error {
	if !fs.ValidPath(p) || p == "." || strings.ContainsAny(p, `?[\`) {
		return fmt.Errorf("%q: want a relative path", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if strings.Count(part, "*") > 1 {
			return fmt.Errorf("%q: one * in each part is enough", p)
		}
	}
	return nil
}

// marks are replaced in command lines by values that only the importer knows.
var marks = []string{"@IMAGE@", "@ISO@", "@HOST@", "@PATH@"}

// Expand puts an image's name into a command line. The result is a template for
// the machine that boots:
//
//	@IMAGE@  the image's URL, {{ .BaseURL }}/images/NAME
//	@ISO@    the URL of the medium itself, @IMAGE@/NAME.iso
//	@HOST@   host and port of that URL, for installers that ask for parts
//	@PATH@   the path of {{ .BaseURL }}, beginning with a slash
func Expand(cmdline, name string) string {
	return strings.NewReplacer(
		"@IMAGE@", "{{ .BaseURL }}/images/"+name,
		"@ISO@", "{{ .BaseURL }}/images/"+name+"/"+name+".iso",
		"@HOST@", `{{ index (split "/" .BaseURL) 2 }}`,
		"@PATH@", `/{{ index (split "/" .BaseURL) 3 }}/{{ index (split "/" .BaseURL) 4 }}`,
	).Replace(cmdline)
}
