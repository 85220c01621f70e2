// lent.go: DHCP options that are given to many machines at once, and which of all count for
// one machine.

package boot

import (
	"slices"
	"strconv"
	"strings"
)

// GivenOption is an option that counts for a machine, and where it comes from.
type GivenOption struct {
	Option Option  `json:"option"`
	From   Scope   `json:"from"`
	Differ []Scope `json:"differ,omitempty"` // tags of the host that say different things: none of them counts
}

// lentOptions are the options of the scopes that a host is in while it asks on a network. A
// nil host is one that nobody knows: site and network count for it too.
type lentOptions struct {
	site, network []Option
	tagged        []GivenOption
}

func lent(v Reader, h *Host, network string) (out lentOptions, err error) {
	of := func(s Scope) []Option {
		var x *Values
		if err == nil {
			x, err = v.Values(s)
		}
		if x == nil {
			return nil
		}
		return x.Options
	}
	out.site = of(Site)
	if network != "" {
		out.network = of(NetworkScope(network))
	}
	if h == nil {
		return out, err
	}
	for _, tag := range h.Tags {
		for _, o := range of(TagScope(tag)) {
			i := slices.IndexFunc(out.tagged, func(g GivenOption) bool { return g.Option.Code == o.Code })
			if i < 0 {
				out.tagged = append(out.tagged, GivenOption{Option: o, From: TagScope(tag)})
				continue
			}
			switch g := &out.tagged[i]; {
			case len(g.Differ) > 0:
				g.Differ = append(g.Differ, TagScope(tag))
			case g.Option.String() != o.String():
				g.Differ = []Scope{g.From, TagScope(tag)}
			}
		}
	}
	return out, err
}

// agreed are the options of tags about which no two tags of the host differ.
func (l lentOptions) agreed() (out []Option) {
	for _, g := range l.tagged {
		if len(g.Differ) == 0 {
			out = append(out, g.Option)
		}
	}
	return out
}

// EffectiveOptions are the options that people gave a host, its template, or what it is in,
// while it asks on the network where it was last: site, network, template, tags and its own,
// the later before the earlier. Those of the configuration are not among them.
func EffectiveOptions(v Reader, p *Policy, h *Host) (out []GivenOption, err error) {
	l, err := lent(v, h, h.On())
	if err != nil {
		return nil, err
	}
	x, err := (&applying{v: v, p: p}).willBoot(h)
	if err != nil {
		return nil, err
	}
	lay := func(s Scope, options []Option) {
		for _, o := range options {
			out = slices.DeleteFunc(out, func(g GivenOption) bool { return g.Option.Code == o.Code })
			out = append(out, GivenOption{Option: o, From: s})
		}
	}
	lay(Site, l.site)
	lay(NetworkScope(h.On()), l.network)
	if x != nil {
		lay(TemplateScope(x.Name), x.Options)
	}
	for _, g := range l.tagged {
		if len(g.Differ) > 0 { // what is beneath it counts, and people see why
			out = append(out, g)
			continue
		}
		lay(g.From, []Option{g.Option})
	}
	lay(HostScope, h.Options)
	slices.SortStableFunc(out, func(a, b GivenOption) int { return int(a.Option.Code) - int(b.Option.Code) })
	return out, nil
}

// changeOptions sets options and takes others away by name or number; whose is for errors.
func changeOptions(have, set []Option, drop []string, whose string) (out []Option, what []string, err error) {
	out = slices.Clone(have)
	for _, x := range set {
		out = mergeOptions(out, []Option{x})
		what = append(what, "option "+x.String())
	}
	for _, name := range drop {
		n := len(out)
		out = slices.DeleteFunc(out, func(x Option) bool { return x.Name() == name || strconv.Itoa(int(x.Code)) == name })
		if len(out) == n {
			return nil, nil, NewFault(Invalid, "%s has no option %s", whose, CleanText(name, 64))
		}
		what = append(what, "no option "+name)
	}
	return out, what, nil
}

// lends are the options of scopes that count for this client here. An error is kept for
// the end of the turn.
func (t *turn) lends() lentOptions {
	if t.lent == nil || t.lentOn != t.net.Name {
		l, err := lent(t.v, t.host, t.net.Name)
		if err != nil && t.broken == nil {
			t.broken = err
		}
		t.lent, t.lentOn = &l, t.net.Name
	}
	return *t.lent
}

// tellDiffer says once which options do not count because tags differ.
func (t *turn) tellDiffer(l lentOptions) {
	for _, g := range l.tagged {
		own := t.host != nil && slices.ContainsFunc(t.host.Options, func(o Option) bool { return o.Code == g.Option.Code })
		if len(g.Differ) > 0 && !own && !slices.ContainsFunc(t.d.Why, func(r Reason) bool {
			return r.Code == "loader.options-differ" && len(r.Args) > 0 && r.Args[0] == g.Option.Name()
		}) {
			t.why("loader.options-differ", g.Option.Name(), strings.ReplaceAll(Scopes(g.Differ), "tag/", "tag "))
		}
	}
}
