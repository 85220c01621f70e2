// rule_handshake.go: a TLS handshake that failed. It needs no answer, but the
// machine's timeline must say why it failed: the machine's screen says "network
// error" for every cause.

package boot

func ruleHandshake(t *turn) (bool, error) {
	if t.in.Step != Handshake {
		return false, nil
	}
	f := t.in.Fault
	if f == nil {
		return t.ignore("tls.odd")
	}
	who := t.in.Source.Addr().String()
	if t.host != nil {
		who = t.host.Name
	} else if !t.id.MAC.IsZero() {
		who = t.id.MAC.String()
	}
	t.notice(who+" "+string(f.Cause), HandshakeFailed, "HTTPS of %s failed (%s): %s", who, f.Cause, f.Text)
	return t.refuse(false, WhyTLS, f.Cause, f.Text, CleanText(f.Detail, 120))
}
