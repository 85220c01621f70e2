// network.go: a [[network]] and its IPv4 side.

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
)

type fileNetwork struct {
	Name       string   `toml:"name"`
	Interface  string   `toml:"interface"`
	Mode       string   `toml:"mode"`
	Subnet     string   `toml:"subnet"`
	Range      string   `toml:"range"`
	Routers    []string `toml:"routers"`
	DNS        []string `toml:"dns"`
	Domain     string   `toml:"domain"`
	VLAN       *int     `toml:"vlan"`
	Leaving    string   `toml:"out_of_range"`
	Lease      string   `toml:"lease"`
	Relays     []string `toml:"relays"`
	RelaysOnly bool     `toml:"relays_only"`
	PXE        string   `toml:"pxe"`
	NextServer bool     `toml:"next_server"`

	Exclude      string `toml:"exclude"`
	Shared       string `toml:"shared"`
	UnknownLease string `toml:"unknown_lease"`
	UnknownShare *int   `toml:"unknown_share"`
	NewLeases    *int   `toml:"new_leases"`
	Probe        *bool  `toml:"probe"`
	ClientID     string `toml:"client_id"`
	RapidCommit  bool   `toml:"rapid_commit"`
	TrustPorts   bool   `toml:"trust_ports"`

	Options map[string]any `toml:"options"`
	Menu    *fileMenu      `toml:"menu"`

	Bandwidth string `toml:"bandwidth"`
	HTTPS     bool   `toml:"https"`
	Loader    string `toml:"loader"`

	InstallsPerHour int `toml:"installs_per_hour"`

	Mode6        string   `toml:"mode6"`
	Range6       string   `toml:"range6"`
	Relays6      []string `toml:"relays6"`
	Delegate6    string   `toml:"delegate6"`
	Delegate6Len int      `toml:"delegate6_len"`

	Subnet6      string   `toml:"subnet6"`
	DNS6         []string `toml:"dns6"`
	RA           string   `toml:"ra"`
	RARouter     bool     `toml:"ra_router"`
	RAPreference string   `toml:"ra_preference"`
	MTU6         int      `toml:"mtu6"`
}

// Defaults of a network.
const (
	DefaultLease        = time.Hour
	defaultUnknownLease = 10 * time.Minute // long enough for a boot
	defaultUnknownShare = 50
	defaultNewLeases    = 100
)

// vlan is the number of the VLAN: as it is said, or as the interface's name ends.
func (r fileNetwork) vlan() (int, error) {
	if r.VLAN != nil {
		if n := *r.VLAN; n < 1 || n > 4094 {
			return 0, fmt.Errorf("vlan %d: want 1 to 4094", n)
		}
		return *r.VLAN, nil
	}
	_, tag, _ := strings.Cut(r.Interface, ".")
	if n, err := strconv.Atoi(tag); err == nil && n >= 1 && n <= 4094 {
		return n, nil
	}
	return 0, nil
}

// check turns one [[network]] into its typed form.
func (r fileNetwork) check(bad complain, interfaces []string) (boot.Network, error) {
	n := boot.Network{Name: r.Name, Interface: r.Interface, Mode: boot.Mode(r.Mode), Domain: r.Domain, Lease: DefaultLease, Shared: r.Shared,
		UnknownLease: defaultUnknownLease, UnknownShare: defaultUnknownShare, NewLeases: defaultNewLeases, Probe: true, RapidCommit: r.RapidCommit, TrustPorts: r.TrustPorts, RelaysOnly: r.RelaysOnly}
	if r.Interface == "" {
		has := ""
		if len(interfaces) > 0 {
			has = fmt.Sprintf(" (this machine has %s)", strings.Join(interfaces, ", "))
		}
		return n, bad("interface", "a network needs an interface: interface = \"eth1\"%s", has)
	}
	if n.Name == "" {
		n.Name = r.Interface
	}
	if strings.ContainsAny(n.Name, "\x00/ ") || len(n.Name) > 63 {
		return n, bad("name", "network name %q: want up to 63 characters without blanks", n.Name)
	}
	if n.Mode == "" && r.Subnet6 != "" && r.Range == "" && r.Subnet == "" {
		n.Mode = boot.Off // an IPv6 network
	}
	switch n.Mode {
	case boot.Full, boot.Reservations, boot.Proxy, boot.Off, boot.Auto:
	case "":
		return n, bad("mode", "network %q needs a mode: full (give addresses), reservations (known machines only), proxy (beside another DHCP server), auto (full if no other server answers, else proxy) or off", n.Name)
	default:
		return n, bad("mode", "mode %q: want full, reservations, proxy, auto or off", r.Mode)
	}
	switch r.Leaving {
	case "", "keep":
	case "nak":
		n.NakLeaving = true
	default:
		return n, bad("out_of_range", "out_of_range %q: want keep (a client whose address left the range keeps it to the end of its lease) or nak (it is refused at once)", r.Leaving)
	}
	var err error
	if n.VLAN, err = r.vlan(); err != nil {
		return n, bad("vlan", "%v", err)
	}
	if r.Subnet != "" {
		p, err := netip.ParsePrefix(r.Subnet)
		if err != nil || !p.Addr().Is4() {
			return n, bad("subnet", "subnet %q: want an IPv4 subnet like \"10.77.0.0/24\"", r.Subnet)
		}
		if p != p.Masked() {
			return n, bad("subnet", "subnet %s has host bits set; did you mean %s?", p, p.Masked())
		}
		n.Subnet = p
	}
	ranges, err := parseRanges(r.Range)
	if err != nil {
		return n, bad("range", "%v", err)
	}
	if (n.Mode == boot.Full || n.Mode == boot.Auto) && len(ranges) == 0 {
		return n, bad("range", "mode %s needs a range of addresses to give: range = \"10.77.0.100-10.77.0.200\"", n.Mode)
	}
	excluded, err := parseRanges(r.Exclude)
	if err != nil {
		return n, bad("exclude", "%v", err)
	}
	for _, x := range excluded {
		if !slices.ContainsFunc(ranges, func(r boot.Range) bool { return overlap(r, x) }) {
			return n, bad("exclude", "exclude %s is in no range of this network", x)
		}
	}
	if n.Ranges = without(ranges, excluded); len(ranges) > 0 && len(n.Ranges) == 0 {
		return n, bad("exclude", "exclude leaves no address of range %q", r.Range)
	}
	if n.Mode == boot.Reservations && len(ranges) > 0 {
		return n, bad("range", "mode reservations gives only what hosts have reserved: remove the range, or use mode = \"full\"")
	}
	if n.Mode == boot.Proxy && len(ranges) > 0 {
		return n, bad("range", "mode proxy gives no addresses: remove the range, or use mode = \"full\"")
	}
	if n.Subnet.IsValid() {
		if err := inside(n.Subnet, ranges); err != nil {
			return n, bad("range", "%v", err)
		}
	}
	list := func(key string, in []string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, s := range in {
			a, err := netip.ParseAddr(s)
			if err != nil || !a.Is4() {
				return nil, bad(key, "%s: %q is no IPv4 address", key, s)
			}
			out = append(out, a)
		}
		if len(out) > 16 {
			return nil, bad(key, "%s: at most 16 addresses fit into a reply", key)
		}
		return out, nil
	}
	if n.Routers, err = list("routers", r.Routers); err != nil {
		return n, err
	}
	if n.DNS, err = list("dns", r.DNS); err != nil {
		return n, err
	}
	if n.Relays, err = list("relays", r.Relays); err != nil {
		return n, err
	}
	for _, a := range n.Routers {
		if n.Subnet.IsValid() && !n.Subnet.Contains(a) {
			return n, bad("routers", "router %s is outside subnet %s", a, n.Subnet)
		}
	}
	if n.NextServer = r.NextServer; n.NextServer && r.Mode != string(boot.Proxy) {
		return n, bad("next_server", "next_server is for mode \"proxy\": it is about machines whose addresses another server gives, out of our hearing")
	}
	switch r.PXE {
	case "", "direct":
	case "binl":
		n.BINL = true
	default:
		return n, bad("pxe", "pxe %q: want direct (the file at once) or binl (by port 4011, for firmware that insists)", r.PXE)
	}
	if r.Lease != "" {
		d, err := time.ParseDuration(r.Lease)
		if err != nil || d < time.Minute || d > 365*24*time.Hour {
			return n, bad("lease", "lease %q: want a duration from \"1m\" to \"8760h\"", r.Lease)
		}
		n.Lease = d
	}
	if r.UnknownLease != "" {
		d, err := time.ParseDuration(r.UnknownLease)
		if err != nil || d < time.Minute || d > 365*24*time.Hour {
			return n, bad("unknown_lease", "unknown_lease %q: want a duration from \"1m\" to \"8760h\"", r.UnknownLease)
		}
		n.UnknownLease = d
	}
	n.UnknownLease = min(n.UnknownLease, n.Lease)
	if v := r.UnknownShare; v != nil {
		if *v < 1 || *v > 100 {
			return n, bad("unknown_share", "unknown_share %d: want a percentage from 1 to 100", *v)
		}
		n.UnknownShare = *v
	}
	if v := r.NewLeases; v != nil {
		if *v < 0 || *v > 1_000_000 {
			return n, bad("new_leases", "new_leases %d: want how many new leases a second machines may take that nobody let in, or 0 for no limit", *v)
		}
		n.NewLeases = *v
	}
	if v := r.InstallsPerHour; v < 0 || v > 10_000 {
		return n, bad("installs_per_hour", "installs_per_hour %d: want how many installations may begin on this network in an hour, or 0 for any number", v)
	}
	n.InstallsPerHour = r.InstallsPerHour
	if r.Probe != nil {
		n.Probe = *r.Probe
	}
	switch r.ClientID {
	case "", "mac":
	case "rfc4361":
		n.ClientID = true
	default:
		return n, bad("client_id", "client_id %q: want mac (one machine keeps one address in firmware, installer and OS) or rfc4361 (leases belong to client identifiers)", r.ClientID)
	}
	if n.Options, err = options(r.Options, "options", bad); err != nil {
		return n, err
	}
	if n.Menu, err = r.Menu.check(bad); err != nil {
		return n, err
	}
	n.HTTPS = r.HTTPS
	if r.Bandwidth != "" {
		if n.Bandwidth, err = parseRate(r.Bandwidth); err != nil {
			return n, bad("bandwidth", "bandwidth %v", err)
		}
	}
	switch n.Loader = r.Loader; {
	case r.Loader == "":
		n.Loader = boot.LoaderAuto
	case r.Loader == boot.LoaderAuto, r.Loader == boot.LoaderShim, r.Loader == boot.LoaderIPXE:
	default:
		return n, bad("loader", "loader %q: want auto (the signed shim and GRUB where they are installed, else iPXE), shim or ipxe", r.Loader)
	}
	if len(n.Shared) > 63 {
		return n, bad("shared", "shared %q: want a word of up to 63 characters", n.Shared)
	}
	return n, nil
}

// parseRate reads "900Mbit" or "100MB" as bytes a second.
func parseRate(s string) (int64, error) {
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"Gbit", 1e9 / 8}, {"Mbit", 1e6 / 8}, {"kbit", 1e3 / 8}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		text, ok := strings.CutSuffix(strings.TrimSpace(s), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err == nil && n > 0 && n*u.bytes >= 64<<10 && n*u.bytes <= 1e12 {
			return int64(n * u.bytes), nil
		}
	}
	return 0, fmt.Errorf("%q: want a rate for all machines of the network together, like \"900Mbit\" or \"100MB\" a second", s)
}

// addTo adds a network to the configuration, and both of its sides to what networks
// share.
func (r fileNetwork) addTo(c *Config, bad complain, interfaces []string) error {
	n, err := r.check(bad, interfaces)
	if err != nil {
		return err
	}
	x, err := r.six(n, bad)
	if err != nil {
		return err
	}
	if c.RA, err = r.ra(c.RA, n, bad); err != nil {
		return err
	}
	only6 := x != nil && n.Mode == boot.Off // it needs an IPv6 subnet only
	if x != nil {
		for _, o := range c.Networks6 {
			if o.Subnet.Overlaps(x.Subnet) {
				return bad("subnet6", "subnet6 %s overlaps %s of network %q", x.Subnet, o.Subnet, o.Name)
			}
		}
		c.Networks6 = append(c.Networks6, *x)
	}
	for _, o := range c.Networks {
		switch {
		case o.Name == n.Name:
			return bad("name", "network name %q is used twice", n.Name)
		case o.Interface == n.Interface && !n.Subnet.IsValid() && !only6:
			return bad("interface", "interface %s has network %q already; a second one on it needs a subnet of its own", n.Interface, o.Name)
		case n.Subnet.IsValid() && o.Subnet.IsValid() && n.Subnet.Overlaps(o.Subnet):
			return bad("subnet", "subnet %s overlaps %s of network %q", n.Subnet, o.Subnet, o.Name)
		}
		for _, r := range n.Ranges {
			for _, or := range o.Ranges {
				if overlap(r, or) {
					return bad("range", "range %s overlaps %s of network %q", r, or, o.Name)
				}
			}
		}
	}
	if n.HTTPS && c.HTTPS.Listen == "" {
		return bad("https", "https = true needs the listener: write a table [https]")
	}
	c.Networks = append(c.Networks, n)
	return nil
}
