// outside.go: the API on a TCP port, where anybody may knock: who comes in shows a token.

package admin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/musterboot/muster/boot"
)

// Bounds of the TCP port.
const (
	maxConns    = 512
	maxAtOnce   = 256              // requests
	maxStreams  = 64               // of them, those that go on until the client leaves
	stepTimeout = 30 * time.Second // for each piece that a client reads or sends
)

// Outside is the API on a TCP port.
type Outside struct {
	*Server
	TLS   *tls.Config     // nil is plain HTTP, for loopback
	Names func() []string // by which the port may be called; an address always may

	step time.Duration // for a test; 0 is stepTimeout
}

// Serve answers until ctx ends.
func (o *Outside) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           o.handler(),
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(io.Discard, "", 0), // strangers send noise
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	l = netutil.LimitListener(l, maxConns)
	var err error
	if o.TLS != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handler is what stands in front of the API.
func (o *Outside) handler() http.Handler {
	inner := http.NewCrossOriginProtection().Handler(o.routes())
	room, endless := make(chan struct{}, maxAtOnce), make(chan struct{}, maxStreams)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head(w.Header())
		free := room
		if r.URL.Query().Get("follow") == "1" || streams(r) {
			free = endless
		}
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
		default:
			w.Header().Set("Retry-After", "1")
			o.fail(w, r, boot.NewFault(boot.TooMany, "%d requests of this kind are being answered: ask again in a while", cap(free)))
			return
		}
		p := &paced{w, pace{http.NewResponseController(w), cmp.Or(o.step, stepTimeout)}}
		r.Body = pacedBody{r.Body, p.pace}
		o.enter(p, r, inner)
	})
}

// head is on every answer. Nothing here is for another page to show, or to keep.
func head(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
}

// enter finds out who asks, or refuses.
func (o *Outside) enter(w http.ResponseWriter, r *http.Request, inner http.Handler) {
	if !o.called(r.Host) {
		// A page elsewhere whose name leads to us is told nothing (DNS rebinding).
		p := problem(boot.Forbidden, "this port is not called "+boot.CleanText(r.Host, 80)+"; [admin] names says how it may be", "")
		p.Status = http.StatusMisdirectedRequest
		refuse(w, p)
		return
	}
	for k := range r.URL.Query() {
		if slices.Contains([]string{"token", "access_token", "authorization", "password"}, strings.ToLower(k)) {
			o.fail(w, r, boot.NewFault(boot.Malformed, "%s in a URL ends in logs: send it as the header Authorization: Bearer TOKEN", k))
			return
		}
	}
	get := r.Method == http.MethodGet
	n, known := needs[r.Method+" "+r.URL.Path]
	open := known && n.role == anybody
	switch {
	case get && r.URL.Path == "/healthz":
		write(w, http.StatusOK, struct {
			OK bool `json:"ok"`
		}{true})
		return
	case get && open:
		inner.ServeHTTP(w, r)
		return
	}
	is, err := o.Gate.Somebody(r.Context())
	if err != nil {
		o.fail(w, r, err)
		return
	}
	if !is {
		o.nobody(w, r)
		return
	}
	switch {
	case get && r.URL.Path == "/":
		text(w, http.StatusOK, "Muster: show a token, as docs/api.md says. MUSTER_URL="+o.origin(r)+" MUSTER_TOKEN=mst_… muster host list\n")
		return
	case open:
		inner.ServeHTTP(w, r)
		return
	}
	secret, err := bearer(r.Header)
	if err == nil {
		who, e := o.Gate.Token(r.Context(), secret, peer(r))
		if err = e; err == nil {
			r = as(r, who)
		}
	}
	if err != nil {
		if f := boot.FaultOf(err); f != nil && f.Code == boot.Unauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="muster"`)
		}
		o.fail(w, r, err)
		return
	}
	inner.ServeHTTP(w, r)
}

func (o *Outside) origin(r *http.Request) string {
	if o.TLS != nil {
		return "https://" + boot.CleanText(r.Host, 80)
	}
	return "http://" + boot.CleanText(r.Host, 80)
}

// nobody is the answer while nobody can come in.
func (o *Outside) nobody(w http.ResponseWriter, r *http.Request) {
	const say = "nobody can come in yet: on the appliance, sudo muster user add NAME --role admin"
	if r.URL.Path == "/" {
		text(w, http.StatusServiceUnavailable, "Muster: "+say+"\n")
		return
	}
	p := problem(boot.Unauthorized, say, "sudo muster user add NAME --role admin")
	p.Status = http.StatusServiceUnavailable
	refuse(w, p)
}

func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, s)
}

// called reports a name by which we may be asked. An address is one: no page elsewhere
// can make an address its own.
func (o *Outside) called(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return o.Names != nil && slices.Contains(o.Names(), host)
}

// bearer reads the token of a request.
func bearer(h http.Header) (string, error) {
	all := h.Values("Authorization")
	if len(all) == 0 {
		return "", boot.NewFault(boot.Unauthorized, "show a token: Authorization: Bearer TOKEN").Try("muster token create NAME, on the appliance")
	}
	scheme, secret, ok := strings.Cut(all[0], " ")
	if len(all) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(secret, " ,") {
		return "", boot.NewFault(boot.Unauthorized, "want one header Authorization: Bearer TOKEN")
	}
	return secret, nil
}

// pace is how long a client may take for each piece.
type pace struct {
	rc   *http.ResponseController
	step time.Duration
}

// paced is a ResponseWriter whose client must read on: one that stops is left.
type paced struct {
	http.ResponseWriter
	pace
}

func (p *paced) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.step))
	return p.ResponseWriter.Write(b)
}

// FlushError implements what http.ResponseController looks for.
func (p *paced) FlushError() error {
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.step))
	return p.rc.Flush()
}

// Unwrap is for http.ResponseController.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// pacedBody is a body whose client must send on.
type pacedBody struct {
	io.ReadCloser
	pace
}

func (p pacedBody) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(p.step))
	return p.ReadCloser.Read(b)
}
