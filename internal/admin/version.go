// version.go: the versions of a template: which there are, who has which, how two differ,
// and what one would change of what machines read.

package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/boot/match"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/internal/plan"
	"github.com/musterboot/muster/templates"
)

// Bounds of what is listed.
const (
	listedChanges  = 20
	listedFailures = 500
	maxDiffed      = 1 << 20
)

// versionsOf lists the versions of a template, oldest first.
func (s *Server) versionsOf(ctx context.Context, name string) (out []*boot.Template, err error) {
	err = each(ctx, s.Engine, 0, func(tx boot.ReadTx, after boot.TemplateID) ([]*boot.Template, error) {
		return tx.Templates(after, page)
	},
		func(t *boot.Template) boot.TemplateID {
			if t.Name == name {
				out = append(out, t)
			}
			return t.ID
		})
	if err != nil {
		return nil, err
	}
	// Versions of a name that was dropped are numbered from 1 again.
	for i, t := range slices.Backward(out) {
		if t.Version == 1 {
			out = out[i:]
			break
		}
	}
	var newest *boot.Template
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) { newest, err = tx.NewestTemplate(name); return err }); err != nil {
		return nil, err
	}
	if newest == nil || len(out) == 0 {
		return nil, boot.NewFault(boot.UnknownTemplate, "no template is called %s", boot.CleanText(name, 64)).Try("muster template list")
	}
	return out, nil
}

// version picks one by its number; 0 is the newest.
func version(all []*boot.Template, n int) (*boot.Template, error) {
	if n == 0 {
		return all[len(all)-1], nil
	}
	for _, t := range all {
		if t.Version == n {
			return t, nil
		}
	}
	return nil, boot.NewFault(boot.UnknownTemplate, "template %s has no version %d", all[0].Name, n).Try("muster template history %s", all[0].Name)
}

func (s *Server) versions(r *http.Request) (any, error) {
	all, err := s.versionsNow(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return paged(r, all, func(v client.Version) string { return fmt.Sprintf("%09d", v.Version) })
}

func (s *Server) versionsNow(ctx context.Context, name string) ([]client.Version, error) {
	all, err := s.versionsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	hosts := map[boot.TemplateID]int{}
	if err := each(ctx, s.Engine, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) },
		func(h *boot.Host) boot.HostID { hosts[h.Pin]++; return h.ID }); err != nil {
		return nil, err
	}
	var force *boot.Template
	var pinned uint64
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) {
		if force, err = tx.TemplateByName(all[0].Name); err != nil {
			return err
		}
		pinned, err = tx.Counter(boot.InForce(all[0].Name))
		return err
	}); err != nil {
		return nil, err
	}
	out := []client.Version{}
	for _, t := range all {
		is := force != nil && t.ID == force.ID
		out = append(out, client.Version{Template: *t, InForce: is, Pinned: is && pinned == uint64(t.ID), Hosts: hosts[t.ID]})
	}
	return out, nil
}

func (s *Server) pin(r *http.Request) (any, error) {
	var p client.Pin
	if err := read(r, &p); err != nil {
		return nil, err
	}
	all, err := s.versionsOf(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	t, err := version(all, p.Version)
	if err != nil {
		return nil, err
	}
	o := boot.PinTemplate{Name: t.Name, ID: t.ID}
	if p.Version == 0 {
		o.ID = 0
	}
	if _, err := s.do(r, o); err != nil {
		return nil, err
	}
	out := client.InForce{Warnings: append(s.sealOld(r, t.Name), s.stillSealed(r, t.Name)...)}
	out.Versions, err = s.versionsNow(r.Context(), t.Name)
	return out, err
}

// versionDiff compares the files of two versions.
func (s *Server) versionDiff(r *http.Request) (any, error) {
	all, err := s.versionsOf(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	number := func(key string, or int) (*boot.Template, error) {
		text := r.URL.Query().Get(key)
		if text == "" {
			return version(all, or)
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, boot.NewFault(boot.Malformed, "%s=%s: want the number of a version", key, boot.CleanText(text, 32))
		}
		return version(all, n)
	}
	to, err := number("to", 0)
	if err != nil {
		return nil, err
	}
	from, err := number("from", max(1, to.Version-1))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, t := range []*boot.Template{from, to} {
		for f := range t.Files {
			names[f] = true
		}
	}
	out := []client.Difference{}
	for _, f := range slices.Sorted(maps.Keys(names)) {
		a, b := from.Files[f], to.Files[f]
		if a.Digest == b.Digest {
			continue
		}
		d := client.Difference{File: f, Text: sizes(a.Size, b.Size)}
		if a.Size <= maxDiffed && b.Size <= maxDiffed {
			was, err := s.bytesOf(a)
			if err != nil {
				return nil, err
			}
			is, err := s.bytesOf(b)
			if err != nil {
				return nil, err
			}
			d.Text = unified(fmt.Sprintf("%s, version %d", f, from.Version), fmt.Sprintf("%s, version %d", f, to.Version), was, is)
		}
		out = append(out, d)
	}
	return out, nil
}

func (s *Server) bytesOf(b boot.Blob) ([]byte, error) {
	if b.Digest == "" {
		return nil, nil
	}
	f, err := s.Files.Open(b.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDiffed))
}

func sizes(a, b int64) string { return fmt.Sprintf("%d bytes, and %d bytes\n", a, b) }

// unified is the difference of two texts.
func unified(from, to string, a, b []byte) string {
	if !utf8.Valid(a) || !utf8.Valid(b) || bytes.IndexByte(a, 0) >= 0 || bytes.IndexByte(b, 0) >= 0 {
		return sizes(int64(len(a)), int64(len(b)))
	}
	lines := func(b []byte) []string {
		if len(b) == 0 {
			return nil
		}
		return difflib.SplitLines(string(bytes.TrimSuffix(b, []byte("\n"))))
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: lines(a), B: lines(b), FromFile: from, ToFile: to, Context: 2})
	if err != nil || text == "" {
		return sizes(int64(len(a)), int64(len(b))) // they differ in the last line end
	}
	return text
}

// preview renders a version for each machine, as it is and as it would be.
func (s *Server) preview(r *http.Request) (any, error) {
	var q client.Preview
	if err := read(r, &q); err != nil {
		return nil, err
	}
	ctx := r.Context()
	x, err := s.previewOf(ctx, &q)
	if err != nil {
		return nil, err
	}
	out := client.Previewed{Name: x.Name, Version: x.Version, Failed: []client.Failed{}, Listed: []client.PreviewedMachine{}}
	one := func(h *boot.Host) error { return s.previewHost(ctx, &out, h, x) }
	if len(q.Names) > 0 {
		if q.Query != "" {
			return nil, boot.NewFault(boot.Invalid, "names, or a query: not both")
		}
		for _, name := range q.Names {
			h, err := plan.Find(ctx, s.Engine, name)
			if err == nil {
				err = one(h)
			}
			if err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	m, err := match.Parse(q.Query)
	if err != nil {
		return nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	would := s.wouldBoot(x)
	err = plan.Select(ctx, s.Engine, m, 0, func(hs []*boot.Host) error {
		for _, h := range hs {
			if h.State == boot.Denied || m.Empty() && !would(h) {
				continue
			}
			if err := one(h); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return out, err
}

// previewOf is the version that is asked about.
func (s *Server) previewOf(ctx context.Context, q *client.Preview) (*boot.Template, error) {
	if len(q.Files) == 0 {
		all, err := s.versionsOf(ctx, q.Name)
		if err != nil {
			return nil, err
		}
		return version(all, q.Version)
	}
	s.referring.RLock()
	defer s.referring.RUnlock()
	t, _, err := s.linted(ctx, q.Files)
	return t, err
}

// unrendered are the files that differ of those that are served as they are, a kernel for
// one.
func unrendered(had, x *boot.Template, rendered map[string]bool) (out []client.Difference) {
	names := maps.Clone(had.Files)
	maps.Copy(names, x.Files)
	for _, f := range slices.Sorted(maps.Keys(names)) {
		switch name := strings.TrimSuffix(f, ".tmpl"); {
		case rendered[name], name == templates.SpecFile, name == templates.OwnSpecFile, name == "boot.ipxe", name == "grub.cfg":
			continue // it was compared, or is for another loader
		}
		if was, is := had.Files[f], x.Files[f]; was.Digest != is.Digest {
			out = append(out, client.Difference{File: f, Text: sizes(was.Size, is.Size)})
		}
	}
	return out
}

// previewHost renders for one machine what it has, and what it would have.
func (s *Server) previewHost(ctx context.Context, out *client.Previewed, h *boot.Host, x *boot.Template) error {
	out.Machines++
	render := func(t *boot.Template) (map[string][]byte, error) {
		m, err := s.Engine.InThought(ctx, h, t)
		if err != nil {
			return nil, err
		}
		m.Version = x.Version // which differs, and matters nowhere
		dialect := boot.IPXEScript
		if h.Secure == boot.SecureOn {
			dialect = boot.GRUBScript // which is what it can load
		}
		return s.Rendered(t, dialect, m)
	}
	is, err := render(x)
	if err != nil {
		if out.Failures++; len(out.Failed) < listedFailures {
			out.Failed = append(out.Failed, client.Failed{Name: h.Name, Why: boot.CleanText(err.Error(), 400)})
		}
		return ctx.Err()
	}
	var had *boot.Template
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) {
		if had, err = tx.Template(h.Pin); err != nil || had != nil && had.Name == x.Name {
			return err
		}
		had, err = tx.TemplateByName(x.Name)
		return err
	}); err != nil {
		return err
	}
	var was map[string][]byte
	one := client.PreviewedMachine{Name: h.Name}
	if had != nil {
		one.Was = had.Version
		was, _ = render(had) // what cannot be rendered today is new
	}
	names := map[string]bool{}
	for _, files := range []map[string][]byte{was, is} {
		for f := range files {
			names[f] = true
		}
	}
	for _, f := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Equal(was[f], is[f]) {
			one.Files = append(one.Files, client.Difference{File: f})
		}
	}
	if had != nil {
		one.Files = append(one.Files, unrendered(had, x, names)...)
	}
	if len(one.Files) == 0 {
		out.Unchanged++
		return ctx.Err()
	}
	if out.Changed++; len(out.Listed) < listedChanges {
		for i, d := range one.Files {
			if d.Text != "" {
				continue
			}
			one.Files[i].Text = unified(d.File+", now", d.File+", then", was[d.File], is[d.File])
		}
		out.Listed = append(out.Listed, one)
	}
	return ctx.Err()
}
