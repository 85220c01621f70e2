// language.go: what each kind of file does with a value, and the check that every
// value passes which its author did not quote. A check knows no context: it accepts
// what means itself anywhere in a file of the language, inside quotation marks and
// outside, and refuses the rest by naming the function that quotes.

package templates

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/template/parse"
	"unicode"
)

// lang is the language of a rendered file. It is also the name of the function that
// checks a value of it.
type lang string

const (
	plainFile   lang = "_plain"
	ipxeFile    lang = "ipxe"
	grubFile    lang = "grub"
	shellFile   lang = "_shell"
	installFile lang = "_install" // preseed and kickstart: lines of their own, and shell
	yamlFile    lang = "_yaml"
	jsonFile    lang = "_json"
	xmlFile     lang = "_xml"
	tomlFile    lang = "_toml"
)

// quoters are the functions behind which a value is safe, by language. In a file of
// no known language the author chooses.
var quoters = map[lang][]string{
	ipxeFile:    {"ipxe", "ipxeurl", "ipxetext"},
	grubFile:    {"grub", "grubtext", "grubquote"},
	shellFile:   {"sh", "b64enc", "ipxeurl"},
	installFile: {"sh", "b64enc", "ipxeurl"},
	yamlFile:    {"yaml", "toJson", "b64enc", "ipxeurl"},
	jsonFile:    {"toJson", "b64enc", "ipxeurl"},
	xmlFile:     {"xml", "b64enc", "ipxeurl"},
	tomlFile:    {"toml", "toJson", "b64enc", "ipxeurl"},
	plainFile:   {"sh", "toJson", "yaml", "xml", "toml", "b64enc", "ipxeurl", "ipxetext", "grubtext", "grubquote"},
}

// language is the language of a file, by its served name and how it begins.
func language(name, text string) lang {
	if strings.HasPrefix(text, "#!") && !strings.HasPrefix(text, "#!ipxe") {
		return shellFile
	}
	switch base := path.Base(name); base {
	case "preseed.cfg", "ks.cfg":
		return installFile
	case "user-data", "meta-data", "vendor-data", "network-config":
		return yamlFile
	case piCmdline, "config.txt":
		return plainFile
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".ipxe":
		return ipxeFile
	case ".cfg":
		return grubFile
	case ".sh":
		return shellFile
	case ".ks", ".seed", ".preseed":
		return installFile
	case ".yaml", ".yml", ".bu":
		return yamlFile
	case ".json", ".ign", ".jsonnet":
		return jsonFile
	case ".xml":
		return xmlFile
	case ".toml":
		return tomlFile
	}
	return plainFile
}

// said is a text that the machine says of itself: anybody can make it say anything.
// Only a function that quotes takes it.
type said struct{ text string }

// MarshalJSON is for toJson.
func (s said) MarshalJSON() ([]byte, error) { return json.Marshal(s.text) }

// saidFields are the fields of a machine that hold such a text.
var saidFields = []string{"SerialText"}

// plain is a text reduced to what means nothing in any language: letters, digits,
// "-", "_" and "."; whatever stands between them becomes one "-".
func plain(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}), "-")
}

// text is a value as a function that quotes takes it.
func text(v any) string {
	if s, ok := v.(said); ok {
		return s.text
	}
	return fmt.Sprint(v)
}

// bare makes the check of a language: special is what means something in it, and
// more, where not nil, says what else is wrong with a text.
func bare(special, function string, more func(string) string) func(any) (string, error) {
	return func(v any) (string, error) {
		if _, ok := v.(said); ok {
			return "", errSaid
		}
		s := fmt.Sprint(v)
		bad := ""
		if v == nil {
			return "", errNil
		}
		for _, r := range s {
			if r < 0x20 && (function != "" || r != '\n' && r != '\t') || r == 0x7f || strings.ContainsRune(special, r) {
				bad = string(r)
				break
			}
		}
		if bad == "" && more != nil {
			bad = more(s)
		}
		if bad == "" {
			return s, nil
		}
		if function == "" {
			return "", fmt.Errorf("a value has %q in it, which no line of text may have", bad)
		}
		return "", fmt.Errorf("a value has %q in it, which means something in a file of this kind: write {{ %s .… }}, or {{ raw .… }} where it is meant to", bad, function)
	}
}

var errNil = fmt.Errorf("there is no such value: a parameter that this host or this file has not")

var errSaid = fmt.Errorf("a text that the machine says of itself stands here as it came: quote it (sh, toJson, yaml, xml, toml, ipxetext, grubquote), or write .Serial, which has letters and digits only")

// bares are the checks of the languages that have no file of their own.
var bares = map[string]any{
	string(plainFile): bare("", "", nil),
	string(shellFile): bare("`$;&|<>()\"'\\", "sh", func(s string) string {
		return found(strings.HasPrefix(s, "#") || strings.Contains(s, " #"), "#")
	}),
	string(installFile): bare("`;&|<>\"'\\", "sh", func(s string) string {
		// A hashed password, $6$…, is written bare in these files.
		for _, x := range []string{"$(", "${"} {
			if strings.Contains(s, x) {
				return x
			}
		}
		return ""
	}),
	string(yamlFile): bare("\"'\\", "yaml", func(s string) string {
		switch {
		case s == "":
			return ""
		case strings.Contains(s, ": "), strings.HasSuffix(s, ":"):
			return ":"
		case strings.Contains(s, " #"):
			return "#"
		case strings.Contains(s, ", "), strings.ContainsAny(s, "[]{}"):
			return s[strings.IndexAny(s, ",[]{}"):][:1]
		case strings.ContainsRune("!&*|>%@`#?,", rune(s[0])), strings.HasPrefix(s, "- "):
			return s[:1]
		}
		return ""
	}),
	string(jsonFile): bare("\"\\", "toJson", nil),
	string(xmlFile):  bare("<>&\"'", "xml", nil),
	string(tomlFile): bare("\"'\\", "toml", nil),
}

func found(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

// jsonText quotes a value for JSON, and for YAML and TOML, whose quoted strings read
// JSON's (YAML 1.2 is a superset; TOML has the same escapes of a basic string).
func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// quoted is jsonText of a text, even of a number or a word that YAML takes for one.
func quoted(v any) (string, error) {
	if v == nil {
		return "", errNil
	}
	s, err := jsonText(text(v))
	// JSON may hold DEL and what Unicode calls a line's end as they are.
	return strings.NewReplacer("\x7f", `\u007f`, "\u0085", `\u0085`).Replace(s), err
}

// xmlText escapes a value for XML, as text and between quotation marks.
func xmlText(v any) (string, error) {
	if v == nil {
		return "", errNil
	}
	s := text(v)
	if i := strings.IndexFunc(s, func(r rune) bool {
		return r == unicode.ReplacementChar || r < 0x20 && !strings.ContainsRune("\t\n\r", r)
	}); i >= 0 {
		return "", fmt.Errorf("a value has %q in it, which XML cannot hold", s[i:i+1])
	}
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s), nil
}

// rawText lets a value through as it is, except what a machine says of itself.
func rawText(v any) (any, error) {
	if _, ok := v.(said); ok {
		return nil, errSaid
	}
	return v, nil
}

// guard appends the check to a pipeline that does not end with a function that
// quotes. What the author of the template wrote as a constant is theirs.
func guard(p *parse.PipeNode, l lang) error {
	last := p.Cmds[len(p.Cmds)-1]
	if len(p.Cmds) == 1 && len(last.Args) == 1 {
		switch last.Args[0].Type() {
		case parse.NodeString, parse.NodeNumber, parse.NodeBool:
			return nil
		}
	}
	ends := ""
	if id, ok := last.Args[0].(*parse.IdentifierNode); ok {
		ends = id.Ident
		if ends == "indent" && len(p.Cmds) > 1 {
			if id, ok := p.Cmds[len(p.Cmds)-2].Args[0].(*parse.IdentifierNode); ok && slices.Contains(quoters[l], id.Ident) {
				return nil
			}
		}
	}
	if slices.Contains(quoters[l], ends) {
		return nil
	}
	if mentions(p, saidFields) {
		return fmt.Errorf("line %d: %s: %w", p.Line, p, errSaid)
	}
	if ends == "raw" && l != ipxeFile && l != grubFile {
		return nil
	}
	p.Cmds = append(p.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: p.Pos, Args: []parse.Node{parse.NewIdentifier(string(l)).SetPos(p.Pos)}})
	return nil
}

// mentions reports a pipeline in which one of the fields is named.
func mentions(n parse.Node, fields []string) bool {
	switch n := n.(type) {
	case *parse.PipeNode:
		return n != nil && slices.ContainsFunc(n.Cmds, func(c *parse.CommandNode) bool { return mentions(c, fields) })
	case *parse.CommandNode:
		return slices.ContainsFunc(n.Args, func(a parse.Node) bool { return mentions(a, fields) })
	case *parse.FieldNode:
		return slices.ContainsFunc(n.Ident, func(f string) bool { return slices.Contains(fields, f) })
	case *parse.VariableNode:
		return slices.ContainsFunc(n.Ident, func(f string) bool { return slices.Contains(fields, f) })
	case *parse.StringNode:
		return slices.Contains(fields, n.Text) // index .Params "name"
	case *parse.ChainNode:
		return slices.ContainsFunc(n.Field, func(f string) bool { return slices.Contains(fields, f) }) || mentions(n.Node, fields)
	}
	return false
}
