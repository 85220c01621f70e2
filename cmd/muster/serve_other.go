//go:build !linux

// serve_other.go: "muster serve" runs on Linux only; all other commands run everywhere.

package main

import (
	"context"
	"errors"
)

func (a *app) serve(context.Context, serveFlags, bool) error {
	return errors.New("muster serve runs on Linux only: it needs that kernel's sockets; run it there, or in a virtual machine on this network")
}
