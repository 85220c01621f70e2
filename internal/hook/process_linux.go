// process_linux.go: a program in a group of its own, without our privileges.

package hook

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts without the capabilities that a service has for its sockets:
// they would pass to what it runs. They are the thread's, so this one thread
// drops them and ends with its goroutine.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		done <- cmd.Start()
	}()
	return <-done
}

// killAll ends a program and what it started.
func killAll(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
