// loaders.go: the boot loaders on this computer, which packages install.

package appliance

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
)

// findLoaders looks again and reports whether anything changed.
func (d *daemon) findLoaders() bool {
	l := images.FindLoaders(images.LoaderDirs(d.dataDir)...)
	old := d.loaders.Swap(l)
	return old == nil || !maps.Equal(old.ByPlatform(), l.ByPlatform()) || !maps.Equal(old.Signed(), l.Signed())
}

// watchLoaders notices a package that was installed while we run.
func (d *daemon) watchLoaders(ctx context.Context) error {
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if d.findLoaders() {
				d.log.Info("boot loaders changed", "loaders", loaderList(d.loaders.Load()))
				d.refresh(ctx)
			}
		}
	}
}

func loaderList(l *images.Loaders) []string {
	var out []string
	have, signed := l.ByPlatform(), l.Signed()
	for _, p := range boot.LoaderPlatforms() {
		if have[p] != "" {
			out = append(out, fmt.Sprintf("%s %s", p, have[p]))
		}
		if s, ok := signed[p]; ok {
			out = append(out, fmt.Sprintf("%s signed %s", p, s.Shim))
		}
	}
	return out
}
