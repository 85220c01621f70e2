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
	for range 100_000 { // graves do not fill the table
		x.put([]byte("come"), []byte("x"))
		x.put([]byte("come"), nil)
	}
	if len(x.slots) > 16384 {
		t.Errorf("%d slots for %d entries", len(x.slots), x.n)
	}
}
