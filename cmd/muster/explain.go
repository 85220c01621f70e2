// explain.go: "muster explain": a machine, stored or imagined, through the same
// function as live serving.

package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/admin"
)

func (a *app) explainCmd() *cobra.Command {
	var q admin.ExplainRequest
	var mac, uuid, arch, relay string
	var packets bool
	c := &cobra.Command{
		Use: "explain [HOST]", Short: "Say what a machine would get at each step, and by which rules",
		Example: "  muster explain web1\n  muster explain --mac 52:54:00:aa:bb:99 --arch x64-uefi --network lab\n  muster explain --mac 52:54:00:aa:bb:99 --arch bios --relay 10.20.0.1 --switch-port leaf3:Ethernet12\n  muster explain --mac 52:54:00:aa:bb:99 --vendor-class onie_vendor:x86_64-acme_sw1-r0 --packets",
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
			var e admin.Explanation
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/explain", q, &e); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(e)
			}
			p := printer{out: a.out, color: isTerminal(a.out)}
			fmt.Fprintf(a.out, "on network %s\n", e.Network)
			for i, s := range e.Steps {
				fmt.Fprintf(a.out, "\n%s %s -> %s %s\n", p.paint(bold, fmt.Sprintf("%d.", i+1)), s.Step, p.paint(bold, s.Reply), s.Gets)
				for _, w := range s.Why {
					fmt.Fprintf(a.out, "     %-9s %s\n", w.Rule, w.Note)
				}
				if s.Way != "" {
					fmt.Fprintf(a.out, "     %-9s %s\n", "sent", s.Way)
				}
				for _, f := range s.Fields {
					fmt.Fprintf(a.out, "       %s\n", f)
				}
				if packets && len(s.Packet) > 0 {
					fmt.Fprintln(a.out, "       "+strings.ReplaceAll(strings.TrimSpace(hex.Dump(s.Packet)), "\n", "\n       "))
				}
				if s.Script != "" {
					fmt.Fprintln(a.out, "     "+strings.ReplaceAll(strings.TrimSpace(s.Script), "\n", "\n     "))
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
	fl.BoolVar(&packets, "packets", false, "print the DHCP replies byte for byte")
	fl.StringVar(&relay, "relay", "", "relay agent (giaddr) it asks through")
	return c
}

// explain walks a machine through its boot without writing anything. What one
// step would write is what the next one finds.
func (d *daemon) explain(ctx context.Context, q admin.ExplainRequest) (admin.Explanation, error) {
	p := d.engine.Policy()
	var out admin.Explanation
	var host *boot.Host
	if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) {
		switch {
		case q.Host != "":
			if host, err = boot.FindHost(tx, q.Host); err == nil && host == nil {
				err = boot.OrderError("no host is called %s (muster host list)", q.Host)
			}
		case !q.MAC.IsZero():
			host, err = tx.HostByMAC(q.MAC)
		}
		return err
	}); err != nil {
		return out, err
	}
	if host != nil {
		id := host.Identity()
		if q.MAC.IsZero() {
			q.MAC = id.MAC
		}
		if q.UUID.IsZero() {
			q.UUID = id.UUID
		}
		if q.Serial == "" {
			q.Serial = id.Serial
		}
		if q.Platform == "" {
			q.Platform = host.Platform
		}
		if q.Network == "" {
			q.Network = host.Network
		}
	}
	if q.MAC.IsZero() {
		return out, boot.OrderError("host %s has no MAC address yet; give one with --mac", q.Host)
	}
	if q.Platform == "" && q.VendorClass == "" && q.Arch == nil {
		q.Platform = boot.X64UEFI
	}
	arch := boot.ArchNone
	if q.Arch != nil {
		arch = *q.Arch
	} else if q.Platform != "" {
		var ok bool
		if arch, ok = boot.ArchFor(q.Platform, q.HTTP); !ok {
			return out, boot.OrderError("%s has no HTTP boot of its own", q.Platform)
		}
	}
	net := network(p, q.Network)
	if q.Relay.IsValid() && q.Network == "" {
		net = p.Find(boot.Link{Relay: q.Relay, Subnet: q.Relay})
		if net == nil {
			return out, boot.OrderError("no network serves relay %s: its address must be in the network's subnet and in its list of relays", q.Relay)
		}
	}
	if net == nil {
		if q.Network != "" {
			return out, boot.OrderError("no network is called %s", q.Network)
		}
		return out, boot.OrderError("no network is configured")
	}
	out.Network = net.Name

	class := "PXEClient"
	if q.HTTP {
		class = "HTTPClient"
	}
	fw := boot.Firmware{Arch: arch, VendorClass: fmt.Sprintf("%s:Arch:%05d:UNDI:003000", class, uint16(arch)), UserClass: q.UserClass}
	if q.VendorClass != "" {
		fw.VendorClass = q.VendorClass
	}
	now := d.app.now()
	step := func(name string, in boot.Sighting) (boot.Decision, error) {
		in.At = now
		dec, err := d.engine.ExplainWith(ctx, in, host)
		if err != nil {
			return dec, err
		}
		if dec.Writes.Host != nil {
			host = dec.Writes.Host
		}
		s := admin.ExplainStep{Step: name, Reply: boot.Verb(dec.Reply), Gets: d.gets(dec), Why: dec.Why}
		if x, ok := dec.Reply.(boot.Script); ok {
			if obj, err := d.content().Open(ctx, x.Ref); err != nil {
				s.Script = err.Error()
			} else {
				b, _ := io.ReadAll(obj.Body)
				obj.Body.Close()
				s.Script = string(b)
			}
		}
		out.Steps = append(out.Steps, s)
		return dec, nil
	}

	// The packet goes through the same parser and builder as one from the wire.
	send := func(name string, ask dhcpd.Query) (dec boot.Decision, err error) {
		meta := dhcpd.Meta{At: now, Interface: net.Interface, Local: net.Server}
		_, reply, to, err := dhcpd.Dry(ask.Packet(), meta, func(in boot.Sighting) (boot.Decision, error) {
			dec, err = step(name, in)
			return dec, err
		})
		if err != nil {
			return dec, err
		}
		s := &out.Steps[len(out.Steps)-1]
		s.Class = dec.Kind
		if reply != nil {
			s.Way, s.Packet, s.Fields = fmt.Sprintf("%s to %s, %d bytes", to.How, to.Addr, len(reply)), reply, dhcpd.Describe(reply)
		}
		return dec, nil
	}
	dhcp := func(what string, fw boot.Firmware) (boot.Decision, error) {
		ask := dhcpd.Query{MAC: q.MAC, UUID: q.UUID, Arch: fw.Arch, VendorClass: fw.VendorClass, UserClass: fw.UserClass, Relay: q.Relay, Port: q.Port}
		dec, err := send(what+" DISCOVER", ask)
		if err != nil {
			return dec, err
		}
		o, ok := dec.Reply.(boot.Offer)
		if !ok || o.Grant == nil {
			return dec, nil
		}
		ask.Addr, ask.Server = o.Grant.Addr, o.Options.Server
		return send(what+" REQUEST", ask)
	}
	dec, err := dhcp("firmware", fw)
	if err != nil {
		return out, err
	}
	addr, info := granted(dec)
	if info == nil {
		return out, nil
	}
	if !addr.IsValid() {
		addr = net.Server // a proxy does not know it; any address of the network serves
	}
	src := netip.AddrPortFrom(addr, 4096)
	fetch := func(what, target string, query boot.Query, platform boot.Platform) (boot.Decision, error) {
		via, path := boot.TFTP, target
		if u, err := url.Parse(target); err == nil && u.Scheme == "http" {
			via, path = boot.HTTP, strings.TrimPrefix(u.Path, "/")
		}
		in := boot.Sighting{Via: via, Step: boot.Fetch, Source: src, Link: boot.Link{Local: net.Server}, Want: boot.Want{Path: path, Query: query},
			Firmware: boot.Firmware{Arch: boot.ArchNone, PlatformHint: platform}}
		if query.Asked {
			in.ID = boot.Identity{UUID: q.UUID, Serial: q.Serial}
		}
		return step(what, in)
	}
	if info.Class != boot.IPXE {
		if _, err := fetch("loader", info.File, boot.Query{}, ""); err != nil {
			return out, err
		}
		fw.IPXE, fw.UserClass = true, "iPXE"
		fw.VendorClass = fmt.Sprintf("PXEClient:Arch:%05d:UNDI:003010", uint16(arch))
		if dec, err = dhcp("iPXE", fw); err != nil {
			return out, err
		}
		if _, info = granted(dec); info == nil {
			return out, nil
		}
	}
	if dec, err = fetch("first script", info.File, boot.Query{}, ""); err != nil {
		return out, err
	}
	if _, ok := dec.Reply.(boot.Script); !ok {
		return out, nil
	}
	_, err = fetch("script with identity", info.File, boot.Query{Asked: true, MAC: q.MAC}, q.Platform)
	return out, err
}

func network(p *boot.Policy, name string) *boot.Network {
	for i := range p.Networks {
		if name == "" || p.Networks[i].Name == name {
			return &p.Networks[i]
		}
	}
	return nil
}

func granted(d boot.Decision) (netip.Addr, *boot.BootInfo) {
	var g *boot.Grant
	var info *boot.BootInfo
	switch x := d.Reply.(type) {
	case boot.Offer:
		g, info = x.Grant, x.Boot
	case boot.Ack:
		g, info = x.Grant, x.Boot
	}
	if g == nil {
		return netip.Addr{}, info
	}
	return g.Addr, info
}

// gets is what a reply brings, in a few words.
func (d *daemon) gets(dec boot.Decision) string {
	addr, info := granted(dec)
	var parts []string
	if addr.IsValid() {
		parts = append(parts, addr.String())
	}
	if info != nil {
		parts = append(parts, boot.ShortPath(strings.TrimPrefix(info.File, "/")))
	}
	switch x := dec.Reply.(type) {
	case boot.File:
		parts = append(parts, x.Ref.Name)
	case boot.Script:
		parts = append(parts, x.Ref.Name)
	case boot.Refuse:
		parts = append(parts, x.Reason)
	}
	return strings.Join(parts, ", ")
}
