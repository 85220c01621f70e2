// values.go: parameters that are given to many machines at once, and which of all values
// counts for one machine. Their DHCP options: lent.go.

package boot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Scope says whose a value is: "site" is every machine's, "network/NAME" that of machines
// that ask on a network, "tag/TAG" that of hosts with the tag. Each goes before those
// before it, and "host", a machine's own, before all.
type Scope string

// Site and HostScope are the widest scope and the narrowest.
const (
	Site      Scope = "site"
	HostScope Scope = "host"
)

const networkPrefix, tagPrefix, templatePrefix = "network/", "tag/", "template/"

// NetworkScope is the scope of a network.
func NetworkScope(name string) Scope { return Scope(networkPrefix + name) }

// TagScope is the scope of a tag, as hosts have it: rack=12 is another than rack.
func TagScope(tag string) Scope { return Scope(tagPrefix + tag) }

// TemplateScope is where a template's default comes from. Nobody sets values there.
func TemplateScope(name string) Scope { return Scope(templatePrefix + name) }

// Validate reports a scope that no values are kept for.
func (s Scope) Validate() error {
	if s == Site {
		return nil
	}
	if n, ok := strings.CutPrefix(string(s), networkPrefix); ok && n != "" && len(n) <= 63 && plainText(n) {
		return nil
	}
	if t, ok := strings.CutPrefix(string(s), tagPrefix); ok {
		return ValidTag(t)
	}
	return fmt.Errorf("%q is no scope: want site, network/NAME or tag/TAG", CleanText(string(s), 80))
}

// Values are the parameters and DHCP options of a scope.
type Values struct {
	Scope    Scope             `json:"scope"`
	Params   map[string]string `json:"params,omitempty"`
	Secrets  []string          `json:"secrets,omitempty"` // names of those that are sealed apart
	Options  []Option          `json:"options,omitempty"`
	Changed  time.Time         `json:"changed"`
	Revision uint64            `json:"revision,omitempty"` // how often it was written; the store counts
}

// Empty reports a record without values; the store keeps none.
func (v *Values) Empty() bool { return len(v.Params)+len(v.Secrets)+len(v.Options) == 0 }

// Validate reports the first thing wrong with it, in words for a person.
func (v *Values) Validate() error {
	if err := v.Scope.Validate(); err != nil {
		return err
	}
	if err := validParams(v.Params, v.Secrets); err != nil {
		return fmt.Errorf("%s: %w", v.Scope, err)
	}
	if len(v.Options) > 64 {
		return fmt.Errorf("%s: %d options: at most 64", v.Scope, len(v.Options))
	}
	return nil
}

// SetParams changes the values of a scope; one that has none left is gone.
type SetParams struct {
	Scope    Scope
	Revision uint64             // of the values that this is about; 0: whatever they are now
	Params   map[string]*string // nil removes
	Typed    []string           // as in SetHost
	Options  []Option           // DHCP options, set in place of those with their codes
	NoOption []string           // names or numbers of options that go
}

func (SetParams) order() {}

func (a *applying) setParams(o SetParams) error {
	if err := o.Scope.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	old, err := a.v.Values(o.Scope)
	if err != nil {
		return err
	}
	if o.Revision != 0 && (old == nil || old.Revision != o.Revision) {
		return NewFault(Changed, "the parameters of %s have changed meanwhile", o.Scope)
	}
	v := &Values{Scope: o.Scope}
	if old != nil {
		*v = *old
		v.Params, v.Secrets = maps.Clone(old.Params), slices.Clone(old.Secrets)
	}
	var what []string
	gives := false
	for _, k := range slices.Sorted(maps.Keys(o.Params)) {
		if o.Params[k] == nil {
			what = append(what, "no "+k)
		} else {
			what, gives = append(what, k), true
		}
	}
	options, said, err := changeOptions(v.Options, o.Options, o.NoOption, string(o.Scope))
	if err != nil {
		return err
	}
	v.Options, what, gives = options, append(what, said...), gives || len(o.Options) > 0
	if len(what) == 0 {
		return NewFault(Invalid, "nothing to set for %s: name a parameter, or an option", o.Scope).Try("muster param set %s NAME=VALUE", o.Scope)
	}
	if n, ok := strings.CutPrefix(string(o.Scope), networkPrefix); ok && gives && a.p.Network(n) == nil {
		return NewFault(Invalid, "no network is called %s: the configuration has %s", CleanText(n, 64), strings.Join(a.p.networkNames(), ", "))
	}
	if err := a.set(a.ofScope(v), o.Params, o.Typed); err != nil {
		return err
	}
	if err := v.Validate(); err != nil {
		return NewFault(Invalid, "%v", err)
	}
	v.Changed = a.now
	a.c.Values = v
	a.c.Events = append(a.c.Events, Event{At: a.now, Kind: ParamChanged, By: a.by, Text: fmt.Sprintf("parameters of %s set by %s: %s", o.Scope, a.by, strings.Join(what, ", "))}) // a value may be a password
	return nil
}

func (p *Policy) networkNames() (out []string) {
	for n := range p.All() {
		if !slices.Contains(out, n.Name) {
			out = append(out, n.Name)
		}
	}
	return out
}

// Given is a value that counts for a machine.
type Given struct {
	Value  string  `json:"value"`
	Secret bool    `json:"secret,omitempty"` // Value is empty
	From   Scope   `json:"from"`
	Differ []Scope `json:"differ,omitempty"` // tags of the host that say different things: none of them counts
}

// Inherited are the values that count for a host while it asks on a network, by the names
// of parameters: the site's, the network's, those of its tags and its own, the later before
// the earlier.
func Inherited(v Reader, h *Host, network string) (map[string]Given, error) {
	out := map[string]Given{}
	scopes := []Scope{Site}
	if network != "" {
		scopes = append(scopes, NetworkScope(network))
	}
	for _, s := range scopes {
		x, err := v.Values(s)
		if err != nil {
			return nil, err
		}
		if x != nil {
			lay(out, s, x.Params, x.Secrets)
		}
	}
	tagged := map[string]Given{}
	for _, t := range h.Tags {
		x, err := v.Values(TagScope(t))
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		mine := map[string]Given{}
		lay(mine, x.Scope, x.Params, x.Secrets)
		for k, g := range mine {
			had, is := tagged[k]
			switch {
			case !is:
				tagged[k] = g
			case len(had.Differ) > 0:
				had.Differ = append(had.Differ, g.From)
				tagged[k] = had
			case had.Secret || g.Secret || had.Value != g.Value: // whether two secrets are alike nobody can see
				tagged[k] = Given{Secret: had.Secret || g.Secret, From: had.From, Differ: []Scope{had.From, g.From}}
			}
		}
	}
	maps.Copy(out, tagged)
	lay(out, HostScope, h.Params, h.Secrets)
	return out, nil
}

// lay puts the values of one scope over others.
func lay(out map[string]Given, s Scope, params map[string]string, secrets []string) {
	for k, v := range params {
		out[k] = Given{Value: v, From: s}
	}
	for _, k := range secrets {
		out[k] = Given{Secret: true, From: s}
	}
}

// Effective are the values that a host's files are rendered with, as far as is known of
// it: those that it inherits, and the defaults of the template that it would boot.
func Effective(v Reader, p *Policy, h *Host) (map[string]Given, error) {
	out, err := Inherited(v, h, h.On())
	if err != nil {
		return nil, err
	}
	x, err := (&applying{v: v, p: p}).willBoot(h)
	if x == nil || err != nil {
		return out, err
	}
	for k, d := range x.Params {
		if _, is := out[k]; !is && d.Default != "" {
			out[k] = Given{Value: d.Default, From: TemplateScope(x.Name)}
		}
	}
	return out, nil
}

// unlike names the parameters of a template that the tags of a host give different values,
// and the scopes that do.
func unlike(t *Template, given map[string]Given) (params []string, scopes []Scope) {
	for _, k := range slices.Sorted(maps.Keys(given)) {
		if _, takes := t.Params[k]; len(given[k].Differ) == 0 || !takes && t.Params != nil {
			continue
		}
		params = append(params, k)
		for _, s := range given[k].Differ {
			if !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
	}
	return params, scopes
}

// Scopes names several in a sentence.
func Scopes(scopes []Scope) string {
	var l []string
	for _, s := range scopes {
		l = append(l, string(s))
	}
	return strings.Join(l, " and ")
}

// lacking lists the parameters that a template cannot do without and nothing gives. A value
// that is sealed and is to be plain, or the other way round, is not there for it: its
// default in place of what somebody set would be a surprise.
func lacking(t *Template, given map[string]Given) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(t.Params)) {
		p := t.Params[k]
		g, has := given[k]
		if p.Required && !g.Secret && g.Value == "" || has && g.Secret != p.Secret {
			out = append(out, k)
		}
	}
	return out
}

// Place is where the store keeps a secret parameter, sealed. It is the place that it is
// sealed for, too. Hosts have numbers, which no scope is called by.
func Place(s Scope, id HostID, param string) string {
	if s == HostScope {
		return fmt.Sprintf("param/%d/%s", id, param)
	}
	return "param/" + string(s) + "/" + param
}
