// backup.go: a backup of the running appliance, as one stream.

package admin

import (
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/backup"
)

// smallFile is the size up to which boot files are in every backup: specifications and
// answer files, without which no template can be rendered.
const smallFile = 1 << 20

// BackupSource is what a backup is made of.
type BackupSource struct {
	Dump    func(io.Writer) (records int, err error)
	Store   viewer
	Files   *images.Store
	Config  string // file of the configuration; "" for none
	Key     func() ([]byte, error)
	Version string
	Now     func() time.Time
	Scratch string // folder for the dump
}

// Backup writes one. With allFiles it holds every boot file, else the small ones. The
// sealing key is in it only encrypted to an age recipient.
func (s BackupSource) Backup(ctx context.Context, w io.Writer, allFiles bool, recipient string) error {
	var locked backup.Part
	if recipient != "" {
		key, err := s.Key()
		if err != nil {
			return err
		}
		if locked, err = backup.Locked(key, recipient); err != nil {
			return boot.NewFault(boot.Invalid, "%v", err)
		}
	}
	f, err := os.CreateTemp(s.Scratch, ".backup-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	m := backup.Manifest{Made: s.Now().UTC(), By: s.Version, Missing: []backup.Missing{}, Secrets: []string{}}
	if m.Records, err = s.Dump(f); err != nil {
		return err
	}
	dump, err := backup.File(backup.StoreName, f.Name())
	if err != nil {
		return err
	}
	parts := []backup.Part{dump}
	if s.Config != "" {
		if b, err := os.ReadFile(s.Config); err == nil {
			parts = append(parts, backup.Bytes(backup.ConfigName, b))
		}
	}
	if recipient != "" {
		parts = append(parts, locked)
	}
	files, err := storedReferences(ctx, s.Store)
	if err != nil {
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(files)) {
		r := files[d]
		if _, has := s.Files.Has(r.Blob.Digest); !has && r.Lazy {
			continue
		} else if !has || !allFiles && r.Blob.Size > smallFile {
			m.Missing = append(m.Missing, backup.Missing{Digest: r.Blob.Digest, Size: r.Blob.Size, For: r.For})
			continue
		}
		parts = append(parts, backup.Part{Name: backup.FilePart(r.Blob.Digest), Size: r.Blob.Size, SHA256: r.Blob.Digest, Open: func() (io.ReadCloser, error) { return s.Files.Open(r.Blob.Digest) }})
	}
	if err := each(ctx, s.Store, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) }, func(h *boot.Host) boot.HostID {
		for _, k := range h.Secrets {
			m.Secrets = append(m.Secrets, h.Name+" "+k)
		}
		return h.ID
	}); err != nil {
		return err
	}
	if err := each(ctx, s.Store, "", func(tx boot.ReadTx, after boot.Scope) ([]*boot.Values, error) { return tx.AllValues(after, page) }, func(v *boot.Values) boot.Scope {
		for _, k := range v.Secrets {
			m.Secrets = append(m.Secrets, string(v.Scope)+" "+k)
		}
		return v.Scope
	}); err != nil {
		return err
	}
	return backup.Write(ctx, w, m, parts)
}

// backup answers with a backup. If it fails on its way, the connection breaks: what
// arrived is no backup, and says so when it is read.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	with := ""
	if q.Get("recipient") != "" {
		with = ", with the sealing key for " + boot.CleanText(q.Get("recipient"), 100)
	}
	if err := s.note(r, boot.BackupMade, "a backup made by "+s.actor(r).String()+with); err != nil {
		s.fail(w, r, err)
		return
	}
	out := &started{ResponseWriter: w}
	if err := s.Backup.Backup(r.Context(), out, q.Get("files") == "all", q.Get("recipient")); err != nil {
		if !out.wrote {
			s.fail(w, r, err)
			return
		}
		s.Log.Error("a backup was not finished", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// started knows whether anything of an answer has left.
type started struct {
	http.ResponseWriter
	wrote bool
}

func (s *started) Write(b []byte) (int, error) {
	if !s.wrote {
		s.Header().Set("Content-Type", "application/x-tar")
		s.wrote = true
	}
	return s.ResponseWriter.Write(b)
}
