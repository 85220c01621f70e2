package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestWayBack: after signing in nobody is led elsewhere.
func TestWayBack(t *testing.T) {
	for to, want := range map[string]string{
		"/hosts?q=state:pending": "/hosts?q=state:pending", "/hosts/a%2Fb": "/hosts/a%2Fb",
		"": "/", "//evil.example.com": "/", "///evil.example.com": "/", "https://evil.example.com/": "/", "/\\evil.example.com": "/", "javascript:alert(1)": "/", "/login": "/", "/x\r\nSet-Cookie: a=b": "/", "hosts": "/", "%zz": "/",
	} {
		if got := local(to); got != want {
			t.Errorf("%q leads to %q", to, got)
		}
	}
}

// TestNobody: a request without a name gets the sign-in and its files, and the API is asked
// nothing for it.
func TestNobody(t *testing.T) {
	asked := 0
	s := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.WriteHeader(http.StatusUnauthorized)
	}), nil, nil)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	page := get("/login?next=" + "%22%3E%3Cscript%3E")
	if page.Code != 200 || strings.Contains(page.Body.String(), "<script>\"") || page.Header().Get("Content-Security-Policy") != policy {
		t.Errorf("%d %v %s", page.Code, page.Header(), page.Body)
	}
	for _, name := range []string{"muster.css", "muster.js", "muster.svg"} {
		at := s.names[name]
		a := get(at)
		if a.Code != 200 || a.Body.Len() == 0 || !strings.Contains(a.Header().Get("Cache-Control"), "immutable") || !strings.Contains(page.Body.String(), at) {
			t.Errorf("%s at %s: %d %v", name, at, a.Code, a.Header())
		}
	}
	if w := get("/assets/../web.go"); w.Code == 200 {
		t.Errorf("a file that is no asset: %s", w.Body)
	}
	if asked != 0 {
		t.Errorf("the API was asked %d times", asked)
	}
}

// TestWords: times and sizes as people say them.
func TestWords(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for at, want := range map[time.Duration]string{0: "now", 30 * time.Second: "30 s ago", 90 * time.Minute: "1 h ago", 72 * time.Hour: "3 days ago", -3 * time.Minute: "in 3 min"} {
		if got := ago(now, now.Add(-at)); got != want {
			t.Errorf("%v: %s", at, got)
		}
	}
	if got := ago(now, time.Time{}); got != "never" {
		t.Error(got)
	}
	for n, want := range map[int64]string{999: "999 B", 14_200_000: "14.2 MB", 5_000: "5 kB", 3_100_000_000: "3.1 GB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got := string(bar(5, 0, "x")) + string(bar(50, 10, `"><script>`)); strings.Contains(got, "<script>") || !strings.Contains(got, `width="100"`) {
		t.Error(got)
	}
}

// TestRemedy: a click gives no order that writes to a disk.
func TestRemedy(t *testing.T) {
	for want, o := range map[string]boot.Order{"approve": boot.Approve{Name: "a"}, "update": boot.Update{Name: "a"}, "": boot.Install{Name: "a"}} {
		if got := remedy(o); got != want {
			t.Errorf("%T: %q", o, got)
		}
	}
}
