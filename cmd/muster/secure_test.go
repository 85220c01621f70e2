// secure_test.go: whole boots of firmware that demands something: a signature,
// or a certificate it trusts.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/musterboot/muster/boot"
	"github.com/musterboot/muster/internal/nettest"
)

// pushForAll pushes a template that lets every x64 machine in and boots a Linux
// which reports.
func (r *rig) pushForAll() {
	r.t.Helper()
	kernel, initrd, cmdline := r.kernelFor(nettest.UEFI)
	r.pushLinux("linux", "auto_approve = true\n[match]\narch = [\"x64-uefi\"]", kernel, initrd, cmdline)
}

// TestSecureBoot: one network, one template, nobody chooses: with Secure Boot on
// GRUB boots the signed kernel, with it off the same signed pair comes first and
// the machine boots too, and gets iPXE at once the next time.
func TestSecureBoot(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("secure=%v", on), func(t *testing.T) {
			r := newRig(t)
			loaders := filepath.Join(r.data, "loaders")
			must(t, os.MkdirAll(loaders, 0o755))
			for name, from := range map[string]string{"shimx64.efi": "secureboot/usr/lib/shim/shimx64.efi.signed", "grubx64.efi": "secureboot/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"} {
				p, err := nettest.CachePath(from)
				must(t, err)
				must(t, os.Symlink(p, filepath.Join(loaders, name)))
			}
			r.serveConfig(fullNetwork)
			r.pushForAll()
			g := guest(nettest.UEFI)
			g.Secure = on
			d := r.reported(r.boot(g))
			want := boot.SecureOff
			if on {
				want = boot.SecureOn
			}
			if d.Secure != want {
				t.Errorf("Secure Boot is noted as %q, want %q", d.Secure, want)
			}
			if d.Serial != guestSerial {
				t.Errorf("GRUB told serial %q", d.Serial)
			}
			var files []string
			for _, e := range d.Timeline {
				if q := e.Request; q != nil && q.Via == boot.TFTP {
					files = append(files, filepath.Base(q.Path))
				}
			}
			for _, f := range []string{"shimx64.efi", "grubx64.efi", "grub.cfg", "vmlinuz"} {
				if !slices.Contains(files, f) {
					t.Errorf("%s was not read over TFTP: %v", f, files)
				}
			}
		})
	}
}

// TestHTTPS: firmware that trusts our CA boots over HTTPS, with the key exchange
// of Debian 12's OVMF.
func TestHTTPS(t *testing.T) {
	r := newRig(t)
	r.serveConfig(fullNetwork + "https=true\n[https]\nfirmware_tls=true\n")
	r.pushForAll()
	g := guest(nettest.UEFIHTTP)
	g.CACerts = filepath.Join(t.TempDir(), "cacerts.esl")
	r.muster("ca", "export", "--esl", g.CACerts)
	if d := r.reported(r.boot(g)); d.Name != guestName {
		t.Errorf("%+v", d.Host)
	}
}
