// loop.go: one thread that carries many transfers. It waits for all their
// sockets at once and answers each packet on the spot: a block costs a read and
// a write and no change of goroutine, which is what lock-step firmware waits for.

package tftpd

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// loop owns its flows: nothing else touches them after add.
type loop struct {
	log    *slog.Logger
	poll   int // epoll
	bell   int // eventfd: something was posted
	load   atomic.Int32
	flows  map[int32]*flow // by descriptor; of flows with a socket of their own
	timers timers
	now    time.Time
	in     [maxAnswer]byte
	closed chan struct{}

	mu     sync.Mutex
	posted []func()
	ended  bool
}

// maxAnswer is more than any packet a client sends in a transfer.
const maxAnswer = 600

func newLoop(log *slog.Logger) (*loop, error) {
	l := &loop{log: log, flows: map[int32]*flow{}, closed: make(chan struct{})}
	var err error
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("TFTP: epoll: %w", err)
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, l.bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.bell)})
	}
	if err != nil {
		unix.Close(l.poll)
		return nil, fmt.Errorf("TFTP: %w", err)
	}
	go l.run()
	return l, nil
}

// post has fn run by the loop, soon; false if the loop has ended.
func (l *loop) post(fn func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, fn)
	first := len(l.posted) == 1
	l.mu.Unlock()
	if first {
		_, _ = unix.Write(l.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// stop ends the loop; every flow must have ended before.
func (l *loop) stop() {
	l.post(func() {
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
	})
	<-l.closed
	unix.Close(l.bell)
	unix.Close(l.poll)
}

func (l *loop) run() {
	defer close(l.closed)
	events := make([]unix.EpollEvent, 128)
	for !l.ended {
		wait := -1
		if len(l.timers) > 0 {
			wait = max(0, int(time.Until(l.timers[0].due)/time.Millisecond)+1)
		}
		n, err := unix.EpollWait(l.poll, events, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.log.Error("TFTP transfers stop", "err", err)
			return
		}
		l.now = time.Now()
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == int32(l.bell) {
				var b [8]byte
				_, _ = unix.Read(l.bell, b[:])
				l.mu.Lock()
				todo := l.posted
				l.posted = nil
				l.mu.Unlock()
				for _, fn := range todo {
					fn()
				}
			} else if f := l.flows[ev.Fd]; f != nil {
				l.guard(f, l.readable)
			}
		}
		for len(l.timers) > 0 && !l.now.Before(l.timers[0].due) {
			f := l.timers[0]
			if f.reading {
				f.deadline = l.now.Add(firstRTO)
			}
			if l.now.Before(f.deadline) {
				f.due = f.deadline
				heap.Fix(&l.timers, 0)
				continue
			}
			l.guard(f, func(f *flow) { l.act(f, f.t.timeout()) })
		}
	}
}

// guard keeps a mistake in one transfer from ending the others.
func (l *loop) guard(f *flow, fn func(*flow)) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("transfer panicked", "client", f.peer, "panic", p, "stack", string(debug.Stack()))
			l.end(f, boot.CutShort, "internal error")
		}
	}()
	fn(f)
}

// flow is one transfer in a loop.
type flow struct {
	t     *transfer
	oack  []byte
	peer  netip.AddrPort
	fd    int           // its own connected socket, or the listener's
	to    unix.Sockaddr // with the listener's socket: the client
	from  []byte        // control message: the address that was asked
	body  io.ReaderAt
	file  *boot.Section  // body, where it is a file: read without copies through Go
	meter *boot.Transfer // what people see of it
	moved *atomic.Bool   // the client has acknowledged data
	done  func(boot.Outcome)

	slots    []byte // blocks as they leave, 4 bytes of header before each
	first    int64  // block in the first slot
	count    int64  // blocks that are there
	left     time.Time
	deadline time.Time
	due      time.Time // when the heap looks at it; not later than deadline
	place    int       // in the heap
	reading  bool      // a goroutine reads ahead from a cold disk
	noGSO    bool      // packets cannot be cut up by the kernel here
	over     bool
	outcome  boot.Outcome
}

// add begins a transfer: from here on the loop owns f.
func (l *loop) add(f *flow) bool {
	l.load.Add(1)
	ok := l.post(func() {
		l.guard(f, func(f *flow) {
			if f.to == nil {
				if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, f.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(f.fd)}); err != nil {
					l.end(f, boot.CutShort, err.Error())
					return
				}
				l.flows[int32(f.fd)] = f
			}
			f.left = l.now
			f.due, f.deadline = l.now.Add(f.t.rto), l.now.Add(f.t.rto)
			heap.Push(&l.timers, f)
			l.act(f, f.t.start())
		})
	})
	if !ok {
		l.load.Add(-1)
	}
	return ok
}

// end takes a flow off and tells how it ended, once.
func (l *loop) end(f *flow, r boot.Result, why string) {
	if f.over {
		return
	}
	f.over = true
	l.load.Add(-1)
	if l.flows[int32(f.fd)] == f {
		delete(l.flows, int32(f.fd))
		_ = unix.EpollCtl(l.poll, unix.EPOLL_CTL_DEL, f.fd, nil)
	}
	if f.place >= 0 && f.place < len(l.timers) && l.timers[f.place] == f {
		heap.Remove(&l.timers, f.place)
	}
	f.outcome = boot.Outcome{Result: r, Bytes: f.t.acked(), Err: why}
	if r == boot.Complete {
		f.outcome.Bytes = f.t.size
	}
	if !f.reading { // else the file is still in use
		f.done(f.outcome)
	}
}

// stopFlow ends a transfer from outside.
func (l *loop) stopFlow(f *flow, why string) {
	l.post(func() {
		if !f.over {
			f.send(errorPacket(codeUndefined, "transfer ended by the server"))
			l.end(f, boot.CutShort, why)
		}
	})
}

// again repeats the first packets of a flow that has not got going.
func (l *loop) again(f *flow) {
	l.post(func() {
		if !f.over && f.t.base == 0 && l.now.Sub(f.left) > 20*time.Millisecond {
			l.guard(f, func(f *flow) { l.act(f, f.t.start()) })
		}
	})
}

// burst bounds the packets that one flow may have handled before the others
// have a turn.
const burst = 4

// readable takes what a socket has.
func (l *loop) readable(f *flow) {
	for range burst {
		n, err := unix.Read(f.fd, l.in[:])
		switch {
		case f.over:
			return
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return
		case err != nil:
			// ICMP: nobody listens there any more. After the last block that is
			// how a client says goodbye.
			switch {
			case f.t.opened && f.t.sent == f.t.last && f.t.last-f.t.base <= f.t.window:
				l.end(f, boot.Complete, "")
			case f.t.base == 0:
				l.end(f, boot.Probe, "")
			default:
				l.end(f, boot.CutShort, "client is gone")
			}
			return
		}
		l.packet(f, l.in[:n])
		if f.over || f.t.window == 1 {
			return // in lock-step there is never a second one
		}
	}
}

// packet takes one packet of the client.
func (l *loop) packet(f *flow, b []byte) {
	a, err := parseAnswer(b)
	switch {
	case f.over || err != nil || f.reading:
		// While a disk is waited for, the client repeats itself.
	case a.ack:
		s := f.t.ack(a.block, l.now.Sub(f.left))
		if f.t.base > 0 {
			f.moved.Store(true)
			f.meter.Sent(f.t.acked())
		}
		l.act(f, s)
	case f.t.base == 0 && (a.code == codeUndefined || a.code == codeOption):
		// It wanted the size only: edk2 and iPXE ask so before every file.
		l.end(f, boot.Probe, "")
	default:
		l.end(f, boot.CutShort, fmt.Sprintf("client says error %d: %s", a.code, a.text))
	}
}

// act does what a step says.
func (l *loop) act(f *flow, s step) {
	switch {
	case s.done:
		l.end(f, boot.Complete, "")
		return
	case s.gaveUp:
		l.end(f, boot.TimedOut, fmt.Sprintf("no answer in %s", patience))
		return
	case s.oack:
		f.send(f.oack) // a lost one is sent again
		f.left = l.now
	case s.to >= s.from:
		if !f.holds(s) && !l.fetch(f, s) {
			return
		}
		f.fly(s.from, s.to)
		f.left = l.now
	}
	// Stale packets must not put the time-out off: it counts from left.
	f.deadline = f.left.Add(f.t.rto)
	if f.deadline.Before(f.due) {
		f.due = f.deadline
		heap.Fix(&l.timers, f.place)
	}
}

func (f *flow) holds(s step) bool { return s.from >= f.first && s.to < f.first+f.count }

// fetch fills the slots from s.from on. False means that it ended the flow, or
// that the bytes are not in memory and come later.
func (l *loop) fetch(f *flow, s step) bool {
	err := f.fill(s.from, true)
	if errors.Is(err, unix.EAGAIN) {
		// A cold disk: nobody else waits for it.
		f.reading = true
		go func() {
			err := f.fill(s.from, false)
			l.post(func() {
				f.reading = false
				switch {
				case f.over:
					f.done(f.outcome)
				case err != nil:
					l.failed(f, err)
				default:
					l.guard(f, func(f *flow) { l.act(f, s) })
				}
			})
		}()
		return false
	}
	if err != nil {
		l.failed(f, err)
		return false
	}
	return true
}

func (l *loop) failed(f *flow, err error) {
	f.send(errorPacket(codeUndefined, "read error"))
	l.end(f, boot.CutShort, err.Error())
}

// fill reads blocks from a number on into the slots. With cached it takes only
// what is in memory, and says EAGAIN where something is not.
func (f *flow) fill(from int64, cached bool) error {
	f.count = 0
	step := int(f.t.blk) + 4
	n := min(int64(len(f.slots)/step), f.t.last-from+1)
	off := (from - 1) * f.t.blk
	want := min(n*f.t.blk, f.t.size-off)
	parts := make([][]byte, 0, n)
	for i := range n {
		slot := f.slots[int(i)*step:][:step]
		slot[0], slot[1] = 0, opDATA
		binary.BigEndian.PutUint16(slot[2:], uint16(from+i))
		if k := min(f.t.blk, want-i*f.t.blk); k > 0 {
			parts = append(parts, slot[4:4+k])
		}
	}
	var got int64
	var err error
	if f.file != nil {
		got, err = readParts(f.file, parts, off, cached)
	} else {
		for _, p := range parts {
			var k int
			k, err = f.body.ReadAt(p, off+got)
			got += int64(k)
			if k < len(p) {
				break
			}
			err = nil
		}
	}
	if got < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("file ends after %d of %d bytes", off+got, f.t.size)
		}
		return err
	}
	f.first, f.count = from, n
	return nil
}

// readParts reads a file's bytes to where they are sent from. Of a file in
// memory it is one system call.
func readParts(s *boot.Section, parts [][]byte, off int64, cached bool) (got int64, err error) {
	flags := 0
	if cached {
		flags = unix.RWF_NOWAIT
	}
	for len(parts) > 0 {
		n, err := unix.Preadv2(int(s.File.Fd()), parts, s.Off+off+got, flags)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP) && flags != 0:
			flags = 0 // a file system that cannot tell
			continue
		case err != nil:
			return got, err
		case n == 0 && flags != 0:
			// Some file systems say so what others call EAGAIN.
			return got, unix.EAGAIN
		case n == 0:
			return got, io.ErrUnexpectedEOF
		}
		got += int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return got, nil
}

// fly sends blocks, with one system call where the kernel can cut them up
// itself. Full buffers and unreachable clients show as time-outs.
func (f *flow) fly(from, to int64) {
	size := int(f.t.blk) + 4
	lo := int(from-f.first) * size
	hi := int(to-f.first)*size + 4 + int(min(f.t.blk, f.t.size-(to-1)*f.t.blk))
	// The kernel cuts at most 64 packets and 64 KiB at once.
	per := min(64, (64<<10-128)/size)
	for lo < hi {
		n := min(hi-lo, size)
		if !f.noGSO && per > 1 {
			n = min(hi-lo, per*size)
		}
		var err error
		if n > size {
			err = f.sendCut(f.slots[lo:lo+n], size)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EOPNOTSUPP) {
				f.noGSO = true // a path with small packets, or a card that cannot sum
				continue
			}
		} else {
			err = f.send(f.slots[lo : lo+n])
		}
		if err != nil {
			return
		}
		lo += n
	}
}

// send sends one packet.
func (f *flow) send(b []byte) error {
	if f.to == nil {
		_, err := unix.Write(f.fd, b)
		return err
	}
	return unix.Sendmsg(f.fd, b, f.from, f.to, 0)
}

// sendCut sends packets of a size that lie one after the other (UDP_SEGMENT).
func (f *flow) sendCut(b []byte, size int) error {
	var oob [64]byte
	n := putControl(oob[:], unix.SOL_UDP, unix.UDP_SEGMENT, []byte{byte(size), byte(size >> 8)})
	n += copy(oob[n:], f.from)
	return unix.Sendmsg(f.fd, b, oob[:n], f.to, 0)
}

// timers is a heap by due.
type timers []*flow

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i, j }
func (h *timers) Push(x any)        { f := x.(*flow); f.place = len(*h); *h = append(*h, f) }
func (h *timers) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	f.place = -1
	return f
}
