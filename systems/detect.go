package systems

// This file compares a medium with the data. A medium is not trusted: only a
// part of its text is read, and a value is passed on only if it is plain.

import (
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	maxText  = 64 << 10 // read of a file to look at it
	maxTries = 100      // names that are tried for one pattern
)

// ErrUnknown says that no data file describes the medium.
var ErrUnknown = errors.New("not a medium of a known distribution")

// Found is what a medium is and how it boots. All paths are paths on the
// medium.
type Found struct {
	System      string // name of the folder
	Title       string
	Version     string // "" where the medium does not say
	Kind        string
	Arches      []Arch
	Cmdline     string    // of the first variant; see Expand
	Variants    []Variant // all that apply; the first is the default
	Params      []Param   // that these variants ask for
	Tree        bool
	WholeISO    bool
	ISOInInitrd string
	NeedsMedium bool
	Notes       []string
}

// Arch is a kernel that the medium has.
type Arch struct {
	Platform string // "x64", "arm64"
	Kernel   string
	Initrd   []string
	Extra    []string
}

// Variant is a way to boot it.
type Variant struct {
	Name, Title, Cmdline string
}

// Detect says what a medium is. label is the volume label, "" for a folder. If
// no data file describes the medium, the error is ErrUnknown. If a file that
// the description names is missing, it is another error.
//
// A folder should be handed in as os.Root's FS, so that its links lead nowhere
// else.
func Detect(fsys fs.FS, label string) (*Found, error) {
	m := &medium{fsys: fsys, label: label, texts: map[string]string{}}
	for _, d := range load() {
		if slices.ContainsFunc(d.Detect, m.holds) {
			return m.found(&d)
		}
	}
	return nil, ErrUnknown
}

type medium struct {
	fsys  fs.FS
	label string
	texts map[string]string // what was read, by path
}

// holds evaluates a condition.
func (m *medium) holds(c Condition) bool {
	label := func(pattern string) bool {
		// A label may contain slashes, which have no meaning in a pattern.
		ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(m.label, "/", "\x01"))
		return ok && err == nil
	}
	there := func(p string) bool { _, _, ok := m.find(p); return ok }
	if len(c.Label) > 0 && !slices.ContainsFunc(c.Label, label) || slices.ContainsFunc(c.Absent, there) {
		return false
	}
	for _, f := range c.Files {
		if !there(f) {
			return false
		}
	}
	for f, re := range c.exprs {
		if !re.MatchString(m.text(f)) {
			return false
		}
	}
	return true
}

// text returns the beginning of a file, "" if there is none.
func (m *medium) text(pattern string) string {
	p, _, ok := m.find(pattern)
	if !ok {
		return ""
	}
	if _, ok := m.texts[p]; !ok {
		m.texts[p] = string(m.head(p))
	}
	return m.texts[p]
}

func (m *medium) head(p string) []byte {
	st, err := fs.Stat(m.fsys, p)
	if err != nil || !st.Mode().IsRegular() {
		return nil // opening a pipe would block forever
	}
	f, err := m.fsys.Open(p)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return nil
	}
	return b
}

// find returns the path that matches a pattern, and the text that each star
// matches. Names are compared without case, because a name that mkisofs wrote
// as BOOT.CFG is unpacked as boot.cfg by some tools. Of several matches the one
// with the highest version in its name counts.
func (m *medium) find(pattern string) (p string, stars []string, ok bool) {
	tries := maxTries
	return m.findIn(".", strings.Split(pattern, "/"), &tries)
}

func (m *medium) findIn(dir string, parts []string, tries *int) (string, []string, bool) {
	if len(parts) == 0 {
		return dir, nil, true
	}
	pre, post, star := strings.Cut(parts[0], "*")
	if !star {
		p := path.Join(dir, pre)
		if _, err := fs.Stat(m.fsys, p); err == nil {
			return m.findIn(p, parts[1:], tries)
		}
	}
	entries, err := fs.ReadDir(m.fsys, dir)
	if err != nil {
		return "", nil, false
	}
	var names []string
	for _, e := range entries {
		n := e.Name()
		if !star && strings.EqualFold(n, pre) || star && len(n) >= len(pre)+len(post) && strings.EqualFold(n[:len(pre)], pre) && strings.EqualFold(n[len(n)-len(post):], post) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return -compareVersions(a, b) })
	for _, n := range names {
		if *tries--; *tries < 0 {
			return "", nil, false
		}
		p := path.Join(dir, n)
		if _, err := fs.Stat(m.fsys, p); err != nil {
			continue
		}
		if p, stars, ok := m.findIn(p, parts[1:], tries); ok {
			if star {
				stars = append([]string{n[len(pre) : len(n)-len(post)]}, stars...)
			}
			return p, stars, true
		}
	}
	return "", nil, false
}

// compareVersions puts vmlinuz-6.1.0-9 before vmlinuz-6.1.0-18.
func compareVersions(a, b string) int {
	digits := func(s string) int {
		return len(s) - len(strings.TrimLeft(s, "0123456789"))
	}
	for a != "" && b != "" {
		if n, k := digits(a), digits(b); n > 0 && k > 0 {
			x, y := strings.TrimLeft(a[:n], "0"), strings.TrimLeft(b[:k], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[n:], b[k:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// found reads a medium that d describes.
func (m *medium) found(d *System) (*Found, error) {
	f := &Found{
		System: d.Name, Title: d.Title, Version: m.read(d.Version), Kind: d.Kind, Notes: slices.Clone(d.Notes),
		Tree: d.Tree, WholeISO: d.WholeISO, ISOInInitrd: d.ISOInInitrd, NeedsMedium: d.NeedsMedium,
	}
	if d.Named != nil {
		f.Title = cmp.Or(m.read([]Source{*d.Named}), d.Title)
	}
	if d.Kind == Disc {
		return f, nil
	}
	var missing, others []string
	for _, s := range d.Arches {
		if slices.ContainsFunc(f.Arches, func(a Arch) bool { return a.Platform == s.Platform }) || !m.holds(s.Condition) {
			continue
		}
		a, lacks := m.arch(s)
		if lacks != "" {
			missing = append(missing, word(lacks))
			continue
		}
		switch is := m.machine(a.Kernel); {
		case is != "" && is != s.Platform:
			others = append(others, word(a.Kernel)+" is for "+is)
		case slices.ContainsFunc(f.Arches, func(o Arch) bool { return o.Kernel == a.Kernel }):
			// One file cannot be the kernel of two platforms: its header named
			// none.
		default:
			if err := checkPaths(a); err != nil {
				return nil, err
			}
			f.Arches = append(f.Arches, a)
		}
	}
	if len(f.Arches) == 0 {
		switch {
		case len(others) > 0:
			return nil, fmt.Errorf("it looks like %s, but %s, which %s does not know", d.Title, strings.Join(others, " and "), d.file)
		case len(missing) > 0:
			return nil, fmt.Errorf("it looks like %s, and has no %s, which %s asks for: is it complete?", d.Title, strings.Join(missing, " and no "), d.file)
		}
		return nil, fmt.Errorf("it looks like %s, for none of the architectures that %s knows", d.Title, d.file)
	}
	for _, v := range d.Variants {
		if m.holds(v.Condition) && !slices.ContainsFunc(f.Variants, func(o Variant) bool { return o.Name == v.Name }) {
			f.Variants = append(f.Variants, Variant{v.Name, v.Title, v.Cmdline})
		}
	}
	if len(f.Variants) == 0 {
		return nil, fmt.Errorf("it looks like %s, and is none of the variants that %s knows", d.Title, d.file)
	}
	f.Cmdline = f.Variants[0].Cmdline
	for _, n := range slices.Sorted(maps.Keys(d.Params)) {
		if slices.ContainsFunc(f.Variants, func(v Variant) bool { return strings.Contains(v.Cmdline, ".Params."+n) }) {
			f.Params = append(f.Params, d.Params[n])
		}
	}
	return f, nil
}

// word is a path of the medium for one line of a terminal.
func word(p string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, p[:min(len(p), 200)])
}

// arch looks for the files of one kernel; lacks is the first missing one.
func (m *medium) arch(s ArchSpec) (a Arch, lacks string) {
	a.Platform = s.Platform
	kernel, stars, ok := m.find(s.Kernel)
	if !ok {
		return a, s.Kernel
	}
	a.Kernel = kernel
	for _, list := range []struct {
		from []string
		to   *[]string
		must bool
	}{{s.Initrd, &a.Initrd, true}, {s.Extra, &a.Extra, true}, {s.Also, &a.Extra, false}} {
		for _, p := range list.from {
			for _, star := range stars {
				p = strings.Replace(p, "*", star, 1)
			}
			switch file, _, ok := m.find(p); {
			case ok:
				*list.to = append(*list.to, file)
			case list.must:
				return a, p
			}
		}
	}
	return a, ""
}

// plainPath matches a path that a script may contain without quoting.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9._+@/-]+$`)

func checkPaths(a Arch) error {
	for _, p := range slices.Concat([]string{a.Kernel}, a.Initrd, a.Extra) {
		if !plainPath.MatchString(p) || len(p) > 200 {
			return fmt.Errorf("the file name %.200q cannot stand in a boot script: only letters, digits and . _ + @ - are allowed", p)
		}
	}
	return nil
}

var plainVersion = regexp.MustCompile(`^[A-Za-z0-9.:+~_ -]{1,40}$`)

// read is what the first of several places says.
func (m *medium) read(from []Source) string {
	for _, s := range from {
		in := m.label
		if s.File != "" {
			in = m.text(s.File)
		}
		if g := s.match.FindStringSubmatch(in); g != nil {
			if v := strings.Join(slices.DeleteFunc(g[1:], func(s string) bool { return s == "" }), s.Join); plainVersion.MatchString(v) {
				return v
			}
		}
	}
	return ""
}

// machine reads a kernel's architecture from its header; "" if it cannot.
// Alpine, Flatcar and Talos use the same kernel name for every architecture.
func (m *medium) machine(kernel string) string {
	b := m.head(kernel)
	if len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b { // arm64 kernels of Ubuntu are Image.gz
		z, err := gzip.NewReader(strings.NewReader(string(b)))
		if err != nil {
			return ""
		}
		b = make([]byte, 4096)
		n, _ := io.ReadFull(z, b)
		b = b[:n]
	}
	at := func(i int, s string) bool { return len(b) >= i+len(s) && string(b[i:i+len(s)]) == s }
	switch {
	case at(0x202, "HdrS"): // x86 boot protocol; EFI stubs have it too
		return "x64"
	case at(0x38, "ARM\x64"):
		return "arm64"
	case at(0, "MZ") && len(b) > 0x40:
		pe := binary.LittleEndian.Uint32(b[0x3c:])
		switch {
		case pe > maxText: // not read, and no number to add to
		case at(int(pe), "PE\x00\x00\x64\x86"):
			return "x64"
		case at(int(pe), "PE\x00\x00\x64\xaa"):
			return "arm64"
		}
	}
	return ""
}
