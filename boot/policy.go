// policy.go: everything that is configuration at this moment, as one
// immutable value.

package boot

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Policy is read once per request through one pointer and never changed.
type Policy struct {
	Networks  []Network
	Networks6 []Network // the IPv6 side of those that have one: the same name and interface, Subnet a prefix, Server our address in it
	Enroll    Enroll
	Classes   []ClientClass        // before the standard ones
	Templates []*Template          // newest versions, sorted by SortTemplates
	Images    map[string]*Template // images that some version of a template boots, each with the newest such version
	Loaders   map[Platform]string
	Signed    map[Platform]SignedPair // signed pairs that are installed
	Key       Key
	Sealer    Sealer  // of secret parameters; nil where there is no key
	Renders   Renders // nil: nobody tried
	DUID      string  // ours in DHCPv6, hexadecimal
	HTTPPort  uint16  // of boot URLs; 80 is left out of them
	HTTPSPort uint16  // 0: not served
	Unbound   bool    // boot paths work from any address
	LogPort   uint16  // where log lines are taken; 0: nowhere
}

// Renders says what of a version cannot be made for a machine: its script, or a file
// that the machine asks for when its kernel has left and its ticket is used. The error
// holds no secret.
type Renders func(t *Template, d Dialect, m Machine) error

// Mode is how a network gives addresses.
type Mode string

// Modes.
const (
	Full         Mode = "full"
	Reservations Mode = "reservations"
	Proxy        Mode = "proxy"
	Off          Mode = "off"
	Auto         Mode = "auto"      // of the configuration: becomes full or proxy
	Listening    Mode = "listening" // auto, before it knows
)

// Network is one VLAN.
type Network struct {
	Name       string
	Interface  string
	Mode       Mode
	Server     netip.Addr // ours on this network
	Subnet     netip.Prefix
	Ranges     []Range
	Routers    []netip.Addr
	DNS        []netip.Addr
	Domain     string
	NakLeaving bool // a client whose address left the range is refused at once, not at its lease's end
	VLAN       int  // 1 to 4094; 0 is not known
	Lease      time.Duration
	Relays     []netip.Addr // relay agents whose word is taken for it: for its link, and for switch ports
	RelaysOnly bool         // other relay agents get no answer
	BINL       bool         // PXE firmware is sent to port 4011 instead of straight to the file
	NextServer bool         // another server, whose clients we do not hear, names us to them: their scripts' word for the MAC counts

	Shared          string        // networks with the same word are one link (shared network)
	UnknownLease    time.Duration // lease time of machines that are not admitted; 0 is Lease
	UnknownShare    int           // percent of the ranges that they may have together; 0 is all
	NewLeases       int           // new leases a second to them; 0 is no limit
	ClientID        bool          // leases belong to client identifiers (RFC 4361), not to MACs
	RapidCommit     bool          // RFC 4039
	Probe           bool          // an address is probed for another machine before it is offered
	TrustPorts      bool          // option 82 is believed from every sender: the switches strip what clients write
	Options         []Option
	Menu            *Menu        // for PXE firmware; nil is none
	Delegated       netip.Prefix // DHCPv6: routers get prefixes of DelegatedLen out of it
	DelegatedLen    int
	InstallsPerHour int   // that may begin; 0 is any number
	Bandwidth       int64 // of its boot files over HTTP and HTTPS, bytes a second; 0 is no cap
	HTTPS           bool  // UEFI HTTP boot gets https URLs
	Loader          string
	HTTPHost        string // name of ours in http URLs that this network's name servers know; "" is our address
	HTTPSHost       string // the same in https URLs
}

// Which loader a network gives to UEFI firmware first.
const (
	LoaderAuto = "auto" // the signed shim and GRUB where both are there, else iPXE
	LoaderShim = "shim"
	LoaderIPXE = "ipxe"
)

// all are the networks of both families.
func (p *Policy) All() iter.Seq[*Network] {
	return func(yield func(*Network) bool) {
		for _, l := range [][]Network{p.Networks, p.Networks6} {
			for i := range l {
				if !yield(&l[i]) {
					return
				}
			}
		}
	}
}

// PoolName names the pool of a network that an address is in: one for each
// family.
func PoolName(network string, a netip.Addr) string {
	if a.Is6() {
		return network + " (IPv6)"
	}
	return network
}

// Pool names the network's own.
func (n *Network) Pool() string { return PoolName(n.Name, n.Subnet.Addr()) }

// probes reports a network whose free addresses are probed before an offer.
func (n *Network) Probes() bool { return n.Probe && n.Mode == Full && n.Server.IsValid() }

// onLink reports a network whose link our own interface is on.
func (n *Network) onLink() bool { return n.Subnet.IsValid() && n.Subnet.Contains(n.Server) }

// Shares reports two networks that are one link: the configuration says so, or they
// are on one interface and we have an address in each.
func (n *Network) Shares(o *Network) bool {
	if n.Shared != "" || o.Shared != "" {
		return n.Shared == o.Shared
	}
	return n.Interface == o.Interface && n.onLink() && o.onLink()
}

// link returns the networks of one link that give addresses, n first.
func (p *Policy) link(n *Network) []*Network {
	out := []*Network{n}
	for i := range p.Networks {
		if o := &p.Networks[i]; o.Name != n.Name && o.Addresses() && o.Server.IsValid() && n.Shares(o) {
			out = append(out, o)
		}
	}
	return out
}

// network finds a network by name, its IPv4 side first; nil if there is none.
func (p *Policy) Network(name string) *Network {
	for _, ns := range [][]Network{p.Networks, p.Networks6} {
		for i := range ns {
			if ns[i].Name == name {
				return &ns[i]
			}
		}
	}
	return nil
}

// Addresses reports a mode in which we own the network's addresses.
func (n *Network) Addresses() bool { return n.Mode == Full || n.Mode == Reservations }

// InRange reports an address that the pools hold.
func (n *Network) InRange(a netip.Addr) bool {
	for _, r := range n.Ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// EnrollPolicy is what happens to a boot client nobody knows.
type EnrollPolicy string

// Enrolment policies.
const (
	EnrollAuto    EnrollPolicy = "auto"
	EnrollApprove EnrollPolicy = "approve"
	EnrollIgnore  EnrollPolicy = "ignore"
)

// Enroll says which boot answers unknown machines get. Whether they get an address
// is decided by the network's mode.
type Enroll struct {
	Policy EnrollPolicy
	Hold   time.Duration // how long a machine is held before it boots its disk; 0 is for ever
	Limit  int           // pending hosts at a time
	Loop   int           // boots in half an hour without a report before a machine is parked; 0 never
	Rules  []EnrollRule  // in order
	Shared []string      // MAC patterns of adapters that go from machine to machine
}

// shared reports an adapter that names no machine: a dongle or dock of a bench.
func (e *Enroll) roams(m MAC) bool {
	if m.IsZero() {
		return false
	}
	text := m.String()
	is := func(p string) bool { return glob(macPattern(p), text) }
	return slices.ContainsFunc(junk().shared, is) || slices.ContainsFunc(e.Shared, is)
}

// Find returns the network a request belongs to: of a relayed one that of its link, else
// that of the interface it arrived on; nil if there is none, or more than one.
func (p *Policy) Find(l Link) *Network {
	n, _ := networkFor(p.Networks, l, netip.Addr{})
	return n
}

// Find6 is Find for DHCPv6.
func (p *Policy) Find6(l Link) *Network {
	n, _ := networkFor(p.Networks6, l, netip.Addr{})
	return n
}

// Relayed reports a request that a relay agent passed on.
func (l *Link) Relayed() bool { return l.Relay.IsValid() && !l.Relay.IsUnspecified() }

// lists reports a relay agent whose word the network takes, by giaddr or by the address
// that it sends from.
func (n *Network) lists(l Link, src netip.Addr) bool {
	return l.Relayed() && (containsAddr(n.Relays, l.Relay) || containsAddr(n.Relays, src))
}

// relayed finds the network of a relayed request. The relay's word for the link goes
// first (RFC 3527, RFC 3011), then giaddr, or the link-address of IPv6, where it is an
// address of the link (RFC 2131 4.3.1), then the one network that lists the agent, by
// giaddr or by the address that it sends from. listed are those that list it, where that
// decides nothing.
func relayed(networks []Network, l Link, src netip.Addr) (n *Network, listed []string) {
	at := l.Subnet
	if !at.IsValid() {
		at = l.Relay
	}
	for i := range networks {
		if n := &networks[i]; n.Subnet.IsValid() && n.Subnet.Contains(at) {
			return n, nil
		}
	}
	if l.Subnet.IsValid() && l.Subnet != l.Relay {
		return nil, nil // it said which link, and that is none of ours
	}
	for i := range networks {
		if o := &networks[i]; o.lists(l, src) {
			n, listed = o, append(listed, o.Name)
		}
	}
	if len(listed) > 1 {
		return nil, listed
	}
	return n, nil
}

func networkFor(networks []Network, l Link, src netip.Addr) (_ *Network, listed []string) {
	if l.Relayed() {
		return relayed(networks, l, src)
	}
	// Several subnets on one interface: the one in which the client has an
	// address, else the one of the address that the request was sent to, else the
	// first.
	var found *Network
	best := 0
	for i := range networks {
		n := &networks[i]
		if n.Interface != l.Interface {
			continue
		}
		rank := 1
		switch {
		case l.Client.IsValid() && n.Subnet.Contains(l.Client):
			rank = 4
		case l.Local.IsValid() && n.Server == l.Local && n.Subnet.Contains(n.Server):
			rank = 3
		case n.Subnet.Contains(n.Server):
			rank = 2
		}
		if rank > best {
			found, best = n, rank
		}
	}
	return found, nil
}

// Unusable says why an address of the subnet must not be leased to anybody; nil if
// it may be.
func (n *Network) Unusable(a netip.Addr) *Reason {
	switch {
	case a == n.Server:
		return because("address.server")
	case containsAddr(n.Routers, a):
		return because("address.router")
	case a.Is4() && n.Subnet.Bits() < 31 && (a == n.Subnet.Addr() || a == Broadcast(n.Subnet)):
		return because("address.network")
	}
	return nil
}

// Broadcast is the last address of an IPv4 subnet.
func Broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func containsAddr(l []netip.Addr, a netip.Addr) bool {
	for _, x := range l {
		if x == a {
			return true
		}
	}
	return false
}

// Serves returns the network that a file request from src belongs to, or nil. Boot
// files go only to a configured network, and only out of that network's interface,
// where the front knows the interface. A link-local IPv6 address does not tell the
// network (RFC 4007 6): there the interface that the request came in by decides.
func (p *Policy) Serves(l Link, src netip.Addr) *Network {
	for n := range p.All() {
		near := func(a netip.Addr) bool {
			return a.Is6() && a.IsLinkLocalUnicast() && l.Interface != "" && l.Interface == n.Interface && n.Server.Is6()
		}
		switch {
		case n.Mode == Off, !n.Subnet.IsValid(), !n.Subnet.Contains(src) && !near(src):
		case l.Interface != "" && n.Interface != "" && l.Interface != n.Interface:
		case l.Local.IsValid() && n.Server != l.Local && !near(l.Local):
		default:
			return n
		}
	}
	return nil
}

// Resolvers are the name servers of the network's machines, as far as they are known
// here: those that we give, or that a person says another server gives.
func (n *Network) Resolvers() []netip.Addr {
	for _, o := range n.Options {
		if o.Code == optDNSServers {
			return o.Addrs()
		}
	}
	return n.DNS
}

// origin is how a URL begins: http://HOST[:PORT].
func (p *Policy) origin(secure bool, host string) string {
	scheme, port, usual := "http://", p.HTTPPort, uint16(80)
	if secure {
		scheme, port, usual = "https://", p.HTTPSPort, 443
	}
	if port != 0 && port != usual {
		host += ":" + strconv.Itoa(int(port))
	}
	return scheme + host
}

// hostLiteral is an address as the host of a URL.
func hostLiteral(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
