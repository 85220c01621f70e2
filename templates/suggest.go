// suggest.go: a template that boots an image, from what is known of the image.

package templates

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/systems"
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
	return suggest(i, variant, nil, Choice{Arch: arch})
}

// Choice is what is chosen where a template of the catalogue becomes one's own.
type Choice struct {
	Arch     string            // as for Suggest
	Name     string            // of the template, "" for the image's
	Set      map[string]string // defaults of its parameters
	Installs string            // the version or digest that a machine has afterwards, "" where none is told
}

// Complete writes the files of a template of the catalogue for an image of one of its
// systems. For one that needs no medium the image is nil.
func Complete(t *systems.Template, i *boot.Image, c Choice) (map[string]string, error) {
	if err := Settable(t, c.Set); err != nil {
		return nil, err
	}
	if c.Installs != "" && !t.Install {
		return nil, fmt.Errorf("%s installs nothing: no version is told of it", t.Name)
	}
	var out map[string]string
	var err error
	if i == nil {
		out = map[string]string{SpecFile: alone(t, cmp.Or(c.Name, t.Name), c.Set)}
	} else {
		out, err = suggest(i, t.Variant, t, c)
	}
	if err != nil || len(out) == 0 {
		return out, err
	}
	files, err := t.Files()
	maps.Copy(out, files)
	return out, err
}

// Settable judges values for the parameters of a template of the catalogue.
func Settable(t *systems.Template, set map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(set)) {
		p, ok := t.Params[k]
		switch {
		case !ok:
			return fmt.Errorf("%s has no parameter %s: it has %s", t.Name, k, strings.Join(slices.Sorted(maps.Keys(t.Params)), ", "))
		case p.Secret:
			return fmt.Errorf("%s is secret, and is kept out of templates: muster host set HOST %s=@FILE", k, k)
		}
		if _, err := (boot.Param{Type: cmp.Or(p.Type, "string"), Enum: p.Enum, Pattern: p.Pattern, Example: p.Example}).Read(set[k]); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func suggest(i *boot.Image, variant string, t *systems.Template, c Choice) (map[string]string, error) {
	b, err := kernelOf(i, c.Arch)
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
	name := c.Name
	if name == "" {
		name = i.Name
		if len(i.Boots) > 1 {
			name += "-" + b.Arch
		}
		if variant != "" && title != "" && variant != i.Variants[0].Name {
			name += "-" + variant
		}
	}
	params := map[string]systems.Param{}
	for _, p := range i.Params {
		if strings.Contains(cmdline, ".Params."+p.Name) {
			params[p.Name] = systems.Param{Name: p.Name, Default: p.Default, Help: p.Help, Required: p.Required}
		}
	}
	var w strings.Builder
	if t != nil {
		title = t.Title
		cmdline = strings.TrimSpace(systems.Expand(t.Cmdline, i.Name) + " " + cmdline)
		maps.Copy(params, t.Params)
	}
	if title != "" {
		fmt.Fprintf(&w, "# %s\n", boot.CleanText(strings.Join(strings.Fields(i.Title+": "+title), " "), 300))
	}
	if t != nil {
		for _, n := range t.Notes {
			fmt.Fprintf(&w, "# %s\n", n)
		}
	}
	fmt.Fprintf(&w, "name = %q\n", name)
	if t != nil && t.Install {
		w.WriteString("install = true\n")
		if c.Installs != "" {
			fmt.Fprintf(&w, "installs = %q\n", c.Installs)
		}
	}
	switch {
	case systems.KindOf(i.Kind) == systems.Pi:
		fmt.Fprintf(&w, "[match]\narch = [%q]\n[boot]\nfirmware = %q\ncmdline  = %q\n", boot.PiPlatform, imagePrefix+i.Name, cmdline)
	case b.Kernel != "":
		fmt.Fprintf(&w, "[boot]\nkernel  = %s\n", ref(b.Kernel))
		if len(b.Initrd) > 0 {
			var refs []string
			for _, f := range b.Initrd {
				refs = append(refs, ref(f))
			}
			if t != nil {
				for _, f := range t.Initrd {
					refs = append(refs, fmt.Sprintf("%q", f))
				}
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
	writeParams(&w, params, c.Set)
	if t != nil {
		writeRest(&w, t)
	}
	out := map[string]string{SpecFile: w.String()}
	if i.BootCfg != "" {
		out["boot.cfg.tmpl"] = i.BootCfg
		if t != nil && t.Kernelopt != "" {
			if has := kernelopt.FindStringSubmatch(i.BootCfg); has != nil {
				out["boot.cfg.tmpl"] = kernelopt.ReplaceAllLiteralString(i.BootCfg, "kernelopt="+strings.TrimSpace(has[1]+" "+t.Kernelopt))
			} else {
				out["boot.cfg.tmpl"] += "kernelopt=" + t.Kernelopt + "\n"
			}
		}
	}
	return out, nil
}

var kernelopt = regexp.MustCompile(`(?m)^kernelopt=(.*)$`)

// alone is the template.toml of one that needs no medium.
func alone(t *systems.Template, name string, set map[string]string) string {
	var w strings.Builder
	fmt.Fprintf(&w, "# %s\n", t.Title)
	for _, n := range t.Notes {
		fmt.Fprintf(&w, "# %s\n", n)
	}
	fmt.Fprintf(&w, "name = %q\n", name)
	writeParams(&w, t.Params, set)
	return w.String()
}

func writeParams(w io.Writer, params map[string]systems.Param, set map[string]string) {
	for _, n := range slices.Sorted(maps.Keys(params)) {
		p := params[n]
		if v, ok := set[n]; ok {
			p.Default, p.Required = v, false
		}
		writeParam(w, p)
	}
}

// writeRest writes what only templates of the catalogue have.
func writeRest(w io.Writer, t *systems.Template) {
	fmt.Fprintf(w, "\n[needs]\nmemory = %d\n", t.Memory)
	if len(t.Secrets) > 0 {
		fmt.Fprintf(w, "\n[secrets]\nfiles = %s\n", tomlList(t.Secrets))
		if t.Needs != "" {
			fmt.Fprintf(w, "needs = %q\n", t.Needs)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(t.Archives)) {
		fmt.Fprintf(w, "\n[archives.%q]\n", n)
		for _, at := range slices.Sorted(maps.Keys(t.Archives[n])) {
			fmt.Fprintf(w, "%q = %q\n", at, t.Archives[n][at])
		}
	}
}

func tomlList(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprintf("%q", w))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// writeParam declares a parameter.
func writeParam(w io.Writer, p systems.Param) {
	typ := cmp.Or(p.Type, "string")
	fmt.Fprintf(w, "\n[params.%s]\ntype = %q\n", p.Name, typ)
	switch {
	case p.Secret:
		fmt.Fprintf(w, "secret = true\n")
	case p.Required:
		fmt.Fprintf(w, "required = true\n")
	case typ == "int" || typ == "bool":
		if p.Default != "" {
			fmt.Fprintf(w, "default = %s\n", p.Default)
		}
	case p.Default != "" || len(p.Enum) == 0 && p.Pattern == "":
		fmt.Fprintf(w, "default = %q\n", p.Default)
	}
	if len(p.Enum) > 0 {
		fmt.Fprintf(w, "enum = %s\n", tomlList(p.Enum))
	}
	if p.Pattern != "" {
		fmt.Fprintf(w, "pattern = %q\nexample = %q\n", p.Pattern, p.Example)
	}
	fmt.Fprintf(w, "help = %q\n", p.Help)
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
