package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSeal: what is sealed opens with the same key at the same place, and nowhere else.
func TestSeal(t *testing.T) {
	k, err := New(bytes.Repeat([]byte{7}, keyLen))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := New(bytes.Repeat([]byte{8}, keyLen))
	for _, s := range [][]byte{nil, []byte("x"), []byte("correct horse"), bytes.Repeat([]byte{0}, 5000)} {
		b := k.Seal("host/7/rootpw", s)
		if got, err := k.Open("host/7/rootpw", b); err != nil || !bytes.Equal(got, s) {
			t.Errorf("%q, %v", got, err)
		}
		if len(s) > 4 && bytes.Contains(b, s) {
			t.Error("it is readable")
		}
		if !bytes.Equal(b, k.Seal("host/7/rootpw", s)) || bytes.Equal(b, k.Seal("host/8/rootpw", s)) {
			t.Error("sealing is no function, or does not know its place")
		}
		if !Sealed(b) || Sealed(s) {
			t.Error("what is sealed is not known")
		}
		for what, open := range map[string]func() ([]byte, error){
			"another place": func() ([]byte, error) { return k.Open("host/8/rootpw", b) },
			"another key":   func() ([]byte, error) { return other.Open("host/7/rootpw", b) },
			"a piece":       func() ([]byte, error) { return k.Open("host/7/rootpw", b[:len(b)-1]) },
			"nothing":       func() ([]byte, error) { return k.Open("host/7/rootpw", nil) },
			"a wrong bit":   func() ([]byte, error) { c := bytes.Clone(b); c[len(c)-1] ^= 1; return k.Open("host/7/rootpw", c) },
		} {
			if got, err := open(); !errors.Is(err, ErrOther) {
				t.Errorf("%s: %q, %v", what, got, err)
			}
		}
	}
}

// TestOpen: a key is made once, kept for its owner alone, and taken from a credential
// where there is one.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	a, created, err := Open(dir, "")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	path := filepath.Join(dir, FileName)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 || st.Size() != keyLen {
		t.Errorf("%v, %v", st, err)
	}
	b, created, err := Open(dir, filepath.Join(dir, "nothing"))
	if err != nil || created || !bytes.Equal(a.Seal("x", []byte("y")), b.Seal("x", []byte("y"))) {
		t.Error("it was not the same key", created, err)
	}
	cred := t.TempDir()
	if err := os.WriteFile(filepath.Join(cred, Credential), bytes.Repeat([]byte{9}, keyLen), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, _, err := Open(dir, cred); err != nil || bytes.Equal(a.Seal("x", nil), c.Seal("x", nil)) {
		t.Error("the credential was not used", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, ""); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others may read it: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o600)
	if _, _, err := Open(dir, ""); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a short key: %v", err)
	}
	if l, _ := filepath.Glob(filepath.Join(dir, ".seal-*")); len(l) > 0 {
		t.Errorf("left: %v", l)
	}
}
