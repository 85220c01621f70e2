// transfer_test.go: the step function against a simulated client over a
// network that loses, doubles and reorders, in simulated time.

package tftpd

import (
	"container/heap"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// packet on the simulated wire.
type packet struct {
	at    time.Duration
	order int
	data  bool // DATA or OACK towards the client; else an ACK
	block uint16
	bytes int64 // of DATA
	oack  bool
}

type wire []packet

func (w wire) Len() int { return len(w) }
func (w wire) Less(i, j int) bool {
	return w[i].at < w[j].at || w[i].at == w[j].at && w[i].order < w[j].order
}
func (w wire) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *wire) Push(x any)   { *w = append(*w, x.(packet)) }
func (w *wire) Pop() any {
	o := *w
	p := o[len(o)-1]
	*w = o[:len(o)-1]
	return p
}

// client receives as RFC 7440 says, and like edk2 acknowledges the last good
// block for every packet out of order.
type client struct {
	next   uint16 // block expected
	count  int    // in this window
	window int
	got    int64
	blk    int64
	done   bool
}

// take returns the block to acknowledge, if any.
func (c *client) take(p packet) (uint16, bool) {
	if p.oack {
		return 0, c.next == 1
	}
	if c.done || p.block != c.next {
		c.count = 0
		return c.next - 1, true
	}
	c.next++
	c.got += p.bytes
	c.count++
	if p.bytes < c.blk {
		c.done = true
		return p.block, true
	}
	if c.count == c.window {
		c.count = 0
		return p.block, true
	}
	return 0, false
}

// simulate runs a whole transfer and says how it ended and how many DATA
// packets it took.
func simulate(r read, size int64, fate func() (lost, doubled bool, late time.Duration)) (ok bool, received int64, sent int, took time.Duration) {
	t := newTransfer(r, size)
	c := &client{next: 1, window: r.windowLen(), blk: int64(r.block())}
	var w wire
	order := 0
	// Before the client's first word the server sends firstTries times and no
	// more: a line that swallows all of them is a client that is not there.
	unheard := 0
	now := time.Duration(0)
	put := func(p packet) {
		lost, doubled, late := fate()
		if lost && !t.heard() {
			unheard++
			lost = unheard < firstTries
		}
		for range 1 + btoi(doubled) {
			if lost {
				lost = false
				continue
			}
			order++
			p.at, p.order = now+time.Millisecond+late, order
			heap.Push(&w, p)
		}
	}
	emit := func(s step) (done, failed bool) {
		switch {
		case s.done:
			return true, false
		case s.gaveUp:
			return false, true
		case s.oack:
			put(packet{data: true, oack: true})
		}
		for b := s.from; b <= s.to; b++ {
			sent++
			put(packet{data: true, block: uint16(b), bytes: min(t.blk, size-(b-1)*t.blk)})
		}
		return false, false
	}
	left := now
	clientTimer := time.Duration(0)
	s := t.start()
	for range 2_000_000 {
		if s.oack || s.to >= s.from {
			left = now
		}
		done, failed := emit(s)
		if done || failed {
			return done && c.done, c.got, sent, now
		}
		s = nothing
		deadline := left + t.rto
		if len(w) == 0 || w[0].at > deadline {
			// A client asks again too while it waits.
			if c.next > 1 && !c.done && now-clientTimer > 4*time.Second {
				clientTimer = now
				put(packet{block: c.next - 1})
			}
			now = deadline
			s = t.timeout()
			continue
		}
		p := heap.Pop(&w).(packet)
		now = p.at
		if p.data {
			if ack, ok := c.take(p); ok {
				put(packet{block: ack})
			}
			continue
		}
		s = t.ack(p.block, now-left)
	}
	return false, c.got, sent, now
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestTransferArrives: whatever the network does short of cutting the line,
// every byte arrives, and the server does not storm.
func TestTransferArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := read{
			blksize: rapid.SampledFrom([]int{0, 8, 512, 1468}).Draw(t, "blksize"),
			window:  rapid.SampledFrom([]int{0, 1, 4, 16}).Draw(t, "window"),
			tsize:   rapid.Bool().Draw(t, "tsize"),
		}
		blocks := rapid.Int64Range(0, 300).Draw(t, "blocks")
		size := blocks*int64(r.block()) + rapid.Int64Range(0, int64(r.block())-1).Draw(t, "rest")
		loss := rapid.SampledFrom([]int{0, 1, 5, 20}).Draw(t, "loss")
		seed := rapid.Uint64().Draw(t, "seed")
		next := func(n int) int { // a small generator: the same seed, the same network
			seed = seed*6364136223846793005 + 1442695040888963407
			return int(seed>>33) % n
		}
		ok, got, sent, took := simulate(r, size, func() (bool, bool, time.Duration) {
			// A packet in a hundred overtakes others. If all did, a client
			// that keeps nothing out of order would need every block many
			// times over, and no server could help it.
			late := time.Duration(0)
			if next(100) < loss {
				late = time.Duration(next(20)) * 100 * time.Microsecond
			}
			return next(100) < loss, next(100) < loss/2, late
		})
		if !ok && loss < 20 {
			t.Fatalf("ended without the file: %d of %d bytes after %s", got, size, took)
		}
		if ok && got != size {
			t.Fatalf("client has %d bytes, the file has %d", got, size)
		}
		// Go-back-N resends a window for a loss, and a lossy line loses often;
		// a storm would be many times that.
		need := int(size/int64(r.block())) + 1
		if limit := need*(2+loss*r.windowLen()/4) + 200; sent > limit {
			t.Fatalf("%d DATA packets for %d blocks at %d %% loss, window %d", sent, need, loss, r.windowLen())
		}
	})
}

// TestNoSorcerer: in lock-step a doubled ACK must not double the DATA
// (RFC 1123 4.2.3.1).
func TestNoSorcerer(t *testing.T) {
	_, _, sent, _ := simulate(read{blksize: 512}, 512*100, func() (bool, bool, time.Duration) { return false, true, 0 })
	if sent != 101 {
		t.Errorf("%d DATA packets for 101 blocks when every packet is doubled", sent)
	}
	// The copy that comes later than a round trip is no better.
	x := newTransfer(read{blksize: 512}, 512*100)
	x.start()
	x.ack(0, time.Millisecond)
	if s := x.ack(1, time.Millisecond); s.from != 2 || s.to != 2 {
		t.Fatalf("after ACK 1: %+v", s)
	}
	if s := x.ack(1, 5*time.Millisecond); s.to >= s.from {
		t.Errorf("ACK 1 again caused %+v", s)
	}
}

// TestDuplicateAcksInWindow: edk2 repeats its ACK for every packet out of
// order; one resend answers them all.
func TestDuplicateAcksInWindow(t *testing.T) {
	x := newTransfer(read{blksize: 512, window: 8}, 512*100)
	x.start()
	if s := x.ack(0, time.Millisecond); s.from != 1 || s.to != 8 {
		t.Fatalf("first window is %+v", s)
	}
	// Block 3 is lost: 2 is acknowledged again and again.
	if s := x.ack(2, time.Millisecond); s.from != 3 || s.to != 10 {
		t.Fatalf("after ACK 2: %+v", s)
	}
	for range 5 {
		if s := x.ack(2, time.Millisecond); s.to >= s.from {
			t.Fatalf("a repeated ACK of the old flight caused %+v", s)
		}
	}
	if s := x.ack(10, time.Millisecond); s.from != 11 || s.to != 18 {
		t.Fatalf("after ACK 10: %+v", s)
	}
	if s := x.ack(10, time.Millisecond); s.from != 11 || s.to != 18 {
		t.Fatalf("the first repeated ACK of a whole window must resend: %+v", s)
	}
	if s := x.ack(10, time.Millisecond); s.to >= s.from {
		t.Fatalf("the second one caused %+v", s)
	}
}

// TestNobodyIsThere: little is sent to an address that may have been made up.
func TestNobodyIsThere(t *testing.T) {
	for _, r := range []read{{}, {blksize: 1400}, {timeout: 1}, {blksize: 512, window: 16}} {
		x := newTransfer(r, 1<<20)
		packets, waited := 0, time.Duration(0)
		for s := x.start(); !s.gaveUp; s = x.timeout() {
			packets += int(s.to - s.from + 1)
			if s.oack {
				packets++
			}
			waited += x.rto
		}
		if packets > firstTries || waited > 10*time.Second {
			t.Errorf("%+v: %d packets in %v", r, packets, waited)
		}
	}
}

// TestRollover: block numbers pass 65535 to 0 and go on.
func TestRollover(t *testing.T) {
	const blocks = 70000
	ok, got, _, _ := simulate(read{blksize: 8, window: 4}, 8*blocks, func() (bool, bool, time.Duration) { return false, false, 0 })
	if !ok || got != 8*blocks {
		t.Errorf("%d of %d bytes", got, 8*blocks)
	}
}

// TestSilence: a client that says nothing costs a bounded number of packets
// and seconds; silence after the last block is success.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		r    read
		hear int // packets from the client that arrive
		ok   bool
	}{{read{}, 0, true}, {read{tsize: true}, 0, false}, {read{blksize: 512, window: 2}, 1, true}} {
		t.Run(fmt.Sprint(c.r), func(t *testing.T) {
			x := newTransfer(c.r, 100)
			x.start()
			if c.hear > 0 {
				x.ack(0, time.Millisecond)
			}
			waited := time.Duration(0)
			for range 100 {
				waited += x.rto
				s := x.timeout()
				if s.done || s.gaveUp {
					if s.done != c.ok {
						t.Errorf("ended %+v", s)
					}
					if waited > 40*time.Second {
						t.Errorf("took %s", waited)
					}
					return
				}
			}
			t.Error("never ends")
		})
	}
}
