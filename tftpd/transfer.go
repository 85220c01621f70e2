// transfer.go: one transfer as a step function. An answer or a time-out goes
// in, and the next packets to send come out. It has no socket and no clock.

package tftpd

import (
	"time"
)

// transfer is go-back-N over blocks counted from 1. The 16-bit number on the
// wire wraps to 0; RFC 7440 describes this common practice.
type transfer struct {
	blk    int64
	window int64
	last   int64 // number of the final block, which is shorter than blk
	size   int64

	oack    bool          // an OACK opens the transfer and awaits ACK 0
	opened  bool          // the OACK was acknowledged, or there was none
	base    int64         // last block acknowledged
	sent    int64         // last block sent
	mending int64         // blocks up to here were sent before the last repetition
	mends   int           // repetitions since base passed mending the last time
	resent  bool          // the window after base was already sent again: duplicate ACKs are ignored
	silent  time.Duration // since the client's last progress
	tries   int           // how often the first packet has left, while nothing was acknowledged
	backoff bool          // the packets in flight are a repetition: no RTT is taken from them

	rto    time.Duration
	srtt   time.Duration
	rttvar time.Duration
	least  time.Duration // shortest round trip seen
	fixed  bool          // the client named its time-out (RFC 2349)
}

// step says what to send now.
type step struct {
	oack     bool
	from, to int64 // blocks to send, inclusive; none if to < from
	done     bool
	gaveUp   bool
}

const (
	firstRTO = time.Second
	minRTO   = 200 * time.Millisecond
	maxRTO   = 4 * time.Second
	patience = 25 * time.Second // of silence; edk2 gives up after 6 tries of 4 s

	// A request may carry anybody's address. Until the client has answered, little
	// is sent to it; a client that lost the first packet asks again by itself.
	firstTries = 3
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

// ack handles an acknowledgement that arrived rtt after the last flight left.
func (t *transfer) ack(block uint16, rtt time.Duration) step {
	if !t.opened {
		if block != 0 {
			return nothing
		}
		t.opened = true
		t.measure(rtt)
		t.relax()
		return t.flight()
	}
	ahead := int64(block - uint16(t.base)) // modulo 65536
	// It came sooner than any round trip: it answers the flight before.
	early := rtt < t.least
	switch {
	case ahead == 0:
		// The client repeats its ACK: in a window it misses a block. One resend
		// is enough, although edk2 repeats the ACK for every packet out of
		// order. In lock-step a repeated ACK is only late. Answering it would
		// double every packet from here on (RFC 1123 4.2.3.1).
		if t.window == 1 || t.resent || t.base == t.sent || early {
			return nothing
		}
		return t.mend()
	case ahead > t.sent-t.base:
		return nothing // from an older window
	}
	t.base += ahead
	t.silent, t.resent = 0, false
	if t.base >= t.last {
		return step{done: true, from: 1, to: 0}
	}
	if !t.backoff {
		t.measure(rtt)
	}
	t.relax()
	if t.base >= t.mending {
		t.mends = 0
	}
	switch {
	case t.base == t.sent:
		t.backoff, t.mending = false, 0
		return t.flight()
	case early || t.mends >= maxMends:
		// The rest of the window was already sent again. A client that sees
		// packets out of order acknowledges many times, and some clients
		// acknowledge every block. A window in answer to each ACK would be a
		// storm. So only blocks that were never sent leave now, to fill the
		// client's window.
		fresh := t.sent + 1
		s := t.flight()
		s.from = fresh
		return s
	}
	// An ACK inside the window: the blocks after it are lost.
	return t.mend()
}

// maxMends bounds how often ACKs alone make one window be sent again; after
// that only the time-out does.
const maxMends = 3

// mend sends the window after base again.
func (t *transfer) mend() step {
	t.resent, t.backoff = true, true
	t.mends++
	t.mending = max(t.mending, t.sent)
	return t.flight()
}

// timeout sends the blocks in flight again.
func (t *transfer) timeout() step {
	t.silent += t.rto
	if !t.heard() {
		t.tries++
	}
	if t.silent >= patience || t.tries >= firstTries {
		if t.opened && t.base == t.last-1 && t.sent == t.last {
			// Only the last acknowledgement is missing. Firmware that has the
			// whole file starts it without sending one.
			return step{done: true, from: 1, to: 0}
		}
		return step{gaveUp: true, from: 1, to: 0}
	}
	if !t.fixed {
		t.rto = min(2*t.rto, maxRTO)
	}
	t.resent, t.backoff, t.mending, t.mends = false, true, t.sent, 0
	if !t.opened {
		return step{oack: true, from: 1, to: 0}
	}
	return t.flight()
}

// measure follows the round trip (RFC 6298).
func (t *transfer) measure(rtt time.Duration) {
	if rtt > 0 && (t.least == 0 || rtt < t.least) {
		t.least = rtt
	}
	if t.fixed || rtt <= 0 {
		return
	}
	if t.srtt == 0 {
		t.srtt, t.rttvar = rtt, rtt/2
	} else {
		t.rttvar += ((t.srtt - rtt).Abs() - t.rttvar) / 4
		t.srtt += (rtt - t.srtt) / 8
	}
}

// relax ends the backing off of a time-out: the client made progress.
func (t *transfer) relax() {
	if !t.fixed && t.srtt > 0 {
		t.rto = min(max(t.srtt+4*t.rttvar, minRTO), maxRTO)
	}
}

// heard reports that the client has acknowledged something: it is there.
func (t *transfer) heard() bool { return t.base > 0 || t.oack && t.opened }

// acked counts the bytes the client has confirmed.
func (t *transfer) acked() int64 { return min(t.base*t.blk, t.size) }
