// param.go: what a template takes of a host: typed values, some of which it cannot do
// without.

package boot

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Param is one parameter of a template.
type Param struct {
	Type     string   `json:"type"` // string, int, bool or list
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`  // sealed in the store, and rendered only into files that say so
	Enum     []string `json:"enum,omitempty"`    // the values that it may have, each word of a list
	Pattern  string   `json:"pattern,omitempty"` // a regular expression that the whole of a value matches, each word of a list
	Example  string   `json:"example,omitempty"` // a value, for people
	Help     string   `json:"help,omitempty"`
}

// ParamTypes are the types that a parameter may have.
var ParamTypes = []string{"string", "int", "bool", "list"}

// List is the value of a parameter that is a list. As text its words stand apart by
// blanks, as command lines and installers have them.
type List []string

func (l List) String() string { return strings.Join(l, " ") }

// Read reads a value: string, int64, bool or List, whose words commas part. The error is
// for people; of a secret it does not tell the value.
func (p Param) Read(text string) (any, error) {
	v, err := p.read(text)
	if err != nil && p.Secret {
		return nil, fmt.Errorf("its value is not as the template wants it")
	}
	return v, err
}

func (p Param) read(text string) (any, error) {
	v, err := readType(p.Type, text)
	if err != nil {
		return nil, err
	}
	words, is := v.(List)
	if !is {
		words = List{text}
	}
	var re *regexp.Regexp
	if p.Pattern != "" {
		if re, err = regexp.Compile(`^(?:` + p.Pattern + `)$`); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p.Pattern, err)
		}
	}
	for _, w := range words {
		if len(p.Enum) > 0 && !slices.Contains(p.Enum, w) {
			return nil, fmt.Errorf("%q is none of %s", CleanText(w, 64), strings.Join(p.Enum, ", "))
		}
		if re != nil && !re.MatchString(w) {
			like := ""
			if p.Example != "" {
				like = ", as " + p.Example + " does"
			}
			return nil, fmt.Errorf("%q does not match %s%s", CleanText(w, 64), p.Pattern, like)
		}
	}
	return v, nil
}

// Sample is a value that the parameter takes, for a trial.
func (p Param) Sample() string {
	switch {
	case p.Example != "":
		return p.Example
	case len(p.Enum) > 0:
		return p.Enum[0]
	case p.Type == "int":
		return "1"
	case p.Type == "bool":
		return "true"
	}
	return "sample"
}

func readType(typ, text string) (any, error) {
	switch typ {
	case "", "string":
		return text, nil
	case "list":
		l := List{}
		for w := range strings.SplitSeq(text, ",") {
			if w = strings.TrimSpace(w); w != "" {
				l = append(l, w)
			}
		}
		return l, nil
	case "int":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no whole number", CleanText(text, 64))
		}
		return n, nil
	case "bool":
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", CleanText(text, 64))
		}
		return b, nil
	}
	return nil, fmt.Errorf("type %q: want %s", typ, strings.Join(ParamTypes, ", "))
}

// checkParams refuses parameters that the host's templates do not have, and values of
// a wrong type. A host without a template may have those of any. A version from before
// templates said what they take does not tell, and takes everything.
func (a *applying) checkParams(h *Host, params map[string]string) error {
	if len(params) == 0 {
		return nil
	}
	var ts []*Template
	for _, name := range h.Templates() {
		t, err := a.v.TemplateByName(name)
		if err != nil {
			return err
		}
		if t != nil {
			ts = append(ts, t)
		}
	}
	if len(ts) == 0 {
		if ts = a.p.Templates; len(ts) == 0 {
			return nil
		}
	}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		known := false
		for _, t := range ts {
			p, has := t.Params[k]
			if known = known || has || t.Params == nil; !has {
				continue
			}
			if _, err := p.Read(params[k]); err != nil {
				return NewFault(Invalid, "host %s: parameter %s of template %s: %v", h.Name, k, t.Name, err)
			}
		}
		if !known {
			return NewFault(Invalid, "host %s: no parameter is called %s%s", h.Name, CleanText(k, 64), takes(ts))
		}
	}
	return nil
}

// Sealer closes a secret for one place. The same secret at the same place is sealed
// alike, so that Apply stays pure.
type Sealer interface {
	Seal(place string, secret []byte) []byte
}

// secretName is where the store keeps a secret parameter of a host, sealed. It is the
// place that it is sealed for, too.
func secretName(id HostID, param string) string { return fmt.Sprintf("param/%d/%s", id, param) }

// SecretPlace is the place that a host's parameter is sealed for.
func SecretPlace(id HostID, param string) string { return secretName(id, param) }

// secret reports a parameter that some template of the host takes as a secret.
func (a *applying) secret(h *Host, param string) (bool, error) {
	var ts []*Template
	for _, name := range h.Templates() {
		t, err := a.v.TemplateByName(name)
		if err != nil {
			return false, err
		}
		if t != nil {
			ts = append(ts, t)
		}
	}
	if len(ts) == 0 {
		ts = a.p.Templates // whichever it will be
	}
	return slices.ContainsFunc(ts, func(t *Template) bool { return t.Params[param].Secret }), nil
}

// typed refuses secrets that were typed on a command line.
func (a *applying) typed(h *Host, params []string) error {
	for _, k := range params {
		if is, err := a.secret(h, k); err != nil {
			return err
		} else if is {
			return NewFault(Invalid, "host %s: parameter %s is secret: what is typed on a command line is in the shell's history and seen by everybody on this machine", h.Name, k).Try("muster host set %s %s=@FILE, or %s=- and the value on standard input", h.Name, k, k)
		}
	}
	return nil
}

// takeParams puts parameters on a host: secret ones sealed and apart, so that no copy
// of the record has them. A nil value removes.
func (a *applying) takeParams(h *Host, params map[string]*string) error {
	if h.Params == nil {
		h.Params = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		v := params[k]
		is, err := a.secret(h, k)
		if err != nil {
			return err
		}
		if held := slices.Contains(h.Secrets, k); held && (v == nil || !is) {
			h.Secrets = slices.DeleteFunc(slices.Clone(h.Secrets), func(s string) bool { return s == k })
			a.seal(h.ID, k, nil)
		}
		delete(h.Params, k)
		switch {
		case v == nil:
		case !is:
			h.Params[k] = *v
		case a.p.Sealer == nil:
			return NewFault(WrongState, "host %s: parameter %s is secret, and there is no sealing key here", h.Name, k)
		case len(*v) > 4096:
			return NewFault(Invalid, "host %s: parameter %s: at most 4096 bytes", h.Name, k)
		default:
			if !slices.Contains(h.Secrets, k) {
				h.Secrets = append(slices.Clip(h.Secrets), k)
				slices.Sort(h.Secrets)
			}
			a.seal(h.ID, k, a.p.Sealer.Seal(secretName(h.ID, k), []byte(*v)))
		}
	}
	return nil
}

func (a *applying) seal(id HostID, param string, sealed []byte) {
	if a.c.Secrets == nil {
		a.c.Secrets = map[string][]byte{}
	}
	a.c.Secrets[secretName(id, param)] = sealed
}

// takes lists what templates take, for the end of a sentence.
func takes(ts []*Template) string {
	var l []string
	for _, t := range ts {
		if len(ts) <= 3 {
			names := slices.Sorted(maps.Keys(t.Params))
			if len(names) == 0 {
				names = []string{"nothing"}
			}
			l = append(l, fmt.Sprintf("template %s takes %s", t.Name, strings.Join(names, ", ")))
		}
	}
	if len(l) == 0 {
		return " in any template"
	}
	return ": " + strings.Join(l, "; ")
}

// needs lists the parameters that the template cannot do without and the host has not.
func (h *Host) needs(t *Template) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(t.Params)) {
		has := h.Params[k] != ""
		if t.Params[k].Secret {
			has = slices.Contains(h.Secrets, k)
		}
		if t.Params[k].Required && !has {
			out = append(out, k)
		}
	}
	return out
}

// complete refuses a host that its template could not be rendered for.
func (a *applying) complete(h *Host, x *Template) error {
	if x == nil {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(x.Params)) {
		v, has := h.Params[k]
		if !has || x.Params[k].Secret {
			continue
		}
		if _, err := x.Params[k].Read(v); err != nil { // it was set for an older version, or another template
			return NewFault(Invalid, "host %s: parameter %s of template %s: %v", h.Name, k, x.Name, err).Try("muster host set %s %s=…", h.Name, k)
		}
	}
	if miss := h.needs(x); len(miss) > 0 {
		return NewFault(Invalid, "host %s: template %s needs %s", h.Name, x.Name, strings.Join(miss, ", ")).Try("muster host set %s %s=…", h.Name, strings.Join(miss, "=… "))
	}
	return nil
}
