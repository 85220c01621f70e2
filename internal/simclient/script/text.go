package script

import "strings"

// This file makes what a server sent fit to be shown.

// Shown makes what a server sent safe for a terminal, and not too long.
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

// Short is a URL for a line: long paths lose their middle.
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
