// loop.go: one thread that carries many transfers. It waits for all their
// sockets at once and answers each packet as it arrives. A block costs one read
// and one write and no switch of goroutine: firmware in lock-step waits for
// every block.

package tftpd

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
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
	poll   int // epoll, edge-triggered
	bell   int // eventfd: something was posted
	alarm  int // timerfd: armed by the earliest timer
	armed  time.Time
	load   atomic.Int32
	flows  map[int32]*flow // by descriptor; only flows with a socket of their own
	timers timers
	now    time.Time
	in     [maxAnswer]byte
	out    blocks
	shared shared
	closed chan struct{}

	busy   bool // the last wait was short
	yields uint
	rung   atomic.Bool // something was posted
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
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.poll)
		return nil, fmt.Errorf("TFTP: eventfd: %w", err)
	}
	if l.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err == nil {
		err = errors.Join(l.watch(l.bell), l.watch(l.alarm))
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("TFTP: %w", err)
	}
	go l.run()
	return l, nil
}

// watch makes epoll report each arrival once (edge-triggered), so that a ready
// socket need not be asked again.
func (l *loop) watch(fd int) error {
	return unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(fd)})
}

func (l *loop) close() {
	unix.Close(l.alarm)
	unix.Close(l.bell)
	unix.Close(l.poll)
}

// post has the loop run fn soon; it returns false if the loop has ended.
func (l *loop) post(fn func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, fn)
	first := len(l.posted) == 1
	l.rung.Store(true)
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
	l.close()
}

func (l *loop) run() {
	defer close(l.closed)
	events := make([]unix.EpollEvent, 128)
	l.now = time.Now()
	for !l.ended {
		l.arm()
		if f := l.only(); f != nil {
			l.guard(f, l.alone)
		} else if err := l.wait(events); err != nil {
			l.log.Error("TFTP transfers stop", "err", err)
			return
		}
		if l.rung.Load() {
			l.takePosted()
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

// arm sets the alarm for the earliest timer. Most timers are moved before they
// are due. An alarm that comes too early costs less than setting a new one for
// every block.
func (l *loop) arm() {
	if len(l.timers) == 0 {
		return
	}
	due := l.timers[0].due
	if !l.armed.IsZero() && !due.Before(l.armed) {
		return
	}
	in := max(due.Sub(l.now), time.Microsecond)
	if unix.TimerfdSettime(l.alarm, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil) == nil {
		l.armed = due
	}
}

// wait collects the packets that arrived on any socket. With many clients the
// next packet comes at once, so the loop polls for it instead of sleeping, as
// it does for a single client.
func (l *loop) wait(events []unix.EpollEvent) error {
	n, since := 0, time.Now()
	if l.busy && runtime.GOMAXPROCS(0) > 1 {
		for n == 0 && !l.rung.Load() && time.Since(since) < spin {
			if n = ready(l.poll, events); n == 0 {
				l.yield()
			}
		}
	}
	if n == 0 {
		var err error
		if n, err = unix.EpollWait(l.poll, events, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	l.now = time.Now()
	l.busy = l.now.Sub(since) < spin
	for _, ev := range events[:max(n, 0)] {
		var b [8]byte
		switch ev.Fd {
		case int32(l.bell):
			_, _ = unix.Read(l.bell, b[:])
		case int32(l.alarm):
			_, _ = unix.Read(l.alarm, b[:])
			l.armed = time.Time{}
		default:
			if f := l.flows[ev.Fd]; f != nil {
				l.guard(f, l.readable)
			}
		}
	}
	return nil
}

func (l *loop) takePosted() {
	l.mu.Lock()
	todo := l.posted
	l.posted = nil
	l.rung.Store(false)
	l.mu.Unlock()
	for _, fn := range todo {
		fn()
	}
}

const (
	// spin bounds how long the loop polls for a client's next packet before it
	// sleeps. Waking up takes longer than all the work for a block.
	spin = 200 * time.Microsecond
	// nap bounds the wait for a single client, and so how long a second client
	// may wait for its first block.
	nap = 10 * time.Millisecond
)

// only returns the single transfer that runs, if its client answers quickly
// enough to be polled for.
func (l *loop) only() *flow {
	if len(l.flows) != 1 || l.load.Load() != 1 {
		return nil
	}
	for _, f := range l.flows {
		if !f.reading && f.t.srtt < nap && !f.quiet {
			return f
		}
	}
	return nil
}

// alone serves the single transfer until there is something else to do. It
// waits for packets in the read itself, which saves the call of epoll.
func (l *loop) alone(f *flow) {
	for !f.over && !f.reading && !l.rung.Load() && l.now.Before(f.due) {
		l.out.ahead(f) // while the client thinks
		n, err := l.await(f)
		l.now = time.Now()
		if f.quiet = errors.Is(err, unix.EAGAIN); f.quiet {
			return
		}
		l.received(f, n, err)
	}
}

// await reads the next packet of a single client. For a quick client it polls,
// even with one processor: yielding costs less than sleeping and being woken.
func (l *loop) await(f *flow) (n int, err error) {
	for f.t.srtt < spin && time.Since(l.now) < spin {
		if n, err = recv(f.fd, l.in[:]); err != unix.EAGAIN || l.rung.Load() {
			return n, err
		}
		l.yield()
	}
	return unix.Read(f.fd, l.in[:]) // the socket's own time-out is nap
}

// yield gives up the processor: each time to other processes, such as clients
// on this host, and now and then to this program's other goroutines. The second
// is rarer because it moves the loop to another thread.
func (l *loop) yield() {
	if l.yields++; l.yields%64 == 0 {
		runtime.Gosched()
	}
	yield()
}

// guard keeps a panic in one transfer from ending the others.
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
	to    unix.Sockaddr // the client, where the flow uses the listener's socket
	from  []byte        // control message: the address of ours that the request was sent to
	body  io.ReaderAt
	file  *boot.Section // the body, if it is a file: it is read without a copy through Go
	disk  bool          // the body is no file, and reading it may wait for a disk
	meter boot.Transfer // the progress that people see
	moved *atomic.Bool  // the client has acknowledged data
	heard *atomic.Bool  // the client has acknowledged something
	done  func(boot.Outcome)
	seen  func(sent bool, b []byte, full int) // records packets; nil: nobody does

	recorded int // packets
	left     time.Time
	deadline time.Time
	due      time.Time // when the loop looks at the flow; not later than deadline
	place    int       // in the heap
	reading  bool      // a goroutine waits for a cold disk
	warm     bool      // a goroutine has waited for the disk: the next bytes are in memory, or may be waited for
	noGSO    bool      // the kernel cannot segment packets on this path
	quiet    bool      // the client took longer than nap for its last answer
	over     bool
	outcome  boot.Outcome
}

// add begins a transfer; from here on the loop owns f.
func (l *loop) add(f *flow) bool {
	l.load.Add(1)
	ok := l.post(func() {
		l.guard(f, func(f *flow) {
			if f.to == nil {
				if err := l.watch(f.fd); err != nil {
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

// end removes a flow and reports how it ended, once.
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
	if l.out.of == f {
		l.out.of = nil
	}
	if f.place >= 0 && f.place < len(l.timers) && l.timers[f.place] == f {
		heap.Remove(&l.timers, f.place)
	}
	f.outcome = boot.Outcome{Result: r, Bytes: f.t.acked(), Left: f.t.opened && f.t.sent == f.t.last, Err: why}
	if r == boot.Complete {
		f.outcome.Bytes = f.t.size
	}
	if !f.reading { // otherwise the file is still in use
		f.done(f.outcome)
	}
}

// stopFlow ends a transfer from outside; with say the client is told.
func (l *loop) stopFlow(f *flow, why string, say bool) {
	l.post(func() {
		if !f.over && l.flows[int32(f.fd)] == f {
			l.guard(f, l.readable) // its last acknowledgement may be there already
		}
		if f.over {
			return
		}
		if say {
			p := errorPacket(codeUndefined, "transfer ended by the server")
			f.send(p)
			f.record(true, p, 0)
		}
		l.end(f, boot.CutShort, why)
	})
}

// again repeats the first packets of a flow whose client has not answered yet.
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

// readable reads everything that a socket has: epoll will not report it again.
func (l *loop) readable(f *flow) {
	f.quiet = false
	for i := 0; !f.over; i++ {
		if i == burst {
			l.post(func() { l.guard(f, l.readable) })
			return
		}
		n, err := recv(f.fd, l.in[:])
		if err == unix.EAGAIN {
			return
		}
		// In lock-step the client sends nothing more until it is answered.
		if l.received(f, n, err) && f.t.window == 1 {
			return
		}
	}
}

// received handles the result of a read, and reports whether anything was sent.
func (l *loop) received(f *flow, n int, err error) bool {
	switch {
	case err == nil:
		return l.packet(f, l.in[:n])
	case errors.Is(err, unix.EINTR):
	// An ICMP error: the client's port is closed. After the last block this is
	// how a client ends a transfer.
	case f.t.opened && f.t.sent == f.t.last && f.t.last-f.t.base <= f.t.window:
		l.end(f, boot.Complete, "")
	case f.t.base == 0:
		l.end(f, boot.Probe, "")
	default:
		l.end(f, boot.CutShort, "client is gone")
	}
	return false
}

// packet handles one packet of the client, and reports whether it was answered.
func (l *loop) packet(f *flow, b []byte) bool {
	a, err := parseAnswer(b)
	switch {
	case f.over || err != nil || f.reading:
		// The flow waits for a disk; this packet is a repetition.
	case a.ack:
		begins := f.t.base == 0
		s := f.t.ack(a.block, l.now.Sub(f.left))
		if begins || s.done {
			f.record(false, b, 0)
		}
		if f.t.heard() {
			f.heard.Store(true)
		}
		if f.t.base > 0 {
			f.moved.Store(true)
			f.meter.Sent(f.t.acked())
		}
		l.act(f, s)
		return s.to >= s.from
	case f.t.base == 0 && (a.code == codeUndefined || a.code == codeOption):
		f.record(false, b, 0)
		// It wanted the size only: edk2 and iPXE ask so before every file.
		l.end(f, boot.Probe, "")
	default:
		f.record(false, b, 0)
		l.end(f, boot.CutShort, fmt.Sprintf("client says error %d: %s", a.code, a.text))
	}
	return false
}

// act carries out a step.
func (l *loop) act(f *flow, s step) {
	switch {
	case s.done:
		l.end(f, boot.Complete, "")
		return
	case s.gaveUp:
		l.end(f, boot.TimedOut, fmt.Sprintf("no answer in %s", patience))
		return
	case s.oack:
		f.send(f.oack) // if it is lost, it is sent again
		f.record(true, f.oack, 0)
		f.left = l.now
	case s.to >= s.from:
		if !l.fly(f, s) {
			return
		}
		f.recordData(s)
		f.left = l.now
	}
	// Stale packets must not postpone the time-out: it runs from left.
	f.deadline = f.left.Add(f.t.rto)
	if f.deadline.Before(f.due) {
		f.due = f.deadline
		heap.Fix(&l.timers, f.place)
	}
}

// fly sends blocks. It returns false if it ended the flow, or if the bytes are
// not in memory and leave later.
func (l *loop) fly(f *flow, s step) bool {
	first := true
	for s.from <= s.to {
		alone := l.load.Load() == 1
		o, err := l.blocks(f, s, alone)
		if err != nil {
			l.late(f, s, err)
			return false
		}
		to := min(s.to, o.first+o.count-1)
		if first && to > s.from && alone {
			to = s.from // the client wakes up for this one while the rest is made
		}
		first = false
		o.send(f, s.from, to)
		s.from = to + 1
	}
	f.warm = false
	return true
}

// late reads bytes that are not in memory in a goroutine of its own, so that no
// other transfer waits for the disk.
func (l *loop) late(f *flow, s step, err error) {
	if !errors.Is(err, unix.EAGAIN) {
		l.failed(f, err)
		return
	}
	f.reading = true
	go func() {
		from := (s.from - 1) * f.t.blk
		b := make([]byte, min((s.to-s.from+1)*f.t.blk, f.t.size-from))
		_, err := f.body.ReadAt(b, from)
		l.post(func() {
			f.reading, f.warm = false, true
			switch {
			case f.over:
				f.done(f.outcome)
			case err != nil && !errors.Is(err, io.EOF):
				l.failed(f, err)
			default:
				l.guard(f, func(f *flow) { l.act(f, s) })
			}
		})
	}()
}

func (l *loop) failed(f *flow, err error) {
	p := errorPacket(codeUndefined, "read error")
	f.send(p)
	f.record(true, p, 0)
	l.end(f, boot.CutShort, err.Error())
}

// maxRecorded bounds the packets recorded of one transfer: a bad line causes
// many repetitions.
const maxRecorded = 16

// record records a packet. full is the packet's length where b is only its
// beginning.
func (f *flow) record(sent bool, b []byte, full int) {
	if f.seen == nil || f.recorded >= maxRecorded {
		return
	}
	f.recorded++
	f.seen(sent, b, full)
}

// recordData records the headers of the first block, of the last block, and of
// every block that is sent again.
func (f *flow) recordData(s step) {
	if f.seen == nil {
		return
	}
	for _, n := range []int64{s.from, s.to} {
		if n == 1 || n == f.t.last || n == s.from && f.t.backoff && f.recorded < maxRecorded/2 {
			h := [4]byte{1: opDATA, 2: byte(n >> 8), 3: byte(n)}
			f.record(true, h[:], 4+int(min(f.t.blk, f.t.size-(n-1)*f.t.blk)))
		}
		if s.from == s.to {
			break
		}
	}
}

// sendCut sends several packets with one call; the kernel segments the buffer
// (UDP_SEGMENT).
func (f *flow) sendCut(b []byte, size int) error {
	var oob [64]byte
	n := putControl(oob[:], unix.SOL_UDP, unix.UDP_SEGMENT, []byte{byte(size), byte(size >> 8)})
	n += copy(oob[n:], f.from)
	return unix.Sendmsg(f.fd, b, oob[:n], f.to, unix.MSG_DONTWAIT)
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

// send sends one packet.
func (f *flow) send(b []byte) error {
	if f.to == nil {
		return send(f.fd, b)
	}
	return unix.Sendmsg(f.fd, b, f.from, f.to, unix.MSG_DONTWAIT)
}
