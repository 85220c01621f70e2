// slow.go: wrong passwords cost time. It is counted by address and never by name: who
// guesses must not keep the owner of a name out.

package access

import (
	"net/netip"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// Bounds.
const (
	freeTries  = 5                // wrong passwords that cost nothing
	longestGap = time.Minute      // between two tries
	forgetting = 15 * time.Minute // after the last wrong one
	maxKnown   = 4096             // addresses; beyond it the oldest is forgotten
	maxWaiting = 16               // logins at once
)

type tries struct {
	wrong int
	last  time.Time
	busy  bool
}

// slow remembers who guessed wrongly.
type slow struct {
	mu      sync.Mutex
	known   map[netip.Addr]*tries
	waiting int
	told    time.Time // when an event last told of them
}

// group is whose tries are counted together: an IPv6 site has as many addresses as it
// likes.
func group(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// enter admits one try of an address at a time.
func (s *slow) enter(from netip.Addr, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[netip.Addr]*tries{}
	}
	at := group(from)
	t := s.known[at]
	if t != nil && !t.busy && boot.Age(now, t.last) > forgetting {
		delete(s.known, at)
		t = nil
	}
	if t != nil && t.busy || s.waiting >= maxWaiting {
		return boot.NewFault(boot.TooMany, "another login is being judged: try again in a second").Try("1")
	}
	if t != nil && t.wrong >= freeTries {
		gap := min(longestGap, time.Second<<min(t.wrong-freeTries, 16))
		if left := gap - boot.Age(now, t.last); left > 0 {
			return boot.NewFault(boot.TooMany, "wrong passwords came from %s: the next try is judged in %s", from, left.Round(time.Second)).Try("wait")
		}
	}
	if t == nil {
		s.room()
		t = &tries{}
		s.known[at] = t
	}
	t.busy, t.last = true, now
	s.waiting++
	return nil
}

// room forgets the oldest where there are many.
func (s *slow) room() {
	if len(s.known) < maxKnown {
		return
	}
	var oldest netip.Addr
	for a, t := range s.known {
		if o := s.known[oldest]; !t.busy && (o == nil || t.last.Before(o.last)) {
			oldest = a
		}
	}
	delete(s.known, oldest)
}

func (s *slow) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	at := group(from)
	if t := s.known[at]; t != nil {
		t.busy = false
		if t.wrong == 0 {
			delete(s.known, at)
		}
	}
}

// wrong counts a wrong password. At most once a minute it is worth an event.
func (s *slow) wrong(from netip.Addr, now time.Time) (n int, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.known[group(from)]
	if t == nil {
		return 0, false
	}
	t.wrong, t.last = t.wrong+1, now
	if tell = t.wrong >= freeTries && boot.Age(now, s.told) >= time.Minute; tell {
		s.told = now
	}
	return t.wrong, tell
}

func (s *slow) right(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.known[group(from)]; t != nil {
		t.wrong = 0
	}
}
