// config.go: "muster config": is a file right, what would it change, take it over.

package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
)

func (a *app) configCmd() *cobra.Command {
	c := group("config", "Check, plan and reload the configuration, or begin one")
	c.AddCommand(a.configCheckCmd(), a.configPlanCmd(), a.configReloadCmd(), a.configFromCmd())
	return c
}

// configFile is the file that a command is about: the named one, or that of the
// daemon that runs, or the usual one.
func (a *app) configFile(c *cobra.Command, args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	var s client.Status
	if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/status", nil, &s); err == nil && s.Config != "" {
		return s.Config
	}
	return config.Path
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("at most one file")
	}
	return nil
}

func (a *app) configCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check [FILE]", Short: "Say whether a configuration is right", Args: oneFile,
		Long:    "Read a configuration as the daemon does, and say what is wrong with it, with file and line.\nNothing is changed. It ends with 2 if anything is wrong.",
		Example: "  muster config check\n  muster config check new.toml",
		RunE: func(c *cobra.Command, args []string) error {
			file := a.configFile(c, args)
			cfg, err := config.Load(file, true, run.Interfaces())
			if err != nil {
				return err
			}
			return a.said(map[string]any{"file": file, "networks": len(cfg.Networks)}, "%s is right: %s", file, counted(len(cfg.Networks), "network"))
		},
	}
}

func (a *app) configPlanCmd() *cobra.Command {
	return &cobra.Command{
		Use: "plan [FILE]", Short: "Say what a configuration would change", Args: oneFile,
		Long: `Compare a configuration with the one that the daemon runs: which keys change, which leases
leave their range and what becomes of them, which machines would boot something else, and
what changes only with a restart. Nothing is changed.`,
		Example: "  muster config plan\n  muster config plan new.toml --json",
		RunE: func(c *cobra.Command, args []string) error {
			file := a.configFile(c, args)
			if _, err := config.Load(file, true, run.Interfaces()); err != nil {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var p client.ConfigPlan
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/config/plan", client.ConfigText{Name: file, Text: string(text)}, &p); err != nil {
				if errors.Is(err, client.ErrNoDaemon) {
					return fmt.Errorf("%s is right; no daemon runs that it could be compared with: %w", file, err)
				}
				return err
			}
			return a.showConfigPlan(p, "would change")
		},
	}
}

func (a *app) configReloadCmd() *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Have the daemon take its configuration over", Args: exactly(0, "no arguments"),
		Long:    "Have the daemon read its configuration again, as systemctl reload muster does, and print what\nthat changed. A configuration with a mistake changes nothing, and the command fails.",
		Example: "  muster config plan && sudo muster config reload",
		RunE: func(c *cobra.Command, _ []string) error {
			var p client.ConfigPlan
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/config/reload", struct{}{}, &p); err != nil {
				return err
			}
			return a.showConfigPlan(p, "changed")
		},
	}
}

func (a *app) showConfigPlan(p client.ConfigPlan, did string) error {
	if a.json {
		return a.printJSON(p)
	}
	if len(p.Changes) == 0 {
		a.print("nothing %s\n", did)
	} else {
		a.print("%s:\n", did)
	}
	for _, l := range p.Changes {
		a.print("  %s\n", l)
	}
	for _, l := range p.Restart {
		a.print("only with a restart (sudo systemctl restart muster): %s\n", l)
	}
	for _, l := range p.Names {
		a.print("%s\n", l)
	}
	if p.Leases.Count > 0 {
		a.print("leases that leave their range: %d\n", p.Leases.Count)
		rows := [][]string{{"ADDRESS", "NETWORK", "HOLDER", "UNTIL", ""}}
		for _, l := range p.Leases.Listed {
			who := l.Holder
			if l.Host != "" {
				who = l.Host
			}
			rows = append(rows, []string{l.Addr.String(), l.Network, who, l.Expires.Local().Format(time.DateTime), l.Becomes})
		}
		a.table(rows)
	}
	if p.Hosts.Count > 0 {
		a.print("machines that get something else: %d\n", p.Hosts.Count)
		rows := [][]string{{"NAME", ""}}
		for _, h := range p.Hosts.Listed {
			rows = append(rows, []string{h.Name, h.Becomes})
		}
		a.table(rows)
	}
	return nil
}
