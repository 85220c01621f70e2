// version.go: "muster template history", "diff", "preview", "pin", "unpin" and "rollback".

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
)

func templatePath(name string, rest ...string) string {
	return "/api/v1/templates/" + url.PathEscape(name) + strings.Join(rest, "")
}

func (a *app) templateHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "List the versions of a template, and how many machines have each", Args: exactly(1, "a template's name"),
		Example: "  muster template history rescue",
		RunE: func(c *cobra.Command, args []string) error {
			var vs []client.Version
			if err := client.ReadAll(c.Context(), a.client(), templatePath(args[0], "/versions"), &vs); err != nil {
				return err
			}
			return a.showVersions(vs)
		},
	}
}

func (a *app) showVersions(vs []client.Version) error {
	if a.json {
		return a.printJSON(vs)
	}
	rows := [][]string{{"VERSION", "PUSHED", "FILES", "HOSTS", "IN FORCE"}}
	for _, v := range vs {
		mark := ""
		switch {
		case v.Pinned:
			mark = "pinned"
		case v.InForce:
			mark = "yes"
		}
		rows = append(rows, []string{fmt.Sprint(v.Version), v.Pushed.Local().Format(time.DateTime), fmt.Sprint(len(v.Files)), fmt.Sprint(v.Hosts), mark})
	}
	a.table(rows)
	return nil
}

func (a *app) templateDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diff NAME [FROM [TO]]", Short: "Show how the files of two versions differ",
		Long:    "Show how the files of two versions differ: of the newest and the one before, of FROM and the newest, or of FROM and TO.",
		Example: "  muster template diff debian13\n  muster template diff debian13 2 4",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 3 {
				return usagef("template diff wants a template's name, and up to two versions; see: muster template diff --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			for i, key := range []string{"from", "to"} {
				if len(args) > i+1 {
					q.Set(key, args[i+1])
				}
			}
			var ds []client.Difference
			if err := a.client().Call(c.Context(), http.MethodGet, templatePath(args[0], "/diff?", q.Encode()), nil, &ds); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ds)
			}
			if len(ds) == 0 {
				a.print("the files are the same\n")
			}
			for _, d := range ds {
				a.difference(d, "")
			}
			return nil
		},
	}
}

// difference prints one file of two versions.
func (a *app) difference(d client.Difference, indent string) {
	p := a.printer()
	if !strings.HasPrefix(d.Text, "---") {
		a.print("%s%s: %s", indent, d.File, d.Text)
		return
	}
	for l := range strings.Lines(d.Text) {
		l = strings.TrimSuffix(l, "\n")
		shown := p.paint("", l)
		switch {
		case strings.HasPrefix(l, "---"), strings.HasPrefix(l, "+++"):
			shown = p.paint(bold, l)
		case strings.HasPrefix(l, "+"):
			shown = p.paint(green, l)
		case strings.HasPrefix(l, "-"):
			shown = p.paint(red, l)
		}
		a.print("%s%s\n", indent, shown)
	}
}

func (a *app) templatePreviewCmd() *cobra.Command {
	var hosts []string
	var query string
	var n int
	c := &cobra.Command{
		Use: "preview NAME|DIR", Short: "Show what a version would change of what each machine reads", Args: exactly(1, "a template's name or its folder"),
		Long: `Show what a version would change of what each machine reads, and which machines it cannot be
rendered for. A folder (with a / in its name) is looked at without being pushed. Without --host
and --match every machine is meant that would boot it. Secrets are shown as stars. Nothing is changed.`,
		Example: "  muster template preview ./debian13\n  muster template preview debian13 --version 4 --host web1\n  muster template preview ./debian13 --match tag:canary --json",
		RunE: func(c *cobra.Command, args []string) error {
			q := client.Preview{Name: args[0], Version: n, Names: hosts, Query: query}
			if strings.ContainsAny(args[0], "/\\") || args[0] == "." {
				if n != 0 {
					return usagef("--version is of a template that was pushed: %s is a folder", args[0])
				}
				fl, _, err := lint(args[0])
				if err != nil {
					return err
				}
				if err := a.upload(c.Context(), a.client(), fl, args[0]); err != nil {
					return err
				}
				q.Name, q.Files = "", fl
			}
			var out client.Previewed
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/templates/preview", q, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			a.showPreview(out)
			return nil
		},
	}
	c.Flags().StringArrayVar(&hosts, "host", nil, "this machine; may be given again")
	c.Flags().StringVar(&query, "match", "", "machines of a query, as muster host list takes it")
	c.Flags().IntVar(&n, "version", 0, "the version to look at (default: the newest)")
	return c
}

func (a *app) showPreview(out client.Previewed) {
	what := out.Name
	if out.Version != 0 {
		what += fmt.Sprintf(" version %d", out.Version)
	}
	a.print("%s: %s: %d would read something else, %d the same, and for %d it cannot be rendered\n", what, counted(out.Machines, "machine"), out.Changed, out.Unchanged, out.Failures)
	if len(out.Failed) > 0 {
		a.print("\n")
		rows := [][]string{{"CANNOT BE RENDERED", "WHY"}}
		for _, f := range out.Failed {
			rows = append(rows, []string{f.Name, f.Why})
		}
		a.table(rows)
	}
	for _, m := range out.Listed {
		was := "nothing of that name before"
		if m.Was != 0 {
			was = fmt.Sprintf("version %d before", m.Was)
		}
		a.print("\n%s  %s\n", a.printer().paint(bold, m.Name), was)
		for _, d := range m.Files {
			a.difference(d, "  ")
		}
	}
	if more := out.Changed - len(out.Listed); more > 0 {
		a.print("\nand %s more: choose with --host or --match\n", counted(more, "machine"))
	}
}

func (a *app) templatePinCmd() *cobra.Command {
	return &cobra.Command{
		Use: "pin NAME VERSION", Short: "Put a version in force, whatever is pushed later", Args: exactly(2, "a template's name and a version"),
		Long: `Put a version in force, whatever is pushed later. A machine gets it when it begins a boot
without a version of its own; muster host update moves one that has another.`,
		Example: "  muster template pin debian13 4\n  muster host update --match template:debian13",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 {
				return usagef("%q is no version: want a number, as muster template history shows it", args[1])
			}
			return a.pin(c.Context(), args[0], n)
		},
	}
}

func (a *app) templateUnpinCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unpin NAME", Short: "Put the newest version in force again", Args: exactly(1, "a template's name"),
		Example: "  muster template unpin debian13",
		RunE:    func(c *cobra.Command, args []string) error { return a.pin(c.Context(), args[0], 0) },
	}
}

func (a *app) templateRollbackCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rollback NAME", Short: "Put the version before the present one in force", Args: exactly(1, "a template's name"),
		Long: `Put the version before the one that is in force in its place, and pin it: what is pushed
later is stored, and boots nothing until muster template unpin.`,
		Example: "  muster template rollback debian13",
		RunE: func(c *cobra.Command, args []string) error {
			var vs []client.Version
			if err := client.ReadAll(c.Context(), a.client(), templatePath(args[0], "/versions"), &vs); err != nil {
				return err
			}
			for i, v := range vs {
				if v.InForce && i > 0 {
					return a.pin(c.Context(), args[0], vs[i-1].Version)
				}
			}
			return fmt.Errorf("template %s has no version before the one in force", args[0])
		},
	}
}

func (a *app) pin(ctx context.Context, name string, n int) error {
	var out client.InForce
	if err := a.client().Call(ctx, http.MethodPost, templatePath(name, "/pin"), client.Pin{Version: n}, &out); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(out)
	}
	if err := a.showVersions(out.Versions); err != nil {
		return err
	}
	a.warned(out.Warnings)
	others := 0
	for _, v := range out.Versions {
		if !v.InForce {
			others += v.Hosts
		}
	}
	if others > 0 {
		a.note("%s of another version: muster host update --match template:%s moves them, at their next boot\n", counted(others, "host"), name)
	}
	return nil
}
