// explain.go: "muster explain": a machine, stored or imagined, through the same
// function as live serving.

package main

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (a *app) explainCmd() *cobra.Command {
	var q client.ExplainRequest
	var mac, uuid, arch, relay string
	var packets bool
	c := &cobra.Command{
		Use: "explain [HOST]", Short: "Say what a machine would get at each step, and by which rules",
		Example: "  muster explain web1\n  muster explain --mac 52:54:00:aa:bb:99 --arch x64-uefi --network lab\n  muster explain --mac 52:54:00:aa:bb:99 --arch bios --relay 10.20.0.1 --switch-port leaf3:Ethernet12\n  muster explain --mac 52:54:00:aa:bb:99 --arch x64-uefi-http --ipv6\n  muster explain --mac 52:54:00:aa:bb:99 --vendor-class onie_vendor:x86_64-acme_sw1-r0 --packets",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("explain wants one host, or --mac")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			if len(args) == 1 {
				q.Host = args[0]
			} else if mac == "" {
				return usagef("explain wants a host's name, or --mac of a machine to imagine; see: muster explain --help")
			}
			if mac != "" {
				if q.MAC, err = boot.ParseMAC(mac); err != nil {
					return usageError{err}
				}
			}
			if uuid != "" {
				if q.UUID, err = boot.ParseUUID(uuid); err != nil {
					return usageError{err}
				}
			}
			if relay != "" {
				if q.Relay, err = netip.ParseAddr(relay); err != nil {
					return usagef("--relay %q is no IP address", relay)
				}
			}
			name, http_ := strings.CutSuffix(arch, "-http")
			q.Platform, q.HTTP = boot.Platform(name), http_
			if n, err := strconv.ParseUint(arch, 0, 16); err == nil {
				v := boot.Arch(n)
				q.Arch, q.Platform, q.HTTP = &v, v.Platform(), v.HTTP()
			} else if arch != "" && !boot.KnownPlatform(q.Platform) {
				return usagef("--arch %q: want one like bios, x64-uefi, x64-uefi-http, arm64-uefi, or a number of option 93", arch)
			}
			var e client.Explanation
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/explain", q, &e); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(e)
			}
			p := a.printer()
			a.print("on network %s\n", e.Network)
			if e.RA != nil {
				says := e.RA.Says
				if says == "none" {
					says += ", nobody routes IPv6 here and nobody is to wait for a router"
				}
				if e.RA.State != "" {
					says += "; not sent: " + e.RA.State
				}
				a.print("router advertisements: %s\n", says)
			}
			for i, s := range e.Steps {
				gets := s.Gets
				if s.Size > 0 && s.Reply == "file" {
					gets += ", " + size(s.Size)
				}
				a.print("\n%s %s -> %s %s\n", p.paint(bold, fmt.Sprintf("%d.", i+1)), s.Step, p.paint(bold, s.Reply), gets)
				if s.Proof != "" {
					a.print("     %-9s %s\n", "proof", s.Proof)
				}
				for _, w := range s.Why {
					a.print("     %-9s %s\n", w.Rule, w.Text())
				}
				if s.Way != "" {
					a.print("     %-9s %s\n", "sent", s.Way)
				}
				for _, f := range s.Fields {
					a.print("       %s\n", f)
				}
				if packets && len(s.Packet) > 0 {
					a.print("       %s\n", lines(hex.Dump(s.Packet), "       "))
				}
				if s.Script != "" {
					a.print("     %s\n", lines(s.Script, "     "))
				}
			}
			return nil
		},
	}
	fl := c.Flags()
	fl.StringVar(&mac, "mac", "", "MAC address")
	fl.StringVar(&uuid, "uuid", "", "SMBIOS UUID")
	fl.StringVar(&q.Serial, "serial", "", "serial number")
	fl.StringVar(&arch, "arch", "", "architecture: bios, x64-uefi, x64-uefi-http, arm64-uefi, …, or a number of option 93")
	fl.StringVar(&q.Network, "network", "", "network it asks on; the first by default")
	fl.StringVar(&q.Port, "switch-port", "", "switch port that the relay tells (option 82): REMOTE-ID:CIRCUIT-ID")
	fl.StringVar(&q.VendorClass, "vendor-class", "", "option 60, in place of what --arch sends")
	fl.StringVar(&q.UserClass, "user-class", "", "option 77")
	fl.BoolVar(&q.SecureBoot, "secure-boot", false, "its firmware runs signed loaders only; a host that was seen needs no flag")
	fl.BoolVar(&q.IPv6, "ipv6", false, "it asks by DHCPv6; the default on a network without IPv4")
	fl.BoolVar(&packets, "packets", false, "print the DHCP replies byte for byte")
	fl.StringVar(&relay, "relay", "", "relay agent (giaddr, or link-address of IPv6) it asks through")
	return c
}
