// template.go: "muster template".

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/templates"
)

func (a *app) templateCmd() *cobra.Command {
	c := group("template", "What machines boot")
	c.AddCommand(a.templatePushCmd(), a.templateLintCmd(), a.templateListCmd(), a.templateShowCmd(), a.templateRemoveCmd(), a.templateImportDirCmd(), a.templateCatalogCmd(), a.templateAddCmd(),
		a.templateHistoryCmd(), a.templateDiffCmd(), a.templatePreviewCmd(), a.templatePinCmd(), a.templateUnpinCmd(), a.templateRollbackCmd())
	return c
}

// folder lists a template's folder with the digest of every file.
func folder(dir string) (map[string]boot.Blob, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, usageError{err}
	}
	if !st.IsDir() {
		return nil, usagef("%s is not a folder", dir)
	}
	out := map[string]boot.Blob{}
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil || e.IsDir() {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~") {
			return nil // hidden files, and backup files of editors
		}
		f, err := os.Open(p) // follows links: the template has the bytes and not the link
		if err != nil {
			return err
		}
		defer f.Close()
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return usagef("%s is not a regular file", p)
		}
		if len(out) >= templates.MaxFiles {
			return usagef("%s holds more than %d files", dir, templates.MaxFiles)
		}
		out[filepath.ToSlash(name)], err = images.Digest(f)
		return err
	})
	return out, err
}

func lint(dir string) (map[string]boot.Blob, *templates.Spec, error) {
	fl, err := folder(dir)
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, templates.SpecFile))
	if err == nil {
		if s, err := templates.ParseSpec(templates.SpecFile, text); err == nil && s.Extends != "" {
			return fl, s, nil // the daemon has the rest of it, and judges the whole
		}
	}
	s, err := templates.Lint(fl, func(name string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	})
	if err != nil {
		return nil, nil, usagef("template %s: %w", dir, err)
	}
	return fl, s, nil
}

// upload stores a folder's files. Files that the daemon has already are not sent.
func (a *app) upload(ctx context.Context, cl *client.Client, fl map[string]boot.Blob, dir string) error {
	for _, n := range slices.Sorted(maps.Keys(fl)) {
		b := fl[n]
		if cl.Has(ctx, b.Digest) {
			continue
		}
		if !a.json && b.Size > 1<<20 {
			a.note("uploading %s, %s\n", n, size(b.Size))
		}
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(n)))
		if err != nil {
			return err
		}
		err = cl.Upload(ctx, b.Digest, f, b.Size)
		f.Close()
		if err != nil {
			return fmt.Errorf("upload %s: %w", n, err)
		}
	}
	return nil
}

func (a *app) templateLintCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lint DIR", Short: "Check a template's folder without storing it", Args: exactly(1, "a folder"),
		Long: `Check a template's folder without storing it. Where the daemon runs, it is also asked
for what a push would say: images that are not there, and templates that this one
competes with.`,
		Example: "  muster template lint ./rescue",
		RunE: func(c *cobra.Command, args []string) error {
			fl, s, err := lint(args[0])
			if err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(args[0], templates.SpecFile))
			if err != nil {
				return err
			}
			var would client.Pushed
			switch err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/templates", client.Push{Files: fl, DryRun: true, Spec: string(text)}, &would); {
			case errors.As(err, new(*boot.Fault)):
				return fmt.Errorf("it is in order by itself, and would not be stored: %w", err)
			case err != nil && !errors.Is(err, client.ErrNoDaemon):
				a.note("what a push would say was not asked: %v\n", err)
			}
			for _, w := range slices.Concat(s.Advice, would.Warnings) {
				a.note("warning: %s\n", w)
			}
			if s.Extends != "" {
				return a.said(s, "%s is in order by itself; what it is together with %s is judged by push and preview", s.Name, s.Extends)
			}
			return a.said(s, "%s is in order: %s", s.Name, counted(len(fl), "file"))
		},
	}
}

func (a *app) templatePushCmd() *cobra.Command {
	yes := false
	c := &cobra.Command{
		Use: "push DIR", Short: "Store a template's folder as a new version", Args: exactly(1, "a folder"),
		Long: `Store a template's folder as a new version. Machines that have a version keep it until muster host
update. Where more than ten have none and would boot this one next, their number is asked for;
muster template preview DIR shows beforehand what each would read.`,
		Example: "  muster template push ./rescue",
		RunE:    func(c *cobra.Command, args []string) error { return a.push(c.Context(), args[0], yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, however many machines it is")
	return c
}

func (a *app) push(ctx context.Context, dir string, yes bool) error {
	out, err := a.store(ctx, dir, yes)
	if err != nil {
		return err
	}
	return a.said(out, "%s version %d stored, %s", out.Template.Name, out.Template.Version, counted(out.files, "file"))
}

// stored is what a push is answered by, with the number of files that its folder has.
type stored struct {
	client.Pushed
	files int
}

// store pushes a folder, and says what is to be said of it but that it is done.
func (a *app) store(ctx context.Context, dir string, yes bool) (out stored, err error) {
	fl, s, err := lint(dir)
	if err != nil {
		return out, err
	}
	out.files = len(fl)
	cl := a.client()
	if err := a.upload(ctx, cl, fl, dir); err != nil {
		return out, err
	}
	req := client.Push{Files: fl}
	err = cl.Call(ctx, http.MethodPost, "/api/v1/templates", req, &out.Pushed)
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Unconfirmed {
		text, err := os.ReadFile(filepath.Join(dir, templates.SpecFile))
		if err != nil {
			return out, err
		}
		var would client.Pushed
		if err := cl.Call(ctx, http.MethodPost, "/api/v1/templates", client.Push{Files: fl, DryRun: true, Spec: string(text)}, &would); err != nil {
			return out, err
		}
		a.note("%s is what %s boot next; muster template preview %s shows what each would read\n", s.Name, counted(would.Affected, "machine"), dir)
		if !yes {
			if err := a.confirm("push a template for", would.Affected); err != nil {
				return out, err
			}
		}
		req.Count = would.Affected
		if err := cl.Call(ctx, http.MethodPost, "/api/v1/templates", req, &out.Pushed); err != nil {
			return out, err
		}
	} else if err != nil {
		return out, err
	}
	for _, w := range out.Warnings {
		a.note("warning: %s\n", w)
	}
	return out, nil
}

func (a *app) templateListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List templates in the order in which they are tried", Args: exactly(0, "no arguments"),
		Example: "  muster template list",
		RunE: func(c *cobra.Command, _ []string) error {
			var ts []boot.Template
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/templates", &ts); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ts)
			}
			if len(ts) == 0 {
				a.print("no templates yet; store one with: muster template push DIR\n")
				return nil
			}
			rows := [][]string{{"NAME", "VERSION", "PRIORITY", "MATCH", "AUTO", "PUSHED"}}
			for _, t := range ts {
				auto := ""
				if t.AutoApprove {
					auto = "approves"
				}
				pushed := ago(t.Pushed)
				if t.ThisRun {
					pushed = "this run only"
				}
				rows = append(rows, []string{t.Name, fmt.Sprint(t.Version), fmt.Sprint(t.Priority), matchText(t.Match), auto, pushed})
			}
			a.table(rows)
			return nil
		},
	}
}

func matchText(s boot.Selector) string {
	var parts []string
	add := func(k string, l []string) {
		if len(l) > 0 {
			parts = append(parts, k+"="+strings.Join(l, "|"))
		}
	}
	var arch, uuid []string
	for _, x := range s.Arch {
		arch = append(arch, string(x))
	}
	for _, x := range s.UUID {
		uuid = append(uuid, x.String())
	}
	add("mac", s.MAC)
	add("uuid", uuid)
	add("serial", s.Serial)
	add("port", s.SwitchPort)
	add("class", s.VendorClass)
	add("network", s.Network)
	add("tag", s.Tag)
	add("arch", arch)
	if len(parts) == 0 {
		return "by name only"
	}
	return strings.Join(parts, " ")
}

func (a *app) templateShowCmd() *cobra.Command {
	resolved := false
	c := &cobra.Command{
		Use: "show NAME", Short: "Show the version of a template that is in force", Args: exactly(1, "a template's name"),
		Long: `Show the version of a template that is in force. With --resolved also its template.toml, joined
with that of the template that it extends.`,
		Example: "  muster template show rescue\n  muster template show rescue --resolved",
		RunE: func(c *cobra.Command, args []string) error {
			var t client.TemplateShown
			path := "/api/v1/templates/" + url.PathEscape(args[0])
			if resolved {
				path += "?spec=true"
			}
			if err := a.client().Call(c.Context(), http.MethodGet, path, nil, &t); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t)
			}
			a.print("%s version %d, pushed %s\n  match     %s\n  priority  %d\n", t.Name, t.Version, t.Pushed.Local().Format(time.DateTime), matchText(t.Match), t.Priority)
			if t.Installs != "" {
				a.print("  installs  %s\n", t.Installs)
			}
			rows := [][]string{{"FILE", "SIZE", "SHA-256"}}
			if t.Base != nil {
				a.print("  extends   %s version %d\n", t.Base.Name, t.Base.Version)
				rows[0] = append(rows[0], "OF")
			}
			for n, b := range t.Files {
				row := []string{n, size(b.Size), b.Digest}
				if t.Base != nil && slices.Contains(t.Base.Files, n) {
					row = append(row, t.Base.Name)
				}
				rows = append(rows, row)
			}
			slices.SortFunc(rows[1:], func(x, y []string) int { return strings.Compare(x[0], y[0]) })
			a.table(rows)
			if t.Spec != "" {
				a.print("\n%s", t.Spec)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&resolved, "resolved", false, "show template.toml as it counts, too")
	return c
}

func (a *app) templateRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Forget a template that no host names", Args: exactly(1, "a template's name"),
		Example: "  muster template rm rescue",
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.client().Call(c.Context(), http.MethodDelete, "/api/v1/templates/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.said(struct{}{}, "%s removed", args[0])
		},
	}
}
