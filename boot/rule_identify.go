// rule_identify.go: which host a request is from: by a valid token, else by the MAC,
// else by the UUID, else by the DUID. What a query or SMBIOS says adds facts. If facts
// point at two hosts, a person decides.

package boot

import (
	"strconv"
	"strings"
	"time"
)

// A MAC counts as booting if it asked for something this recently. A second machine
// with a cloned UUID must not be taken for the first one.
const BootingWindow = 10 * time.Minute

func ruleIdentify(t *turn) (bool, error) {
	claim := t.in.ID
	var host *Host
	var err error
	by := ""
	switch {
	case t.dhcp():
		t.id = claim
		if t.class == Plain {
			// A plain client never becomes a host. But a known machine keeps its
			// name and reservation when its OS renews.
			t.id = Identity{MAC: claim.MAC, DUID: claim.DUID}
		}
	case t.hasToken && t.token.Host != 0:
		if host, err = t.v.Host(t.token.Host); err != nil {
			return false, err
		}
		by = "token"
		if host == nil {
			t.why("token.host-gone")
			t.hasToken, t.text = false, ""
			t.d.Proof = ProofNone
			t.proven(t.in.Proof)
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
		// Facts of a query never replace what the token or the lease says.
		if t.id.UUID.IsZero() {
			t.id.UUID = claim.UUID
		}
		if t.id.Serial == "" {
			t.id.Serial = claim.Serial
		}
	}
	if t.pi() && t.id.MAC.IsZero() && host == nil {
		// Behind a foreign DHCP server a Pi is known by its folder alone.
		if t.id.MAC = t.in.Want.Query.MAC; t.id.MAC.IsZero() {
			return t.bySerial()
		}
	}
	if q := &t.in.Want.Query; t.id.MAC.IsZero() && host == nil && t.net != nil && t.net.NextServer && !t.dhcp() && t.in.Via != TFTP && q.Asked && q.MAC.Usable() {
		t.id.MAC, t.believed = q.MAC, true
		t.why("source.says", t.in.Source.Addr(), q.MAC, t.net.Name)
	}
	if t.id.MAC.IsZero() && host == nil {
		return false, nil // a stranger: names alone select nobody
	}
	t.roaming = t.p.Enroll.roams(t.id.MAC)
	switch {
	case host != nil:
	case t.lessee != 0:
		if host, err = t.v.Host(t.lessee); err != nil {
			return false, err
		}
		by = "lease"
	case t.roaming:
		t.why("host.shared-adapter", t.id.MAC)
	default:
		if host, err = t.v.HostByMAC(t.id.MAC); err != nil {
			return false, err
		}
		by = "MAC"
		if host != nil && t.pi() && !t.mayBePi(host) {
			t.id = Identity{}
			return false, nil
		}
	}

	if t.dhcp() && host == nil {
		// The board that is plugged in there is that host. So a new board in place
		// of an old one keeps name, address and template.
		if host, err = t.v.HostByPort(t.port()); err != nil {
			return false, err
		}
		if host != nil {
			t.before, t.host = host, host.Clone()
			t.why("host.by-port", host.Name, host.BoundPort, host.State)
			t.platformOf(host)
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
	if q := t.in.Want.Query.MAC; q.Usable() && !t.p.Enroll.roams(q) {
		if byMAC, err = t.v.HostByMAC(q); err != nil {
			return false, err
		}
	}

	// A person added a host by its serial number, or its UUID, and nothing else. This
	// is that machine.
	expected, word := bySerial, "serial"
	if expected == nil && t.in.Want.Query.Asked {
		expected, word = byUUID, "UUID"
	}
	if expected.byOneName() && agrees(bySerial, expected) && (byUUID == nil || byUUID.ID == expected.ID || host != nil && byUUID.ID == host.ID) && (host == nil || t.isStub(host)) {
		if host != nil {
			t.stub = host
		}
		host, by, t.joins = expected, word+", which is all that was known of it", true
		byMAC, byUUID, bySerial = nil, nil, nil
	}

	if host == nil {
		switch {
		case byUUID == nil && bySerial == nil:
			t.why("host.unknown")
			return false, nil
		case t.roaming && (byUUID == nil || bySerial == nil || byUUID.ID == bySerial.ID):
			if host, by = byUUID, "UUID, on a shared adapter"; host == nil {
				host, by = bySerial, "serial, on a shared adapter"
			}
		case byUUID != nil && bySerial != nil && byUUID.ID == bySerial.ID:
			switch m, sure := t.otherBooting(byUUID); {
			case m.IsZero():
			case sure:
				t.clashes(byUUID.Name, "clash.booting", t.id.MAC, byUUID.Name, m)
				return false, nil
			default:
				t.clash = because("clash.restarted", t.id.MAC, byUUID.Name, m)
				t.note(t.clash)
				return false, nil
			}
			host, by, t.joins = byUUID, "UUID and serial", true
		case byUUID != nil && bySerial == nil && claim.Serial == "" && !t.in.Want.Query.Asked:
			// The serial number comes with the request for the first script. Until
			// then this machine is neither that host nor a new one.
			t.maybe = byUUID
			if byUUID.Secure == SecureOn && t.dhcp() {
				t.clashes(byUUID.Name, "clash.secure-boot", t.id.MAC, byUUID.Name, byUUID.Name, t.id.MAC)
				return false, nil
			}
			t.why("host.same-uuid", byUUID.Name)
			return false, nil
		default:
			other := byUUID
			if other == nil {
				other = bySerial
			}
			t.clashes(other.Name, "clash.halves",
				t.id.MAC, orNone(claim.UUID.String()), strconv.Quote(claim.Serial), other.Name, other.Name, t.id.MAC, t.id.MAC, quoted(claim.Serial))
			return false, nil
		}
	}

	if byMAC != nil && t.hasToken && byMAC.ID != host.ID && (byUUID != nil || bySerial != nil) && agrees(byUUID, byMAC) && agrees(bySerial, byMAC) {
		// All that the machine says belongs to one host. The token is older: a
		// person has moved the network card since.
		host, by = byMAC, "MAC, UUID and serial"
		t.id = host.Identity()
		t.id.MAC = t.in.Want.Query.MAC
	}
	for _, o := range []struct {
		what string
		host *Host
	}{{"UUID", byUUID}, {"serial", bySerial}, {"MAC", byMAC}} {
		if o.host == nil || o.host.ID == host.ID || host.BoundPort != "" {
			continue
		}
		if o.what == "UUID" && bySerial != nil && bySerial.ID == host.ID && t.vouches(host) {
			t.why("host.twin-uuid", o.host.Name)
			continue // the vendor shipped two boards with one UUID
		}
		both := ""
		if c := claim.Serial; o.what == "UUID" && c != "" && host.Serial == "" {
			both = "; if two machines have one UUID, muster host set " + host.Name + " --serial " + quoted(c)
		}
		t.clashes(t.id.MAC.String(), "clash.two-hosts",
			t.id.MAC, host.Name, by, o.host.Name, o.what, host.Name, o.host.Name, host.Name, t.id.MAC, both)
		break
	}
	if t.clash == nil {
		t.compare(host)
	}
	t.before = host
	t.host = host.Clone()
	t.why("host.by", host.Name, by, string(host.State))
	t.platformOf(host)
	return false, nil
}

// compare compares what the machine says of itself, in a script's request, with what
// is known of the host that its MAC or token names. A dongle that moved to another
// machine has the MAC of the first one's host, and a cloned disk or board may repeat
// a serial number. So two of the three (MAC, UUID, serial number) must agree.
func (t *turn) compare(h *Host) {
	u, s := t.in.ID.UUID, t.in.ID.Serial
	if h.BoundPort != "" {
		return // the board that is plugged in there is that host
	}
	otherUUID := !u.IsZero() && !h.UUID.IsZero() && u != h.UUID && u.Swapped() != h.UUID
	otherSerial := s != "" && h.Serial != "" && s != h.Serial && !(h.Platform == PiPlatform && strings.HasSuffix(s, h.Serial))
	sameUUID := !u.IsZero() && !h.UUID.IsZero() && !otherUUID
	sameSerial := s != "" && h.Serial != "" && !otherSerial
	enrolled := !h.Told && h.Boots == 0 && h.Network != "" // known by what its PXE ROM sent; some ROMs send no SMBIOS UUID
	if !t.in.Want.Query.Asked {
		switch t.doubt = otherUUID && !enrolled; {
		case t.doubt && h.Secure == SecureOn:
			t.differs(h) // there will be no script: GRUB says neither
		case t.doubt:
			t.why("host.other-uuid", h.Name)
		}
		return
	}
	switch {
	case !otherUUID && !otherSerial:
	case t.vouches(h) && (sameUUID || sameSerial):
		t.changed = true
		t.why("host.agrees", map[bool]string{true: "UUID", false: "serial"}[sameUUID])
	case !otherSerial && enrolled:
		t.changed = true
	default:
		t.differs(h)
	}
}

// vouches reports that the MAC of the request is the host's own. The MAC of a roaming
// adapter proves nothing.
func (t *turn) vouches(h *Host) bool {
	m := t.in.Want.Query.MAC
	return h.HasMAC(m) && !t.p.Enroll.roams(m)
}

// quoted quotes a word for a shell. The word may come from a machine, and a person
// pastes the command into a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// differs asks a person about a machine that is not the host its MAC names.
func (t *turn) differs(h *Host) {
	is := func(u UUID, serial string) string {
		return "UUID " + orNone(u.String()) + ", serial " + orNone(serial)
	}
	u, s := t.in.ID.UUID, t.in.ID.Serial
	mac := t.id.MAC
	if q := t.in.Want.Query.MAC; q.Usable() {
		mac = q
	}
	set := ""
	if !u.IsZero() {
		set += " --uuid " + u.String()
	}
	if s != "" {
		set += " --serial " + quoted(s)
	}
	t.clashes(h.Name, "clash.another-machine",
		mac, h.Name, is(h.UUID, h.Serial), is(u, s), h.Name, mac, h.Name, h.Name, set)
}

// port is the switch port that the machine asks from, if the port may select a host.
// It must come from a relay that a person listed, because a client can write option
// 82 too. A renewal does not pass the relay; then the lease tells the port.
func (t *turn) port() string {
	in := &t.in
	if in.Link.Port != "" && (t.net.TrustPorts || t.net.lists(in.Link, in.Source.Addr())) {
		return in.Link.Port
	}
	n := t.within(in.Want.Addr)
	if in.Link.Port != "" || n == nil || in.Step != Renew && in.Step != Release && in.Step != Decline {
		return ""
	}
	l, err := t.v.Lease(n.Name, in.Want.Addr)
	if err != nil || !l.Active(in.At) || l.MAC != t.id.MAC {
		return "" // a failing store is reported elsewhere
	}
	if l.Holder.Kind == HolderPort {
		return l.Holder.Key
	}
	return ""
}

// clashes notes that a person must say who this is. Until then the machine is held,
// even if both hosts may boot. For each host named by about one event is told once in
// a while. about must be on the roll, because anybody can make up MACs.
func (t *turn) clashes(about string, code Code, args ...any) {
	t.clash = because(code, args...)
	t.note(t.clash)
	t.notice(about, HostClash, "%s", t.clash.Text())
}

// otherBooting is another MAC of a host that asked within the window; not sure: it may
// have asked before this process started. The clock may have been set since.
func (t *turn) otherBooting(h *Host) (other MAC, sure bool) {
	for _, m := range h.MACs {
		if m == t.id.MAC {
			continue
		}
		if at, known := t.v.LastSeen(m); t.in.At.Sub(at).Abs() < BootingWindow {
			if other = m; known {
				return m, true
			}
		}
	}
	return other, false
}

// agrees reports that a look-up found h or no host.
func agrees(found, h *Host) bool { return found == nil || found.ID == h.ID }

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
		t.why("host.unknown-serial", t.id.Serial)
		return false, nil
	}
	if !t.mayBePi(host) {
		return false, nil
	}
	t.before, t.host = host, host.Clone()
	t.why("host.by-serial", host.Name, string(host.State))
	return false, nil
}

// mayBePi reports that a Raspberry Pi's path may select a host. It is strict, because
// anybody can ask for a path with any MAC or serial number in front.
func (t *turn) mayBePi(h *Host) bool {
	if h.Platform == "" || h.Platform == PiPlatform {
		return true
	}
	t.why("host.no-pi", h.Name)
	t.ask.dialect = ""
	return false
}

// byOneName reports a host that is known by its serial number alone, or by its
// UUID alone.
func (h *Host) byOneName() bool {
	return h != nil && len(h.MACs) == 0 && (h.UUID.IsZero() || h.Serial == "") && h.DUID == "" && h.BoundPort == ""
}

// isStub reports an entry that this machine's own DHCP requests made a moment
// ago and that nobody has touched: pending or let in by a rule, and not known by
// anything but its MAC.
func (t *turn) isStub(h *Host) bool {
	return (h.State == Pending || h.Auto) && h.Ticket == nil && len(h.MACs) == 1 && h.Serial == "" && h.Boots == 0 && h.Template == "" && h.Name == defaultName(h.Identity(), h.ID)
}

// platformOf takes the platform from the host, where the request names none.
func (t *turn) platformOf(h *Host) {
	switch {
	case t.ask.dialect == Extlinux:
		t.plat = h.Platform.uboot() // it may have asked as UEFI before
	case t.plat == "", t.plat == SomeUBoot && h.Platform.UBoot():
		t.plat = h.Platform
	}
}
