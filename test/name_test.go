// name_test.go: whole boots by a name of the appliance.

package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterboot/muster/internal/nettest"
)

// ourName is what the appliance is called, and where its name server is.
const (
	ourName    = "boot.example.org"
	nameServer = "10.77.0.53"
)

// operatorCert writes a CA's certificate for a name and nothing else, with its key, and
// the CA as firmware takes it: an EFI_SIGNATURE_LIST (UEFI 32.4.1).
func operatorCert(t *testing.T, name string) (cert, key, esl string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := rsa.GenerateKey(rand.Reader, 2048) // OVMF of Debian 12 knows no curves
	must(t, err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an operator's CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, ca.Public(), ca)
	must(t, err)
	leafKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter, DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), ca)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(t, err)
	write := func(name string, b []byte) string {
		f := filepath.Join(dir, name)
		must(t, os.WriteFile(f, b, 0o600))
		return f
	}
	list := []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72} // EFI_CERT_X509_GUID
	for _, n := range []int{28 + 16 + len(der), 0, 16 + len(der)} {                                                // the list, its header, one signature with its owner
		list = binary.LittleEndian.AppendUint32(list, uint32(n))
	}
	list = append(append(list, make([]byte, 16)...), der...)
	return write("boot.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})), write("boot.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), write("ca.esl", list)
}

// TestName: firmware, iPXE and the kernel's user space load by a name, with a
// certificate that holds no address; with addresses from us, and from another server.
func TestName(t *testing.T) {
	const beside = "[[network]]\nname=\"lab\"\ninterface=\"eth0\"\nmode=\"proxy\"\n"
	for _, c := range []struct{ name, network string }{{"full", fullNetwork}, {"proxy", beside}} {
		t.Run(c.name, func(t *testing.T) {
			if c.network == beside && os.Getenv("MUSTER_LONG") == "" {
				t.Skip("takes half a minute: MUSTER_LONG=1")
			}
			r := newRig(t)
			nettest.Need(t, nettest.UEFIHTTP.Needs()...)
			cert, key, esl := operatorCert(t, ourName)
			r.serveConfig(fmt.Sprintf("%shttps=true\ndns=[%q]\n[http]\nhost=%[3]q\n[https]\nhost=%[3]q\nfirmware_tls=true\ncert=%[4]q\nkey=%[5]q\n", c.network, nameServer, ourName, cert, key))
			r.pushFor(nettest.UEFIHTTP, x64UEFI)
			if out := r.tries("doctor"); !strings.Contains(out, "https URLs there carry "+serverAddr+", and certificate "+cert+" is for "+ourName+": firmware refuses it") {
				t.Errorf("doctor, while nobody knows the name:\n%s", out)
			}

			args := []string{"--port=53", "--interface=eth0", "--bind-interfaces", "--no-resolv", "--no-hosts", "--host-record=" + ourName + "," + serverAddr}
			if c.network == beside {
				args = append(args, dnsmasqRange, "--dhcp-option=6,"+nameServer)
			}
			r.dnsmasqAt(r.host("dns", nameServer+"/24"), args...)
			r.wait("the name server to count", 10*time.Second, func() error {
				var p struct{ Names []string }
				if r.json(&p, "config", "reload"); len(p.Names) > 0 {
					return fmt.Errorf("%q", p.Names)
				}
				return nil
			})
			if out := r.tries("doctor"); strings.Contains(out, "firmware refuses it") || !strings.Contains(out, "lab: https URLs carry "+ourName) {
				t.Errorf("doctor:\n%s", out)
			}

			g := guest(nettest.UEFIHTTP)
			g.CACerts = esl
			vm := r.boot(g)
			d := r.reported(vm)
			if s := vm.Console(); !strings.Contains(s, "URI: https://"+ourName+"/boot/") || !strings.Contains(s, "http://"+ourName+"/boot/") {
				t.Errorf("it did not boot by name:\n%s", s)
			}
			inOrder(t, timeline(d), []string{"http ask script", "http boot.ipxe", "http vmlinuz", "boot.report"})
		})
	}
}
