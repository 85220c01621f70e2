// mutants.go: the small faults that can be put into a package's source, found by
// its syntax alone. Each is one replacement of text.

package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one fault.
type mutant struct {
	File   string `json:"file"` // from the module's root
	Line   int    `json:"line"`
	Col    int    `json:"col"`
	Func   string `json:"func,omitempty"`
	Change string `json:"change"`
	Source string `json:"source"` // the line that it is on
	Result result `json:"result,omitempty"`
	By     string `json:"by,omitempty"` // the package whose tests noticed

	start, end int // bytes of the file
	text       string
	guard      guard
}

// guard is how a mutant lies dormant in a build together with others, until it
// is the one that is switched on. Without a form it needs a build of its own.
type guard struct {
	form     form
	from, to int // bytes of the file that it wraps
}

// form is a way to wrap.
type form int

const (
	alone   form = iota
	swap         // X op Y, with another op
	turn         // a condition, turned round
	skip         // a statement of a block, left out
	instead      // text runs before a statement, and returns
	truth        // false, that is true
)

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d: %s: %s: %s", m.File, m.Line, m.Func, m.Change, m.Source)
}

// key names a mutant also after lines above it came or went.
func (m mutant) key() string {
	return strings.Join([]string{m.File, m.Func, m.Change, m.Source}, " | ")
}

// find lists the mutants of a file, in the order of the text.
func find(root, file string) ([]mutant, error) {
	src, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	return mutants(file, src)
}

func mutants(file string, src []byte) ([]mutant, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &finder{fset: fset, file: file, src: src, lines: strings.Split(string(src), "\n"), listed: map[ast.Stmt]bool{}}
	for _, d := range tree.Decls {
		f.fn = ""
		if fd, ok := d.(*ast.FuncDecl); ok {
			f.fn = name(fd)
			f.emptied(fd)
			f.walk(fd.Body, fd.Type)
		} else {
			f.walk(d, nil)
		}
	}
	slices.SortStableFunc(f.out, func(a, b mutant) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	// What is alike in one line is told apart by its place in it.
	seen := map[string]int{}
	for i := range f.out {
		m := &f.out[i]
		k := m.key()
		if seen[k]++; seen[k] > 1 {
			m.Change += fmt.Sprintf(" #%d", seen[k])
		}
	}
	return f.out, nil
}

func name(fd *ast.FuncDecl) string {
	if fd.Recv == nil || len(fd.Recv.List) == 0 {
		return fd.Name.Name
	}
	t := fd.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + "." + fd.Name.Name
		default:
			return fd.Name.Name
		}
	}
}

type finder struct {
	fset   *token.FileSet
	file   string
	src    []byte
	lines  []string
	fn     string
	listed map[ast.Stmt]bool // statements of a block, where an if may stand instead
	out    []mutant
}

func (f *finder) at(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *finder) code(n ast.Node) string { return string(f.src[f.at(n.Pos()):f.at(n.End())]) }

// add notes a replacement of what stands between two places.
func (f *finder) add(from, to token.Pos, text, change string) *mutant {
	p := f.fset.Position(from)
	f.out = append(f.out, mutant{File: f.file, Line: p.Line, Col: p.Column, Func: f.fn, Change: change,
		Source: strings.TrimSpace(f.lines[p.Line-1]), start: p.Offset, end: f.at(to), text: text})
	return &f.out[len(f.out)-1]
}

// wrap gives a mutant its guard; outside of functions a constant may be wanted,
// and a guard is none.
func (f *finder) wrap(m *mutant, how form, n ast.Node) {
	if f.fn != "" {
		m.guard = guard{how, f.at(n.Pos()), f.at(n.End())}
	}
}

// swaps are the operators and what each becomes.
var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL, token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL,
	token.AND: token.OR, token.OR: token.AND, token.SHL: token.SHR, token.SHR: token.SHL,
	token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN,
}

// boolean are the operators whose result is a truth.
var boolean = map[token.Token]bool{token.LSS: true, token.LEQ: true, token.GTR: true, token.GEQ: true, token.EQL: true, token.NEQ: true, token.LAND: true, token.LOR: true}

// walk visits a function's body, or a declaration outside of functions.
func (f *finder) walk(n ast.Node, sig *ast.FuncType) {
	if n == nil {
		return
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.BlockStmt:
			f.list(x.List)
		case *ast.CaseClause:
			f.list(x.Body)
		case *ast.CommClause:
			f.list(x.Body)
		case *ast.FuncLit:
			f.walk(x.Body, x.Type)
			return false
		case *ast.BinaryExpr:
			if to, ok := swaps[x.Op]; ok && !(x.Op == token.ADD && text(x)) {
				m := f.add(x.OpPos, x.OpPos+token.Pos(len(x.Op.String())), to.String(), x.Op.String()+" to "+to.String())
				if boolean[x.Op] {
					f.wrap(m, swap, x)
				}
			}
		case *ast.IfStmt:
			f.negate(x.Cond)
		case *ast.ForStmt:
			f.negate(x.Cond)
		case *ast.SwitchStmt:
			if x.Tag == nil {
				for _, s := range x.Body.List {
					for _, e := range s.(*ast.CaseClause).List {
						f.negate(e)
					}
				}
			}
		case *ast.ExprStmt:
			if call, ok := x.X.(*ast.CallExpr); ok {
				if logs(call) {
					return false
				}
				f.remove(x, "call")
			}
		case *ast.AssignStmt:
			if to, ok := swaps[x.Tok]; ok && !slices.ContainsFunc(x.Rhs, text) {
				f.add(x.TokPos, x.TokPos+2, to.String(), x.Tok.String()+" to "+to.String())
			}
			if x.Tok != token.DEFINE && !blank(x.Lhs) {
				f.remove(x, "assignment")
			}
		case *ast.IncDecStmt:
			f.remove(x, x.Tok.String())
		case *ast.DeferStmt:
			f.remove(x, "defer")
		case *ast.GoStmt:
			f.remove(x, "go")
		case *ast.SendStmt:
			f.remove(x, "send")
		case *ast.ReturnStmt:
			f.returns(x, sig)
		case *ast.BasicLit:
			if x.Kind == token.INT {
				f.add(x.Pos(), x.End(), "("+x.Value+" + 1)", x.Value+" plus 1")
				if x.Value != "0" {
					f.add(x.Pos(), x.End(), "("+x.Value+" - 1)", x.Value+" minus 1")
				}
			}
		}
		return true
	})
}

func (f *finder) list(l []ast.Stmt) {
	for _, s := range l {
		f.listed[s] = true
	}
}

// negate turns a condition round; an equality is turned round as an operator.
func (f *finder) negate(e ast.Expr) {
	if e == nil {
		return
	}
	if b, ok := e.(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.NEQ) {
		return
	}
	f.wrap(f.add(e.Pos(), e.End(), "!("+f.code(e)+")", "condition negated"), turn, e)
}

// remove keeps a statement's names in use and has it do nothing: a function that
// nobody calls.
func (f *finder) remove(s ast.Stmt, what string) {
	m := f.add(s.Pos(), s.End(), "_ = func() { "+f.code(s)+" }", what+" removed")
	if f.listed[s] {
		f.wrap(m, skip, s)
	}
}

// returns has a return statement return nothing, or the other truth.
func (f *finder) returns(s *ast.ReturnStmt, sig *ast.FuncType) {
	types := f.results(sig)
	if len(s.Results) == 0 || len(types) == 0 {
		return
	}
	fails := slices.ContainsFunc(s.Results, func(e ast.Expr) bool { return named(e, "err") })
	for _, r := range s.Results {
		if named(r, "false") && !fails { // beside an error nobody reads it
			f.wrap(f.add(r.Pos(), r.End(), "true", "false to true"), truth, r)
		}
	}
	if !slices.ContainsFunc(s.Results, func(e ast.Expr) bool { return !zero(e) }) {
		return
	}
	f.wrap(f.add(s.Pos(), s.End(), "{ _ = func() ("+strings.Join(types, ", ")+") { "+f.code(s)+" }; return "+zeros(types)+" }", "returns zero"), instead, s)
}

// emptied has a function return at once.
func (f *finder) emptied(fd *ast.FuncDecl) {
	if fd.Body == nil || len(fd.Body.List) == 0 || fd.Recv == nil && (f.fn == "main" || f.fn == "init") {
		return
	}
	first := fd.Body.List[0]
	if _, ok := first.(*ast.ReturnStmt); ok {
		return // the return itself is one
	}
	types := f.results(fd.Type)
	if len(types) == 0 && len(fd.Body.List) == 1 {
		switch first.(type) {
		case *ast.ExprStmt, *ast.AssignStmt, *ast.IncDecStmt, *ast.GoStmt, *ast.SendStmt:
			return // and so is the removal of the only statement
		}
	}
	p := f.fset.Position(fd.Pos())
	here := f.at(first.Pos())
	f.out = append(f.out, mutant{File: f.file, Line: p.Line, Col: p.Column, Func: f.fn, Change: "body removed", Source: strings.TrimSpace(f.lines[p.Line-1]),
		start: here, end: here, text: strings.TrimSpace("return "+zeros(types)) + "; ", guard: guard{instead, here, here}})
}

// results lists the types of a function's results, one for each value.
func (f *finder) results(sig *ast.FuncType) (out []string) {
	if sig == nil || sig.Results == nil {
		return nil
	}
	for _, x := range sig.Results.List {
		for range max(1, len(x.Names)) {
			out = append(out, f.code(x.Type))
		}
	}
	return out
}

func zeros(types []string) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = "*new(" + t + ")"
	}
	return strings.Join(out, ", ")
}

// zero reports an expression that is a zero value as it stands.
func zero(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name == "nil" || x.Name == "false"
	case *ast.BasicLit:
		return x.Value == "0" || x.Value == `""`
	case *ast.CompositeLit:
		_, array := x.Type.(*ast.ArrayType)
		_, table := x.Type.(*ast.MapType)
		return len(x.Elts) == 0 && !array && !table
	}
	return false
}

// text reports a sum of strings, as far as syntax shows it.
func text(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.BinaryExpr:
		return text(x.X) || text(x.Y)
	case *ast.ParenExpr:
		return text(x.X)
	case *ast.BasicLit:
		return x.Kind == token.STRING
	case *ast.CallExpr:
		sel, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (sel.Sel.Name == "String" || sel.Sel.Name == "Sprintf")
	}
	return false
}

// logs reports a call that only writes to the log: no test should hold its words.
func logs(c *ast.CallExpr) bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "Log"}, sel.Sel.Name) {
		return false
	}
	switch x := sel.X.(type) {
	case *ast.Ident:
		return strings.HasSuffix(strings.ToLower(x.Name), "log")
	case *ast.SelectorExpr:
		return strings.HasSuffix(strings.ToLower(x.Sel.Name), "log")
	}
	return false
}

func named(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func blank(l []ast.Expr) bool {
	return !slices.ContainsFunc(l, func(e ast.Expr) bool { return !named(e, "_") })
}

// sample takes n of a package's mutants. Each has a rank of its own, so that a
// line that is added elsewhere leaves most of the sample as it was.
func sample(all []mutant, n int, seed uint64) []mutant {
	rank := func(m mutant) uint64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s", seed, m.key())
		x := h.Sum64() // FNV alone hardly moves the high bits for a last letter
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
		x ^= x >> 33
		return x
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b mutant) int { return cmp.Compare(rank(a), rank(b)) })
	return out[:min(n, len(out))]
}
