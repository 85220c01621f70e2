// host.go: "muster host".

package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/match"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/plan"
)

// client is that of the daemon here, or of an appliance elsewhere that is in use.
func (a *app) client() *client.Client {
	c, err := a.remote()
	switch {
	case err != nil:
		return client.Failing(err)
	case c != nil:
		return c
	}
	return client.Local(a.dataDir)
}

func hostPath(name string, rest ...string) string {
	return "/api/v1/hosts/" + url.PathEscape(name) + strings.Join(rest, "")
}

func (a *app) hostCmd() *cobra.Command {
	c := group("host", "The roll of machines")
	c.AddCommand(a.hostListCmd(), a.hostShowCmd(), a.hostLogCmd(), a.hostCaptureCmd(), a.hostAddCmd(), a.hostSetCmd(),
		a.hostApproveCmd(), a.hostInstallCmd(), a.hostRescueCmd(), a.hostActCmd("local", "Take a machine's installation away: it boots its disk"),
		a.hostDenyCmd(), a.hostMergeCmd(), a.hostSplitCmd(),
		a.hostActCmd("update", "Move a machine to the version of its template that is in force, at its next boot"),
		a.hostImportCmd(),
		a.hostRemoveCmd())
	return c
}

func (a *app) hostListCmd() *cobra.Command {
	var state, query string
	var armed bool
	c := &cobra.Command{
		Use: "list [WORD …]", Short: "List machines",
		Long: `List machines. Words are a query: each is looked for in name, MAC address, serial number,
UUID and addresses, or is KEY:VALUE. A blank is "and", a comma in a value is "or", "-"
before a term negates it.

  ` + strings.Join(match.Keys(), " ") + `

Values take * and ?. Times are an age or a date after < or >: seen:<10m, enrolled:>2026-11-01.`,
		Example: "  muster host list\n  muster host list state:pending net:lab\n  muster host list 'serial:RIG*' -finding:any --json\n  muster host list --armed",
		RunE: func(c *cobra.Command, args []string) error {
			if state != "" && !slices.Contains([]string{"pending", "approved", "denied"}, state) {
				return usagef("--state %q: want pending, approved or denied", state)
			}
			q := strings.Join(append(args, query), " ")
			if armed {
				q += " ticket:armed state:approved protected:no"
			}
			var hs []client.HostView
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/hosts?limit=5000&state="+state+"&q="+url.QueryEscape(strings.TrimSpace(q)), &hs); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(hs)
			}
			switch {
			case len(hs) == 0 && armed:
				a.print("nothing would be installed by a power cut now\n")
				return nil
			case len(hs) == 0 && strings.TrimSpace(q)+state != "":
				a.print("no machine matches\n")
				return nil
			case len(hs) == 0:
				a.print("no machines yet; they appear here when they boot from the network\n")
				return nil
			}
			head := []string{"NAME", "STATE", "MAC", "ADDRESS", "PLATFORM", "TEMPLATE", "STAGE", "TICKET", "SEEN"}
			if a.wide {
				head = append(head, "SERIAL", "NETWORK", "BOOTS", "TAGS", "PROTECTED")
			}
			rows := [][]string{head}
			for _, h := range hs {
				mac, addr := "", h.Lease
				if len(h.MACs) > 0 {
					mac = h.MACs[0].String()
				}
				if len(h.MACs) > 1 {
					mac += fmt.Sprintf(" +%d", len(h.MACs)-1)
				}
				for _, a := range []netip.Addr{h.Lease6, h.Address, h.Address6} {
					if !addr.IsValid() {
						addr = a
					}
				}
				template := h.Template
				if h.Version != 0 {
					template += fmt.Sprintf(" v%d", h.Version)
				}
				row := []string{h.Name, string(h.State), mac, addrText(addr), string(h.Platform), template, h.Stage, ticketWord(h.Host, a.now()), ago(h.LastSeen)}
				if a.wide {
					row = append(row, h.Serial, h.On(), fmt.Sprint(h.Boots), strings.Join(h.Tags, " "), map[bool]string{true: "yes"}[h.Protected])
				}
				rows = append(rows, row)
			}
			a.table(rows)
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", "", "only pending, approved or denied machines")
	c.Flags().StringVar(&query, "match", "", "only machines of this query")
	c.Flags().BoolVar(&armed, "armed", false, "only machines that a power cut now would install")
	c.Flags().BoolVar(&a.wide, "wide", false, "more columns: serial number, network, boots, tags, protection")
	return c
}

// ticketWord is where the installation of a machine is, in one word.
func ticketWord(h boot.Host, now time.Time) string {
	switch k := h.Ticket; {
	case k == nil:
		return ""
	case k.State == boot.TicketArmed && k.Boot != 0:
		return "under way"
	case k.State == boot.TicketArmed && h.State == boot.Approved && !h.Protected && !h.Installs(now):
		return "expired"
	case k.State == boot.TicketClosed:
		return k.Stage
	default:
		return string(k.State)
	}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (a *app) hostShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME|MAC", Short: "Show a machine and everything it asked", Args: exactly(1, "a host's name or MAC address"),
		Example: "  muster host show m-525400aabb01\n  muster host show 52:54:00:aa:bb:01 --json",
		RunE: func(c *cobra.Command, args []string) error {
			var d client.HostDetail
			if err := a.client().Call(c.Context(), http.MethodGet, hostPath(args[0]), nil, &d); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(d)
			}
			a.showHost(d)
			return nil
		},
	}
}

func (a *app) showHost(d client.HostDetail) {
	p := a.printer()
	a.print("%s  %s\n", p.paint(bold, d.Name), d.State)
	field := func(k, v string) {
		if v != "" {
			a.print("  %-10s %s\n", k, v)
		}
	}
	for _, m := range d.MACs {
		field("MAC", m.String())
	}
	field("UUID", d.UUID.String())
	field("serial", d.Serial)
	field("platform", string(d.Platform))
	field("network", d.On())
	field("address", addrText(d.Lease))
	field("address", addrText(d.Lease6))
	field("reserved", addrText(d.Address))
	field("reserved", addrText(d.Address6))
	field("bound to", d.BoundPort)
	if d.Port != d.BoundPort {
		field("on port", d.Port)
	}
	for _, g := range d.EffectiveOptions {
		switch {
		case len(g.Differ) > 0:
			field("option", g.Option.Name()+" of a tag does not count: "+boot.Scopes(g.Differ)+" differ")
		case g.From != boot.HostScope:
			field("option", g.Option.String()+" ("+string(g.From)+")")
		default:
			field("option", g.Option.String())
		}
	}
	if d.Template != "" {
		pin := "the version in force at the next boot"
		if d.Pin != 0 {
			pin = "pinned"
		}
		field("template", d.Template+" ("+pin+")")
	}
	field("next boot", d.Once)
	field("tags", strings.Join(d.Tags, " "))
	for _, k := range slices.Sorted(maps.Keys(d.Effective)) {
		g := d.Effective[k]
		switch {
		case len(g.Differ) > 0:
			field("param", k+" has no value: "+boot.Scopes(g.Differ)+" differ")
		case g.From != boot.HostScope:
			field("param", k+givenText(g)+" ("+string(g.From)+")")
		default:
			field("param", k+givenText(g))
		}
	}
	field("boots", fmt.Sprint(d.Boots))
	field("stage", d.Stage)
	field("install", d.Ticket.Standing())
	field("has", d.Installed)
	if d.Protected {
		field("protected", "nothing installs on it")
	}
	if v := d.Inventory; v != nil {
		field("hardware", v.String())
		for _, x := range v.Disks {
			field("disk", strings.Join(strings.Fields(x.Name+" "+size(x.Size)+" "+x.Bus+" "+x.Model+" "+x.Serial), " "))
		}
		for _, x := range v.NICs {
			field("interface", strings.TrimSpace(x.Name+" "+x.MAC.String()+" "+x.State))
		}
	}
	field("enrolled", d.Created.Local().Format(time.DateTime))
	field("seen", ago(d.LastSeen))
	p.strip(d.Timeline, d.Stage)
	if len(d.Found) > 0 {
		a.print("\n")
		p.found(d.Found)
	}
	a.print("\n")
	p.timeline(d.Timeline, d.Name)
}

// hostFlags are the fields that add and set share.
type hostFlags struct {
	macs, dropMACs      []string
	addresses           []string
	uuid, serial        string
	template, name      string
	params              []string
	port                string
	options, noOptions  []string
	tags, noTags        []string
	approved, protected bool
}

func (f *hostFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringArrayVar(&f.macs, "mac", nil, "MAC address; may be given again")
	fl.StringVar(&f.uuid, "uuid", "", "SMBIOS UUID")
	fl.StringVar(&f.serial, "serial", "", "serial number")
	fl.StringArrayVar(&f.addresses, "address", nil, "reserve this address, or none; may be given again for the other family")
	fl.StringVar(&f.template, "template", "", "template to boot")
	fl.StringVar(&f.port, "switch-port", "", "bind the host to a switch port, as its relay names it (REMOTE-ID:CIRCUIT-ID): whatever asks there is this host")
	fl.StringArrayVar(&f.options, "option", nil, "DHCP option NAME=VALUE, like ntp-servers=10.77.0.1; may be given again")
	fl.StringArrayVar(&f.tags, "tag", nil, "tag, a word or KEY=VALUE such as rack=12; may be given again")
	fl.StringArrayVar(&f.params, "param", nil, "template parameter NAME=VALUE; may be given again")
}

func parseMACs(in []string) ([]boot.MAC, error) {
	var out []boot.MAC
	for _, s := range in {
		m, err := boot.ParseMAC(s)
		if err != nil {
			return nil, usageError{err}
		}
		out = append(out, m)
	}
	return out, nil
}

func parseOptions(in []string) ([]boot.Option, error) {
	var out []boot.Option
	for _, s := range in {
		o, err := boot.ParseOptionText(s)
		if err != nil {
			return nil, usagef("--option: %w", err)
		}
		out = append(out, o)
	}
	return out, nil
}

// reserved are the addresses of --address. Nil means not given; the zero address means
// that a reservation is removed.
func (f *hostFlags) reserved() (a, b *netip.Addr, err error) {
	for i, s := range f.addresses {
		var x netip.Addr
		if s != "" && s != "none" {
			if x, err = netip.ParseAddr(s); err != nil {
				return nil, nil, usagef("--address %q is no IP address", s)
			}
		}
		switch {
		case i == 0:
			a = &x
		case i > 1 || !x.IsValid() || !a.IsValid() || x.Is4() == a.Is4():
			return nil, nil, usagef("--address %s: a host has one reserved address of IPv4 and one of IPv6", strings.Join(f.addresses, " --address "))
		default:
			b = &x
		}
	}
	return a, b, nil
}

func (a *app) hostAddCmd() *cobra.Command {
	var f hostFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Put a machine on the roll before it is seen", Args: exactly(1, "a name for the host"),
		Example: "  muster host add web1 --mac 52:54:00:aa:bb:01 --template rescue --approved\n  muster host add rig7 --serial RIG-0007 --address 10.77.0.50\n  muster host add leaf3-p12 --switch-port leaf3:Ethernet12 --address 10.77.0.51 --option ntp-servers=10.77.0.1",
		RunE: func(c *cobra.Command, args []string) error {
			h := client.NewHost{Name: args[0], State: boot.Pending, Serial: f.serial, Template: f.template, Params: map[string]string{}, BoundPort: f.port, Tags: f.tags}
			var err error
			if h.Options, err = parseOptions(f.options); err != nil {
				return err
			}
			if h.MACs, err = parseMACs(f.macs); err != nil {
				return err
			}
			if f.uuid != "" {
				if h.UUID, err = boot.ParseUUID(f.uuid); err != nil {
					return usageError{err}
				}
			}
			first, second, err := f.reserved()
			if err != nil {
				return err
			}
			if first != nil {
				h.Address = *first
			}
			if second != nil {
				h.Address6 = *second // the engine sorts them by family
			}
			for _, p := range f.params {
				k, v, ok := strings.Cut(p, "=")
				if !ok {
					return usagef("--param %q: want NAME=VALUE", p)
				}
				typed, v, err := a.paramValue(v)
				if err != nil {
					return err
				}
				if h.Params[k] = v; typed {
					h.Typed = append(h.Typed, k)
				}
			}
			if f.approved {
				h.State = boot.Approved
			}
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodPost, "/api/v1/hosts", h, &out); err != nil {
				return err
			}
			return a.said(out, "%s added, %s", out.Name, out.State)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.approved, "approved", false, "let it boot at once")
	return c
}

// warned prints what should be said about an order that was carried out.
func (a *app) warned(ws []string) {
	for _, w := range ws {
		a.note("muster: warning: %s\n", w)
	}
}

// paramValue reads a parameter's value: as it was typed, of a file (@FILE) or of standard
// input (-); a file's last line end is not part of it.
func (a *app) paramValue(v string) (typed bool, value string, err error) {
	var b []byte
	switch {
	case strings.HasPrefix(v, "@@"):
		return true, v[1:], nil
	case strings.HasPrefix(v, "@"):
		b, err = os.ReadFile(v[1:])
	case v == "-":
		b, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	default:
		return true, v, nil
	}
	if err != nil {
		return false, "", usagef("a parameter's value: %w", err)
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	return false, value, nil
}

// said prints what a command did: a line for people, the record for programs.
func (a *app) said(v any, format string, args ...any) error {
	if a.json {
		return a.printJSON(v)
	}
	a.print(format+"\n", args...)
	return nil
}

func (a *app) hostSetCmd() *cobra.Command {
	var f hostFlags
	var many manyFlags
	c := &cobra.Command{
		Use: "set NAME [PARAM=VALUE …]", Short: "Change fields and template parameters of a machine",
		Long: `Change fields and template parameters of a machine. A parameter without a value (disk=) is
removed. A value is read from a file by rootpw=@FILE, from standard input by rootpw=-; one
that begins with @ itself is written @@. Secret parameters are given in these two ways only.`,
		Example: "  muster host set web1 disk=/dev/nvme0n1 --template rescue\n  muster host set m-525400aabb01 --name web1 --address 10.77.0.50\n  muster host set web1 --tag db --tag rack=12\n  muster host set --match 'net:lab serial:RIG*' disk=/dev/nvme0n1 --dry-run",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && many.match == "" {
				return usagef("host set wants a host's name or MAC address; see: muster host set --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var p client.HostPatch
			var err error
			if p.AddMACs, err = parseMACs(f.macs); err != nil {
				return err
			}
			if p.DropMACs, err = parseMACs(f.dropMACs); err != nil {
				return err
			}
			changed := c.Flags().Changed
			if changed("uuid") {
				var u boot.UUID
				if f.uuid != "" {
					if u, err = boot.ParseUUID(f.uuid); err != nil {
						return usageError{err}
					}
				}
				p.UUID = &u
			}
			if changed("serial") {
				p.Serial = &f.serial
			}
			if p.Address, p.Address6, err = f.reserved(); err != nil {
				return err
			}
			if changed("template") {
				p.Template = &f.template
			}
			if changed("name") {
				p.Name = &f.name
			}
			if changed("switch-port") {
				p.Port = &f.port
			}
			if p.Options, err = parseOptions(f.options); err != nil {
				return err
			}
			if changed("protected") {
				p.Protected = &f.protected
			}
			p.NoOption, p.Tags, p.NoTags = f.noOptions, f.tags, f.noTags
			given := args
			if many.match == "" {
				given = args[1:]
			}
			if p.Params, p.Typed, err = a.params(append(slices.Clone(given), f.params...)); err != nil {
				return err
			}
			if many.chosen() {
				req := client.PlanRequest{Action: plan.Set, Set: &p}
				if many.match == "" {
					req.Names = args[:1]
				}
				return a.plan(c.Context(), &many, req)
			}
			var out client.HostAnswer
			if err := a.client().Call(c.Context(), http.MethodPatch, hostPath(args[0]), p, &out); err != nil {
				return err
			}
			a.warned(out.Warnings)
			return a.said(out, "%s set", out.Name)
		},
	}
	f.add(c)
	many.add(c)
	c.Flags().StringVar(&f.name, "name", "", "rename the host")
	c.Flags().BoolVar(&f.protected, "protected", false, "nothing installs on it, even if ordered; --protected=false ends that")
	c.Flags().StringArrayVar(&f.noOptions, "drop-option", nil, "take a DHCP option away, by name or number; may be given again")
	c.Flags().StringArrayVar(&f.noTags, "drop-tag", nil, "take a tag away, named whole or by its key; may be given again")
	c.Flags().StringArrayVar(&f.dropMACs, "drop-mac", nil, "take a MAC address away; may be given again")
	return c
}

func (a *app) hostRescueCmd() *cobra.Command {
	template := "rescue"
	var many manyFlags
	c := &cobra.Command{
		Use: "rescue NAME …", Short: "Boot another template once, at the next boot", Args: many.names("rescue"),
		Example: "  muster host rescue web1\n  muster host rescue web1 --template memtest",
		RunE: func(c *cobra.Command, args []string) error {
			if many.chosen() || len(args) > 1 {
				return a.plan(c.Context(), &many, client.PlanRequest{Action: plan.Rescue, Names: args, Template: &template})
			}
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodPost, hostPath(args[0], "/rescue"), client.Rescue{Template: template}, &out); err != nil {
				return err
			}
			return a.said(out, "%s boots template %s next, and after that what it booted before", out.Name, out.Once)
		},
	}
	many.add(c)
	c.Flags().StringVar(&template, "template", template, "template of the next boot")
	return c
}

func (a *app) hostInstallCmd() *cobra.Command {
	var template, expires string
	var again bool
	var many manyFlags
	c := &cobra.Command{
		Use: "install NAME …", Short: "Arm one installation: the next boot installs, and no other", Args: many.names("install"),
		Long: `Arm one installation: the next boot of the machine gets its installing template,
and no boot after that. It is spent when kernel and initrd have left, and ends
when the machine reports "installed", "done" or "failed" to its report URL.
Until then muster host show says "install unconfirmed". Whatever happens, the
machine is not installed again until somebody arms it again.`,
		Example: "  muster host install web1\n  muster host install web1 --template debian12 --expires 24h\n  muster host install --match 'net:lab template:debian12 -state:installing' --dry-run",
		RunE: func(c *cobra.Command, args []string) error {
			var in client.Installation
			if c.Flags().Changed("template") {
				in.Template = &template
			}
			if many.chosen() || len(args) > 1 {
				return a.plan(c.Context(), &many, client.PlanRequest{Action: plan.Install, Names: args, Template: in.Template, Again: again, Expires: expires})
			}
			var out client.HostAnswer
			in.Again, in.Expires = again, expires
			if err := a.client().Call(c.Context(), http.MethodPost, hostPath(args[0], "/install"), in, &out); err != nil {
				return err
			}
			a.warned(out.Warnings)
			return a.said(out, "%s: %s", out.Name, out.Ticket.Standing())
		},
	}
	many.add(c)
	c.Flags().StringVar(&expires, "expires", "", "how long the ticket waits for the machine: 24h, 7d (default) or never")
	c.Flags().StringVar(&template, "template", "", "give the machine this template first")
	c.Flags().BoolVar(&again, "again", false, "arm it even where the last installation may be running")
	return c
}

func (a *app) hostActCmd(verb, short string) *cobra.Command {
	var many manyFlags
	c := &cobra.Command{
		Use: verb + " NAME …", Short: short, Args: many.names(verb),
		Example: "  muster host " + verb + " m-525400aabb01\n  muster host " + verb + " --match 'net:lab template:debian12' --dry-run",
		RunE: func(c *cobra.Command, args []string) error {
			if many.chosen() || len(args) > 1 {
				return a.plan(c.Context(), &many, client.PlanRequest{Action: verb, Names: args})
			}
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodPost, hostPath(args[0], "/", verb), struct{}{}, &out); err != nil {
				return err
			}
			return a.said(out, "%s: %s done", out.Name, verb)
		},
	}
	many.add(c)
	return c
}

func (a *app) hostRemoveCmd() *cobra.Command {
	var many manyFlags
	c := &cobra.Command{
		Use: "rm NAME …", Short: "Take machines off the roll; they are unknown afterwards", Args: many.names("rm"),
		Example: "  muster host rm m-525400aabb01\n  muster host rm --match 'state:pending seen:>30d' --dry-run",
		RunE: func(c *cobra.Command, args []string) error {
			if many.chosen() || len(args) > 1 {
				return a.plan(c.Context(), &many, client.PlanRequest{Action: plan.Remove, Names: args})
			}
			var out boot.Host
			if err := a.client().Call(c.Context(), http.MethodDelete, hostPath(args[0]), nil, &out); err != nil {
				return err
			}
			return a.said(out, "%s removed", out.Name)
		},
	}
	many.add(c)
	return c
}
