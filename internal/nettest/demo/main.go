// Command demo shows a whole network boot: a virtual machine that Muster has
// never seen is switched on next to `muster serve`, and its timeline is printed
// as it happens, until the Linux it booted reports.
//
//	go run ./internal/nettest/demo -muster PATH
//
// It needs root and what `internal/nettest/install.sh demo` brings. Everything
// happens in network namespaces of its own, which are gone when it ends.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

const (
	server = "10.77.0.1"
	pool   = "10.77.0.100-10.77.0.200"
	mac    = "52:54:00:aa:bb:01"
	serial = "DEMO-0001"
	uuid   = "de300001-77aa-4b1d-9c0f-525400aabb01"

	kernelName = "vmlinuz"
	initrdName = "initrd.gz"

	limit = 75 * time.Second // for the boot; starting and cleaning up take a few more
	grace = 15 * time.Second // for a boot that met trouble to recover
)

func main() {
	binary := flag.String("muster", "", "the muster binary to show")
	flag.Parse()

	// A closed terminal or pipe must not keep the lab from being closed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	d := &demo{say: newPrinter(os.Stdout), stages: newStages(), ended: make(chan error, 1)}
	err := d.run(ctx, *binary)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err = errors.Join(err, d.left); err != nil {
		d.say.line(red, "\ndemo: "+err.Error())
		os.Exit(1)
	}
}

// A demo is one run.
type demo struct {
	say    *printer
	stages *stages
	log    tail       // what muster wrote to stderr
	shown  tail       // what muster wrote to stdout
	ended  chan error // muster ended, and how
	vm     *nettest.VM
	left   error // what could not be cleaned up
}

func (d *demo) run(ctx context.Context, binary string) error {
	kernel, err := prepare(&binary)
	if err != nil {
		return err
	}
	lab, err := nettest.New()
	if err != nil {
		return fmt.Errorf("could not start the lab: %w", err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			d.left = fmt.Errorf("could not clean up, the next run tries again: %w", err)
		}
	}()
	if err := system(lab.Dir, kernel); err != nil {
		return fmt.Errorf("could not make the machine's system: %w", err)
	}
	sw, srv, err := wire(lab)
	if err != nil {
		return fmt.Errorf("could not wire the lab: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	on := func(args ...string) *exec.Cmd { // muster on the server
		cmd := srv.Command(ctx, binary, append(args, "--data-dir", "data")...)
		cmd.Dir = lab.Dir
		return cmd
	}
	args := []string{"serve", "-i", "eth0", "--range", pool, "--kernel", kernelName, "--initrd", initrdName,
		"--cmdline", nettest.ConsoleArg("amd64") + " quiet muster.report={{ .ReportURL }}"}
	d.say.line(bold, "A server (eth0, "+server+") and a machine ("+mac+", "+serial+") on one switch. On the server:")
	d.say.line(plain, "  muster "+quoted(args)+" --data-dir data\n")
	muster := on(args...)
	muster.Stdout = &lines{each: func(s string) { d.shown.add(s); d.say.line(plain, s) }}
	muster.Stderr = &lines{each: func(s string) { d.log.add(s); d.say.line(dim, s) }}
	if err := muster.Start(); err != nil {
		return fmt.Errorf("stopped at: start muster: %w", err)
	}
	go func() { d.ended <- muster.Wait(); close(d.ended) }()
	defer func() {
		_ = muster.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(3 * time.Second): // the lab kills it
		}
	}()

	for begun := time.Now(); on("host", "list").Run() != nil; {
		if time.Since(begun) > 10*time.Second {
			return d.failed("start muster", "muster runs but does not answer on the socket in its data directory")
		}
		select {
		case err := <-d.ended:
			return d.failed("start muster", d.exit(err))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := d.boot(ctx, lab, sw, on("event", "list", "--all", "--follow", "--json")); err != nil {
		return err
	}
	d.say.line(bold, "\nWhat Muster knows of it now: muster host show "+mac)
	page, err := on("host", "show", mac).CombinedOutput()
	d.say.line(plain, strings.TrimRight(string(page), "\n"))
	if err != nil {
		return fmt.Errorf("stopped at: show the machine: muster host show %s: %w", mac, err)
	}
	return nil
}

// prepare finds everything the demo needs before anything is started.
func prepare(binary *string) (kernel string, err error) {
	if *binary == "" {
		return "", errors.New("say which muster to show: -muster PATH (or run: make demo)")
	}
	if *binary, err = filepath.Abs(*binary); err != nil {
		return "", err
	}
	if _, err := exec.LookPath(*binary); err != nil {
		return "", fmt.Errorf("no muster to show: %w; build it: go build -o %[2]s ./cmd/muster", err, *binary)
	}
	if os.Geteuid() != 0 {
		return "", errors.New("the demo makes network namespaces: run it as root (sudo make demo)")
	}
	var missing []string
	for _, need := range nettest.UEFI.Needs() {
		// A plain name is looked for in PATH, a path only where it points.
		if _, err := exec.LookPath(need); err != nil && !exists(need) {
			missing = append(missing, need)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("missing %s; run: internal/nettest/install.sh demo", strings.Join(missing, ", "))
	}
	return nettest.Kernel("amd64")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return filepath.IsAbs(path) && err == nil
}

// system puts the kernel and the initrd that the machine will boot into dir.
func system(dir, kernel string) error {
	initrd, err := nettest.Initrd("amd64", dir)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(initrd, filepath.Join(dir, initrdName)),
		os.Symlink(kernel, filepath.Join(dir, kernelName)))
}

// wire makes a switch and, plugged into it, the server's host.
func wire(lab *nettest.Lab) (*nettest.Switch, *nettest.NS, error) {
	sw, err := lab.Switch()
	if err != nil {
		return nil, nil, err
	}
	srv, err := lab.Host("server")
	if err != nil {
		return nil, nil, err
	}
	if err := lab.Plug(srv, "eth0", sw); err != nil {
		return nil, nil, err
	}
	return sw, srv, srv.Addr("eth0", server+"/24")
}

// boot switches the machine on and follows it until it reports.
func (d *demo) boot(ctx context.Context, lab *nettest.Lab, sw *nettest.Switch, follow *exec.Cmd) error {
	out, err := follow.StdoutPipe()
	if err != nil {
		return err
	}
	if err := follow.Start(); err != nil {
		return d.failed("follow muster's events", err.Error())
	}
	entries := make(chan entry)
	go func() {
		defer close(entries)
		defer follow.Wait()
		for dec := json.NewDecoder(out); ; {
			var e entry
			if dec.Decode(&e) != nil {
				return
			}
			select {
			case entries <- e:
			case <-ctx.Done():
				return
			}
		}
	}()

	d.vm, err = lab.Boot(ctx, sw, nettest.Guest{MAC: mac, UUID: uuid, Serial: serial})
	if err != nil {
		return d.failed("switch the machine on", err.Error())
	}
	d.stage(d.vm.Started, "power on; the firmware starts")

	timeUp := time.After(limit)
	var giveUp <-chan time.Time // when there was trouble
	for {
		select {
		case e, ok := <-entries:
			if !ok {
				entries = nil // the end of muster, or of the time, is the better message
				continue
			}
			reached, trouble := d.stages.see(e)
			for _, text := range reached {
				d.stage(e.at(), text)
			}
			switch {
			case d.stages.next() == nil:
				return nil
			case len(reached) > 0:
				giveUp = nil
			case trouble && giveUp == nil:
				giveUp = time.After(grace)
			}
		case err := <-d.ended:
			return d.failed(d.stages.next().name, d.exit(err))
		case <-d.vm.Done():
			return d.failed(d.stages.next().name, "the machine went off; its console says why")
		case <-giveUp:
			return d.failed(d.stages.next().name, d.stages.why())
		case <-ctx.Done():
			return ctx.Err()
		case <-timeUp:
			return d.failed(d.stages.next().name, fmt.Sprintf("not within %s: %s", limit, d.stages.why()))
		}
	}
}

// stage prints a line of our own, after muster's line for the same thing.
func (d *demo) stage(at time.Time, text string) {
	time.Sleep(100 * time.Millisecond)
	d.say.line(cyan, fmt.Sprintf("==> %5.1f s  %s", max(0, at.Sub(d.vm.Started).Seconds()), text))
}

// failed is the report of a run that stopped.
func (d *demo) failed(step, why string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "stopped at: %s\n", step)
	if seen := d.shown.last(1); len(seen) > 0 {
		fmt.Fprintf(&b, "  last seen:  %s\n", seen[0])
	} else {
		fmt.Fprintf(&b, "  last seen:  nothing from the machine\n")
	}
	fmt.Fprintf(&b, "  likely why: %s", why)
	if d.vm != nil {
		fmt.Fprintf(&b, "\n  the machine's console ends in:")
		console := readable(d.vm.Console())
		if len(console) == 0 {
			console = []string{"(nothing was printed)"}
		}
		for _, s := range console[max(0, len(console)-12):] {
			fmt.Fprintf(&b, "\n    | %s", s)
		}
	}
	return errors.New(b.String())
}

// exit says how muster ended and what it said last.
func (d *demo) exit(err error) string {
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	why := "muster ended (" + how + ")"
	if said := d.log.last(5); len(said) > 0 {
		return why + " after saying:\n    | " + strings.Join(said, "\n    | ")
	}
	return why + " without a word"
}

// quoted is a command line as a person would type it.
func quoted(args []string) string {
	var out []string
	for _, a := range args {
		if strings.ContainsAny(a, " {}") {
			a = "'" + a + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// readable is console output without what moves the cursor and without blank
// or repeated lines.
func readable(console string) (out []string) {
	for s := range strings.FieldsFuncSeq(escapes.ReplaceAllString(console, "\n"), func(r rune) bool { return r < ' ' }) {
		s = strings.TrimSpace(s)
		if s != "" && (len(out) == 0 || out[len(out)-1] != s) {
			out = append(out, s)
		}
	}
	return out
}

// lines hands complete lines on.
type lines struct {
	each func(string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.each(string(line))
		l.rest = rest
	}
}

// tail remembers the last lines of something.
type tail struct {
	mu  sync.Mutex
	all []string
}

func (t *tail) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all[max(0, len(t.all)-20):], s)
}

func (t *tail) last(n int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.all[max(0, len(t.all)-n):]...)
}

// printer writes whole lines, in colour on a terminal.
type printer struct {
	mu    sync.Mutex
	out   *bufio.Writer
	color bool
}

const (
	plain = ""
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	cyan  = "\x1b[1;36m"
)

func newPrinter(f *os.File) *printer {
	st, err := f.Stat()
	terminal := err == nil && st.Mode()&os.ModeCharDevice != 0
	return &printer{out: bufio.NewWriter(f),
		color: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p *printer) line(style, s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.color && style != plain {
		s = style + s + "\x1b[0m"
	}
	fmt.Fprintln(p.out, s)
	p.out.Flush()
}
