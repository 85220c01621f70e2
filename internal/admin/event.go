// event.go: events and requests, stored ones and new ones as they come.

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func (s *Server) eachEvent(ctx context.Context, after uint64, fn func(boot.Event)) error {
	return each(ctx, s.Engine, after, func(tx boot.ReadTx, after uint64) ([]boot.Event, error) { return tx.Events(after, page) },
		func(e boot.Event) uint64 {
			fn(e)
			return e.Seq
		})
}

// events streams JSON lines: the stored events, with all=1 the request log too,
// and with follow=1 new ones until the client leaves. To who takes text/event-stream it
// sends that, and goes on. The server filters, a page at a time, so that neither side
// holds all events in memory. A stream with brief=1 says only that there is news, at most
// twice a second: a hundred open pages beside a rack that boots want no more.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	audit := r.URL.Query().Get("audit") == "1"
	if audit {
		if err := may(who(r), "GET /api/v1/audit"); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	s.listEvents(w, r, audit)
}

// audit streams the audit trail.
func (s *Server) audit(w http.ResponseWriter, r *http.Request) { s.listEvents(w, r, true) }

func (s *Server) listEvents(w http.ResponseWriter, r *http.Request, audit bool) {
	q := r.URL.Query()
	sse := streams(r)
	follow, all, brief := q.Get("follow") == "1" || sse, q.Get("all") == "1", q.Get("brief") == "1"
	if last := r.Header.Get("Last-Event-ID"); sse && last != "" {
		q.Set("after", last)
	}
	after, since, kinds, err := eventsFrom(q)
	var of whose
	if err == nil {
		of, err = s.whose(r, q.Get("host"))
	}
	begin := boot.LastEvent
	if audit {
		begin = boot.LastAudit
	}
	var from uint64 // what is before is not read
	if err == nil {
		from, err = s.back(r, begin)
	}
	if brief && !sse && err == nil {
		err = boot.NewFault(boot.Malformed, "brief=1 is for a stream: send Accept: text/event-stream")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if audit {
		if follow || all {
			s.fail(w, r, boot.NewFault(boot.Malformed, "the audit trail goes with neither follow=1 nor all=1, and is no stream"))
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		_ = each(r.Context(), s.Engine, from, func(tx boot.ReadTx, n uint64) ([]boot.Event, error) { return tx.Audit(n, page) },
			func(e boot.Event) uint64 {
				if e.Seq > after && !e.At.Before(since) && kinds.Match(e.Kind) && of.event(&e) {
					_ = enc.Encode(client.EventEntry(e)) // a client that left is noticed by the context
				}
				return e.Audit
			})
		return
	}
	after = max(after, from)
	enc, rc := entries(json.NewEncoder(w)), http.NewResponseController(w)
	var beat <-chan time.Time
	if sse {
		w.Header().Set("Content-Type", "text/event-stream")
		enc = sent{w}
		t := time.NewTicker(heartbeat)
		defer t.Stop()
		beat = t.C
	} else {
		w.Header().Set("Content-Type", "application/jsonl")
	}
	if follow {
		_, _ = w.Write(nil)
		_ = rc.Flush()
	}
	var seen, heard uint64 // position in the request log, and in the machines' log lines
	for {
		changed := s.Engine.Changed()
		wrote := false
		var out []client.Entry
		var more, said <-chan struct{}
		requests := all && len(kinds) == 0
		if requests {
			var rs, lines []boot.Request
			rs, more = s.Engine.Log.Since(seen)
			lines, said = s.Engine.Lines.Since(heard)
			if n := len(rs); n > 0 {
				seen = rs[n-1].Seq
			}
			if n := len(lines); n > 0 {
				heard = lines[n-1].Seq
			}
			for _, q := range append(rs, lines...) {
				switch {
				case q.At.Before(since) || brief && wrote || !of.request(&q):
				case brief:
					wrote = true
				default:
					out = append(out, client.RequestEntry(q))
				}
			}
		}
		gone := false
		if err := s.eachEvent(r.Context(), after, func(e boot.Event) {
			after = e.Seq
			if gone || brief && wrote || e.At.Before(since) || !kinds.Match(e.Kind) || !of.event(&e) {
				return
			}
			if brief {
				wrote = true
				return
			}
			if requests {
				out = append(out, client.EventEntry(e)) // to be sorted in
				return
			}
			wrote = true
			gone = enc.Encode(client.EventEntry(e)) != nil
		}); err != nil || gone {
			return
		}
		slices.SortStableFunc(out, func(a, b client.Entry) int { return a.At().Compare(b.At()) })
		for _, e := range out {
			wrote = true
			if enc.Encode(e) != nil {
				return
			}
		}
		if !follow {
			return
		}
		if brief && wrote {
			if _, err := fmt.Fprintf(w, "id: %d\ndata: {}\n\n", after); err != nil {
				return
			}
		}
		if wrote && rc.Flush() != nil {
			return
		}
		if brief && wrote {
			select {
			case <-time.After(briefly):
			case <-r.Context().Done():
				return
			}
		}
		select {
		case <-changed:
		case <-more:
		case <-said:
		case <-beat:
			if _, err := io.WriteString(w, ":\n\n"); err != nil || rc.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// heartbeat is how often a quiet stream says that it is alive: what stands between ends
// a connection on which nothing is said, often after a minute.
const heartbeat = 15 * time.Second

// briefly is the least time between two messages of a brief stream.
const briefly = 500 * time.Millisecond

// streams reports a request for server-sent events.
func streams(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// entries takes what a list tells.
type entries interface{ Encode(any) error }

// sent writes entries as server-sent events. One that is stored has its number as id, by
// which a reader goes on where it was cut off.
type sent struct{ w io.Writer }

func (s sent) Encode(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	id := ""
	if e, ok := v.(client.Entry); ok && e.Event != nil {
		id = fmt.Sprintf("id: %d\n", e.Event.Seq)
	}
	_, err = fmt.Fprintf(s.w, "%sdata: %s\n\n", id, b)
	return err
}

// back is the number after which the last ?back= events begin; 0 is all.
func (s *Server) back(r *http.Request, last boot.Counter) (from uint64, err error) {
	text := r.URL.Query().Get("back")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, boot.NewFault(boot.Malformed, "back=%s: want how many events to look back at", boot.CleanText(text, 20))
	}
	err = s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { from, err = tx.Counter(last); return err })
	return from - min(from, n), err
}

// eventsFrom reads where a list begins and of which kinds it is.
func eventsFrom(q url.Values) (after uint64, since time.Time, kinds boot.Kinds, err error) {
	if v := q.Get("after"); v != "" {
		if after, err = strconv.ParseUint(v, 10, 64); err != nil {
			return 0, since, nil, boot.NewFault(boot.Malformed, "after=%q is no number", v)
		}
	}
	if v := q.Get("since"); v != "" {
		if since, err = time.Parse(time.RFC3339, v); err != nil {
			return 0, since, nil, boot.NewFault(boot.Malformed, "since=%q is no time like 2026-01-02T15:04:05Z", v)
		}
	}
	for _, k := range q["kind"] {
		if k != "" {
			kinds = append(kinds, k)
		}
	}
	if err := kinds.Check(); err != nil {
		return 0, since, nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	return after, since, kinds, nil
}

// whose says which machine a list is about: one on the roll, one that was on it, or all.
type whose struct {
	host *boot.Host
	name string
	mac  boot.MAC
	sees func(boot.HostID) bool // of who has to do with some machines only
}

func (s *Server) whose(r *http.Request, name string) (o whose, err error) {
	ctx := r.Context()
	if who(r).Confined() {
		o.sees = func(id boot.HostID) bool {
			var h *boot.Host
			err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) { h, err = tx.Host(id); return err })
			return err == nil && sees(r, h)
		}
	}
	if name == "" {
		return o, nil
	}
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) {
		o.host, err = boot.FindHost(tx, s.Engine.Policy(), s.Engine.Now(), name)
		return err
	}); err != nil || sees(r, o.host) {
		return o, err
	}
	if o.sees != nil {
		return o, boot.NoHost(name)
	}
	o.name = name
	o.mac, _ = boot.ParseMAC(name)
	found := false
	if err := s.eachEvent(ctx, 0, func(e boot.Event) { found = found || o.event(&e) }); err != nil {
		return o, err
	}
	if !found {
		return o, boot.NewFault(boot.UnknownHost, "no host is called %s, and no event tells of one", name).Try("muster host list")
	}
	return o, nil
}

func (o *whose) is(id boot.HostID, name string, mac boot.MAC) bool {
	switch {
	case o.sees != nil && (id == 0 || !o.sees(id)):
		return false
	case o.host != nil:
		return id == o.host.ID || id == 0 && !mac.IsZero() && o.host.HasMAC(mac)
	case o.name != "":
		return name == o.name || !mac.IsZero() && mac == o.mac
	}
	return true
}

func (o *whose) event(e *boot.Event) bool     { return o.is(e.Host, e.Name, e.MAC) }
func (o *whose) request(r *boot.Request) bool { return o.is(r.Host, r.Name, r.MAC) }
