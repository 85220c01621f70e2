// Package socket is what the reading ends of all fronts have alike: bearing with
// a socket that fails now and then, and naming the interface that a packet came
// by. It reads no packet and knows no protocol.
package socket

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	mostFailures = 100
	nap          = 10 * time.Millisecond
	namesLife    = 2 * time.Second
)

// Patience counts failures in a row. An interface that goes away makes a read
// fail once; a socket that is broken fails every time. For one goroutine.
type Patience struct{ failures int }

// Failed takes an error and naps before the next try. end says that there is
// none: with nil where ctx ended, else with the error of what was tried.
func (p *Patience) Failed(ctx context.Context, what string, err error) (end bool, _ error) {
	if ctx.Err() != nil {
		return true, nil
	}
	if p.failures++; p.failures > mostFailures {
		return true, fmt.Errorf("%s: %w", what, err)
	}
	Nap(ctx)
	return false, nil
}

// Worked ends a row of failures.
func (p *Patience) Worked() { p.failures = 0 }

// Nap waits 10 ms, or for the end of ctx.
func Nap(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(nap):
	}
}

// Names are those of interfaces by index. A USB NIC that comes back may have
// another index and an index another name, so what is known is asked again after
// two seconds. Safe for concurrent use.
type Names struct {
	mu    sync.Mutex
	known map[int]string
	asked time.Time
}

// Of names an interface; "" where there is none.
func (l *Names) Of(index int, now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.asked) > namesLife || l.known == nil {
		l.known, l.asked = map[int]string{}, now
	}
	n, ok := l.known[index]
	if !ok {
		if i, err := net.InterfaceByIndex(index); err == nil {
			n = i.Name
		}
		l.known[index] = n
	}
	return n
}
