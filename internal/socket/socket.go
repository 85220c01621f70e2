// Package socket is what the readers of all fronts have in common. It retries a
// socket that fails now and then, and names the interface that a packet came
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

// Patience counts failures in a row. When an interface goes away one read
// fails; on a broken socket every read fails. It is for one goroutine.
type Patience struct{ failures int }

// Failed takes an error, and naps before the next try. end says that there is
// no next try. Then the result is nil if ctx ended, else the error.
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

// Worked resets the count after a success.
func (p *Patience) Worked() { p.failures = 0 }

// Nap waits 10 ms, or until ctx ends.
func Nap(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(nap):
	}
}

// Names maps interface indexes to names. A USB NIC that comes back may have
// another index, and its old index may belong to another interface. So the
// cached names are dropped after two seconds. It is safe for concurrent use.
type Names struct {
	mu    sync.Mutex
	known map[int]string
	asked time.Time
}

// Of returns the name of an interface; "" if there is none.
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
