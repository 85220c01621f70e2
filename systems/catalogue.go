package systems

// This file is the catalogue: templates that make a system install, or do another
// errand, without anybody at the screen. Such a template completes one way to boot the
// system's medium. Its files lie in the folder of its name beside system.toml; files that
// several use lie in shared, and what they are told is called the same everywhere, by
// params.toml.

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/musterboot/muster/internal/tomlfile"
)

// How a template of the catalogue was proved.
const (
	Booted     = "booted"        // a machine did it, from power-on to the end
	Parsed     = "parsed"        // a program that is, or ships with, the installer read its files
	Documented = "documentation" // written by what its publisher documents
)

var proofs = []string{Booted, Parsed, Documented}

// Template is one of the catalogue.
type Template struct {
	Name    string   `toml:"name"`
	Title   string   `toml:"title"`
	Notes   []string `toml:"notes"`
	Install bool     `toml:"install"` // needs a ticket
	Silent  bool     `toml:"silent"`  // what it installs by has no hooks for it: it does not report each of installing, installed and failed
	Variant string   `toml:"variant"` // the way to boot that it completes
	Cmdline string   `toml:"cmdline"` // what it says in front of that variant's words

	Initrd []string `toml:"initrd"` // its own files that the kernel gets beside the medium's initrds

	Kernelopt string `toml:"kernelopt"` // what it says at the end of the line of that name in an ESXi's boot.cfg

	Archives map[string]map[string]string `toml:"archives"` // as in a template.toml

	Memory  int              `toml:"memory"` // that the machine must have, MiB
	Proved  string           `toml:"proved"`
	Common  []string         `toml:"common"`  // parameters of params.toml
	Params  map[string]Param `toml:"params"`  // its own
	Shared  []string         `toml:"shared"`  // files of the folder shared
	Secrets []string         `toml:"secrets"` // files that secret parameters are rendered into, as they are served
	Needs   string           `toml:"needs"`   // what a machine must show to get one, as in a template.toml

	in string // the system whose folder has it
}

// check judges a template that stands in the folder of d.
func (t *Template) check(d *System) error {
	switch {
	case !nameRE.MatchString(t.Name) || t.Title == "":
		return fmt.Errorf("want a name of small letters and a title")
	case !slices.Contains(proofs, t.Proved):
		return fmt.Errorf("proved %q: want %s", t.Proved, strings.Join(proofs, ", "))
	case t.Memory <= 0 && d.Kind != None:
		return fmt.Errorf("memory is missing, in MiB")
	case t.Kernelopt != "" && d.Kind != ESXi:
		return fmt.Errorf("kernelopt is for ESXi")
	case d.Kind != None && !slices.ContainsFunc(d.Variants, func(v VariantSpec) bool { return v.Name == t.Variant }):
		return fmt.Errorf("variant %q is none of the system's", t.Variant)
	}
	common, err := params()
	if err != nil {
		return err
	}
	if err := named(t.Params); err != nil {
		return err
	}
	all := map[string]Param{}
	maps.Copy(all, t.Params)
	for _, n := range t.Common {
		p, ok := common[n]
		if _, own := t.Params[n]; !ok || own {
			return fmt.Errorf("common: %s is no parameter of params.toml, or its own too", n)
		}
		all[n] = p
	}
	t.Params = all
	for _, n := range t.Shared {
		if _, err := fs.Stat(data, "shared/"+n); err != nil {
			return fmt.Errorf("shared: %w", err)
		}
	}
	return nil
}

// params reads the parameters that mean the same in every template.
var params = sync.OnceValues(func() (map[string]Param, error) {
	b, err := data.ReadFile("params.toml")
	if err != nil {
		return nil, err
	}
	all := map[string]Param{}
	if _, err := tomlfile.Decode("params.toml", b, &all); err != nil {
		return nil, err
	}
	return all, named(all)
})

// Files are the template's, by name, without a template.toml: that one is made for an
// image.
func (t *Template) Files() (map[string]string, error) {
	out := map[string]string{}
	own, err := fs.Glob(data, t.in+"/"+t.Name+"/*")
	if err != nil {
		return nil, err
	}
	for _, n := range t.Shared {
		own = append(own, "shared/"+n)
	}
	for _, p := range own {
		b, err := data.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out[path.Base(p)] = string(b)
	}
	return out, nil
}

// Entry is a template of the catalogue with the systems whose media it takes.
type Entry struct {
	Template
	Systems []System
}

// Catalogue is every template, by name.
func Catalogue() (out []Entry) {
	for _, s := range load() {
		for _, t := range s.Templates {
			n := slices.IndexFunc(out, func(e Entry) bool { return e.Name == t.Name })
			if n < 0 {
				n, out = len(out), append(out, Entry{Template: t})
			}
			out[n].Systems = append(out[n].Systems, s)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Alone reports a template that needs no medium.
func (e *Entry) Alone() bool {
	return slices.ContainsFunc(e.Systems, func(s System) bool { return s.Kind == None })
}

// Takes reports whether it takes media of that system.
func (e *Entry) Takes(system string) bool {
	return slices.ContainsFunc(e.Systems, func(s System) bool { return s.Name == system })
}
