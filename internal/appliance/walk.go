// walk.go: an imagined machine. It sends what a real one sends, one step after the
// other, through the same parsers and builders.

package appliance

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/dhcpd"
)

// walk is a machine on its way from power-on to its kernel. What it asks for depends
// on the answers before, as with a real one. decide answers: in a rehearsal, or as the
// live server.
type walk struct {
	policy *boot.Policy
	net    *boot.Network
	six    bool // by DHCPv6
	now    time.Time
	q      client.ExplainRequest
	arch   boot.Arch
	decide func(boot.Sighting) (boot.Decision, error)
	steps  []walked
	src    netip.AddrPort // source of its file requests
}

// walked is one step.
type walked struct {
	client.ExplainStep
	dec boot.Decision
}

// describe completes the ExplainRequest from what is known of the machine, and finds
// its network.
func (w *walk) describe(tx boot.ReadTx) error {
	q := &w.q
	var host *boot.Host
	var err error
	switch {
	case q.Host != "":
		if host, err = boot.FindHost(tx, w.policy, w.now, q.Host); err == nil && host == nil {
			err = boot.NoHost(q.Host)
		}
	case !q.MAC.IsZero():
		host, err = tx.HostByMAC(q.MAC)
	}
	if err != nil {
		return err
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
			q.Network = host.On()
		}
		q.SecureBoot = q.SecureBoot || host.Secure == boot.SecureOn
	}
	if q.MAC.IsZero() {
		return boot.NewFault(boot.Invalid, "host %s has no MAC address yet; give one with --mac", q.Host)
	}
	if q.Platform == "" && q.VendorClass == "" && q.Arch == nil {
		q.Platform = boot.X64UEFI
	}
	w.arch = boot.ArchNone
	if q.Arch != nil {
		w.arch = *q.Arch
	} else if q.Platform != "" {
		if q.Platform.UBoot() && q.VendorClass == "" {
			q.VendorClass = "U-Boot"
		}
		var ok bool
		if q.Platform == boot.RISCV64UBoot || q.Platform == boot.SomeUBoot {
			q.VendorClass = "" // it says neither
		} else if w.arch, ok = boot.ArchFor(q.Platform, q.HTTP); !ok {
			return boot.NewFault(boot.Invalid, "%s has no HTTP boot of its own", q.Platform)
		}
	}
	w.six = q.IPv6 || q.Relay.Is6()
	networks, find := w.policy.Networks, w.policy.Find
	w.net = network(networks, q.Network)
	if n := w.net; n != nil && n.Mode == boot.Off && !q.Relay.IsValid() && network(w.policy.Networks6, n.Name) != nil {
		w.six, q.Network = true, n.Name // the network has no IPv4 side
	}
	if w.six || w.net == nil && !q.Relay.IsValid() {
		networks, find = w.policy.Networks6, w.policy.Find6
		w.net = network(networks, q.Network)
		w.six = w.six || w.net != nil
	}
	if q.Relay.IsValid() && q.Network == "" {
		if w.net = find(boot.Link{Relay: q.Relay, Subnet: q.Relay}); w.net == nil {
			return boot.NewFault(boot.UnknownNetwork, "no network serves relay %s: it is in no network's subnet, and not in the relays of exactly one", q.Relay)
		}
	}
	switch {
	case w.net == nil && w.six && network(w.policy.Networks, q.Network) != nil:
		return boot.NewFault(boot.UnknownNetwork, "no IPv6 on network %s: subnet6 turns it on", network(w.policy.Networks, q.Network).Name)
	case w.net == nil && q.Network != "":
		return boot.NewFault(boot.UnknownNetwork, "no network is called %s", q.Network)
	case w.net == nil:
		return boot.NewFault(boot.UnknownNetwork, "no network is configured")
	}
	return nil
}

func (w *walk) step(name string, in boot.Sighting) (boot.Decision, error) {
	in.At = w.now
	dec, err := w.decide(in)
	if err == nil {
		w.steps = append(w.steps, walked{client.ExplainStep{Step: name, Reply: boot.Verb(dec.Reply), Gets: gets(dec), Proof: dec.Proof, Why: dec.Why}, dec})
	}
	return dec, err
}

// send6 is send for DHCPv6.
func (w *walk) send6(name string, ask dhcpd.Query6) (boot.Decision, error) {
	duid, err := hex.DecodeString(w.policy.DUID)
	if err != nil {
		return boot.Decision{}, err
	}
	meta := dhcpd.Meta{At: w.now, Interface: w.net.Interface, Source: ask.Source()} // sent to the multicast group of all servers
	if ask.Link.IsValid() {
		meta.Source, meta.Local = netip.AddrPortFrom(ask.Link, 547), w.net.Server
	}
	return w.through(name, dhcpd.Describe6, func(decide decider) (boot.Decision, []byte, dhcpd.Dest, error) {
		return dhcpd.Dry6(ask.Packet(), meta, duid, decide)
	})
}

func (w *walk) dhcp6(what string, fw boot.Firmware) (boot.Decision, error) {
	q := &w.q
	ask := dhcpd.Query6{MAC: q.MAC, UUID: q.UUID, Arch: fw.Arch, VendorClass: fw.VendorClass, UserClass: fw.UserClass, Link: q.Relay, Port: q.Port, IAID: 1}
	if fw.IPXE {
		ask.IAID = 2 // iPXE uses an association of its own
	}
	dec, err := w.send6(what+" SOLICIT", ask)
	if err != nil {
		return dec, err
	}
	addr, _ := granted(dec)
	if a, ok := dec.Reply.(boot.Answer6); !ok || !a.Advertise || !addr.IsValid() {
		return dec, nil
	}
	ask.Addr = addr
	if ask.Server, err = hex.DecodeString(w.policy.DUID); err != nil {
		return dec, err
	}
	return w.send6(what+" REQUEST", ask)
}

// send passes a packet through the same parser and builder as one from the wire.
func (w *walk) send(name string, ask dhcpd.Query) (boot.Decision, error) {
	meta := dhcpd.Meta{At: w.now, Interface: w.net.Interface, Local: w.net.Server}
	return w.through(name, dhcpd.Describe, func(decide decider) (boot.Decision, []byte, dhcpd.Dest, error) {
		return dhcpd.Dry(ask.Packet(), meta, decide)
	})
}

type decider = func(boot.Sighting) (boot.Decision, error)

// through makes a step from what a server without sockets does with a packet, and
// returns what it would send.
func (w *walk) through(name string, describe func([]byte) []string, dry func(decider) (boot.Decision, []byte, dhcpd.Dest, error)) (boot.Decision, error) {
	dec, reply, to, err := dry(func(in boot.Sighting) (boot.Decision, error) { return w.step(name, in) })
	if err != nil {
		return dec, err
	}
	s := &w.steps[len(w.steps)-1]
	s.Class = dec.Kind
	if reply != nil {
		s.Way, s.Packet, s.Fields = fmt.Sprintf("%s to %s, %d bytes", to.How, to.Addr, len(reply)), reply, describe(reply)
	}
	return dec, nil
}

func (w *walk) dhcp(what string, fw boot.Firmware) (boot.Decision, error) {
	q := &w.q
	ask := dhcpd.Query{MAC: q.MAC, UUID: q.UUID, Arch: fw.Arch, VendorClass: fw.VendorClass, UserClass: fw.UserClass, UBoot: q.Platform.UBoot(), Relay: q.Relay, Port: q.Port}
	if w.six {
		return w.dhcp6(what, fw)
	}
	dec, err := w.send(what+" DISCOVER", ask)
	if err != nil {
		return dec, err
	}
	o, _ := dec.Reply.(boot.Answer4)
	if o.Type != boot.Offer || o.Grant == nil {
		return dec, nil
	}
	ask.Addr, ask.Server = o.Grant.Addr, o.Options.Server
	return w.send(what+" REQUEST", ask)
}

func (w *walk) fetch(what, target string, query boot.Query) (boot.Decision, error) {
	via, path := boot.TFTP, target
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		path = strings.TrimPrefix(u.Path, "/")
		if u.Scheme != "tftp" {
			via = boot.HTTP
		}
	}
	in := boot.Sighting{Via: via, Step: boot.Fetch, Source: w.src, Link: boot.Link{Local: w.net.Server}, Want: boot.Want{Path: path, Query: query},
		Firmware: boot.Firmware{Arch: boot.ArchNone}}
	if query.Asked {
		in.ID, in.Firmware.PlatformHint = boot.Identity{UUID: w.q.UUID, Serial: w.q.Serial}, w.q.Platform
	}
	return w.step(what, in)
}

// boot walks the whole way.
func (w *walk) boot() error {
	class := "PXEClient"
	if w.q.HTTP {
		class = "HTTPClient"
	}
	fw := boot.Firmware{Arch: w.arch, VendorClass: fmt.Sprintf("%s:Arch:%05d:UNDI:003000", class, uint16(w.arch)), UserClass: w.q.UserClass}
	if w.q.VendorClass != "" || w.q.Platform.UBoot() {
		fw.VendorClass = w.q.VendorClass
	}
	dec, err := w.dhcp("firmware", fw)
	if err != nil {
		return err
	}
	addr, info := granted(dec)
	if info == nil {
		return nil
	}
	if !addr.IsValid() {
		addr = w.net.Server // a proxy does not know the machine's address; any address of the network will do
	}
	w.src = netip.AddrPortFrom(addr, 4096)
	if w.q.Platform == boot.PiPlatform {
		return w.pi()
	}
	if w.q.Platform.UBoot() {
		return w.uboot(info.File)
	}
	if info.Class != boot.IPXE {
		if dec, err = w.fetch("loader", info.File, boot.Query{}); err != nil {
			return err
		}
		if f, ok := dec.Reply.(boot.File); !ok {
			return nil
		} else if strings.HasPrefix(f.Ref.Name, "shim") || strings.Contains(info.File, "/shim") {
			if goesOn, err := w.grub(); err != nil || !goesOn {
				return err
			}
		}
		fw.IPXE, fw.UserClass = true, "iPXE"
		fw.VendorClass = fmt.Sprintf("PXEClient:Arch:%05d:UNDI:003010", uint16(w.arch))
		if dec, err = w.dhcp("iPXE", fw); err != nil {
			return err
		}
		if _, info = granted(dec); info == nil {
			return nil
		}
	}
	if dec, err = w.fetch("first script", info.File, boot.Query{}); err != nil {
		return err
	}
	if _, ok := dec.Reply.(boot.Script); !ok {
		return nil
	}
	if dec, err = w.fetch("script with identity", info.File, boot.Query{Asked: true, MAC: w.q.MAC}); err != nil {
		return err
	}
	return w.files(dec)
}

// grub makes the requests of shim's GRUB, and reports whether iPXE comes next.
func (w *walk) grub() (goesOn bool, err error) {
	dec, err := w.fetch("GRUB's first file", "grub/grub.cfg", boot.Query{})
	x, ok := dec.Reply.(boot.Script)
	if err != nil || !ok {
		return false, err
	}
	_, base, _ := strings.Cut(x.Ref.Machine.GRUBBase, ")/")
	name := "open.cfg"
	if w.q.SecureBoot {
		name = "locked.cfg"
	}
	if dec, err = w.fetch("GRUB, Secure Boot "+map[bool]string{true: "on", false: "off"}[w.q.SecureBoot], base+"/"+name, boot.Query{}); err != nil {
		return false, err
	}
	if x, ok = dec.Reply.(boot.Script); ok && x.Ref.Name == "chain" {
		return true, nil
	}
	return false, w.files(dec)
}

// files asks for the files that a boot script names.
func (w *walk) files(dec boot.Decision) error {
	x, ok := dec.Reply.(boot.Script)
	if !ok || x.Ref.Kind != boot.RefGenerated {
		return nil
	}
	for _, name := range x.Ref.Template.MediaPaths() {
		if _, err := w.fetch(name, x.Ref.Machine.BaseURL+"/"+name, boot.Query{}); err != nil {
			return err
		}
	}
	return nil
}

// uboot asks for U-Boot's script, which leads to one of the machine's own.
func (w *walk) uboot(name string) error {
	dec, err := w.fetch("first script", name, boot.Query{})
	x, ok := dec.Reply.(boot.Script)
	if err != nil || !ok {
		return err
	}
	if dec, err = w.fetch("script with identity", x.Ref.Machine.TFTPPath+"/"+name, boot.Query{Asked: true}); err != nil {
		return err
	}
	return w.files(dec)
}

// pi asks for the first files of a Raspberry Pi.
func (w *walk) pi() error {
	folder := strings.ReplaceAll(w.q.MAC.String(), ":", "-")
	if n := len(w.q.Serial); n >= 8 {
		folder = w.q.Serial[n-8:]
	}
	for _, name := range []string{"config.txt", "start4.elf", "cmdline.txt"} {
		if _, err := w.fetch(name, folder+"/"+name, boot.Query{}); err != nil {
			return err
		}
	}
	return nil
}

func network(networks []boot.Network, name string) *boot.Network {
	for i := range networks {
		if name == "" || networks[i].Name == name {
			return &networks[i]
		}
	}
	return nil
}

func granted(d boot.Decision) (netip.Addr, *boot.BootInfo) {
	var g *boot.Grant
	var info *boot.BootInfo
	switch x := d.Reply.(type) {
	case boot.Answer4:
		g, info = x.Grant, x.Boot
	case boot.Answer6:
		info = x.Boot
		for p := range x.Given() {
			return p.Addr(), info
		}
	}
	if g == nil {
		return netip.Addr{}, info
	}
	return g.Addr, info
}

// gets says in a few words what a reply brings.
func gets(dec boot.Decision) string {
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
