package tomlfile

import (
	"bytes"
	"maps"

	"github.com/BurntSushi/toml"
)

// Merge lays one document over another: tables are joined, of everything else the upper
// one counts. Keys of drop, at the top, are left out of the lower one. Comments are lost.
func Merge(lowerName string, lower []byte, upperName string, upper []byte, drop ...string) ([]byte, error) {
	var a, b map[string]any
	if _, err := toml.Decode(string(lower), &a); err != nil {
		return nil, (&File{name: lowerName}).syntax(err)
	}
	if _, err := toml.Decode(string(upper), &b); err != nil {
		return nil, (&File{name: upperName}).syntax(err)
	}
	for _, k := range drop {
		delete(a, k)
	}
	var out bytes.Buffer
	if err := toml.NewEncoder(&out).Encode(laid(a, b)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func laid(lower, upper map[string]any) map[string]any {
	out := maps.Clone(lower)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range upper {
		a, is := out[k].(map[string]any)
		if b, both := v.(map[string]any); is && both {
			v = laid(a, b)
		}
		out[k] = v
	}
	return out
}
