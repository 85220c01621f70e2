// kind_test.go: every known medium, from its import to what a machine is told.

package systems_test

import (
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/systems"
	"github.com/musterboot/muster/templates"
)

// stored imports a medium, and returns what it became.
func stored(t *testing.T, store *images.Store, from string) *boot.Image {
	t.Helper()
	src, err := images.Inspect("pic", from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	img := src.Image
	img.Files = map[string]boot.Blob{}
	for _, e := range src.Entries {
		if e.Link != "" {
			img.Files[e.Name] = img.Files[e.Link]
			continue
		}
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		img.Files[e.Name], err = store.Put(t.Context(), r, "")
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := img.Validate(); err != nil {
		t.Fatal(err)
	}
	return &img
}

// pushed stores the files of a template.
func pushed(t *testing.T, store *images.Store, files map[string]string) *boot.Template {
	t.Helper()
	tmpl := &boot.Template{Name: "pic", Version: 1, Files: map[string]boot.Blob{}}
	for name, text := range files {
		blob, err := store.Put(t.Context(), strings.NewReader(text), "")
		if err != nil {
			t.Fatal(err)
		}
		tmpl.Files[name] = blob
	}
	return tmpl
}

var ourURL = regexp.MustCompile(`http://10\.77\.0\.1/boot/TOKEN(/[^\s"'&?;<\\]*)`)

// TestKinds: of every known medium, whatever its architecture and way to boot, the
// template that is written passes the check of a push, names the kernel and the initrds
// that the medium was found to have, and every URL that machines of three kinds are
// told is served.
func TestKinds(t *testing.T) {
	nettest.Need(t, "xorriso")
	for _, m := range systems.Media() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			store, err := images.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			img := stored(t, store, m.Lay(t))
			if len(img.Boots) == 0 && img.Tree == "pic.iso" { // known, and nothing boots but the disc
				if files, err := templates.Suggest(img, "", ""); err != nil || !strings.Contains(files[templates.SpecFile], `file = "image:pic/pic.iso"`) {
					t.Errorf("%q, %v", files, err)
				}
				return
			}
			if len(img.Boots) == 0 || len(img.Variants) == 0 {
				t.Fatalf("%+v boots nothing", img)
			}
			for _, b := range img.Boots {
				for _, v := range img.Variants {
					files, err := templates.Suggest(img, b.Arch, v.Name)
					kind(t, store, img, b, v.Name, nil, files, err)
				}
				for _, e := range systems.Catalogue() {
					if !e.Takes(img.Kind) || !slices.ContainsFunc(img.Variants, func(v boot.ImageVariant) bool { return v.Name == e.Variant }) {
						continue
					}
					files, err := templates.Complete(&e.Template, img, templates.Choice{Arch: b.Arch, Name: "db"})
					kind(t, store, img, b, "catalogue "+e.Name, e.Initrd, files, err)
				}
			}
			if _, err := templates.Suggest(img, "", ""); (err != nil) != (len(img.Boots) > 1) {
				t.Errorf("without an architecture, of %d: %v", len(img.Boots), err)
			}
			if _, err := templates.Suggest(img, img.Boots[0].Arch, "nonsense"); err == nil || !strings.Contains(err.Error(), img.Variants[0].Name) {
				t.Errorf("a variant that is none: %v", err)
			}
		})
	}
}

func kind(t *testing.T, store *images.Store, img *boot.Image, b boot.ImageBoot, what string, own []string, files map[string]string, err error) {
	t.Helper()
	what = b.Arch + " " + what
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	tmpl := pushed(t, store, files)
	spec, err := templates.Lint(tmpl.Files, func(f string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(files[f])), nil })
	if err != nil {
		t.Errorf("%s: a push would say: %v\n%s", what, err, files[templates.SpecFile])
		return
	}
	if systems.KindOf(img.Kind) == systems.Pi {
		if spec.Boot.Firmware != "image:pic" || spec.Boot.Kernel != "" {
			t.Errorf("%s: %+v", what, spec.Boot)
		}
		return // it fetches no URL
	}
	if got, want := fmt.Sprint(spec.Boot.Kernel, spec.Boot.Initrd), fmt.Sprint("image:pic/"+b.Kernel, append(refs(b.Initrd), own...)); got != want {
		t.Errorf("%s: it boots %s, want %s", what, got, want)
	}
	set, err := templates.NewSet(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []boot.Platform{boot.X64UEFI, boot.BIOS, boot.ARM64UEFI} {
		mach := boot.Machine{Name: strings.Repeat("n", 63), Known: true, State: "approved", MAC: "52:54:00:12:34:56", MACDash: "01-52-54-00-12-34-56", BOOTIF: "01-52-54-00-12-34-56", Platform: string(p), UEFI: p.UEFI(), Network: "lab",
			Server: "10.77.0.1", BaseURL: "http://10.77.0.1/boot/TOKEN", ScriptURL: "http://10.77.0.1/boot/TOKEN/boot.ipxe", ReportURL: "http://10.77.0.1/boot/TOKEN/report", Disks: []boot.Disk{{Name: "sda", Size: 1 << 40, Serial: "S1"}}, Boot: 1, Template: "pic", Version: 1, Params: map[string]string{}}
		for n, x := range spec.Params {
			if x.Required {
				mach.Params[n] = "elsewhere"
				if x.Pattern != "" || len(x.Enum) > 0 {
					mach.Params[n] = boot.Param{Type: x.Type, Enum: x.Enum, Example: x.Example}.Sample()
				}
			}
		}
		names := []string{"boot.ipxe"}
		for f := range files {
			if f != templates.SpecFile {
				names = append(names, strings.TrimSuffix(f, ".tmpl"))
			}
		}
		for _, name := range names {
			mach := mach
			if slices.Contains(spec.Secrets.Files, name) {
				mach.Sealed = map[string]boot.Sealed{}
			}
			ref := boot.Ref{Kind: boot.RefGenerated, Name: name, Template: tmpl, Machine: mach}
			if name != "boot.ipxe" {
				ref.Kind = boot.RefTemplate
			}
			o, err := set.Open(t.Context(), ref)
			if err != nil {
				t.Errorf("%s for %s: %v", what, p, err)
				continue
			}
			text, err := io.ReadAll(o.Body)
			if err != nil {
				t.Fatal(err)
			}
			found := ourURL.FindAllStringSubmatch(string(text), -1)
			if len(found) == 0 && name == "boot.ipxe" {
				t.Errorf("%s for %s: %s names no file:\n%s", what, p, name, text)
			}
			for _, u := range found {
				if at := strings.Trim(u[1], "/"); tmpl.Files[at].Digest != "" || tmpl.Files[at+".tmpl"].Digest != "" || slices.Contains(spec.Template().Generated, at) {
					continue
				}
				if err := served(store, img, tmpl, u[1]); err != nil {
					t.Errorf("%s for %s: %s: %v\n%s", what, p, u[1], err, text)
				}
			}
		}
	}
}

func refs(files []string) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, "image:pic/"+f)
	}
	return out
}

// served opens what a URL beneath the boot path names. Elsewhere are other images.
func served(store *images.Store, img *boot.Image, tmpl *boot.Template, at string) error {
	if at = strings.Trim(at, "/"); at == "" || at == "boot.ipxe" || at == "report" || strings.HasPrefix(at, "images/elsewhere/") {
		return nil
	}
	if f, ok := strings.CutPrefix(at, "placed/"); ok {
		if !slices.Contains(slices.Collect(maps.Keys(img.Files)), img.Tree) {
			return fmt.Errorf("there is no disc to place as %s", f)
		}
		return nil
	}
	f, ok := strings.CutPrefix(at, "images/pic/")
	if !ok {
		return fmt.Errorf("neither the image's nor the template's")
	}
	if inside, ok := strings.CutPrefix(f+"/", "tree/"); ok {
		inside = strings.Trim(inside, "/")
		if img.Tree == "" {
			return fmt.Errorf("the image has no disc")
		}
		if inside == "" {
			return nil // the root: its files are asked for one by one
		}
		s, err := store.OpenInside(img.Files[img.Tree].Digest, inside)
		if err == nil {
			return s.Close()
		}
		if path.Ext(inside) == "" {
			return nil // a folder, for the same reason
		}
		return err
	}
	if _, ok := img.Files[f]; !ok {
		return fmt.Errorf("not among %q", slices.Sorted(maps.Keys(img.Files)))
	}
	return nil
}

// TestIncompleteDisc: a disc that is known but for a file, as a release that is laid out
// otherwise, is offered as a whole, like an unknown one, and what is missing is told.
func TestIncompleteDisc(t *testing.T) {
	nettest.Need(t, "xorriso")
	iso := systems.Medium{Label: "Ubuntu 18.04.6 LTS amd64", Files: map[string]string{".disk/info": `Ubuntu 18.04.6 LTS "Bionic Beaver" - Release amd64 (20210915)`, "casper/vmlinuz": "k", "casper/initrd.lz": "i"}}.Lay(t)
	src, err := images.Inspect("bionic", iso)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if len(src.Entries) != 1 || src.Image.Tree != "bionic.iso" || src.Image.Kind != "disc" || len(src.Image.Boots) != 0 {
		t.Errorf("%+v of %d files", src.Image, len(src.Entries))
	}
	if len(src.Warnings) != 1 || !strings.Contains(src.Warnings[0], "it looks like Ubuntu Desktop, and has no casper/initrd") || !strings.Contains(src.Warnings[0], "offered as a whole") {
		t.Errorf("%q", src.Warnings)
	}
}
