// mirror_test.go: a part of a Debian archive, served to a machine without the internet.

package test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// TestMirror: apt on another machine takes what Muster serves for the archive, with its
// signatures, and again after the mirror was brought up to date.
func TestMirror(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Add("libvim", "2~rc1", "Priority: optional")
	a.Add("vim", "9.1", "Depends: libvim")
	a.Release()
	r := newRig(t)
	r.serveConfig(fullNetwork)
	mirror := func() string {
		return r.muster("image", "mirror", "deb", "--from", a.Dir, "--suite", "trixie", "--packages", "vim", "--keyring", a.Key)
	}
	if said := mirror(); !strings.Contains(said, "deb holds 3 packages") || !strings.Contains(said, "mirror=image:deb") {
		t.Errorf("%s", said)
	}
	cli := r.host("cli", "10.77.0.60/24")
	root := t.TempDir()
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), []byte("deb [arch=amd64 signed-by="+a.Key+"] http://10.77.0.1/images/deb trixie main\n"), 0o644))
	apt := func(args ...string) string {
		t.Helper()
		out, err := cli.Run(r.ctx, "apt-get", append([]string{"-o", "Dir=" + root, "-o", "Dir::State::status=" + root + "/var/lib/dpkg/status", "-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Proxy=DIRECT", "-o", "Acquire::Retries=0", "-qq", "-y", "--download-only", "-o", "Debug::NoLocking=1"}, args...)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	have := func(deb string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(root, "var/cache/apt/archives", deb)); err != nil {
			t.Error(err)
		}
	}
	apt("update")
	apt("install", "vim")
	have("vim_9.1_amd64.deb")
	have("libvim_2~rc1_amd64.deb")

	a.Add("vim", "10", "Depends: libvim")
	a.Release()
	mirror()
	apt("update")
	apt("install", "vim")
	have("vim_10_amd64.deb")
	var is []struct{ Name, Kind, Title string }
	r.json(&is, "image", "list")
	if len(is) != 1 || is[0].Kind != "mirror" || !strings.HasPrefix(is[0].Title, "Debian archive, trixie 13.2 of Tue, 01 Dec 2026") {
		t.Errorf("%+v", is)
	}
}

// TestMirrorLazy: of a mirror that has the lists alone, a package is fetched when the first
// machine asks for it, and is there afterwards although the archive is not.
func TestMirrorLazy(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Add("vim", "9.1")
	a.Add("emacs", "30")
	a.Release()
	r := newRig(t)
	r.serveConfig(fullNetwork)
	up := r.host("up", "10.77.0.70/24")
	stop, cancel := context.WithCancel(r.ctx)
	defer cancel()
	web := up.Command(stop, "python3", "-m", "http.server", "--directory", a.Dir, "80")
	must(t, web.Start())
	mirror := func() ([]byte, error) {
		return r.srv.Command(r.ctx, r.binary, "--data-dir", r.data, "image", "mirror", "deb", "--lazy", "--from", "http://10.77.0.70/", "--suite", "trixie", "--packages", "vim,emacs", "--keyring", a.Key).CombinedOutput()
	}
	r.wait("the archive", time.Minute, func() error {
		out, err := mirror()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if before := r.stored(); len(before) > 7 {
		t.Errorf("the pool was stored too: %d files", len(before))
	}
	cli := r.host("cli", "10.77.0.60/24")
	fetch := func(deb string) (string, error) {
		out, err := cli.Run(r.ctx, "sh", "-c", "curl -fsS http://10.77.0.1/images/deb/pool/main/"+deb+" | sha256sum")
		return out, err
	}
	local := func(deb string) string {
		b, err := os.ReadFile(filepath.Join(a.Dir, "pool/main", deb))
		must(t, err)
		return fmt.Sprintf("%x  -\n", sha256.Sum256(b))
	}
	for range 2 {
		if got, err := fetch("v/vim/vim_9.1_amd64.deb"); err != nil || got != local("v/vim/vim_9.1_amd64.deb") {
			t.Errorf("%s, %v", got, err)
		}
		cancel() // the archive goes
		_ = web.Wait()
	}
	if got, _ := fetch("e/emacs/emacs_30_amd64.deb"); got == local("e/emacs/emacs_30_amd64.deb") {
		t.Error("a package came from nowhere")
	}
	if said := r.muster("image", "verify", "deb"); !strings.Contains(said, "deb") {
		t.Errorf("%s", said)
	}
}

// TestMirrorDebian: a Debian is made, on a machine that reaches nothing but Muster, of the
// part of this machine's own archive that was mirrored.
func TestMirrorDebian(t *testing.T) {
	if os.Getenv("MUSTER_LONG") == "" {
		t.Skip("a hundred packages are fetched, and a Debian is made of them: MUSTER_LONG=1")
	}
	nettest.Need(t, "mmdebstrap", "gpgv")
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages").Output()
	must(t, err)
	var from, suite string
	for line := range strings.Lines(string(out)) {
		// The suite itself comes before its updates.
		if f := strings.Fields(line); len(f) == 3 && f[2] == "main" && from == "" {
			from, suite = f[0], f[1]
		}
	}
	if from == "" {
		t.Fatal("no source of Debian's packages is set up on this machine, or apt-get update was never run")
	}
	r := newRig(t)
	r.serveConfig(fullNetwork)
	start := time.Now()
	said := r.muster("image", "mirror", "deb", "--from", from, "--suite", suite, "--packages", "apt,ca-certificates,openssh-server")
	t.Logf("%s: %s", time.Since(start).Round(time.Second), said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:])
	cli := r.host("cli", "10.77.0.60/24")
	start = time.Now()
	tar := filepath.Join(t.TempDir(), "root.tar")
	if out, err := cli.Command(r.ctx, "env", "-u", "http_proxy", "-u", "https_proxy", "mmdebstrap", "--variant=minbase", "--include=openssh-server", "--aptopt=Acquire::http::Proxy \"DIRECT\"", suite, tar, "http://10.77.0.1/images/deb").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("made in %s", time.Since(start).Round(time.Second))
	list, err := exec.Command("tar", "-tf", tar).Output()
	must(t, err)
	for _, f := range []string{"./usr/sbin/sshd", "./usr/bin/apt-get"} {
		if !strings.Contains(string(list), f+"\n") {
			t.Errorf("there is no %s in it", f)
		}
	}
}
