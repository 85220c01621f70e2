// manual.go: a page of the manual as a manual page.

package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// roff is text in which nothing is a request.
var roff = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\[u2026]`)

var (
	code = regexp.MustCompile("`([^`]+)`")
	bold = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

func inline(s string) string {
	s = roff.Replace(link.ReplaceAllString(s, "$1"))
	s = bold.ReplaceAllString(code.ReplaceAllString(s, `\fB$1\fR`), `\fB$1\fR`)
	return guarded(s)
}

// guarded keeps a line that begins with a dot or a quote from being a request.
func guarded(s string) string {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// manual turns what the manual's pages are written in into roff: headings, paragraphs,
// lists, tables, and blocks that stand as they are.
func manual(page, name, what string, at time.Time) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p(".TH %s 5 %q Muster Muster\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", roff.Replace(strings.ToUpper(name)), at.Format(time.DateOnly), roff.Replace(name), roff.Replace(what))
	asIs, fresh := "", true // what ends the block; nothing was written since a heading
	end := func() {
		if asIs != "" {
			p(".fi\n.RE\n")
			asIs = ""
		}
	}
	begin := func(what string) {
		if asIs != what {
			end()
			p(".sp\n.RS 2\n.nf\n")
			asIs = what
		}
	}
	gap := false
	for l := range strings.Lines(page) {
		l = strings.TrimRight(l, "\r\n")
		fence := strings.HasPrefix(l, "```")
		switch {
		case fence && asIs == "```":
			end()
		case fence:
			begin("```")
		case asIs == "```":
			p("%s\n", guarded(roff.Replace(l)))
		case strings.HasPrefix(l, "# "):
			continue // the page has its name
		case strings.HasPrefix(l, "#"):
			end()
			macro := ".SH"
			if strings.HasPrefix(l, "###") {
				macro = ".SS"
			}
			p("%s %s\n", macro, inline(strings.TrimLeft(l, "# ")))
			fresh, gap = true, false
			continue
		case strings.HasPrefix(l, "|"):
			if strings.Trim(l, "|-: ") != "" {
				begin("|")
				cells := strings.Split(strings.Trim(l, "| "), "|")
				for i := range cells {
					cells[i] = strings.TrimSpace(cells[i])
				}
				p("%s\n", inline(strings.Join(cells, " | ")))
			}
		case strings.HasPrefix(l, "    "):
			begin("    ")
			p("%s\n", guarded(roff.Replace(l[4:])))
		case strings.TrimSpace(l) == "":
			end()
			gap = true
			continue
		case strings.HasPrefix(l, "- "):
			end()
			p(".IP \\(bu 2\n%s\n", inline(l[2:]))
		default:
			end()
			if gap && !fresh {
				p(".PP\n")
			}
			p("%s\n", inline(strings.TrimSpace(l)))
		}
		fresh, gap = false, false
	}
	end()
	p(".SH SEE ALSO\n.BR muster (1)\n")
	return b.String()
}
