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
)

// statuses has every code; docs/api.md says the same.
var statuses = map[boot.FaultCode]int{
	boot.UnknownHost:     http.StatusNotFound,
	boot.UnknownTemplate: http.StatusNotFound,
	boot.UnknownImage:    http.StatusNotFound,
	boot.UnknownLease:    http.StatusNotFound,
	boot.UnknownNetwork:  http.StatusNotFound,
	boot.UnknownHook:     http.StatusNotFound,
	boot.UnknownPlan:     http.StatusNotFound,
	boot.Unconfirmed:     http.StatusConflict,
	boot.Ambiguous:       http.StatusConflict,
	boot.Unheard:         http.StatusNotFound,
	boot.NotThere:        http.StatusNotFound,
	boot.Taken:           http.StatusConflict,
	boot.InUse:           http.StatusConflict,
	boot.WrongState:      http.StatusConflict,
	boot.IsProtected:     http.StatusConflict,
	boot.TicketOpen:      http.StatusConflict,
	boot.Changed:         http.StatusPreconditionFailed,
	boot.HostsRefused:    http.StatusUnprocessableEntity,
	boot.Invalid:         http.StatusUnprocessableEntity,
	boot.Malformed:       http.StatusBadRequest,
	boot.TooLarge:        http.StatusRequestEntityTooLarge,
	boot.NoSpace:         http.StatusInsufficientStorage,
	boot.Stopping:        http.StatusServiceUnavailable,
	boot.Unauthorized:    http.StatusUnauthorized,
	boot.Forbidden:       http.StatusForbidden,
	boot.TooMany:         http.StatusTooManyRequests,
	boot.UnknownUser:     http.StatusNotFound,
	boot.UnknownToken:    http.StatusNotFound,
	boot.Internal:        http.StatusInternalServerError,
}

// failure makes the answer for an error. An error that is no Fault is a failure of the
// server. Its text goes to the log only, because it may contain anything, even a stack.
func (s *Server) failure(r *http.Request, err error) Failure {
	switch f := boot.FaultOf(err); {
	case f != nil:
		// The errors that wrap a fault say where it occurred.
		text := strings.TrimSuffix(err.Error(), " ("+f.Hint+")")
		if f.Code == boot.Stopping {
			text = f.Text
		}
		return Failure{Error: text, Code: f.Code, Hint: f.Hint}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		return Failure{Error: "no space is left on the disk of the data directory", Code: boot.NoSpace, Hint: "muster image list shows what is there, muster image rm makes room"}
	case r.Context().Err() != nil:
		return Failure{Error: "muster is stopping", Code: boot.Stopping} // or the client has gone and nobody reads this
	}
	s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	return ours
}

// ours is the answer for a failure of the server.
var ours = Failure{Error: "muster failed at this; its log says why", Code: boot.Internal, Hint: "journalctl -u muster"}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := s.failure(r, err)
	var changed *boot.ChangedHost
	if errors.As(err, &changed) {
		f.Host = changed.Host
		setETag(w, f.Host)
	}
	write(w, statuses[f.Code], f)
}

// orEmpty makes an empty list of nil, so that JSON has [] and not null.
func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
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
			write(w, http.StatusInternalServerError, ours)
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
			mux.ServeHTTP(w, r)
			return
		}
		no := &refusal{header: w.Header()}
		h.ServeHTTP(no, r)
		w.Header().Del("X-Content-Type-Options")
		if no.status == http.StatusMethodNotAllowed {
			f := boot.NewFault(boot.Malformed, "%s is not for this path, which takes %s", boot.CleanText(r.Method, 20), w.Header().Get("Allow"))
			write(w, no.status, s.failure(r, f))
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
