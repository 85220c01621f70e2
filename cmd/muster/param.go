// param.go: "muster param", the parameters that many machines inherit.

package main

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (a *app) paramCmd() *cobra.Command {
	c := group("param", "Parameters that many machines inherit")
	c.AddCommand(a.paramListCmd(), a.paramShowCmd(), a.paramSetCmd())
	return c
}

// scopeHelp says what a scope is, and which value counts.
const scopeHelp = `A value for a machine comes from its template's default, the site, its network, its tags or
itself; the later goes before the earlier. Of a host with two tags that say different things
nothing is rendered until it has a value of its own or one tag less. DHCP options are given in
the same way; of those about which two tags differ, neither counts.

  site           every machine
  network/NAME   machines that ask on a network
  tag/TAG        hosts with a tag, such as tag/db or tag/rack=12
`

func (a *app) paramListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list [SCOPE]", Short: "List the parameters of the site, of networks and of tags", Args: atMostOne,
		Long:    "List the parameters of the site, of networks and of tags.\n\n" + scopeHelp,
		Example: "  muster param list\n  muster param list tag/db\n  muster param list --json",
		RunE: func(c *cobra.Command, args []string) error {
			all := []boot.Values{}
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/params", &all); err != nil {
				return err
			}
			if len(args) == 1 {
				if err := boot.Scope(args[0]).Validate(); err != nil {
					return usageError{err}
				}
				all = slices.DeleteFunc(all, func(v boot.Values) bool { return string(v.Scope) != args[0] })
			}
			if a.json {
				return a.printJSON(all)
			}
			rows := [][]string{{"SCOPE", "PARAMETER", "VALUE"}}
			for _, v := range all {
				for _, k := range slices.Sorted(maps.Keys(v.Params)) {
					rows = append(rows, []string{string(v.Scope), k, v.Params[k]})
				}
				for _, k := range v.Secrets {
					rows = append(rows, []string{string(v.Scope), k, "(secret)"})
				}
				for _, o := range v.Options {
					_, value, _ := strings.Cut(o.String(), "=")
					rows = append(rows, []string{string(v.Scope), "option " + o.Name(), value})
				}
			}
			if len(rows) == 1 {
				a.print("nothing is set here; machines have their own parameters and their templates' defaults\n")
				return nil
			}
			a.table(rows)
			return nil
		},
	}
}

func (a *app) paramShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show HOST", Short: "Show which parameters count for a machine, and where each comes from", Args: exactly(1, "a host's name or MAC address"),
		Long:    "Show which parameters count for a machine, and where each comes from.\n\n" + scopeHelp,
		Example: "  muster param show web1\n  muster param show web1 --json",
		RunE: func(c *cobra.Command, args []string) error {
			var d client.HostDetail
			if err := a.client().Call(c.Context(), http.MethodGet, hostPath(args[0]), nil, &d); err != nil {
				return err
			}
			if a.json {
				if d.Effective == nil {
					d.Effective = map[string]boot.Given{}
				}
				return a.printJSON(d.Effective)
			}
			if len(d.Effective) == 0 {
				a.print("%s has no parameters\n", d.Name)
				return nil
			}
			rows := [][]string{{"PARAMETER", "VALUE", "FROM"}}
			for _, k := range slices.Sorted(maps.Keys(d.Effective)) {
				g := d.Effective[k]
				value, from := g.Value, string(g.From)
				switch {
				case len(g.Differ) > 0:
					value, from = "none: they differ", boot.Scopes(g.Differ)
				case g.Secret:
					value = "(secret)"
				}
				rows = append(rows, []string{k, value, from})
			}
			a.table(rows)
			return nil
		},
	}
}

// givenText is what follows a parameter's name.
func givenText(g boot.Given) string {
	if g.Secret {
		return " is set, and secret"
	}
	return "=" + g.Value
}

func (a *app) paramSetCmd() *cobra.Command {
	var options, noOptions []string
	c := &cobra.Command{
		Use: "set SCOPE PARAM=VALUE …", Short: "Set parameters and DHCP options of the site, a network or a tag",
		Long: "Set parameters and DHCP options of the site, a network or a tag. A parameter without a value (disk=) is\nremoved. A value is read from a file by rootpw=@FILE, from standard input by rootpw=-; one\nthat begins with @ itself is written @@. Secret parameters are given in these two ways only.\n\n" + scopeHelp +
			"\nWhat is rendered from then on has the new values, also for a machine that is booting.",
		Example: "  muster param set site timezone=Europe/Vienna ssh_keys=@keys\n  muster param set network/lab mirror=http://10.77.0.1/debian\n  muster param set tag/db disk=largest\n  muster param set tag/db disk=\n  muster param set tag/db --option ntp-servers=10.77.0.5",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 1 && len(options)+len(noOptions) == 0 {
				return usagef("param set wants a scope and PARAM=VALUE, or --option; see: muster param set --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			scope := boot.Scope(args[0])
			if err := scope.Validate(); err != nil {
				return usageError{err}
			}
			var p client.ParamPatch
			var err error
			if p.Params, p.Typed, err = a.params(args[1:]); err != nil {
				return err
			}
			if p.Options, err = parseOptions(options); err != nil {
				return err
			}
			p.NoOption = noOptions
			var out client.ParamsSet
			kind, name, _ := strings.Cut(string(scope), "/")
			if err := a.client().Call(c.Context(), http.MethodPatch, "/api/v1/params/"+strings.TrimSuffix(kind+"/"+url.PathEscape(name), "/"), p, &out); err != nil {
				return err
			}
			a.warned(out.Warnings)
			has := counted(len(out.Params)+len(out.Secrets), "parameter")
			if len(out.Options) > 0 {
				has += ", " + counted(len(out.Options), "option")
			}
			return a.said(out, "%s set: %s", out.Scope, has)
		},
	}
	c.Flags().StringArrayVar(&options, "option", nil, "DHCP option NAME=VALUE, like ntp-servers=10.77.0.1; may be given again")
	c.Flags().StringArrayVar(&noOptions, "no-option", nil, "take a DHCP option away, by name or number; may be given again")
	return c
}

// params reads PARAM=VALUE; one without a value is removed. typed lists those whose
// values stood on the command line.
func (a *app) params(given []string) (set map[string]*string, typed []string, err error) {
	set = map[string]*string{}
	for _, s := range given {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return nil, nil, usagef("%q: want PARAM=VALUE", s)
		}
		here, v, err := a.paramValue(v)
		if err != nil {
			return nil, nil, err
		}
		set[k] = &v
		switch {
		case v == "" && here:
			set[k] = nil
		case here:
			typed = append(typed, k)
		}
	}
	return set, typed, nil
}
