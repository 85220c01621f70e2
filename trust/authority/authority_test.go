package authority

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"net/netip"
	"testing"
	"time"
)

type drawer map[string][]byte

func (d drawer) Load(name string) ([]byte, error)     { return d[name], nil }
func (d drawer) Save(name string, value []byte) error { d[name] = value; return nil }

var (
	old    = &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS12}}
	modern = &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12}}
)

func TestAuthority(t *testing.T) {
	now := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	vault := drawer{}
	a, err := Open(vault, clock)
	if err != nil {
		t.Fatal(err)
	}
	a.Serve([]netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::1")}, []string{"boot.example"})
	if err := a.Prepare(); err != nil || len(vault) != 3 {
		t.Fatalf("%v: %d secrets where the CA's and a key of each kind should be", err, len(vault))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("PEM is none")
	}
	verify := func(c *tls.Certificate, name string, at time.Time) error {
		_, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: at})
		return err
	}
	for _, h := range []*tls.ClientHelloInfo{old, modern} {
		c, err := a.Certificate(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"10.77.0.1", "fd77::1", "boot.example"} {
			for _, at := range []time.Time{now, time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), now.Add(4 * 365 * 24 * time.Hour)} {
				if err := verify(c, name, at); err != nil {
					t.Errorf("%s in %d: %v", name, at.Year(), err)
				}
			}
		}
		if verify(c, "10.77.0.2", now) == nil {
			t.Error("an address that was not asked for is in the certificate")
		}
	}
	rsaLeaf, _ := a.Certificate(old)
	if k := rsaLeaf.Leaf.PublicKeyAlgorithm; k != x509.RSA {
		t.Errorf("firmware gets %s", k)
	}
	if c, _ := a.Certificate(modern); c.Leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("a modern client gets %s", c.Leaf.PublicKeyAlgorithm)
	}
	if again, _ := a.Certificate(old); again != rsaLeaf {
		t.Error("a certificate is signed for every handshake")
	}

	// Renewed in time, with the same key, and for a new address at once.
	now = now.Add(3 * 365 * 24 * time.Hour)
	renewed, _ := a.Certificate(old)
	if !renewed.Leaf.NotAfter.After(rsaLeaf.Leaf.NotAfter) {
		t.Error("not renewed")
	}
	a.Serve([]netip.Addr{netip.MustParseAddr("10.77.0.2")}, nil)
	if c, _ := a.Certificate(old); verify(c, "10.77.0.2", now) != nil {
		t.Error("a new address has no certificate")
	}

	// A restart keeps the root and the keys.
	b, err := Open(vault, clock)
	if err != nil {
		t.Fatal(err)
	}
	if b.Fingerprint() != a.Fingerprint() {
		t.Error("a restart made another root")
	}
	c, _ := b.Certificate(old)
	if !bytes.Equal(c.Leaf.RawSubjectPublicKeyInfo, renewed.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("a restart made another key")
	}

	esl := a.ESL()
	if n := binary.LittleEndian.Uint32(esl[16:]); int(n) != len(esl) || !bytes.HasSuffix(esl, a.DER()) {
		t.Errorf("signature list of %d bytes says %d", len(esl), n)
	}
	if blk, _ := pem.Decode(a.PEM()); !bytes.Equal(blk.Bytes, a.DER()) {
		t.Error("PEM and DER differ")
	}
	vault[rootName] = []byte("damaged")
	if _, err := Open(vault, clock); err == nil {
		t.Error("a damaged root was replaced silently")
	}
}
