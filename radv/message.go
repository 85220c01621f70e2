// message.go: our advertisement from a configuration to bytes, and another
// router's from bytes to facts. No socket and no clock.

package radv

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

// Intervals between unsolicited advertisements (RFC 4861 6.2.1).
const (
	MaxInterval = 600 * time.Second
	MinInterval = MaxInterval / 3
	// Lifetime of the default router (RFC 4861 6.2.1) and of DNS servers (RFC
	// 8106 5.1): it ends when three advertisements in a row are lost.
	Lifetime = 3 * MaxInterval
)

// Infinity is the lifetime that does not end (RFC 4861 4.6.2).
const Infinity = ndp.Infinity

// Preference of a default router among several (RFC 4191 2.1).
type Preference int

// Preferences; the zero value is the usual one.
const (
	Medium Preference = iota
	Low
	High
)

func (p Preference) String() string { return [...]string{"medium", "low", "high"}[p] }

var preferences = map[Preference]ndp.Preference{Low: ndp.Low, Medium: ndp.Medium, High: ndp.High}

// Prefix is a prefix of a link.
type Prefix struct {
	Prefix     netip.Prefix
	OnLink     bool // L: its addresses are on this link
	Autonomous bool // A: hosts make addresses of it by themselves
	Valid      time.Duration
	Preferred  time.Duration
}

// Config is one interface.
type Config struct {
	Interface  string
	Advertise  bool // false: it only listens
	Alone      bool // it advertises only while it hears no other router: that there is none, so that nobody waits for one
	Managed    bool // M: addresses by DHCPv6
	Other      bool // O: other configuration by DHCPv6
	Router     bool // this box is a default router, while it forwards
	Preference Preference
	HopLimit   uint8  // for hosts to use; 0: not advertised
	MTU        uint32 // of the link; 0: not advertised
	Prefixes   []Prefix
	DNS        []netip.Addr
	Search     []string
}

// Equal reports that both configurations are the same.
func (c Config) Equal(o Config) bool {
	return c.Interface == o.Interface && c.Advertise == o.Advertise && c.Alone == o.Alone && c.Managed == o.Managed && c.Other == o.Other &&
		c.Router == o.Router && c.Preference == o.Preference && c.HopLimit == o.HopLimit && c.MTU == o.MTU &&
		slices.Equal(c.Prefixes, o.Prefixes) && slices.Equal(c.DNS, o.DNS) && slices.Equal(c.Search, o.Search)
}

// without returns the prefixes of c that o lacks, in the form that withdraws
// them: hosts make no new address from them, and no longer take them as on the
// link.
func (c Config) without(o Config) (gone []Prefix) {
	for _, p := range c.Prefixes {
		if !slices.ContainsFunc(o.Prefixes, func(q Prefix) bool { return q.Prefix == p.Prefix }) {
			p.Valid, p.Preferred = 0, 0
			gone = append(gone, p)
		}
	}
	return gone
}

// Message is the advertisement of an interface with this link-layer address.
// The kernel fills in the checksum. forwarding is whether this machine forwards
// packets; if not, it must not call itself a router (RFC 4861 6.2.5).
func (c Config) Message(mac net.HardwareAddr, forwarding bool) ([]byte, error) {
	ra := &ndp.RouterAdvertisement{
		CurrentHopLimit:           c.HopLimit,
		ManagedConfiguration:      c.Managed,
		OtherConfiguration:        c.Other,
		RouterSelectionPreference: preferences[Medium],
	}
	if c.Router && forwarding {
		// Without a lifetime the preference must be medium (RFC 4191 2.2).
		ra.RouterLifetime, ra.RouterSelectionPreference = Lifetime, preferences[c.Preference]
	}
	if len(mac) == 6 {
		ra.Options = append(ra.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	if c.MTU != 0 {
		ra.Options = append(ra.Options, ndp.NewMTU(c.MTU))
	}
	for _, p := range c.Prefixes {
		if !p.Prefix.Addr().Is6() {
			return nil, fmt.Errorf("prefix %s is no IPv6 prefix", p.Prefix)
		}
		ra.Options = append(ra.Options, &ndp.PrefixInformation{
			PrefixLength: uint8(p.Prefix.Bits()), Prefix: p.Prefix.Masked().Addr(),
			OnLink: p.OnLink, AutonomousAddressConfiguration: p.Autonomous,
			ValidLifetime: p.Valid, PreferredLifetime: min(p.Preferred, p.Valid),
		})
	}
	if len(c.DNS) > 0 {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Lifetime: Lifetime, Servers: c.DNS})
	}
	if len(c.Search) > 0 {
		for _, n := range c.Search {
			if err := ValidDomain(n); err != nil {
				return nil, err
			}
		}
		ra.Options = append(ra.Options, &ndp.DNSSearchList{Lifetime: Lifetime, DomainNames: c.Search})
	}
	b, err := ndp.MarshalMessage(ra)
	if err != nil {
		return nil, fmt.Errorf("make an advertisement: %w", err)
	}
	return b, nil
}

// ValidDomain refuses a domain that is invalid in a search list. The codec does
// not check that.
func ValidDomain(s string) error {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && label > 0:
			label = 0
		case c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			if label++; label > 63 {
				return fmt.Errorf("domain %q: a label is longer than 63 characters", s)
			}
		default:
			return fmt.Errorf("domain %q: want a name like \"lab.example\"", s)
		}
	}
	if label == 0 || len(s) > 253 {
		return fmt.Errorf("domain %q: want a name like \"lab.example\"", s)
	}
	return nil
}

// Router is another router as its advertisement describes it.
type Router struct {
	Interface  string
	Addr       netip.Addr // link-local
	Own        bool       // Addr is ours: another program on this machine
	Managed    bool
	Other      bool
	Lifetime   time.Duration // as default router; 0: it is not one
	Preference Preference
	HopLimit   uint8
	MTU        uint32
	Prefixes   []Prefix
	// Differs says, for people, where it contradicts us (RFC 4861 6.2.7).
	Differs []string
}

// packet is a valid message that was received.
type packet struct {
	from   netip.Addr // without a zone
	router *Router    // an advertisement; nil: a solicitation
}

const (
	typeSolicitation  = 133
	typeAdvertisement = 134
	ndHopLimit        = 255 // a lower hop limit means that it came through a router
)

var errInvalid = errors.New("not a valid message")

// parse reads a solicitation or an advertisement. It refuses messages that a
// router must ignore (RFC 4861 6.1.1, 6.1.2). The kernel has checked the
// checksum.
func parse(b []byte, hopLimit int, from netip.Addr) (p packet, err error) {
	// The parser reads what any machine on the link may send.
	defer func() {
		if recover() != nil {
			p, err = packet{}, errInvalid
		}
	}()
	if len(b) < 8 || b[1] != 0 || hopLimit != ndHopLimit {
		return p, errInvalid
	}
	p.from = from.WithZone("")
	switch b[0] {
	case typeSolicitation:
		m, err := ndp.ParseMessage(b)
		if err != nil {
			return p, errInvalid
		}
		rs, ok := m.(*ndp.RouterSolicitation)
		if !ok || p.from.IsUnspecified() && slices.ContainsFunc(rs.Options, isSource) {
			return p, errInvalid
		}
		return p, nil
	case typeAdvertisement:
		if !p.from.IsLinkLocalUnicast() || len(b) < 16 || !wellFormed(b[16:]) {
			return p, errInvalid
		}
		m, err := ndp.ParseMessage(b)
		if err != nil {
			// One invalid option must not hide a router.
			if m, err = ndp.ParseMessage(b[:16]); err != nil {
				return p, errInvalid
			}
		}
		ra, ok := m.(*ndp.RouterAdvertisement)
		if !ok {
			return p, errInvalid
		}
		p.router = describe(ra)
		p.router.Addr = p.from
		return p, nil
	}
	return p, errInvalid
}

func isSource(o ndp.Option) bool {
	l, ok := o.(*ndp.LinkLayerAddress)
	return ok && l.Direction == ndp.Source
}

// wellFormed reports whether every option has a length above zero and the
// lengths add up.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		b = b[int(b[1])*8:]
	}
	return true
}

func describe(ra *ndp.RouterAdvertisement) *Router {
	r := &Router{Managed: ra.ManagedConfiguration, Other: ra.OtherConfiguration, Lifetime: ra.RouterLifetime, HopLimit: ra.CurrentHopLimit}
	for p, n := range preferences {
		if n == ra.RouterSelectionPreference {
			r.Preference = p
		}
	}
	for _, o := range ra.Options {
		switch o := o.(type) {
		case *ndp.MTU:
			r.MTU = o.MTU
		case *ndp.PrefixInformation:
			r.Prefixes = append(r.Prefixes, Prefix{Prefix: netip.PrefixFrom(o.Prefix, int(o.PrefixLength)).Masked(), OnLink: o.OnLink,
				Autonomous: o.AutonomousAddressConfiguration, Valid: o.ValidLifetime, Preferred: o.PreferredLifetime})
		}
	}
	return r
}

// differs compares another router's advertisement with ours, in the fields that
// RFC 4861 6.2.7 wants routers of a link to agree on. A field that either
// leaves unspecified agrees.
func (c Config) differs(r *Router) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	flag := func(name string, theirs, ours bool) {
		if theirs != ours {
			say("it says %s=%d, we say %s=%d", name, bit(theirs), name, bit(ours))
		}
	}
	if !c.Advertise {
		return nil
	}
	flag("M", r.Managed, c.Managed)
	flag("O", r.Other, c.Other)
	if r.HopLimit != 0 && c.HopLimit != 0 && r.HopLimit != c.HopLimit {
		say("its hop limit is %d, ours %d", r.HopLimit, c.HopLimit)
	}
	if r.MTU != 0 && c.MTU != 0 && r.MTU != c.MTU {
		say("its MTU is %d, ours %d", r.MTU, c.MTU)
	}
	for _, t := range r.Prefixes {
		for _, o := range c.Prefixes {
			if t.Prefix != o.Prefix {
				continue
			}
			if t.Valid != o.Valid {
				say("prefix %s is valid for %s from it, %s from us", t.Prefix, life(t.Valid), life(o.Valid))
			}
			if t.Preferred != o.Preferred {
				say("prefix %s is preferred for %s from it, %s from us", t.Prefix, life(t.Preferred), life(o.Preferred))
			}
			// Not in the RFC's list, but worse: hosts would make addresses for
			// themselves.
			flag(fmt.Sprintf("A of %s", t.Prefix), t.Autonomous, o.Autonomous)
		}
	}
	return out
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func life(d time.Duration) string {
	if d == Infinity {
		return "ever"
	}
	return d.String()
}
