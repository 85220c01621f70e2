package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarOf makes an archive of a text: entries of a type, a name,
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
