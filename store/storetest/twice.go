// twice.go: a store that runs every function twice. The contract allows that, but a
// plain store seldom does it in a test.

package storetest

import (
	"context"
	"errors"

	"github.com/musterboot/muster/boot"
)

// Twice is s, but it runs every function twice: first in a transaction of its own
// that is thrown away, then in the one that counts. A function whose result differs
// from that with s alone has an effect outside of its transaction.
func Twice(s boot.Store) boot.Store { return twice{s} }

type twice struct{ boot.Store }

// errThrownAway ends the first attempt.
var errThrownAway = errors.New("this attempt does not count")

func (s twice) View(ctx context.Context, fn func(boot.ReadTx) error) error {
	s.Store.View(ctx, fn)
	return s.Store.View(ctx, fn)
}

func (s twice) Update(ctx context.Context, fn func(boot.Tx) error) error {
	s.Store.Update(ctx, func(tx boot.Tx) error {
		fn(deaf{tx})
		return errThrownAway
	})
	return s.Store.Update(ctx, fn)
}

// deaf is a transaction that will not count, so it ignores After.
type deaf struct{ boot.Tx }

func (deaf) After(func()) {}
