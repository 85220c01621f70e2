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

// expected are the kinds of machines that may boot here: those that a template or a
// host is of. Where nothing is known yet, an ordinary server of either kind.
func (d *daemon) expected(ctx context.Context) (map[boot.Platform]bool, error) {
	out := map[boot.Platform]bool{}
	for _, t := range d.engine.Policy().Templates {
		for _, p := range t.Match.Arch {
			out[p] = true
		}
	}
	hosts := 0
	for after := boot.HostID(0); ; {
		var hs []*boot.Host
		if err := d.engine.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, pageLen); return err }); err != nil {
			return out, err
		}
		for _, h := range hs {
			after = h.ID
			if h.Platform != "" {
				out[h.Platform] = true
			}
		}
		if hosts += len(hs); len(hs) < pageLen {
			break
		}
	}
	if len(out) == 0 {
		out[boot.BIOS], out[boot.X64UEFI] = true, true
	}
	return out, nil
}
