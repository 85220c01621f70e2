// session.go: one transfer on a socket of its own. The socket is connected, so
// that the kernel drops what comes from elsewhere and reports a client that is
// gone.

package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/musterboot/muster/boot"
)

type session struct {
	server *Server
	read   read
	from   netip.AddrPort
	local  netip.Addr
	index  int
	kick   chan struct{}
	cancel context.CancelFunc
	born   time.Time
	moved  atomic.Bool // the client has acknowledged data

	conn *net.UDPConn
	out  *ipv4.PacketConn
	body io.ReaderAt
	buf  []byte // file bytes read ahead, at least a window of them
	at   int64  // where in the file they begin
	have int    // how many there are
	head []byte // headers of one window
	one  []byte // a packet of its own, for lock-step
	msgs []ipv4.Message
}

// again asks a session that has not got going to repeat its first packet.
func (s *session) again() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *session) run(ctx context.Context) {
	log := s.server.log.With("client", s.from, "file", boot.ShortPath(s.read.name))
	defer func() {
		if p := recover(); p != nil {
			log.Error("transfer panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.local, 0)), net.UDPAddrFromAddrPort(s.from))
	if err != nil {
		log.Warn("no socket for a transfer", "err", err)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	s.conn, s.out = conn, ipv4.NewPacketConn(conn)
	mtu, name := 1500, ""
	if i, err := net.InterfaceByIndex(s.index); err == nil {
		mtu, name = i.MTU, i.Name
	}

	path, ok := boot.CleanPath(s.read.name)
	if !ok {
		s.server.Stats.Refused.Add(1)
		s.say(codeAccess, "bad file name")
		return
	}
	in := boot.Sighting{
		At: time.Now(), Via: boot.TFTP, Step: boot.Fetch, Source: s.from,
		Link: boot.Link{Interface: name, Local: s.local}, Want: boot.Want{Path: path},
		Firmware: boot.Firmware{Arch: boot.ArchNone},
	}
	actx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	d, err := s.server.ask.Next(actx, in)
	if err != nil {
		s.say(codeUndefined, "server is in trouble, try again")
		return
	}
	var ref boot.Ref
	switch x := d.Reply.(type) {
	case boot.File:
		ref = x.Ref
	case boot.Script:
		ref = x.Ref
	case boot.Refuse:
		s.server.Stats.Refused.Add(1)
		code := uint16(codeAccess)
		if x.NotFound {
			code = codeNotFound // shim goes on after this one only
		}
		s.say(code, x.Reason)
		return
	case boot.Ignore:
		return
	default:
		s.server.Stats.Refused.Add(1)
		s.say(codeNotFound, "file not found")
		return
	}
	obj, err := s.server.content.Open(actx, ref)
	if err != nil {
		if errors.Is(err, boot.ErrNoFile) {
			s.say(codeNotFound, "file not found")
		} else {
			log.Error("file could not be made", "err", err)
			s.say(codeUndefined, "server could not make this file")
		}
		_ = s.server.ask.Done(ctx, in, d, boot.Outcome{Result: boot.CutShort, Err: err.Error()})
		return
	}
	defer obj.Body.Close()
	s.body = obj.Body
	size := obj.Size
	if s.read.netascii {
		if s.body, size, err = netascii(obj); err != nil {
			s.say(codeUndefined, err.Error())
			return
		}
	}
	agreed := s.read.settle(max(512, mtu-headers), maxWindow)
	o := s.transfer(ctx, agreed, size)
	o.Took = time.Since(in.At)
	st := &s.server.Stats
	st.Bytes.Add(uint64(o.Bytes))
	switch o.Result {
	case boot.Complete:
		st.Complete.Add(1)
	case boot.Probe:
		st.Probes.Add(1)
	case boot.TimedOut:
		st.TimedOut.Add(1)
	default:
		st.Short.Add(1)
	}
	log.Debug("transfer ended", "result", o.Result, "bytes", o.Bytes, "took", o.Took, "blksize", agreed.block(), "window", agreed.windowLen(), "err", o.Err)
	_ = s.server.ask.Done(context.WithoutCancel(ctx), in, d, o)
}

// headers are IPv4, UDP and TFTP in front of the data.
const headers = 20 + 8 + 4

// transfer runs the step function against the socket.
func (s *session) transfer(ctx context.Context, agreed read, size int64) boot.Outcome {
	t := newTransfer(agreed, size)
	oack := agreed.oack(size)
	win := int(t.window)
	s.buf = make([]byte, max(int(t.blk)*win, int(min(readAhead, size))))
	s.head = make([]byte, 4*win)
	s.one = make([]byte, 4+int(t.blk))
	s.msgs = make([]ipv4.Message, win)
	for i := range s.msgs {
		s.msgs[i].Buffers = make([][]byte, 2)
	}
	in := make([]byte, 600)
	ended := func(r boot.Result, why string) boot.Outcome {
		return boot.Outcome{Result: r, Bytes: t.acked(), Err: why}
	}
	next := t.start()
	var left time.Time // when the flight in the air left
	for {
		switch {
		case next.done:
			return boot.Outcome{Result: boot.Complete, Bytes: size}
		case next.gaveUp:
			return ended(boot.TimedOut, fmt.Sprintf("no answer after %d tries", maxTries))
		case next.oack:
			_, _ = s.conn.Write(oack) // a lost one is sent again
			left = time.Now()
		case next.to >= next.from:
			if err := s.flight(t, next.from, next.to); err != nil {
				s.say(codeUndefined, "read error")
				return ended(boot.CutShort, err.Error())
			}
			left = time.Now()
		}
		// Stale packets must not put the time-out off: it counts from left.
		s.conn.SetReadDeadline(left.Add(t.rto))
		if ctx.Err() != nil {
			s.say(codeUndefined, "transfer ended by the server")
			return ended(boot.CutShort, "ended here: the server stops, or the client began anew")
		}
		n, err := s.conn.Read(in)
		select {
		case <-s.kick:
			if t.base == 0 && time.Since(left) > 20*time.Millisecond {
				next = t.start()
				continue
			}
		default:
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			next = t.timeout()
			continue
		case err != nil:
			// ICMP: nobody listens there any more. After the last block that
			// is how a client says goodbye.
			if t.opened && t.sent == t.last && t.last-t.base <= t.window {
				return boot.Outcome{Result: boot.Complete, Bytes: size}
			}
			if t.base == 0 {
				return ended(boot.Probe, "")
			}
			return ended(boot.CutShort, "client is gone")
		}
		a, err := parseAnswer(in[:n])
		if t.base > 0 {
			s.moved.Store(true)
		}
		switch {
		case err != nil:
			next = nothing
		case a.ack:
			next = t.ack(a.block, time.Since(left))
		case t.base == 0 && (a.code == codeUndefined || a.code == codeOption):
			// It wanted the size only: edk2 and iPXE ask so before every file.
			return ended(boot.Probe, "")
		default:
			return ended(boot.CutShort, fmt.Sprintf("client says error %d: %s", a.code, a.text))
		}
	}
}

// readAhead spares lock-step a system call for most of its blocks.
const readAhead = 32 << 10

// data returns the file's bytes from off on.
func (s *session) data(t *transfer, off int64, n int) ([]byte, error) {
	if off < s.at || off+int64(n) > s.at+int64(s.have) {
		s.at, s.have = off, int(min(int64(len(s.buf)), t.size-off))
		if got, err := s.body.ReadAt(s.buf[:s.have], off); got < s.have {
			s.have = 0
			return nil, fmt.Errorf("file ends early: %w", err)
		}
	}
	return s.buf[off-s.at:][:n], nil
}

// flight sends blocks from to to with one system call where the kernel can.
// Full buffers and unreachable clients show as time-outs.
func (s *session) flight(t *transfer, from, to int64) error {
	n := int(to - from + 1)
	off := (from - 1) * t.blk
	want := int(min(int64(n)*t.blk, t.size-off))
	data, err := s.data(t, off, want)
	if err != nil {
		return err
	}
	if n == 1 {
		s.one[1] = opDATA
		binary.BigEndian.PutUint16(s.one[2:], uint16(from))
		_, _ = s.conn.Write(s.one[:4+copy(s.one[4:], data)])
		return nil
	}
	for i := range n {
		h := s.head[4*i : 4*i+4]
		h[1] = opDATA
		binary.BigEndian.PutUint16(h[2:], uint16(from+int64(i)))
		lo := min(i*int(t.blk), want)
		hi := min(lo+int(t.blk), want)
		s.msgs[i].Buffers[0], s.msgs[i].Buffers[1] = h, data[lo:hi]
	}
	for sent := 0; sent < n; {
		k, err := s.out.WriteBatch(s.msgs[sent:n], 0)
		if err != nil {
			return nil
		}
		sent += k
	}
	return nil
}

func (s *session) say(code uint16, text string) { _, _ = s.conn.Write(errorPacket(code, text)) }

// netascii converts a small file: LF becomes CR LF, CR becomes CR NUL. Only
// configuration files are asked for in this mode.
func netascii(o *boot.Object) (io.ReaderAt, int64, error) {
	const limit = 1 << 20
	if o.Size > limit {
		return nil, 0, fmt.Errorf("netascii is for files up to %d bytes", limit)
	}
	b, err := io.ReadAll(io.LimitReader(o.Body, limit))
	if err != nil {
		return nil, 0, err
	}
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\r\x00"))
	b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	return bytes.NewReader(b), int64(len(b)), nil
}
