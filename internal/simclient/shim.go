package simclient

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/musterboot/muster/internal/simclient/script"
)

// This file is shim and GRUB: the file names that signed builds ask for.

// shim asks for its own updates first and then for GRUB, all in its own folder.
func (r *run) shim(ctx context.Context, f *script.File) error {
	arch := "x64"
	if r.m.Kind.cpu == "arm64" {
		arch = "aa64"
	}
	m := r.grubManner()
	m.blksize = 512
	for _, name := range []string{"revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi"} { // shim 16
		if _, err := r.fetch(ctx, "shim", script.Resolve(f.URI, name), m); err != nil && ctx.Err() != nil {
			return err
		}
	}
	m.quiet = false
	g, err := r.fetch(ctx, "loader", script.Resolve(f.URI, "grub"+arch+".efi"), m)
	if err != nil {
		return err
	}
	return r.grub(ctx, g)
}

func (r *run) grubManner() manner {
	return manner{agent: "GRUB 2.06", blksize: 1024, probe: true, quiet: true}
}

// grub is the machine as GRUB. GRUB sends no identity, so a server knows it
// only by its source address, which must be the leased one.
func (r *run) grub(ctx context.Context, f *script.File) error {
	if r.src != r.l.addr && !r.addr.relay.IsValid() {
		src, back, err := r.addr.source(r.l, true)
		if err != nil {
			return r.fail("address", err)
		}
		r.backs = append(r.backs, back)
		r.lent(src, r.l)
		r.step(Step{Name: "address", Verdict: OK, Text: fmt.Sprintf("a server knows GRUB by its address: files are fetched from %s, added to %s for the run", src, r.h.dev)})
		r.src = src
		for _, w := range r.webs {
			w.close()
		}
		clear(r.webs)
	}
	u, err := url.Parse(f.URI)
	if err != nil {
		return err
	}
	dir, _ := path.Split(u.Path)
	g := script.NewGRUB(script.Facts{CPU: r.m.Kind.cpu, MAC: r.m.MAC.String(), IP: r.l.addr.String(), UUID: r.m.UUID.String(), Serial: r.m.Serial}, &grubHost{r, r.grubManner()}, u)
	for _, n := range []string{"command", "fs", "crypto", "terminal"} {
		g.Open(ctx, "modules", g.File("/grub/"+r.m.Kind.cpu+"-efi/"+n+".lst"))
		if ctx.Err() != nil {
			return r.over(ctx)
		}
	}
	var text *script.File
	var name string
	names := []string{"/grub/grub.cfg", path.Join("/", dir, "grub.cfg"), "/EFI/BOOT/grub.cfg", "/boot/grub/grub.cfg", "/EFI/redhat/grub.cfg"}
	for _, n := range names {
		name = g.File(n)
		if text, err = g.Open(ctx, "config", name); err == nil {
			break
		}
		if !script.Refused(err) {
			return r.fail("config", explained(err, n))
		}
	}
	if err != nil {
		return r.fail("config", fault("put GRUB's configuration there, or serve it by the machine's address", "there is no grub.cfg under %s", strings.Join(names, ", ")))
	}
	err = g.Run(ctx, name, text)
	r.t.Says = append(r.t.Says, g.Said...)
	if b, ok := err.(*script.Booting); ok {
		return r.kernel(ctx, r.m.Kind, b.Plan)
	}
	return err
}

// grubHost is a machine as its GRUB sees it.
type grubHost struct {
	r *run
	m manner
}

func (h *grubHost) Load(ctx context.Context, step, uri string) (*script.File, error) {
	return h.r.fetch(ctx, step, uri, h.m)
}
func (h *grubHost) Pause(ctx context.Context, d time.Duration) { h.r.pause(ctx, d) }
func (h *grubHost) Explained(err error, name string) error     { return explained(err, name) }
func (h *grubHost) Fail(step string, err error) error          { return h.r.fail(step, err) }
