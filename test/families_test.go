// families_test.go: the file services over IPv6, with clients that we did not
// write, beside IPv4.

package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
	"github.com/pin/tftp/v3"
)

// labFetch in the environment has the test binary be a TFTP client: its value is
// the address and the file. Go keeps names of interfaces for a minute, whichever
// namespace they are of: who uses them needs a process that stays in one.
const labFetch = "MUSTER_LAB_FETCH"

// public is where the files are, for everybody; lastFile is asked for by hand,
// after everything else.
const (
	public   = "images/pub/"
	lastFile = public + "last.efi"
)

// TestFilesOverIPv6: tftp-hpa, atftp, curl and another Go client read over IPv6
// what was put there, by every kind of address, in every mode of ports.
func TestFilesOverIPv6(t *testing.T) {
	nettest.Need(t, "tftp", "atftp", "curl")
	for name, c := range map[string]struct {
		config   string
		from, to uint16
	}{
		"any port":    {"", 1024, 65535},
		"port range":  {"ports=\"30000-30003\"\n", 30000, 30003},
		"single port": {"single_port=true\n", 69, 69},
	} {
		t.Run(name, func(t *testing.T) { filesOverIPv6(t, c.config, c.from, c.to) })
	}
}

func filesOverIPv6(t *testing.T, config string, from, to uint16) {
	const global, local, client, linkLocal = "fd77::1", "fe80::77", "fd77::50", "fe80::50"
	r := newRig(t)
	must(t, r.srv.Addr("eth0", global+"/64"))
	must(t, r.srv.Addr("eth0", local+"/64"))
	r.serveConfig("[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"full\"\nrange=\"10.77.0.100-10.77.0.110\"\nsubnet6=\"fd77::/64\"\n[https]\n[tftp]\n" + config)
	want, dir := map[string][]byte{}, t.TempDir()
	for name, n := range map[string]int{"last.efi": 1, "one.efi": 1, "blocks.efi": 1228 * 40, "big.efi": 3<<20 + 17} {
		b := make([]byte, n)
		rand.Read(b)
		want[public+name] = b
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	r.muster("image", "import", "pub", dir, "--public")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	r.muster("ca", "export", "--pem", ca)

	both := r.host("both", "10.77.0.50/24")
	must(t, both.Addr("eth0", client+"/64"))
	// One that has no address but this, before it got one or where nobody gives any.
	bare := r.host("bare", "")
	for ns, a := range map[*nettest.NS]string{both: "fe80::51", bare: linkLocal} {
		// The smallest frames that IPv6 may have: what is larger does not arrive.
		for _, args := range [][]string{{"addr", "flush", "dev", "eth0", "scope", "link"}, {"addr", "add", a + "/64", "dev", "eth0"}, {"link", "set", "eth0", "mtu", "1280"}} {
			_, err := ns.Run(r.ctx, "ip", append([]string{"-6"}, args...)...)
			must(t, err)
		}
	}
	_, err := bare.Run(r.ctx, "ip", "-6", "route", "add", "fd77::/64", "dev", "eth0")
	must(t, err)

	for _, way := range []struct {
		name     string
		ns       *nettest.NS
		from, to string
		zone     string // of to, where it needs one
	}{
		{"global to global", both, client, global, ""},
		{"link-local to link-local", bare, linkLocal, local, "%eth0"},
		{"link-local to global", bare, linkLocal, global, ""},
		{"IPv4", both, "10.77.0.50", serverAddr, ""},
	} {
		t.Run(way.name, func(t *testing.T) {
			host := way.to + way.zone
			lit, family := host, "-4"
			if way.to != serverAddr {
				lit, family = "["+way.to+strings.ReplaceAll(way.zone, "%", "%25")+"]", "-6"
			}
			got := filepath.Join(t.TempDir(), "got")
			for file, content := range want {
				if file == lastFile {
					continue
				}
				ask := [][]string{
					{"tftp", family, "-m", "binary", host, "-c", "get", file, got},
					{"atftp", "--get", "-r", file, "-l", got, host},
					{"atftp", "--option", "blksize 1228", "--option", "windowsize 4", "--get", "-r", file, "-l", got, host}, // as edk2
					{"curl", "-g", "-sS", "-o", got, "tftp://" + lit + "/" + file},
					{"curl", "-g", family, "-sS", "--fail", "-o", got, "http://" + lit + "/" + file},
				}
				if family == "-6" {
					// More than fits: it is lowered, and arrives.
					ask = append(ask, []string{"atftp", "--option", "blksize 1468", "--option", "windowsize 16", "--get", "-r", file, "-l", got, host},
						[]string{"curl", "-g", "-sS", "--tftp-blksize", "8192", "-o", got, "tftp://" + lit + "/" + file})
				}
				if way.zone == "" {
					ask = append(ask, []string{"curl", "-g", family, "-sS", "--fail", "--cacert", ca, "-o", got, "https://" + lit + "/" + file})
				} else {
					// No certificate is for an address that is on every link.
					ask = append(ask, []string{"curl", "-g", family, "-sS", "--fail", "-k", "-o", got, "https://" + lit + "/" + file})
				}
				for _, args := range ask {
					os.Remove(got)
					ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
					out, err := way.ns.Run(ctx, args[0], args[1:]...)
					cancel()
					if b, rerr := os.ReadFile(got); err != nil || rerr != nil || !bytes.Equal(b, content) {
						t.Errorf("%s: %v\n%s%d bytes, want %d, or they differ (%v)", strings.Join(args, " "), err, out, len(b), len(content), rerr)
					}
				}
				// A client in Go, which takes the zone in the address.
				cmd := way.ns.Command(r.ctx, os.Args[0])
				cmd.Env = append(os.Environ(), labFetch+"="+net.JoinHostPort(host, "69")+" "+file)
				cmd.Stderr = os.Stderr
				if b, err := cmd.Output(); err != nil || !bytes.Equal(b, content) {
					t.Errorf("pin/tftp, %s: %v, %d bytes, want %d, or they differ", file, err, len(b), len(content))
				}
			}
			if a := r.answers(way.ns, way.from, way.to); a.Addr().WithZone("").String() != way.to {
				t.Errorf("what was asked of %s is answered from %s", way.to, a)
			} else if p := a.Port(); p < from || p > to {
				t.Errorf("it is answered from port %d", p)
			}
			// Whoever asked, it is known from where and in which network.
			seen := map[string]int{}
			r.wait("the last of them in the log", 5*time.Second, func() error {
				clear(seen)
				for _, q := range r.requests(way.from) {
					if seen[q.Via] += 1 + q.Repeated; q.Network != "lab" {
						t.Errorf("it was heard as %+v", q)
					}
					if q.Path == lastFile {
						seen[lastFile]++
					}
				}
				if seen[lastFile] == 0 || seen["tftp"] < 10 || seen["http"] < 4 {
					return fmt.Errorf("heard %v", seen)
				}
				return nil
			})
		})
	}

	// A trusted CA and an address that its certificate does not hold: a person
	// reads which.
	pem, err := os.ReadFile(ca)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := bare.Dial(r.ctx, "tcp", "["+local+r.zone(bare)+"]:443")
	must(t, err)
	defer conn.Close()
	if err := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: local}).HandshakeContext(r.ctx); err == nil {
		t.Error("a certificate without the address is taken")
	}
	r.wait("that handshake in the log", 5*time.Second, func() error {
		qs := r.requests(linkLocal)
		if !slices.ContainsFunc(qs, func(q request) bool {
			return q.Network == "lab" && strings.Contains(q.Why, "does not hold "+local+",")
		}) {
			return fmt.Errorf("%+v", qs)
		}
		return nil
	})

	// A link that is nobody's network gets nothing.
	must(t, r.lab.Plug(r.srv, "eth1", r.sw))
	must(t, r.srv.Addr("eth1", "fe80::99/64"))
	if out, err := bare.Run(r.ctx, "curl", "-g", "-sS", "--fail", "http://[fe80::99%25eth0]/"+lastFile); err == nil {
		t.Errorf("served by an interface without a network: %q", out)
	}
	r.wait("what was asked there in the log", 5*time.Second, func() error {
		qs := r.requests(linkLocal)
		if !slices.ContainsFunc(qs, func(q request) bool { return q.Network == "" && q.Via == "http" }) {
			return fmt.Errorf("%+v", qs)
		}
		return nil
	})
}

// requests are those from an address that the log has.
func (r *rig) requests(from string) (out []request) {
	r.t.Helper()
	for line := range strings.Lines(r.muster("event", "list", "--all", "--json", "--lines")) {
		var e entry
		must(r.t, json.Unmarshal([]byte(line), &e))
		if e.Request != nil && e.Request.Source.WithZone("").String() == from {
			out = append(out, *e.Request)
		}
	}
	return out
}

// onlyFetch is a TFTP client of another make, as a process.
func onlyFetch(what string) int {
	addr, file, _ := strings.Cut(what, " ")
	err := func() error {
		c, err := tftp.NewClient(addr)
		if err != nil {
			return err
		}
		f, err := c.Receive(file, "octet")
		if err != nil {
			return err
		}
		_, err = f.WriteTo(os.Stdout)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// zone is eth0 of a host by its number, which means the same to every process.
func (r *rig) zone(ns *nettest.NS) string {
	r.t.Helper()
	out, err := ns.Run(r.ctx, "cat", "/sys/class/net/eth0/ifindex")
	must(r.t, err)
	return "%" + strings.TrimSpace(out)
}

// answers asks for a file by hand and tells who sends the first block.
func (r *rig) answers(ns *nettest.NS, from, to string) netip.AddrPort {
	r.t.Helper()
	at := func(host, port string) netip.AddrPort {
		if strings.HasPrefix(host, "fe80:") {
			host += r.zone(ns)
		}
		ap, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
		must(r.t, err)
		return ap
	}
	pc, err := ns.ListenPacket("udp", at(from, "0").String())
	must(r.t, err)
	defer pc.Close()
	c := pc.(*net.UDPConn)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = c.WriteToUDPAddrPort([]byte("\x00\x01"+lastFile+"\x00octet\x00"), at(to, "69"))
	must(r.t, err)
	b := make([]byte, 600)
	n, a, err := c.ReadFromUDPAddrPort(b)
	must(r.t, err)
	if n != 5 || b[1] != 3 {
		r.t.Errorf("the answer is % x", b[:n])
	}
	a = at(a.Addr().Unmap().WithZone("").String(), fmt.Sprint(a.Port()))
	b[1] = 4
	_, err = c.WriteToUDPAddrPort(b[:4], a)
	must(r.t, err)
	return a
}

// TestListenKeys: what [http], [https] and [tftp] listen on.
func TestListenKeys(t *testing.T) {
	for _, c := range []struct {
		host, want string // local addresses in the server's namespace
	}{
		{"", "udp4 0.0.0.0:69, udp6 [::]:69, tcp *:80, tcp *:443"},
		{"[::]", "udp4 0.0.0.0:69, udp6 [::]:69, tcp *:80, tcp *:443"},
		{"0.0.0.0", "udp4 0.0.0.0:69, tcp 0.0.0.0:80, tcp 0.0.0.0:443"},
		{serverAddr, "udp4 10.77.0.1:69, tcp 10.77.0.1:80, tcp 10.77.0.1:443"},
		{"[fd77::1]", "udp6 [fd77::1]:69, tcp [fd77::1]:80, tcp [fd77::1]:443"},
		{"[fe80::77%eth0]", "udp6 [fe80::77]%eth0:69, tcp [fe80::77]%eth0:80, tcp [fe80::77]%eth0:443"},
	} {
		t.Run(c.host, func(t *testing.T) {
			r := newRig(t)
			nettest.Need(t, "ss")
			must(t, r.srv.Addr("eth0", "fd77::1/64"))
			must(t, r.srv.Addr("eth0", "fe80::77/64"))
			r.serveConfig(fmt.Sprintf("%s[http]\nlisten=\"%[2]s:80\"\n[https]\nlisten=\"%[2]s:443\"\n[tftp]\nlisten=\"%[2]s:69\"\n", fullNetwork, c.host))
			out, err := r.srv.Run(r.ctx, "ss", "-Hlnut")
			must(t, err)
			var got []string
			for line := range strings.Lines(out) {
				f := strings.Fields(line)
				_, port, _ := strings.Cut(f[4][max(0, strings.LastIndex(f[4], ":")):], ":")
				if !slices.Contains([]string{"69", "80", "443"}, port) {
					continue
				}
				if f[0] == "udp" {
					f[0] = "udp4"
					if strings.Contains(f[4], "[") || strings.HasPrefix(f[4], "*") {
						f[0] = "udp6"
					}
				}
				got = append(got, f[0]+" "+f[4])
			}
			want := strings.Split(c.want, ", ")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%q listens on %q, want %q\n%s", c.host, got, want, out)
			}
		})
	}
}
