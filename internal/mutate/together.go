// together.go: many mutants in one build, each dormant until the environment
// names it. A build costs more than most tests do.

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// sleeper is a mutant with the number that wakes it.
type sleeper struct {
	*mutant
	n int
}

// together is a file with all of the mutants in it.
func together(src []byte, ms []sleeper) string {
	// What is wider wraps what is narrower, and of two that are alike either may.
	slices.SortStableFunc(ms, func(a, b sleeper) int {
		return cmp.Or(cmp.Compare(a.guard.from, b.guard.from), cmp.Compare(b.guard.to, a.guard.to))
	})
	return weave(src, 0, len(src), ms)
}

// weave renders what stands between two places; every mutant of ms lies within.
func weave(src []byte, from, to int, ms []sleeper) string {
	var b strings.Builder
	for at := from; ; {
		// An insertion comes before what begins at the same place.
		i := slices.IndexFunc(ms, func(m sleeper) bool { return m.guard.from == m.guard.to && m.guard.from == first(ms) })
		if i < 0 {
			i = 0
		}
		if len(ms) == 0 {
			b.Write(src[at:to])
			return b.String()
		}
		m := ms[i]
		b.Write(src[at:m.guard.from])
		var within, after []sleeper
		for j, x := range ms {
			switch {
			case j == i:
			case x.guard.to <= m.guard.to && m.guard.from < m.guard.to && x.guard.from < m.guard.to:
				within = append(within, x)
			default:
				after = append(after, x)
			}
		}
		b.WriteString(m.wrapped(src, within))
		at, ms = m.guard.to, after
	}
}

func first(ms []sleeper) int {
	if len(ms) == 0 {
		return -1
	}
	return ms[0].guard.from
}

// wrapped is a mutant's piece of text, with what lies within.
func (m sleeper) wrapped(src []byte, within []sleeper) string {
	g := m.guard
	is := fmt.Sprintf("mutateOn == %d", m.n)
	switch g.form {
	case swap:
		var left, right, both []sleeper
		for _, x := range within {
			switch {
			case x.guard.to <= m.start:
				left = append(left, x)
			case x.guard.from >= m.end:
				right = append(right, x)
			default: // the same piece of text
				both = append(both, x)
			}
		}
		l, r := weave(src, g.from, m.start, left), weave(src, m.end, g.to, right)
		out := fmt.Sprintf("(%s && (%s%s%s) || !(%s) && (%s%s%s))", is, l, m.text, r, is, l, src[m.start:m.end], r)
		for _, x := range both {
			out = fmt.Sprintf("((mutateOn == %d) != (%s))", x.n, out) // only a turn can be of the same extent
		}
		return out
	case turn:
		return fmt.Sprintf("((%s) != (%s))", is, weave(src, g.from, g.to, within))
	case skip:
		return fmt.Sprintf("if !(%s) { %s }", is, weave(src, g.from, g.to, within))
	case instead:
		return fmt.Sprintf("if %s { %s }; %s", is, m.text, weave(src, g.from, g.to, within))
	case truth:
		return "(" + is + ")"
	}
	panic("a mutant that needs a build of its own")
}

// switcher is the file that tells which mutant is on.
func switcher(pkg string) string {
	return "package " + pkg + "\n\nimport (\n\t\"os\"\n\t\"strconv\"\n)\n\nvar mutateOn, _ = strconv.Atoi(os.Getenv(\"MUTATE_ON\"))\n"
}
