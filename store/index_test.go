package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestIndexModel plays puts, overwrites and deletions against a map.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, want := newIndex(), map[string][]byte{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			key := fmt.Appendf(nil, "k%d", rapid.IntRange(0, 60).Draw(t, "key"))
			var value []byte
			if rapid.IntRange(0, 3).Draw(t, "what") > 0 {
				value = bytes.Repeat([]byte{byte(len(want))}, rapid.IntRange(0, 40).Draw(t, "size"))
			}
			x.put(key, value)
			if value == nil {
				delete(want, string(key))
			} else {
				want[string(key)] = value
			}
			if x.n != len(want) {
				t.Fatalf("%d entries, want %d", x.n, len(want))
			}
		}
		for i := range 61 {
			key := fmt.Appendf(nil, "k%d", i)
			if got := x.get(key); !bytes.Equal(got, want[string(key)]) || (got == nil) != (want[string(key)] == nil) {
				t.Fatalf("%s is %x, want %x", key, got, want[string(key)])
			}
		}
	})
}

// TestIndexTidies: values that grow and keys that go leave no garbage behind for
// ever, and values larger than a chunk fit.
func TestIndexTidies(t *testing.T) {
	x := newIndex()
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	for round := range 40 {
		for i := range 5000 {
			x.put(key(i), bytes.Repeat([]byte{byte(i)}, 20+round%7))
		}
	}
	if got := len(x.chunks); got > 6 {
		t.Errorf("%d chunks of a MiB for %d live bytes", got, x.live)
	}
	for i := range 5000 {
		if i%5 != 0 {
			x.put(key(i), nil)
		}
	}
	big := bytes.Repeat([]byte("x"), 3*chunkSize)
	x.put([]byte("big"), big)
	for i := range 5000 {
		v := x.get(key(i))
		if (i%5 == 0) != (v != nil) || v != nil && v[0] != byte(i) {
			t.Fatalf("key %d is %x", i, v)
		}
	}
	if !bytes.Equal(x.get([]byte("big")), big) || x.n != 1001 {
		t.Errorf("%d entries", x.n)
	}
	made, old := 0, &x.slots[0]
	for i := range 100_000 { // graves do not fill the table
		x.put(key(5000+i), []byte("x"))
		x.put(key(5000+i), nil)
		if now := &x.slots[0]; now != old {
			made, old = made+1, now
		}
	}
	if len(x.slots) > 16384 {
		t.Errorf("%d slots for %d entries", len(x.slots), x.n)
	}
	if made > 100 {
		t.Errorf("the table was made anew %d times while 100000 came and went", made)
	}
}

// TestIndexCopiesWhenItPays: a table is copied once more than half of its bytes are
// dead, not before, and nothing is lost by that.
func TestIndexCopiesWhenItPays(t *testing.T) {
	const entries, size = 600, 5000
	x := newIndex()
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	put := func(i, n int) { x.put(key(i), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, n/2)) }
	for i := range entries {
		put(i, size)
	}
	first := &x.chunks[0][0]
	replaced := 0
	for ; &x.chunks[0][0] == first; replaced++ {
		if replaced > 2*entries {
			t.Fatalf("%d of %d entries were replaced, and their bytes are kept", replaced, entries)
		}
		put(replaced%entries, size-2-2*(replaced/entries))
	}
	if replaced != entries {
		t.Errorf("copied when %d of %d entries were replaced", replaced, entries)
	}
	for i := range entries {
		if v := x.get(key(i)); len(v) != size-2 || v[0] != byte(i) || v[1] != byte(i>>8) {
			t.Fatalf("entry %d has %d bytes", i, len(v))
		}
	}
	if x.n != entries || x.dead != 0 {
		t.Errorf("%d entries, %d dead bytes", x.n, x.dead)
	}
}

// TestIndexIsNoLargerThanItNeeds: of the slots three eighths are used at least, once
// there are more than the first sixteen; a few entries take a few KiB, and many take
// chunks of a MiB.
func TestIndexIsNoLargerThanItNeeds(t *testing.T) {
	x := newIndex()
	for i := range 5000 {
		x.put(be64(uint64(i)), []byte("x"))
		if len(x.slots) > max(16, 8*x.n/3) || x.n >= len(x.slots) {
			t.Fatalf("%d slots for %d entries", len(x.slots), x.n)
		}
		if i == 99 && (len(x.chunks) != 1 || cap(x.chunks[0]) > 4096) {
			t.Errorf("%d chunks for %d entries", len(x.chunks), x.n)
		}
	}
	for i := range 80_000 {
		x.put(be64(uint64(i)), []byte("x"))
	}
	if len(x.chunks) != 2 {
		t.Errorf("%d chunks for %d bytes", len(x.chunks), x.live)
	}
}

// TestIndexTellsKeysApart: two keys of which the half of the hash that a slot
// keeps is the same.
func TestIndexTellsKeysApart(t *testing.T) {
	x := newIndex()
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	seen := map[uint64]int{}
	pairs := 0
	for i := range 300_000 {
		h := x.hash(key(i)) >> 32
		j, twin := seen[h]
		if seen[h] = i; !twin {
			continue
		}
		pairs++
		y := &index{seed: x.seed, slots: make([]uint64, 1)}
		y.put(key(j), []byte("j"))
		if v := y.get(key(i)); v != nil {
			t.Fatalf("key %d finds what was put for key %d", i, j)
		}
		y.put(key(i), []byte("i"))
		if string(y.get(key(i))) != "i" || string(y.get(key(j))) != "j" {
			t.Fatalf("keys %d and %d are one", i, j)
		}
	}
	if pairs == 0 {
		t.Fatalf("no such pair among 300000 keys, expected ten")
	}
}
