// apply.go: "muster export" and "muster apply": what people decided, as files for git.

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/roll"
)

// present is the appliance as a folder would have it, and its hosts as they are.
type present struct {
	*roll.Roll
	hosts map[string]*boot.Host
}

func (a *app) present(ctx context.Context, query string) (*present, error) {
	p := &present{Roll: roll.New(), hosts: map[string]*boot.Host{}}
	var hs []client.HostView
	if err := client.ReadAll(ctx, a.client(), "/api/v1/hosts?limit=5000&q="+url.QueryEscape(query), &hs); err != nil {
		return nil, err
	}
	for i := range hs {
		h := &hs[i].Host
		p.AddHost(h)
		p.hosts[h.Name] = h
	}
	var vs []boot.Values
	if err := client.ReadAll(ctx, a.client(), "/api/v1/params?limit=5000", &vs); err != nil {
		return nil, err
	}
	for i := range vs {
		p.AddScope(&vs[i])
	}
	var ts []*boot.Template
	if err := client.ReadAll(ctx, a.client(), "/api/v1/templates?limit=5000", &ts); err != nil {
		return nil, err
	}
	for _, t := range ts {
		if t.ThisRun {
			continue // of a command line, not of a person's decision
		}
		fs := maps.Clone(t.Files)
		if t.Base != nil {
			for _, n := range t.Base.Files {
				delete(fs, n) // the other template's
			}
		}
		p.Templates[t.Name] = fs
	}
	return p, nil
}

func (a *app) exportCmd() *cobra.Command {
	query, prune := "", false
	c := &cobra.Command{
		Use: "export DIR", Short: "Write hosts, parameters and templates as files for git", Args: exactly(1, "a folder"),
		Long: `Write hosts, parameters and templates as files for git; muster apply reads them.

  DIR/hosts/NAME.toml       what people decided of a machine
  DIR/params/site.toml      parameters; also network/NAME.toml and tag/TAG.toml
  DIR/templates/NAME/       the version in force, as muster template push takes it

Secret parameters are sealed and not among them. Files of hosts that are not on the roll
stay and are named; --prune removes them.`,
		Example: "  muster export ./fleet\n  muster export ./lab --match net:lab",
		RunE: func(c *cobra.Command, args []string) error {
			dir := args[0]
			p, err := a.present(c.Context(), query)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(p.Templates)) {
				if err := a.exportTemplate(c.Context(), name, p.Templates[name], roll.TemplateDir(dir, name)); err != nil {
					return err
				}
			}
			others, err := p.Write(dir)
			if err != nil {
				return err
			}
			for _, f := range others {
				if !prune || query != "" {
					a.note("%s is not on the roll\n", f)
				} else if err := os.Remove(f); err != nil {
					return err
				}
			}
			return a.said(map[string]any{"folder": dir, "hosts": len(p.Hosts), "scopes": len(p.Scopes), "templates": len(p.Templates), "others": others},
				"%s has %s, %s of parameters, %s", dir, counted(len(p.Hosts), "host"), counted(len(p.Scopes), "scope"), counted(len(p.Templates), "template"))
		},
	}
	c.Flags().StringVar(&query, "match", "", "only the machines of a query; see: muster host list --help")
	c.Flags().BoolVar(&prune, "prune", false, "remove files of hosts and scopes that are not there any more; not with --match")
	return c
}

// exportTemplate writes the files that are not there or differ, and removes those that the
// template has no more.
func (a *app) exportTemplate(ctx context.Context, name string, files map[string]boot.Blob, dir string) error {
	have := map[string]boot.Blob{}
	if _, err := os.Stat(dir); err == nil {
		if have, err = folder(dir); err != nil {
			return err
		}
	}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if have[f] == files[f] {
			continue
		}
		to := filepath.Join(dir, filepath.FromSlash(f))
		if !filepath.IsLocal(filepath.FromSlash(f)) {
			return fmt.Errorf("template %s has a file %q: it is not written", name, f)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		w, err := os.Create(to)
		if err != nil {
			return err
		}
		err = a.client().TemplateFile(ctx, name, f, w)
		if e := w.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(to)
			return fmt.Errorf("template %s: %s: %w", name, f, err)
		}
	}
	for f := range have {
		if _, stays := files[f]; !stays {
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(f))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) applyCmd() *cobra.Command {
	var dir string
	var prune, dryRun, yes bool
	c := &cobra.Command{
		Use: "apply -f DIR", Short: "Make the roll what the files of a folder say", Args: exactly(0, "a folder with -f"),
		Long: `Make the roll what the files of a folder say; muster export writes such a folder. What differs
is shown first, and asked for.

A file is the whole of what people decide of a host, of a scope or of a template: what is
not in it is taken away. What a machine says of itself stays, and so do secret parameters.
A machine that enrolled by itself and has the MAC address, UUID or serial number of a file
gets the file's name. "approved" lets a machine in as muster host approve does: where its
template installs, that arms an installation. A host that is on the roll and in no file is
left, unless --prune says otherwise.`,
		Example: "  muster apply -f ./fleet --dry-run\n  muster apply -f ./fleet --yes",
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("apply wants a folder: -f DIR")
			}
			return a.apply(c.Context(), dir, prune, dryRun, yes)
		},
	}
	fl := c.Flags()
	fl.StringVarP(&dir, "file", "f", "", "the folder")
	fl.BoolVar(&prune, "prune", false, "take what is in no file off the roll: hosts, parameters, templates")
	fl.BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	fl.BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// applied is what apply says to programs.
type applied struct {
	DryRun  bool          `json:"dry_run,omitempty"`
	Changes []roll.Change `json:"changes"`
	Failed  []appliedNot  `json:"failed,omitempty"`
}

type appliedNot struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

func (a *app) apply(ctx context.Context, dir string, prune, dryRun, yes bool) error {
	want, err := roll.Read(dir, func(dir string) (map[string]boot.Blob, error) {
		fl, s, err := lint(dir)
		if err == nil && s.Name != filepath.Base(dir) {
			err = usagef("template %s calls itself %s: its folder has its name", dir, s.Name)
		}
		return fl, err
	})
	if err != nil {
		return err
	}
	have, err := a.present(ctx, "")
	if err != nil {
		return err
	}
	changes, err := roll.Diff(have.Roll, want, prune)
	if err != nil {
		return usageError{err}
	}
	var do []roll.Change
	left := 0
	for _, c := range changes {
		if c.Do == roll.Left {
			left++
		} else {
			do = append(do, c)
		}
	}
	out := applied{DryRun: dryRun, Changes: changes}
	if !a.json {
		a.showChanges(do)
		if left > 0 {
			a.print("%s in no file of %s and stay; --prune takes them off\n", is(left), dir)
		}
		if len(do) == 0 {
			a.print("nothing to do\n")
		}
	}
	if dryRun || len(do) == 0 {
		if a.json {
			return a.printJSON(out)
		}
		return nil
	}
	if !yes {
		if err := a.confirmed(fmt.Sprintf("apply %s", counted(len(do), "change")), len(do)); err != nil {
			return err
		}
	}
	for _, c := range do {
		if err := a.change(ctx, dir, c, have, want); err != nil {
			out.Failed = append(out.Failed, appliedNot{c.Name, err.Error()})
			if !a.json {
				a.print("%s %s: not done: %s\n", c.What, c.Name, err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		a.print("%s done\n", counted(len(do)-len(out.Failed), "change"))
	}
	if n := len(out.Failed); n > 0 {
		return fmt.Errorf("%d of %d were not done", n, len(do))
	}
	return nil
}

func is(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

// showChanges shows each difference: + is new, - goes, ~ changes.
func (a *app) showChanges(cs []roll.Change) {
	p := a.printer()
	for _, c := range cs {
		mark, color := "~", yellow
		switch c.Do {
		case roll.Add:
			mark, color = "+", green
		case roll.Remove:
			mark, color = "-", red
		}
		line := phrase("%s %s %s", p.paint(color, mark), c.What, c.Name)
		if c.Was != "" {
			line += phrase(", which is %s", c.Was)
		}
		if c.State != "" {
			line += phrase(": becomes %s", c.State)
		}
		a.print("%s\n", line)
		if c.Do == roll.Remove {
			continue
		}
		for _, f := range c.Fields {
			was, is := f.Was, f.Is
			if c.What == roll.Template {
				was, is = short(was), short(is)
			}
			switch {
			case was == "":
				a.print("      %s  %s\n", phrase("%-14s", f.Key), is)
			case is == "":
				a.print("      %s  %s, taken away\n", phrase("%-14s", f.Key), was)
			default:
				a.print("      %s  %s -> %s\n", phrase("%-14s", f.Key), was, is)
			}
		}
	}
}

// short is enough of a digest to tell two apart.
func short(digest string) string { return digest[:min(12, len(digest))] }

// change makes one change. A host that changed since it was read is left, and said.
func (a *app) change(ctx context.Context, dir string, c roll.Change, have *present, want *roll.Roll) error {
	cl := a.client()
	switch c.What {
	case roll.Params:
		p, err := roll.ParamPatch(have.Scopes[boot.Scope(c.Name)], want.Scopes[boot.Scope(c.Name)])
		if err != nil {
			return err
		}
		return cl.Call(ctx, http.MethodPatch, "/api/v1/params/"+(&url.URL{Path: c.Name}).EscapedPath(), p, nil)
	case roll.Template:
		if c.Do == roll.Remove {
			return cl.Call(ctx, http.MethodDelete, "/api/v1/templates/"+url.PathEscape(c.Name), nil, nil)
		}
		_, err := a.store(ctx, roll.TemplateDir(dir, c.Name), true)
		return err
	}
	switch c.Do {
	case roll.Add:
		n, err := roll.NewHost(c.Name, want.Hosts[c.Name])
		if err != nil {
			return err
		}
		return cl.Call(ctx, http.MethodPost, "/api/v1/hosts", n, nil)
	case roll.Remove:
		return cl.CallIf(ctx, client.Tag(have.hosts[c.Name]), http.MethodDelete, hostPath(c.Name), nil, nil)
	}
	name := c.Name
	if c.Was != "" {
		name = c.Was
	}
	ps, err := roll.Patches(c, have.Hosts[name], want.Hosts[c.Name])
	if err != nil {
		return err
	}
	h := have.hosts[name]
	for _, p := range ps {
		var out client.HostAnswer
		if err := cl.CallIf(ctx, client.Tag(h), http.MethodPatch, hostPath(h.Name), p, &out); err != nil {
			return err
		}
		a.warned(out.Warnings)
		h = out.Host
	}
	switch boot.State(c.State) {
	case boot.Approved:
		return cl.CallIf(ctx, client.Tag(h), http.MethodPost, hostPath(h.Name, "/approve"), client.Approval{}, nil)
	case boot.Denied:
		return cl.CallIf(ctx, client.Tag(h), http.MethodPost, hostPath(h.Name, "/deny"), nil, nil)
	}
	return nil
}
