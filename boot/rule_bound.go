// rule_bound.go: a signed path works where the machine is that it was made for. It
// travels in clear over TFTP and HTTP, so that others on the link can read it.

package boot

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// Use is the first use of a machine's boot path from an address that we did not lease
// to it. The engine remembers it as long as the path is good.
type Use struct {
	Host    HostID
	Network string
	Boot    uint32 // of the path
	Issued  int64  // seconds since 1970
	Kind    AddressKind
}

// AddressKind tells addresses apart of which one machine uses one each.
type AddressKind byte

// Kinds.
const (
	IPv4 AddressKind = iota
	IPv6
	LinkLocal // IPv6
)

// Binding is a use and the address.
type Binding struct {
	Use
	Addr netip.Addr
}

func addressKind(a netip.Addr) AddressKind {
	switch {
	case a.Is4():
		return IPv4
	case a.IsLinkLocalUnicast():
		return LinkLocal
	}
	return IPv6
}

// pathAddresses is how many IPv6 addresses one path may be used from that we did not
// lease: a system makes several for itself (RFC 4862, 7217, 8981). It has one of IPv4.
const pathAddresses = 4

// ruleBound refuses a boot path from an address that is not the machine's: another
// machine's lease or, where we lease the machine none (proxy, SLAAC, a static address),
// one that is not the first from which the path was used. The first is where its script
// went. A report is taken from everywhere.
func ruleBound(t *turn) (bool, error) {
	if t.dhcp() || !t.hasToken || t.token.Kind == ReportToken || t.p.Unbound {
		return false, nil
	}
	src, h := t.in.Source.Addr(), t.host
	l, err := t.v.Lease(t.net.Name, src)
	if err != nil {
		return false, err
	}
	leased := l.Active(t.in.At) && l.Given()
	if leased && (l.Host != 0 && (l.Host == t.token.Host || h != nil && l.Host == h.ID) || !l.MAC.IsZero() && (l.MAC == t.id.MAC || h != nil && h.HasMAC(l.MAC))) {
		t.bind(src)
		return false, nil
	}
	if h == nil {
		if leased && (l.Host != 0 || !l.MAC.IsZero()) {
			return t.elsewhere(because("bound.other", src, t.subject(), l.Holder.String()))
		}
		return false, nil
	}
	used := t.v.Used(t.use(src))
	if containsAddr(t.net.Relays, src) || containsAddr(t.net.Routers, src) {
		return false, nil // it sees all that its machines say, and asks for them in a test of the way there
	}
	if slices.Contains(used, src) || h.mayUse(src) || h.HasMAC(t.v.Heard(src)) {
		return false, nil
	}
	// A DHCPv6 lease of a DUID that came without a MAC tells nothing of whose it is.
	if leased && l.Host != 0 {
		return t.elsewhere(because("bound.other", src, h.Name, l.Holder.String()))
	}
	if leased && !l.MAC.IsZero() && h.near(l.MAC) {
		return false, nil
	}
	if leased && !l.MAC.IsZero() {
		return t.elsewhere(because("bound.card", src, h.Name, l.Holder.String(), h.Name, l.MAC.String()))
	}
	if len(used) > 0 && (src.Is4() || len(used) >= pathAddresses) {
		return t.elsewhere(because("bound.moved", src, h.Name, used[0], h.Name, src))
	}
	if src.Is4() {
		for _, m := range h.MACs {
			l, err := t.v.LeaseByHolder(t.net.Name, HeldBy(m))
			if err != nil {
				return false, err
			}
			if l.Active(t.in.At) && l.Given() {
				return t.elsewhere(because("bound.moved", src, h.Name, l.Addr, h.Name, src))
			}
		}
	}
	t.bind(src)
	return false, nil
}

func (t *turn) use(a netip.Addr) Use {
	return Use{Host: t.host.ID, Network: t.net.Name, Boot: t.token.Boot, Issued: t.token.Issued.Unix(), Kind: addressKind(a)}
}

// bind notes a use of the path. The path to a first script binds nothing: it is the
// same on every interface that firmware tries.
func (t *turn) bind(src netip.Addr) {
	if t.host == nil || t.token.Boot == 0 {
		return
	}
	t.bindTo(t.use(src), src)
}

// bindTo binds a path to one more address, where it may have one.
func (t *turn) bindTo(u Use, src netip.Addr) {
	if used := t.v.Used(u); len(used) == 0 || src.Is6() && len(used) < pathAddresses && !slices.Contains(used, src) {
		t.d.Binds = &Binding{u, src}
	}
}

func (t *turn) subject() string {
	if t.host != nil {
		return t.host.Name
	}
	return t.token.MAC.String()
}

// elsewhere refuses, and says so once in a while: somebody may be using what they read
// on the link.
func (t *turn) elsewhere(why *Reason) (bool, error) {
	t.notice(t.subject()+" "+t.in.Source.Addr().String(), TokenRefused, "%s", why.Text())
	return t.refuseFor(false, why)
}

// near reports a MAC beside one of the host's: another port of its card, which PXE never
// showed and its installer uses. Whoever makes up a MAC may as well take the host's own.
func (h *Host) near(m MAC) bool {
	n := func(m MAC) int { return int(m[3])<<16 | int(m[4])<<8 | int(m[5]) }
	return slices.ContainsFunc(h.MACs, func(o MAC) bool {
		d := n(o) - n(m)
		return [3]byte(o[:3]) == [3]byte(m[:3]) && d >= -16 && d <= 16
	})
}

// mayUse reports an address that is the host's by what people say of it, or by what
// one of its MACs makes of it.
func (h *Host) mayUse(a netip.Addr) bool {
	if a == h.Address || a == h.Address6 {
		return true
	}
	for _, v := range h.Params {
		if holdsAddress(v, a) {
			return true // a static address that its template configures
		}
	}
	if a.Is4() {
		return false
	}
	b := a.As16()
	for _, m := range h.MACs {
		if hex.EncodeToString(b[8:]) == hex.EncodeToString(eui64(m)) {
			return true
		}
	}
	return false
}

// eui64 is the interface identifier that a MAC makes (RFC 4291 appendix A).
func eui64(m MAC) []byte {
	return []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}

// holdsAddress reports an address in a parameter, alone or among others, as in the
// kernel's ip=10.0.0.5::10.0.0.1:255.255.255.0:web1:eth0:none.
func holdsAddress(text string, a netip.Addr) bool {
	is := func(s string) bool {
		p, err := netip.ParseAddr(s)
		return err == nil && p.Unmap() == a
	}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF.:", r) }) {
		if is(strings.Trim(w, ".")) || slices.ContainsFunc(strings.Split(w, ":"), is) {
			return true
		}
	}
	return false
}
