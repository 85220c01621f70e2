// https.go: HTTPS downloads against nginx, with the same certificate and the
// same ciphers, by a client on crypto/tls.

package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// suite is a version of TLS with the cipher that is measured.
type suite struct {
	name    string
	version uint16
	cipher  uint16
}

var suites = []suite{
	{"TLS 1.3", tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256},
	{"TLS 1.2", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
}

func (b *bench) https(ctx context.Context) (*table, error) {
	large, small, times, crowd := 256<<20, 16<<20, 4, 100
	if b.short {
		large, small, times, crowd = 16<<20, 1<<20, 2, 10
	}
	largeFile, _, err := b.makeFile("https-large", large)
	if err != nil {
		return nil, err
	}
	smallFile, _, err := b.makeFile("https-small", small)
	if err != nil {
		return nil, err
	}
	cert, key, roots, err := b.certificate()
	if err != nil {
		return nil, err
	}
	files := map[string]string{"ipxe.efi": largeFile, "undionly.kpxe": smallFile}
	servers := []program{
		b.musterServer("Muster", "tcp/443", pool{size: 65000}, fmt.Sprintf("[https]\nlisten = \":443\"\ncert = %q\nkey = %q\n", cert, key), files),
		nginx("tcp/443", files, fmt.Sprintf("listen %s:443 ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;", serverAddr, cert, key)),
	}
	t := newTable("HTTPS", servers)
	t.note("One client: %s, %d times on one connection, which stands before. %d clients: %s each, all at once, each with a connection of its own; its full handshake is in the time.", bytesText(large), times, crowd, bytesText(small))
	t.note("TLS 1.3 with TLS_AES_128_GCM_SHA256, TLS 1.2 with ECDHE-RSA-AES128-GCM-SHA256, X25519, an RSA key of %d bits. The client is crypto/tls on the same processors as the server and is about half of the work.", keyBits)
	t.note("nginx encrypts by itself and not in the kernel.")
	err = b.each(ctx, servers, func(_ int, p program) (failed error) {
		s, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		defer s.stop()
		measure := func(name string, bytes int, run func(context.Context) error) {
			ctx, cancel := context.WithTimeout(ctx, stepTime)
			defer cancel()
			before, start := s.cpu(), time.Now()
			if err := run(ctx); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
				return
			}
			t.add(name, "MB/s", p, float64(bytes)/1e6/time.Since(start).Seconds())
			t.add("server CPU, "+name, "s/GiB", p, (s.cpu()-before).Seconds()/(float64(bytes)/(1<<30)))
		}
		for _, x := range suites {
			c := b.browser(x, roots)
			defer c.CloseIdleConnections()
			// It connects before the time is measured, and makes the server's
			// first request.
			if err := fetch(ctx, c, x, "ipxe.efi", large); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s, before one client: %w", x.name, err))
				continue
			}
			measure(x.name+", one client", times*large, func(ctx context.Context) error {
				for range times {
					if err := fetch(ctx, c, x, "ipxe.efi", large); err != nil {
						return err
					}
				}
				return nil
			})
			measure(fmt.Sprintf("%s, %d clients", x.name, crowd), crowd*small, func(ctx context.Context) error {
				g, ctx := errgroup.WithContext(ctx)
				for range crowd {
					g.Go(func() error {
						c := b.browser(x, roots)
						defer c.CloseIdleConnections()
						return fetch(ctx, c, x, "undionly.kpxe", small)
					})
				}
				return g.Wait()
			})
		}
		return failed
	})
	return t, err
}

// browser is an HTTPS client with one cipher suite and without session
// resumption.
func (b *bench) browser(x suite, roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: b.client.Dial, DisableCompression: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, MinVersion: x.version, MaxVersion: x.version,
		CipherSuites:     []uint16{x.cipher}, // not used for TLS 1.3, whose first suite is the one measured
		CurvePreferences: []tls.CurveID{tls.X25519},
	}}}
}

// fetch reads a file and discards it.
func fetch(ctx context.Context, c *http.Client, x suite, path string, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+serverAddr+"/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.TLS.Version != x.version || resp.TLS.CipherSuite != x.cipher {
		return fmt.Errorf("server chose %s with %s", tls.VersionName(resp.TLS.Version), tls.CipherSuiteName(resp.TLS.CipherSuite))
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n != int64(size) {
		return fmt.Errorf("%s: %s, %d of %d bytes", path, resp.Status, n, size)
	}
	return nil
}

const keyBits = 3072

// certificate makes a self-signed certificate for the server, as PEM files.
func (b *bench) certificate() (cert, key string, roots *x509.CertPool, err error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.ParseIP(serverAddr)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return "", "", nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", nil, err
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	cert, key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	return cert, key, roots, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	)
}
