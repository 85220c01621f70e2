// socket.go: system calls for sockets. A transfer's socket is connected: the
// kernel drops packets from other senders (by RFC 1350 4 another TID concerns
// only its sender), and reports a client that is gone.

package tftpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address as the kernel takes it; index stands for the zone of
// a link-local address.
func sockaddr(a netip.AddrPort, index int) (int, unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() {
		s.ZoneId = uint32(index)
	}
	return unix.AF_INET6, s
}

// dial opens a socket from local to a client, on a port of the range if there
// is one.
func dial(local netip.Addr, to netip.AddrPort, index int, ports PortRange) (int, error) {
	family, peer := sockaddr(to, index)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	wait := unix.NsecToTimeval(int64(nap))
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("SO_RCVTIMEO: %w", err)
	}
	fragmentable(fd, family)
	if err = bind(fd, local, index, ports); err == nil {
		if err = unix.Connect(fd, peer); err != nil {
			err = fmt.Errorf("connect to %s: %w", to, err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bind tries each port of a range once, starting at a random one.
func bind(fd int, local netip.Addr, index int, ports PortRange) error {
	n := max(1, int(ports.To)-int(ports.From)+1)
	start := rand.IntN(n)
	var err error
	for i := range n {
		port := uint16(0)
		if ports.From != 0 {
			port = ports.From + uint16((start+i)%n)
		}
		_, at := sockaddr(netip.AddrPortFrom(local, port), index)
		if err = unix.Bind(fd, at); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("every port of %s is in use: make the range of [tftp] ports wider: %w", ports, err)
	}
	if err != nil {
		return fmt.Errorf("bind to %s: %w", local, err)
	}
	return nil
}

// fragmentable lets routers fragment large packets. A block size is agreed on
// once, and may turn out too large for a tunnel on the way.
func fragmentable(fd, family int) {
	if family == unix.AF_INET {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
}

// portOf is a socket's local port; 0 if it cannot be read.
func portOf(fd int) uint16 {
	switch a, _ := unix.Getsockname(fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// putControl writes one control message and returns its length. The length in the
// message has the size of a pointer.
func putControl(b []byte, level, kind int, data []byte) int {
	n := uint64(unix.CmsgLen(len(data)))
	if unix.SizeofPtr == 8 {
		binary.NativeEndian.PutUint64(b, n)
	} else {
		binary.NativeEndian.PutUint32(b, uint32(n))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr:], uint32(level))
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr+4:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return unix.CmsgSpace(len(data))
}

// sendFrom is the control message that sets the source address.
func sendFrom(local netip.Addr, index int) []byte {
	b := make([]byte, 64)
	if local.Is4() {
		info := make([]byte, unix.SizeofInet4Pktinfo) // ifindex, spec_dst, addr
		a := local.As4()
		copy(info[4:], a[:])
		return b[:putControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, info)]
	}
	info := make([]byte, unix.SizeofInet6Pktinfo) // addr, ifindex
	a := local.As16()
	copy(info, a[:])
	if local.IsLinkLocalUnicast() {
		binary.NativeEndian.PutUint32(info[16:], uint32(index))
	}
	return b[:putControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info)]
}

// descriptor is a listener's, for transfers in single-port mode. It stays
// valid while the listener is open.
func descriptor(c *net.UDPConn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(p uintptr) { fd = int(p) })
	return fd, err
}

// recv and send never block, so they bypass Go's scheduler. That saves a tenth
// of the cost of a block.

func recv(fd int, b []byte) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func send(fd int, b []byte) error {
	if _, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0); e != 0 {
		return e
	}
	return nil
}

// ready is epoll_wait without waiting.
func ready(poll int, events []unix.EpollEvent) int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// yield lets another thread have the processor.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
