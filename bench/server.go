// server.go: runs one server at a time, on fresh state in the server's
// namespace, and measures its processor time.

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
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// program is a server that can be measured.
type program struct {
	name string
	port string // "udp/67"
	// prepare writes what the server needs into an empty directory.
	prepare func(dir string) (argv, env []string, err error)
}

// field is who takes part: Muster and its peers, or Muster and an older one.
func (b *bench) field(muster program, peers ...program) []program {
	if b.before == "" {
		return append([]program{muster}, peers...)
	}
	older := muster
	older.name = "Before"
	older.prepare = func(dir string) (argv, env []string, err error) {
		if argv, env, err = muster.prepare(dir); err == nil {
			argv[0] = b.before
		}
		return argv, env, err
	}
	return []program{muster, older}
}

// process is a running program.
type process struct {
	dir     string
	group   string // control group
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
	group, err := os.Open(b.group)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	s := &process{dir: dir, group: b.group, cmd: cmd, done: make(chan struct{}), started: time.Now()}
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
			pause(ctx, 300*time.Millisecond) // for the work that it does after it listens
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

// listens looks for a port in the server's namespace.
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
// that the port list that was read is the host's.
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
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its own process group
	<-s.done
	os.RemoveAll(s.dir)
}

// count makes the control group that servers run in. It also counts the
// processor time of children that nobody waited for, such as those of
// tftpd-hpa.
func (b *bench) count() (remove func(), err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		b.group = filepath.Join(f[1], fmt.Sprintf("muster-bench-%d", os.Getpid()))
		if err := os.Mkdir(b.group, 0o755); err != nil {
			return nil, err
		}
		return func() {
			for range 20 { // killed processes leave it a moment later
				if os.Remove(b.group) == nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}, nil
	}
	return nil, errors.New("processor time is counted by a control group, and no cgroup2 is mounted")
}

// cpu is the user and system time of the server and all its children.
func (s *process) cpu() time.Duration {
	b, _ := os.ReadFile(filepath.Join(s.group, "cpu.stat"))
	f := strings.Fields(string(b))
	if len(f) < 2 || f[0] != "usage_usec" {
		return 0
	}
	us, _ := strconv.Atoi(f[1])
	return time.Duration(us) * time.Microsecond
}

// memory is the resident set of the process in MB, its file pages included.
func (s *process) memory() float64 {
	all, _ := resident(s.cmd.Process.Pid)
	return all
}

// resident is the resident set of a process in MB, and the part of it that is
// not file-backed.
func resident(pid int) (all, anon float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 {
			kb, _ := strconv.Atoi(f[1])
			switch mb := float64(kb) * 1024 / 1e6; f[0] {
			case "VmRSS:":
				all = mb
			case "RssAnon:":
				anon = mb
			}
		}
	}
	return all, anon
}

const sampleTime = 50 * time.Millisecond

// watch samples the memory of all the server's processes until peak is called,
// which returns the highest sum.
func (s *process) watch() (peak func() (all, anon float64)) {
	var mostAll, mostAnon float64
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			var all, anon float64
			pids, _ := os.ReadFile(filepath.Join(s.group, "cgroup.procs"))
			for f := range strings.FieldsSeq(string(pids)) {
				if pid, err := strconv.Atoi(f); err == nil {
					x, y := resident(pid)
					all, anon = all+x, anon+y
				}
			}
			mostAll, mostAnon = max(mostAll, all), max(mostAnon, anon)
			select {
			case <-end:
				return
			case <-time.After(sampleTime):
			}
		}
	})
	return func() (float64, float64) {
		close(end)
		wg.Wait()
		return mostAll, mostAnon
	}
}

// pin restricts the server's threads to these processors. New threads inherit
// that.
func (s *process) pin(on unix.CPUSet) error {
	for range 2 { // twice, because a thread may just be starting
		tids, err := os.ReadFile(filepath.Join(s.group, "cgroup.threads"))
		if err != nil {
			return err
		}
		for f := range strings.FieldsSeq(string(tids)) {
			tid, err := strconv.Atoi(f)
			if err == nil {
				err = unix.SchedSetaffinity(tid, &on)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("pin the server: %w", err)
			}
		}
	}
	return nil
}

// makeFile writes a test file that is the same in every run, and in which all
// blocks differ.
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
