// open.go: the data directory: the store, and everything else that is in it.

package appliance

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/engine"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/capture"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/content"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/radv"
	"github.com/musterboot/muster/store/bolt"
	"github.com/musterboot/muster/store/journal"
	"github.com/musterboot/muster/templates"
	"github.com/musterboot/muster/tftpd"
)

// open opens the store and everything else that is in the data directory.
func (d *daemon) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(d.dataDir, 0o750); err != nil {
		return fmt.Errorf("data directory: %w (choose another with --data-dir)", err)
	}
	st, err := bolt.Open(filepath.Join(d.dataDir, "muster.db"))
	if err != nil {
		return err // d.store stays nil: an interface with a nil *store.Store in it is not nil
	}
	d.store = st
	if err := d.doubt(ctx); err != nil {
		return err
	}
	if d.images, err = images.Open(filepath.Join(d.dataDir, "files")); err != nil {
		return err
	}
	logPath := filepath.Join(d.dataDir, "requests.log")
	if d.journal, err = journal.Open(logPath, 32<<20); err != nil {
		return err
	}
	linesPath := filepath.Join(d.dataDir, "machines.log")
	if d.lines, err = journal.Open(linesPath, 16<<20); err != nil {
		return err
	}
	if d.key, err = tokenKey(ctx, d.store); err != nil {
		return err
	}
	if d.duid, err = serverDUID(ctx, d.store); err != nil {
		return err
	}
	requests := engine.NewRequestLog(d.journal.Add)
	if err := journal.Read(logPath, requests.Restore); err != nil {
		d.log.Warn("history was not read back", "err", err)
	}
	lines := engine.NewLineLog(d.lines.Add)
	if err := journal.Read(linesPath, lines.Restore); err != nil {
		d.log.Warn("what machines logged was not read back", "err", err)
	}
	f := content.Files{Store: d.images, Run: map[string]string{}, Opened: &images.Opened{}}
	if d.opt.Bench.Kernel != "" {
		if d.thisRun, err = thisRun(ctx, d.opt.Bench, d.config.Networks[0].Name, f); err != nil {
			return err
		}
	}
	if d.set, err = templates.NewSet(f); err != nil {
		return err
	}
	if d.thisRun != nil {
		if _, err := d.set.Compiled(d.thisRun); err != nil {
			return config.Mistake{Err: err}
		}
	}
	d.findLoaders()
	id, err := hook.Identity(ctx, d.store)
	if err != nil {
		return err
	}
	d.hooks = hook.New(d.store, d.log, id, d.now)
	d.engine = engine.New(d.store, requests, d.log)
	d.engine.Now, d.engine.Lines, d.engine.Images, d.engine.Started = d.now, lines, d.set.Images, d.started
	c := d.content()
	d.dhcp = dhcpd.NewServer(d.engine, d.log)
	d.dhcp6 = dhcpd.NewServer6(d.engine, d.duid, d.log)
	d.heard = make(chan radv.Router, 64)
	d.radv = radv.NewServer(d.log, d.hear)
	d.tftp = tftpd.NewServer(d.engine, c, d.log)
	d.http = httpboot.NewHandler(d.engine, c, d.log)
	d.dhcp.Admitted, d.dhcp6.Admitted = d.engine.AdmittedMAC, d.engine.AdmittedMAC
	d.tftp.Admitted, d.http.Admitted = d.engine.Admitted, d.engine.Admitted
	d.capture = capture.New(d.now)
	d.dhcp.Record, d.dhcp6.Record, d.tftp.Record = d.capture, d.capture, d.capture
	return nil
}

func (d *daemon) content() content.Content {
	return content.Content{Set: d.set, Images: d.images, Loaders: d.loaders.Load}
}

// close may be called after open failed half-way. The store closes last.
func (d *daemon) close() {
	if d.engine != nil {
		d.engine.Close()
	}
	for _, j := range []*journal.Journal{d.journal, d.lines} {
		if j == nil {
			continue
		}
		if err := j.Close(); err != nil {
			d.log.Warn("request log", "err", err)
		}
	}
	if d.images != nil {
		d.images.Close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.log.Error("store", "err", err)
		}
	}
	d.undo()
}

// tokenKey returns the key that signs boot paths; it is made once.
func tokenKey(ctx context.Context, s boot.Store) (k boot.Key, err error) {
	err = s.Update(ctx, func(tx boot.Tx) error {
		b, err := tx.Secret("token-key")
		if err != nil {
			return err
		}
		if len(b) == len(k) {
			copy(k[:], b)
			return nil
		}
		rand.Read(k[:])
		return tx.SetSecret("token-key", k[:])
	})
	return k, err
}

// pcap writes the packets that are kept of a machine.
func (d *daemon) pcap(w io.Writer, macs []boot.MAC) error {
	return capture.Write(w, d.capture.Of(macs...))
}
