// man.go: the manual pages, made of the commands' own help. The command is hidden: only
// the package is built with it.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a folder", Args: exactly(1, "a folder"), Hidden: true,
		Example: "  sudo muster man /usr/local/share/man/man1",
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			root.InitDefaultCompletionCmd()
			// Not what this machine is set to.
			root.PersistentFlags().Lookup("data-dir").DefValue = defaultDataDir
			day := ""
			if n, err := strconv.ParseInt(a.getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
				day = time.Unix(n, 0).UTC().Format(time.DateOnly)
			}
			n, err := manPages(root, args[0], day)
			if err != nil {
				return err
			}
			return a.said(map[string]any{"folder": args[0], "pages": n}, "%s has %d manual pages", args[0], n)
		},
	}
}

func manPages(c *cobra.Command, dir, day string) (pages int, err error) {
	if err := os.WriteFile(filepath.Join(dir, manName(c)+".1"), []byte(manPage(c, day)), 0o644); err != nil {
		return 0, err
	}
	for _, s := range shown(c) {
		n, err := manPages(s, dir, day)
		if err != nil {
			return 0, err
		}
		pages += n
	}
	return pages + 1, nil
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// roff writes text that is no request, with the hyphens that can be copied from a terminal.
var roff = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'", "…", `\[u2026]`, "·", `\[u00B7]`)

func inRoff(s string) string { return strings.TrimPrefix(roff.Replace("\n"+s), "\n") }

func manPage(c *cobra.Command, day string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	asIs := func(text string) { p(".nf\n%s\n.fi\n", inRoff(strings.Trim(text, "\n"))) }
	p(".TH %s 1 %q %q Muster\n", inRoff(strings.ToUpper(manName(c))), day, "Muster "+c.Root().Version)
	p(".SH NAME\n%s \\- %s\n", inRoff(manName(c)), inRoff(c.Short))
	subs := shown(c)
	line := c.UseLine()
	if len(subs) > 0 {
		line = c.CommandPath() + " COMMAND [flags]"
	}
	p(".SH SYNOPSIS\n%s\n", inRoff(line))
	p(".SH DESCRIPTION\n")
	if c.Long == "" {
		p("%s.\n", inRoff(c.Short))
	} else {
		for i, t := range strings.Split(strings.Trim(c.Long, "\n"), "\n\n") {
			if t = strings.Trim(t, "\n"); t == "" {
				continue
			} else if i > 0 {
				p(".PP\n")
			}
			if strings.ContainsAny(t[:1], " \t") || strings.Contains(t, "\n ") || strings.Contains(t, "\n\t") {
				asIs(t) // it has columns
			} else {
				p("%s\n", inRoff(t))
			}
		}
	}
	if len(subs) > 0 {
		p(".SH COMMANDS\n")
		for _, s := range subs {
			p(".TP\n.BR %s (1)\n%s\n", inRoff(manName(s)), inRoff(s.Short))
		}
	}
	flags := func(title string, set *pflag.FlagSet) {
		head := false
		set.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			if !head {
				p(".SH %s\n", title)
				head = true
			}
			value, usage := pflag.UnquoteUsage(f)
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			p(".TP\n\\fB%s\\fR", inRoff(name))
			if value != "" {
				p(" %s", inRoff(value))
			}
			p("\n%s", inRoff(usage))
			switch f.DefValue {
			case "", "false", "0", "[]", "0s":
			default:
				p(" (default %s)", inRoff(f.DefValue))
			}
			p("\n")
		})
	}
	c.InitDefaultHelpFlag()
	flags("OPTIONS", c.NonInheritedFlags())
	flags("OPTIONS OF EVERY COMMAND", c.InheritedFlags())
	if c.Example != "" {
		p(".SH EXAMPLES\n")
		asIs(c.Example)
	}
	p(".SH EXIT STATUS\n0 if all went well, 1 for a failure, 2 for wrong flags or a wrong configuration.\n")
	if !c.HasParent() {
		p(".SH FILES\n.TP\n/etc/muster/muster.toml\nthe configuration, see\n.BR muster.toml (5)\n.TP\n%s\nthe data directory\n", defaultDataDir)
		p(".SH SEE ALSO\n.BR muster.toml (5)\n")
		return b.String()
	}
	p(".SH SEE ALSO\n.BR %s (1)\n", inRoff(manName(c.Parent())))
	return b.String()
}
