// shared_test.go: pieces that a crowd reads together.

package tftpd

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

func TestShared(t *testing.T) {
	const blk = 1468
	data := make([]byte, 200_000)
	for i := range data {
		data[i] = byte(i * 7 / 5)
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	section := &boot.Section{File: file, Off: 100, Size: int64(len(data) - 100)}
	client := func(blksize int) *flow {
		return &flow{t: newTransfer(read{blksize: blksize}, section.Size), file: section}
	}
	var s shared
	now := time.Unix(1, 0)
	one, two := client(blk), client(blk)
	per := int64(maxOut / (blk + 4))

	// Whoever asks counts.
	for i := range int64(demand - 1) {
		f := one
		if i%2 == 1 {
			f = two
		}
		if s.find(f, 1+i/2, now) != nil {
			t.Fatalf("read for %d askers", i+1)
		}
	}
	o := s.find(one, 5, now)
	if o == nil || o.first != 1 || o.count != per {
		t.Fatalf("the piece is %+v", o)
	}
	for n := int64(1); n <= per; n++ {
		o := s.find(two, n, now)
		if o == nil {
			t.Fatalf("block %d is not there", n)
		}
		at := int(n-o.first) * (blk + 4)
		want := append([]byte{0, opDATA, byte(n >> 8), byte(n)}, data[100+(n-1)*blk:][:blk]...)
		if !bytes.Equal(o.buf[at:at+blk+4], want) {
			t.Fatalf("block %d is not what the file has", n)
		}
	}
	// The last piece is short.
	last := one.t.last
	for range demand {
		o = s.find(one, last, now)
	}
	if o == nil || o.first+o.count-1 != last {
		t.Errorf("the last piece is %+v, the last block %d", o, last)
	}
	// Another block size is another piece, and so is another file.
	if s.find(client(512), 1, now) != nil {
		t.Error("a piece in blocks of another size")
	}
	other := client(blk)
	other.file = &boot.Section{File: file, Off: 0, Size: section.Size}
	if s.find(other, 1, now) != nil {
		t.Error("a piece of another section")
	}
	if s.find(one, 1, now) == nil {
		t.Error("a single miss put it out")
	}
	// Two pieces for one slot, asked for in turns: neither replaces the other.
	for i := range 10 * demand {
		if s.find(one, 1+pieces*per, now) != nil {
			t.Fatalf("put out in turn %d", i)
		}
		if s.find(two, 1, now) == nil {
			t.Fatalf("gone in turn %d", i)
		}
	}
	if s.find(one, 1, now.Add(pieceLife)) != nil {
		t.Error("it lives for ever")
	}
	text := client(blk)
	text.file = nil
	if s.find(text, 1, now) != nil {
		t.Error("a piece of what is no file")
	}
}

// TestSmallBlocks: the buffer holds more blocks of 8 bytes than the kernel reads
// at once.
func TestSmallBlocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	data := bytes.Repeat([]byte("12345678"), 10_000)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := &flow{t: newTransfer(read{blksize: 8}, int64(len(data))), file: &boot.Section{File: file, Size: int64(len(data))}}
	for _, cached := range []bool{true, false} {
		var o blocks
		if err := o.fill(f, 1, maxOut, cached); err != nil || o.count != maxOut/12 {
			t.Fatalf("cached %t: %d blocks, %v", cached, o.count, err)
		}
		last := o.buf[(o.count-1)*12:][:12]
		if want := append([]byte{0, opDATA, byte(o.count >> 8), byte(o.count)}, "12345678"...); !bytes.Equal(last, want) {
			t.Errorf("cached %t: the last is %q, want %q", cached, last, want)
		}
	}
}
