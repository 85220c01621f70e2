// host.go: one machine on the roll.

package boot

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// HostID numbers hosts of one appliance from 1; it is never used again.
type HostID uint64

// State says whether a host was approved.
type State string

// A pending host is held, an approved one boots, a denied one gets an address and
// nothing to boot.
const (
	Pending  State = "pending"
	Approved State = "approved"
	Denied   State = "denied"
)

// SecureBoot says whether a machine's firmware was seen with Secure Boot on or off;
// "" is unknown. DHCP does not tell it: GRUB does.
type SecureBoot string

// With it on, firmware runs signed loaders only.
const (
	SecureOn  SecureBoot = "on"
	SecureOff SecureBoot = "off"
)

// Host is one machine.
type Host struct {
	ID       HostID            `json:"id"`
	Name     string            `json:"name"`
	State    State             `json:"state"`
	MACs     []MAC             `json:"macs,omitempty"`
	UUID     UUID              `json:"uuid,omitzero"`
	Serial   string            `json:"serial,omitempty"`
	DUID     string            `json:"duid,omitempty"`
	Address  netip.Addr        `json:"address,omitzero"`  // reservation
	Address6 netip.Addr        `json:"address6,omitzero"` // and in IPv6
	Template string            `json:"template,omitempty"`
	Pin      TemplateID        `json:"pin,omitempty"` // version fixed when the first script after approval was decided
	Params   map[string]string `json:"params,omitempty"`
	Secrets  []string          `json:"secrets,omitempty"` // names of parameters that are sealed apart
	Tags     []string          `json:"tags,omitempty"`    // in order; one for each key
	Auto     bool              `json:"auto,omitempty"`    // let in by a rule, not by a person

	Platform  Platform   `json:"platform,omitempty"`
	Network   string     `json:"network,omitempty"`    // where it enrolled; "" of one that people added
	SeenOn    string     `json:"seen_on,omitempty"`    // the network where it last asked
	Boots     uint32     `json:"boots,omitempty"`      // a boot is numbered by its first script
	Runs      TemplateID `json:"runs,omitempty"`       // the version that its present boot was given
	Stage     string     `json:"stage,omitempty"`      // last stage the machine itself reported
	Reports   int        `json:"reports,omitempty"`    // reports of this boot that became events
	Trouble   *Severity  `json:"trouble,omitempty"`    // severity of the worst log line of this boot that became an event
	Class     string     `json:"class,omitempty"`      // vendor class of its firmware
	Port      string     `json:"port,omitempty"`       // switch port, by option 82
	BoundPort string     `json:"bound_port,omitempty"` // whatever asks on this switch port is this host
	Options   []Option   `json:"options,omitempty"`    // DHCP options of its own
	Booted    time.Time  `json:"booted,omitzero"`      // when the present boot began
	Window    time.Time  `json:"window,omitzero"`      // since when boots without a report are counted
	Silent    int        `json:"silent,omitempty"`     // number of boots without a report since Window
	Stuck     *Stuck     `json:"stuck,omitempty"`      // its boot could not start
	Secure    SecureBoot `json:"secure_boot,omitempty"`
	Once      string     `json:"once,omitempty"`      // template of its next boot only
	Ticket    *Ticket    `json:"ticket,omitempty"`    // its latest leave to install
	Memory    int64      `json:"memory,omitempty"`    // bytes, of the inventory that it last reported
	Disks     []Disk     `json:"disks,omitempty"`     // of the same, the first maxKnownDisks
	Installed string     `json:"installed,omitempty"` // version or digest of what is on its disk, as it reports or as its last installation says
	Told      bool       `json:"told,omitempty"`      // its script has said which machine it is
	Fresh     bool       `json:"fresh,omitempty"`     // let in by a rule and not given a script since
	Protected bool       `json:"protected,omitempty"` // nothing installs on it
	Tried     time.Time  `json:"tried,omitzero"`      // when it was given an unsigned loader, which has not asked for anything since
	Created   time.Time  `json:"created"`
	Changed   time.Time  `json:"changed"`
	Revision  uint64     `json:"revision,omitempty"` // how often it was written; the store counts
}

// Clone returns a copy that shares nothing with h.
func (h *Host) Clone() *Host {
	if h == nil {
		return nil
	}
	c := *h
	c.MACs = slices.Clone(h.MACs)
	c.Params, c.Secrets, c.Tags = maps.Clone(h.Params), slices.Clone(h.Secrets), slices.Clone(h.Tags)
	c.Options, c.Disks = slices.Clone(h.Options), slices.Clone(h.Disks)
	c.Ticket = h.Ticket.clone()
	if h.Stuck != nil {
		s := *h.Stuck
		c.Stuck = &s
	}
	return &c
}

// reserve keeps an address for the host, one of each family; the zero address
// keeps none.
func (h *Host) reserve(a netip.Addr) {
	switch {
	case !a.IsValid():
		h.Address, h.Address6 = a, a
	case a.Is6():
		h.Address6 = a
	default:
		h.Address = a
	}
}

// Reserved are the addresses that are kept for the host.
func (h *Host) Reserved() (out []netip.Addr) {
	for _, a := range []netip.Addr{h.Address, h.Address6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Templates are those that the host names: the one it boots, and that of its next
// boot only.
func (h *Host) Templates() (out []string) {
	if h.Template != "" {
		out = append(out, h.Template)
	}
	if h.Once != "" && h.Once != h.Template {
		out = append(out, h.Once)
	}
	return out
}

// On is the network where the host asks, as far as is known.
func (h *Host) On() string { return cmp.Or(h.SeenOn, h.Network) }

// HasMAC reports whether m is one of the host's addresses.
func (h *Host) HasMAC(m MAC) bool { return slices.Contains(h.MACs, m) }

// Identity returns what the host is known by, with its first MAC.
func (h *Host) Identity() Identity {
	id := Identity{UUID: h.UUID, Serial: h.Serial, DUID: h.DUID}
	if len(h.MACs) > 0 {
		id.MAC = h.MACs[0]
	}
	return id
}

// Facts are what the record tells of a host. They are complete once the machine was
// seen.
func (h *Host) Facts() Facts {
	return Facts{ID: h.Identity(), Platform: h.Platform, VendorClass: h.Class, SwitchPort: h.Port, Network: h.On(), Known: true, Tags: h.Tags, Complete: h.Platform != ""}
}

// Names that a person gives become part of scripts, URLs and DHCP option 12,
// so they are kept to what RFC 1123 allows in a host name.
func validName(kind, s string, max int) error {
	if s == "" || len(s) > max {
		return fmt.Errorf("%s name %q: want 1 to %d letters, digits, '-' or '.'", kind, s, max)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || (i > 0 && i < len(s)-1 && (c == '-' || c == '.' || c == '_'))
		if !ok {
			return fmt.Errorf("%s name %q: only letters, digits, and '-', '_' or '.' inside are allowed", kind, s)
		}
	}
	return nil
}

// Validate reports the first thing wrong with a host, in words for a person.
func (h *Host) Validate() error {
	if err := validName("host", h.Name, 63); err != nil {
		return err
	}
	switch h.State {
	case Pending, Approved, Denied:
	default:
		return fmt.Errorf("host %s: state %q: want pending, approved or denied", h.Name, h.State)
	}
	if len(h.MACs) == 0 && h.UUID.IsZero() && h.Serial == "" && h.DUID == "" && h.BoundPort == "" {
		return fmt.Errorf("host %s: nothing identifies it: give a MAC address, UUID, serial number or switch port", h.Name)
	}
	if len(h.BoundPort) > 128 || !plainText(h.BoundPort) {
		return fmt.Errorf("host %s: switch port %q: want up to 128 characters of plain text, as \"muster host show\" prints it for a machine that asked through its relay", h.Name, h.BoundPort)
	}
	if len(h.Options) > 64 {
		return fmt.Errorf("host %s: %d options: at most 64", h.Name, len(h.Options))
	}
	if len(h.MACs) > 64 {
		return fmt.Errorf("host %s: %d MAC addresses: at most 64", h.Name, len(h.MACs))
	}
	for i, m := range h.MACs {
		if !m.Usable() {
			return fmt.Errorf("host %s: %s is no station's address", h.Name, m)
		}
		if slices.Contains(h.MACs[:i], m) {
			return fmt.Errorf("host %s: %s is listed twice", h.Name, m)
		}
	}
	if !h.UUID.IsZero() && h.UUID.Junk() {
		return fmt.Errorf("host %s: UUID %s is a vendor's filler that many boards share; it cannot name one machine", h.Name, h.UUID)
	}
	if h.Serial != "" {
		if s, ok := CleanSerial(h.Serial); !ok || s != h.Serial {
			return fmt.Errorf("host %s: serial %q is filler or not plain text; it cannot name one machine", h.Name, h.Serial)
		}
	}
	if err := ValidTags(h.Tags); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	if err := validParams(h.Params, h.Secrets); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// validParams judges the parameters of a host or a scope, whatever templates say.
func validParams(params map[string]string, secrets []string) error {
	if len(secrets) > 64 {
		return fmt.Errorf("%d secret parameters: at most 64", len(secrets))
	}
	if len(params) > 256 {
		return fmt.Errorf("%d parameters: at most 256", len(params))
	}
	for k, v := range params {
		if err := validName("parameter", k, 63); err != nil {
			return err
		}
		if len(v) > 1024 || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
			return fmt.Errorf("parameter %s: at most 1024 bytes of text without control characters", k)
		}
	}
	return nil
}

// defaultName is what a host is called until a person names it.
func defaultName(id Identity, n HostID) string {
	if !id.MAC.IsZero() {
		return "m-" + id.MAC.Bare()
	}
	return fmt.Sprintf("m-%d", n)
}
