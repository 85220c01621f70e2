// reload.go: takes over a configuration that changed while the appliance runs.

package appliance

import (
	"context"
	"fmt"
	"strings"

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
			if err := d.reload(ctx); err != nil {
				d.log.Error("configuration was not reloaded; the old one stays", "err", err)
			}
		}
	}
}

func (d *daemon) reload(ctx context.Context) error {
	c, err := d.opt.Read()
	if err != nil {
		return err
	}
	// Every error that would prevent a start prevents a reload.
	if err := d.prepareInterface(c); err != nil {
		return err
	}
	told, err := targets(c, d.now)
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.config
	restart := c.Keep(old)
	d.config, d.posts = c, station(c, d.posts)
	d.mu.Unlock()
	if err := d.apply(ctx); err != nil {
		d.mu.Lock()
		d.config, d.posts = old, station(old, d.posts)
		d.mu.Unlock()
		return err
	}
	d.hooks.Set(told)
	d.log.Info("configuration reloaded")
	if len(restart) > 0 {
		d.log.Warn(fmt.Sprintf("%s: this changes only with a restart: sudo systemctl restart muster", strings.Join(restart, "; ")))
	}
	return nil
}

// settings returns the present configuration.
func (d *daemon) settings() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}
