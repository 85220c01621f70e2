// bench_test.go: a run for one interface, without a file.

package appliance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/client"
	"github.com/musterboot/muster/dhcpd"
	"github.com/musterboot/muster/internal/config"
	"github.com/musterboot/muster/internal/run"
)

const benchRange = "10.77.0.100-10.77.0.109"

// TestBenchBoots: a machine that nobody has seen gets an address, its loader, a script
// and the kernel that the run was started with, byte for byte; and the person at the
// bench sees each step.
func TestBenchBoots(t *testing.T) {
	r := newRig(t, "")
	r.c.loopback = true
	r.c.plug("lo", loopAddr+"/24") // what the kernel calls it
	dir := t.TempDir()
	kernel, initrd := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.gz")
	body := bytes.Repeat([]byte("kernel "), 100_000)
	must(t, os.WriteFile(kernel, body, 0o600))
	must(t, os.WriteFile(initrd, []byte("initrd"), 0o600))
	r.bench(Bench{Interface: "lo", Kernel: kernel, Initrd: []string{initrd}, Cmdline: "console=ttyS0 report={{ .ReportURL }}"}, "127.77.0.100-127.77.0.109")
	c, err := r.opt.Read()
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(c.DataDir, "loaders"), 0o700))
	loader := bytes.Repeat([]byte("loader "), 300)
	must(t, os.WriteFile(filepath.Join(c.DataDir, "loaders", "undionly.kpxe"), loader, 0o600))

	ctx, stop := context.WithCancel(context.Background())
	tasks, err := r.start(ctx)
	must(t, err)
	ended := make(chan error)
	go func() { ended <- run.Group(ctx, tasks...) }()
	defer r.close()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if !slices.ContainsFunc(r.show, func(e client.Entry) bool { return e.Request != nil && e.Request.Step == boot.Discover }) ||
			!slices.ContainsFunc(r.show, func(e client.Entry) bool { return e.Event != nil && e.Event.Kind == boot.HostEnrolled }) {
			t.Errorf("of %d entries none is a DISCOVER, or none the new machine", len(r.show))
		}
	}()

	w := r.c.dhcp[67]
	ask := func(q dhcpd.Query) []byte {
		t.Helper()
		w.in <- dhcpd.Packet{Buf: q.Packet(), Meta: dhcpd.Meta{At: time.Now(), Interface: "lo"}}
		select {
		case b := <-w.out:
			return b
		case <-time.After(20 * time.Second):
			t.Fatalf("no answer\n%s", &r.said)
			return nil
		}
	}
	file := func(reply []byte) string { s, _, _ := strings.Cut(string(reply[108:236]), "\x00"); return s }
	power := func(userClass string) (netip.Addr, string) {
		t.Helper()
		q := dhcpd.Query{MAC: boot.MAC{0x52, 0x54, 0, 0, 0, 1}, VendorClass: "PXEClient:Arch:00000:UNDI:002001", UserClass: userClass}
		offer := ask(q)
		q.Addr, q.Server = yours(offer), netip.MustParseAddr(loopAddr)
		ack := ask(q)
		return yours(ack), file(ack)
	}

	addr, name := power("")
	if !addr.IsValid() || !strings.HasSuffix(name, "undionly.kpxe") {
		t.Fatalf("the firmware got %s and %q", addr, name)
	}
	if got := fetchTFTP(t, addr, r.c.at[1], name); !bytes.Equal(got, loader) {
		t.Errorf("the loader came as %d bytes", len(got))
	}
	again, name := power("iPXE")
	if again != addr {
		t.Errorf("iPXE got %s, the firmware %s", again, addr)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: addr.AsSlice()}}).DialContext}}
	get := func(u string) string {
		t.Helper()
		x, err := url.Parse(u)
		must(t, err)
		x.Host = r.c.at[3]
		resp, err := client.Get(x.String())
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %s\n%s", u, resp.Status, b)
		}
		return string(b)
	}
	script := get(name + "?mac=52:54:00:00:00:01&uuid=&serial=")
	said := regexp.MustCompile(`(?m)^kernel (\S+)/vmlinuz console=ttyS0 report=(\S+)`).FindStringSubmatch(script)
	if said == nil {
		t.Fatalf("the script of %s:\n%s", name, script)
	}
	if got := get(said[1] + "/vmlinuz"); got != string(body) {
		t.Errorf("the kernel came as %d bytes", len(got))
	}
	if got := get(said[1] + "/initrd.gz"); got != "initrd" {
		t.Errorf("the initrd is %q", got)
	}
	// Files of this run are not in the store, and what is tidied leaves its own alone.
	if _, there := r.images.Has(r.thisRun.Files["vmlinuz"].Digest); there {
		t.Error("the kernel was copied")
	}
}

// fetchTFTP is a client of RFC 1350 for small files.
func fetchTFTP(t *testing.T, own netip.Addr, server, name string) (all []byte) {
	t.Helper()
	c, err := net.ListenPacket("udp4", own.String()+":0")
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	to, err := net.ResolveUDPAddr("udp4", server)
	must(t, err)
	_, err = c.WriteTo([]byte("\x00\x01"+name+"\x00octet\x00"), to)
	must(t, err)
	b := make([]byte, 1024)
	for {
		n, from, err := c.ReadFrom(b)
		must(t, err)
		if binary.BigEndian.Uint16(b) != 3 {
			t.Fatalf("TFTP: %q", b[:n])
		}
		all = append(all, b[4:n]...)
		_, err = c.WriteTo([]byte{0, 4, b[2], b[3]}, from)
		must(t, err)
		if n < 516 {
			return all
		}
	}
}

// TestBenchAdvice: what a person at a bench has to do next is said, with the command.
func TestBenchAdvice(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "vmlinuz")
	for _, x := range []struct {
		name, addr, ranges string
		b                  Bench
		refuse             string
		want               string
		mistake            bool
	}{
		{"no address", "", benchRange, Bench{}, "", "interface eth0 has no IPv4 address; on a bench, give it one for this run: muster serve -i eth0 --address 10.77.0.1/24", true},
		{"no address, proxy", "", "", Bench{}, "", "--address 10.77.0.1/24", true},
		{"nonsense", "", benchRange, Bench{Address: "one"}, "", `--address "one": want an address with its prefix length`, true},
		{"range elsewhere", "10.78.0.1/24", benchRange, Bench{}, "", "range 10.77.0.100-10.77.0.109: 10.77.0.100 is outside subnet 10.78.0.0/24", true},
		{"no kernel", "10.77.0.1/24", benchRange, Bench{Kernel: missing}, "", "--kernel: open " + missing, true},
		{"a port in use", "10.77.0.1/24", benchRange, Bench{}, "tcp :80", "or use another port: --http :8080", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, "")
			r.c.plug("eth0")
			if x.addr != "" {
				r.c.plug("eth0", x.addr)
			}
			if x.refuse != "" {
				r.c.refuse[x.refuse] = syscall.EADDRINUSE
			}
			x.b.Interface = "eth0"
			r.bench(x.b, x.ranges)
			err := r.daemon.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), x.want) || errors.As(err, new(config.Mistake)) != x.mistake {
				t.Errorf("%v\nwant %s", err, x.want)
			}
		})
	}
}

// TestBenchAddress: the interface has the address of this run while it runs, also after
// it was pulled out and put back.
func TestBenchAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.c.plug("eth0")
		r.bench(Bench{Interface: "eth0", Address: "10.77.0.1/24"}, benchRange)
		r.run()
		if n := r.network("eth0"); n.State != "serving" || n.Server.String() != "10.77.0.1" {
			t.Errorf("%+v", n)
		}
		r.c.unplug("eth0")
		r.settle()
		if n := r.network("eth0"); n.State != "interface eth0 is not there" {
			t.Errorf("%+v", n)
		}
		r.c.plug("eth0")
		r.settle()
		if n := r.network("eth0"); n.State != "serving" {
			t.Errorf("%+v", n)
		}
		r.c.hangups <- syscall.SIGHUP
		r.settle()
		r.must("nothing to reload")
		r.end()
		if got := fmt.Sprint(r.c.addrs); got != "[+10.77.0.1/24 +10.77.0.1/24 -10.77.0.1/24]" {
			t.Errorf("addresses: %s", got)
		}
	})
}

// TestBenchMistyped: an interface that is not there is a mistake, and it is said which
// one was meant. In a service it may come.
func TestBenchMistyped(t *testing.T) {
	r := newRig(t, "")
	r.bench(Bench{Interface: "eht0"}, "")
	if err := r.daemon.run(t.Context()); err == nil || err.Error() != "-i eht0: there is no such interface; this machine has eth0; did you mean eth0? (with --wait it is waited for)" {
		t.Error(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, strings.Replace(lab, "eth0", "eth7", 1))
		r.run()
		r.must("interface eth7 is not there; waiting for it (this machine has eth0; did you mean eth0?)")
		r.c.plug("eth7", "10.77.0.1/24")
		r.after(2 * time.Second)
		r.must("network is served again")
	})
}

// TestBenchWaits: an interface that is not there yet is waited for.
func TestBenchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.bench(Bench{Interface: "usb0", Wait: true}, "")
		r.run()
		r.must("interface usb0 is not there; waiting for it (this machine has eth0)")
		r.c.plug("usb0", "10.77.0.1/24")
		r.after(10 * time.Second)
		r.must("network is served again", "10.77.0.1")
		// Nobody gives addresses there, and it is said what that means.
		r.after(2 * time.Second)
		r.must("no DHCP server answers on usb0", "muster serve -i usb0 --range 10.77.0.100-10.77.0.200")
	})
}

// TestBenchBeside: beside a server the proxy says so.
func TestBenchBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.c.probe = func(string) ([]boot.Rival, error) {
			return []boot.Rival{{Server: netip.MustParseAddr("10.77.0.2")}}, nil
		}
		r.bench(Bench{Interface: "eth0"}, "")
		r.run()
		r.after(10 * time.Second)
		r.must("another DHCP server gives the addresses", "server=10.77.0.2")
		r.never("no DHCP server answers")
	})
}
