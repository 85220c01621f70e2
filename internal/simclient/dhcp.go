package simclient

// This file is a machine's exchange with DHCP servers, from DISCOVER to a lease
// and the name of a boot file, including port 4011.

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"
)

// lease is an address with the options that came with it.
type lease struct {
	addr   netip.Addr
	mask   int
	router netip.Addr
	dns    []netip.Addr
	ack    *reply
	held   bool // asked for: to be released
	id     xid
	ia     *ia   // of DHCPv6
	as     *Kind // who asked for it
}

const maxOffers = 16 // as edk2

// lease gets a lease as kind k. stage is a prefix for the names of its steps.
// boot is the reply that names the boot file; nil if none does.
func (r *run) lease(ctx context.Context, k *Kind, stage string) (l *lease, boot *reply, err error) {
	if r.six != nil {
		return r.lease6(ctx, k, stage)
	}
	replies, leave := r.wire.hear(r.m.MAC)
	defer leave()
	var id xid
	binary.BigEndian.PutUint32(id[:], rand.Uint32())
	if k.pi != nil && k.pi.rom {
		id = xidPi3
	}
	for again := 0; ; again++ {
		l, boot, err = r.leaseOnce(ctx, k, stage, id, replies)
		// iPXE begins again after a NAK, firmware does not.
		if n, ok := err.(*nak); ok && k.way == asIPXE && again < 2 {
			r.step(Step{Name: stage + "lease", Verdict: Skipped, Text: n.Error() + ", beginning again"})
			continue
		}
		if n, ok := err.(*nak); ok {
			err = r.fail(stage+"lease", fault("the server thinks that the address is not for this network or belongs to another", "%s", n.Error()))
		}
		return l, boot, err
	}
}

// unheard adds to a hint why the machine may have received no answer.
func (r *run) unheard(hint string, unread int, proto, table string, port uint16) string {
	if unread > 0 {
		hint = fmt.Sprintf("%d replies came that no client could read; ", unread) + hint
	}
	if !r.h.cfg.Relay.Addr.IsValid() && here(table, port) {
		hint += " A " + proto + " server on this very host hears nothing of what is sent here: try from another one, or with --relay."
	}
	return hint
}

// claim records that the machine holds a lease. No other machine of ours may
// hold it.
func (r *run) claim(stage string, l *lease) error {
	other := r.h.claim(l.addr, r.m.MAC)
	if other == (MAC{}) {
		return nil
	}
	l.held = false // the other machine releases it
	return r.fail(stage+"lease", fault("the server gave one address to two machines: both will fail, now or later", "%s is leased to %s at the same time", l.addr, other))
}

type nak struct{ who, said string }

func (n *nak) Error() string {
	t := n.who + " refused the address (NAK)"
	if n.said != "" {
		t += ": " + shown(n.said)
	}
	return t
}

func (r *run) leaseOnce(ctx context.Context, k *Kind, stage string, id xid, replies <-chan *reply) (*lease, *reply, error) {
	start := time.Now()
	offers, sent, err := r.offers(ctx, k, id, replies)
	if err != nil {
		return nil, nil, err
	}
	took := time.Since(start)
	if len(offers) == 0 {
		hint := "is the VLAN right, is a boot server running on this interface (muster serve -i …), does a firewall drop UDP 67/68?"
		if r.h.cfg.Relay.Addr.IsValid() {
			hint = "does the server know a subnet for this relay's address, is it reachable, does a firewall drop UDP 67?"
		}
		hint = r.unheard(hint, r.wire.unread(), "DHCP", "udp", 67)
		return nil, nil, r.fail(stage+"offer", fault(hint, "no OFFER in %s from any server, %d DISCOVERs sent", took.Round(100*ms), sent))
	}
	c := k.choose(offers)
	var texts []string
	for _, o := range offers {
		texts = append(texts, o.text())
	}
	st := Step{Name: stage + "offer", Verdict: OK, Text: strings.Join(texts, "; "), Took: took}
	if n := addressServers(offers); len(n) > 1 {
		st.Hint = fmt.Sprintf("%d servers give addresses here (%s): which one a machine takes is a matter of luck", len(n), strings.Join(n, ", "))
	}
	if c.addr == nil {
		st.Verdict = Failed
		r.step(st)
		return nil, nil, ended(Broken, c.why, "is the network's own DHCP server running? a proxy names a boot file and leaves addresses to it")
	}
	st.Server = c.addr.who()
	r.step(st)

	l := &lease{addr: c.addr.addr, mask: c.addr.mask, dns: c.addr.dns, ack: c.addr, id: id}
	if len(c.addr.routers) > 0 {
		l.router = c.addr.routers[0]
	}
	r.addrs = append(r.addrs, l)
	if k.pi == nil || !k.pi.rom { // the ROM of a Pi 3 takes the OFFER for a lease
		if err := r.request(ctx, k, stage, l, c.addr, replies); err != nil {
			return nil, nil, err
		}
	}
	r.t.Address = l.addr.String()
	boot := c.boot
	if boot == c.addr && l.ack != c.addr {
		boot = l.ack // the ACK repeats the boot options, and counts
		if k.way == byHTTP || boot.name() == "" {
			boot = c.addr
		}
	}
	if boot == nil {
		return l, nil, r.fail(stage+"file", fault("is this machine allowed to boot, and does the server know its kind ("+k.class+")? ask it: muster explain, muster host show", "%s", c.why))
	}
	if c.ask4011 {
		to := boot.server
		if !to.IsValid() {
			to = boot.next
		}
		if boot, err = r.ask4011(ctx, k, stage, l, to, nil); err != nil {
			return l, nil, err
		}
	}
	if typ, text, ok := boot.menu(); ok && k.way == byTFTP && k.collect > 0 {
		if typ == 0 {
			return l, nil, ended(Local, fmt.Sprintf("the menu's first entry boots the local disk (%q)", shown(text)), "")
		}
		item := []byte{71, 4, byte(typ >> 8), byte(typ), 0, 0, 255}
		if boot, err = r.ask4011(ctx, k, stage, l, boot.menuServer(typ), item); err != nil {
			return l, nil, err
		}
	}
	return l, boot, nil
}

func addressServers(offers []*reply) (out []string) {
	seen := map[string]bool{}
	for _, o := range offers {
		if o.addr.IsValid() && !seen[o.who()] {
			seen[o.who()] = true
			out = append(out, o.who())
		}
	}
	return out
}

// offers sends DISCOVERs until offers come, then waits for further ones as long
// as this firmware does.
func (r *run) offers(ctx context.Context, k *Kind, id xid, replies <-chan *reply) (offers []*reply, sent int, err error) {
	start := time.Now()
	var collect <-chan time.Time
	proxies := 0
	for try := 0; ; try++ {
		if try == len(k.tries) {
			return offers, sent, nil
		}
		if err := r.wire.send(message(r.m, k, discover, id, time.Since(start)), nil); err != nil {
			return nil, sent, r.fail("offer", fault("", "sending: %v", err))
		}
		sent++
		next := time.NewTimer(r.retry(k.tries[try]))
		for waiting := true; waiting; {
			select {
			case o := <-replies:
				if o.kind != 2 || o.id != id {
					continue
				}
				// Without option 54 edk2 drops the whole offer.
				if k.broadcast && !o.server.IsValid() || len(offers) == maxOffers || !o.addr.IsValid() && proxies == maxOffers/2 {
					continue
				}
				if !o.addr.IsValid() {
					proxies++
				}
				if known(offers, o) {
					continue
				}
				offers = append(offers, o)
				if k.enough(offers) {
					next.Stop()
					return offers, sent, nil
				}
				if collect == nil && k.collect > 0 {
					collect = time.After(r.wait(k.collect))
				}
			case <-collect:
				for _, o := range offers {
					if o.addr.IsValid() {
						next.Stop()
						return offers, sent, nil
					}
				}
				collect = nil
			case <-next.C:
				waiting = false
			case <-ctx.Done():
				next.Stop()
				return offers, sent, r.over(ctx)
			}
		}
	}
}

func known(offers []*reply, o *reply) bool {
	for _, x := range offers {
		if x.who() == o.who() && x.addr == o.addr {
			return true
		}
	}
	return false
}

// request turns an offer into a lease.
func (r *run) request(ctx context.Context, k *Kind, stage string, l *lease, offer *reply, replies <-chan *reply) error {
	start := time.Now()
	for _, w := range append(k.again, 4*sec) {
		q := message(r.m, k, request, l.id, time.Since(start))
		q.Options[50] = l.addr.AsSlice()
		if offer.server.IsValid() {
			q.Options[54] = offer.server.AsSlice()
		}
		if err := r.wire.send(q, nil); err != nil {
			return r.fail(stage+"lease", fault("", "sending: %v", err))
		}
		l.held = true
		next := time.NewTimer(r.retry(w))
		for waiting := true; waiting; {
			select {
			case a := <-replies:
				switch {
				case a.id != l.id || offer.server.IsValid() && a.server.IsValid() && a.server != offer.server:
				case a.kind == 6:
					next.Stop()
					l.held = false
					return &nak{a.who(), a.said}
				case a.kind == 5 && a.addr != l.addr:
					next.Stop()
					return r.fail(stage+"lease", fault("firmware DECLINEs this", "%s offered %s and acknowledged %s", a.who(), l.addr, a.addr))
				case a.kind == 5:
					next.Stop()
					l.ack, l.mask = a, a.mask
					if len(a.routers) > 0 {
						l.router = a.routers[0]
					}
					if len(a.dns) > 0 {
						l.dns = a.dns
					}
					if err := r.claim(stage, l); err != nil {
						return err
					}
					t := fmt.Sprintf("%s/%d for %s", l.addr, l.mask, a.ttl)
					if l.router.IsValid() {
						t += ", router " + l.router.String()
					}
					r.step(Step{Name: stage + "lease", Verdict: OK, Text: t + ", from " + a.who(), Server: a.who(), Took: time.Since(start)})
					return nil
				}
			case <-next.C:
				waiting = false
			case <-ctx.Done():
				next.Stop()
				return r.over(ctx)
			}
		}
	}
	return r.fail(stage+"lease", fault("the server offered an address and then fell silent: is another one answering, is its store writable?", "no answer to REQUEST of %s from %s", l.addr, offer.who()))
}

// ask4011 asks a boot server for the file, as edk2 and PXE ROMs do if the offer
// leaves it open (PXE 2.1 2.2.5). item is option 43 if a menu led here.
func (r *run) ask4011(ctx context.Context, k *Kind, stage string, l *lease, server netip.Addr, item []byte) (*reply, error) {
	name := stage + "4011"
	start := time.Now()
	if !server.IsValid() {
		return nil, r.fail(name, fault("", "no answer says which server to ask at port 4011"))
	}
	if r.addr.relay.IsValid() {
		return nil, r.fail(name, fault("prove this from the network itself, with --interface", "firmware would now ask %s at port 4011, which answers to the leased address: behind a relay that is nobody's", server))
	}
	src, back, err := r.addr.source(l, true)
	if err != nil {
		return nil, r.fail(name, err)
	}
	r.backs = append(r.backs, back) // undone only at the end, because the next file is mostly read from this address
	r.lent(src, l)
	if err := r.addr.reach(l, src, server); err != nil {
		return nil, r.fail(name, fault("", "a route to %s: %v", server, err))
	}
	port := uint16(4011)
	if k.way == asIPXE {
		port = 68
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, port)))
	if err != nil {
		return nil, r.fail(name, fault("", "port %d of %s: %v", port, src, err))
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	b := make([]byte, 65536)
	for _, w := range []time.Duration{1 * sec, 2 * sec, 3 * sec, 4 * sec} { // edk2's
		q := message(r.m, k, request, l.id, time.Since(start))
		q.ClientIPAddr = l.addr.AsSlice()
		q.Flags = 0
		if item != nil {
			q.Options[43] = item
		}
		if _, err := c.WriteToUDPAddrPort(q.ToBytes(), netip.AddrPortFrom(server, 4011)); err != nil {
			return nil, r.fail(name, fault("", "sending to %s: %v", server, err))
		}
		c.SetReadDeadline(time.Now().Add(r.retry(w)))
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if ctx.Err() != nil {
				return nil, r.over(ctx)
			}
			if err != nil {
				break
			}
			a, err := parseReply(b[:n])
			if err != nil || a.id != l.id || a.mac != r.m.MAC || a.kind != 5 && a.kind != 2 {
				continue
			}
			a.from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			if a.name() == "" {
				return nil, r.fail(name, fault("", "%s answers at port 4011 without a boot file", server))
			}
			r.step(Step{Name: name, Verdict: OK, Text: server.String() + " names " + shown(a.name()), Server: server.String(), File: shown(a.name()), Took: time.Since(start)})
			return a, nil
		}
	}
	return nil, r.fail(name, fault("the offer has option 60 PXEClient and no discovery control in option 43, so firmware asks there: send 43 with 06 01 08, or open UDP 4011", "no answer from %s at port 4011 (PXE-E16 on the screen)", server))
}

// release releases all leases. Each stage of a boot has a lease of its own,
// often of the same address.
func (r *run) release() {
	done := map[netip.Addr]bool{}
	for i := len(r.addrs) - 1; i >= 0; i-- {
		l := r.addrs[i]
		if !l.held || done[l.addr] {
			continue
		}
		done[l.addr] = true
		if l.ia != nil {
			// The machine's own time limit may be over; the server is told
			// anyway.
			ctx, cancel := context.WithTimeout(context.Background(), 10*sec)
			r.giveBack(ctx, l)
			cancel()
			continue
		}
		k := r.m.Kind
		if r.now != nil {
			k = r.now
		}
		q := message(r.m, k, release, l.id, 0)
		q.Flags = 0
		q.ClientIPAddr = l.addr.AsSlice()
		for code := range q.Options {
			if code != 53 && code != 61 {
				delete(q.Options, code)
			}
		}
		st := Step{Name: "release", Verdict: OK, Text: l.addr.String() + " given back"}
		server := l.ack.server
		if !server.IsValid() {
			server = l.ack.from.Addr()
		}
		if server.IsValid() {
			q.Options[54] = server.AsSlice()
		}
		if err := r.wire.send(q, &dest{hw: l.ack.hw, from: l.addr, to: server}); err != nil {
			st.Verdict, st.Text = Failed, fmt.Sprintf("%s not given back: %v", l.addr, err)
		}
		r.h.unclaim(l.addr, r.m.MAC)
		r.step(st)
	}
}
