// backup_linux.go: a backup without a daemon, and a restore.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/backup"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/seal"
	"github.com/musterboot/muster/store/bolt"
)

// backupStore makes a backup of a store that nobody uses.
func backupStore(ctx context.Context, w io.Writer, dir, credentials string, files bool, recipient string) error {
	path := filepath.Join(dir, "muster.db")
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no daemon runs, and there is no store: %w", err)
	}
	s, err := bolt.Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	if d := s.Damage(); len(d) > 0 {
		return fmt.Errorf("the store is damaged, and a backup of it would be too: muster store check")
	}
	fs, err := images.Open(filepath.Join(dir, "files"))
	if err != nil {
		return err
	}
	defer fs.Close()
	defer chownLike(dir, filepath.Join(dir, "files"), path, path+"-log0", path+"-log1")
	src := admin.BackupSource{Dump: s.Dump, Store: s, Files: fs, Config: config.Path, Version: version, Now: time.Now, Scratch: dir, Key: func() ([]byte, error) { return seal.Read(dir, credentials) }}
	return src.Backup(ctx, w, files, recipient)
}

// restored is what a restore did.
type restored struct {
	Made    time.Time `json:"made"`
	Records int       `json:"records"`
	Files   int       `json:"files"`
	Notes   []string  `json:"notes"`
}

// restoreStore checks a backup whole before it changes anything, and puts everything
// else in place before the store. Only the swap itself cannot be undone half-way: it is
// marked, and a store with the mark is not opened. credentials is where systemd's are,
// "" where there are none.
func restoreStore(ctx context.Context, file, dir, credentials string, replace bool, identity, configTo string) (out restored, err error) {
	f, err := os.Open(file)
	if err != nil {
		return out, err
	}
	defer f.Close()
	if configTo != "" {
		if _, err := os.Lstat(configTo); !errors.Is(err, os.ErrNotExist) {
			return out, fmt.Errorf("--config-to %s: it is there already", configTo)
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return out, err
	}
	path := filepath.Join(dir, "muster.db")
	_, e := os.Lstat(path)
	_, cut := os.Lstat(bolt.Restoring(path))
	has := e == nil
	if (has || cut == nil) && !replace {
		return out, fmt.Errorf("%s holds a store: --replace keeps it beside and puts the backup's in its place", dir)
	}
	unlock := func() error { return nil }
	if has && cut != nil {
		old, err := bolt.Open(path) // its lock keeps a daemon from starting meanwhile
		if err != nil {
			return out, fmt.Errorf("the store that is there: %w", err)
		}
		unlock = old.Close
	}
	defer func() { err = errors.Join(err, unlock()) }()

	scratch, err := os.MkdirTemp(dir, ".restore-*")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(scratch)
	m, err := backup.Unpack(ctx, f, scratch)
	if err != nil {
		return out, fmt.Errorf("%s: %w", file, err)
	}
	out = restored{Made: m.Made, Records: m.Records, Notes: []string{}}
	fresh := filepath.Join(scratch, "muster.db")
	key, err := restoreDump(ctx, m, scratch, dir, credentials, identity, fresh, &out)
	if err != nil {
		return out, fmt.Errorf("%s: %w", file, err)
	}
	fs, err := images.Open(filepath.Join(dir, "files"))
	if err != nil {
		return out, err
	}
	defer fs.Close()
	for digest, p := range backup.Files(scratch, &m) {
		if err := putFile(ctx, fs, digest, p); err != nil {
			return out, err
		}
		out.Files++
	}
	for _, x := range m.Missing {
		if _, there := fs.Has(x.Digest); !there {
			out.Notes = append(out.Notes, "bring again, it was not in the backup: "+x.For)
		}
	}
	if configTo != "" && m.Has(backup.ConfigName) {
		b, err := os.ReadFile(filepath.Join(scratch, backup.ConfigName))
		if err == nil {
			err = writeNew(configTo, b, 0o644)
		}
		if err != nil {
			return out, err
		}
	}
	if err := chownLike(dir, scratch, filepath.Join(dir, "files")); err != nil {
		return out, err
	}
	return out, swap(dir, path, fresh, scratch, key, &unlock, &out)
}

// restoreDump makes the new store, and returns the sealing key that belongs to it where
// the one that is in dir does not; nil where nothing is to be done about it.
func restoreDump(ctx context.Context, m backup.Manifest, scratch, dir, credentials, identity, fresh string, out *restored) (key []byte, err error) {
	load := func(keyless bool) error {
		dump, err := os.Open(filepath.Join(scratch, backup.StoreName))
		if err != nil {
			return err
		}
		defer dump.Close()
		n, err := bolt.Restore(fresh, dump, m.Made, keyless)
		if err == nil && n != m.Records {
			err = fmt.Errorf("%d records, and its list says %d", n, m.Records)
		}
		return err
	}
	if err := load(false); err != nil {
		return nil, err
	}
	have := keyOf(dir, credentials)
	if m.Has(backup.KeyName) && identity != "" {
		locked, err := os.ReadFile(filepath.Join(scratch, backup.KeyName))
		if err != nil {
			return nil, err
		}
		ids, err := os.Open(identity)
		if err != nil {
			return nil, err
		}
		defer ids.Close()
		if key, err = backup.Unlock(locked, ids); err != nil {
			return nil, fmt.Errorf("the sealing key: %w", err)
		}
	} else {
		key = have
	}
	fits, err := opens(ctx, fresh, key)
	if err != nil {
		return nil, err
	}
	if fits {
		if slices.Equal(key, have) {
			return nil, nil
		}
		return key, nil
	}
	// Without its key the new appliance makes keys of its own, and asks for the rest.
	for _, tail := range []string{"", "-log0", "-log1"} {
		if err := os.Remove(fresh + tail); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if err := load(true); err != nil {
		return nil, err
	}
	out.Notes = append(out.Notes, fmt.Sprintf("the sealing key of the backup is not here: boot paths that are out and the CA's certificate are made anew (muster ca export), and %d secret parameters must be given again", len(m.Secrets)))
	for _, s := range m.Secrets[:min(len(m.Secrets), 20)] {
		out.Notes = append(out.Notes, "  "+s)
	}
	return nil, forgetSecrets(ctx, fresh)
}

// opens reports a key that opens what the store has sealed; a store that has sealed
// nothing is opened by any.
func opens(ctx context.Context, path string, key []byte) (ok bool, err error) {
	s, err := bolt.Open(path)
	if err != nil {
		return false, err
	}
	defer s.Close()
	err = s.View(ctx, func(tx boot.ReadTx) error {
		b, err := tx.Secret("token-key")
		if ok = !seal.Sealed(b); ok || err != nil {
			return err
		}
		if k, e := seal.New(key); e == nil {
			_, e = k.Open("token-key", b)
			ok = e == nil
		}
		return nil
	})
	return ok, err
}

// forgetSecrets takes the names of secret parameters, whose values are gone, off hosts and
// off what they inherit.
func forgetSecrets(ctx context.Context, path string) error {
	s, err := bolt.Open(path)
	if err != nil {
		return err
	}
	for after := boot.HostID(0); err == nil; {
		var hs []*boot.Host
		if err = s.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, 500); return err }); err != nil || len(hs) == 0 {
			break
		}
		err = s.Update(ctx, func(tx boot.Tx) error {
			for _, h := range hs {
				if len(h.Secrets) == 0 {
					continue
				}
				c := h.Clone()
				c.Secrets = nil
				if err := tx.PutHost(c); err != nil {
					return err
				}
			}
			return nil
		})
		after = hs[len(hs)-1].ID
	}
	for after := boot.Scope(""); err == nil; {
		var vs []*boot.Values
		if err = s.View(ctx, func(tx boot.ReadTx) (err error) { vs, err = tx.AllValues(after, 500); return err }); err != nil || len(vs) == 0 {
			break
		}
		err = s.Update(ctx, func(tx boot.Tx) error {
			for _, v := range vs {
				if v.Secrets = nil; v.Empty() {
					if err := tx.DeleteValues(v); err != nil {
						return err
					}
				} else if err := tx.PutValues(v); err != nil {
					return err
				}
			}
			return nil
		})
		after = vs[len(vs)-1].Scope
	}
	return errors.Join(err, s.Close())
}

// swap puts the new store in the place of the old one, which is kept beside.
func swap(dir, path, fresh, scratch string, key []byte, unlock *func() error, out *restored) (err error) {
	mark := bolt.Restoring(path)
	if err := os.WriteFile(mark, []byte("muster restore\n"), 0o600); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := (*unlock)(); err != nil { // from here on the mark keeps others out
		return err
	}
	*unlock = func() error { return nil }
	stamp := ".before-restore-" + time.Now().UTC().Format("20060102T150405")
	type move struct{ from, to string }
	var done []move
	rename := func(from, to string) error {
		err := os.Rename(from, to)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			done = append(done, move{from, to})
		}
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		for _, m := range slices.Backward(done) {
			if e := os.Rename(m.to, m.from); e != nil {
				err = errors.Join(err, e)
				return // the mark stays
			}
		}
		os.Remove(mark)
	}()
	for _, tail := range []string{"-log0", "-log1", ""} {
		if err := rename(path+tail, path+stamp+tail); err != nil {
			return err
		}
	}
	if len(done) > 0 {
		out.Notes = append(out.Notes, "the store that was there: "+path+stamp)
	}
	if key != nil {
		at := filepath.Join(dir, seal.FileName)
		made := filepath.Join(scratch, seal.FileName)
		if err := writeNew(made, key, 0o600); err != nil {
			return err
		}
		if err := chownLike(dir, made); err != nil {
			return err
		}
		if err := rename(at, at+stamp); err != nil {
			return err
		}
		if err := rename(made, at); err != nil {
			return err
		}
	}
	for _, tail := range []string{"-log0", "-log1", ""} {
		if err := rename(fresh+tail, path+tail); err != nil {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return os.Remove(mark)
}

// keyOf is the sealing key that the service would read; nil is none.
func keyOf(dir, credentials string) []byte {
	b, _ := seal.Read(dir, credentials)
	return b
}

// writeNew writes a file that is not there, to the disk.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// chownLike gives files to the owner of the data directory: root restores, and the
// service runs as a user of its own.
func chownLike(dir string, trees ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := st.Sys().(*syscall.Stat_t)
	for _, t := range trees {
		if err := filepath.WalkDir(t, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, int(owner.Uid), int(owner.Gid))
		}); err != nil {
			return err
		}
	}
	return nil
}

func putFile(ctx context.Context, fs *images.Store, digest, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fs.Put(ctx, f, digest)
	return err
}
