// output.go: how output looks: aligned tables, one line for each event, colour only on
// a terminal, JSON where asked for.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/admin"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}

// terminalInput is the terminal that a person types at; nil where there is none.
func terminalInput() io.Reader {
	if st, err := os.Stdin.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 && isTerminal(os.Stdout) {
		return os.Stdin
	}
	return nil
}

// printJSON prints a value for programs.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints aligned columns; the first row is the heading.
func (a *app) table(rows [][]string) {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		for i, c := range r {
			if c == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), " "))
	}
	w.Flush()
}

// ago writes a time for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := time.Since(t); {
	case d < 0:
		return "in " + rough(-d)
	case d < time.Second:
		return "now"
	default:
		return rough(d) + " ago"
	}
}

func rough(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// printer draws timelines.
type printer struct {
	out   io.Writer
	color bool
}

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
	plain  = "\x1b[0m"
)

func (p printer) paint(c, s string) string {
	if !p.color {
		return s
	}
	return c + s + plain
}

// entry prints one line; who says whether the machine is named on it.
func (p printer) entry(e admin.Entry, who bool) {
	if e.Event != nil {
		ev := e.Event
		mark := p.paint(bold, fmt.Sprintf("%-15s", ev.Kind))
		text := ev.Text
		if ev.Kind == boot.BootReport {
			text = p.paint(green, text)
		}
		fmt.Fprintf(p.out, "%s  * %s  %s\n", ev.At.Local().Format("15:04:05.000"), mark, text)
		return
	}
	r := e.Request
	name := ""
	if who {
		if name = r.Name; name == "" {
			name = r.MAC.String()
		}
		if r.MAC.IsZero() && r.Name == "" {
			name = r.Source.String()
		}
		name = fmt.Sprintf("%-19s ", name)
	}
	reply := r.Reply
	switch r.Reply {
	case "nak", "refuse", "not found":
		reply = p.paint(red, reply)
	}
	if r.Line != nil {
		p.logged(r, name)
		return
	}
	line := fmt.Sprintf("%s  . %s%-6s %-9s -> %s", r.At.Local().Format("15:04:05.000"), name, r.Via, r.Step, reply)
	if r.Got != "" {
		line += " " + r.Got
	} else if r.Path != "" {
		line += " " + r.Path
	}
	if e.Size > 0 {
		line += fmt.Sprintf(" (%s: %s of %s, %d %%)", r.Outcome, size(r.Bytes), size(e.Size), 100*r.Bytes/e.Size)
	} else if r.Outcome != "" {
		line += fmt.Sprintf(" (%s, %s, %s)", r.Outcome, size(r.Bytes), r.Took.Round(time.Millisecond))
	}
	if r.Repeated > 0 {
		line += fmt.Sprintf(" (and %d times more until %s)", r.Repeated, r.Last.Local().Format("15:04:05"))
	}
	if r.Reply == "ignore" || r.Reply == "refuse" || r.Reply == "not found" || r.Reply == "nak" {
		line += p.paint(dim, "  "+lastWhy(r.Why))
	}
	fmt.Fprintln(p.out, line)
}

// logged prints a line of a machine's own log.
func (p printer) logged(r *boot.Request, name string) {
	l := r.Line
	from := l.App
	if from == "" {
		from = l.Facility
	}
	sev := fmt.Sprintf("%-7s", l.Severity)
	if l.Severity <= boot.Err {
		sev = p.paint(red, sev)
	}
	line := fmt.Sprintf("%s  | %s%s %s: %s", r.At.Local().Format("15:04:05.000"), name, sev, from, l.Text)
	if l.Cut > 0 {
		line += p.paint(dim, fmt.Sprintf("  (%d bytes more)", l.Cut))
	}
	if r.Repeated > 0 {
		line += p.paint(dim, fmt.Sprintf("  (and %d times more until %s)", r.Repeated, r.Last.Local().Format("15:04:05")))
	}
	fmt.Fprintln(p.out, line)
}

// A run of log lines without anything between is shown by its first and last lines.
const (
	runShown = 12
	runHead  = 2
)

// timeline prints a machine's entries; of a long run of log lines only the first,
// the last and the bad ones.
func (p printer) timeline(es []admin.Entry, name string) {
	isLine := func(e admin.Entry) bool { return e.Request != nil && e.Request.Line != nil }
	for len(es) > 0 {
		n := 0
		for n < len(es) && isLine(es[n]) {
			n++
		}
		if n == 0 {
			p.entry(es[0], false)
			es = es[1:]
			continue
		}
		hidden := 0
		tell := func() {
			if hidden > 0 {
				fmt.Fprintln(p.out, p.paint(dim, fmt.Sprintf("              | … %d lines more: muster host log %s", hidden, name)))
			}
			hidden = 0
		}
		for i, e := range es[:n] {
			if n > runShown && i >= runHead && i < n-(runShown-runHead) && e.Request.Line.Severity > boot.Err {
				hidden++
				continue
			}
			tell()
			p.entry(e, false)
		}
		es = es[n:]
	}
}

// lastWhy is the last reason, which decided the request.
func lastWhy(why string) string {
	parts := strings.Split(why, "; ")
	return parts[len(parts)-1]
}
