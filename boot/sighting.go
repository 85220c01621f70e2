// sighting.go: what one request told us.

package boot

import (
	"net/netip"
	"strings"
	"time"
)

// Via is the protocol a request came over.
type Via string

// The protocols.
const (
	DHCP4  Via = "dhcp4"
	Proxy4 Via = "proxy4" // port 4011
	TFTP   Via = "tftp"
	HTTP   Via = "http"
	Syslog Via = "syslog"
)

// Step is what the request does in its protocol.
type Step string

// DHCP message types, and the steps of the file protocols. A REQUEST is divided by
// the client's state (RFC 2131).
const (
	Discover   Step = "discover"
	Selecting  Step = "request"     // REQUEST with a server identifier
	InitReboot Step = "init-reboot" // REQUEST with an address and no server identifier
	Renew      Step = "renew"       // REQUEST with ciaddr, unicast or broadcast
	Decline    Step = "decline"
	Release    Step = "release"
	Inform     Step = "inform"
	Bootp      Step = "bootp" // RFC 951: no message type
	Fetch      Step = "fetch"
	Handshake  Step = "handshake" // a TLS handshake that failed
	LogLine    Step = "log"       // of the machine itself
)

// Class is what kind of client a request comes from.
type Class string

// Only boot clients are enrolled; a plain client is served an address and is
// never a host.
const (
	Plain      Class = "plain"
	PXE        Class = "pxe"  // firmware, option 60 PXEClient or a vendor's word for it
	HTTPClient Class = "http" // UEFI HTTP boot
	IPXE       Class = "ipxe"
)

// Link is where a request arrived.
type Link struct {
	Interface string     `json:"interface,omitempty"`
	Local     netip.Addr `json:"local,omitzero"`     // address the request was sent to, if ours
	Relay     netip.Addr `json:"relay,omitzero"`     // giaddr
	Subnet    netip.Addr `json:"subnet,omitzero"`    // link-selection (82.5, option 118); else giaddr
	Client    netip.Addr `json:"client,omitzero"`    // the client's own address, where it has one
	Port      string     `json:"port,omitempty"`     // switch port of option 82: remote-id and circuit-id, "leaf3:Ethernet12"
	ServerID  netip.Addr `json:"server_id,omitzero"` // the server identifier that the relay wants in place of ours (82.11, RFC 5107)
}

// Opening is what a client said in the first packet of an exchange.
type Opening struct {
	XID      uint32
	ID       Identity
	Firmware Firmware
}

// key is how a client is known within an exchange.
func (id *Identity) key() string {
	if !id.MAC.IsZero() {
		return id.MAC.String()
	}
	return id.DUID
}

// Key is how a client is known within an exchange.
func (o *Opening) Key() string { return o.ID.key() }

// recall adds what the client said before and leaves out now.
func (f *Firmware) recall(was *Firmware) (more bool) {
	old := *f
	if f.VendorClass == "" {
		f.VendorClass = was.VendorClass
	}
	if f.UserClass == "" {
		f.UserClass = was.UserClass
	}
	if f.Arch == ArchNone {
		f.Arch = was.Arch
	}
	if f.Enterprise == 0 {
		f.Enterprise = was.Enterprise
	}
	f.IPXE, f.NoHTTP = f.IPXE || was.IPXE, f.NoHTTP || was.NoHTTP
	f.PiROM, f.PiBoard, f.UBoot = f.PiROM || was.PiROM, f.PiBoard || was.PiBoard, f.UBoot || was.UBoot
	return *f != old
}

// Firmware is what the client says of its own software.
type Firmware struct {
	Arch         Arch     `json:"arch"`
	VendorClass  string   `json:"vendor_class,omitempty"`
	UserClass    string   `json:"user_class,omitempty"`
	IPXE         bool     `json:"ipxe,omitempty"`       // option 77 or 175 says so
	NoHTTP       bool     `json:"no_http,omitempty"`    // an iPXE build that lists its features without HTTP
	Proxied      bool     `json:"proxied,omitempty"`    // arrived on port 4011
	Enterprise   uint32   `json:"enterprise,omitempty"` // of option 124 or 125
	PiROM        bool     `json:"pi_rom,omitempty"`     // option 97 is the filler of a Raspberry Pi 3
	PiBoard      bool     `json:"pi_board,omitempty"`   // option 97 begins with RPi, as a Pi 4 or later has it
	UBoot        bool     `json:"uboot,omitempty"`      // option 94 is U-Boot's, or the request has its shape
	PlatformHint Platform `json:"platform,omitempty"`   // from a script's query, where 93 is not
}

// Want is what the request asks for.
type Want struct {
	Addr     netip.Addr    `json:"addr,omitzero"`   // requested address, or ciaddr
	Server   netip.Addr    `json:"server,omitzero"` // server identifier in a REQUEST
	Path     string        `json:"path,omitempty"`  // file, without leading slash, normalised by the front
	Query    Query         `json:"query,omitzero"`
	Head     bool          `json:"head,omitempty"`      // size only
	Name     string        `json:"name,omitempty"`      // option 12
	Lease    time.Duration `json:"lease,omitempty"`     // option 51
	Rapid    bool          `json:"rapid,omitempty"`     // option 80
	Item     uint16        `json:"item,omitempty"`      // boot server type of a PXE menu (43.71)
	Options  []byte        `json:"options,omitempty"`   // option 55, what it can use
	ClientID string        `json:"client_id,omitempty"` // option 61, hexadecimal
	IAs      []IA          `json:"ias,omitempty"`       // of DHCPv6
	ServerID string        `json:"server_id,omitempty"` // DUID of the server that a DHCPv6 request names, hexadecimal
	Options6 []uint16      `json:"options6,omitempty"`  // DHCPv6 option 6, what it can use
}

// Query is what the query of a script's URL says. The front takes the first
// occurrence of each parameter, because an SMBIOS text can insert later ones.
type Query struct {
	Asked bool   `json:"asked,omitempty"` // identity parameters are present at all
	MAC   MAC    `json:"mac,omitzero"`
	Stage string `json:"stage,omitempty"`
	Step  string `json:"step,omitempty"`  // that the loader could not do: kernel, initrd or boot
	Errno string `json:"errno,omitempty"` // of iPXE, hexadecimal
	Text  string `json:"text,omitempty"`

	Version  string `json:"version,omitempty"`  // of what is installed
	Progress string `json:"progress,omitempty"` // a step that begins or failed, of who reports each (cloud-init, Ubuntu's installer)
}

// Sighting is one request, as facts. ID holds what the request itself claims: for
// HTTP the query, for TFTP nothing beyond the path and the source.
type Sighting struct {
	At       time.Time      `json:"at"`
	Via      Via            `json:"via"`
	Step     Step           `json:"step"`
	Link     Link           `json:"link,omitzero"`
	Source   netip.AddrPort `json:"source,omitzero"`
	XID      uint32         `json:"-"` // of DHCPv4: one exchange has one (RFC 2131 4.4.1); 0 of other protocols
	ID       Identity       `json:"id,omitzero"`
	TLS      bool           `json:"tls,omitempty"`   // it came over HTTPS
	Proof    Proof          `json:"proof,omitempty"` // of ID, as far as the front can tell; rules may raise it
	Firmware Firmware       `json:"firmware,omitzero"`
	Want     Want           `json:"want,omitzero"`
	Fault    *TLSFault      `json:"fault,omitempty"` // of a Handshake
	Facts    *Inventory     `json:"facts,omitempty"` // of a report
	Line     *Line          `json:"line,omitempty"`  // of a LogLine
}

// TLSFault is why a TLS handshake failed.
type TLSFault struct {
	Cause  TLSCause `json:"cause"`
	Text   string   `json:"text"`   // for a person, with what to do
	Detail string   `json:"detail"` // what the library said
}

// TLSCause is one cause of failed handshakes.
type TLSCause string

// Causes.
const (
	UnknownCA  TLSCause = "unknown-ca"
	NoCipher   TLSCause = "no-shared-cipher"
	BadName    TLSCause = "wrong-name"
	Clock      TLSCause = "wrong-clock"
	NotTLS     TLSCause = "not-tls"
	Silent     TLSCause = "silent"
	OtherFault TLSCause = "other"
)

// Platform is the machine kind as far as the request tells. PXE firmware that
// names no architecture is BIOS: the option is younger than the ROMs.
func (f Firmware) Platform() Platform {
	if f.PlatformHint != "" {
		return f.PlatformHint
	}
	if f.Arch != ArchNone {
		return f.Arch.Platform()
	}
	// "PXEClient:Arch:00007:UNDI:003000" repeats the architecture in text.
	if _, rest, ok := strings.Cut(f.VendorClass, ":Arch:"); ok && len(rest) >= 5 {
		n := 0
		for _, c := range rest[:5] {
			if c < '0' || c > '9' {
				return ""
			}
			n = n*10 + int(c-'0')
		}
		return Arch(n).Platform()
	}
	if strings.HasPrefix(f.VendorClass, "PXEClient") {
		return BIOS
	}
	return ""
}
