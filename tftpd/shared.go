// shared.go: pieces of files that many clients read at the same time. After a
// power cut hundreds of machines ask for one loader. A piece that many of them
// are at is read once, and not once for each.

package tftpd

import (
	"io"
	"time"
)

const (
	// pieces bounds the memory that a loop uses for this: 64 KiB for each
	// piece. All of them together fit into a processor's cache.
	pieces = 8
	// demand is how often in a row a piece must be missed before it is read. If
	// clients are spread over many pieces, the pieces in memory stay.
	demand = 8
	// pieceLife bounds how long old bytes of a file are sent after it was
	// overwritten in place.
	pieceLife = time.Second
)

// pieceID names a piece: file, block size, and the piece's number. It refers to
// the file, so that the file is not collected and its address not used for
// another.
type pieceID struct {
	file   io.ReaderAt
	off    int64 // where the section begins in the file
	blk    int64
	number int64
}

type piece struct {
	blocks
	id     pieceID
	at     time.Time
	wanted pieceID
	missed int
}

// shared are the pieces of one loop.
type shared [pieces]piece

// find returns the piece that holds block n of a flow. It returns one that is
// in memory, or reads it if enough flows want it; otherwise nil.
func (s *shared) find(f *flow, n int64, now time.Time) *blocks {
	if f.file == nil {
		return nil
	}
	per := int64(maxOut / (int(f.t.blk) + 4))
	id := pieceID{f.file.File, f.file.Off, f.t.blk, (n - 1) / per}
	p := &s[id.number%pieces]
	if p.id == id && now.Sub(p.at) < pieceLife {
		p.missed = 0
		return &p.blocks
	}
	if p.wanted != id {
		p.wanted, p.missed = id, 0
	}
	if p.missed++; p.missed < demand {
		return nil
	}
	p.missed, p.id = 0, pieceID{}
	if p.fill(f, id.number*per+1, per, true) != nil {
		return nil // not in the page cache: the flow waits for the disk by itself
	}
	p.id, p.at = id, now
	return &p.blocks
}
