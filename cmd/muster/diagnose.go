// diagnose.go: "muster diagnose".

package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/musterboot/muster/boot/diagnose"
	"github.com/musterboot/muster/client"

	"github.com/spf13/cobra"
)

func (a *app) diagnoseCmd() *cobra.Command {
	var unseen bool
	c := &cobra.Command{
		Use: "diagnose [NAME|MAC|ADDRESS]", Short: "What stopped a machine, and what to do",
		Long: `What stopped a machine or what it waits for, why that is likely, and what to do.
Without a name, it lists every machine that was seen and is stopped; those that stop at the
same thing together. --never-seen lists those of which nothing was ever heard, too. The word in front of each finding
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
			if len(args) == 0 && unseen {
				path += "?never_seen=1"
			}
			var out []diagnose.Stopped
			if err := client.ReadAll(c.Context(), a.client(), path, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			p := a.printer()
			out, more := together(out)
			for i, s := range out {
				if i > 0 {
					a.print("\n")
				}
				if len(more[i]) > 0 {
					a.print("%s stop at the same thing\n", p.paint(bold, list(append([]string{s.Who}, more[i]...), 8)))
					p.found(s.Found)
					continue
				}
				a.print("%s  last heard %s\n", p.paint(bold, cmp.Or(s.Name, s.Who)), cmp.Or(ago(s.LastSeen), "never"))
				p.found(s.Found)
				if len(s.Found) == 0 {
					a.print("  nothing stops it\n")
				}
			}
			if len(out) == 0 {
				a.print("nothing stops any machine\n")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&unseen, "never-seen", false, "also machines on the roll of which nothing was ever heard")
	return c
}

// incident is how many machines that stop at one thing are shown as one.
const incident = 4

// together puts machines that stop at the same thing behind the first of them: more has,
// for each that stays, the others.
func together(in []diagnose.Stopped) (out []diagnose.Stopped, more [][]string) {
	key := func(s diagnose.Stopped) string {
		k := ""
		for _, f := range s.Found {
			k += f.Code + " " + strings.ReplaceAll(f.Text, s.Who, "") + "\n"
		}
		return k
	}
	count, at := map[string]int{}, map[string]int{}
	for _, s := range in {
		count[key(s)]++
	}
	for _, s := range in {
		k := key(s)
		if i, has := at[k]; has && count[k] >= incident {
			more[i] = append(more[i], s.Who)
			continue
		}
		at[k] = len(out)
		out, more = append(out, s), append(more, nil)
	}
	return out, more
}

// list names the first of many.
func list(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (p printer) found(fs []diagnose.Finding) {
	for _, f := range fs {
		p.print("  %s %s: %s\n", f.At.Local().Format(time.TimeOnly), p.paint(red, f.Code), f.Text)
		p.print("           %s\n", f.Remedy.Text)
	}
}
