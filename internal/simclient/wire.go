package simclient

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// This file defines a wire, for every operating system, and how replies find
// their machine.

// A Relay is the relay agent that the process plays in front of its machines.
type Relay struct {
	Addr      netip.Addr // its own, giaddr
	Server    netip.Addr
	CircuitID string
	RemoteID  string
}

// dest is where a message goes that is not broadcast: to a server that has
// answered before.
type dest struct {
	hw       MAC
	from, to netip.Addr
}

// wire carries DHCP for many machines.
type wire interface {
	send(d *dhcpv4.DHCPv4, to *dest) error
	// hear subscribes a machine to its replies until leave is called.
	hear(m MAC) (replies <-chan *reply, leave func())
	unread() int
}

// exchange hands replies to their machines.
type exchange struct {
	mu        sync.Mutex
	listeners map[MAC]chan *reply
	bad       int // replies that could not be read
}

func (x *exchange) hear(m MAC) (<-chan *reply, func()) {
	ch := make(chan *reply, 32) // on overflow a reply is lost, as on a wire
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.listeners == nil {
		x.listeners = map[MAC]chan *reply{}
	}
	x.listeners[m] = ch
	return ch, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.listeners[m] == ch {
			delete(x.listeners, m)
		}
	}
}

// unread is how many replies could not be read.
func (x *exchange) unread() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bad
}

// heard reports whether a machine listens.
func (x *exchange) heard(m MAC) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.listeners[m] != nil
}

// deliver gives a datagram to its machine. Most are for somebody else, so a
// datagram is parsed only if its machine is one of ours.
func (x *exchange) deliver(m MAC, parse func([]byte) (*reply, error), b []byte, from netip.AddrPort, hw MAC) {
	x.mu.Lock()
	ch := x.listeners[m]
	x.mu.Unlock()
	if ch == nil {
		return
	}
	r, err := parse(bytes.Clone(b))
	if err != nil {
		x.mu.Lock()
		x.bad++
		x.mu.Unlock()
		return
	}
	r.from, r.hw = from, hw
	select {
	case ch <- r:
	default:
	}
}

// pass is deliver for DHCPv4, whose header names the machine.
func (x *exchange) pass(b []byte, from netip.AddrPort, hw MAC) {
	if len(b) >= 240 && b[0] == 2 {
		x.deliver(MAC(b[28:34]), parseReply, b, from, hw)
	}
}

// wire6 carries DHCPv6 for many machines.
type wire6 interface {
	send(m MAC, message []byte) error
	hear(m MAC) (replies <-chan *reply, leave func())
	unread() int
}

// neighbours is an IPv6 wire that is a link: routers advertise on it, and other
// hosts may hold an address.
type neighbours interface {
	routers() (out []*advert, news <-chan struct{})
	solicit(m MAC) error
	answer(m MAC, to netip.Addr, hw MAC)
	taken(ctx context.Context, m MAC, a netip.Addr, wait time.Duration) bool
}

// here reports whether DHCP's port is in use on this host. Frames that leave an
// interface are not received by a server on the same one. table is udp or udp6.
func here(table string, port uint16) bool {
	b, err := os.ReadFile("/proc/thread-self/net/" + table)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}
