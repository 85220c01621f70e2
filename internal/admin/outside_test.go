package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/access"
)

// door is a furnished desk with its port.
type door struct {
	*desk
	port   http.Handler
	header http.Header
	from   string
}

func newDoor(t testing.TB) *door {
	d := newDesk(t)
	d.furnish()
	return &door{desk: d, port: (&Outside{Server: d.server, Names: func() []string { return []string{"muster.example.org"} }}).handler(), from: "192.0.2.7:4711"}
}

// knock asks at the port, with a token or without.
func (d *door) knock(token, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://muster.example.org:8067"+path, strings.NewReader(body))
	r.RemoteAddr = d.from
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range d.header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	d.port.ServeHTTP(w, r)
	return w
}

// token makes one as the socket does.
func (d *door) token(name string, role boot.Role, scope string) string {
	d.t.Helper()
	secret, _, err := d.server.Gate.Make(d.t.Context(), boot.Actor{Kind: boot.Person, Name: "root"}, boot.APIToken{Name: name, Role: role, Scope: scope})
	if err != nil {
		d.t.Fatal(err)
	}
	return secret
}

// pathOf is one that fits a route's pattern.
func pathOf(pattern string) string {
	_, p, _ := strings.Cut(pattern, " ")
	for _, c := range calls {
		if c.pattern == pattern {
			return c.path
		}
	}
	return p
}

// TestEveryRoleOnEveryRoute: each role gets in where the table says and nowhere else, a
// route that the table has not is nobody's, and whoever shows no token is told to.
func TestEveryRoleOnEveryRoute(t *testing.T) {
	d := newDoor(t)
	tokens := map[boot.Role]string{}
	for _, r := range []boot.Role{boot.Look, boot.Operate, boot.Admin} {
		tokens[r] = d.token("of "+string(r), r, "")
	}
	confined := d.token("confined", boot.Admin, "tag:none")
	for _, token := range append(slices.Collect(maps.Values(tokens)), confined) {
		d.knock(token, "GET", "/api/v1/me", "") // that it was used is written down
	}
	before := d.everything()
	for _, p := range patterns(t) {
		method, _, _ := strings.Cut(p, " ")
		n, ok := needs[p]
		if !ok {
			t.Errorf("%s is in no table of needs", p)
			continue
		}
		if n.role == anybody {
			continue
		}
		for _, bad := range []string{"", "mst_", "mst_" + strings.Repeat("0", 72), tokens[boot.Admin] + "0"} {
			if w := d.knock(bad, method, pathOf(p), ""); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" || strings.Contains(w.Body.String(), "web") {
				t.Errorf("%s with token %q: %d %s", p, bad, w.Code, w.Body)
			}
		}
		for role, token := range tokens {
			if role.Allows(n.role) {
				continue // TestEveryRoute has what is answered
			}
			if w := d.knock(token, method, pathOf(p), ""); w.Code != 403 {
				t.Errorf("%s as %s: %d %s", p, role, w.Code, w.Body)
			}
		}
		if n.confined {
			continue // TestScopeLeaksNothing
		}
		if w := d.knock(confined, method, pathOf(p), ""); w.Code != 403 {
			t.Errorf("%s with a scope: %d %s", p, w.Code, w.Body)
		}
	}
	if d.everything() != before {
		t.Error("something was changed")
	}
	for p, n := range needs {
		if method, _, _ := strings.Cut(p, " "); n.role == boot.Look && method != "GET" && p != "POST /api/v1/logout" && p != "POST /api/v1/explain" {
			t.Errorf("%s changes something and needs no more than read", p)
		}
	}
	if err := may(&access.Who{Role: boot.Admin}, "GET /nowhere"); err == nil {
		t.Error("a route that is in no table is somebody's")
	}
}

// TestScopeLeaksNothing: who has to do with one machine sees and changes that one, on
// every route that lets them in; of the others no answer has a name, an address or a
// serial number.
func TestScopeLeaksNothing(t *testing.T) {
	d := newDoor(t)
	d.want(200, "PATCH", "/api/v1/hosts/b", `{"tags":["lab"],"serial":"MINE-1"}`)
	for _, n := range []string{"a", "c"} {
		d.want(200, "PATCH", "/api/v1/hosts/"+n, `{"name":"hidden-`+n+`","serial":"HIDDEN-`+n+`","tags":["hiddentag"]}`)
	}
	mine := d.token("mine", boot.Admin, "tag:lab")
	secrets := []string{"hidden", "HIDDEN", "52:54:00:00:00:01", "52:54:00:00:00:03", "52:54:00:00:00:04"}
	if w := d.knock(mine, "GET", "/api/v1/hosts", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"name":"b"`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, q := range []string{"", "&q=state:approved,pending,denied"} {
		if w := d.knock(mine, "GET", "/api/v1/hosts?total=1"+q, ""); !strings.Contains(w.Body.String(), `"total":1}`) {
			t.Errorf("the number of all hosts is told: %s", w.Body)
		}
	}
	before := d.everything()
	names := []string{"hidden-a", "52:54:00:00:00:01", "HIDDEN-c", "10.0.0.7", "nobody"}
	for p, n := range needs {
		method, _, _ := strings.Cut(p, " ")
		if !n.confined || p == "POST /api/v1/logout" {
			continue
		}
		for _, name := range names {
			at := strings.NewReplacer("{name}", url.PathEscape(name), "{id}", "1").Replace(strings.TrimPrefix(p, method+" "))
			try := func(q, body string) {
				w := d.knock(mine, method, at+q, body)
				told := w.Body.String()
				for _, said := range []string{name, "52:54:00:00:00:04", "hidden-a"} {
					told = strings.ReplaceAll(told, "called "+said, "") // the question again
				}
				for _, s := range secrets {
					if strings.Contains(told, s) {
						t.Errorf("%s %s %s: %d tells %s: %.300s", method, at+q, body, w.Code, s, told)
					}
				}
			}
			for _, body := range []string{"", `{"names":["` + name + `"],"action":"approve"}`, `{"all":true,"action":"deny"}`, `{"all":true}`, `{"other":"b"}`, `{"other":"hidden-a"}`, `{"name":"b2","macs":["52:54:00:00:00:04"]}`, `{"tags":["lab"]}`} {
				try("", body)
			}
			for _, q := range []string{"?host=" + url.QueryEscape(name), "?all=1", "?q=" + url.QueryEscape("hidden"), "?audit=1"} {
				try(q, "")
			}
		}
	}
	changed := d.everything()
	for _, s := range secrets {
		if strings.Count(changed, s) != strings.Count(before, s) {
			t.Errorf("of what has %s in it something was changed", s)
		}
	}
	// What is theirs they may change, and may not let go.
	if w := d.knock(mine, "POST", "/api/v1/hosts/b/approve", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, c := range []struct{ method, at, body string }{
		{"PATCH", "/api/v1/hosts/b", `{"drop_tags":["lab"]}`},
		{"POST", "/api/v1/hosts", `{"name":"stray","serial":"SN-77"}`},
	} {
		if w := d.knock(mine, c.method, c.at, c.body); w.Code != 403 || !strings.Contains(w.Body.String(), "would not be of tag:lab") {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
	}
	if w := d.knock(mine, "POST", "/api/v1/hosts/b/merge", `{"other":"hidden-a"}`); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var p struct{ ID string }
	w := d.knock(mine, "POST", "/api/v1/plans", `{"action":"deny","all":true}`)
	if a := (answer{w, d.t}); w.Code != 200 || !strings.Contains(w.Body.String(), `"count":1,`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	} else {
		a.into(&p)
	}
	// A plan is its maker's.
	if w := d.knock(d.token("other", boot.Admin, ""), "POST", "/api/v1/plans/"+p.ID+"/run", `{}`); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.knock(mine, "POST", "/api/v1/plans/"+p.ID+"/run", `{}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"done":1`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestKnocking: what is refused at the door, and with which words.
func TestKnocking(t *testing.T) {
	d := newDoor(t)
	good := d.token("good", boot.Admin, "")
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		want   string
	}{
		"well":                {func(*http.Request) {}, 200, `"version":"test"`},
		"another name":        {func(r *http.Request) { r.Host = "evil.example.com" }, 421, "this port is not called evil.example.com"},
		"an address":          {func(r *http.Request) { r.Host = "192.0.2.1:8067" }, 200, ""},
		"a token in the URL":  {func(r *http.Request) { r.URL.RawQuery = "token=" + good }, 400, "Authorization: Bearer"},
		"and by another name": {func(r *http.Request) { r.URL.RawQuery = "Access_Token=x" }, 400, "ends in logs"},
		"two tokens":          {func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, 401, "one header"},
		"basic":               {func(r *http.Request) { r.SetBasicAuth("ann", "correct horse battery") }, 401, "one header"},
		"from another page": {func(r *http.Request) {
			r.Method = "POST"
			r.URL.Path = "/api/v1/config/reload"
			r.Header.Set("Origin", "https://evil.example.com")
		}, 403, "cross-origin"},
	} {
		r := httptest.NewRequest("GET", "http://muster.example.org/api/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+good)
		c.change(r)
		w := httptest.NewRecorder()
		d.port.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, c.status, c.want)
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: headers %v", name, w.Header())
		}
		if strings.Contains(w.Body.String(), good) {
			t.Errorf("%s: the answer has the token", name)
		}
	}
	if w := d.knock("", "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.knock("", "POST", "/api/v1/login", strings.Repeat("[", 70<<10)); w.Code != 413 && w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if strings.Contains(d.log.String(), good) {
		t.Error("the log has the token")
	}
}

// TestNobodyYet: while nobody can come in, the port says so and what to do.
func TestNobodyYet(t *testing.T) {
	d := newDesk(t)
	x := &door{desk: d, port: (&Outside{Server: d.server}).handler(), from: "192.0.2.7:1"}
	for _, at := range []string{"/", "/api/v1/hosts", "/api/v1/login"} {
		r := httptest.NewRequest("GET", "http://127.0.0.1"+at, nil)
		w := httptest.NewRecorder()
		x.port.ServeHTTP(w, r)
		if w.Code != 503 || !strings.Contains(w.Body.String(), "sudo muster user add NAME --role admin") {
			t.Errorf("%s: %d %s", at, w.Code, w.Body)
		}
	}
}

// TestLogin: a name and its password make a token that lets its user in, with the user's
// role of today; a new password, the user's end and the token's end it.
// TestJoin: who has a link chooses a password, is in, and comes in by it afterwards;
// guessing links slows like guessing passwords.
func TestJoin(t *testing.T) {
	d := newDoor(t)
	var u client.UserView
	d.want(200, "POST", "/api/v1/users", `{"name":"joe","role":"operate","link":true}`).into(&u)
	name, link, ok := strings.Cut(strings.TrimPrefix(u.Link, "/join/"), "/")
	if !ok || name != "joe" || !strings.HasPrefix(link, "mst_") || u.Invited.IsZero() {
		t.Fatalf("%+v", u)
	}
	join := func(link, password string) *httptest.ResponseRecorder {
		return d.knock("", "POST", "/api/v1/join", fmt.Sprintf(`{"name":"joe","link":%q,"password":%q}`, link, password))
	}
	d.want(422, "POST", "/api/v1/users", `{"name":"two","role":"read","link":true,"password":"correct horse battery"}`)
	d.want(422, "PATCH", "/api/v1/users/joe", `{"link":true,"password":"correct horse battery"}`)
	if w := d.knock("", "POST", "/api/v1/login", `{"name":"joe","password":""}`); w.Code != 401 {
		t.Errorf("without a password: %d", w.Code)
	}
	if w := d.knock(link, "GET", "/api/v1/me", ""); w.Code != 401 {
		t.Errorf("the link as a token: %d", w.Code)
	}
	if w := join(link, "short"); w.Code != 422 || !strings.Contains(w.Body.String(), "too short") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := join("mst_"+strings.Repeat("0", 72), "correct horse battery"); w.Code != 401 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var m client.TokenMade
	answer{join(link, "correct horse battery"), t}.into(&m)
	if w := d.knock(m.Token, "GET", "/api/v1/me", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"joe"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := join(link, "correct horse battery"); w.Code != 401 {
		t.Errorf("the second time: %d", w.Code)
	}
	if w := d.knock("", "POST", "/api/v1/login", `{"name":"joe","password":"correct horse battery"}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	slowed := false
	for range 10 {
		slowed = slowed || join("mst_"+strings.Repeat("0", 72), "correct horse battery").Code == 429
	}
	if !slowed {
		t.Error("whoever guesses links is never slowed")
	}
	var again client.UserView
	d.want(200, "PATCH", "/api/v1/users/joe", `{"link":true}`).into(&again)
	if again.Link == "" || again.Link == u.Link {
		t.Errorf("%+v", again)
	}
}

func TestLogin(t *testing.T) {
	d := newDoor(t)
	in := func() string {
		t.Helper()
		var m client.TokenMade
		w := d.knock("", "POST", "/api/v1/login", `{"name":"ann","password":"correct horse battery"}`)
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		answer{w, d.t}.into(&m)
		return m.Token
	}
	status := func(token string) int { return d.knock(token, "POST", "/api/v1/hosts/b/approve", "").Code }
	now := noon
	d.engine.Now = func() time.Time { return now }
	one, two := in(), in()
	if status(one) != 200 {
		t.Errorf("she may not approve")
	}
	var who client.Me
	answer{d.knock(one, "GET", "/api/v1/me", ""), d.t}.into(&who)
	if who.Name != "ann" || who.Role != boot.Operate {
		t.Errorf("%+v", who)
	}
	var events strings.Builder
	d.view(func(tx boot.ReadTx) error {
		all, err := tx.Audit(0, 1000)
		for _, e := range all {
			fmt.Fprintln(&events, e.Kind, e.By.Kind, e.By.Name, e.By.Via, e.By.From, e.Was["state"], e.Is["state"], e.Text)
		}
		return err
	})
	if !strings.Contains(events.String(), "host.approved person ann api 192.0.2.7 pending approved b approved by ann") {
		t.Errorf("%s", &events)
	}
	if strings.Contains(events.String(), one) {
		t.Error("an event has the token")
	}
	d.want(200, "PATCH", "/api/v1/users/ann", `{"role":"read"}`)
	if status(one) != 403 {
		t.Error("a token is more than its user is now")
	}
	d.want(200, "PATCH", "/api/v1/users/ann", `{"role":"operate"}`)
	if w := d.knock(one, "POST", "/api/v1/logout", ""); w.Code != 200 || status(one) != 401 || status(two) != 200 {
		t.Errorf("after the logout of one: %d, %d, %d", w.Code, status(one), status(two))
	}
	now = now.Add(time.Second)
	d.want(200, "PATCH", "/api/v1/users/ann", `{"password":"another horse battery"}`)
	if status(two) != 401 {
		t.Error("a token is good after a new password")
	}
	d.want(200, "PATCH", "/api/v1/users/ann", `{"password":"correct horse battery"}`)
	now = now.Add(time.Second)
	three := in()
	d.want(200, "DELETE", "/api/v1/users/ann", "")
	if status(three) != 401 {
		t.Error("a token is good after its user has gone")
	}
	now = now.Add(time.Second)
	d.want(200, "POST", "/api/v1/users", `{"name":"ann","password":"correct horse battery","role":"admin"}`)
	if status(three) != 401 {
		t.Error("a token is good for another user of the same name")
	}
	four := in()
	now = now.Add(access.LoginLife)
	if status(four) != 401 {
		t.Error("a token is good after its end")
	}
}

// TestGuessing: wrong passwords cost time, by where they come from: the owner of the name
// comes in from elsewhere meanwhile.
func TestGuessing(t *testing.T) {
	d := newDoor(t)
	now := noon
	d.engine.Now = func() time.Time { return now }
	try := func(from, password string) int {
		d.from = from
		return d.knock("", "POST", "/api/v1/login", `{"name":"ann","password":"`+password+`"}`).Code
	}
	for i := range 5 {
		if c := try("192.0.2.9:1", "guess"); c != 401 {
			t.Fatalf("try %d: %d", i, c)
		}
	}
	if c := try("192.0.2.9:2", "correct horse battery"); c != 429 {
		t.Errorf("the next at once: %d", c)
	}
	if c := try("192.0.2.10:1", "correct horse battery"); c != 200 {
		t.Errorf("the owner: %d", c)
	}
	waited := time.Duration(0)
	for range 12 {
		for try("192.0.2.9:1", "guess") == 429 {
			now = now.Add(time.Second)
			waited += time.Second
		}
	}
	if waited < 3*time.Minute || waited > 10*time.Minute {
		t.Errorf("twelve more guesses took %s", waited)
	}
	for try("192.0.2.9:1", "correct horse battery") == 429 {
		now = now.Add(time.Second)
	}
	if c := try("192.0.2.9:1", "guess"); c != 401 {
		t.Errorf("after the right one: %d", c)
	}
	// One site has many addresses.
	for range 5 {
		try("[2001:db8::1]:1", "guess")
	}
	if c := try("[2001:db8::ffff]:1", "guess"); c != 429 {
		t.Errorf("a neighbour: %d", c)
	}
	n := 0
	d.view(func(tx boot.ReadTx) error {
		all, err := tx.Events(0, 10_000)
		for _, e := range all {
			if e.Kind == boot.LoginRefused {
				n++
			}
		}
		return err
	})
	if n == 0 || n > 20 {
		t.Errorf("%d events tell of it", n)
	}
}

// TestReaderWhoStops: who asks for a stream and reads nothing is left.
func TestReaderWhoStops(t *testing.T) {
	d := newDoor(t)
	token := d.token("good", boot.Look, "")
	for range 16 { // more than the sockets between the two hold
		if err := d.store.Update(t.Context(), func(tx boot.Tx) error {
			for range 500 {
				if _, err := tx.Append(boot.Event{At: noon, Kind: boot.BootReport, Text: strings.Repeat("x", 1000)}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	o := &Outside{Server: d.server, step: 50 * time.Millisecond}
	inner, ended := o.handler(), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /api/v1/events?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", token)
	if s, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(s, "200") {
		t.Fatalf("%q, %v", s, err)
	}
	<-ended
}

// TestOutsideEnds: the port's end ends what it answers.
func TestOutsideEnds(t *testing.T) {
	d := newDoor(t)
	token := d.token("good", boot.Look, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Outside{Server: d.server}).Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /api/v1/events?follow=1 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", l.Addr(), token)
	if s, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(s, "200") {
		t.Fatalf("%q, %v", s, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end: %v", err)
	}
}

// TestSessionIdle: a browser that asks nothing for twelve hours signs in again, whatever
// shows its token; one that goes on asking does not, and a program's login lasts.
func TestSessionIdle(t *testing.T) {
	d := newDoor(t)
	now := noon
	d.engine.Now = func() time.Time { return now }
	login := func(session bool) string {
		t.Helper()
		secret, _, err := d.server.Gate.Login(t.Context(), "ann", "correct horse battery", session, netip.MustParseAddr("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	busy, idle, program := login(true), login(true), login(false)
	for range 3 {
		now = now.Add(11 * time.Hour)
		if w := d.knock(busy, "GET", "/api/v1/me", ""); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := d.knock(idle, "GET", "/api/v1/me", ""); w.Code != 401 {
		t.Errorf("it was let in after 33 hours: %d", w.Code)
	}
	if w := d.knock(program, "GET", "/api/v1/me", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n, err := d.server.Gate.Tidy(t.Context()); n != 1 || err != nil {
		t.Errorf("%d tokens went, %v", n, err)
	}
}

// TestTidyTokens: tokens that let nobody in any more go without an event; others stay.
func TestTidyTokens(t *testing.T) {
	d := newDoor(t)
	now := noon
	d.engine.Now = func() time.Time { return now }
	stays := d.token("stays", boot.Look, "")
	if _, _, err := d.server.Gate.Login(t.Context(), "ann", "correct horse battery", false, netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	d.want(200, "PATCH", "/api/v1/users/ann", `{"password":"another horse battery"}`)
	d.want(200, "POST", "/api/v1/tokens", `{"name":"short","role":"read","expires":"1h"}`)
	count := func() (tokens, events int) {
		d.view(func(tx boot.ReadTx) error {
			ts, err := tx.APITokens("", 100)
			es, err2 := tx.Events(0, 1000)
			tokens, events = len(ts), len(es)
			return errors.Join(err, err2)
		})
		return tokens, events
	}
	had, events := count()
	for _, want := range []int{1, 1, 0} { // of a password that is no more; of an hour that is over
		if n, err := d.server.Gate.Tidy(t.Context()); n != want || err != nil {
			t.Errorf("%d tokens went, %v, want %d", n, err, want)
		}
		now = now.Add(time.Hour)
	}
	if tokens, after := count(); tokens != had-2 || after != events {
		t.Errorf("%d of %d tokens are left, and %d events came", tokens, had, after-events)
	}
	if w := d.knock(stays, "GET", "/api/v1/me", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestStreamsLeaveRoom: however many follow events, others are answered.
func TestStreamsLeaveRoom(t *testing.T) {
	d := newDoor(t)
	token := d.token("good", boot.Look, "")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var refused atomic.Int32
	began := make(chan struct{}, 2*maxStreams)
	for i := range 2 * maxStreams {
		wg.Go(func() {
			at, accept := "http://127.0.0.1/api/v1/events?kind=store.damaged", "text/event-stream"
			if i%2 == 0 {
				at, accept = at+"&follow=1", ""
			}
			r := httptest.NewRequestWithContext(ctx, "GET", at, nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Authorization", "Bearer "+token)
			w := &flushed{ResponseRecorder: httptest.NewRecorder(), once: sync.OnceFunc(func() { began <- struct{}{} })}
			d.port.ServeHTTP(w, r)
			if w.Code == http.StatusTooManyRequests {
				refused.Add(1)
				began <- struct{}{}
			}
		})
	}
	for range 2 * maxStreams {
		<-began
	}
	if n := refused.Load(); n != maxStreams {
		t.Errorf("%d of %d were refused", n, 2*maxStreams)
	}
	if w := d.knock(token, "GET", "/api/v1/status", ""); w.Code != 200 {
		t.Errorf("another request: %d %s", w.Code, w.Body)
	}
	cancel()
	wg.Wait()
}

// flushed tells when an answer has begun.
type flushed struct {
	*httptest.ResponseRecorder
	once func()
}

func (f *flushed) Flush() {
	f.ResponseRecorder.Flush()
	f.once()
}

// TestNeedsOfAdmin keeps admin's doors few: what only an admin may is listed here.
func TestNeedsOfAdmin(t *testing.T) {
	var all []string
	for p, n := range needs {
		if n.role == boot.Admin {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	for _, must := range []string{"GET /api/v1/audit", "GET /api/v1/tokens", "POST /api/v1/backup", "POST /api/v1/templates", "POST /api/v1/tokens", "POST /api/v1/users", "PUT /api/v1/files/{digest}"} {
		if !slices.Contains(all, must) {
			t.Errorf("%s needs no admin", must)
		}
	}
}

// fakePage is a page that approves a host for whoever looks at it, and keeps a cookie.
type fakePage struct{ api http.Handler }

func (p fakePage) Open(r *http.Request) bool { return r.URL.Path == "/login" }
func (p fakePage) Token(r *http.Request) string {
	if c, err := r.Cookie("muster"); err == nil {
		return c.Value
	}
	return ""
}
func (p fakePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.api.ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/hosts/b/approve", nil).WithContext(r.Context()))
}

// TestPageAtTheDoor: a page has no right but its reader's. Without a name it gets what is
// open and may do nothing with it; with a cookie it may what its bearer may; and a page
// elsewhere cannot make a browser use that cookie.
func TestPageAtTheDoor(t *testing.T) {
	d := newDoor(t)
	d.port = (&Outside{Server: d.server, Page: func(api http.Handler) Page { return fakePage{api} }, Names: func() []string { return []string{"muster.example.org"} }}).handler()
	operate, look := d.token("operate", boot.Operate, ""), d.token("look", boot.Look, "")
	revision := func() (n uint64) {
		d.view(func(tx boot.ReadTx) error {
			h, err := tx.HostByName("b")
			n = h.Revision
			return err
		})
		return n
	}
	before := revision()
	as := func(token string, more ...string) { // pairs
		d.header = http.Header{"Cookie": {"muster=" + token}}
		for i := 0; i < len(more); i += 2 {
			d.header.Set(more[i], more[i+1])
		}
	}
	if w := d.knock("", "GET", "/hosts?q=a", ""); w.Code != 303 || w.Header().Get("Location") != "/login?next=%2Fhosts%3Fq%3Da" {
		t.Errorf("without a name: %d %v", w.Code, w.Header())
	}
	if w := d.knock("", "POST", "/hosts/b/approve", ""); w.Code != 303 {
		t.Errorf("an order without a name: %d", w.Code)
	}
	if w := d.knock("", "GET", "/login", ""); w.Code != 403 {
		t.Errorf("what is open asks the API as nobody: %d %s", w.Code, w.Body)
	}
	as("mst_nobodys")
	if w := d.knock("", "GET", "/", ""); w.Code != 303 {
		t.Errorf("a cookie that is no token: %d", w.Code)
	}
	as(look)
	if w := d.knock("", "POST", "/hosts/b/approve", ""); w.Code != 403 {
		t.Errorf("who may only look: %d %s", w.Code, w.Body)
	}
	for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example.com"}} {
		as(operate, from...)
		for _, at := range []string{"/hosts/b/approve", "/api/v1/hosts/b/approve"} {
			if w := d.knock("", "POST", at, ""); w.Code != 403 {
				t.Errorf("%v: POST %s: %d %s", from, at, w.Code, w.Body)
			}
		}
	}
	if revision() != before {
		t.Error("the host was changed")
	}
	as(operate)
	if w := d.knock("", "GET", "/api/v1/me", ""); w.Code != 200 { // the script's stream comes so
		t.Errorf("the API by cookie: %d %s", w.Code, w.Body)
	}
	if w := d.knock("", "POST", "/hosts/b/approve", ""); w.Code != 200 {
		t.Errorf("who may: %d %s", w.Code, w.Body)
	}
	if revision() == before {
		t.Error("an approval changes nothing, and this test shows nothing")
	}
	if w := d.knock(look, "POST", "/hosts/b/approve", ""); w.Code != 403 {
		t.Errorf("a token in the header comes before the cookie: %d", w.Code)
	}
}
