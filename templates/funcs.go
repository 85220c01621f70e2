// funcs.go: the functions that a template may call, and the check on every value
// that reaches an iPXE script. iPXE has no quoting: a line is split at
// blanks, "||", "&&" and ";" end a command, "#" begins a comment and "${"
// expands. So a value is checked, and never escaped.

package templates

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"text/template"
)

var funcs = template.FuncMap{
	"default": func(def, v any) any {
		if v == nil || v == "" || v == false || v == int64(0) {
			return def
		}
		return v
	},
	"required": func(msg string, v any) (any, error) {
		if v == nil || v == "" {
			return nil, fmt.Errorf("%s", msg)
		}
		return v, nil
	},
	"join":     func(sep string, v []string) string { return strings.Join(v, sep) },
	"split":    func(sep, s string) []string { return strings.Split(s, sep) },
	"upper":    strings.ToUpper,
	"lower":    strings.ToLower,
	"trim":     strings.TrimSpace,
	"replace":  func(old, new, s string) string { return strings.ReplaceAll(s, old, new) },
	"contains": func(sub, s string) bool { return strings.Contains(s, sub) },
	"b64enc":   b64Text,
	"toJson":   jsonText,
	"yaml":     quoted,
	"toml":     quoted,
	"xml":      xmlText,
	"raw":      rawText,
	"indent": func(n int, s string) (string, error) {
		if n < 0 || n > 64 {
			return "", fmt.Errorf("indent %d: want 0 to 64", n)
		}
		pad := strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
	},
	// sh quotes for kickstart, preseed and shell scripts.
	"sh":        shText,
	"macDash":   func(s string) string { return strings.ReplaceAll(s, ":", "-") },
	"macBare":   func(s string) string { return strings.ReplaceAll(s, ":", "") },
	"grub":      grubWord,
	"grubtext":  grubText,
	"grubquote": grubQuote,
	"uboottext": ubootText,
	"disk":      diskOf,
	"ipxe":      ipxeWord,
	"ipxeurl":   ipxeURL,
	"ipxetext":  ipxeText,
}

func init() { maps.Copy(funcs, bares) }

// ipxeWord accepts a value that iPXE leaves unchanged: one token, or several
// plain ones if line is true.
func ipxeWord(v any) (string, error) {
	s := text(v)
	if strings.ContainsAny(s, " \t") {
		return "", fmt.Errorf("value %q has a blank in it, which iPXE would split", s)
	}
	return s, checkIPXE(s)
}

// checkIPXE refuses a value that would change the meaning of a script line.
func checkIPXE(s string) error {
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("value %q has a control character in it", s)
		}
	}
	if strings.Contains(s, "${") {
		return fmt.Errorf("value %q has ${ in it, which iPXE would expand", s)
	}
	if strings.HasSuffix(s, `\`) {
		return fmt.Errorf("value %q ends in a backslash", s)
	}
	for _, tok := range strings.Fields(s) {
		if tok == "||" || tok == "&&" || tok == ";" || strings.HasPrefix(tok, "#") {
			return fmt.Errorf("value %q has %q in it, which iPXE reads as a command", s, tok)
		}
	}
	return nil
}

// ipxeURL makes a value safe inside a URL.
func ipxeURL(v any) string {
	return strings.ReplaceAll(url.QueryEscape(text(v)), "+", "%20")
}

// ipxeText makes a value safe to show; it removes characters that cannot be
// shown.
func ipxeText(v any) string {
	s := strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, text(v))
	s = strings.ReplaceAll(s, "${", "$ {")
	f := strings.Fields(s)
	for i, tok := range f {
		if tok == "||" || tok == "&&" || tok == ";" || strings.HasPrefix(tok, "#") {
			f[i] = "'" + tok + "'"
		}
	}
	return strings.TrimRight(strings.Join(f, " "), `\`)
}

// shText quotes for a shell.
func shText(v any) (string, error) {
	if v == nil {
		return "", errNil
	}
	return "'" + strings.ReplaceAll(text(v), "'", `'\''`) + "'", nil
}

func b64Text(v any) (string, error) {
	if v == nil {
		return "", errNil
	}
	return base64.StdEncoding.EncodeToString([]byte(text(v))), nil
}
