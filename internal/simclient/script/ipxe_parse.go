package script

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// This file reads iPXE scripts: lines, the commands of a line, their options,
// and the values of settings. Lines are split and joined by && and || as in
// iPXE's exec.c; values are written as in its settings.c.

func scriptLines(text []byte) []string {
	t := strings.ReplaceAll(string(text), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(t, "\\\n", ""), "\n")
}

// A simple command is the words up to the operator that joins it to the next
// one.
type simpleCommand struct {
	words []string
	join  string // "&&", "||", ";", or "" at the end of the line
}

// scriptLine splits a line into commands. The last one has no join. Text after
// a # is a comment.
func scriptLine(line string) (out []simpleCommand) {
	words := strings.Fields(line)
	for {
		n := 0
		for n < len(words) && words[n] != "||" && words[n] != "&&" && words[n] != ";" && words[n][0] != '#' {
			n++
		}
		c := simpleCommand{words: words[:n]}
		if n == len(words) || words[n][0] == '#' {
			return append(out, c)
		}
		c.join = words[n]
		out = append(out, c)
		words = words[n+1:]
	}
}

// valued lists the options that have a value.
var valued = map[string]string{"name": "", "timeout": "", "key": "", "default": "", "params": "", "drive": "", "filename": "", "configurator": "", "user": "", "pass": "", "title": "", "method": "", "menu": "", "select": "",
	"n": "name", "t": "timeout", "k": "key", "d": "default", "p": "params", "c": "configurator", "f": "filename"}

// options separates the flags from the other words; flags come first.
func options(argv []string) (flags map[string]string, args []string) {
	flags = map[string]string{}
	for len(argv) > 0 {
		name, ok := strings.CutPrefix(argv[0], "-")
		if !ok || name == "" {
			break
		}
		argv = argv[1:]
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		long, takes := valued[name]
		if long != "" {
			name = long
		}
		if takes && !given && len(argv) > 0 {
			value, argv = argv[0], argv[1:]
		}
		flags[name] = value
	}
	return flags, argv
}

// format shows raw bytes as one of iPXE's types.
func format(raw []byte, typ string) string {
	join := func(sep string) string {
		var b strings.Builder
		for i, c := range raw {
			if i > 0 {
				b.WriteString(sep)
			}
			fmt.Fprintf(&b, "%02x", c)
		}
		return b.String()
	}
	switch typ {
	case "hex":
		return join(":")
	case "hexhyp":
		return join("-")
	case "hexraw":
		return hex.EncodeToString(raw)
	case "base64":
		return base64.StdEncoding.EncodeToString(raw)
	case "uristring":
		var b strings.Builder
		for _, c := range raw {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		return b.String()
	case "ipv4":
		if a, ok := netip.AddrFromSlice(raw); ok && a.Is4() && !a.IsUnspecified() {
			return a.String()
		}
		return ""
	case "ipv6":
		if len(raw) != 16 {
			return ""
		}
		return netip.AddrFrom16([16]byte(raw)).String()
	case "uuid", "guid":
		if len(raw) != 16 {
			return ""
		}
		return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
	case "int8", "int16", "int32", "uint8", "uint16", "uint32":
		var n uint64
		for _, c := range raw[max(0, len(raw)-8):] {
			n = n<<8 | uint64(c)
		}
		bits, _ := strconv.Atoi(strings.TrimLeft(typ, "uint"))
		if bits > 0 && typ[0] == 'i' && len(raw) > 0 {
			return strconv.FormatInt(int64(n<<(64-bits))>>(64-bits), 10)
		}
		if typ[0] == 'u' {
			return fmt.Sprintf("%#x", n)
		}
		return strconv.FormatUint(n, 10)
	}
	return string(raw)
}

// parse is the reverse of format.
func parse(text, typ string) ([]byte, error) {
	switch strings.TrimPrefix(typ, "u") {
	case "int8", "int16", "int32":
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", Shown(text))
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		return b[4-map[byte]int{'8': 1, '6': 2, '2': 4}[typ[len(typ)-1]]:], nil
	case "ipv4":
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("%q is no IPv4 address", Shown(text))
		}
		return a.AsSlice(), nil
	case "hex", "hexhyp", "hexraw":
		return hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(text))
	}
	return []byte(text), nil
}

// Resolve resolves a URI, which may be relative, against base.
func Resolve(base, uri string) string {
	if strings.Contains(uri, "://") {
		return uri
	}
	b, err := url.Parse(base)
	if err != nil {
		return uri
	}
	file, query, _ := strings.Cut(uri, "?")
	if !strings.HasPrefix(file, "/") {
		dir, _ := path.Split(b.Path)
		file = dir + file
	}
	u := url.URL{Scheme: b.Scheme, Host: b.Host, Path: file, RawQuery: query}
	return u.String()
}
