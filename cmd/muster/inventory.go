// inventory.go: "muster inventory": the roll as other programs want it.

package main

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
)

// An inventory of Ansible, as a script gives it (developing dynamic inventory): groups with
// their hosts, and _meta with the variables of all, so that it asks once.
type ansible struct {
	groups map[string][]string
	vars   map[string]map[string]any
}

func (i ansible) MarshalJSON() ([]byte, error) {
	out := map[string]any{"_meta": map[string]any{"hostvars": i.vars}}
	all := []string{}
	for g, hosts := range i.groups {
		out[g] = map[string]any{"hosts": hosts}
		all = append(all, g)
	}
	slices.Sort(all)
	out["all"] = map[string]any{"children": append(all, "ungrouped")}
	return json.Marshal(out)
}

// groupName is a name that Ansible takes for a group: a variable's.
func groupName(kind, name string) string {
	return kind + "_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// hostVars are what a playbook wants of a machine. Parameters stand by themselves, so that
// none takes the place of a variable of Ansible's.
func hostVars(h client.HostView) map[string]any {
	v := map[string]any{"muster_state": h.State, "muster_tags": append([]string{}, h.Tags...), "muster_params": map[string]string{}}
	for _, a := range []netip.Addr{h.Lease, h.Lease6, h.Address, h.Address6} {
		if a.IsValid() {
			v["ansible_host"] = a
			break
		}
	}
	if len(h.Params) > 0 {
		v["muster_params"] = h.Params
	}
	var macs []string
	for _, m := range h.MACs {
		macs = append(macs, m.String())
	}
	for k, x := range map[string]string{"muster_template": h.Template, "muster_serial": h.Serial, "muster_uuid": h.UUID.String(), "muster_platform": string(h.Platform), "muster_network": h.On(),
		"muster_stage": h.Stage, "muster_installed": h.Installed, "muster_macs": strings.Join(macs, " ")} {
		if x != "" {
			v[k] = x
		}
	}
	return v
}

func (a *app) inventoryCmd() *cobra.Command {
	var yes, list bool
	var one, query string
	c := &cobra.Command{
		Use: "inventory --ansible", Short: "The machines that may boot, as an inventory of Ansible", Args: exactly(0, "no arguments"),
		Long: `The machines that may boot, as an inventory of Ansible: groups by network, platform, template
and tag (network_lab, tag_rack_12), installed for those whose last installation succeeded, and
what is known of each machine.

Ansible takes a program for an inventory. Two lines make one:

    #!/bin/sh
    exec muster inventory --ansible "$@"

A parameter of the machine's own is in muster_params, never a secret one; those that it
inherits from site, network and tag: muster host show NAME --json.`,
		Example: "  muster inventory --ansible --list\n  muster inventory --ansible --host web1\n  muster inventory --ansible --match tag:db",
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return usagef("inventory --ansible: it is the one form that there is")
			}
			q := strings.TrimSpace("state:approved " + query)
			if one != "" {
				q = "name:" + one
			}
			var hs []client.HostView
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/hosts?limit=5000&q="+url.QueryEscape(q), &hs); err != nil {
				return err
			}
			if one != "" {
				for _, h := range hs {
					if h.Name == one {
						return a.printJSON(hostVars(h))
					}
				}
				return a.printJSON(map[string]any{})
			}
			i := ansible{map[string][]string{}, map[string]map[string]any{}}
			for _, h := range hs {
				i.vars[h.Name] = hostVars(h)
				groups := map[string]string{"network": h.On(), "platform": string(h.Platform), "template": h.Template}
				for kind, name := range groups {
					if name != "" {
						i.groups[groupName(kind, name)] = append(i.groups[groupName(kind, name)], h.Name)
					}
				}
				for _, t := range h.Tags {
					i.groups[groupName("tag", t)] = append(i.groups[groupName("tag", t)], h.Name)
				}
				if h.InstallDone() {
					i.groups["installed"] = append(i.groups["installed"], h.Name)
				}
			}
			return a.printJSON(i)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&yes, "ansible", false, "as Ansible wants it")
	fl.BoolVar(&list, "list", false, "all of them, as Ansible asks; the same without it")
	fl.StringVar(&one, "host", "", "the variables of one machine, as Ansible asks")
	fl.StringVar(&query, "match", "", "only the machines of a query; see: muster host list --help")
	return c
}
