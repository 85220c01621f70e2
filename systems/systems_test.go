package systems

// This file judges the data, and what would be refused in it.

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	node "text/template/parse"
)

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every data file says where it is from and whether it was tried, its command
// lines are sound templates, and what they ask for is declared.
func TestData(t *testing.T) {
	all := All()
	if len(all) < 20 {
		t.Fatalf("%d data files", len(all))
	}
	if last := all[len(all)-1]; !last.Generic || all[0].Name != "almalinux" {
		t.Errorf("the first is %s, the last %s", all[0].Name, last.Name)
	}
	used := regexp.MustCompile(`\.Params\.(\w+)`)
	for _, d := range all {
		b, err := data.ReadFile(d.file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(b), "\nname")
		if !strings.HasPrefix(head, "# ") || !regexp.MustCompile(`(?is)(not[\s#]+tried[\s#]+here|was looked at)`).MatchString(head) {
			t.Errorf("%s: no comment at the top that says what is known and whether it was tried", d.file)
		}
		for _, l := range strings.Split(string(b), "\n") {
			if len(l) > 200 && !strings.HasPrefix(l, "cmdline") && !strings.HasPrefix(l, "  \"") {
				t.Errorf("%s: a line of %d bytes", d.file, len(l))
			}
		}
		for _, n := range d.Notes {
			if !strings.HasSuffix(n, ".") && !strings.Contains(n, ": ") {
				t.Errorf("%s: note %q is no sentence", d.file, n)
			}
		}
		asked := map[string]bool{}
		for _, v := range d.Variants {
			for _, m := range used.FindAllStringSubmatch(v.Cmdline, -1) {
				asked[m[1]] = true
				if _, ok := d.Params[m[1]]; !ok {
					t.Errorf("%s: variant %s uses parameter %s, which is not declared", d.file, v.Name, m[1])
				}
			}
			out := render(t, Expand(v.Cmdline, "pic-1"))
			if strings.ContainsAny(out, "@{}\n$;|&#\\") || strings.Contains(out, "<no value>") || strings.TrimSpace(out) != out {
				t.Errorf("%s: variant %s renders as %q", d.file, v.Name, out)
			}
		}
		for n := range d.Params {
			if !asked[n] {
				t.Errorf("%s: parameter %s is used nowhere", d.file, n)
			}
		}
		// The last variant of each name, or any other, must apply without a
		// condition: else a medium could have none.
		if d.Kind != Disc && !slices.ContainsFunc(d.Variants, func(v VariantSpec) bool {
			return len(v.Label)+len(v.Files)+len(v.Absent)+len(v.Text) == 0
		}) {
			t.Errorf("%s: every variant has a condition", d.file)
		}
	}
}

// render renders a command line as Muster's templates would: the functions it
// may use here are those that package templates has under the same names.
func render(t *testing.T, line string) string {
	t.Helper()
	tmpl, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"split": func(sep, s string) []string { return strings.Split(s, sep) },
	}).Parse(line)
	if err != nil {
		t.Errorf("%s: %v", line, err)
		return ""
	}
	for _, n := range tmpl.Root.Nodes {
		if n.Type() == node.NodeRange {
			t.Errorf("%s: a loop", line)
		}
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, map[string]any{
		"BaseURL": "http://192.0.2.1:8080/boot/TOKEN",
		"Params":  map[string]any{"iso": "http://x/y.iso", "medium": "debian13", "repo": "http://m/alpine", "config": "", "device": "/dev/sda", "ignition": "http://x/i.ign", "bfnet": "oob_net0", "nfsroot": "192.0.2.9:/srv/a"},
	}); err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return b.String()
}

func TestExpand(t *testing.T) {
	got := render(t, Expand("a=@IMAGE@/tree b=@ISO@ c=@HOST@ d=@PATH@/images/x", "deb-13"))
	want := "a=http://192.0.2.1:8080/boot/TOKEN/images/deb-13/tree b=http://192.0.2.1:8080/boot/TOKEN/images/deb-13/deb-13.iso c=192.0.2.1:8080 d=/boot/TOKEN/images/x"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := `
name = "x"
title = "X"
kind = "linux"
tree = true
[[detect]]
files = ["f"]
[[version]]
match = 'v(\d)'
[[arch]]
platform = "x64"
kernel = "k-*"
initrd = ["i-*"]
[[variant]]
name = "a"
title = "A"
cmdline = "r=@IMAGE@/tree {{ .Params.p }}"
[params.p]
help = "p"
`
	other := func(name string) (*System, error) {
		if name != "y" {
			return nil, fmt.Errorf("there is no %s", name)
		}
		return &System{Kind: Linux}, nil
	}
	if _, err := parse("x/system.toml", []byte(good), other); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{`tree = true`, `like = "y"`, `kind, [[arch]], [[variant]] and [params] are those of y`},
		{`title = "X"`, "title = \"X\"\nnamed = { match = 'x' }", `want a regular expression with a group`},
		{`kind = "linux"`, `kind = "disc"`, `says in its notes why`},
		{`name = "x"`, `name = "y"`, `x/system.toml:2: name "y": want the name of the folder`},
		{`title = "X"`, ``, `a title is missing`},
		{`kind = "linux"`, `kind = "windows"`, `x/system.toml:4: kind "windows": want linux, program, esxi, pi, disc or none`},
		{`tree = true`, `trees = true`, `x/system.toml:5: unknown key "trees"; did you mean "tree"?`},
		{`tree = true`, ``, `is not served`},
		{`tree = true`, "tree = true\niso_in_initrd = \"/x\"", `without whole_iso`},
		{"[[detect]]\nfiles = [\"f\"]", ``, `at least one [[detect]]`},
		{`files = ["f"]`, `absent = ["f"]`, `x/system.toml:6: names nothing that a medium must have`},
		{`files = ["f"]`, `files = ["../f"]`, `"../f": want a relative path`},
		{`files = ["f"]`, `files = ["f[a]"]`, `want a relative path`},
		{`files = ["f"]`, `label = ["["]`, `label "[" is no pattern`},
		{`files = ["f"]`, `text = { f = "(" }`, `missing closing )`},
		{`files = ["f"]`, `file = ["f"]`, `unknown key "file" in [detect]; did you mean "files"?`},
		{`'v(\d)'`, `'v\d'`, `match "v\\d": want a regular expression with a group`},
		{`"x64"`, `"amd64"`, `x/system.toml:11: platform "amd64": want x64 or arm64`},
		{`"k-*"`, `"k"`, `"i-*" has a * that the kernel has not`},
		{`"k-*"`, `"*k*"`, `one * in each part`},
		{`"k-*"`, `""`, `want a relative path`},
		{`initrd = ["i-*"]`, ``, `an initrd is missing`},
		{`name = "a"`, `name = "A"`, `want a name of small letters`},
		{`@IMAGE@/tree`, `@ISO@`, `is not served`},
		{`@IMAGE@`, `@MIRROR@`, `x/system.toml:17: @MIRROR@ is no mark; known are @IMAGE@, @ISO@, @HOST@, @PATH@`},
		{`help = "p"`, `default = "p"`, `parameter p: help is missing`},
	} {
		if !strings.Contains(good, tc.old) {
			t.Fatalf("%q is not in it", tc.old)
		}
		_, err := parse("x/system.toml", []byte(strings.Replace(good, tc.old, tc.new, 1)), other)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.new, err, tc.want)
		}
	}
}

func TestBootConfig(t *testing.T) {
	const cfg = "bootstate=0\r\ntitle=Loading ESXi installer\r\nprefix=\r\nkernel=/b.b00\r\nkernelopt=cdromBoot runweasel\r\nmodules=/jumpstrt.gz --- /useropts.gz --- /k.b00\r\nbuild=8.0.3\r\nupdated=0"
	want := "bootstate=0\ntitle=Loading ESXi installer\nprefix={{ .BaseURL }}/images/esxi8/tree\nkernel=b.b00\nkernelopt=runweasel ks={{ .BaseURL }}/ks.cfg\nmodules=jumpstrt.gz --- useropts.gz --- k.b00\nbuild=8.0.3\nupdated=0\n"
	got, err := BootConfig([]byte(cfg), "{{ .BaseURL }}/images/esxi8/tree", "ks={{ .BaseURL }}/ks.cfg")
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	if _, err := BootConfig([]byte(cfg), "http://x/\nkernel=/evil", ""); err == nil {
		t.Error("a prefix of two lines is taken")
	}
	for cfg, want := range map[string]string{
		"title=x\n":                          "names no kernel",
		"kernel=/b.b00\ntitle={{ .Secret }}": "holds what no boot.cfg does",
		strings.Repeat("#", maxText+1):       "has 65537 bytes",
	} {
		if _, err := BootConfig([]byte(cfg), "p", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", cfg, err, want)
		}
	}
}
