//go:build unix

package iso

import (
	"syscall"
	"time"
)

// busy is the processor time that this process has used: on a loaded machine a clock on
// the wall says nothing of the work.
func busy() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
