// parse.go: a datagram or a frame to a Line. Pure. Senders agree on the
// priority in front and on little else. Whatever cannot be told apart stays in
// the text, so that no word of a line is lost to a guess.

package syslogd

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/musterboot/muster/boot"
)

// facilities by number (RFC 5424 6.2.1).
var facilities = [24]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

// blanks are the bytes that senders put at the end of a line.
const blanks = "\r\n\x00 \t"

// maxApp is what RFC 5424 allows of a name.
const maxApp = 48

// parse never fails: a line without a priority is user.notice (RFC 3164 4.3.3).
func parse(b []byte) boot.Line {
	b = bytes.TrimRight(b, blanks)
	l := boot.Line{Severity: boot.Notice, Facility: "user"}
	rest, pri, ok := priority(b)
	if ok {
		l.Severity, l.Facility = boot.Severity(pri&7), facilities[pri>>3]
		if app, text, ok := structured(rest); ok {
			rest = text
			l.App, _ = clean(app, maxApp)
		} else {
			rest = bytes.TrimLeft(rest, " ")
			var app []byte
			app, rest = traditional(rest)
			l.App, _ = clean(app, maxApp)
		}
	}
	l.Text, l.Cut = clean(bytes.Trim(rest, " "), boot.MaxLine)
	return l
}

// priority reads "<34>".
func priority(b []byte) (rest []byte, pri int, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return b, 0, false
	}
	for i, c := range b[1:min(len(b), 5)] {
		switch {
		case c == '>' && i > 0 && pri < len(facilities)*8:
			return b[i+2:], pri, true
		case c < '0' || c > '9':
			return b, 0, false
		}
		pri = pri*10 + int(c-'0')
	}
	return b, 0, false
}

// word cuts at the first blank.
func word(b []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(b, []byte{' '})
	return first, rest
}

// structured reads the rest of a line in RFC 5424 form: version, time, host,
// name, process, message identifier, data, text. If a line has data and no
// text, the data becomes its text.
func structured(b []byte) (app, text []byte, ok bool) {
	version, b := word(b)
	if len(version) != 1 || version[0] < '1' || version[0] > '9' {
		return nil, nil, false
	}
	when, b := word(b)
	if !bytes.Equal(when, []byte("-")) && !dated(when) {
		return nil, nil, false
	}
	_, b = word(b) // the sender's host name, which is not believed
	app, b = word(b)
	_, b = word(b)
	_, b = word(b)
	if bytes.Equal(app, []byte("-")) {
		app = nil
	}
	data := b
	switch {
	case len(b) == 0:
		return app, nil, true
	case b[0] == '-':
		b, data = b[1:], nil
	case b[0] == '[':
		if b = afterData(b); b == nil {
			return app, data, true // broken: all of it is text
		}
		data = data[:len(data)-len(b)]
	}
	b = bytes.TrimPrefix(bytes.TrimLeft(b, " "), []byte("\ufeff"))
	if len(b) == 0 {
		b = data
	}
	return app, b, true
}

// afterData skips [id name="value" …] elements; it returns nil if they do not
// end. Within quotes a backslash escapes the next character (RFC 5424 6.3.3).
func afterData(b []byte) []byte {
	quoted, inside := false, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case inside && c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' && !inside:
			inside = true
		case c == ']' && inside:
			inside = false
		case !inside:
			return b[i:]
		}
	}
	if inside {
		return nil
	}
	return b[len(b):]
}

// traditional reads the rest of a line in RFC 3164 form. Each part may be
// absent: a time, a host (busybox and every libc leave it out), and a name with
// a colon.
func traditional(b []byte) (app, text []byte) {
	rest, timed := afterTime(b)
	if app, text, ok := tag(rest); ok {
		return app, text
	}
	_, after := word(rest)
	if app, text, ok := tag(bytes.TrimLeft(after, " ")); ok && (timed || string(app) == "ipxe") {
		// iPXE writes its host's name without a time in front.
		return app, text
	}
	return nil, rest
}

// afterTime skips "Mar  4 12:00:00 " and "2026-03-04T12:00:00.1Z ".
func afterTime(b []byte) (rest []byte, ok bool) {
	if w, rest := word(b); dated(w) {
		return rest, true
	}
	const stamp = "Jan _2 15:04:05 "
	if len(b) < len(stamp)-1 || !month(b[:3]) || b[3] != ' ' || b[6] != ' ' || b[9] != ':' || b[12] != ':' {
		return b, false
	}
	for _, i := range []int{5, 7, 8, 10, 11, 13, 14} {
		if b[i] < '0' || b[i] > '9' {
			return b, false
		}
	}
	return bytes.TrimLeft(b[len(stamp)-1:], " "), true
}

func month(b []byte) bool {
	return bytes.Contains([]byte("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"), b) && b[0] >= 'A' && b[0] <= 'S'
}

// dated reports whether b begins with a time of RFC 3339, as far as is needed
// to recognise one.
func dated(b []byte) bool {
	return len(b) >= len("2026-03-04T12:00:00") && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':' && b[0] >= '0' && b[0] <= '9'
}

// tag reads "name: " and "name[12]: ".
func tag(b []byte) (app, text []byte, ok bool) {
	end := bytes.IndexAny(b[:min(len(b), maxApp+1)], ":[ ")
	if end <= 0 || b[end] == ' ' {
		return nil, nil, false
	}
	app, text = b[:end], b[end:]
	if text[0] == '[' {
		i := bytes.IndexByte(text[:min(len(text), 24)], ']')
		if i < 0 {
			return nil, nil, false
		}
		text = text[i+1:]
	}
	if len(text) == 0 || text[0] != ':' || len(text) > 1 && text[1] != ' ' {
		return nil, nil, false
	}
	return app, text[1:], true
}

// clean makes text of at most limit bytes that can be stored and shown. Tabs
// and line ends become blanks; colour codes and invalid characters are removed.
// cut is how many bytes did not fit.
func clean(b []byte, limit int) (text string, cut int) {
	plain := true
	for _, c := range b[:min(len(b), limit)] {
		if c < 0x20 || c > 0x7e {
			plain = false
			break
		}
	}
	if plain {
		n := min(len(b), limit)
		return string(b[:n]), len(b) - n
	}
	out := make([]byte, 0, min(len(b), limit))
	for len(b) > 0 {
		if b[0] == 0x1b {
			b = afterEscape(b)
			continue
		}
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			r = ' '
		case r == utf8.RuneError && n == 1:
		case !unicode.IsPrint(r):
			b = b[n:]
			continue
		}
		if len(out)+utf8.RuneLen(r) > limit {
			return string(out), len(b)
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return string(out), 0
}

// afterEscape skips a terminal's control sequence (ECMA-48 5.4).
func afterEscape(b []byte) []byte {
	if len(b) < 2 || b[1] != '[' {
		return b[1:]
	}
	for i, c := range b[2:] {
		if c >= 0x40 && c <= 0x7e {
			return b[i+3:]
		}
		if c < 0x20 || c > 0x3f {
			return b[i+2:]
		}
	}
	return nil
}
