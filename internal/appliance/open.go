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
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/capture"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/content"
	"github.com/musterboot/muster/internal/hook"
	"github.com/musterboot/muster/internal/seal"
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
	d.tally = newTally()
	d.noted = countedStore{st, d.tally}
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
	if err := d.keyIsThere(ctx); err != nil {
		return err
	}
	var made bool
	if d.seal, made, err = seal.Open(d.dataDir, d.opt.Credentials); err != nil {
		return err
	}
	if made {
		d.log.Info("a sealing key was made: without it a copy of the store has no secret that can be read", "file", filepath.Join(d.dataDir, seal.FileName))
	}
	if d.key, err = d.tokenKey(ctx); err != nil {
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
	d.hooks = hook.New(d.noted, d.log, id, d.now)
	d.engine = engine.New(d.noted, requests, d.log)
	d.engine.Now, d.engine.Lines, d.engine.Images, d.engine.Started = d.now, lines, d.set.Images, d.started
	d.pull = &images.Puller{Store: d.images, Log: d.log, Client: images.Upstream(), Free: func() (uint64, bool) { return d.sys.Room(d.dataDir) }}
	c := d.content()
	ask := counted{d.engine, d.tally}
	d.dhcp = dhcpd.NewServer(ask, d.log)
	d.dhcp6 = dhcpd.NewServer6(ask, d.duid, d.log)
	d.heard = make(chan radv.Router, 64)
	d.radv = radv.NewServer(d.log, d.hear)
	d.tftp = tftpd.NewServer(ask, c, d.log)
	d.http = httpboot.NewHandler(ask, c, d.log)
	d.dhcp.Admitted, d.dhcp6.Admitted = d.engine.AdmittedMAC, d.engine.AdmittedMAC
	d.tftp.Admitted, d.http.Admitted = d.engine.Admitted, d.engine.Admitted
	d.capture = capture.New(d.now)
	d.dhcp.Record, d.dhcp6.Record, d.tftp.Record = d.capture, d.capture, d.capture
	return nil
}

func (d *daemon) content() content.Content {
	return content.Content{Set: d.set, Images: d.images, Loaders: d.loaders.Load, Pull: d.pull, Seal: d.seal}
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
	if d.pull != nil {
		d.pull.Close()
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
func (d *daemon) tokenKey(ctx context.Context) (k boot.Key, err error) {
	const name = "token-key"
	err = d.store.Update(ctx, func(tx boot.Tx) error {
		b, err := d.openSecret(tx, name)
		if err != nil {
			return err
		}
		if len(b) == len(k) {
			copy(k[:], b)
			return nil
		}
		rand.Read(k[:])
		return tx.SetSecret(name, d.seal.Seal(name, k[:]))
	})
	return k, err
}

// keyIsThere refuses to make a new key for a store that another one has sealed.
func (d *daemon) keyIsThere(ctx context.Context) error {
	if seal.Exists(d.dataDir, d.opt.Credentials) {
		return nil
	}
	var b []byte
	if err := d.store.View(ctx, func(tx boot.ReadTx) (err error) { b, err = tx.Secret("token-key"); return err }); err != nil || !seal.Sealed(b) {
		return err
	}
	return fmt.Errorf("the store holds sealed secrets, and the sealing key is not there: %s", d.withoutKey())
}

// withoutKey says what to do about a sealing key that is lost.
func (d *daemon) withoutKey() string {
	return fmt.Sprintf("put the %s that belongs to this store back, or its systemd credential %s; if it is lost: muster backup x.tar, then muster restore x.tar --replace, which goes on without what it sealed", filepath.Join(d.dataDir, seal.FileName), seal.Credential)
}

// openSecret opens one of the appliance's own secrets. One from before there was a
// sealing key is sealed now. What another key has sealed is lost, and said.
func (d *daemon) openSecret(tx boot.Tx, name string) ([]byte, error) {
	b, err := tx.Secret(name)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	if !seal.Sealed(b) {
		return b, tx.SetSecret(name, d.seal.Seal(name, b))
	}
	out, err := d.seal.Open(name, b)
	if err != nil {
		return nil, fmt.Errorf("%s in the store: %w: %s", name, err, d.withoutKey())
	}
	return out, nil
}

// pcap writes the packets that are kept of a machine.
func (d *daemon) pcap(w io.Writer, macs []boot.MAC) error {
	return capture.Write(w, d.capture.Of(macs...))
}

// backupSource is what a backup of this appliance is made of.
func (d *daemon) backupSource() admin.BackupSource {
	return admin.BackupSource{Dump: d.store.Dump, Store: d.store, Files: d.images, Config: d.opt.Path, Version: d.opt.Version, Now: d.now, Scratch: d.dataDir,
		Key: func() ([]byte, error) { return seal.Read(d.dataDir, d.opt.Credentials) }}
}
