// progress.go: files on their way at this moment, so that a person sees "12 of 300
// MB" while a transfer runs. Transfers that have ended are in the request log.

package engine

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/musterboot/muster/boot"
)

// transfer is one file on its way.
type transfer struct {
	request boot.Request
	size    int64
	sent    atomic.Int64
	list    *transfers
}

// Sent sets how many bytes have been sent so far.
func (t *transfer) Sent(n int64) { t.sent.Store(n) }

// End takes it off the list.
func (t *transfer) End() {
	t.list.mu.Lock()
	delete(t.list.all, t)
	t.list.mu.Unlock()
}

// transfers need no bound: the fronts bound how many run.
type transfers struct {
	mu  sync.Mutex
	all map[*transfer]struct{}
}

// Begin implements Fetcher.
func (e *Engine) Begin(in boot.Sighting, d boot.Decision, size int64) boot.Transfer {
	t := &transfer{request: e.request(in, &d), size: size, list: &e.running}
	t.request.Got = replyFile(d.Reply)
	e.running.mu.Lock()
	e.running.all[t] = struct{}{}
	e.running.mu.Unlock()
	return t
}

// Underway is a file on its way: Bytes have left of Size.
type Underway struct {
	boot.Request
	Size int64
}

// Running lists the files on their way to a host, or to everybody where id is
// 0, oldest first.
func (e *Engine) Running(id boot.HostID) []Underway {
	e.running.mu.Lock()
	var out []Underway
	for t := range e.running.all {
		if id == 0 || t.request.Host == id {
			r := t.request
			r.Bytes, r.Outcome = t.sent.Load(), string(boot.UnderWay)
			out = append(out, Underway{r, t.size})
		}
	}
	e.running.mu.Unlock()
	slices.SortFunc(out, func(a, b Underway) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Path, b.Path))
	})
	return out
}
