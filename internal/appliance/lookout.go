// lookout.go: decides, for one network, when to ask its link for other DHCP servers,
// which ones are there, and what mode "auto" becomes. It is a step function: time and
// observations go in, actions come out. servers.go observes and acts.

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
	autoCarrier  = 10 * time.Second // with carrier before mode auto asks: a switch may block a new port for a while
	autoTries    = 3                // after this many unanswered questions it is full
	rivalEvery   = 5 * time.Minute  // a link is asked this often
	rivalForgets = time.Hour        // a server that was silent for this long is news when it is heard again
	maxRivals    = 64               // of one network
)

// lookout is what is known of a network's link, and the mode that follows. A value is
// never changed: a step returns a new one.
type lookout struct {
	auto    bool                // the configured mode is "auto"
	mode    boot.Mode           // the mode that an auto network has now
	carrier time.Time           // since when the link has carrier; zero: it has none
	asked   time.Time           // when the link was last asked; zero: not since it has carrier
	asking  bool                // a question is under way
	servers []admin.RivalStatus // those heard within the hour, by address
}

// An input is an observation.
type input interface{ isInput() }

type (
	// tick comes once a second, with the state of the link. Nothing can be asked yet
	// on a link that is mute.
	tick struct{ carries, mute bool }
	// answered ends a question: these servers sent offers, or the question could not
	// be sent.
	answered struct {
		servers []boot.Rival
		failed  bool
	}
	// chosen is a server that a client chose instead of us.
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

// step handles an input. An auto network listens until its link has had carrier for a
// while and no server answers; then it is full. Beside another server it is a proxy. It
// stays one until the link loses carrier: a server that does not answer for a while
// may come back, and its clients with it.
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
		// A question from before the loss of carrier says nothing of the present link.
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

// note records when a server was heard, and reports whether that is news.
func (l *lookout) note(now time.Time, r boot.Rival) bool {
	l.servers = l.present(now)
	i, known := slices.BinarySearchFunc(l.servers, r.Server, func(s admin.RivalStatus, a netip.Addr) int { return strings.Compare(s.Server.String(), a.String()) })
	switch s := (admin.RivalStatus{Rival: r, First: now.UTC(), Last: now.UTC()}); {
	case known:
		s.First = l.servers[i].First
		l.servers[i] = s
	case len(l.servers) < maxRivals: // more than these must be made up
		l.servers = slices.Insert(l.servers, i, s)
		return true
	}
	return false
}

// present are the servers that were heard lately.
func (l *lookout) present(now time.Time) (out []admin.RivalStatus) {
	for _, s := range l.servers {
		if now.Sub(s.Last) <= rivalForgets {
			out = append(out, s)
		}
	}
	return out
}
