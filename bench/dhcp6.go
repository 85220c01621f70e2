// dhcp6.go: the differences of DHCPv6: a plain client, the responder that
// perfdhcp itself is measured with, and the table against Kea.

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/ipv6"

	"github.com/musterboot/muster/internal/nettest"
)

const (
	solicit, advertise, request6, reply6 = 1, 2, 3, 7 // message types

	clientID, serverID, iaNA, iaAddr, elapsed = 1, 2, 3, 5, 8 // options

	serverAddr6 = "fd80::1"
	allServers  = "ff02::1:2"
)

var dhcp6 = protocol{
	flag: "-6", to: "all", ask: "SOLICIT", offer: "ADVERTISE", request: "REQUEST", reply: "REPLY",
	client: func(b *bench) (plain, error) { return &wire6{b: b}, nil },
	listen: (*bench).parrot6,
}

func (b *bench) dhcp6(ctx context.Context) (*table, error) {
	restore, err := roomForClients()
	if err != nil {
		return nil, err
	}
	defer restore()
	// A server gives addresses only of a subnet in which it has one itself.
	if _, err := b.server.Run(ctx, "ip", "addr", "replace", serverAddr6+"/64", "dev", "eth0", "nodad"); err != nil {
		return nil, err
	}
	for _, ns := range []*nettest.NS{b.server, b.client} {
		if err := linkLocal(ctx, ns); err != nil {
			return nil, err
		}
	}
	most, err := b.ceiling(ctx, dhcp6)
	if err != nil {
		return nil, fmt.Errorf("perfdhcp alone: %w", err)
	}
	p := pool{size: 65000, six: true}
	servers := b.field(b.musterServer("Muster", p.port(), p, b.noLimits, nil), kea(p))
	t := newTable("DHCPv6", servers)
	t.note("perfdhcp, one thread, full SOLICIT-ADVERTISE-REQUEST-REPLY exchanges without a relay, by multicast from one link-local address, one per new client (DUID-LLT, one IA_NA). The pool has %s addresses, all free at the start.", thousands(p.size))
	t.note("Every run has a new server on fresh state; it serves %d exchanges of a plain client first.", warmUp)
	t.note("Muster syncs each lease to disk before its REPLY; Kea writes its lease file without fsync. Muster's request log is on, as it ships; Kea has its own turned off.%s", b.limitsNote())
	return t, b.exchanges(ctx, t, servers, dhcp6, 0, most)
}

// linkLocal waits for an interface's link-local address, which the kernel adds
// up to a second after the cable is plugged in.
func linkLocal(ctx context.Context, ns *nettest.NS) error {
	for range 100 {
		out, err := ns.Run(ctx, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "link")
		if err != nil {
			return err
		}
		if strings.Contains(out, "inet6") && !strings.Contains(out, "tentative") {
			return nil
		}
		pause(ctx, 50*time.Millisecond)
	}
	return errors.New("eth0 has no link-local address")
}

// wire6 is a plain client. Its socket is open only while it asks, because
// perfdhcp needs the same port.
type wire6 struct {
	b     *bench
	asked int
	pc    net.PacketConn
	to    *net.UDPAddr
}

func (w *wire6) open() (err error) {
	w.to = &net.UDPAddr{IP: net.ParseIP(allServers), Port: 547}
	return w.b.client.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			w.to.Zone = strconv.Itoa(i.Index) // by number: package net would look the name up outside the namespace
			w.pc, err = net.ListenPacket("udp6", "[::]:546")
		}
		return err
	})
}

func (w *wire6) close() {
	if w.pc != nil {
		w.pc.Close()
		w.pc = nil
	}
}

// ask sends one message of a client and waits for its answer; nil if none came.
func (w *wire6) ask(kind byte, m mac, options []byte, wait time.Duration) (answer []byte, err error) {
	xid := rand.Uint32()
	b := []byte{kind, byte(xid >> 16), byte(xid >> 8), byte(xid)}
	b = put6(b, clientID, append([]byte{0, 3, 0, 1}, m[:]...)) // DUID-LL
	b = put6(b, elapsed, []byte{0, 0})
	if _, err := w.pc.WriteTo(append(b, options...), w.to); err != nil {
		return nil, err
	}
	if err := w.pc.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := w.pc.ReadFrom(buf)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if n >= 4 && bytes.Equal(buf[1:4], b[1:4]) {
			return buf[:n], nil
		}
	}
}

// anyIA asks for an address.
var anyIA = put6(nil, iaNA, make([]byte, 12))

func (w *wire6) awake(ctx context.Context, s *process) (time.Duration, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	defer w.close()
	return s.awake(ctx, func(wait time.Duration) (bool, error) {
		a, err := w.ask(solicit, warmers.number(0), anyIA, wait)
		return a != nil, err
	})
}

func (w *wire6) next(n int) (took []float64, err error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	defer w.close()
	for range n {
		w.asked++
		start := time.Now()
		if err := w.lease(warmers.number(w.asked)); err != nil {
			return took, err
		}
		took = append(took, ms(time.Since(start)))
	}
	return took, nil
}

// insist repeats a message that was not answered.
func (w *wire6) insist(kind byte, m mac, options []byte) (answer []byte, err error) {
	for try := range tries {
		if a, err := w.ask(kind, m, options, time.Second<<try); a != nil || err != nil {
			return a, err
		}
	}
	return nil, errSilence
}

func (w *wire6) lease(m mac) error {
	a, err := w.insist(solicit, m, anyIA)
	if err != nil {
		return err
	}
	if a[0] != advertise {
		return errors.New("no ADVERTISE")
	}
	take := put6(put6(nil, serverID, option6(a[4:], serverID)), iaNA, option6(a[4:], iaNA))
	if a, err = w.insist(request6, m, take); err != nil {
		return err
	}
	if a[0] != reply6 {
		return errors.New("no REPLY")
	}
	if ia := option6(a[4:], iaNA); len(ia) < 12 || option6(ia[12:], iaAddr) == nil {
		return errors.New("a REPLY without an address")
	}
	return nil
}

func put6(b []byte, code uint16, v []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

// option6 finds an option; nil if there is none.
func option6(b []byte, code uint16) []byte {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			break
		}
		if binary.BigEndian.Uint16(b) == code {
			return b[4 : 4+n]
		}
		b = b[4+n:]
	}
	return nil
}

// parrot6 answers every SOLICIT with the next address, and a REQUEST with itself.
func (b *bench) parrot6() (answer responder, end func(), err error) {
	var pc net.PacketConn
	var c *ipv6.PacketConn
	err = b.server.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if pc, err = net.ListenPacket("udp6", "[::]:547"); err != nil {
			return err
		}
		c = ipv6.NewPacketConn(pc)
		return c.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(allServers)})
	})
	if err != nil {
		return nil, nil, err
	}
	next := netip.MustParseAddr(serverAddr6)
	fill := func(d []byte) []byte {
		if len(d) < 4 {
			return d
		}
		if d[0] == request6 {
			d[0] = reply6
			return d
		}
		client, ia := slices.Clone(option6(d[4:], clientID)), make([]byte, 12, 64)
		copy(ia, option6(d[4:], iaNA))
		next = next.Next()
		ia = put6(ia, iaAddr, append(next.AsSlice(), 0, 0, 14, 16, 0, 0, 14, 16))
		d[0] = advertise
		d = put6(put6(d[:4], clientID, client), serverID, []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 1})
		return put6(d, iaNA, ia)
	}
	return func() { parrot(c, fill) }, func() { pc.Close() }, nil
}
