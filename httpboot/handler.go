// handler.go: a request to a Sighting, and a Decision to a response.

package httpboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/musterboot/muster/boot"
)

// Handler answers boot requests.
type Handler struct {
	// Admitted, if not nil, reports the address of a machine that may boot: it finds room
	// before strangers. Set it before serving.
	Admitted func(netip.Addr) bool

	ask     boot.Fetcher
	content boot.Content
	log     *slog.Logger
	lines   lines
	Stats   Stats
}

// Stats counts responses; all of it only grows.
type Stats struct {
	Requests, Files, NotFound, Refused, Errors, Bytes atomic.Uint64
	ZeroCopy                                          atomic.Uint64 // bytes, out of Bytes, that the kernel sent directly from a file
	Handshakes                                        atomic.Uint64 // TLS handshakes that failed
	TurnedAway, GaveWay                               atomic.Uint64 // connections for which there was no room
}

// NewHandler returns a handler that asks ask and opens through content.
func NewHandler(ask boot.Fetcher, content boot.Content, log *slog.Logger) *Handler {
	return &Handler{ask: ask, content: content, log: log}
}

// askTimeout is below the five seconds that edk2 waits for a response header.
const askTimeout = 4 * time.Second

// bodyTimeout is how long the body of a request may take.
const bodyTimeout = 5 * time.Second

// maxBody bounds what a client may send: a report with the facts of a large
// machine.
const maxBody = 256 << 10

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			h.log.Error("request panicked", "path", boot.ShortPath(r.URL.Path), "panic", p, "stack", string(debug.Stack()))
			panic(http.ErrAbortHandler)
		}
	}()
	h.Stats.Requests.Add(1)
	if r.ContentLength != 0 {
		// A body is read only for a report; net/http discards every other one.
		// So no answer waits for a body.
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		w.Header().Set("Connection", "close")
	}
	in, ok := parse(r, time.Now())
	if !ok {
		h.Stats.Refused.Add(1)
		fail(w, r, http.StatusBadRequest, "this is not a path of a boot file")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !(r.Method == http.MethodPost && (path.Base(in.Want.Path) == "report" || path.Base(in.Want.Path) == boot.AnswerFile)) {
		h.Stats.Refused.Add(1)
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, r, http.StatusMethodNotAllowed, "boot files are read with GET and HEAD")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	d, err := h.ask.Next(ctx, in)
	if err != nil {
		h.Stats.Errors.Add(1)
		w.Header().Set("Retry-After", "5")
		fail(w, r, http.StatusServiceUnavailable, "the boot server is in trouble, ask again")
		return
	}
	switch x := d.Reply.(type) {
	case boot.File:
		h.serve(w, r, in, d, x.Ref)
	case boot.Script:
		// A script is made anew for each request.
		w.Header().Set("Cache-Control", "no-store")
		h.serve(w, r, in, d, x.Ref)
	case boot.Done:
		text(w, r, http.StatusOK, x.Text+"\n")
	case boot.Refuse:
		h.Stats.Refused.Add(1)
		code := http.StatusForbidden
		if x.NotFound {
			code = http.StatusNotFound
			h.Stats.NotFound.Add(1)
		}
		if x.Retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(x.Retry.Seconds())))
		}
		fail(w, r, code, x.Reason)
	case boot.Ignore:
		// The client is on no network of ours: it sees a port that nobody
		// listens on.
		panic(http.ErrAbortHandler)
	default:
		fail(w, r, http.StatusNotFound, "no such file")
	}
}

// serve sends what a reference names.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, in boot.Sighting, d boot.Decision, ref boot.Ref) {
	o := boot.Outcome{Result: boot.CutShort, Err: "broken off"}
	defer func() {
		o.Took = time.Since(in.At)
		h.Stats.Bytes.Add(uint64(o.Bytes))
		_ = h.ask.Done(context.WithoutCancel(r.Context()), in, d, o)
	}()
	obj, err := h.content.Open(r.Context(), ref)
	if err != nil {
		o.Result, o.Err = boot.CutShort, err.Error()
		if errors.Is(err, boot.ErrNoFile) {
			h.Stats.NotFound.Add(1)
			fail(w, r, http.StatusNotFound, "no such file")
			return
		}
		if errors.Is(err, boot.ErrLater) { // who fetches it says why in the log
			w.Header().Set("Retry-After", "15")
			fail(w, r, http.StatusServiceUnavailable, "the file is not here yet: ask again")
			return
		}
		h.Stats.Errors.Add(1)
		h.log.Error("file could not be made", "path", boot.ShortPath(in.Want.Path), "err", err)
		fail(w, r, http.StatusInternalServerError, "the boot server could not make this file; its log says why")
		return
	}
	defer obj.Body.Close()
	if obj.Whole != nil && r.Header.Get("Range") != "" {
		// A part is not checked by its reader, and the end of the file not read: it is given
		// out when the file is known to be right.
		if err := obj.Whole(r.Context()); err != nil {
			o.Err = err.Error()
			w.Header().Set("Retry-After", "15")
			fail(w, r, http.StatusServiceUnavailable, "the file is not here yet: ask again")
			return
		}
	}
	h.Stats.Files.Add(1)
	hd := w.Header()
	hd.Set("Content-Type", contentType(obj.Name))
	hd.Set("Etag", obj.ETag)
	body := &stream{ReadSeeker: obj.Body, ctx: r.Context(), client: in.Source.Addr(), zero: &h.Stats.ZeroCopy,
		line: h.lines.line(d.Network, d.Bandwidth), meter: h.ask.Begin(in, d, obj.Size)}
	defer body.meter.End()
	body.section = sendable(obj.Body)
	cw := &counter{ResponseWriter: w}
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && body.section != nil && bodies.Load() < few {
		c.cork(1)
		defer c.cork(0)
	}
	// ServeContent handles Range, If-Range and HEAD. The zero time keeps it
	// from answering 304 by date, which no firmware understands.
	http.ServeContent(cw, r, "", time.Time{}, body)
	o.Bytes = cw.n
	switch {
	case r.Method == http.MethodHead:
		o.Result, o.Err = boot.Probe, ""
	case cw.n < cw.length():
		o.Err = fmt.Sprintf("%d of %d bytes", cw.n, cw.length())
	default:
		o.Result, o.Err = boot.Complete, ""
	}
}

// counter counts body bytes. It passes ReadFrom and Unwrap on: without them
// net/http silently loses sendfile (see conn).
type counter struct {
	http.ResponseWriter
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
	c.n += n
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// length is the Content-Length of the response.
func (c *counter) length() int64 {
	n, err := strconv.ParseInt(c.Header().Get("Content-Length"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// contentType is exact. UEFI judges an image by it before it looks at the
// name's ending, and a guess from the bytes is wrong for each of these types.
func contentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".efi":
		return "application/efi"
	case ".iso":
		return "application/vnd.efi-iso"
	case ".img":
		return "application/vnd.efi-img"
	case ".ipxe", ".cfg", ".txt", ".toml", ".yaml", ".yml":
		return "text/plain; charset=utf-8"
	}
	switch path.Base(name) {
	case "user-data", "meta-data", "vendor-data", "network-config":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// fail sends an error with a body: shim hangs on an empty one.
func fail(w http.ResponseWriter, r *http.Request, code int, why string) { text(w, r, code, why+"\n") }

func text(w http.ResponseWriter, r *http.Request, code int, body string) {
	hd := w.Header()
	hd.Set("Content-Type", "text/plain; charset=utf-8")
	hd.Set("Content-Length", strconv.Itoa(len(body)))
	hd.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// parse reads a request. The path is cleaned, never redirected. Of a query
// parameter that repeats, the first counts.
func parse(r *http.Request, now time.Time) (boot.Sighting, bool) {
	in := boot.Sighting{At: now, Via: boot.HTTP, Step: boot.Fetch, TLS: r.TLS != nil, Proof: boot.ProofNone, Firmware: boot.Firmware{Arch: boot.ArchNone}}
	p, ok := boot.CleanPath(r.URL.Path)
	if !ok {
		return in, false
	}
	in.Want.Path, in.Want.Head = p, r.Method == http.MethodHead
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	ends(&in, from, addrOf(local))
	in.ReadQuery(r.URL.RawQuery)
	if r.Method == http.MethodPost && path.Base(p) == "report" {
		readReport(r, &in)
	}
	return in, true
}
