// tls_test.go: two kinds of client on one port, and what a failed handshake
// tells.

package httpboot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/trust/authority"
)

// certificate is a self-signed one for an address.
func certificate(t *testing.T, rsaKey bool, ip string, until time.Time) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Unix(0, 0), NotAfter: until,
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true, IsCA: true}
	var c tls.Certificate
	var der []byte
	var err error
	if rsaKey {
		k, e := rsa.GenerateKey(rand.Reader, 2048)
		must(t, e)
		der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
		c.PrivateKey = k
	} else {
		k, e := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, e)
		der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
		c.PrivateKey = k
	}
	must(t, err)
	c.Certificate = [][]byte{der}
	c.Leaf, err = x509.ParseCertificate(der)
	must(t, err)
	return c
}

// secure is a shelf over TLS.
type secure struct {
	*shelf
	addr     string
	firmware atomic.Bool
	cert     atomic.Pointer[tls.Certificate]
	sign     atomic.Pointer[authority.Authority] // in place of cert
	faults   chan boot.TLSFault
}

func (s *secure) Next(ctx context.Context, in boot.Sighting) (boot.Decision, error) {
	if in.Step == boot.Handshake {
		s.faults <- *in.Fault
		return boot.Decision{Reply: boot.Refuse{}}, nil
	}
	return s.shelf.Next(ctx, in)
}

func startTLS(t *testing.T, host string) *secure {
	s := &secure{shelf: &shelf{dir: t.TempDir(), ended: make(chan boot.Outcome, 100)}, faults: make(chan boot.TLSFault, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, net.JoinHostPort(host, "0"))
	must(t, err)
	c := certificate(t, true, host, time.Now().Add(time.Hour))
	s.cert.Store(&c)
	sec := &Secure{Firmware: s.firmware.Load, Certificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if ca := s.sign.Load(); ca != nil {
			return ca.Certificate(h)
		}
		return s.cert.Load(), nil
	}}
	done := make(chan error, 1)
	go func() {
		done <- ServeTLS(ctx, l, NewHandler(s, s, slog.New(slog.NewTextHandler(io.Discard, nil))), sec)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeTLS: %v", err)
		}
	})
	s.addr = l.Addr().String()
	must(t, os.WriteFile(filepath.Join(s.dir, "ipxe.efi"), []byte("0123456789"), 0o644))
	return s
}

func (s *secure) trusts() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.cert.Load().Leaf)
	return p
}

func (s *secure) get(t *testing.T, c *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("https://" + s.addr + "/ipxe.efi")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	<-s.ended
	return resp.TLS, nil
}

// rsaOnly is the key exchange of Debian 12's OVMF, of what Go can speak.
var rsaOnly = []uint16{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}

func TestTwoProfiles(t *testing.T) { families(t, testTwoProfiles) }

func testTwoProfiles(t *testing.T, host string) {
	s := startTLS(t, host)
	st, err := s.get(t, &tls.Config{RootCAs: s.trusts()})
	if err != nil || st.Version != tls.VersionTLS13 || st.NegotiatedProtocol == "h2" {
		t.Errorf("a modern client: %+v, %v", st, err)
	}
	st, err = s.get(t, &tls.Config{RootCAs: s.trusts(), MaxVersion: tls.VersionTLS12})
	if err != nil || st.CipherSuite != tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("TLS 1.2: %+v, %v", st, err)
	}
	old := &tls.Config{RootCAs: s.trusts(), MaxVersion: tls.VersionTLS12, CipherSuites: rsaOnly}
	if _, err := s.get(t, old); err == nil {
		t.Error("RSA key exchange although nobody allowed it")
	}
	if f := <-s.faults; f.Cause != boot.NoCipher {
		t.Errorf("its fault: %+v", f)
	}
	s.firmware.Store(true)
	if st, err := s.get(t, old); err != nil || st.CipherSuite != tls.TLS_RSA_WITH_AES_256_GCM_SHA384 && st.CipherSuite != tls.TLS_RSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("firmware: %+v, %v", st, err)
	}
	// Whoever can do better gets better, whatever is allowed.
	if st, err := s.get(t, &tls.Config{RootCAs: s.trusts()}); err != nil || st.Version != tls.VersionTLS13 {
		t.Errorf("a modern client beside firmware: %+v, %v", st, err)
	}
	// TLS 1.0 and 1.1 are never spoken.
	if _, err := s.get(t, &tls.Config{RootCAs: s.trusts(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1")
	}
}

func TestFaults(t *testing.T) { families(t, testFaults) }

func testFaults(t *testing.T, host string) {
	s := startTLS(t, host)
	s.firmware.Store(true)
	shake := func(c *tls.Config) {
		c.ServerName = host
		if conn, err := tls.Dial("tcp", s.addr, c); err == nil {
			conn.Close()
			t.Error("a handshake that should fail")
		}
	}
	raw := func(text string) {
		conn, err := net.Dial("tcp", s.addr)
		must(t, err)
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
	other := certificate(t, true, "10.9.9.9", time.Now().Add(time.Hour))
	ended := certificate(t, true, host, time.Now().Add(-time.Hour))
	right := s.cert.Load()
	for _, c := range []struct {
		name string
		do   func()
		want boot.TLSCause
	}{
		{"does not trust us", func() { shake(&tls.Config{RootCAs: x509.NewCertPool()}) }, boot.UnknownCA},
		{"a certificate that has ended", func() { s.cert.Store(&ended); shake(&tls.Config{RootCAs: s.trusts()}) }, boot.Clock},
		{"no common cipher", func() {
			shake(&tls.Config{RootCAs: s.trusts(), MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
		}, boot.NoCipher},
		{"old versions only", func() { shake(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) }, boot.NoCipher},
		{"another address in the certificate", func() { s.cert.Store(&other); shake(&tls.Config{RootCAs: s.trusts()}) }, boot.BadName},
		{"http to the https port", func() { raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }, boot.NotTLS},
		{"nothing", func() { raw("") }, boot.Silent},
	} {
		s.cert.Store(right)
		c.do()
		select {
		case f := <-s.faults:
			if f.Cause != c.want || f.Text == "" || f.Detail == "" {
				t.Errorf("%s: %+v, want %s", c.name, f, c.want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no fault was told", c.name)
		}
	}
}
