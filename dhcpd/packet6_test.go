package dhcpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/musterboot/muster/boot"
)

// agree6 reads a message of ours with the codec library and compares every
// option with what we wrote. It is called only with our own bytes, because a
// hostile message can cost the library a second.
func agree6(t *testing.T, b []byte) {
	t.Helper()
	lib, err := dhcpv6.FromBytes(b)
	if err != nil {
		t.Fatalf("the library does not read it: %v\n%s", err, strings.Join(Describe6(b), "\n"))
	}
	if again := lib.ToBytes(); !bytes.Equal(again, b) {
		t.Errorf("the library reads other than we wrote:\n%x\n%x", b, again)
	}
}

// TestCodecsAgree6: the library reads the same facts from what firmware sends.
func TestCodecsAgree6(t *testing.T) {
	for _, b := range captured6(t) {
		if b[0] == typeRelayForw {
			continue
		}
		r, err := parse6(b, Meta{Source: meta6.Source})
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		m, err := dhcpv6.MessageFromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		o := m.Options
		if id := o.ClientID(); hex.EncodeToString(id.ToBytes()) != r.in.ID.DUID {
			t.Errorf("client %s, library %s", r.in.ID.DUID, id)
		}
		if id := o.ServerID(); (id == nil) != (r.in.Want.ServerID == "") || id != nil && hex.EncodeToString(id.ToBytes()) != r.in.Want.ServerID {
			t.Errorf("server %s, library %s", r.in.Want.ServerID, id)
		}
		if a := o.ArchTypes(); len(a) > 0 && uint16(a[0]) != uint16(r.in.Firmware.Arch) || len(a) == 0 && r.in.Firmware.Arch != boot.ArchNone {
			t.Errorf("architecture %v, library %v", r.in.Firmware.Arch, a)
		}
		if asked := o.RequestedOptions(); len(asked) != len(r.in.Want.Options6) {
			t.Errorf("asks for %v, library %v", r.in.Want.Options6, asked)
		}
		if vc := o.VendorClasses(); len(vc) > 0 && string(vc[0].Data[0]) != r.in.Firmware.VendorClass {
			t.Errorf("class %q, library %q", r.in.Firmware.VendorClass, vc[0].Data)
		}
		ias, pds := o.IANA(), o.IAPD()
		if len(ias)+len(pds) != len(r.in.Want.IAs) {
			t.Fatalf("%d IAs, library %d and %d", len(r.in.Want.IAs), len(ias), len(pds))
		}
		for i, ia := range ias {
			ours := r.in.Want.IAs[i]
			if binary.BigEndian.Uint32(ia.IaId[:]) != ours.ID || len(ia.Options.Addresses()) != len(ours.Has) {
				t.Errorf("IA %+v, library %v", ours, ia)
			}
			for k, a := range ia.Options.Addresses() {
				if x, _ := netip.AddrFromSlice(a.IPv6Addr); ours.Has[k] != netip.PrefixFrom(x, 128) {
					t.Errorf("address %v, library %v", ours.Has[k], a)
				}
			}
		}
	}
}

// hostile are packets that are expensive for a codec, or that it cannot read.
func hostile() map[string][]byte {
	// Names of pointers to names of pointers: quadratic where they are followed.
	names := func(size int) []byte {
		b := append(bytes.Repeat([]byte("\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 4), 0)
		for len(b)+2 <= size {
			b = append(b, 0xc0, 0)
		}
		return b
	}
	chain := []byte{1, 'a'}
	for len(chain) < 1300 {
		chain = append(chain, 1, 'a', 0xc0|byte((len(chain)-2)>>8), byte(len(chain)-2))
	}
	ia := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	nested := message(typeSolicit, 1, client6, 24, names(1200))
	for range maxHops {
		nested = relayed(1, "fd55::1", "fe80::1", nested, 18, []byte("x"))
	}
	relays := message(typeSolicit, 1, client6)
	for range 100 {
		relays = relayed(1, "fd55::1", "fe80::1", relays)
	}
	deepIA := ia
	for range 60 {
		deepIA = append(append([]byte(nil), ia...), append6(nil, opt6IANA, deepIA...)...)
	}
	many := message(typeSolicit, 1, client6)
	for i := range 250 {
		many = append6(many, opt6IANA, byte(i>>8), byte(i), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	addresses := append([]byte(nil), ia...)
	for i := range 130 {
		addresses = append6(addresses, opt6IAAddr, append([]byte{0xfd, 0x77, 14: byte(i >> 8), 15: byte(i)}, make([]byte, 8)...)...)
	}
	return map[string][]byte{
		"names of an Ethernet frame":   message(typeSolicit, 1, client6, 24, names(1370)),
		"names of 4000 bytes":          message(typeSolicit, 1, client6, 24, names(4000)),
		"name of the client":           message(typeSolicit, 1, client6, 39, append([]byte{0}, names(3900)...)),
		"names of time servers":        message(typeSolicit, 1, client6, 56, append6(nil, 3, names(3900)...)),
		"chain of pointers":            message(typeSolicit, 1, client6, 24, chain, 39, append([]byte{0}, chain...)),
		"names behind eight relays":    nested,
		"a hundred relays":             relays,
		"IA in IA":                     message(typeSolicit, 1, client6, 3, deepIA),
		"250 IAs":                      many,
		"130 addresses":                message(typeSolicit, 1, client6, 3, addresses),
		"a thousand empty options":     append(message(typeSolicit, 1, client6), bytes.Repeat([]byte{0, 99, 0, 0}, 1000)...),
		"a thousand empty classes":     append(message(typeSolicit, 1, client6), bytes.Repeat([]byte{0, 16, 0, 0, 0, 15, 0, 0}, 500)...),
		"classes of 400 empty classes": message(typeSolicit, 1, client6, 16, append([]byte{0, 0, 1, 0x57}, make([]byte, 3000)...), 15, make([]byte, 800)),
		"classes without end":          append(message(typeSolicit, 1, client6), bytes.Repeat([]byte("\x00\x10\x00\x08\x00\x00\x01\x57\x00\x02ab"), 300)...),
		"2000 wishes":                  message(typeSolicit, 1, client6, 6, make([]byte, 4000)),
		"empty vendor class":           message(typeSolicit, 1, client6, 16, ""),
		"empty user class":             message(typeSolicit, 1, client6, 15, ""),
	}
}

// TestHostile6: the work for a packet is bounded by its size. Allocations are
// bounded whatever is in it, and one odd option does not lose the others.
func TestHostile6(t *testing.T) {
	m := meta6
	for name, b := range hostile() {
		if strings.Contains(name, "relays") {
			m = relay6
		} else {
			m = meta6
		}
		r, err := parse6(b, m)
		switch {
		case name == "a hundred relays":
			if err == nil {
				t.Errorf("%s: read", name)
			}
		case err != nil:
			t.Errorf("%s: lost: %v", name, err)
		case len(r.in.Want.IAs) > maxIAs || len(r.in.Want.Options6) > maxAsked6:
			t.Errorf("%s: %+v", name, r.in.Want)
		}
		if err == nil {
			for _, ia := range r.in.Want.IAs {
				if len(ia.Has) > maxHas {
					t.Errorf("%s: %d addresses of one IA", name, len(ia.Has))
				}
			}
		}
		work := func() {
			r, err := parse6(b, m)
			if err != nil {
				return
			}
			d, _ := fixed6(r.in)
			_ = build6(r, d, duid6)
		}
		if n := testing.AllocsPerRun(50, work); n > 60 {
			t.Errorf("%s: %v allocations", name, n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			work()
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / 100; n > 12<<10 {
			t.Errorf("%s: %d bytes allocated for %d", name, n, len(b))
		}
	}
}

// BenchmarkHostile6 is what the dearest packets cost, from bytes to bytes.
func BenchmarkHostile6(b *testing.B) {
	all := hostile()
	all["OVMF"] = captured6(b)[0]
	for name, p := range all {
		m := meta6
		if strings.Contains(name, "relays") {
			m = relay6
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := parse6(p, m); err == nil {
					d, _ := fixed6(r.in)
					_ = build6(r, d, duid6)
				}
			}
		})
	}
}

func TestNames6(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := label + "." + label + "." + label + "." // and 61 more is a name of 255 bytes
	for name, ok := range map[string]bool{
		"lab.example": true, "lab.example.": true, "x": true, "": false, ".": false, "a..b": false, ".a": false,
		label: true, label + "a": false, long + label[:61]: true, long + label[:62]: false,
	} {
		b, got := appendName([]byte{9}, name)
		if got != ok || !ok && len(b) != 1 {
			t.Errorf("%q: %v, %x", name, got, b)
		}
		if ok && strings.Join(readNames(b[1:]), " ") != strings.TrimSuffix(name, ".") {
			t.Errorf("%q is read as %q", name, readNames(b[1:]))
		}
	}
}

// arbitrary6 makes a decision of bytes.
func arbitrary6(b []byte, in boot.Sighting) boot.Decision {
	take := func(n int) []byte {
		out := make([]byte, n)
		b = b[copy(out, b):]
		return out
	}
	one := func() byte { return take(1)[0] }
	lasts := func() time.Duration { return time.Duration(int64(binary.BigEndian.Uint64(take(8)))) }
	status := func() *boot.Status6 {
		if one()&1 == 0 {
			return nil
		}
		return &boot.Status6{Code: uint16(one()), Text: string(take(int(one())))}
	}
	classes := []boot.Class{boot.Plain, boot.PXE, boot.HTTPClient, boot.IPXE}
	flags := one()
	d := boot.Decision{Class: classes[one()%4]}
	a := boot.Answer6{Advertise: flags&1 != 0, Rapid: flags&2 != 0, Preference: one(), Status: status(), Refresh: lasts()}
	if flags&4 != 0 {
		a.Boot = &boot.BootInfo{Class: classes[one()%4], File: string(take(int(binary.BigEndian.Uint16(take(2))) % 3000))}
	}
	for range one() % 24 {
		x := boot.Bound{ID: uint32(one()), Prefix: one()&1 != 0, Status: status()}
		if int(x.ID) < len(in.Want.IAs) {
			x.ID, x.Prefix = in.Want.IAs[x.ID].ID, in.Want.IAs[x.ID].Prefix
		}
		for range one() % 12 {
			g := boot.Grant6{Preferred: lasts(), Valid: lasts()}
			if k := one(); k < 200 {
				g.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(take(16))), int(k%129))
			} else if k < 220 {
				g.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(take(4))), 24)
			}
			x.Leases = append(x.Leases, g)
		}
		a.IAs = append(a.IAs, x)
	}
	for range one() % 100 {
		a.Options.DNS = append(a.Options.DNS, netip.AddrFrom16([16]byte(take(16))))
	}
	for range one() % 100 {
		a.Options.Search = append(a.Options.Search, string(take(int(one()))))
	}
	for range one() % 20 {
		a.Options.Extra = append(a.Options.Extra, boot.Option{Code: one(), Data: take(int(binary.BigEndian.Uint16(take(2))))})
	}
	d.Reply = a
	return d
}

// FuzzDHCPv6: whatever comes in and whatever is decided, nothing panics, the
// packet is left alone, and what goes out is well formed.
func FuzzDHCPv6(f *testing.F) {
	seeds := captured6(f)
	for _, b := range hostile() {
		seeds = append(seeds, b)
	}
	for i, b := range seeds {
		f.Add(b, []byte{byte(i), byte(i >> 1), 255, 0, 0, 0, 0, 0, 0, 0, 14, 16})
		f.Add(b, bytes.Repeat([]byte{byte(7 * i), 3, 1, 0, 0, 60, 16}, 60))
	}
	f.Fuzz(func(t *testing.T, b, decision []byte) {
		in := bytes.Clone(b)
		for _, m := range []Meta{meta6, relay6} {
			r, err := parse6(b, m)
			if !bytes.Equal(in, b) {
				t.Fatal("the packet was changed")
			}
			if err != nil {
				continue
			}
			if len(r.in.Want.IAs) > maxIAs || len(r.in.Firmware.VendorClass) > maxClass6 || len(r.in.Firmware.UserClass) > maxClass6 || len(r.in.ID.DUID) > 2*maxDUID {
				t.Fatalf("%+v", r.in)
			}
			d := arbitrary6(decision, r.in)
			reply := build6(r, d, duid6)
			pxe := d.Class == boot.PXE && d.Reply.(boot.Answer6).Boot == nil
			if err := strict6(r, reply, pxe); err != nil {
				t.Fatalf("%v\n%x", err, reply)
			}
			if to := dest6(r); to.Addr.Port() == 0 || !to.Addr.IsValid() {
				t.Fatalf("reply to nowhere: %+v", to)
			}
			if Describe6(reply) == nil || r.skipped > len(b) {
				t.Fatal("nothing to say")
			}
		}
	})
}
