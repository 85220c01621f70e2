// fault.go: errors as a client gets them: one table from codes to HTTP statuses. A
// client is told nothing of failures of the server.

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// kind is what all problems of a code have in common.
type kind struct {
	status int
	title  string
}

// kinds has every code; docs/api.md says the same.
var kinds = map[boot.FaultCode]kind{
	boot.UnknownHost:     {http.StatusNotFound, "no host has that name, MAC, UUID, serial number, switch port or address"},
	boot.UnknownTemplate: {http.StatusNotFound, "no template is called that"},
	boot.UnknownImage:    {http.StatusNotFound, "no image is called that"},
	boot.UnknownLease:    {http.StatusNotFound, "that address is not leased"},
	boot.UnknownNetwork:  {http.StatusNotFound, "no network is called that, or serves there"},
	boot.UnknownHook:     {http.StatusNotFound, "no webhook or hook is called that"},
	boot.UnknownPlan:     {http.StatusNotFound, "no plan has that number, or it has ended"},
	boot.Unconfirmed:     {http.StatusConflict, "so many installations, removals, or machines that would boot a new version of a template next want their number said"},
	boot.Ambiguous:       {http.StatusConflict, "the name is that of several machines, which the text lists"},
	boot.Unheard:         {http.StatusNotFound, "nothing was ever heard of that machine"},
	boot.NotThere:        {http.StatusNotFound, "there is no such thing"},
	boot.Taken:           {http.StatusConflict, "a name, MAC, UUID, serial number, address or the like is another's"},
	boot.InUse:           {http.StatusConflict, "something still needs it"},
	boot.WrongState:      {http.StatusConflict, "the host does not stand where the order needs it"},
	boot.IsProtected:     {http.StatusConflict, "the host is protected from installation"},
	boot.TicketOpen:      {http.StatusConflict, "an installation may be running"},
	boot.Changed:         {http.StatusPreconditionFailed, "the host is not as the one who asked saw it"},
	boot.HostsRefused:    {http.StatusUnprocessableEntity, "of a list, some hosts cannot be added"},
	boot.Invalid:         {http.StatusUnprocessableEntity, "a value that cannot be"},
	boot.Malformed:       {http.StatusBadRequest, "the request is not understood"},
	boot.TooLarge:        {http.StatusRequestEntityTooLarge, "more than is taken at once"},
	boot.NoSpace:         {http.StatusInsufficientStorage, "the disk of the data directory is full, or muster.db has its 512 MiB on a 32-bit machine"},
	boot.Stopping:        {http.StatusServiceUnavailable, "the server ends"},
	boot.Unauthorized:    {http.StatusUnauthorized, "who asks is not known, or the token has ended"},
	boot.Forbidden:       {http.StatusForbidden, "who asks may not do that"},
	boot.TooMany:         {http.StatusTooManyRequests, "too many requests at once, or wrong passwords one after the other"},
	boot.UnknownUser:     {http.StatusNotFound, "nobody is called that"},
	boot.UnknownToken:    {http.StatusNotFound, "no token is called that"},
	boot.Internal:        {http.StatusInternalServerError, "Muster failed at this"},
}

// StatusOf is the HTTP status of a code.
func StatusOf(code boot.FaultCode) int { return problem(code, "", "").Status }

// failure makes the answer for an error. An error that is no Fault is a failure of the
// server. Its text goes to the log only, because it may contain anything, even a stack.
func (s *Server) failure(r *http.Request, err error) client.Problem {
	switch f := boot.FaultOf(err); {
	case f != nil:
		// The errors that wrap a fault say where it occurred.
		text := strings.TrimSuffix(err.Error(), " ("+f.Hint+")")
		if f.Code == boot.Stopping {
			text = f.Text
		}
		return problem(f.Code, text, f.Hint)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		return problem(boot.NoSpace, "no space is left on the disk of the data directory", "muster image list shows what is there, muster image rm makes room")
	case r.Context().Err() != nil:
		return problem(boot.Stopping, "muster is stopping", "") // or the client has gone and nobody reads this
	}
	s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	return ours
}

// ours is the answer for a failure of the server.
var ours = problem(boot.Internal, "muster failed at this; its log says why", "journalctl -u muster")

// problemsAt is where the API tells what a code means.
const problemsAt = "/api/v1/problems/"

func problem(code boot.FaultCode, detail, hint string) client.Problem {
	k := kinds[code]
	return client.Problem{Type: problemsAt + string(code), Title: k.title, Status: k.status, Detail: detail, Code: code, Hint: hint}
}

// explainProblem tells what a code means.
func explainProblem(r *http.Request) (any, error) {
	code := boot.FaultCode(r.PathValue("code"))
	if _, is := kinds[code]; !is {
		return nil, boot.NewFault(boot.NotThere, "no problem has the code %s", boot.CleanText(string(code), 40))
	}
	p := problem(code, "", "")
	return client.ProblemKind{Code: code, Status: p.Status, Title: p.Title}, nil
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.failure(r, err)
	var changed *boot.ChangedHost
	if errors.As(err, &changed) {
		p.Host = changed.Host
		setETag(w, p.Host)
	}
	refuse(w, p)
}

// refuse sends a problem.
func refuse(w http.ResponseWriter, p client.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// guard recovers a panic, so that only its own request fails. It also answers requests
// for which there is no route, with the API's errors.
func (s *Server) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &begun{ResponseWriter: rw}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			err, _ := p.(error)
			cut := errors.Is(err, http.ErrAbortHandler)
			if !cut {
				s.Log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
			if cut || w.begun {
				panic(http.ErrAbortHandler) // an answer that is cut off must not look complete
			}
			refuse(w, ours)
		}()
		none := boot.NewFault(boot.NotThere, "the API has no such path")
		if asked := r.URL.EscapedPath(); asked != path.Clean(asked) {
			s.fail(w, r, none) // the mux would send a browser to the path without empty and dotted parts
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			if err := may(who(r), pattern); err != nil {
				s.fail(w, r, err)
				return
			}
			if r.Header["Idempotency-Key"] != nil {
				s.carryOnce(mux, pattern, w, r)
				return
			}
			mux.ServeHTTP(w, r)
			return
		}
		no := &refusal{header: w.Header()}
		h.ServeHTTP(no, r)
		w.Header().Del("X-Content-Type-Options")
		if no.status == http.StatusMethodNotAllowed {
			f := boot.NewFault(boot.Malformed, "%s is not for this path, which takes %s", boot.CleanText(r.Method, 20), w.Header().Get("Allow"))
			p := s.failure(r, f)
			p.Status = no.status
			refuse(w, p)
			return
		}
		s.fail(w, r, none)
	})
}

// begun is a ResponseWriter that knows whether an answer has begun.
type begun struct {
	http.ResponseWriter
	begun bool
}

func (w *begun) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *begun) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *begun) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// refusal records the mux's answer to a request that has no route.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
