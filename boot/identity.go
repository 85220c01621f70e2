// identity.go: what names a machine (MAC, UUID, serial, DUID), how each is
// spelled, and which values real vendors ship that name nothing.

package boot

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
)

// MAC is a 48-bit hardware address, the only kind netboot uses (hlen 6).
type MAC [6]byte

var separators = strings.NewReplacer(":", "", "-", "")

// ParseMAC reads 52:54:00:aa:bb:01, 52-54-00-aa-bb-01 or 525400aabb01.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	h := separators.Replace(strings.TrimSpace(s))
	if len(h) != 12 {
		return m, fmt.Errorf("%q is not a MAC address: want six bytes like 52:54:00:aa:bb:01", s)
	}
	if _, err := hex.Decode(m[:], []byte(h)); err != nil {
		return m, fmt.Errorf("%q is not a MAC address: want six hexadecimal bytes like 52:54:00:aa:bb:01", s)
	}
	return m, nil
}

// String returns the colon form in lower case.
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17) // by hand: every packet spells it several times
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[x>>4], digits[x&15])
	}
	return string(b)
}

// Bare returns twelve hexadecimal digits without separators.
func (m MAC) Bare() string { return hex.EncodeToString(m[:]) }

// IsZero reports the absent address.
func (m MAC) IsZero() bool { return m == MAC{} }

// Usable reports an address that can name one machine: not zero, not a group.
func (m MAC) Usable() bool { return !m.IsZero() && m[0]&1 == 0 }

// MarshalText and UnmarshalText keep the colon form in JSON and TOML.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText accepts every form ParseMAC does, and "" for the zero MAC.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// UUID is an SMBIOS system UUID in the order people read it.
type UUID [16]byte

// ParseUUID reads the 8-4-4-4-12 form, with or without dashes.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	h := strings.ReplaceAll(strings.TrimSpace(s), "-", "")
	if len(h) != 32 {
		return u, fmt.Errorf("%q is not a UUID: want 32 hexadecimal digits", s)
	}
	if _, err := hex.Decode(u[:], []byte(h)); err != nil {
		return u, fmt.Errorf("%q is not a UUID: want 32 hexadecimal digits", s)
	}
	return u, nil
}

// UUIDFromWire reads the 16 bytes of DHCP option 97, in which the first three
// fields are little-endian as SMBIOS keeps them (RFC 4578 2.3).
func UUIDFromWire(b []byte) (UUID, bool) {
	var u UUID
	if len(b) != 16 {
		return u, false
	}
	copy(u[:], b)
	return u.Swapped(), true
}

// Swapped exchanges the two byte orders in use: some firmware hands the UUID
// over without the SMBIOS swap, so the same board shows up as either.
func (u UUID) Swapped() UUID {
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	return u
}

// IsZero reports the absent UUID.
func (u UUID) IsZero() bool { return u == UUID{} }

func (u UUID) String() string {
	if u.IsZero() {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// MarshalText keeps the dashed form in JSON.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText accepts every form ParseUUID does, and "" for none.
func (u *UUID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*u = UUID{}
		return nil
	}
	v, err := ParseUUID(string(b))
	if err == nil {
		*u = v
	}
	return err
}

//go:embed junk.txt
var junkText string

// junk is junk.txt, read once. Serials are in the form of serialKey, UUIDs in
// both byte orders.
var junk = sync.OnceValue(func() (j struct {
	uuids   map[UUID]bool
	serials map[string]bool
	shared  []string
}) {
	j.uuids, j.serials = map[UUID]bool{}, map[string]bool{}
	for line := range strings.Lines(junkText) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, _, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		switch kind {
		case "uuid":
			if u, err := ParseUUID(value); err == nil {
				j.uuids[u], j.uuids[u.Swapped()] = true, true
			}
		case "serial":
			j.serials[serialKey(value)] = true
		case "mac":
			j.shared = append(j.shared, value)
		}
	}
	return j
})

// Junk reports a UUID that names no machine: absent, one repeated byte, half
// erased, or a vendor's sample value. It holds for both byte orders.
func (u UUID) Junk() bool {
	return repeats(u[:]) || repeats(u[4:]) && u[4] == 0xff || junk().uuids[u]
}

func repeats[T ~string | ~[]byte](s T) bool {
	for i := 1; i < len(s); i++ {
		if s[i] != s[0] {
			return false
		}
	}
	return true
}

// serialKey is the form in which fillers are compared.
func serialKey(s string) string { return strings.ToLower(fillers.Replace(s)) }

var fillers = strings.NewReplacer(" ", "", ".", "", "-", "", "_", "")

// CleanSerial trims a serial number and reports whether it can name a
// machine. Control characters and anything beyond ASCII refuse it, as does a
// text that vendors ship as filler. At most 64 bytes are kept: SMBIOS strings
// have no limit of their own.
func CleanSerial(s string) (string, bool) {
	if s = strings.TrimSpace(s); s == "" {
		return "", false
	}
	if len(s) > 64 {
		s = strings.TrimSpace(s[:64])
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", false
		}
	}
	if k := serialKey(s); len(k) < 3 || repeats(k) || junk().serials[k] {
		return "", false
	}
	return s, true
}

// Identity is what one request says of who is asking. Absent parts are zero;
// junk parts are removed by Clean before anything is looked up.
type Identity struct {
	MAC    MAC    `json:"mac,omitzero"`
	UUID   UUID   `json:"uuid,omitzero"`
	Serial string `json:"serial,omitempty"`
	DUID   string `json:"duid,omitempty"` // hexadecimal
}

// Clean returns the identity with everything removed that names no machine.
func (id Identity) Clean() Identity {
	if !id.MAC.Usable() {
		id.MAC = MAC{}
	}
	if id.UUID.Junk() {
		id.UUID = UUID{}
	}
	id.Serial, _ = CleanSerial(id.Serial)
	return id
}
