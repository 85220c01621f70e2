package backup

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

func made(t *testing.T, parts ...Part) []byte {
	t.Helper()
	var b bytes.Buffer
	m := Manifest{Made: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), By: "test", Records: 7, Secrets: []string{"web1 rootpw"}}
	if err := Write(t.Context(), &b, m, append([]Part{Bytes(StoreName, []byte("the records")), Bytes(ConfigName, []byte("[http]\n"))}, parts...)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRoundTrip: what was written is read back, each byte checked.
func TestRoundTrip(t *testing.T) {
	f := Bytes("", []byte("a boot file"))
	f.Name = FilePart(f.SHA256)
	dir := t.TempDir()
	m, err := Unpack(t.Context(), bytes.NewReader(made(t, f)), dir)
	if err != nil || m.Records != 7 || len(m.Entries) != 3 || m.Secrets[0] != "web1 rootpw" {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, want := range map[string]string{StoreName: "the records", ConfigName: "[http]\n", f.Name: "a boot file"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if files := Files(dir, &m); len(files) != 1 || files[f.SHA256] == "" {
		t.Errorf("%v", files)
	}
	bad := f
	bad.SHA256 = strings.Repeat("0", 64)
	if err := Write(t.Context(), &bytes.Buffer{}, Manifest{}, []Part{bad}); err == nil {
		t.Error("a file that changed was written as it should be")
	}
}

// TestDamage: a backup with a wrong byte, cut off, or with more than its list says is
// refused whatever the byte is, and nothing outside the folder is written.
func TestDamage(t *testing.T) {
	whole := made(t)
	for i := 0; i < len(whole); i += 7 {
		if bytes.Count(whole[i:], []byte{0}) == len(whole)-i {
			break // the end of the archive holds nothing
		}
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		dir := t.TempDir()
		m, err := Unpack(t.Context(), bytes.NewReader(b), dir)
		if err == nil { // padding and times are no part of it
			got, _ := os.ReadFile(filepath.Join(dir, StoreName))
			if string(got) != "the records" || m.Format != format {
				t.Fatalf("byte %d: %+v, %q", i, m, got)
			}
		}
	}
	for _, n := range []int{0, 100, 511, 700, len(whole) / 2, len(whole) - 1600} {
		if _, err := Unpack(t.Context(), bytes.NewReader(whole[:max(0, n)]), t.TempDir()); err == nil {
			t.Errorf("cut off at %d of %d", n, len(whole))
		}
	}
	for what, change := range map[string]func(string) string{
		"a name outside": func(s string) string { return strings.Replace(s, ConfigName, "../../../x", 2) },
		"another format": func(s string) string { return strings.Replace(s, `"format": 1`, `"format": 2`, 1) },
		"no backup":      func(string) string { return "PK\x03\x04" },
	} {
		if _, err := Unpack(t.Context(), strings.NewReader(change(string(whole))), t.TempDir()); err == nil {
			t.Errorf("%s", what)
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	head := []byte(`{"format":1,"entries":[{"name":"store.dump","size":1,"sha256":"x"},{"name":"store.dump","size":1,"sha256":"x"}]}`)
	w.WriteHeader(&tar.Header{Name: manifestName, Size: int64(len(head)), Mode: 0o600})
	w.Write(head)
	w.Close()
	if _, err := Unpack(t.Context(), &b, t.TempDir()); err == nil {
		t.Error("one name twice")
	}
}

// TestLocked: the sealing key is in a backup only for whom it is encrypted to.
func TestLocked(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := bytes.Repeat([]byte{7}, 32)
	p, err := Locked(key, id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	r, _ := p.Open()
	var b bytes.Buffer
	b.ReadFrom(r)
	if bytes.Contains(b.Bytes(), key) {
		t.Error("it is readable")
	}
	if got, err := Unlock(b.Bytes(), strings.NewReader(id.String()+"\n")); err != nil || !bytes.Equal(got, key) {
		t.Errorf("%x, %v", got, err)
	}
	other, _ := age.GenerateX25519Identity()
	if _, err := Unlock(b.Bytes(), strings.NewReader(other.String())); err == nil {
		t.Error("another identity opens it")
	}
	if _, err := Locked(key, "ssh-rsa AAAA"); err == nil {
		t.Error("a recipient that is none")
	}
}
