// do.go: orders carried out on the live store.

package engine

import (
	"context"

	"github.com/musterboot/muster/boot"
)

// Try says what an order would change at this moment, and writes nothing.
func (e *Engine) Try(ctx context.Context, by boot.Actor, o boot.Order) (c boot.Changes, err error) {
	p := e.policy.Load()
	err = e.store.View(ctx, func(tx boot.ReadTx) (err error) {
		c, err = boot.Apply(tx, p, e.Now(), by, o)
		return err
	})
	return c, err
}

// InThought is what the files of a template would see of a host at its next boot.
func (e *Engine) InThought(ctx context.Context, h *boot.Host, x *boot.Template) (m boot.Machine, err error) {
	now := e.Now()
	err = e.store.View(ctx, func(tx boot.ReadTx) (err error) {
		m, err = boot.InThought(e.view(tx, now), e.policy.Load(), now, h, x)
		return err
	})
	return m, err
}

// Do carries out an actor's order and returns what it changed.
func (e *Engine) Do(ctx context.Context, by boot.Actor, o boot.Order) (boot.Changes, error) {
	bare := o
	if seen, ok := o.(boot.AsSeen); ok {
		bare = seen.Order
	}
	switch bare.(type) {
	case boot.PushTemplate, boot.DropTemplate, boot.PinTemplate, boot.RemoveImage:
		// One order at a time: each is judged by the policy, which must already have
		// the templates and images that the orders before it changed.
		e.setting.Lock()
		defer e.setting.Unlock()
	}
	now := e.Now()
	p := e.policy.Load()
	var c boot.Changes
	ahead := false // memory has what the disk may not have yet
	err := e.store.Update(ctx, func(tx boot.Tx) (err error) {
		if c, err = boot.Apply(tx, p, now, by, o); err != nil {
			return err
		}
		tx.After(func() {
			ahead = true
			e.mem.settle(&boot.Decision{Writes: c}, p, now)
		})
		return apply(tx, &c)
	})
	if err != nil {
		if ahead {
			e.forget(ctx, &boot.Decision{Writes: c}, p, now)
		}
		return boot.Changes{}, err
	}
	if c.Template != nil || c.Drop != "" || c.Pinned != "" {
		// Templates of this run come back from the policy itself.
		// The order is committed, so this is done even if the client has gone.
		if err := e.setPolicy(context.WithoutCancel(ctx), *e.policy.Load()); err != nil {
			return c, err
		}
	}
	return c, nil
}
