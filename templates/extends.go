// extends.go: a template that says only what differs from another.

package templates

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/tomlfile"
)

// OwnSpecFile is the template.toml that a person wrote of a template that extends another:
// its SpecFile is the two as one.
const OwnSpecFile = "template.own.toml"

// notInherited says which machines a template is for: that is said by each for itself.
var notInherited = []string{"name", "match", "priority", "auto_approve", "first_install"}

// Extend joins a template with the version that it extends: a file of its own takes the
// place of the base's, and its template.toml is laid over the base's, table by table.
// spec and baseSpec are the two texts; what comes back goes into SpecFile. files gets the
// base's files, and the names of those are returned.
func Extend(files map[string]boot.Blob, spec []byte, base *boot.Template, baseSpec []byte) (merged []byte, from []string, err error) {
	own := map[string]bool{}
	for f := range files {
		served, _ := rendered(f)
		own[served] = true
	}
	for _, f := range slices.Sorted(maps.Keys(base.Files)) {
		if served, _ := rendered(f); f != SpecFile && f != OwnSpecFile && !own[served] {
			files[f] = base.Files[f]
			from = append(from, f)
		}
	}
	below, err := ParseSpec(base.Name+"/"+SpecFile, baseSpec)
	if err != nil {
		return nil, nil, err
	}
	mine, err := ParseSpec(SpecFile, spec)
	if err != nil {
		return nil, nil, err
	}
	if len(mine.Delims) > 0 && !slices.Equal(mine.Delims, below.Delims) {
		for _, f := range from {
			if _, is := rendered(f); is {
				return nil, nil, fmt.Errorf("%s: delims are others than those of %s, whose %s is rendered by its own", SpecFile, base.Name, f)
			}
		}
	}
	if merged, err = tomlfile.Merge(base.Name+"/"+SpecFile, baseSpec, SpecFile, spec, notInherited...); err != nil {
		return nil, nil, err
	}
	s, err := ParseSpec(fmt.Sprintf("%s together with that of %s", SpecFile, base.Name), merged)
	if err != nil {
		return nil, nil, err
	}
	return []byte(fmt.Sprintf("# %s, with what it takes of %s version %d.\n", s.Name, base.Name, base.Version) + withoutExtends(merged)), from, nil
}

// withoutExtends drops the line that is done with. The encoder writes what is no table
// first, a line each.
func withoutExtends(text []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "extends = ") {
			out.WriteString(line)
		}
	}
	return out.String()
}
