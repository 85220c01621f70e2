// conformance_life_test.go: five clients through the whole of RFC 2131 4.4:
// selecting, INIT-REBOOT, renewing, rebinding, release, decline, inform.

package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/musterboot/muster/internal/nettest"
)

// shortLease makes every lease end soon, also that of a machine that nobody
// let in.
var shortLease = []string{`lease = "1m"`, `unknown_lease = "1m"`}

// TestClientLives: each client gets an address and finds it again after a
// power cut; at half of the lease it renews with the server, and where it does
// not reach it, with everybody; in the end it gives the address back. There
// are two of each, so that renewing and rebinding wait together.
func TestClientLives(t *testing.T) {
	needPeers(t)
	nettest.Need(t, "nft")
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.150", append(shortLease, `routers = ["10.77.0.1"]`)...))
	var stay, move []*peer
	for _, kind := range peerKinds {
		s, m := r.peer(kind, kind+"-s", r.sw), r.peer(kind, kind+"-m", r.sw)
		m.keep()
		stay, move = append(stay, s), append(move, m)
	}
	all := append(append([]*peer(nil), stay...), move...)

	// Selecting.
	bound := map[*peer]message{}
	for _, p := range all {
		p.start(w)
	}
	for _, p := range all {
		got := p.expect(w, 30*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK")
		offer, ack := got[1], got[3]
		bound[p] = ack
		if offer.your() != ack.your() || ack.IPAddressLeaseTime(0) != time.Minute {
			t.Errorf("%s was offered %s and acknowledged %s for %s", p.kind, offer.your(), ack.your(), ack.IPAddressLeaseTime(0))
		}
	}
	held := r.leases()
	who := map[netip.Addr]*peer{}
	for _, p := range all {
		a := bound[p].your()
		if held[p.mac].Addr != a || held[p.mac].Kind == declined {
			t.Errorf("%s has %s, the store says %+v", p.kind, a, held[p.mac])
		}
		if o := who[a]; o != nil {
			t.Errorf("%s is %s's and %s's", a, o.kind, p.kind)
		}
		who[a] = p
	}

	// INIT-REBOOT, where the client does; the others start anew. Either way
	// the address is the one they had.
	for _, p := range move {
		p.cut()
	}
	for _, p := range move {
		p.start(w)
	}
	for _, p := range move {
		words := []string{"DISCOVER", "OFFER", "REQUEST selecting", "ACK"}
		if p.reboots {
			words = []string{"REQUEST init-reboot", "ACK"}
		}
		got := p.expect(w, 30*time.Second, words...)
		if ack := got[len(got)-1]; ack.your() != bound[p].your() {
			t.Errorf("%s had %s and after its restart %s", p.kind, bound[p].your(), ack.your())
		}
		if ms := w.after(p.mac, p.from); p.reboots && said(ms, "DISCOVER") {
			t.Errorf("%s had to start over:%s", p.kind, story(ms))
		}
	}

	// From here on the server hears nothing that these send it by unicast, as
	// if it had moved: they must go through REBINDING.
	var addrs []string
	for _, p := range move {
		addrs = append(addrs, bound[p].your().String())
	}
	_, err := r.srv.Run(r.ctx, "nft", "add table inet moved; add chain inet moved in { type filter hook input priority 0; }; "+
		"add rule inet moved in ip saddr { "+strings.Join(addrs, ", ")+" } ip daddr "+serverAddr+" udp dport 67 drop")
	must(t, err)

	// Renewing.
	for _, p := range stay {
		got := p.expect(w, 50*time.Second, "ACK", "REQUEST renewing", "ACK")
		ask, ack := got[1], got[2]
		// T1 is at 30 s; dhclient comes up to a quarter sooner.
		if wait := ask.at.Sub(got[0].at); wait < 22*time.Second {
			t.Errorf("%s renews after %s", p.kind, wait)
		}
		if ask.to.Addr().String() != serverAddr || ack.your() != bound[p].your() || ack.to.Addr() != ack.your() {
			t.Errorf("%s renews:%s", p.kind, story(got))
		}
		if l := r.leases()[p.mac]; !l.Expires.After(held[p.mac].Expires) || !l.Starts.Equal(held[p.mac].Starts) {
			t.Errorf("%s renewed, the store says %+v, before %+v", p.kind, l, held[p.mac])
		}
	}

	// Release.
	for _, p := range stay {
		must(t, p.release())
	}
	for _, p := range stay {
		p.expect(w, 10*time.Second, "ACK", "RELEASE")
		r.wait("the release of "+p.kind, 5*time.Second, func() error {
			if l, ok := r.leases()[p.mac]; ok {
				return fmt.Errorf("still leased: %+v", l)
			}
			return nil
		})
	}

	// Rebinding.
	for _, p := range move {
		got := p.expect(w, 70*time.Second, "ACK", "REQUEST renewing", "REQUEST rebinding", "ACK")
		if a := got[3]; a.your() != bound[p].your() {
			t.Errorf("%s had %s and rebinds to %s", p.kind, bound[p].your(), a.your())
		}
		if l := r.leases()[p.mac]; l.Addr != bound[p].your() {
			t.Errorf("%s has %s, the store says %+v", p.kind, bound[p].your(), l)
		}
		if ms := w.after(p.mac, p.from); p.reboots && said(ms, "DISCOVER") {
			t.Errorf("%s had to start over:%s", p.kind, story(ms))
		}
	}
	for _, m := range w.of("") {
		if m.MessageType() == dhcpv4.MessageTypeNak {
			t.Errorf("a client was refused: %s", m)
		}
	}
	if hs := r.hosts(); len(hs) != 0 {
		t.Errorf("clients that boot nothing are on the roll: %+v", hs)
	}
}

// TestClientInforms: a client with an address of its own gets the options and
// nothing else (RFC 2131 4.3.5).
func TestClientInforms(t *testing.T) {
	needPeers(t)
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.150", `dns = ["10.77.0.53"]`))
	p := r.peer("dhcpcd", "cli", r.sw)
	p.argv = append(p.argv[:len(p.argv)-1], "--inform=10.77.0.60/24", "eth0")
	p.start(w)
	got := p.expect(w, 20*time.Second, "INFORM", "ACK")
	ask, ack := got[0], got[1]
	if ask.ClientIPAddr.String() != "10.77.0.60" {
		t.Fatalf("this is no INFORM: %s", ask.Summary())
	}
	if !ack.YourIPAddr.IsUnspecified() || ack.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || ack.to.Addr().String() != "10.77.0.60" {
		t.Errorf("an INFORM must be answered by unicast, without address and lease time: %s\n%s", ack, ack.Summary())
	}
	if d := ack.DNS(); len(d) != 1 || d[0].String() != "10.77.0.53" {
		t.Errorf("the options are what it asked for: %s", ack.Summary())
	}
	if ls := r.leases(); len(ls) != 0 {
		t.Errorf("an INFORM made a lease: %+v", ls)
	}
}

// TestClientDeclines: somebody sits on the addresses that come first. Each
// client notices by ARP, declines, and gets another; the declined ones are
// left alone, and the events say so.
func TestClientDeclines(t *testing.T) {
	needPeers(t)
	r := newLab(t)
	w := watch(t, r.sw.NS, nettest.BridgeName, nil)
	// Muster's own look is off, or the clients would have nothing to notice.
	r.serveConfig(serves("lab", "10.77.0.100-10.77.0.150", `probe = false`))
	squatter := r.host("squatter", "")
	squatted := map[netip.Addr]bool{}
	// Without networkd: that of systemd 252 sends its DECLINE from the address
	// it declines and so does not have, and the kernel refuses it.
	kinds := slices.DeleteFunc(slices.Clone(peerKinds), func(k string) bool { return k == "networkd" })
	// Two more than there are clients: one that is quick declines two before another
	// has asked.
	for i := range len(kinds) + 2 {
		a := netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + i)})
		must(t, squatter.Addr("eth0", a.String()+"/24"))
		squatted[a] = true
	}
	var ps []*peer
	for _, kind := range kinds {
		p := r.peer(kind, kind, r.sw)
		ps = append(ps, p)
		p.start(w)
	}
	for _, p := range ps {
		got := p.expect(w, 60*time.Second, "DISCOVER", "OFFER", "REQUEST selecting", "ACK", "DECLINE")
		a, d := got[3].your(), got[4]
		if !squatted[a] || d.RequestedIPAddress().String() != a.String() {
			t.Errorf("%s was given %s and declines:%s", p.kind, a, story(got))
		}
	}
	leases := func() (ls []lease) { r.json(&ls, "lease", "list"); return ls }
	for _, p := range ps {
		r.wait("another address for "+p.kind, 60*time.Second, func() error {
			for _, l := range leases() {
				if l.Holder == p.mac && l.Kind != declined && !squatted[l.Addr] && p.has(l.Addr) {
					return nil
				}
			}
			return fmt.Errorf("so far:%s", story(w.of(p.mac)))
		})
	}
	quarantined := map[netip.Addr]bool{}
	for _, m := range w.of("") {
		if m.MessageType() == dhcpv4.MessageTypeDecline {
			a, _ := netip.AddrFromSlice(m.RequestedIPAddress().To4())
			quarantined[a] = true
		}
	}
	for _, l := range leases() {
		if quarantined[l.Addr] != (l.Kind == declined) {
			t.Errorf("declined on the wire: %t; lease %+v", quarantined[l.Addr], l)
		}
	}
	told := 0
	for _, e := range r.events() {
		if e.Kind == "lease.declined" {
			told++
		}
	}
	if told < len(quarantined) || len(quarantined) < len(kinds) {
		t.Errorf("%d addresses were declined, %d events tell of it, want at least %d", len(quarantined), told, len(kinds))
	}
}
