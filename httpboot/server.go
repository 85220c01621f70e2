// server.go: the listener and its limits.

package httpboot

import (
	"cmp"
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

// MaxConns bounds open connections; further ones wait in the kernel's queue.
// One address may have perClient of them.
const (
	MaxConns  = 4096
	perClient = 128
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
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, h, func(ll *limited) net.Listener { return ll })
}

// serve answers on the bounded listener that wrap has wrapped.
func serve(ctx context.Context, l net.Listener, h http.Handler, wrap func(*limited) net.Listener) error {
	srv := &http.Server{
		Handler:           h,
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
	ll := &limited{Listener: l, room: make(chan struct{}, MaxConns), done: ctx.Done(), from: map[netip.Addr]int{}}
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

// limited accepts connections while there is room, and from one address only
// its share.
type limited struct {
	net.Listener
	room chan struct{}
	done <-chan struct{}
	mu   sync.Mutex
	from map[netip.Addr]int
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
		select {
		case l.room <- struct{}{}:
		case <-l.done:
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.room
			return nil, err
		}
		a := addrOf(c.RemoteAddr())
		l.mu.Lock()
		l.from[a]++
		over := l.from[a] > perClient
		l.mu.Unlock()
		if t, ok := c.(*net.TCPConn); ok && !over {
			if own, err := newConn(t); err == nil {
				return own, nil
			}
		}
		c.Close()
		l.leave(c)
	}
}

func (l *limited) leave(c net.Conn) {
	a := addrOf(c.RemoteAddr())
	l.mu.Lock()
	if l.from[a]--; l.from[a] <= 0 {
		delete(l.from, a)
	}
	l.mu.Unlock()
	<-l.room
}
