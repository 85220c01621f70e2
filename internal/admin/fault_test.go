package admin

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// codes reads the codes of faults out of the core's source, so that a new one
// cannot be forgotten here.
func codes(t *testing.T) (out []boot.FaultCode) {
	files, err := filepath.Glob("../../boot/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		x, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(x, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := s.Type.(*ast.Ident); !ok || id.Name != "FaultCode" {
				return true
			}
			for _, v := range s.Values {
				c, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, boot.FaultCode(c))
			}
			return true
		})
	}
	return out
}

// TestEveryCodeHasAStatus: in the table, and in the manual with the same number.
func TestEveryCodeHasAStatus(t *testing.T) {
	manual, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	all := codes(t)
	if len(all) < 20 {
		t.Fatalf("found %d codes", len(all))
	}
	for _, c := range all {
		k, ok := kinds[c]
		if !ok {
			t.Errorf("code %s has no status", c)
		}
		if !strings.Contains(string(manual), fmt.Sprintf("\n| `%s` | %d | ", c, k.status)) {
			t.Errorf("docs/api.md has no line for code %s with status %d", c, k.status)
		}
	}
	for c := range kinds {
		if !slices.Contains(all, c) {
			t.Errorf("there is a status for %s, which is no code", c)
		}
	}
}

// TestErrorsThatAreOurs: a client is told nothing of them but that they happened.
func TestErrorsThatAreOurs(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("secret of the disk"), `500 {"type":"/api/v1/problems/internal","title":"Muster failed at this","status":500,"detail":"muster failed at this; its log says why","code":"internal","hint":"journalctl -u muster"}`},
		{fmt.Errorf("write: %w", syscall.ENOSPC), `"detail":"no space is left on the disk of the data directory","code":"no-space",`},
		{fmt.Errorf("commit: %w", boot.ErrClosed), `"status":503,"detail":"muster is stopping","code":"stopping"}`},
		{fmt.Errorf("line 3: %w", boot.NewFault(boot.Invalid, "no such thing").Try("look")), `"status":422,"detail":"line 3: no such thing","code":"invalid","hint":"look"}`},
	} {
		w := httptest.NewRecorder()
		d.server.fail(w, httptest.NewRequest("GET", "/", nil), c.err)
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); !strings.Contains(got, c.want) {
			t.Errorf("%v: %s", c.err, got)
		}
	}
	if s := d.log.String(); !strings.Contains(s, "secret of the disk") || !strings.Contains(s, "no space left") || strings.Contains(s, "no such thing") {
		t.Errorf("the log says %s", s)
	}
}

// TestPanic: the stack goes to the log, the client gets a short 500, and the server
// goes on. An answer that has begun is cut off, not ended.
func TestPanic(t *testing.T) {
	d := newDesk(t)
	d.server.CA = nil // a nil function is called
	d.server.Capture = func(w io.Writer, _ []boot.MAC) error {
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
		panic("half way")
	}
	s := httptest.NewServer(d.api)
	defer s.Close()
	get := func(path string) (int, string, error) {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	if code, body, err := get("/api/v1/ca"); code != 500 || err != nil || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "nil") || strings.Contains(body, ".go") {
		t.Errorf("%d %s, %v", code, body, err)
	}
	if _, _, err := get("/api/v1/hosts/52:54:00:00:00:01/capture"); err == nil {
		t.Error("an answer that was cut off looks whole")
	}
	if code, _, err := get("/api/v1/status"); code != 200 || err != nil {
		t.Errorf("afterwards: %d, %v", code, err)
	}
	s.Close() // nothing writes the log any more
	for _, want := range []string{"a request panicked", "path=/api/v1/ca", "half way", "fault_test.go"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, d.log.String())
		}
	}

	// One inside the store's writer comes back as an error with its stack.
	w := httptest.NewRecorder()
	err := d.store.Update(t.Context(), func(boot.Tx) error { panic("in the writer") })
	d.server.fail(w, httptest.NewRequest("GET", "/", nil), err)
	if w.Code != 500 || strings.Contains(w.Body.String(), "writer") || !strings.Contains(d.log.String(), "in the writer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestNoSuchRoute: also what no route takes is answered in the API's words.
func TestNoSuchRoute(t *testing.T) {
	d := newDesk(t)
	var f client.Problem
	for _, path := range []string{"/api/v2/hosts", "/", "/api/v1/hosts/", "//api/v1/hosts", "/api/v1/./hosts", "/api/v1/hosts/../status"} {
		if a := d.want(404, "GET", path, "").into(&f); f.Code != boot.NotThere || a.Header().Get("Location") != "" {
			t.Errorf("%s: %+v", path, f)
		}
	}
	a := d.want(405, "PUT", "/api/v1/hosts", "").into(&f)
	if f.Code != boot.Malformed || a.Header().Get("Allow") != "GET, HEAD, POST" || !strings.Contains(f.Detail, "GET, HEAD, POST") || a.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%+v %v", f, a.Header())
	}
	if d.want(405, strings.Repeat("G", 3000), "/api/v1/hosts", "").into(&f); len(f.Detail) > 100 {
		t.Errorf("%d bytes", len(f.Detail))
	}
}
