// holder.go: who a lease belongs to.

package boot

import "strings"

// HolderKind says by what a holder is known.
type HolderKind uint8

// Kinds of holders. IPv4 is held by the MAC, because firmware, iPXE, installer and
// OS of one machine each bring another client identifier; by the identifier where
// a network wants RFC 4361; by the switch port where a person bound a host to it.
// In IPv6 an identity association holds (RFC 8415 6.1): edk2 runs two in one boot.
const (
	NoHolder HolderKind = iota
	HolderMAC
	HolderClientID
	HolderPort
	HolderAssociation
	HolderOther // an unknown machine: beyond a relay a probe does not tell who answers
)

// Holder is comparable; its text is what is stored and shown.
type Holder struct {
	Kind HolderKind
	Key  string // the stored text after the prefix that marks the kind
}

const (
	markClientID = "id:"
	markPort     = "port:"
	somebody     = "somebody who answers pings"
)

// HeldBy makes a holder of a MAC. The zero MAC stands for an unknown machine that
// answers pings.
func HeldBy(m MAC) Holder {
	if m.IsZero() {
		return Holder{HolderOther, somebody}
	}
	return Holder{HolderMAC, m.String()}
}

// IsZero reports that nobody holds.
func (h Holder) IsZero() bool { return h.Kind == NoHolder }

func (h Holder) String() string {
	switch h.Kind {
	case HolderClientID:
		return markClientID + h.Key
	case HolderPort:
		return markPort + h.Key
	}
	return h.Key
}

// MAC is the MAC of the holder; zero if the holder is known by something else.
func (h Holder) MAC() (m MAC, ok bool) {
	if h.Kind != HolderMAC {
		return MAC{}, false
	}
	m, err := ParseMAC(h.Key)
	return m, err == nil
}

// ReadHolder reads what String writes. A text that it does not understand is kept as
// it is, so that no lease of a newer version is lost.
func ReadHolder(s string) Holder {
	if id, ok := strings.CutPrefix(s, markClientID); ok {
		return Holder{HolderClientID, id}
	}
	if p, ok := strings.CutPrefix(s, markPort); ok {
		return Holder{HolderPort, p}
	}
	switch {
	case s == "":
		return Holder{}
	case strings.Contains(s, "/"):
		return Holder{HolderAssociation, s}
	}
	if m, err := ParseMAC(s); err == nil && m.String() == s {
		return Holder{HolderMAC, s}
	}
	return Holder{HolderOther, s}
}

// MarshalText writes String.
func (h Holder) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads it.
func (h *Holder) UnmarshalText(b []byte) error { *h = ReadHolder(string(b)); return nil }
