// servers.go: other DHCP servers on our links. They are found by asking as a client
// would, and by what clients send to them. lookout.go decides what follows.

package appliance

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
)

// post is a lookout with the place that it watches: a network, or all IPv6 networks of
// an interface, for which one question is enough.
type post struct {
	lookout
	key        string
	iface      string
	configured boot.Mode      // unused for IPv6, where each network has its own
	networks   []boot.Network // one network, or the IPv6 networks; never changed in place, only replaced
	six        bool
}

// sixName is the name of the IPv6 side of a network or interface.
func sixName(name string) string { return name + " (IPv6)" }

// station makes the posts of a configuration, by key. Posts of the former configuration
// stay if their interface is the same. What mode auto found out is kept only for the
// same link and mode.
func station(c *config.Config, before map[string]*post) map[string]*post {
	out := map[string]*post{}
	at := func(key, iface string) *post {
		if p := out[key]; p != nil {
			return p
		}
		p := before[key]
		if p == nil || p.iface != iface {
			p = &post{key: key, iface: iface}
		}
		out[key] = p
		return p
	}
	for _, n := range c.Networks {
		p := at(n.Name, n.Interface)
		if p.configured != n.Mode {
			p.configured, p.auto, p.mode = n.Mode, n.Mode == boot.Auto, boot.Listening
		}
		p.networks = []boot.Network{n}
	}
	for _, p := range before {
		if p.six {
			p.networks = nil
		}
	}
	for _, n := range c.Networks6 {
		p := at(sixName(n.Interface), n.Interface)
		p.six, p.networks = true, append(p.networks, n)
	}
	return out
}

// autoMode is the mode that an auto network has now. The caller holds d.mu.
func (d *daemon) autoMode(network string) boot.Mode {
	if p := d.posts[network]; p != nil {
		return p.mode
	}
	return boot.Listening
}

// serversBeside are the other servers heard lately on the link of a network, or of its
// IPv6 side. The caller holds d.mu.
func (d *daemon) serversBeside(n boot.Network, six bool) (out []client.RivalStatus) {
	key := n.Name
	if six {
		key = sixName(n.Interface)
	}
	p := d.posts[key]
	if p == nil {
		return nil
	}
	for _, s := range p.present(d.now()) {
		if s.Network == n.Name {
			out = append(out, s)
		}
	}
	return out
}

// watchServers passes observations to the lookouts, and carries out their actions.
func (d *daemon) watchServers(ctx context.Context) error {
	w := watch{daemon: d, answers: make(chan answer)}
	defer w.asking.Wait()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.engine.Rivals():
			d.mu.Lock()
			p := d.posts[r.Network]
			d.mu.Unlock()
			if !d.own(r) {
				w.see(ctx, p, chosen{r})
			}
		case a := <-w.answers:
			w.see(ctx, a.to, a.answered)
		case <-t.C:
			w.lookAtLinks(ctx)
		}
	}
}

// watch asks the links. Only watchServers calls it.
type watch struct {
	*daemon
	asking  sync.WaitGroup
	answers chan answer
}

type answer struct {
	to *post
	answered
}

// lookAtLinks sends a tick to every lookout.
func (w *watch) lookAtLinks(ctx context.Context) {
	w.mu.Lock()
	posts := maps.Clone(w.posts)
	w.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(posts)) {
		p := w.at(posts[key])
		if !p.six && (p.configured == boot.Off || p.configured == boot.Proxy) {
			continue // another server is meant to be there
		}
		l, err := w.sys.Link(p.iface)
		_, may := p.speaker(l)
		w.see(ctx, posts[key], tick{carries: err == nil && l.Found && l.Carry, mute: p.six && !may})
	}
}

// at returns the present state of a post.
func (w *watch) at(p *post) post {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *p
}

// speaker is the network in whose name an IPv6 question is asked, and whether there is
// one. The question is sent from the link-local address, and only where we serve.
func (p post) speaker(l run.Link) (boot.Network, bool) {
	if _, ok := l.LinkLocal(); !ok {
		return boot.Network{}, false
	}
	for _, n := range p.networks {
		on := slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return n.Subnet.Contains(a.Addr()) })
		if n.Mode != boot.Off && (on || len(n.Relays) == 0) {
			return n, true
		}
	}
	return boot.Network{}, false
}

// see has a lookout take one step, unless its post is gone, and carries out the
// actions.
func (w *watch) see(ctx context.Context, p *post, in input) {
	w.mu.Lock()
	if p == nil || w.posts[p.key] != p {
		w.mu.Unlock()
		return
	}
	next, do := p.step(w.now(), in)
	p.lookout = next
	now := *p
	var sharing []*post // other posts on the same link
	for _, o := range w.posts {
		if o != p && o.iface == p.iface && o.auto && !p.six {
			sharing = append(sharing, o)
		}
	}
	w.mu.Unlock()
	for _, a := range do {
		switch a := a.(type) {
		case ask:
			w.asking.Go(func() {
				in := w.ask(ctx, now)
				select {
				case w.answers <- answer{p, in}:
				case <-ctx.Done():
				}
			})
		case news:
			text := tellServer(a.server, a.named, now)
			w.log.Warn(text)
			w.record(ctx, boot.RivalServer, a.server.Network, text)
		case become:
			w.become(ctx, p.key, a)
		}
	}
	var server netip.Addr
	switch in := in.(type) {
	case answered: // what a client says of a server is no proof, here either
		if len(in.servers) > 0 {
			server = in.servers[0].Server
		}
	}
	if server.IsValid() {
		for _, o := range sharing {
			w.see(ctx, o, beside{server})
		}
	}
}

// ask asks a link for its servers.
func (w *watch) ask(ctx context.Context, p post) (in answered) {
	var found []boot.Rival
	var err error
	n, protocol := p.networks[0], "DHCP"
	if p.six {
		l, _ := w.sys.Link(p.iface)
		from, _ := l.LinkLocal()
		var may bool
		if n, may = p.speaker(l); !may {
			return answered{failed: true}
		}
		protocol = "DHCPv6"
		found, err = w.sys.Probe6(ctx, p.iface, from, w.duid)
	} else {
		found, err = w.sys.Probe(ctx, w.dhcp, p.iface)
	}
	if err != nil && ctx.Err() == nil {
		w.warn(fmt.Sprintf("network %s: cannot look for other %s servers: %v", n.Name, protocol, err))
	}
	in.failed = err != nil || ctx.Err() != nil
	for _, r := range found {
		if r.Network = n.Name; !w.own(r) {
			w.engine.Found(r)
			in.servers = append(in.servers, r)
		}
	}
	return in
}

// own reports that a server is this appliance, heard on another of its interfaces.
func (d *daemon) own(r boot.Rival) bool {
	return slices.ContainsFunc(d.engine.Policy().Networks, func(n boot.Network) bool { return n.Server == r.Server })
}

// tellServer says, for people, what another server means.
func tellServer(r boot.Rival, named bool, p post) string {
	protocol, mend := "DHCP", `mode = "proxy"`
	if p.six {
		protocol, mend = "DHCPv6", `mode6 = "off"` // DHCPv6 has no proxy mode
	}
	if named {
		return fmt.Sprintf("a client on network %s has chosen another %s server, %s: the link is asked for it", r.Network, protocol, r.Server) + client.Offered(r)
	}
	text := fmt.Sprintf("another %s server, %s, answers on network %s", protocol, r.Server, r.Network) + client.Offered(r)
	if !p.auto {
		text += ": two servers give addresses there; turn one off, or set " + mend
	}
	return text
}

// become puts another mode into force.
func (d *daemon) become(ctx context.Context, network string, b become) {
	if err := d.apply(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("policy was not renewed", "err", err)
		return
	}
	text := fmt.Sprintf("network %s is now in mode %s: %s", network, b.mode, b.why)
	d.log.Info(text)
	d.record(ctx, boot.ModeChanged, network, text)
}

func (d *daemon) record(ctx context.Context, kind boot.EventKind, network, text string) {
	if err := d.engine.Record(ctx, boot.Event{Kind: kind, Network: network, Text: text}); err != nil && ctx.Err() == nil {
		d.log.Error("event was not stored", "kind", kind, "err", err)
	}
}
