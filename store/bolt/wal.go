// wal.go: the log in front of the bbolt file. A commit is one record appended
// to a segment and one fdatasync, where bbolt alone writes every page it
// touches and syncs twice. A segment is folded into bbolt while the other one is
// written. At start and after a clean end everything is in bbolt, and the log stays.

package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/store"
)

const (
	segmentSize  = 8 << 20
	headerSize   = 64
	recordHeader = 16 // length, checksum, generation

	maxSegment = 1 << 30 // that is read; a record that is larger than a segment makes that longer
)

var (
	magic      = [16]byte([]byte("muster log v1\n\x00\x00"))
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// storeID ties a log to its bbolt file. If only one of them is restored from a
// backup, they must not be used together.
type storeID [16]byte

func newStoreID() (id storeID) {
	rand.Read(id[:])
	return id
}

// segment is one file of the log, which is overwritten from its start for each
// generation. Its size changes only by a record that is larger than it is, so that a
// sync has no metadata to write.
type segment struct {
	f    file
	gen  uint64 // generation of its records; 0 if it has none
	end  int64
	lame bool  // its header is lost
	prev int64 // where the generation before ended, in the other segment; 0: not known
}

// file is what a segment needs of an open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	Sync() error // everything written before is on the disk when Sync returns
	Name() string
	Close() error
}

// diskFile is a file that needs no more than its data synced: a size that changes goes
// with them (fdatasync).
type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func segmentPath(db string, i int) string { return fmt.Sprintf("%s-log%d", db, i) }

// makeSegment makes an empty segment.
func makeSegment(path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	// The bytes are written, not only allocated, because the first write to an
	// unwritten extent changes metadata.
	zero := make([]byte, 1<<20)
	for at := int64(0); at < segmentSize && err == nil; at += int64(len(zero)) {
		_, err = f.WriteAt(zero, at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &segment{f: diskFile{f}, end: headerSize}, nil
}

// openSegment opens a segment and reads its header. id is zero where the segment was
// never used. An error of os.ErrNotExist means that the file is missing.
func openSegment(path string) (s *segment, id storeID, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, id, err
	}
	s = &segment{f: diskFile{f}, end: headerSize}
	if id, err = s.readHeader(); err != nil {
		f.Close()
		return nil, id, fmt.Errorf("%s: %w", path, err)
	}
	return s, id, nil
}

var errNoLog = errors.New("it is no log of this store, or its header is damaged")

func (s *segment) readHeader() (id storeID, err error) {
	h := make([]byte, headerSize)
	if n, err := s.f.ReadAt(h, 0); err != nil {
		return id, fmt.Errorf("it was cut after %d bytes: %w", n, err)
	}
	if [headerSize]byte(h) == [headerSize]byte{} {
		s.headless()
		return id, nil
	}
	if crc32.Checksum(h[:40], castagnoli) != binary.BigEndian.Uint32(h[40:]) && !mend(h[:40], h[40:44]) || [16]byte(h[:16]) != magic {
		return id, errNoLog
	}
	s.gen = binary.BigEndian.Uint64(h[32:])
	if crc32.Checksum(h[:52], castagnoli) == binary.BigEndian.Uint32(h[52:]) {
		s.prev = int64(binary.BigEndian.Uint64(h[44:]))
	}
	return storeID(h[16:32]), nil
}

// headless looks for records behind a header of zeros. It is written together with the
// first of them: if there are any, it was lost, and they tell the generation.
func (s *segment) headless() {
	const near = 256 << 10
	b := make([]byte, near)
	n, _ := s.f.ReadAt(b, headerSize)
	b = b[:n]
	for at := 0; at+recordHeader < len(b); at++ {
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size == 0 || size > len(b)-at-recordHeader {
			continue
		}
		if r := b[at : at+recordHeader+size]; intact(r) && sensible(r[recordHeader:]) {
			s.gen, s.lame = binary.BigEndian.Uint64(r[8:]), true
			return
		}
	}
}

// begin makes the segment empty for a new generation. Nothing is written before
// the first record.
func (s *segment) begin(gen uint64, prev int64) {
	s.gen, s.end, s.prev, s.lame = gen, headerSize, prev, false
}

// header is the first bytes of a segment.
func header(id storeID, gen uint64, prev int64) []byte {
	h := make([]byte, headerSize)
	copy(h, magic[:])
	copy(h[16:], id[:])
	binary.BigEndian.PutUint64(h[32:], gen)
	binary.BigEndian.PutUint32(h[40:], crc32.Checksum(h[:40], castagnoli))
	// Older versions wrote zeros from here on.
	binary.BigEndian.PutUint64(h[44:], uint64(prev))
	binary.BigEndian.PutUint32(h[52:], crc32.Checksum(h[:52], castagnoli))
	return h
}

// append makes one record durable, the first with the header in front.
func (s *segment) append(id storeID, record []byte) error {
	b, at := record, s.end
	if at == headerSize {
		b, at = append(header(id, s.gen, s.prev), record...), 0
	}
	_, err := s.f.WriteAt(b, at)
	if err == nil {
		err = s.f.Sync()
	}
	if err != nil {
		// The record may have reached the disk, but its writers get an error. So its
		// header is overwritten.
		s.f.WriteAt(make([]byte, recordHeader), s.end)
		s.f.Sync()
		return err
	}
	s.end += int64(len(record))
	return nil
}

// replay calls fn with the payload of each record of the segment's generation, and
// returns what is damaged, in words.
//
// A record that is not valid is the end if nothing valid is behind it: it was being
// written when the machine stopped, and no Update has reported it as written. If
// something is, it was whole once. Then the records behind it are given too: they were
// reported as written, and each of them names all that it changes.
//
// end, if not 0, is where the generation's last record ends: the next one has begun.
func (s *segment) replay(end int64, fn func(payload []byte) error) (damage []string, err error) {
	all := bytes.NewBuffer(make([]byte, 0, segmentSize))
	if _, err := all.ReadFrom(io.NewSectionReader(s.f, headerSize, maxSegment)); err != nil {
		return nil, err
	}
	if s.lame {
		damage = append(damage, fmt.Sprintf("log %s: its beginning is lost", s.f.Name()))
	}
	if n := all.Len() + headerSize; n < segmentSize {
		damage = append(damage, fmt.Sprintf("log %s: it was cut after %d bytes", s.f.Name(), n))
	}
	at := headerSize
	gone := func(n int) {
		damage = append(damage, fmt.Sprintf("log %s: %d bytes at %d are damaged; what was written there is lost, unless it was written again", s.f.Name(), n, at))
	}
	for b := all.Bytes(); len(b) >= recordHeader; {
		n, mended := s.valid(b)
		if n == 0 {
			skip := s.next(b)
			if skip == 0 {
				break
			}
			gone(skip)
			b, at = b[skip:], at+skip
			continue
		}
		if mended {
			damage = append(damage, fmt.Sprintf("log %s: one bit of the record at %d was wrong, and was mended", s.f.Name(), at))
		}
		if err := fn(b[recordHeader:n]); err != nil {
			return damage, err
		}
		b, at = b[n:], at+n
	}
	if int64(at) < end {
		gone(int(end) - at)
	}
	s.end = int64(at) // where the next record goes, if this generation goes on
	return damage, nil
}

// valid is the length of the record that b begins with, 0 if it is none of this
// generation. A record that was being written when the machine stopped has whole
// sectors missing. If one bit makes it valid, it was damaged afterwards: that bit is
// mended.
func (s *segment) valid(b []byte) (n int, mended bool) {
	if n, ok := s.length(b); ok {
		if intact(b[:n]) {
			return n, false
		}
		was := bytes.Clone(b[4:n])
		if mend(b[8:n], b[4:8]) && sensible(b[recordHeader:n]) {
			return n, true
		}
		copy(b[4:n], was)
	}
	// One bit of the length, which no checksum covers, or of the generation.
	for bit := range 8 * recordHeader {
		if bit/8 >= 4 && bit/8 < 8 {
			continue // of the checksum
		}
		b[bit/8] ^= 1 << (bit % 8)
		if n, ok := s.length(b); ok && n > recordHeader && intact(b[:n]) {
			return n, true
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	return 0, false
}

// intact reports that a record is as its checksum says.
func intact(r []byte) bool {
	return crc32.Checksum(r[8:], castagnoli) == binary.BigEndian.Uint32(r[4:])
}

// sensible reports that a record can be read and names tables that there are.
func sensible(payload []byte) bool {
	cs, err := readRecord(payload)
	known := store.Tables()
	return err == nil && !slices.ContainsFunc(cs, func(c store.Change) bool { return !slices.Contains(known, c.Table) })
}

func (s *segment) length(b []byte) (int, bool) {
	n := int(binary.BigEndian.Uint32(b))
	return recordHeader + n, n <= len(b)-recordHeader && binary.BigEndian.Uint64(b[8:]) == s.gen
}

// next is where the next valid record begins, 0 if there is none.
func (s *segment) next(b []byte) int {
	gen := binary.BigEndian.AppendUint64(nil, s.gen)
	for at := 1; at+recordHeader <= len(b); at++ {
		i := bytes.Index(b[at+8:], gen)
		if i < 0 {
			return 0
		}
		at += i
		if n, ok := s.length(b[at:]); ok && n > recordHeader && intact(b[at:at+n]) {
			return at
		}
	}
	return 0
}

// mend finds the one bit of data, or of its checksum in sum, that is wrong, and turns
// it over; false if it is not one bit. A checksum is linear: what one wrong bit does
// to it depends on its distance from the end alone.
func mend(data, sum []byte) bool {
	diff := crc32.Checksum(data, castagnoli) ^ binary.BigEndian.Uint32(sum)
	if bits.OnesCount32(diff) == 1 {
		binary.BigEndian.PutUint32(sum, binary.BigEndian.Uint32(sum)^diff)
		return true
	}
	// The last bit that goes in is the highest of the last byte.
	effect := uint32(1)
	for i := len(data) - 1; i >= 0; i-- {
		for bit := 7; bit >= 0; bit-- {
			if effect = effect>>1 ^ crc32.Castagnoli&-(effect&1); effect == diff {
				data[i] ^= 1 << bit
				return true
			}
		}
	}
	return false
}

// appendRecord encodes the changes of transactions, one after the other: table, key
// and value, each with its length. The value's length is stored plus one, so that
// zero means a deletion.
func appendRecord(b []byte, gen uint64, txs ...[]store.Change) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeader)...)
	for _, cs := range txs {
		for _, c := range cs {
			b = binary.AppendUvarint(b, uint64(len(c.Table)))
			b = append(b, c.Table...)
			b = binary.AppendUvarint(b, uint64(len(c.Key)))
			b = append(b, c.Key...)
			if c.Value == nil {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(c.Value))+1)
			b = append(b, c.Value...)
		}
	}
	r := b[start:]
	binary.BigEndian.PutUint32(r, uint32(len(r)-recordHeader))
	binary.BigEndian.PutUint64(r[8:], gen)
	binary.BigEndian.PutUint32(r[4:], crc32.Checksum(r[8:], castagnoli))
	return b
}

var errRecord = errors.New("a record of the log has a good checksum and no sense; it was written by another version")

// readRecord decodes a payload. The slices are copies.
func readRecord(b []byte) (cs []store.Change, err error) {
	next := func() []byte {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			err, b = errRecord, nil
			return nil
		}
		v := bytes.Clone(b[w : w+int(n)])
		b = b[w+int(n):]
		return v
	}
	for len(b) > 0 {
		c := store.Change{Table: store.Table(next()), Key: next()}
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w)+1 {
			return nil, errRecord
		}
		b = b[w:]
		if n > 0 {
			c.Value = append(make([]byte, 0, n-1), b[:n-1]...)
			b = b[n-1:]
		}
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, err
}
