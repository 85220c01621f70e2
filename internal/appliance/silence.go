// silence.go: machines that fall silent before they have booted.

package appliance

import (
	"context"
	"time"
)

// watchSilence looks at machines that fall silent before they have booted.
func (d *daemon) watchSilence(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for from := d.now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		to := d.now()
		if err := d.engine.Sweep(ctx, from, to); err != nil && ctx.Err() == nil {
			d.log.Error("machines that fell silent were not looked at", "err", err)
		}
		from = to
	}
}
