// rule_identify.go: which host a request is from. A valid token, else the MAC,
// else the UUID, else the DUID; what a query or SMBIOS says adds facts. Facts
// that point at two hosts are never settled silently.

package boot

import (
	"strings"
	"time"
)

// A MAC counts as booting while it asked for something this recently: a second
// machine with a cloned UUID must not slip in under the first.
const bootingWindow = 10 * time.Minute

func ruleIdentify(t *turn) (bool, error) {
	claim := t.in.ID
	var host *Host
	var err error
	by := ""
	switch {
	case t.dhcp():
		t.id = claim
		if t.class == Plain {
			// Never a host of its own making, but a known machine whose OS
			// renews keeps its name and reservation.
			t.id = Identity{MAC: claim.MAC, DUID: claim.DUID}
		}
	case t.hasToken && t.token.Host != 0:
		if host, err = t.v.Host(t.token.Host); err != nil {
			return false, err
		}
		by = "token"
		if host == nil {
			t.why("token names a host that was removed")
			t.hasToken, t.text = false, ""
			if err := t.bySource(); err != nil {
				return false, err
			}
		} else {
			t.id = host.Identity()
			if !t.in.Want.Query.MAC.IsZero() && host.HasMAC(t.in.Want.Query.MAC) {
				t.id.MAC = t.in.Want.Query.MAC
			}
		}
	case t.hasToken:
		t.id.MAC = t.token.MAC
	}
	if !t.dhcp() {
		// Facts of a query never replace what token or lease said.
		if t.id.UUID.IsZero() {
			t.id.UUID = claim.UUID
		}
		if t.id.Serial == "" {
			t.id.Serial = claim.Serial
		}
	}
	if t.pi && t.id.MAC.IsZero() && host == nil {
		// Behind a foreign DHCP server a Pi is known by its folder alone.
		if t.id.MAC = t.in.Want.Query.MAC; t.id.MAC.IsZero() {
			return t.bySerial()
		}
	}
	if t.id.MAC.IsZero() && host == nil {
		return false, nil // a stranger: names alone select nobody
	}
	if host == nil && !t.id.MAC.IsZero() {
		if host, err = t.v.HostByMAC(t.id.MAC); err != nil {
			return false, err
		}
		by = "MAC"
	}

	if t.dhcp() && host == nil {
		// Whatever is plugged in there is that host: a board swapped for
		// another keeps name, address and template.
		if host, err = t.v.HostByPort(t.port()); err != nil {
			return false, err
		}
		if host != nil {
			t.before, t.host = host, host.Clone()
			t.why("%s by switch port %s, %s", host.Name, host.BoundPort, host.State)
			if t.plat == "" {
				t.plat = host.Platform
			}
			return false, nil
		}
	}

	byUUID, err := lookupUUID(t.v, claim.UUID)
	if err != nil {
		return false, err
	}
	var bySerial *Host
	if claim.Serial != "" {
		if bySerial, err = t.v.HostBySerial(claim.Serial); err != nil {
			return false, err
		}
	}
	var byMAC *Host
	if q := t.in.Want.Query.MAC; q.Usable() {
		if byMAC, err = t.v.HostByMAC(q); err != nil {
			return false, err
		}
	}

	if bySerial != nil && bySerial.bySerialOnly() && byUUID == nil && (host == nil || t.isStub(host)) {
		// A person wrote down a serial number and nothing else: this is the
		// machine it was written down for.
		if host != nil {
			t.stub = host
		}
		host, by, t.joins = bySerial, "serial, which is all that was known of it", true
		byMAC = nil
	}

	if host == nil {
		switch {
		case byUUID == nil && bySerial == nil:
			t.why("unknown machine")
			return false, nil
		case byUUID != nil && bySerial != nil && byUUID.ID == bySerial.ID:
			if m := t.otherBooting(byUUID); !m.IsZero() {
				t.clashes("%s says it is %s, but %s of that host is booting too", t.id.MAC, byUUID.Name, m)
				return false, nil
			}
			host, by, t.joins = byUUID, "UUID and serial", true
		case byUUID != nil && bySerial == nil && claim.Serial == "" && !t.in.Want.Query.Asked:
			// The serial comes with the first script; until then this is
			// neither that host nor a new one.
			t.maybe = byUUID
			t.why("unknown MAC with the UUID of %s; its serial will tell", byUUID.Name)
			return false, nil
		default:
			other := byUUID
			if other == nil {
				other = bySerial
			}
			t.clashes("unknown MAC %s claims UUID %s and serial %q of host %s, which do not both agree", t.id.MAC, orNone(claim.UUID.String()), claim.Serial, other.Name)
			return false, nil
		}
	}

	for _, o := range []struct {
		what string
		host *Host
	}{{"UUID", byUUID}, {"serial", bySerial}, {"MAC", byMAC}} {
		if o.host != nil && o.host.ID != host.ID {
			t.clashes("%s is %s by %s and %s by %s", t.id.MAC, host.Name, by, o.host.Name, o.what)
			break
		}
	}
	t.before = host
	t.host = host.Clone()
	t.why("%s by %s, %s", host.Name, by, host.State)
	if t.plat == "" {
		t.plat = host.Platform
	}
	return false, nil
}

// port is the switch port that the machine asks from, as far as it may select a
// host: told by a relay that a person listed, because a client could write option
// 82 too. A renewal goes past the relay; then the lease says it.
func (t *turn) port() string {
	in := &t.in
	if in.Link.Port != "" && (t.net.TrustPorts || in.Link.Relay.IsValid() && containsAddr(t.net.Relays, in.Link.Relay)) {
		return in.Link.Port
	}
	n := t.within(in.Want.Addr)
	if in.Link.Port != "" || n == nil || in.Step != Renew && in.Step != Release && in.Step != Decline {
		return ""
	}
	l, err := t.v.Lease(n.Name, in.Want.Addr)
	if err != nil || !l.Active(in.At) || l.MAC != t.id.MAC {
		return "" // a store that fails says so elsewhere
	}
	if p, ok := strings.CutPrefix(l.Holder, "port:"); ok {
		return p
	}
	return ""
}

// clashes notes that a person must say who this is. Until then it is held,
// whatever either host may do.
func (t *turn) clashes(format string, args ...any) {
	t.why(format, args...)
	t.clash = t.d.Why[len(t.d.Why)-1].Note
	t.notice(t.id.MAC.String(), HostClash, format, args...)
}

func (t *turn) otherBooting(h *Host) MAC {
	for _, m := range h.MACs {
		if m != t.id.MAC && t.in.At.Sub(t.v.LastSeen(m)) < bootingWindow {
			return m
		}
	}
	return MAC{}
}

func lookupUUID(v Reader, u UUID) (*Host, error) {
	if u.IsZero() {
		return nil, nil
	}
	h, err := v.HostByUUID(u)
	if h != nil || err != nil {
		return h, err
	}
	return v.HostByUUID(u.Swapped())
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// bySerial finds a Raspberry Pi by its folder's name.
func (t *turn) bySerial() (bool, error) {
	if t.id.Serial == "" {
		return false, nil
	}
	host, err := t.v.HostBySerial(t.id.Serial)
	if err != nil {
		return false, err
	}
	if host == nil {
		t.why("unknown serial %s", t.id.Serial)
		return false, nil
	}
	t.before, t.host = host, host.Clone()
	t.why("%s by serial, %s", host.Name, host.State)
	return false, nil
}

// bySerialOnly reports a host that is known by its serial number alone.
func (h *Host) bySerialOnly() bool {
	return len(h.MACs) == 0 && h.UUID.IsZero() && h.DUID == "" && h.BoundPort == ""
}

// isStub reports an entry that this machine's own DHCP requests made a moment
// ago and that nobody has touched: pending, and not known by anything but its
// MAC.
func (t *turn) isStub(h *Host) bool {
	return h.State == Pending && len(h.MACs) == 1 && h.Serial == "" && h.Boots == 0 && h.Template == "" && h.Name == defaultName(h.Identity(), h.ID)
}
