// import_dir.go: "muster template import-dir" makes a template from the folder that a
// Raspberry Pi boots from with another server.

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

	"github.com/musterboot/muster/images"
)

func (a *app) templateImportDirCmd() *cobra.Command {
	var serials []string
	var out string
	var yes bool
	c := &cobra.Command{
		Use: "import-dir NAME DIR", Short: "Make a template of a Raspberry Pi's boot folder", Args: exactly(2, "a name and a folder"),
		Long: `Make a template of the folder that a Raspberry Pi boots from on another TFTP server (often
/tftpboot/SERIAL, or the boot partition of its card). Firmware, kernels and overlays become
an image that any number of Pis share, stored once; cmdline.txt and config.txt become the
template's own and are rendered for each machine: {{ .Serial }}, {{ .Params.x }} and the like
may be written into them. With --out the template is written to a folder and not pushed, to
be edited first.`,
		Example: "  muster template import-dir kiosk /tftpboot/a1b2c3d4 --serial 'a1*'\n  muster template import-dir kiosk /boot/firmware --out ./kiosk",
		RunE: func(c *cobra.Command, args []string) error {
			return a.importDir(c.Context(), args[0], args[1], serials, out, yes)
		},
	}
	c.Flags().StringSliceVar(&serials, "serial", nil, "serial numbers that it is for, as patterns of the last eight digits; may be given again")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, however many machines boot it next")
	c.Flags().StringVar(&out, "out", "", "write the template to this folder instead of pushing it")
	return c
}

// own are the files that differ between one Pi and the next.
var own = []string{"cmdline.txt", "config.txt"}

func (a *app) importDir(ctx context.Context, name, dir string, serials []string, out string, yes bool) error {
	image := name + "-firmware"
	src, err := images.Inspect(image, dir)
	if err != nil {
		return usageError{err}
	}
	defer src.Close()
	if src.Image.Kind != "folder" {
		return usagef("%s is not a folder with a Raspberry Pi's boot files", dir)
	}
	src.Entries = slices.DeleteFunc(src.Entries, func(e images.Entry) bool { return slices.Contains(own, e.Name) })
	if !slices.ContainsFunc(src.Entries, func(e images.Entry) bool {
		return strings.HasPrefix(e.Name, "start") && strings.HasSuffix(e.Name, ".elf") || strings.HasPrefix(e.Name, "kernel")
	}) {
		return usagef("%s has neither start*.elf nor kernel*.img: it is not what a Raspberry Pi boots from", dir)
	}
	target := out
	if target == "" {
		if target, err = os.MkdirTemp("", "muster-template-"); err != nil {
			return err
		}
		defer os.RemoveAll(target)
	} else if err := os.Mkdir(target, 0o755); err != nil {
		return usagef("%w: name a folder that is not there yet", err)
	}
	quoted := make([]string, len(serials))
	for i, s := range serials {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	spec := fmt.Sprintf("name = %q\n[match]\narch = [\"raspberry-pi\"]\n", name)
	if len(serials) > 0 {
		spec += "serial = [" + strings.Join(quoted, ", ") + "]\n"
	}
	spec += fmt.Sprintf("[boot]\nfirmware = \"image:%s\"\n", image)
	if err := os.WriteFile(filepath.Join(target, "template.toml"), []byte(spec), 0o644); err != nil {
		return err
	}
	for _, f := range own {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(target, f), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	p := a.progress("storing "+image, src.Bytes())
	_, err = a.storeImage(ctx, src, p.add)
	p.end()
	if err != nil {
		return err
	}
	if out != "" {
		return a.said(struct{}{}, "image %s stored; look at %s, then: muster template push %s", image, out, out)
	}
	return a.push(ctx, target, yes)
}
