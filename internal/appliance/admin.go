// admin.go: the API's port, for people and programs that are not on this computer's
// socket.

package appliance

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterboot/muster/internal/access"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/internal/web"
)

// listenAdmin opens the port. If another program has the default one, the appliance
// starts with the socket alone.
func (o *opener) listenAdmin(ctx context.Context, api *admin.Server) error {
	c := o.config.Admin
	if c.Listen == "" {
		return nil
	}
	out := &admin.Outside{Server: api, Names: func() []string { return adminNames(o.settings()) }, Page: func(a http.Handler) admin.Page { return web.New(a, admin.StatusOf, o.log) }}
	if !c.Plain() {
		get, p, err := o.certificate("[admin]", c.Cert, c.Key)
		if err != nil {
			return err
		}
		o.adminPair = p
		// For browsers, scripts and our own command line: none of them is firmware.
		out.TLS = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: get}
	}
	l, err := o.sys.HTTP(ctx, c.Listen)
	if err != nil {
		err = run.BindError("tcp", config.Port(c.Listen), err)
		if c.Asked {
			return err
		}
		o.log.Warn(fmt.Sprintf("the API is at the socket alone (listen = \"off\" in [admin] ends this warning): %v", err))
		return nil
	}
	o.task("tokens", func(ctx context.Context) error { return o.tidyTokens(ctx, api.Gate) })
	o.holds(l, "admin port", func(ctx context.Context) error { return out.Serve(ctx, l) })
	return nil
}

// tidyTokens removes the tokens that have ended.
func (d *daemon) tidyTokens(ctx context.Context, g *access.Gate) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if n, err := g.Tidy(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("tokens that have ended were not removed", "err", err)
		} else if n > 0 {
			d.log.Info("tokens that have ended were removed", "tokens", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// adminNames are those by which people may call the port: what the configuration says,
// and the computer's own.
func adminNames(c *config.Config) []string {
	names := slices.Clone(c.AdminNames)
	if h, err := os.Hostname(); err == nil {
		names = append(names, strings.ToLower(h))
	}
	return names
}

// page is where others find the page: by a name that the configuration gives the port, by
// the address that it listens on, else by an address that a network serves from. The lock
// is held.
func (d *daemon) page() string {
	c := d.config.Admin
	if c.Listen == "" {
		return ""
	}
	at, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(config.Port(c.Listen)))
	}
	host := ""
	if !at.Addr().IsUnspecified() {
		host = at.Addr().String()
	}
	if own := ownAddrs(d.config.Networks); host == "" && len(own) > 0 {
		host = own[0].String()
	}
	if names := d.config.AdminNames; len(names) > 0 {
		host = names[0]
	} else if host == "" {
		host, _ = os.Hostname()
	}
	scheme := "https"
	if c.Plain() {
		scheme = "http"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(at.Port())))
}

// adminAddrs are the addresses of the port that the built-in CA certifies. The lock is
// held.
func (d *daemon) adminAddrs() (out []netip.Addr) {
	c := d.config.Admin
	if c.Listen == "" || c.Plain() || c.Cert != "" {
		return nil
	}
	at, err := netip.ParseAddrPort(c.Listen)
	if err == nil && !at.Addr().IsUnspecified() {
		return []netip.Addr{at.Addr()}
	}
	for _, name := range d.sys.Interfaces() {
		l, err := d.sys.Link(name)
		if err != nil {
			continue
		}
		for _, p := range l.Addrs {
			if a := p.Addr(); a.IsGlobalUnicast() || a.IsLoopback() {
				out = append(out, a)
			}
		}
	}
	return out
}
