// run.go: runs one mutant against the tests that could notice it. The source
// tree is never changed: the compiler gets another file in place of the real
// one.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// result is the outcome for a mutant.
type result string

const (
	killed  result = "killed"
	slow    result = "timed out" // counts as killed
	lived   result = "lived"
	unseen  result = "lived, and no test runs the line"
	unbuilt result = "does not build"
)

// alive reports whether a result shows a gap in the tests.
func (r result) alive() bool { return r == lived || r == unseen }

// noticers are the packages, beside its own, whose tests could notice a fault
// in a package.
var noticers = map[string][]string{
	"boot":          {"boot", "boot/engine"},
	"boot/engine":   {"boot", "boot/engine"},
	"boot/diagnose": {"boot"},
	"store":         {"store", "store/mem", "store/bolt", "store/storetest"},
	"store/bolt":    {"store/bolt"},
}

// maxBytes bounds the memory of a mutant's tests: some mutants allocate without
// end.
const maxBytes = 16 << 30

// bench builds and runs the tests of one package.
type bench struct {
	root  string // of the module
	tmp   string
	cache string // the compiler's cache, our own: what a mutant leaves there is deleted
	keep  map[string]bool
	pkg   string
	tests []binary

	mu    sync.Mutex // one build at a time
	awake map[string]int
}

// binary is the test binary of one package, with every mutant in it that can be
// switched on at run time.
type binary struct {
	pkg   string
	exe   string
	takes time.Duration
}

// prepare compiles and runs the unchanged tests, which must pass. It finds out
// which mutants they reach.
func (b *bench) prepare(ctx context.Context) (reached func(mutant) bool, err error) {
	seen := map[string][]block{}
	for i, p := range testers(b.pkg) {
		exe := filepath.Join(b.tmp, fmt.Sprintf("plain%d.test", i))
		if out, err := b.build(ctx, exe, p, "-cover", "-coverpkg=./"+b.pkg); err != nil {
			return nil, fmt.Errorf("tests of %s do not build: %w\n%s", p, err, out)
		}
		if _, err := os.Stat(exe); errors.Is(err, fs.ErrNotExist) {
			continue // there are none
		}
		profile := filepath.Join(b.tmp, "profile")
		began := time.Now()
		if out, err := b.run(ctx, exe, p, 10*time.Minute, 0, "-test.coverprofile="+profile); err != nil {
			return nil, fmt.Errorf("tests of %s fail without a mutant: %w\n%s", p, err, tail(out))
		}
		b.tests = append(b.tests, binary{pkg: p, takes: time.Since(began), exe: filepath.Join(b.tmp, fmt.Sprintf("asleep%d.test", i))})
		if err := blocks(profile, seen); err != nil {
			return nil, err
		}
		os.Remove(exe)
	}
	if len(b.tests) == 0 {
		return nil, fmt.Errorf("no test could notice a fault in %s", b.pkg)
	}
	return func(m mutant) bool {
		within, ran := false, false
		for _, x := range seen[m.File] {
			if x.holds(m.Line, m.Col) {
				within, ran = true, ran || x.ran
			}
		}
		return ran || !within
	}, nil
}

func testers(pkg string) []string {
	if l, ok := noticers[pkg]; ok {
		return l
	}
	return []string{pkg}
}

// lay builds the tests with all mutants that can be built together. A mutant
// that does not compile that way is left for a build of its own.
func (b *bench) lay(ctx context.Context, name string, ms []mutant) error {
	ids := map[string]int{}
	for i, m := range ms {
		if m.guard.form != alone && m.Result == "" {
			ids[m.key()] = i + 1
		}
	}
	for range 20 {
		if len(ids) == 0 {
			break
		}
		files := map[string][]sleeper{}
		for i := range ms {
			if n := ids[ms[i].key()]; n > 0 {
				files[ms[i].File] = append(files[ms[i].File], sleeper{&ms[i], n})
			}
		}
		fakes := map[string]string{path.Join(b.pkg, "mutate_switch.go"): switcher(name)}
		for f, l := range files {
			src, err := os.ReadFile(filepath.Join(b.root, f))
			if err != nil {
				return err
			}
			fakes[f] = together(src, l)
		}
		overlay, err := b.overlay(fakes)
		if err != nil {
			return err
		}
		bad := false
		for _, t := range b.tests {
			out, err := b.build(ctx, t.exe, t.pkg, "-gcflags=-e", overlay)
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			bad = true
			if !awaken(ids, files, string(out)) {
				clear(ids) // the faulty mutant is unknown: build each by itself
			}
			break
		}
		if bad {
			continue
		}
		b.awake = ids
		for i := range b.tests {
			t := &b.tests[i]
			began := time.Now()
			if out, err := b.run(ctx, t.exe, t.pkg, 10*time.Minute, 0); err != nil {
				return fmt.Errorf("tests of %s fail while all mutants sleep: %w\n%s", t.pkg, err, tail(out))
			}
			t.takes = time.Since(began)
		}
		return nil
	}
	return nil
}

var complaint = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):(\d+:)? `)

// awaken removes the mutants that the compiler rejects; it returns false if the
// compiler named none.
func awaken(ids map[string]int, files map[string][]sleeper, out string) (some bool) {
	for _, c := range complaint.FindAllStringSubmatch(out, -1) {
		line, _ := strconv.Atoi(c[2])
		for f, l := range files {
			if path.Base(f) != path.Base(c[1]) {
				continue
			}
			hit := false
			for _, m := range l {
				if m.Line == line {
					delete(ids, m.key())
					hit = true
				}
			}
			for _, m := range l {
				if !hit {
					delete(ids, m.key()) // lines have moved
				}
			}
			some = true
		}
	}
	return some
}

// overlay replaces files, for the compiler alone.
func (b *bench) overlay(fakes map[string]string) (flag string, err error) {
	dir, err := os.MkdirTemp(b.tmp, "overlay")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for f, text := range fakes {
		fake := filepath.Join(dir, filepath.Base(f))
		if err := os.WriteFile(fake, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(b.root, f)] = fake
	}
	o, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	return "-overlay=" + list, os.WriteFile(list, o, 0o644)
}

// freeze notes what the cache holds before any mutant is compiled.
func (b *bench) freeze() error {
	b.keep = map[string]bool{}
	return filepath.WalkDir(b.cache, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b.keep[p] = true
		}
		return err
	})
}

// thaw throws away what a mutant left in the cache: nobody will compile it again.
func (b *bench) thaw() {
	_ = filepath.WalkDir(b.cache, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !b.keep[p] {
			os.Remove(p)
		}
		return nil
	})
}

// try finds out what becomes of a mutant.
func (b *bench) try(ctx context.Context, m mutant) (result, string, error) {
	n := b.awake[m.key()]
	for _, t := range b.tests {
		if n == 0 {
			if err := b.own(ctx, m, &t); err != nil {
				if ctx.Err() != nil {
					return "", "", ctx.Err()
				}
				return unbuilt, "", nil
			}
			defer os.Remove(t.exe)
		}
		out, err := b.run(ctx, t.exe, t.pkg, 3*t.takes+10*time.Second, n)
		switch {
		case ctx.Err() != nil:
			return "", "", ctx.Err()
		case err == nil:
		case bytes.Contains(out, []byte("panic: test timed out")), errors.Is(err, context.DeadlineExceeded):
			return slow, t.pkg, nil
		default:
			return killed, t.pkg, nil
		}
	}
	return lived, "", nil
}

// own builds tests with one mutant alone.
func (b *bench) own(ctx context.Context, m mutant, t *binary) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.thaw()
	src, err := os.ReadFile(filepath.Join(b.root, m.File))
	if err != nil {
		return err
	}
	overlay, err := b.overlay(map[string]string{m.File: m.apply(src)})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(b.tmp, "own*.test")
	if err != nil {
		return err
	}
	f.Close()
	t.exe = f.Name()
	_, err = b.build(ctx, t.exe, t.pkg, overlay)
	return err
}

func (m mutant) apply(src []byte) string {
	return string(src[:m.start]) + m.text + string(src[m.end:])
}

// build compiles the tests of a package.
func (b *bench) build(ctx context.Context, exe, pkg string, args ...string) ([]byte, error) {
	args = append([]string{"test", "-c", "-p=1", "-vet=off", "-ldflags=-s -w", "-o", exe}, args...)
	c := exec.CommandContext(ctx, "go", append(args, "./"+pkg)...)
	c.Dir, c.Env, c.WaitDelay = b.root, append(os.Environ(), "GOCACHE="+b.cache, "GOMAXPROCS=1", "CGO_ENABLED=0"), time.Second
	return c.CombinedOutput()
}

// run runs tests, the quick ones, until the first fails.
func (b *bench) run(ctx context.Context, exe, pkg string, most time.Duration, on int, args ...string) ([]byte, error) {
	tmp, err := os.MkdirTemp(b.tmp, "t")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	limited, cancel := context.WithTimeout(ctx, most+5*time.Second)
	defer cancel()
	args = append([]string{"-c", fmt.Sprintf(`ulimit -v %d 2>/dev/null; exec "$0" "$@"`, maxBytes>>10), exe,
		"-test.short", "-test.failfast", "-test.timeout=" + most.String()}, args...)
	c := exec.CommandContext(limited, "sh", args...)
	c.Dir, c.Env, c.WaitDelay = filepath.Join(b.root, pkg), append(os.Environ(), "GOCACHE="+b.cache, "TMPDIR="+tmp, "MUSTER_GOLDEN=", fmt.Sprint("MUTATE_ON=", on)), time.Second
	out, err := c.CombinedOutput()
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = limited.Err()
	}
	return out, err
}

// block is one of a coverage profile.
type block struct {
	line, col, endLine, endCol int
	ran                        bool
}

func (x block) holds(line, col int) bool {
	return (line > x.line || line == x.line && col >= x.col) && (line < x.endLine || line == x.endLine && col <= x.endCol)
}

// blocks reads a profile: MODULE/FILE:LINE.COL,LINE.COL STATEMENTS COUNT.
func blocks(profile string, into map[string][]block) error {
	b, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(b), "\n") {
		at := strings.LastIndex(line, ":")
		if at < 0 || strings.HasPrefix(line, "mode:") {
			continue
		}
		var x block
		var statements int
		var count uint64
		if _, err := fmt.Sscanf(line[at+1:], "%d.%d,%d.%d %d %d", &x.line, &x.col, &x.endLine, &x.endCol, &statements, &count); err != nil {
			return fmt.Errorf("profile line %q: %w", line, err)
		}
		x.ran = count > 0
		file := strings.TrimPrefix(line[:at], module+"/")
		into[file] = append(into[file], x)
	}
	return nil
}

// sources lists the files of a package that are compiled here.
func sources(ctx context.Context, root, pkg string) (name string, files []string, err error) {
	c := exec.CommandContext(ctx, "go", "list", "-f", `{{.Name}} {{range .GoFiles}}{{.}} {{end}}`, "./"+pkg)
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		return "", nil, fmt.Errorf("list %s: %w", pkg, err)
	}
	l := strings.Fields(string(out))
	for _, f := range l[1:] {
		files = append(files, path.Join(pkg, f))
	}
	return l[0], files, nil
}

// moduleRoot is where go.mod is.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("run this inside of the module")
	}
	return filepath.Dir(mod), nil
}

func tail(b []byte) string {
	const most = 2000
	if len(b) > most {
		return "…" + string(b[len(b)-most:])
	}
	return string(b)
}

// ordinal pads a count to the width of the whole.
func ordinal(i, of int) string {
	return fmt.Sprintf("%*d/%d", len(strconv.Itoa(of)), i, of)
}
