// template.go: templates, and the files that they and images are made of, which are
// put beforehand.

package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/plan"
	"github.com/musterboot/muster/templates"
)

// templateFile sends a file of the version in force.
func (s *Server) templateFile(w http.ResponseWriter, r *http.Request) {
	t, err := s.inForce(r.PathValue("name"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	b, has := t.Files[r.PathValue("file")]
	if !has {
		s.fail(w, r, boot.NewFault(boot.NotThere, "template %s has no file %s", t.Name, boot.CleanText(r.PathValue("file"), 200)))
		return
	}
	f, err := s.Files.Open(b.Digest)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", octets)
	h.Set("Content-Disposition", "attachment") // never shown as a page of ours
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	_, _ = io.Copy(w, f) // a client that left early
}

func (s *Server) template(r *http.Request) (any, error) {
	t, err := s.inForce(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	out := client.TemplateShown{Template: *t}
	if r.URL.Query().Get("spec") == "true" {
		text, err := s.bytesOf(t.Files[templates.SpecFile])
		if err != nil {
			return nil, err
		}
		out.Spec = string(text)
	}
	return out, nil
}

func (s *Server) inForce(name string) (*boot.Template, error) {
	for _, t := range s.Engine.Policy().Templates {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, boot.NewFault(boot.UnknownTemplate, "no template is called %s", name).Try("muster template list")
}

func (s *Server) push(r *http.Request) (any, error) {
	var p client.Push
	if err := read(r, &p); err != nil {
		return nil, err
	}
	if p.DryRun {
		own, err := []byte(p.Spec), error(nil)
		if _, has := p.Files[templates.SpecFile]; has && p.Spec == "" {
			if err := s.uploaded(p.Files); err != nil {
				return nil, err
			}
			if own, err = s.bytesOf(p.Files[templates.SpecFile]); err != nil {
				return nil, err
			}
		}
		text, base, err := s.extended(p.Files, own)
		if err != nil {
			return nil, err
		}
		spec, err := templates.ParseSpec(templates.SpecFile, text)
		if err != nil {
			return nil, boot.NewFault(boot.Invalid, "%v", err)
		}
		t := spec.Template()
		t.Files, t.Base = p.Files, base
		c, err := s.try(r, boot.PushTemplate{Template: t, Images: spec.ImageFiles()})
		if err != nil {
			return nil, err
		}
		n, err := s.affected(r.Context(), c.Template)
		return client.Pushed{Template: *c.Template, Affected: n, Warnings: c.Warnings}, err
	}
	s.referring.RLock()
	defer s.referring.RUnlock()
	t, spec, err := s.linted(r.Context(), p.Files)
	if err != nil {
		return nil, err
	}
	n, err := s.affected(r.Context(), t)
	if err != nil {
		return nil, err
	}
	if n > plan.Surprises && p.Count != n {
		return nil, boot.NewFault(boot.Unconfirmed, "this version of %s is what %d machines boot next: say that number to store it", t.Name, n).Try("muster template preview")
	}
	c, err := s.do(r, boot.PushTemplate{Template: *t, Images: spec.ImageFiles()})
	if err != nil {
		return nil, err
	}
	warnings := slices.Concat(c.Warnings, spec.Advice, s.sealOld(r, c.Template.Name))
	return client.Pushed{Template: *c.Template, Affected: n, Warnings: warnings}, nil
}

// linted judges files that were put beforehand as a template.
func (s *Server) linted(ctx context.Context, files map[string]boot.Blob) (*boot.Template, *templates.Spec, error) {
	if err := s.uploaded(files); err != nil {
		return nil, nil, err
	}
	own, err := s.bytesOf(files[templates.SpecFile])
	if err != nil {
		return nil, nil, err
	}
	text, base, err := s.extended(files, own)
	if err != nil {
		return nil, nil, err
	}
	if base != nil {
		files[templates.OwnSpecFile] = files[templates.SpecFile]
		if files[templates.SpecFile], err = s.Files.Put(ctx, bytes.NewReader(text), ""); err != nil {
			return nil, nil, err
		}
	}
	spec, err := templates.Lint(files, func(f string) (io.ReadCloser, error) { return s.Files.Open(files[f].Digest) })
	if err != nil {
		return nil, nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	t := spec.Template()
	t.Files, t.Base = files, base
	return &t, spec, nil
}

// extended is a template.toml as it counts: joined with that of the template that it
// extends, whose files join files.
func (s *Server) extended(files map[string]boot.Blob, own []byte) ([]byte, *boot.Base, error) {
	delete(files, templates.OwnSpecFile) // it is made here alone
	if files == nil {
		files = map[string]boot.Blob{}
	}
	spec, err := templates.ParseSpec(templates.SpecFile, own)
	if err != nil {
		return nil, nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	if spec.Extends == "" {
		return own, nil, nil
	}
	base, err := s.inForce(spec.Extends)
	if err != nil || base.ThisRun {
		return nil, nil, boot.NewFault(boot.Invalid, "template %s extends %s, and no template is called so: push that one first", spec.Name, boot.CleanText(spec.Extends, 64)).Try("muster template list")
	}
	for b, n := base, 0; b != nil; n++ {
		if b.Name == spec.Name || n > 16 {
			return nil, nil, boot.NewFault(boot.Invalid, "template %s extends %s, which extends it: a loop", spec.Name, base.Name)
		}
		if b.Base == nil {
			break
		}
		b, _ = s.inForce(b.Base.Name)
	}
	below, err := s.bytesOf(base.Files[templates.SpecFile])
	if err != nil {
		return nil, nil, err
	}
	text, from, err := templates.Extend(files, own, base, below)
	if err != nil {
		return nil, nil, boot.NewFault(boot.Invalid, "%v", err)
	}
	return text, &boot.Base{Name: base.Name, Version: base.Version, Files: from}, nil
}

// affected counts the machines that boot a version next because it is pushed: those that
// are approved, have no version of their own, and name it or match it.
func (s *Server) affected(ctx context.Context, x *boot.Template) (n int, err error) {
	var pinned uint64
	if err := s.Engine.View(ctx, func(tx boot.ReadTx) (err error) { pinned, err = tx.Counter(boot.InForce(x.Name)); return err }); err != nil || pinned != 0 {
		return 0, err
	}
	would := s.wouldBoot(x)
	err = each(ctx, s.Engine, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) }, func(h *boot.Host) boot.HostID {
		if h.State == boot.Approved && (h.Once == x.Name || h.Pin == 0 && would(h)) {
			n++
		}
		return h.ID
	})
	return n, err
}

// wouldBoot says which hosts would boot a version if it were in force.
func (s *Server) wouldBoot(x *boot.Template) func(*boot.Host) bool {
	all := slices.DeleteFunc(slices.Clone(s.Engine.Policy().Templates), func(t *boot.Template) bool { return t.Name == x.Name })
	all = append(all, x)
	boot.SortTemplates(all)
	return func(h *boot.Host) bool {
		return slices.Contains(h.Templates(), x.Name) || h.Template == "" && boot.Choose(all, h.Facts()).Template == x
	}
}

// sealOld seals what hosts and scopes still have in plain text of parameters that are
// secret in the version in force, and says so. It is an order for each: what somebody
// else changes meanwhile stays, and the next push finds it.
func (s *Server) sealOld(r *http.Request, name string) (warnings []string) {
	t, err := s.inForce(name)
	if err != nil || !slices.ContainsFunc(slices.Collect(maps.Values(t.Params)), func(p boot.Param) bool { return p.Secret }) || s.Engine.Policy().Sealer == nil {
		return nil
	}
	plain := func(params map[string]string) map[string]*string {
		out := map[string]*string{}
		for k, v := range params {
			if t.Params[k].Secret {
				out[k] = &v
			}
		}
		return out
	}
	var orders []boot.Order
	var names [][]string // of each order
	found := func(params map[string]*string, o boot.Order) {
		if len(params) > 0 {
			orders, names = append(orders, o), append(names, slices.Sorted(maps.Keys(params)))
		}
	}
	err = each(r.Context(), s.Engine, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) }, func(h *boot.Host) boot.HostID {
		if named := h.Templates(); len(named) == 0 || slices.Contains(named, t.Name) {
			params := plain(h.Params)
			found(params, boot.AsSeen{Name: h.Name, ID: h.ID, Revision: h.Revision, Order: boot.SetHost{Name: h.Name, Params: params}})
		}
		return h.ID
	})
	err = errors.Join(err, s.eachScope(r, func(v *boot.Values) {
		params := plain(v.Params)
		found(params, boot.SetParams{Scope: v.Scope, Revision: v.Revision, Params: params})
	}))
	var sealed []string
	hosts, scopes := 0, 0
	for i, o := range orders {
		c, e := s.do(r, o)
		if e != nil {
			err = e
			continue
		}
		warnings = append(warnings, c.Warnings...)
		if _, is := o.(boot.SetParams); is {
			scopes++
		} else {
			hosts++
		}
		sealed = append(sealed, names[i]...)
	}
	if slices.Sort(sealed); len(sealed) > 0 {
		warnings = append(warnings, fmt.Sprintf("%s is secret now: sealed on %s. It was in plain text until now, and still is in older backups: change it where that matters", strings.Join(slices.Compact(sealed), " and "), places(hosts, scopes)))
	}
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("a secret parameter is in plain text still: %v; push the template again", err))
	}
	return warnings
}

// places says on how many hosts and scopes something is.
func places(hosts, scopes int) string {
	var where []string
	for _, c := range []struct {
		n    int
		what string
	}{{hosts, "host"}, {scopes, "scope"}} {
		switch {
		case c.n == 1:
			where = append(where, "one "+c.what)
		case c.n > 1:
			where = append(where, fmt.Sprintf("%d %ss", c.n, c.what))
		}
	}
	return strings.Join(where, " and ")
}

// stillSealed warns of values that are sealed and that the version in force takes in plain
// text: it is given none of them, and machines that have one wait.
func (s *Server) stillSealed(r *http.Request, name string) []string {
	t, err := s.inForce(name)
	if err != nil || t == nil {
		return nil
	}
	hosts, scopes := 0, 0
	var params []string
	sealed := func(names []string) bool {
		is := false
		for _, k := range names {
			if p, declared := t.Params[k]; declared && !p.Secret {
				params, is = append(params, k), true
			}
		}
		return is
	}
	err = each(r.Context(), s.Engine, 0, func(tx boot.ReadTx, after boot.HostID) ([]*boot.Host, error) { return tx.Hosts(after, page) }, func(h *boot.Host) boot.HostID {
		if named := h.Templates(); (len(named) == 0 || slices.Contains(named, t.Name)) && sealed(h.Secrets) {
			hosts++
		}
		return h.ID
	})
	if err == nil {
		err = s.eachScope(r, func(v *boot.Values) {
			if sealed(v.Secrets) {
				scopes++
			}
		})
	}
	if err != nil || len(params) == 0 {
		return nil
	}
	slices.Sort(params)
	return []string{fmt.Sprintf("%s: version %d takes it in plain text, and it is sealed on %s: their machines wait. Set it anew (muster host set, muster param set), or go back with muster template unpin %s",
		strings.Join(slices.Compact(params), " and "), t.Version, places(hosts, scopes), name)}
}

// uploaded refuses a list of files of which one is not here whole, or has a
// name that no URL should carry.
func (s *Server) uploaded(files map[string]boot.Blob) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := templates.ValidFile(name); err != nil {
			return boot.NewFault(boot.Invalid, "%v", err)
		}
		b := files[name]
		if err := images.CheckDigest(b.Digest); err != nil {
			return fmt.Errorf("file %s: %w", name, err)
		}
		if n, ok := s.Files.Has(b.Digest); !ok || n != b.Size {
			return boot.NewFault(boot.Invalid, "file %s was not uploaded whole", name)
		}
	}
	return nil
}

func (s *Server) drop(r *http.Request) (any, error) {
	_, err := s.do(r, boot.DropTemplate{Name: r.PathValue("name")})
	return struct{}{}, err
}

func (s *Server) file(r *http.Request) (any, error) {
	digest := r.PathValue("digest")
	if err := images.CheckDigest(digest); err != nil {
		return nil, err
	}
	n, ok := s.Files.Has(digest)
	if !ok {
		return nil, boot.NewFault(boot.NotThere, "no file has the digest %s", digest)
	}
	b := boot.Blob{Digest: digest, Size: n}
	// Who asks would not send it: so that a damaged file is replaced by the next push.
	if err := s.Files.Verify(r.Context(), b, func(int64) {}); err != nil {
		return nil, boot.NewFault(boot.NotThere, "the file of digest %s is damaged: %v", digest, err)
	}
	return b, nil
}

func (s *Server) putFile(r *http.Request) (any, error) {
	b, err := s.Files.Put(r.Context(), r.Body, r.PathValue("digest"))
	return b, brokeOff(err, "the file")
}
