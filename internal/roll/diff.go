// diff.go: what of an appliance differs from a folder, and the orders that change it.

package roll

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

// What a change is about, in the order in which changes are made: a host may name a
// template, which may want parameters; a template that hosts name is not removed before
// them.
const (
	Params   = "params"
	Template = "template"
	Machine  = "host"
)

// What is done.
const (
	Add    = "add"
	Set    = "change"
	Remove = "remove"
	Left   = "left" // it is not in the folder, and stays
)

// Change is one thing that the folder and the appliance differ in.
type Change struct {
	Do     string  `json:"do"`
	What   string  `json:"what"`
	Name   string  `json:"name"`
	Was    string  `json:"was,omitempty"`   // the name that a host has now
	State  string  `json:"state,omitempty"` // that a host is brought to: approved or denied
	Fields []Field `json:"fields,omitempty"`
}

// Field is one value that differs.
type Field struct {
	Key string `json:"key"`
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// Diff says what changes to make of have what want says. What want does not name is left,
// or removed where prune says so.
func Diff(have, want *Roll, prune bool) (out []Change, err error) {
	gone := Left
	if prune {
		gone = Remove
	}
	for _, s := range slices.Sorted(maps.Keys(want.Scopes)) {
		old, known := have.Scopes[s]
		if err := plain(paramsDir+"/"+string(s), want.Scopes[s].Params, old.Sealed); err != nil {
			return nil, err
		}
		if fs := fields(old.texts(), want.Scopes[s].texts()); len(fs) > 0 {
			out = append(out, Change{Do: doing(known), What: Params, Name: string(s), Fields: fs})
		}
	}
	for _, s := range slices.Sorted(maps.Keys(have.Scopes)) {
		if _, named := want.Scopes[s]; !named && !have.Scopes[s].empty() {
			out = append(out, Change{Do: gone, What: Params, Name: string(s), Fields: fields(have.Scopes[s].texts(), nil)})
		}
	}
	for _, t := range slices.Sorted(maps.Keys(want.Templates)) {
		old, known := have.Templates[t]
		if fs := fields(blobs(old), blobs(want.Templates[t])); len(fs) > 0 {
			out = append(out, Change{Do: doing(known), What: Template, Name: t, Fields: fs})
		}
	}
	taken := map[string]string{} // hosts of the appliance that a file is about
	was := map[string]string{}   // file -> host
	for _, name := range slices.Sorted(maps.Keys(want.Hosts)) {
		if _, known := have.Hosts[name]; known {
			taken[name], was[name] = name, name
		}
	}
	known := map[string]string{}
	for n, h := range have.Hosts {
		for _, id := range h.ids() {
			known[id] = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.Hosts)) {
		if was[name] != "" {
			continue
		}
		for _, id := range want.Hosts[name].ids() {
			n := known[id]
			if n == "" || n == was[name] {
				continue
			}
			if other := taken[n]; other != "" {
				return nil, fmt.Errorf("hosts/%s.toml has %s, and so has %s, which is hosts/%s.toml: one machine has one file", name, id, n, other)
			}
			if was[name] != "" {
				return nil, fmt.Errorf("hosts/%s.toml is about two machines, %s and %s: muster host merge makes one of them", name, was[name], n)
			}
			was[name] = n
		}
		if was[name] != "" {
			taken[was[name]] = name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.Hosts)) {
		h := want.Hosts[name]
		if was[name] == "" {
			out = append(out, Change{Do: Add, What: Machine, Name: name, Fields: fields(nil, h.texts())})
			continue
		}
		old := have.Hosts[was[name]]
		if err := plain(hostsDir+"/"+name, h.Params, old.Sealed); err != nil {
			return nil, err
		}
		c := Change{Do: Set, What: Machine, Name: name, Fields: fields(old.texts(), old.said(h).texts())}
		if was[name] != name {
			c.Was = was[name]
		}
		if h.State != "" && h.State != old.State {
			if h.State == string(boot.Pending) {
				return nil, fmt.Errorf("hosts/%s.toml: state is pending, and the host is %s: nobody becomes pending again; deny it, or take it off the roll", name, old.State)
			}
			c.State = h.State
			c.Fields = append(c.Fields, Field{Key: "state", Was: old.State, Is: h.State})
		}
		if len(c.Fields) > 0 || c.Was != "" {
			out = append(out, c)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(have.Hosts)) {
		if taken[n] == "" {
			out = append(out, Change{Do: gone, What: Machine, Name: n})
		}
	}
	for _, t := range slices.Sorted(maps.Keys(have.Templates)) {
		if _, named := want.Templates[t]; !named {
			out = append(out, Change{Do: gone, What: Template, Name: t})
		}
	}
	return out, nil
}

// plain refuses a value that the appliance keeps sealed: it does not belong into a file,
// and nobody can say whether it is the same.
func plain(file string, ps map[string]string, sealed []string) error {
	for _, k := range slices.Sorted(maps.Keys(ps)) {
		if slices.Contains(sealed, k) {
			return fmt.Errorf("%s.toml: parameter %s is secret and sealed: take it out of the file; what is sealed stays as it is", file, k)
		}
	}
	return nil
}

func doing(known bool) string {
	if known {
		return Set
	}
	return Add
}

// ids are what a machine is known by.
func (h Host) ids() (out []string) {
	for _, m := range h.MACs {
		out = append(out, "MAC "+m)
	}
	for kind, v := range map[string]string{"UUID": h.UUID, "serial": h.Serial, "switch port": h.SwitchPort} {
		if v != "" {
			out = append(out, kind+" "+v)
		}
	}
	return out
}

// said is a host as it is once a file was applied. What the machine told of itself and
// the file does not name stays.
func (h Host) said(file Host) Host {
	macs := slices.Clone(h.MACs)
	for _, m := range file.MACs {
		if !slices.Contains(macs, m) {
			macs = append(macs, m)
		}
	}
	file.MACs, file.State, file.DUID = macs, h.State, h.DUID
	file.UUID, file.Serial = cmp.Or(file.UUID, h.UUID), cmp.Or(file.Serial, h.Serial)
	return file
}

// texts are the fields for a person, without the state, which is an order of its own.
func (h Host) texts() map[string]string {
	out := map[string]string{"uuid": h.UUID, "serial": h.Serial, "duid": h.DUID, "address": h.Address, "address6": h.Address6, "switch_port": h.SwitchPort, "template": h.Template,
		"macs": strings.Join(h.MACs, " "), "tags": strings.Join(h.Tags, " "), "options": strings.Join(h.Options, ", ")}
	if h.Protected {
		out["protected"] = "true"
	}
	maps.Copy(out, params(h.Params))
	return out
}

func params(ps map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range ps {
		out["params."+k] = fmt.Sprintf("%q", v)
	}
	return out
}

func blobs(fs map[string]boot.Blob) map[string]string {
	out := map[string]string{}
	for n, b := range fs {
		out[n] = b.Digest
	}
	return out
}

func fields(was, is map[string]string) (out []Field) {
	all := maps.Clone(was)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, is)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if was[k] != is[k] {
			out = append(out, Field{Key: k, Was: was[k], Is: is[k]})
		}
	}
	return out
}

// NewHost is the request that adds a host.
func NewHost(name string, h Host) (client.NewHost, error) {
	n := client.NewHost{Name: name, State: boot.State(h.State), Serial: h.Serial, DUID: h.DUID, Template: h.Template, Params: h.Params, Tags: h.Tags, Protected: h.Protected, BoundPort: h.SwitchPort}
	var err error
	for _, s := range h.MACs {
		m, e := boot.ParseMAC(s)
		n.MACs, err = append(n.MACs, m), cmp.Or(err, e)
	}
	if h.UUID != "" {
		var e error
		n.UUID, e = boot.ParseUUID(h.UUID)
		err = cmp.Or(err, e)
	}
	n.Options, _, err = options(nil, h.Options, err)
	for text, into := range map[string]*netip.Addr{h.Address: &n.Address, h.Address6: &n.Address6} {
		if text != "" {
			var e error
			*into, e = netip.ParseAddr(text)
			err = cmp.Or(err, e)
		}
	}
	return n, err
}

// options are those to set and, by name, those to take away.
func options(was, is []string, err error) (set []boot.Option, drop []string, _ error) {
	name := func(s string) string { n, _, _ := strings.Cut(s, "="); return n }
	for _, s := range is {
		if !slices.Contains(was, s) {
			o, e := boot.ParseOptionText(s)
			set, err = append(set, o), cmp.Or(err, e)
		}
	}
	for _, s := range was {
		if !slices.ContainsFunc(is, func(x string) bool { return name(x) == name(s) }) {
			drop = append(drop, name(s))
		}
	}
	return set, drop, err
}

// Patches are the requests that make of a host what a file says: mostly one. A reserved
// address can only be taken away together with that of the other family, which is given
// again by the second.
func Patches(c Change, was, file Host) (out []client.HostPatch, err error) {
	is := was.said(file)
	var p client.HostPatch
	empty := true
	if c.Was != "" {
		p.Name, empty = &c.Name, false
	}
	text := func(into **string, was, is string) {
		if was != is {
			*into, empty = &is, false
		}
	}
	text(&p.Serial, was.Serial, is.Serial)
	text(&p.Template, was.Template, is.Template)
	text(&p.Port, was.SwitchPort, is.SwitchPort)
	if was.UUID != is.UUID {
		u, e := boot.ParseUUID(is.UUID)
		p.UUID, err, empty = &u, cmp.Or(err, e), false
	}
	if was.Protected != is.Protected {
		p.Protected, empty = &is.Protected, false
	}
	for _, s := range is.MACs {
		if !slices.Contains(was.MACs, s) {
			m, e := boot.ParseMAC(s)
			p.AddMACs, err = append(p.AddMACs, m), cmp.Or(err, e)
		}
	}
	for _, t := range is.Tags {
		if !slices.Contains(was.Tags, t) {
			p.Tags = append(p.Tags, t)
		}
	}
	for _, t := range was.Tags {
		if !slices.ContainsFunc(is.Tags, func(x string) bool { return boot.TagKey(x) == boot.TagKey(t) }) {
			p.NoTags = append(p.NoTags, t)
		}
	}
	p.Options, p.NoOption, err = options(was.Options, is.Options, err)
	p.Params = patch(was.Params, is.Params)
	if was.Address != is.Address || was.Address6 != is.Address6 {
		var both []*netip.Addr
		for _, s := range []string{is.Address, is.Address6} {
			if s != "" {
				a, e := netip.ParseAddr(s)
				both, err = append(both, &a), cmp.Or(err, e)
			}
		}
		if was.Address != "" && is.Address == "" || was.Address6 != "" && is.Address6 == "" {
			out = append(out, client.HostPatch{Address: new(netip.Addr)})
		}
		if len(both) > 0 {
			p.Address, empty = both[0], false
		}
		if len(both) > 1 {
			p.Address6 = both[1]
		}
	}
	if !empty || len(p.AddMACs)+len(p.Tags)+len(p.NoTags)+len(p.Options)+len(p.NoOption)+len(p.Params) > 0 {
		out = append(out, p)
	}
	return out, err
}

// ParamPatch is the request that makes of a scope what a file says.
func ParamPatch(was, is Scope) (client.ParamPatch, error) {
	set, drop, err := options(was.Options, is.Options, nil)
	return client.ParamPatch{Params: patch(was.Params, is.Params), Options: set, NoOption: drop}, err
}

func patch(was, is map[string]string) map[string]*string {
	out := map[string]*string{}
	for k, v := range is {
		if old, has := was[k]; !has || old != v {
			out[k] = &v
		}
	}
	for k := range was {
		if _, stays := is[k]; !stays {
			out[k] = nil
		}
	}
	return out
}
