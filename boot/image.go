// image.go: named sets of immutable files, shared by templates.

package boot

import (
	"fmt"
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
}

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

// imageFile splits "images/NAME/FILE".
func imageFile(path string) (name, file string, ok bool) {
	rest, ok := strings.CutPrefix(path, "images/")
	if !ok {
		return "", "", false
	}
	name, file, ok = strings.Cut(rest, "/")
	return name, file, ok && file != ""
}
