// host_many.go: orders on many machines: a plan is shown, and run.

package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
)

// manyFlags say which machines an order is for, and how it is run.
type manyFlags struct {
	match       string
	share       string
	all         bool
	dryRun, yes bool
}

func (f *manyFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.match, "match", "", "the machines of a query in place of names, such as 'net:lab state:approved'; see: muster host list --help")
	fl.StringVar(&f.share, "share", "", "only so many of those that would change, or 10% of them, spread over the roll: a change is tried on these first")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show the plan and change nothing")
	fl.BoolVar(&f.yes, "yes", false, "do not ask, however many machines it is")
}

// chosen reports flags that make the order a plan.
func (f *manyFlags) chosen() bool { return f.match != "" || f.all || f.dryRun || f.share != "" }

// names checks the arguments of a command that wants machines.
func (f *manyFlags) names(verb string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if f.match != "" && len(args) > 0 {
			return usagef("host %s: names, or --match: not both", verb)
		}
		if f.match == "" && len(args) == 0 {
			return usagef("host %s wants a machine: a name, MAC address, serial number or whatever it is known by, or --match QUERY; see: muster host %s --help", verb, verb)
		}
		return nil
	}
}

// plan makes a plan, shows it, asks where that is due, and runs it.
func (a *app) plan(ctx context.Context, f *manyFlags, req client.PlanRequest) error {
	req.Query, req.All, req.Share = f.match, f.all, f.share
	var p client.Plan
	if err := a.client().Call(ctx, http.MethodPost, "/api/v1/plans", req, &p); err != nil {
		return err
	}
	if f.dryRun && a.json {
		return a.printJSON(p)
	}
	if !a.json {
		a.showPlan(p)
	}
	switch {
	case f.dryRun:
		return nil
	case p.Count == 0:
		return fmt.Errorf("there is nothing to do")
	}
	count := 0
	if p.Confirm {
		if !f.yes {
			if err := a.confirm(p.Action, p.Count); err != nil {
				return err
			}
		}
		count = p.Count
	}
	var out client.PlanResult
	if err := a.client().Call(ctx, http.MethodPost, "/api/v1/plans/"+p.ID+"/run", client.PlanRun{Count: count}, &out); err != nil {
		return err
	}
	a.warned(out.Warnings)
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, h := range out.Hosts {
			line := h.Name + ": " + h.State
			if h.Then != "" {
				line += "; " + h.Then
			}
			a.print("%s\n", line)
		}
		if more := out.Done - len(out.Hosts); more > 0 {
			a.print("and %d more\n", more)
		}
		for _, x := range out.Failed {
			a.print("%s: not done: %s\n", x.Name, x.Why)
		}
		a.print("%s: %s done\n", p.Action, counted(out.Done, "machine"))
	}
	if n := len(out.Failed); n > 0 {
		return fmt.Errorf("%d of %d were not done", n, p.Count)
	}
	return nil
}

func (a *app) showPlan(p client.Plan) {
	a.print("%s, %s: %s\n", p.Action, counted(p.Count, "machine"), p.Will)
	if len(p.Names) > 0 {
		line := "  " + strings.Join(p.Names, ", ")
		if more := p.Count - len(p.Names); more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
		a.print("%s\n", line)
	}
	for _, l := range p.LeftOut {
		line := strings.Join(l.Names, ", ")
		if more := l.Count - len(l.Names); more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
		a.print("left out, %d: %s\n  %s\n", l.Count, l.Why, line)
	}
}

// confirm asks a person for the number of machines.
func (a *app) confirm(action string, n int) error {
	return a.confirmed(fmt.Sprintf("%s %d machines", action, n), n)
}

// confirmed asks for a number: who types it has read what it is of.
func (a *app) confirmed(what string, n int) error {
	if a.in == nil {
		return usagef("%s: --yes says that this is meant", what)
	}
	a.note("Type %d to %s: ", n, what)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	if got, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || got != n {
		return fmt.Errorf("nothing was done")
	}
	return nil
}
