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

// MaxConns bounds open connections; more wait in the kernel's queue. One
// address may have perClient of them.
const (
	MaxConns  = 4096
	perClient = 128
)

// stalled is how long a client may take nothing before its connection ends.
// There is no write deadline: slow firmware on a slow line is served to the
// end.
const stalled = 60 * time.Second

// Listen opens the HTTP port, for both families unless addr is of one: for Go
// 0.0.0.0 is of both, for the person who wrote it not.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			// Set on the listener, it holds for every connection: the kernel
			// ends one whose peer acknowledges nothing, and sendfile stays.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stalled.Milliseconds()))
		})
	}}
	return lc.Listen(ctx, network, addr)
}

// Serve answers on l until ctx ends; transfers in hand get a moment to end.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, h, func(ll *limited) net.Listener { return ll })
}

// serve answers what wrap makes of a bounded listener.
func serve(ctx context.Context, l net.Listener, h http.Handler, wrap func(*limited) net.Listener) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		// Firmware closes by reset and strangers send noise: not our log.
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
		<-ended // Serve returns when the shutdown begins, not when it is over
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited accepts while there is room, and no more than its share from one
// address.
type limited struct {
	net.Listener
	room chan struct{}
	done <-chan struct{}
	mu   sync.Mutex
	from map[netip.Addr]int
}

// addrOf keeps the zone: the same link-local address on two links is two
// machines (RFC 4007 6).
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// ends fills in who speaks with which address of ours. A zone is the name of an
// interface, and no part of an address that anybody compares.
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
