// reload.go: a configuration that was changed while we run.

package appliance

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/config"
)

// watchHangup reloads the configuration on SIGHUP. A bad file changes nothing.
func (d *daemon) watchHangup(ctx context.Context) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	defer signal.Stop(c)
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
	// What would keep a start from happening keeps a reload from happening.
	if err := d.prepareInterface(c); err != nil {
		return err
	}
	told, err := targets(c, d.now)
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.config
	for _, n := range old.Networks {
		// What auto found out holds for that link only.
		if !slices.ContainsFunc(c.Networks, func(x boot.Network) bool { return x.Name == n.Name && x.Interface == n.Interface && x.Mode == n.Mode }) {
			delete(d.auto, n.Name)
		}
	}
	restart := c.Keep(old)
	d.config = c
	d.mu.Unlock()
	if err := d.apply(ctx); err != nil {
		d.mu.Lock()
		d.config = old
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

// settings is the configuration of the moment.
func (d *daemon) settings() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}
