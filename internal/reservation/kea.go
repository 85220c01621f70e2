// kea.go: kea-dhcp4.conf, which is JSON with comments, and the answer of Kea's
// reservation-get-all.

package reservation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// keaReader walks the JSON token by token, so that only the current reservation
// is in memory.
type keaReader struct {
	*reader
	data []byte // without comments
	dec  *json.Decoder
	at   int64 // offset up to which lines are counted
	line int
}

func (r *reader) kea(data []byte) error {
	k := &keaReader{reader: r, line: 1}
	var err error
	if k.data, err = r.keaPlain(data); err != nil {
		return err
	}
	k.dec = json.NewDecoder(bytes.NewReader(k.data))
	t, err := k.token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		err = k.object(1)
	case json.Delim('['): // an included file may be the list alone
		err = k.list(1)
	default:
		err = r.errorf(k.line, "want {\"Dhcp4\": …} or a list of reservations")
	}
	if err != nil {
		return err
	}
	if _, err := k.dec.Token(); !errors.Is(err, io.EOF) {
		return k.broken("more after the end of the configuration", err)
	}
	return nil
}

// keaPlain turns Kea's dialect into plain JSON. Comments (# // /* */),
// <?include?> and commas before a closing bracket become blanks; line numbers
// stay.
func (r *reader) keaPlain(data []byte) ([]byte, error) {
	out := bytes.Clone(data)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
	}
	line, comma := 1, -1 // the comma that nothing followed yet
	var before byte      // the last byte that is no blank
	for i := 0; i < len(data); {
		rest := data[i:]
		end := 0
		switch {
		case data[i] == '"':
			j := i + 1
			for ; j < len(data) && data[j] != '"' && data[j] != '\n'; j++ {
				if data[j] == '\\' {
					j++
				}
			}
			comma, before = -1, '"'
			i = min(j+1, len(data))
			if j < len(data) && data[j] == '\n' {
				line++
			}
			continue
		case data[i] == '#', bytes.HasPrefix(rest, []byte("//")):
			if end = bytes.IndexByte(rest, '\n'); end < 0 {
				end = len(rest)
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			if end = bytes.Index(rest[2:], []byte("*/")) + 4; end < 4 {
				return nil, r.errorf(line, "the comment that begins here has no */")
			}
		case bytes.HasPrefix(rest, []byte("<?")):
			if end = bytes.Index(rest[2:], []byte("?>")) + 4; end < 4 {
				return nil, r.errorf(line, "the <?include that begins here has no ?>")
			}
			r.part(line, "", "%s is another file: give it to the import too", show(strings.Trim(strings.TrimPrefix(string(rest[2:end-2]), "include"), " \t\"")))
			blank(i, i+end)
			if before == ':' { // it stood in place of a value
				copy(out[i:], "null")
				before, comma = 'l', -1
			}
			line += bytes.Count(rest[:end], []byte("\n"))
			i += end
			continue
		}
		if end > 0 {
			blank(i, i+end)
			line += bytes.Count(rest[:end], []byte("\n"))
			i += end
			continue
		}
		switch c := data[i]; c {
		case '\n':
			line++
		case ' ', '\t', '\r':
		case ',':
			comma, before = i, c
		case '}', ']':
			if comma >= 0 {
				out[comma] = ' '
			}
			comma, before = -1, c
		case '.':
			// Kea takes .5 for a half; JSON wants a digit before the point. No fraction is
			// carried over, so that its digits will do.
			if (i == 0 || data[i-1] < '0' || data[i-1] > '9') && i+1 < len(data) && data[i+1] >= '0' && data[i+1] <= '9' {
				out[i] = ' '
				if i > 0 && data[i-1] == '-' {
					out[i-1] = ' '
				}
			}
			comma, before = -1, c
		default:
			comma, before = -1, c
		}
		i++
	}
	return out, nil
}

// token is the next one; k.line is its line.
func (k *keaReader) token() (json.Token, error) {
	t, err := k.dec.Token()
	if err != nil {
		return nil, k.broken("", err)
	}
	k.count(k.dec.InputOffset())
	return t, nil
}

func (k *keaReader) count(to int64) {
	if to > k.at && to <= int64(len(k.data)) {
		k.line += bytes.Count(k.data[k.at:to], []byte("\n"))
		k.at = to
	}
}

func (k *keaReader) broken(what string, err error) error {
	var se *json.SyntaxError
	if errors.As(err, &se) {
		k.count(min(se.Offset, int64(len(k.data))))
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		k.count(int64(len(k.data)))
		what = "the file ends too early: a bracket is not closed"
	case what == "" && err != nil:
		what = err.Error()
	}
	return k.errorf(k.line, "%s", what)
}

// object walks a block after its '{'.
func (k *keaReader) object(depth int) error {
	for k.dec.More() {
		t, err := k.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if err := k.member(key, depth); err != nil {
			return err
		}
	}
	_, err := k.token()
	return err
}

// member walks the value of one key of a block.
func (k *keaReader) member(key string, depth int) error {
	if depth >= maxDepth {
		return k.errorf(k.line, "more than %d blocks in one another", maxDepth)
	}
	t, err := k.token()
	if err != nil {
		return err
	}
	switch {
	case t == json.Delim('{') && key == "Dhcp6":
		k.part(k.line, "", "Dhcp6 is not carried over: only IPv4 is reserved")
		return k.skip()
	case t == json.Delim('{'):
		if key == "hosts-database" {
			k.part(k.line, "", "%s holds more reservations: ask Kea for them (reservation-get-all) and give its answer to the import too", key)
		}
		return k.object(depth + 1)
	case keaNetwork[key] && t == json.Delim('['):
		if k.dec.More() {
			k.ofNetwork(k.line, key)
		}
		return k.skip()
	case keaNetwork[key] && t != nil && t != "":
		k.ofNetwork(k.line, fmt.Sprintf("%s %v", key, t))
	case t == json.Delim('[') && (key == "reservations" || key == "hosts"):
		return k.list(depth + 1)
	case t == json.Delim('['):
		if key == "hosts-databases" && k.dec.More() {
			k.part(k.line, "", "%s hold more reservations: ask Kea for them (reservation-get-all) and give its answer to the import too", key)
		}
		for k.dec.More() {
			if err := k.member("", depth+1); err != nil {
				return err
			}
		}
		_, err := k.token()
		return err
	}
	return nil
}

// keaNetwork are settings of subnets and servers.
var keaNetwork = map[string]bool{"pools": true, "option-data": true, "option-def": true, "client-classes": true, "valid-lifetime": true, "min-valid-lifetime": true, "max-valid-lifetime": true,
	"renew-timer": true, "rebind-timer": true, "boot-file-name": true, "next-server": true, "server-hostname": true}

// skip reads to the end of a block and ignores its contents.
func (k *keaReader) skip() error {
	for depth := 1; depth > 0; {
		t, err := k.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

// list reads reservations after their '['.
func (k *keaReader) list(depth int) error {
	for k.dec.More() {
		t, err := k.token()
		if err != nil {
			return err
		}
		if t != json.Delim('{') {
			return k.errorf(k.line, "a reservation is a block in braces")
		}
		if err := k.reservation(depth + 1); err != nil {
			return err
		}
	}
	_, err := k.token()
	return err
}

// keaField is one member of a reservation, in file order.
type keaField struct {
	key  string
	line int
	text string // of a string, else its JSON
	none bool   // empty in any spelling
}

func (k *keaReader) reservation(depth int) error {
	d := &draft{line: k.line}
	var fields []keaField
	answer := false
	for k.dec.More() {
		t, err := k.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		switch key {
		case "arguments", "Dhcp4": // an answer of Kea's, in a list as its agent gives it
			if err := k.member(key, depth); err != nil {
				return err
			}
			answer = true
			continue
		}
		f := keaField{key: key, line: k.line}
		var raw json.RawMessage
		if err := k.dec.Decode(&raw); err != nil {
			return k.broken("", err)
		}
		f.text = strings.Join(strings.Fields(string(raw)), " ")
		var s string
		if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
			f.text = s
		}
		switch f.text {
		case "", "null", "[]", "{}", "0.0.0.0", "[ ]", "{ }":
			f.none = true
		}
		if key == "hostname" {
			d.host.Name = f.text
			if f.none {
				d.host.Name = ""
			}
		}
		k.count(k.dec.InputOffset())
		if len(fields) < maxWords && !f.none {
			fields = append(fields, f)
		}
	}
	if _, err := k.token(); err != nil {
		return err
	}
	if len(fields) == 0 || answer {
		return nil
	}
	d.label = word(d.host.Name)
	for _, f := range fields {
		if d.label == "" && (f.key == "hw-address" || f.key == "ip-address") {
			d.label = word(f.text)
		}
	}
	for _, f := range fields {
		k.field(d, f)
	}
	return k.finish(d)
}

func (k *keaReader) field(d *draft, f keaField) {
	switch f.key {
	case "hw-address":
		k.addMAC(d, f.line, f.text)
	case "ip-address":
		k.addAddress(d, f.line, f.text)
	case "hostname", "comment", "subnet-id", "subnet":
	case "client-id":
		d.addOther(clientID(f.text))
	case "duid", "circuit-id", "flex-id":
		d.addOther(fmt.Sprintf("%s %s", f.key, show(f.text)))
	case "boot-file-name", "next-server", "server-hostname":
		k.part(f.line, d.label, "%s %s is not carried over: a template says what it boots", f.key, show(f.text))
	case "client-classes":
		k.part(f.line, d.label, "%s %s is not carried over: a template's match decides what it boots", f.key, show(f.text))
	case "option-data":
		k.part(f.line, d.label, "%s %s is not carried over: say it again in muster.toml if it is needed", f.key, show(f.text))
	default:
		k.part(f.line, d.label, "%s %s is not carried over", word(f.key), show(f.text))
	}
}
