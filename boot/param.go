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
	Default  string   `json:"default,omitempty"` // what counts where nothing is given; "" also: none is known
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

// Sealer closes a secret for one place. The same secret at the same place is sealed
// alike, so that Apply stays pure.
type Sealer interface {
	Seal(place string, secret []byte) []byte
}

// owner is a host or a scope whose parameters are changed.
type owner struct {
	who     string // for errors
	set     string // the command that changes it
	scope   Scope
	id      HostID // of a host
	params  *map[string]string
	secrets *[]string
	takers  []*Template // whose parameters count: without one, anything may be set
	all     bool        // every one of them must take a value; else one, and the others are told of
}

// ofHost: the host's templates say what it may have. A host without a template may have
// what any takes.
func (a *applying) ofHost(h *Host) (owner, error) {
	o := owner{who: "host " + h.Name, set: "muster host set " + h.Name, scope: HostScope, id: h.ID, params: &h.Params, secrets: &h.Secrets, all: true}
	for _, name := range h.Templates() {
		t, err := a.v.TemplateByName(name)
		if err != nil {
			return o, err
		}
		if t != nil {
			o.takers = append(o.takers, t)
		}
	}
	if len(o.takers) == 0 {
		o.takers = a.p.Templates // whichever it will be
	}
	return o, nil
}

// ofScope: whatever machines are there, and will come, boots one of all templates.
func (a *applying) ofScope(v *Values) owner {
	return owner{who: string(v.Scope), set: "muster param set " + string(v.Scope), scope: v.Scope, params: &v.Params, secrets: &v.Secrets, takers: a.p.Templates}
}

// set changes parameters; a nil value removes. Those of typed were typed on a command
// line.
func (a *applying) set(o owner, params map[string]*string, typed []string) error {
	for _, k := range typed {
		if o.secret(k) {
			return NewFault(Invalid, "%s: parameter %s is secret: what is typed on a command line is in the shell's history and seen by everybody on this machine", o.who, k).Try("%s %s=@FILE, or %s=- and the value on standard input", o.set, k, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if v := params[k]; v != nil {
			if err := a.check(o, k, *v); err != nil {
				return err
			}
		}
	}
	if *o.params == nil {
		*o.params = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if err := a.put(o, k, params[k]); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a parameter that no template has, and a value of a wrong type. A version
// from before templates said what they take does not tell, and takes everything.
func (a *applying) check(o owner, param, value string) error {
	var took, refused bool
	var wrong error
	var by, plain []string
	for _, t := range o.takers {
		p, has := t.Params[param]
		if took = took || t.Params == nil; !has {
			continue
		}
		if _, err := p.Read(value); err != nil {
			refused = true
			wrong = NewFault(Invalid, "%s: parameter %s of template %s: %v", o.who, param, t.Name, err)
			by = append(by, t.Name)
			continue
		}
		if took = true; !p.Secret {
			plain = append(plain, t.Name)
		}
	}
	if len(plain) > 0 && o.secret(param) {
		a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("%s: parameter %s is sealed, since a template takes it as a secret: machines of %s, which takes it in plain text, wait until they have a value of their own", o.who, param, strings.Join(plain, ", ")))
	}
	switch {
	case refused && (o.all || !took):
		return wrong
	case refused:
		a.c.Warnings = append(a.c.Warnings, fmt.Sprintf("%s: parameter %s does not fit template %s, whose machines wait until they have a value of their own", o.who, param, strings.Join(by, ", ")))
	case !took && len(o.takers) > 0:
		return NewFault(Invalid, "%s: no parameter is called %s%s", o.who, CleanText(param, 64), takes(o.takers))
	}
	return nil
}

// secret reports a parameter that some template takes as a secret.
func (o *owner) secret(param string) bool {
	return slices.ContainsFunc(o.takers, func(t *Template) bool { return t.Params[param].Secret })
}

// put stores one value: a secret one sealed and apart, so that no copy of the record has
// it.
func (a *applying) put(o owner, k string, v *string) error {
	is := o.secret(k)
	if held := slices.Contains(*o.secrets, k); held && (v == nil || !is) {
		*o.secrets = slices.DeleteFunc(slices.Clone(*o.secrets), func(s string) bool { return s == k })
		a.seal(Place(o.scope, o.id, k), nil)
	}
	delete(*o.params, k)
	switch {
	case v == nil:
	case !is:
		(*o.params)[k] = *v
	case a.p.Sealer == nil:
		return NewFault(WrongState, "%s: parameter %s is secret, and there is no sealing key here", o.who, k)
	case len(*v) > 4096:
		return NewFault(Invalid, "%s: parameter %s: at most 4096 bytes", o.who, k)
	default:
		if !slices.Contains(*o.secrets, k) {
			*o.secrets = append(slices.Clip(*o.secrets), k)
			slices.Sort(*o.secrets)
		}
		at := Place(o.scope, o.id, k)
		a.seal(at, a.p.Sealer.Seal(at, []byte(*v)))
	}
	return nil
}

// seal writes what is kept at a place; nil removes it.
func (a *applying) seal(place string, sealed []byte) {
	if a.c.Secrets == nil {
		a.c.Secrets = map[string][]byte{}
	}
	a.c.Secrets[place] = sealed
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

// complete refuses a host that its template could not be rendered for.
func (a *applying) complete(h *Host, x *Template) error {
	if x == nil {
		return nil
	}
	if why := h.unfit(x); why != nil {
		return NewFault(Invalid, "host %s: %s", h.Name, why.Text())
	}
	given, err := Inherited(a.v, h, h.On())
	if err != nil {
		return err
	}
	if ks, scopes := unlike(x, given); len(ks) > 0 {
		return NewFault(Invalid, "host %s: %s give different values for %s of template %s", h.Name, Scopes(scopes), strings.Join(ks, ", "), x.Name).Try("muster host set %s %s=…", h.Name, strings.Join(ks, "=… "))
	}
	for _, k := range slices.Sorted(maps.Keys(x.Params)) {
		g, has := given[k]
		if !has || x.Params[k].Secret {
			continue
		}
		if _, err := x.Params[k].Read(g.Value); err != nil { // it was set for an older version, or another template
			from := ""
			if g.From != HostScope {
				from = " (set for " + string(g.From) + ")"
			}
			return NewFault(Invalid, "host %s: parameter %s of template %s: %v%s", h.Name, k, x.Name, err, from).Try("muster host set %s %s=…", h.Name, k)
		}
	}
	miss := lacking(x, given)
	if h.On() == "" { // it was not seen yet: its network may give them
		for n := range a.p.All() {
			there, err := Inherited(a.v, h, n.Name)
			if err != nil {
				return err
			}
			still := lacking(x, there)
			miss = slices.DeleteFunc(miss, func(k string) bool { return !slices.Contains(still, k) })
		}
	}
	if len(miss) > 0 {
		return NewFault(Invalid, "host %s: template %s needs %s", h.Name, x.Name, strings.Join(miss, ", ")).Try("muster host set %s %s=…", h.Name, strings.Join(miss, "=… "))
	}
	return nil
}
