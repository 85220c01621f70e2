// image.go: named sets of immutable files, shared by templates.

package boot

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// Image is a set of files by name; a template names one as
// "image:debian12/vmlinuz".
type Image struct {
	Name     string          `json:"name"`
	Public   bool            `json:"public,omitempty"` // served without a boot path, to anyone on a configured network
	Imported time.Time       `json:"imported"`
	Files    map[string]Blob `json:"files"`

	Tree    string `json:"tree,omitempty"`    // the file that is a disc image whose files are served as tree/…
	Kind    string `json:"kind,omitempty"`    // what it was found to be: "debian", "folder", …
	Title   string `json:"title,omitempty"`   // the same for people, with a version
	Cmdline string `json:"cmdline,omitempty"` // what boots it, as a template would write it
	BootCfg string `json:"bootcfg,omitempty"` // of ESXi: boot.cfg for a boot from the network, as a template would write it
}

// treePrefix is where the files inside a disc image are.
const treePrefix = "tree/"

// Validate reports the first thing wrong with an image.
func (i *Image) Validate() error {
	if err := validName("image", i.Name, 63); err != nil {
		return err
	}
	if len(i.Files) == 0 {
		return fmt.Errorf("image %s has no files", i.Name)
	}
	return nil
}

// Has reports that a file, or a path inside the disc, is served.
func (i *Image) Has(file string) bool {
	if strings.HasPrefix(file, treePrefix) {
		return i.Tree != ""
	}
	_, ok := matchName(file, maps.Keys(i.Files))
	return ok
}

// imageFile splits "images/NAME/FILE".
func imageFile(path string) (name, file string, ok bool) {
	rest, ok := strings.CutPrefix(path, "images/")
	if !ok {
		return "", "", false
	}
	name, file, ok = strings.Cut(rest, "/")
	return name, file, ok && file != ""
}
