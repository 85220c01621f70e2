// client.go: clients that cost little, so that the server is what is measured.
// They use raw sockets in the client's namespace, and one thread that waits in
// the kernel, for one client or for many.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// client is one download.
type client interface {
	socket() int
	begin() error
	// read receives once and acts on it. EAGAIN: nothing was there.
	read(flags int) (done bool, err error)
	// silence is called after each answerTime without a packet.
	silence() error
}

const (
	answerTime = time.Second
	stepTime   = 5 * time.Minute // in which one client, or all of many, must be done

	connectTime = 10 * time.Second
)

// alone runs one client with blocking calls.
func alone(ctx context.Context, c client) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	err = c.begin()
	for done := false; err == nil && !done; {
		if err = ctx.Err(); err != nil {
			break
		}
		if done, err = c.read(0); errors.Is(err, unix.EAGAIN) {
			err = c.silence()
		}
	}
	return time.Since(start), err
}

// together runs clients at once and says how long each took.
func together(ctx context.Context, cs []client) (took []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	defer unix.Close(poll)
	for i, c := range cs {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, c.socket(), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return nil, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	took = make([]time.Duration, len(cs))
	heard := make([]time.Time, len(cs))
	events := make([]unix.EpollEvent, len(cs))
	start := time.Now()
	for i, c := range cs {
		if err := c.begin(); err != nil {
			return nil, fmt.Errorf("client %d: %w", i+1, err)
		}
		heard[i] = start
	}
	looked := start // when clients were last checked for silence
	for left := len(cs); left > 0; {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d clients not done after %v: %w", left, time.Since(start).Round(time.Second), ctx.Err())
		}
		n, err := unix.EpollWait(poll, events, int(answerTime.Milliseconds()/10))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("epoll_wait: %w", err)
		}
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			i := e.Fd
			heard[i] = now
			done, err := cs[i].read(unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				return nil, fmt.Errorf("client %d: %w", i+1, err)
			}
			if done {
				took[i] = time.Since(start)
				left--
				// Packets after the end would wake us for nothing.
				if err := unix.EpollCtl(poll, unix.EPOLL_CTL_DEL, cs[i].socket(), nil); err != nil {
					return nil, fmt.Errorf("epoll_ctl: %w", err)
				}
			}
		}
		if now.Sub(looked) < answerTime/10 {
			continue
		}
		looked = now
		for i, c := range cs {
			if took[i] == 0 && now.Sub(heard[i]) >= answerTime {
				heard[i] = now
				if err := c.silence(); err != nil {
					return nil, fmt.Errorf("client %d: %w", i+1, err)
				}
			}
		}
	}
	return took, nil
}

// fairness is the slowest client's time over the median one's.
func fairness(took []time.Duration) float64 {
	s := slices.Sorted(slices.Values(took))
	return s[len(s)-1].Seconds() / s[len(s)/2].Seconds()
}

// connect and receive repeat a call that a signal ended. With a time-out on the
// socket the kernel does not restart it.

func connect(fd int, to unix.Sockaddr) (err error) {
	for {
		if err = unix.Connect(fd, to); err != unix.EINTR {
			return err
		}
	}
}

func receive(fd int, p []byte, flags int) (n int, from unix.Sockaddr, err error) {
	for {
		if n, from, err = unix.Recvfrom(fd, p, flags); err != unix.EINTR {
			return n, from, err
		}
	}
}

// clientAddrs is how many addresses the clients of a crowd use, because Muster
// bounds the connections of one address.
const clientAddrs = 20

// addresses gives the client's namespace its other addresses.
func (b *bench) addresses(ctx context.Context) error {
	for i := 1; i < clientAddrs; i++ {
		a := netip.AddrFrom4(clientAddress(i)).String()
		if _, err := b.client.Run(ctx, "ip", "addr", "replace", a+"/32", "dev", "eth0"); err != nil {
			return err
		}
	}
	return nil
}

// clientAddress is that of the i-th client.
func clientAddress(i int) [4]byte {
	a := netip.MustParseAddr(clientAddr).As4()
	a[3] += byte(i % clientAddrs)
	return a
}

// crowdWindow is the receive window of one of many clients: that of iPXE. With
// windows that grow, 1,000 connections need more memory than the kernel has for
// TCP. It would then drop packets, and clients would wait a minute for one.
// That happens only here, where server and clients share the memory.
const crowdWindow = 256 << 10

// sockets opens a socket for each of n clients. The caller closes all of them,
// also after an error.
func (b *bench) sockets(n, kind int) (s sockets, err error) {
	tv, patience := unix.NsecToTimeval(answerTime.Nanoseconds()), unix.NsecToTimeval(connectTime.Nanoseconds())
	err = b.client.Do(func() error {
		for i := range n {
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("socket %d: %w", i+1, err)
			}
			s = append(s, fd)
			if err := errors.Join(
				unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
				unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
				unix.Bind(fd, &unix.SockaddrInet4{Addr: clientAddress(i)}),
			); err != nil {
				return fmt.Errorf("socket %d: %w", i+1, err)
			}
			if n > 1 && kind == unix.SOCK_STREAM {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, crowdWindow); err != nil {
					return fmt.Errorf("window of socket %d: %w", i+1, err)
				}
			}
		}
		return nil
	})
	return s, err
}

type sockets []int

func (s sockets) close() {
	for _, fd := range s {
		unix.Close(fd)
	}
}

// serverSocket is a port of the server.
func serverSocket(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(serverAddr).As4()}
}
