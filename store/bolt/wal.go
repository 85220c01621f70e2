// wal.go: the log in front of the bbolt file. A commit is one record appended
// to a segment and one fdatasync, where bbolt alone writes every page it
// touches and syncs twice. A segment is folded into bbolt while the other one is
// written. At start and after a clean end everything is in bbolt.

package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/store"
)

const (
	segmentSize  = 8 << 20
	headerSize   = 64
	recordHeader = 16 // length, checksum, generation
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
// generation. Its size never changes, so that a sync has no metadata to write.
type segment struct {
	f   file
	gen uint64 // generation of its records; 0 if it has none
	end int64
}

// file is what a segment needs of an open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	Sync() error // everything written before is on the disk when Sync returns
	Name() string
	Close() error
}

// diskFile is a file whose size does not change, so it is enough to sync its data.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func segmentPath(db string, i int) string { return fmt.Sprintf("%s-log%d", db, i) }

// openSegment opens or makes a segment and reads its header. id is zero where
// the segment is empty.
func openSegment(path string) (s *segment, id storeID, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, id, err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, id, err
	}
	if st.Size() < segmentSize {
		// The bytes are written, not only allocated, because the first write to an
		// unwritten extent changes metadata.
		zero := make([]byte, 1<<20)
		for at := st.Size(); at < segmentSize; {
			n, err := f.WriteAt(zero[:min(int64(len(zero)), segmentSize-at)], at)
			if err != nil {
				return nil, id, err
			}
			at += int64(n)
		}
		if err := f.Sync(); err != nil {
			return nil, id, err
		}
	}
	var h [headerSize]byte
	if _, err := f.ReadAt(h[:], 0); err != nil {
		return nil, id, err
	}
	s = &segment{f: diskFile{f}, end: headerSize}
	if h == [headerSize]byte{} {
		return s, id, nil
	}
	if [16]byte(h[:16]) != magic || crc32.Checksum(h[:40], castagnoli) != binary.BigEndian.Uint32(h[40:]) {
		return nil, id, errors.New("it is no log of this store, or its header is damaged")
	}
	s.gen = binary.BigEndian.Uint64(h[32:])
	return s, storeID(h[16:32]), nil
}

// begin makes the segment empty for a new generation. Nothing is written before
// the first record.
func (s *segment) begin(gen uint64) { s.gen, s.end = gen, headerSize }

// header is the first bytes of a segment.
func header(id storeID, gen uint64) []byte {
	h := make([]byte, headerSize)
	copy(h, magic[:])
	copy(h[16:], id[:])
	binary.BigEndian.PutUint64(h[32:], gen)
	binary.BigEndian.PutUint32(h[40:], crc32.Checksum(h[:40], castagnoli))
	return h
}

// append makes one record durable, the first with the header in front.
func (s *segment) append(id storeID, record []byte) error {
	b, at := record, s.end
	if at == headerSize {
		b, at = append(header(id, s.gen), record...), 0
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

// replay calls fn with the payload of each record of the segment's generation.
// The first record that is not valid ends it: no Update has reported it as written.
func (s *segment) replay(fn func(payload []byte) error) error {
	b := make([]byte, segmentSize-headerSize)
	if _, err := s.f.ReadAt(b, headerSize); err != nil && err != io.EOF {
		return err
	}
	for len(b) >= recordHeader {
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-recordHeader || binary.BigEndian.Uint64(b[8:]) != s.gen {
			return nil
		}
		if crc32.Checksum(b[8:recordHeader+n], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
			return nil
		}
		if err := fn(b[recordHeader : recordHeader+n]); err != nil {
			return err
		}
		b = b[recordHeader+n:]
	}
	return nil
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
