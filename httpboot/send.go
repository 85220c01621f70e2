// send.go: sends a body to one client. A part of a shared open file is sent
// with sendfile and its own offset. net/http cannot do that, because it reads
// from the file's position. On a network with a bandwidth limit every client
// gets the same share.

package httpboot

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// stream is one body: what http.ServeContent reads.
type stream struct {
	io.ReadSeeker
	section *boot.Section // the same bytes, if they are part of a file
	ctx     context.Context
	line    *line // nil: no bandwidth limit
	client  netip.Addr
	meter   boot.Transfer
	zero    *atomic.Uint64 // counts bytes that were never copied
	sent    int64
}

func (s *stream) Read(b []byte) (int, error) {
	if s.line != nil {
		n, err := s.line.take(s.ctx, s.client, len(b))
		if err != nil {
			return 0, err
		}
		b = b[:n]
	}
	n, err := s.ReadSeeker.Read(b)
	s.note(int64(n))
	return n, err
}

func (s *stream) note(n int64) {
	s.sent += n
	s.meter.Sent(s.sent)
}

// conn is a TCP connection that knows how to send a stream.
type conn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func newConn(c *net.TCPConn) (*conn, error) {
	raw, err := c.SyscallConn()
	return &conn{c, raw}, err
}

// ReadFrom is what net/http calls with a body of known length.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if s, ok := l.R.(*stream); ok && s.section != nil {
			n, err := c.send(s, l.N)
			l.N -= n
			return n, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// connKey finds the connection of a request.
type connKey struct{}

// cork makes the kernel send only full segments until it is removed, so that
// the head of a response leaves together with its body. With many connections
// it only costs.
func (c *conn) cork(on int) { c.option(unix.TCP_CORK, on) }

func (c *conn) option(name, value int) {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, name, value) })
}

// bodies counts the responses that are being sent. In a crowd each connection
// may have only a little unsent data in the kernel. A thousand connections with
// the usual amount would need gigabytes, and TCP is several times slower when
// it is short of memory. A single connection is faster without the limit.
var bodies atomic.Int32

const (
	few      = 8
	crowd    = 256
	inCrowd  = 256 << 10 // bytes not sent yet
	unending = 1<<31 - 1
)

// maxSend is the most that one system call sends on Linux.
const maxSend = 0x7ffff000

// sendable is a body that the kernel can send directly from its file; nil if it
// is none.
func sendable(body any) *boot.Section {
	s, ok := body.(*boot.Section)
	if !ok {
		return nil
	}
	if _, ok = s.Descriptor(); !ok {
		return nil
	}
	return s
}

// send sends n bytes of a stream from its current position.
func (c *conn) send(s *stream, n int64) (total int64, err error) {
	off, err := s.section.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n = min(n, s.section.Size-off)
	most := unending
	if bodies.Add(1) > crowd {
		most = inCrowd
	}
	defer bodies.Add(-1)
	c.option(unix.TCP_NOTSENT_LOWAT, most)
	at := s.section.Off + off
	fd, _ := s.section.Descriptor()
	from := int(fd)
	for total < n && err == nil {
		part := n - total
		if s.line != nil {
			k, err := s.line.take(s.ctx, s.client, int(min(part, maxSend)))
			if err != nil {
				return total, err
			}
			part = int64(k)
		}
		var k int64
		k, err = c.sendfile(from, &at, part, s)
		total += k
	}
	_, _ = s.section.Seek(off+total, io.SeekStart)
	return total, err
}

func (c *conn) sendfile(from int, at *int64, n int64, s *stream) (total int64, err error) {
	werr := c.raw.Write(func(fd uintptr) bool {
		for total < n {
			k, e := unix.Sendfile(int(fd), from, at, int(min(n-total, maxSend)))
			if k > 0 {
				total += int64(k)
				s.note(int64(k))
				s.zero.Add(uint64(k))
			}
			switch {
			case errors.Is(e, unix.EAGAIN):
				return false
			case errors.Is(e, unix.EINTR):
			case e != nil:
				err = os.NewSyscallError("sendfile", e)
				return true
			case k == 0:
				err = io.ErrUnexpectedEOF // the file became shorter
				return true
			}
		}
		return true
	})
	if err == nil {
		err = werr
	}
	return total, err
}
