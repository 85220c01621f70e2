package nettest

// This file adapts the lab to tests: a failing step ends the test, and the lab
// is removed when the test ends.

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Lack ends a test that cannot run here. It skips the test; in CI, where
// everything should be installed and a skip would hide a gap, it fails it.
func Lack(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Need ends the test if a tool is missing. A tool with a slash is a file. After
// install.sh, as make test runs it, nothing may be missing: the test fails.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	var missing []string
	for _, tool := range tools {
		var err error
		if filepath.IsAbs(tool) {
			_, err = os.Stat(tool)
		} else {
			_, err = exec.LookPath(tool)
		}
		if err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		reason := fmt.Sprintf("missing %s: run internal/nettest/install.sh test", strings.Join(missing, ", "))
		if os.Getenv("MUSTER_INSTALLED") == "true" {
			t.Fatal(reason)
		}
		Lack(t, reason)
	}
}

// Cached is the path of a file that install.sh unpacked, such as
// "ipxe-13/usr/lib/ipxe/ipxe-arm64.efi"; the test ends if it does not exist.
func Cached(t testing.TB, name string) string {
	t.Helper()
	Need(t, cachePath(name))
	return cachePath(name)
}

// NeedRoot ends the test if it does not run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lack(t, "needs root, for network namespaces")
	}
}

// NeedIPv6 ends the test if this machine has no IPv6 of its own.
func NeedIPv6(t testing.TB) {
	t.Helper()
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		Lack(t, fmt.Sprintf("needs IPv6 on lo: %v", err))
		return
	}
	c.Close()
}

// A T is a Lab that ends with its test. Its methods fail the test instead of
// returning an error; they must be called from the test's goroutine.
type T struct {
	*Lab
	t testing.TB
}

// NewT makes a lab for a test. If the test fails, the end of every machine's
// console is logged.
func NewT(t testing.TB) *T {
	t.Helper()
	if testing.Short() {
		t.Skip("whole boots run without -short")
	}
	NeedRoot(t)
	Need(t, "ip")
	lab, err := New()
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, vm := range lab.VMs() {
				t.Logf("console of %s ends in:\n%s", vm.Name, tail(vm.Console(), 3000))
			}
		}
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return &T{lab, t}
}

// Switch is Lab.Switch.
func (l *T) Switch() *Switch {
	l.t.Helper()
	sw, err := l.Lab.Switch()
	check(l.t, err)
	return sw
}

// Host adds a host with an interface eth0 on the switch and these addresses.
func (l *T) Host(name string, sw *Switch, addrs ...string) *NS {
	l.t.Helper()
	ns, err := l.Lab.Host(name)
	check(l.t, err)
	check(l.t, l.Plug(ns, "eth0", sw))
	for _, addr := range addrs {
		check(l.t, ns.Addr("eth0", addr))
	}
	return ns
}

// Boot is Lab.Boot.
func (l *T) Boot(ctx context.Context, sw *Switch, g Guest) *VM {
	l.t.Helper()
	Need(l.t, g.Firmware.Needs()...)
	vm, err := l.Lab.Boot(ctx, sw, g)
	check(l.t, err)
	return vm
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
