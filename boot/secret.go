// secret.go: when a file that holds secret parameters leaves.

package boot

import "time"

// secretTime is how long after a boot began its files may still hold secrets: an
// installer reads its answers in the first minutes.
const secretTime = 2 * time.Hour

// secrets puts the sealed parameters that count for the host into what a file may see, or says why
// they stay here. A boot path is worth no more than the MAC that asked for it: so the
// template says what it takes besides.
func (t *turn) secrets(x *Template, m *Machine) (*Reason, error) {
	h, s := t.host, x.Secret
	switch {
	case !t.d.Proof.AtLeast(s.Needs):
		return because("secret.proof", t.ask.name, x.Name, string(s.Needs), string(t.d.Proof)), nil
	case s.HTTPS && !t.in.TLS:
		return because("secret.https", x.Name), nil
	case t.token.Boot != h.Boots && !(t.token.Boot == 0 && x.Direct != ""): // no script numbers a file that firmware starts
		return because("secret.old", t.token.Boot, h.Name, h.Boots), nil
	case endsInstall(h.Stage):
		return because("secret.over", h.Stage), nil
	case Age(t.in.At, h.Booted) > secretTime:
		return because("secret.late", secretTime), nil
	}
	return nil, t.sealed(m)
}

// sealed puts the sealed parameters that count for the host into what a file may see.
func (t *turn) sealed(m *Machine) error {
	given, err := t.inherited()
	if err != nil {
		return err
	}
	m.Sealed = map[string]Sealed{}
	for k, g := range given {
		if !g.Secret || len(g.Differ) > 0 {
			continue
		}
		at, set := Place(g.From, t.host.ID, k), "muster param set "+string(g.From)
		if g.From == HostScope {
			set = "muster host set " + t.host.Name
		}
		b, err := t.v.Secret(at)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			m.Sealed[k] = Sealed{Place: at, Data: b, Set: set}
		}
	}
	return nil
}
