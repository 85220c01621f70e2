package boot_test

import (
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

func TestUUIDByteOrder(t *testing.T) {
	// Option 97 of OVMF for the UUID 33221100-… given to QEMU as 00112233-…:
	// the first three fields travel little-endian.
	wire := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	u, ok := boot.UUIDFromWire(wire)
	if !ok || u.String() != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("read as %s", u)
	}
	if u.Swapped().Swapped() != u || u.Swapped() == u {
		t.Error("swapping twice must be nothing, once something")
	}
	if _, ok := boot.UUIDFromWire(wire[:15]); ok {
		t.Error("15 bytes are no UUID")
	}
}

func TestJunk(t *testing.T) {
	for _, s := range []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "44444444-4444-4444-4444-444444444444", "56f49712-ffff-ffff-ffff-ffffffffffff", "07090201-0103-0301-0807-060504030201",
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"} {
		if u, err := boot.ParseUUID(s); err != nil || !u.Junk() {
			t.Errorf("%s names a machine", s)
		}
	}
	if u, _ := boot.ParseUUID("4c4c4544-0042-3510-8052-b4c04f4a3132"); u.Junk() {
		t.Error("a Dell's UUID is junk")
	}
	for _, s := range []string{"", " ", "None", "To be filled by O.E.M.", "TO BE FILLED BY O.E.M.", "Default string", "System Serial Number", "0", "000000", "FFFFFFFF", "..........", "123456789", "Not Specified", "Default_string", "xxxxxxx", "----", "ab", "Serial\x01", "größe", "N/A"} {
		if got, ok := boot.CleanSerial(s); ok {
			t.Errorf("serial %q names a machine, as %q", s, got)
		}
	}
	for in, want := range map[string]string{" CZ1234 ": "CZ1234", "RIG-0042": "RIG-0042", strings.Repeat("xy", 50): strings.Repeat("xy", 32), "VMware-56 4d": "VMware-56 4d"} {
		if got, ok := boot.CleanSerial(in); !ok || got != want {
			t.Errorf("serial %q: %q, %v", in, got, ok)
		}
	}
	for s, usable := range map[string]bool{"52:54:00:aa:bb:01": true, "00:00:00:00:00:00": false, "ff:ff:ff:ff:ff:ff": false, "01:00:5e:00:00:01": false} {
		if m, err := boot.ParseMAC(s); err != nil || m.Usable() != usable {
			t.Errorf("%s: usable %v", s, m.Usable())
		}
	}
}

func TestParseMAC(t *testing.T) {
	for _, s := range []string{"52:54:00:AA:bb:01", "52-54-00-aa-bb-01", "525400aabb01", " 525400AABB01 "} {
		if m, err := boot.ParseMAC(s); err != nil || m.String() != "52:54:00:aa:bb:01" {
			t.Errorf("%q: %s, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "52:54:00:aa:bb", "52:54:00:aa:bb:zz", "52:54:00:aa:bb:01:02"} {
		if _, err := boot.ParseMAC(s); err == nil {
			t.Errorf("%q is a MAC", s)
		}
	}
}

func TestCleanPath(t *testing.T) {
	for in, want := range map[string]string{
		"ipxe.efi": "ipxe.efi", "/ipxe.efi": "ipxe.efi", "//a//b/./c": "a/b/c", `\Boot\BCD`: "Boot/BCD", "tftp://10.0.0.1/a": "a",
		"a\xff": "a", "a\xff\x00": "a", "a \r\n": "a", "": "", "/": "", "a b": "a b", "größe": "größe",
	} {
		if got, ok := boot.CleanPath(in); !ok || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"..", "../a", "a/../b", `..\a`, "/../../etc/passwd", "a/..", "a\x00b", "a\nb", strings.Repeat("x", 1000), "tftp://h/../a"} {
		if got, ok := boot.CleanPath(in); ok {
			t.Errorf("%q passes as %q", in, got)
		}
	}
}
