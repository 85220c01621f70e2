// image.go: "muster image".

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/templates"
)

func (a *app) imageCmd() *cobra.Command {
	c := group("image", "Files that templates share")
	var public bool
	var sum, arch, variant string
	imp := &cobra.Command{
		Use: "import NAME DISC|ARCHIVE|FOLDER|URL|FILE...", Short: "Store files that machines boot, under a name",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("%s wants a name and what to store; see: %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		Long: `Store what machines boot under a name: a disc image (.iso), a netboot archive (.tar, .tar.gz),
a folder, single files such as a kernel and its initrd, or one of these from a URL. What it is
is found out: Debian, Ubuntu, Fedora and EL, openSUSE, Alpine, Arch, Proxmox VE, ESXi, Talos and
Flatcar are known; of other discs the whole image is offered. Files of a disc that an installer
reads later are served from inside it. Each file is stored once, by its digest; an import that
breaks off leaves nothing. A name never changes its bytes; new files want a new name.`,
		Example: `  muster image import debian12 debian-12.9.0-amd64-netinst.iso
  muster image import di12 netboot.tar.gz
  muster image import rescue vmlinuz initrd.gz
  muster image import alpine https://dl.example/alpine.iso --sha256 DIGEST
  muster image import firmware ./fw --public`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.importImage(c.Context(), args[0], args[1:], public, sum)
		},
	}
	imp.Flags().BoolVar(&public, "public", false, "serve it to anyone on a configured network, without a boot path")
	imp.Flags().StringVar(&sum, "sha256", "", "digest that the disc, archive or file must have; a URL needs it")
	show := &cobra.Command{
		Use: "show NAME", Short: "Show an image, and a template that boots it", Args: exactly(1, "an image's name"), Example: "  muster image show debian12",
		RunE: func(c *cobra.Command, args []string) error {
			i, err := a.image(c.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(i)
			}
			a.print("%s  %s\nimported %s\n\n", i.Name, i.Title, i.Imported.Local().Format(time.DateTime))
			rows := [][]string{{"FILE", "SIZE", "SHA-256"}}
			for _, n := range slices.Sorted(maps.Keys(i.Files)) {
				if len(rows) > 40 {
					rows = append(rows, []string{fmt.Sprintf("and %d more", len(i.Files)-40), "", ""})
					break
				}
				rows = append(rows, []string{n, size(i.Files[n].Size), i.Files[n].Digest})
			}
			a.table(rows)
			if i.Tree != "" {
				a.print("\nthe files inside %s are served as images/%s/tree/…\n", i.Tree, i.Name)
			}
			a.showBoots(i)
			return nil
		},
	}
	verify := &cobra.Command{
		Use: "verify [NAME]", Short: "Read an image again and compare it with its digests", Example: "  muster image verify debian12\n  muster image verify          every image",
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error { return a.verifyImages(c.Context(), args) },
	}
	tmpl := &cobra.Command{
		Use: "template NAME DIR", Short: "Write a template that boots an image", Args: exactly(2, "an image's name and a folder that does not exist"),
		Long: `Write a folder that muster template push takes: template.toml and what else the
image needs to boot, for ESXi its boot.cfg. Edit it before you push it: it says which
kernel boots and how, but not for which machines, and not that it installs.`,
		Example: "  muster image template esxi8 ./esxi8\n  muster template push ./esxi8\n  muster image template --arch arm64 --variant rescue debian13 ./rescue-arm64",
		RunE: func(c *cobra.Command, args []string) error {
			return a.writeTemplate(c.Context(), args[0], args[1], arch, variant)
		},
	}
	tmpl.Flags().StringVar(&arch, "arch", "", "x64 or arm64, for an image that has both")
	tmpl.Flags().StringVar(&variant, "variant", "", "another way to boot it; muster image show lists them")
	list := &cobra.Command{
		Use: "list", Short: "List images", Args: exactly(0, "no arguments"), Example: "  muster image list",
		RunE: func(c *cobra.Command, _ []string) error {
			var is []boot.Image
			if err := client.ReadAll(c.Context(), a.client(), "/api/v1/images", &is); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(is)
			}
			if len(is) == 0 {
				a.print("no images yet; store one with: muster image import NAME DIR\n")
				return nil
			}
			rows := [][]string{{"NAME", "WHAT", "FILES", "SIZE", "PUBLIC", "IMPORTED"}}
			for _, i := range is {
				var n int64
				for _, b := range i.Files {
					n += b.Size
				}
				public := ""
				if i.Public {
					public = "yes"
				}
				what := i.Title
				if what == "" {
					what = i.Kind
				}
				rows = append(rows, []string{i.Name, what, fmt.Sprint(len(i.Files)), size(n), public, ago(i.Imported)})
			}
			a.table(rows)
			return nil
		},
	}
	rm := &cobra.Command{
		Use: "rm NAME", Short: "Forget an image that no template boots", Args: exactly(1, "an image's name"), Example: "  muster image rm debian12",
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.client().Call(c.Context(), http.MethodDelete, "/api/v1/images/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.said(struct{}{}, "%s removed", args[0])
		},
	}
	c.AddCommand(a.imageMirrorCmd(), imp, list, show, tmpl, verify, rm)
	return c
}

func (a *app) importImage(ctx context.Context, name string, paths []string, public bool, sum string) error {
	if sum != "" {
		if sum = strings.ToLower(strings.TrimPrefix(sum, "sha256:")); !images.ValidDigest(sum) {
			return usagef("--sha256 %q: want 64 hexadecimal digits", sum)
		}
		if len(paths) != 1 {
			return usagef("--sha256 is for one disc, archive, file or URL")
		}
	}
	if u, err := url.Parse(paths[0]); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if sum == "" {
			return usagef("a URL needs --sha256: what comes over a network is stored only if it is what was meant")
		}
		file, done, err := a.download(ctx, u, sum)
		if err != nil {
			return err
		}
		defer done()
		paths = []string{file}
	} else if sum != "" {
		if err := a.hasDigest(ctx, paths[0], sum); err != nil {
			return err
		}
	}
	src, err := images.Inspect(name, paths...)
	if err != nil {
		return usageError{err}
	}
	defer src.Close()
	src.Image.Public = public
	for _, w := range src.Warnings {
		a.note("note: %s\n", w)
	}
	p := a.progress("storing "+name, src.Bytes())
	img, err := a.storeImage(ctx, src, p.add)
	p.end()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s imported, %s", img.Name, counted(len(img.Files), "file"))
	if img.Title != "" {
		what += ": " + img.Title
	}
	return a.said(img, "%s; a template for it: muster image show %s", what, img.Name)
}

func (a *app) image(ctx context.Context, name string) (*boot.Image, error) {
	var is []boot.Image
	if err := client.ReadAll(ctx, a.client(), "/api/v1/images", &is); err != nil {
		return nil, err
	}
	for _, i := range is {
		if i.Name == name {
			return &i, nil
		}
	}
	return nil, fmt.Errorf("no image is called %s (muster image list)", name)
}

func (a *app) verifyImages(ctx context.Context, names []string) error {
	if len(names) == 0 {
		var is []boot.Image
		if err := client.ReadAll(ctx, a.client(), "/api/v1/images", &is); err != nil {
			return err
		}
		for _, i := range is {
			names = append(names, i.Name)
		}
	}
	type verdict struct {
		Image string            `json:"image"`
		Files int               `json:"files"`
		Wrong []client.Verified `json:"wrong,omitempty"`
	}
	var all []verdict
	wrong := 0
	for _, n := range names {
		v := verdict{Image: n}
		var p *meter
		err := a.client().VerifyImage(ctx, n, func(l client.Verified) {
			switch {
			case l.Wrong != "":
				v.Wrong = append(v.Wrong, l)
			case p == nil:
				p = a.progress("reading "+n, l.Total)
				fallthrough
			default:
				p.set(l.Read)
				v.Files = l.Files
			}
		})
		if p != nil {
			p.end()
		}
		if err != nil {
			return err
		}
		all = append(all, v)
		wrong += len(v.Wrong)
		if a.json {
			continue
		}
		for _, w := range v.Wrong {
			a.print("%s/%s: %s\n", n, w.File, w.Wrong)
		}
		if len(v.Wrong) == 0 {
			a.print("%s: %d files are what they were\n", n, v.Files)
		}
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d files are damaged: import them again under another name, and look at the disk", wrong)
	}
	return nil
}

// download fetches a URL that the user of the command named. The daemon itself never
// connects to other servers for files.
func (a *app) download(ctx context.Context, u *url.URL, sum string) (file string, done func(), err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", nil, usageError{err}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("%s: %s", u, resp.Status)
	}
	dir, err := os.MkdirTemp("", "muster-import-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	base := path.Base(u.Path)
	if base == "/" || base == "." {
		base = "download"
	}
	file = filepath.Join(dir, base)
	f, err := os.Create(file)
	if err == nil {
		p := a.progress("fetching "+base, resp.ContentLength)
		_, err = io.Copy(io.MultiWriter(f, p), resp.Body)
		p.end()
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err == nil {
		err = a.hasDigest(ctx, file, sum)
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return file, done, nil
}

func (a *app) hasDigest(ctx context.Context, file, sum string) error {
	f, err := os.Open(file)
	if err != nil {
		return usageError{err}
	}
	defer f.Close()
	b, err := images.Digest(f)
	if err != nil {
		return err
	}
	if b.Digest != sum {
		return fmt.Errorf("%s: %w: want %s, got %s", filepath.Base(file), images.ErrDigest, sum, b.Digest)
	}
	return ctx.Err()
}

// writeTemplate makes a template's folder from what is known of an image.
func (a *app) writeTemplate(ctx context.Context, name, dir, arch, variant string) error {
	i, err := a.image(ctx, name)
	if err != nil {
		return err
	}
	files, err := templates.Suggest(i, arch, variant)
	if err != nil {
		return usageError{err}
	}
	if len(files) == 0 {
		return fmt.Errorf("nothing in image %s is known to boot: muster image show %s lists its files", name, name)
	}
	if err := writeFolder(dir, files); err != nil {
		return err
	}
	return a.said(map[string]string{"template": dir}, "%s boots %s; look at it, then: muster template push %s", dir, name, dir)
}

// writeFolder makes a folder that is not there.
func writeFolder(dir string, files map[string]string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return usageError{err}
	}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(files[f]), 0o644); err != nil {
			return errors.Join(err, os.RemoveAll(dir)) // nobody must push half of a folder
		}
	}
	return nil
}

// showBoots prints how an image boots, and the template of it.
func (a *app) showBoots(i *boot.Image) {
	for _, b := range i.Boots {
		a.print("\n%s boots %s\n", b.Arch, strings.Join(append([]string{b.Kernel}, b.Initrd...), " with "))
	}
	if len(i.Variants) > 1 {
		rows := [][]string{{"VARIANT", ""}}
		for _, v := range i.Variants {
			rows = append(rows, []string{v.Name, v.Title})
		}
		a.print("\n")
		a.table(rows)
	}
	arch := ""
	if len(i.Boots) > 1 {
		arch = i.Boots[0].Arch
	}
	files, err := templates.Suggest(i, arch, "")
	if err != nil || len(files) == 0 {
		return
	}
	say := "muster image template " + i.Name + " DIR"
	if arch != "" {
		say = "muster image template --arch " + arch + " " + i.Name + " DIR"
	}
	a.print("\na template.toml that boots it (%s writes it):\n\n%s\n", say, lines(files[templates.SpecFile], ""))
}

// meter shows the progress of something long. On a terminal it overwrites one line,
// elsewhere it prints a line at every tenth, with --json it prints nothing.
type meter struct {
	a     *app
	what  string
	total int64
	n     int64
	told  time.Time
	tenth int64
	quiet bool
}

func (a *app) progress(what string, total int64) *meter {
	return &meter{a: a, what: what, total: total, quiet: a.json || total < 8<<20}
}

func (m *meter) Write(b []byte) (int, error) {
	m.add(len(b))
	return len(b), nil
}

func (m *meter) add(n int) { m.set(m.n + int64(n)) }

func (m *meter) set(n int64) {
	m.n = n
	if m.quiet || m.total <= 0 {
		return
	}
	if isTerminal(m.a.err) {
		if time.Since(m.told) > 100*time.Millisecond {
			m.told = time.Now()
			m.a.note("\r%s  %3d %%  %s of %s ", m.what, 100*n/m.total, size(n), size(m.total))
		}
	} else if t := 10 * n / m.total; t > m.tenth {
		m.tenth = t
		m.a.note("%s: %d %%\n", m.what, 10*t)
	}
}

func (m *meter) end() {
	if !m.quiet && m.total > 0 && isTerminal(m.a.err) {
		m.a.note("\r%s  done, %s%s\n", m.what, size(m.n), strings.Repeat(" ", 20))
	}
}

// storeImage sends an image; sent is told how many bytes have gone.
func (a *app) storeImage(ctx context.Context, src *images.Source, sent func(int)) (*boot.Image, error) {
	return a.client().ImportImage(ctx, &src.Image, func(t *tar.Writer) error { return src.Stream(t, sent) })
}
