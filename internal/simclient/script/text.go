package script

import "strings"

// This file makes text of a server safe to show.

// Shown makes text of a server safe for a terminal, and limits its length.
func Shown(t string) string {
	t = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\ufffd' {
			return '.'
		}
		return r
	}, t)
	if len(t) > 160 {
		t = t[:60] + "…" + t[len(t)-90:]
	}
	return strings.ToValidUTF8(t, ".")
}

// Short is a URL that fits on a line: a long path is cut in the middle.
func Short(target string) string {
	if scheme, rest, ok := strings.Cut(target, "://"); ok {
		host, file, _ := strings.Cut(rest, "/")
		file, _, _ = strings.Cut(file, "?")
		if len(file) > 48 {
			file = file[:10] + "…" + file[len(file)-30:]
		}
		return scheme + "://" + host + "/" + file
	}
	if len(target) > 48 {
		return target[:10] + "…" + target[len(target)-30:]
	}
	return target
}
