package admin

import (
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// userOf names who is on the other end of the socket, by the kernel; "" if it does not
// tell.
func userOf(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ""
	}
	id := strconv.FormatUint(uint64(cred.Uid), 10)
	if x, err := user.LookupId(id); err == nil {
		return x.Username
	}
	return "uid " + id
}
