// suggest.go: a template that boots an image, from what is known of the image.

package templates

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// ErrWhich says that an image boots in several ways, and which.
type ErrWhich struct {
	Image string
	What  string   // "architecture" or "variant"
	Has   []string // names that may be said
}

func (e *ErrWhich) Error() string {
	return fmt.Sprintf("image %s has more than one %s, or not the one that was named: say which, %s", e.Image, e.What, strings.Join(e.Has, " or "))
}

// Suggest writes the files of a template that boots an image, by name. arch is x64 or
// arm64, and may be "" where the image has one kernel only; variant is one of the
// image's, "" for the first. The map is empty if nothing in the image is known to boot.
func Suggest(i *boot.Image, arch, variant string) (map[string]string, error) {
	b, err := kernelOf(i, arch)
	if err != nil {
		return nil, err
	}
	cmdline, title := i.Cmdline, ""
	if len(i.Variants) > 0 || variant != "" {
		n := slices.IndexFunc(i.Variants, func(v boot.ImageVariant) bool { return v.Name == variant })
		if n < 0 && variant != "" {
			e := &ErrWhich{Image: i.Name, What: "variant"}
			for _, v := range i.Variants {
				e.Has = append(e.Has, v.Name)
			}
			return nil, e
		}
		cmdline, title = i.Variants[max(n, 0)].Cmdline, i.Variants[max(n, 0)].Title
	}
	ref := func(file string) string { return fmt.Sprintf("%q", imagePrefix+i.Name+"/"+file) }
	name := i.Name
	if len(i.Boots) > 1 {
		name += "-" + b.Arch
	}
	if variant != "" && title != "" && variant != i.Variants[0].Name {
		name += "-" + variant
	}
	var w strings.Builder
	if title != "" {
		fmt.Fprintf(&w, "# %s\n", boot.CleanText(strings.Join(strings.Fields(i.Title+": "+title), " "), 300))
	}
	fmt.Fprintf(&w, "name = %q\n", name)
	switch {
	case b.Kernel != "":
		fmt.Fprintf(&w, "[boot]\nkernel  = %s\n", ref(b.Kernel))
		if len(b.Initrd) > 0 {
			var refs []string
			for _, f := range b.Initrd {
				refs = append(refs, ref(f))
			}
			fmt.Fprintf(&w, "initrd  = [%s]\n", strings.Join(refs, ", "))
		}
		if cmdline != "" {
			fmt.Fprintf(&w, "cmdline = %q\n", cmdline)
		}
		if i.DiscAt != "" && i.Tree != "" {
			fmt.Fprintf(&w, "\n[boot.files]\n%q = %s\n", i.DiscAt, ref(i.Tree))
		}
	case i.Tree != "":
		fmt.Fprintf(&w, "[boot]\nfile = %s\n", ref(i.Tree))
	default:
		return nil, nil
	}
	for _, p := range i.Params {
		if !strings.Contains(cmdline, ".Params."+p.Name) {
			continue
		}
		fmt.Fprintf(&w, "\n[params.%s]\ntype = \"string\"\n", p.Name)
		if p.Required {
			w.WriteString("required = true\n")
		} else {
			fmt.Fprintf(&w, "default = %q\n", p.Default)
		}
		fmt.Fprintf(&w, "help = %q\n", p.Help)
	}
	out := map[string]string{SpecFile: w.String()}
	if i.BootCfg != "" {
		out["boot.cfg.tmpl"] = i.BootCfg
	}
	return out, nil
}

// kernelOf picks the kernel of an architecture.
func kernelOf(i *boot.Image, arch string) (boot.ImageBoot, error) {
	if len(i.Boots) == 0 && arch == "" {
		return guess(i), nil
	}
	n := slices.IndexFunc(i.Boots, func(b boot.ImageBoot) bool { return b.Arch == arch })
	if arch == "" && len(i.Boots) == 1 {
		n = 0
	}
	if n >= 0 {
		return i.Boots[n], nil
	}
	e := &ErrWhich{Image: i.Name, What: "architecture"}
	for _, b := range i.Boots {
		e.Has = append(e.Has, b.Arch)
	}
	if len(e.Has) == 0 {
		return boot.ImageBoot{}, fmt.Errorf("of image %s no architecture is known", i.Name)
	}
	return boot.ImageBoot{}, e
}

// guess looks for a kernel and its initrd among the files of an image that is no known
// medium: a folder that somebody made. Beside each other is all that ties the two.
func guess(i *boot.Image) (b boot.ImageBoot) {
	files := slices.Sorted(maps.Keys(i.Files))
	for _, n := range files {
		base := path.Base(n)
		if i.BootCfg != "" && strings.HasPrefix(base, "boot") && strings.HasSuffix(base, ".efi") {
			return boot.ImageBoot{Kernel: n} // mboot.efi, which iPXE starts as it starts a kernel
		}
		if b.Kernel == "" && (strings.HasPrefix(base, "vmlinuz") || strings.HasPrefix(base, "linux") && !strings.Contains(base, ".") || base == "bzImage") {
			b.Kernel = n
		}
	}
	if b.Kernel == "" {
		return b
	}
	for _, n := range files {
		if base := path.Base(n); path.Dir(n) == path.Dir(b.Kernel) && (strings.HasPrefix(base, "initr") || strings.HasPrefix(base, "initramfs")) {
			b.Initrd = append(b.Initrd, n)
		}
	}
	return b
}
