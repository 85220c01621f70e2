// session.go: a request from the first packet to the file: who asks, which file
// it gets, in which block size. A loop then sends the bytes.

package tftpd

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

type session struct {
	server *Server
	port   *port
	read   read
	from   netip.AddrPort
	local  netip.Addr
	index  int
	asked  []byte // the request as it came
	cancel context.CancelFunc
	born   time.Time
	moved  atomic.Bool // the client has acknowledged data
	heard  atomic.Bool // the client has acknowledged something
	way    atomic.Bool // it gave way to another one
	past   atomic.Bool // the client has sent another request from the same port

	admitted bool          // its machine may boot
	place    *list.Element // in the server's list

	mu   sync.Mutex
	loop *loop // set once the transfer has begun
	flow *flow
}

// again has a session repeat its first packet, if the client has not answered
// it yet.
func (s *session) again() {
	if l, f := s.running(); f != nil {
		l.again(f)
	}
}

func (s *session) running() (*loop, *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loop, s.flow
}

// packet gives the session a packet that came to the listener, in single-port
// mode.
func (s *session) packet(b []byte) {
	if l, f := s.running(); f != nil && len(b) <= maxAnswer {
		b = bytes.Clone(b)
		l.post(func() { l.guard(f, func(f *flow) { l.packet(f, b) }) })
	}
}

// run answers the request; it returns when the transfer has ended.
func (s *session) run(ctx context.Context) {
	log := s.server.log.With("client", s.from, "file", boot.ShortPath(s.read.name))
	defer func() {
		if p := recover(); p != nil {
			log.Error("transfer panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	f := &flow{peer: s.from, moved: &s.moved, heard: &s.heard}
	if s.server.SinglePort {
		_, f.to = sockaddr(s.from, s.index)
		f.fd, f.from = s.port.fd, sendFrom(s.local, s.index)
	} else {
		fd, err := dial(s.local, s.from, s.index, s.server.Ports)
		if err != nil {
			s.server.Stats.NoSocket.Add(1)
			log.Warn("no socket for a transfer", "err", err)
			return
		}
		defer unix.Close(fd)
		f.fd = fd
	}
	say := func(code uint16, text string) {
		p := errorPacket(code, text)
		_ = f.send(p)
		f.record(true, p, 0)
	}
	mtu, iface := 1500, ""
	if i, err := net.InterfaceByIndex(s.index); err == nil {
		mtu, iface = i.MTU, i.Name
	}
	st := &s.server.Stats
	// GRUB tells its identity in the file name, as an iPXE script does. shim
	// passes on a path that was part of a URL.
	name, query, _ := strings.Cut(s.read.name, "?")
	path, ok := boot.CleanPath(name)
	if !ok {
		st.Refused.Add(1)
		say(codeAccess, "bad file name")
		return
	}
	in := boot.Sighting{
		At: time.Now(), Via: boot.TFTP, Step: boot.Fetch, Proof: boot.ProofNone, Source: netip.AddrPortFrom(s.from.Addr().WithZone(""), s.from.Port()),
		Link: boot.Link{Interface: iface, Local: s.local}, Want: boot.Want{Path: path},
		Firmware: boot.Firmware{Arch: boot.ArchNone, IPXE: s.read.byIPXE()},
	}
	in.ReadQuery(query)
	actx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	d, err := s.server.ask.Next(actx, in)
	// A decision with a file is always told how its transfer ended, whatever
	// happens.
	short := func(why string) {
		_ = s.server.ask.Done(context.WithoutCancel(ctx), in, d, boot.Outcome{Result: boot.CutShort, Err: why})
	}
	if s.past.Load() {
		// The client has sent another request meanwhile. It would take this
		// answer for the answer to that one.
		if _, bytes := d.Reply.(boot.File); err == nil && bytes {
			short("the client began anew")
		}
		return
	}
	if err != nil {
		say(codeUndefined, "server is in trouble, try again")
		return
	}
	s.record(f, d)
	var ref boot.Ref
	switch x := d.Reply.(type) {
	case boot.File:
		ref = x.Ref
	case boot.Script:
		ref = x.Ref
	case boot.Refuse:
		st.Refused.Add(1)
		code := uint16(codeAccess)
		if x.NotFound {
			code = codeNotFound // shim goes on only after this error code
		}
		say(code, x.Reason)
		return
	case boot.Ignore:
		return
	default:
		st.Refused.Add(1)
		say(codeNotFound, "file not found")
		return
	}
	obj, err := s.server.content.Open(actx, ref)
	if err == nil && obj.Whole != nil {
		// The loop that sends must not wait for bytes, and a client asks again by itself.
		whole, cancel := context.WithTimeout(ctx, wholeTimeout)
		if err = obj.Whole(whole); err != nil {
			obj.Body.Close()
		}
		cancel()
	}
	if err != nil {
		switch {
		case errors.Is(err, boot.ErrNoFile):
			say(codeNotFound, "file not found")
		case errors.Is(err, boot.ErrLater), errors.Is(err, context.DeadlineExceeded):
			say(codeUndefined, "the file is not here yet: ask again")
		default:
			log.Error("file could not be made", "err", err)
			say(codeUndefined, "server could not make this file")
		}
		short(err.Error())
		return
	}
	defer obj.Body.Close()
	f.body = obj.Body
	if s, ok := obj.Body.(*boot.Section); ok {
		if _, ok = s.Descriptor(); ok {
			f.file = s
		}
	}
	f.disk = obj.Disk
	size := obj.Size
	if s.read.netascii {
		f.file = nil
		if f.body, size, err = netascii(obj); err != nil {
			say(codeUndefined, err.Error())
			short(err.Error())
			return
		}
	}
	agreed := s.server.history.cap(s.from.Addr(), s.read, in.At).settle(largest(s.from.Addr(), mtu), maxWindow)
	f.t = newTransfer(agreed, size)
	f.oack = agreed.oack(size)
	f.meter = s.server.ask.Begin(in, d, size)
	defer f.meter.End()
	o := s.transfer(ctx, f)
	o.Took = time.Since(in.At)
	st.Bytes.Add(uint64(o.Bytes))
	switch o.Result {
	case boot.Complete:
		st.Complete.Add(1)
	case boot.Probe:
		st.Probes.Add(1)
	case boot.TimedOut:
		st.TimedOut.Add(1)
		s.server.history.failed(s.from.Addr(), agreed, s.moved.Load(), time.Now())
	default:
		st.Short.Add(1)
	}
	log.Debug("transfer ended", "result", o.Result, "bytes", o.Bytes, "took", o.Took, "blksize", agreed.block(), "window", agreed.windowLen(), "err", o.Err)
	_ = s.server.ask.Done(context.WithoutCancel(ctx), in, d, o)
}

// record begins the recording of a machine's transfer, with the request.
func (s *session) record(f *flow, d boot.Decision) {
	to := s.server.Record
	if to == nil || d.ID.MAC.IsZero() || d.Network == "" {
		return
	}
	listener := netip.AddrPortFrom(s.local, portOf(s.port.fd))
	own := netip.AddrPortFrom(s.local, portOf(f.fd))
	to.Packet(boot.Packet{MAC: d.ID.MAC, From: s.from, To: listener, Data: s.asked})
	f.seen = func(sent bool, b []byte, full int) {
		p := boot.Packet{MAC: d.ID.MAC, From: s.from, To: own, Data: b, Full: full}
		if sent {
			p.From, p.To = own, s.from
		}
		to.Packet(p)
	}
}

// Headers in front of the data: IP, UDP and TFTP.
const (
	headers4 = 20 + 8 + 4
	headers6 = 40 + 8 + 4
)

// every6 is a packet size that every IPv6 link carries (RFC 8200 5). IPv6
// routers do not fragment, and the block size is agreed on before the path is
// known.
const every6 = 1280

// largest is the largest block for a client behind an interface of ours.
func largest(client netip.Addr, mtu int) int {
	if client.Is6() {
		return every6 - headers6
	}
	return max(512, mtu-headers4)
}

// wholeTimeout is how long a transfer waits for a file that is being fetched: clients ask
// again in seconds, and find it then.
const wholeTimeout = 30 * time.Second

// transfer has a loop carry the bytes and waits for the end.
func (s *session) transfer(ctx context.Context, f *flow) boot.Outcome {
	ended := make(chan boot.Outcome, 1)
	f.done = func(o boot.Outcome) { ended <- o }
	l := s.server.idlest()
	s.mu.Lock()
	s.loop, s.flow = l, f
	s.mu.Unlock()
	if !l.add(f) {
		return boot.Outcome{Result: boot.CutShort, Err: "the server stops"}
	}
	stop := context.AfterFunc(ctx, func() {
		if s.past.Load() {
			// The client gets no error: it would take it for the answer to its
			// next request.
			l.stopFlow(f, "the client began anew", false)
			return
		}
		if s.way.Load() {
			l.stopFlow(f, "it gave way: too many transfers", false)
			return
		}
		l.stopFlow(f, "the server stops", true)
	})
	defer stop()
	return <-ended
}

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
