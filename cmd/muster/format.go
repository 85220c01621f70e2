// format.go: the forms in which a list or a record can be had: --output, --no-headers,
// --watch.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// forms are what --output takes. The last three are for programs.
var forms = []string{"table", "wide", "json", "yaml", "name"}

// form takes the flags that say how a command prints.
func (a *app) form(c *cobra.Command) {
	fl := c.PersistentFlags()
	fl.BoolVar(&a.json, "json", false, "print JSON; short for --output json")
	fl.StringVar(&a.output, "output", "", "form of what is printed: "+strings.Join(forms, ", "))
	fl.BoolVar(&a.bare, "no-headers", false, "print tables without their first line")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
	c.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch {
		case a.output == "":
		case !slices.Contains(forms, a.output):
			return usagef("--output %q: want one of %s", a.output, strings.Join(forms, ", "))
		case a.json && a.output != "json":
			return usagef("--json and --output %s: one of them", a.output)
		}
		a.json = a.json || slices.Contains(forms[2:], a.output)
		a.wide = a.wide || a.output == "wide"
		return nil
	}
}

// formed is a JSON document in the form that was asked for.
func (a *app) formed(doc []byte) ([]byte, error) {
	switch a.output {
	case "yaml":
		return inYAML(doc)
	case "name":
		return names(doc)
	}
	return escaped(doc), nil
}

// inYAML keeps the order of the keys.
func inYAML(doc []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	n, err := node(d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	var out []byte
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = append(out, string(r)...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\U%08x`, r)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out, nil
}

// node reads the next value. JSON is nearly YAML, but its texts may hold what YAML refuses.
// A text with what a terminal obeys is put in quotation marks, where it can be escaped.
func node(d *json.Decoder) (*yaml.Node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{}
	switch x := t.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if x == '{' {
			n.Kind = yaml.MappingNode
		}
		for d.More() { // of an object, keys and values in turn
			v, err := node(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, v)
		}
		_, err = d.Token()
		return n, err
	case json.Number:
		n.Kind, n.Value = yaml.ScalarNode, x.String()
		return n, nil
	case string:
		n.SetString(x)
		n.Style = 0
		if strings.ContainsFunc(x, func(r rune) bool { return !unicode.IsPrint(r) }) {
			n.Style = yaml.DoubleQuotedStyle
		}
		return n, nil
	}
	return n, n.Encode(t)
}

// nameKeys are what a record is known by: the first that it has.
var nameKeys = []string{"name", "who", "scope", "address", "addr", "code", "seq"}

// names are those of a record, or of each of a list, one on a line.
func names(doc []byte) ([]byte, error) {
	var all []map[string]any
	if err := json.Unmarshal(doc, &all); err != nil {
		var one map[string]any
		if err := json.Unmarshal(doc, &one); err != nil {
			return nil, usagef("--output name: what is printed has no names")
		}
		all = append(all, one)
	}
	var b bytes.Buffer
	for _, x := range all {
		name := ""
		for _, k := range nameKeys {
			if v, ok := x[k]; ok && v != "" && name == "" {
				name = fmt.Sprint(v)
			}
		}
		if name == "" {
			return nil, usagef("--output name: what is printed has no names")
		}
		fmt.Fprintln(&b, clean(name))
	}
	return b.Bytes(), nil
}

// How long what is watched stays as it is. A list that takes long to make is not made all
// the time: it rests for several times as long.
const (
	watchPause = 2 * time.Second
	watchShare = 5
)

// watchable gives commands that only look --watch.
func (a *app) watchable(c *cobra.Command) {
	for _, s := range c.Commands() {
		a.watchable(s)
	}
	if c.HasSubCommands() || !slices.Contains([]string{"list", "show", "diagnose", "history"}, c.Name()) {
		return
	}
	if c.Flags().Lookup("follow") != nil {
		return
	}
	var watch bool
	run := c.RunE
	c.Flags().BoolVar(&watch, "watch", false, "print it again and again, until interrupted")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !watch {
			return run(c, args)
		}
		if a.json {
			return usagef("--watch is for people; a program reads: muster event list --follow --json")
		}
		return a.redraw(c.Context(), watchPause, func() error { return run(c, args) })
	}
}
