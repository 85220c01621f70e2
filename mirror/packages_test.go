package mirror

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// list makes an index of paragraphs as "name version" and fields.
func list(t *testing.T, packages ...string) index {
	t.Helper()
	x := index{}
	for _, p := range packages {
		head, fields, _ := strings.Cut(p, "\n")
		name, version, _ := strings.Cut(head, " ")
		text := fmt.Sprintf("Package: %s\nVersion: %s\nFilename: pool/%s_%s\nSize: 1\nSHA256: %064d\n%s\n", name, version, name, strings.ReplaceAll(version, ":", "%3a"), 0, fields)
		must(t, paragraphs(strings.NewReader(text), func(p paragraph) bool { x.add(p); return true }))
	}
	return x
}

// TestClosure: who satisfies what.
func TestClosure(t *testing.T) {
	for name, c := range map[string]struct {
		list    []string
		want    []string
		out     string
		missing string
	}{
		"a wanted package is not what another provides":          {[]string{"vim 9", "nvim 1\nProvides: vim"}, []string{"nvim", "vim"}, "nvim_1 vim_9", ""},
		"a package of the base is not what another provides":     {[]string{"aaa 1\nEssential: yes\nProvides: sh", "sh 1\nEssential: yes"}, nil, "aaa_1 sh_1", ""},
		"a dependency takes the package and not who provides it": {[]string{"a 1\nDepends: lib", "b 1\nProvides: lib", "lib 2"}, []string{"b", "a"}, "a_1 b_1 lib_2", ""},
		"who provides it where there is no such package":         {[]string{"a 1\nDepends: mta", "exim 1\nProvides: mta", "postfix 1\nProvides: mta"}, []string{"a"}, "a_1 exim_1", ""},
		"one that is chosen already":                             {[]string{"a 1\nDepends: mta", "exim 1\nProvides: mta", "postfix 1\nProvides: mta"}, []string{"a", "postfix"}, "a_1 postfix_1", ""},
		"provided without a version":                             {[]string{"a 1\nDepends: lib (>= 2)", "b 1\nProvides: lib", "c 1\nProvides: lib (= 2)"}, []string{"a"}, "a_1 c_1", ""},
		"provided without a version alone":                       {[]string{"a 1\nDepends: lib (>= 2)", "b 1\nProvides: lib"}, []string{"a"}, "a_1", "lib (>= 2), which a needs on amd64"},
		"a package that is too old":                              {[]string{"a 1\nDepends: lib (>= 2) | x (<< 1)", "lib 1:1", "lib 1.9", "x 1"}, []string{"a"}, "a_1 lib_1%3a1", ""},
		"an epoch":                                               {[]string{"a 1\nDepends: lib (<< 2)", "lib 1:1"}, []string{"a"}, "a_1", "lib (<< 2), which a needs on amd64"},
		"the next of several":                                    {[]string{"a 1\nDepends: no|lib(=1), none, nor:any | neither (>> 3)", "lib 1"}, []string{"a"}, "a_1 lib_1", "none, which a needs on amd64; nor or neither (>> 3), which a needs on amd64"},
		"what is recommended and not there":                      {[]string{"a 1\nRecommends: b, c", "b 1"}, []string{"a"}, "a_1 b_1", ""},
		"the higher epoch of two":                                {[]string{"a 1:1", "a 2"}, []string{"a"}, "a_1%3a1", ""},
	} {
		files, missing, err := list(t, c.list...).closure(Want{Suite: "trixie", Packages: c.want, Recommends: true}, "amd64")
		must(t, err)
		var got []string
		for _, f := range files {
			got = append(got, strings.TrimPrefix(f.name, "pool/"))
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != c.out || strings.Join(missing, "; ") != c.missing {
			t.Errorf("%s: %s; missing %q", name, s, missing)
		}
	}
}

// TestReadBroken: a list that cannot be read to its end is not read to its middle.
func TestReadBroken(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte("Package: a\n\n"), 10_000))
	must(t, z.Close())
	for name, text := range map[string][]byte{
		"short.gz":  b.Bytes()[:b.Len()-20],
		"damage.gz": append(bytes.Clone(b.Bytes()[:b.Len()-8]), 0, 0, 0, 0, 0, 0, 0, 0),
		"line":      append([]byte("Package: a\nDescription: "), bytes.Repeat([]byte("x"), 5<<20)...),
	} {
		if err := (index{}).read(bytes.NewReader(text), strings.HasSuffix(name, ".gz")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
