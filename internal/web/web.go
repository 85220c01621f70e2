// Package web is the page: what a person sees of the appliance in a browser. It is a
// client of the API in the same process, so that it shows and does what the API lets its
// reader see and do, and no more. It must hold no rule and no state: the address of a page
// is its state. Everything on it works without a script; the script makes it live.
package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

//go:embed assets pages
var files embed.FS

// cookie is the name of the cookie that has a person's token. A browser takes one with
// __Host- from this very host and by TLS alone; plain HTTP is for loopback.
func cookie(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-muster"
	}
	return "muster"
}

// policy is what a page may load: nothing but our own files, and no script within it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Site serves the page.
type Site struct {
	api      http.Handler
	log      *slog.Logger
	statusOf func(boot.FaultCode) int
	mux      *http.ServeMux
	pages    map[string]*template.Template
	assets   map[string]asset // by the name in its address, which has its digest
	names    map[string]string
	status   memo[client.Status]
	nows     memos[nowBody]
}

type asset struct {
	kind string
	body []byte
}

// New returns the page of an API, which says what HTTP status a code has.
func New(api http.Handler, statusOf func(boot.FaultCode) int, log *slog.Logger) *Site {
	s := &Site{api: api, statusOf: statusOf, log: log, mux: http.NewServeMux(), pages: map[string]*template.Template{}, assets: map[string]asset{}, names: map[string]string{}}
	all, _ := fs.ReadDir(files, "assets")
	for _, f := range all {
		b, err := files.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		ext := path.Ext(f.Name())
		name := strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		s.names[f.Name()] = "/assets/" + name
		s.assets[name] = asset{map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[ext], b}
	}
	frame := template.Must(template.New("frame").Funcs(s.words()).ParseFS(files, "pages/frame.html"))
	all, _ = fs.ReadDir(files, "pages")
	for _, f := range all {
		if name := strings.TrimSuffix(f.Name(), ".html"); name != "frame" {
			s.pages[name] = template.Must(template.Must(frame.Clone()).ParseFS(files, "pages/"+f.Name()))
		}
	}
	s.routes()
	return s
}

// Open reports a request that needs no token: to sign in, and what that page loads.
func (s *Site) Open(r *http.Request) bool {
	return r.URL.Path == "/login" || strings.HasPrefix(r.URL.Path, "/join/") || strings.HasPrefix(r.URL.Path, "/assets/")
}

// Token is what the browser keeps.
func (s *Site) Token(r *http.Request) string {
	c, err := r.Cookie(cookie(r))
	if err != nil {
		return ""
	}
	return c.Value
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	s.mux.ServeHTTP(w, r)
}

// view is what every page has; Body is its own.
type view struct {
	Title string
	Here  string // the place in the bar
	Me    client.Me
	Site  status
	Said  string // what an order has done
	Wrong *boot.Fault
	Now   time.Time
	Query string
	Body  any
}

type status struct{ client.Status }

// Trouble is what the strip says: what is wrong with the appliance itself.
func (s status) Trouble() (out []string) {
	if s.Disk != "" {
		out = append(out, s.Disk)
	}
	for _, n := range s.Networks {
		if n.State != "serving" && n.Mode != boot.Off {
			out = append(out, "Network "+n.Name+": "+n.State)
		}
		for _, x := range n.Rivals {
			out = append(out, "Another DHCP server answers on "+n.Name+": "+x.Server.String())
		}
	}
	return append(append(out, s.Damage...), s.Spoilt...)
}

// fetch fills the body of a page.
type fetch func(ctx context.Context, c *client.Client, r *http.Request, v *view) (any, error)

// page is a route that shows something.
func (s *Site) page(pattern, name, here string, get fetch) {
	s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &view{Title: here, Here: here, Said: said(r.URL.Query().Get("said"))}
		c := s.client(r)
		err := s.about(r, c, v)
		if err == nil && get != nil {
			v.Body, err = get(r.Context(), c, r, v)
		}
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		s.show(w, http.StatusOK, name, v)
	})
}

// about asks what every page shows.
func (s *Site) about(r *http.Request, c *client.Client, v *view) error {
	v.Now = time.Now()
	if err := c.Call(r.Context(), http.MethodGet, "/api/v1/me", nil, &v.Me); err != nil {
		return err
	}
	var err error
	v.Site.Status, err = s.status.get(time.Now, func() (st client.Status, err error) {
		return st, c.Call(r.Context(), http.MethodGet, "/api/v1/status", nil, &st)
	})
	return err
}

// order is a route that does something and leads to a page.
func (s *Site) order(pattern string, do func(ctx context.Context, c *client.Client, r *http.Request) (to string, err error)) {
	s.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		err := r.ParseForm()
		var to string
		c := s.client(r)
		if err != nil {
			err = boot.NewFault(boot.Malformed, "the form is not understood")
		} else {
			to, err = do(r.Context(), c, r)
		}
		if err != nil {
			v := &view{Title: "Not done"}
			if e := s.about(r, c, v); e != nil {
				err = e
			}
			s.fail(w, r, v, err)
			return
		}
		s.status.forget() // its giver sees at once what it did
		s.nows.forget()
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
}

func (s *Site) fail(w http.ResponseWriter, r *http.Request, v *view, err error) {
	f := boot.FaultOf(err)
	if f == nil {
		s.log.Error("a page failed", "path", r.URL.Path, "err", err)
		f = boot.NewFault(boot.Internal, "muster failed at this; its log says why").Try("journalctl -u muster")
	}
	v.Wrong = f
	v.Title = cmp.Or(v.Title, "Not done")
	s.show(w, s.statusOf(f.Code), "wrong", v)
}

func (s *Site) show(w http.ResponseWriter, code int, name string, v *view) {
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "frame", v); err != nil {
		s.log.Error("a page could not be made", "page", name, "err", err)
		http.Error(w, "muster failed at this; its log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w)
}

// said are the words that an order may leave in an address: it must not be able to put
// others on a page.
func said(code string) string {
	return map[string]string{"approved": "Approved.", "denied": "Denied.", "armed": "Armed: its next boot installs.", "local": "Its installation is taken away: it boots its disk.",
		"rescue": "Its next boot gets that template, once.", "updated": "It moves to the version in force at its next boot.", "set": "Changed."}[code]
}

// client asks the API in the name of who asks for a page.
func (s *Site) client(r *http.Request) *client.Client { return client.Over(way{s.api, r}) }

type way struct {
	api http.Handler
	by  *http.Request
}

// RoundTrip has the API answer a request. Its context says who asks, as that of the page.
func (x way) RoundTrip(q *http.Request) (*http.Response, error) {
	in := q.Clone(q.Context())
	in.RemoteAddr, in.RequestURI = x.by.RemoteAddr, q.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := &answer{head: http.Header{}}
	x.api.ServeHTTP(w, in)
	return &http.Response{StatusCode: cmp.Or(w.code, http.StatusOK), Status: http.StatusText(w.code), Header: w.head, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: q}, nil
}

type answer struct {
	head http.Header
	code int
	body bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.head }
func (a *answer) WriteHeader(code int)        { a.code = cmp.Or(a.code, code) }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (a *answer) Flush()                      {}

// signIn shows the form, and makes a token of a name and a password.
func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	v := &view{Title: "Sign in", Body: local(r.URL.Query().Get("next"))}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		v.Body = local(r.PostFormValue("next"))
		var made client.TokenMade
		err := s.client(r).Call(r.Context(), http.MethodPost, "/api/v1/login", client.Login{Name: r.PostFormValue("name"), Password: r.PostFormValue("password"), Session: true}, &made)
		s.enter(w, r, v, "login", made, local(r.PostFormValue("next")), err)
		return
	}
	s.show(w, http.StatusOK, "login", v)
}

// enter gives a browser the token that was made, or shows the form again with what was
// wrong. A cookie that came with the request is never kept: nobody can fix it beforehand.
func (s *Site) enter(w http.ResponseWriter, r *http.Request, v *view, form string, made client.TokenMade, to string, err error) {
	if err == nil {
		http.SetCookie(w, &http.Cookie{Name: cookie(r), Value: made.Token, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode, Expires: made.Expires})
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	if v.Wrong = boot.FaultOf(err); v.Wrong == nil {
		s.fail(w, r, v, err)
		return
	}
	s.show(w, s.statusOf(v.Wrong.Code), form, v)
}

// join lets the bearer of a link choose a password. To look at the page uses nothing up:
// what reads links in messages beforehand does that.
func (s *Site) join(w http.ResponseWriter, r *http.Request) {
	v := &view{Title: "Choose a password", Body: r.PathValue("name")}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		err := error(boot.NewFault(boot.Invalid, "the two are not the same"))
		var made client.TokenMade
		if password := r.PostFormValue("password"); password == r.PostFormValue("again") {
			err = s.client(r).Call(r.Context(), http.MethodPost, "/api/v1/join", client.Joining{Name: r.PathValue("name"), Link: r.PathValue("link"), Password: password, Session: true}, &made)
		}
		s.enter(w, r, v, "join", made, "/", err)
		return
	}
	s.show(w, http.StatusOK, "join", v)
}

// local is a path of ours, and nothing that leads elsewhere.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n") || strings.HasPrefix(to, "/login") {
		return "/"
	}
	return to
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	_ = s.client(r).Call(r.Context(), http.MethodPost, "/api/v1/logout", nil, nil)
	http.SetCookie(w, &http.Cookie{Name: cookie(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (s *Site) asset(w http.ResponseWriter, r *http.Request) {
	a, is := s.assets[r.PathValue("name")]
	if !is {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // its name has its digest
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// entries reads events.
func entries(ctx context.Context, c *client.Client, q url.Values) (out []client.Entry, err error) {
	err = c.Events(ctx, q, func(e client.Entry, _ json.RawMessage) error { out = append(out, e); return nil })
	if f := boot.FaultOf(err); f != nil && f.Code == boot.Forbidden {
		return nil, nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}
