// server.go: the listener and its limits.

package httpboot

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/boot"
)

// MaxConns bounds open connections. One address may have perClient of them. When all
// are taken, a stranger's gives way to the next one: see makeRoom.
const (
	MaxConns  = 4096
	perClient = 128
	fewConns  = 8 // that an address may have beside one that has many
)

// stalled is how long a client may acknowledge nothing before its connection
// ends. There is no write deadline, so slow firmware on a slow line gets the
// whole file.
const stalled = 60 * time.Second

// Listen opens the HTTP port for both families, unless addr names one. Go takes
// 0.0.0.0 for both; the person who wrote it means IPv4.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			// The option is set on the listener and inherited by every
			// connection. The kernel then ends a connection whose peer
			// acknowledges nothing, and sendfile still works.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stalled.Milliseconds()))
		})
	}}
	return lc.Listen(ctx, network, addr)
}

// Serve answers on l until ctx ends; running transfers get a moment to finish.
func Serve(ctx context.Context, l net.Listener, h *Handler) error {
	return serve(ctx, l, h, func(ll *limited) net.Listener { return ll })
}

// serve answers on the bounded listener that wrap has wrapped.
func serve(ctx context.Context, l net.Listener, h *Handler, wrap func(*limited) net.Listener) error {
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		// Firmware closes by reset, and strangers send noise: our log keeps
		// neither.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	ll := newLimited(l, MaxConns, h.Admitted, &h.Stats)
	srv.Handler = ll.watched(h)
	srv.ConnState = func(c net.Conn, st http.ConnState) {
		if st == http.StateClosed || st == http.StateHijacked {
			ll.leave(c)
		}
	}
	err := srv.Serve(wrap(ll))
	if !stop() {
		<-ended // http.Server.Serve returns when the shutdown begins, not when it ends
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited accepts connections, from one address only its share. Idle connections cost a
// stranger nothing, so that they must not keep a machine out: no bound here shuts.
type limited struct {
	net.Listener
	most     int
	admitted func(netip.Addr) bool // nil: nobody is known
	stats    *Stats

	mu      sync.Mutex
	guests  map[pair]*guest
	waiting [2]*list.List // guests without a request, the longest first: strangers, and machines that may boot
	from    map[netip.Addr]int
}

// guest is an open connection.
type guest struct {
	conn  net.Conn
	at    pair
	addr  netip.Addr
	rank  int           // 1: of a machine that may boot, when it came
	place *list.Element // nil while a request of it is answered
}

// pair tells connections apart.
type pair struct{ remote, local netip.AddrPort }

func pairOf(c net.Conn) (e pair) {
	if t, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		e.remote = t.AddrPort()
	}
	if t, ok := c.LocalAddr().(*net.TCPAddr); ok {
		e.local = t.AddrPort()
	}
	return e
}

func newLimited(l net.Listener, most int, admitted func(netip.Addr) bool, stats *Stats) *limited {
	return &limited{Listener: l, most: most, admitted: admitted, stats: stats, guests: map[pair]*guest{}, waiting: [2]*list.List{list.New(), list.New()}, from: map[netip.Addr]int{}}
}

// addrOf keeps the zone: the same link-local address on two links means two
// machines (RFC 4007 6).
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// ends fills in the client's address and the address of ours that it speaks to.
// The zone is removed from addresses that are compared, because it is only an
// interface's name.
func ends(in *boot.Sighting, from netip.AddrPort, to netip.Addr) {
	a := from.Addr().Unmap()
	in.Source = netip.AddrPortFrom(a.WithZone(""), from.Port())
	in.Link.Local = to.WithZone("")
	in.Link.Interface = cmp.Or(a.Zone(), to.Zone())
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if t, ok := c.(*net.TCPConn); ok {
			if own, err := newConn(t); err == nil && l.enter(own) {
				return own, nil
			}
		}
		c.Close()
	}
}

// enter lets a connection in, if need be in the place of another one.
func (l *limited) enter(c net.Conn) bool {
	g := &guest{conn: c, at: pairOf(c), addr: addrOf(c.RemoteAddr())}
	if l.admitted != nil && l.admitted(g.addr) {
		g.rank = 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[g.addr] >= perClient || len(l.guests) >= l.most && !l.makeRoom(g) {
		l.stats.TurnedAway.Add(1)
		return false
	}
	g.place = l.waiting[g.rank].PushBack(g)
	l.guests[g.at] = g
	l.from[g.addr]++
	return true
}

// makeRoom closes the connection that has waited longest for a request, of a stranger
// before one of a machine that may boot, and never such a one for a stranger. If all are
// being answered, it closes one of the address that has most. An equal of the newcomer
// must have many for that, and the newcomer few.
func (l *limited) makeRoom(newcomer *guest) bool {
	for rank := range newcomer.rank + 1 {
		if e := l.waiting[rank].Front(); e != nil {
			l.end(e.Value.(*guest))
			return true
		}
		var most *guest
		for _, g := range l.guests {
			if g.rank == rank && (most == nil || l.from[g.addr] > l.from[most.addr]) {
				most = g
			}
		}
		if most != nil && (rank < newcomer.rank || l.from[newcomer.addr] < fewConns && l.from[most.addr] > 2*fewConns) {
			l.end(most)
			return true
		}
	}
	return false
}

// end closes a connection for another one.
func (l *limited) end(g *guest) {
	l.stats.GaveWay.Add(1)
	_ = g.conn.Close()
	l.forget(g)
}

func (l *limited) forget(g *guest) {
	if g.place != nil {
		l.waiting[g.rank].Remove(g.place)
	}
	delete(l.guests, g.at)
	if l.from[g.addr]--; l.from[g.addr] <= 0 {
		delete(l.from, g.addr)
	}
}

func (l *limited) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.guests[pairOf(c)]; g != nil {
		l.forget(g)
	}
}

// watched tells which connections have a request that is being answered.
func (l *limited) watched(h http.Handler) http.Handler {
	mark := func(r *http.Request, busy bool) {
		c, ok := r.Context().Value(connKey{}).(net.Conn)
		if !ok {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		switch g := l.guests[pairOf(c)]; {
		case g == nil:
		case busy && g.place != nil:
			l.waiting[g.rank].Remove(g.place)
			g.place = nil
		case !busy && g.place == nil:
			g.place = l.waiting[g.rank].PushBack(g)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mark(r, true)
		defer mark(r, false)
		h.ServeHTTP(w, r)
	})
}
