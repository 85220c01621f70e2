package boot_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
)

// TestParamRead: a type, a choice and a pattern hold for the whole of a value, and for
// each word of a list; what is secret is not told.
func TestParamRead(t *testing.T) {
	for _, c := range []struct {
		p    boot.Param
		text string
		want string // %T %v, or what the error says
	}{
		{boot.Param{}, "x", "string x"},
		{boot.Param{Type: "int"}, "7", "int64 7"},
		{boot.Param{Type: "int"}, "seven", `"seven" is no whole number`},
		{boot.Param{Type: "bool"}, "true", "bool true"},
		{boot.Param{Type: "float"}, "7", `type "float": want string, int, bool, list`},
		{boot.Param{Type: "list"}, " vim ,, curl", "boot.List vim curl"},
		{boot.Param{Type: "list"}, " , ", "boot.List "},
		{boot.Param{Enum: []string{"db", "web"}}, "web", "string web"},
		{boot.Param{Enum: []string{"db", "web"}}, "we", `"we" is none of db, web`},
		{boot.Param{Type: "list", Enum: []string{"db", "web"}}, "db,web", "boot.List db web"},
		{boot.Param{Type: "list", Enum: []string{"db", "web"}}, "db,mail", `"mail" is none of db, web`},
		{boot.Param{Type: "int", Enum: []string{"1", "2"}}, "3", `"3" is none of 1, 2`},
		{boot.Param{Pattern: "a|ab"}, "ab", "string ab"},
		{boot.Param{Pattern: "a|b", Example: "a"}, "ab", `"ab" does not match a|b, as a does`},
		{boot.Param{Pattern: "["}, "x", `pattern "["`},
		{boot.Param{Secret: true, Pattern: "a+"}, "hunter2", "its value is not as the template wants it"},
		{boot.Param{Secret: true, Type: "int"}, "hunter2", "its value is not as the template wants it"},
	} {
		v, err := c.p.Read(c.text)
		got := fmt.Sprintf("%T %v", v, v)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%+v reads %q as %s, want %s", c.p, c.text, got, c.want)
		}
	}
	for want, p := range map[string]boot.Param{"e": {Example: "e", Enum: []string{"a"}}, "a": {Enum: []string{"a", "b"}}, "1": {Type: "int"}, "true": {Type: "bool"}, "sample": {}} {
		if got := p.Sample(); got != want {
			t.Errorf("a sample of %+v is %q, want %q", p, got, want)
		}
	}
}
