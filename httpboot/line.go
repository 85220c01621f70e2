// line.go: the bandwidth of one network, shared fairly. After a power cut every
// machine asks at once. Each gets an equal part, however many connections it
// opens, and none waits until all the others are done.

package httpboot

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// line is a network with a bandwidth limit. Waiting clients take turns, one
// grant each.
type line struct {
	mu      sync.Mutex
	rate    int64     // bytes a second
	free    time.Time // when everything that was granted has left
	turns   []netip.Addr
	waiting map[netip.Addr][]*waiter
	timer   *time.Timer
}

type waiter struct {
	want    int
	granted chan int
	gone    bool
}

func newLine(rate int64) *line {
	return &line{rate: rate, waiting: map[netip.Addr][]*waiter{}}
}

// grant is the size of one turn in bytes: about five milliseconds of the line.
// It is small enough that a client's next turn comes soon, and large enough for
// a system call.
func (l *line) grant(want int) int {
	return min(want, int(min(max(l.rate/200, 8<<10), 1<<20)))
}

// charge books n bytes; the caller holds the lock.
func (l *line) charge(n int, now time.Time) {
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
}

// take waits for the client's turn and returns how much of want it may send.
func (l *line) take(ctx context.Context, client netip.Addr, want int) (int, error) {
	if want == 0 {
		return 0, nil
	}
	l.mu.Lock()
	now := time.Now()
	if len(l.turns) == 0 && !now.Before(l.free) {
		n := l.grant(want)
		l.charge(n, now)
		l.mu.Unlock()
		return n, nil
	}
	w := &waiter{want: want, granted: make(chan int, 1)}
	if len(l.waiting[client]) == 0 {
		l.turns = append(l.turns, client)
	}
	l.waiting[client] = append(l.waiting[client], w)
	l.arm(now)
	l.mu.Unlock()
	select {
	case n := <-w.granted:
		return n, nil
	case <-ctx.Done():
		l.mu.Lock()
		w.gone = true
		l.mu.Unlock()
		return 0, ctx.Err()
	}
}

// arm has serve run when the line is free; the caller holds the lock.
func (l *line) arm(now time.Time) {
	if l.timer == nil {
		l.timer = time.AfterFunc(max(0, l.free.Sub(now)), l.serve)
	}
}

// serve gives grants until the line is busy again.
func (l *line) serve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	now := time.Now()
	for len(l.turns) > 0 && !now.Before(l.free) {
		client := l.turns[0]
		l.turns = slices.Delete(l.turns, 0, 1)
		q := l.waiting[client]
		w := q[0]
		if q = q[1:]; len(q) > 0 {
			l.waiting[client] = q
			l.turns = append(l.turns, client)
		} else {
			delete(l.waiting, client)
		}
		if w.gone {
			continue
		}
		n := l.grant(w.want)
		l.charge(n, now)
		w.granted <- n
	}
	if len(l.turns) > 0 {
		l.arm(now)
	}
}

// lines are the capped networks by name.
type lines struct {
	mu sync.Mutex
	of map[string]*line
}

// line returns the line of a network; nil if rate sets no limit.
func (l *lines) line(network string, rate int64) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rate <= 0 {
		delete(l.of, network)
		return nil
	}
	x := l.of[network]
	if x == nil {
		if l.of == nil {
			l.of = map[string]*line{}
		}
		x = newLine(rate)
		l.of[network] = x
	}
	x.mu.Lock()
	x.rate = rate
	x.mu.Unlock()
	return x
}
