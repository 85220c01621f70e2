// change.go: what differs between two files, key by key, in the file's own words.

package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Changes lists what c says other than before did: "network lab: range: "A" → "B"".
// Both come from files.
func (c *Config) Changes(before *Config) []string {
	var out []string
	differ("", reflect.ValueOf(before.raw), reflect.ValueOf(c.raw), func(s string) { out = append(out, s) })
	return out
}

// differ compares two values of one type. path is the key so far.
func differ(path string, a, b reflect.Value, say func(string)) {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			key := a.Type().Field(i).Tag.Get("toml")
			if path != "" {
				key = path + ": " + key
			}
			differ(key, a.Field(i), b.Field(i), say)
		}
		return
	case a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Struct:
		differTables(path, a, b, say)
		return
	case a.Kind() == reflect.Pointer && a.Type().Elem().Kind() == reflect.Struct && !a.IsNil() && !b.IsNil():
		differ(path, a.Elem(), b.Elem(), say)
		return
	}
	say(fmt.Sprintf("%s: %s → %s", path, shown(a), shown(b)))
}

// differTables compares lists of tables that have names, whatever their order.
func differTables(path string, a, b reflect.Value, say func(string)) {
	named := func(v reflect.Value) (map[string]reflect.Value, []string) {
		m, order := map[string]reflect.Value{}, []string{}
		for i := range v.Len() {
			name := ""
			for _, f := range []string{"Name", "Interface"} {
				if x := v.Index(i).FieldByName(f); name == "" && x.IsValid() && x.Kind() == reflect.String {
					name = x.String()
				}
			}
			if _, dup := m[name]; dup || name == "" {
				name = "#" + strconv.Itoa(i+1)
			}
			m[name], order = v.Index(i), append(order, name)
		}
		return m, order
	}
	was, before := named(a)
	is, after := named(b)
	for _, n := range before {
		if v, stays := is[n]; stays {
			differ(path+" "+n, was[n], v, say)
		} else {
			say(path + " " + n + ": removed")
		}
	}
	for _, n := range after {
		if _, had := was[n]; !had {
			say(path + " " + n + ": new")
		}
	}
}

// shown is a value as the file has it.
func shown(v reflect.Value) string {
	said := false
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return "not set"
		}
		v, said = v.Elem(), true
	}
	if v.IsZero() && !said {
		return "not set"
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		var l []string
		for i := range v.Len() {
			l = append(l, shown(v.Index(i)))
		}
		return "[" + strings.Join(l, ", ") + "]"
	case reflect.Map:
		var l []string
		for _, k := range slices.Sorted(maps.Keys(v.Interface().(map[string]any))) {
			l = append(l, k+" = "+shown(v.MapIndex(reflect.ValueOf(k))))
		}
		return "{" + strings.Join(l, ", ") + "}"
	case reflect.Struct:
		return "a table"
	}
	return fmt.Sprint(v.Interface())
}
