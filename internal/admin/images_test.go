package admin

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
)

const bootsDebian = "name = \"deb\"\n[boot]\nkernel = \"image:debian/vmlinuz\"\ninitrd = [\"image:debian/initrd.gz\"]\n"

// TestImageInUse: an image that any version boots stays, whatever became of the
// template's name; one that nothing boots gives its space back.
func TestImageInUse(t *testing.T) {
	d := newDesk(t)
	var f client.Problem
	var p client.Pushed
	d.image(200, "debian", "vmlinuz", "kernel", "initrd.gz", "initrd")
	d.image(200, "spare", "vmlinuz", "kernel", "other", "only the spare has this")
	if d.push(200, "template.toml", bootsDebian).into(&p); len(p.Warnings) != 0 {
		t.Errorf("warned: %v", p.Warnings)
	}
	inUse := func() {
		t.Helper()
		if d.want(409, "DELETE", "/api/v1/images/debian", "").into(&f); f.Code != boot.InUse || f.Detail != "image debian is used by version 1 of template deb" {
			t.Errorf("%+v", f)
		}
	}
	inUse()
	d.push(200, "template.toml", "name = \"deb\"\n[boot]\nkernel = \"k\"\n", "k", "kernel")
	inUse()
	d.want(200, "DELETE", "/api/v1/templates/deb", "")
	inUse()

	only, shared := d.put("only the spare has this"), d.put("kernel")
	d.want(200, "DELETE", "/api/v1/images/spare", "")
	d.want(404, "GET", "/api/v1/files/"+only.Digest, "")
	d.want(200, "GET", "/api/v1/files/"+shared.Digest, "")
	if d.want(404, "DELETE", "/api/v1/images/spare", "").into(&f); f.Code != boot.UnknownImage {
		t.Errorf("%+v", f)
	}
}

// TestRemovedWhilePushed: an image is asked to go when the template that boots it is
// stored already and the policy does not say so yet.
func TestRemovedWhilePushed(t *testing.T) {
	d := newDesk(t)
	d.image(200, "debian", "vmlinuz", "kernel", "initrd.gz", "initrd")
	of, gone := d.engine.Images, make(chan error, 1)
	d.engine.Images = func(x *boot.Template) ([]string, error) {
		go func() {
			_, err := d.engine.Do(context.Background(), boot.Actor{Kind: boot.Program}, boot.RemoveImage{Name: "debian"})
			gone <- err
		}()
		for range 1000 { // time for it
			if err := d.store.Update(context.Background(), func(boot.Tx) error { return nil }); err != nil {
				return nil, err
			}
		}
		return of(x)
	}
	d.push(200, "template.toml", bootsDebian)
	if f := boot.FaultOf(<-gone); f == nil || f.Code != boot.InUse {
		t.Errorf("it went: %v", f)
	}
}

// TestFileOfBoth: a template is pushed whose file an image has that is being removed,
// when it is known already that nobody else has it. It is refused, or the file stays.
func TestFileOfBoth(t *testing.T) {
	d := newDesk(t)
	d.image(200, "gone", "x", "of both")
	files := d.files("template.toml", "name = \"t\"\n[boot]\nkernel = \"k\"\n", "k", "of both")
	views, pushed := 0, make(chan int, 1)
	d.onView = func() {
		if views++; views != 2 { // templates were looked at, images come
			return
		}
		d.onView = nil
		go func() { pushed <- d.ask("POST", "/api/v1/templates", `{"files":`+files+`}`).Code }()
		for range 1000 { // time for it
			if err := d.store.Update(context.Background(), func(boot.Tx) error { return nil }); err != nil {
				t.Error(err)
			}
		}
	}
	d.want(200, "DELETE", "/api/v1/images/gone", "")
	code := <-pushed
	if _, has := d.server.Files.Has(d.blob("of both").Digest); has != (code == 200) {
		t.Errorf("pushed: %d, and the file is there: %t", code, has)
	}
}

// TestPushWarns: of what only names decide, and of images that are not what the
// template takes them for.
func TestPushWarns(t *testing.T) {
	d := newDesk(t)
	d.image(200, "debian", "vmlinuz", "kernel")
	d.push(200, "template.toml", "name = \"one\"\n[boot]\nkernel = \"k\"\n[match]\narch = [\"x64-uefi\"]\n", "k", "kernel")
	var p client.Pushed
	d.push(200, "template.toml", bootsDebian+"[match]\narch = [\"x64-uefi\", \"bios\"]\n").into(&p)
	want := []string{"a machine that matches both deb and one gets deb, because of its name; a priority would say so",
		"image debian has no file initrd.gz: muster image show debian lists what it has"}
	if !slices.Equal(p.Warnings, want) {
		t.Errorf("warned: %q", p.Warnings)
	}
	var f client.Problem
	if d.push(409, "template.toml", "name = \"two\"\n[boot]\nkernel = \"k\"\n[match]\narch = [\"x64-uefi\"]\n", "k", "kernel").into(&f); f.Code != boot.Taken {
		t.Errorf("%+v", f)
	}
}

// TestDeclared: files that nobody sends are those of an upstream, with names and digests
// that could be stored.
func TestDeclared(t *testing.T) {
	d := newDesk(t)
	digest := strings.Repeat("a", 64)
	send := func(status int, head string) answer {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		err := w.WriteHeader(&tar.Header{Name: client.ImageHead, Mode: 0o644, Size: int64(len(head))})
		_, werr := io.WriteString(w, head)
		if err := errors.Join(err, werr, w.Close()); err != nil {
			t.Fatal(err)
		}
		return d.want(status, "POST", "/api/v1/images/import", b.String())
	}
	for head, want := range map[string]string{
		`{"name":"m","files":{"pool/a":{"digest":"` + digest + `","size":3}}}`:                                          "no upstream that has them",
		`{"name":"m","upstream":"http://a.example/","files":{"dists/x/Release":{"digest":"` + digest + `","size":3}}}`:  "only what lies beneath pool/",
		`{"name":"m","upstream":"http://a.example/","files":{"../a":{"digest":"` + digest + `","size":3}}}`:             "file name",
		`{"name":"m","upstream":"http://a.example/","files":{"pool/a":{"digest":"no","size":3}}}`:                       "is no SHA-256",
		`{"name":"m","upstream":"http://a.example/","files":{"pool/a":{"digest":"` + digest + `","size":-1}}}`:          "has a size of -1",
		`{"name":"m","upstream":"file:///etc","files":{"pool/a":{"digest":"` + digest + `","size":3}}}`:                 "want http://HOST/PATH",
		`{"name":"m","upstream":"http://me:secret@a.example/","files":{"pool/a":{"digest":"` + digest + `","size":3}}}`: "without a password",
	} {
		var f client.Problem
		if send(422, head).into(&f); !strings.Contains(f.Detail, want) {
			t.Errorf("%s: %s", head, f.Detail)
		}
	}
	send(200, `{"name":"m","public":true,"upstream":"http://a.example/debian","files":{"pool/a+b~1":{"digest":"`+digest+`","size":3}}}`)
	d.view(func(tx boot.ReadTx) error {
		i, err := tx.Image("m")
		if err != nil || i == nil || i.Upstream != "http://a.example/debian" || i.Files["pool/a+b~1"].Size != 3 {
			t.Errorf("%+v, %v", i, err)
		}
		return nil
	})
	all, err := Referred(t.Context(), d.engine)
	if err != nil || !all[digest].Lazy {
		t.Errorf("%+v, %v", all, err)
	}
}
