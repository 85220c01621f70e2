// dump.go: every record of one moment as a stream, and a new store made of one.

package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/musterboot/muster/boot"
)

// dumpMark begins a dump: its format, and the schema of what is in it.
const dumpMark = "muster dump 1\n"

// Dump writes every record, as they are at one moment, and returns their number. No
// commit happens meanwhile, so w must be fast: a local file.
func (s *Store) Dump(w io.Writer) (records int, err error) {
	out := bufio.NewWriterSize(w, 1<<20)
	put := func(b []byte) {
		out.Write(binary.AppendUvarint(nil, uint64(len(b))))
		out.Write(b)
	}
	out.WriteString(dumpMark)
	out.Write(binary.AppendUvarint(nil, Schema))
	err = s.b.View(func(snap Snapshot) error {
		for _, t := range Tables() {
			snap.Range(t, nil, nil, func(k, v []byte) bool {
				put([]byte(t))
				put(k)
				put(v)
				records++
				return true
			})
		}
		return nil
	})
	put(nil) // the end
	out.Write(binary.AppendUvarint(nil, uint64(records)))
	return records, errors.Join(err, out.Flush())
}

// sealMark is how a sealed secret begins (internal/seal), behind its encoding.
const sealMark = "sealed\x00"

// maxDumped bounds one key or value of a dump that is read.
const maxDumped = 16 << 20

// Load puts the records of a dump into an empty backend. A dump that is cut off, or of
// a newer schema, is an error.
//
// With keyless, secrets that are sealed are left out.
func Load(b Backend, r io.Reader, keyless bool) (records int, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	mark := make([]byte, len(dumpMark))
	if _, err := io.ReadFull(in, mark); err != nil || string(mark) != dumpMark {
		return 0, errors.New("this is no dump of a store")
	}
	schema, err := binary.ReadUvarint(in)
	if err != nil {
		return 0, cutOff(err)
	}
	if schema > Schema {
		return 0, fmt.Errorf("%w: it has schema %d, this program knows %d: install the newer version first", boot.ErrTooNew, schema, Schema)
	}
	get := func() ([]byte, error) {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, cutOff(err)
		}
		if n > maxDumped {
			return nil, fmt.Errorf("a record of %d bytes: the dump is damaged", n)
		}
		p := make([]byte, n)
		_, err = io.ReadFull(in, p)
		return p, cutOff(err)
	}
	known := map[Table]bool{}
	for _, t := range Tables() {
		known[t] = true
	}
	var group []Change
	size := 0
	flush := func() error {
		_, err := b.Commit([][]Change{group})
		group, size = nil, 0
		return err
	}
	for {
		t, err := get()
		if err != nil {
			return records, err
		}
		if len(t) == 0 {
			break
		}
		if !known[Table(t)] {
			return records, fmt.Errorf("a table %q: the dump is damaged", boot.CleanText(string(t), 40))
		}
		k, err := get()
		if err != nil {
			return records, err
		}
		v, err := get()
		if err != nil {
			return records, err
		}
		records++
		if keyless && Table(t) == secrets.table && len(v) > len(sealMark) && string(v[1:1+len(sealMark)]) == sealMark {
			continue
		}
		group = append(group, Change{Table(t), k, v})
		if size += len(k) + len(v); size > 1<<20 || len(group) >= 4096 {
			if err := flush(); err != nil {
				return records, err
			}
		}
	}
	switch n, err := binary.ReadUvarint(in); {
	case err != nil:
		return records, cutOff(err)
	case n != uint64(records):
		return records, fmt.Errorf("%d records, and its end says %d: the dump is damaged", records, n)
	}
	return records, flush()
}

func cutOff(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the dump is cut off: %w", err)
}

// Restored notes that this store was made of a backup of a time: numbers jump ahead of
// everything that was given since, and the first start must not trust tickets.
func (s *Store) Restored(of time.Time) error {
	return s.alone(func(w *writeTx) error {
		if err := s.recount(w, true); err != nil {
			return err
		}
		if err := meta.put(w, "restored", uint64(of.Unix())); err != nil {
			return err
		}
		return meta.put(w, "doubt", 1)
	})
}

// RestoredFrom is the time of the backup that the store was made of; zero where it was
// not, or since Trust.
func (s *Store) RestoredFrom(ctx context.Context) (of time.Time, err error) {
	err = s.View(ctx, func(boot.ReadTx) error {
		n, _, err := meta.get(s, "restored")
		of = time.Time{}
		if n != 0 {
			of = time.Unix(int64(n), 0).UTC()
		}
		return err
	})
	return of, err
}
