// Package trace tells a boot as a trace of OpenTelemetry: one trace a boot, one span for
// each question and transfer, from the firmware's first question to the report of the
// system. It owns the form, OTLP over HTTP in JSON, and what belongs to which boot; package
// hook owns when it is sent, and again. It must not decide anything about machines, and
// nobody waits for it.
package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/hook"
)

// Kinds are the events that may end a boot.
var Kinds = boot.Kinds{string(boot.BootReport), string(boot.BootStopped), string(boot.HostParked)}

const (
	// pause is how long a machine asks nothing between two boots.
	pause = 2 * time.Minute
	// maxSpans bounds a trace: a machine that is held asks for hours. The first and the
	// last ones stay.
	maxSpans = 512
	// maxHosts bounds for how many machines is kept how far they were told.
	maxHosts = 20_000
)

// Config is where traces go, and what they are told from.
type Config struct {
	URL     *url.URL
	Header  string // value of Authorization; "" sends none
	Version string // of Muster
	// Asked returns what the machine of an event asked for, as far as it is kept, in any order.
	Asked func(boot.Event) []boot.Request
}

type sender struct {
	Config
	post *hook.Poster

	mu   sync.Mutex
	told map[boot.HostID]end
}

// end is how far a host was told.
type end struct {
	boot uint32
	at   time.Time
}

// NewSender sends the trace of a boot when an event of Kinds ends it. It passes over an
// event that ends none. A boot that was told already and goes on is told from there.
func NewSender(c Config, post *hook.Poster) hook.Sender {
	return &sender{Config: c, post: post, told: map[boot.HostID]end{}}
}

func (s *sender) Send(ctx context.Context, m hook.Message) hook.Answer {
	e := m.Event
	ping := e.Seq == 0 // muster webhook test
	if !ping && !ends(&e) {
		return hook.Answer{Result: hook.Delivered, Words: "it ends no boot, so there is nothing to send"}
	}
	t := told{Source: m.Source, Version: s.Version, Event: e}
	if !ping {
		asked := until(e.At, s.Asked(e))
		if unnumbered(&e, asked) {
			t.Event.Boot = 0
		}
		s.mu.Lock()
		// An event that is sent again is told whole again.
		if before := s.told[e.Host]; t.Event.Boot != 0 && before.boot == e.Boot && before.at.Before(e.At) {
			t.Since = before.at
		}
		s.mu.Unlock()
		t.Asked = since(t.Event.Boot, asked, t.Since)
	}
	body, err := json.Marshal(t.export())
	if err != nil {
		return hook.Answer{Result: hook.Refused, Words: err.Error()}
	}
	head := http.Header{"Content-Type": {"application/json"}}
	if s.Header != "" {
		head.Set("Authorization", s.Header)
	}
	a := s.post.Post(ctx, s.URL, body, head)
	if a.Result == hook.Delivered && t.Event.Boot != 0 {
		s.mu.Lock()
		if len(s.told) >= maxHosts {
			clear(s.told)
		}
		s.told[e.Host] = end{e.Boot, e.At}
		s.mu.Unlock()
	}
	return a
}

// ends reports an event after which its boot need not go on.
func ends(e *boot.Event) bool {
	switch e.Kind {
	case boot.BootReport: // one without a stage tells of a step
		return e.Stage() != "" && e.Stage() != boot.StageInstalling
	case boot.BootStopped, boot.HostParked:
		return e.Host != 0
	}
	return false
}

// until picks the requests up to a time, oldest first.
func until(t time.Time, asked []boot.Request) []boot.Request {
	asked = slices.DeleteFunc(slices.Clone(asked), func(r boot.Request) bool { return r.At.After(t) })
	slices.SortStableFunc(asked, func(a, b boot.Request) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Seq, b.Seq)) })
	return asked
}

// unnumbered reports a stop on the way to the script, which gives a boot its number: the
// event has that of the boot before.
func unnumbered(e *boot.Event, asked []boot.Request) bool {
	for i := len(asked) - 1; e.Kind == boot.BootStopped && i >= 0 && asked[i].Boot == 0; i-- {
		if asked[i].Firmware() && asked[i].Begins() {
			return true
		}
	}
	return false
}

// since picks the requests of a boot that are not older than what was told before. Requests
// with a token of a boot are known to be of it; DHCP and the loaders come before it has its
// number, so they are of the one that they lead to without a pause.
func since(number uint32, asked []boot.Request, before time.Time) []boot.Request {
	first := slices.IndexFunc(asked, func(r boot.Request) bool { return number != 0 && r.Boot == number })
	if first < 0 {
		first = len(asked) - 1 // it came to no script
	}
	if first < 0 || asked[first].Boot != 0 && asked[first].Boot != number {
		return nil
	}
	for first > 0 {
		r := &asked[first-1]
		// A system that runs renews its lease and releases it; what begins does neither.
		if r.Boot != 0 || r.Step == boot.Renew || r.Step == boot.Release || asked[first].At.Sub(over(r)) > pause {
			break
		}
		first--
	}
	mine := slices.DeleteFunc(asked[first:], func(r boot.Request) bool {
		return r.Boot != 0 && r.Boot != number || !over(&r).After(before)
	})
	if n := len(mine); n > maxSpans {
		mine = slices.Concat(mine[:maxSpans/2], mine[n-maxSpans/2:])
	}
	return mine
}

// over is when a request was over: a transfer is one whose time is its beginning, and a
// repeated one is over with its last repetition.
func over(r *boot.Request) time.Time {
	if t := r.At.Add(max(0, r.Took)); t.After(r.End()) {
		return t
	}
	return r.End()
}
