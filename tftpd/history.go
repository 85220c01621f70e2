// history.go: the transfers that failed, by client. A client that lost blocks
// of a window, or never received a large block, is offered less the next time.

package tftpd

import (
	"net/netip"
	"sync"
	"time"
)

// limits are the most that a client is offered; zero sets no limit.
type limits struct {
	window, blksize int
	until           time.Time
}

// history is bounded: when it is full, the oldest entries go first.
type history struct {
	mu sync.Mutex
	of map[netip.Addr]limits
}

const (
	historyLen  = 4096
	historyLife = time.Hour // a cable may have been mended
)

// cap lowers a request to the values that worked for its client.
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

// failed notes that the client of a transfer fell silent; begun says that at
// least one block arrived.
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
