// listen.go: which sockets the appliance opens: [http], [https], [tftp], [syslog], [admin].

package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/musterboot/muster/internal/tomlfile"
)

type fileListen struct {
	Listen string `toml:"listen"`
}

type fileHTTP struct {
	Listen string `toml:"listen"`
	Host   string `toml:"host"`
}

type fileTFTP struct {
	Listen     string `toml:"listen"`
	Ports      string `toml:"ports"`
	SinglePort bool   `toml:"single_port"`
}

type fileAdmin struct {
	Listen string   `toml:"listen"`
	Cert   string   `toml:"cert"`
	Key    string   `toml:"key"`
	Names  []string `toml:"names"`
}

type fileHTTPS struct {
	Listen      string   `toml:"listen"`
	Host        string   `toml:"host"`
	Cert        string   `toml:"cert"`
	Key         string   `toml:"key"`
	Names       []string `toml:"names"`
	FirmwareTLS bool     `toml:"firmware_tls"`
}

// Listeners is every socket of the appliance, and what else is fixed when it starts.
// If two values differ, a restart is needed. They are compared with ==. The tag is the
// name of a field in messages.
type Listeners struct {
	DataDir string `restart:"data_dir"`
	Active  bool   `restart:"the first network that is served, or the last"` // if false, none of what follows is open
	IPv6    bool   `restart:"the first subnet6, or the last"`                // DHCPv6
	HTTP    string `restart:"[http]"`
	HTTPS   HTTPS  `restart:"[https] listen, cert or key"`
	TFTP    TFTP   `restart:"[tftp]"`
	Syslog  Syslog `restart:"[syslog]"`
	Admin   Admin  `restart:"[admin] listen, cert or key"`
}

// HTTPS is where HTTPS is served, and with which certificate. The zero value means
// that it is not served.
type HTTPS struct {
	Listen    string
	Cert, Key string // files; "" is a certificate of the built-in CA
}

// Admin is where people and programs come in, beside the socket.
type Admin struct {
	Listen    string // "" is the socket alone
	Asked     bool   // a person wrote it, so it is an error if the port is taken
	Cert, Key string // files; "" is a certificate of the built-in CA
}

// AdminPort is where the API is, unless the configuration says otherwise: for this
// computer only.
const AdminPort = "127.0.0.1:8067"

// Plain reports a port that only this computer reaches: there the API is not encrypted.
func (a Admin) Plain() bool {
	h, _, _ := net.SplitHostPort(a.Listen)
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.IsLoopback() && a.Cert == ""
}

// TFTP is the [tftp] table.
type TFTP struct {
	Listen string
	Ports  Ports // ports of transfers
	Single bool  // transfers use the listening port
}

// Ports is a range of local ports, for firewalls; zero is any.
type Ports struct{ From, To uint16 }

// Syslog is the [syslog] table.
type Syslog struct {
	Listen string // "" takes no lines
	Asked  bool   // a person wrote it, so it is an error if the port is taken
}

// Differ names the fields that differ between l and o, for a person.
func (l Listeners) Differ(o Listeners) (names []string) {
	a, b := reflect.ValueOf(l), reflect.ValueOf(o)
	for i := range a.NumField() {
		if !a.Field(i).Equal(b.Field(i)) {
			names = append(names, a.Type().Field(i).Tag.Get("restart"))
		}
	}
	return names
}

// Keep sets the listeners to those of the configuration in force. It names what
// would change only with a restart.
func (c *Config) Keep(inForce *Config) (restart []string) {
	restart = inForce.Differ(c.Listeners)
	if c.HTTPS.Listen == "" {
		c.CertNames, c.FirmwareTLS, c.HTTPSHost = inForce.CertNames, inForce.FirmwareTLS, inForce.HTTPSHost
	}
	c.Listeners = inForce.Listeners
	return restart
}

// UDP lists the ports of UDP that a firewall must let in.
func (l Listeners) UDP() []int {
	out := []int{67, Port(l.TFTP.Listen), 4011}
	if l.Syslog.Listen != "" {
		out = append(out, Port(l.Syslog.Listen))
	}
	return out
}

// listeners reads the tables of all listeners.
func (raw *file) listeners(c *Config) (err error) {
	f := c.file
	c.DataDir = raw.DataDir
	if c.HTTP, err = listenAddr(f, "http.listen", raw.HTTP.Listen, c.HTTP); err != nil {
		return err
	}
	if c.HTTPHost, err = hostName(f, "http.host", raw.HTTP.Host); err != nil {
		return err
	}
	if c.TFTP, err = raw.TFTP.check(f, c.TFTP); err != nil {
		return err
	}
	if l := raw.Syslog.Listen; l == "off" {
		c.Syslog.Listen = ""
	} else {
		c.Syslog.Asked = l != ""
		if c.Syslog.Listen, err = listenAddr(f, "syslog.listen", l, c.Syslog.Listen); err != nil {
			return err
		}
	}
	if err := raw.HTTPS.check(c); err != nil {
		return err
	}
	return raw.Admin.check(c)
}

// check reads [admin], after the others.
func (r fileAdmin) check(c *Config) (err error) {
	f := c.file
	if r.Listen == "off" {
		if r.Cert != "" || r.Key != "" || len(r.Names) > 0 {
			return f.Errorf("admin.listen", 0, "listen is off: leave cert, key and names out")
		}
		c.Admin = Admin{}
		return nil
	}
	a := Admin{Asked: r.Listen != "", Cert: r.Cert, Key: r.Key}
	if a.Listen, err = listenAddr(f, "admin.listen", r.Listen, AdminPort); err != nil {
		return err
	}
	if (a.Cert == "") != (a.Key == "") {
		return f.Errorf("admin.cert", 0, "cert and key go together: both files, or neither for a certificate of the built-in CA (muster ca show)")
	}
	if p := Port(a.Listen); p == Port(c.HTTP) || c.HTTPS.Listen != "" && p == Port(c.HTTPS.Listen) {
		return f.Errorf("admin.listen", 0, "port %d is that of boot files: machines and people come in by doors of their own", p)
	}
	for _, n := range r.Names {
		if _, err := netip.ParseAddr(n); err == nil || n == "" || len(n) > 253 || n != strings.ToLower(n) || strings.ContainsAny(n, " /:*") {
			return f.Errorf("admin.names", 0, "name %q: want a DNS name in small letters like \"muster.example.org\"; every address is taken anyway", n)
		}
	}
	c.Admin, c.AdminNames = a, r.Names
	return nil
}

func (r fileTFTP) check(f *tomlfile.File, t TFTP) (_ TFTP, err error) {
	if t.Listen, err = listenAddr(f, "tftp.listen", r.Listen, t.Listen); err != nil {
		return t, err
	}
	t.Single = r.SinglePort
	if r.Ports == "" {
		return t, nil
	}
	if t.Ports, err = parsePorts(r.Ports); err != nil {
		return t, f.Errorf("tftp.ports", 0, "%v", err)
	}
	if t.Single {
		return t, f.Errorf("tftp.ports", 0, "ports and single_port exclude each other: with single_port there is one")
	}
	return t, nil
}

// check reads [https], after [http].
func (r *fileHTTPS) check(c *Config) (err error) {
	if r == nil {
		return nil
	}
	f := c.file
	c.HTTPS = HTTPS{Cert: r.Cert, Key: r.Key}
	c.CertNames, c.FirmwareTLS = r.Names, r.FirmwareTLS
	if c.HTTPS.Listen, err = listenAddr(f, "https.listen", r.Listen, ":443"); err != nil {
		return err
	}
	if c.HTTPSHost, err = hostName(f, "https.host", r.Host); err != nil {
		return err
	}
	if c.HTTPS.Listen == c.HTTP {
		return f.Errorf("https.listen", 0, "listen %q is the port of [http] too", c.HTTP)
	}
	if (r.Cert == "") != (r.Key == "") {
		return f.Errorf("https.cert", 0, "cert and key go together: both files, or neither for a certificate of the built-in CA (muster ca show)")
	}
	for _, n := range r.Names {
		if _, err := netip.ParseAddr(n); err == nil || n == "" || len(n) > 253 || strings.ContainsAny(n, " /:*") {
			return f.Errorf("https.names", 0, "name %q: want a DNS name like \"boot.example.org\"; addresses are in the certificate by themselves", n)
		}
	}
	if r.Cert != "" && len(r.Names) > 0 {
		return f.Errorf("https.names", 0, "names are for certificates of the built-in CA; yours has its own")
	}
	return nil
}

// longestHost leaves room in the 127 octets of a BOOTP file name for the scheme, a port,
// a boot path and a loader.
const longestHost = 40

// hostName reads the name that URLs carry in place of an address.
func hostName(f *tomlfile.File, key, s string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" {
		return "", nil
	}
	labels := strings.Split(s, ".")
	bad := slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != ""
	})
	_, number := strconv.Atoi(labels[len(labels)-1])
	switch {
	case bad, len(labels) < 2, number == nil:
		return "", f.Errorf(key, 0, "host %q: want a whole DNS name like \"boot.example.org\"; firmware adds no domain to it", s)
	case len(s) > longestHost:
		return "", f.Errorf(key, 0, "host %q has %d characters; more than %d leave no room for the rest of a URL in the BOOTP header", s, len(s), longestHost)
	}
	return s, nil
}

// parsePorts reads "30000-30999".
func parsePorts(s string) (Ports, error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	if err1 != nil || err2 != nil || a == 0 || b < a {
		return Ports{}, fmt.Errorf("ports %q: want FIRST-LAST, like \"30000-30999\"", s)
	}
	return Ports{uint16(a), uint16(b)}, nil
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

// Port is the port of an address like ":80"; 0 if it has none.
func Port(listen string) int {
	_, p, _ := net.SplitHostPort(listen)
	n, _ := strconv.Atoi(p)
	return n
}
