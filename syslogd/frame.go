// frame.go: lines from a TCP stream (RFC 6587). A line has its length in front
// or a line end behind it; one connection may mix both.

package syslogd

import (
	"bufio"
	"errors"
	"io"
)

const (
	maxRaw   = 4096    // of a line, with its header; the rest is skipped
	maxFrame = 1 << 20 // length of a frame; a sender that announces more does not speak syslog
)

var errFrame = errors.New("a frame of more than 1 MiB")

// frames reads lines; none of them takes more memory than maxRaw.
type frames struct {
	r   *bufio.Reader
	buf []byte
}

func newFrames(r io.Reader) *frames {
	return &frames{r: bufio.NewReaderSize(r, maxRaw), buf: make([]byte, 0, maxRaw)}
}

// next returns a line, good until the next call, and how many bytes of it were
// left out.
func (f *frames) next() (line []byte, cut int, err error) {
	n, head, err := f.counted()
	if err != nil {
		return nil, 0, err
	}
	if head == 0 {
		return f.line()
	}
	if _, err := f.r.Discard(head); err != nil {
		return nil, 0, err
	}
	f.buf = f.buf[:min(n, maxRaw)]
	if got, err := io.ReadFull(f.r, f.buf); err != nil {
		if got > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			return f.buf[:got], 0, nil // the connection broke off: the beginning of the line is kept
		}
		return nil, 0, err
	}
	_, err = f.r.Discard(n - len(f.buf))
	return f.buf, n - len(f.buf), err
}

// counted looks for "123 <": a length, and how many bytes it takes. A line
// whose text begins with a number has no priority after it.
func (f *frames) counted() (n, head int, err error) {
	for i := 0; ; i++ {
		b, err := f.r.Peek(i + 1)
		if err != nil {
			if i > 0 && errors.Is(err, io.EOF) {
				return 0, 0, nil
			}
			return 0, 0, err
		}
		switch c := b[i]; {
		case c >= '1' && c <= '9', c == '0' && i > 0:
			if n = n*10 + int(c-'0'); n > 1e8 {
				return 0, 0, nil
			}
		case c == ' ' && i > 0:
			b, err := f.r.Peek(i + 2)
			if err != nil || b[i+1] != '<' {
				return 0, 0, nil
			}
			if n > maxFrame {
				return 0, 0, errFrame
			}
			return n, i + 1, nil
		default:
			return 0, 0, nil
		}
	}
}

// line reads up to a line end.
func (f *frames) line() ([]byte, int, error) {
	f.buf = f.buf[:0]
	cut := 0
	for {
		b, err := f.r.ReadSlice('\n')
		room := min(len(b), maxRaw-len(f.buf))
		f.buf = append(f.buf, b[:room]...)
		cut += len(b) - room
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(f.buf) > 0:
			return f.buf, cut, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, 0, err
		}
	}
}
