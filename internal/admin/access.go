// access.go: which route needs what of who asks, and the routes of users and tokens.

package admin

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/access"
)

// need is what a route wants of who asks.
type need struct {
	role boot.Role // anybody: nothing must be shown

	// confined: who has to do with some machines only may use it too, since it shows and
	// changes nothing but those, or what is no machine's.
	confined bool
}

// anybody is the role of a route that begins a visit.
const anybody = boot.Role("")

// needs has every route. One that is not in it is refused.
var needs = map[string]need{
	"POST /api/v1/login": {anybody, true},
	"POST /api/v1/join":  {anybody, true},
	"GET /api/v1/ca":     {anybody, true}, // a CA is no secret, and trust begins with it

	"GET /api/v1/problems/{code}": {boot.Look, true},
	"GET /api/v1/openapi.json":    {boot.Look, true},

	"GET /metrics": {boot.Look, false},
	"GET /readyz":  {boot.Look, true},

	"GET /api/v1/me":      {boot.Look, true},
	"POST /api/v1/logout": {boot.Look, true},
	"GET /api/v1/status":  {boot.Look, true},

	"GET /api/v1/hosts":                      {boot.Look, true},
	"GET /api/v1/moving":                     {boot.Look, true},
	"GET /api/v1/hosts/{name}":               {boot.Look, true},
	"GET /api/v1/hosts/{name}/log":           {boot.Look, true},
	"GET /api/v1/hosts/{name}/capture":       {boot.Operate, true},
	"POST /api/v1/hosts":                     {boot.Operate, true},
	"POST /api/v1/hosts/import":              {boot.Operate, false},
	"POST /api/v1/hosts/approve":             {boot.Operate, true},
	"POST /api/v1/hosts/deny":                {boot.Operate, true},
	"PATCH /api/v1/hosts/{name}":             {boot.Operate, true},
	"DELETE /api/v1/hosts/{name}":            {boot.Operate, true},
	"POST /api/v1/hosts/{name}/approve":      {boot.Operate, true},
	"POST /api/v1/hosts/{name}/deny":         {boot.Operate, true},
	"POST /api/v1/hosts/{name}/install":      {boot.Operate, true},
	"POST /api/v1/hosts/{name}/rescue":       {boot.Operate, true},
	"POST /api/v1/hosts/{name}/local":        {boot.Operate, true},
	"POST /api/v1/hosts/{name}/update":       {boot.Operate, true},
	"POST /api/v1/hosts/{name}/merge":        {boot.Operate, true},
	"POST /api/v1/hosts/{name}/split":        {boot.Operate, true},
	"POST /api/v1/plans":                     {boot.Operate, true},
	"GET /api/v1/plans/{id}":                 {boot.Operate, true},
	"POST /api/v1/plans/{id}/run":            {boot.Operate, true},
	"GET /api/v1/leases":                     {boot.Look, false},
	"DELETE /api/v1/leases/{network}/{addr}": {boot.Operate, false},
	"GET /api/v1/events":                     {boot.Look, true},
	"GET /api/v1/diagnose":                   {boot.Look, false},
	"POST /api/v1/explain":                   {boot.Look, false},

	"GET /api/v1/templates":                        {boot.Look, true},
	"GET /api/v1/templates/{name}":                 {boot.Look, true},
	"GET /api/v1/templates/{name}/versions":        {boot.Look, true},
	"GET /api/v1/templates/{name}/diff":            {boot.Look, true},
	"GET /api/v1/templates/{name}/files/{file...}": {boot.Look, true},
	"POST /api/v1/templates":                       {boot.Admin, false},
	"DELETE /api/v1/templates/{name}":              {boot.Admin, false},
	"POST /api/v1/templates/preview":               {boot.Operate, false},
	"POST /api/v1/templates/{name}/pin":            {boot.Admin, false},
	"GET /api/v1/files/{digest}":                   {boot.Look, true},
	"PUT /api/v1/files/{digest}":                   {boot.Admin, false},
	"GET /api/v1/images":                           {boot.Look, true},
	"POST /api/v1/images":                          {boot.Admin, false},
	"POST /api/v1/images/import":                   {boot.Admin, false},
	"POST /api/v1/images/{name}/verify":            {boot.Operate, false},
	"DELETE /api/v1/images/{name}":                 {boot.Admin, false},
	"GET /api/v1/params":                           {boot.Look, false},
	"PATCH /api/v1/params/{scope...}":              {boot.Admin, false},

	"GET /api/v1/webhooks":                {boot.Look, false},
	"POST /api/v1/webhooks/{name}/test":   {boot.Operate, false},
	"POST /api/v1/webhooks/{name}/resend": {boot.Operate, false},
	"POST /api/v1/store/check":            {boot.Admin, false},
	"POST /api/v1/store/repair":           {boot.Admin, false},
	"POST /api/v1/config/reload":          {boot.Admin, false},
	"POST /api/v1/config/plan":            {boot.Admin, false},
	"POST /api/v1/backup":                 {boot.Admin, false},

	"GET /api/v1/audit":            {boot.Admin, false},
	"GET /api/v1/users":            {boot.Admin, false},
	"POST /api/v1/users":           {boot.Admin, false},
	"PATCH /api/v1/users/{name}":   {boot.Admin, false},
	"DELETE /api/v1/users/{name}":  {boot.Admin, false},
	"GET /api/v1/tokens":           {boot.Admin, false},
	"POST /api/v1/tokens":          {boot.Admin, false},
	"DELETE /api/v1/tokens/{name}": {boot.Admin, false},
}

// may judges whether somebody may use a route. The error tells what is missing.
func may(w *access.Who, pattern string) error {
	n, ok := needs[pattern]
	switch {
	case !ok:
		return boot.NewFault(boot.Forbidden, "this is nobody's to ask")
	case n.role == anybody:
		return nil
	case !w.Role.Allows(n.role):
		return boot.NewFault(boot.Forbidden, "this needs the role %s, and %s has %s", n.role, w.Actor, w.Role)
	case w.Confined() && !n.confined:
		return boot.NewFault(boot.Forbidden, "this is about more than the machines of %s, which are all that %s has to do with", w.Scope, w.Actor)
	}
	return nil
}

type whoKey struct{}

// as is the request of somebody.
func as(r *http.Request, w *access.Who) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), whoKey{}, w))
}

// who asks. Nobody is who may nothing.
func who(r *http.Request) *access.Who {
	if w, ok := r.Context().Value(whoKey{}).(*access.Who); ok {
		return w
	}
	return &access.Who{}
}

func (s *Server) actor(r *http.Request) boot.Actor { return who(r).Actor }

// note writes into the audit trail what was done outside the store.
func (s *Server) note(r *http.Request, kind boot.EventKind, text string) error {
	_, err := s.Engine.Do(r.Context(), s.actor(r), boot.Note{Kind: kind, Text: text})
	return err
}

func (s *Server) do(r *http.Request, o boot.Order) (boot.Changes, error) {
	return s.Engine.Do(r.Context(), s.actor(r), who(r).Rights().Give(o))
}

func (s *Server) try(r *http.Request, o boot.Order) (boot.Changes, error) {
	return s.Engine.Try(r.Context(), s.actor(r), who(r).Rights().Give(o))
}

func (s *Server) me(r *http.Request) (any, error) {
	w := who(r)
	return client.Me{Name: w.Actor.Name, Role: w.Role, Scope: w.Scope, Token: w.Token}, nil
}

func viewUser(u *boot.User) client.UserView {
	return client.UserView{Name: u.Name, Role: u.Role, Scope: u.Scope, Created: u.Created, Since: u.Since, Invited: u.InviteUntil}
}

func (s *Server) users(r *http.Request) (any, error) {
	out := []client.UserView{}
	if err := s.eachUser(r, func(u *boot.User) { out = append(out, viewUser(u)) }); err != nil {
		return nil, err
	}
	return paged(r, out, func(u client.UserView) string { return u.Name })
}

func (s *Server) eachUser(r *http.Request, fn func(*boot.User)) error {
	return each(r.Context(), s.Engine, "", func(tx boot.ReadTx, after string) ([]*boot.User, error) { return tx.Users(after, page) },
		func(u *boot.User) string {
			fn(u)
			return u.Name
		})
}

func (s *Server) addUser(r *http.Request) (any, error) {
	var q client.NewUser
	if err := read(r, &q); err != nil {
		return nil, err
	}
	if err := access.CheckScope(q.Scope); err != nil {
		return nil, err
	}
	u := boot.User{Name: q.Name, Role: q.Role, Scope: q.Scope}
	var link string
	switch {
	case q.Link && q.Password != "":
		return nil, errLinkAndPassword()
	case q.Link:
		link, u.Invite = access.Invitation()
	default:
		var err error
		if u.Hash, err = access.Hash(q.Password); err != nil {
			return nil, err
		}
	}
	c, err := s.do(r, boot.AddUser{User: u})
	if err != nil {
		return nil, err
	}
	return invited(c.User, link), nil
}

func errLinkAndPassword() *boot.Fault {
	return boot.NewFault(boot.Invalid, "a password, or a link to choose one: not both")
}

// invited is a user with the path of the link that was made; "" is none.
func invited(u *boot.User, link string) client.UserView {
	v := viewUser(u)
	if link != "" {
		v.Link = "/join/" + url.PathEscape(u.Name) + "/" + link
	}
	return v
}

// join lets the bearer of a link choose a password.
func (s *Server) join(r *http.Request) (any, error) {
	var q client.Joining
	if err := readUpTo(r, &q, 64<<10); err != nil {
		return nil, err
	}
	secret, t, err := s.Gate.Join(r.Context(), q.Name, q.Link, q.Password, q.Session, peer(r))
	if err != nil {
		return nil, err
	}
	return client.TokenMade{TokenView: s.viewToken(t, &boot.User{Name: t.User}), Token: secret}, nil
}

func (s *Server) setUser(r *http.Request) (any, error) {
	var q client.UserPatch
	if err := read(r, &q); err != nil {
		return nil, err
	}
	o := boot.SetUser{Name: r.PathValue("name"), Role: q.Role, Scope: q.Scope}
	if q.Scope != nil {
		if err := access.CheckScope(*q.Scope); err != nil {
			return nil, err
		}
	}
	var link string
	if q.Link {
		if q.Password != nil {
			return nil, errLinkAndPassword()
		}
		var digest string
		link, digest = access.Invitation()
		o.Invite = &digest
	}
	if q.Password != nil {
		hash, err := access.Hash(*q.Password)
		if err != nil {
			return nil, err
		}
		o.Hash = &hash
	}
	if _, err := s.do(r, o); err != nil {
		return nil, err
	}
	var u *boot.User
	err := s.Engine.View(r.Context(), func(tx boot.ReadTx) (err error) { u, err = tx.User(o.Name); return err })
	if err != nil || u == nil {
		return nil, err
	}
	return invited(u, link), nil
}

func (s *Server) removeUser(r *http.Request) (any, error) {
	c, err := s.do(r, boot.RemoveUser{Name: r.PathValue("name")})
	if err != nil {
		return nil, err
	}
	return viewUser(c.NoUser), nil
}

func (s *Server) viewToken(t *boot.APIToken, u *boot.User) client.TokenView {
	v := client.TokenView{Name: t.Name, User: t.User, Role: t.Role, Scope: t.Scope, Created: t.Created, Expires: t.Expires, Used: t.Used, From: t.From, State: "valid"}
	switch now := s.Engine.Now(); {
	case t.Over(now):
		v.State = "expired"
	case !t.Lets(u, now):
		v.State = "void"
	}
	return v
}

func (s *Server) tokens(r *http.Request) (any, error) {
	of := map[string]*boot.User{}
	if err := s.eachUser(r, func(u *boot.User) { of[u.Name] = u }); err != nil {
		return nil, err
	}
	out := []client.TokenView{}
	err := each(r.Context(), s.Engine, "", func(tx boot.ReadTx, after string) ([]*boot.APIToken, error) { return tx.APITokens(after, page) },
		func(t *boot.APIToken) string {
			out = append(out, s.viewToken(t, of[t.User]))
			return t.Digest
		})
	if err != nil {
		return nil, err
	}
	return paged(r, out, func(t client.TokenView) string { return t.Name })
}

func (s *Server) addToken(r *http.Request) (any, error) {
	var q client.NewToken
	if err := read(r, &q); err != nil {
		return nil, err
	}
	if q.Name == "" {
		return nil, boot.NewFault(boot.Invalid, "a token has a name")
	}
	t := boot.APIToken{Name: q.Name, Role: q.Role, Scope: q.Scope}
	life, err := ticketLife(q.Expires)
	if err != nil {
		return nil, err
	}
	switch {
	case life > 0:
		t.Expires = s.Engine.Now().Add(life).UTC()
	case life == 0:
		t.Expires = s.Engine.Now().Add(365 * 24 * time.Hour).UTC()
	}
	secret, made, err := s.Gate.Make(r.Context(), s.actor(r), t)
	if err != nil {
		return nil, err
	}
	return client.TokenMade{TokenView: s.viewToken(made, nil), Token: secret}, nil
}

func (s *Server) revokeToken(r *http.Request) (any, error) {
	c, err := s.do(r, boot.RevokeToken{Name: r.PathValue("name")})
	if err != nil {
		return nil, err
	}
	return s.viewToken(c.NoToken, nil), nil
}

// logout ends the token that was shown.
func (s *Server) logout(r *http.Request) (any, error) {
	w := who(r)
	if w.Token == "" {
		return nil, boot.NewFault(boot.Invalid, "no token was shown that could end")
	}
	_, err := s.Engine.Do(r.Context(), w.Actor, boot.RevokeToken{Name: w.Token})
	return struct{}{}, err
}

// login makes a token for a name and a password.
func (s *Server) login(r *http.Request) (any, error) {
	var q client.Login
	if err := readUpTo(r, &q, 64<<10); err != nil {
		return nil, err
	}
	secret, t, err := s.Gate.Login(r.Context(), q.Name, q.Password, q.Session, peer(r))
	if err != nil {
		return nil, err
	}
	return client.TokenMade{TokenView: s.viewToken(t, &boot.User{Name: t.User}), Token: secret}, nil
}

// peer is the address that a request came from.
func peer(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

// sees reports whether a host is one of theirs who ask.
func sees(r *http.Request, h *boot.Host) bool { return who(r).Rights().See(h) }
