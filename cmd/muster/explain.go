// explain.go: "muster explain": a machine, stored or imagined, through the same
// function as live serving.

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

func (a *app) explainCmd() *cobra.Command {
	var q admin.ExplainRequest
	var mac, uuid, arch, relay string
	c := &cobra.Command{
		Use: "explain [HOST]", Short: "Say what a machine would get at each step, and by which rules",
		Example: "  muster explain web1\n  muster explain --mac 52:54:00:aa:bb:99 --arch x64-uefi --network lab",
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
			if arch != "" && !boot.KnownPlatform(q.Platform) {
				return usagef("--arch %q: want one like bios, x64-uefi, x64-uefi-http, arm64-uefi", arch)
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
	fl.StringVar(&arch, "arch", "", "architecture: bios, x64-uefi, x64-uefi-http, arm64-uefi, …")
	fl.StringVar(&q.Network, "network", "", "network it asks on; the first by default")
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
	if q.Platform == "" {
		q.Platform = boot.X64UEFI
	}
	arch, ok := boot.ArchFor(q.Platform, q.HTTP)
	if !ok {
		return out, boot.OrderError("%s has no HTTP boot of its own", q.Platform)
	}
	net := network(p, q.Network)
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
	fw := boot.Firmware{Arch: arch, VendorClass: fmt.Sprintf("%s:Arch:%05d:UNDI:003000", class, uint16(arch))}
	link := boot.Link{Interface: net.Interface, Local: net.Server}
	if q.Relay.IsValid() {
		link.Relay, link.Subnet = q.Relay, q.Relay
	}
	now := time.Now()
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

	id := boot.Identity{MAC: q.MAC, UUID: q.UUID}
	dhcp := func(what string, fw boot.Firmware) (boot.Decision, error) {
		dec, err := step(what+" DISCOVER", boot.Sighting{Via: boot.DHCP4, Step: boot.Discover, Link: link, ID: id, Firmware: fw})
		if err != nil {
			return dec, err
		}
		o, ok := dec.Reply.(boot.Offer)
		if !ok || o.Grant == nil {
			return dec, nil
		}
		return step(what+" REQUEST", boot.Sighting{Via: boot.DHCP4, Step: boot.Selecting, Link: link, ID: id, Firmware: fw, Want: boot.Want{Addr: o.Grant.Addr, Server: net.Server}})
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
