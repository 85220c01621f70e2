// Package packaging_test builds the Debian package and looks at it: what is in
// it, that the unit and the default configuration are sound, and that it
// installs, upgrades and purges on a throwaway copy of this system.
package packaging_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output runs a command and returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "muster-packaging-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// build makes muster as it ships, once.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "muster")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "../cmd/muster")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("the program and its packages are built without -short")
	}
	path, err := build()
	must(t, err)
	return path
}

// stub is the head of the binary, for packages that nobody will run: they are
// compressed at once.
func stub(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(binary(t))
	must(t, err)
	path := filepath.Join(t.TempDir(), "muster")
	must(t, os.WriteFile(path, b[:4096], 0o755))
	return path
}

// whole is the package of the whole binary, which takes long to compress: made once.
func whole(t *testing.T) string {
	t.Helper()
	if wholeDeb == "" {
		wholeDeb = deb(t, "1.2.0", binary(t))
	}
	return wholeDeb
}

var wholeDeb string

// deb builds a package in a folder of its own and returns its path.
func deb(t *testing.T, version, program string, env ...string) string {
	t.Helper()
	nettest.Need(t, "dpkg-deb", "dpkg")
	dir, err := os.MkdirTemp(scratch, "deb-")
	must(t, err)
	cmd := exec.Command("./build-deb.sh", version, program, dir)
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "COMPLETER="+binary(t)), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build-deb.sh: %v\n%s", err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func TestDebContents(t *testing.T) {
	p := whole(t)
	if want := "muster_1.2.0_" + strings.TrimSpace(output(t, "dpkg", "--print-architecture")) + ".deb"; filepath.Base(p) != want {
		t.Errorf("package is %s, want %s", filepath.Base(p), want)
	}
	listing := output(t, "dpkg-deb", "-c", p)
	for line := range strings.Lines(listing) {
		if !strings.Contains(line, " root/root ") {
			t.Errorf("not owned by root: %s", line)
		}
	}
	control := output(t, "dpkg-deb", "-I", p)
	for _, want := range []string{"Version: 1.2.0\n", "Depends: systemd | systemd-standalone-sysusers | systemd-sysusers\n", "Recommends: ca-certificates, ipxe\n", "Suggests: gpgv, shim-signed, grub-efi-", "postinst", "prerm", "postrm"} {
		if !strings.Contains(control, want) {
			t.Errorf("control has no %q:\n%s", want, control)
		}
	}
	if got := output(t, "dpkg-deb", "-I", p, "conffiles"); got != "/etc/muster/muster.toml\n" {
		t.Errorf("conffiles: %q", got)
	}

	root := t.TempDir()
	output(t, "dpkg-deb", "-x", p, root)
	for name, mode := range map[string]os.FileMode{
		"usr/bin/muster":                                   0o755,
		"etc/muster":                                       0o755 | os.ModeDir,
		"etc/muster/muster.toml":                           0o644,
		"usr/lib/systemd/system/muster.service":            0o644,
		"usr/lib/sysusers.d/muster.conf":                   0o644,
		"usr/share/bash-completion/completions/muster":     0o644,
		"usr/share/doc/muster/prometheus/muster.rules.yml": 0o644,
		"usr/share/doc/muster/prometheus/rules_test.yml":   0o644,
		"usr/share/doc/muster/prometheus/grafana.json":     0o644,
		"usr/share/zsh/vendor-completions/_muster":         0o644,
		"usr/share/fish/vendor_completions.d/muster.fish":  0o644,
		"usr/share/doc/muster/copyright":                   0o644,
		"usr/share/doc/muster/changelog.gz":                0o644,
		"usr/share/man/man1/muster.1.gz":                   0o644,
		"usr/share/man/man1/muster-host-add.1.gz":          0o644,
		"usr/share/man/man5/muster.toml.5.gz":              0o644,
		"usr/share/lintian/overrides/muster":               0o644,
	} {
		st, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if st.Mode() != mode || (st.Mode().IsRegular() && st.Size() == 0) {
			t.Errorf("%s: mode %v, %d bytes; want %v", name, st.Mode(), st.Size(), mode)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "usr/share/man/man1/muster-man.1.gz")); err == nil {
		t.Error("a hidden command has a manual page")
	}
}

// TestLintian: Debian's own checker finds no fault, and no override that is not needed.
func TestLintian(t *testing.T) {
	nettest.Need(t, "lintian", "dpkg-parsechangelog")
	p := whole(t)
	out, err := exec.Command("lintian", "--fail-on=error,warning", "--allow-root", "--tag-display-limit=0", p).CombinedOutput()
	if err != nil || strings.Contains(string(out), "unused-override") {
		t.Errorf("%v:\n%s", err, out)
	}
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", p, root)
	if got := output(t, "dpkg-parsechangelog", "-l", filepath.Join(root, "usr/share/doc/muster/changelog.gz"), "-S", "Version"); got != "1.2.0\n" {
		t.Errorf("the changelog is of version %q", got)
	}
}

// TestDebArchitectures: a package for each, of a binary for it and of no other.
func TestDebArchitectures(t *testing.T) {
	head, err := os.ReadFile(stub(t))
	must(t, err)
	programs := map[string]string{}
	for arch, elf := range map[string][2]byte{"amd64": {2, 0x3e}, "arm64": {2, 0xb7}, "armhf": {1, 0x28}, "i386": {1, 3}, "riscv64": {2, 0xf3}} {
		h := bytes.Clone(head)
		h[4], h[18], h[19] = elf[0], elf[1], 0
		programs[arch] = filepath.Join(t.TempDir(), arch)
		must(t, os.WriteFile(programs[arch], h, 0o755))
	}
	for arch := range programs {
		p := deb(t, "1.2.0", programs[arch], "DEB_ARCH="+arch)
		if got := output(t, "dpkg-deb", "-f", p, "Architecture"); got != arch+"\n" || !strings.HasSuffix(p, "_"+arch+".deb") {
			t.Errorf("%s is for %q, want %s", p, got, arch)
		}
		for other, program := range programs {
			if other == arch {
				continue
			}
			cmd := exec.Command("./build-deb.sh", "1.2.0", program, t.TempDir())
			cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "DEB_ARCH="+arch, "COMPLETER="+binary(t))
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "is not built for "+arch) {
				t.Errorf("%s as %s: %v, %s", other, arch, err, out)
			}
		}
	}
}

func TestDebIsReproducible(t *testing.T) {
	program := stub(t)
	a, err := os.ReadFile(deb(t, "1.2.0", program))
	must(t, err)
	time.Sleep(time.Second) // another second on the clock
	b, err := os.ReadFile(deb(t, "1.2.0", program, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"))
	must(t, err)
	if !bytes.Equal(a, b) {
		t.Error("two builds of the same input differ")
	}
}

func TestDebVersions(t *testing.T) {
	program, last := stub(t), ""
	for _, c := range [][2]string{{"v1.2.0-rc1", "1.2.0~rc1"}, {"v1.2.0", "1.2.0"}, {"1.2.0-3-gabcdef", "1.2.0+3+gabcdef"}} {
		name := filepath.Base(deb(t, c[0], program))
		if !strings.HasPrefix(name, "muster_"+c[1]+"_") {
			t.Errorf("%s: package is %s, want version %s", c[0], name, c[1])
		}
		if last != "" {
			output(t, "dpkg", "--compare-versions", last, "lt", c[1])
		}
		last = c[1]
	}
}

func TestDebRefuses(t *testing.T) {
	nettest.Need(t, "dpkg-deb", "dpkg")
	wrongArch := "arm64"
	if strings.TrimSpace(output(t, "dpkg", "--print-architecture")) == "arm64" {
		wrongArch = "amd64"
	}
	for _, c := range []struct {
		name string
		env  string
		args []string
		want string
	}{
		{"no arguments", "", nil, "usage: build-deb.sh VERSION BINARY OUTDIR"},
		{"version", "", []string{"devel", binary(t), scratch}, "want something like 1.2.0"},
		{"no binary", "", []string{"1", "nowhere", scratch}, "no binary nowhere: go build"},
		{"architecture", "DEB_ARCH=" + wrongArch, []string{"1", binary(t), scratch}, "is not built for " + wrongArch},
		{"completer", "COMPLETER=/bin/false", []string{"1", binary(t), scratch}, "set COMPLETER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("./build-deb.sh", c.args...)
			cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", c.env)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("err %v, said %q; want %q", err, out, c.want)
			}
		})
	}
}

// TestUnit lets systemd judge the unit, with the built binary in its place.
func TestUnit(t *testing.T) {
	nettest.Need(t, "systemd-analyze")
	unit, err := os.ReadFile("muster.service")
	must(t, err)
	text := strings.ReplaceAll(string(unit), "/usr/bin/muster ", binary(t)+" ")
	path := filepath.Join(t.TempDir(), "muster.service")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	// systemd before 254 says that it does not know how to become slower, and goes on.
	for line := range strings.Lines(output(t, "systemd-analyze", "verify", "--man=no", path)) {
		if !strings.Contains(line, "Unknown key 'RestartSteps' in") && !strings.Contains(line, "Unknown key 'RestartMaxDelaySec' in") {
			t.Errorf("systemd-analyze verify says: %s", line)
		}
	}
	// 20 of 100: what is left open is what a network server needs.
	output(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", path)
}

// TestReload runs the unit's own command for a reload: it needs nothing but muster, and
// fails for a file that is refused.
func TestReload(t *testing.T) {
	unit, err := os.ReadFile("muster.service")
	must(t, err)
	m := regexp.MustCompile(`(?m)^ExecReload=/usr/bin/muster (.*)$`).FindSubmatch(unit)
	if m == nil {
		t.Fatal("the unit does not reload by muster")
	}
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(file, nil, 0o644))
	cmd := exec.Command(binary(t), "serve", "--config", file, "--data-dir", data)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Signal(syscall.SIGTERM)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "nothing is configured") {
	}
	go io.Copy(io.Discard, stderr)
	reload := func() (string, error) {
		c := exec.Command(binary(t), strings.Fields(string(m[1]))...)
		c.Env = []string{"MUSTER_DATA_DIR=" + data} // and no PATH
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := reload(); err != nil {
		t.Errorf("nothing changed: %v\n%s", err, out)
	}
	must(t, os.WriteFile(file, []byte("nonsense = 1\n"), 0o644))
	if out, err := reload(); err == nil || !strings.Contains(out, "nonsense") {
		t.Errorf("a file that is refused: %v\n%s", err, out)
	}
}

// TestDefaultConfig: the configuration that is installed is accepted, says what
// to write, and opens no port.
func TestDefaultConfig(t *testing.T) {
	data := t.TempDir()
	var said bytes.Buffer
	cmd := exec.Command(binary(t), "serve", "--config", "muster.toml", "--data-dir", data)
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	stop := sync.OnceValue(func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		return <-done
	})
	defer stop()

	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(binary(t), "host", "list", "--data-dir", data).CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			stop()
			t.Fatalf("no answer on the socket: %s\n%s", out, said.String())
		}
	}
	// The API's port is this computer's own: 127.0.0.1:8067, as the kernel writes it.
	open := slices.DeleteFunc(inetSockets(t, cmd.Process.Pid), func(s string) bool { return strings.HasPrefix(s, "tcp 0100007F:1F83") })
	if len(open) > 0 {
		t.Errorf("nothing is configured, but these are open:\n%s", strings.Join(open, "\n"))
	}
	if err := stop(); err != nil {
		t.Errorf("muster ended with %v", err)
	}
	for _, want := range []string{"nothing is configured", "muster.toml", "[[network]]", "interface"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("muster did not say %q:\n%s", want, said.String())
		}
	}
}

// inetSockets lists a process's UDP and TCP sockets as /proc/net shows them.
func inetSockets(t *testing.T, pid int) (open []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("cannot see what process %d has open", pid)
	}
	mine := map[string]bool{}
	for _, fd := range fds {
		if l, err := os.Readlink(fd); err == nil && strings.HasPrefix(l, "socket:[") {
			mine[strings.Trim(l, "socket:[]")] = true
		}
	}
	for _, proto := range []string{"udp", "udp6", "tcp", "tcp6"} {
		table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, proto)) // no IPv6, no table
		for line := range strings.Lines(string(table)) {
			// The tenth field is the inode; of the heading it is a word.
			if f := strings.Fields(line); len(f) > 9 && mine[f[9]] {
				open = append(open, proto+" "+f[1])
			}
		}
	}
	return open
}

// TestConfigExamples takes the # away from every setting: all are known, and
// the only complaint is about the interfaces of the example.
func TestConfigExamples(t *testing.T) {
	text, err := os.ReadFile("muster.toml")
	must(t, err)
	text = regexp.MustCompile(`(?m)^#([a-z_\[])`).ReplaceAll(text, []byte("$1"))
	text = bytes.ReplaceAll(text, []byte(`"eth`), []byte(`"nowhere`))
	if bytes.Count(text, []byte("\n[[network]]")) != 2 || !bytes.Contains(text, []byte("\nlimit")) {
		t.Fatalf("the examples were not uncommented:\n%s", text)
	}
	path := filepath.Join(t.TempDir(), "muster.toml")
	must(t, os.WriteFile(path, text, 0o644))
	if out, err := exec.Command(binary(t), "config", "check", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "is right: 2 networks") {
		t.Errorf("err %v:\n%s", err, out)
	}
}

func TestMaintainerScripts(t *testing.T) {
	for _, s := range []string{"postinst", "prerm", "postrm"} {
		output(t, "sh", "-n", filepath.Join("debian", s))
	}
}

// TestInstall runs dpkg on this system's files with a layer on top that takes
// all changes and is gone with the test.
func TestInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		nettest.Lack(t, "needs root, to mount")
	}
	nettest.Need(t, "unshare", "mount", "chroot", "dpkg", "deb-systemd-helper", "systemctl")
	if exec.Command("dpkg", "-s", "muster").Run() == nil {
		nettest.Lack(t, "the package muster is installed on this machine")
	}
	if out, err := exec.Command("unshare", "-m", "sh", "-c", onTop+"true", "sh", t.TempDir()).CombinedOutput(); err != nil {
		nettest.Lack(t, "cannot mount an overlay here: "+string(out))
	}
	older, newer := deb(t, "1.0.0", stub(t)), deb(t, "1.1.0", stub(t))
	out, err := exec.Command("unshare", "-m", "sh", "-c", onTop+`
cp "$2" "$3" "$1/root/tmp/"
chroot "$1/root" sh -ec '
	export DEBIAN_FRONTEND=noninteractive
	unit=/etc/systemd/system/multi-user.target.wants/muster.service
	echo "# install"
	dpkg -i /tmp/muster_1.0.0_*.deb
	getent passwd muster | grep :/usr/sbin/nologin
	test -L $unit
	test "$(dpkg --verify muster)" = ""
	echo "# what a person changed survives an upgrade"
	echo "# mine" >>/etc/muster/muster.toml
	systemctl --quiet disable muster.service
	install -d -o muster -g muster -m 750 /var/lib/muster
	touch /var/lib/muster/muster.db
	dpkg -i /tmp/muster_1.1.0_*.deb
	grep "^# mine" /etc/muster/muster.toml
	test ! -e $unit
	echo "# removal keeps configuration and data"
	dpkg -r muster
	test -e /etc/muster/muster.toml
	test -e /var/lib/muster/muster.db
	echo "# purge takes them"
	dpkg -P muster
	test ! -e /etc/muster
	test ! -e /var/lib/muster
	getent passwd muster >/dev/null
	test "$(find /etc/systemd /var/lib/systemd -name "muster*")" = ""
	echo "# a service that does not start leaves no package half installed"
	mkdir -p /run/systemd/system
	printf "#!/bin/sh\\n" >/usr/bin/systemctl
	printf "#!/bin/sh\\nexit 1\\n" >/usr/bin/deb-systemd-invoke
	for deb in /tmp/muster_1.0.0_*.deb /tmp/muster_1.1.0_*.deb; do
		dpkg -i "$deb" >/tmp/said 2>&1
		grep "systemctl status muster" /tmp/said
		grep "journalctl -u muster" /tmp/said
		dpkg -s muster | grep "install ok installed"
	done
	echo "# all well"
'`, "sh", t.TempDir(), older, newer).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "# all well\n") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// onTop makes $1/root this system with a layer for changes in memory. Mounts
// are private to the namespace and end with it.
const onTop = `set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
`
