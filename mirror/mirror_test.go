package mirror

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/musterboot/muster/internal/nettest"
)

func init() { retryPause = 0 }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// take takes from an archive into a folder.
func take(t *testing.T, a *nettest.Archive, src Source, dir string, w Want) (*Result, error) {
	w.Suite, w.Components, w.Arches = "trixie", []string{"main"}, []string{"amd64"}
	if w.Keyring == "" {
		w.Keyring = a.Key
	}
	sum, got := int64(0), int64(0)
	r, err := Take(context.Background(), src, w, dir, func(n int64) { sum = n }, func(n int64) { got += n })
	if err == nil && sum != got {
		t.Errorf("%d bytes were announced, %d came", sum, got)
	}
	return r, err
}

// pool lists what was taken.
func pool(t *testing.T, dir string) (out []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "pool/main/*/*/*"))
	must(t, err)
	for _, p := range all {
		out = append(out, strings.TrimSuffix(filepath.Base(p), "_amd64.deb"))
	}
	slices.Sort(out)
	return out
}

// TestTake: the base system, what is asked for and what these need; the same again fetches
// only what is new, and what the archive dropped goes.
func TestTake(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes", "Priority: required")
	a.Add("libc6", "2.41-1+b1", "Priority: optional")
	a.Add("bash", "5.2~rc1", "Essential: yes", "Pre-Depends: libc6 (>= 2.36)", "Recommends: bash-completion")
	a.Add("bash-completion", "1")
	a.Add("postfix", "3", "Provides: mail-transport-agent", "Depends: libc6")
	a.Add("exim4", "4", "Provides: mail-transport-agent (= 4)", "Depends: libc6")
	a.Add("cron", "3.0", "Depends: libc6, anacron | mail-transport-agent, python3:any | libc6")
	a.Add("games", "1", "Depends: nothing-that-is-there")
	a.Add("grub-pc", "2.12")
	a.Release()
	var mu sync.Mutex
	asked := map[string]int{}
	files := http.FileServer(http.Dir(a.Dir))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		mu.Unlock()
		files.ServeHTTP(w, r)
	}))
	defer srv.Close()
	web := HTTP{Root: srv.URL + "/", Client: srv.Client()}

	dir := t.TempDir()
	r, err := take(t, a, web, dir, Want{Packages: []string{"cron"}})
	must(t, err)
	if got := strings.Join(pool(t, dir), " "); got != "base-files_13 bash_5.2~rc1 cron_3.0 exim4_4 libc6_2.41-1+b1" || r.Packages != 5 || r.Version != "13.2" || r.Fetched <= r.Bytes {
		t.Errorf("%s, %+v", got, r)
	}
	for _, f := range []string{"InRelease", "Release", "Release.gpg", "main/binary-amd64/Packages.xz"} {
		was, err := os.ReadFile(filepath.Join(a.Dir, "dists/trixie", f))
		must(t, err)
		if is, err := os.ReadFile(filepath.Join(dir, "dists/trixie", f)); err != nil || !bytes.Equal(was, is) {
			t.Errorf("%s is not as it was: %v", f, err)
		}
	}

	// apt itself takes it for the archive, and trusts what it trusted.
	served := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer served.Close()
	root := t.TempDir()
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "got"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), []byte("deb [arch=amd64 signed-by="+a.Key+"] "+served.URL+" trixie main\n"), 0o644))
	apt := []string{"-o", "Dir=" + root, "-o", "Dir::State::status=" + root + "/var/lib/dpkg/status", "-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Proxy=DIRECT", "-q"}
	run(t, root, "apt-get", append(apt, "update")...)
	run(t, filepath.Join(root, "got"), "apt-get", append(apt, "download", "cron", "bash")...)
	if l, err := filepath.Glob(filepath.Join(root, "got/*.deb")); err != nil || len(l) != 2 {
		t.Errorf("apt took %q, %v", l, err)
	}

	// A release later.
	a.Add("cron", "3.1", "Depends: libc6")
	must(t, os.Remove(filepath.Join(a.Dir, "pool/main/c/cron/cron_3.0_amd64.deb")))
	a.Release()
	clear(asked)
	r, err = take(t, a, web, dir, Want{Packages: []string{"cron"}})
	must(t, err)
	if got := strings.Join(pool(t, dir), " "); got != "base-files_13 bash_5.2~rc1 cron_3.1 libc6_2.41-1+b1" || asked["/pool/main/b/bash/bash_5.2~rc1_amd64.deb"] != 0 || asked["/pool/main/c/cron/cron_3.1_amd64.deb"] != 1 {
		t.Errorf("%s, %+v, %v", got, r, asked)
	}

	// With what is recommended, the installer's choice, from a folder.
	other := t.TempDir()
	if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, other, Want{Recommends: true}); err != nil || !slices.Contains(pool(t, other), "bash-completion_1") {
		t.Errorf("%v, %v", err, pool(t, other))
	}
	if _, err := take(t, a, Folder{os.DirFS(a.Dir)}, t.TempDir(), Want{Installer: true}); err == nil || !strings.Contains(err.Error(), "has no main/debian-installer/binary-amd64/Packages.gz") {
		t.Errorf("an archive without the installer's packages: %v", err)
	}
}

// TestTakeRefuses: what is not as the signed lists say does not come in.
func TestTakeRefuses(t *testing.T) {
	a := nettest.NewArchive(t)
	a.Add("base-files", "13", "Essential: yes")
	a.Add("vim", "9")
	a.Release()
	src := Folder{os.DirFS(a.Dir)}
	vim := filepath.Join(a.Dir, "pool/main/v/vim/vim_9_amd64.deb")
	good, err := os.ReadFile(vim)
	must(t, err)
	other := nettest.NewArchive(t)
	for name, c := range map[string]struct {
		do   func()
		w    Want
		want string
	}{
		"a package that is not there": {func() {}, Want{Packages: []string{"emacs", "vim"}}, "trixie has no package emacs for amd64"},
		"another's key":               {func() {}, Want{Keyring: other.Key}, "its signature is not one of"},
		"a package that is another":   {func() { must(t, os.WriteFile(vim, append([]byte("x"), good[1:]...), 0o644)) }, Want{Packages: []string{"vim"}}, "is not what the archive's signed list says"},
		"a package that is longer":    {func() { must(t, os.WriteFile(vim, append(bytes.Clone(good), 'x'), 0o644)) }, Want{Packages: []string{"vim"}}, "is not what the archive's signed list says"},
		"a list that is another": {func() {
			must(t, os.WriteFile(filepath.Join(a.Dir, "dists/trixie/main/binary-amd64/Packages.gz"), []byte("x"), 0o644))
		}, Want{}, "Packages.gz is not what"},
		"a release that is another": {func() {
			p := filepath.Join(a.Dir, "dists/trixie/InRelease")
			b, err := os.ReadFile(p)
			must(t, err)
			must(t, os.WriteFile(p, bytes.Replace(b, []byte("13.2"), []byte("13.9"), 1), 0o644))
		}, Want{}, "InRelease: its signature is not one of"},
		"no release": {func() { must(t, os.RemoveAll(filepath.Join(a.Dir, "dists"))) }, Want{}, "is that the root of an archive"},
	} {
		must(t, os.WriteFile(vim, good, 0o644))
		a.Release()
		c.do()
		dir := t.TempDir()
		r, err := take(t, a, src, dir, c.w)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want %q", name, r, err, c.want)
		}
		if slices.Contains(pool(t, dir), "vim_9") {
			t.Errorf("%s: vim lies there", name)
		}
	}
}

// TestOlder: versions as dpkg compares them.
func TestOlder(t *testing.T) {
	nettest.Need(t, "dpkg")
	all := []string{"1", "1.0", "1.10", "1.9", "1~rc1", "1.0~rc1-1", "1.0-1", "1.0-10", "1.0-9+deb13u1", "1.0+dfsg-1", "1.0a", "01.0", "2.41-1+b1", "1:0.1", "0:2", "2:0-1"}
	for _, a := range all {
		for _, b := range all {
			want := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil
			if got := compareVersions(a, b) < 0; got != want {
				t.Errorf("%s before %s: %v, dpkg says %v", a, b, got, want)
			}
		}
	}
}
