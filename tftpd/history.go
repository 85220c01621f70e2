// history.go: what failed for whom. A client that lost its way in a window or
// never saw a large block gets less the next time, without anybody's doing.

package tftpd

import (
	"net/netip"
	"sync"
	"time"
)

// limits are what a client is offered at most; zero is no limit of its own.
type limits struct {
	window, blksize int
	until           time.Time
}

// history is bounded: when it is full, what is old goes first.
type history struct {
	mu sync.Mutex
	of map[netip.Addr]limits
}

const (
	historyLen  = 4096
	historyLife = time.Hour // a cable may have been mended
)

// cap lowers a request to what worked for its client.
func (h *history) cap(a netip.Addr, r read, now time.Time) read {
	h.mu.Lock()
	l, ok := h.of[a]
	h.mu.Unlock()
	if !ok || now.After(l.until) {
		return r
	}
	if l.window != 0 && r.window != 0 {
		r.window = min(r.window, l.window)
	}
	if l.blksize != 0 && r.blksize != 0 {
		r.blksize = min(r.blksize, l.blksize)
	}
	return r
}

// failed notes that a transfer as agreed fell silent; begun says that at least
// one block got through.
func (h *history) failed(a netip.Addr, agreed read, begun bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.of[a]
	switch {
	case !begun && agreed.blksize > 1024:
		l.blksize = 1024 // no block of that size arrives: a tunnel, or a lost fragment
	case !begun && agreed.blksize > 512:
		l.blksize = 512
	case agreed.window > 1:
		l.window = max(1, agreed.window/4)
	default:
		return // nothing is left to lower
	}
	if _, known := h.of[a]; !known && len(h.of) >= historyLen {
		for k, x := range h.of {
			if now.After(x.until) {
				delete(h.of, k)
			}
		}
		for k := range h.of {
			if len(h.of) < historyLen {
				break
			}
			delete(h.of, k)
		}
	}
	l.until = now.Add(historyLife)
	h.of[a] = l
}
