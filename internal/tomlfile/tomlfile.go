// Package tomlfile reads TOML strictly. An unknown key, a wrong type or a bad
// value is an error that names file and line and, where it can, the key that
// was meant. It does not know the meaning of the file, and imports nothing of
// ours.
package tomlfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Error points into a file. Line is 0 where no line could be found.
type Error struct {
	File string
	Line int
	Msg  string
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
	return fmt.Sprintf("%s: %s", e.File, e.Msg)
}

// File is a decoded file that remembers the lines of its keys.
type File struct {
	name string
	keys map[string][]int // "network.range" -> its lines, one for each occurrence
}

// Decode reads data into v and refuses keys that v has no field for. For a
// misspelt key it proposes the nearest one of the same table.
func Decode(name string, data []byte, v any) (*File, error) {
	f := &File{name: name, keys: scan(string(data))}
	md, err := toml.Decode(string(data), v)
	if err != nil {
		return nil, f.syntax(err)
	}
	var raw map[string]any
	if _, err := toml.Decode(string(data), &raw); err != nil {
		return nil, f.syntax(err)
	}
	if key, v := noTable(raw, reflect.TypeOf(v), ""); key != "" {
		return nil, f.Errorf(key, 0, "%s: want a table, [%s], not %s", key, key, typeNames[fmt.Sprintf("%T", v)])
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		k := unknown[0]
		table, last := "", k[len(k)-1]
		if len(k) > 1 {
			table = strings.Join(k[:len(k)-1], ".")
		}
		e := f.Errorf(k.String(), 0, "unknown key %q%s", last, in(table))
		known := keysOf(v, table)
		if best := nearest(last, known); best != "" {
			e.Msg += fmt.Sprintf("; did you mean %q?", best)
		} else if len(known) > 0 {
			e.Msg += "; known here: " + strings.Join(known, ", ")
		}
		return nil, e
	}
	return f, nil
}

// Valid says what keeps data from being TOML, whatever its keys; nil if nothing does.
func Valid(name string, data []byte) error {
	if _, err := toml.Decode(string(data), &map[string]any{}); err != nil {
		return (&File{name: name}).syntax(err)
	}
	return nil
}

// Loose reads what it can of data into v, and overlooks everything else.
func Loose(data []byte, v any) { _ = toml.Unmarshal(data, v) }

// Keys lists the keys that Decode takes for v, such as "network" and "network.range",
// in their order; "*" stands for a name that the file chooses.
func Keys(v any) []string { return keys(nil, reflect.TypeOf(v), "") }

func keys(out []string, t reflect.Type, table string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Map:
		return keys(append(out, table+"*"), t.Elem(), table+"*.")
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			switch {
			case f.Anonymous && key == "":
				out = keys(out, f.Type, table)
			case key == "" || key == "-":
			default:
				out = keys(append(out, table+key), f.Type, table+key+".")
			}
		}
	}
	return out
}

// Match reports whether key is the one of Keys that pattern is; a "*" at its end takes
// any rest, because a name may have dots.
func Match(pattern, key string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(key, ".")
	if n := len(want); want[n-1] == "*" && len(have) > n {
		have = have[:n]
	}
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == "*" || w == h })
}

// keysOf returns the keys that a table may have; none where it takes any.
func keysOf(v any, table string) (out []string) {
	for _, k := range Keys(v) {
		at := strings.LastIndexByte(k, '.')
		if last := k[at+1:]; last != "*" && (at < 0 && table == "" || at >= 0 && Match(k[:at], table)) {
			out = append(out, last)
		}
	}
	return out
}

// Keys lists the keys that the file has.
func (f *File) Keys() []string { return slices.Sorted(maps.Keys(f.keys)) }

func in(table string) string {
	if table == "" {
		return ""
	}
	return " in [" + table + "]"
}

// noTable finds a value of another type where a table with free keys should be.
// The library silently reads such a value as nothing.
func noTable(v any, t reflect.Type, at string) (key string, found any) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch table, isTable := v.(map[string]any); {
	case t.Kind() == reflect.Map && !isTable:
		return at, v
	case t.Kind() == reflect.Struct && isTable:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ",")
			x, has := table[name]
			if !has {
				continue
			}
			if key, v := noTable(x, t.Field(i).Type, strings.TrimPrefix(at+"."+name, ".")); key != "" {
				return key, v
			}
		}
	case t.Kind() == reflect.Slice:
		tables, _ := v.([]map[string]any)
		for _, x := range tables {
			if key, v := noTable(x, t.Elem(), at); key != "" {
				return key, v
			}
		}
	}
	return "", nil
}

var (
	typeErr  = regexp.MustCompile(`line (\d+)`)
	mismatch = regexp.MustCompile(`^line \d+ \(last key "([^"]*)"\): (?:incompatible types: TOML value has type (\S+); destination has type (\S+)|type mismatch for .*: expected (table) but found (\S+))$`)
)

// typeNames maps the library's names of types to people's.
var typeNames = map[string]string{
	"int64": "a whole number", "integer": "a whole number", "float64": "a number", "float": "a number", "bool": "true or false", "boolean": "true or false",
	"string": `text in quotes, "…"`, "[]any": "a list", "[]interface {}": "a list", "slice": "a list, [\"…\"]", "map[string]any": "a table", "map[string]interface {}": "a table", "table": "a table",
	"[]map[string]any": "tables, [[…]]", "[]map[string]interface {}": "tables, [[…]]", "time.Time": "a date",
}

func (f *File) syntax(err error) error {
	var pe toml.ParseError
	if errors.As(err, &pe) {
		msg := pe.Message
		if msg == "" {
			msg = strings.TrimPrefix(pe.Error(), "toml: ")
		}
		if pe.LastKey != "" && !strings.Contains(msg, pe.LastKey) {
			msg = pe.LastKey + ": " + msg
		}
		return &Error{f.name, pe.Position.Line, msg}
	}
	// Type mismatches come as plain text with the line inside.
	e := &Error{File: f.name, Msg: strings.TrimPrefix(err.Error(), "toml: ")}
	if m := typeErr.FindStringSubmatch(e.Msg); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
	}
	if m := mismatch.FindStringSubmatch(e.Msg); m != nil {
		if want, got := typeNames[m[3]+m[4]], typeNames[m[2]+m[5]]; want != "" && got != "" {
			e.Msg = fmt.Sprintf("%s: want %s, not %s", m[1], want, got)
		}
	}
	return e
}

// Errorf is an error at the nth occurrence (from 0) of a key such as
// "network.range". If the key is not in the file, the error is at its table.
func (f *File) Errorf(key string, n int, format string, args ...any) *Error {
	e := &Error{File: f.name, Msg: fmt.Sprintf(format, args...)}
	for k := key; ; {
		if lines := f.keys[k]; n < len(lines) {
			e.Line = lines[n]
			return e
		}
		i := strings.LastIndexByte(k, '.')
		if i < 0 {
			return e
		}
		k = k[:i]
	}
}

// ErrorIn is Errorf for a key inside the nth [[table]]. Some of these tables
// may lack the key, so the key's own occurrences cannot be counted.
func (f *File) ErrorIn(table string, n int, key string, format string, args ...any) *Error {
	e := f.Errorf(table, n, format, args...)
	end := int(^uint(0) >> 1)
	if lines := f.keys[table]; n+1 < len(lines) {
		end = lines[n+1]
	}
	for _, l := range f.keys[table+"."+key] {
		if l > e.Line && l < end {
			e.Line = l
			break
		}
	}
	return e
}

var (
	header = regexp.MustCompile(`^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$`)
	assign = regexp.MustCompile(`^\s*("[^"]*"|[A-Za-z0-9_.-]+)\s*=`)
)

// scan finds the line of every key, accurately enough for error messages: it
// follows table headers and skips multi-line strings.
func scan(text string) map[string][]int {
	keys := map[string][]int{}
	table, quote := "", ""
	for i, line := range strings.Split(text, "\n") {
		if quote != "" {
			if strings.Contains(line, quote) {
				quote = ""
			}
			continue
		}
		if m := header.FindStringSubmatch(line); m != nil {
			table = strings.ReplaceAll(m[1], `"`, "")
			keys[table] = append(keys[table], i+1)
			continue
		}
		m := assign.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		k := strings.Trim(m[1], `"`)
		if table != "" {
			k = table + "." + k
		}
		keys[k] = append(keys[k], i+1)
		for _, q := range []string{`"""`, "'''"} {
			if strings.Count(line, q) == 1 {
				quote = q
			}
		}
	}
	return keys
}

// nearest returns the known key within two edits, or "".
func nearest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := edits(strings.ToLower(word), k); d < at {
			best, at = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost = 1 + slices.Min([]int{prev, row[j], row[j-1]})
			}
			prev, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}

// Encode writes v as TOML, its keys in the order of the fields, those of maps sorted.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	err := e.Encode(v)
	return b.Bytes(), err
}
