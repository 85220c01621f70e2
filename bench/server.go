// server.go: one server of either kind at a time, started on fresh state in
// the server's namespace, with the processor time it took.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a server that can be measured.
type program struct {
	name string
	port string // "udp/67"
	// prepare writes what the server needs into an empty directory.
	prepare func(dir string) (argv, env []string, err error)
}

// process is a running program.
type process struct {
	dir     string
	cmd     *exec.Cmd
	done    chan struct{}
	started time.Time
}

// launch runs p with an empty directory.
func (b *bench) launch(ctx context.Context, p program) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return nil, err
	}
	argv, env, err := p.prepare(dir)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := b.server.Command(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	s := &process{dir: dir, cmd: cmd, done: make(chan struct{}), started: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { cmd.Wait(); close(s.done) }()
	return s, nil
}

// start runs p with an empty directory and waits until it listens.
func (b *bench) start(ctx context.Context, p program) (*process, error) {
	s, err := b.launch(ctx, p)
	if err != nil {
		return nil, err
	}
	for range 200 {
		pause(ctx, 50*time.Millisecond)
		if s.listens(p.port) {
			pause(ctx, 300*time.Millisecond) // what it does after it listens
			return s, nil
		}
		select {
		case <-s.done:
			out, _ := os.ReadFile(filepath.Join(s.dir, "output"))
			s.stop()
			return nil, fmt.Errorf("it ended at once: %s", out)
		default:
		}
	}
	s.stop()
	return nil, errors.New("it does not listen on " + p.port)
}

// listens looks for a port in the server's own view of its namespace.
func (s *process) listens(port string) bool {
	proto, number, _ := strings.Cut(port, "/")
	n, _ := strconv.Atoi(number)
	want := fmt.Sprintf(":%04X", n)
	for _, proto := range []string{proto, proto + "6"} { // a socket for both is a v6 one
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", s.cmd.Process.Pid, proto))
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[1], want) && (port[0] == 'u' || f[3] == "0A") {
				return !s.outside()
			}
		}
	}
	return false
}

// outside reports that `ip netns exec` has not entered the namespace yet, so
// that what was read is the view of the machine.
func (s *process) outside() bool {
	own, err1 := os.Readlink("/proc/self/ns/net")
	its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", s.cmd.Process.Pid))
	return err1 != nil || err2 != nil || own == its
}

// stop ends the process and everything it left behind.
func (s *process) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its own group
	<-s.done
	os.RemoveAll(s.dir)
}

// cpu is the user and system time of the process, of its children, and of
// children that ended and were waited for.
func (s *process) cpu() time.Duration {
	pids := []int{s.cmd.Process.Pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	var ticks int
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for i := 11; i < 15 && i < len(f); i++ { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(f[i])
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on Linux
}

// memory is the resident set of the process in MB, its file pages included.
func (s *process) memory() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.Atoi(f[1])
			return float64(kb) * 1024 / 1e6
		}
	}
	return 0
}

// makeFile writes a test file that is the same in every run and in which no
// two blocks are.
func (b *bench) makeFile(name string, size int) (path string, data []byte, err error) {
	data = make([]byte, size)
	x := uint64(88172645463325252) // xorshift
	for i := 0; i+8 <= size; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		for j := range 8 {
			data[i+j] = byte(x >> (8 * j))
		}
	}
	path = filepath.Join(b.dir, name)
	return path, data, os.WriteFile(path, data, 0o644)
}
