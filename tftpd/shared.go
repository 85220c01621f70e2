// shared.go: pieces of files that a crowd reads at the same time. On the morning
// after a power cut hundreds of machines want one loader; a piece that many of
// them are in is read once, and not once for each.

package tftpd

import (
	"io"
	"time"
)

const (
	// pieces bounds the memory of a loop for this: 64 KiB each, and small enough
	// together to stay in a processor's cache.
	pieces = 8
	// demand is how often in a row a piece must be missed before it is read: where
	// clients are in many pieces, those that are there keep their places.
	demand = 8
	// pieceLife bounds how long a file that is written to in place is told of as
	// it was.
	pieceLife = time.Second
)

// pieceID names a piece: those of a file in blocks of a size, counted. It keeps
// the file from being collected, so no other can come to have its address.
type pieceID struct {
	file   io.ReaderAt
	off    int64 // where the section begins
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

// find returns the piece that block n of a flow is in, if enough of its like want
// it that it is there or worth reading now.
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
		return nil // not in memory: who wants it waits by itself
	}
	p.id, p.at = id, now
	return &p.blocks
}
