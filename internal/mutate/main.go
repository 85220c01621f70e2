// Command mutate measures how many faults the quick tests notice. It puts one
// small fault at a time into a package and runs the tests that could see it. A
// fault that no test sees marks a line that could be wrong today.
//
//	go run ./internal/mutate                      200 mutants of each package that matters most
//	go run ./internal/mutate -n 60 -seed 7 boot   another 60 of one
//	go run ./internal/mutate -at boot/ticket.go:88 boot
//	go run ./internal/mutate -again report.json   what lived the last time
//
// It takes hours, and no build waits for it. Progress goes to the standard
// error, the survivors to the standard output. equivalent.txt lists the mutants
// that change nothing anybody could see, each with its reason.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const module = "github.com/musterboot/muster"

// dangerous are the packages that decide who boots what, and store it.
var dangerous = []string{"boot", "boot/engine", "boot/diagnose", "store", "store/bolt", "dhcpd", "tftpd"}

//go:embed equivalent.txt
var equivalentText string

// maxEquivalent bounds the list: a longer one would only improve the figures.
const maxEquivalent = 100

// report is the result for one package.
type report struct {
	Package string   `json:"package"`
	All     int      `json:"all"`    // mutants that there are
	Tried   int      `json:"tried"`  // that were built and run
	Lived   int      `json:"lived"`  // of them
	Broken  int      `json:"broken"` // that did not build
	Seconds int      `json:"seconds"`
	Mutants []mutant `json:"mutants"`
}

func (r report) share() float64 {
	if r.Tried == 0 {
		return 0
	}
	return 100 * float64(r.Lived) / float64(r.Tried)
}

type options struct {
	n, jobs int
	seed    uint64
	at      string
	again   string
	cache   string
	json    bool
	list    bool
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 200, "mutants of a package")
	flag.Uint64Var(&o.seed, "seed", 1, "another seed is another sample")
	flag.IntVar(&o.jobs, "j", 2, "at a time, 1 or 2")
	flag.StringVar(&o.at, "at", "", "only the mutants of these places, FILE or FILE:LINE, with commas")
	flag.StringVar(&o.again, "again", "", "only what lived in this report of -json")
	flag.StringVar(&o.cache, "cache", "", "keep what was compiled in this folder, for the next run; one run at a time")
	flag.BoolVar(&o.json, "json", false, "write the report as JSON")
	flag.BoolVar(&o.list, "list", false, "name the mutants and run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := mutate(ctx, o, flag.Args(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func mutate(ctx context.Context, o options, pkgs []string, out, progress io.Writer) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	same, err := equivalents(equivalentText)
	if err != nil {
		return err
	}
	want := func(mutant) bool { return true }
	switch {
	case o.again != "":
		old, err := lastTime(o.again)
		if err != nil {
			return err
		}
		want = func(m mutant) bool { return old[m.key()] }
	case o.at != "":
		places := strings.Split(o.at, ",")
		want = func(m mutant) bool {
			return slices.Contains(places, m.File) || slices.Contains(places, fmt.Sprintf("%s:%d", m.File, m.Line))
		}
	}
	if len(pkgs) == 0 {
		pkgs = dangerous
	}
	var reports []report
	var failed error
	for _, p := range pkgs {
		pkg := path.Clean(strings.TrimPrefix(p, module+"/"))
		r := report{Package: pkg}
		name, files, err := sources(ctx, root, pkg)
		if err != nil {
			return err
		}
		var all []mutant
		for _, f := range files {
			ms, err := find(root, f)
			if err != nil {
				return err
			}
			all = append(all, ms...)
		}
		for _, stale := range same.stale(pkg, all) {
			fmt.Fprintf(progress, "equivalent.txt lists a mutant that does not exist: %s\n", stale)
		}
		all = slices.DeleteFunc(all, func(m mutant) bool { return same.has(m) })
		r.All = len(all)
		all = slices.DeleteFunc(all, func(m mutant) bool { return !want(m) })
		if o.at == "" && o.again == "" {
			all = sample(all, o.n, o.seed)
		}
		if o.list {
			for _, m := range all {
				fmt.Fprintln(out, m)
			}
			continue
		}
		if len(all) == 0 {
			continue
		}
		began := time.Now()
		r.Mutants, failed = attack(ctx, root, pkg, name, all, o, progress)
		r.Seconds = int(time.Since(began).Seconds())
		for _, m := range r.Mutants {
			if m.Result == unbuilt {
				r.Broken++
				continue
			}
			r.Tried++
			if m.Result.alive() {
				r.Lived++
			}
		}
		slices.SortFunc(r.Mutants, func(a, b mutant) int { return cmp.Or(cmp.Compare(a.File, b.File), a.start-b.start) })
		reports = append(reports, r)
		if failed != nil {
			break // on an interruption the results so far are still reported
		}
	}
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", " ")
		e.SetEscapeHTML(false)
		return errors.Join(failed, e.Encode(struct {
			Seed     uint64   `json:"seed"`
			Packages []report `json:"packages"`
		}{o.seed, reports}))
	}
	for _, r := range reports {
		for _, m := range r.Mutants {
			if m.Result.alive() {
				fmt.Fprintf(out, "%s  (%s)\n", m, m.Result)
			}
		}
	}
	for _, r := range reports {
		fmt.Fprintln(out, r.line(o.seed))
	}
	return failed
}

func (r report) line(seed uint64) string {
	return fmt.Sprintf("%s: %d of %d lived, %.1f %% (of %d mutants that there are, seed %d; %d more did not build; %d s)", r.Package, r.Lived, r.Tried, r.share(), r.All, seed, r.Broken, r.Seconds)
}

// attack tries the mutants of one package.
func attack(ctx context.Context, root, pkg, name string, ms []mutant, o options, progress io.Writer) ([]mutant, error) {
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	b := &bench{root: root, tmp: tmp, cache: filepath.Join(tmp, "cache"), pkg: pkg}
	if o.cache != "" {
		if b.cache, err = filepath.Abs(o.cache); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "%s: %d mutants; the tests without one first\n", pkg, len(ms))
	reached, err := b.prepare(ctx)
	if err != nil {
		return nil, err
	}
	for i := range ms {
		if !reached(ms[i]) {
			ms[i].Result = unseen
		}
	}
	if err := b.freeze(); err != nil {
		return nil, err
	}
	defer b.thaw()
	if err := b.lay(ctx, name, ms); err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "%s: %d of %d in one build\n", pkg, len(b.awake), len(ms))
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		next int
		done []mutant
		fail error
	)
	for range max(1, min(o.jobs, 2)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := fail != nil || i >= len(ms)
				mu.Unlock()
				if stop {
					return
				}
				m := ms[i]
				var err error
				if m.Result == "" {
					m.Result, m.By, err = b.try(ctx, m)
				}
				mu.Lock()
				if err != nil {
					fail = err
				} else {
					done = append(done, m)
					fmt.Fprintf(progress, "%s %-14s %s\n", ordinal(len(done), len(ms)), m.Result, m)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return done, fail
}

// lastTime reads the survivors of an earlier report.
func lastTime(file string) (map[string]bool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r struct{ Packages []report }
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is no report of -json: %w", file, err)
	}
	out := map[string]bool{}
	for _, p := range r.Packages {
		for _, m := range p.Mutants {
			if m.Result.alive() {
				out[m.key()] = true
			}
		}
	}
	return out, nil
}

// equal is the list of mutants that change nothing.
type equal map[string]bool

func (e equal) has(m mutant) bool { return e[m.key()] }

// stale lists entries of a package in equivalent.txt that no longer fit the
// source.
func (e equal) stale(pkg string, all []mutant) (out []string) {
	now := map[string]bool{}
	for _, m := range all {
		now[m.key()] = true
	}
	for k := range e {
		if file, _, _ := strings.Cut(k, " | "); path.Dir(file) == pkg && !now[k] {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// equivalents reads lines of FILE | FUNC | CHANGE | SOURCE LINE | REASON.
func equivalents(text string) (equal, error) {
	out := equal{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " | ")
		if at < 0 || strings.Count(line, " | ") < 4 || len(line)-at < 10 {
			return nil, fmt.Errorf("equivalent.txt:%d: want FILE | FUNC | CHANGE | SOURCE LINE | REASON", i+1)
		}
		out[line[:at]] = true
	}
	if len(out) > maxEquivalent {
		return nil, fmt.Errorf("equivalent.txt names %d mutants, and %d is the most: write tests", len(out), maxEquivalent)
	}
	return out, nil
}
