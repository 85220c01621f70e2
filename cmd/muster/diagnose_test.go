package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/musterboot/muster/boot/diagnose"
)

// TestTogether: a hundred machines that stop at one file are one thing to mend.
func TestTogether(t *testing.T) {
	var in []diagnose.Stopped
	add := func(name, code, text string) {
		in = append(in, diagnose.Stopped{Who: name, Found: []diagnose.Finding{{Code: code, Text: name + text}}})
	}
	add("a", "silent", " is silent")
	for i := range 100 {
		add(fmt.Sprint("w", i), "file-missing", " waits: no file")
	}
	add("b", "silent", " is silent")
	out, more := together(in)
	if len(out) != 3 || out[1].Who != "w0" || len(more[1]) != 99 || more[0] != nil || out[2].Who != "b" {
		t.Errorf("%d, %v", len(out), more)
	}
	if got := list(more[1], 2); got != "w1, w2 and 97 more" || list([]string{"x"}, 2) != "x" || !slices.Equal(more[1][:2], []string{"w1", "w2"}) {
		t.Errorf("%q", got)
	}
}
