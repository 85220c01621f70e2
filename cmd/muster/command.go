// command.go: groups of commands, and what is said of words that are none.

package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/spell"
)

// group makes a command that has only subcommands.
func group(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: known, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
}

// shown are the commands below one that help and manual have.
func shown(c *cobra.Command) (out []*cobra.Command) {
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			out = append(out, s)
		}
	}
	return out
}

// others are words that other programs have for ours.
var others = map[string][]string{"ls": {"list"}, "get": {"show", "list"}, "describe": {"show"}, "info": {"show"}, "delete": {"rm"}, "del": {"rm"}, "remove": {"rm"}, "create": {"add", "push"},
	"new": {"add"}, "edit": {"set"}, "change": {"set"}, "start": {"serve"}, "run": {"serve"}, "logs": {"log", "event"}, "status": {"doctor"}, "accept": {"approve"}, "reject": {"deny"}}

// known refuses a word that is no subcommand, and says which was meant.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, s := range shown(c) {
		names = append(names, s.Name())
	}
	near := ""
	for _, o := range others[args[0]] {
		if near == "" && slices.Contains(names, o) {
			near = o
		}
	}
	if near == "" {
		near = spell.Nearest(args[0], names)
	}
	if near != "" {
		return usagef("there is no %q; did you mean: %s %s", c.CommandPath()+" "+args[0], c.CommandPath(), near)
	}
	return usagef("there is no %q; see: %s --help", c.CommandPath()+" "+args[0], c.CommandPath())
}

// flagError says which flag was meant.
func flagError(c *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return usageError{err}
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := spell.Nearest(missing.GetSpecifiedName(), names); near != "" && len(missing.GetSpecifiedName()) > 1 {
		return usagef("%v; did you mean --%s?", err, near)
	}
	return usagef("%v; see: %s --help", err, c.CommandPath())
}

// helpCmd is cobra's, but a word that is no command is a mistake.
func helpCmd() *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND]", Short: "Help about any command", RunE: func(c *cobra.Command, args []string) error {
		at, rest, err := c.Root().Find(args)
		if err != nil || len(rest) > 0 {
			if at == nil {
				at = c.Root()
			}
			if len(rest) == 0 {
				rest = args
			}
			return known(at, rest)
		}
		return at.Help()
	}}
}

// failure is an error as a program reads it.
func failure(err error) string {
	f := struct {
		Error string         `json:"error"`
		Code  boot.FaultCode `json:"code"`
		Hint  string         `json:"hint,omitempty"`
	}{Error: strings.TrimSpace(err.Error()), Code: "failed"}
	if x := boot.FaultOf(err); x != nil {
		f.Code, f.Error, f.Hint = x.Code, x.Text, x.Hint
	} else if errors.As(err, new(usageError)) {
		f.Code = "usage"
	}
	b, _ := json.Marshal(f)
	return string(b)
}
