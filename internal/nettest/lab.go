// Package nettest is a small lab for the whole of a network boot: hosts in
// network namespaces, a switch between them, and virtual machines with real
// firmware that boot over it.
//
// It serves the tests, and plain programs such as the demo. Nothing that
// happens in a lab leaves it: each host and each switch is a namespace of its
// own, and Close removes all of them with every process inside.
//
// The lab needs root and the packages that install.sh brings.
package nettest

// This file makes and removes labs: their namespaces, their switches and the
// cables between the two.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const netnsDir = "/run/netns"

// A Lab owns namespaces, machines and a scratch directory. Its methods may be
// called from several goroutines.
type Lab struct {
	Dir string // scratch directory, removed by Close

	name string // also the prefix of all its namespaces

	mu    sync.Mutex
	ports int // taps and cable ends made so far, for names
	nss   []*NS
	vms   []*VM
}

// A Switch is a learning bridge in a namespace of its own. Its NS gives
// commands and captures the view of the wire: Capture(BridgeName, file) sees
// every frame.
type Switch struct{ *NS }

// BridgeName is the bridge's interface inside a Switch.
const BridgeName = "br0"

var labs atomic.Int64

// New makes an empty lab, after removing what killed runs have left.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab makes network namespaces: run as root")
	}
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("clearing the labs of earlier runs: %w", err)
	}
	pid := os.Getpid()
	start, err := startTime(pid)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("muster-%d.%s-%d", pid, start, labs.Add(1))
	dir := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return &Lab{Dir: dir, name: name}, nil
}

// Switch adds a switch.
func (l *Lab) Switch() (*Switch, error) {
	ns, err := l.Host(fmt.Sprintf("switch%d", l.nextPort()))
	if err != nil {
		return nil, err
	}
	sw := &Switch{ns}
	err = ns.Do(func() error {
		// A switch must not act as a host on its own wire.
		return sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	})
	if err != nil {
		return nil, err
	}
	// No forwarding delay: machines must reach the server at once. No multicast
	// snooping: there is no querier here, and DHCPv6 is multicast.
	return sw, ip("-n", ns.Name, "link", "add", BridgeName, "up", "type", "bridge",
		"stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
}

// Host adds a host without cables. Its name must be unique in the lab.
func (l *Lab) Host(name string) (*NS, error) {
	ns := &NS{Name: l.name + "-" + name}
	if err := ip("netns", "add", ns.Name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.nss = append(l.nss, ns)
	l.mu.Unlock()

	err := ns.Do(func() error {
		// Only a test's own packets should be on the wire: no unsolicited
		// router solicitations, and no address that stays tentative for a
		// second.
		for _, kv := range [][2]string{
			{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"}, {"router_solicitations", "0"},
		} {
			if err := sysctl("net/ipv6/conf/default/"+kv[0], kv[1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ns, ip("-n", ns.Name, "link", "set", "lo", "up")
}

// Plug runs a cable from a new interface of the host to a switch.
func (l *Lab) Plug(ns *NS, iface string, sw *Switch) error {
	port := fmt.Sprintf("port%d", l.nextPort())
	if err := ip("-n", ns.Name, "link", "add", iface, "mtu", "1500", "type", "veth",
		"peer", "name", port, "mtu", "1500", "netns", sw.Name); err != nil {
		return err
	}
	// A veth leaves checksums to a network card that does not exist. DHCP
	// clients read raw frames and would drop the reply as damaged.
	if err := ns.Do(func() error { return txChecksumOff(iface) }); err != nil {
		return err
	}
	if err := ip("-n", sw.Name, "link", "set", port, "master", BridgeName, "up"); err != nil {
		return err
	}
	if err := ip("-n", ns.Name, "link", "set", iface, "up"); err != nil {
		return err
	}
	if err := isUp(sw.Name, port); err != nil {
		return err
	}
	return isUp(ns.Name, iface)
}

// isUp waits until the kernel has noticed that an interface has a carrier. Until then,
// which takes long on a busy machine, a switch drops what comes and what should go there.
func isUp(ns, iface string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		out, err := exec.Command("ip", "-n", ns, "-o", "link", "show", "dev", iface).Output()
		switch {
		case err != nil:
			return fmt.Errorf("ip link show %s: %w", iface, err)
		case bytes.Contains(out, []byte(" state UP ")):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s in %s does not come up: %s", iface, ns, out)
		}
	}
}

// tap adds a port for a virtual machine to a switch.
func (l *Lab) tap(sw *Switch) (string, error) {
	name := fmt.Sprintf("tap%d", l.nextPort())
	if err := ip("-n", sw.Name, "tuntap", "add", "dev", name, "mode", "tap"); err != nil {
		return "", err
	}
	return name, ip("-n", sw.Name, "link", "set", name, "master", BridgeName, "up")
}

func (l *Lab) nextPort() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports++
	return l.ports
}

// VMs returns the machines booted so far, also those that have ended.
func (l *Lab) VMs() []*VM {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*VM(nil), l.vms...)
}

// Close ends every process in the lab and removes it. It may be called again.
func (l *Lab) Close() error {
	l.mu.Lock()
	nss := l.nss
	l.nss = nil
	l.mu.Unlock()
	var errs []error
	for _, ns := range nss {
		errs = append(errs, removeNamespace(ns.Name))
	}
	for _, vm := range l.VMs() {
		<-vm.Done() // its console file is complete before the directory goes
	}
	return errors.Join(append(errs, os.RemoveAll(l.Dir))...)
}

// labName matches the pid and the start time in the names of New. The pid alone
// is not enough, because another process may have it by now.
var labName = regexp.MustCompile(`^muster-(\d+)\.(\d+)-\d+`)

// Sweep removes the labs of processes that are gone, such as a test run that
// was killed. Labs of living processes are left alone.
func Sweep() error {
	stale := func(name string) bool {
		m := labName.FindStringSubmatch(name)
		if m == nil {
			return false
		}
		pid, _ := strconv.Atoi(m[1])
		start, err := startTime(pid)
		return err != nil || start != m[2]
	}
	var errs []error
	for _, name := range dirNames(netnsDir) {
		if stale(name) {
			errs = append(errs, removeNamespace(name))
		}
	}
	for _, name := range dirNames(os.TempDir()) {
		if stale(name) {
			errs = append(errs, os.RemoveAll(filepath.Join(os.TempDir(), name)))
		}
	}
	return errors.Join(errs...)
}

// removeNamespace kills what runs in a namespace and deletes it.
func removeNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids := processesIn(path)
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("namespace %s: processes %v do not end when killed", name, pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil // another process swept it in the same moment
	}
	return ip("netns", "del", name)
}

// processesIn lists the processes whose network namespace is the one at path.
func processesIn(path string) (pids []int) {
	want, err := os.Stat(path)
	if err != nil {
		return nil
	}
	for _, name := range dirNames("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() { // this one may be inside Do
			continue
		}
		if got, err := os.Stat("/proc/" + name + "/ns/net"); err == nil && os.SameFile(want, got) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// startTime returns when a living process was started, in ticks since boot.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The command's name is in parentheses and may hold anything; after it the
	// state is field 3 and the start time field 22.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is not as expected: %q", pid, stat)
	}
	return fields[19], nil
}

func dirNames(dir string) (names []string) {
	entries, _ := os.ReadDir(dir) // a directory that is not there has no names
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sysctl sets a kernel parameter of the calling thread's namespace. A parameter
// that the kernel does not have (for example without IPv6) is skipped.
func sysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
