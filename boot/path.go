// path.go: one spelling for every file name, from all protocols and all firmware.

package boot

import (
	"iter"
	"net/url"
	"strings"
)

// maxPath bounds a file name; firmware asks for paths of at most 127 bytes.
const maxPath = 512

// CleanPath normalises a requested name: "/", "\" and "tftp://host/" in front
// are dropped, "//" and "/./" collapse (shim asks for "dir//grubx64.efi"), and
// the 0xff, NUL, blank and CR LF that old UEFI appends are cut off. It reports
// false for a name that climbs out ("..") or cannot be a name at all.
func CleanPath(s string) (string, bool) {
	for len(s) > 0 && strings.IndexByte("\x00 \r\n\t", s[len(s)-1]) >= 0 || strings.HasSuffix(s, "\xff") {
		s = s[:len(s)-1]
	}
	s = strings.ReplaceAll(s, `\`, "/")
	if rest, ok := strings.CutPrefix(s, "tftp://"); ok {
		_, s, _ = strings.Cut(rest, "/")
	}
	if len(s) > maxPath {
		return "", false
	}
	var out []string
	for _, part := range strings.Split(s, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			return "", false
		}
		for i := 0; i < len(part); i++ {
			if part[i] < 0x20 || part[i] == 0x7f {
				return "", false
			}
		}
		out = append(out, part)
	}
	return strings.Join(out, "/"), true
}

// matchName finds the file that a client means among the names that exist. It tries
// the name as it is, then with percent-encoding decoded (shim passes on a part of a
// URL), then in any case (Windows, and GRUB's EFI/BOOT).
func matchName(name string, all iter.Seq[string]) (string, bool) {
	decoded := name
	if strings.Contains(name, "%") {
		if u, err := url.PathUnescape(name); err == nil {
			if c, ok := CleanPath(u); ok {
				decoded = c
			}
		}
	}
	best, rank := "", 0
	for f := range all {
		r := 0
		switch {
		case f == name:
			r = 3
		case f == decoded:
			r = 2
		case strings.EqualFold(f, decoded):
			r = 1
		}
		if r > rank || r == rank && r > 0 && f < best {
			best, rank = f, r
		}
	}
	return best, rank > 0
}
