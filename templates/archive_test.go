package templates

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/images/iso"
)

const archiveSpec = `name = "x"
[boot]
kernel = "k"
[params.pw]
secret = true
[secrets]
files = ["user-data"]
[archives."o.tar.gz"]
"etc/local.d/a.start" = "start.sh"
"etc/hostname" = "name"
"etc/runlevels/default/local" = "-> /etc/init.d/local"
`

// TestArchives: an archive is of files as this machine gets them, the same each time.
func TestArchives(t *testing.T) {
	f := folder{SpecFile: archiveSpec, "k": "K", "start.sh.tmpl": "#!/bin/sh\nhostname {{ sh .Name }}\n", "name.tmpl": "{{ .Name }}\n", "user-data": "#cloud-config\n{{ with .Params.pw }}passwd: {{ yaml . }}{{ end }}\n"}
	spec, err := f.lint()
	if err != nil {
		t.Fatal(err)
	}
	s, tm := set(t, f)
	if x := spec.Template(); !slices.Contains(x.Generated, "o.tar.gz") || !slices.Contains(x.Generated, "cidata.iso") || !slices.Equal(x.Secret.Files, []string{"user-data", "cidata.iso"}) {
		t.Errorf("generated %q, secret %q", x.Generated, x.Secret.Files)
	}
	m := machine()
	all, err := s.Rendered(pad(tm), boot.IPXEScript, m)
	if err != nil || string(all["cidata.iso"]) != "meta-data = meta-data\nuser-data = user-data\nvendor-data = vendor-data\n" {
		t.Errorf("%q, %v", all["cidata.iso"], err)
	}
	open := func(name string) string {
		t.Helper()
		got, err := s.text(t, boot.Ref{Kind: boot.RefTemplate, Name: name, Template: pad(tm), Machine: m})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	packed := open("o.tar.gz")
	if packed != open("o.tar.gz") {
		t.Error("it differs from one time to the next")
	}
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%s %o %s%q", h.Name, h.Mode, h.Linkname, b))
	}
	want := []string{`etc/ 755 ""`, `etc/hostname 644 "` + m.Name + `\n"`, `etc/local.d/ 755 ""`, `etc/local.d/a.start 755 "#!/bin/sh\nhostname '` + m.Name + `'\n"`, `etc/runlevels/ 755 ""`, `etc/runlevels/default/ 755 ""`, `etc/runlevels/default/local 777 /etc/init.d/local""`}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	m.Sealed, m.Params = map[string]boot.Sealed{"pw": {Data: []byte{1}}}, map[string]string{"pw": "$6$x"}
	disc := open("cidata.iso")
	i, err := iso.Open(strings.NewReader(disc), int64(len(disc)))
	if err != nil || i.Label() != "cidata" {
		t.Fatalf("%v", err)
	}
	for name, want := range map[string]string{"user-data": "#cloud-config\npasswd: \"$6$x\"\n", "vendor-data": "", "meta-data": "instance-id: \"" + m.Name + "-"} {
		if b, err := fs.ReadFile(i, name); err != nil || !bytes.HasPrefix(b, []byte(want)) || want == "" && len(b) > 0 {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if packed != open("o.tar.gz") {
		t.Error("what is no secret's sees one")
	}
}

// TestArchivesRefused: what cannot be made is refused when it is pushed.
func TestArchivesRefused(t *testing.T) {
	for archive, want := range map[string]string{
		"[archives.\"a.zip\"]\n\"x\" = \"k\"\n":                                           "want a name that ends in",
		"[archives.\"a.tar.gz\"]\n":                                                       "want 1 to 2000 files",
		"[archives.\"a.tar.gz\"]\n\"/x\" = \"k\"\n":                                       "without a slash in front",
		"[archives.\"a.tar.gz\"]\n\"../x\" = \"k\"\n":                                     "want a path inside it",
		"[archives.\"a.tar.gz\"]\n\"x\" = \"none\"\n":                                     "there is no none in the folder",
		"[archives.\"a.tar.gz\"]\n\"x\" = \"k\"\n\"x/y\" = \"k\"\n":                       "would be a file and a folder",
		"[archives.\"a.iso\"]\n\"x\" = \"-> k\"\n":                                        "a disc has none",
		"[archives.\"a.iso\"]\n\"a/b/c/d/e/f/g/h/i\" = \"k\"\n":                           "directories deep",
		"[archives.\"a-label-of-too-many.iso\"]\n\"x\" = \"k\"\n":                         "want 1 to 16 bytes",
		"[archives.\"k.iso\"]\n\"x\" = \"k\"\n":                                           "a file of the folder has that name",
		"[archives.\"images/a.iso\"]\n\"x\" = \"k\"\n":                                    "Muster's own",
		"[archives.\"../a.iso\"]\n\"x\" = \"k\"\n":                                        "file name",
		"[archives.\"a.tar.gz\"]\nx = \"b.tar.gz\"\n[archives.\"b.tar.gz\"]\nx = \"k\"\n": "there is no b.tar.gz",
		"[archives.\"a.tar.gz\"]\nx = \"big\"\n":                                          "at most 4194304",
	} {
		f := folder{SpecFile: "name = \"x\"\n[boot]\nkernel = \"k\"\n" + archive, "k": "K", "k.iso": "I", "big": strings.Repeat("b", 4<<20+1)}
		if _, err := f.lint(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "[archives]") && !strings.Contains(err.Error(), "archives") {
			t.Errorf("%s: %v, want %q", archive, err, want)
		}
	}
}
