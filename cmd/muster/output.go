// output.go: how output looks, and the one place where it is written: aligned tables,
// one line for each event, colour only on a terminal, JSON where asked for. What is
// printed may come from anybody: from who writes to the API, from a machine, from
// another server, from a file. No control character of it reaches a terminal.

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// fit is text that a terminal may have as it is: its lines and colours are ours.
type fit string

// clean makes text of anybody fit for a part of a line.
func clean(s string) string { return boot.CleanText(blanks.Replace(s), math.MaxInt) }

var blanks = strings.NewReplacer("\n", " ", "\t", " ")

// phrase is Sprintf for a terminal: whatever of args is neither fit nor a number is
// cleaned.
func phrase(format string, args ...any) fit {
	for i, x := range args {
		switch x.(type) {
		case fit:
			continue
		case error, fmt.Stringer:
			args[i] = clean(fmt.Sprint(x))
			continue
		}
		switch v := reflect.ValueOf(x); {
		case v.CanInt(), v.CanUint(), v.CanFloat():
		default:
			args[i] = clean(fmt.Sprint(x))
		}
	}
	return fit(fmt.Sprintf(format, args...))
}

// lines makes text of several lines fit; those after the first begin with indent.
func lines(s, indent string) fit {
	out := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range out {
		out[i] = clean(strings.ReplaceAll(l, "\t", "    "))
	}
	return fit(strings.Join(out, "\n"+indent))
}

// print prints for people.
func (a *app) print(format string, args ...any) {
	_, _ = io.WriteString(a.out, string(phrase(format, args...)))
}

// note prints beside the output.
func (a *app) note(format string, args ...any) {
	_, _ = io.WriteString(a.err, string(phrase(format, args...)))
}

// terminalInput is the terminal that a person types at; nil where there is none.
func terminalInput() io.Reader {
	if st, err := os.Stdin.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 && isTerminal(os.Stdout) {
		return os.Stdin
	}
	return nil
}

// typedSecret reads what a person types at the terminal, which does not show it.
func typedSecret() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) }

// printJSON prints a value for programs.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	out, err := a.formed(b.Bytes())
	if err != nil {
		return err
	}
	_, err = a.out.Write(out)
	return err
}

// printRaw prints a value of a stream on a line.
func (a *app) printRaw(v json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Compact(&b, v); err != nil {
		return err
	}
	out := append(escaped(b.Bytes()), '\n')
	if a.output != "" && a.output != "json" {
		var err error
		if out, err = a.formed(out); err != nil {
			return err
		}
		if a.output == "yaml" {
			out = append([]byte("---\n"), out...)
		}
	}
	_, err := a.out.Write(out)
	return err
}

// escaped is the same JSON without what a terminal obeys and JSON lets through: DEL, the
// second set of control characters, and what reorders or hides text.
func escaped(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < 0x7f, n > 1 && unicode.IsPrint(r):
			out = append(out, b[:n]...)
		case r > 0xffff:
			r1, r2 := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, r1, r2)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// table prints aligned columns; the first row is the heading.
func (a *app) table(rows [][]string) {
	b := bufio.NewWriterSize(a.out, 64<<10) // a tabwriter writes each cell by itself
	defer b.Flush()
	w := tabwriter.NewWriter(b, 0, 4, 2, ' ', 0)
	if a.bare {
		rows = rows[1:]
	}
	for _, r := range rows {
		for i, c := range r {
			if r[i] = clean(c); r[i] == "" {
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

// printer is one on the output.
func (a *app) printer() printer {
	return printer{out: a.out, color: (a.drawing || isTerminal(a.out)) && a.getenv("NO_COLOR") == ""}
}

func (p printer) print(format string, args ...any) {
	_, _ = io.WriteString(p.out, string(phrase(format, args...)))
}

func (p printer) paint(c, s string) fit {
	if s = clean(s); p.color {
		s = c + s + plain
	}
	return fit(s)
}

// entry prints one line; who says whether the machine is named on it.
func (p printer) entry(e client.Entry, who bool) {
	if e.Event != nil {
		ev := e.Event
		mark := p.paint(bold, fmt.Sprintf("%-15s", ev.Kind))
		text := phrase("%s", ev.Text)
		if ev.Kind == boot.BootReport {
			text = p.paint(green, ev.Text)
		}
		p.print("%s  * %s  %s\n", ev.At.Local().Format("15:04:05.000"), mark, text)
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
	reply := phrase("%s", r.Reply)
	switch r.Reply {
	case "nak", "refuse", "not found":
		reply = p.paint(red, r.Reply)
	}
	if r.Line != nil {
		p.logged(r, name)
		return
	}
	line := phrase("%s  . %s%-6s %-9s -> %s", r.At.Local().Format("15:04:05.000"), name, r.Via, r.Step, reply)
	if r.Got != "" {
		line += phrase(" %s", r.Got)
	} else if r.Path != "" {
		line += phrase(" %s", r.Path)
	}
	if e.Size > 0 {
		line += phrase(" (%s: %s of %s, %d %%)", r.Outcome, size(r.Bytes), size(e.Size), 100*r.Bytes/e.Size)
	} else if r.Outcome != "" {
		line += phrase(" (%s, %s, %s)", r.Outcome, size(r.Bytes), r.Took.Round(time.Millisecond))
	}
	if r.Repeated > 0 {
		line += phrase(" (and %d times more until %s)", r.Repeated, r.Last.Local().Format("15:04:05"))
	}
	if r.Reply == "ignore" || r.Reply == "refuse" || r.Reply == "not found" || r.Reply == "nak" {
		line += p.paint(dim, "  "+lastWhy(r.Why))
	}
	p.print("%s\n", line)
}

// logged prints a line of a machine's own log.
func (p printer) logged(r *boot.Request, name string) {
	l := r.Line
	from := l.App
	if from == "" {
		from = l.Facility
	}
	sev := phrase("%-7s", l.Severity)
	if l.Severity <= boot.Err {
		sev = p.paint(red, string(sev))
	}
	line := phrase("%s  | %s%s %s: %s", r.At.Local().Format("15:04:05.000"), name, sev, from, l.Text)
	if l.Cut > 0 {
		line += p.paint(dim, fmt.Sprintf("  (%d bytes more)", l.Cut))
	}
	if r.Repeated > 0 {
		line += p.paint(dim, fmt.Sprintf("  (and %d times more until %s)", r.Repeated, r.Last.Local().Format("15:04:05")))
	}
	p.print("%s\n", line)
}

// A run of log lines without anything between is shown by its first and last lines.
const (
	runShown = 12
	runHead  = 2
)

// timeline prints a machine's entries; of a long run of log lines only the first,
// the last and the bad ones.
func (p printer) timeline(es []client.Entry, name string) {
	isLine := func(e client.Entry) bool { return e.Request != nil && e.Request.Line != nil }
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
				p.print("%s\n", p.paint(dim, fmt.Sprintf("              | … %d lines more: muster host log %s", hidden, name)))
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

// counted is a number with its word, which ends in "s" where they are several. "address"
// and its like are not among what is counted so.
func counted[N int | int64 | uint64](n N, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
