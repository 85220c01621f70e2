// meminfo_linux.go: a socket option that the library has no function for.

package syslogd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func memInfo(fd int, info *[9]uint32) error {
	n := uint32(unsafe.Sizeof(*info))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return e
	}
	return nil
}
