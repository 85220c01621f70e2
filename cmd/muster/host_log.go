// host_log.go: "muster host log".

package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
)

func (a *app) hostLogCmd() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "log NAME|MAC", Short: "Print what a machine logged itself, over syslog", Args: exactly(1, "a host's name or MAC address"),
		Long: `Print what a machine logged itself: its installer's lines, its kernel's, as far as
they were sent here (see docs/operation.md for how a machine is told to) and as far as
memory holds them: the last 256 of each machine.`,
		Example: "  muster host log web1\n  muster host log web1 --follow\n  muster host log 52:54:00:aa:bb:01 --json",
		RunE: func(c *cobra.Command, args []string) error {
			p := a.printer()
			any := false
			err := a.client().HostLog(c.Context(), args[0], follow, func(r boot.Request, raw json.RawMessage) error {
				any = true
				if a.json {
					return a.printRaw(raw)
				}
				if r.Line != nil {
					p.logged(&r, "")
				}
				return nil
			})
			if err == nil && !any && !follow && !a.json {
				a.note("no lines of %s yet\n", args[0])
			}
			return err
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	return c
}
