// lossy_test.go: transfers over a channel that drops, doubles, delays and so
// reorders, both ways, in the test's own socket.

package tftpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// lossy is a socket of which one packet in a hundred of each kind meets a fate.
type lossy struct {
	*net.UDPConn
	mu      sync.Mutex
	rnd     *rand.Rand
	percent int
	in      chan []byte
	peer    netip.AddrPort
	data    int // DATA packets that arrived, before their fate
	causes  int // packets that met a fate, and the client's own time-outs
}

func newLossy(t *testing.T, host string, percent int, seed uint64) *lossy {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	l := &lossy{UDPConn: c, rnd: rand.New(rand.NewPCG(seed, 1)), percent: percent, in: make(chan []byte, 10000)}
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue // ICMP
			}
			l.mu.Lock()
			l.peer = from
			if n > 1 && b[1] == opDATA {
				l.data++
			}
			l.mu.Unlock()
			p := bytes.Clone(b[:n])
			l.fate(func() {
				select {
				case l.in <- p:
				default:
				}
			})
		}
	}()
	return l
}

// fate does something once, twice, later, or never.
func (l *lossy) fate(do func()) {
	l.mu.Lock()
	hit := func() bool { return l.rnd.IntN(100) < l.percent }
	drop, double, late := hit(), hit(), hit()
	wait := time.Duration(1+l.rnd.IntN(30)) * time.Millisecond
	if drop || double || late {
		l.causes++
	}
	l.mu.Unlock()
	if drop {
		return
	}
	if double {
		do()
	}
	if late {
		time.AfterFunc(wait, do)
		return
	}
	do()
}

func (l *lossy) send(b []byte, to netip.AddrPort) {
	b = bytes.Clone(b)
	l.fate(func() { _, _ = l.WriteToUDPAddrPort(b, to) })
}

// fetch reads a file as a client of RFC 7440 does; it gives up after a while.
func (l *lossy) fetch(server netip.AddrPort, name string, window int) ([]byte, error) {
	fields := []string{name, "octet", "blksize", "1024"}
	if window > 1 {
		fields = append(fields, "windowsize", fmt.Sprint(window))
	}
	out, to := rrq(fields...), server
	l.send(out, to)
	var got []byte
	next, count, tries := uint16(1), 0, 0
	opened := false
	ack := func(n uint16) {
		out = []byte{0, opACK, 0, 0}
		binary.BigEndian.PutUint16(out[2:], n)
		l.send(out, to)
	}
	for {
		var p []byte
		select {
		case p = <-l.in:
		case <-time.After(150 * time.Millisecond):
			if tries++; tries > 100 {
				return got, os.ErrDeadlineExceeded
			}
			l.mu.Lock()
			l.causes++
			l.mu.Unlock()
			l.send(out, to)
			continue
		}
		if len(p) < 4 {
			continue
		}
		switch binary.BigEndian.Uint16(p) {
		case opERROR:
			return got, fmt.Errorf("server: %s", p[4:])
		case opOACK:
			if next == 1 && len(got) == 0 {
				l.mu.Lock()
				to = l.peer
				l.mu.Unlock()
				opened = true
				ack(0)
			}
		case opDATA:
			if !opened {
				continue
			}
			if n := binary.BigEndian.Uint16(p[2:]); n != next {
				count = 0
				ack(next - 1)
				continue
			}
			tries = 0
			next++
			got = append(got, p[4:]...)
			if count++; len(p) < 1024+4 {
				ack(next - 1)
				return got, nil
			}
			if count == window {
				count = 0
				ack(next - 1)
			}
		}
	}
}

func TestLossyChannel(t *testing.T) { families(t, testLossyChannel) }

func testLossyChannel(t *testing.T, host string) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	s, srv, addr := start(t, host)
	file := s.files["file"]
	blocks := len(file)/1024 + 1
	server := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(addr.Port))
	var wg sync.WaitGroup
	n := 0
	for _, percent := range []int{0, 1, 5, 20} {
		for _, window := range []int{1, 4, 16} {
			for seed := range uint64(2) {
				n++
				wg.Go(func() {
					l := newLossy(t, host, percent, seed)
					began := time.Now()
					got, err := l.fetch(server, "file", window)
					t.Logf("%2d %%, window %2d: %s", percent, window, time.Since(began).Round(time.Millisecond))
					if err == nil && !bytes.Equal(got, file) {
						t.Errorf("%d %%, window %d: other bytes arrived", percent, window)
					}
					if err != nil && percent < 20 {
						t.Errorf("%d %%, window %d: %v after %d bytes", percent, window, err, len(got))
					}
					l.mu.Lock()
					defer l.mu.Unlock()
					// What meets a fate may cost a block sent again, and with a window all
					// that follows it; a packet more for each would be a storm.
					if most := blocks + (l.causes+2)*window; l.data > most {
						t.Errorf("%d %%, window %d: %d DATA packets for %d blocks and %d mishaps", percent, window, l.data, blocks, l.causes)
					}
				})
			}
		}
	}
	wg.Wait()
	for range n {
		select {
		case <-s.end:
		case <-time.After(patience + 10*time.Second):
			t.Fatal("a transfer hangs")
		}
	}
	bad := 0
	for _, o := range s.ended {
		if o.Result != boot.Complete {
			bad++
		}
	}
	t.Logf("%d transfers, %d not complete; %d requests repeated", n, bad, srv.Stats.Repeated.Load())
	if bad > n/4 {
		t.Errorf("%d of %d transfers did not end complete", bad, n)
	}
}
