// ra_test.go: router advertisements before the kernel, ndisc6 and radvd.

package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/musterboot/muster/internal/nettest"
)

const raNetwork = `[[network]]
name      = "lab"
interface = "eth0"
mode      = "reservations"
domain    = "lab.example"
subnet6   = "fd77::/64"
dns6      = ["fd77::1"]
`

// sysctl sets a kernel parameter of a host.
func (r *rig) sysctl(ns *nettest.NS, name, value string) {
	r.t.Helper()
	must(r.t, ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+name, []byte(value), 0o644) }))
}

// listener is a host's ear for advertisements.
type listener struct {
	*ipv6.PacketConn
	eth0  *net.Interface
	heard atomic.Int64
}

func (r *rig) listener(ns *nettest.NS) *listener {
	r.t.Helper()
	l := &listener{}
	must(r.t, ns.Do(func() error {
		c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		l.PacketConn = c.IPv6PacketConn()
		l.eth0, err = net.InterfaceByName("eth0")
		return err
	}))
	r.t.Cleanup(func() { l.Close() })
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	must(r.t, l.SetICMPFilter(&f))
	must(r.t, l.SetMulticastHopLimit(255))
	must(r.t, l.SetMulticastInterface(l.eth0))
	must(r.t, l.SetChecksum(true, 2))
	go func() {
		for b := make([]byte, 2000); ; l.heard.Add(1) {
			if _, _, _, err := l.ReadFrom(b); err != nil {
				return
			}
		}
	}()
	return l
}

func (l *listener) solicit() error {
	_, err := l.WriteTo([]byte{133, 0, 0, 0, 0, 0, 0, 0}, nil, &net.IPAddr{IP: net.ParseIP("ff02::2"), Zone: strconv.Itoa(l.eth0.Index)})
	return err
}

// TestAdvertise: what is configured reaches a Linux kernel, rdisc6 and radvdump,
// in time, through a flood and a link that goes away, and is taken back.
func TestAdvertise(t *testing.T) {
	nettest.Need(t, "rdisc6", "radvdump")
	r := newRig(t)
	for _, all := range []string{"all", "eth0"} {
		r.sysctl(r.srv, all+"/forwarding", "1")
	}
	host, other := r.host("host", ""), r.host("other", "")
	r.sysctl(host, "eth0/autoconf", "1")
	r.sysctl(host, "eth0/accept_ra", "2")
	options := r.userOptions(host)
	dumped := &lockedBuffer{}
	dump := other.Command(r.ctx, "radvdump")
	dump.Stdout, dump.Stderr = dumped, dumped
	must(t, dump.Start())
	t.Cleanup(func() { dump.Process.Kill(); dump.Wait() })
	// It must have its socket before the first advertisement: two raw ones of
	// ICMPv6 in the namespace, with the kernel's own.
	r.wait("radvdump to listen", 5*time.Second, func() error {
		b, err := other.Run(r.ctx, "cat", "/proc/net/raw6")
		if err == nil && !strings.Contains(b, ":003A ") {
			err = errors.New(b)
		}
		return err
	})

	r.serveConfig(raNetwork + "ra = \"assisted\"\nra_router = true\nra_preference = \"high\"\nmtu6 = 1400\n")
	if s := r.muster("explain", "--mac", guestMAC, "--arch", "x64-uefi"); !strings.Contains(s, "\nrouter advertisements: assisted, router\n") {
		t.Errorf("explain does not say what is advertised:\n%s", s)
	}
	r.wait("the host to configure itself", 5*time.Second, func() error {
		addr, err := host.Run(r.ctx, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
		must(t, err)
		route, err := host.Run(r.ctx, "ip", "-6", "route")
		must(t, err)
		mtu, err := host.Run(r.ctx, "cat", "/proc/sys/net/ipv6/conf/eth0/mtu")
		must(t, err)
		for text, want := range map[string]string{
			addr:  `inet6 fd77::[0-9a-f:]+/64 scope global dynamic`,
			route: `(?m)^default via fe80::\S+ dev eth0 .*metric 1024 .*expires 1[78]\d\dsec.* pref high$`,
			mtu:   `^1400\n$`,
		} {
			if !regexp.MustCompile(want).MatchString(text) {
				return fmt.Errorf("no %s in\n%s", want, text)
			}
		}
		if !strings.Contains(route, "fd77::/64 dev eth0 proto kernel") {
			return fmt.Errorf("no route to the prefix:\n%s", route)
		}
		return nil
	})
	// The kernel hands RDNSS and DNSSL (RFC 8106) to whoever keeps resolv.conf.
	for want := map[byte]bool{25: true, 31: true}; len(want) > 0; {
		select {
		case o := <-options:
			if want[o[0]] && binary.BigEndian.Uint32(o[4:]) != 1800 {
				t.Errorf("option %x", o)
			}
			delete(want, o[0])
		case <-time.After(5 * time.Second):
			t.Fatalf("the kernel passed on no option %v", want)
		}
	}

	began := time.Now()
	seen, err := other.Run(r.ctx, "rdisc6", "-1", "-w", "2000", "eth0")
	if took := time.Since(began); err != nil || took > 1200*time.Millisecond {
		t.Errorf("rdisc6: %v after %s", err, took)
	}
	for _, want := range []string{`Hop limit +: +64`, `Stateful address conf\. +: +Yes`, `Stateful other conf\. +: +Yes`, `Router preference +: +high`, `Router lifetime +: +1800`,
		`Prefix +: fd77::/64`, `On-link +: +Yes`, `Autonomous address conf\.: +Yes`, `Valid time +: +86400`, `Pref\. time +: +14400`, `MTU +: +1400`, `Recursive DNS server +: fd77::1`, `DNS search list +: lab\.example`, `Source link-layer address: `} {
		if !regexp.MustCompile(want).MatchString(seen) {
			t.Errorf("rdisc6 saw no %s in\n%s", want, seen)
		}
	}
	for _, want := range []string{"AdvManagedFlag on;", "AdvOtherConfigFlag on;", "AdvDefaultLifetime 1800;", "AdvDefaultPreference high;", "prefix fd77::/64", "AdvAutonomous on;", "AdvLinkMTU 1400;", "RDNSS fd77::1", "DNSSL lab.example"} {
		if !strings.Contains(dumped.String(), want) {
			t.Errorf("radvdump saw no %q in\n%s", want, dumped)
		}
	}

	// A flood: a single answer, and one for all every three seconds.
	l := r.listener(other)
	const flood = 4 * time.Second
	began = time.Now()
	tick := time.NewTicker(flood / 100)
	for range 100 {
		<-tick.C
		for range 100 {
			must(t, l.solicit())
		}
	}
	tick.Stop()
	if n := l.heard.Load(); n < 1 || n > 2+int64(time.Since(began)/(3*time.Second)) {
		t.Errorf("%d advertisements for 10,000 solicitations in %s", n, time.Since(began))
	}
	// On a busy machine the socket's buffer overflows.
	solicited := regexp.MustCompile(`muster_ra_messages_total\{result="solicited"\} (\d+)`).FindStringSubmatch(r.metrics())
	if solicited == nil {
		t.Error("no metric counts solicitations")
	} else if n, err := strconv.Atoi(solicited[1]); err != nil || n < 1000 || n > 10001 {
		t.Errorf("%d solicitations counted, of the flood's and rdisc6's", n)
	}

	_, err = r.srv.Run(r.ctx, "ip", "link", "set", "eth0", "down")
	must(t, err)
	r.wait("muster to notice that its link is gone", 5*time.Second, func() error {
		if ra := r.status().Networks[0].RA; ra == nil || ra.State != "interface eth0 is down" {
			return fmt.Errorf("%+v", ra)
		}
		return nil
	})
	before := l.heard.Load()
	_, err = r.srv.Run(r.ctx, "ip", "link", "set", "eth0", "up")
	must(t, err)
	r.wait("advertisements on the link that is back", 6*time.Second, func() error {
		if l.heard.Load() == before || r.status().Networks[0].RA.State != "" {
			return errors.New("none")
		}
		return nil
	})

	// An interface of the same name is another one.
	_, err = r.srv.Run(r.ctx, "ip", "link", "del", "eth0")
	must(t, err)
	must(t, r.lab.Plug(r.srv, "eth0", r.sw))
	r.sysctl(r.srv, "eth0/forwarding", "1")
	before = l.heard.Load()
	r.wait("advertisements on the new interface", 6*time.Second, func() error {
		if l.heard.Load() == before || r.status().Networks[0].RA.State != "" {
			return errors.New("none")
		}
		return nil
	})

	// The old one went without a word, and its address stays with the host.
	own, err := r.srv.Run(r.ctx, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "link")
	must(t, err)
	at := "default via " + regexp.MustCompile(`fe80::[0-9a-f:]+`).FindString(own) + " "
	if route, err := host.Run(r.ctx, "ip", "-6", "route"); err != nil || !strings.Contains(route, at) {
		t.Errorf("no %sin %v\n%s", at, err, route)
	}
	r.stop(false)
	r.wait("the default route to go with muster", 2*time.Second, func() error {
		route, err := host.Run(r.ctx, "ip", "-6", "route")
		if err == nil && strings.Contains(route, at) {
			err = errors.New(route)
		}
		return err
	})
}

// userOptions returns the options that a host's kernel hands to programs.
func (r *rig) userOptions(ns *nettest.NS) <-chan []byte {
	r.t.Helper()
	var fd int
	must(r.t, ns.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_ND_USEROPT - 1)})
	}))
	must(r.t, unix.SetNonblock(fd, true)) // so that Close ends Read
	f := os.NewFile(uintptr(fd), "netlink")
	r.t.Cleanup(func() { f.Close() })
	out := make(chan []byte, 64)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			ms, err := syscall.ParseNetlinkMessage(b[:n])
			if err != nil {
				return
			}
			for _, m := range ms {
				// struct nduseroptmsg, then the option.
				if len(m.Data) >= 24 {
					out <- append([]byte(nil), m.Data[16:]...)
				}
			}
		}
	}()
	return out
}

// TestOtherRouters: radvd is noticed beside us with what it contradicts, and where
// we only listen; a reload changes what we say.
func TestOtherRouters(t *testing.T) {
	nettest.Need(t, "radvd", "rdisc6")
	r := newRig(t)
	rival := r.host("rival", "")
	for _, all := range []string{"all", "eth0"} {
		r.sysctl(rival, all+"/forwarding", "1")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "radvd.conf")
	must(t, os.WriteFile(conf, []byte(`interface eth0 {
	AdvSendAdvert on;
	AdvOtherConfigFlag on;
	prefix fd77::/64 { AdvAutonomous on; AdvValidLifetime 86400; AdvPreferredLifetime 3600; };
};
`), 0o644))
	radvd := func(ns *nettest.NS) {
		said := &lockedBuffer{}
		cmd := ns.Command(r.ctx, "radvd", "-n", "-C", conf, "-p", filepath.Join(dir, ns.Name+".pid"), "-m", "stderr")
		cmd.Stdout, cmd.Stderr = said, said
		must(t, cmd.Start())
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
			if t.Failed() {
				t.Logf("radvd said:\n%s", said)
			}
		})
	}
	radvd(rival)

	toml := filepath.Join(dir, "muster.toml")
	must(t, os.WriteFile(toml, []byte(raNetwork), 0o644))
	r.serve("--config", toml)
	r.event("router.rival", 10*time.Second, "router fe80::", "M=0 O=1, default router for 30m0s, prefix fd77::/64 for hosts' own addresses", "without M machines do not ask")
	if ra := r.status().Networks[0].RA; ra == nil || ra.Says != "off" || len(ra.Routers) != 1 || ra.Routers[0].OK || ra.Routers[0].Last.IsZero() {
		t.Errorf("status: %+v", ra)
	}
	if m := r.metrics(); !strings.Contains(m, `muster_other_router_seen_timestamp_seconds{interface="eth0",router="fe80::`) {
		t.Errorf("metrics:\n%s", m)
	}
	if said := r.tries("doctor", "--config", toml); !strings.Contains(said, "BAD  router     router fe80::") {
		t.Errorf("doctor:\n%s", said)
	}

	// The same beside our own advertisements, by a daemon that starts.
	r.stop(false)
	must(t, os.WriteFile(toml, []byte(raNetwork+"ra = \"managed\"\n"), 0o644))
	r.serve("--config", toml)
	r.event("router.rival", 10*time.Second, "another router, fe80::", "it says M=0, we say M=1", "prefix fd77::/64 is preferred for 1h0m0s from it, 4h0m0s from us")

	client := r.host("client", "")
	managed := func(want string) {
		t.Helper()
		r.wait("rdisc6 to see M="+want, 8*time.Second, func() error {
			out, _ := client.Run(r.ctx, "rdisc6", "-m", "-w", "700", "eth0")
			if n := strings.Count(out, "Stateful address conf.    :          Yes"); fmt.Sprint(n) != want {
				return errors.New(out)
			}
			return nil
		})
	}
	managed("1")
	must(t, os.WriteFile(toml, []byte(raNetwork+"ra = \"off\"\n"), 0o644))
	must(t, r.proc.Process.Signal(syscall.SIGHUP))
	managed("0")
	if ra := r.status().Networks[0].RA; ra == nil || ra.Says != "off" {
		t.Errorf("status after the reload: %+v", ra)
	}

	// From 2.20 (Debian 13) on radvd keeps what it says from its own machine, by
	// IPV6_MULTICAST_LOOP, and Muster cannot hear it there.
	if said, _ := r.srv.Run(r.ctx, "radvd", "--version"); !strings.Contains(said, "Version: 2.1") {
		return
	}
	radvd(r.srv)
	r.event("router.rival", 10*time.Second, "another program on this machine (fe80::", "M=0 O=1")
}
