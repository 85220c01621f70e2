// names.go: whether the machines of a network can look up the name that [http] or
// [https] host gives the appliance. Their URLs carry it only then.

package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/dns"
)

const (
	namesEvery   = time.Minute
	namesAtOnce  = 16
	namesPatient = 5 * time.Second // for all of them, in a reload
)

// query is a name that a name server is asked for.
type query struct {
	server netip.Addr
	name   string
}

// records is what it said last.
type records struct {
	addrs   []netip.Addr
	unknown bool   // it knows no such name
	err     string // for people: why it said nothing
}

// queries are what machines of the networks would ask.
func queries(c *config.Config) (out []query) {
	for _, name := range []string{c.HTTPHost, c.HTTPSHost} {
		for _, n := range slices.Concat(c.Networks, c.Networks6) {
			for _, server := range n.Resolvers() {
				if q := (query{server, name}); name != "" && n.Mode != boot.Off && !slices.Contains(out, q) {
					out = append(out, q)
				}
			}
		}
	}
	return out
}

// lookUp asks all name servers of a configuration.
func (d *daemon) lookUp(ctx context.Context, c *config.Config) map[query]records {
	ctx, cancel := context.WithTimeout(ctx, namesPatient)
	defer cancel()
	qs := queries(c)
	as := make([]records, len(qs))
	var g errgroup.Group
	g.SetLimit(namesAtOnce)
	for i, q := range qs {
		g.Go(func() error {
			var err error
			if as[i].addrs, err = d.sys.Lookup(ctx, q.server, q.name); errors.Is(err, dns.ErrUnknown) {
				as[i].unknown = true
			} else if err != nil {
				as[i].err = err.Error()
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	out := map[query]records{}
	for i, q := range qs {
		out[q] = as[i]
	}
	return out
}

// watchNames asks again and again: a name server may start after us, or boot from us.
func (d *daemon) watchNames(ctx context.Context) error {
	tick := time.NewTicker(namesEvery)
	defer tick.Stop()
	for {
		c := d.settings()
		answers := d.lookUp(ctx, c)
		d.mu.Lock()
		news := d.config == c && !sameRecords(d.answers, answers) // else a reload has asked for what counts now
		if news {
			d.answers = answers
		}
		d.mu.Unlock()
		if news && (c.HTTPHost != "" || c.HTTPSHost != "") && ctx.Err() == nil {
			d.refresh(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func sameRecords(a, b map[query]records) bool {
	return a != nil && maps.EqualFunc(a, b, func(x, y records) bool {
		return x.unknown == y.unknown && x.err == y.err && slices.Equal(x.addrs, y.addrs)
	})
}

// named says whether machines of a network can find us by a name, and why, for people.
// own are our addresses on it: an address of ours elsewhere would not serve them.
func named(n *boot.Network, name string, own []netip.Addr, answers map[query]records) (good bool, why string) {
	if !n.Server.IsValid() {
		return false, "the network waits for an address"
	}
	servers := n.Resolvers()
	if len(servers) == 0 {
		switch {
		case n.Subnet.Addr().Is6():
			return false, "its machines are told no name server: set dns6"
		case n.Mode == boot.Proxy:
			return false, "another server gives the addresses: set dns to the name servers that it tells"
		}
		return false, "its machines are told no name server: set dns"
	}
	var unheard []string
	for _, server := range servers {
		r, asked := answers[query{server, name}]
		other := slices.IndexFunc(r.addrs, func(x netip.Addr) bool { return !slices.Contains(own, x) })
		switch {
		case !asked:
			unheard = append(unheard, server.String()+" was not asked yet")
		case r.unknown, r.err == "" && other < 0 && !slices.Contains(r.addrs, n.Server):
			return false, fmt.Sprintf("%s does not know it: give it a record with %s", server, n.Server)
		case r.err != "":
			unheard = append(unheard, server.String()+": "+r.err) // a machine asks the next one
		case other >= 0:
			return false, fmt.Sprintf("%s says %s, which is not our address there: its record should be %s alone", server, r.addrs[other], n.Server)
		default:
			good = true
		}
	}
	if good {
		return true, ""
	}
	return false, strings.Join(unheard, "; ")
}

// names settles by which host the URLs of each network go. p has the networks of c as
// they are served.
func names(c *config.Config, p *boot.Policy, answers map[query]records) map[string][]client.NameStatus {
	out := map[string][]client.NameStatus{}
	for n := range p.All() {
		var own []netip.Addr
		for o := range p.All() {
			if o.Name == n.Name && o.Server.IsValid() {
				own = append(own, o.Server)
			}
		}
		six := n.Subnet.IsValid() && n.Subnet.Addr().Is6()
		shown := n.Name
		if six {
			shown = sixName(n.Name)
		}
		for _, x := range []struct {
			name, scheme string
			host         *string
		}{{c.HTTPHost, "http", &n.HTTPHost}, {c.HTTPSHost, "https", &n.HTTPSHost}} {
			if x.name == "" || n.Mode == boot.Off {
				continue
			}
			good, why := named(n, x.name, own, answers)
			if good {
				*x.host = x.name
			}
			out[shown] = append(out[shown], client.NameStatus{Name: x.name, Scheme: x.scheme, OK: good, Text: why})
		}
	}
	return out
}

// name settles the names in a policy, and tells what became of them. The caller holds
// d.mu.
func (d *daemon) name(p *boot.Policy) {
	was := d.named
	d.named = names(d.config, p, d.answers)
	for network, l := range d.named {
		for _, s := range l {
			switch i := slices.IndexFunc(was[network], func(o client.NameStatus) bool { return o.Name == s.Name && o.Scheme == s.Scheme }); {
			case i >= 0 && was[network][i] == s:
			case s.OK:
				d.log.Info("URLs carry a name", "network", network, "scheme", s.Scheme, "name", s.Name)
			case d.answers != nil: // else nobody was asked yet
				d.log.Warn("URLs carry an address: "+s.Text, "network", network, "scheme", s.Scheme, "name", s.Name)
			}
		}
	}
}

// uncertified says what firmware will not like about the certificate of https URLs on a
// network; "" if nothing. The caller holds d.mu.
func (d *daemon) uncertified(n boot.Network) string {
	if d.pair == nil || !n.HTTPS || n.Mode == boot.Off || !n.Server.IsValid() {
		return ""
	}
	c, err := d.pair.get(&tls.ClientHelloInfo{})
	if err != nil || c.Leaf == nil {
		return ""
	}
	host := n.HTTPSHost
	if host == "" {
		host = n.Server.WithZone("").String()
	}
	if c.Leaf.VerifyHostname(host) == nil {
		return ""
	}
	has := slices.Clone(c.Leaf.DNSNames)
	for _, a := range c.Leaf.IPAddresses {
		has = append(has, a.String())
	}
	text := fmt.Sprintf("https URLs there carry %s, and certificate %s is for %s: firmware refuses it", host, d.pair.cert, strings.Join(has, ", "))
	if n.HTTPSHost == "" && len(c.Leaf.DNSNames) > 0 && d.config.HTTPSHost == "" {
		text += "; [https] host = \"" + c.Leaf.DNSNames[0] + "\" puts its name into them"
	}
	return text
}
