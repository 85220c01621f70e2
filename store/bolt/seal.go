// seal.go: how damage is noticed. Every record in bbolt ends with a checksum of its
// table, key and value; and for each table the file has the number of its records and
// the sum of their checksums, so that a record which is missing without a trace, with
// a whole page for instance, is missed too.

package bolt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/musterboot/muster/store"
)

const sealSize = 4

func checksum(t store.Table, key, value []byte) uint32 {
	c := crc32.Update(0, castagnoli, []byte(t))
	c = crc32.Update(c, castagnoli, zeroByte)
	c = crc32.Update(c, castagnoli, key)
	c = crc32.Update(c, castagnoli, zeroByte)
	return crc32.Update(c, castagnoli, value)
}

var zeroByte = []byte{0}

// seal appends a value with its checksum.
func seal(b []byte, t store.Table, key, value []byte) []byte {
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, checksum(t, key, value))
}

// sealOf is the checksum at the end of what bbolt has.
func sealOf(b []byte) uint32 {
	if len(b) < sealSize {
		return 0
	}
	return binary.BigEndian.Uint32(b[len(b)-sealSize:])
}

// unseal returns the value if it is what was written under this key.
func unseal(t store.Table, key, b []byte) (value []byte, ok bool) {
	if len(b) < sealSize {
		return nil, false
	}
	n := len(b) - sealSize
	return b[:n:n], checksum(t, key, b[:n]) == sealOf(b)
}

// sum is what a table should have.
type sum struct{ n, crc uint64 }

func (s sum) with(seal uint32) sum    { return sum{s.n + 1, s.crc + uint64(seal)} }
func (s sum) without(seal uint32) sum { return sum{s.n - 1, s.crc - uint64(seal)} }

type sums map[store.Table]sum

func (s sums) encode() (b []byte) {
	for _, t := range slices.Sorted(maps.Keys(s)) {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
		b = binary.BigEndian.AppendUint64(b, s[t].n)
		b = binary.BigEndian.AppendUint64(b, s[t].crc)
	}
	return b
}

func decodeSums(b []byte) (sums, error) {
	s := sums{}
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) || uint64(len(b)-w)-n < 16 {
			return nil, errors.New("the numbers of records cannot be read")
		}
		name, rest := store.Table(b[w:w+int(n)]), b[w+int(n):]
		s[name] = sum{binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])}
		b = rest[16:]
	}
	return s, nil
}
