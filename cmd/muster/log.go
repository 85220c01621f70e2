// log.go: the format of the log.

package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// logHandler writes one line for each record, for people: time, level if it is not
// INFO, message, then the attributes. In the systemd journal the time is left out,
// because the journal has it.
type logHandler struct {
	out      io.Writer
	level    slog.Level
	journald bool
	mu       *sync.Mutex
	attrs    []slog.Attr
}

func newLogHandler(w io.Writer, level slog.Level, journald bool) *logHandler {
	return &logHandler{out: w, level: level, journald: journald, mu: new(sync.Mutex)}
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *logHandler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(slices.Clone(h.attrs), as...)
	return &c
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if !h.journald {
		b.WriteString(r.Time.Format("15:04:05.000  "))
	}
	if r.Level != slog.LevelInfo {
		b.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	b.WriteString(clean(r.Message))
	fact := func(a slog.Attr) bool {
		// Values may come from the network. One with a blank or with anything that
		// is not plain text is quoted.
		v := a.Value.String()
		if v == "" {
			return true
		}
		if q := strconv.Quote(v); strings.Contains(v, " ") || len(q) != len(v)+2 {
			v = q
		}
		b.WriteString(" " + a.Key + "=" + v)
		return true
	}
	for _, a := range h.attrs {
		fact(a)
	}
	r.Attrs(fact)
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}
