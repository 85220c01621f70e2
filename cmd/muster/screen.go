// screen.go: what is drawn again and again on a terminal.

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Where a terminal does not say how large it is.
const usualRows = 24

// redraw lets draw print again and again, until the context ends. On a terminal each
// takes the place of the one before. An appliance that is away for a while is said and
// waited for; the first failure ends it.
func (a *app) redraw(ctx context.Context, pause time.Duration, draw func() error) error {
	out, first := a.out, true
	a.drawing = isTerminal(out)
	defer func() { a.out, a.drawing = out, false }()
	for {
		var b bytes.Buffer
		began := time.Now()
		a.out = &b
		err := draw()
		a.out = out
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || errors.As(err, new(usageError))):
			return err
		case err != nil:
			a.print("%s\n", err)
		default:
			first = false
			a.show(b.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(pause, watchShare*time.Since(began))):
		}
	}
}

// show writes one drawing, which is clean. What has no room on the screen is left out: the
// top of a list is what a person looks at.
func (a *app) show(text string) {
	if !a.drawing {
		a.print("%s\n", fit(text))
		return
	}
	rows := usualRows
	if f, ok := a.out.(*os.File); ok {
		if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 2 {
			rows = h
		}
	}
	ls := strings.SplitAfter(text, "\n")
	if len(ls) > rows-1 {
		ls = append(ls[:rows-2], string(phrase("… and %d lines more", len(ls)-rows+1)))
	}
	a.print("%s%s", fit("\x1b[H\x1b[2J\x1b[3J"), fit(strings.Join(ls, "")))
}
