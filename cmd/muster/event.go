// event.go: "muster event" and "muster lease".

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

func (a *app) eventCmd() *cobra.Command {
	c := &cobra.Command{Use: "event", Short: "What changed, and why", Args: exactly(0, "a subcommand"), RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var follow, all, why bool
	var host, kind string
	var after uint64
	l := &cobra.Command{
		Use: "list", Short: "List events; with --all every request too", Args: exactly(0, "no arguments"),
		Example: "  muster event list --follow\n  muster event list --all --host web1\n  muster event list --kind host.clash --json",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"host": {host}, "kind": {kind}, "after": {fmt.Sprint(after)}}
			if follow {
				q.Set("follow", "1")
			}
			if all {
				q.Set("all", "1")
			}
			p := printer{out: a.out, color: isTerminal(a.out)}
			return a.client().Events(c.Context(), q, func(e admin.Entry, raw json.RawMessage) error {
				if a.json {
					_, err := fmt.Fprintf(a.out, "%s\n", raw)
					return err
				}
				p.entry(e, true)
				if why && e.Event != nil {
					fmt.Fprintf(a.out, "%18s%s\n", "", e.Event.Why)
				}
				return nil
			})
		},
	}
	l.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	l.Flags().BoolVar(&all, "all", false, "requests too, as far as memory holds them")
	l.Flags().BoolVar(&why, "why", false, "with the rules that fired")
	l.Flags().StringVar(&host, "host", "", "of one host")
	l.Flags().StringVar(&kind, "kind", "", "of one kind, like host.enrolled")
	l.Flags().Uint64Var(&after, "after", 0, "after this number")
	c.AddCommand(l)
	return c
}

func (a *app) leaseCmd() *cobra.Command {
	c := &cobra.Command{Use: "lease", Short: "Who holds which address", Args: exactly(0, "a subcommand"), RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var network string
	var all bool
	l := &cobra.Command{
		Use: "list", Short: "List leases", Args: exactly(0, "no arguments"),
		Example: "  muster lease list\n  muster lease list --network lab --all",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{"network": {network}}
			if all {
				q.Set("all", "1")
			}
			var ls []boot.Lease
			if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/leases?"+q.Encode(), nil, &ls); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ls)
			}
			if len(ls) == 0 {
				fmt.Fprintln(a.out, "no leases")
				return nil
			}
			rows := [][]string{{"ADDRESS", "HOLDER", "NETWORK", "KIND", "NAME", "EXPIRES"}}
			for _, l := range ls {
				exp := "in " + rough(time.Until(l.Expires))
				if !l.Active(time.Now()) {
					exp = "free since " + l.Expires.Local().Format(time.DateTime)
				}
				rows = append(rows, []string{l.Addr.String(), l.Holder, l.Network, string(l.Kind), l.Name, exp})
			}
			a.table(rows)
			return nil
		},
	}
	l.Flags().StringVar(&network, "network", "", "of one network")
	l.Flags().BoolVar(&all, "all", false, "ended leases too")
	r := &cobra.Command{
		Use: "release NETWORK ADDRESS", Short: "Free an address", Args: exactly(2, "a network and an address"),
		Example: "  muster lease release lab 10.77.0.101",
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.client().Call(c.Context(), http.MethodDelete, "/api/v1/leases/"+url.PathEscape(args[0])+"/"+url.PathEscape(args[1]), nil, nil); err != nil {
				return err
			}
			return a.said(struct{}{}, "%s released", args[1])
		},
	}
	c.AddCommand(l, r)
	return c
}
