// families_test.go: the file services over IPv6, with clients that we did not
// write, beside IPv4. The fronts run in a process of their own inside the lab,
// because a transfer opens its socket where it is.

package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pin/tftp/v3"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/httpboot"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/internal/run"
	"github.com/musterboot/muster/tftpd"
	"github.com/musterboot/muster/trust/authority"
)

// What this binary is told to be, by the environment: the fronts alone, or a
// TFTP client. Go keeps names of interfaces for a minute, whichever namespace
// they are of: who uses them needs a process that stays in one.
const (
	labFronts = "MUSTER_LAB_FRONTS"
	labFetch  = "MUSTER_LAB_FETCH" // address and file
)

// frontsSetup is what the process is told, by labFronts.
type frontsSetup struct {
	Dir    string // of files and of the CA
	Policy boot.Policy
	Ports  tftpd.PortRange
	Single bool
}

// frontsEngine hands out a folder to the networks of a policy, and says who asked.
type frontsEngine struct {
	frontsSetup
	mu  sync.Mutex
	out io.Writer
}

// heard is one line of its output.
type heard struct {
	Via, Source, Local, Interface, Network, Path, Fault string
}

func (e *frontsEngine) Next(_ context.Context, in boot.Sighting) (boot.Decision, error) {
	h := heard{Via: string(in.Via), Source: in.Source.Addr().String(), Local: in.Link.Local.String(), Interface: in.Link.Interface, Path: in.Want.Path}
	n := e.Policy.Serves(in.Link, in.Source.Addr())
	if n != nil {
		h.Network = n.Name
	}
	if in.Fault != nil {
		h.Fault = in.Fault.Text
	}
	e.mu.Lock()
	err := json.NewEncoder(e.out).Encode(h)
	e.mu.Unlock()
	switch {
	case n == nil || in.Fault != nil:
		return boot.Decision{Reply: boot.Ignore{}}, err
	case !filepath.IsLocal(in.Want.Path):
		return boot.Decision{Reply: boot.Refuse{}}, err
	}
	return boot.Decision{Reply: boot.File{Ref: boot.Ref{Name: in.Want.Path}}}, err
}

func (e *frontsEngine) Begin(boot.Sighting, boot.Decision, int64) boot.Transfer { return unmetered{} }

type unmetered struct{}

func (unmetered) Sent(int64) {}
func (unmetered) End()       {}

func (e *frontsEngine) Done(context.Context, boot.Sighting, boot.Decision, boot.Outcome) error {
	return nil
}

func (e *frontsEngine) Open(_ context.Context, ref boot.Ref) (*boot.Object, error) {
	f, err := os.Open(filepath.Join(e.Dir, ref.Name))
	if err != nil {
		return nil, boot.ErrNoFile
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &boot.Object{Body: boot.NewSection(f, 0, st.Size(), func() { f.Close() }), Name: ref.Name, Size: st.Size(), ETag: `"x"`}, nil
}

// onlyFronts is the process.
func onlyFronts(setup string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		e := &frontsEngine{out: os.Stdout}
		if err := json.Unmarshal([]byte(setup), &e.frontsSetup); err != nil {
			return err
		}
		ca, err := authority.Open(drawer{}, time.Now)
		if err != nil {
			return err
		}
		var own []netip.Addr
		for _, n := range slices.Concat(e.Policy.Networks, e.Policy.Networks6) {
			own = append(own, n.Server)
		}
		ca.Serve(own, nil)
		if err := os.WriteFile(filepath.Join(e.Dir, "ca.pem"), ca.PEM(), 0o644); err != nil {
			return err
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		t, h := tftpd.NewServer(e, e, log), httpboot.NewHandler(e, e, log)
		t.SinglePort, t.Ports = e.Single, e.Ports
		us, err := tftpd.Listen(ctx, ":69")
		if err != nil {
			return err
		}
		l, err := httpboot.Listen(ctx, ":80")
		if err != nil {
			return err
		}
		ls, err := httpboot.Listen(ctx, ":443")
		if err != nil {
			return err
		}
		tasks := []run.Task{
			{Name: "http", Run: func(ctx context.Context) error { return httpboot.Serve(ctx, l, h) }},
			{Name: "https", Run: func(ctx context.Context) error {
				return httpboot.ServeTLS(ctx, ls, h, &httpboot.Secure{Certificate: ca.Certificate, Firmware: func() bool { return false }})
			}},
		}
		for _, u := range us {
			tasks = append(tasks, run.Task{Name: "tftp", Run: func(ctx context.Context) error { return t.Serve(ctx, u) }})
		}
		fmt.Println("ready")
		return run.Group(ctx, tasks...)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fronts starts the process on the rig's server. What it hears comes by the
// function it returns: everything up to what is waited for.
func (r *rig) fronts(s frontsSetup) (until func(func(heard) bool) []heard) {
	r.t.Helper()
	setup, err := json.Marshal(s)
	must(r.t, err)
	cmd := r.srv.Command(r.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), labFronts+"="+string(setup))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(r.t, err)
	must(r.t, cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		r.t.Fatalf("the fronts say %q: %v", lines.Text(), cmd.Wait())
	}
	heards := make(chan heard, 1000)
	go func() {
		defer close(heards)
		for lines.Scan() {
			var h heard
			if json.Unmarshal(lines.Bytes(), &h) == nil {
				heards <- h
			}
		}
	}()
	r.t.Cleanup(func() {
		_ = syscall.Kill(r.child(cmd.Process.Pid), syscall.SIGTERM)
		for range heards {
		}
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("the fronts ended: %v", err)
		}
	})
	return func(last func(heard) bool) (all []heard) {
		r.t.Helper()
		timeout := time.After(10 * time.Second)
		for {
			select {
			case h, ok := <-heards:
				if all = append(all, h); !ok || last(h) {
					return all
				}
			case <-timeout:
				r.t.Fatalf("waited for more than this: %+v", all)
			}
		}
	}
}

// lastFile is asked for by hand, after everything else.
const lastFile = "last.efi"

// TestFilesOverIPv6: tftp-hpa, atftp, curl and another Go client read over IPv6
// what was put there, by every kind of address, in every mode of ports.
func TestFilesOverIPv6(t *testing.T) {
	nettest.Need(t, "tftp", "atftp", "curl")
	for name, s := range map[string]frontsSetup{
		"any port": {}, "port range": {Ports: tftpd.PortRange{From: 30000, To: 30003}}, "single port": {Single: true},
	} {
		t.Run(name, func(t *testing.T) { filesOverIPv6(t, s) })
	}
}

func filesOverIPv6(t *testing.T, s frontsSetup) {
	const global, local, client, linkLocal = "fd77::1", "fe80::77", "fd77::50", "fe80::50"
	r := newRig(t)
	must(t, r.srv.Addr("eth0", global+"/64"))
	must(t, r.srv.Addr("eth0", local+"/64"))
	s.Dir = t.TempDir()
	s.Policy = boot.Policy{
		Networks:  []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Subnet: netip.MustParsePrefix("10.77.0.0/24"), Server: netip.MustParseAddr(serverAddr)}},
		Networks6: []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Subnet: netip.MustParsePrefix("fd77::/64"), Server: netip.MustParseAddr(global)}},
	}
	want := map[string][]byte{}
	for name, n := range map[string]int{lastFile: 1, "one.efi": 1, "blocks.efi": 1228 * 40, "big.efi": 3<<20 + 17} {
		b := make([]byte, n)
		rand.Read(b)
		want[name] = b
		must(t, os.WriteFile(filepath.Join(s.Dir, name), b, 0o644))
	}
	until := r.fronts(s)
	ca := filepath.Join(s.Dir, "ca.pem")

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
		iface    string // as HTTP knows it
	}{
		{"global to global", both, client, global, "", ""},
		{"link-local to link-local", bare, linkLocal, local, "%eth0", "eth0"},
		{"link-local to global", bare, linkLocal, global, "", "eth0"},
		{"IPv4", both, "10.77.0.50", serverAddr, "", ""},
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
			} else if p := a.Port(); s.Single && p != 69 || s.Ports.To != 0 && (p < s.Ports.From || p > s.Ports.To) {
				t.Errorf("it is answered from port %d", p)
			}
			seen := map[string]int{}
			for _, h := range until(func(h heard) bool { return h.Path == lastFile }) {
				seen[h.Via]++
				h.Path = ""
				w := heard{Via: h.Via, Source: way.from, Local: way.to, Interface: way.iface, Network: "lab"}
				if h.Via == string(boot.TFTP) {
					w.Interface = "eth0"
				}
				if h != w {
					t.Errorf("it was heard as %+v, want %+v", h, w)
				}
			}
			if seen["tftp"] < 10 || seen["http"] < 4 {
				t.Errorf("heard %v", seen)
			}
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
	said := until(func(h heard) bool { return h.Fault != "" })
	if h := said[len(said)-1]; !strings.Contains(h.Fault, "does not hold "+local+",") || h.Network != "lab" || h.Interface != "eth0" {
		t.Errorf("of that handshake: %+v", h)
	}

	// A link that is nobody's network gets nothing.
	must(t, r.lab.Plug(r.srv, "eth1", r.sw))
	must(t, r.srv.Addr("eth1", "fe80::99/64"))
	if out, err := bare.Run(r.ctx, "curl", "-g", "-sS", "http://[fe80::99%25eth0]/"+lastFile); err == nil {
		t.Errorf("served by an interface without a network: %q", out)
	}
	said = until(func(h heard) bool { return h.Interface == "eth1" })
	if h := said[len(said)-1]; h.Network != "" || h.Source != linkLocal {
		t.Errorf("by an interface without a network: %+v", h)
	}
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
