package images

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/musterboot/muster/boot"
)

type body struct {
	*bytes.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

// TestArchive: header, bytes and trailer by every way of reading, for sizes around
// a multiple of four.
func TestArchive(t *testing.T) {
	for n := range 6 {
		data := strings.Repeat("x", n)
		b := &body{Reader: bytes.NewReader([]byte(data))}
		o, err := Archive(&boot.Object{Body: b, Name: "medium", Size: int64(n), ETag: `"d"`}, "/deep/er/disc.iso")
		if err != nil {
			t.Fatal(err)
		}
		pad := strings.Repeat("\x00", -n&3)
		entry := func(mode, size, namesize, name string) string {
			return "07070100000000" + mode + "0000000000000000" + "00000001" + "00000000" + size + strings.Repeat("0", 32) + namesize + "00000000" + name
		}
		want := entry("000041ed", "00000000", "00000005", "deep\x00\x00") + // 110 and 5 are one short of a multiple
			entry("000041ed", "00000000", "00000008", "deep/er\x00\x00\x00") +
			entry("000081a4", "0000000"+string(rune('0'+n)), "00000011", "deep/er/disc.iso\x00\x00") + data + pad +
			entry("00000000", "00000000", "0000000b", "TRAILER!!!\x00\x00\x00\x00")
		if o.Size != int64(len(want)) || o.Size%4 != 0 || o.Name != "disc.iso.cpio" || o.ETag != `"d-deep-er-disc.iso"` || !o.Disk {
			t.Errorf("%d bytes: %+v, want size %d", n, o, len(want))
		}
		if err := iotest.TestReader(o.Body, []byte(want)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if o.Body.Close(); !b.closed {
			t.Error("the file stays open")
		}
	}
}

func TestArchiveFails(t *testing.T) {
	b := &body{Reader: bytes.NewReader(make([]byte, 10))}
	if _, err := Archive(&boot.Object{Body: b, Name: "big.iso", Size: math.MaxUint32 + 1}, "/x"); err == nil || !strings.Contains(err.Error(), "less than 4 GiB") || !b.closed {
		t.Errorf("too large: %v, closed %t", err, b.closed)
	}
	b = &body{Reader: bytes.NewReader(make([]byte, 10))}
	o, err := Archive(&boot.Object{Body: b, Name: "short", Size: 11}, "/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(o.Body); err == nil {
		t.Error("a file that became shorter is read without an error")
	}
}
