package mirror

// This file reads lists of packages, and finds what some of them need.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// paragraph is one of deb822(5): fields by their names in small letters.
type paragraph map[string]string

// paragraphs reads them one after the other, until fn says no. What is no field is left
// out: whatever is read is signed, and what is missing is missed later.
func paragraphs(r io.Reader) func(fn func(paragraph) bool) {
	return func(fn func(paragraph) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 64<<10), 4<<20)
		p, last := paragraph{}, ""
		for s.Scan() {
			line := s.Text()
			switch {
			case strings.TrimSpace(line) == "":
				if len(p) > 0 && !fn(p) {
					return
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
		if len(p) > 0 {
			fn(p)
		}
	}
}

// binary is a package.
type binary struct {
	file
	needs      [][]string // each is satisfied by one of some names
	recommends [][]string
	base       bool // debootstrap installs it
}

// index is the packages of an architecture.
type index struct {
	by       map[string]*binary
	provides map[string][]string // a virtual name, and who is it
}

func newIndex() *index { return &index{map[string]*binary{}, map[string][]string{}} }

func (x *index) add(p paragraph) {
	name := p["package"]
	size, err := strconv.ParseInt(p["size"], 10, 64)
	if name == "" || err != nil || size < 0 || size >= maxFile || len(p["sha256"]) != 64 || !fs.ValidPath(p["filename"]) || !strings.HasPrefix(p["filename"], "pool/") {
		return
	}
	if x.by[name] != nil { // a second version; the list has the one that counts first or last, as apt would compare them
		if older(p["version"], x.by[name].version()) {
			return
		}
	}
	b := &binary{file: file{p["filename"], size, strings.ToLower(p["sha256"])}}
	b.base = p["essential"] == "yes" || p["priority"] == "required" || p["priority"] == "important"
	b.needs = append(relation(p["pre-depends"]), relation(p["depends"])...)
	b.recommends = relation(p["recommends"])
	x.by[name] = b
	for _, v := range relation(p["provides"]) {
		x.provides[v[0]] = append(x.provides[v[0]], name)
	}
}

// version is told by the file's name well enough to order two of one list.
func (b *binary) version() string {
	parts := strings.Split(b.name[strings.LastIndexByte(b.name, '/')+1:], "_")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// older compares two versions (Debian Policy 5.6.12), without an epoch, which the name of a
// file does not have: first the upstream version, then what stands behind the last hyphen.
func older(a, b string) bool {
	parts := func(v string) (upstream, revision string) {
		if _, rest, ok := strings.Cut(v, ":"); ok {
			v = rest
		}
		if n := strings.LastIndexByte(v, '-'); n >= 0 {
			return v[:n], v[n+1:]
		}
		return v, ""
	}
	up, rev := parts(a)
	up2, rev2 := parts(b)
	if c := compareParts(up, up2); c != 0 {
		return c < 0
	}
	return compareParts(rev, rev2) < 0
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

// relation reads a field as Depends (Debian Policy 7.1), without versions: one suite has
// one version of a package.
func relation(text string) (out [][]string) {
	for part := range strings.SplitSeq(text, ",") {
		var any []string
		for alt := range strings.SplitSeq(part, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alt), " ")
			name, _, _ = strings.Cut(name, "(")
			name, _, _ = strings.Cut(name, ":") // :any
			if name != "" {
				any = append(any, name)
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

// closure is the base system and what is wanted, with all that these depend on.
func (x *index) closure(w Want, arch string) ([]file, error) {
	var todo, unknown []string
	for name, b := range x.by {
		if b.base {
			todo = append(todo, name)
		}
	}
	slices.Sort(todo)
	for _, name := range w.Packages {
		if x.by[name] == nil && len(x.provides[name]) == 0 {
			unknown = append(unknown, name)
		}
		todo = append(todo, name)
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s has no package %s for %s", w.Suite, strings.Join(unknown, ", "), arch)
	}
	if w.Installer {
		for _, name := range installed(arch) {
			if x.by[name] != nil {
				todo = append(todo, name)
			}
		}
	}
	chosen := map[string]bool{}
	has := func(name string) bool {
		return chosen[name] || slices.ContainsFunc(x.provides[name], func(n string) bool { return chosen[n] })
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if has(name) {
			continue
		}
		if x.by[name] == nil {
			if l := x.provides[name]; len(l) > 0 {
				name = slices.Min(l)
			} else {
				continue // a dependency that this part of the archive does not have
			}
		}
		chosen[name] = true
		b := x.by[name]
		wants := b.needs
		if w.Recommends {
			wants = slices.Concat(wants, b.recommends)
		}
		for _, any := range wants {
			if slices.ContainsFunc(any, has) {
				continue
			}
			for _, alt := range any {
				if x.by[alt] != nil || len(x.provides[alt]) > 0 {
					todo = append(todo, alt)
					break
				}
			}
		}
	}
	var out []file
	for name := range chosen {
		out = append(out, x.by[name].file)
	}
	return out, nil
}

// every is all of them.
func (x *index) every() (out []file) {
	for _, b := range x.by {
		out = append(out, b.file)
	}
	return out
}
