// schedule.go: when an advertisement leaves and to whom (RFC 4861 6.2.4, 6.2.6).
// Time comes in as an argument.

package radv

import (
	"net/netip"
	"slices"
	"time"
)

// Constants of RFC 4861 10.
const (
	initialInterval = 16 * time.Second // MAX_INITIAL_RTR_ADVERT_INTERVAL
	initialCount    = 3                // MAX_INITIAL_RTR_ADVERTISEMENTS
	minBetween      = 3 * time.Second  // MIN_DELAY_BETWEEN_RAS
	maxDelay        = 500 * time.Millisecond
)

// maxSingle bounds the solicitors that are answered singly in minBetween. Firmware
// that starts must not wait for its turn; a rack that starts shares an answer.
const maxSingle = 8

// schedule is one interface that advertises. A solicitor that is alone has an
// answer of its own; several that wait, one that asks again at once, and those
// without an address have one multicast, which leaves every minBetween at most.
type schedule struct {
	random func(below time.Duration) time.Duration

	initial int       // of the first ones, still to come
	next    time.Time // the next unsolicited one
	last    time.Time // multicast
	answer  time.Time // an answer is due; zero: nobody waits
	alone   netip.Addr
	single  []answered
}

type answered struct {
	addr netip.Addr
	at   time.Time
}

// start begins anew: the interface became one that advertises, or says something
// else from now on.
func (s *schedule) start(now time.Time) {
	s.initial = initialCount
	s.next = latest(now, s.last.Add(minBetween))
}

// solicited takes a solicitation; from is unspecified if the host has no address.
func (s *schedule) solicited(from netip.Addr, now time.Time) {
	if !s.answer.IsZero() {
		if from != s.alone {
			s.alone = netip.Addr{}
		}
		return
	}
	s.single = slices.DeleteFunc(s.single, func(a answered) bool { return now.Sub(a.at) >= minBetween })
	earliest, alone := now, netip.Addr{}
	switch i := slices.IndexFunc(s.single, func(a answered) bool { return a.addr == from }); {
	case i >= 0:
		earliest = latest(now, s.single[i].at.Add(minBetween))
	case from.IsValid() && !from.IsUnspecified() && len(s.single) < maxSingle:
		alone = from
	}
	s.wait(earliest, alone)
}

// wait has an answer leave, delayed by chance. An unsolicited one that comes
// before it serves as well.
func (s *schedule) wait(earliest time.Time, alone netip.Addr) {
	if !alone.IsValid() {
		earliest = latest(earliest, s.last.Add(minBetween))
	}
	s.answer, s.alone = earliest.Add(s.random(maxDelay)), alone
}

// due is when take wants to be called.
func (s *schedule) due() time.Time {
	if !s.answer.IsZero() && s.answer.Before(s.next) {
		return s.answer
	}
	return s.next
}

// take says whether an advertisement leaves now, and to which solicitor; without
// a valid address it is for all.
func (s *schedule) take(now time.Time) (to netip.Addr, ok bool) {
	if s.next.After(now) {
		switch {
		case s.answer.IsZero() || s.answer.After(now):
			return to, false
		case s.alone.IsValid():
			to = s.alone
			s.single = append(s.single, answered{to, now})
			s.answer, s.alone = time.Time{}, netip.Addr{}
			return to, true
		case now.Before(s.last.Add(minBetween)):
			// It had been for one; others joined.
			s.wait(now, netip.Addr{})
			return to, false
		}
	}
	s.answer, s.alone = time.Time{}, netip.Addr{}
	s.last = now
	for i := range s.single { // they heard this one too
		s.single[i].at = now
	}
	interval := MinInterval + s.random(MaxInterval-MinInterval)
	if s.initial--; s.initial > 0 {
		interval = min(interval, initialInterval)
	}
	s.next = now.Add(interval)
	return to, true
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
