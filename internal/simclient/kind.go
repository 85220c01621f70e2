package simclient

// This file is the table of the kinds of machine: what each one sends and waits
// for, as data. The values are from captures of OVMF, AAVMF, SeaBIOS with iPXE,
// and U-Boot; the others are from source code and vendors' documentation.

import (
	"slices"
	"strings"
	"time"
)

// way is how a machine goes on once it has an address.
type way int

const (
	byTFTP  way = iota // one loader by TFTP
	byHTTP             // UEFI HTTP boot: HEAD, then GET
	asIPXE             // it is iPXE already: a script
	asPi               // a Raspberry Pi: file after file
	asONIE             // a switch: an installer's URL, or its list of names
	asUBoot            // the header's file, then again as UEFI
)

// A Kind is a kind of machine.
type Kind struct {
	Name string
	What string // for people

	way       way
	class     string // option 60
	arch      []byte // option 93; none if empty
	undi      []byte // option 94
	guid      bool   // sends option 97
	maxSize   uint16 // option 57 of a DISCOVER, and, if set, of a REQUEST
	maxSize2  uint16
	broadcast bool // asks for replies by broadcast
	asks      []byte
	clientID  bool   // option 61: hardware type and MAC
	user      string // option 77, as it is on the wire
	features  []byte // option 175
	file      string // of the header

	// tries are the waits between DISCOVERs. collect is how long the machine
	// waits for further offers after the first.
	tries   []time.Duration
	collect time.Duration
	again   []time.Duration // waits between REQUESTs

	blksize int  // by TFTP; 0 sends no option
	probe   bool // asks for the size first and aborts

	becomes  string // the iPXE that its loader is, as a kind
	platform string // as iPXE calls it
	cpu      string // as iPXE calls it
	mac      [3]byte

	pi  *piModel
	six *six // over IPv6; nil where it has none
}

// IPv6 reports that the kind boots over IPv6.
func (k *Kind) IPv6() bool { return k.six != nil }

const (
	ms  = time.Millisecond
	sec = time.Second
)

var (
	// edk2's list, and the shorter one of its HTTP boot.
	asksEDK2     = []byte{1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135}
	asksEDK2HTTP = []byte{1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 235, 67, 97} // one byte is never initialised
	asksIPXE     = []byte{1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203}
	asksPi       = []byte{1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135}

	// Option 175 of iPXE: its bus and version, then one flag for each feature.
	featuresEFI  = []byte{0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x24, 1, 1, 0x13, 1, 1, 0x11, 1, 1, 0x27, 1, 1, 0x29, 1, 1, 0x15, 1, 1, 0x1b, 1, 1, 0x12, 1, 1}
	featuresBIOS = []byte{0xb1, 0x5, 0x1, 0x1a, 0xf4, 0x10, 0x0, 0xeb, 0x3, 0x1, 0x0, 0x0, 0x17, 0x1, 0x1, 0x22, 0x1, 0x1, 0x13, 0x1, 0x1, 0x11, 0x1, 0x1, 0x27, 0x1, 0x1, 0x19, 0x1, 0x1, 0x29, 0x1, 0x1, 0x10, 0x1, 0x2, 0x21, 0x1, 0x1, 0x15, 0x1, 0x1, 0x18, 0x1, 0x1, 0x12, 0x1, 0x1}

	waitsEDK2 = []time.Duration{4 * sec, 8 * sec, 16 * sec, 32 * sec}
	waitsIPXE = []time.Duration{1 * sec, 2 * sec, 4 * sec, 8 * sec, 10 * sec, 10 * sec}
	waitsUDHC = []time.Duration{3 * sec, 3 * sec, 3 * sec, 3 * sec, 3 * sec}
	waitsPi3  = []time.Duration{5 * sec, 5 * sec, 5 * sec, 5 * sec, 5 * sec} // the ROM gives up after five
	waitsPi4  = []time.Duration{4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec, 4 * sec}

	// The first bytes of the MACs of QEMU's cards; no hardware has them.
	macQEMU = [3]byte{0x52, 0x54, 0x00}
)

// kinds is the table. A kind whose name begins with a dot is one that others
// become.
var kinds = []*Kind{
	{Name: "bios", What: "x86 BIOS, PXE ROM", class: "PXEClient:Arch:00000:UNDI:002001", arch: []byte{0, 0}, undi: []byte{1, 2, 1}, guid: true, maxSize: 1260, broadcast: true,
		asks: asksEDK2, tries: waitsEDK2, collect: 2 * sec, again: []time.Duration{2 * sec, 4 * sec, 8 * sec}, blksize: 1456, probe: true, becomes: ".ipxe-bios", platform: "pcbios", cpu: "i386", mac: macQEMU},
	{Name: "uefi-x64", What: "x64 UEFI, PXE", class: "PXEClient:Arch:00007:UNDI:003000", arch: []byte{0, 7}, undi: []byte{1, 3, 0}, guid: true, maxSize: 1472, maxSize2: 0xff00, broadcast: true,
		asks: asksEDK2, tries: waitsEDK2, collect: 3600 * ms, again: []time.Duration{4 * sec, 8 * sec, 16 * sec}, blksize: 1468, probe: true, becomes: ".ipxe-x64", platform: "efi", cpu: "x86_64", mac: macQEMU, six: efiSix("PXEClient", 7)},
	{Name: "uefi-arm64", What: "arm64 UEFI, PXE", class: "PXEClient:Arch:00011:UNDI:003000", arch: []byte{0, 11}, undi: []byte{1, 3, 0}, guid: true, maxSize: 1472, maxSize2: 0xff00, broadcast: true,
		asks: asksEDK2, tries: waitsEDK2, collect: 3600 * ms, again: []time.Duration{4 * sec, 8 * sec, 16 * sec}, blksize: 1468, probe: true, becomes: ".ipxe-arm64", platform: "efi", cpu: "arm64", mac: macQEMU, six: efiSix("PXEClient", 11)},
	{Name: "uefi-http-x64", What: "x64 UEFI, HTTP boot", way: byHTTP, class: "HTTPClient:Arch:00016:UNDI:003000", arch: []byte{0, 16}, undi: []byte{1, 3, 0}, guid: true, maxSize: 1472, broadcast: true,
		asks: asksEDK2HTTP, tries: waitsEDK2, collect: 3600 * ms, again: []time.Duration{4 * sec, 8 * sec, 16 * sec}, blksize: 1468, probe: true, becomes: ".ipxe-x64", platform: "efi", cpu: "x86_64", mac: macQEMU, six: efiSix("HTTPClient", 16)},
	{Name: "uefi-http-arm64", What: "arm64 UEFI, HTTP boot", way: byHTTP, class: "HTTPClient:Arch:00019:UNDI:003000", arch: []byte{0, 19}, undi: []byte{1, 3, 0}, guid: true, maxSize: 1472, broadcast: true,
		asks: asksEDK2HTTP, tries: waitsEDK2, collect: 3600 * ms, again: []time.Duration{4 * sec, 8 * sec, 16 * sec}, blksize: 1468, probe: true, becomes: ".ipxe-arm64", platform: "efi", cpu: "arm64", mac: macQEMU, six: efiSix("HTTPClient", 19)},
	{Name: "ipxe", What: "iPXE in the network card of x64 UEFI", way: asIPXE, class: "PXEClient:Arch:00007:UNDI:003010", arch: []byte{0, 7}, undi: []byte{1, 3, 10}, guid: true, maxSize: 1472, clientID: true, user: "iPXE", features: featuresEFI,
		asks: asksIPXE, tries: waitsIPXE, collect: 2 * sec, again: waitsIPXE, blksize: 1432, probe: true, platform: "efi", cpu: "x86_64", mac: macQEMU, six: ipxeSix(7)},
	{Name: "pi3", What: "Raspberry Pi 3", way: asPi, class: "PXEClient:Arch:00000:UNDI:002001", arch: []byte{0, 0}, undi: []byte{1, 2, 1}, guid: true,
		asks: asksPi, tries: waitsPi3, platform: "pcbios", cpu: "arm64", mac: [3]byte{0xb8, 0x27, 0xeb}, pi: &pi3},
	{Name: "pi4", What: "Raspberry Pi 4", way: asPi, class: "PXEClient:Arch:00000:UNDI:002001", arch: []byte{0, 0}, undi: []byte{1, 2, 1}, guid: true,
		asks: asksPi, tries: waitsPi4, collect: 500 * ms, again: waitsPi4, blksize: 1024, platform: "pcbios", cpu: "arm64", mac: [3]byte{0xdc, 0xa6, 0x32}, pi: &pi4, six: piSix},
	{Name: "pi5", What: "Raspberry Pi 5", way: asPi, class: "PXEClient:Arch:00000:UNDI:002001", arch: []byte{0, 0}, undi: []byte{1, 2, 1}, guid: true,
		asks: asksPi, tries: waitsPi4, collect: 500 * ms, again: waitsPi4, blksize: 1024, platform: "pcbios", cpu: "arm64", mac: [3]byte{0x2c, 0xcf, 0x67}, pi: &pi5, six: piSix},
	{Name: "onie", What: "switch in ONIE", way: asONIE, class: "onie_vendor:x86_64-acme_sw1-r0", user: "\x14onie_dhcp_user_class",
		asks: []byte{1, 3, 6, 12, 15, 66, 67, 72, 114, 125, 150}, tries: waitsUDHC, again: waitsUDHC, blksize: 1428, platform: "pcbios", cpu: "x86_64", mac: macQEMU},
	{Name: "bluefield", What: "BlueField DPU, PXE", class: "NVIDIA/BF/PXE", arch: []byte{0, 11}, undi: []byte{1, 3, 0}, guid: true, maxSize: 1472, maxSize2: 0xff00, broadcast: true,
		asks: asksEDK2, tries: waitsEDK2, collect: 3600 * ms, again: []time.Duration{4 * sec, 8 * sec, 16 * sec}, blksize: 1400, probe: true, becomes: ".ipxe-arm64", platform: "efi", cpu: "arm64", mac: macQEMU, six: bluefieldSix},
	{Name: "u-boot", What: "arm64 U-Boot", way: asUBoot, class: "U-Boot.armv8", arch: []byte{0, 0x16}, undi: []byte{1, 0, 0}, maxSize: 576, file: "boot.scr.uimg",
		asks: []byte{1, 3, 6, 12, 17}, tries: []time.Duration{1 * sec, 2 * sec, 4 * sec, 8 * sec, 16 * sec}, again: waitsIPXE, blksize: 1468, becomes: ".u-boot-efi", platform: "efi", cpu: "arm64", mac: macQEMU},

	{Name: ".ipxe-bios", way: asIPXE, class: "PXEClient:Arch:00000:UNDI:002001", arch: []byte{0, 0}, undi: []byte{1, 2, 1}, guid: true, maxSize: 1472, clientID: true, user: "iPXE", features: featuresBIOS,
		asks: asksIPXE, tries: waitsIPXE, collect: 2 * sec, again: waitsIPXE, blksize: 1432, probe: true, platform: "pcbios", cpu: "i386"},
	{Name: ".ipxe-x64", way: asIPXE, class: "PXEClient:Arch:00007:UNDI:003010", arch: []byte{0, 7}, undi: []byte{1, 3, 10}, guid: true, maxSize: 1472, clientID: true, user: "iPXE", features: featuresEFI,
		asks: asksIPXE, tries: waitsIPXE, collect: 2 * sec, again: waitsIPXE, blksize: 1432, probe: true, platform: "efi", cpu: "x86_64", six: ipxeSix(7)},
	{Name: ".ipxe-arm64", way: asIPXE, class: "PXEClient:Arch:00011:UNDI:003010", arch: []byte{0, 11}, undi: []byte{1, 3, 10}, guid: true, maxSize: 1472, clientID: true, user: "iPXE", features: featuresEFI,
		asks: asksIPXE, tries: waitsIPXE, collect: 2 * sec, again: waitsIPXE, blksize: 1432, probe: true, platform: "efi", cpu: "arm64", six: ipxeSix(11)},
	{Name: ".u-boot-efi", class: "PXEClient:Arch:00011:UNDI:003000", arch: []byte{0, 11}, undi: []byte{1, 0, 0}, maxSize: 576, file: "boot.scr.uimg",
		asks: []byte{1, 3, 6, 12, 17}, tries: waitsIPXE, again: waitsIPXE, blksize: 1468, becomes: ".ipxe-arm64", platform: "efi", cpu: "arm64"},
}

// KindNamed finds a kind.
func KindNamed(name string) (*Kind, bool) {
	if strings.HasPrefix(name, ".") {
		return nil, false
	}
	k := kindNamed(name)
	return k, k != nil
}

func kindNamed(name string) *Kind {
	i := slices.IndexFunc(kinds, func(k *Kind) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return kinds[i]
}

// Kinds are the kinds that a person may ask for.
func Kinds() []*Kind {
	var out []*Kind
	for _, k := range kinds {
		if !strings.HasPrefix(k.Name, ".") {
			out = append(out, k)
		}
	}
	return out
}

// piModel is what tells one Raspberry Pi from another.
type piModel struct {
	guid string // start of option 97; "" is the filler of the Pi 3
	// rom: it takes the OFFER for a lease and sends no TFTP options.
	rom   bool
	root  []string // asked for before the serial number is known
	tries []string // looked for in its own folder; if none is there it goes on in the root
	// files in the order of published logs. A "?" only checks whether the file
	// exists.
	files []string
	// Without one of these nothing runs.
	needs []string
}

var (
	pi3 = piModel{rom: true, root: []string{"bootcode.bin", "bootsig.bin"}, tries: []string{"start.elf"},
		files: []string{"autoboot.txt", "config.txt", "recovery.elf", "start.elf", "fixup.dat", "recovery.elf", "config.txt", "dt-blob.bin", "bootcfg.txt", "bcm2710-rpi-3-b.dtb", "overlays/overlay_map.dtb", "cmdline.txt",
			"recovery8.img", "recovery7.img", "recovery.img", "kernel8-32.img", "?kernel8.img", "armstub8.bin", "kernel8.img"},
		needs: []string{"bootcode.bin", "start.elf", "kernel8.img"}}
	pi4 = piModel{guid: "RPi4", tries: []string{"start4.elf", "start.elf"},
		files: []string{"config.txt", "vl805.sig", "pieeprom.sig", "recover4.elf", "recovery.elf", "start4.elf", "fixup4.dat", "config.txt", "dt-blob.bin", "bootcfg.txt", "bcm2711-rpi-4-b.dtb", "overlays/overlay_map.dtb",
			"config.txt", "overlays/vc4-kms-v3d-pi4.dtbo", "cmdline.txt", "recovery8.img", "recovery7l.img", "recovery.img", "kernel8-32.img", "?kernel8.img", "armstub8-gic.bin", "kernel8.img", "initramfs8"},
		needs: []string{"start4.elf", "kernel8.img"}}
	pi5 = piModel{guid: "RPi5", tries: []string{"config.txt"},
		files: []string{"config.txt", "pieeprom.sig", "boot.sig", "cmdline.txt", "bcm2712-rpi-5-b.dtb", "overlays/overlay_map.dtb", "overlays/bcm2712d0.dtbo", "?kernel_2712.img", "armstub8-2712.bin", "kernel_2712.img", "initramfs_2712"},
		needs: []string{"kernel_2712.img"}}
)
