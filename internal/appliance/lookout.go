// lookout.go: one network beside other DHCP servers: when its link is asked, who is
// there, and what mode "auto" is. Time and what is seen come in, what is to be done
// comes out; servers.go sees and does it.

package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

const (
	autoCarrier  = 10 * time.Second // of carrier before mode auto asks: a switch may hold a new port back
	autoTries    = 3                // unanswered questions make it full
	rivalEvery   = 5 * time.Minute  // a link is asked this often
	rivalForgets = time.Hour        // a server silent for so long is news again
	maxRivals    = 64               // of one network
)

// lookout is what is known of a network's link, and what follows from it. A step
// returns another; none is changed.
type lookout struct {
	auto    bool                // the network's mode is found out here
	mode    boot.Mode           // what an auto network is
	carrier time.Time           // the link carries since then; zero: it does not
	asked   time.Time           // the link was last asked; zero: not since it carries
	asking  bool                // and has not answered yet
	servers []admin.RivalStatus // that were heard within the hour, by address
}

// An input is something seen.
type input interface{ isInput() }

type (
	// tick comes once a second, with the link as it is. From a mute one nothing can
	// be asked yet.
	tick struct{ carries, mute bool }
	// answered ends a question: these servers offered, or it could not be asked.
	answered struct {
		servers []boot.Rival
		failed  bool
	}
	// chosen is a server that a client took rather than us.
	chosen struct{ server boot.Rival }
	// beside is a server of another network on the same link.
	beside struct{ server netip.Addr }
)

func (tick) isInput()     {}
func (answered) isInput() {}
func (chosen) isInput()   {}
func (beside) isInput()   {}

// An action is something to do.
type action interface{ isAction() }

type (
	ask    struct{ tries int }         // the link, as a client would
	news   struct{ server boot.Rival } // of a server, to be told
	become struct {                    // another mode
		mode boot.Mode
		why  string
	}
)

func (ask) isAction()    {}
func (news) isAction()   {}
func (become) isAction() {}

// step is what comes of an input. An auto network listens until its link has carried
// for a while and nobody answers; then it is full. Beside a server it is a proxy, and
// stays one until the link starts anew: a server that fails to answer for a while may
// come back, and its clients with it.
func (l lookout) step(now time.Time, in input) (lookout, []action) {
	var do []action
	be := func(m boot.Mode, format string, args ...any) {
		if l.auto && l.mode != m {
			l.mode = m
			do = append(do, become{m, fmt.Sprintf(format, args...)})
		}
	}
	meet := func(r boot.Rival) {
		if l.note(now, r) {
			do = append(do, news{r})
		}
		be(boot.Proxy, "DHCP server %s gives the addresses", r.Server)
	}
	switch in := in.(type) {
	case tick:
		listens := l.auto && l.mode == boot.Listening
		switch {
		case !in.carries:
			l.carrier, l.asked = time.Time{}, time.Time{}
			be(boot.Listening, "the link is down")
			return l, do
		case l.carrier.IsZero():
			l.carrier = now
		}
		tries := 1
		switch {
		case l.asking || in.mute:
			return l, do
		case listens && now.Sub(l.carrier) < autoCarrier:
			return l, do
		case listens:
			tries = autoTries
		case !l.asked.IsZero() && now.Sub(l.asked) <= rivalEvery:
			return l, do
		}
		l.asking, l.asked = true, now
		do = append(do, ask{tries})
	case answered:
		l.asking = false
		for _, r := range in.servers {
			meet(r)
		}
		// What was asked before the link went says nothing of the one that came.
		silent := len(in.servers) == 0 && !in.failed && !l.asked.IsZero()
		if silent && l.mode == boot.Listening {
			be(boot.Full, "no other DHCP server answered")
		}
	case chosen:
		meet(in.server)
	case beside:
		be(boot.Proxy, "DHCP server %s gives the addresses", in.server)
	}
	return l, do
}

// note takes down when a server was heard, and reports whether that is news.
func (l *lookout) note(now time.Time, r boot.Rival) bool {
	l.servers = l.present(now)
	i, known := slices.BinarySearchFunc(l.servers, r.Server, func(s admin.RivalStatus, a netip.Addr) int { return strings.Compare(s.Server.String(), a.String()) })
	switch s := (admin.RivalStatus{Rival: r, First: now.UTC(), Last: now.UTC()}); {
	case known:
		s.First = l.servers[i].First
		l.servers[i] = s
	case len(l.servers) < maxRivals: // beyond, somebody makes them up
		l.servers = slices.Insert(l.servers, i, s)
		return true
	}
	return false
}

// present are the servers that were heard of lately.
func (l *lookout) present(now time.Time) (out []admin.RivalStatus) {
	for _, s := range l.servers {
		if now.Sub(s.Last) <= rivalForgets {
			out = append(out, s)
		}
	}
	return out
}
