// again.go: an order that is sent again, because its answer was lost on the way, is carried
// out once (Idempotency-Key, draft-ietf-httpapi-idempotency-key-header).

package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
)

// Bounds of what is kept of orders that may come again. It lies in memory alone: an answer
// may have a new token in it.
const (
	againFor    = time.Hour
	againMost   = 1000
	againBytes  = 8 << 20
	againAnswer = 256 << 10 // of one answer; a longer one is not kept
	againKey    = 128
)

// again keeps answers by who asked and by the key that they chose.
type again struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*kept
	order []*kept // oldest first
	bytes int
}

// kept is an order that is under way until done is closed, and then its answer.
type kept struct {
	id, asked [sha256.Size]byte
	at        time.Time
	done      chan struct{}
	head      http.Header
	code      int
	body      []byte
}

// repeats reports a route whose orders may be sent again with a key: what reads and answers
// JSON, from somebody who is known.
func repeats(pattern string) bool {
	o, known := operations[pattern]
	return known && !strings.HasPrefix(pattern, "GET ") && o.kind == "" && o.body == "" && needs[pattern].role != anybody
}

// sum is a digest of texts that no other texts have.
func sum(texts ...string) (out [sha256.Size]byte) {
	h := sha256.New()
	for _, t := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(t)))
		_, _ = io.WriteString(h, t)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// carryOnce carries a request with a key out, or answers as it was answered before.
func (s *Server) carryOnce(next http.Handler, pattern string, w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	switch {
	case !repeats(pattern):
		s.fail(w, r, boot.NewFault(boot.Malformed, "Idempotency-Key is for orders whose answer is one JSON value"))
		return
	case len(r.Header.Values("Idempotency-Key")) > 1 || key == "" || len(key) > againKey || boot.CleanText(key, againKey) != key:
		s.fail(w, r, boot.NewFault(boot.Malformed, "Idempotency-Key wants one text of 1 to %d printable characters", againKey))
		return
	}
	most := int64(maxJSON)
	if pattern == "POST /api/v1/hosts/import" {
		most = maxImport
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = tooLarge(most)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	by := who(r)
	id := sum(string(by.Actor.Kind), by.Actor.Name, by.User, by.Token, key)
	asked := sum(r.Method, r.URL.RequestURI(), r.Header.Get("If-Match"), string(body))
	for {
		k, mine, err := s.again.begin(id, asked, s.Engine.Now())
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if mine {
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.carry(next, k, w, r)
			return
		}
		select {
		case <-k.done:
		case <-r.Context().Done():
			s.fail(w, r, r.Context().Err())
			return
		}
		if k.code == 0 {
			continue // it failed, and nothing is kept of it
		}
		for name, values := range k.head {
			w.Header()[name] = values
		}
		w.Header().Set("Idempotency-Replayed", "true")
		w.WriteHeader(k.code)
		_, _ = w.Write(k.body)
		return
	}
}

// carry carries an order out. What is no answer to it (a failure of ours, too many
// requests) is not kept: sent again, it is tried again.
func (s *Server) carry(next http.Handler, k *kept, w http.ResponseWriter, r *http.Request) {
	c := &copied{ResponseWriter: w}
	var answered *copied
	defer func() { s.again.end(k, answered) }()
	// Who sends it again wants to hear how it ended, so it ends though they have gone.
	next.ServeHTTP(c, r.WithContext(context.WithoutCancel(r.Context())))
	if c.code = cmp.Or(c.code, http.StatusOK); c.code < 500 && c.code != http.StatusTooManyRequests && !c.long {
		answered = c
	}
}

// begin returns the order of a key. It is the caller's to carry out where mine says so.
func (a *again) begin(id, asked [sha256.Size]byte, now time.Time) (k *kept, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Of orders that are under way none is dropped; there are as many as requests.
	for i := 0; i < len(a.order); {
		k := a.order[i]
		if k.code != 0 && (now.Sub(k.at).Abs() > againFor || len(a.order) >= againMost || a.bytes > againBytes) {
			a.drop(k, i)
			continue
		}
		i++
	}
	if k := a.known[id]; k != nil {
		if k.asked != asked {
			return nil, false, boot.NewFault(boot.Invalid, "this Idempotency-Key was used for another request within the hour: each order wants a key of its own")
		}
		return k, false, nil
	}
	if len(a.order) >= againMost {
		return nil, false, boot.NewFault(boot.TooMany, "%d orders with a key are under way", len(a.order))
	}
	if a.known == nil {
		a.known = map[[sha256.Size]byte]*kept{}
	}
	k = &kept{id: id, asked: asked, at: now, done: make(chan struct{})}
	a.known[id], a.order = k, append(a.order, k)
	return k, true, nil
}

// end tells who waits for an order that it is over, and how it was answered.
func (a *again) end(k *kept, c *copied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c != nil {
		k.head, k.code, k.body = c.Header().Clone(), c.code, c.body.Bytes()
		a.bytes += len(k.body)
	} else {
		for i, x := range a.order {
			if x == k {
				a.drop(k, i)
				break
			}
		}
	}
	close(k.done)
}

// drop forgets an order. The caller holds mu.
func (a *again) drop(k *kept, i int) {
	a.order = append(a.order[:i], a.order[i+1:]...)
	delete(a.known, k.id)
	a.bytes -= len(k.body)
}

// copied keeps a copy of an answer.
type copied struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
	long bool
}

func (c *copied) WriteHeader(code int) {
	c.code = cmp.Or(c.code, code)
	c.ResponseWriter.WriteHeader(code)
}

func (c *copied) Write(b []byte) (int, error) {
	c.code = cmp.Or(c.code, http.StatusOK)
	if c.long = c.long || c.body.Len()+len(b) > againAnswer; !c.long {
		c.body.Write(b)
	}
	return c.ResponseWriter.Write(b)
}
