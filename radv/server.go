// server.go: one worker for each interface; it starts and ends with the
// interface. An error on a link becomes that worker's state and is tried again;
// it ends nothing.

package radv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/ndp"
)

const (
	lookEvery  = time.Second // how often an interface is looked at
	heardEvery = time.Minute // a router is reported this often at most
	maxRouters = 64          // of one interface
	// An interface solicits routers as a host does (RFC 4861 6.3.7).
	askCount = 3
	askEvery = 4 * time.Second
)

// Server advertises and listens on interfaces.
type Server struct {
	Stats Stats

	log    *slog.Logger
	heard  func(Router)
	look   func(name string) (link, error)
	fwd    func(name string) bool
	open   func(name string, l link) (conn, error)
	random func(below time.Duration) time.Duration

	mu      sync.Mutex
	want    map[string]Config
	states  map[string]string
	changed chan struct{}
}

// Stats counts what the server did; fields only grow.
type Stats struct {
	Solicitations atomic.Uint64 // valid ones
	Invalid       atomic.Uint64 // messages that RFC 4861 tells a router to ignore
	Multicast     atomic.Uint64 // advertisements sent to all
	Unicast       atomic.Uint64 // and to one solicitor
	Heard         atomic.Uint64 // advertisements of others
	SendErrors    atomic.Uint64
}

// NewServer returns a server that serves nothing until Set. heard is called
// with each other router, at most once a minute; it must not block for long.
func NewServer(log *slog.Logger, heard func(Router)) *Server {
	return &Server{log: log, heard: heard, look: look, fwd: forwards, open: open, random: func(n time.Duration) time.Duration { return rand.N(n) },
		want: map[string]Config{}, states: map[string]string{}, changed: make(chan struct{}, 1)}
}

// Set makes the server serve these interfaces, one Config each, and no others.
// An interface whose Config is unchanged is not disturbed.
func (s *Server) Set(configs []Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = map[string]Config{}
	for _, c := range configs {
		s.want[c.Interface] = c
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// State says why an interface is not served as configured; "" if it is.
func (s *Server) State(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[name]
}

func (s *Server) setState(name, state string) {
	s.mu.Lock()
	old, quiet := s.states[name], s.want[name].Alone
	s.states[name] = state
	s.mu.Unlock()
	switch {
	case old == state, quiet:
	case state != "":
		s.log.Warn("router advertisements: " + state)
	default:
		s.log.Info("router advertisements: interface is served again", "interface", name)
	}
}

// Run serves until ctx ends. Where this box was a router, it then advertises
// that it no longer is.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	workers := map[string]*worker{}
	for {
		s.mu.Lock()
		want := maps.Clone(s.want)
		s.mu.Unlock()
		for name, w := range workers {
			if _, ok := want[name]; !ok {
				// The old worker must end first: two workers would contradict
				// each other.
				w.stop()
				<-w.done
				delete(workers, name)
				s.mu.Lock()
				delete(s.states, name)
				s.mu.Unlock()
			}
		}
		for name, c := range want {
			if w := workers[name]; w != nil {
				w.set(c)
				continue
			}
			wctx, stop := context.WithCancel(ctx)
			w := &worker{Server: s, name: name, config: c, changes: make(chan Config, 1), stop: stop, done: make(chan struct{}), routers: map[netip.Addr]time.Time{}}
			workers[name] = w
			wg.Go(func() {
				defer stop()
				defer close(w.done)
				w.run(wctx)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		}
	}
}

// worker is one interface.
type worker struct {
	*Server
	name    string
	config  Config
	gone    []Prefix // withdrawn by the next advertisements
	changes chan Config
	stop    func()
	done    chan struct{}
	plan    schedule
	since   time.Time                // when this session began to listen
	routers map[netip.Addr]time.Time // when each was reported
}

// set hands over a configuration; the latest counts.
func (w *worker) set(c Config) {
	select {
	case <-w.changes:
	default:
	}
	w.changes <- c
}

func (w *worker) run(ctx context.Context) {
	w.plan.random = w.random
	for ctx.Err() == nil {
		l, err := w.Server.look(w.name)
		var c conn
		if err == nil {
			c, err = w.open(w.name, l)
		}
		if err == nil {
			err = w.session(ctx, l, c)
			c.Close()
		}
		if err == nil || ctx.Err() != nil {
			continue // the link has changed
		}
		w.setState(w.name, err.Error())
		select {
		case <-ctx.Done():
		case c := <-w.changes:
			w.config = c
		case <-time.After(lookEvery):
		}
	}
}

// session serves a link until it changes.
func (w *worker) session(ctx context.Context, l link, c conn) error {
	heard, failed := make(chan packet), make(chan error, 1)
	over := make(chan struct{})
	defer close(over)
	go w.listen(c, heard, failed, over)

	forwarding := w.fwd(w.name)
	w.judge(forwarding)
	w.since = time.Now()
	w.plan.start(time.Now())
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ask := time.NewTimer(0)
	defer ask.Stop()
	asked := 0
	for {
		due := timer.C
		if w.advertises() {
			timer.Reset(time.Until(w.plan.due()))
		} else {
			due = nil
		}
		select {
		case <-ctx.Done():
			w.farewell(c, l, forwarding)
			return nil
		case err := <-failed:
			return err
		case p := <-heard:
			if p.router == nil {
				w.Stats.Solicitations.Add(1)
				if w.advertises() {
					// The answer must stay on this link, whatever zone the
					// sender's address names.
					if !p.from.IsLinkLocalUnicast() {
						p.from = netip.IPv6Unspecified()
					}
					w.plan.solicited(p.from, time.Now())
				}
				continue
			}
			asked = askCount
			w.report(p.router, l)
		case <-due:
			if to, ok := w.plan.take(time.Now()); ok {
				w.advertise(c, l, forwarding, to)
			}
		case <-ask.C:
			if asked < askCount {
				asked++
				w.ask(c, l)
				ask.Reset(askEvery)
			}
		case next := <-w.changes:
			if next.Equal(w.config) {
				continue
			}
			if w.config.Advertise && !next.Advertise {
				w.farewell(c, l, forwarding)
			}
			w.gone = nil
			if w.config.Advertise {
				w.gone = w.config.without(next)
			}
			w.config = next
			w.judge(forwarding)
			w.plan.start(time.Now())
		case <-tick.C:
			now, err := w.Server.look(w.name)
			if err != nil || now != l {
				return err
			}
			if f := w.fwd(w.name); f != forwarding {
				forwarding = f
				w.judge(forwarding)
				if w.config.Router {
					w.plan.start(time.Now())
				}
			}
		}
	}
}

// listen reads until the socket is closed.
func (w *worker) listen(c conn, heard chan<- packet, failed chan<- error, over <-chan struct{}) {
	buf := make([]byte, 1<<16)
	for {
		n, hops, from, err := c.read(buf)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("read on %s: %w", w.name, err)
			}
			return
		}
		p, err := parse(buf[:n], hops, from)
		if err != nil {
			w.Stats.Invalid.Add(1)
			continue
		}
		select {
		case heard <- p:
		case <-over:
			return
		}
	}
}

// advertises reports a link on which this box speaks. One that may only speak alone
// listens for a moment first, and gives way to any router for as long as that may be there
// (RFC 4861 6.2.1: half an hour between two advertisements).
func (w *worker) advertises() bool {
	if !w.config.Advertise || !w.config.Alone {
		return w.config.Advertise
	}
	if time.Since(w.since) < askEvery/2 {
		return false
	}
	for _, at := range w.routers {
		if time.Since(at) < time.Hour {
			return false
		}
	}
	return true
}

// judge says what keeps the interface from being served as configured.
func (w *worker) judge(forwarding bool) {
	state := ""
	if w.config.Advertise && w.config.Router && !forwarding {
		state = "interface " + w.name + ": this machine does not forward IPv6, so it does not call itself a router (sysctl net.ipv6.conf.all.forwarding=1)"
	}
	w.setState(w.name, state)
}

// advertise sends an advertisement to one solicitor, or to all.
func (w *worker) advertise(c conn, l link, forwarding bool, to netip.Addr) {
	m := w.config
	if len(w.gone) > 0 {
		m.Prefixes = append(m.Prefixes[:len(m.Prefixes):len(m.Prefixes)], w.gone...)
	}
	count := &w.Stats.Unicast
	if !to.IsValid() {
		to, count = allNodes, &w.Stats.Multicast
		if w.plan.initial <= 0 {
			w.gone = nil // withdrawn often enough
		}
	}
	b, err := m.Message(net.HardwareAddr(l.mac), forwarding)
	if err == nil {
		err = c.write(b, to)
	}
	if err != nil {
		w.Stats.SendErrors.Add(1)
		w.log.Debug("router advertisement was not sent", "interface", w.name, "to", to, "err", err)
		return
	}
	count.Add(1)
}

// farewell advertises that this box is no longer a router (RFC 4861 6.2.5).
// Without it hosts would send packets here for another half an hour.
func (w *worker) farewell(c conn, l link, forwarding bool) {
	if !w.config.Advertise || !w.config.Router || !forwarding {
		return
	}
	w.config.Router = false
	w.advertise(c, l, forwarding, netip.Addr{})
}

// ask solicits the routers of the link, as a host.
func (w *worker) ask(c conn, l link) {
	var options []ndp.Option
	if len(l.mac) == 6 {
		options = append(options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(l.mac)})
	}
	b, err := ndp.MarshalMessage(&ndp.RouterSolicitation{Options: options})
	if err == nil {
		err = c.write(b, allRouters)
	}
	if err != nil {
		w.log.Debug("routers were not asked", "interface", w.name, "err", err)
	}
}

// report passes another router to heard, at most once a minute.
func (w *worker) report(r *Router, l link) {
	w.Stats.Heard.Add(1)
	now := time.Now()
	at, known := w.routers[r.Addr]
	if known && now.Sub(at) < heardEvery {
		return
	}
	if !known && len(w.routers) >= maxRouters {
		maps.DeleteFunc(w.routers, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= heardEvery })
		if len(w.routers) >= maxRouters {
			return // more routers than any link has: somebody invents them
		}
	}
	w.routers[r.Addr] = now
	r.Interface, r.Own = w.name, r.Addr == l.addr
	if !w.config.Alone {
		r.Differs = w.config.differs(r)
	}
	w.heard(*r)
}
