// port.go: explains why a socket could not be opened, and what to do.

package run

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// BindError explains a failed bind of a UDP or TCP port; it wraps err.
func BindError(network string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who, hint := PortHolder(network, port), ""
		switch {
		case who == "":
			who = "another process"
			hint = fmt.Sprintf("see: sudo ss -lnp '( sport = :%d )'", port)
		case strings.HasPrefix(who, "dnsmasq"):
			hint = "stop it (sudo systemctl stop dnsmasq), or tell it to leave the port alone (dnsmasq: port=0 is DNS only; use except-interface=… with bind-dynamic)"
		case strings.HasPrefix(who, "muster"):
			hint = "Muster is running already: sudo systemctl stop muster"
		default:
			_, pid, _ := strings.Cut(strings.TrimSuffix(who, ")"), "(pid ")
			if hint = "stop it: sudo kill " + pid; unitOf(pid) != "" {
				hint = "stop it: sudo systemctl stop " + unitOf(pid)
			}
		}
		return fmt.Errorf("port %d/%s is taken by %s; %s: %w", port, network, who, hint, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		exe, _ := os.Executable()
		return fmt.Errorf("no permission to open port %d/%s; run with sudo, or once: sudo setcap cap_net_bind_service,cap_net_raw+ep %s: %w", port, network, exe, err)
	}
	return fmt.Errorf("open port %d/%s: %w", port, network, err)
}

// unitOf is the system service that a process belongs to; "" if it is none's.
func unitOf(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return ""
	}
	return unitIn(string(b))
}

// unitIn reads /proc/PID/cgroup: 0::/system.slice/dnsmasq.service.
func unitIn(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), "/system.slice/")
		if unit, _, _ := strings.Cut(path, "/"); ok && strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// PortHolder names the process that holds a port, as "name (pid 7)"; "" if it
// cannot be found.
func PortHolder(network string, port int) string {
	inodes := map[string]bool{}
	for _, f := range []string{"/proc/net/" + network, "/proc/net/" + network + "6"} {
		file, err := os.Open(f)
		if err != nil {
			continue
		}
		sc := bufio.NewScanner(file)
		for sc.Scan() {
			// sl local_address rem_address st … inode is the tenth field.
			fl := strings.Fields(sc.Text())
			if len(fl) < 10 {
				continue
			}
			_, p, ok := strings.Cut(fl[1], ":")
			if n, err := strconv.ParseUint(p, 16, 16); !ok || err != nil || int(n) != port {
				continue
			}
			if network == "tcp" && fl[3] != "0A" { // listening
				continue
			}
			inodes["socket:["+fl[9]+"]"] = true
		}
		file.Close()
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		l, err := os.Readlink(fd)
		if err != nil || !inodes[l] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid)
	}
	return ""
}
