// rule_token.go: who a file request comes from: the signed path, else the
// address that asks.

package boot

import (
	"strings"
)

func ruleToken(t *turn) (bool, error) {
	if t.dhcp() {
		return false, nil
	}
	t.file = t.in.Want.Path
	rest, ok := strings.CutPrefix(t.file, "boot/")
	if !ok {
		t.piPath()
		return false, nil
	}
	text, file, _ := strings.Cut(rest, "/")
	t.file = file
	tok, err := t.p.Key.Open(text, t.in.At)
	if err != nil {
		// A bad token is a stranger: it gets what an unknown address gets.
		t.why("token.bad", Short(text), err)
		return false, nil
	}
	if tok.Kind == ReportToken && file != ReportFile {
		// It stands on the kernel's command line, where every user of the
		// machine reads it: it must not fetch anything.
		t.why("token.reports", Short(text))
		return false, nil
	}
	t.token, t.hasToken, t.text = tok, true, text
	t.unsure = tok.Kind == MaybeToken && !t.in.Want.Query.Asked
	t.d.Boot = tok.Boot
	t.why("token.good", Short(text))
	return false, nil
}

// ruleSource finds the MAC of a request without a token: our own lease for the
// address, or in proxy mode what was heard of the exchange that gave it.
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
			if t.p.Enroll.shared(m) || l.Holder.Kind == HolderPort {
				t.lessee = l.Host // its MAC does not say
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
	if h, _ := t.v.Offered(t.net.Name, src, false); t.pi {
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

// piPath takes the folder off that a Raspberry Pi puts before its files: the
// last eight digits of its serial number, or its MAC with dashes.
func (t *turn) piPath() {
	first, rest, ok := strings.Cut(t.file, "/")
	if !ok {
		t.pi = t.file == piLoader
		return
	}
	switch {
	case len(first) == 8 && strings.Trim(first, "0123456789abcdef") == "":
		t.in.ID.Serial, _ = CleanSerial(first)
	case len(first) == 17 && strings.Count(first, "-") == 5:
		m, err := ParseMAC(first)
		if err != nil {
			return
		}
		t.in.Want.Query.MAC = m
	default:
		return
	}
	t.pi, t.file = true, rest
}
