// https_test.go: whose certificate HTTPS shows, and for which names.

package appliance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// selfSigned writes a certificate and its key, and returns its serial number.
func selfSigned(t *testing.T, cert, key string, until time.Time) (serial int64) {
	t.Helper()
	serial = until.UnixNano()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: until.Add(-24 * time.Hour), NotAfter: until, DNSNames: []string{"boot.example"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	must(t, err)
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	for f, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pk}} {
		must(t, os.WriteFile(f, pem.EncodeToMemory(b), 0o600))
		must(t, os.Chtimes(f, until, until)) // each is another file than the one before
	}
	return serial
}

// TestPair: a certificate that a person renews is served from the next look on; one
// that cannot be read leaves the old one in force, and says so.
func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		var errs []error
		p := &pair{table: "[https]", cert: cert, key: key, now: time.Now, log: func(err error) { errs = append(errs, err) }}
		serves := func(want int64) {
			t.Helper()
			c, err := p.get(nil)
			must(t, err)
			if got := c.Leaf.SerialNumber.Int64(); got != want {
				t.Errorf("it serves %d, want %d", got, want)
			}
		}
		if err := p.load(); err == nil || !strings.Contains(err.Error(), "[https]: stat "+cert) {
			t.Errorf("%v", err)
		}
		selfSigned(t, cert, key, time.Now().Add(-time.Hour))
		if err := p.load(); err == nil || !strings.Contains(err.Error(), "certificate "+cert+" ended on ") {
			t.Errorf("%v", err)
		}
		first := selfSigned(t, cert, key, time.Now().Add(time.Hour))
		must(t, p.load())
		serves(first)
		second := selfSigned(t, cert, key, time.Now().Add(2*time.Hour))
		serves(first) // it is looked at now and then
		time.Sleep(lookEvery + 1)
		serves(second)
		must(t, os.WriteFile(key, []byte("half of it"), 0o600))
		time.Sleep(lookEvery + 1)
		serves(second)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "[https]: certificate "+cert+" with key "+key) {
			t.Errorf("%v", errs)
		}
		until := time.Now().Add(3 * time.Hour)
		third := selfSigned(t, cert, key, until)
		time.Sleep(lookEvery + 1)
		// Whoever asks for its end first finds the renewed one: nobody need have called.
		if got := p.ends(); !got.Equal(until.Truncate(time.Second)) {
			t.Errorf("it ends at %s, want %s", got, until)
		}
		serves(third)
	})
}

var hello = &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS12}}

// TestSecure: HTTPS is served with the built-in CA's certificate, for our addresses in
// both families and the names of the configuration, which may change while it is served.
func TestSecure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tls12 = "[https]\nlisten = \":443\"\n"
		both := lab + "subnet6 = \"fd77::/64\"\n" + tls12
		r := newRig(t, both)
		r.c.plug("eth0", "10.77.0.1/24", "fe80::1/64", "fd77::1/64")
		r.run()
		names := func() []string {
			t.Helper()
			s, err := r.secure()
			must(t, err)
			c, err := s.Certificate(hello)
			must(t, err)
			out := slices.Clone(c.Leaf.DNSNames)
			for _, a := range c.Leaf.IPAddresses {
				out = append(out, a.String())
			}
			if s.Firmware() != strings.Contains(r.toml, "firmware_tls") {
				t.Errorf("firmware is served: %t", s.Firmware())
			}
			return out
		}
		if got := names(); !slices.Equal(got, []string{"10.77.0.1", "fd77::1"}) {
			t.Errorf("it is for %q", got)
		}
		r.reread(both + "names = [\"boot.example\"]\nfirmware_tls = true\n")
		if got := names(); !slices.Equal(got, []string{"boot.example", "10.77.0.1", "fd77::1"}) {
			t.Errorf("it is for %q", got)
		}
		if p := r.engine.Policy().HTTPSPort; p != 443 {
			t.Errorf("machines are sent to port %d", p)
		}
		a, err := r.authority()
		must(t, err)
		r.end()
		again := newRig(t, lab)
		again.opt.Read = r.opt.Read
		again.run()
		if b, err := again.authority(); err != nil || b.Fingerprint() != a.Fingerprint() {
			t.Errorf("%v: after a restart it is another CA", err)
		}
	})
}
