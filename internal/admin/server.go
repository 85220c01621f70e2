// server.go: the API's handlers. They translate; the engine decides.

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/musterboot/muster/boot/engine"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/access"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/plan"
	"github.com/musterboot/muster/trust/authority"
)

// Server is the API.
type Server struct {
	Engine     *engine.Engine
	Gate       *access.Gate
	Files      *images.Store
	Log        *slog.Logger
	Status     func(context.Context) (client.Status, error)
	Explain    func(context.Context, client.ExplainRequest) (client.Explanation, error)
	CA         func() (*authority.Authority, error)
	Hooks      *hook.Hooks
	Store      Keeper
	Backup     BackupSource
	Reload     func(ctx context.Context, by boot.Actor) (client.ConfigPlan, error)
	PlanConfig func(ctx context.Context, name string, text []byte) (client.ConfigPlan, error)
	Metrics    http.Handler                      // answers GET /metrics; nil for none
	Capture    func(io.Writer, []boot.MAC) error // writes a pcap file

	// Rendered renders all files of a version for a machine; secrets are stars.
	Rendered func(*boot.Template, boot.Dialect, boot.Machine) (map[string][]byte, error)

	once      sync.Once
	api       http.Handler
	plans     plan.Plans
	again     again
	referring sync.RWMutex // held between looking for a file and storing what refers to it
}

// Keeper looks after the store itself.
type Keeper interface {
	Verify(context.Context) (records int, damage []string, err error)
	Forget(context.Context) (removed []string, err error)
}

// Listen opens the socket in dir: owner and group may use it, nobody else. A socket
// that a dead process left is replaced. The caller holds the store's lock, so no other
// process is alive.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, client.SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if g, err := user.LookupGroup("muster"); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(path, -1, gid)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// Serve answers on the socket until ctx ends. Only root and the socket's group can use
// it; the kernel says who that is.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, whoKey{}, access.Local(userOf(c)))
		}}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Bounds of a request's body; uploads of files have their own.
const (
	maxJSON   = 4 << 20
	maxImport = 64 << 20
)

// Handler routes the API for who uses the socket.
func (s *Server) Handler() http.Handler {
	inner, local := s.routes(), access.Local("")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, known := r.Context().Value(whoKey{}).(*access.Who); !known {
			r = as(r, local)
		}
		inner.ServeHTTP(w, r)
	})
}

// routes is the API, for the socket and the port. The context of a request says who asks.
func (s *Server) routes() http.Handler {
	s.once.Do(func() { s.api = s.build() })
	return s.api
}

func (s *Server) build() http.Handler {
	mux := http.NewServeMux()
	s.plans.Engine = s.Engine
	route := func(pattern string, fn func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-Match") != "" {
				s.fail(w, r, boot.NewFault(boot.Malformed, "If-Match is for an order on one host"))
				return
			}
			v, err := fn(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			write(w, http.StatusOK, v)
		})
	}
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	mux.HandleFunc("GET /readyz", s.ready)
	route("GET /api/v1/status", func(r *http.Request) (any, error) { return s.Status(r.Context()) })
	route("POST /api/v1/store/check", func(r *http.Request) (any, error) {
		n, damage, err := s.Store.Verify(r.Context())
		return client.StoreChecked{Records: n, Damage: damage}, err
	})
	route("POST /api/v1/store/repair", func(r *http.Request) (any, error) {
		_, damage, err := s.Store.Verify(r.Context())
		if err != nil {
			return nil, err
		}
		gone, err := s.Store.Forget(r.Context())
		if err == nil {
			err = s.note(r, boot.StoreRepaired, fmt.Sprintf("the store repaired by %s: %d damages, %d records forgotten", s.actor(r), len(damage), len(gone)))
		}
		return client.StoreRepaired{Damage: damage, Forgotten: gone}, err
	})
	route("POST /api/v1/config/reload", func(r *http.Request) (any, error) {
		if err := read(r, &struct{}{}); err != nil {
			return nil, err
		}
		return s.Reload(r.Context(), s.actor(r))
	})
	route("POST /api/v1/config/plan", func(r *http.Request) (any, error) {
		var q client.ConfigText
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return s.PlanConfig(r.Context(), boot.CleanText(q.Name, 256), []byte(q.Text))
	})
	mux.HandleFunc("POST /api/v1/backup", s.backup)
	route("GET /api/v1/ca", func(*http.Request) (any, error) {
		c, err := s.CA()
		if err != nil {
			return nil, err
		}
		return client.CA{Name: c.Name(), Until: c.Expires(), Fingerprint: c.Fingerprint(), PEM: string(c.PEM()), DER: c.DER(), ESL: c.ESL()}, nil
	})
	route("GET /api/v1/hosts", s.hosts)
	route("GET /api/v1/moving", s.moving)
	route("POST /api/v1/hosts", s.addHost)
	route("POST /api/v1/hosts/import", s.importHosts)
	route("POST /api/v1/hosts/approve", s.approveMany)
	route("POST /api/v1/hosts/deny", s.denyMany)
	route("POST /api/v1/plans", s.makePlan)
	route("GET /api/v1/plans/{id}", func(r *http.Request) (any, error) {
		return s.plans.Get(s.actor(r), r.PathValue("id"))
	})
	route("POST /api/v1/plans/{id}/run", s.runPlan)
	mux.HandleFunc("GET /api/v1/hosts/{name}", func(w http.ResponseWriter, r *http.Request) {
		d, err := s.host(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		setETag(w, &d.Host)
		write(w, http.StatusOK, d)
	})
	for pattern, read := range hostOrders {
		mux.HandleFunc(pattern, s.hostOrder(read))
	}
	route("GET /api/v1/templates", func(r *http.Request) (any, error) {
		return paged(r, slices.Clone(s.Engine.Policy().Templates), func(t *boot.Template) string { return t.Name })
	})
	route("GET /api/v1/templates/{name}", s.template)
	route("POST /api/v1/templates", s.push)
	route("DELETE /api/v1/templates/{name}", s.drop)
	route("POST /api/v1/templates/preview", s.preview)
	route("GET /api/v1/templates/{name}/versions", s.versions)
	route("GET /api/v1/templates/{name}/diff", s.versionDiff)
	route("POST /api/v1/templates/{name}/pin", s.pin)
	mux.HandleFunc("GET /api/v1/templates/{name}/files/{file...}", s.templateFile)
	route("GET /api/v1/files/{digest}", s.file)
	route("PUT /api/v1/files/{digest}", s.putFile)
	route("GET /api/v1/images", s.imageList)
	route("POST /api/v1/images", s.newImage)
	route("POST /api/v1/images/import", s.importImage)
	mux.HandleFunc("POST /api/v1/images/{name}/verify", s.verifyImage)
	route("DELETE /api/v1/images/{name}", s.removeImage)
	route("GET /api/v1/params", s.params)
	route("PATCH /api/v1/params/{scope...}", s.setParams)
	route("GET /api/v1/leases", s.leases)
	route("DELETE /api/v1/leases/{network}/{addr}", s.release)
	route("GET /api/v1/diagnose", s.diagnose)
	route("POST /api/v1/explain", func(r *http.Request) (any, error) {
		var q client.ExplainRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return s.Explain(r.Context(), q)
	})
	route("GET /api/v1/webhooks", func(r *http.Request) (any, error) {
		l, err := s.Hooks.List(r.Context())
		if err != nil {
			return nil, err
		}
		return paged(r, l, func(w client.Webhook) string { return w.Name })
	})
	route("GET "+problemsAt+"{code}", explainProblem)
	route("GET /api/v1/openapi.json", s.openAPI)
	route("POST /api/v1/webhooks/{name}/test", func(r *http.Request) (any, error) {
		return s.Hooks.Test(r.Context(), r.PathValue("name"))
	})
	route("POST /api/v1/webhooks/{name}/resend", func(r *http.Request) (any, error) {
		var q client.Resend
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return s.Hooks.Resend(r.Context(), r.PathValue("name"), q.Seqs, q.Dead)
	})
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("GET /api/v1/audit", s.audit)
	route("GET /api/v1/me", s.me)
	route("POST /api/v1/login", s.login)
	route("POST /api/v1/join", s.join)
	route("POST /api/v1/logout", s.logout)
	route("GET /api/v1/users", s.users)
	route("POST /api/v1/users", s.addUser)
	route("PATCH /api/v1/users/{name}", s.setUser)
	route("DELETE /api/v1/users/{name}", s.removeUser)
	route("GET /api/v1/tokens", s.tokens)
	route("POST /api/v1/tokens", s.addToken)
	route("DELETE /api/v1/tokens/{name}", s.revokeToken)
	mux.HandleFunc("GET /api/v1/hosts/{name}/log", s.hostLog)
	mux.HandleFunc("GET /api/v1/hosts/{name}/capture", s.hostCapture)
	return s.guard(mux)
}

func read(r *http.Request, v any) error { return readUpTo(r, v, maxJSON) }

func readUpTo(r *http.Request, v any, most int64) error {
	if r.ContentLength > most {
		return tooLarge(most) // without reading it
	}
	return decode(r.Body, v, most)
}

func tooLarge(most int64) error {
	return boot.NewFault(boot.TooLarge, "request is larger than %d KiB", most>>10)
}

// decode reads one JSON value strictly, and nothing after it.
func decode(r io.Reader, v any, most int64) error {
	body := &io.LimitedReader{R: r, N: most + 1}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil // nothing was sent: every field is absent
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	switch {
	case body.N == 0:
		return tooLarge(most)
	case err != nil:
		return boot.NewFault(boot.Malformed, "request is not understood: %s", boot.CleanText(err.Error(), 300))
	}
	return nil
}

// ready says whether machines are served: with 503 and the reason where they are not.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	st, err := s.Status(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := client.Ready{Ready: true, Why: []string{}}
	if st.Disk != "" {
		out.Why = append(out.Why, st.Disk)
	}
	for _, n := range st.Networks {
		if n.State != "serving" && n.Mode != boot.Off {
			out.Why = append(out.Why, "network "+n.Name+": "+n.State)
		}
	}
	code := http.StatusOK
	if out.Ready = len(out.Why) == 0; !out.Ready {
		code = http.StatusServiceUnavailable
	}
	write(w, code, out)
}
