package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/store"
	"github.com/musterboot/muster/store/mem"
	"github.com/musterboot/muster/templates"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// desk is the API on a real engine and a store in memory.
type desk struct {
	t      testing.TB
	store  *store.Store
	engine *engine.Engine
	server *Server
	api    http.Handler
	log    strings.Builder
	policy boot.Policy
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	d.store, err = mem.Open()
	must(err)
	t.Cleanup(func() { d.store.Close() })
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	d.engine = engine.New(d.store, engine.NewRequestLog(nil), log)
	t.Cleanup(d.engine.Close)
	d.engine.Now = func() time.Time { return noon }
	d.policy = boot.Policy{
		Networks: []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: netip.MustParseAddr("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/24"),
			Lease: time.Hour, Ranges: []boot.Range{{From: netip.MustParseAddr("10.0.0.100"), To: netip.MustParseAddr("10.0.0.110")}}}},
		Enroll: boot.Enroll{Policy: boot.EnrollApprove},
	}
	must(d.engine.SetPolicy(t.Context(), d.policy))
	files, err := images.Open(t.TempDir())
	must(err)
	t.Cleanup(func() { files.Close() })
	set, err := templates.NewSet(files)
	must(err)
	d.engine.Images = set.Images
	d.server = &Server{Engine: d.engine, Files: files, Log: log, Hooks: hook.New(d.store, log, "test", d.engine.Now),
		Status: func(context.Context) (Status, error) { return Status{Version: "test"}, nil },
		Explain: func(_ context.Context, q ExplainRequest) (Explanation, error) {
			return Explanation{Network: q.Network}, nil
		},
		Capture: func(w io.Writer, _ []boot.MAC) error { _, err := io.WriteString(w, "pcap"); return err },
	}
	d.api = d.server.Handler()
	return d
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t testing.TB
}

func (a answer) into(v any) answer {
	a.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	return a
}

// ask sends a request; header is key, value, key, value.
func (d *desk) ask(method, path, body string, header ...string) answer {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.api.ServeHTTP(w, r)
	return answer{w, d.t}
}

// want is ask with the status that must come of it.
func (d *desk) want(status int, method, path, body string, header ...string) answer {
	d.t.Helper()
	a := d.ask(method, path, body, header...)
	if a.Code != status {
		d.t.Fatalf("%s %s %.200s: %d %s, want %d", method, path, body, a.Code, a.Body, status)
	}
	return a
}

func (d *desk) view(fn func(boot.ReadTx) error) {
	d.t.Helper()
	if err := d.store.View(d.t.Context(), fn); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) hosts() (hs []*boot.Host) {
	d.t.Helper()
	d.view(func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(0, 1000); return err })
	return hs
}

// put stores a file.
func (d *desk) put(content string) boot.Blob {
	d.t.Helper()
	sum := sha256.Sum256([]byte(content))
	b := boot.Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	d.want(200, "PUT", "/api/v1/files/"+b.Digest, content)
	return b
}

// files stores files, name, content, name, content, and gives what refers to them.
func (d *desk) files(named ...string) string {
	d.t.Helper()
	m := map[string]boot.Blob{}
	for i := 0; i+1 < len(named); i += 2 {
		m[named[i]] = d.put(named[i+1])
	}
	b, err := json.Marshal(m)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// push pushes a template of these files.
func (d *desk) push(status int, named ...string) answer {
	d.t.Helper()
	return d.want(status, "POST", "/api/v1/templates", `{"files":`+d.files(named...)+`}`)
}

// image imports one.
func (d *desk) image(status int, name string, named ...string) answer {
	d.t.Helper()
	return d.want(status, "POST", "/api/v1/images", `{"name":"`+name+`","files":`+d.files(named...)+`}`)
}
