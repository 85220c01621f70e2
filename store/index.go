// index.go: tables in memory, so that a look-up reads no disk. Keys and values are in
// chunks without pointers: half a million leases cost the garbage collector nothing.

package store

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// index is one table. It is a hash table with open addressing; the store's
// lock guards it.
type index struct {
	seed   maphash.Seed
	slots  []uint64 // high half: of the hash; low half: where the entry is, plus firstPos; 0 is empty
	used   int      // slots that are not empty, including graves
	n      int      // entries
	chunks [][]byte
	dead   int // bytes of entries that were replaced or deleted
	live   int
}

const (
	chunkBits = 20 // an entry is named by chunk and offset in 32 bits: 4 GiB in all
	chunkSize = 1 << chunkBits
	grave     = 1 // a slot whose entry was deleted
	firstPos  = 2
	nowhere   = -1 // the place of what is not there
)

func newIndex() *index {
	return &index{seed: maphash.MakeSeed(), slots: make([]uint64, 16)}
}

func (x *index) hash(key []byte) uint64 { return maphash.Bytes(x.seed, key) }

// entry reads what lies at a position: key length, value length, key, value.
func (x *index) entry(at uint32) (key, value []byte) {
	b := x.chunks[at>>chunkBits][at&(chunkSize-1):]
	k, n := binary.Uvarint(b)
	v, m := binary.Uvarint(b[n:])
	b = b[n+m:]
	return b[:k:k], b[k : k+v : k+v]
}

// find returns the slot of key, or nowhere and the first slot it could go to.
func (x *index) find(key []byte, h uint64) (slot, free int) {
	mask := uint64(len(x.slots) - 1)
	free = nowhere
	for i := h & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		switch {
		case s <= grave:
			if free == nowhere {
				free = int(i)
			}
			if s != grave {
				return nowhere, free
			}
		case s>>32 == h>>32:
			if k, _ := x.entry(uint32(s) - firstPos); bytes.Equal(k, key) {
				return int(i), nowhere
			}
		}
	}
}

// get returns the value of key, nil if there is none. It stays valid until the
// next put.
func (x *index) get(key []byte) []byte {
	slot, _ := x.find(key, x.hash(key))
	if slot == nowhere {
		return nil
	}
	_, v := x.entry(uint32(x.slots[slot]) - firstPos)
	return v
}

// put stores a value; nil deletes.
func (x *index) put(key, value []byte) {
	h := x.hash(key)
	slot, free := x.find(key, h)
	if slot != nowhere {
		k, old := x.entry(uint32(x.slots[slot]) - firstPos)
		if value != nil && len(old) == len(value) {
			copy(old, value) // nearly always a lease that is renewed
			return
		}
		x.dead += len(k) + len(old)
		x.live -= len(k) + len(old)
		x.n--
		if value == nil {
			x.slots[slot] = grave
			x.tidy()
			return
		}
		free = slot
	} else if value == nil {
		return
	} else if x.slots[free] == 0 {
		x.used++
	}
	x.slots[free] = h&^0xffffffff | uint64(x.store(key, value)+firstPos)
	x.n++
	x.live += len(key) + len(value)
	x.tidy()
}

func (x *index) store(key, value []byte) uint32 {
	need := len(key) + len(value) + 2*binary.MaxVarintLen32
	last := len(x.chunks) - 1
	if last < 0 || len(x.chunks[last])+need > cap(x.chunks[last]) {
		// A chunk that is larger than others has room for its one entry alone, so that
		// every entry begins within chunkSize.
		size := chunkSize
		if last < 0 {
			size = 4096 // most tables stay small
		}
		x.chunks = append(x.chunks, make([]byte, 0, max(size, need)))
		last++
	}
	c := x.chunks[last]
	at := uint32(last)<<chunkBits | uint32(len(c))
	c = binary.AppendUvarint(c, uint64(len(key)))
	c = binary.AppendUvarint(c, uint64(len(value)))
	c = append(c, key...)
	x.chunks[last] = append(c, value...)
	return at
}

// tidy makes room: more slots when three quarters are used, and a copy of everything
// alive when more than half of the bytes are dead.
func (x *index) tidy() {
	if x.dead > chunkSize && x.dead > x.live {
		old := *x
		x.chunks, x.dead, x.live, x.n, x.used = nil, 0, 0, 0, 0
		x.slots = make([]uint64, len(old.slots))
		for _, s := range old.slots {
			if s > grave {
				x.put(old.entry(uint32(s) - firstPos))
			}
		}
		return
	}
	if x.used*4 < len(x.slots)*3 {
		return
	}
	size := len(x.slots)
	if x.n*2 > size {
		size *= 2 // else graves fill it, and a rebuild removes them
	}
	old := x.slots
	x.slots = make([]uint64, size)
	x.used = x.n
	mask := uint64(size - 1)
	for _, s := range old {
		if s <= grave {
			continue
		}
		// Only half of the hash is kept in the slot.
		k, _ := x.entry(uint32(s) - firstPos)
		i := x.hash(k) & mask
		for x.slots[i] != 0 {
			i = (i + 1) & mask
		}
		x.slots[i] = s
	}
}
