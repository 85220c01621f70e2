// run.go: one mutant against the tests that could notice it. The tree is never
// touched: the compiler is given another file in place of the real one.

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
	"strconv"
	"strings"
	"time"
)

// result is what became of a mutant.
type result string

const (
	killed  result = "killed"
	slow    result = "timed out" // counts as killed
	lived   result = "lived"
	unseen  result = "lived, and no test runs the line"
	unbuilt result = "does not build"
)

// alive reports a result that is a hole.
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

// maxBytes bounds what the tests of a mutant may take of memory: some never
// stop asking.
const maxBytes = 16 << 30

// bench builds and runs tests, for one worker.
type bench struct {
	root  string // of the module
	tmp   string
	cache string          // the compiler's, this worker's own
	keep  map[string]bool // what was in the cache before the first mutant
}

// binary is the tests of one package.
type binary struct {
	pkg   string
	takes time.Duration
}

// prepare compiles and runs the tests as they are: they must pass, and what they
// take is what a mutant's may take.
func (b *bench) prepare(ctx context.Context, pkg string) (tests []binary, reached func(mutant) bool, err error) {
	seen := map[string][]block{}
	for _, p := range testers(pkg) {
		exe := filepath.Join(b.tmp, "base.test")
		if out, err := b.build(ctx, exe, p, "-cover", "-coverpkg=./"+pkg); err != nil {
			return nil, nil, fmt.Errorf("tests of %s do not build: %w\n%s", p, err, out)
		}
		if _, err := os.Stat(exe); errors.Is(err, fs.ErrNotExist) {
			continue // there are none
		}
		began := time.Now()
		profile := filepath.Join(b.tmp, "profile")
		if out, err := b.run(ctx, exe, p, 10*time.Minute, "-test.coverprofile="+profile); err != nil {
			return nil, nil, fmt.Errorf("tests of %s fail without a mutant: %w\n%s", p, err, tail(out))
		}
		tests = append(tests, binary{pkg: p, takes: time.Since(began)})
		if err := blocks(profile, seen); err != nil {
			return nil, nil, err
		}
		os.Remove(exe)
		// Without coverage once, for the cache.
		if out, err := b.build(ctx, exe, p); err != nil {
			return nil, nil, fmt.Errorf("tests of %s do not build: %w\n%s", p, err, out)
		}
		os.Remove(exe)
	}
	if len(tests) == 0 {
		return nil, nil, fmt.Errorf("no test could notice a fault in %s", pkg)
	}
	return tests, func(m mutant) bool {
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
func (b *bench) try(ctx context.Context, m mutant, tests []binary) (result, string, error) {
	defer b.thaw()
	real := filepath.Join(b.root, m.File)
	src, err := os.ReadFile(real)
	if err != nil {
		return "", "", err
	}
	fake := filepath.Join(b.tmp, "mutant.go")
	if err := os.WriteFile(fake, []byte(m.apply(src)), 0o644); err != nil {
		return "", "", err
	}
	overlay := filepath.Join(b.tmp, "overlay.json")
	o, err := json.Marshal(map[string]map[string]string{"Replace": {real: fake}})
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(overlay, o, 0o644); err != nil {
		return "", "", err
	}
	exe := filepath.Join(b.tmp, "mutant.test")
	for _, t := range tests {
		os.Remove(exe)
		if _, err := b.build(ctx, exe, t.pkg, "-overlay="+overlay); err != nil {
			if ctx.Err() != nil {
				return "", "", ctx.Err()
			}
			return unbuilt, "", nil
		}
		out, err := b.run(ctx, exe, t.pkg, 3*t.takes+10*time.Second)
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
func (b *bench) run(ctx context.Context, exe, pkg string, most time.Duration, args ...string) ([]byte, error) {
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
	c.Dir, c.Env, c.WaitDelay = filepath.Join(b.root, pkg), append(os.Environ(), "GOCACHE="+b.cache, "TMPDIR="+tmp, "MUSTER_GOLDEN="), time.Second
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
func sources(ctx context.Context, root, pkg string) (files []string, err error) {
	c := exec.CommandContext(ctx, "go", "list", "-f", `{{range .GoFiles}}{{.}} {{end}}`, "./"+pkg)
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", pkg, err)
	}
	for _, f := range strings.Fields(string(out)) {
		files = append(files, path.Join(pkg, f))
	}
	return files, nil
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
