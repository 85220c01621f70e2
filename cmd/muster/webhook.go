// webhook.go: "muster webhook": the receivers of events, and their deliveries.

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/hook"
)

func (a *app) webhookCmd() *cobra.Command {
	c := group("webhook", "Receivers of events: [[webhook]] and [[hook]] of the configuration")
	list := &cobra.Command{
		Use: "list", Short: "List webhooks and hooks, and how far each is", Args: exactly(0, "no arguments"),
		Example: "  muster webhook list\n  muster webhook list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			var ss []client.Webhook
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/webhooks", &ss); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ss)
			}
			if len(ss) == 0 {
				a.print("no webhooks: write a [[webhook]] or [[hook]] into the configuration\n")
				return nil
			}
			rows := [][]string{{"NAME", "TO", "DONE UP TO", "BEHIND", "DEAD", "STATE", "LAST ERROR"}}
			for _, s := range ss {
				state := string(s.State)
				if s.State == client.WebhookWaiting {
					state = "tries again in " + rough(max(0, time.Until(s.Next)))
				}
				failed := s.Error
				if failed != "" {
					failed += ", " + ago(s.Failed)
				}
				rows = append(rows, []string{s.Name, s.Where, fmt.Sprint(s.Upto), fmt.Sprint(s.Behind), fmt.Sprint(s.Dead), state, failed})
			}
			a.table(rows)
			return nil
		},
	}
	test := &cobra.Command{
		Use: "test NAME", Short: "Send a ping now and say what the receiver answers", Args: exactly(1, "a webhook's name"),
		Example: "  muster webhook test cmdb",
		RunE: func(c *cobra.Command, args []string) error {
			var s client.WebhookSent
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/webhooks/"+url.PathEscape(args[0])+"/test", nil, &s); err != nil {
				return err
			}
			if !s.OK {
				return fmt.Errorf("%s did not take the ping: %s", args[0], s.Words)
			}
			return a.said(s, "%s took the ping: %s", args[0], s.Words)
		},
	}
	var dead bool
	resend := &cobra.Command{
		Use: "resend NAME EVENT… | --dead", Short: "Send events again now, by number or all that were given up",
		Long: `Send events again now, whatever kinds the webhook has, by their numbers or, with
--dead, all that were given up. It stops where the receiver is away. The numbers
are in: muster event list --kind webhook.dead --json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || dead == (len(args) > 1) {
				return usagef("%s wants a webhook's name and either numbers of events or --dead; see: %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		Example: "  muster webhook resend cmdb 123 124\n  muster webhook resend cmdb --dead",
		RunE: func(c *cobra.Command, args []string) error {
			q := client.Resend{Dead: dead}
			for _, s := range args[1:] {
				n, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					return usagef("%q is no number of an event", s)
				}
				q.Seqs = append(q.Seqs, n)
			}
			all := []client.WebhookSent{}
			sent := 0
			for {
				var ss []client.WebhookSent
				if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/webhooks/"+url.PathEscape(args[0])+"/resend", q, &ss); err != nil {
					return err
				}
				before := sent
				for _, s := range ss {
					if s.OK {
						sent++
					}
					if !a.json {
						a.print("%d  %s\n", s.Seq, s.Words)
					}
				}
				all = append(all, ss...)
				if !dead || len(ss) < hook.MaxResend || sent-before < len(ss) {
					break
				}
			}
			if a.json {
				if err := a.printJSON(all); err != nil {
					return err
				}
			}
			switch most := max(len(all), len(q.Seqs)); {
			case sent < most:
				return fmt.Errorf("%d of %d events were delivered", sent, most)
			case most == 0 && !a.json:
				a.print("none was given up\n")
			}
			return nil
		},
	}
	resend.Flags().BoolVar(&dead, "dead", false, "all events whose delivery was given up")
	c.AddCommand(list, test, resend)
	return c
}
