package content

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images"
	"github.com/musterboot/muster/templates"
)

// TestOpen: each kind of reference is opened where its bytes are, whole, and with what
// tells two of them apart.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := images.Open(filepath.Join(dir, "files"))
	must(err)
	defer store.Close()
	put := func(text string) boot.Blob {
		t.Helper()
		b, err := store.Put(context.Background(), strings.NewReader(text), "")
		must(err)
		return b
	}
	must(os.Mkdir(filepath.Join(dir, "loaders"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "loaders", "undionly.kpxe"), []byte("loader"), 0o600))
	outside := filepath.Join(dir, "vmlinuz")
	must(os.WriteFile(outside, []byte("of this run"), 0o600))
	ofRun, err := images.Digest(strings.NewReader("of this run"))
	must(err)
	files := Files{Store: store, Run: map[string]string{ofRun.Digest: outside}, Opened: &images.Opened{}}
	set, err := templates.NewSet(files)
	must(err)
	tmpl := &boot.Template{ID: 1, Name: "t", Version: 1, Files: map[string]boot.Blob{
		templates.SpecFile: put("name = \"t\"\n[boot]\nkernel = \"vmlinuz\"\n"), "vmlinuz": ofRun, "hello.tmpl": put("I am {{ .Name }}"),
	}}
	image, disc := put("image"), put("no disc")
	c := Content{Set: set, Images: store, Loaders: func() *images.Loaders { return images.FindLoaders(filepath.Join(dir, "loaders")) }}

	tags := map[string]string{}
	for _, x := range []struct {
		name string
		ref  boot.Ref
		want string // within it
		size int64  // 0 is that of want
	}{
		{"a loader", boot.Ref{Kind: boot.RefLoader, Name: "undionly.kpxe"}, "loader", 0},
		{"a file of an image", boot.Ref{Kind: boot.RefImage, Name: "i/x", Blob: image}, "image", 0},
		{"in an archive", boot.Ref{Kind: boot.RefImage, Name: "i/x", Blob: image, Placed: "/etc/x"}, "etc/x\x00", 512},
		{"a file of a template", boot.Ref{Kind: boot.RefTemplate, Name: "vmlinuz", Template: tmpl}, "of this run", 0},
		{"one that is rendered", boot.Ref{Kind: boot.RefTemplate, Name: "hello", Template: tmpl, Machine: boot.Machine{Name: "web1"}}, "I am web1", 0},
		{"a script", boot.Ref{Kind: boot.RefGenerated, Name: "boot.ipxe", Template: tmpl, Machine: boot.Machine{Name: "web1"}}, "/vmlinuz", -1},
	} {
		o, err := c.Open(context.Background(), x.ref)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		b, err := io.ReadAll(o.Body)
		must(err)
		o.Body.Close()
		if x.size == 0 {
			x.size = int64(len(x.want))
		}
		if !strings.Contains(string(b), x.want) || o.Size != int64(len(b)) || x.size > 0 && x.name != "in an archive" && o.Size != x.size {
			t.Errorf("%s: %q, said to be %d bytes", x.name, b, o.Size)
		}
		if other := tags[o.ETag]; o.ETag == "" || other != "" {
			t.Errorf("%s has the tag %q, as %q", x.name, o.ETag, other)
		}
		tags[o.ETag] = x.name
	}
	for name, ref := range map[string]boot.Ref{
		"no such loader":      {Kind: boot.RefLoader, Name: "none.efi"},
		"an image that went":  {Kind: boot.RefImage, Blob: boot.Blob{Digest: strings.Repeat("a", 64)}},
		"a disc that is none": {Kind: boot.RefTree, Blob: disc, Name: "x"},
		"and in an archive":   {Kind: boot.RefTree, Blob: disc, Name: "x", Placed: "/x"},
	} {
		if o, err := c.Open(context.Background(), ref); err == nil {
			t.Errorf("%s: %+v", name, o)
		} else if name == "an image that went" && !errors.Is(err, boot.ErrNoFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
