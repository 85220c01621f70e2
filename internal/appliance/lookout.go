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
	"github.com/musterboot/muster/client"
)

const (
	autoCarrier  = 5 * time.Second  // with carrier before mode auto asks: a switch may block a new port for a while
	rivalEvery   = 5 * time.Minute  // a link is asked this often
	rivalForgets = 10 * time.Minute // a server that was silent for this long, and for two questions, is gone
	claimEvery   = 10 * time.Second // a link is asked this often because of what clients say
	maxRivals    = 64               // of one network
)

// lookout is what is known of a network's link, and the mode that follows. A value is
// never changed: a step returns a new one.
type lookout struct {
	auto    bool                 // the configured mode is "auto"
	mode    boot.Mode            // the mode that an auto network has now
	carrier time.Time            // since when the link has carrier; zero: it has none
	asked   time.Time            // when the link was last asked; zero: not since it has carrier
	asking  bool                 // a question is under way
	met     time.Time            // when a server was last heard itself; zero: none was
	claimed bool                 // a client named one: the link is to be asked
	servers []client.RivalStatus // those heard or named lately, by address
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
	ask  struct{} // the link, as clients would
	news struct { // of a server, to be told
		server boot.Rival
		named  bool // by a client only
	}
	become struct { // another mode
		mode boot.Mode
		why  string
	}
)

func (ask) isAction()    {}
func (news) isAction()   {}
func (become) isAction() {}

// step handles an input. An auto network listens until its link has had carrier for a
// while and no server answers; then it is full. Beside another server it is a proxy,
// until that server is gone or the link loses carrier. What a client says of a server
// changes nothing but that the link is asked: anybody can say so.
func (l lookout) step(now time.Time, in input) (lookout, []action) {
	var do []action
	be := func(m boot.Mode, format string, args ...any) {
		if l.auto && l.mode != m {
			l.mode = m
			do = append(do, become{m, fmt.Sprintf(format, args...)})
		}
	}
	switch in := in.(type) {
	case tick:
		listens := l.auto && l.mode == boot.Listening
		switch {
		case !in.carries:
			l.carrier, l.asked, l.met, l.claimed = time.Time{}, time.Time{}, time.Time{}, false
			be(boot.Listening, "the link is down")
			return l, do
		case l.carrier.IsZero():
			l.carrier = now
		}
		age := now.Sub(l.asked).Abs() // the clock may have been set back
		switch {
		case l.asking || in.mute:
			return l, do
		case listens && now.Sub(l.carrier).Abs() < autoCarrier:
			return l, do
		case listens, l.claimed && age >= claimEvery:
		case !l.asked.IsZero() && age <= rivalEvery:
			return l, do
		}
		l.asking, l.asked, l.claimed = true, now, false
		do = append(do, ask{})
	case answered:
		l.asking = false
		for _, r := range in.servers {
			if l.met = now; l.note(now, r, false) {
				do = append(do, news{server: r})
			}
			be(boot.Proxy, "DHCP server %s gives the addresses", r.Server)
		}
		// A question from before the loss of carrier says nothing of the present link.
		silent := len(in.servers) == 0 && !in.failed && !l.asked.IsZero()
		switch {
		case silent && l.mode == boot.Listening:
			be(boot.Full, "no other DHCP server answered")
		case silent && l.mode == boot.Proxy && now.Sub(l.met).Abs() >= rivalForgets:
			be(boot.Listening, "no other DHCP server has answered for ten minutes")
		}
	case chosen:
		if l.note(now, in.server, true) {
			do = append(do, news{in.server, true})
		}
		heard := func(s client.RivalStatus) bool { return s.Server == in.server.Server && !s.Named }
		l.claimed = l.claimed || !slices.ContainsFunc(l.servers, heard)
	case beside:
		l.met = now
		be(boot.Proxy, "DHCP server %s gives the addresses", in.server)
	}
	return l, do
}

// note records when a server was heard, or named by a client, and reports whether that
// is news. Those that were only named make room for one that was heard.
func (l *lookout) note(now time.Time, r boot.Rival, named bool) bool {
	l.servers = l.present(now)
	by := func(s client.RivalStatus, a netip.Addr) int { return strings.Compare(s.Server.String(), a.String()) }
	i, known := slices.BinarySearchFunc(l.servers, r.Server, by)
	s := client.RivalStatus{Rival: r, First: now.UTC(), Last: now.UTC(), Named: named}
	if known {
		was := l.servers[i]
		s.First, s.Named = was.First, named && was.Named
		l.servers[i] = s
		return was.Named && !named
	}
	if len(l.servers) >= maxRivals {
		made := slices.IndexFunc(l.servers, func(s client.RivalStatus) bool { return s.Named })
		if named || made < 0 {
			return false
		}
		l.servers = slices.Delete(l.servers, made, made+1)
		i, _ = slices.BinarySearchFunc(l.servers, r.Server, by)
	}
	l.servers = slices.Insert(l.servers, i, s)
	return true
}

// present are the servers that were heard lately.
func (l *lookout) present(now time.Time) (out []client.RivalStatus) {
	for _, s := range l.servers {
		if now.Sub(s.Last).Abs() <= rivalForgets {
			out = append(out, s)
		}
	}
	return out
}
