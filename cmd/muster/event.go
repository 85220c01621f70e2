// event.go: "muster event" and "muster lease".

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
)

func (a *app) eventCmd() *cobra.Command {
	c := group("event", "What changed, and why")
	var f eventFlags
	l := &cobra.Command{
		Use: "list", Short: "List events; with --all every request too", Args: exactly(0, "no arguments"),
		Long: `List events, oldest first; with --all every request too.

--follow goes on until interrupted, also over a restart of the daemon. --json prints an
array, as everywhere; --lines, and --follow, one JSON object a line.`,
		Example: "  muster event list --follow\n  muster event list --all --host web1\n  muster event list --kind 'host.*' --kind boot.report --since 2h\n  muster event list --since 1200 --follow --json\n  muster event list --audit --since 30d",
		RunE:    func(c *cobra.Command, _ []string) error { return a.events(c.Context(), f) },
	}
	fl := l.Flags()
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on until interrupted")
	fl.BoolVar(&f.all, "all", false, "show requests too, those that are still in memory")
	fl.BoolVar(&f.audit, "audit", false, "only decisions of people, and installations: they are kept apart, so that nothing else pushes them out")
	fl.BoolVar(&f.lines, "lines", false, "with --json: one object a line, and no array")
	fl.BoolVar(&f.why, "why", false, "show the rules that fired")
	fl.StringVar(&f.host, "host", "", "only of this machine, which may have left the roll")
	fl.StringSliceVar(&f.kinds, "kind", nil, "only of this kind, like host.enrolled or 'host.*'; may be given again")
	fl.StringVar(&f.since, "since", "", "only those not older than this, like 2h or 7d, or from the event with this number on")
	fl.Uint64Var(&f.after, "after", 0, "only those after the event with this number")
	c.AddCommand(l)
	return c
}

type eventFlags struct {
	follow, all, audit, why, lines bool
	host, since                    string
	kinds                          []string
	after                          uint64
}

// events prints events. With --follow it goes on when the daemon restarts.
func (a *app) events(ctx context.Context, f eventFlags) error {
	q := url.Values{"host": {f.host}, "kind": f.kinds}
	after := f.after
	if n, err := strconv.ParseUint(f.since, 10, 64); err == nil {
		after = max(after, n-min(n, 1))
	} else if f.since != "" {
		d, err := config.ParseAge(f.since)
		if err != nil || d < 0 {
			return usagef("--since %q: want how long ago, like 2h or 7d, or the number of an event", f.since)
		}
		q.Set("since", a.now().Add(-d).UTC().Format(time.RFC3339Nano))
	}
	if f.follow {
		q.Set("follow", "1")
	}
	if f.all {
		q.Set("all", "1")
	}
	if f.audit {
		if f.all || f.follow {
			return usagef("--audit goes with neither --all nor --follow")
		}
		q.Set("audit", "1")
	}
	p := a.printer()
	// Where to go on after a restart. Numbers of requests do not last over one, so
	// requests printed already are recognised by their time.
	var asked time.Time
	resumed := time.Time{}
	whole := []json.RawMessage{}
	show := func(e client.Entry, raw json.RawMessage) error {
		if e.Event != nil {
			after = e.Event.Seq
		} else if e.Request.At.After(asked) {
			asked = e.Request.At
		} else if !resumed.IsZero() && !e.Request.At.After(resumed) {
			return nil
		}
		if a.json && (f.lines || f.follow) {
			return a.printRaw(raw)
		}
		if a.json {
			whole = append(whole, raw)
			return nil
		}
		p.entry(e, true)
		if f.why && e.Event != nil {
			a.print("%18s%s\n", "", e.Event.Why)
		}
		return nil
	}
	for began, told := false, false; ; {
		q.Set("after", fmt.Sprint(after))
		err := a.client().Events(ctx, q, func(e client.Entry, raw json.RawMessage) error {
			began, told = true, false
			return show(e, raw)
		})
		cut := errors.Is(err, client.ErrCutShort)
		began = began || cut
		if ctx.Err() != nil {
			return nil
		}
		if !f.follow && err == nil && a.json && !f.lines {
			return a.printJSON(whole)
		}
		if !f.follow || !cut && !(began && errors.Is(err, client.ErrNoDaemon)) {
			return err
		}
		if !told {
			a.note("muster is away; waiting for it\n")
			told = true
		}
		resumed = asked
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}

// followAgain is the pause before --follow tries to reach the daemon again.
const followAgain = 500 * time.Millisecond

func (a *app) leaseCmd() *cobra.Command {
	c := group("lease", "Who holds which address")
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
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/leases?"+q.Encode(), &ls); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ls)
			}
			if len(ls) == 0 {
				a.print("no leases\n")
				return nil
			}
			rows := [][]string{{"ADDRESS", "HOLDER", "NETWORK", "KIND", "NAME", "EXPIRES"}}
			for _, l := range ls {
				exp := "in " + rough(time.Until(l.Expires))
				if !l.Active(time.Now()) {
					exp = "free since " + l.Expires.Local().Format(time.DateTime)
				}
				rows = append(rows, []string{l.Addr.String(), l.Holder.String(), l.Network, string(l.Kind), l.Name, exp})
			}
			a.table(rows)
			return nil
		},
	}
	l.Flags().StringVar(&network, "network", "", "only of this network")
	l.Flags().BoolVar(&all, "all", false, "list ended leases too")
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
