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
	"time"

	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/admin"
	"github.com/musterboot/muster/internal/backup"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/seal"
	"github.com/musterboot/muster/store/bolt"
)

// backupStore makes a backup of a store that nobody uses.
func backupStore(ctx context.Context, w io.Writer, dir string, files bool, recipient string) error {
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
	src := admin.BackupSource{Dump: s.Dump, View: s.View, Files: fs, Config: config.Path, Version: version, Now: time.Now, Scratch: dir, Key: func() ([]byte, error) { return seal.Read(dir, "") }}
	return src.Backup(ctx, w, files, recipient)
}

// restored is what a restore did.
type restored struct {
	Made    time.Time `json:"made"`
	Records int       `json:"records"`
	Files   int       `json:"files"`
	Notes   []string  `json:"notes"`
}

// restoreStore checks a backup whole before it changes anything. Boot files come first
// and the store last, each by a rename: a restore that is cut off leaves the old store,
// or the new one.
func restoreStore(ctx context.Context, file, dir string, replace bool, identity, configTo string) (out restored, err error) {
	f, err := os.Open(file)
	if err != nil {
		return out, err
	}
	defer f.Close()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return out, err
	}
	path := filepath.Join(dir, "muster.db")
	has := false
	if _, err := os.Lstat(path); err == nil {
		if has = true; !replace {
			return out, fmt.Errorf("%s holds a store: --replace keeps it beside and puts the backup's in its place", dir)
		}
		old, err := bolt.Open(path) // refuses while a daemon uses it, and folds its log
		if err != nil {
			return out, fmt.Errorf("the store that is there: %w", err)
		}
		if err := old.Close(); err != nil {
			return out, err
		}
	}
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
	dump, err := os.Open(filepath.Join(scratch, backup.StoreName))
	if err != nil {
		return out, err
	}
	defer dump.Close()
	fresh := filepath.Join(scratch, "muster.db")
	if n, err := bolt.Restore(fresh, dump, m.Made); err != nil {
		return out, fmt.Errorf("%s: %w", file, err)
	} else if n != m.Records {
		return out, fmt.Errorf("%s: %d records, and its list says %d", file, n, m.Records)
	}
	if err := restoreKey(m, scratch, dir, identity, &out); err != nil {
		return out, err
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
		if err != nil {
			return out, err
		}
		c, err := os.OpenFile(configTo, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return out, err
		}
		_, err = c.Write(b)
		if err := errors.Join(err, c.Close()); err != nil {
			return out, err
		}
	}
	if has {
		aside := path + ".before-restore-" + time.Now().UTC().Format("20060102T150405")
		for _, tail := range []string{"-log0", "-log1", ""} {
			if err := os.Rename(path+tail, aside+tail); err != nil && !errors.Is(err, os.ErrNotExist) {
				return out, err
			}
		}
		out.Notes = append(out.Notes, "the store that was there: "+aside)
	}
	// The logs first: a log without its store is nothing, a store without its log would be
	// refused.
	for _, tail := range []string{"-log0", "-log1", ""} {
		if err := os.Rename(fresh+tail, path+tail); err != nil && !errors.Is(err, os.ErrNotExist) {
			return out, err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return out, err
	}
	defer d.Close()
	return out, d.Sync()
}

// restoreKey puts the sealing key back where it can be opened, and says what follows
// where it cannot.
func restoreKey(m backup.Manifest, scratch, dir, identity string, out *restored) error {
	path := filepath.Join(dir, seal.FileName)
	if !m.Has(backup.KeyName) || identity == "" {
		if _, err := os.Lstat(path); err != nil {
			out.Notes = append(out.Notes, "the sealing key is not here: put "+path+" back before the first start, or start without it and give again: the CA's certificate (muster ca export) and "+fmt.Sprint(len(m.Secrets))+" secret parameters")
			for _, s := range m.Secrets[:min(len(m.Secrets), 20)] {
				out.Notes = append(out.Notes, "  "+s)
			}
		}
		return nil
	}
	locked, err := os.ReadFile(filepath.Join(scratch, backup.KeyName))
	if err != nil {
		return err
	}
	ids, err := os.Open(identity)
	if err != nil {
		return err
	}
	defer ids.Close()
	key, err := backup.Unlock(locked, ids)
	if err != nil {
		return fmt.Errorf("the sealing key: %w", err)
	}
	if old, err := os.ReadFile(path); err == nil {
		if slices.Equal(old, key) {
			return nil
		}
		aside := path + ".before-restore-" + time.Now().UTC().Format("20060102T150405")
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		out.Notes = append(out.Notes, "the sealing key that was there: "+aside)
	}
	return os.WriteFile(path, key, 0o600)
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
