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
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/musterboot/muster/boot"
)

// Bounds of the TCP port.
const (
	maxConns    = 512
	maxAtOnce   = 256              // requests, besides streams
	maxStreams  = 256              // what goes on until the client leaves
	stepTimeout = 30 * time.Second // for each piece that a client reads or sends
)

// Outside is the API on a TCP port.
type Outside struct {
	*Server
	TLS   *tls.Config                 // nil is plain HTTP, for loopback
	Names func() []string             // by which the port may be called; an address always may
	Page  func(api http.Handler) Page // for people; nil for none. To its API nobody is who may nothing

	step time.Duration // for a test; 0 is stepTimeout
}

// Page is what a browser is shown. It asks the API in the name of who looks at it.
type Page interface {
	http.Handler
	Open(*http.Request) bool    // it needs no token
	Token(*http.Request) string // that the browser keeps; "" for none
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
	same := http.NewCrossOriginProtection()
	inner, page := same.Handler(o.routes()), http.Handler(nil)
	var people Page
	if o.Page != nil {
		people = o.Page(o.routes())
		page = same.Handler(people)
	}
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
		if page != nil && !programs(r.URL.Path) {
			o.enter(p, r, page, people.Open(r), people)
			return
		}
		n, known := needs[r.Method+" "+r.URL.Path]
		o.enter(p, r, inner, known && n.role == anybody, people)
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

// programs reports a path of the API.
func programs(path string) bool {
	return strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// enter finds out who asks, or refuses. What is open wants nobody's name.
func (o *Outside) enter(w http.ResponseWriter, r *http.Request, inner http.Handler, open bool, people Page) {
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
	switch {
	case get && r.URL.Path == "/healthz":
		write(w, http.StatusOK, struct {
			OK bool `json:"ok"`
		}{true})
		return
	case get && open && programs(r.URL.Path):
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
	if open {
		inner.ServeHTTP(w, r)
		return
	}
	secret, err := credential(r, people)
	if err == nil {
		who, e := o.Gate.Token(r.Context(), secret, peer(r))
		if err = e; err == nil {
			r = as(r, who)
		}
	}
	if err != nil {
		f := boot.FaultOf(err)
		if f != nil && f.Code == boot.Unauthorized && people != nil && !programs(r.URL.Path) {
			http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		if f != nil && f.Code == boot.Unauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="muster"`)
		}
		o.fail(w, r, err)
		return
	}
	inner.ServeHTTP(w, r)
}

// credential is the token that is shown: by a program in a header, by a browser in a cookie.
func credential(r *http.Request, people Page) (string, error) {
	if people != nil && len(r.Header.Values("Authorization")) == 0 {
		if t := people.Token(r); t != "" {
			return t, nil
		}
	}
	return bearer(r.Header)
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
