// config.go: the configuration file and what can be judged of it without
// looking at the machine. Everything wrong is an error with file and line, and
// nothing is started.

package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/internal/tomlfile"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/tftpd"
)

const defaultConfig = "/etc/muster/muster.toml"

// fileConfig is muster.toml as written.
type fileConfig struct {
	DataDir  string        `toml:"data_dir"`
	Networks []fileNetwork `toml:"network"`
	HTTP     fileListen    `toml:"http"`
	HTTPS    *fileHTTPS    `toml:"https"`
	TFTP     fileTFTP      `toml:"tftp"`
	Syslog   fileListen    `toml:"syslog"`
	Enroll   fileEnroll    `toml:"enroll"`
	Classes  []fileClass   `toml:"class"`
	Webhooks []fileWebhook `toml:"webhook"`
	Hooks    []fileHook    `toml:"hook"`
	Events   fileEvents    `toml:"events"`
}

// fileClass is a [[class]]: what a kind of client says, and how it is answered.
type fileClass struct {
	Name        string         `toml:"name"`
	VendorClass []string       `toml:"vendor_class"`
	UserClass   []string       `toml:"user_class"`
	Arch        []int          `toml:"arch"`
	OUI         []string       `toml:"oui"`
	Enterprise  []uint32       `toml:"enterprise"`
	As          string         `toml:"as"`
	EchoVendor  bool           `toml:"echo_vendor_class"`
	Delay       string         `toml:"delay"`
	Options     map[string]any `toml:"options"`
	HTTPS       bool           `toml:"https"`
}

// fileMenu is [network.menu].
type fileMenu struct {
	Prompt  string         `toml:"prompt"`
	Timeout *int           `toml:"timeout"`
	Items   []fileMenuItem `toml:"item"`
}

type fileMenuItem struct {
	Text   string `toml:"text"`
	Loader string `toml:"loader"`
	Local  bool   `toml:"local"`
}

type fileNetwork struct {
	Name      string   `toml:"name"`
	Interface string   `toml:"interface"`
	Mode      string   `toml:"mode"`
	Subnet    string   `toml:"subnet"`
	Range     string   `toml:"range"`
	Routers   []string `toml:"routers"`
	DNS       []string `toml:"dns"`
	Domain    string   `toml:"domain"`
	Lease     string   `toml:"lease"`
	Relays    []string `toml:"relays"`
	PXE       string   `toml:"pxe"`

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

type fileListen struct {
	Listen string `toml:"listen"`
}

type fileTFTP struct {
	Listen     string `toml:"listen"`
	Ports      string `toml:"ports"`
	SinglePort bool   `toml:"single_port"`
}

type fileHTTPS struct {
	Listen      string   `toml:"listen"`
	Cert        string   `toml:"cert"`
	Key         string   `toml:"key"`
	Names       []string `toml:"names"`
	FirmwareTLS bool     `toml:"firmware_tls"`
}

var knownKeys = map[string][]string{
	"": {"data_dir", "network", "http", "https", "tftp", "syslog", "enroll", "class", "webhook", "hook", "events"},
	"network": {"name", "interface", "mode", "subnet", "range", "routers", "dns", "domain", "lease", "relays", "pxe",
		"exclude", "shared", "unknown_lease", "unknown_share", "new_leases", "probe", "client_id", "rapid_commit", "trust_ports", "options", "menu", "bandwidth", "https", "loader", "installs_per_hour",
		"mode6", "range6", "relays6", "delegate6", "delegate6_len", "subnet6", "dns6", "ra", "ra_router", "ra_preference", "mtu6"},
	"network.menu":      {"prompt", "timeout", "item"},
	"network.menu.item": {"text", "loader", "local"},
	"class":             {"name", "vendor_class", "user_class", "arch", "oui", "enterprise", "as", "echo_vendor_class", "delay", "options", "https"},
	"http":              {"listen"},
	"https":             {"listen", "cert", "key", "names", "firmware_tls"},
	"tftp":              {"listen", "ports", "single_port"},
	"enroll":            {"policy", "hold", "limit", "loop", "shared", "rule"},
	"enroll.rule":       {"name", "action", "from", "until", "max", "template", "install", "arch", "mac", "uuid", "serial", "vendor_class", "switch_port", "network"},
	"webhook":           {"name", "url", "secret_file", "ca_file", "kinds", "timeout", "give_up"},
	"hook":              {"name", "command", "kinds", "timeout", "give_up"},
	"events":            {"keep", "max"},
	"syslog":            {"listen"},
}

// Config is the typed, checked configuration.
type Config struct {
	DataDir   string
	Networks6 []boot.Network // the IPv6 side of those that have one
	Networks  []boot.Network // Server, and where not given Subnet, come from the interface
	HTTP      string
	HTTPS     *HTTPS // nil: not served
	TFTP      string
	TFTPOnly  tftpd.PortRange // of transfers; zero is any
	OnePort   bool            // transfers stay on the TFTP port
	Syslog    Syslog
	Enroll    boot.Enroll
	Classes   []boot.ClientClass
	RA        []radv.Config // one for each interface that has an IPv6 subnet
	Hooks     []Hook        // webhooks too
	Events    Retention
	file      *tomlfile.File
}

// HTTPS is the [https] table.
type HTTPS struct {
	Listen      string
	Cert, Key   string   // files; "" is a certificate of the built-in CA
	Names       []string // DNS names for the built-in CA's certificate
	FirmwareTLS bool     // clients without ephemeral key exchange are served
}

// Syslog is the [syslog] table.
type Syslog struct {
	Listen string // "" takes no lines
	Asked  bool   // a person wrote it: a port that is taken is an error
}

// What a network does unless told.
const (
	defaultLease        = time.Hour
	defaultUnknownLease = 10 * time.Minute // long enough for a boot
	defaultUnknownShare = 50
	defaultNewLeases    = 100
)

func defaults() *Config {
	return &Config{
		HTTP: ":80", TFTP: ":69", Syslog: Syslog{Listen: ":514"},
		Enroll: boot.Enroll{Policy: boot.EnrollApprove, Hold: 15 * time.Minute, Limit: 10000, Loop: 10},
		Events: Retention{Max: defaultMaxEvents},
	}
}

// parseConfig reads a file's text. name is the file, for errors.
func parseConfig(name string, data []byte) (*Config, error) {
	var raw fileConfig
	f, err := tomlfile.Decode(name, data, &raw, knownKeys)
	if err != nil {
		return nil, err
	}
	c := defaults()
	c.DataDir, c.file = raw.DataDir, f
	if c.HTTP, err = listenAddr(f, "http.listen", raw.HTTP.Listen, c.HTTP); err != nil {
		return nil, err
	}
	if c.TFTP, err = listenAddr(f, "tftp.listen", raw.TFTP.Listen, c.TFTP); err != nil {
		return nil, err
	}
	if l := raw.Syslog.Listen; l == "off" {
		c.Syslog.Listen = ""
	} else {
		c.Syslog.Asked = l != ""
		if c.Syslog.Listen, err = listenAddr(f, "syslog.listen", l, c.Syslog.Listen); err != nil {
			return nil, err
		}
	}
	c.OnePort = raw.TFTP.SinglePort
	if raw.TFTP.Ports != "" {
		if c.TFTPOnly, err = tftpd.ParsePorts(raw.TFTP.Ports); err != nil {
			return nil, f.Errorf("tftp.ports", 0, "%v", err)
		}
		if c.OnePort {
			return nil, f.Errorf("tftp.ports", 0, "ports and single_port exclude each other: with single_port there is one")
		}
	}
	if c.HTTPS, err = raw.HTTPS.check(f, c.HTTP); err != nil {
		return nil, err
	}
	if c.Events, err = raw.Events.check(f); err != nil {
		return nil, err
	}
	if c.Hooks, err = raw.hooks(f); err != nil {
		return nil, err
	}
	for i, rc := range raw.Classes {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("class", i, key, format, args...) }
		x, err := rc.check(bad)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.Classes, func(o boot.ClientClass) bool { return o.Name == x.Name }) {
			return nil, bad("name", "class name %q is used twice", x.Name)
		}
		c.Classes = append(c.Classes, x)
	}
	for i, rn := range raw.Networks {
		bad := func(key, format string, args ...any) error { return f.ErrorIn("network", i, key, format, args...) }
		n, err := rn.check(bad)
		if err != nil {
			return nil, err
		}
		x, err := rn.six(n, bad)
		if err != nil {
			return nil, err
		}
		if c.RA, err = rn.ra(c.RA, n, bad); err != nil {
			return nil, err
		}
		only6 := x != nil && n.Mode == boot.Off // the subnet that it needs is of IPv6
		if x != nil {
			for _, o := range c.Networks6 {
				if o.Subnet.Overlaps(x.Subnet) {
					return nil, bad("subnet6", "subnet6 %s overlaps %s of network %q", x.Subnet, o.Subnet, o.Name)
				}
			}
			c.Networks6 = append(c.Networks6, *x)
		}
		for _, o := range c.Networks {
			switch {
			case o.Name == n.Name:
				return nil, f.ErrorIn("network", i, "name", "network name %q is used twice", n.Name)
			case o.Interface == n.Interface && !n.Subnet.IsValid() && !only6:
				return nil, f.ErrorIn("network", i, "interface", "interface %s has network %q already; a second one on it needs a subnet of its own", n.Interface, o.Name)
			case n.Subnet.IsValid() && o.Subnet.IsValid() && n.Subnet.Overlaps(o.Subnet):
				return nil, f.ErrorIn("network", i, "subnet", "subnet %s overlaps %s of network %q", n.Subnet, o.Subnet, o.Name)
			}
			for _, r := range n.Ranges {
				for _, or := range o.Ranges {
					if overlap(r, or) {
						return nil, f.ErrorIn("network", i, "range", "range %s overlaps %s of network %q", r, or, o.Name)
					}
				}
			}
		}
		if n.HTTPS && c.HTTPS == nil {
			return nil, f.ErrorIn("network", i, "https", "https = true needs the listener: write a table [https]")
		}
		c.Networks = append(c.Networks, n)
	}
	if c.Enroll, err = raw.Enroll.check(f, c.Enroll, c.Networks); err != nil {
		return nil, err
	}
	for i, x := range c.Classes {
		if x.HTTPS && c.HTTPS == nil {
			return nil, f.ErrorIn("class", i, "https", "https = true needs the listener: write a table [https]")
		}
	}
	return c, nil
}

// check turns [https] into its typed form.
func (r *fileHTTPS) check(f *tomlfile.File, http string) (*HTTPS, error) {
	if r == nil {
		return nil, nil
	}
	h := &HTTPS{Cert: r.Cert, Key: r.Key, Names: r.Names, FirmwareTLS: r.FirmwareTLS}
	var err error
	if h.Listen, err = listenAddr(f, "https.listen", r.Listen, ":443"); err != nil {
		return nil, err
	}
	if h.Listen == http {
		return nil, f.Errorf("https.listen", 0, "listen %q is the port of [http] too", h.Listen)
	}
	if (r.Cert == "") != (r.Key == "") {
		return nil, f.Errorf("https.cert", 0, "cert and key go together: both files, or neither for a certificate of the built-in CA (muster ca show)")
	}
	for _, n := range r.Names {
		if _, err := netip.ParseAddr(n); err == nil || n == "" || len(n) > 253 || strings.ContainsAny(n, " /:*") {
			return nil, f.Errorf("https.names", 0, "name %q: want a DNS name like \"boot.example.org\"; addresses are in the certificate by themselves", n)
		}
	}
	if r.Cert != "" && len(r.Names) > 0 {
		return nil, f.Errorf("https.names", 0, "names are for certificates of the built-in CA; yours has its own")
	}
	return h, nil
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

func listenAddr(f *tomlfile.File, key, s, def string) (string, error) {
	if s == "" {
		return def, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" {
		var a netip.Addr
		if a, err = netip.ParseAddr(host); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			return "", f.Errorf(key, 0, "listen %q: a link-local address is on every link: name the interface, like \"[%s%%eth1]:%s\"", s, a, port)
		}
	}
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 1 || n > 65535 {
		return "", f.Errorf(key, 0, "listen %q: want \":80\", \"10.77.0.1:80\" or \"[fd77::1]:80\"", s)
	}
	return s, nil
}

func portOf(listen string) int {
	_, p, _ := net.SplitHostPort(listen)
	n, _ := strconv.Atoi(p)
	return n
}

type complain func(key, format string, args ...any) error

// check turns one [[network]] into its typed form.
func (r fileNetwork) check(bad complain) (boot.Network, error) {
	n := boot.Network{Name: r.Name, Interface: r.Interface, Mode: boot.Mode(r.Mode), Domain: r.Domain, Lease: defaultLease, Shared: r.Shared,
		UnknownLease: defaultUnknownLease, UnknownShare: defaultUnknownShare, NewLeases: defaultNewLeases, Probe: true, RapidCommit: r.RapidCommit, TrustPorts: r.TrustPorts}
	if r.Interface == "" {
		return n, bad("interface", "a network needs an interface: interface = \"eth1\" (this machine has %s)", strings.Join(run.Interfaces(), ", "))
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

// options reads a table of options, in the order of their names so that the first
// error is always the same.
func options(m map[string]any, table string, bad complain) ([]boot.Option, error) {
	var out []boot.Option
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o, err := boot.ParseOption(k, m[k])
		if err != nil {
			return nil, bad(table+"."+k, "%v", err)
		}
		if slices.ContainsFunc(out, func(x boot.Option) bool { return x.Code == o.Code }) {
			return nil, bad(table+"."+k, "option %s (%d) is set twice, by name and by number", o.Name(), o.Code)
		}
		out = append(out, o)
	}
	return out, nil
}

// check turns [network.menu] into its typed form.
func (r *fileMenu) check(bad complain) (*boot.Menu, error) {
	if r == nil {
		return nil, nil
	}
	m := &boot.Menu{Prompt: r.Prompt, Timeout: 10}
	if r.Timeout != nil {
		if *r.Timeout < 0 || *r.Timeout > 255 {
			return nil, bad("menu.timeout", "timeout %d: want seconds from 0 (the first line at once) to 255 (wait)", *r.Timeout)
		}
		m.Timeout = uint8(*r.Timeout)
	}
	if m.Prompt == "" {
		m.Prompt = "Press F8 for a menu"
	}
	// Firmware takes one option of 255 bytes and 24 lines (edk2).
	if len(r.Items) < 1 || len(r.Items) > 24 {
		return nil, bad("menu.item", "a menu wants 1 to 24 lines: [[network.menu.item]]")
	}
	size := 12 + len(m.Prompt)
	for _, it := range r.Items {
		x := boot.MenuItem{Text: it.Text, Loader: it.Loader}
		switch {
		case it.Text == "":
			return nil, bad("menu.item", "a line of the menu needs a text")
		case it.Local && it.Loader != "":
			return nil, bad("menu.item", "line %q: local = true boots the disk and wants no loader", it.Text)
		case !it.Local && it.Loader == "":
			x.Loader = "default"
		case strings.ContainsAny(it.Loader, "/\\"):
			return nil, bad("menu.item", "line %q: loader %q: want the name of a file in the loaders folder", it.Text, it.Loader)
		}
		size += 10 + len(it.Text)
		m.Items = append(m.Items, x)
	}
	if size > 255 {
		return nil, bad("menu.item", "the menu takes %d bytes of the 255 that firmware reads: fewer lines or shorter texts", size)
	}
	return m, nil
}

// check turns a [[class]] into its typed form.
func (r fileClass) check(bad complain) (boot.ClientClass, error) {
	c := boot.ClientClass{Name: r.Name, As: boot.Class(r.As), Echo: r.EchoVendor,
		HTTPS: r.HTTPS, Match: boot.ClassMatch{VendorClass: r.VendorClass, UserClass: r.UserClass, OUI: r.OUI, Enterprise: r.Enterprise}}
	for _, a := range r.Arch {
		if a < 0 || a > 0xfffe {
			return c, bad("arch", "arch %d: want a number of option 93, like 7 or 11", a)
		}
		c.Match.Arch = append(c.Match.Arch, boot.Arch(a))
	}
	if r.Delay != "" {
		d, err := time.ParseDuration(r.Delay)
		if err != nil || d < 0 || d > 10*time.Second {
			return c, bad("delay", "delay %q: want a duration up to \"10s\"", r.Delay)
		}
		c.Delay = d
	}
	var err error
	if c.Options, err = options(r.Options, "options", bad); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, bad("name", "%v", err)
	}
	return c, nil
}

// without takes addresses out of ranges.
func without(ranges, excluded []boot.Range) []boot.Range {
	for _, x := range excluded {
		var left []boot.Range
		for _, r := range ranges {
			if !overlap(r, x) {
				left = append(left, r)
				continue
			}
			if r.From.Less(x.From) {
				left = append(left, boot.Range{From: r.From, To: x.From.Prev()})
			}
			if x.To.Less(r.To) {
				left = append(left, boot.Range{From: x.To.Next(), To: r.To})
			}
		}
		ranges = left
	}
	return ranges
}

// parseRanges reads "10.0.0.10-10.0.0.20, 10.0.0.40-10.0.0.50".
func parseRanges(s string) ([]boot.Range, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out []boot.Range
	var total uint64
	for _, part := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			to = from
		}
		a, err1 := netip.ParseAddr(strings.TrimSpace(from))
		b, err2 := netip.ParseAddr(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || !a.Is4() || !b.Is4() {
			return nil, fmt.Errorf("range %q: want FIRST-LAST, like 10.77.0.100-10.77.0.200", strings.TrimSpace(part))
		}
		r := boot.Range{From: a, To: b}
		if b.Less(a) {
			return nil, fmt.Errorf("range %s ends before it begins; did you mean %s-%s?", r, b, a)
		}
		for _, o := range out {
			if overlap(o, r) {
				return nil, fmt.Errorf("range %s overlaps %s", r, o)
			}
		}
		if total += r.Size(); total > engine.MaxPool {
			return nil, fmt.Errorf("range %q holds more than %d addresses", s, engine.MaxPool)
		}
		out = append(out, r)
	}
	return out, nil
}

func overlap(a, b boot.Range) bool { return !a.To.Less(b.From) && !b.To.Less(a.From) }

// inside refuses ranges beyond a subnet, and its network and broadcast address.
func inside(p netip.Prefix, ranges []boot.Range) error {
	for _, r := range ranges {
		for _, a := range []netip.Addr{r.From, r.To} {
			if !p.Contains(a) {
				return fmt.Errorf("range %s: %s is outside subnet %s", r, a, p)
			}
		}
		if p.Bits() < 31 && (r.Contains(p.Addr()) || r.Contains(boot.Broadcast(p))) {
			return fmt.Errorf("range %s holds the network or broadcast address of %s", r, p)
		}
	}
	return nil
}

// resolve gives a configured network the address and, where the file names
// none, the subnet that its interface has now. waits says, for people, why it
// cannot be served yet.
func resolve(n boot.Network, l run.Link) (_ boot.Network, waits string, err error) {
	n.Server = netip.Addr{}
	if !l.Found {
		return n, "interface " + n.Interface + " is not there", nil
	}
	for _, a := range l.Addrs {
		if !a.Addr().Is4() {
			continue
		}
		if n.Subnet.IsValid() && n.Subnet.Contains(a.Addr()) {
			n.Server = a.Addr()
			break
		}
		if !n.Subnet.IsValid() && !a.Addr().IsLinkLocalUnicast() {
			n.Server, n.Subnet = a.Addr(), a.Masked()
			break
		}
	}
	if !n.Server.IsValid() && len(n.Relays) > 0 {
		// Behind a relay the subnet is elsewhere; any address of ours answers.
		if a, ok := l.V4(); ok {
			n.Server = a.Addr()
		}
	}
	if !n.Server.IsValid() {
		if n.Subnet.IsValid() {
			return n, fmt.Sprintf("interface %s has no address in %s", n.Interface, n.Subnet), nil
		}
		return n, fmt.Sprintf("interface %s has no IPv4 address", n.Interface), nil
	}
	return n, "", inside(n.Subnet, n.Ranges)
}

// loadConfig reads the file; a missing default file is an empty one.
func loadConfig(path string, explicit bool) (*Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !explicit {
		return defaults(), nil
	}
	if err != nil {
		return nil, usagef("read configuration: %w", err)
	}
	return parseConfig(path, data)
}
