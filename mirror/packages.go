package mirror

// This file reads lists of packages, and finds what some of them need.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// paragraph is one of deb822(5): fields by their names in small letters.
type paragraph map[string]string

// paragraphs reads them one after the other, until fn says no. What is no field is left
// out: whatever is read is signed, and what is missing is missed later.
func paragraphs(r io.Reader, fn func(paragraph) bool) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 4<<20)
	p, last := paragraph{}, ""
	for s.Scan() {
		line := s.Text()
		switch {
		case strings.TrimSpace(line) == "":
			if len(p) > 0 && !fn(p) {
				return nil
			}
			p, last = paragraph{}, ""
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				p[last] += "\n" + line
			}
		default:
			if k, v, ok := strings.Cut(line, ":"); ok {
				last = strings.ToLower(k)
				p[last] = strings.TrimSpace(v)
			}
		}
	}
	if s.Err() == nil && len(p) > 0 {
		fn(p)
	}
	return s.Err()
}

// binary is a package.
type binary struct {
	file
	version    string
	needs      [][]need // each is satisfied by one of some
	recommends [][]need
	provides   [][]need
	base       bool // debootstrap installs it
}

// index is the packages of an architecture, by name.
type index map[string]*binary

func (x index) add(p paragraph) {
	name := p["package"]
	size, err := strconv.ParseInt(p["size"], 10, 64)
	if name == "" || err != nil || size < 0 || size >= maxFile || len(p["sha256"]) != 64 || !fs.ValidPath(p["filename"]) || !strings.HasPrefix(p["filename"], "pool/") {
		return
	}
	if x[name] != nil && compareVersions(p["version"], x[name].version) < 0 {
		return // a list may have several versions, and apt takes the highest
	}
	x[name] = &binary{
		file: file{p["filename"], size, strings.ToLower(p["sha256"])}, version: p["version"],
		base:  p["essential"] == "yes" || p["priority"] == "required" || p["priority"] == "important",
		needs: append(relation(p["pre-depends"]), relation(p["depends"])...), recommends: relation(p["recommends"]), provides: relation(p["provides"]),
	}
}

// compareVersions compares two versions (Debian Policy 5.6.12): the epoch, the upstream
// version, and what stands behind the last hyphen.
func compareVersions(a, b string) int {
	parts := func(v string) (epoch, upstream, revision string) {
		if e, rest, ok := strings.Cut(v, ":"); ok {
			epoch, v = e, rest
		}
		if n := strings.LastIndexByte(v, '-'); n >= 0 {
			v, revision = v[:n], v[n+1:]
		}
		return epoch, v, revision
	}
	e, up, rev := parts(a)
	e2, up2, rev2 := parts(b)
	return cmp.Or(compareParts(e, e2), compareParts(up, up2), compareParts(rev, rev2))
}

// compareParts goes through both: of what is no digit letters come before all else and ~
// before everything, the end among it; digits count as numbers.
func compareParts(a, b string) int {
	order := func(s string) int {
		switch {
		case s == "" || s[0] >= '0' && s[0] <= '9':
			return 0
		case s[0] == '~':
			return -1
		case s[0] >= 'A' && s[0] <= 'Z', s[0] >= 'a' && s[0] <= 'z':
			return int(s[0])
		}
		return int(s[0]) + 256
	}
	digits := func(s string) (number, rest string) {
		n := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if n < 0 {
			n = len(s)
		}
		return strings.TrimLeft(s[:n], "0"), s[n:]
	}
	for a != "" || b != "" {
		for order(a) != 0 || order(b) != 0 {
			if x, y := order(a), order(b); x != y {
				return cmp.Compare(x, y)
			}
			a, b = a[1:], b[1:]
		}
		var x, y string
		x, a = digits(a)
		y, b = digits(b)
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

// need is a name in a field as Depends, with the versions that will do.
type need struct{ name, op, version string }

func (n need) String() string {
	if n.op == "" {
		return n.name
	}
	return n.name + " (" + n.op + " " + n.version + ")"
}

// met says that a version will do; one that nobody told is none that was asked for.
func (n need) met(version string) bool {
	c := compareVersions(version, n.version)
	switch {
	case n.op == "":
		return true
	case version == "":
		return false
	}
	switch n.op {
	case "<<":
		return c < 0
	case "<=", "<": // as dpkg reads what Policy no longer allows
		return c <= 0
	case "=":
		return c == 0
	case ">=", ">":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}

// relation reads a field as Depends (Debian Policy 7.1).
func relation(text string) (out [][]need) {
	for part := range strings.SplitSeq(text, ",") {
		var any []need
		for alt := range strings.SplitSeq(part, "|") {
			name, in, _ := strings.Cut(alt, "(")
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			name, _, _ = strings.Cut(name, ":") // :any
			in, _, _ = strings.Cut(in, ")")
			in = strings.TrimSpace(in)
			version := strings.TrimLeft(in, "<=>")
			if name != "" {
				any = append(any, need{name, in[:len(in)-len(version)], strings.TrimSpace(version)})
			}
		}
		if len(any) > 0 {
			out = append(out, any)
		}
	}
	return out
}

// installed is what Debian's installer puts on a disk besides the base system, by what the
// machine is; names that a release does not have are left out.
func installed(arch string) []string {
	return []string{"linux-image-" + arch, "grub-pc", "grub-efi-" + arch, "grub-efi-" + arch + "-signed", "shim-signed", "efibootmgr", "initramfs-tools", "busybox", "zstd", "lvm2", "mdadm", "cryptsetup-initramfs", "dosfstools", "e2fsprogs", "xfsprogs", "btrfs-progs",
		"locales", "console-setup", "keyboard-configuration", "tasksel", "task-ssh-server", "openssh-server", "sudo", "ca-certificates", "discover", "laptop-detect", "installation-report", "popularity-contest", "os-prober", "eject"}
}

// closure is the base system and what is wanted, with all that these depend on, and what
// of that nothing satisfies.
func (x index) closure(w Want, arch string) (out []file, missing []string, err error) {
	provided := map[string][]need{} // by a virtual name: who is it, and of which version
	for _, name := range slices.Sorted(maps.Keys(x)) {
		for _, v := range x[name].provides {
			provided[v[0].name] = append(provided[v[0].name], need{name: name, version: v[0].version})
		}
	}
	// who satisfies a need: the package of that name; others that provide it only where it
	// is not there, for apt on a machine may not have these.
	who := func(n need) (names []string) {
		if b := x[n.name]; b != nil && n.met(b.version) {
			return []string{n.name}
		}
		for _, p := range provided[n.name] {
			if n.met(p.version) {
				names = append(names, p.name)
			}
		}
		return names
	}
	chosen := map[string]bool{}
	var todo []string
	choose := func(name string) {
		if !chosen[name] {
			chosen[name] = true
			todo = append(todo, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if x[name].base {
			choose(name)
		}
	}
	var unknown []string
	for _, name := range w.Packages {
		if l := who(need{name: name}); len(l) > 0 {
			choose(l[0])
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, nil, fmt.Errorf("%s has no package %s for %s", w.Suite, strings.Join(unknown, ", "), arch)
	}
	if w.Installer {
		for _, name := range installed(arch) {
			if x[name] != nil {
				choose(name)
			}
		}
	}
	// meet chooses one of some for a package, unless one of them is chosen.
	meet := func(any []need) bool {
		var first []string
		for _, n := range any {
			l := who(n)
			if slices.ContainsFunc(l, func(name string) bool { return chosen[name] }) {
				return true
			}
			if first == nil {
				first = l
			}
		}
		if first != nil {
			choose(first[0])
		}
		return first != nil
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		b := x[name]
		out = append(out, b.file)
		for _, any := range b.needs {
			if !meet(any) {
				missing = append(missing, fmt.Sprintf("%s, which %s needs on %s", either(any), name, arch))
			}
		}
		if w.Recommends {
			for _, any := range b.recommends {
				meet(any)
			}
		}
	}
	return out, missing, nil
}

// either writes some needs of which one is enough.
func either(any []need) string {
	var l []string
	for _, n := range any {
		l = append(l, n.String())
	}
	return strings.Join(l, " or ")
}

// every is all of them.
func (x index) every() (out []file) {
	for _, b := range x {
		out = append(out, b.file)
	}
	return out
}
