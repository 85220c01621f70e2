// diagnose.go: "muster diagnose".

package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/musterboot/muster/boot/diagnose"

	"github.com/musterboot/muster/boot/engine"

	"github.com/spf13/cobra"
)

func (a *app) diagnoseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diagnose [NAME|MAC|ADDRESS]", Short: "What stopped a machine, and what to do",
		Long: `What stopped a machine or what it waits for, why that is likely, and what to do.
Without a name, it lists every machine that is stopped. The word in front of each finding
is a section of docs/diagnose.md.`,
		Example: "  muster diagnose\n  muster diagnose web1\n  muster diagnose 52:54:00:aa:bb:01 --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("diagnose wants one machine, or none for all; see: muster diagnose --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			path := "/api/v1/diagnose"
			if len(args) == 1 {
				path += "?who=" + url.QueryEscape(args[0])
			}
			var out []engine.Stopped
			if err := a.client().Call(c.Context(), http.MethodGet, path, nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			p := printer{out: a.out, color: isTerminal(a.out)}
			for i, s := range out {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				fmt.Fprintf(a.out, "%s  last heard %s\n", p.paint(bold, cmp.Or(s.Name, s.Who)), cmp.Or(ago(s.LastSeen), "never"))
				p.found(s.Found)
				if len(s.Found) == 0 {
					fmt.Fprintln(a.out, "  nothing stops it")
				}
			}
			if len(out) == 0 {
				fmt.Fprintln(a.out, "nothing stops any machine")
			}
			return nil
		},
	}
}

func (p printer) found(fs []diagnose.Finding) {
	for _, f := range fs {
		fmt.Fprintf(p.out, "  %s %s: %s\n", f.At.Local().Format(time.TimeOnly), p.paint(red, f.Code), f.Text)
		fmt.Fprintf(p.out, "           %s\n", f.Remedy.Text)
	}
}
