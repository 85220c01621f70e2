// backup.go: a backup of the running appliance, as one stream.

package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
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
	View    func(context.Context, func(boot.ReadTx) error) error
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
	files, err := s.referred(ctx)
	if err != nil {
		return err
	}
	for _, r := range files {
		if _, has := s.Files.Has(r.Blob.Digest); !has && r.Lazy {
			continue
		} else if !has || !allFiles && r.Blob.Size > smallFile {
			m.Missing = append(m.Missing, backup.Missing{Digest: r.Blob.Digest, Size: r.Blob.Size, For: r.For})
			continue
		}
		parts = append(parts, backup.Part{Name: backup.FilePart(r.Blob.Digest), Size: r.Blob.Size, SHA256: r.Blob.Digest, Open: func() (io.ReadCloser, error) { return s.Files.Open(r.Blob.Digest) }})
	}
	if err := s.eachHost(ctx, func(h *boot.Host) {
		for _, k := range h.Secrets {
			m.Secrets = append(m.Secrets, h.Name+" "+k)
		}
	}); err != nil {
		return err
	}
	for after := boot.Scope(""); ; {
		var vs []*boot.Values
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) { vs, err = tx.AllValues(after, page); return err }); err != nil {
			return err
		}
		for _, v := range vs {
			after = v.Scope
			for _, k := range v.Secrets {
				m.Secrets = append(m.Secrets, string(v.Scope)+" "+k)
			}
		}
		if len(vs) < page {
			break
		}
	}
	return backup.Write(ctx, w, m, parts)
}

// referred lists the files that templates and images refer to, by digest.
func (s BackupSource) referred(ctx context.Context) (out []Reference, err error) {
	all := map[string]Reference{}
	note := func(of string, files map[string]boot.Blob, lazy func(string) bool) {
		for name, b := range files {
			if r, is := all[b.Digest]; is && !r.Lazy && lazy(name) {
				continue // another needs it here
			}
			all[b.Digest] = Reference{b, of + " " + name, lazy(name)}
		}
	}
	stored := func(string) bool { return false }
	for after := boot.TemplateID(0); ; {
		var ts []*boot.Template
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) { ts, err = tx.Templates(after, page); return err }); err != nil {
			return nil, err
		}
		for _, t := range ts {
			after = t.ID
			note(fmt.Sprintf("template %s version %d, file", t.Name, t.Version), t.Files, stored)
		}
		if len(ts) < page {
			break
		}
	}
	for after := ""; ; {
		var is []*boot.Image
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) { is, err = tx.Images(after, page); return err }); err != nil {
			return nil, err
		}
		for _, i := range is {
			after = i.Name
			note("image "+i.Name+", file", i.Files, i.Lazy)
		}
		if len(is) < page {
			break
		}
	}
	for _, r := range all {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Reference) int { return strings.Compare(a.Blob.Digest, b.Blob.Digest) })
	return out, nil
}

func (s BackupSource) eachHost(ctx context.Context, fn func(*boot.Host)) error {
	for after := boot.HostID(0); ; {
		var hs []*boot.Host
		if err := s.View(ctx, func(tx boot.ReadTx) (err error) { hs, err = tx.Hosts(after, page); return err }); err != nil {
			return err
		}
		for _, h := range hs {
			after = h.ID
			fn(h)
		}
		if len(hs) < page {
			return nil
		}
	}
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
