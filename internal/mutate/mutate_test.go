package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const victim = `package victim

const most = 3

func (v *V) Less(a, b int) (bool, error) {
	if a < b && v.ok {
		return true, nil
	}
	if a == 0 {
		return false, err
	}
	v.n += a
	v.n++
	v.log.Info("said", a+1)
	defer v.done()
	v.words = "a" + v.words
	return false, nil
}

func size() int { return most }
`

// Each mutant says what it changes, and is still Go.
func TestMutants(t *testing.T) {
	ms, err := mutants("victim/victim.go", []byte(victim))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range ms {
		got = append(got, strings.Join([]string{m.Func, m.Change, m.Source}, ": "))
		if _, err := parser.ParseFile(token.NewFileSet(), "x.go", m.apply([]byte(victim)), 0); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	want := []string{
		": 3 plus 1: const most = 3",
		": 3 minus 1: const most = 3",
		"V.Less: body removed: func (v *V) Less(a, b int) (bool, error) {",
		"V.Less: condition negated: if a < b && v.ok {",
		"V.Less: < to <=: if a < b && v.ok {",
		"V.Less: && to ||: if a < b && v.ok {",
		"V.Less: returns zero: return true, nil",
		"V.Less: == to !=: if a == 0 {",
		"V.Less: 0 plus 1: if a == 0 {",
		"V.Less: returns zero: return false, err",
		"V.Less: assignment removed: v.n += a",
		"V.Less: += to -=: v.n += a",
		"V.Less: ++ removed: v.n++",
		"V.Less: defer removed: defer v.done()",
		`V.Less: assignment removed: v.words = "a" + v.words`,
		"V.Less: false to true: return false, nil",
		"size: returns zero: func size() int { return most }",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A line that is added elsewhere leaves the sample as it was.
func TestSampleStays(t *testing.T) {
	keys := func(src string, seed uint64) (out []string) {
		ms, err := mutants("victim/victim.go", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sample(ms, 5, seed) {
			out = append(out, m.key())
		}
		return out
	}
	one := keys(victim, 1)
	if again := keys("// more\n\n"+victim, 1); !slices.Equal(one, again) {
		t.Errorf("two lines above the rest: %q, before %q", again, one)
	}
	if other := keys(victim, 2); slices.Equal(one, other) {
		t.Errorf("another seed is the same sample: %q", other)
	}
}

func TestEquivalents(t *testing.T) {
	if _, err := equivalents(equivalentText); err != nil {
		t.Error(err)
	}
	line := "boot/x.go | f | < to <= | if a < b { | both are the same here\n"
	e, err := equivalents("# why\n\n" + line)
	if err != nil || !e.has(mutant{File: "boot/x.go", Func: "f", Change: "< to <=", Source: "if a < b {"}) {
		t.Errorf("%v %v", e, err)
	}
	if got := e.stale("boot", nil); len(got) != 1 {
		t.Errorf("what is gone is not told: %q", got)
	}
	for _, bad := range []string{"boot/x.go | f | < to <= | if a < b {", "boot/x.go | f | < to <= | if a < b { | ?"} {
		if _, err := equivalents(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	many := ""
	for i := range maxEquivalent + 1 {
		many += strings.Replace(line, "f |", strings.Repeat("f", i+1)+" |", 1)
	}
	if _, err := equivalents(many); err == nil {
		t.Error("the list has no bound")
	}
}

// A whole run, in a module of three functions: one is tested, one is run and not
// looked at, one is never run.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library anew")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module " + module + "\n\ngo 1.26\n",
		"p/p.go": `package p

func held(a, b int) bool { return a < b }

func run(a, b int) bool { return a <= b }

func unrun(a, b int) bool { return a == b }

func text(a, b string) string { return a + b }

func ends(n int) {
	for n > 0 {
		n--
	}
}
`,
		"p/p_test.go": `package p

import "testing"

func TestHeld(t *testing.T) {
	if !held(1, 2) || held(2, 2) {
		t.Error("wrong")
	}
	run(1, 2)
	text("a", "b")
	ends(3)
}
`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out bytes.Buffer
	if err := mutate(context.Background(), options{n: 100, jobs: 2, json: true}, []string{"p"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r struct{ Packages []report }
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Packages) != 1 {
		t.Fatalf("%v: %s", err, out.String())
	}
	want := map[string]result{
		"held: < to <=": killed, "held: returns zero": killed,
		"run: <= to <": lived, "run: returns zero": lived,
		"unrun: == to !=": unseen, "unrun: returns zero": unseen,
		"text: + to -": unbuilt, "text: returns zero": lived,
		"ends: > to >=": lived, "ends: condition negated": lived, "ends: body removed": lived,
		"ends: -- removed": slow, "ends: 0 plus 1": lived,
	}
	got := map[string]result{}
	for _, m := range r.Packages[0].Mutants {
		got[m.Func+": "+m.Change] = m.Result
	}
	for k, w := range want {
		if got[k] != w {
			t.Errorf("%s %s, want %s", k, got[k], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d mutants, want %d: %v", len(got), len(want), got)
	}
}

// All that can sleep in one file sleep in Go, and wake one at a time.
func TestTogether(t *testing.T) {
	src := []byte(victim)
	ms, err := mutants("victim/victim.go", src)
	if err != nil {
		t.Fatal(err)
	}
	var l []sleeper
	for i := range ms {
		if ms[i].guard.form != alone {
			l = append(l, sleeper{&ms[i], i + 1})
		}
	}
	got := together(src, l)
	if _, err := parser.ParseFile(token.NewFileSet(), "x.go", got, 0); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if len(l) != 13 {
		t.Errorf("%d of %d sleep", len(l), len(ms))
	}
	for _, m := range l {
		if n := strings.Count(got, fmt.Sprintf("mutateOn == %d ", m.n)) + strings.Count(got, fmt.Sprintf("mutateOn == %d)", m.n)); n == 0 {
			t.Errorf("%s is not there", m)
		}
	}
	for _, want := range []string{
		"if mutateOn == 3 { return *new(bool), *new(error);",
		"if ((mutateOn == 4) != ((mutateOn == 6 && ((mutateOn == 5 && (a <= b) || !(mutateOn == 5) && (a < b)) || v.ok) || !(mutateOn == 6) && (",
		"if !(mutateOn == 14) { defer v.done() }",
		"return (mutateOn == 16), nil",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
