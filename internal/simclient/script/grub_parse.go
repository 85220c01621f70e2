package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// This file reads grub.cfg: words with quotes and variables, and blocks of
// commands.

// A grubNode is one command, or a block of them.
type grubNode struct {
	kind  string // "", if, while, until, for, menuentry, function
	words []grubWord
	cond  []*grubNode
	body  []*grubNode
	els   []*grubNode
}

// A grubWord is made of parts that are text or variables.
type grubWord []grubPart

type grubPart struct {
	text   string
	name   bool // of a variable
	quoted bool
}

// plain is the word as text, to compare with a keyword.
func (w grubWord) plain() string {
	if len(w) == 1 && !w[0].name && !w[0].quoted {
		return w[0].text
	}
	return ""
}

var errGRUB = errors.New("the syntax is not understood")

// lexGRUB splits a text into words; nil is the end of a command.
func lexGRUB(t string) (out []grubWord, err error) {
	t = strings.ReplaceAll(strings.ReplaceAll(t, "\r\n", "\n"), "\\\n", "")
	var word grubWord
	started := false
	put := func(text string, name, quoted bool) {
		started = true
		word = append(word, grubPart{text, name, quoted})
	}
	flush := func() {
		if started {
			var w grubWord // neighbours of one sort are one
			for _, p := range word {
				if n := len(w); n > 0 && !p.name && !w[n-1].name && p.quoted == w[n-1].quoted {
					w[n-1].text += p.text
				} else {
					w = append(w, p)
				}
			}
			out, word, started = append(out, w), nil, false
		}
	}
	variable := func(i int, quoted bool) int {
		end := i + 1
		name := ""
		if end < len(t) && t[end] == '{' {
			n := strings.IndexByte(t[end:], '}')
			if n < 0 {
				return -1
			}
			name, end = t[end+1:end+n], end+n+1
		} else {
			for end < len(t) && (t[end] == '_' || t[end] >= '0' && t[end] <= '9' || t[end]|0x20 >= 'a' && t[end]|0x20 <= 'z') {
				end++
			}
			if name = t[i+1 : end]; name == "" && end < len(t) && strings.IndexByte("?#*@", t[end]) >= 0 {
				name, end = t[end:end+1], end+1
			}
		}
		if name == "" {
			put("$", false, quoted)
		} else {
			put(name, true, quoted)
		}
		return end
	}
	for i := 0; i < len(t); {
		switch c := t[i]; {
		case c == '\n' || c == ';':
			flush()
			out = append(out, nil)
			i++
		case c == ' ' || c == '\t':
			flush()
			i++
		case c == '#' && !started:
			for i < len(t) && t[i] != '\n' {
				i++
			}
		case c == '\'':
			n := strings.IndexByte(t[i+1:], '\'')
			if n < 0 {
				return nil, errGRUB
			}
			put(t[i+1:i+1+n], false, true)
			i += n + 2
		case c == '"':
			put("", false, true)
			for i++; ; {
				if i >= len(t) {
					return nil, errGRUB
				}
				if t[i] == '"' {
					i++
					break
				}
				switch {
				case t[i] == '\\' && i+1 < len(t) && strings.IndexByte("\"\\$", t[i+1]) >= 0:
					put(t[i+1:i+2], false, true)
					i += 2
				case t[i] == '$':
					if i = variable(i, true); i < 0 {
						return nil, errGRUB
					}
				default:
					put(t[i:i+1], false, true)
					i++
				}
			}
		case c == '\\' && i+1 < len(t):
			put(t[i+1:i+2], false, true)
			i += 2
		case c == '$':
			if i = variable(i, false); i < 0 {
				return nil, errGRUB
			}
		case (c == '{' || c == '}') && !started:
			put(t[i:i+1], false, false)
			flush()
			i++
		default:
			put(t[i:i+1], false, false)
			i++
		}
	}
	flush()
	return append(out, nil), nil
}

type grubParser struct {
	words []grubWord
	depth int
}

func parseGRUB(t string) ([]*grubNode, error) {
	words, err := lexGRUB(t)
	if err != nil {
		return nil, err
	}
	p := &grubParser{words: words}
	nodes, end, err := p.list()
	if err == nil && end != "" {
		err = fmt.Errorf("%w: %q stands alone", errGRUB, end)
	}
	return nodes, err
}

// list parses commands up to a word that ends the block, and consumes that
// word.
func (p *grubParser) list(ends ...string) (nodes []*grubNode, end string, err error) {
	if p.depth++; p.depth > 100 {
		return nil, "", errGRUB
	}
	defer func() { p.depth-- }()
	for len(p.words) > 0 {
		w := p.words[0]
		if w == nil {
			p.words = p.words[1:]
			continue
		}
		word := w.plain()
		if slices.Contains([]string{"then", "elif", "else", "fi", "do", "done", "}"}, word) {
			p.words = p.words[1:]
			if !slices.Contains(ends, word) {
				return nil, "", fmt.Errorf("%w: %q stands alone", errGRUB, word)
			}
			return nodes, word, nil
		}
		n := &grubNode{}
		switch word {
		case "if":
			p.words = p.words[1:]
			err = p.branch(n)
		case "while", "until":
			p.words = p.words[1:]
			n.kind = word
			if n.cond, _, err = p.list("do"); err == nil {
				n.body, _, err = p.list("done")
			}
		case "for":
			n.kind, n.words = word, p.command(false)
			if _, _, err = p.list("do"); err == nil {
				n.body, _, err = p.list("done")
			}
		case "menuentry", "submenu", "function":
			n.kind, n.words = word, p.command(true)
			n.body, _, err = p.list("}")
		default:
			n.words = p.command(false)
		}
		if err != nil {
			return nil, "", err
		}
		nodes = append(nodes, n)
	}
	if len(ends) > 0 {
		return nil, "", fmt.Errorf("%w: %q is missing", errGRUB, ends[len(ends)-1])
	}
	return nodes, "", nil
}

// branch parses the rest of an if.
func (p *grubParser) branch(n *grubNode) (err error) {
	n.kind = "if"
	if n.cond, _, err = p.list("then"); err != nil {
		return err
	}
	var end string
	if n.body, end, err = p.list("elif", "else", "fi"); err != nil {
		return err
	}
	switch end {
	case "elif":
		if p.depth++; p.depth > 100 {
			return errGRUB
		}
		e := &grubNode{}
		n.els = []*grubNode{e}
		err = p.branch(e)
		p.depth--
	case "else":
		n.els, _, err = p.list("fi")
	}
	return err
}

// command reads the words of one command, up to its end or an opening brace.
func (p *grubParser) command(brace bool) (words []grubWord) {
	for len(p.words) > 0 {
		w := p.words[0]
		if w == nil {
			if brace { // the brace may stand on the next line
				p.words = p.words[1:]
				continue
			}
			return words
		}
		p.words = p.words[1:]
		if brace && w.plain() == "{" {
			return words
		}
		words = append(words, w)
	}
	return words
}
