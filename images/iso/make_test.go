package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

func made2(files map[string]string) (out []File) {
	for name, text := range files {
		out = append(out, File{name, int64(len(text)), strings.NewReader(text)})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// TestMake: what is made is what xorriso and we read, by Joliet's names.
func TestMake(t *testing.T) {
	nettest.Need(t, "xorriso", "blkid")
	files := map[string]string{"user-data": "#cloud-config\n", "meta-data": "instance-id: a\n", "empty": "", "openstack/latest/meta_data.json": "{}", "openstack/latest/user_data": "x", "openstack/content/0000": strings.Repeat("long ", 5000),
		"Ünicode name with blanks and more than thirty-one characters.txt": "u", "efi.img": strings.Repeat("E", 4097)}
	for i := range 90 {
		files[fmt.Sprintf("many/a-file-with-a-long-name-%d", i)] = fmt.Sprint(i)
	}
	m, err := Make("cidata", made2(files), "efi.img")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, m.Size())
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 32768, 40000, m.Size() - 5000, m.Size() - 1} { // in pieces it is the same
		x := make([]byte, min(4999, m.Size()-off))
		if n, err := m.ReadAt(x, off); err != nil || !bytes.Equal(x[:n], b[off:off+int64(n)]) {
			t.Errorf("at %d: %v", off, err)
		}
	}
	if n, err := m.ReadAt(make([]byte, 10), m.Size()-3); n != 3 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
	im, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := fs.WalkDir(im, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		x, err := fs.ReadFile(im, p)
		got[p] = string(x)
		return err
	}); err != nil || fmt.Sprint(got) != fmt.Sprint(files) {
		t.Errorf("we read %v, %v", got, err)
	}
	if x := im.BootImages(); len(x) != 1 || x[0].Platform != PlatformUEFI || string(b[x[0].Off:x[0].Off+4097]) != files["efi.img"] {
		t.Errorf("it boots %+v", x)
	}
	file := filepath.Join(t.TempDir(), "x.iso")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	// Others: xorriso with the El Torito catalog and both trees, and blkid, which tells
	// cloud-init of the label.
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{[]string{"xorriso", "-indev", file, "-report_el_torito", "plain"}, []string{"UEFI"}},
		{[]string{"xorriso", "-read_fs", "norock", "-indev", file, "-find", "/"}, []string{"/user-data", "/openstack/latest/meta_data.json", "/many/a-file-with-a-long-name-89"}},
		{[]string{"xorriso", "-read_fs", "nojoliet", "-indev", file, "-find", "/"}, []string{"/USER_DAT", "/OPENSTAC/LATEST/META_DAT.JSO", "/MANY/A_FILE10"}},
		{[]string{"blkid", "-p", "-o", "export", file}, []string{"LABEL=cidata", "TYPE=iso9660"}},
	} {
		out, err := exec.Command(c.argv[0], c.argv[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(c.argv, " "), err, out)
		}
		for _, w := range c.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%s: no %s in\n%s", strings.Join(c.argv, " "), w, out)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "out")
	extract := exec.Command("xorriso", "-osirrox", "on", "-read_fs", "norock", "-indev", file, "-extract", "/", dir)
	extract.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // it writes names in the locale's letters
	if out, err := extract.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for name, want := range files {
		if x, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(x) != want {
			t.Errorf("xorriso reads %s as %d bytes, %v", name, len(x), err)
		}
	}
	again, err := Make("cidata", made2(files), "efi.img")
	if err != nil {
		t.Fatal(err)
	}
	b2 := make([]byte, again.Size())
	if _, err := again.ReadAt(b2, 0); err != nil || !bytes.Equal(b, b2) {
		t.Errorf("made again it differs: %v", err)
	}
	if n := binary.LittleEndian.Uint32(b[16*sectorSize+80:]); int64(n)*sectorSize != m.Size() {
		t.Errorf("it says %d sectors", n)
	}
}

// TestMakeRefuses: what no image can hold.
func TestMakeRefuses(t *testing.T) {
	for want, files := range map[string][]File{
		"want a path":                     {{Name: "../x"}},
		"deep":                            {{Name: "a/b/c/d/e/f/g/h/i"}},
		"less than 4 GiB":                 {{Name: "x", Size: 1 << 32}},
		"there twice":                     {{Name: "x"}, {Name: "x"}},
		"or be a file and a directory":    {{Name: "x"}, {Name: "x/y"}},
		"at most 64 characters":           {{Name: strings.Repeat("n", 65)}},
		"none of * : ; ?":                 {{Name: "a;1"}},
		"and none of *":                   {{Name: "a\nb"}},
		"at most 2000":                    make([]File, 2001),
		"there is no efi among the files": {{Name: "x"}},
	} {
		boot := ""
		if strings.Contains(want, "efi") {
			boot = "efi"
		}
		if _, err := Make("x", files, boot); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Make(strings.Repeat("x", 17), nil, ""); err == nil {
		t.Error("a label of 17")
	}
	m, err := Make("x", []File{{"short", 10, strings.NewReader("12345")}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("it reads in front of the beginning")
	}
	if _, err := m.ReadAt(make([]byte, m.Size()), 0); err != io.ErrUnexpectedEOF {
		t.Errorf("a file that became shorter: %v", err)
	}
}
