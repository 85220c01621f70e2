// archive.go: a small archive of Debian packages, for what mirrors one.

package nettest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Archive is a small archive of Debian packages, made and signed by Debian's own programs.
type Archive struct {
	Dir  string
	Key  string // the file of its public key
	t    testing.TB
	home string // gpg's

	Edit func(release string) string // what Release signs, where set
	Sign []string                    // further arguments of gpg where it signs
}

func output(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NewArchive is one without packages.
func NewArchive(t testing.TB) *Archive {
	t.Helper()
	Need(t, "gpg", "gpgv", "dpkg-deb", "dpkg-scanpackages", "xz", "apt-get")
	home, err := os.MkdirTemp("", "gpg") // a socket's path is short
	noError(t, err)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	noError(t, os.Chmod(home, 0o700))
	a := &Archive{Dir: t.TempDir(), Key: filepath.Join(t.TempDir(), "key.gpg"), t: t, home: home}
	a.GPG("--passphrase", "", "--quick-generate-key", "an archive <a@example.org>", "ed25519", "sign", "never")
	noError(t, os.WriteFile(a.Key, a.GPG("--export"), 0o644))
	return a
}

// GPG runs gpg with the archive's keys.
func (a *Archive) GPG(args ...string) []byte {
	a.t.Helper()
	return output(a.t, "", "gpg", append([]string{"--homedir", a.home, "--batch", "--yes"}, args...)...)
}

// Add puts a package into the pool.
func (a *Archive) Add(name, version string, fields ...string) {
	a.t.Helper()
	root := a.t.TempDir()
	noError(a.t, os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755))
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: m <m@example.org>\nDescription: d\n more of it\n%s\n", name, version, strings.Join(fields, "\n"))
	noError(a.t, os.WriteFile(filepath.Join(root, "DEBIAN/control"), []byte(strings.ReplaceAll(control, "\n\n", "\n")), 0o644))
	at := filepath.Join(a.Dir, "pool/main", name[:1], name)
	noError(a.t, os.MkdirAll(at, 0o755))
	output(a.t, "", "dpkg-deb", "--root-owner-group", "-b", root, filepath.Join(at, name+"_"+version+"_amd64.deb"))
}

// Release writes the lists and signs them.
func (a *Archive) Release() {
	a.t.Helper()
	d := filepath.Join(a.Dir, "dists/trixie")
	bin := filepath.Join(d, "main/binary-amd64")
	noError(a.t, os.RemoveAll(d))
	noError(a.t, os.MkdirAll(bin, 0o755))
	noError(a.t, os.WriteFile(filepath.Join(bin, "Packages"), output(a.t, a.Dir, "dpkg-scanpackages", "-m", "pool"), 0o644))
	output(a.t, bin, "xz", "-k", "Packages")
	output(a.t, bin, "gzip", "-kn", "Packages")
	noError(a.t, os.WriteFile(filepath.Join(bin, "Release"), []byte("Archive: stable\nComponent: main\nArchitecture: amd64\n"), 0o644))
	text := "Origin: here\nSuite: stable\nCodename: trixie\nVersion: 13.2\nDate: Tue, 01 Dec 2026 10:00:00 UTC\nAcquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\nSHA256:\n"
	for _, n := range []string{"Packages", "Packages.xz", "Packages.gz", "Release"} {
		b, err := os.ReadFile(filepath.Join(bin, n))
		noError(a.t, err)
		sum := sha256.Sum256(b)
		text += fmt.Sprintf(" %s %d main/binary-amd64/%s\n", hex.EncodeToString(sum[:]), len(b), n)
	}
	noError(a.t, os.Remove(filepath.Join(bin, "Packages"))) // listed and not there, as in Debian's
	if a.Edit != nil {
		text = a.Edit(text)
	}
	noError(a.t, os.WriteFile(filepath.Join(d, "Release"), []byte(text), 0o644))
	for _, how := range [][]string{{"--clearsign", "-o", "InRelease"}, {"--detach-sign", "--armor", "-o", "Release.gpg"}} {
		how[len(how)-1] = filepath.Join(d, how[len(how)-1])
		a.GPG(slices.Concat(a.Sign, how, []string{filepath.Join(d, "Release")})...)
	}
}
