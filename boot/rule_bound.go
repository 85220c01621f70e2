// rule_bound.go: a signed path works where the machine is that it was made for. It
// travels in clear over TFTP and HTTP, so that others on the link can read it.

package boot

import (
	"encoding/hex"
	"net/netip"
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

// ruleBound refuses a boot path from an address that is not the machine's: another's
// lease or, where we lease the machine none (proxy, SLAAC, a static address), one that
// is not the first from which the path was used. A report is taken from everywhere.
func ruleBound(t *turn) (bool, error) {
	if t.dhcp() || !t.hasToken || t.token.Kind == ReportToken || t.p.Unbound {
		return false, nil
	}
	src := t.in.Source.Addr()
	l, err := t.v.Lease(t.net.Name, src)
	if err != nil {
		return false, err
	}
	if l.Active(t.in.At) && l.Given() {
		if l.Host != 0 && l.Host == t.token.Host || !l.MAC.IsZero() && l.MAC == t.id.MAC || t.host != nil && (l.Host == t.host.ID || t.host.HasMAC(l.MAC)) {
			t.bind(src)
			return false, nil
		}
		return t.elsewhere(because("bound.other", src, t.subject(), l.Holder.String()))
	}
	h := t.host
	if h == nil || h.mayUse(src) || h.HasMAC(t.v.Heard(src)) {
		return false, nil
	}
	if was := t.v.Used(t.use(src)); was.IsValid() {
		if was != src {
			return t.elsewhere(because("bound.moved", src, h.Name, was, h.Name, src))
		}
		return false, nil
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

// bind notes the first use of the path. The path to a first script binds nothing: it
// is the same on every interface that firmware tries. A leased IPv6 address binds
// nothing: beside it, a system makes others for itself (RFC 4862, 7217).
func (t *turn) bind(src netip.Addr) {
	if t.host == nil || t.token.Boot == 0 || src.Is6() && t.leased(src) {
		return
	}
	if u := t.use(src); !t.v.Used(u).IsValid() {
		t.d.Binds = &Binding{u, src}
	}
}

func (t *turn) leased(a netip.Addr) bool {
	l, err := t.v.Lease(t.net.Name, a)
	return err == nil && l.Active(t.in.At)
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

// mayUse reports an address that is the host's by what people say of it, or by what
// one of its MACs makes of it.
func (h *Host) mayUse(a netip.Addr) bool {
	if a == h.Address || a == h.Address6 {
		return true
	}
	for _, v := range h.Params {
		// A static address that its template configures.
		v, _, _ = strings.Cut(v, "/")
		if p, err := netip.ParseAddr(v); err == nil && p == a {
			return true
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
