// parse.go: TFTP packets, both ways. Pure.

package tftpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Opcodes.
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// Error codes (RFC 1350, 2347).
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeAccess    = 2
	codeIllegal   = 4
	codeOption    = 8
)

// read is a read request. A zero field is an option that was not sent.
type read struct {
	name     string
	netascii bool
	blksize  int
	window   int
	timeout  int // seconds
	tsize    bool
}

var (
	errShort   = errors.New("packet is too short")
	errWrite   = errors.New("this server is read-only")
	errMode    = errors.New("mode is neither octet nor netascii")
	errIllegal = errors.New("not a read request")
)

// maxTimeout is the longest retransmission time a client may choose, seconds.
const maxTimeout = 10

// maxOptions bounds the loop over a stranger's options.
const maxOptions = 16

// parseRead reads a request. An option that is unknown, repeated or invalid is
// ignored (RFC 2347). Names match in any case. A missing last NUL is tolerated.
func parseRead(b []byte) (read, error) {
	var r read
	if len(b) < 2 {
		return r, errShort
	}
	switch binary.BigEndian.Uint16(b) {
	case opRRQ:
	case opWRQ:
		return r, errWrite
	default:
		return r, errIllegal
	}
	fields := bytes.Split(b[2:], []byte{0})
	if len(fields) < 2 || len(fields[0]) == 0 {
		return r, errShort
	}
	r.name = string(fields[0])
	switch strings.ToLower(string(fields[1])) {
	case "octet":
	case "netascii":
		r.netascii = true
	default:
		return r, errMode
	}
	opts := fields[2:]
	for i := 0; i+1 < len(opts) && i < 2*maxOptions; i += 2 {
		v, err := strconv.Atoi(string(opts[i+1]))
		if err != nil || v < 0 {
			continue
		}
		switch strings.ToLower(string(opts[i])) {
		case "blksize":
			if r.blksize == 0 && v >= 8 {
				r.blksize = min(v, 65464)
			}
		case "windowsize":
			if r.window == 0 && v >= 1 {
				r.window = min(v, 65535)
			}
		case "timeout":
			// RFC 2349 allows up to 255 s. A value above maxTimeout would keep
			// a dead transfer for half an hour, so it is refused.
			if r.timeout == 0 && v >= 1 && v <= maxTimeout {
				r.timeout = v
			}
		case "tsize":
			r.tsize = true
		}
	}
	return r, nil
}

// byIPXE reports the options that iPXE sends, and nothing else does: blocks of 1432
// bytes, the size, and no more.
func (r read) byIPXE() bool {
	return r.blksize == 1432 && r.tsize && r.window == 0 && r.timeout == 0 && !r.netascii
}

// settle lowers the requested values to those that this server and link allow.
// edk2 refuses an OACK that raises a value or adds an option.
func (r read) settle(maxBlk, maxWindow int) read {
	if r.blksize != 0 {
		r.blksize = min(r.blksize, maxBlk)
	}
	if r.window != 0 {
		r.window = max(1, min(r.window, maxWindow, maxFlight/(r.block()+4)))
	}
	if r.netascii {
		r.tsize = false // the size on the wire is not the file's
	}
	return r
}

// maxFlight bounds the bytes of one window, and so the memory of a transfer.
const maxFlight = 256 << 10

// block and windowLen are what the transfer uses.
func (r read) block() int {
	if r.blksize == 0 {
		return 512
	}
	return r.blksize
}

func (r read) windowLen() int { return max(1, r.window) }

// oack is the option acknowledgement; nil if the client sent no known option.
func (r read) oack(size int64) []byte {
	b := []byte{0, opOACK}
	add := func(name string, v int64) {
		b = append(b, name...)
		b = append(b, 0)
		b = strconv.AppendInt(b, v, 10)
		b = append(b, 0)
	}
	if r.blksize != 0 {
		add("blksize", int64(r.blksize))
	}
	if r.timeout != 0 {
		add("timeout", int64(r.timeout))
	}
	if r.tsize {
		add("tsize", size)
	}
	if r.window != 0 {
		add("windowsize", int64(r.window))
	}
	if len(b) == 2 {
		return nil
	}
	return b
}

// errorPacket keeps its text short: ROMs copy it into small buffers.
func errorPacket(code uint16, text string) []byte {
	if len(text) > 60 {
		text = text[:60]
	}
	b := []byte{0, opERROR}
	b = binary.BigEndian.AppendUint16(b, code)
	b = append(b, text...)
	return append(b, 0)
}

// answer is what a client sends during a transfer.
type answer struct {
	ack   bool
	block uint16
	code  uint16
	text  string
}

func parseAnswer(b []byte) (answer, error) {
	if len(b) < 4 {
		return answer{}, errShort
	}
	n := binary.BigEndian.Uint16(b[2:])
	switch binary.BigEndian.Uint16(b) {
	case opACK:
		return answer{ack: true, block: n}, nil
	case opERROR:
		t, _, _ := bytes.Cut(b[4:], []byte{0})
		if len(t) > 100 {
			t = t[:100]
		}
		return answer{code: n, text: strings.ToValidUTF8(string(t), "")}, nil
	}
	return answer{}, fmt.Errorf("opcode %d in a transfer", binary.BigEndian.Uint16(b))
}
