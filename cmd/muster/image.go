// image.go: "muster image".

package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/musterboot/muster/boot"
)

func (a *app) imageCmd() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Files that templates share", Args: exactly(0, "a subcommand"), RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var public bool
	imp := &cobra.Command{
		Use: "import NAME DIR", Short: "Store a folder's files under a name", Args: exactly(2, "a name and a folder"),
		Long:    "Store a folder's files under a name, each once by its digest. A template boots them as\nkernel = \"image:NAME/vmlinuz\". A name never changes its bytes; new files want a new name.",
		Example: "  muster image import debian12 ./netboot\n  muster image import firmware ./fw --public",
		RunE: func(c *cobra.Command, args []string) error {
			fl, err := folder(args[1])
			if err != nil {
				return err
			}
			cl := a.client()
			if err := a.upload(c.Context(), cl, fl, args[1]); err != nil {
				return err
			}
			var out boot.Image
			if err := cl.Call(c.Context(), http.MethodPost, "/api/v1/images", boot.Image{Name: args[0], Public: public, Files: fl}, &out); err != nil {
				return err
			}
			return a.said(out, "%s imported, %d files", out.Name, len(out.Files))
		},
	}
	imp.Flags().BoolVar(&public, "public", false, "serve it to anyone on a configured network, without a boot path")
	list := &cobra.Command{
		Use: "list", Short: "List images", Args: exactly(0, "no arguments"), Example: "  muster image list",
		RunE: func(c *cobra.Command, _ []string) error {
			var is []boot.Image
			if err := a.client().Call(c.Context(), http.MethodGet, "/api/v1/images", nil, &is); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(is)
			}
			if len(is) == 0 {
				fmt.Fprintln(a.out, "no images yet; store one with: muster image import NAME DIR")
				return nil
			}
			rows := [][]string{{"NAME", "FILES", "SIZE", "PUBLIC", "IMPORTED"}}
			for _, i := range is {
				var n int64
				for _, b := range i.Files {
					n += b.Size
				}
				public := ""
				if i.Public {
					public = "yes"
				}
				rows = append(rows, []string{i.Name, fmt.Sprint(len(i.Files)), size(n), public, ago(i.Imported)})
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
	c.AddCommand(imp, list, rm)
	return c
}
