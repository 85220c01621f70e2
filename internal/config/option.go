// option.go: tables of DHCP options, of a network or a class.

package config

import (
	"maps"
	"slices"

	"github.com/musterboot/muster/boot"
)

// options reads a table of options, in the order of their names so that the first
// error is always the same.
func options(m map[string]any, table string, bad complain) ([]boot.Option, error) {
	var out []boot.Option
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o, err := boot.ParseOption(k, m[k])
		if err != nil {
			return nil, bad(table+"."+k, "%v", err)
		}
		if slices.ContainsFunc(out, func(x boot.Option) bool { return x.Code == o.Code }) {
			return nil, bad(table+"."+k, "option %s (%d) is set twice, by name and by number", o.Name(), o.Code)
		}
		out = append(out, o)
	}
	return out, nil
}
