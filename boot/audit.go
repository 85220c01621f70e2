// audit.go: what a record was and what it is, for the audit trail.

package boot

import (
	"encoding/json"
	"slices"
)

// Fields are values of a record by the names that the API has for them: text as it is,
// everything else as JSON.
type Fields map[string]string

// maxFieldText bounds the text of one value in an event.
const maxFieldText = 1000

// noise are fields that change with every write.
var noise = []string{"revision", "changed", "hash", "since", "digest", "invite", "invite_until"}

// compare finds the fields that differ. A record that was not, or is no more, is nil.
func compare(before, after any) (was, is Fields, err error) {
	a, err := fields(before)
	if err != nil {
		return nil, nil, err
	}
	b, err := fields(after)
	if err != nil {
		return nil, nil, err
	}
	was, is = Fields{}, Fields{}
	for k, v := range a {
		if x, has := b[k]; !has || x != v {
			was[k] = v
		}
	}
	for k, v := range b {
		if x, had := a[k]; !had || x != v {
			is[k] = v
		}
	}
	return was, is, nil
}

func fields(v any) (Fields, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var raw map[string]json.RawMessage // null, of a record that is not, has no fields
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, err
	}
	f := Fields{}
	for k, v := range raw {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		if !slices.Contains(noise, k) {
			f[k] = CleanText(text, maxFieldText)
		}
	}
	return f, nil
}

// account adds to each event of a person or a program what it changed of its host, of a
// scope's parameters, or of a user. An import of many machines is told by their records.
func (a *applying) account() error {
	if a.by.Kind != Person && a.by.Kind != Program || len(a.c.Hosts) > 1 {
		return nil
	}
	told := map[HostID]bool{}
	for i := range a.c.Events {
		e := &a.c.Events[i]
		var before, after any
		switch {
		case e.Host != 0 && !told[e.Host]:
			told[e.Host] = true
			old, err := a.v.Host(e.Host)
			if err != nil {
				return err
			}
			before = old
			for _, h := range append(a.c.Hosts, a.c.Host) {
				if h != nil && h.ID == e.Host {
					after = h
				}
			}
			if after == nil && (a.c.Remove == nil || a.c.Remove.ID != e.Host) {
				continue
			}
		case e.Kind == ParamChanged && a.c.Values != nil:
			old, err := a.v.Values(a.c.Values.Scope)
			if err != nil {
				return err
			}
			before, after = old, a.c.Values
		case e.Kind == UserChanged && a.c.User != nil:
			old, err := a.v.User(a.c.User.Name)
			if err != nil {
				return err
			}
			before, after = old, a.c.User
		default:
			continue
		}
		var err error
		if e.Was, e.Is, err = compare(before, after); err != nil {
			return err
		}
	}
	return nil
}
