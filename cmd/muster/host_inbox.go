// host_inbox.go: "muster host approve", "deny", "merge" and "split": a person's
// decisions about pending hosts.

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/plan"
)

// inboxFlags choose among the pending hosts.
type inboxFlags struct {
	all, dryRun                         bool
	arch, mac, serial, class, port, net []string
	seen                                time.Duration
	match                               string
	yes                                 bool
}

func (f *inboxFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.match, "match", "", "the machines of a query, whatever their state; see: muster host list --help")
	fl.BoolVar(&f.yes, "yes", false, "do not ask, however many disks --match means")
	fl.BoolVar(&f.all, "all", false, "all pending machines")
	fl.StringSliceVar(&f.arch, "arch", nil, "only those of this architecture, such as x64-uefi")
	fl.StringSliceVar(&f.mac, "mac", nil, "only those whose MAC address matches, such as 52:54:00:*")
	fl.StringSliceVar(&f.serial, "serial", nil, "only those whose serial number matches, such as RIG-*")
	fl.StringSliceVar(&f.class, "vendor-class", nil, "only those whose vendor class matches")
	fl.StringSliceVar(&f.port, "switch-port", nil, "only those whose switch port matches, such as leaf3:*")
	fl.StringSliceVar(&f.net, "network", nil, "only those that enrolled on this network")
	fl.DurationVar(&f.seen, "seen", 0, "only those that asked for something this recently, such as 10m")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show which machines match, and change nothing")
}

func (f *inboxFlags) request() client.Inbox {
	in := client.Inbox{All: f.all, Seen: f.seen, DryRun: f.dryRun,
		Selector: boot.Selector{MAC: f.mac, Serial: f.serial, VendorClass: f.class, SwitchPort: f.port, Network: f.net}}
	for _, x := range f.arch {
		in.Arch = append(in.Arch, boot.Platform(x))
	}
	return in
}

// Either names are given or flags that choose, and not both.
func (f *inboxFlags) check(verb string, args []string) error {
	in := f.request()
	if f.match != "" {
		if len(args) > 0 || f.all || f.seen != 0 || !in.Empty() {
			return usagef("host %s: --match stands alone", verb)
		}
		return nil
	}
	chosen := f.all || f.seen != 0 || !in.Empty()
	switch {
	case len(args) == 0 && !chosen:
		return usagef("host %s wants names or MAC addresses, or a choice among the machines that wait, such as --mac 52:54:00:* or --all; see: muster host %s --help", verb, verb)
	case len(args) > 0 && (chosen || f.dryRun):
		return usagef("host %s: names, or a choice among the machines that wait: not both", verb)
	}
	return nil
}

// decide gives an order for each name, or one order for all chosen hosts.
func (a *app) decide(ctx context.Context, verb, past string, args []string, in client.Inbox, one any, tell func(boot.Host) string) error {
	if len(args) == 0 {
		var out []client.Inboxed
		if err := a.client().Call(ctx, http.MethodPost, "/api/v1/hosts/"+verb, in, &out); err != nil {
			return err
		}
		return a.saidMany(past, in.DryRun, out, tell)
	}
	if len(args) == 1 {
		var out boot.Host
		if err := a.client().Call(ctx, http.MethodPost, hostPath(args[0], "/", verb), one, &out); err != nil {
			return err
		}
		return a.said(out, "%s %s%s", out.Name, past, tell(out))
	}
	var out []client.Inboxed
	for _, name := range args {
		x := client.Inboxed{Host: boot.Host{Name: name}}
		if err := a.client().Call(ctx, http.MethodPost, hostPath(name, "/", verb), one, &x.Host); err != nil {
			x.Error = err.Error()
		}
		out = append(out, x)
	}
	return a.saidMany(past, false, out, tell)
}

func (a *app) saidMany(past string, dry bool, out []client.Inboxed, tell func(boot.Host) string) error {
	failed := 0
	for _, x := range out {
		if x.Error != "" {
			failed++
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		if dry {
			past = "would be " + past
		}
		for _, x := range out {
			if x.Error != "" {
				a.print("%s: %s\n", x.Host.Name, x.Error)
				continue
			}
			a.print("%s %s%s\n", x.Host.Name, past, tell(x.Host))
		}
		a.print("%s %s\n", counted(len(out)-failed, "machine"), past)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d could not be", failed, len(out))
	}
	return nil
}

func (a *app) hostApproveCmd() *cobra.Command {
	var template string
	var f inboxFlags
	c := &cobra.Command{
		Use: "approve [NAME|MAC …]", Short: "Let machines boot; one that waits boots within seconds",
		Args: func(_ *cobra.Command, args []string) error { return f.check("approve", args) },
		Example: `  muster host approve m-525400aabb01
  muster host approve m-525400aabb01 --template rescue
  muster host approve --network lab --serial 'RIG-*' --dry-run
  muster host approve --mac 'b8:ce:f6:*' --seen 10m --template dpu`,
		RunE: func(c *cobra.Command, args []string) error {
			if f.match != "" {
				req := client.PlanRequest{Action: plan.Approve}
				if c.Flags().Changed("template") {
					req.Template = &template
				}
				return a.plan(c.Context(), &manyFlags{match: f.match, dryRun: f.dryRun, yes: f.yes}, req)
			}
			in, one := f.request(), client.Approval{}
			if c.Flags().Changed("template") {
				in.Template, one.Template = &template, &template
			}
			return a.decide(c.Context(), "approve", "approved", args, in, one, func(h boot.Host) string {
				switch {
				case h.Ticket != nil && h.Ticket.State == boot.TicketArmed:
					return "; " + h.Ticket.Standing()
				case h.Template != "":
					return "; it boots template " + h.Template
				}
				return "; it boots the template that matches it"
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&template, "template", "", "template that they boot")
	return c
}

func (a *app) hostDenyCmd() *cobra.Command {
	var f inboxFlags
	c := &cobra.Command{
		Use: "deny [NAME|MAC …]", Short: "Refuse machines: they get an address and nothing to boot",
		Args:    func(_ *cobra.Command, args []string) error { return f.check("deny", args) },
		Example: "  muster host deny m-525400aabb01\n  muster host deny --network guests --all",
		RunE: func(c *cobra.Command, args []string) error {
			if f.match != "" {
				return a.plan(c.Context(), &manyFlags{match: f.match, dryRun: f.dryRun, yes: f.yes}, client.PlanRequest{Action: plan.Deny})
			}
			return a.decide(c.Context(), "deny", "denied", args, f.request(), struct{}{}, func(boot.Host) string { return "" })
		},
	}
	f.add(c)
	return c
}

func (a *app) hostMergeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "merge NAME OTHER", Short: "Make one host of two that are the same machine", Args: exactly(2, "the host to keep and the one that is the same machine"),
		Long: `Make one host of two that are the same machine: a board was replaced, or one network
card enrolled by itself. The host NAME keeps its name, template, address and ticket.
The host OTHER has what the machine says today: its MAC addresses are added, and its
UUID and serial number replace the old ones. OTHER is gone afterwards.`,
		Example: "  muster host merge web1 m-525400aabb01",
		RunE: func(c *cobra.Command, args []string) error {
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodPost, hostPath(args[0], "/merge"), client.Merge{Other: args[1]}, &out); err != nil {
				return err
			}
			return a.said(out, "%s and %s are one machine: %s", out.Name, args[1], out.Name)
		},
	}
}

func (a *app) hostSplitCmd() *cobra.Command {
	var in client.Split
	var macs []string
	c := &cobra.Command{
		Use: "split NAME", Short: "Make a new host of what belongs to another machine", Args: exactly(1, "a host's name or MAC address"),
		Long: `Make a new host of what belongs to another machine: a network card was moved, or a
dongle was taken for a machine. The new host gets what the flags name, and waits for
approval.`,
		Example: "  muster host split web1 --mac 52:54:00:aa:bb:02\n  muster host split web1 --mac 52:54:00:aa:bb:02 --serial --name web2",
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if in.MACs, err = parseMACs(macs); err != nil {
				return err
			}
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodPost, hostPath(args[0], "/split"), in, &out); err != nil {
				return err
			}
			return a.said(out, "%s split off %s; it waits for approval", out.Name, args[0])
		},
	}
	fl := c.Flags()
	fl.StringArrayVar(&macs, "mac", nil, "MAC address of the other machine; may be given again")
	fl.BoolVar(&in.UUID, "uuid", false, "the UUID is the other machine's")
	fl.BoolVar(&in.Serial, "serial", false, "the serial number is the other machine's")
	fl.StringVar(&in.Name, "name", "", "name of the new host")
	return c
}
