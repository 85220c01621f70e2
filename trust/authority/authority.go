// Package authority is the built-in certificate authority of HTTPS boot: a root
// certificate that firmware is told to trust, and the server certificates that it
// signs. It must not know who connects or what is served. Its caller decides where
// keys are kept.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Vault keeps secrets by name. Load returns an empty secret for a name that is not
// there.
type Vault interface {
	Load(name string) ([]byte, error)
	Save(name string, value []byte) error
}

// Authority signs server certificates. It is safe for concurrent use.
type Authority struct {
	vault Vault
	now   func() time.Time
	root  *x509.Certificate
	key   crypto.Signer

	mu    sync.Mutex
	names []string
	leafs map[string]*tls.Certificate // by kind of key
}

// Firmware checks dates against its clock, which an empty battery sets to 2000 or
// 2015. So the validity of all certificates must begin before that.
var (
	beginning = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	rootLife  = 30 * 365 * 24 * time.Hour
	leafLife  = 5 * 365 * 24 * time.Hour
	renewAt   = leafLife / 2 // a leaf is signed anew when this much of its life is left
)

// Names of what is kept in the vault.
const (
	rootName = "ca-root"   // certificate and key, PEM
	rsaName  = "https-rsa" // key, PEM
	ecName   = "https-ec"
)

// bits is the least that edk2 at security level 3 accepts.
const bits = 3072

// Open reads the authority from its vault. It makes a new one only if the vault has
// none.
func Open(vault Vault, now func() time.Time) (*Authority, error) {
	a := &Authority{vault: vault, now: now, leafs: map[string]*tls.Certificate{}}
	text, err := vault.Load(rootName)
	if err != nil {
		return nil, fmt.Errorf("built-in CA: %w", err)
	}
	if len(text) == 0 {
		if text, err = a.makeRoot(); err != nil {
			return nil, fmt.Errorf("built-in CA: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("built-in CA: what is stored is damaged: %w", err)
	}
	a.root, a.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	return a, nil
}

func (a *Authority) makeRoot() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	serial, err := number()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		// The name must tell apart two appliances that one firmware trusts.
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Muster boot CA %08x", serial.Bytes()[:4])},
		NotBefore: beginning, NotAfter: a.now().UTC().Add(rootLife).Truncate(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	k, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	text := append(encodeCert(der), k...)
	return text, a.vault.Save(rootName, text)
}

func number() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and of full length
	return new(big.Int).SetBytes(b), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(k crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// Serve sets the addresses and names for which certificates are made from now on. If
// a URL has an address, firmware wants that address in the certificate, not a name.
func (a *Authority) Serve(addrs []netip.Addr, names []string) {
	var all []string
	for _, x := range addrs {
		if x.IsValid() {
			all = append(all, x.WithZone("").String())
		}
	}
	all = append(all, names...)
	slices.Sort(all)
	all = slices.Compact(all)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(all, a.names) {
		a.names = all
		clear(a.leafs)
	}
}

// Prepare makes the certificates before anybody asks for them: on a small computer a new
// RSA key takes longer than firmware waits for a handshake.
func (a *Authority) Prepare() error {
	for _, versions := range [][]uint16{{tls.VersionTLS12}, {tls.VersionTLS13}} {
		if _, err := a.Certificate(&tls.ClientHelloInfo{SupportedVersions: versions}); err != nil {
			return err
		}
	}
	return nil
}

// Certificate returns the server certificate for a handshake: ECDSA for clients that
// speak TLS 1.3, RSA for all others, such as firmware.
func (a *Authority) Certificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	kind := rsaName
	if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		kind = ecName
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leafs[kind]; c != nil && c.Leaf.NotAfter.Sub(a.now()) > renewAt {
		return c, nil
	}
	c, err := a.sign(kind)
	if err != nil {
		return nil, fmt.Errorf("built-in CA: %w", err)
	}
	a.leafs[kind] = c
	return c, nil
}

// sign makes a leaf; the lock is held.
func (a *Authority) sign(kind string) (*tls.Certificate, error) {
	key, err := a.leafKey(kind)
	if err != nil {
		return nil, err
	}
	serial, err := number()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Muster"},
		NotBefore: beginning, NotAfter: a.now().UTC().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, SignatureAlgorithm: x509.SHA256WithRSA,
	}
	if kind == rsaName {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment // RSA key exchange
	}
	if t.NotAfter.After(a.root.NotAfter) {
		t.NotAfter = a.root.NotAfter
	}
	for _, n := range a.names {
		if ip, err := netip.ParseAddr(n); err == nil {
			t.IPAddresses = append(t.IPAddresses, net.IP(ip.AsSlice()))
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.root, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The whole chain is sent: some firmware gets the leaf's issuer only here.
	return &tls.Certificate{Certificate: [][]byte{der, a.root.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// leafKey returns a key that is kept over restarts, because making an RSA key takes a
// second.
func (a *Authority) leafKey(name string) (crypto.Signer, error) {
	text, err := a.vault.Load(name)
	if err != nil {
		return nil, err
	}
	if b, _ := pem.Decode(text); b != nil {
		k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("stored key %s is damaged: %w", name, err)
		}
		return k.(crypto.Signer), nil
	}
	var key crypto.Signer
	if name == rsaName {
		key, err = rsa.GenerateKey(rand.Reader, bits)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	if text, err = encodeKey(key); err != nil {
		return nil, err
	}
	return key, a.vault.Save(name, text)
}

// DER is the root certificate, in the form that firmware setup menus read from a USB
// stick.
func (a *Authority) DER() []byte { return a.root.Raw }

// PEM is the root certificate.
func (a *Authority) PEM() []byte { return encodeCert(a.root.Raw) }

// Expires is when the root ends.
func (a *Authority) Expires() time.Time { return a.root.NotAfter }

// Name is the name of the root certificate.
func (a *Authority) Name() string { return a.root.Subject.CommonName }

// Fingerprint is the SHA-256 of the root, as people compare it on a screen.
func (a *Authority) Fingerprint() string { return Fingerprint(a.root.Raw) }

// Fingerprint spells the SHA-256 of a certificate.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ToUpper(strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":"), ":"))
}

// ESL is the root certificate as an EFI_SIGNATURE_LIST (UEFI 32.4.1), the form of
// the variable TlsCaCertificate and of QEMU's etc/edk2/https/cacerts.
func (a *Authority) ESL() []byte {
	// EFI_CERT_X509_GUID a5c059a1-94e4-4aa7-87b5-ab155c2bf072
	b := []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	n := uint32(len(a.root.Raw))
	b = binary.LittleEndian.AppendUint32(b, 28+16+n) // list
	b = binary.LittleEndian.AppendUint32(b, 0)       // header
	b = binary.LittleEndian.AppendUint32(b, 16+n)    // signature
	owner := sha256.Sum256(a.root.RawSubjectPublicKeyInfo)
	b = append(b, owner[:16]...)
	return append(b, a.root.Raw...)
}
