// family_test.go: both families on one port, and who is who on a link where
// addresses have zones.

package httpboot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
	"github.com/musterboot/muster/trust/authority"
)

// TestListen: who reaches which listen value, and that an IPv4 client of a
// socket for both families is an IPv4 client.
func TestListen(t *testing.T) {
	nettest.NeedIPv6(t)
	for _, c := range []struct {
		listen string
		v4, v6 bool
	}{
		{":0", true, true}, {"[::]:0", true, true}, {"0.0.0.0:0", true, false}, {"127.0.0.1:0", true, false}, {"[::1]:0", false, true},
	} {
		t.Run(c.listen, func(t *testing.T) {
			s := &shelf{dir: t.TempDir(), ended: make(chan boot.Outcome, 10)}
			must(t, os.WriteFile(filepath.Join(s.dir, "ipxe.efi"), []byte("0123456789"), 0o644))
			ctx, cancel := context.WithCancel(context.Background())
			l, err := Listen(ctx, c.listen)
			must(t, err)
			done := make(chan error, 1)
			go func() { done <- Serve(ctx, l, NewHandler(s, s, slog.New(slog.DiscardHandler))) }()
			defer func() { cancel(); must(t, <-done) }()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			for host, want := range map[string]bool{"127.0.0.1": c.v4, "::1": c.v6} {
				addr := net.JoinHostPort(host, port)
				if !want {
					if conn, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("%s is reached: %v, %v", addr, conn, err)
					}
					continue
				}
				if b := text2(talk(t, addr, firmware("GET", "/ipxe.efi"))[0]); b != "0123456789" {
					t.Errorf("%s: %q", addr, b)
				}
				<-s.ended
				s.mu.Lock()
				if s.last.Source.Addr().String() != host || s.last.Link.Local.String() != host {
					t.Errorf("%s comes from %s to %s", addr, s.last.Source, s.last.Link.Local)
				}
				s.mu.Unlock()
			}
		})
	}
}

// TestZones: a zone names the interface, and is not part of an address.
func TestZones(t *testing.T) {
	for _, c := range []struct {
		remote, local   string
		from, to, iface string
	}{
		{remote: "10.77.0.5:1234", local: "10.77.0.1:80", from: "10.77.0.5:1234", to: "10.77.0.1"},
		{remote: "[::ffff:10.77.0.5]:1234", local: "[::ffff:10.77.0.1]:80", from: "10.77.0.5:1234", to: "10.77.0.1"},
		{remote: "[fd77::5]:1234", local: "[fd77::1]:80", from: "[fd77::5]:1234", to: "fd77::1"},
		{remote: "[fe80::5%eth1]:1234", local: "[fe80::1%eth1]:80", from: "[fe80::5]:1234", to: "fe80::1", iface: "eth1"},
		{remote: "[fe80::5%eth1]:1234", local: "[fd77::1]:80", from: "[fe80::5]:1234", to: "fd77::1", iface: "eth1"},
		{remote: "[fd77::5]:1234", local: "[fe80::1%eth1]:80", from: "[fd77::5]:1234", to: "fe80::1", iface: "eth1"},
	} {
		r := httptest.NewRequest("GET", "/ipxe.efi", nil)
		r.RemoteAddr = c.remote
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.local)))))
		in, ok := parse(r, time.Now())
		if !ok || in.Source.String() != c.from || in.Link.Local.String() != c.to || in.Link.Interface != c.iface {
			t.Errorf("%s to %s: from %s, link %+v", c.remote, c.local, in.Source, in.Link)
		}
	}
}

type drawer map[string][]byte

func (d drawer) Load(name string) ([]byte, error)     { return d[name], nil }
func (d drawer) Save(name string, value []byte) error { d[name] = value; return nil }

// TestLiteralURL: firmware that was given an address sends no server name (RFC
// 6066 3 has no literals in SNI). It gets a certificate for the address that it
// connected to, in either family. A client that sends a literal anyway, in any
// spelling, gets the same.
func TestLiteralURL(t *testing.T) { families(t, testLiteralURL) }

func testLiteralURL(t *testing.T, host string) {
	s := startTLS(t, host)
	ca, err := authority.Open(drawer{}, time.Now)
	must(t, err)
	ca.Serve([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, []string{"boot.example"})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM())
	s.sign.Store(ca)
	must(t, ca.Prepare()) // no client waits while keys are made
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := s.get(t, &tls.Config{RootCAs: roots, MaxVersion: version}); err != nil {
			t.Errorf("%x: %v", version, err)
		}
		for _, name := range []string{"", "127.0.0.1", "::1", "[::1]", "boot.example"} {
			c, err := ca.Certificate(&tls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{version}})
			must(t, err)
			if !covers(c.Leaf, &tls.ClientHelloInfo{ServerName: name}, netip.MustParseAddr(host)) {
				t.Errorf("the certificate for %q at %s does not hold it", name, host)
			}
		}
	}
	// An address that it does not hold is told of with that address.
	ca.Serve([]netip.Addr{netip.MustParseAddr("fd77::9")}, nil)
	if _, err := s.get(t, &tls.Config{RootCAs: roots}); err == nil {
		t.Fatal("a certificate for another address was taken")
	}
	f := <-s.faults
	if want := "the server's certificate does not hold " + host + ","; f.Cause != boot.BadName || f.Text[:len(want)] != want {
		t.Errorf("%+v", f)
	}
}

// TestRawSNI: Go's own client never writes a literal; firmware does.
func TestRawSNI(t *testing.T) {
	nettest.NeedIPv6(t)
	s := startTLS(t, "::1")
	conn, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Write(hello(t, "[::1]"))
	must(t, err)
	head := make([]byte, 6)
	_, err = io.ReadFull(conn, head)
	if must(t, err); head[0] != 22 || head[5] != 2 {
		t.Errorf("the answer begins % x, want a ServerHello", head)
	}
}

// hello is a ClientHello that names a server, however it is spelled: Go is given
// a name of the same length, which is then changed on its way.
func hello(t *testing.T, name string) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	stand := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[:len(name)]
	go func() { tls.Client(here, &tls.Config{ServerName: stand}).Handshake(); here.Close() }()
	b := make([]byte, 4096)
	n, err := there.Read(b)
	must(t, err)
	out := b[:n]
	at := bytes.Index(out, []byte(stand))
	if at < 0 {
		t.Fatal("no name in the ClientHello")
	}
	copy(out[at:], name)
	return out
}
