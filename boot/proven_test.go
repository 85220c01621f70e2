package boot_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/musterboot/muster/boot"
)

// TestProof: what a decision takes for sure of who asks: nothing of an address
// that nobody leased, the lease of a sender on its own link, a token before both,
// and never less than the front saw.
func TestProof(t *testing.T) {
	w, done, err := newWorld(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	w.policy.Networks = []boot.Network{{Name: "lab", Interface: "eth0", Mode: boot.Full, Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"), Lease: time.Hour}}
	if err := w.engine.SetPolicy(w.ctx, w.policy); err != nil {
		t.Fatal(err)
	}
	mac := boot.MAC{2, 0, 0, 0, 0, 1}
	leased := netip.MustParseAddr("10.77.0.100")
	if err := w.store.Update(w.ctx, func(tx boot.Tx) error {
		return tx.PutLease(boot.Lease{Network: "lab", Addr: leased, Holder: boot.HeldBy(mac), MAC: mac, Kind: boot.Dynamic, Starts: began, Expires: began.Add(time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	token := w.policy.Key.Sign(boot.Token{Kind: boot.BootToken, MAC: mac, Issued: began})
	for name, x := range map[string]struct {
		path, from, link string
		front, want      boot.Proof
	}{
		"a stranger":                   {"boot.ipxe", "10.77.0.9", "eth0", boot.ProofNone, boot.ProofNone},
		"a lease on its link":          {"boot.ipxe", "10.77.0.100", "eth0", boot.ProofNone, boot.ProofHeard},
		"a lease, link unknown":        {"boot.ipxe", "10.77.0.100", "", boot.ProofNone, boot.ProofHeard},
		"a token from anywhere":        {"boot/" + token + "/boot.ipxe", "10.77.0.9", "eth0", boot.ProofNone, boot.ProofToken},
		"a bad token":                  {"boot/x" + token[1:] + "/boot.ipxe", "10.77.0.9", "eth0", boot.ProofNone, boot.ProofNone},
		"a certificate, and a lease":   {"boot.ipxe", "10.77.0.100", "eth0", boot.ProofCertificate, boot.ProofCertificate},
		"a front that says nothing":    {"boot.ipxe", "10.77.0.9", "eth0", "", boot.ProofNone},
		"a front that says what is no": {"boot.ipxe", "10.77.0.9", "eth0", "sworn", boot.ProofNone},
	} {
		in := boot.Sighting{At: began.Add(time.Minute), Via: boot.HTTP, Step: boot.Fetch, Proof: x.front, Link: boot.Link{Interface: x.link},
			Source: netip.AddrPortFrom(netip.MustParseAddr(x.from), 1024), Want: boot.Want{Path: x.path}, Firmware: boot.Firmware{Arch: boot.ArchNone}}
		d, err := w.engine.Next(w.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if d.Proof != x.want {
			t.Errorf("%s: proof %q, want %q (%s)", name, d.Proof, x.want, d.Why)
		}
	}
}
