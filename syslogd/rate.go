// rate.go: how many lines a machine, and all of them, may send before the
// engine is asked.

package syslogd

import (
	"net/netip"
	"sync"
	"time"
)

// Rates. A machine's rate is that of an installer in its worst minute. The rate
// for all together is what a small appliance can spare for log lines.
const (
	machineRate  = 200
	machineBurst = 1000
	totalRate    = 20000
	newRate      = 2000 // of all sources that the engine has not named yet
	maxSources   = 4096
	strangerTime = time.Second // until the engine is asked about a stranger again
	sweepGap     = 100 * time.Millisecond
)

type verdict int

const (
	pass      verdict = iota
	tooFast           // the source exceeds its rate
	tooMany           // all sources together exceed their rate
	noStation         // the source was a stranger a moment ago
	nothing           // an empty line
	noRoom            // more sources than anybody has machines
)

// gate is safe for concurrent use.
type gate struct {
	mu      sync.Mutex
	sources map[netip.Addr]*source
	all     source
	fresh   source // of those that are not known yet
	swept   time.Time
}

type source struct {
	left     float64
	at       time.Time
	stranger time.Time // until when it counts as one
	known    bool      // the engine knew it last
}

// take uses up one line of a source's rate.
func (s *source) take(rate, burst float64, now time.Time) bool {
	if s.at.IsZero() {
		s.left = burst
	} else if d := now.Sub(s.at); d > 0 {
		s.left = min(burst, s.left+rate*d.Seconds())
	}
	s.at = now
	if s.left < 1 {
		return false
	}
	s.left--
	return true
}

func newGate() *gate { return &gate{sources: map[netip.Addr]*source{}} }

// ask uses up a line of a source. Made-up sources can fill the table and the rate of new
// ones: a machine that may boot is looked up then, and goes first.
func (g *gate) ask(a netip.Addr, now time.Time, admitted func(netip.Addr) bool) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[a]
	if s == nil {
		if len(g.sources) >= maxSources && !g.sweep(now) {
			if !admitted(a) {
				return noRoom
			}
			g.evict()
		}
		s = new(source)
		g.sources[a] = s
	}
	switch {
	case now.Before(s.stranger):
		return noStation
	case !s.take(machineRate, machineBurst, now):
		return tooFast
	case !s.known && !g.fresh.take(newRate, newRate, now) && !admitted(a), !g.all.take(totalRate, totalRate, now):
		return tooMany
	}
	return pass
}

// evict forgets one source: one that nobody knows, where there is one.
func (g *gate) evict() {
	var any netip.Addr
	for a, s := range g.sources {
		if any = a; !s.known {
			break
		}
	}
	delete(g.sources, any)
}

// sweep forgets sources to make room: strangers, and sources whose rate has had
// time to recover in full.
func (g *gate) sweep(now time.Time) bool {
	if now.Sub(g.swept) < sweepGap {
		return false
	}
	g.swept = now
	for a, s := range g.sources {
		if !s.stranger.IsZero() || now.Sub(s.at) > machineBurst/machineRate*time.Second {
			delete(g.sources, a)
		}
	}
	return len(g.sources) < maxSources
}

// known stores whether the engine knows a source.
func (g *gate) known(a netip.Addr, yes bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[a]
	if s == nil {
		return
	}
	s.stranger, s.known = time.Time{}, yes
	if !yes {
		s.stranger = now.Add(strangerTime)
	}
}
