package simclient

// This file holds what kinds send against captured firmware, and against the
// goldens of the server.

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// options walks a packet's options, in any order.
func optionsOf(t *testing.T, b []byte) map[byte][]byte {
	t.Helper()
	if len(b) < 241 {
		t.Fatalf("%d bytes are no DHCP packet", len(b))
	}
	out := map[byte][]byte{}
	for code, v := range tlvs(b[240:]) {
		out[code] = v
	}
	return out
}

// TestCaptured: each kind sends, option for option, what the firmware it stands
// for was captured sending. The order of options is the codec's.
func TestCaptured(t *testing.T) {
	files, err := filepath.Glob("testdata/captured/*.hex")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f), ".hex"), "-discover")
		kind := discover
		if n, ok := strings.CutSuffix(name, "-request"); ok {
			name, kind = n, request
		}
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
			if err != nil {
				t.Fatal(err)
			}
			k := kindNamed(name)
			if k == nil {
				k = kindNamed("." + name)
			}
			opts := optionsOf(t, want)
			m := &Machine{Kind: k, MAC: MAC(want[28:34])}
			if g := opts[97]; len(g) == 17 {
				copy(m.UUID[:], g[1:])
				slices.Reverse(m.UUID[0:4])
				slices.Reverse(m.UUID[4:6])
				slices.Reverse(m.UUID[6:8])
			}
			d := message(m, k, kind, xid(want[4:8]), time.Duration(binary.BigEndian.Uint16(want[8:10]))*time.Second)
			if kind == request {
				d.Options[50], d.Options[54] = opts[50], opts[54]
			}
			got := d.ToBytes()
			// Everything of the header, up to the padding of the packet.
			if string(got[:236]) != string(want[:236]) {
				t.Errorf("header:\n got %x\nwant %x", got[:236], want[:236])
			}
			gopts := optionsOf(t, got)
			for code, w := range opts {
				g := gopts[code]
				if code == 55 && strings.HasPrefix(name, "uefi-http") {
					// One byte of edk2's list is whatever was in its memory.
					g, w = slices.Clone(g), slices.Clone(w)
					g[24], w[24] = 0, 0
				}
				if string(g) != string(w) {
					t.Errorf("option %d:\n got %x\nwant %x", code, g, w)
				}
				delete(gopts, code)
			}
			for code, v := range gopts {
				t.Errorf("option %d is sent (%x), and the firmware does not", code, v)
			}
		})
	}
}

// TestClasses: what the server's own goldens say of each kind is what it sends.
func TestClasses(t *testing.T) {
	for kind, file := range map[string]string{
		"bios": "bios-rom.txt", "uefi-x64": "uefi-x64.txt", "uefi-arm64": "uefi-arm64.txt", "uefi-http-x64": "uefi-http.txt", "onie": "onie.txt", "bluefield": "bluefield.txt", "pi3": "raspberry-pi-3.txt", "pi4": "raspberry-pi-4.txt", "u-boot": "u-boot.txt",
	} {
		t.Run(kind, func(t *testing.T) {
			text, err := os.ReadFile("../../dhcpd/testdata/class/" + file)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := KindNamed(kind)
			m := NewMachine(k, "test", 0)
			got := optionsOf(t, message(m, k, discover, xid{}, 0).ToBytes())
			line := text[strings.Index(string(text), "ask discover"):]
			first, _, _ := strings.Cut(string(line), "\n")
			compared := 0
			for _, w := range strings.Fields(first) {
				key, v, _ := strings.Cut(w, "=")
				if h, ok := strings.CutPrefix(v, "hex:"); ok {
					b, _ := hex.DecodeString(h)
					v = string(b)
				}
				code, ok := map[string]byte{"60": 60, "93": 93, "94": 94, "77": 77, "57": 57}[key]
				if !ok {
					continue
				}
				compared++
				if string(got[code]) != v {
					t.Errorf("option %d is %q, in %s %q", code, got[code], file, v)
				}
			}
			if compared == 0 {
				t.Errorf("%s has nothing to compare", file)
			}
		})
	}
}

// TestMachines: numbers make machines that differ, and are the same each time.
func TestMachines(t *testing.T) {
	k, _ := KindNamed("uefi-x64")
	first := NewMachine(k, "host", 0)
	seen := map[string]bool{}
	for i := range 1000 {
		m := first.After(i)
		if again := NewMachine(k, "host", i); *m != *again {
			t.Fatalf("machine %d is %v, then %v", i, m, again)
		}
		for _, v := range []string{m.MAC.String(), m.UUID.String(), m.Serial} {
			if seen[v] {
				t.Fatalf("%s is there twice", v)
			}
			seen[v] = true
		}
		if [3]byte(m.MAC[:3]) != k.mac {
			t.Fatalf("MAC %s leaves its kind's range", m.MAC)
		}
	}
	last := Machine{Kind: k, MAC: MAC{0x52, 0x54, 0, 0xff, 0xff, 0xff}}
	if got := last.After(1).MAC; got != (MAC{0x52, 0x54, 0, 0, 0, 0}) {
		t.Errorf("after the last MAC comes %s", got)
	}
	p, _ := KindNamed("pi4")
	pi := &Machine{Kind: p, MAC: MAC{0xdc, 0xa6, 0x32, 1, 2, 3}, Serial: "100000001234ABCD"}
	if got := pi.piSerial(); got != "1234abcd" {
		t.Errorf("the folder of %s is %s", pi.Serial, got)
	}
	if g := pi.guid(); string(g[1:5]) != "RPi4" || len(g) != 17 || hex.EncodeToString(g[13:]) != "1234abcd" {
		t.Errorf("option 97 is %x", g)
	}
}
