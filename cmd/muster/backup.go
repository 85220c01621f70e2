// backup.go: "muster backup" and "muster restore".

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/backup"
	"github.com/musterboot/muster/internal/seal"
)

func (a *app) backupCmd() *cobra.Command {
	var files bool
	var recipient string
	c := &cobra.Command{
		Use: "backup FILE", Short: "Write everything that is kept into one file", Args: exactly(1, "a file to write"),
		Long: `Write the roll, templates, events, configuration and small boot files of one moment into one
file, while the daemon runs or not. Large boot files are listed, and in it with --files.
Secrets are in it sealed, and the key that opens them is not, unless --recipient names an
age public key that it is encrypted to.`,
		Example: "  muster backup /srv/backup/muster.tar\n  muster backup muster.tar --files --recipient age1…",
		RunE: func(c *cobra.Command, args []string) error {
			m, err := a.writeBackup(c.Context(), args[0], files, recipient)
			if err != nil {
				return err
			}
			if !a.json {
				for _, x := range m.Missing {
					a.print("not in it: %s (%s)\n", x.For, size(x.Size))
				}
				if len(m.Secrets) > 0 && recipient == "" {
					a.print("without the sealing key these must be given again after a restore elsewhere: %d secret parameters\n", len(m.Secrets))
				}
			}
			return a.said(m, "%s written: %s, %s", args[0], counted(m.Records, "record"), counted(len(m.Entries), "file"))
		},
	}
	c.Flags().BoolVar(&files, "files", false, "with every boot file, however large")
	c.Flags().StringVar(&recipient, "recipient", "", "age public key that the sealing key is encrypted to")
	return c
}

// writeBackup writes the file whole and checked, or not at all.
func (a *app) writeBackup(ctx context.Context, path string, files bool, recipient string) (m backup.Manifest, err error) {
	if _, err := os.Lstat(path); err == nil {
		return m, fmt.Errorf("%s is there already", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".muster-backup-*")
	if err != nil {
		return m, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	q := url.Values{}
	if files {
		q.Set("files", "all")
	}
	if recipient != "" {
		q.Set("recipient", recipient)
	}
	err = a.client().Backup(ctx, q, f)
	if errors.Is(err, client.ErrNoDaemon) {
		err = backupStore(ctx, f, a.dataDir, a.getenv("CREDENTIALS_DIRECTORY"), files, recipient)
	}
	if err != nil {
		return m, err
	}
	// What cannot be read back is no backup.
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".muster-verify-*")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(scratch)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return m, err
	}
	if m, err = backup.Unpack(ctx, f, scratch); err != nil {
		return m, fmt.Errorf("the backup was not finished: %w", err)
	}
	if err := f.Sync(); err != nil {
		return m, err
	}
	return m, seal.Place(f.Name(), path)
}

func (a *app) restoreCmd() *cobra.Command {
	var replace bool
	var identity, configTo string
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make the data directory of a backup", Args: exactly(1, "a backup's file"),
		Long: `Check every byte of a backup and make the data directory of it; the daemon must be stopped.
What is in the directory stays, unless --replace says that it is to be kept beside under
another name. Afterwards numbers of events go on far ahead, every ticket that was open is
taken away, and the first start says what it was restored from.`,
		Example: "  sudo systemctl stop muster && sudo muster restore muster.tar --replace && sudo systemctl start muster",
		RunE: func(c *cobra.Command, args []string) error {
			out, err := restoreStore(c.Context(), args[0], a.dataDir, a.getenv("CREDENTIALS_DIRECTORY"), replace, identity, configTo)
			if err != nil {
				return err
			}
			if !a.json {
				for _, l := range out.Notes {
					a.print("%s\n", l)
				}
			}
			return a.said(out, "%s restored: %s of %s, %s", a.dataDir, counted(out.Records, "record"), out.Made.Local().Format("2006-01-02 15:04"), counted(out.Files, "boot file"))
		},
	}
	c.Flags().BoolVar(&replace, "replace", false, "keep the store that is there beside, and put the backup's in its place")
	c.Flags().StringVar(&identity, "identity", "", "file of age identities that opens the sealing key")
	c.Flags().StringVar(&configTo, "config-to", "", "write the backup's configuration to this file, which must not be there")
	return c
}
