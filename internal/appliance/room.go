// room.go: whether the appliance can still write: a full disk must be told before the
// first machine finds out.

package appliance

import (
	"context"
	"fmt"
	"time"

	"github.com/musterboot/muster/boot"
)

// lowRoom is how much room the data directory's disk should have: logs, folds and
// uploads need some, whatever else fills it.
const lowRoom = 64 << 20 // bytes

// checkWrites writes one number and looks at the room that is left. It returns what is
// wrong, for a person; "" if nothing is. Who asks again within a second gets the same
// answer: a load balancer must not wear the disk out.
func (d *daemon) checkWrites(ctx context.Context) string {
	d.mu.Lock()
	now, was, fresh := d.now(), d.unwritable, false
	if fresh = boot.Age(now, d.wrote) < time.Second; !fresh {
		d.wrote = now
	}
	d.mu.Unlock()
	if fresh {
		return was
	}
	err := d.store.Update(ctx, func(tx boot.Tx) error { return tx.SetCounter(boot.Checked, uint64(d.now().Unix())) })
	text := ""
	if free, ok := d.sys.Room(d.dataDir); ok && free < lowRoom {
		text = fmt.Sprintf("%s has %d MiB left", d.dataDir, free>>20)
	}
	if err != nil && ctx.Err() == nil {
		text = fmt.Sprintf("writes fail, so that nothing is enrolled, leased or installed: %v", err)
	}
	d.mu.Lock()
	failed := d.writesFail
	d.unwritable, d.writesFail = text, err != nil && ctx.Err() == nil
	fails := d.writesFail
	d.mu.Unlock()
	// Not each new number of bytes: the log may be on that disk.
	if (text == "") != (was == "") || fails != failed {
		if text == "" {
			d.log.Info("the store can be written again, and there is room")
		} else {
			d.log.Error("disk: " + text)
		}
	}
	return text
}

// watchWrites looks once a minute.
func (d *daemon) watchWrites(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		d.checkWrites(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
