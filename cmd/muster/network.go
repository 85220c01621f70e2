// network.go: "muster network": what is served, and how full it is.

package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// servedNetwork is a network with its pools: one for each family.
type servedNetwork struct {
	client.NetworkStatus
	Pools []boot.PoolStatus `json:"pools"`
}

func (a *app) networkCmd() *cobra.Command {
	c := group("network", "Networks that are served, and how full their pools are")
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List networks: mode, state, addresses in use, other servers", Args: exactly(0, "no arguments"),
		Long:    "List networks: mode, state, addresses in use, other servers.\nSTRANGERS are leases of machines that nobody let in. What is configured: muster config check.",
		Example: "  muster network list\n  muster network list --watch\n  muster network list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			var s client.Status
			if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/status", nil, &s); err != nil {
				return err
			}
			all := []servedNetwork{}
			for _, n := range s.Networks {
				x := servedNetwork{NetworkStatus: n, Pools: []boot.PoolStatus{}}
				for _, p := range s.Pools {
					if p.Network == boot.PoolName(n.Name, netip.IPv4Unspecified()) || p.Network == boot.PoolName(n.Name, netip.IPv6Unspecified()) {
						x.Pools = append(x.Pools, p)
					}
				}
				all = append(all, x)
			}
			if a.json {
				return a.printJSON(all)
			}
			if len(all) == 0 {
				a.print("no networks: write a [[network]] into the configuration; muster config check says whether it is right\n")
				return nil
			}
			rows := [][]string{{"NAME", "INTERFACE", "MODE", "SUBNET", "LEASED", "OFFERED", "STRANGERS", "OTHERS", "STATE"}}
			for _, n := range all {
				var leased, offered, strangers, others []string
				for _, p := range n.Pools {
					if p.Size > 0 {
						leased = append(leased, fmt.Sprintf("%d of %d (%d %%)", p.Leased, p.Size, 100*p.Leased/p.Size))
						offered, strangers = append(offered, fmt.Sprint(p.Offered)), append(strangers, fmt.Sprint(p.Unknown))
					}
				}
				for _, r := range n.Rivals {
					others = append(others, r.Server.String())
				}
				subnet := ""
				if n.Subnet.IsValid() {
					subnet = n.Subnet.String()
				}
				rows = append(rows, []string{n.Name, n.Interface, string(n.Mode), subnet, strings.Join(leased, ", "), strings.Join(offered, ", "), strings.Join(strangers, ", "), strings.Join(others, " "), n.State})
			}
			a.table(rows)
			return nil
		},
	})
	return c
}
