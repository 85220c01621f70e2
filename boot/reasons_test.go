// reasons_test.go: every reason that a rule gives has a text, with a place for
// each of its arguments; and no text is left that nobody gives.

package boot

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// given lists the functions that take a code, and how many arguments stand before it.
var given = map[string]int{"because": 0, "why": 0, "ignore": 0, "refuse": 1, "nak": 0, "clashes": 1}

func TestEveryReasonHasItsText(t *testing.T) {
	fset := token.NewFileSet()
	files := map[string]*ast.File{}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(fset, name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	codes := map[string]string{} // of constants
	used := map[Code]bool{}
	literal := func(e ast.Expr) (string, bool) {
		switch x := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(x.Value)
			return s, err == nil
		case *ast.Ident:
			s, ok := codes[x.Name]
			return s, ok
		}
		return "", false
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
					s, _ := literal(v.Values[0])
					codes[v.Names[0].Name] = s
				}
			}
			return true
		})
	}
	for name, f := range files {
		if strings.HasSuffix(name, "reasons.go") {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				s, _ := strconv.Unquote(l.Value)
				used[Code(s)] = true
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn := ""
			switch x := call.Fun.(type) {
			case *ast.Ident:
				fn = x.Name
			case *ast.SelectorExpr:
				fn = x.Sel.Name
			}
			at, ok := given[fn]
			if !ok || len(call.Args) <= at || call.Ellipsis.IsValid() {
				return true
			}
			code, ok := literal(call.Args[at])
			if !ok {
				return true // a function that passes it on
			}
			text, known := reasonTexts[Code(code)]
			if !known {
				t.Errorf("%s: reason %q has no text", fset.Position(call.Pos()), code)
				return true
			}
			places := strings.Count(text, "{")
			if strings.Contains(text, "{cause}") {
				places--
			}
			args := len(call.Args) - at - 1
			if args != places && args != places+1 { // the last may be its cause
				t.Errorf("%s: reason %s has %d arguments and %d places: %q", fset.Position(call.Pos()), code, args, places, text)
			}
			return true
		})
	}
	for _, s := range []string{"hold", "local", "stub", "stranger", "chain", "ask", "restart", "round"} {
		used[Code("script."+s)] = true // of builtin
	}
	for code := range reasonTexts {
		if !used[code] {
			t.Errorf("nobody gives reason %s", code)
		}
	}
}

func TestReasonText(t *testing.T) {
	held := because(WhyHeld, because(WhyParked, because("boot.loops", 3, 12, "web1")))
	if got := held.Text(); got != "hold: parked: 3 boots in a row and not a word from it; it tries again in 12 minutes, or when something is changed on it (muster host update web1)" {
		t.Errorf("%q", got)
	}
	if !held.Is(WhyParked) || held.Is(WhyQueued) || held.Find("boot.loops").Args[1] != "12" {
		t.Error("causes are not found")
	}
	disk := because("disk.instead", because(WhyNoTemplate))
	if got := disk.Text(); got != "approved, but no template matches: booting the local disk" {
		t.Errorf("%q", got)
	}
	rs := Reasons{{Rule: "script", Code: held.Code, Cause: held.Cause}, {Code: Said, Args: []string{"a; b"}}, {Rule: "x", Code: "of.later", Args: []string{"a\x1b[31mb"}}}
	if got := rs.String(); got != "script: hold: parked: 3 boots in a row and not a word from it, it tries again in 12 minutes, or when something is changed on it (muster host update web1); a, b; x: of.later" {
		t.Errorf("%q", got)
	}
	if got := because("token.good", "a\x1b[31m\u202eb").Args[0]; got != "a[31mb" {
		t.Errorf("an argument keeps %q", got)
	}
}
