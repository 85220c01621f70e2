// class.go: client classes, as a table. It leads from what a client says of itself
// to the style of answer that it understands. Classes of the configuration are tried
// before it.

package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// ClientClass is one kind of client and how it wants to be answered.
type ClientClass struct {
	Name     string
	Match    ClassMatch
	As       Class         // style of the answer; "" leaves that to the classes below
	Platform Platform      // in place of option 93, where that is wrong; "" believes option 93
	Echo     bool          // option 60 comes back as the client wrote it, not as the bare standard word
	Delay    time.Duration // before the OFFER leaves
	Simple   bool          // UEFI that runs only loaders which use its own network driver
	HTTPS    bool          // UEFI HTTP boot gets an https URL: this firmware refuses plain http
	Options  []Option
	Note     string // which client made this class necessary
	Added    string // class of the configuration whose options are in here too
}

// ClassMatch are conditions on a request. All conditions that are present must hold.
// A condition holds if any of its values matches.
type ClassMatch struct {
	IPXE        bool
	VendorClass []string // patterns of option 60
	UserClass   []string // patterns of option 77
	Arch        []Arch   // option 93
	AnyArch     bool     // option 93 is there at all, or the request came to port 4011
	OUI         []string // first bytes of the MAC address, like "b8:27:eb"
	Enterprise  []uint32 // of option 124 or 125
	PiROM       bool     // option 97 is the filler of a Raspberry Pi 3
	PiBoard     bool     // option 97 begins with RPi
	UBoot       bool     // option 94 is U-Boot's, or the request has its shape
}

func (m *ClassMatch) holds(in *Sighting) bool {
	f := &in.Firmware
	switch {
	case m.IPXE && !f.IPXE,
		len(m.VendorClass) > 0 && !anyGlob(m.VendorClass, f.VendorClass),
		len(m.UserClass) > 0 && !anyGlob(m.UserClass, f.UserClass),
		len(m.Arch) > 0 && !slices.Contains(m.Arch, f.Arch),
		m.AnyArch && f.Arch == ArchNone && !f.Proxied,
		len(m.Enterprise) > 0 && !slices.Contains(m.Enterprise, f.Enterprise),
		len(m.OUI) > 0 && !slices.ContainsFunc(m.OUI, func(p string) bool {
			return strings.HasPrefix(in.ID.MAC.Bare(), strings.ToLower(separators.Replace(p)))
		}),
		m.PiROM && !f.PiROM,
		m.PiBoard && !f.PiBoard,
		m.UBoot && !f.UBoot:
		return false
	}
	return true
}

// Validate reports what is wrong with a class from a configuration.
func (c *ClientClass) Validate() error {
	if err := validName("class", c.Name, 63); err != nil {
		return err
	}
	m := &c.Match
	if len(m.VendorClass)+len(m.UserClass)+len(m.Arch)+len(m.OUI)+len(m.Enterprise) == 0 {
		return fmt.Errorf("class %s matches every client: give it a condition (vendor_class, user_class, arch, oui, enterprise)", c.Name)
	}
	for _, p := range slices.Concat(m.VendorClass, m.UserClass) {
		if _, err := path.Match(p, ""); err != nil || p == "" || len(p) > 128 {
			return fmt.Errorf("class %s: %q is not a pattern: use letters and * or ?", c.Name, p)
		}
	}
	for _, p := range m.OUI {
		if s := separators.Replace(p); len(s) < 6 || len(s) > 12 || strings.Trim(strings.ToLower(s), "0123456789abcdef") != "" {
			return fmt.Errorf("class %s: oui %q: want the first three bytes of a MAC address or more, like \"b8:27:eb\"", c.Name, p)
		}
	}
	switch c.As {
	case "", Plain, PXE, HTTPClient, IPXE:
	default:
		return fmt.Errorf("class %s: as %q: want plain, pxe, http or ipxe", c.Name, c.As)
	}
	return nil
}

// standardClasses ship with the program, in order: 77 and 175 before 60 before
// 93.
var standardClasses = []ClientClass{
	{Name: "ipxe", Match: ClassMatch{IPXE: true}, As: IPXE, Note: "says iPXE in option 77 or brings option 175; still sends 60 PXEClient, and must never get iPXE again"},
	{Name: "uefi-http", Match: ClassMatch{VendorClass: []string{"HTTPClient*"}}, As: HTTPClient, Note: "ignores an OFFER that does not repeat HTTPClient"},
	{Name: "raspberry-pi-rom", Match: ClassMatch{VendorClass: []string{"PXEClient*"}, PiROM: true}, As: PXE, Platform: PiPlatform, Delay: 2 * time.Second,
		Options: []Option{{43, piMenu}}, Note: "Pi 3 and CM3: wants \"Raspberry Pi Boot\" in option 43, loops when answered within two seconds"},
	{Name: "raspberry-pi-board", Match: ClassMatch{PiBoard: true}, As: PXE, Platform: PiPlatform,
		Options: []Option{{43, piMenu}}, Note: "Pi 4 and 5: its REQUEST has no option 60, so its GUID tells"},
	{Name: "raspberry-pi", Match: ClassMatch{VendorClass: []string{"PXEClient*"}, Arch: []Arch{0, ArchNone, 41}, OUI: piOUIs}, As: PXE, Platform: PiPlatform,
		Options: []Option{{43, piMenu}}, Note: "says architecture 0, BIOS, and reads its server from 43, 66 or siaddr, whichever comes last"},
	{Name: "bluefield-http", Match: ClassMatch{VendorClass: []string{"NVIDIA/BF/PXE*", "BF2Client*"}, Arch: httpArchs}, As: HTTPClient, Note: "DPU by URL"},
	{Name: "bluefield", Match: ClassMatch{VendorClass: []string{"NVIDIA/BF/PXE*", "BF2Client*"}}, As: PXE, Echo: true, Note: "DPU: wants its own word back in option 60"},
	{Name: "uefi-http-as-pxe", Match: ClassMatch{VendorClass: []string{"PXEClient*"}, Arch: httpArchs}, As: HTTPClient, Note: "says PXEClient and an HTTP architecture"},
	{Name: "u-boot-efi", Match: ClassMatch{VendorClass: []string{"PXEClient*"}, Arch: []Arch{10, 11, 27}, UBoot: true}, As: PXE, Simple: true, Note: "U-Boot as UEFI: iPXE with drivers of its own hangs there, so it gets a build that uses the firmware's, or GRUB"},
	{Name: "pxe", Match: ClassMatch{VendorClass: []string{"PXEClient*"}}, As: PXE, Note: "UEFI PXE, BIOS ROMs; an old ROM names no architecture and is BIOS"},
	{Name: "onie", Match: ClassMatch{VendorClass: []string{"onie_vendor:*"}}, As: Plain, Note: "switch: takes an installer's URL in 114 or 125, from the network's, a class's or its host's options"},
	{Name: "u-boot", Match: ClassMatch{VendorClass: []string{"U-Boot*"}, AnyArch: true}, As: PXE, Note: "reads the header's file and siaddr, and no option 66"},
	{Name: "grub", Match: ClassMatch{VendorClass: []string{"GRUB*"}}, As: PXE, Note: "compares 60 with the bare word; before 2.04 it reads only the header"},
	{Name: "arch-only", Match: ClassMatch{AnyArch: true}, As: PXE, Note: "names an architecture, or asks on port 4011"},
	{Name: "u-boot-bare", Match: ClassMatch{UBoot: true}, As: PXE, Platform: SomeUBoot, Note: "says neither 60 nor 93; known by what it asks for"},
	{Name: "plain", As: Plain, Note: "an operating system: an address and nothing to boot"},
}

var (
	httpArchs = []Arch{15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40}
	// Registered to Raspberry Pi.
	piOUIs = []string{"b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67"}
	// Discovery control 3 (no broadcast, no multicast), the prompt "\0PXE" and
	// a menu of one entry, type 0: the ROM looks for these words.
	piMenu = append([]byte{6, 1, 3, 10, 4, 0, 'P', 'X', 'E', 9, 20, 0, 0, 17}, "Raspberry Pi Boot\xff"...)
)

// StandardClasses returns the table that ships, for people.
func StandardClasses() []ClientClass { return slices.Clone(standardClasses) }

// classify finds the class of a request. The first matching class of the
// configuration wins over the table. If it names no style, it only adds its options
// to the answer of the table.
func (p *Policy) classify(in *Sighting) *ClientClass {
	var added *ClientClass
	for i := range p.Classes {
		if x := &p.Classes[i]; x.Match.holds(in) {
			if x.As != "" {
				return x
			}
			added = x
			break
		}
	}
	for i := 0; ; i++ { // the last of them holds for everybody
		x := &standardClasses[i]
		if !x.Match.holds(in) {
			continue
		}
		if added == nil {
			return x
		}
		both := *x
		both.Added = added.Name
		both.Options = mergeOptions(x.Options, added.Options)
		if added.Platform != "" {
			both.Platform = added.Platform
		}
		both.Echo = x.Echo || added.Echo
		both.HTTPS = x.HTTPS || added.HTTPS
		both.Delay = max(x.Delay, added.Delay)
		return &both
	}
}
