// holder.go: who a lease belongs to.

package boot

import "strings"

// HolderKind is what a holder is known by.
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
	HolderOther // somebody: beyond a relay a probe does not tell who answers
)

// Holder is comparable; its text is what is stored and shown.
type Holder struct {
	Kind HolderKind
	Key  string // as the text has it behind the mark of its kind
}

const (
	markClientID = "id:"
	markPort     = "port:"
	somebody     = "somebody who answers pings"
)

// HeldBy is the holder that a MAC is; the zero MAC is somebody who answers pings.
func HeldBy(m MAC) Holder {
	if m.IsZero() {
		return Holder{HolderOther, somebody}
	}
	return Holder{HolderMAC, m.String()}
}

// IsZero reports nobody.
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

// MAC is the machine that holds, where the holder tells.
func (h Holder) MAC() (m MAC, ok bool) {
	if h.Kind != HolderMAC {
		return MAC{}, false
	}
	m, err := ParseMAC(h.Key)
	return m, err == nil
}

// ReadHolder reads what String writes. What is not understood is kept as it is: a
// lease of a newer version must not be lost for it.
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
