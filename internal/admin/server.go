// server.go: the API's handlers. They translate; the engine decides.

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/templates"
	"github.com/musterboot/muster/trust/authority"
)

// Server is the API.
type Server struct {
	Engine  *engine.Engine
	Files   *images.Store
	Log     *slog.Logger
	Status  func(context.Context) (Status, error)
	Explain func(context.Context, ExplainRequest) (Explanation, error)
	CA      func() (*authority.Authority, error)
	Hooks   *hook.Hooks
	Metrics http.Handler                      // answers GET /metrics; nil for none
	Capture func(io.Writer, []boot.MAC) error // writes a pcap file

	referring sync.RWMutex // held between looking for a file and storing what refers to it
}

// Listen opens the socket in dir: owner and group may use it, nobody else. A
// socket left by a dead process is replaced; whether it is dead is the store's
// lock to know, which its caller holds.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if g, err := user.LookupGroup("muster"); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(path, -1, gid)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Bounds of a request's body; files have a way of their own.
const (
	maxJSON   = 4 << 20
	maxImport = 64 << 20
)

// Handler routes the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, fn func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := fn(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			write(w, http.StatusOK, v)
		})
	}
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	route("GET /api/v1/status", func(r *http.Request) (any, error) { return s.Status(r.Context()) })
	route("GET /api/v1/ca", func(*http.Request) (any, error) {
		c, err := s.CA()
		if err != nil {
			return nil, err
		}
		return CA{Name: c.Name(), Until: c.Expires(), Fingerprint: c.Fingerprint(), PEM: string(c.PEM()), DER: c.DER(), ESL: c.ESL()}, nil
	})
	route("GET /api/v1/hosts", s.hosts)
	route("POST /api/v1/hosts", func(r *http.Request) (any, error) {
		var h NewHost
		if err := read(r, &h); err != nil {
			return nil, err
		}
		return s.do(r, boot.AddHost{Host: boot.NewHost(h)})
	})
	route("POST /api/v1/hosts/import", s.importHosts)
	route("POST /api/v1/hosts/approve", s.approveMany)
	route("POST /api/v1/hosts/deny", s.denyMany)
	route("POST /api/v1/hosts/{name}/merge", func(r *http.Request) (any, error) {
		var m Merge
		if err := read(r, &m); err != nil {
			return nil, err
		}
		return s.do(r, boot.Merge{Name: r.PathValue("name"), Other: m.Other})
	})
	route("POST /api/v1/hosts/{name}/split", func(r *http.Request) (any, error) {
		var m Split
		if err := read(r, &m); err != nil {
			return nil, err
		}
		c, err := s.Engine.Do(r.Context(), s.actor(r), boot.Split{Name: r.PathValue("name"), New: m.Name, MACs: m.MACs, UUID: m.UUID, Serial: m.Serial})
		if err != nil {
			return nil, err
		}
		return c.Hosts[0], nil
	})
	route("GET /api/v1/hosts/{name}", s.host)
	route("PATCH /api/v1/hosts/{name}", func(r *http.Request) (any, error) {
		var p HostPatch
		if err := read(r, &p); err != nil {
			return nil, err
		}
		return s.do(r, boot.SetHost{Name: r.PathValue("name"), NewName: p.Name, AddMACs: p.AddMACs, DropMACs: p.DropMACs,
			UUID: p.UUID, Serial: p.Serial, Address: p.Address, Address6: p.Address6, Template: p.Template, Params: p.Params,
			Port: p.Port, Protected: p.Protected, Options: p.Options, NoOption: p.NoOption})
	})
	route("DELETE /api/v1/hosts/{name}", func(r *http.Request) (any, error) {
		return s.do(r, boot.RemoveHost{Name: r.PathValue("name")})
	})
	route("POST /api/v1/hosts/{name}/approve", func(r *http.Request) (any, error) {
		var a Approval
		if err := read(r, &a); err != nil {
			return nil, err
		}
		return s.do(r, boot.Approve{Name: r.PathValue("name"), Template: a.Template})
	})
	route("POST /api/v1/hosts/{name}/install", func(r *http.Request) (any, error) {
		var a Approval
		if err := read(r, &a); err != nil {
			return nil, err
		}
		return s.do(r, boot.Install{Name: r.PathValue("name"), Template: a.Template, Again: a.Again})
	})
	route("POST /api/v1/hosts/{name}/rescue", func(r *http.Request) (any, error) {
		var a Approval
		if err := read(r, &a); err != nil {
			return nil, err
		}
		if a.Template == nil {
			return nil, boot.NewFault(boot.Invalid, "name the template of the next boot")
		}
		return s.do(r, boot.Rescue{Name: r.PathValue("name"), Template: *a.Template})
	})
	route("POST /api/v1/hosts/{name}/local", func(r *http.Request) (any, error) {
		return s.do(r, boot.Local{Name: r.PathValue("name")})
	})
	route("POST /api/v1/hosts/{name}/deny", func(r *http.Request) (any, error) {
		return s.do(r, boot.Deny{Name: r.PathValue("name")})
	})
	route("POST /api/v1/hosts/{name}/update", func(r *http.Request) (any, error) {
		return s.do(r, boot.Update{Name: r.PathValue("name")})
	})
	route("GET /api/v1/templates", func(r *http.Request) (any, error) {
		ts := s.Engine.Policy().Templates
		if ts == nil {
			ts = []*boot.Template{}
		}
		return ts, nil
	})
	route("GET /api/v1/templates/{name}", s.template)
	route("POST /api/v1/templates", s.push)
	route("DELETE /api/v1/templates/{name}", func(r *http.Request) (any, error) {
		_, err := s.Engine.Do(r.Context(), s.actor(r), boot.DropTemplate{Name: r.PathValue("name")})
		return struct{}{}, err
	})
	route("GET /api/v1/files/{digest}", func(r *http.Request) (any, error) {
		n, ok := s.Files.Has(r.PathValue("digest"))
		if !ok {
			return nil, boot.NewFault(boot.NotThere, "no file has the digest %s", boot.CleanText(r.PathValue("digest"), 70))
		}
		return boot.Blob{Digest: r.PathValue("digest"), Size: n}, nil
	})
	route("PUT /api/v1/files/{digest}", func(r *http.Request) (any, error) {
		b, err := s.Files.Put(r.Context(), r.Body, r.PathValue("digest"))
		return b, brokeOff(err, "the file")
	})
	route("GET /api/v1/images", s.imageList)
	route("POST /api/v1/images", func(r *http.Request) (any, error) {
		var i NewImage
		if err := read(r, &i); err != nil {
			return nil, err
		}
		s.referring.RLock()
		defer s.referring.RUnlock()
		if err := s.uploaded(i.Files); err != nil {
			return nil, err
		}
		c, err := s.Engine.Do(r.Context(), s.actor(r), boot.ImportImage{Image: i.image()})
		return c.Image, err
	})
	route("POST /api/v1/images/import", s.importImage)
	mux.HandleFunc("POST /api/v1/images/{name}/verify", s.verifyImage)
	route("DELETE /api/v1/images/{name}", s.removeImage)
	route("GET /api/v1/leases", s.leases)
	route("DELETE /api/v1/leases/{network}/{addr}", func(r *http.Request) (any, error) {
		a, err := netip.ParseAddr(r.PathValue("addr"))
		if err != nil {
			return nil, boot.NewFault(boot.Invalid, "%q is no address", r.PathValue("addr"))
		}
		_, err = s.Engine.Do(r.Context(), s.actor(r), boot.ReleaseLease{Network: r.PathValue("network"), Addr: a})
		return struct{}{}, err
	})
	route("GET /api/v1/diagnose", s.diagnose)
	route("POST /api/v1/explain", func(r *http.Request) (any, error) {
		var q ExplainRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return s.Explain(r.Context(), q)
	})
	route("GET /api/v1/webhooks", func(r *http.Request) (any, error) { return s.Hooks.List(r.Context()) })
	route("POST /api/v1/webhooks/{name}/test", func(r *http.Request) (any, error) {
		return s.Hooks.Test(r.Context(), r.PathValue("name"))
	})
	route("POST /api/v1/webhooks/{name}/resend", func(r *http.Request) (any, error) {
		var q Resend
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return s.Hooks.Resend(r.Context(), r.PathValue("name"), q.Seqs, q.Dead)
	})
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("GET /api/v1/hosts/{name}/log", s.hostLog)
	mux.HandleFunc("GET /api/v1/hosts/{name}/capture", s.hostCapture)
	return s.guard(mux)
}

func read(r *http.Request, v any) error { return readUpTo(r, v, maxJSON) }

func readUpTo(r *http.Request, v any, most int64) error { return decode(r.Body, v, most) }

// decode reads one JSON value strictly, and nothing after it.
func decode(r io.Reader, v any, most int64) error {
	body := &io.LimitedReader{R: r, N: most + 1}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil // nothing was sent: every field is absent
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	switch {
	case body.N == 0:
		return boot.NewFault(boot.TooLarge, "request is larger than %d MiB", most>>20)
	case err != nil:
		return boot.NewFault(boot.Malformed, "request is not understood: %s", boot.CleanText(err.Error(), 300))
	}
	return nil
}

// do carries out an order on a host and returns the host.
func (s *Server) do(r *http.Request, o boot.Order) (any, error) {
	c, err := s.Engine.Do(r.Context(), s.actor(r), o)
	if err != nil {
		return nil, err
	}
	return c.Subject(), nil
}

// actor is who asks. The socket is for root and its group alone: a person, whose
// name it does not tell.
func (s *Server) actor(*http.Request) boot.Actor { return boot.Actor{Kind: boot.Person, Via: "socket"} }

// importHosts adds what is not known yet.
func (s *Server) importHosts(r *http.Request) (any, error) {
	var in HostImport
	if err := readUpTo(r, &in, maxImport); err != nil {
		return nil, err
	}
	if len(in.Hosts) > boot.MaxAddHosts {
		return nil, boot.NewFault(boot.TooLarge, "%d hosts at once: at most %d", len(in.Hosts), boot.MaxAddHosts)
	}
	o := boot.AddHosts{Hosts: make([]boot.NewHost, len(in.Hosts)), Install: in.Install}
	for i := range in.Hosts {
		o.Hosts[i] = boot.NewHost(in.Hosts[i])
	}
	var waiting uint64 // before
	if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
		waiting = 0
		for _, c := range []boot.Counter{boot.PendingHosts, boot.AutoHosts} {
			n, err := tx.Counter(c)
			if err != nil {
				return err
			}
			waiting += n
		}
		return nil
	}); err != nil {
		return nil, err
	}
	act := s.Engine.Do
	if in.DryRun {
		act = s.Engine.Try
	}
	c, err := act(r.Context(), s.actor(r), o)
	var refused boot.RefusedHosts
	if err != nil && !(in.DryRun && errors.As(err, &refused)) {
		return nil, err
	}
	out := HostImported{Results: make([]ImportResult, len(in.Hosts))}
	for i, x := range c.Listed {
		if x.Host != nil {
			out.Results[i] = ImportResult{Name: x.Host.Name, Known: x.Known, LetIn: x.LetIn}
		}
	}
	for _, f := range refused {
		out.Results[f.Index] = ImportResult{Name: f.Name, Refused: f.Why}
	}
	waiting = uint64(max(0, int64(waiting)+int64(c.Pending)))
	if limit := s.Engine.Policy().Enroll.Limit; limit > 0 && c.Pending > 0 && waiting >= uint64(limit) {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d machines wait for approval or were let in by a rule with these, and [enroll] limit is %d: a machine that nobody knows is not enrolled until some are approved", waiting, limit))
	}
	return out, nil
}

func (s *Server) view(h *boot.Host, tx boot.ReadTx) (HostView, error) {
	v := HostView{Host: *h, LastSeen: s.lastSeen(h)}
	for _, m := range h.MACs {
		for _, n := range s.Engine.Policy().Networks {
			l, err := tx.LeaseByHolder(n.Name, boot.HeldBy(m))
			if err != nil {
				return v, err
			}
			if l.Active(s.Engine.Now()) {
				v.Lease = l.Addr
			}
		}
	}
	if len(s.Engine.Policy().Networks6) == 0 {
		return v, nil
	}
	// Those of DHCPv6 are held by DUIDs and associations, of which a host has many.
	for _, r := range slices.Backward(s.Engine.Log.Of(h)) {
		if a := r.Address(); r.Via == boot.DHCP6 && r.Reply == "reply" && a.IsValid() {
			l, err := tx.Lease(r.Network, a)
			if err != nil {
				return v, err
			}
			if l.Active(s.Engine.Now()) && l.Host == h.ID {
				v.Lease6 = a
				break
			}
		}
	}
	return v, nil
}

// page is how many records one read transaction lists.
const page = 500

func (s *Server) hosts(r *http.Request) (any, error) {
	state := boot.State(r.URL.Query().Get("state"))
	switch state {
	case "", boot.Pending, boot.Approved, boot.Denied:
	default:
		return nil, boot.NewFault(boot.Invalid, "state %q: want pending, approved or denied", boot.CleanText(string(state), 64))
	}
	out := []HostView{}
	for after := boot.HostID(0); ; {
		n := 0
		err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
			hs, err := tx.Hosts(after, page)
			if err != nil {
				return err
			}
			n = len(hs)
			for _, h := range hs {
				after = h.ID
				if state != "" && h.State != state {
					continue
				}
				v, err := s.view(h, tx)
				if err != nil {
					return err
				}
				out = append(out, v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if n < page {
			return out, nil
		}
	}
}

// diagnose looks at one machine, or without who at all of them.
func (s *Server) diagnose(r *http.Request) (any, error) {
	who := r.URL.Query().Get("who")
	if who == "" {
		out, err := s.Engine.DiagnoseAll(r.Context())
		if out == nil {
			out = []engine.Stopped{}
		}
		return out, err
	}
	var h *boot.Host
	err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { h, err = boot.FindHost(tx, who); return err })
	if err != nil {
		return nil, err
	}
	x := engine.Stopped{Who: who}
	if h != nil {
		x.Name, x.LastSeen = h.Name, s.lastSeen(h)
	} else if reqs := s.Engine.Log.Machine(who); len(reqs) == 0 {
		return nil, boot.NewFault(boot.Unheard, "nothing is known of %s: it is on no roll, and no request of it was heard: is it in this VLAN, and does muster serve its network (muster doctor)?", who)
	} else {
		x.LastSeen = reqs[len(reqs)-1].At
	}
	x.Found, err = s.Engine.Diagnose(r.Context(), h, who)
	return []engine.Stopped{x}, err
}

func (s *Server) lastSeen(h *boot.Host) (last time.Time) {
	for _, m := range h.MACs {
		if t := s.Engine.Log.LastSeen(m); t.After(last) {
			last = t
		}
	}
	return last
}

func (s *Server) host(r *http.Request) (any, error) {
	d := HostDetail{Timeline: []Entry{}}
	err := s.Engine.View(r.Context(), func(tx boot.ReadTx) error {
		h, err := boot.FindHost(tx, r.PathValue("name"))
		if err != nil {
			return err
		}
		if h == nil {
			return boot.NewFault(boot.UnknownHost, "no host is called %s", r.PathValue("name")).Try("muster host list")
		}
		if d.HostView, err = s.view(h, tx); err != nil {
			return err
		}
		d.Inventory, err = tx.Inventory(h.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if d.Found, err = s.Engine.Diagnose(r.Context(), &d.Host, ""); err != nil {
		return nil, err
	}
	for _, q := range s.Engine.Log.Of(&d.Host) {
		d.Timeline = append(d.Timeline, RequestEntry(q))
	}
	for _, q := range s.lines(d.MACs) {
		d.Timeline = append(d.Timeline, RequestEntry(q))
	}
	for _, u := range s.Engine.Running(d.ID) {
		d.Timeline = append(d.Timeline, Entry{Request: RequestEntry(u.Request).Request, Size: u.Size})
	}
	if err := s.eachEvent(r.Context(), 0, func(e boot.Event) {
		if e.Host == d.ID || e.Host == 0 && !e.MAC.IsZero() && d.HasMAC(e.MAC) {
			d.Timeline = append(d.Timeline, EventEntry(e))
		}
	}); err != nil {
		return nil, err
	}
	slices.SortStableFunc(d.Timeline, func(a, b Entry) int { return a.At().Compare(b.At()) })
	return d, nil
}

func (s *Server) eachEvent(ctx context.Context, after uint64, fn func(boot.Event)) error {
	for {
		var es []boot.Event
		if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) { es, err = tx.Events(after, page); return err }); err != nil {
			return err
		}
		for _, e := range es {
			after = e.Seq
			fn(e)
		}
		if len(es) < page {
			return nil
		}
	}
}

// events streams JSON lines: stored events, with all=1 the request log too,
// with follow=1 for as long as the client stays. Which of them is settled here,
// a page at a time, so that neither side holds them all.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	follow, all := q.Get("follow") == "1", q.Get("all") == "1"
	after, since, kinds, err := eventsFrom(q)
	var of whose
	if err == nil {
		of, err = s.whose(r.Context(), q.Get("host"))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	if follow {
		_, _ = w.Write(nil)
		_ = rc.Flush()
	}
	var seen, heard uint64 // of the request log, and of what machines log
	for {
		changed := s.Engine.Changed()
		var out []Entry
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
				if !q.At.Before(since) && of.request(&q) {
					out = append(out, RequestEntry(q))
				}
			}
		}
		wrote := false
		gone := false
		if err := s.eachEvent(r.Context(), after, func(e boot.Event) {
			after = e.Seq
			if gone || e.At.Before(since) || !kinds.Match(e.Kind) || !of.event(&e) {
				return
			}
			if requests {
				out = append(out, EventEntry(e)) // to be sorted in
				return
			}
			wrote = true
			gone = enc.Encode(EventEntry(e)) != nil
		}); err != nil || gone {
			return
		}
		slices.SortStableFunc(out, func(a, b Entry) int { return a.At().Compare(b.At()) })
		for _, e := range out {
			wrote = true
			if enc.Encode(e) != nil {
				return
			}
		}
		if !follow {
			return
		}
		if wrote && rc.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-more:
		case <-said:
		case <-r.Context().Done():
			return
		}
	}
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

// whose says which machine a list is about: one on the roll, one that was, or all.
type whose struct {
	host *boot.Host
	name string
	mac  boot.MAC
}

func (s *Server) whose(ctx context.Context, name string) (o whose, err error) {
	if name == "" {
		return o, nil
	}
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) { o.host, err = boot.FindHost(tx, name); return err }); err != nil || o.host != nil {
		return o, err
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
	case o.host != nil:
		return id == o.host.ID || id == 0 && !mac.IsZero() && o.host.HasMAC(mac)
	case o.name != "":
		return name == o.name || !mac.IsZero() && mac == o.mac
	}
	return true
}

func (o *whose) event(e *boot.Event) bool     { return o.is(e.Host, e.Name, e.MAC) }
func (o *whose) request(r *boot.Request) bool { return o.is(r.Host, r.Name, r.MAC) }

func (s *Server) leases(r *http.Request) (any, error) {
	out := []boot.Lease{}
	old := r.URL.Query().Get("all") == "1"
	now := s.Engine.Now()
	want := r.URL.Query().Get("network")
	if want != "" && s.Engine.Policy().Network(want) == nil {
		return nil, boot.NewFault(boot.UnknownNetwork, "no network is called %s", boot.CleanText(want, 64)).Try("muster doctor")
	}
	seen := map[string]bool{} // a network of both families is listed once
	for n := range s.Engine.Policy().All() {
		if seen[n.Name] || want != "" && want != n.Name {
			continue
		}
		seen[n.Name] = true
		for after := (netip.Addr{}); ; {
			var ls []boot.Lease
			if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { ls, err = tx.Leases(n.Name, after, page); return err }); err != nil {
				return nil, err
			}
			for _, l := range ls {
				after = l.Addr
				if old || l.Active(now) {
					out = append(out, l)
				}
			}
			if len(ls) < page {
				break
			}
		}
	}
	return out, nil
}

func (s *Server) template(r *http.Request) (any, error) {
	name := r.PathValue("name")
	for _, t := range s.Engine.Policy().Templates {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, boot.NewFault(boot.UnknownTemplate, "no template is called %s", name).Try("muster template list")
}

func (s *Server) push(r *http.Request) (any, error) {
	var p Push
	if err := read(r, &p); err != nil {
		return nil, err
	}
	s.referring.RLock()
	defer s.referring.RUnlock()
	if err := s.uploaded(p.Files); err != nil {
		return nil, err
	}
	spec, err := templates.Lint(p.Files, func(f string) (io.ReadCloser, error) { return s.Files.Open(p.Files[f].Digest) })
	if err != nil {
		return nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	t := spec.Template()
	t.Files = p.Files
	c, err := s.Engine.Do(r.Context(), s.actor(r), boot.PushTemplate{Template: t, Images: spec.ImageFiles()})
	if err != nil {
		return nil, err
	}
	return Pushed{Template: *c.Template, Warnings: c.Warnings}, nil
}

// uploaded refuses a list of files of which one is not here whole, or has a
// name that no URL should carry.
func (s *Server) uploaded(files map[string]boot.Blob) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := templates.ValidFile(name); err != nil {
			return boot.NewFault(boot.Invalid, "%v", err)
		}
		b := files[name]
		if n, ok := s.Files.Has(b.Digest); !ok || n != b.Size {
			return boot.NewFault(boot.Invalid, "file %s was not uploaded whole", name)
		}
	}
	return nil
}

func (s *Server) imageList(r *http.Request) (any, error) {
	out := []*boot.Image{}
	for after := ""; ; {
		var is []*boot.Image
		if err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { is, err = tx.Images(after, page); return err }); err != nil {
			return nil, err
		}
		out = append(out, is...)
		if len(is) < page {
			return out, nil
		}
		after = is[len(is)-1].Name
	}
}
