package simclient

// This file is a machine's exchange over IPv6, from the router on its link to
// an address and the URL of its boot file.

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// collect6 is how long edk2 waits for further Advertises; one with preference
// 255 ends the wait (RFC 8415 18.2.9).
const collect6 = 4700 * ms

// lease6 is lease over IPv6.
func (r *run) lease6(ctx context.Context, k *Kind, stage string) (l *lease, boot *reply, err error) {
	replies, leave := r.six.hear(r.m.MAC)
	defer leave()
	adverts, err := r.routers(ctx, k, stage)
	if err != nil {
		return nil, nil, err
	}
	l = &lease{mask: 64}
	managed, other := len(adverts) == 0, false
	for _, a := range adverts {
		managed, other = managed || a.managed, other || a.other
		l.dns = append(l.dns, a.dns...)
		if a.lifetime > 0 && !l.router.IsValid() {
			l.router = a.from
		}
	}
	if k.six.router && len(adverts) > 0 && !managed {
		return r.stateless(ctx, k, stage, l, adverts, other, replies)
	}

	var stack *lease
	if k.six.stack && len(adverts) > 0 && managed {
		if stack, err = r.associate(ctx, k, stage+"stack ", true, replies); err != nil {
			return nil, nil, err
		}
	}
	if k.six.stack && !managed && other {
		if _, err := r.inform(ctx, k, stage+"stack offer", &ia{stack: true}, replies); err != nil {
			return nil, nil, err
		}
	}
	got, err := r.associate(ctx, k, stage, false, replies)
	if err != nil {
		return nil, nil, err
	}
	got.router = l.router
	if len(got.dns) == 0 {
		got.dns = l.dns
	}
	l = got
	r.t.Address = l.addr.String()
	if stack != nil {
		if stack.addr == l.addr {
			return nil, nil, r.fail(stage+"lease", fault("the server must give an address to each association (DUID and IAID), as edk2 releases the one of its IP stack before it loads a file", "%s is given for both associations of one machine", l.addr))
		}
		r.release6(ctx, stack, stage+"stack ", replies)
	}
	if why, hint := k.refuses(l.ack); why != "" {
		return l, nil, r.fail(stage+"file", fault(hint, "%s", why))
	}
	boot = l.ack
	if k.way == byTFTP {
		boot.opt67 = firmwareURL(boot.opt67)
	}
	return l, boot, nil
}

// routers solicits routers, and waits for them as firmware of kind k does.
func (r *run) routers(ctx context.Context, k *Kind, stage string) ([]*advert, error) {
	l, ok := r.six.(neighbours)
	if !ok {
		return nil, nil // machines behind a relay receive no advertisements
	}
	start := time.Now()
	var got []*advert
	for range 3 {
		if err := l.solicit(r.m.MAC); err != nil {
			return nil, r.fail(stage+"router", fault("", "sending: %v", err))
		}
		for wait := time.After(4 * sec); ; { // a router may take 3.5 s (RFC 4861 6.2.6)
			var news <-chan struct{}
			if got, news = l.routers(); len(got) > 0 {
				break
			}
			select {
			case <-news:
				continue
			case <-ctx.Done():
				return nil, r.over(ctx)
			case <-wait:
			}
			break
		}
		if len(got) > 0 || !k.six.router {
			break
		}
	}
	var texts []string
	for _, a := range got {
		texts = append(texts, a.text())
	}
	switch {
	case len(got) > 0:
		r.step(Step{Name: stage + "router", Verdict: OK, Text: strings.Join(texts, "; "), Server: got[0].from.String(), Took: time.Since(start)})
	case k.six.router:
		return nil, r.fail(stage+"router", fault("the network's router must advertise itself with M or O set; where there is none, have the boot server do it (Muster: ra = \"managed\")",
			"no router advertisement in %s: iPXE and operating systems ask no DHCPv6 server without one", time.Since(start).Round(100*ms)))
	default:
		r.step(Step{Name: stage + "router", Verdict: Skipped, Text: "no router advertisement: this firmware goes on without, iPXE and operating systems will not", Took: time.Since(start)})
	}
	return got, nil
}

// stateless is a machine that makes its own address, and asks for the other
// options if the router says so.
func (r *run) stateless(ctx context.Context, k *Kind, stage string, l *lease, adverts []*advert, other bool, replies <-chan *reply) (*lease, *reply, error) {
	for _, a := range adverts {
		for _, p := range a.own {
			if !l.addr.IsValid() {
				l.addr = r.m.MAC.in(p)
			}
		}
	}
	switch {
	case !other:
		return nil, nil, r.fail(stage+"offer", fault("the router must set M (or O, with a prefix that hosts make addresses of)", "the router says that there is no DHCPv6 here, and iPXE asks no server then"))
	case !l.addr.IsValid():
		return nil, nil, r.fail(stage+"offer", fault("the router must set M, or advertise a prefix that hosts make addresses of", "the router says that DHCPv6 gives no addresses, and advertises no prefix to make one of"))
	}
	a, err := r.inform(ctx, k, stage+"offer", nil, replies)
	if err != nil {
		return nil, nil, err
	}
	if err := r.own(ctx, stage, l.addr, nil); err != nil {
		return nil, nil, err
	}
	l.ack = a
	if len(a.dns) > 0 {
		l.dns = a.dns
	}
	r.t.Address = l.addr.String()
	r.step(Step{Name: stage + "lease", Verdict: OK, Text: l.addr.String() + ", made of the router's prefix"})
	if why, hint := k.refuses(a); why != "" {
		return l, nil, r.fail(stage+"file", fault(hint, "%s", why))
	}
	return l, a, nil
}

// inform asks for everything except an address.
func (r *run) inform(ctx context.Context, k *Kind, step string, x *ia, replies <-chan *reply) (*reply, error) {
	start := time.Now()
	got, _, err := r.converse(ctx, k, step, inform6, x, k.tries, replies)
	if err != nil {
		return nil, err
	}
	if len(got) == 0 {
		return nil, r.silent6(step, "REPLY to an Information-request", time.Since(start))
	}
	r.step(Step{Name: step, Verdict: OK, Text: got[0].text6(), Server: got[0].who(), Took: time.Since(start)})
	return got[0], nil
}

// associate gets an address for one association.
func (r *run) associate(ctx context.Context, k *Kind, stage string, stack bool, replies <-chan *reply) (*lease, error) {
	x := &ia{stack: stack}
	switch {
	case stack:
		x.id = ^binary.BigEndian.Uint32(r.m.MAC[2:]) // edk2 makes it of the MAC
	case k.six.iaid != nil:
		x.id = k.six.iaid(r.m.MAC)
	default:
		var b [4]byte
		_, _ = rand.Read(b[:])
		x.id = binary.BigEndian.Uint32(b[:])
	}
	start := time.Now()
	offers, sent, err := r.converse(ctx, k, stage+"offer", solicit6, x, k.tries, replies)
	if err != nil {
		return nil, err
	}
	if len(offers) == 0 {
		return nil, r.silent6(stage+"offer", fmt.Sprintf("ADVERTISE to %d Solicits", sent), time.Since(start))
	}
	var texts, servers []string
	for _, o := range offers {
		texts = append(texts, o.text6())
		if o.addr.IsValid() {
			servers = append(servers, o.who())
		}
	}
	st := Step{Name: stage + "offer", Verdict: OK, Text: strings.Join(texts, "; "), Took: time.Since(start)}
	if len(servers) > 1 {
		st.Hint = fmt.Sprintf("%d servers give addresses here (%s): which one a machine takes is a matter of preference and luck", len(servers), strings.Join(servers, ", "))
	}
	o := k.choose6(offers, stack)
	if o == nil {
		st.Verdict = Failed
		r.step(st)
		return nil, ended(Broken, "no server gives an address: "+strings.Join(texts, "; "), "is there an address left in the range, and may this machine have one?")
	}
	st.Server = o.who()
	r.step(st)

	start = time.Now()
	x.given = o
	got, _, err := r.converse(ctx, k, stage+"lease", request6, x, append(slices.Clone(k.again), 4*sec), replies)
	if err != nil {
		return nil, err
	}
	if len(got) == 0 {
		return nil, r.fail(stage+"lease", fault("the server offered an address and then fell silent: is its store writable?", "no REPLY to REQUEST of %s from %s", o.addr, o.who()))
	}
	a := got[0]
	switch {
	case !a.addr.IsValid():
		why := a.status
		if why == "" {
			why = "there is no address in its REPLY"
		}
		return nil, r.fail(stage+"lease", fault("the server's log says why", "%s takes its offer of %s back: %s", o.who(), o.addr, why))
	case a.addr != o.addr:
		// RFC 8415 allows it: the client takes the address in the Reply.
		r.step(Step{Name: stage + "lease", Verdict: Skipped, Text: fmt.Sprintf("%s offered %s and gives %s", a.who(), o.addr, a.addr)})
	}
	x.given = a
	l := &lease{addr: a.addr, mask: a.mask, dns: a.dns, ack: a, held: true, ia: x, as: k}
	r.addrs = append(r.addrs, l)
	if err := r.claim(stage, l); err != nil {
		return nil, err
	}
	if err := r.own(ctx, stage, l.addr, l); err != nil {
		return nil, err
	}
	r.step(Step{Name: stage + "lease", Verdict: OK, Text: fmt.Sprintf("%s for %s, from %s", l.addr, a.ttl, a.who()), Server: a.who(), Took: time.Since(start)})
	return l, nil
}

// own checks whether another host has the address, and sends a Decline if so.
func (r *run) own(ctx context.Context, stage string, a netip.Addr, l *lease) error {
	w, ok := r.six.(neighbours)
	if !ok || !w.taken(ctx, r.m.MAC, a, r.wait(sec)) {
		return nil
	}
	text := fmt.Sprintf("another machine of this network answers for %s", a)
	if l != nil {
		l.held = false
		r.h.unclaim(a, r.m.MAC)
		text += "; the server is told (Decline)"
		_ = r.six.send(r.m.MAC, message6(r.m, l.as, decline6, xid6(), 0, l.ia))
	}
	return r.fail(stage+"lease", fault("who has it? (ip neigh, a static address inside the range?)", "%s", text))
}

func xid6() (x [3]byte) {
	_, _ = rand.Read(x[:])
	return x
}

// converse sends a message until it is answered, and collects further answers
// for as long as firmware waits.
func (r *run) converse(ctx context.Context, k *Kind, step string, typ byte, x *ia, tries []time.Duration, replies <-chan *reply) (got []*reply, sent int, err error) {
	start, id := time.Now(), xid6()
	want := messageType(reply6)
	if typ == solicit6 {
		want = advertise6
	}
	var collect <-chan time.Time
	for _, wait := range tries {
		if err := r.six.send(r.m.MAC, message6(r.m, k, typ, id, time.Since(start), x)); err != nil {
			return nil, sent, r.fail(step, fault("", "sending: %v", err))
		}
		sent++
		next := time.NewTimer(r.retry(wait))
		for waiting := true; waiting; {
			select {
			case a := <-replies:
				if a.kind != want || a.xid != id || string(a.client) != string(k.six.duid(r.m)) || len(a.duid) == 0 ||
					x != nil && x.given != nil && string(a.duid) != string(x.given.duid) || x != nil && a.addr.IsValid() && a.iaid != x.id || len(got) == maxOffers {
					continue
				}
				got = append(got, a)
				if typ != solicit6 || a.addr.IsValid() && (a.pref == 255 || k.six.first) {
					next.Stop()
					return got, sent, nil
				}
				if collect == nil {
					collect = time.After(r.wait(collect6))
				}
			case <-collect:
				next.Stop()
				return got, sent, nil
			case <-next.C:
				waiting = false
			case <-ctx.Done():
				next.Stop()
				return got, sent, r.over(ctx)
			}
		}
	}
	return got, sent, nil
}

func (r *run) silent6(step, what string, took time.Duration) error {
	hint := "is the VLAN right, does a boot server give IPv6 addresses on this interface (subnet6, range6), does a firewall drop UDP 546/547?"
	if r.h.cfg.Relay.Addr.IsValid() {
		hint = "does the server know a network for this relay's address, is it reachable, does a firewall drop UDP 547?"
	}
	hint = r.unheard(hint, r.six.unread(), "DHCPv6", "udp6", 547)
	return r.fail(step, fault(hint, "no %s in %s from any server", what, took.Round(100*ms)))
}

// choose6 is the firmware's choice among the Advertises with an address: the
// highest preference, and of equal ones the first with a boot file.
func (k *Kind) choose6(offers []*reply, stack bool) (best *reply) {
	boots := func(o *reply) bool {
		why, _ := k.refuses(o)
		return stack || why == ""
	}
	for _, o := range offers {
		if o.addr.IsValid() && (best == nil || o.pref > best.pref || o.pref == best.pref && boots(o) && !boots(best)) {
			best = o
		}
	}
	return best
}

// text6 is an offer in a few words.
func (r *reply) text6() string {
	t := r.who()
	switch {
	case r.addr.IsValid():
		t += " offers " + r.addr.String()
	case r.status != "":
		t += " gives no address (" + r.status + ")"
	default:
		t += " answers"
	}
	if r.opt67 != "" {
		t += ", " + shown(short(r.opt67))
	}
	return t
}

// release6 releases an address and waits for the server's Reply.
func (r *run) release6(ctx context.Context, l *lease, stage string, replies <-chan *reply) {
	l.held = false
	st := Step{Name: stage + "release", Verdict: OK, Text: l.addr.String() + " given back"}
	start := time.Now()
	got, _, err := r.converse(ctx, l.as, st.Name, release6, l.ia, []time.Duration{sec, 2 * sec}, replies)
	switch {
	case err != nil:
		return // reported already
	case len(got) == 0:
		st.Text += ", and nobody answered"
		st.Hint = "the server must answer a Release: firmware repeats it for seconds"
	}
	st.Took = time.Since(start)
	r.h.unclaim(l.addr, r.m.MAC)
	r.step(st)
}

// giveBack releases a lease when its exchange is over.
func (r *run) giveBack(ctx context.Context, l *lease) {
	replies, leave := r.six.hear(r.m.MAC)
	defer leave()
	r.release6(ctx, l, "", replies)
}

// gone releases the firmware's addresses when another program takes over the
// card, as edk2 does.
func (r *run) gone(ctx context.Context) {
	if l := r.l; r.six != nil && l != nil && l.held && !r.h.cfg.Keep {
		r.giveBack(ctx, l)
	}
}
