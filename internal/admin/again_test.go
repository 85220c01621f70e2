package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/access"
)

// TestAgain: an order that is sent again with its key is carried out once and answered as
// before, also where it was refused; the key of another request, or of somebody else, is
// another; what is kept ends.
func TestAgain(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	now := noon
	d.engine.Now = func() time.Time { return now }
	const at = "/api/v1/tokens"
	body := `{"name":"robot","role":"read","expires":"1d"}`
	first := d.want(200, "POST", at, body, "Idempotency-Key", "k1")
	if first.Header().Get("Idempotency-Replayed") != "" {
		t.Error("the first is called a repetition")
	}
	d.want(409, "POST", at, body) // without the key it is another order
	second := d.want(200, "POST", at, body, "Idempotency-Key", "k1")
	if second.Body.String() != first.Body.String() || second.Header().Get("Idempotency-Replayed") != "true" || second.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v %s, and at first %s", second.Header(), second.Body, first.Body)
	}
	d.want(409, "POST", at, body, "Idempotency-Key", "k2")
	var p client.Problem
	if d.want(422, "POST", at, `{"name":"other","role":"read"}`, "Idempotency-Key", "k1").into(&p); !strings.Contains(p.Detail, "another request") {
		t.Errorf("%+v", p)
	}
	d.want(422, "POST", "/api/v1/users", body, "Idempotency-Key", "k1")

	// An order on a host, with its tag, and a refusal.
	a := d.want(200, "PATCH", "/api/v1/hosts/a", `{"name":"a1"}`, "Idempotency-Key", "h1")
	if b := d.want(200, "PATCH", "/api/v1/hosts/a", `{"name":"a1"}`, "Idempotency-Key", "h1"); b.Header().Get("ETag") == "" || b.Header().Get("ETag") != a.Header().Get("ETag") {
		t.Errorf("%v", b.Header())
	}
	d.want(404, "DELETE", "/api/v1/hosts/late", "", "Idempotency-Key", "h2")
	d.want(200, "POST", "/api/v1/hosts", `{"name":"late","serial":"SN-77"}`)
	if x := d.want(404, "DELETE", "/api/v1/hosts/late", "", "Idempotency-Key", "h2"); x.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v", x.Header())
	}

	// Somebody else's key of the same name is another.
	other := &access.Who{Actor: boot.Actor{Kind: boot.Program, Name: "other"}, Role: boot.Admin, Token: "other"}
	r := as(httptest.NewRequestWithContext(t.Context(), "DELETE", "/api/v1/hosts/late", nil), other)
	r.Header.Set("Idempotency-Key", "h2")
	w := httptest.NewRecorder()
	if d.api.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	now = now.Add(againFor + time.Second)
	d.want(409, "POST", at, body, "Idempotency-Key", "k1")

	for _, x := range [][3]string{{"GET", "/api/v1/hosts", "k"}, {"PUT", "/api/v1/files/" + digest, "k"}, {"POST", "/api/v1/backup", "k"}, {"POST", "/api/v1/login", "k"}, {"POST", at, strings.Repeat("k", againKey+1)}, {"POST", at, "a\x7fb"}, {"POST", at, ""}} {
		d.want(400, x[0], x[1], body, "Idempotency-Key", x[2])
	}
	d.want(400, "POST", at, body, "Idempotency-Key", "a", "Idempotency-Key", "b")
	d.want(413, "POST", at, strings.Repeat(" ", maxJSON+1), "Idempotency-Key", "long")
	d.want(413, "POST", at, strings.Repeat(" ", maxJSON+1), "Idempotency-Key", "long")
}

// TestAgainAtOnce: of the same order sent many times at once one is carried out, and each
// is answered; who left does not stop it.
func TestAgainAtOnce(t *testing.T) {
	d := newDesk(t)
	d.furnish()
	var made, gone sync.WaitGroup
	var good atomic.Int32
	var token sync.Map
	left, leave := context.WithCancel(t.Context())
	leave()
	gone.Go(func() {
		r := httptest.NewRequestWithContext(left, "POST", "/api/v1/tokens", strings.NewReader(`{"name":"robot","role":"read"}`))
		r.Header.Set("Idempotency-Key", "k")
		d.api.ServeHTTP(httptest.NewRecorder(), r)
	})
	gone.Wait()
	if a := d.want(200, "GET", "/api/v1/tokens", ""); !strings.Contains(a.Body.String(), `"robot"`) {
		t.Errorf("who left took the order with them: %s", a.Body)
	}
	for range 20 {
		made.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/tokens", strings.NewReader(`{"name":"robot","role":"read"}`))
			r.Header.Set("Idempotency-Key", "k")
			w := httptest.NewRecorder()
			d.api.ServeHTTP(w, r)
			var x client.TokenMade
			if w.Code == 200 && json.Unmarshal(w.Body.Bytes(), &x) == nil {
				good.Add(1)
				token.Store(x.Token, true)
			}
		})
	}
	made.Wait()
	n := 0
	token.Range(func(any, any) bool { n++; return true })
	if good.Load() != 20 || n != 1 {
		t.Errorf("%d of 20 are answered, with %d tokens", good.Load(), n)
	}
}

// TestAgainBounds: neither many keys nor long answers fill the memory, and an order that
// failed or panicked may be sent again.
func TestAgainBounds(t *testing.T) {
	var a again
	for i := range 200 {
		k, mine, err := a.begin(sum(fmt.Sprint(i)), sum("x"), noon)
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		c := &copied{ResponseWriter: httptest.NewRecorder()}
		c.WriteHeader(http.StatusOK)
		if _, err := c.Write(make([]byte, againAnswer)); err != nil {
			t.Fatal(err)
		}
		a.end(k, c)
	}
	if most := againBytes/againAnswer + 2; len(a.order) > most || len(a.known) != len(a.order) || a.bytes != len(a.order)*againAnswer {
		t.Errorf("%d are kept, %d known, %d bytes; at most %d", len(a.order), len(a.known), a.bytes, most)
	}
	a = again{}
	for i := range againMost {
		if _, _, err := a.begin(sum(fmt.Sprint(i)), sum("x"), noon); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := a.begin(sum("more"), sum("x"), noon); boot.FaultOf(err) == nil || boot.FaultOf(err).Code != boot.TooMany {
		t.Error(err)
	}

	s := &Server{}
	calls := 0
	for range 2 {
		k, mine, err := s.again.begin(sum("panics"), sum("x"), noon)
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		func() {
			defer func() { _ = recover() }()
			s.carry(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++; panic("x") }), k, httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
		}()
	}
	for _, code := range []int{500, 503, 429} {
		k, mine, err := s.again.begin(sum("fails"), sum("x"), noon)
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		s.carry(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }), k, httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	}
	if calls != 2 || len(s.again.order) != 0 {
		t.Errorf("%d calls, %d kept", calls, len(s.again.order))
	}
}
