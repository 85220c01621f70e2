package tftpd

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
)

func rrq(fields ...string) []byte {
	return append([]byte{0, 1}, []byte(strings.Join(fields, "\x00")+"\x00")...)
}

func TestParseRead(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want read
		err  error
	}{
		{"plain", rrq("a", "octet"), read{name: "a"}, nil},
		{"mode in capitals", rrq("a", "OCTET"), read{name: "a"}, nil},
		{"netascii", rrq("a", "netascii"), read{name: "a", netascii: true}, nil},
		{"edk2", rrq("a", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"), read{name: "a", tsize: true, blksize: 1468, window: 4}, nil},
		{"option names in capitals", rrq("a", "octet", "BLKSIZE", "1432", "TSize", "0"), read{name: "a", tsize: true, blksize: 1432}, nil},
		{"U-Boot", rrq("a", "octet", "timeout", "5", "blksize", "1468"), read{name: "a", timeout: 5, blksize: 1468}, nil},
		{"first of a repeated option counts", rrq("a", "octet", "blksize", "1024", "blksize", "512"), read{name: "a", blksize: 1024}, nil},
		{"unknown, negative and wordy options", rrq("a", "octet", "multicast", "", "blksize", "-5", "windowsize", "many"), read{name: "a"}, nil},
		{"too small a block", rrq("a", "octet", "blksize", "7"), read{name: "a"}, nil},
		{"too large a block", rrq("a", "octet", "blksize", "999999"), read{name: "a", blksize: 65464}, nil},
		{"no last NUL", []byte("\x00\x01a\x00octet"), read{name: "a"}, nil},
		{"write", append([]byte{0, 2}, "a\x00octet\x00"...), read{}, errWrite},
		{"mail", rrq("a", "mail"), read{name: "a"}, errMode},
		{"no name", rrq("", "octet"), read{}, errShort},
		{"stray DATA", []byte{0, 3, 0, 1}, read{}, errIllegal},
		{"empty", nil, read{}, errShort},
	} {
		got, err := parseRead(c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// TestOACK: byte for byte, only what was asked, never more of it.
func TestOACK(t *testing.T) {
	for _, c := range []struct{ in, want []byte }{
		{rrq("a", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"), []byte("\x00\x06blksize\x001468\x00tsize\x005000\x00windowsize\x004\x00")},
		{rrq("a", "octet", "blksize", "65464", "windowsize", "64"), []byte("\x00\x06blksize\x001468\x00windowsize\x0016\x00")},
		{rrq("a", "octet", "timeout", "7"), []byte("\x00\x06timeout\x007\x00")},
		{rrq("a", "octet", "foo", "1"), nil},
		{rrq("a", "netascii", "tsize", "0"), nil},
	} {
		r, err := parseRead(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.settle(1468, 16).oack(5000); !bytes.Equal(got, c.want) {
			t.Errorf("%q: OACK %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzParseRead(f *testing.F) {
	for _, b := range [][]byte{
		rrq("a", "octet"), rrq("boot/x/snponly.efi", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"),
		rrq("grubx64.efi", "octet", "blksize", "1024", "tsize", "0"), {0, 2, 'a', 0}, {0, 4, 0, 1}, {0, 5, 0, 8, 'U', 's', 'e', 'r', 0},
		append([]byte("\x00\x01blksize\x00"), append(make([]byte, 491), "512\x00tsize\x000\x00"...)...),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseAnswer(b)
		r, err := parseRead(b)
		if err != nil {
			return
		}
		s := r.settle(1468, 16)
		if s.block() < 8 || s.block() > 1468 || s.windowLen() < 1 || s.windowLen() > 16 {
			t.Fatalf("settled to %+v", s)
		}
		o := s.oack(1 << 40)
		if o == nil {
			return
		}
		fields := strings.Split(strings.TrimSuffix(string(o[2:]), "\x00"), "\x00")
		if len(fields)%2 != 0 || len(o) > 128 {
			t.Fatalf("OACK %q", o)
		}
		for i := 0; i < len(fields); i += 2 {
			if !bytes.Contains(bytes.ToLower(b), []byte(fields[i])) {
				t.Fatalf("OACK has %s, which was not asked", fields[i])
			}
			if _, err := strconv.ParseInt(fields[i+1], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestByIPXE: iPXE is told from the other clients by its options.
func TestByIPXE(t *testing.T) {
	for options, want := range map[string]bool{
		"blksize\x001432\x00tsize\x000\x00":                    true,
		"tsize\x000\x00blksize\x001468\x00windowsize\x004\x00": false, // edk2
		"tsize\x000\x00blksize\x001432\x00windowsize\x004\x00": false,
		"timeout\x005\x00blksize\x001432\x00tsize\x000\x00":    false,
		"blksize\x001456\x00tsize\x000\x00":                    false, // a ROM
		"blksize\x001024\x00tsize\x000\x00":                    false, // GRUB
		"blksize\x001432\x00":                                  false,
	} {
		r, err := parseRead([]byte("\x00\x01snponly.efi\x00octet\x00" + options))
		if err != nil || r.byIPXE() != want {
			t.Errorf("%q: iPXE %t, %v", options, r.byIPXE(), err)
		}
	}
}
