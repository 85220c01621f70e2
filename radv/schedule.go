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

// maxSingle bounds the solicitors that are answered one by one within
// minBetween. Firmware that starts must not wait; a rack that starts shares one
// answer.
const maxSingle = 8

// schedule is one interface that advertises. A single solicitor gets an answer
// of its own. One multicast answers several that wait, one that asks again at
// once, and hosts without an address. A multicast leaves at most every
// minBetween.
type schedule struct {
	random func(below time.Duration) time.Duration

	initial int       // of the first ones, still to come
	next    time.Time // the next unsolicited one
	last    time.Time // multicast
	answer  time.Time // when an answer is due; zero: nobody waits
	alone   netip.Addr
	single  []answered
}

type answered struct {
	addr netip.Addr
	at   time.Time
}

// start begins anew: the interface begins to advertise, or its advertisement
// changes.
func (s *schedule) start(now time.Time) {
	s.initial = initialCount
	s.next = latest(now, s.last.Add(minBetween))
}

// solicited handles a solicitation; from is unspecified if the host has no
// address.
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

// wait schedules an answer after a random delay. An unsolicited advertisement
// that leaves earlier also serves as the answer.
func (s *schedule) wait(earliest time.Time, alone netip.Addr) {
	if !alone.IsValid() {
		earliest = latest(earliest, s.last.Add(minBetween))
	}
	s.answer, s.alone = earliest.Add(s.random(maxDelay)), alone
}

// due is when take must be called next.
func (s *schedule) due() time.Time {
	if !s.answer.IsZero() && s.answer.Before(s.next) {
		return s.answer
	}
	return s.next
}

// take returns whether an advertisement leaves now, and to which solicitor. An
// invalid address means to all.
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
			// The answer was meant for one solicitor; others have joined.
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
