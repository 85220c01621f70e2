package systems

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Medium is one of the made media.
type Medium struct {
	Name, Label string
	Folder      bool
	Files       map[string]string
}

// Media are all of them, for tests from outside.
func Media() (out []Medium) {
	for _, m := range media {
		out = append(out, Medium{m.name, m.label, m.folder, m.files})
	}
	return out
}

// Found is what the medium is taken for.
func (m Medium) Found() *Found {
	f, err := Detect(mapFS(m.Files), m.Label)
	if err != nil {
		return &Found{}
	}
	return f
}

// Lay writes the medium as a folder or as a disc, and returns its path.
func (m Medium) Lay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range m.Files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		target, link := strings.CutPrefix(data, "-> ")
		switch {
		case err != nil:
		case link && m.Folder && m.Files[target] == "":
			// An import refuses a link to nowhere, which these media have for looks.
		case link:
			err = os.Symlink(target, p)
		default:
			err = os.WriteFile(p, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if m.Folder {
		return dir
	}
	out := filepath.Join(t.TempDir(), "x.iso")
	args := []string{"-as", "mkisofs", "-quiet", "-V", m.Label, "-o", out, dir}
	if m.Name == "ESXi" {
		args = slices.Insert(args, 3, "--norock", "-iso-level", "1")
	}
	if msg, err := exec.Command("xorriso", args...).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, msg)
	}
	return out
}
