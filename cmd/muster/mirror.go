// mirror.go: "muster image mirror", the needed part of a Debian archive as an image.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/mirror"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// maxMissing is how many dependencies are named that nothing satisfies: of a suite that
// stands on another, as updates do, there are thousands.
const maxMissing = 20

func (a *app) imageMirrorCmd() *cobra.Command {
	var w mirror.Want
	var from, dir string
	c := &cobra.Command{
		Use: "mirror NAME", Short: "Store the needed part of a Debian archive, to install from without the internet", Args: exactly(1, "a name for the image"),
		Long: `Store the part of a Debian or Ubuntu archive that machines need, under a name: the base system,
packages of your choice and all that they depend on, and with --installer what Debian's installer
fetches. Its lists stay as they are, with the distribution's signatures, which are checked here
by gpgv and by every machine again. This command fetches, and the daemon connects to nobody; but
with --lazy the packages are fetched by the daemon when a machine asks for them, each once.

Machines reach it as http://SERVER/images/NAME: give templates of the catalogue the parameter
mirror=image:NAME. The same command again brings it up to date; --dir keeps what was fetched,
so that only what is new comes over the network.`,
		Example: `  muster image mirror debian13 --from http://deb.debian.org/debian --suite trixie --installer --packages vim,htop
  muster image mirror debian13 --from /media/usb/debian --suite trixie --dir /var/cache/debian13
  muster param set site mirror=image:debian13`,
		RunE: func(c *cobra.Command, args []string) error { return a.mirror(c.Context(), args[0], from, dir, w) },
	}
	fl := c.Flags()
	fl.StringVar(&from, "from", "", "the root of an archive: a URL, or a folder")
	fl.StringVar(&w.Suite, "suite", "", "suite: trixie, bookworm, noble")
	fl.StringSliceVar(&w.Components, "component", []string{"main"}, "component; may be given several times")
	fl.StringSliceVar(&w.Arches, "arch", []string{"amd64"}, "architecture, as Debian calls it; may be given several times")
	fl.StringSliceVar(&w.Packages, "packages", nil, "packages, besides the base system")
	fl.BoolVar(&w.Installer, "installer", false, "also what Debian's installer fetches and installs")
	fl.BoolVar(&w.Recommends, "recommends", false, "also what packages recommend")
	fl.BoolVar(&w.Lazy, "lazy", false, "store the lists alone: the daemon fetches a package when the first machine asks for it, and keeps it")
	fl.StringVar(&w.Keyring, "keyring", debianKeyring, "whose signatures are taken")
	fl.StringVar(&dir, "dir", "", "folder to keep it in, for this suite alone: an empty one, or that of the last time (default: a temporary one)")
	return c
}

func (a *app) mirror(ctx context.Context, name, from, dir string, w mirror.Want) error {
	if from == "" || w.Suite == "" {
		return usagef("say where it comes from and which suite: --from URL|FOLDER --suite trixie")
	}
	if _, err := os.Stat(w.Keyring); err != nil {
		return usagef("--keyring %s: %w: the keys of Debian are in the package debian-archive-keyring", w.Keyring, err)
	}
	var src mirror.Source = mirror.HTTP{Root: from, Client: mirror.NewClient()}
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		if _, err := os.Stat(from); err != nil {
			return usageError{err}
		}
		if dir != "" {
			if err := apart(dir, from); err != nil {
				return usageError{err}
			}
		}
		if w.Lazy {
			return usagef("--lazy wants a URL: the daemon has no way to a folder of yours")
		}
		src = mirror.Folder{FS: os.DirFS(from)}
	}
	img := boot.Image{Name: name, Kind: boot.MirrorImage, Public: true}
	if w.Lazy {
		img.Upstream = strings.TrimSuffix(from, "/")
	}
	if err := a.mayMirror(ctx, img); err != nil {
		return err
	}
	if dir == "" {
		tmp, err := os.MkdirTemp("", "muster-mirror-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	var p *meter
	took, err := mirror.Take(ctx, src, w, dir, func(total int64) { p = a.progress("fetching "+w.Suite, total) }, func(n int64) { p.add(int(n)) })
	if p != nil {
		p.end()
	}
	if err != nil {
		return err
	}
	for i, m := range took.Missing {
		if i == maxMissing {
			a.note("warning: and %d dependencies more that nothing satisfies\n", len(took.Missing)-i)
			break
		}
		a.note("warning: the archive has nothing for %s: who installs that will miss it\n", m)
	}
	s, err := images.Inspect(name, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	// What else somebody put into the folder is not for everybody.
	s.Entries = slices.DeleteFunc(s.Entries, func(e images.Entry) bool {
		_, ours := slices.BinarySearch(took.Files, e.Name)
		return !ours
	})
	img.Title = strings.TrimSpace(fmt.Sprintf("Debian archive, %s %s of %s, %s", took.Suite, took.Version, took.Date, strings.Join(w.Arches, " ")))
	s.Image = img
	if w.Lazy {
		s.Image.Files = map[string]boot.Blob{}
		for _, f := range took.Pool {
			s.Image.Files[f.Name] = boot.Blob{Digest: f.SHA256, Size: f.Size}
		}
	}
	p = a.progress("storing "+name, s.Bytes())
	stored, err := a.storeImage(ctx, s, p.add)
	p.end()
	if err != nil {
		return err
	}
	return a.said(map[string]any{"image": stored.Name, "title": stored.Title, "mirror": took}, "%s holds %s, %s (%s fetched now): machines take it by mirror=image:%s", name, counted(took.Packages, "package"), size(took.Bytes), size(took.Fetched), name)
}

// mayMirror tells before anything is fetched that the image cannot be stored.
func (a *app) mayMirror(ctx context.Context, img boot.Image) error {
	img.Files = map[string]boot.Blob{"dists": {}} // there will be some
	if err := img.Validate(); err != nil {
		return usageError{err}
	}
	var is []boot.Image
	if err := client.ReadAll(ctx, a.client(), "/api/v1/images", &is); err != nil {
		return err
	}
	for _, i := range is {
		if i.Name == img.Name && i.Kind != boot.MirrorImage {
			return fmt.Errorf("image %s exists and is no mirror, and a boot may be reading it: name another, such as %s-mirror", i.Name, i.Name)
		}
	}
	return nil
}

// apart refuses a folder for a mirror that is the archive's own, or lies within it or
// around it: the one is written, and the other only read.
func apart(dir, from string) error {
	var real [2]string
	for i, p := range []string{dir, from} {
		p, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		rest := ""
		for {
			at, err := filepath.EvalSymlinks(p)
			if err == nil {
				real[i] = filepath.Join(at, rest)
				break
			}
			if !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
				return err
			}
			rest, p = filepath.Join(filepath.Base(p), rest), filepath.Dir(p) // it will be made
		}
	}
	for _, x := range [][2]string{real, {real[1], real[0]}} {
		if rel, err := filepath.Rel(x[0], x[1]); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("--dir %s and --from %s lie in one another: name a folder of its own for what is kept", dir, from)
		}
	}
	return nil
}
