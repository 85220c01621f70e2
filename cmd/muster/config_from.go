// config_from.go: "muster config from" writes the networks of another DHCP server as
// muster.toml has them.

package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/internal/reservation"
	"github.com/musterboot/muster/internal/run"
)

// configFrom is the result of "muster config from".
type configFrom struct {
	*reservation.Networks
	TOML string `json:"toml"`
}

func (a *app) configFromCmd() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "from FILE...", Short: "Write the networks of another DHCP server as muster.toml has them",
		Long: `Read dhcpd.conf, kea-dhcp4.conf or the files of dnsmasq, and print a [[network]] for each
subnet: ranges, routers, name servers, domain, lease time, options, relay agents, shared
networks. What is said for all subnets is in each of them. All that is not carried over
stands beneath as a comment, with file and line and the reason.

Nothing is changed, and no daemon is asked. The interface is the one of this computer
that has an address in the subnet, else the one that the file names; where neither is
known, CHANGE-ME stands in its place. Machines with reservations are read by: muster
host import.`,
		Example: `  muster config from /etc/dhcp/dhcpd.conf
  muster config from /etc/dnsmasq.conf /etc/dnsmasq.d/* > muster.toml
  muster config check muster.toml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("config from wants a file; see: muster config from --help")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.configFrom(reservation.Format(from), args) },
	}
	c.Flags().StringVar(&from, "from", "", "format of the files: isc, kea or dnsmasq (default: found out for each file)")
	return c
}

func (a *app) configFrom(from reservation.Format, names []string) error {
	files, err := readForeign(from, names, []reservation.Format{reservation.ISC, reservation.Kea, reservation.Dnsmasq})
	if err != nil {
		return err
	}
	ns, err := reservation.ReadNetworks(files)
	if err != nil {
		return usageError{err}
	}
	text := ns.TOML(interfaceIn)
	if a.json {
		return a.printJSON(configFrom{ns, string(text)})
	}
	if len(text) > 0 {
		a.print("%s\n", lines(string(text), ""))
	}
	lost := len(ns.Left)
	for _, n := range ns.Networks {
		lost += len(n.Left)
	}
	a.note("%s; %s not carried over, each a comment\n", counted(len(ns.Networks), "network"), counted(lost, "line"))
	if strings.Contains(string(text), reservation.NoInterface) {
		a.note("say the interface where %s stands; then: muster config check FILE\n", reservation.NoInterface)
	}
	if ns.Hosts > 0 {
		a.note("%s: muster host import %s\n", counted(ns.Hosts, "machine"), strings.Join(names, " "))
	}
	return nil
}

// interfaceIn is the interface of this computer that has an address in a subnet.
func interfaceIn(p netip.Prefix) string {
	for _, name := range run.Interfaces() {
		l, err := run.Look(name)
		if err == nil && slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return p.Contains(a.Addr()) }) {
			return name
		}
	}
	return ""
}
