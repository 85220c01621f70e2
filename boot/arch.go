// arch.go: the processor architecture types of RFC 4578 and its IANA registry,
// which machine each one is, and which loader it runs.

package boot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Arch is a value of DHCP option 93. ArchNone stands for "not said", because
// zero is BIOS.
type Arch uint16

// ArchNone means that the client named no architecture.
const ArchNone Arch = 0xffff

// Platform is processor and firmware; templates select by it. The protocol is not
// part of it: "x64-uefi" is both UEFI PXE and UEFI HTTP boot.
type Platform string

// The platforms that have a loader, and the rest that only have a name.
const (
	BIOS        Platform = "bios"
	X64UEFI     Platform = "x64-uefi"
	IA32UEFI    Platform = "ia32-uefi"
	ARM32UEFI   Platform = "arm32-uefi"
	ARM64UEFI   Platform = "arm64-uefi"
	RISCV64UEFI Platform = "riscv64-uefi"
	LOONG64UEFI Platform = "loong64-uefi"
	PiPlatform  Platform = "raspberry-pi"

	// U-Boot without its EFI: it reads a script of its own.
	ARM32UBoot   Platform = "arm32-uboot"
	ARM64UBoot   Platform = "arm64-uboot"
	RISCV64UBoot Platform = "riscv64-uboot" // it has no number, and says so in its first script's request only
	SomeUBoot    Platform = "uboot"         // a build that names no architecture in DHCP
)

// archs is the table of architecture types. A type that is not in it is "unknown",
// never guessed. By the registry type 9 is EBC; but RFC 4578 printed 7 and 9
// swapped, so x64 machines send either.
var archs = map[Arch]struct {
	platform Platform
	http     bool
}{
	0: {BIOS, false}, 6: {IA32UEFI, false}, 7: {X64UEFI, false}, 9: {X64UEFI, false},
	10: {ARM32UEFI, false}, 11: {ARM64UEFI, false}, 15: {IA32UEFI, true}, 16: {X64UEFI, true},
	17: {X64UEFI, true}, 18: {ARM32UEFI, true}, 19: {ARM64UEFI, true}, 20: {BIOS, true},
	27: {RISCV64UEFI, false}, 28: {RISCV64UEFI, true}, 39: {LOONG64UEFI, false}, 40: {LOONG64UEFI, true},
	1: {"pc98", false}, 2: {"ia64-uefi", false}, 3: {"alpha", false}, 4: {"arc-x86", false}, 5: {"intel-lean", false},
	8: {"xscale", false}, 12: {"ppc-openfirmware", false}, 13: {"ppc-epapr", false}, 14: {"power-opal", false},
	21: {ARM32UBoot, false}, 22: {ARM64UBoot, false}, 23: {ARM32UBoot, true}, 24: {ARM64UBoot, true},
	25: {"riscv32-uefi", false}, 26: {"riscv32-uefi", true}, 29: {"riscv128-uefi", false}, 30: {"riscv128-uefi", true},
	31: {"s390-basic", false}, 32: {"s390-extended", false}, 33: {"mips32-uefi", false}, 34: {"mips64-uefi", false},
	35: {"sunway32-uefi", false}, 36: {"sunway64-uefi", false}, 37: {"loong32-uefi", false}, 38: {"loong32-uefi", true},
	41: {"raspberry-pi", false},
}

// Platform returns the machine kind of an architecture type, or "" where the
// client named none or one nobody knows.
func (a Arch) Platform() Platform { return archs[a].platform }

// HTTP reports a type that boots by URL (RFC 5970, UEFI HTTP boot).
func (a Arch) HTTP() bool { return archs[a].http }

func (a Arch) String() string {
	switch {
	case a == ArchNone:
		return "none"
	case archs[a].http:
		return fmt.Sprintf("%s-http(%d)", archs[a].platform, uint16(a))
	case archs[a].platform != "":
		return fmt.Sprintf("%s(%d)", archs[a].platform, uint16(a))
	}
	return fmt.Sprintf("unknown(%d)", uint16(a))
}

// UEFI reports a platform whose local boot is "leave the loader with an
// error", not "read the first disk".
func (p Platform) UEFI() bool { return strings.HasSuffix(string(p), "-uefi") }

// UBoot reports a platform that reads U-Boot's script.
func (p Platform) UBoot() bool { return strings.HasSuffix(string(p), "uboot") }

// x86 reports a PC, of any firmware.
func (p Platform) x86() bool { return p == BIOS || p == X64UEFI || p == IA32UEFI }

// uboot is the platform whose U-Boot also is this UEFI.
func (p Platform) uboot() Platform {
	switch p {
	case ARM32UEFI:
		return ARM32UBoot
	case ARM64UEFI:
		return ARM64UBoot
	case RISCV64UEFI:
		return RISCV64UBoot
	}
	return p
}

// KnownPlatform reports a name that a selector may use.
func KnownPlatform(p Platform) bool {
	if p == RISCV64UBoot {
		return true
	}
	for _, a := range archs {
		if a.platform == p {
			return true
		}
	}
	return false
}

// PlatformFromIPXE maps ${buildarch} and ${platform} to a platform. iPXE names
// the build, which on x86 may be 32-bit code on a 64-bit machine; for BIOS
// both are BIOS. U-Boot's script puts its arch and cpu there, "arm-armv8".
func PlatformFromIPXE(buildarch, platform string) Platform {
	switch {
	case platform == "pcbios":
		return BIOS
	case platform != string(SomeUBoot):
	case strings.HasPrefix(buildarch, "riscv"):
		return RISCV64UBoot
	case buildarch == "arm-armv8":
		return ARM64UBoot
	case strings.HasPrefix(buildarch, "arm"):
		return ARM32UBoot
	default:
		return ""
	}
	switch buildarch {
	case "x86_64":
		return X64UEFI
	case "i386":
		return IA32UEFI
	case "arm64":
		return ARM64UEFI
	case "arm32":
		return ARM32UEFI
	case "riscv64":
		return RISCV64UEFI
	case "loong64":
		return LOONG64UEFI
	}
	return ""
}

// ArchFor returns the option 93 value that firmware of a platform sends; the
// reverse of Arch.Platform, for machines that are imagined by explain.
func ArchFor(p Platform, http bool) (Arch, bool) {
	for a := Arch(0); a <= 41; a++ {
		if archs[a].platform == p && archs[a].http == http {
			return a, true
		}
	}
	return ArchNone, false
}

// loaderNames lists, per platform, the files that can be the first thing it
// runs, best first. The snp builds drive the NIC through the firmware that
// just proved it works; the full builds bring drivers of their own.
var loaderNames = map[Platform][]string{
	BIOS:        {"undionly.kpxe", "ipxe.pxe"},
	X64UEFI:     {"snponly.efi", "ipxe.efi", "ipxe-amd64.efi"},
	IA32UEFI:    {"snponly-i386.efi", "ipxe-i386.efi"},
	ARM64UEFI:   {"snponly-arm64.efi", "ipxe-arm64.efi"},
	ARM32UEFI:   {"snponly-arm32.efi", "ipxe-arm32.efi"},
	RISCV64UEFI: {"snponly-riscv64.efi", "ipxe-riscv64.efi"},
	LOONG64UEFI: {"snponly-loong64.efi", "ipxe-loong64.efi"},
}

// LoaderNames returns the loader files a platform can run, best first; none
// where we have nothing for it.
func LoaderNames(p Platform) []string { return loaderNames[p] }

// LoaderPlatforms returns every platform that has a loader, in a fixed order.
func LoaderPlatforms() []Platform {
	return []Platform{BIOS, X64UEFI, IA32UEFI, ARM64UEFI, ARM32UEFI, RISCV64UEFI, LOONG64UEFI}
}

// signedLoaders are the distribution's signed shim, its MOK manager and GRUB,
// by the names that firmware and shim ask for; and iPXE's own signed pair, which
// an operator puts into one folder for each processor, because its shim asks for
// "ipxe.efi" on every processor.
var signedLoaders = map[string]Platform{
	"shimx64.efi": X64UEFI, "mmx64.efi": X64UEFI, "grubx64.efi": X64UEFI,
	"shimaa64.efi": ARM64UEFI, "mmaa64.efi": ARM64UEFI, "grubaa64.efi": ARM64UEFI,
	"x86_64-sb/shimx64.efi": X64UEFI, "x86_64-sb/ipxe.efi": X64UEFI, "x86_64-sb/snponly.efi": X64UEFI,
	"arm64-sb/shimaa64.efi": ARM64UEFI, "arm64-sb/ipxe.efi": ARM64UEFI, "arm64-sb/snponly.efi": ARM64UEFI,
	piLoader: PiPlatform,
}

// piLoader is what the ROM of a Raspberry Pi 3 asks for before it can say its
// serial number.
const piLoader = "bootcode.bin"

// SignedPair is the first two files of a Secure Boot chain: a shim that the
// firmware trusts, and what it starts.
type SignedPair struct{ Shim, Next string }

// signedPairs are the pairs of a platform, best first: iPXE goes on over HTTP,
// the distribution's GRUB reads TFTP only.
var signedPairs = map[Platform][]SignedPair{
	X64UEFI:   {{"x86_64-sb/shimx64.efi", "x86_64-sb/ipxe.efi"}, {"shimx64.efi", "grubx64.efi"}},
	ARM64UEFI: {{"arm64-sb/shimaa64.efi", "arm64-sb/ipxe.efi"}, {"shimaa64.efi", "grubaa64.efi"}},
}

// SignedPairs returns them, best first.
func SignedPairs(p Platform) []SignedPair { return signedPairs[p] }

// templatePair is under which names a template's own shim and GRUB are asked
// for.
func templatePair(p Platform) (SignedPair, bool) {
	l := signedPairs[p]
	if len(l) == 0 {
		return SignedPair{}, false
	}
	return l[len(l)-1], true
}

// SignedLoaders lists the names of the signed chain, sorted.
func SignedLoaders() []string { return slices.Sorted(maps.Keys(signedLoaders)) }

// IsLoader reports a file name that is some platform's loader.
func IsLoader(name string) bool { return loaderPlatform(name) != "" }

// unsigned reports a loader that firmware with Secure Boot refuses.
func unsigned(name string) bool {
	p := loaderPlatform(name)
	return p.UEFI() && signedLoaders[name] == ""
}

// asLoader returns the loader that a request means. Shim and GRUB ask for their
// files in the folder that they were loaded from, and some builds ask in "/".
func asLoader(file string) string {
	if IsLoader(file) {
		return file
	}
	// "x86_64-sb/ipxe.efi" is another file than "ipxe.efi".
	if parts := strings.Split(file, "/"); len(parts) > 1 {
		if two := strings.Join(parts[len(parts)-2:], "/"); signedLoaders[two] != "" {
			return two
		}
	}
	b := strings.ToLower(base(file))
	if signedLoaders[b] != "" || b == strings.ToLower(file) && IsLoader(b) {
		return b
	}
	return ""
}

// loaderPlatform is the platform that a loader's name belongs to, or "".
func loaderPlatform(name string) Platform {
	if p := signedLoaders[name]; p != "" {
		return p
	}
	for p, names := range loaderNames {
		for _, n := range names {
			if n == name {
				return p
			}
		}
	}
	return ""
}
