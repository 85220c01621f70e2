// loaders.go: where boot loaders are found: first in the operator's folder,
// then where Debian's packages put them. They are programs of their own under
// the GPL, and never part of Muster.

package images

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/musterboot/muster/boot"
)

// SystemDirs are the folders of Debian's ipxe package (12 has x86 only, 13 has
// arm64, riscv64 and loong64 too).
var SystemDirs = []string{"/usr/lib/ipxe", "/usr/share/ipxe"}

// LoaderDirs are where loaders are looked for: the operator's folder in the data
// directory, then the system's.
func LoaderDirs(dataDir string) []string {
	return append([]string{filepath.Join(dataDir, "loaders")}, SystemDirs...)
}

// signed is where Debian's shim-signed and grub-efi-*-signed packages put files
// that the signed chain asks for under other names.
var signed = map[string]string{
	"shimx64.efi":  "/usr/lib/shim/shimx64.efi.signed",
	"mmx64.efi":    "/usr/lib/shim/mmx64.efi.signed",
	"grubx64.efi":  "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
	"shimaa64.efi": "/usr/lib/shim/shimaa64.efi.signed",
	"mmaa64.efi":   "/usr/lib/shim/mmaa64.efi.signed",
	"grubaa64.efi": "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed",
}

// Loaders are the loaders that were found at one moment.
type Loaders struct {
	paths map[string]string // loader name -> file
	dirs  []string
	open  Opened
}

// FindLoaders looks for every loader name in dirs, first folder first. A
// folder that does not exist is no error.
func FindLoaders(dirs ...string) *Loaders {
	l := &Loaders{paths: map[string]string{}, dirs: dirs}
	for _, p := range boot.LoaderPlatforms() {
		for _, name := range boot.LoaderNames(p) {
			l.look(name, dirs, "")
		}
	}
	for _, name := range boot.SignedLoaders() {
		l.look(name, dirs, signed[name])
	}
	return l
}

// look records the first place that has a loader; elsewhere is tried last.
func (l *Loaders) look(name string, dirs []string, elsewhere string) {
	var places []string
	for _, d := range dirs {
		places = append(places, filepath.Join(d, name))
	}
	if elsewhere != "" {
		places = append(places, elsewhere)
	}
	for _, f := range places {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			l.paths[name] = f
			return
		}
	}
}

// ByPlatform returns the loader to offer to each platform.
func (l *Loaders) ByPlatform() map[boot.Platform]string {
	out := map[boot.Platform]string{}
	for _, p := range boot.LoaderPlatforms() {
		for _, name := range boot.LoaderNames(p) {
			if l.paths[name] != "" {
				out[p] = name
				break
			}
		}
	}
	return out
}

// Signed returns the Secure Boot pair for each platform that has both files.
func (l *Loaders) Signed() map[boot.Platform]boot.SignedPair {
	out := map[boot.Platform]boot.SignedPair{}
	for _, p := range boot.LoaderPlatforms() {
		for _, pair := range boot.SignedPairs(p) {
			if l.paths[pair.Shim] != "" && l.paths[pair.Next] != "" {
				out[p] = pair
				break
			}
		}
	}
	return out
}

// Path returns the file of a loader, or "".
func (l *Loaders) Path(name string) string { return l.paths[name] }

// Open opens a loader by name; boot.ErrNoFile if it was not found.
func (l *Loaders) Open(name string) (*boot.Object, error) {
	p := l.paths[name]
	if p == "" {
		return nil, fmt.Errorf("%w: loader %s is in none of %s", boot.ErrNoFile, name, strings.Join(l.dirs, ", "))
	}
	f, err := l.open.File(p)
	if err != nil {
		return nil, err
	}
	st, err := f.File.(*os.File).Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	// A package upgrade replaces the file, so its size and time identify the
	// bytes.
	return &boot.Object{Body: f, Name: name, Size: st.Size(), ETag: fmt.Sprintf(`"%s-%x-%x"`, name, st.Size(), st.ModTime().UnixNano())}, nil
}

// Missing describes, for people, each of the platforms that has no loader.
func (l *Loaders) Missing(platforms ...boot.Platform) []string {
	have := l.ByPlatform()
	var out []string
	for _, p := range platforms {
		if have[p] != "" {
			continue
		}
		mend := "apt install ipxe"
		if !slices.Contains([]boot.Platform{boot.BIOS, boot.X64UEFI}, p) {
			mend = "Debian 13's ipxe package has it; on Debian 12 put the file into the first folder"
		}
		out = append(out, fmt.Sprintf("no loader for %s: none of %s is in %s (%s)", p, strings.Join(boot.LoaderNames(p), ", "), strings.Join(l.dirs, ", "), mend))
	}
	return out
}
