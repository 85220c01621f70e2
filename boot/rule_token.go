// rule_token.go: which machine a file request comes from: told by the signed path,
// else by the source address.

package boot

import (
	"net/netip"
	"time"
)

func ruleToken(t *turn) (bool, error) {
	if t.dhcp() {
		return false, nil
	}
	t.ask = readAsked(t.in.Want.Path)
	if t.ask.serial != "" {
		t.in.ID.Serial = t.ask.serial
	}
	if !t.ask.mac.IsZero() {
		t.in.Want.Query.MAC = t.ask.mac
	}
	if t.ask.token == "" {
		return false, nil
	}
	text := t.ask.token
	tok, err := t.p.Key.Open(text, t.in.At)
	if err != nil {
		// A request with a bad token gets what one from an unknown address gets.
		t.why("token.bad", Short(text), err)
		return false, nil
	}
	if tok.Kind == ReportToken && t.ask.kind != askReport {
		// A report token is on the kernel's command line, where every user of the
		// machine can read it. So it must not fetch anything.
		t.why("token.reports", Short(text))
		return false, nil
	}
	t.token, t.hasToken, t.text = tok, true, text
	t.proven(ProofToken)
	t.unsure = tok.Kind == MaybeToken && !t.in.Want.Query.Asked
	t.d.Boot = tok.Boot
	t.why("token.good", Short(text))
	return false, nil
}

// ruleSource finds the MAC of a request without a token. It comes from our lease of
// the address or, in proxy mode, from the overheard exchange with the other server.
func ruleSource(t *turn) (bool, error) {
	if t.dhcp() || t.hasToken {
		return false, nil
	}
	return false, t.bySource()
}

func (t *turn) bySource() error {
	src := t.in.Source.Addr()
	l, err := t.v.Lease(t.net.Name, src)
	if err != nil {
		return err
	}
	if l.Active(t.in.At) && l.Kind != Declined {
		if m := l.MAC; !m.IsZero() {
			t.id.MAC = m
			if t.p.Enroll.roams(m) || l.Holder.Kind == HolderPort {
				t.lessee = l.Host // the MAC does not tell the host
			}
			if on := t.in.Link.Interface; t.net.onLink() && (on == "" || on == t.net.Interface) {
				t.proven(ProofHeard)
			}
			t.why("source.leased", src, m)
			return nil
		}
	}
	if t.net.Mode == Proxy {
		if m := t.v.Heard(src); !m.IsZero() {
			t.id.MAC = m
			t.why("source.heard", src, m)
			return nil
		}
	}
	if h, _ := t.v.Offered(t.net.Name, src, false); t.pi() {
		// The ROM of a Pi 3 takes an OFFER for a lease and sends no REQUEST.
		if m, ok := h.Holder.MAC(); ok {
			t.id.MAC = m
			t.why("source.offered", src, m)
			return nil
		}
	}
	t.why("source.stranger", src)
	return nil
}

// HostAt is the host that has an address, by our lease or, in proxy mode, by the overheard
// exchange; nil is none.
func HostAt(v View, n *Network, a netip.Addr, now time.Time) (*Host, error) {
	l, err := v.Lease(n.Name, a)
	switch {
	case err != nil:
		return nil, err
	case l.Active(now) && l.Given() && l.Host != 0:
		return v.Host(l.Host)
	case l.Active(now) && l.Given():
		return v.HostByMAC(l.MAC)
	case n.Mode == Proxy:
		return v.HostByMAC(v.Heard(a))
	}
	return nil, nil
}
