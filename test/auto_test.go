// auto_test.go: other servers, and machines on addresses, as the daemon sees
// them, with real ones in a lab.

package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
)

const autoNetwork = "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"auto\"\nrange=\"10.77.0.100-10.77.0.110\"\n"

// event waits for an event of a kind whose text holds all of the words.
func (r *rig) event(kind string, limit time.Duration, words ...string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("event %s with %q", kind, words), limit, func() error {
		for _, e := range r.events() {
			if e.Kind == kind && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e.Text, w) }) {
				return nil
			}
		}
		return fmt.Errorf("not among %d events", len(r.events()))
	})
}

// metrics reads the figures from the daemon's socket.
func (r *rig) metrics() string {
	r.t.Helper()
	out, err := exec.CommandContext(r.ctx, "curl", "-sS", "--unix-socket", r.data+"/muster.sock", "http://muster/metrics").CombinedOutput()
	if err != nil {
		r.t.Fatalf("metrics: %v: %s", err, out)
	}
	return string(out)
}

func newScripted(t *testing.T, r *rig, name string) *scripted {
	t.Helper()
	ns := r.host(name, "")
	mac, err := net.ParseMAC(r.mac(ns))
	must(t, err)
	return &scripted{rig: r, ns: ns, mac: mac, w: watch(t, ns, "eth0", nil)}
}

// TestAutoAlone: nobody else answers, so the network becomes full; a server that
// comes later is noticed by what a client says to it, and has the network at once.
func TestAutoAlone(t *testing.T) {
	nettest.Need(t, "curl")
	r := newLab(t)
	r.serveConfig(autoNetwork)
	if m := r.status().Networks[0].Mode; m != "listening" {
		t.Errorf("mode %s at the start, want listening", m)
	}
	s := newScripted(t, r, "client")
	// Not a word before it knows.
	s.tell(s.make(dhcpv4.MessageTypeDiscover), zero, all)
	r.event("network.mode", 40*time.Second, "full", "no other DHCP server answered")
	if said(s.w.of(s.mac.String()), "OFFER") {
		t.Error("it offered before it had listened")
	}
	offer := s.ask(s.make(dhcpv4.MessageTypeDiscover), zero, all, serverAddr, "OFFER")
	s.ask(s.make(dhcpv4.MessageTypeRequest, selecting(offer)...), zero, all, serverAddr, "ACK")

	r.dnsmasq()
	late := newScripted(t, r, "late")
	r.wait("dnsmasq to offer", 20*time.Second, func() error {
		late.tell(late.make(dhcpv4.MessageTypeDiscover), zero, all)
		for _, m := range late.w.of(late.mac.String()) {
			if m.MessageType() == dhcpv4.MessageTypeOffer && m.from.Addr().String() == "10.77.0.2" {
				offer = m
				return nil
			}
		}
		return fmt.Errorf("no offer of 10.77.0.2")
	})
	late.tell(late.make(dhcpv4.MessageTypeRequest, selecting(offer)...), zero, all)
	r.event("server.rival", 20*time.Second, "10.77.0.2", "lab")
	r.event("network.mode", 20*time.Second, "proxy", "10.77.0.2")
	st := r.status()
	if n := st.Networks[0]; n.Mode != "proxy" || len(n.Rivals) != 1 || n.Rivals[0].Server != netip.MustParseAddr("10.77.0.2") {
		t.Errorf("status: mode %s, others %+v", n.Mode, n.Rivals)
	}
	if said := r.tries("doctor"); !strings.Contains(said, "ok   server     10.77.0.2 answers on network lab") {
		t.Errorf("doctor:\n%s", said)
	}
	if m := r.metrics(); !strings.Contains(m, `muster_other_dhcp_server_seen_timestamp_seconds{network="lab",server="10.77.0.2"}`) || !strings.Contains(m, `muster_dhcp_packets_total{result="answered"}`) {
		t.Errorf("metrics:\n%s", m)
	}
	// Its own client is not refused: the other server will tell it.
	s.tell(s.make(dhcpv4.MessageTypeRequest, wants(netip.MustParseAddr("10.77.0.105"))), zero, all)
	late.tell(late.make(dhcpv4.MessageTypeDiscover), zero, all)
	for _, m := range append(s.w.of(s.mac.String()), late.w.of(late.mac.String())...) {
		if m.MessageType() == dhcpv4.MessageTypeNak && m.from.Addr().String() == serverAddr {
			t.Errorf("refused: %s", m)
		}
	}
}

// TestAutoBeside: a server is there first, so the network is a proxy from the
// beginning.
func TestAutoBeside(t *testing.T) {
	r := newLab(t)
	r.dnsmasq()
	r.serveConfig(autoNetwork)
	r.event("server.rival", 40*time.Second, "10.77.0.2", "it offered 10.77.0.") // of .50 to .60
	r.event("network.mode", 20*time.Second, "proxy")
	if ls := r.muster("lease", "list"); !strings.Contains(ls, "no leases") {
		t.Errorf("it gave addresses:\n%s", ls)
	}
}

// beside starts a DHCP server on a host of its own, at 10.77.0.2.
func (r *rig) beside(kind string) {
	r.t.Helper()
	ns, dir := r.host("dhcp", "10.77.0.2/24"), r.t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		must(r.t, os.WriteFile(p, []byte(text), 0o644))
		return p
	}
	switch kind {
	case "dnsmasq":
		r.slowDnsmasqAt(ns, dnsmasqRange)
	case "dnsmasq --no-ping":
		r.dnsmasqAt(ns, dnsmasqRange)
	case "dhcpd":
		conf := file("dhcpd.conf", "authoritative;\nsubnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.50 10.77.0.60; }\n")
		r.daemon(ns, nettest.Cached(r.t, "dhcpservers/usr/sbin/dhcpd"), "-4", "-f", "-d", "--no-pid", "-user", "root", "-group", "root", "-cf", conf, "-lf", file("leases", ""), "eth0")
	case "kea":
		conf := file("kea.conf", `{"Dhcp4": {"interfaces-config": {"interfaces": ["eth0"]}, "lease-database": {"type": "memfile", "persist": false}, "valid-lifetime": 3600,
			"subnet4": [{"id": 1, "subnet": "10.77.0.0/24", "pools": [{"pool": "10.77.0.50-10.77.0.60"}]}], "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stderr"}]}]}}`)
		r.daemon(ns, "env", "KEA_LOCKFILE_DIR="+dir, "KEA_PIDFILE_DIR="+dir, nettest.Cached(r.t, "dhcpservers/usr/sbin/kea-dhcp4"), "-c", conf)
	}
}

// TestBesideServers: whichever server is there, and however long it thinks, auto is a
// proxy beside it, full and reservations say that it is there, and a proxy never advises
// to give addresses too. MUSTER_LONG makes it twenty starts of each.
func TestBesideServers(t *testing.T) {
	starts := 1
	if os.Getenv("MUSTER_LONG") != "" {
		starts = 20
	}
	for _, kind := range []string{"dnsmasq", "dnsmasq --no-ping", "dhcpd", "kea"} {
		for _, mode := range []string{"auto", "full", "proxy"} {
			for n := range starts {
				t.Run(fmt.Sprintf("%s/%s/%d", kind, mode, n), func(t *testing.T) {
					r := newLab(t)
					r.beside(kind)
					switch mode {
					case "proxy":
						r.serve("-i", "eth0")
						r.wait("the other server to be named", time.Minute, func() error {
							if s := r.out.String(); strings.Contains(s, "another DHCP server gives the addresses") == strings.Contains(s, "no DHCP server answers") {
								return errors.New(s)
							}
							return nil
						})
						if s := r.out.String(); strings.Contains(s, "no DHCP server answers") {
							t.Errorf("it advises to be a second server:\n%s", s)
						}
						return
					case "auto":
						r.serveConfig(autoNetwork)
						r.event("network.mode", time.Minute, "is now in mode ")
					default:
						r.serveConfig(strings.Replace(autoNetwork, "auto", mode, 1))
					}
					r.event("server.rival", time.Minute, "10.77.0.2", "it offered 10.77.0.")
					for _, e := range r.events() {
						if e.Kind == "network.mode" && !strings.Contains(e.Text, "proxy") {
							t.Errorf("%s", e.Text)
						}
					}
				})
			}
		}
	}
}

// TestSixServers: another server of DHCPv6 is found by asking, and told wherever
// a person looks. This server's own answers are not taken for another's.
func TestSixServers(t *testing.T) {
	t.Parallel()
	r := sixRig(t)
	other := r.host("other", "")
	must(t, other.Addr("eth0", "fd77::2/64"))
	said, _ := r.dnsmasqAt(other, "--dhcp-range=fd77::5000,fd77::5fff,64,1h")
	r.wait("dnsmasq", 10*time.Second, func() error {
		if !strings.Contains(said.String(), "DHCPv6, IP range fd77::5000") {
			return errors.New(said.String())
		}
		return nil
	})
	r.serveConfig(sixNetwork)
	r.event("server.rival", 20*time.Second, "another DHCPv6 server, fe80::", "answers on network six; it offered fd77::5", "with DUID 0001", `mode6 = "off"`)
	st := r.status()
	if n := st.Networks[0]; len(n.Rivals) != 1 || !n.Rivals[0].Server.IsLinkLocalUnicast() {
		t.Fatalf("status: %+v", st.Networks)
	}
	server := st.Networks[0].Rivals[0].Server.String()
	if m := r.metrics(); !strings.Contains(m, fmt.Sprintf("muster_other_dhcp_server_seen_timestamp_seconds{network=%q,server=%q}", "six", server)) {
		t.Errorf("metrics:\n%s", m)
	}
	if said := r.tries("doctor"); !strings.Contains(said, server+" answers on network six (IPv6); it offered fd77::5") || !strings.Contains(said, `mode6 = "off" leaves the addresses to it`) {
		t.Errorf("doctor:\n%s", said)
	}
}
