package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// tarOf makes an archive of a text, for a fuzzer to change: entries of a type, a name,
// what it links to and its content.
func tarOf(t *testing.T, text string, packed bool) []byte {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = nopClose{&b}
	if packed {
		out = gzip.NewWriter(&b)
	}
	w := tar.NewWriter(out)
	for one := range strings.SplitSeq(text, "\x02") {
		f := strings.SplitN(one, "\x01", 4)
		if len(f) < 4 || len(f[0]) != 1 {
			continue
		}
		h := &tar.Header{Typeflag: f[0][0], Name: f[1], Linkname: f[2], Size: int64(len(f[3])), Mode: 0o644}
		if h.Typeflag != tar.TypeReg {
			h.Size, f[3] = 0, ""
		}
		if w.WriteHeader(h) != nil {
			continue // tar itself cannot hold it
		}
		if _, err := io.WriteString(w, f[3]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type nopClose struct{ io.Writer }

func (nopClose) Close() error { return nil }

// What the entries of the archives below are made of.
func file(name, data string) string     { return "0\x01" + name + "\x01\x01" + data + "\x02" }
func link(kind, name, to string) string { return kind + "\x01" + name + "\x01" + to + "\x01\x02" }

// TestArchiveNames: which names an archive may have, and what becomes of them.
func TestArchiveNames(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{file("./a", "1") + file("b/../c", "2") + file(".//d", "3"), "a c d"},
		{file("a", "1") + file("b/f", "2") + link("2", "b/l", "../a") + link("1", "h", "b/l") + link("2", "d", "b"), "a b/f b/l=a h=a"},
		{file("../a", "1"), `"../a" would lie outside the image`},
		{file("/a", "1"), `"/a" would lie outside the image`},
		{file("", "1"), `"" is no name of a file`},
		{link("2", "a/..", "b"), `"a/.." is no name of a file`},
		{file("a", "1") + file("./a", "2"), "a is in it twice"},
		{file("a", "1") + link("2", "a", "b"), "a is in it twice"},
		{link("2", "a", "b") + file("a", "1"), "a is in it twice"},
		{link("2", "a", "b") + link("2", "b", "a") + file("c", "1"), "a is a link to"},
		{link("2", "a", "../../etc/passwd"), "outside the archive"},
	} {
		name := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(name, tarOf(t, c.text, false), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		s, err := Inspect("x", name)
		if err != nil {
			got = append(got, err.Error())
		} else {
			for _, e := range s.Entries {
				if e.Link != "" {
					e.Name += "=" + e.Link
				}
				got = append(got, e.Name)
			}
			s.Close()
		}
		if all := strings.Join(got, " "); err == nil && all != c.want || !strings.Contains(all, c.want) {
			t.Errorf("%q: %s, want %s", c.text, all, c.want)
		}
	}
}

// FuzzInspect: an archive becomes files inside the image, each under one name and as
// long as was said, or an error.
func FuzzInspect(f *testing.F) {
	netboot := file("./boot/vmlinuz-lts", strings.Repeat("\x00", 0x202)+"HdrS") + file("boot/initramfs-lts", "i") + file("boot/modloop-lts", "m")
	f.Add(netboot+link("5", "boot/", ""), true, 1<<20)
	f.Add(file("a/b", "data")+link("2", "a/l", "b")+link("1", "h", "a/l")+link("2", "d", "a"), false, 1<<20)
	f.Add(file("../x", "out")+file("/abs", "out"), false, 1<<20)
	f.Add(link("2", "a", "b")+link("2", "b", "a")+file("c", "c"), false, 1<<20)
	f.Add(link("3", "dev", "")+link("g", "pax", ""), false, 700)
	f.Add(file("long", strings.Repeat("x", 2000)), true, 100)
	f.Add(file("long", strings.Repeat("x", 2000)), false, 1500)
	f.Fuzz(func(t *testing.T, text string, packed bool, cut int) {
		b := tarOf(t, text, packed)
		if cut >= 0 && cut < len(b) {
			b = b[:cut]
		}
		name := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Inspect("x", name)
		if err != nil {
			return
		}
		defer s.Close()
		seen := map[string]bool{}
		for _, e := range s.Entries {
			if !filepath.IsLocal(e.Name) || path.Clean(e.Name) != e.Name || e.Name == "." || seen[e.Name] {
				t.Fatalf("%q, of %d entries", e.Name, len(s.Entries))
			}
			if e.Link != "" {
				if !seen[e.Link] {
					t.Fatalf("%s links to %s, which is not before it", e.Name, e.Link)
				}
				seen[e.Name] = true
				continue
			}
			seen[e.Name] = true
			r, err := e.Open()
			if err != nil {
				t.Fatalf("%s: %v", e.Name, err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != e.Size {
				t.Fatalf("%s: %d of %d bytes: %v", e.Name, n, e.Size, err)
			}
			r.Close()
		}
		if s.Image.Kind == "" || len(s.Entries) == 0 {
			t.Fatalf("%+v", s.Image)
		}
	})
}
