package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/access"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/store/mem"
	"github.com/musterboot/muster/store/storetest"
	"github.com/musterboot/muster/templates"
	"github.com/musterboot/muster/trust/authority"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fileStore is one for all desks: to store a file takes as long as a disk does.
var (
	filesDir  string
	fileStore = sync.OnceValue(func() *images.Store {
		s, err := images.Open(filesDir)
		if err != nil {
			panic(err)
		}
		return s
	})
)

func TestMain(m *testing.M) {
	var err error
	if filesDir, err = os.MkdirTemp("", "admin"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(filesDir)
	os.Exit(code)
}

// desk is the API on a real engine and a store in memory.
type desk struct {
	t      testing.TB
	store  boot.Store
	engine *engine.Engine
	server *Server
	api    http.Handler
	log    strings.Builder
	onView func() // before each View
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
	st, err := mem.Open()
	must(err)
	t.Cleanup(func() { st.Close() })
	d.store = &watched{Store: storetest.Twice(st), desk: d} // what a handler gives it may be run again
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
	files := fileStore()
	set, err := templates.NewSet(files)
	must(err)
	d.engine.Images = set.Images
	d.server = &Server{Engine: d.engine, Gate: &access.Gate{Engine: d.engine}, Files: files, Log: log, Hooks: hook.New(d.store, log, "test", d.engine.Now),
		Status: func(context.Context) (client.Status, error) { return client.Status{Version: "test"}, nil },
		Reload: func(context.Context, boot.Actor) (client.ConfigPlan, error) {
			return client.ConfigPlan{}, boot.NewFault(boot.Invalid, "muster.toml:7: no such key")
		},
		PlanConfig: func(_ context.Context, name string, text []byte) (client.ConfigPlan, error) {
			if len(text) == 0 {
				return client.ConfigPlan{}, boot.NewFault(boot.Invalid, "%s is empty", name)
			}
			return client.ConfigPlan{Changes: []string{string(text)}}, nil
		},
		Explain: func(_ context.Context, q client.ExplainRequest) (client.Explanation, error) {
			return client.Explanation{Network: q.Network}, nil
		},
		Store: worn{},
		Backup: BackupSource{Dump: func(w io.Writer) (int, error) { _, err := io.WriteString(w, "records"); return 1, err }, Store: d.store, Files: files, Version: "test", Now: d.engine.Now,
			Key: func() ([]byte, error) { return bytes.Repeat([]byte{7}, 32), nil }},
		CA:       sync.OnceValues(func() (*authority.Authority, error) { return authority.Open(vault{}, d.engine.Now) }),
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "muster_up 1") }),
		Rendered: set.Rendered,
		Capture:  func(w io.Writer, _ []boot.MAC) error { _, err := io.WriteString(w, "pcap"); return err },
	}
	d.api = d.server.Handler()
	return d
}

// worn is a store that has lost something.
type worn struct{}

func (worn) Verify(context.Context) (int, []string, error) {
	return 7, []string{"host 4 is damaged"}, nil
}
func (worn) Forget(context.Context) ([]string, error) { return []string{"its MAC"}, nil }

type watched struct {
	boot.Store
	desk *desk
}

func (w *watched) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	if w.desk.onView != nil {
		w.desk.onView()
	}
	return w.Store.View(ctx, fn)
}

type vault map[string][]byte

func (v vault) Load(name string) ([]byte, error)     { return v[name], nil }
func (v vault) Save(name string, value []byte) error { v[name] = value; return nil }

// receiver takes every event.
type receiver struct{}

func (receiver) Send(_ context.Context, m hook.Message) hook.Answer {
	return hook.Answer{Result: hook.Delivered, Words: "took " + m.ID}
}

// annsHash is of the password of every desk's user: to make it takes a while.
var annsHash = sync.OnceValue(func() string {
	h, err := access.Hash("correct horse battery")
	if err != nil {
		panic(err)
	}
	return h
})

// furnish puts things on the desk: one host of each state, a template that installs
// and one that does not, an image, a lease, a receiver, lines and requests of a.
func (d *desk) furnish() {
	d.t.Helper()
	d.image(200, "debian", "vmlinuz", "kernel", "initrd.gz", "initrd")
	d.image(200, "spare", "x", "x")
	d.push(200, "template.toml", "name = \"rescue\"\n[boot]\nkernel = \"k\"\n[params.k]\n", "k", "kernel")
	d.push(200, "template.toml", "name = \"free\"\n[boot]\nkernel = \"k\"\n", "k", "kernel")
	d.push(200, "template.toml", "name = \"deb\"\ninstall = true\n[boot]\nkernel = \"image:debian/vmlinuz\"\n")
	d.want(200, "POST", "/api/v1/hosts", `{"name":"a","state":"approved","macs":[`+macA+`],"template":"rescue","address":"10.0.0.7"}`)
	d.want(200, "POST", "/api/v1/hosts", `{"name":"b","macs":[`+macB+`],"serial":"SN-2"}`)
	d.want(200, "POST", "/api/v1/hosts", `{"name":"c","state":"denied","macs":["52:54:00:00:00:03","52:54:00:00:00:04"]}`)
	m, _ := boot.ParseMAC("52:54:00:00:00:01")
	if err := d.store.Update(d.t.Context(), func(tx boot.Tx) error {
		return tx.PutLease(boot.Lease{Network: "lab", Addr: netip.MustParseAddr("10.0.0.7"), Holder: boot.HeldBy(m), MAC: m, Host: 1, Kind: boot.Reserved, Starts: noon, Expires: noon.Add(time.Hour)})
	}); err != nil {
		d.t.Fatal(err)
	}
	d.server.Hooks.Set([]*hook.Target{{Name: "chat", Type: hook.Webhook, Where: "http://chat", GiveUp: time.Hour, Sender: receiver{}}})
	by := boot.Actor{Kind: boot.Person, Name: "root"}
	for _, o := range []boot.Order{
		boot.AddUser{User: boot.User{Name: "ann", Hash: annsHash(), Role: boot.Operate}},
		boot.AddToken{Token: boot.APIToken{Name: "ci", Digest: strings.Repeat("c", 64), Role: boot.Look}},
	} {
		if _, err := d.engine.Do(d.t.Context(), by, o); err != nil {
			d.t.Fatal(err)
		}
	}
	d.engine.Log.Add(boot.Request{At: noon, Host: 1, Name: "a", MAC: m, Network: "lab", Via: boot.DHCP4, Step: boot.Discover, Reply: "offer"})
	d.engine.Lines.Add(boot.Request{At: noon, Host: 1, Name: "a", MAC: m, Via: boot.Syslog, Step: boot.LogLine, Reply: "done", Line: &boot.Line{Text: "kernel: up"}})
}

// everything is what is stored, but for secrets.
func (d *desk) everything() string {
	d.t.Helper()
	var out struct {
		Hosts     []*boot.Host
		Templates []*boot.Template
		Images    []*boot.Image
		Leases    []boot.Lease
		Events    []boot.Event
		Pending   uint64
		Users     []*boot.User
		Tokens    []*boot.APIToken
	}
	d.view(func(tx boot.ReadTx) (err error) {
		var errs [8]error
		out.Hosts, errs[0] = tx.Hosts(0, 10_000)
		out.Templates, errs[1] = tx.Templates(0, 10_000)
		out.Images, errs[2] = tx.Images("", 10_000)
		out.Leases, errs[3] = tx.Leases("lab", netip.Addr{}, 10_000)
		out.Events, errs[4] = tx.Events(0, 10_000)
		out.Pending, errs[5] = tx.Counter(boot.PendingHosts)
		out.Users, errs[6] = tx.Users("", 10_000)
		out.Tokens, errs[7] = tx.APITokens("", 10_000)
		return errors.Join(errs[:]...)
	})
	b, err := json.Marshal(out)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
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

// blob is what refers to a file.
func (d *desk) blob(content string) boot.Blob {
	sum := sha256.Sum256([]byte(content))
	return boot.Blob{Digest: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

// put stores a file.
func (d *desk) put(content string) boot.Blob {
	d.t.Helper()
	b := d.blob(content)
	if _, has := d.server.Files.Has(b.Digest); has {
		return b
	}
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
