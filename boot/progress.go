// progress.go: files on their way at this moment. What has ended is in the
// request log; what runs is here, so that a person sees 12 of 300 MB and not
// silence.

package boot

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// Fetcher is what the fronts that send files hold.
type Fetcher interface {
	Decider
	// Begin notes that a file of size bytes starts to leave. The caller ends
	// it, and calls Done as for every reply with bytes.
	Begin(in Sighting, d Decision, size int64) *Transfer
}

// Transfer is one file on its way. Its zero value counts for nobody.
type Transfer struct {
	request Request
	size    int64
	sent    atomic.Int64
	list    *transfers
}

// Sent says how many bytes have left by now.
func (t *Transfer) Sent(n int64) { t.sent.Store(n) }

// End takes it off the list.
func (t *Transfer) End() {
	if t.list == nil {
		return
	}
	t.list.mu.Lock()
	delete(t.list.all, t)
	t.list.mu.Unlock()
}

// transfers are bounded by what the fronts let in.
type transfers struct {
	mu  sync.Mutex
	all map[*Transfer]struct{}
}

// Begin implements Fetcher.
func (e *Engine) Begin(in Sighting, d Decision, size int64) *Transfer {
	t := &Transfer{request: e.request(in, &d), size: size, list: &e.running}
	t.request.Got = replyFile(d.Reply)
	e.running.mu.Lock()
	e.running.all[t] = struct{}{}
	e.running.mu.Unlock()
	return t
}

// Underway is a file on its way: Bytes have left of Size.
type Underway struct {
	Request
	Size int64
}

// Running lists the files on their way to a host, or to everybody where id is
// 0, oldest first.
func (e *Engine) Running(id HostID) []Underway {
	e.running.mu.Lock()
	var out []Underway
	for t := range e.running.all {
		if id == 0 || t.request.Host == id {
			r := t.request
			r.Bytes, r.Outcome = t.sent.Load(), string(UnderWay)
			out = append(out, Underway{r, t.size})
		}
	}
	e.running.mu.Unlock()
	slices.SortFunc(out, func(a, b Underway) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Path, b.Path))
	})
	return out
}
