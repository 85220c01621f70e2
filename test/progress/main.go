// Command progress runs go test and tells a person, or a log that somebody waits
// for, how far it is: a line for every package and every test that takes long or
// fails, and at least a line a minute with the tests that are running.
//
//	go run ./test/progress -count=1 -timeout 40m ./test
//
// Its exit code is that of go test. What a test said is shown if it failed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// quiet is how long nothing may be said; long is how long a test takes that has
// a line of its own.
const (
	quiet = 45 * time.Second
	long  = time.Second
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
	p := newProgress(os.Stdout, time.Now)
	done := make(chan struct{})
	go func() {
		for t := time.NewTicker(time.Second); ; {
			select {
			case <-t.C:
				p.tick()
			case <-done:
				return
			}
		}
	}()
	p.read(out)
	close(done)
	err = cmd.Wait()
	p.end()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(1, exit.ExitCode()))
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// name of a test in this module, or of a package.
func (e *event) name() string {
	pkg := e.Package
	if pkg == "" {
		pkg, _, _ = strings.Cut(e.ImportPath, " ") // of a build
	}
	pkg = strings.TrimPrefix(pkg, "github.com/musterboot/muster/")
	if e.Test == "" {
		return pkg
	}
	return pkg + " " + e.Test
}

type progress struct {
	now   func() time.Time
	began time.Time

	mu      sync.Mutex
	out     io.Writer
	spoke   time.Time
	running map[string]time.Time // tests and packages
	said    map[string][]string  // what they said, until they end
	count   map[string]int       // of tests, by how they ended
	failed  []string
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{now: now, began: now(), out: out, spoke: now(), running: map[string]time.Time{}, said: map[string][]string{}, count: map[string]int{}}
}

func (p *progress) read(r io.Reader) {
	for d := json.NewDecoder(r); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			p.say("progress: go test says what is not understood: %v", err)
			_, _ = io.Copy(io.Discard, r) // it must not wait for a reader
			return
		}
		p.take(&e)
	}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line(format, args...)
}

// line writes one, with the time since the start; the lock is held.
func (p *progress) line(format string, args ...any) {
	p.spoke = p.now()
	at := p.spoke.Sub(p.began).Round(time.Second)
	fmt.Fprintf(p.out, "%3d:%02d  %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}

func (p *progress) take(e *event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := e.name()
	switch e.Action {
	case "start", "run", "cont":
		p.running[name] = p.now()
	case "pause": // a parallel test that waits for its turn
		delete(p.running, name)
	case "output", "build-output":
		// go test frames what a test says; the frame is said here in other words.
		if !strings.HasPrefix(e.Output, "=== ") {
			p.said[name] = append(p.said[name], e.Output)
		}
	case "pass", "skip", "fail", "build-fail":
		took := time.Duration(e.Elapsed * float64(time.Second)).Round(100 * time.Millisecond)
		if e.Test != "" {
			p.count[e.Action]++
		}
		switch {
		case e.Action == "fail" || e.Action == "build-fail":
			if !slices.Contains(p.failed, name) {
				p.failed = append(p.failed, name)
			}
			text := strings.Join(p.said[name], "")
			if e.Test == "" { // a panic or a timeout leaves tests without an end
				for n := range p.running {
					if strings.HasPrefix(n, name+" ") {
						text += n + " did not end:\n" + strings.Join(p.said[n], "")
						delete(p.running, n)
						delete(p.said, n)
					}
				}
			}
			p.line("FAIL  %s  %s\n%s", name, took, text)
		case e.Action == "skip" && e.Test != "":
			p.line("skip  %s: %s", name, reason(p.said[name]))
		case e.Test == "" && e.Action == "skip":
			// a package without tests
		case e.Test == "" || took >= long && !strings.Contains(e.Test, "/"):
			p.line("ok    %s  %s", name, took)
		}
		delete(p.running, name)
		delete(p.said, name)
	}
}

// reason is what a skipped test said last but for its own end.
func reason(said []string) string {
	for _, s := range slices.Backward(said) {
		s = strings.TrimSpace(s)
		if s != "" && !strings.HasPrefix(s, "--- ") {
			_, text, ok := strings.Cut(s, ".go:")
			if _, t, cut := strings.Cut(text, ": "); ok && cut {
				return t
			}
			return s
		}
	}
	return "no reason"
}

// tick says what is running if nothing was said for long.
func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.spoke) < quiet {
		return
	}
	var names []string
	for n := range p.running {
		inside := false
		for m := range p.running {
			inside = inside || strings.HasPrefix(m, n+"/") || strings.HasPrefix(m, n+" ")
		}
		if !inside {
			names = append(names, fmt.Sprintf("%s (%s)", n, p.now().Sub(p.running[n]).Round(time.Second)))
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		names = []string{"the compiler"}
	}
	p.line("...   %s", strings.Join(names, ", "))
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line("%d tests passed, %d failed, %d were skipped", p.count["pass"], p.count["fail"], p.count["skip"])
	for _, n := range p.failed {
		p.line("FAIL  %s", n)
	}
}
