// send.go: bytes on their way to one client. A part of a shared open file goes
// out with sendfile and an offset of its own, which net/http's way through the
// file's position cannot do; and a network with a cap on its bandwidth gives
// every client the same share of it.

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
	section *boot.Section // the same, where it is part of a file
	ctx     context.Context
	line    *line // nil: no cap
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

// cork has the kernel send whole segments only, until it is taken off: the
// head of a response goes with its body, and nothing small in between. Among
// many it only costs.
func (c *conn) cork(on int) { c.option(unix.TCP_CORK, on) }

func (c *conn) option(name, value int) {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, name, value) })
}

// bodies counts those on their way. In a crowd each may have only so much
// waiting in the kernel: a thousand with what one alone may have is gigabytes,
// and short of memory TCP is several times as slow. One alone is faster without.
var bodies atomic.Int32

const (
	few      = 8
	crowd    = 256
	inCrowd  = 256 << 10 // bytes not sent yet
	unending = 1<<31 - 1
)

// maxSend is the most one system call is asked for; Linux sends no more.
const maxSend = 0x7ffff000

// sendable is a body that the kernel can send from its file; nil if it is none.
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

// send sends n bytes of a stream from where it stands.
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
