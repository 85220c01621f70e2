package nettest

// This file is a host of the lab: running commands, Go code and captures
// inside its network namespace.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// An NS is a host: a network namespace with lo up and whatever Plug added.
type NS struct {
	Name string // as `ip netns` lists it
}

// Addr gives an interface an address such as "10.77.0.1/24".
func (ns *NS) Addr(iface, cidr string) error {
	return ip("-n", ns.Name, "addr", "add", cidr, "dev", iface)
}

// Command prepares a command that runs on this host. It is killed when ctx
// ends, and by the lab's Close at the latest.
func (ns *NS) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns.Name, name}, args...)...)
	// Ctrl-C at the terminal must reach only the program that owns the lab; it
	// closes the lab in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that keeps the output open must not make Wait hang.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a command on this host to its end and returns all it printed.
func (ns *NS) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := ns.Command(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// Do runs fn with the calling thread inside this host, so that sockets that fn
// opens belong to it, also after Do has returned. Goroutines that fn starts are
// outside: see Dial for a client that dials later.
func (ns *NS) Do(fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join(netnsDir, ns.Name))
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("host %s is gone: %w", ns.Name, err)
	}
	defer there.Close()
	if err := setns(there); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering %s: %w", ns.Name, err)
	}
	defer func() {
		// A thread that cannot return to its namespace stays locked. It then
		// ends with its goroutine, and runs no other goroutine in the wrong
		// namespace.
		if setns(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// Listen is net.Listen on this host.
func (ns *NS) Listen(network, addr string) (l net.Listener, err error) {
	err = ns.Do(func() error { l, err = net.Listen(network, addr); return err })
	return l, err
}

// ListenPacket is net.ListenPacket on this host.
func (ns *NS) ListenPacket(network, addr string) (c net.PacketConn, err error) {
	err = ns.Do(func() error { c, err = net.ListenPacket(network, addr); return err })
	return c, err
}

// Dial connects from this host; it fits http.Transport.DialContext. The address
// must be numeric: looking up a name would leave the host's namespace.
func (ns *NS) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	if host, _, err := net.SplitHostPort(addr); err != nil || net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
		return nil, fmt.Errorf("dial %s from %s: not an IP address with a port", addr, ns.Name)
	}
	err = ns.Do(func() error { c, err = new(net.Dialer).DialContext(ctx, network, addr); return err })
	return c, err
}

// Capture writes the frames of an interface to a pcap file until stop is
// called. It is listening when it returns.
func (ns *NS) Capture(iface, file string) (stop func() error, err error) {
	// -U and immediate mode: the file is complete up to now even when the
	// capture is killed. -Z root: it may write where root may.
	cmd := ns.Command(context.Background(), "tcpdump", "-i", iface, "-w", file,
		"-U", "--immediate-mode", "-s", "0", "-n", "-Z", "root")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "listening on") {
			return func() error {
				if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
					return err
				}
				return cmd.Wait()
			}, nil
		}
	}
	return nil, fmt.Errorf("capture on %s: %w: %s", iface, cmd.Wait(), said.String())
}

// setns moves the calling thread into the network namespace of an open file.
func setns(f *os.File) error {
	// Package syscall was frozen before this system call existed.
	nr, ok := map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("setns: add the call's number on %s to package nettest", runtime.GOARCH)
	}
	if _, _, errno := syscall.Syscall(nr, f.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return errno
	}
	return nil
}

// txChecksumOff makes the kernel fill in the checksums of frames it sends on
// an interface, as `ethtool -K IFACE tx off` does.
func txChecksumOff(iface string) error {
	const siocEthtool, ethtoolStxcsum = 0x8946, 0x17
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: ethtoolStxcsum}
	request := struct {
		name [syscall.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is longer than this use of it
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:syscall.IFNAMSIZ-1], iface)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocEthtool, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("turning off tx checksum offload on %s: %w", iface, errno)
	}
	return nil
}
