// reload.go: takes over a configuration that changed while the appliance runs.

package appliance

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/config"
)

// watchHangup reloads the configuration on SIGHUP. A bad file changes nothing.
func (d *daemon) watchHangup(ctx context.Context) error {
	c, stop := d.sys.Hangups()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			if d.opt.Bench.on() {
				d.log.Info("nothing to reload: this run has no configuration file")
				continue
			}
			_, _ = d.reload(ctx, boot.Actor{}) // it says what became of it
		}
	}
}

// reload reads the configuration again and says what that changes. Whatever becomes of
// it is an event: a refusal must not be a line in a log that nobody reads.
func (d *daemon) reload(ctx context.Context, by boot.Actor) (client.ConfigPlan, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	p, err := d.takeOver(ctx)
	ev := boot.Event{Kind: boot.ConfigReloaded, Text: "configuration reloaded: " + p.Summary()}
	if err != nil {
		d.reloads.refused.Add(1)
		d.log.Error("configuration was not reloaded; the old one stays", "err", err)
		ev = boot.Event{Kind: boot.ConfigRefused, Text: boot.CleanText("configuration was not reloaded, and the old one stays: "+err.Error(), 1000)}
	} else {
		d.reloads.applied.Add(1)
		d.log.Info("configuration reloaded")
		if len(p.Restart) > 0 {
			d.log.Warn(fmt.Sprintf("%s: this changes only with a restart: sudo systemctl restart muster", strings.Join(p.Restart, "; ")))
		}
	}
	ev.By = by
	if e := d.engine.Record(ctx, ev); e != nil && ctx.Err() == nil {
		d.log.Error("the reload was not recorded", "err", e)
	}
	return p, err
}

// reloads counts what became of them.
type reloads struct{ applied, refused atomic.Uint64 }

func (d *daemon) takeOver(ctx context.Context) (p client.ConfigPlan, err error) {
	if d.opt.Bench.on() {
		return p, boot.NewFault(boot.WrongState, "nothing to reload: this run has no configuration file")
	}
	c, err := d.opt.Read()
	if err != nil {
		return p, boot.NewFault(boot.Invalid, "%v", err)
	}
	// Every error that would prevent a start prevents a reload.
	if err := d.prepareInterface(c, false); err != nil {
		return p, boot.NewFault(boot.Invalid, "%v", err)
	}
	told, err := targets(c, d.opt, d.asked)
	if err != nil {
		return p, boot.NewFault(boot.Invalid, "%v", err)
	}
	said := d.lookUp(ctx, c)
	if p, err = d.plan(ctx, c, d.settings(), said); err != nil {
		return p, err
	}
	d.mu.Lock()
	old := d.config
	c.Keep(old)
	answers := d.answers
	d.config, d.posts, d.answers = c, station(c, d.posts), said
	d.mu.Unlock()
	if err := d.apply(ctx); err != nil {
		d.mu.Lock()
		d.config, d.posts, d.answers = old, station(old, d.posts), answers
		d.mu.Unlock()
		return p, err
	}
	d.hooks.Set(told)
	return p, nil
}

// settings returns the present configuration.
func (d *daemon) settings() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}
