// transfer.go: one transfer as a step function: an answer or a time-out goes
// in, what to send next comes out. No socket, no clock.

package tftpd

import (
	"time"
)

// transfer is go-back-N over blocks counted from 1; the wire's 16 bits roll
// over to 0 (RFC 7440 follows what everybody does).
type transfer struct {
	blk    int64
	window int64
	last   int64 // number of the final block, which is shorter than blk
	size   int64

	oack    bool  // an OACK opens the transfer and awaits ACK 0
	opened  bool  // the OACK was acknowledged, or there was none
	base    int64 // last block acknowledged
	sent    int64 // last block sent
	resent  bool  // the window after base was sent again already: dup ACKs wait
	tries   int
	backoff bool // the flight in the air is a repetition: no RTT from it

	rto   time.Duration
	srtt  time.Duration
	fixed bool // the client named its time-out (RFC 2349)
}

// step says what to do now.
type step struct {
	oack     bool
	from, to int64 // blocks to send, inclusive; none if to < from
	done     bool
	gaveUp   bool
}

const (
	firstRTO = time.Second
	minRTO   = 500 * time.Millisecond
	maxRTO   = 4 * time.Second
	maxTries = 8 // about 25 s of silence
)

func newTransfer(r read, size int64) *transfer {
	t := &transfer{blk: int64(r.block()), window: int64(r.windowLen()), size: size, rto: firstRTO, oack: r.oack(size) != nil}
	t.last = size/t.blk + 1
	if r.timeout > 0 {
		t.rto, t.fixed = time.Duration(r.timeout)*time.Second, true
	}
	return t
}

var nothing = step{from: 1, to: 0}

// start opens the transfer.
func (t *transfer) start() step {
	if t.oack {
		return step{oack: true, from: 1, to: 0}
	}
	t.opened = true
	return t.flight()
}

// flight sends the window after base.
func (t *transfer) flight() step {
	from, to := t.base+1, min(t.base+t.window, t.last)
	t.sent = max(t.sent, to)
	return step{from: from, to: to}
}

// ack takes an acknowledgement that arrived rtt after the last flight left.
func (t *transfer) ack(block uint16, rtt time.Duration) step {
	if !t.opened {
		if block != 0 {
			return nothing
		}
		t.opened = true
		t.measure(rtt)
		return t.flight()
	}
	ahead := int64(block - uint16(t.base)) // modulo 65536
	switch {
	case ahead == 0:
		// The client repeats itself: in a window it misses a block. One
		// resend is enough; edk2 says so again for every packet out of order.
		// In lock-step a repeated ACK is only late, and answering it would
		// double every packet from here on (RFC 1123 4.2.3.1).
		if t.window == 1 || t.resent || t.base == t.sent {
			return nothing
		}
		t.resent, t.backoff = true, true
		return t.flight()
	case ahead > t.sent-t.base:
		return nothing // from an older window
	}
	whole := t.base+ahead == t.sent
	t.base += ahead
	t.tries = 0
	if t.base >= t.last {
		return step{done: true, from: 1, to: 0}
	}
	if !t.backoff {
		t.measure(rtt)
	}
	// An ACK inside the window means the rest is lost: what follows is a
	// resend already, and the dup ACKs of the old flight must not repeat it.
	t.resent, t.backoff = !whole, !whole
	return t.flight()
}

// timeout sends again what is in the air.
func (t *transfer) timeout() step {
	t.tries++
	if t.tries >= maxTries {
		if t.opened && t.base == t.last-1 && t.sent == t.last {
			// Only the last acknowledgement is missing, and firmware that has
			// the file starts it without one.
			return step{done: true, from: 1, to: 0}
		}
		return step{gaveUp: true, from: 1, to: 0}
	}
	if !t.fixed {
		t.rto = min(2*t.rto, maxRTO)
	}
	t.resent, t.backoff = true, true
	if !t.opened {
		return step{oack: true, from: 1, to: 0}
	}
	return t.flight()
}

// measure follows the round trip (RFC 6298 in miniature).
func (t *transfer) measure(rtt time.Duration) {
	if t.fixed || rtt <= 0 {
		return
	}
	if t.srtt == 0 {
		t.srtt = rtt
	} else {
		t.srtt += (rtt - t.srtt) / 8
	}
	t.rto = min(max(4*t.srtt, minRTO), maxRTO)
}

// acked counts the bytes the client has confirmed.
func (t *transfer) acked() int64 { return min(t.base*t.blk, t.size) }
