package boot

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestEventKinds: the list has every kind that the source has.
func TestEventKinds(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(x ast.Node) bool {
		v, ok := x.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "EventKind" {
			return true
		}
		n++
		if k, _ := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value); !slices.Contains(eventKinds, EventKind(k)) {
			t.Errorf("eventKinds lacks %s", v.Names[0])
		}
		return true
	})
	if n != len(eventKinds) || n < 30 {
		t.Errorf("%d kinds in the source, %d in the list", n, len(eventKinds))
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		kinds Kinds
		kind  EventKind
		want  bool
	}{
		{nil, HostApproved, true},
		{Kinds{"host.*"}, HostApproved, true},
		{Kinds{"host.*"}, TicketArm, false},
		{Kinds{"ticket.*", "host.approved"}, HostApproved, true},
		{Kinds{"host.approve"}, HostApproved, false},
		{Kinds{"*"}, TicketArm, true},
	} {
		if got := c.kinds.Match(c.kind); got != c.want {
			t.Errorf("%q matches %s: %v", c.kinds, c.kind, got)
		}
	}
	if err := (Kinds{"host.*", "boot.report", "*"}).Check(); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"hosts.*", "host.aproved", "", "host"} {
		if (Kinds{p}).Check() == nil {
			t.Errorf("%q is taken", p)
		}
	}
}
