package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

// TestRelease: what a release may say of itself.
func TestRelease(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	dir := t.TempDir()
	for _, c := range []struct{ name, old, new, want string }{
		{"another suite", "Codename: trixie", "Codename: bookworm", `it is of the suite "stable", "bookworm", and trixie was asked for`},
		{"by its suite", "Suite: stable\nCodename: trixie", "Suite: trixie", ""},
		{"valid no more", "Date:", "Valid-Until: Sat, 01 Aug 2026 10:00:00 UTC\nDate:", "valid until Sat, 01 Aug 2026 10:00:00 UTC"},
		{"valid still", "Date:", "Valid-Until: Fri, 01 Aug 2125 10:00:00 UTC\nDate:", ""},
		{"valid until nobody knows when", "Date:", "Valid-Until: soon\nDate:", `Valid-Until: "soon" is no date`},
		{"no date", "Date:", "X:", `Date: "" is no date`},
		{"a day before", "Tue, 01 Dec", "Mon, 30 Nov", "Release is of Mon, 30 Nov 2026 10:00:00 UTC, and"},
	} {
		a.Edit = func(s string) string { return strings.Replace(s, c.old, c.new, 1) }
		a.Release()
		_, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}

	// Two texts, each of which is signed.
	a.Edit = func(s string) string { return strings.Replace(s, "13.2", "13.1", 1) }
	a.Release()
	d := filepath.Join(a.Dir, "dists/trixie")
	in, err := os.ReadFile(filepath.Join(d, "InRelease"))
	must(t, err)
	a.Edit = nil
	a.Release()
	must(t, os.WriteFile(filepath.Join(d, "InRelease"), in, 0o644))
	if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{}); err == nil || !strings.Contains(err.Error(), "say different things") {
		t.Errorf("two texts: %v", err)
	}
	for name, text := range map[string]string{"something before": "x\n" + string(in), "something behind": string(in) + "x\n", "two": string(in) + string(in)} {
		must(t, os.WriteFile(filepath.Join(d, "InRelease"), []byte(text), 0o644))
		if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, dir, Want{}); err == nil || !strings.Contains(err.Error(), "not one signed message") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSigned: whose signature counts, by gpgv itself.
func TestSigned(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	try := func(name, want string) {
		t.Helper()
		a.Release()
		_, err := take(t, a, Folder{os.DirFS(a.Dir)}, t.TempDir(), Want{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	quick := func(at, who, expires string) []string {
		return []string{"--faked-system-time", at, "--passphrase", "", "--quick-generate-key", who, "rsa2048", "sign", expires}
	}
	a.GPG(quick("20260101T000000", "new@example.org", "never")...)
	a.Sign = []string{"-u", "a@example.org", "-u", "new@example.org"}
	try("a second key that is not here", "")
	a.Sign = []string{"-u", "new@example.org"}
	try("that key alone", "is not there")

	a.GPG(quick("20200101T000000", "old@example.org", "2020-02-01")...)
	must(t, os.WriteFile(a.Key, a.GPG("--export"), 0o644))
	a.Sign = []string{"-u", "old@example.org", "--faked-system-time", "20200102T000000"}
	try("a key that has expired", "has expired")
	a.Sign = []string{"-u", "new@example.org", "--digest-algo", "SHA1"}
	try("SHA-1", "weak digest")
	a.Sign = []string{"-u", "new@example.org"}
	try("that key by SHA-2", "")

	// gpgv looks for a name without a folder elsewhere.
	t.Chdir(filepath.Dir(a.Key))
	a.Key = filepath.Base(a.Key)
	try("a relative name", "")
}

// TestVerdict: what gpgv says for programs, as GnuPG describes it.
func TestVerdict(t *testing.T) {
	const k, k2 = "AAAABBBBCCCCDDDD", "1111222233334444"
	valid := func(k, digest string) string {
		return fmt.Sprintf("VALIDSIG %024d%s 2026-12-01 1 0 4 0 22 %s 00 %024d%s\n", 0, k, digest, 0, k)
	}
	good := "NEWSIG\nGOODSIG " + k + " a\n" + valid(k, "10")
	for name, c := range map[string]struct {
		status string
		passed bool
		want   string
	}{
		"good":                     {good, true, ""},
		"good and gpgv fails":      {good, false, "gpgv failed"},
		"good and an unknown":      {good + "NEWSIG\nERRSIG " + k2 + " 1 8 00 1 9 -\nNO_PUBKEY " + k2 + "\nFAILURE gpg-exit 1\n", false, ""},
		"unknown":                  {"NEWSIG\nERRSIG " + k2 + " 1 8 00 1 9 -\nNO_PUBKEY " + k2, false, "the key " + k2 + " is not there"},
		"good and bad":             {good + "NEWSIG\nBADSIG " + k2 + " b\n", false, "not what was signed"},
		"bad and good":             {"NEWSIG\nBADSIG " + k2 + " b\n" + good, false, "not what was signed"},
		"expired key":              {"NEWSIG\nEXPKEYSIG " + k + " a\n" + valid(k, "10"), true, "key " + k + " has expired"},
		"revoked key":              {"NEWSIG\nREVKEYSIG " + k + " a\n" + valid(k, "10"), true, "is revoked"},
		"expired signature":        {"NEWSIG\nEXPSIG " + k + " a\n" + valid(k, "10"), true, "has expired"},
		"revoked beside good":      {"NEWSIG\nREVKEYSIG " + k2 + " a\n" + valid(k2, "10") + good, true, ""},
		"good without valid":       {"NEWSIG\nGOODSIG " + k + " a\n", true, "there is none"},
		"valid of another":         {"NEWSIG\nGOODSIG " + k + " a\nNEWSIG\n" + valid(k2, "10"), true, "there is none"},
		"SHA-1":                    {"NEWSIG\nGOODSIG " + k + " a\n" + valid(k, "2"), true, "weak digest"},
		"MD5":                      {"NEWSIG\nGOODSIG " + k + " a\n" + valid(k, "1"), true, "weak digest"},
		"SHA-1 and then SHA-2":     {"NEWSIG\nGOODSIG " + k + " a\n" + valid(k, "2") + good, true, ""},
		"a name as a word of gpgv": {"NEWSIG\nEXPKEYSIG " + k + " GOODSIG " + k + "\n" + valid(k, "10"), true, "has expired"},
		"two texts":                {good + "UNEXPECTED 0\n", false, "cannot be read"},
		"nothing":                  {"", true, "there is none"},
	} {
		var s strings.Builder
		for l := range strings.Lines(c.status) {
			s.WriteString("[GNUPG:] " + l)
		}
		if err := verdict(s.String(), c.passed); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
