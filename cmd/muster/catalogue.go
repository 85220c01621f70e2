// catalogue.go: "muster template catalog" and "muster template add", which make a
// template that installs out of an image.

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/systems"
	"github.com/musterboot/muster/templates"
)

// proved says in a word or two how far a template is known to work.
var proved = map[string]string{systems.Booted: "booted", systems.Parsed: "parsed", systems.Documented: "by its documentation"}

// listed is an entry of the catalogue for --json.
type listed struct {
	Name    string                   `json:"name"`
	Title   string                   `json:"title"`
	Systems []string                 `json:"systems"` // kinds of image that it takes; none: it needs no medium
	Install bool                     `json:"install"`
	Memory  int                      `json:"memory_mib"`
	Proved  string                   `json:"proved"`
	Notes   []string                 `json:"notes,omitempty"`
	Params  map[string]listedSetting `json:"params"`
}

type listedSetting struct {
	Help     string   `json:"help"`
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	Enum     []string `json:"enum,omitempty"`
}

func entry(e systems.Entry) listed {
	l := listed{Name: e.Name, Title: e.Title, Install: e.Install, Memory: e.Memory, Proved: e.Proved, Notes: e.Notes, Params: map[string]listedSetting{}}
	for _, s := range e.Systems {
		if s.Kind != systems.None {
			l.Systems = append(l.Systems, s.Name)
		}
	}
	for n, p := range e.Params {
		l.Params[n] = listedSetting{Help: p.Help, Default: p.Default, Required: p.Required, Secret: p.Secret, Enum: p.Enum}
	}
	return l
}

func (l listed) media() string { return cmp.Or(strings.Join(l.Systems, " "), "no medium") }

func (l listed) memory() string {
	if l.Memory == 0 {
		return "-"
	}
	return size(int64(l.Memory) << 20)
}

// catalogued finds a template of the catalogue.
func catalogued(name string) (systems.Entry, error) {
	all := systems.Catalogue()
	if n := slices.IndexFunc(all, func(e systems.Entry) bool { return e.Name == name }); n >= 0 {
		return all[n], nil
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name)
	}
	return systems.Entry{}, usagef("the catalogue has no %s: it has %s", name, strings.Join(names, ", "))
}

func (a *app) templateCatalogCmd() *cobra.Command {
	return &cobra.Command{
		Use: "catalog [NAME]", Short: "List the templates that ship, or show what one may be told",
		Long: `List the templates that ship: what each does, which media it takes, how much memory a machine
needs, and how it was proved: booted from power-on to the end, its files parsed by a program
that is or ships with the installer, or written by its publisher's documentation and not tried.
With a name: its parameters.`,
		Example: "  muster template catalog\n  muster template catalog debian",
		Args:    atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				e, err := catalogued(args[0])
				if err != nil {
					return err
				}
				return a.showCatalogued(e)
			}
			var all []listed
			rows := [][]string{{"NAME", "WHAT", "FOR", "MEMORY", "PROVED"}}
			for _, e := range systems.Catalogue() {
				l := entry(e)
				all = append(all, l)
				rows = append(rows, []string{l.Name, l.Title, l.media(), l.memory(), proved[l.Proved]})
			}
			if a.json {
				return a.printJSON(all)
			}
			a.table(rows)
			a.print("\nmake one yours with: muster template add NAME --iso FILE, or --image IMAGE\n")
			return nil
		},
	}
}

func (a *app) showCatalogued(e systems.Entry) error {
	l := entry(e)
	if a.json {
		return a.printJSON(l)
	}
	a.print("%s: %s\n  for     %s\n  memory  %s\n  proved  %s\n", l.Name, l.Title, l.media(), l.memory(), proved[l.Proved])
	for _, n := range l.Notes {
		a.print("  note    %s\n", n)
	}
	a.print("\n")
	rows := [][]string{{"PARAMETER", "DEFAULT", "MEANS"}}
	for _, n := range slices.Sorted(maps.Keys(l.Params)) {
		p := l.Params[n]
		def := p.Default
		switch {
		case p.Secret:
			def = "secret"
		case p.Required:
			def = "required"
		}
		rows = append(rows, []string{n, def, p.Help})
	}
	a.table(rows)
	return nil
}

type addFlags struct {
	as, iso, sum, image, arch, dir, installs string
	set                                      []string
	yes                                      bool
}

func (a *app) templateAddCmd() *cobra.Command {
	var f addFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Store a template of the catalogue for a medium, in one command", Args: exactly(1, "a template of the catalogue"),
		Long: `Store a template of the catalogue as a template of yours: the medium is imported if it is not
an image yet, the template is written for it, checked and pushed. --set gives its parameters
other defaults; muster host set gives one machine another value. With --dir the folder is
written and not pushed, to be looked at and changed first.`,
		Example: `  muster template add debian --iso netboot.tar.gz --as debian13 --set timezone=Europe/Vienna
  muster template add el --image rocky9 --set disk=smallest-ssd --set ssh_keys="$(cat ~/.ssh/id_ed25519.pub)"
  muster template add ubuntu --iso https://releases.example/ubuntu.iso --sha256 DIGEST
  muster template add el --image rocky9 --installs rocky-9.6 --dir ./rocky9
  muster template add ipxe-shell`,
		RunE: func(c *cobra.Command, args []string) error { return a.addTemplate(c.Context(), args[0], f) },
	}
	c.Flags().StringVar(&f.as, "as", "", "name of the template, and of the image if one is imported (default NAME)")
	c.Flags().StringVar(&f.iso, "iso", "", "disc, archive, folder or URL to import first")
	c.Flags().StringVar(&f.sum, "sha256", "", "digest that it must have; a URL needs it")
	c.Flags().StringVar(&f.image, "image", "", "image that was imported before")
	c.Flags().StringVar(&f.arch, "arch", "", "x64 or arm64, for an image that has both")
	c.Flags().StringVar(&f.installs, "installs", "", "version or digest of what it installs: a machine that has it is not installed again")
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask, however many machines boot it next")
	c.Flags().StringVar(&f.dir, "dir", "", "write the folder here and push nothing")
	c.Flags().StringArrayVar(&f.set, "set", nil, "KEY=VALUE, the default of a parameter; may be given several times")
	return c
}

func (a *app) addTemplate(ctx context.Context, name string, f addFlags) error {
	e, err := catalogued(name)
	if err != nil {
		return err
	}
	switch {
	case e.Alone() && (f.iso != "" || f.image != "" || f.arch != ""):
		return usagef("%s needs no medium: leave --iso, --image and --arch out", name)
	case !e.Alone() && (f.iso == "") == (f.image == ""):
		return usagef("say what it boots: --iso FILE, or --image IMAGE of one that is there; it takes %s", strings.Join(entry(e).Systems, ", "))
	}
	if f.as == "" {
		f.as = name
	}
	set := map[string]string{}
	for _, kv := range f.set {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return usagef("--set %s: want KEY=VALUE", kv)
		}
		set[k] = v
	}
	if err := templates.Settable(&e.Template, set); err != nil { // before an import that takes minutes
		return usageError{err}
	}
	if f.iso != "" {
		f.image = f.as
		if err := a.importImage(ctx, f.image, []string{f.iso}, false, f.sum); err != nil {
			return err
		}
	}
	var i *boot.Image
	if !e.Alone() {
		if i, err = a.image(ctx, f.image); err != nil {
			return err
		}
		if !e.Takes(i.Kind) {
			what := i.Title
			if what == "" {
				what = "no medium that Muster knows"
			}
			return fmt.Errorf("image %s is %s, and %s takes %s", i.Name, what, name, strings.Join(entry(e).Systems, ", "))
		}
	}
	files, err := templates.Complete(&e.Template, i, templates.Choice{Arch: f.arch, Name: f.as, Set: set, Installs: f.installs})
	if err != nil {
		return usageError{err}
	}
	if f.dir != "" {
		if err := writeFolder(f.dir, files); err != nil {
			return err
		}
		return a.said(map[string]string{"template": f.dir}, "%s is template %s; look at it, then: muster template push %s", f.dir, f.as, f.dir)
	}
	tmp, err := os.MkdirTemp("", "muster-add-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, f.as)
	if err := writeFolder(dir, files); err != nil {
		return err
	}
	return a.push(ctx, dir, f.yes)
}
