// process_linux.go: starts a program in a process group of its own, without our
// privileges.

package hook

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts a program without the capabilities that the service has for its
// sockets; a program would inherit them. Capabilities belong to a thread. So this one
// thread drops them, and it ends with its goroutine.
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

// killAll kills a program and all processes that it started.
func killAll(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
